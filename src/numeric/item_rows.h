/*
 * item_rows.h
 *	  The rows of dot products of all items, one after the other, from all
 *	  histories: the batch pass.
 *
 * The histories are transposed once (items -> users), then every row is one
 * run of rowsum over the users of the item, in their order.  The work is the
 * sum over users of the squared length of their history.
 */
#ifndef RECSYS_NUMERIC_ITEM_ROWS_H
#define RECSYS_NUMERIC_ITEM_ROWS_H

#include "numeric/alloc.h"
#include "numeric/pairs.h"

/* All histories, by user: user u has items[offsets[u] .. offsets[u + 1]) with
 * their weights, no item twice.  offsets has nusers + 1 elements. */
typedef struct Histories
{
	int32_t		nusers;
	const int64_t *offsets;
	const int32_t *items;
	const float *weights;
} Histories;

typedef struct ItemRows ItemRows;

/* The histories stay the caller's and must stay as they are until the end.
 * NULL when there is no memory. */
extern ItemRows *item_rows_begin(const Histories *histories, const Allocator *memory, bool with_counts);
/* Of "entries" items in histories, the largest of them max_item. */
extern size_t item_rows_bytes(int64_t entries, int32_t max_item, bool with_counts);
/* The largest item of all. */
extern int32_t item_rows_max_item(const ItemRows *rows);
/* The next item, from 1, whose row the view shows until the next call; 0: that
 * was the last one. */
extern int32_t item_rows_next(ItemRows *rows, PairRowView *row);
/* Products done and to do. */
extern int64_t item_rows_done(const ItemRows *rows);
extern int64_t item_rows_total(const ItemRows *rows);
extern void item_rows_end(ItemRows *rows);

#endif							/* RECSYS_NUMERIC_ITEM_ROWS_H */
