/*
 * audiences.c
 *	  The newest users of each item: a write-back cache of bounded size over a
 *	  table.
 *
 * A list is an array of entries in no order; entry number i is stored in the
 * row (segment) i / AUDIENCE_SEGMENT_SIZE.  A user who is new to a full list
 * takes the place of the oldest one, a user who leaves is replaced by the last
 * entry.  So an event rewrites one row, a retraction two, however long the list
 * is, and rows are dense.
 *
 * Whom a full list has dropped does not come back when somebody leaves it, but
 * with a next event.  A list that never was full holds all users of its item.
 *
 * Lists are loaded on demand.  Only clean ones are evicted, so memory can exceed
 * its target until the next write.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "state/array.h"
#include "state/audiences.h"
#include "state/checked.h"

#define MIN_ENTRIES 4

/* Of a long list the processor asks for the rest by itself. */
#define PREFETCH_ENTRIES 256

const Oid	audience_types[AUDIENCE_NCOLUMNS] = {
	INT4OID, INT4OID, INT4OID, INT4ARRAYOID, FLOAT4ARRAYOID, INT8ARRAYOID
};

/* The users of one item; the arrays are one chunk of memory. */
typedef struct ItemAudience
{
	int32		item;
	int32		n;
	int32		max;
	int32		nstored;		/* rows in the table: segments 0 .. nstored - 1 */
	bool		dirty;			/* one of the segments is */
	bool		referenced;		/* second chance of the eviction */
	TimestampTz *times;
	uint64	   *segments;		/* bitmap of the dirty ones */
	int32	   *users;
	float	   *weights;
} ItemAudience;

struct AudienceCache
{
	MemoryContext context;
	Oid			nspid;
	char		relname[NAMEDATALEN];
	char		indexname[NAMEDATALEN];
	int32		limit;
	int32		landmark;
	Size		bytes;
	bool		table_void;		/* rows in the table are obsolete */
	int32		nitems;
	ItemAudience **items;		/* by number: NULL not loaded, NO_ROWS empty */
	int32		hand;			/* clock hand of the eviction */
	int32		ndirty;
	int32		maxdirty;
	int32	   *dirty;			/* items */
};

/* An item that has neither rows nor users. */
static ItemAudience no_rows;

#define NO_ROWS (&no_rows)

#define SEGMENTS_OF(n) (((n) + AUDIENCE_SEGMENT_SIZE - 1) / AUDIENCE_SEGMENT_SIZE)
#define WORDS_OF(max) ((SEGMENTS_OF(max) + 63) / 64)

/* From here on items are new: their numbers are not in the table yet. */
static void
reach_item(AudienceCache *cache, int32 item)
{
	int32		nitems;

	if (item < cache->nitems)
		return;
	nitems = Max(item + 1, cache->nitems + cache->nitems / 2 + 1024);
	cache->items = cache->items ?
		repalloc_huge(cache->items, sizeof(ItemAudience *) * (Size) nitems) :
		MemoryContextAllocHuge(cache->context, sizeof(ItemAudience *) * (Size) nitems);
	for (int32 i = cache->nitems; i < nitems; i++)
		cache->items[i] = NO_ROWS;
	cache->nitems = nitems;
}

AudienceCache *
audience_cache_create(MemoryContext parent, Oid nspid, const char *relname,
					  const char *indexname, int32 limit, int32 nitems, int32 landmark)
{
	AudienceCache *cache = MemoryContextAllocZero(parent, sizeof(AudienceCache));

	cache->context = AllocSetContextCreate(parent, "recsys audiences", ALLOCSET_DEFAULT_SIZES);
	cache->nspid = nspid;
	strlcpy(cache->relname, relname, NAMEDATALEN);
	strlcpy(cache->indexname, indexname, NAMEDATALEN);
	cache->limit = limit;
	cache->landmark = landmark;
	reach_item(cache, nitems);
	memset(cache->items, 0, sizeof(ItemAudience *) * (Size) nitems);
	return cache;
}

/* -------------------------------------------------------------- one list */

static void
resize(AudienceCache *cache, ItemAudience *a, int32 max)
{
	Size		nwords = WORDS_OF(max);
	TimestampTz *times = MemoryContextAllocHuge(cache->context,
												(sizeof(TimestampTz) + sizeof(int32) + sizeof(float)) * (Size) max +
												sizeof(uint64) * nwords);
	uint64	   *segments = (uint64 *) (times + max);
	int32	   *users = (int32 *) (segments + nwords);
	float	   *weights = (float *) (users + max);

	cache->bytes += GetMemoryChunkSpace(times);
	memset(segments, 0, sizeof(uint64) * nwords);
	if (a->max > 0)
	{
		memcpy(times, a->times, sizeof(TimestampTz) * (Size) a->n);
		memcpy(segments, a->segments, sizeof(uint64) * WORDS_OF(a->max));
		memcpy(users, a->users, sizeof(int32) * (Size) a->n);
		memcpy(weights, a->weights, sizeof(float) * (Size) a->n);
		cache->bytes -= GetMemoryChunkSpace(a->times);
		pfree(a->times);
	}
	a->times = times;
	a->segments = segments;
	a->users = users;
	a->weights = weights;
	a->max = max;
}

