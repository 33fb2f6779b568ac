/*
 * trend_counts.c
 *	  Decayed counts of items over a table of a model, see trend_counts.h.
 *
 * Items number some ten thousand, a count takes 32 bytes, and whoever looks for
 * the largest needs them all: nothing is evicted.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "state/array.h"
#include "state/checked.h"
#include "state/trend_counts.h"

#define MIN_ITEMS 1024

struct TrendCounts
{
	MemoryContext context;		/* of the arrays */
	Oid			nspid;
	char		relname[NAMEDATALEN];
	char		indexname[NAMEDATALEN];
	TrendWindows windows;
	bool		table_void;		/* rows are to be deleted first */
	int32		end;			/* behind the largest number in use */
	int32		max;
	TrendCount *counts;			/* by item */
	bool	   *stored;			/* by block: it has a row */
	bool	   *is_dirty;		/* likewise */
	int32		ndirty;
	int32	   *dirty;			/* blocks */
};

const Oid	trend_count_types[TREND_COUNT_NCOLUMNS] = {
	INT4OID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID
};

TrendCounts *
trend_counts_create(MemoryContext parent, Oid nspid, const char *relname, const char *indexname,
				   const TrendWindows *windows)
{
	TrendCounts *counts = MemoryContextAllocZero(parent, sizeof(TrendCounts));

	counts->context = AllocSetContextCreate(parent, "recsys trend counts", ALLOCSET_DEFAULT_SIZES);
	counts->nspid = nspid;
	strlcpy(counts->relname, relname, NAMEDATALEN);
	strlcpy(counts->indexname, indexname, NAMEDATALEN);
	counts->windows = *windows;
	return counts;
}

static void *
grow_array(TrendCounts *counts, void *array, Size width, int32 from, int32 to)
{
	char	   *grown = array ? repalloc_huge(array, width * to) :
		MemoryContextAllocHuge(counts->context, width * to);

	memset(grown + width * from, 0, width * (to - from));
	return grown;
}

/* So many items have blocks with numbers smaller than that. */
static inline int32
blocks_of(int32 max)
{
	return max == 0 ? 0 : TREND_BLOCK_OF(max - 1) + 1;
}

static void
reach_item(TrendCounts *counts, int32 item)
{
	int32		max;

	counts->end = Max(counts->end, item + 1);
	if (item < counts->max)
		return;
	/* whole blocks */
	max = Max(MIN_ITEMS, Max(item + 1, counts->max + counts->max / 2));
	max = TYPEALIGN(TREND_BLOCK_SIZE, max);
	counts->counts = grow_array(counts, counts->counts, sizeof(TrendCount), counts->max, max);
	counts->stored = grow_array(counts, counts->stored, sizeof(bool),
								blocks_of(counts->max), blocks_of(max));
	counts->is_dirty = grow_array(counts, counts->is_dirty, sizeof(bool),
								  blocks_of(counts->max), blocks_of(max));
	counts->dirty = grow_array(counts, counts->dirty, sizeof(int32),
							   blocks_of(counts->max), blocks_of(max));
	counts->max = max;
}

static void
mark_dirty(TrendCounts *counts, int32 item)
{
	int32		block = TREND_BLOCK_OF(item);

	if (counts->is_dirty[block])
		return;
	counts->is_dirty[block] = true;
	counts->dirty[counts->ndirty++] = block;
}

/* ------------------------------------------------------------------ changes */

void
trend_counts_event(TrendCounts *counts, int32 item, TimestampTz time, double weight, int sign)
{
	reach_item(counts, item);
	/* what was never counted does not count against the whole either */
	if (sign < 0 && counts->counts[item].events == 0)
		return;
	trend_count(&counts->counts[item], &counts->windows, time, weight, sign);
	trend_count(&counts->counts[0], &counts->windows, time, weight, sign);
	mark_dirty(counts, item);
	mark_dirty(counts, 0);
}

void
trend_counts_forget(TrendCounts *counts, int32 item)
{
	if (item <= 0 || item >= counts->end)
		return;
	trend_subtract(&counts->counts[0], &counts->windows, &counts->counts[item]);
	memset(&counts->counts[item], 0, sizeof(TrendCount));
	mark_dirty(counts, item);
	mark_dirty(counts, 0);
}

void
trend_counts_void(TrendCounts *counts)
{
	MemoryContextReset(counts->context);
	counts->table_void = true;
	counts->end = counts->max = 0;
	counts->counts = NULL;
	counts->stored = counts->is_dirty = NULL;
	counts->ndirty = 0;
	counts->dirty = NULL;
}

Size
trend_counts_bytes(const TrendCounts *counts)
{
	return sizeof(TrendCount) * (Size) counts->max +
		(2 * sizeof(bool) + sizeof(int32)) * (Size) blocks_of(counts->max);
}

const TrendCount *
trend_counts_get(const TrendCounts *counts, int32 item)
{
	return item < counts->end ? &counts->counts[item] : NULL;
}

