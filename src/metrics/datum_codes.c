/*
 * datum_codes.c
 *	  See datum_codes.h.  A hash table (simplehash.h) by the type's hash function,
 *	  and the datums by their numbers.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "metrics/datum_codes.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#define FIRST_CODES	64

typedef struct CodeEntry
{
	Datum		value;
	int32		code;
	uint32		hash;
	char		status;
} CodeEntry;

static uint32 hash_datum(const DatumCodes *codes, Datum value);
static bool same_datum(const DatumCodes *codes, Datum a, Datum b);

#define SH_PREFIX codetable
#define SH_ELEMENT_TYPE CodeEntry
#define SH_KEY_TYPE Datum
#define SH_KEY value
#define SH_HASH_KEY(table, key) hash_datum((table)->private_data, key)
#define SH_EQUAL(table, a, b) same_datum((table)->private_data, a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct DatumCodes
{
	MemoryContext context;
	Oid			collation;
	TypeCacheEntry *type;
	codetable_hash *table;
	Datum	   *values;			/* [max], by number */
	int32		n,
				max;
};

/* Numbers of users and items often are multiples of something, which hash
 * functions of small integers spread well only with all their bits. */
static uint32
hash_datum(const DatumCodes *codes, Datum value)
{
	return murmurhash32(DatumGetUInt32(FunctionCall1Coll(&codes->type->hash_proc_finfo,
														 codes->collation, value)));
}

static bool
same_datum(const DatumCodes *codes, Datum a, Datum b)
{
	return DatumGetBool(FunctionCall2Coll(&codes->type->eq_opr_finfo, codes->collation, a, b));
}

DatumCodes *
codes_create(MemoryContext context, Oid type, Oid collation, const char *what)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	DatumCodes *codes = palloc0(sizeof(DatumCodes));

	codes->context = context;
	codes->collation = collation;
	codes->type = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO | TYPECACHE_CMP_PROC_FINFO);
	if (!OidIsValid(codes->type->eq_opr_finfo.fn_oid) || !OidIsValid(codes->type->hash_proc_finfo.fn_oid) ||
		!OidIsValid(codes->type->cmp_proc_finfo.fn_oid))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("%s of type %s cannot be told apart and put in order", what, format_type_be(type)),
				errhint("Cast them to a type that can be hashed and sorted, such as text."));
	codes->table = codetable_create(context, FIRST_CODES / 2, codes);
	codes->max = FIRST_CODES;
	codes->values = palloc(sizeof(Datum) * FIRST_CODES);
	MemoryContextSwitchTo(before);
	return codes;
}

Oid
codes_type(const DatumCodes *codes)
{
	return codes->type->type_id;
}

Oid
codes_collation(const DatumCodes *codes)
{
	return codes->collation;
}

int32
codes_count(const DatumCodes *codes)
{
	return codes->n;
}

Datum
codes_value(const DatumCodes *codes, int32 code)
{
	return codes->values[code];
}

static int32
new_code(DatumCodes *codes, CodeEntry *entry)
{
	MemoryContext before = MemoryContextSwitchTo(codes->context);

	if (codes->n == codes->max)
	{
		codes->max = codes->max > PG_INT32_MAX / 2 ? PG_INT32_MAX : codes->max * 2;
		codes->values = repalloc_huge(codes->values, sizeof(Datum) * (Size) codes->max);
	}
	entry->value = datumCopy(entry->value, codes->type->typbyval, codes->type->typlen);
	entry->code = codes->n;
	codes->values[codes->n++] = entry->value;
	MemoryContextSwitchTo(before);
	return entry->code;
}