static void
mark_dirty(AudienceCache *cache, ItemAudience *a, int32 entry)
{
	int32		segment = entry / AUDIENCE_SEGMENT_SIZE;

	a->segments[segment / 64] |= UINT64CONST(1) << segment % 64;
	if (a->dirty)
		return;
	a->dirty = true;
	if (cache->ndirty == cache->maxdirty)
	{
		cache->maxdirty = Max(1024, cache->maxdirty * 2);
		cache->dirty = cache->dirty ?
			repalloc_huge(cache->dirty, sizeof(int32) * (Size) cache->maxdirty) :
			MemoryContextAlloc(cache->context, sizeof(int32) * cache->maxdirty);
	}
	cache->dirty[cache->ndirty++] = a->item;
}

/* The user's entry, or -1. */
static int32
find_user(const ItemAudience *a, int32 user)
{
	const int32 *users = a->users;
	int32		i = 0;

	/* eight at a time without a branch between them */
	for (; i + 8 <= a->n; i += 8)
	{
		int			hit = 0;

		for (int k = 0; k < 8; k++)
			hit |= (users[i + k] == user) << k;
		if (hit)
			return i + __builtin_ctz(hit);
	}
	for (; i < a->n; i++)
		if (users[i] == user)
			return i;
	return -1;
}

static int32
find_oldest(const ItemAudience *a)
{
	int32		oldest = 0;

	for (int32 i = 1; i < a->n; i++)
		if (a->times[i] < a->times[oldest])
			oldest = i;
	return oldest;
}

static void
put_entry(AudienceCache *cache, ItemAudience *a, int32 at, int32 user, double weight,
		  TimestampTz time)
{
	a->users[at] = user;
	a->weights[at] = (float) weight;
	a->times[at] = time;
	mark_dirty(cache, a, at);
}

static void
remove_entry(AudienceCache *cache, ItemAudience *a, int32 at)
{
	int32		last = a->n - 1;

	if (at < last)
		put_entry(cache, a, at, a->users[last], a->weights[last], a->times[last]);
	mark_dirty(cache, a, last);
	a->n = last;
}

static ItemAudience *
create_list(AudienceCache *cache, int32 item)
{
	ItemAudience *a = MemoryContextAllocZero(cache->context, sizeof(ItemAudience));

	a->item = item;
	cache->bytes += GetMemoryChunkSpace(a);
	return a;
}

static void
free_list(AudienceCache *cache, ItemAudience *a)
{
	cache->items[a->item] = a->nstored > 0 ? NULL : NO_ROWS;
	if (a->max > 0)
	{
		cache->bytes -= GetMemoryChunkSpace(a->times);
		pfree(a->times);
	}
	cache->bytes -= GetMemoryChunkSpace(a);
	pfree(a);
}

/* ------------------------------------------------------------------- rows */

/* NULL: the model has been dropped, and we are about to hear of it. */
static StateTable *
open_table(AudienceCache *cache, LOCKMODE lockmode)
{
	StateTable *t;

	if (!OidIsValid(get_relname_relid(cache->relname, cache->nspid)))
		return NULL;
	t = table_open_state(cache->nspid, cache->relname, cache->indexname, lockmode);
	checked_types(t, AUDIENCE_NCOLUMNS, audience_types);
	return t;
}

static void
damaged(void)
{
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("a row of the audiences of a model is not as it was written"),
			errhint("Drop the model with recsys.drop_model() and create it again."));
}

void
audience_row_read(TupleTableSlot *slot, bool times, AudienceRow *row)
{
	int			nweights,
				ntimes;

	row->segment = DatumGetInt32(checked_attribute(slot, AUDIENCE_SEGMENT + 1));
	row->landmark = DatumGetInt32(checked_attribute(slot, AUDIENCE_LANDMARK + 1));
	row->users = checked_array(checked_attribute(slot, AUDIENCE_USERS + 1), INT4OID, &row->n);
	row->weights = checked_array(checked_attribute(slot, AUDIENCE_WEIGHTS + 1), FLOAT4OID, &nweights);
	row->times = NULL;
	ntimes = row->n;
	if (times)
		row->times = checked_array(checked_attribute(slot, AUDIENCE_TIMES + 1), INT8OID, &ntimes);
	if (nweights != row->n || ntimes != row->n)
		damaged();
}

