/*
 * neighbors.h
 *	  The k most similar items of every item, kept up as dots change.
 *
 * score(i,j) = dot(i,j) / (norm(i) * norm(j) + shrinkage), norm = sqrt(sumsq);
 * 0 if a norm is 0, if fewer than min_support users are common, or if the
 * cosine is not above 4e-6.  Only scores above 0 are listed.
 *
 * Other measures (measure.h) are of the counts that dots are where every weight is 1:
 * dot(i,j) = n(i,j) and sumsq(i) = n(i).  Then min_support needs no counts beside them.
 * What depends on the number of all users is right for the one that
 * neighbors_set_total() told last.
 *
 * The rhythm: neighbors_touch() with every change of r(u,i), next to
 * pairs_add(); now and then neighbors_refresh() until it is done; then, for
 * every row that neighbors_next_dirty() names, write neighbors_topk() to the
 * table and say so by neighbors_published().  After that every published
 * score is within 1e-3 of the exact one, and no unlisted pair beats the k-th
 * listed by more than that.  The 1e-3 is spent as follows: a row is written
 * when a score is off by NEIGHBORS_EPS, norms may lag by NEIGHBORS_DRIFT (a
 * score is then off by twice that part of itself), the rest is for the rounding
 * of dots (pairs.c).  Of measures without a bound, all that is the part of a score or
 * rank above 1; llr lets no number of users lag.
 *
 * Besides, every item may have a weight, by which its scores count where it is
 * recommended: trust / length of its own list of k scores (Deshpande and Karypis,
 * 2004, normalise rows to one length; an item that is similar to many others
 * by much would otherwise crowd out the rest).  It is published with every row that
 * lists the item, as one byte, the same in all rows; between neighbors_refresh() and
 * neighbors_next_dirty() comes neighbors_weigh().  A weight that was published is
 * let be while it is right to within an eighth of an octave (9 %), or three while more
 * changes come (neighbors_strict()).
 *
 * Where the pairs don't fit in memory, rows come from elsewhere: instead of
 * neighbors_refresh(), work off neighbors_next_row() with neighbors_put_row().
 */
#ifndef RECSYS_NUMERIC_NEIGHBORS_H
#define RECSYS_NUMERIC_NEIGHBORS_H

#include <math.h>

#include "numeric/alloc.h"
#include "numeric/measure.h"
#include "numeric/pairs.h"

#define NEIGHBORS_EPS	5e-4
#define NEIGHBORS_EARLY_EPS 2e-3
#define NEIGHBORS_DRIFT	1e-4

typedef struct NeighborLists NeighborLists;

typedef struct NeighborParams
{
	int			k;
	double		shrinkage;		/* >= 0 */
	int			min_support;	/* <= 1: any */
	double		eps;			/* 0: NEIGHBORS_EPS */
	double		drift;			/* 0: NEIGHBORS_DRIFT; < 0: none, lists are exact */
	double		early_eps;		/* what is not put off, see neighbors_strict();
								 * 0: eps */
	/* weights; neither: there are none */
	bool		normalize;		/* by the length of the list */
	double		(*trust) (const void *arg, int32_t item);	/* > 0; NULL: 1 */
	const void *arg;
	Measure		measure;
	/* instead of neighbors_set_sumsq(); or NULL */
	double		(*sumsq) (const void *arg, int32_t item);
} NeighborParams;

/* NULL when there is no memory. */
extern NeighborLists *neighbors_create(const Allocator *memory, size_t max_bytes,
									   const NeighborParams *params);
extern void neighbors_destroy(NeighborLists *nl);
extern size_t neighbors_bytes(const NeighborLists *nl);

/* sumsq[i], i in [0, n): the caller's array, read at touches and refreshes;
 * items beyond have 0.  To be told again when it moves or grows. */
extern void neighbors_set_sumsq(NeighborLists *nl, const double *sumsq, int32_t n);

/* How many users there are.  neighbors_touch_all() is to follow. */
extern void neighbors_set_total(NeighborLists *nl, double total);

/*
 * r(u,i) of one user moved by delta; js and rs are the rest of the user's
 * history, as for pairs_add().  False: no memory (the lists are then only
 * good for neighbors_destroy(); so for all functions here).
 */
extern bool neighbors_touch(NeighborLists *nl, int32_t i, const int32_t *js,
							const double *rs, int n, double delta);

