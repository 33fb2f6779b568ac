/*
 * windows_impl.h
 *	  What the files that keep windows share: the state of the consumer in the
 *	  stream worker.
 *
 * windows_consumer.c takes the events, windows_cells.c, windows_orders.c and
 * windows_combinations.c are write-back caches over the tables of the same names,
 * windows_users.c counts users again where events were taken back, and
 * windows_age.c puts old buckets together and drops them.
 */
#ifndef RECSYS_WINDOWS_IMPL_H
#define RECSYS_WINDOWS_IMPL_H

#include "postgres.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "utils/timestamp.h"

#include "metrics/amount.h"
#include "metrics/windows.h"
#include "models/consumer.h"
#include "models/model.h"
#include "numeric/sketch.h"

/* --- combinations of dimension values -------------------------------------- */
typedef struct Combination
{
	int32		number;
	int			length;
	char	   *bytes;			/* per dimension: int32 length or -1, then the text */
} Combination;

/* --- what is counted -------------------------------------------------------- */
typedef struct CellKey
{
	TimestampTz bucket;
	int32		combination;
	int32		zero;			/* the key is hashed as bytes */
} CellKey;

typedef struct Cell
{
	CellKey		key;
	dlist_node	node;			/* of the dirty, or the clean cells */
	TimestampTz end;
	int64		events;
	int64		impressions;
	int64		clicks;
	int64		conversions;
	int64		orders;
	int64		ratings;
	int64		satisfied;
	Amount		revenue;
	Amount		rating_sum;
	Sketch		users;
	bool		users_stale;	/* users of events that were taken back are in it */
	bool		counting;		/* its users are being counted again */
	bool		stored;			/* has a row */
	bool		dirty;
} Cell;

/* --- orders ------------------------------------------------------------------ */
typedef struct OrderPlace
{
	TimestampTz bucket;			/* of the length "bucket", whatever was rolled up */
	int32		combination;
	bool		stored;
	bool		dirty;
	int64		events;
} OrderPlace;

typedef struct Order
{
	char	   *id;				/* hash key */
	dlist_node	node;
	int			n;
	int			room;
	OrderPlace *places;			/* by bucket and number of the combination */
	bool		dirty;
} Order;

struct celltab_hash;
struct ordertab_hash;
struct combtab_hash;

typedef struct Windows
{
	ModelHost  *host;
	RecsysMetrics *metrics;
	MemoryContext context;		/* of everything */
	Allocator	allocator;		/* of sketches */
	Size		sketches;		/* bytes of them */
	bool		void_tables;	/* rows in the tables are obsolete */
	bool		complete;		/* what is not in memory is in no table */

	/* the columns asked for, and which of them is what; -1: not mapped */
	int			ncolumns;
	char	  **columns;
	int			type_at,
				amount_at,
				order_at,
				rating_at,
				dimension_at[RECSYS_MAX_DIMENSIONS];
	Oid			type_type,
				amount_type,
				rating_type;	/* types of these columns */

	struct combtab_hash *combinations;
	Combination **by_number;	/* (ncombinations) */
	int32		ncombinations;	/* WINDOWS_OTHER included */
	int32		nstored;		/* of them, in the table */
	int32		maxcombinations;	/* room at by_number */
	Size		combination_bytes;
	StringInfo	key;			/* scratch */

	struct celltab_hash *cells;
	dlist_head	dirty_cells;
	dlist_head	clean_cells;	/* the longest unused first */
	struct ordertab_hash *orders;
	dlist_head	dirty_orders;
	dlist_head	clean_orders;
	Size		order_bytes;

	List	   *stale;			/* CellKey *, of users to be counted again */
	XLogRecPtr	fed_lsn;		/* end of the newest transaction, of which a part has come */
	TimestampTz users_again;	/* not before, where that takes long */

	/* the row of window_state */
	bool		state_dirty;
	TimestampTz latest;			/* DT_NOBEGIN: none */
	TimestampTz rolled_until;	/* likewise */
	TimestampTz expired_until;	/* likewise */
	int64		expired;
	int64		other;
	int64		other_warned;	/* what recsys.status says */
	int64		without_amount;
} Windows;

/* windows_consumer.c */
/* What an event is: bits KIND_..., the combination that it belongs to (added), its
 * amount and rating where it has one. */
typedef struct WindowEvent
{
	int			kinds;
	int32		combination;
	bool		has_amount;		/* a conversion that brings in "amount" */
	bool		without_amount; /* no amount or no rating where there should be one */
	AmountValue amount;
	AmountValue rating;
} WindowEvent;

extern bool windows_read_event(Windows *w, const char *const *texts, const int *lengths,
							   bool add, WindowEvent *out);
extern uint64 windows_user_hash(const Windows *w, const KeyValue *user);
extern bool windows_tables_exist(const Windows *w);

/* windows_combinations.c */
extern void combinations_create(Windows *w);
/* number of the combination, a new one if there is room, else WINDOWS_OTHER */
extern int32 combinations_get(Windows *w, const char *const *texts, const int *lengths, bool add);
extern int	combinations_compare(const Windows *w, int32 a, int32 b);
extern void combinations_load(Windows *w);
extern void combinations_write(Windows *w);
extern void combinations_clear(Windows *w);

/* windows_cells.c */
extern void cells_create(Windows *w);
/* begin of the bucket of a time, and of the row that it is counted in */
extern TimestampTz bucket_of(const Windows *w, TimestampTz time);
extern TimestampTz row_of_bucket(const Windows *w, TimestampTz bucket);
/* the cell in which a bucket is counted; NULL if it has expired */
extern Cell *cells_get(Windows *w, TimestampTz bucket, int32 combination);
extern Cell *cells_find(Windows *w, TimestampTz row, int32 combination);
extern Cell *cells_peek(Windows *w, TimestampTz row, int32 combination);
extern void cells_changed(Windows *w, Cell *cell);
extern void cells_add_user(Windows *w, Cell *cell, uint64 hash);
extern void cells_move(Windows *w, Cell *into, Cell *cell);
extern void cells_write(Windows *w);
extern void cells_evict(Windows *w, Size target);
extern void cells_drop_before(Windows *w, TimestampTz end);
extern void cells_clear(Windows *w);
extern Size cells_memory(const Windows *w);

/* windows_orders.c */
extern void orders_create(Windows *w);
extern void orders_event(Windows *w, const char *id, TimestampTz bucket, int32 combination, int sign);
extern void orders_write(Windows *w);
extern void orders_evict(Windows *w, Size target);
extern void orders_clear(Windows *w);
extern Size orders_memory(const Windows *w);

/* windows_users.c */
extern void users_stale(Windows *w, const Cell *cell);
extern void users_load(Windows *w);
extern void users_count_again(Windows *w);

/* windows_age.c */
extern void age_windows(Windows *w);

/* What an event is, as bits. */
#define KIND_IMPRESSION 1
#define KIND_CLICK 2
#define KIND_CONVERSION 4
#define KIND_RATING 8

#endif							/* RECSYS_WINDOWS_IMPL_H */