/* Rows come in the order of segments, all but the last one full. */
static void
append_row(AudienceCache *cache, ItemAudience *a, const AudienceRow *row)
{
	double		factor = ldexp(1.0, row->landmark - cache->landmark);

	if (row->segment != a->nstored || a->n != a->nstored * AUDIENCE_SEGMENT_SIZE ||
		row->n > AUDIENCE_SEGMENT_SIZE)
		damaged();
	if (a->n + row->n > a->max)
		resize(cache, a, a->n + row->n);
	memcpy(a->users + a->n, row->users, sizeof(int32) * row->n);
	memcpy(a->times + a->n, row->times, sizeof(TimestampTz) * row->n);
	for (int i = 0; i < row->n; i++)
		a->weights[a->n + i] = (float) (row->weights[i] * factor);
	a->n += row->n;
	a->nstored++;
}

/*
 * Read the table in the order of its index, as long as it fits: much faster than
 * list by list.  Nothing may be in memory yet.
 */
void
audience_cache_load_all(AudienceCache *cache, Size limit)
{
	StateTable *t = open_table(cache, AccessShareLock);
	ItemAudience *a = NULL;
	AudienceRow row;

	if (t == NULL)
		return;
	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 0, NULL);
		 slot; slot = table_get_next(t))
	{
		int32		item = DatumGetInt32(checked_attribute(slot, AUDIENCE_ITEM + 1));

		CHECK_FOR_INTERRUPTS();
		if (a == NULL || a->item != item)
		{
			if (cache->bytes > limit)
				break;
			reach_item(cache, item);
			a = cache->items[item] = create_list(cache, item);
		}
		audience_row_read(slot, true, &row);
		append_row(cache, a, &row);
	}
	table_close_state(t, AccessShareLock);
}

static ItemAudience *
load_list(AudienceCache *cache, int32 item)
{
	StateTable *t = open_table(cache, AccessShareLock);
	ItemAudience *a = create_list(cache, item);
	Datum		key = Int32GetDatum(item);
	AudienceRow row;

	if (t == NULL)
		return a;
	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 1, &key);
		 slot; slot = table_get_next(t))
	{
		audience_row_read(slot, true, &row);
		append_row(cache, a, &row);
	}
	table_close_state(t, AccessShareLock);
	return a;
}

static ItemAudience *
get_list(AudienceCache *cache, int32 item)
{
	ItemAudience *a;

	reach_item(cache, item);
	a = cache->items[item];
	if (a == NO_ROWS)
		a = cache->items[item] = create_list(cache, item);
	else if (a == NULL)
		a = cache->items[item] = load_list(cache, item);
	a->referenced = true;
	return a;
}

static void
write_segment(AudienceCache *cache, StateTable *t, const ItemAudience *a, int32 segment)
{
	int32		from = segment * AUDIENCE_SEGMENT_SIZE;
	int			n = Min(a->n - from, AUDIENCE_SEGMENT_SIZE);
	Datum		values[AUDIENCE_NCOLUMNS];

	values[AUDIENCE_ITEM] = Int32GetDatum(a->item);
	values[AUDIENCE_SEGMENT] = Int32GetDatum(segment);
	if (n <= 0)
	{
		if (segment < a->nstored)
			table_delete(t, 2, values);
		return;
	}
	values[AUDIENCE_LANDMARK] = Int32GetDatum(cache->landmark);
	values[AUDIENCE_USERS] = array_datum(a->users + from, n, sizeof(int32), INT4OID);
	values[AUDIENCE_WEIGHTS] = array_datum(a->weights + from, n, sizeof(float), FLOAT4OID);
	values[AUDIENCE_TIMES] = array_datum(a->times + from, n, sizeof(TimestampTz), INT8OID);
	if (segment < a->nstored)
		table_put(t, 2, values, NULL);
	else
		table_insert(t, values, NULL);
}

static void
write_list(AudienceCache *cache, StateTable *t, ItemAudience *a)
{
	int32		nsegments = Max(SEGMENTS_OF(a->n), a->nstored);

	for (int32 segment = 0; segment < nsegments; segment++)
		if (a->segments[segment / 64] & (UINT64CONST(1) << segment % 64))
			write_segment(cache, t, a, segment);
	memset(a->segments, 0, sizeof(uint64) * WORDS_OF(a->max));
	a->nstored = SEGMENTS_OF(a->n);
	a->dirty = false;
}

