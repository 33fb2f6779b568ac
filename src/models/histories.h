/*
 * histories.h
 *	  All histories of a source at one moment, compactly: the matrix of r(u,i)
 *	  by rows and, where asked for, the users of each item.
 */
#ifndef RECSYS_HISTORIES_H
#define RECSYS_HISTORIES_H

#include "postgres.h"

#include "models/model.h"
#include "numeric/alloc.h"
#include "numeric/pairs_build.h"
#include "numeric/rowsum.h"

typedef struct HistorySet
{
	MemoryContext context;
	Histories	h;				/* rows are users that have a history, in no
								 * order; their items oldest first */
	int64		nentries;
	int64	   *item_offsets;	/* by item number, max_item + 2 elements */
	int32	   *item_rows;		/* rows of h */
	int32		max_item;
} HistorySet;

/* From memory, and from the table what is not in memory.  Needs an active
 * snapshot.  The parent owns it; free with MemoryContextDelete(set->context). */
extern HistorySet *histories_collect(ModelHost *host, MemoryContext parent, bool by_item);

/* Fills in the users of each item, numbers up to max_item; memory is set->context's. */
extern void histories_index(HistorySet *set, int32 max_item);

/* Every weight becomes 1. */
extern void histories_count(HistorySet *set);

/* One row of dot products, of an indexed set; sum reaches all its items. */
extern void histories_sum_row(const HistorySet *set, RowSum *sum, int32 item, PairRowView *row);

/* Memory for numeric/: large blocks on huge pages where the system has them. */
extern Allocator histories_allocator(MemoryContext context);

#endif							/* RECSYS_HISTORIES_H */
