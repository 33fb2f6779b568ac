/*
 * item_counts.h
 *	  How many sessions have each item: in memory for all items, over a table
 *	  that a model owns.
 */
#ifndef RECSYS_STATE_ITEM_COUNTS_H
#define RECSYS_STATE_ITEM_COUNTS_H

#include "postgres.h"

#include "state/sessions.h"
#include "state/table.h"

/* Items of a row, of 1 kB. */
#define COUNT_BLOCK_SIZE 256

/* Rows are numbered from 1, as hinted.h wants it. */
#define COUNT_BLOCK_OF(item) ((item) / COUNT_BLOCK_SIZE + 1)
#define COUNT_PLACE_OF(item) ((item) % COUNT_BLOCK_SIZE)

/* Columns of the table, and their types. */
enum
{
	COUNT_BLOCK, COUNT_COUNTS, COUNT_NCOLUMNS
};

extern const Oid count_types[COUNT_NCOLUMNS];

typedef struct ItemCounts ItemCounts;

extern ItemCounts *item_counts_create(MemoryContext parent, Oid nspid, const char *relname,
									  const char *indexname);
extern void item_counts_load(ItemCounts *counts);
extern void item_counts_add(ItemCounts *counts, int32 item, int32 delta);
/* All are 0, and the table's rows are obsolete. */
extern void item_counts_void(ItemCounts *counts);
extern void item_counts_write(ItemCounts *counts);	/* dirty rows -> table */
extern Size item_counts_bytes(const ItemCounts *counts);

/* COUNT_BLOCK_SIZE counts of a stored row, in place. */
extern const int32 *item_counts_row(TupleTableSlot *slot);

#endif							/* RECSYS_STATE_ITEM_COUNTS_H */
