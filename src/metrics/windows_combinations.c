/*
 * windows_combinations.c
 *	  Combinations of dimension values and their numbers.
 *
 * All are in memory, for there are no more than max_combinations.  A combination gets
 * a number when it first occurs and keeps it, so whatever is counted under it
 * can be taken back there; once there is no room, further ones are, and stay,
 * WINDOWS_OTHER.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "metrics/windows_impl.h"
#include "state/checked.h"
#include "state/table.h"

typedef struct CombinationKey
{
	const char *bytes;
	int			length;
} CombinationKey;

typedef struct CombinationSlot
{
	CombinationKey key;
	int32		number;
	uint32		hash;
	char		status;
} CombinationSlot;

static inline uint32
hash_key(CombinationKey key)
{
	return hash_bytes((const unsigned char *) key.bytes, key.length);
}

static inline bool
equal_keys(CombinationKey a, CombinationKey b)
{
	return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

#define SH_PREFIX combtab
#define SH_ELEMENT_TYPE CombinationSlot
#define SH_KEY_TYPE CombinationKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_key(key)
#define SH_EQUAL(tb, a, b) equal_keys(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

void
combinations_create(Windows *w)
{
	MemoryContext old = MemoryContextSwitchTo(w->context);

	w->combinations = combtab_create(w->context, 64, NULL);
	w->key = makeStringInfo();
	w->maxcombinations = 64;
	w->by_number = palloc0(sizeof(Combination *) * w->maxcombinations);
	w->ncombinations = 1;		/* WINDOWS_OTHER */
	MemoryContextSwitchTo(old);
}

static CombinationKey
make_key(Windows *w, const char *const *texts, const int *lengths)
{
	resetStringInfo(w->key);
	for (int i = 0; i < w->metrics->ndimensions; i++)
	{
		appendBinaryStringInfo(w->key, (const char *) &lengths[i], sizeof(int));
		if (lengths[i] > 0)
			appendBinaryStringInfo(w->key, texts[i], lengths[i]);
	}
	return (CombinationKey) {w->key->data, w->key->len};
}

static void
keep(Windows *w, CombinationKey key, int32 number)
{
	MemoryContext old = MemoryContextSwitchTo(w->context);
	Combination *c = palloc(sizeof(Combination));
	CombinationSlot *slot;
	bool		found;

	c->number = number;
	c->length = key.length;
	c->bytes = palloc(key.length + 1);
	memcpy(c->bytes, key.bytes, key.length);
	slot = combtab_insert(w->combinations, (CombinationKey) {c->bytes, c->length}, &found);
	slot->number = number;
	while (number >= w->maxcombinations)
	{
		w->by_number = repalloc(w->by_number, sizeof(Combination *) * 2 * w->maxcombinations);
		memset(w->by_number + w->maxcombinations, 0, sizeof(Combination *) * w->maxcombinations);
		w->maxcombinations *= 2;
	}
	w->by_number[number] = c;
	w->ncombinations = Max(w->ncombinations, number + 1);
	w->combination_bytes += sizeof(Combination) + sizeof(CombinationSlot) + key.length;
	MemoryContextSwitchTo(old);
}

int32
combinations_get(Windows *w, const char *const *texts, const int *lengths, bool add)
{
	CombinationKey key = make_key(w, texts, lengths);
	CombinationSlot *slot = combtab_lookup(w->combinations, key);

	if (slot)
		return slot->number;
	if (!add || w->ncombinations > w->metrics->max_combinations)
		return WINDOWS_OTHER;
	keep(w, key, w->ncombinations);
	return w->ncombinations - 1;
}

static const char *
next_value(const char *at, const char **text, int *length)
{
	memcpy(length, at, sizeof(int));
	*text = at + sizeof(int);
	return *text + Max(*length, 0);
}

