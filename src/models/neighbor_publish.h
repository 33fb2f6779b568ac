/*
 * neighbor_publish.h
 *	  How models that are lists of neighbours have them, bring them up to date and write them:
 *	  from pairs kept in memory (numeric/pairs.h) or, where those do not fit, from
 *	  all histories, row by row.
 */
#ifndef RECSYS_NEIGHBOR_PUBLISH_H
#define RECSYS_NEIGHBOR_PUBLISH_H

#include "postgres.h"

#include "compat.h"
#include "models/histories.h"
#include "models/model.h"
#include "models/neighbor_table.h"
#include "numeric/neighbors.h"
#include "numeric/pairs.h"
#include "numeric/rowsum.h"

/* What kind of lists a model has. */
typedef struct NeighborMethods
{
	const NeighborCoding *coding;	/* or NULL */
	/* the stored pairs; NULL where they did not fit, or do no more */
	PairStore  *(*store) (void *model);
	/* computes afresh what neighbors_next_worn() names; true if there was
	 * anything.  NULL where sums are exact. */
	bool		(*repair) (void *model);
	/* all histories, by item, as sum_row() wants them; NULL: histories_collect() */
	HistorySet *(*collect) (void *model);
	/* the row of a number from these; the sums reach max_number() */
	void		(*sum_row) (void *model, const HistorySet *set, RowSum *sum, int32 number,
							PairRowView *row);
	int32		(*max_number) (void *model);
} NeighborMethods;

/* The model's own struct begins with it. */
typedef struct NeighborModel
{
	const NeighborMethods *methods;
	ModelHost  *host;
	const RecsysModel *model;
	MemoryContext context;		/* the model's */
	Allocator	allocator;		/* in there */
	int			k;
	bool		with_counts;	/* row sums count common users */
	NeighborLists *lists;
	uint64		published_change;	/* newest one at the last publication */
	TimestampTz pause_until;	/* without stored pairs */
} NeighborModel;

/* A model of this size, zeros but for what is common and known, in a context of its own. */
extern void *neighbor_model_open(Size size, const NeighborMethods *methods, ModelHost *host,
								 const RecsysModel *model);
extern void neighbor_model_close(NeighborModel *model);

/* New lists in place of the old, which know nothing yet. */
extern void neighbor_model_lists(NeighborModel *model, const NeighborParams *params);
/* What is published is told to them, and that everything up to max_number has changed. */
extern void neighbor_model_load(NeighborModel *model, int32 max_number);

/* Does what ModelAlgorithm.publish() is for. */
extern bool neighbor_publish(NeighborModel *model, bool all);

/* The error of a model whose lists find no memory. */
pg_noreturn extern void neighbor_out_of_memory(const NeighborModel *model);

#endif							/* RECSYS_NEIGHBOR_PUBLISH_H */
