/*
 * audiences.h
 *	  The newest users of each item: a write-back cache over a table that a
 *	  model owns.
 */
#ifndef RECSYS_STATE_AUDIENCES_H
#define RECSYS_STATE_AUDIENCES_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "state/table.h"

/*
 * Entries of a stored row.  An event rewrites one row of its item, not the
 * whole list; 64 entries make a row of 1.1 kB.
 */
#define AUDIENCE_SEGMENT_SIZE 64

/* Columns of the table, and their types. */
enum
{
	AUDIENCE_ITEM, AUDIENCE_SEGMENT, AUDIENCE_LANDMARK, AUDIENCE_USERS,
	AUDIENCE_WEIGHTS, AUDIENCE_TIMES, AUDIENCE_NCOLUMNS
};

extern const Oid audience_types[AUDIENCE_NCOLUMNS];

typedef struct AudienceCache AudienceCache;

/*
 * The table may hold rows of items with numbers below nitems.  landmark is the
 * source's, of all weights in memory.  At most "limit" users are kept of an item.
 */
extern AudienceCache *audience_cache_create(MemoryContext parent, Oid nspid, const char *relname,
											const char *indexname, int32 limit, int32 nitems,
											int32 landmark);

/* Reads lists ahead, up to about so many bytes. */
extern void audience_cache_load_all(AudienceCache *cache, Size limit);

/*
 * r(user, item) becomes "weight", "time" being its newest event's.
 * appears: +1 the item is new in the user's history, -1 it leaves it, 0 neither.
 * A full list takes the user in place of its oldest one, if that is not newer.
 */
extern void audience_cache_change(AudienceCache *cache, int32 item, int32 user, double weight,
								  TimestampTz time, int appears);
/* Ask for the memory that a change will use: some changes before it what leads
 * to the list, then the list, then its arrays. */
extern void audience_cache_prefetch_place(AudienceCache *cache, int32 item);
extern void audience_cache_prefetch_list(AudienceCache *cache, int32 item);
extern void audience_cache_prefetch_arrays(AudienceCache *cache, int32 item, int appears);
extern void audience_cache_forget(AudienceCache *cache, int32 item);
/* Nothing is known of any item, and the table's rows are obsolete. */
extern void audience_cache_void(AudienceCache *cache);
extern void audience_cache_rescale(AudienceCache *cache, int32 landmark);
extern void audience_cache_write(AudienceCache *cache);	/* dirty rows -> table */
extern void audience_cache_evict(AudienceCache *cache, Size target);	/* clean lists */
extern Size audience_cache_bytes(const AudienceCache *cache);

/* One stored row, read in place; an error if it is not what was written. */
typedef struct AudienceRow
{
	int32		segment;
	int32		landmark;
	int			n;
	const int32 *users;
	const float *weights;
	const TimestampTz *times;	/* NULL if they were not asked for */
} AudienceRow;

extern void audience_row_read(TupleTableSlot *slot, bool times, AudienceRow *row);

#endif							/* RECSYS_STATE_AUDIENCES_H */
