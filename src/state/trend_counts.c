/*
 * trend_counts.c
 *	  Decayed counts of items over a table of a model, see trend_counts.h.
 *
 * Items number some ten thousand, a count takes 32 bytes, and whoever looks for
 * the largest needs them all: nothing is evicted.  An item whose last event was
 * taken back has no row.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

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
	bool	   *stored;			/* it has a row */
	bool	   *is_dirty;
	int32		ndirty;
	int32		maxdirty;
	int32	   *dirty;
};

const Oid	trend_count_types[TREND_COUNT_NCOLUMNS] = {INT4OID, FLOAT8OID, FLOAT8OID, INT8OID, TIMESTAMPTZOID};

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

static void
reach_item(TrendCounts *counts, int32 item)
{
	int32		max;

	counts->end = Max(counts->end, item + 1);
	if (item < counts->max)
		return;
	max = Max(MIN_ITEMS, Max(item + 1, counts->max + counts->max / 2));
	counts->counts = grow_array(counts, counts->counts, sizeof(TrendCount), counts->max, max);
	counts->stored = grow_array(counts, counts->stored, sizeof(bool), counts->max, max);
	counts->is_dirty = grow_array(counts, counts->is_dirty, sizeof(bool), counts->max, max);
	counts->max = max;
}

static void
mark_dirty(TrendCounts *counts, int32 item)
{
	if (counts->is_dirty[item])
		return;
	counts->is_dirty[item] = true;
	if (counts->ndirty == counts->maxdirty)
	{
		int32		max = Max(MIN_ITEMS, counts->maxdirty * 2);

		counts->dirty = grow_array(counts, counts->dirty, sizeof(int32), counts->maxdirty, max);
		counts->maxdirty = max;
	}
	counts->dirty[counts->ndirty++] = item;
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
	counts->ndirty = counts->maxdirty = 0;
	counts->dirty = NULL;
}

Size
trend_counts_bytes(const TrendCounts *counts)
{
	return (sizeof(TrendCount) + 2 * sizeof(bool)) * (Size) counts->max +
		sizeof(int32) * (Size) counts->maxdirty;
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

void
trend_count_read(TupleTableSlot *slot, int32 *item, TrendCount *count)
{
	*item = DatumGetInt32(checked_attribute(slot, TREND_COUNT_ITEM + 1));
	count->sums[TREND_RECENT] = DatumGetFloat8(checked_attribute(slot, TREND_COUNT_RECENT + 1));
	count->sums[TREND_LONGER] = DatumGetFloat8(checked_attribute(slot, TREND_COUNT_LONGER + 1));
	count->events = DatumGetInt64(checked_attribute(slot, TREND_COUNT_EVENTS + 1));
	count->as_of = DatumGetTimestampTz(checked_attribute(slot, TREND_COUNT_AS_OF + 1));
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
		int32		item;
		TrendCount	count;

		CHECK_FOR_INTERRUPTS();
		trend_count_read(t->slot, &item, &count);
		if (item < 0 || item > INT32_MAX / 2)
			continue;			/* not ours */
		reach_item(counts, item);
		counts->counts[item] = count;
		counts->stored[item] = true;
	}
	table_endscan(scan);
	table_close_state(t, AccessShareLock);
}

static void
write_row(TrendCounts *counts, StateTable *t, int32 item)
{
	const TrendCount *count = &counts->counts[item];
	Datum		values[TREND_COUNT_NCOLUMNS];

	values[TREND_COUNT_ITEM] = Int32GetDatum(item);
	if (count->events <= 0)
	{
		if (counts->stored[item])
			table_delete(t, 1, values);
		counts->stored[item] = false;
		return;
	}
	values[TREND_COUNT_RECENT] = Float8GetDatum(count->sums[TREND_RECENT]);
	values[TREND_COUNT_LONGER] = Float8GetDatum(count->sums[TREND_LONGER]);
	values[TREND_COUNT_EVENTS] = Int64GetDatum(count->events);
	values[TREND_COUNT_AS_OF] = TimestampTzGetDatum(count->as_of);
	if (counts->stored[item])
		table_put(t, 1, values, NULL);
	else
		table_insert(t, values, NULL);
	counts->stored[item] = true;
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
		write_row(counts, t, counts->dirty[i]);
		counts->is_dirty[counts->dirty[i]] = false;
	}
	counts->ndirty = 0;
	table_close_state(t, RowExclusiveLock);
}
