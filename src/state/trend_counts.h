/*
 * trend_counts.h
 *	  Decayed counts of each item's events (numeric/trend.h): all of them in
 *	  memory, and a table that a model owns.
 *
 * Item 0 counts all items together.  Items with neighbouring numbers share a row:
 * while events come fast nearly all items change between two flushes.
 */
#ifndef RECSYS_TREND_COUNTS_H
#define RECSYS_TREND_COUNTS_H

#include "postgres.h"

#include "numeric/trend.h"
#include "state/table.h"

/* Items of a row, of 1 kB. */
#define TREND_BLOCK_SIZE 32

/* Rows are numbered from 1, as other tables' are. */
#define TREND_BLOCK_OF(item) ((item) / TREND_BLOCK_SIZE + 1)
#define TREND_PLACE_OF(item) ((item) % TREND_BLOCK_SIZE)

/* Columns of the table, and their types. */
enum
{
	TREND_COUNT_BLOCK, TREND_COUNT_RECENT, TREND_COUNT_LONGER, TREND_COUNT_EVENTS, TREND_COUNT_AS_OF, TREND_COUNT_NCOLUMNS
};

extern const Oid trend_count_types[TREND_COUNT_NCOLUMNS];

typedef struct TrendCounts TrendCounts;

extern TrendCounts *trend_counts_create(MemoryContext parent, Oid nspid, const char *relname,
									  const char *indexname, const TrendWindows *windows);
extern void trend_counts_load(TrendCounts *counts);	/* the whole table */

/* An event of an item happened (sign +1), or is taken back (-1). */
extern void trend_counts_event(TrendCounts *counts, int32 item, TimestampTz time, double weight,
							  int sign);
extern void trend_counts_forget(TrendCounts *counts, int32 item);
/* Nothing has happened, and the table's rows are obsolete. */
extern void trend_counts_void(TrendCounts *counts);
extern void trend_counts_write(TrendCounts *counts);	/* dirty rows -> table */
extern Size trend_counts_bytes(const TrendCounts *counts);

/* By number, 0 being all; NULL if there is none so large. */
extern const TrendCount *trend_counts_get(const TrendCounts *counts, int32 item);
/* Numbers are smaller than that. */
extern int32 trend_counts_end(const TrendCounts *counts);

/* The counts of a stored row, TREND_BLOCK_SIZE of them; an error if it is not what
 * was written. */
extern void trend_counts_read(TupleTableSlot *slot, TrendCount *counts);

#endif							/* RECSYS_TREND_COUNTS_H */