/* In the order of their values as bytes, nulls first; WINDOWS_OTHER last. */
int
combinations_compare(const Windows *w, int32 a, int32 b)
{
	const char *at,
			   *bt;

	if (a == WINDOWS_OTHER || b == WINDOWS_OTHER)
		return (a == WINDOWS_OTHER) - (b == WINDOWS_OTHER);
	at = w->by_number[a]->bytes;
	bt = w->by_number[b]->bytes;
	for (int i = 0; i < w->metrics->ndimensions; i++)
	{
		const char *x,
				   *y;
		int			xlen,
					ylen,
					order;

		at = next_value(at, &x, &xlen);
		bt = next_value(bt, &y, &ylen);
		order = memcmp(x, y, Max(Min(xlen, ylen), 0));
		if (order == 0)
			order = (xlen > ylen) - (xlen < ylen);
		if (order != 0)
			return order;
	}
	return 0;
}

/* -------------------------------------------------------------------- table */

enum
{
	COL_COMBINATION, COL_DIMENSIONS, NCOLUMNS
};

static Datum
dimensions_array(const Windows *w, const Combination *c)
{
	int			n = w->metrics->ndimensions;
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(n, 1));
	const char *at = c->bytes;
	int			dims[1] = {n},
				lower[1] = {1};

	if (n == 0)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	for (int i = 0; i < n; i++)
	{
		const char *text;
		int			length;

		at = next_value(at, &text, &length);
		nulls[i] = length < 0;
		values[i] = nulls[i] ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(text, length));
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lower,
											  TEXTOID, -1, false, TYPALIGN_INT));
}

/* Rows that are new. */
void
combinations_write(Windows *w)
{
	StateTable *t;

	if (w->nstored >= w->ncombinations)
		return;
	t = table_open_state(w->host->source->nspid, "window_dimensions", "window_dimensions_pkey",
						 RowExclusiveLock);
	for (; w->nstored < w->ncombinations; w->nstored++)
	{
		Datum		values[NCOLUMNS];
		const Combination *c = w->by_number[w->nstored];

		if (c == NULL)
			continue;			/* WINDOWS_OTHER has no row */
		values[COL_COMBINATION] = Int32GetDatum(c->number);
		values[COL_DIMENSIONS] = dimensions_array(w, c);
		table_insert(t, values, NULL);
	}
	table_close_state(t, RowExclusiveLock);
}

static void
load_row(Windows *w, TupleTableSlot *slot)
{
	Datum		array = checked_attribute(slot, COL_DIMENSIONS + 1);
	Datum	   *values;
	bool	   *nulls;
	int			n;
	const char **texts;
	int		   *lengths;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	if (n != w->metrics->ndimensions)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("%d dimension values in a row instead of %d", n, w->metrics->ndimensions),
				errhint("SELECT recsys.resync(%s);",
						quote_literal_cstr(NameStr(w->host->source->name))));
	texts = palloc(sizeof(char *) * Max(n, 1));
	lengths = palloc(sizeof(int) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		texts[i] = nulls[i] ? NULL : TextDatumGetCString(values[i]);
		lengths[i] = nulls[i] ? -1 : (int) strlen(texts[i]);
	}
	keep(w, make_key(w, texts, lengths),
		 DatumGetInt32(checked_attribute(slot, COL_COMBINATION + 1)));
}

/* All of them. */
void
combinations_load(Windows *w)
{
	StateTable *t = table_open_state(w->host->source->nspid, "window_dimensions", NULL,
									 AccessShareLock);
	TableScanDesc scan = table_beginscan(t->rel, GetActiveSnapshot(), 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, t->slot))
		load_row(w, t->slot);
	table_endscan(scan);
	table_close_state(t, AccessShareLock);
	w->nstored = w->ncombinations;
}

void
combinations_clear(Windows *w)
{
	for (int32 i = 0; i < w->ncombinations; i++)
		if (w->by_number[i])
		{
			pfree(w->by_number[i]->bytes);
			pfree(w->by_number[i]);
			w->by_number[i] = NULL;
		}
	combtab_reset(w->combinations);
	w->ncombinations = 1;
	w->nstored = 0;
	w->combination_bytes = 0;
}