int32
trend_counts_end(const TrendCounts *counts)
{
	return counts->end;
}

/* -------------------------------------------------------------------- table */

/* NULL: the model has been dropped, and we are about to hear of it. */
static StateTable *
open_table(TrendCounts *counts, LOCKMODE lockmode)
{
	StateTable *t;

	if (!OidIsValid(get_relname_relid(counts->relname, counts->nspid)))
		return NULL;
	t = table_open_state(counts->nspid, counts->relname, counts->indexname, lockmode);
	checked_types(t, TREND_COUNT_NCOLUMNS, trend_count_types);
	return t;
}

static void *
array_of(TupleTableSlot *slot, int column, Oid type)
{
	int			n;
	void	   *elements = checked_array(checked_attribute(slot, column + 1), type, &n);

	if (n != TREND_BLOCK_SIZE)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("%d items in a row of the counts of a model instead of %d", n, TREND_BLOCK_SIZE),
				errhint("Drop the model with recsys.drop_model() and create it again."));
	return elements;
}

void
trend_counts_read(TupleTableSlot *slot, TrendCount *counts)
{
	const double *recent = array_of(slot, TREND_COUNT_RECENT, FLOAT8OID);
	const double *longer = array_of(slot, TREND_COUNT_LONGER, FLOAT8OID);
	const int64 *events = array_of(slot, TREND_COUNT_EVENTS, INT8OID);
	const int64 *as_of = array_of(slot, TREND_COUNT_AS_OF, INT8OID);

	for (int i = 0; i < TREND_BLOCK_SIZE; i++)
		counts[i] = (TrendCount) {{recent[i], longer[i]}, as_of[i], events[i]};
}

void
trend_counts_load(TrendCounts *counts)
{
	StateTable *t = open_table(counts, AccessShareLock);
	TableScanDesc scan;

	if (t == NULL)
		return;
	scan = table_beginscan(t->rel, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, t->slot))
	{
		int32		block = DatumGetInt32(checked_attribute(t->slot, TREND_COUNT_BLOCK + 1));
		int32		first = (block - 1) * TREND_BLOCK_SIZE;

		CHECK_FOR_INTERRUPTS();
		if (block < 1 || block > INT32_MAX / 2 / TREND_BLOCK_SIZE)
			continue;			/* not ours */
		reach_item(counts, first + TREND_BLOCK_SIZE - 1);
		trend_counts_read(t->slot, counts->counts + first);
		counts->stored[block] = true;
	}
	table_endscan(scan);
	table_close_state(t, AccessShareLock);
}

static void
write_block(TrendCounts *counts, StateTable *t, int32 block)
{
	const TrendCount *count = counts->counts + (block - 1) * TREND_BLOCK_SIZE;
	double		sums[TREND_SUMS][TREND_BLOCK_SIZE];
	int64		events[TREND_BLOCK_SIZE],
				as_of[TREND_BLOCK_SIZE];
	Datum		values[TREND_COUNT_NCOLUMNS];

	for (int i = 0; i < TREND_BLOCK_SIZE; i++)
	{
		sums[TREND_RECENT][i] = count[i].sums[TREND_RECENT];
		sums[TREND_LONGER][i] = count[i].sums[TREND_LONGER];
		events[i] = count[i].events;
		as_of[i] = count[i].as_of;
	}
	values[TREND_COUNT_BLOCK] = Int32GetDatum(block);
	values[TREND_COUNT_RECENT] = array_datum(sums[TREND_RECENT], TREND_BLOCK_SIZE, sizeof(double), FLOAT8OID);
	values[TREND_COUNT_LONGER] = array_datum(sums[TREND_LONGER], TREND_BLOCK_SIZE, sizeof(double), FLOAT8OID);
	values[TREND_COUNT_EVENTS] = array_datum(events, TREND_BLOCK_SIZE, sizeof(int64), INT8OID);
	values[TREND_COUNT_AS_OF] = array_datum(as_of, TREND_BLOCK_SIZE, sizeof(int64), INT8OID);
	if (counts->stored[block])
		table_put(t, 1, values, NULL);
	else
		table_insert(t, values, NULL);
	for (int i = TREND_COUNT_RECENT; i < TREND_COUNT_NCOLUMNS; i++)
		pfree(DatumGetPointer(values[i]));
	counts->stored[block] = true;
}

void
trend_counts_write(TrendCounts *counts)
{
	StateTable *t;

	if (counts->ndirty == 0 && !counts->table_void)
		return;
	t = open_table(counts, RowExclusiveLock);
	if (t == NULL)
	{
		trend_counts_void(counts);
		return;
	}
	if (counts->table_void)
		table_delete(t, 0, NULL);
	counts->table_void = false;
	for (int32 i = 0; i < counts->ndirty; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_block(counts, t, counts->dirty[i]);
		counts->is_dirty[counts->dirty[i]] = false;
	}
	counts->ndirty = 0;
	table_close_state(t, RowExclusiveLock);
}