void
audience_cache_write(AudienceCache *cache)
{
	StateTable *t;
	MemoryContext scratch,
				old;

	if (cache->ndirty == 0 && !cache->table_void)
		return;
	t = open_table(cache, RowExclusiveLock);
	if (t == NULL)
	{
		audience_cache_void(cache);
		return;
	}
	if (cache->table_void)
		table_delete(t, 0, NULL);
	cache->table_void = false;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys rows", ALLOCSET_DEFAULT_SIZES);
	for (int32 i = 0; i < cache->ndirty; i++)
	{
		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(scratch);
		write_list(cache, t, cache->items[cache->dirty[i]]);
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
	}
	cache->ndirty = 0;
	MemoryContextDelete(scratch);
	table_close_state(t, RowExclusiveLock);
}

/* ---------------------------------------------------------------- changes */

void
audience_cache_change(AudienceCache *cache, int32 item, int32 user, double weight,
					  TimestampTz time, int appears)
{
	ItemAudience *a = get_list(cache, item);
	int32		at = appears > 0 ? -1 : find_user(a, user);

	if (appears < 0)
	{
		if (at >= 0)
			remove_entry(cache, a, at);
	}
	else if (at >= 0)
		put_entry(cache, a, at, user, weight, time);
	else if (a->n < cache->limit)
	{
		if (a->n == a->max)
			resize(cache, a, Min(Max(MIN_ENTRIES, a->max * 2), Max(cache->limit, a->n + 1)));
		put_entry(cache, a, a->n, user, weight, time);
		a->n++;
	}
	else
	{
		at = find_oldest(a);
		if (time >= a->times[at])
			put_entry(cache, a, at, user, weight, time);
	}
}

void
audience_cache_prefetch_place(AudienceCache *cache, int32 item)
{
	if (item < cache->nitems)
		__builtin_prefetch(&cache->items[item]);
}

void
audience_cache_prefetch_list(AudienceCache *cache, int32 item)
{
	if (item < cache->nitems && cache->items[item])
		__builtin_prefetch(cache->items[item]);
}

/* What is searched, and the end, where entries are added. */
void
audience_cache_prefetch_arrays(AudienceCache *cache, int32 item, int appears)
{
	const ItemAudience *a = item < cache->nitems ? cache->items[item] : NULL;
	int32		n;

	if (a == NULL || a->max == 0)
		return;
	n = Min(a->n, PREFETCH_ENTRIES);
	if (appears <= 0)
		for (int32 i = 0; i < n; i += 64 / sizeof(int32))
			__builtin_prefetch(&a->users[i]);
	else if (a->n == cache->limit)
		for (int32 i = 0; i < n; i += 64 / sizeof(TimestampTz))
			__builtin_prefetch(&a->times[i]);
	else
	{
		__builtin_prefetch(&a->times[a->n]);
		__builtin_prefetch(&a->users[a->n]);
		__builtin_prefetch(&a->weights[a->n]);
	}
	__builtin_prefetch(a->segments);
}

void
audience_cache_forget(AudienceCache *cache, int32 item)
{
	ItemAudience *a = get_list(cache, item);

	while (a->n > 0)
		remove_entry(cache, a, a->n - 1);
}

void
audience_cache_void(AudienceCache *cache)
{
	int32		nitems = cache->nitems;

	MemoryContextReset(cache->context);
	cache->bytes = 0;
	cache->table_void = true;
	cache->nitems = 0;
	cache->items = NULL;
	cache->hand = 0;
	cache->ndirty = cache->maxdirty = 0;
	cache->dirty = NULL;
	reach_item(cache, nitems);
}

/* What is in memory follows, and is not dirty for that: stored rows carry the
 * landmark that they were written with. */
void
audience_cache_rescale(AudienceCache *cache, int32 landmark)
{
	double		factor = ldexp(1.0, cache->landmark - landmark);

	cache->landmark = landmark;
	for (int32 item = 0; item < cache->nitems; item++)
	{
		ItemAudience *a = cache->items[item];

		for (int32 i = 0; a && i < a->n; i++)
			a->weights[i] = (float) (a->weights[i] * factor);
	}
}

/* Clock over items: a referenced list gets a second chance. */
void
audience_cache_evict(AudienceCache *cache, Size target)
{
	for (int64 visits = 0; cache->bytes > target && visits < 2 * (int64) cache->nitems; visits++)
	{
		ItemAudience *a;

		cache->hand = (cache->hand + 1) % cache->nitems;
		a = cache->items[cache->hand];
		if (a == NULL || a == NO_ROWS || a->dirty)
			continue;
		if (a->referenced && target > 0)
			a->referenced = false;
		else
			free_list(cache, a);
	}
}

Size
audience_cache_bytes(const AudienceCache *cache)
{
	return cache->bytes + sizeof(ItemAudience *) * (Size) cache->nitems +
		sizeof(int32) * (Size) cache->maxdirty;
}