/* Flattening may allocate, which is the caller's. */
int32
codes_add(DatumCodes *codes, Datum value)
{
	bool		found;
	CodeEntry  *entry;

	if (codes->type->typlen == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	entry = codetable_insert(codes->table, value, &found);
	return found ? entry->code : new_code(codes, entry);
}

Size
codes_growth(const DatumCodes *codes)
{
	Size		bytes = 0;

	if (codes->table->members >= codes->table->grow_threshold)
		bytes += codes->table->size * 2 * sizeof(CodeEntry);
	if (codes->n == codes->max)
		bytes += sizeof(Datum) * (Size) codes->max;
	return bytes;
}

/* ------------------------------------------------------------------- order */

/* Equal datums under a deterministic collation are equal byte by byte, so that
 * bytes tell all apart that are in here, and do so fast. */
static int
compare_codes(const void *a, const void *b, void *arg)
{
	const DatumCodes *codes = arg;
	Oid			collation = OidIsValid(codes->type->typcollation) ? C_COLLATION_OID : InvalidOid;

	return DatumGetInt32(FunctionCall2Coll(&codes->type->cmp_proc_finfo, collation,
										   codes->values[*(const int32 *) a], codes->values[*(const int32 *) b]));
}

static bool
in_order(DatumCodes *codes)
{
	for (int32 i = 1; i < codes->n; i++)
	{
		int32		previous = i - 1;

		if (compare_codes(&previous, &i, codes) > 0)
			return false;
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

int32 *
codes_sort(DatumCodes *codes)
{
	int32	   *old,
			   *new;
	Datum	   *values;
	codetable_iterator iterator;
	CodeEntry  *entry;

	if (in_order(codes))
		return NULL;
	old = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * (Size) codes->n);
	new = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * (Size) codes->n);
	values = MemoryContextAllocHuge(codes->context, sizeof(Datum) * (Size) codes->max);
	for (int32 i = 0; i < codes->n; i++)
		old[i] = i;
	qsort_interruptible(old, (size_t) codes->n, sizeof(int32), compare_codes, codes);
	for (int32 i = 0; i < codes->n; i++)
	{
		new[old[i]] = i;
		values[i] = codes->values[old[i]];
	}
	codetable_start_iterate(codes->table, &iterator);
	while ((entry = codetable_iterate(codes->table, &iterator)) != NULL)
		entry->code = new[entry->code];
	pfree(codes->values);
	codes->values = values;
	pfree(old);
	return new;
}

/* ------------------------------------------------------------------- bytes */

/* Datums travel as they are in memory (datumSerialize): for processes of one server. */
Size
codes_written_size(const DatumCodes *codes)
{
	Size		bytes = 3 * sizeof(int32);

	for (int32 i = 0; i < codes->n; i++)
		bytes += datumEstimateSpace(codes->values[i], false, codes->type->typbyval, codes->type->typlen);
	return bytes;
}

void
codes_write(const DatumCodes *codes, StringInfo to)
{
	char	   *end;

	pq_sendint32(to, codes->type->type_id);
	pq_sendint32(to, codes->collation);
	pq_sendint32(to, (uint32) codes->n);
	enlargeStringInfo(to, (int) codes_written_size(codes));
	end = to->data + to->len;
	for (int32 i = 0; i < codes->n; i++)
		datumSerialize(codes->values[i], false, codes->type->typbyval, codes->type->typlen, &end);
	to->len = (int) (end - to->data);
}

DatumCodes *
codes_read(StringInfo from, MemoryContext context, const char *what)
{
	Oid			type = (Oid) pq_getmsgint(from, 4);
	Oid			collation = (Oid) pq_getmsgint(from, 4);
	int32		n = (int32) pq_getmsgint(from, 4);
	DatumCodes *codes = codes_create(context, type, collation, what);

	for (int32 i = 0; i < n; i++)
	{
		char	   *at = from->data + from->cursor;
		bool		isnull;
		Datum		value = datumRestore(&at, &isnull);

		from->cursor = (int) (at - from->data);
		codes_add(codes, value);
		if (!codes->type->typbyval)
			pfree(DatumGetPointer(value));
		CHECK_FOR_INTERRUPTS();
	}
	return codes;
}