/* Anything may have changed in row i, as after pairs_set(). */
extern bool neighbors_touch_row(NeighborLists *nl, int32_t i);

/* Everything may have changed, as after a build or a change of scale: every
 * row 1 .. max_item is to be listed afresh.  What is published stays. */
extern bool neighbors_touch_all(NeighborLists *nl, int32_t max_item);

typedef enum NeighborsState
{
	NEIGHBORS_DONE,				/* the lists are right but for what came between
								 * the calls (neighbors_behind()), dirty rows
								 * are known */
	NEIGHBORS_MORE,				/* call again */
	NEIGHBORS_FAILED			/* no memory */
} NeighborsState;

/* Scans up to budget rows, or does other work for as long.  Between the calls
 * events may go on.  ps is the store that the same events go into; several
 * NeighborLists may share it. */
extern NeighborsState neighbors_refresh(NeighborLists *nl, PairStore *ps, int budget);

/*
 * Rows off by more than eps, but not by more than early_eps, are put off, and
 * most of them are written once for many small moves.  With "strict" the next
 * refresh puts nothing off, and takes up what was.
 */
extern bool neighbors_strict(NeighborLists *nl, bool strict);
extern bool neighbors_put_off(NeighborLists *nl);	/* is there such a row? */

/* Has anything been touched that the refresh just done did not take up? */
extern bool neighbors_behind(const NeighborLists *nl);

/* Without a store: the next item whose row is wanted, 0 when done, -1 without
 * memory.  Then neighbors_put_row() with all its partners, computed from the
 * histories of its users as they are now (rowsum.h). */
extern int32_t neighbors_next_row(NeighborLists *nl);
extern bool neighbors_put_row(NeighborLists *nl, int32_t i, const PairRowView *row);

/* Finds the weights that have moved, and makes the rows that show them dirty; up
 * to budget rows.  After NEIGHBORS_DONE, until it is done itself. */
extern NeighborsState neighbors_weigh(NeighborLists *nl, int budget);
/* Of these items, as published from now on.  False: there are no weights. */
extern bool neighbors_weights(NeighborLists *nl, int n, const int32_t *items, uint8_t *weights);
/* Behind neighbors_load_published(): the row's weights, NULL if it has none. */
extern bool neighbors_load_weights(NeighborLists *nl, int32_t i, const int32_t *items,
								   const uint8_t *weights, int n);

/* A published weight as a number, from 2^-16 to 2^16. */
static inline float
neighbor_weight(uint8_t weight)
{
	return exp2f(((float) weight - 128) / 8);
}

/* A row whose published form is off, or 0; the same one until it is told to
 * be published.  Right after NEIGHBORS_DONE (of neighbors_weigh(), if there are weights). */
extern int32_t neighbors_next_dirty(NeighborLists *nl);
/* The list of an item, best first, ties by the smaller item; returns its
 * length, at most k. */
extern int	neighbors_topk(NeighborLists *nl, int32_t i, int32_t *items,
						   float *scores);
/* The table now holds what neighbors_topk() gives. */
extern bool neighbors_published(NeighborLists *nl, int32_t i);
/* The table holds this row, as found after a restart (best first); before the
 * first refresh. */
extern bool neighbors_load_published(NeighborLists *nl, int32_t i,
									 const int32_t *items, const float *scores,
									 int n);

/* Item i is gone: out of all lists, its own row is empty, and rows that were
 * published with it are dirty.  Its sumsq must read 0 from now on, and
 * pairs_clear_item() be called as well. */
extern bool neighbors_forget(NeighborLists *nl, int32_t i);

/* An item whose norm has fallen so far that rounding may show in its dots, or
 * 0: its row should be computed afresh, put into the store by pairs_set(),
 * and all lists told by neighbors_touch_row().  None where sums are exact. */
extern int32_t neighbors_next_worn(NeighborLists *nl);

typedef struct NeighborsWork
{
	int64_t		scans;			/* rows scanned because their item was touched */
	int64_t		rescans;		/* rows scanned because their list ran short */
	int64_t		cells;			/* cells looked at */
	int64_t		pairs;			/* pairs looked at singly */
	int64_t		lookups;		/* lists searched for a partner */
} NeighborsWork;

extern NeighborsWork neighbors_work(const NeighborLists *nl);

#endif							/* RECSYS_NUMERIC_NEIGHBORS_H */
