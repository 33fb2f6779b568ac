/*
 * neighbors_impl.h
 *	  What the parts of the neighbour lists share: neighbors.c (life, touches,
 *	  what is published), neighbors_list.c (one list), neighbors_refresh.c (the
 *	  algorithm), neighbors_weigh.c (weights).
 */
#ifndef RECSYS_NUMERIC_NEIGHBORS_IMPL_H
#define RECSYS_NUMERIC_NEIGHBORS_IMPL_H

#include "numeric/arena.h"
#include "numeric/neighbors.h"
#include "numeric/neighbors_scan.h"
#include "numeric/topk.h"

/* Cells per call of the inner loop: few at first, while the bar of a row that
 * is listed from scratch still rises fast. */
#define FIRST_CELLS	256
#define SCAN_CELLS	2048

/* flags of an item */
#define TOUCHED		0x01		/* in nl->touched */
#define WHOLE		0x02		/* touched: its whole row is to be scanned */
#define IN_BATCH	0x04		/* in nl->batch, gate closed */
#define SHORT_LIST	0x08		/* in nl->rescan */
#define CHANGED		0x10		/* in nl->changed: to be compared with what is published */
#define DIRTY		0x20		/* published row is off */
#define FORCED		0x40		/* ... whatever the comparison says */
#define QUEUED		0x80		/* in nl->dirty */
#define WORN		0x100		/* in nl->worn */
#define LATER		0x200		/* in nl->later: published row is off by little */

#define TRUST		0x400		/* in nl->trusts: what its trust is made of may have moved */

#define OFF_WEIGHT	0x800		/* in nl->off_weights */

/* bits of nl->marks, all clear between uses */
#define MARK_MET	0x01		/* the scan under way told this list */
#define MARK_TIDY	0x02
#define MARK_OLD	0x04

typedef struct List
{
	/* [cap] each, in one block and no order: all above floor.  Scores in here, and in
	 * what follows, are ranks where the measure tells these apart. */
	int32_t    *items;
	float	   *scores;
	float	   *shown;			/* the published score, NOT_SHOWN if not published */
	uint16_t	n;
	uint16_t	cap;
	RankKey		floor;			/* no partner outside the list is above it */
	int32_t    *published;		/* [npublished] items, then their scores */
	uint16_t	npublished;
	uint16_t	maxpublished;
	uint16_t	nshown;			/* published items that are in the list */
	/* lists that this item entered: every list that it is in, and some that it
	 * left since, or twice; tidied when the item's row is scanned */
	int32_t    *members;
	uint32_t	nmembers;
	uint32_t	maxmembers;
	uint32_t	nlists;			/* lists that it is in */
} List;

#define NOT_SHOWN	(-1.0f)
#define ENTRY_BYTES	(sizeof(int32_t) + 2 * sizeof(float))

/* What came upon an item. */
typedef struct Pending
{
	uint16_t	flags;
	uint32_t	pairs;			/* in nl->pairs */
	uint32_t	max_pairs;		/* more than that, and the row is scanned */
	float		peak;			/* largest sumsq since the row was computed */
} Pending;

/* A pair whose dot changed by an event on i. */
typedef struct Pair
{
	int32_t		i;
	int32_t		j;				/* -j: its score may have fallen */
} Pair;

/* Growing arrays. */
typedef struct Stack
{
	int32_t    *items;
	uint32_t	n;
	uint32_t	max;
} Stack;

typedef struct Pairs
{
	Pair	   *pairs;
	uint32_t	n;
	uint32_t	max;
} Pairs;

typedef enum Phase
{
	PHASE_IDLE,
	PHASE_SCAN,					/* rows of the batch */
	PHASE_PAIRS,				/* single pairs */
	PHASE_RESCAN,				/* lists that ran short */
	PHASE_CHECK					/* compare changed lists with the published */
} Phase;

/* Log-likelihood ratios by the numbers that they follow from, which are small ones again
 * and again. */
#define LLR_MEMO	8192

typedef struct LlrMemo
{
	float		both;
	float		own;
	float		other;
	float		rank;
} LlrMemo;

struct NeighborLists
{
	Arena	   *arena;
	int			k;
	int			max_list;		/* entries a list may have */
	float		shrinkage;
	int			min_support;
	float		eps;
	float		early_eps;
	bool		strict;			/* nothing is put off */
	float		drift;			/* of a norm, relative, that is let be */
	const double *sumsq;		/* [nsumsq], the caller's */
	int32_t		nsumsq;
	bool		normalize;
	double		(*trust) (const void *arg, int32_t item);
	double		(*sumsq_of) (const void *arg, int32_t item);
	const void *arg;
	Measure		measure;
	bool		relative;		/* tolerances are parts of a rank above 1 */
	double		total;			/* users */
	LlrMemo    *memo;			/* [LLR_MEMO], for this total; NULL: another measure */
	bool		rows_only;		/* rows came from neighbors_put_row() last */

	/* by item, [nitems] */
	int32_t		nitems;
	float	   *norms;			/* as used in all scores; numbers of users where the
								 * measure is of counts */
	float	   *gates;			/* measure_bar() of the floor less a margin; infinite in
								 * a batch */
	Pending    *pending;
	List	   *lists;
	uint8_t    *marks;			/* 0; scratch */
	float	   *seen;			/* NOT_SHOWN; scratch */
	uint8_t    *weights;		/* as published; 0: never */

	Phase		phase;
	Stack		touched;		/* since the batch was taken */
	Stack		batch;
	uint32_t	next;			/* of the batch */
	Pairs		pairs;			/* since the batch was taken */
	Pairs		batch_pairs;
	Stack		rescan;
	Stack		changed;
	Stack		dirty;
	Stack		later;
	Stack		trusts;
	Stack		off_weights;	/* weights that are off by little */
	int32_t		weigh_item;		/* items from here on are to be weighed */
	uint32_t	weighed;		/* of dirty */
	Stack		worn;

	RowScanFunction scan;
	int32_t    *own;			/* [SCAN_CELLS + SCAN_SLACK, or max_list] */
	int32_t    *theirs;
	Stack		met;			/* lists with MARK_MET */
	RankKey    *found;			/* [2 * max_list + SCAN_CELLS], of the scan under way */
	RankKey    *keys;			/* [max_list] */
	int32_t		sorted;			/* the item whose best are in keys, 0: none */
	int			nsorted;
	NeighborsWork work;
};

/* Below this part of its largest sum of squares an item is worn: its norm is
 * then a quarter, and of two such items the product a sixteenth, so that a
 * dot's error of 2^-19 of the largest product (pairs.c) is 3e-5 of the present. */
#define WORN_PART	(1.0f / 16)

/* The list's floor when it holds every partner. */
static inline RankKey
bottom(void)
{
	return rank_key(0, 0.0f);
}

/* A cosine up to this may be nothing but what rounding left of a pair without
 * common users (pairs.c), and counts as none. */
#define TINY_COSINE	4e-6f

static inline float
pair_score(float dot, float norm_i, float norm_j, float shrinkage)
{
	float		product = norm_i * norm_j;

	return dot > TINY_COSINE * product && product > 0 ? dot / (product + shrinkage) : 0;
}

/* The rank of an entry of the owner's list. */
static inline float
nl_rank(const NeighborLists *nl, float dot, int32_t owner, int32_t entry)
{
	if (nl->measure == MEASURE_COSINE)
		return pair_score(dot, nl->norms[owner], nl->norms[entry], nl->shrinkage);
	if (dot < (float) nl->min_support)
		return 0;
	return (float) measure_rank(nl->measure, dot, nl->norms[owner], nl->norms[entry],
								nl->total, nl->shrinkage);
}

/* By how much a rank may be off, given by how much one up to 1 may be. */
static inline float
nl_tolerance(const NeighborLists *nl, float rank, float eps)
{
	return nl->relative && rank > 1 ? rank * eps : eps;
}

static inline bool
nl_weighted(const NeighborLists *nl)
{
	return nl->normalize || nl->trust;
}

/* neighbors.c */
extern bool nl_reach(NeighborLists *nl, int32_t max_item);
extern bool nl_push(NeighborLists *nl, Stack *stack, int32_t item);
/* Puts an item into a stack unless its flag says that it is there. */
extern bool nl_mark(NeighborLists *nl, Stack *stack, int32_t item, uint16_t flag);
extern float nl_norm_now(const NeighborLists *nl, int32_t item);
/* Has the norm of an item left what its scores are made with? */
extern bool nl_has_drifted(const NeighborLists *nl, int32_t item);

/* neighbors_list.c: where an item stands in a list, or -1 */
extern int	nl_find(const List *list, int32_t item);
/* All entries as keys, to nl->keys. */
extern void nl_keys(NeighborLists *nl, const List *list);
extern void nl_open_gate(NeighborLists *nl, int32_t item);
/* Takes i out of j's list. */
extern bool nl_remove(NeighborLists *nl, int32_t j, int32_t i);
/* The score of (i,j) is now "score": brings j's list up to date. */
extern bool nl_update(NeighborLists *nl, int32_t j, int32_t i, float score);
/* The list of j is nl->found[0..n), all above floor. */
extern bool nl_replace(NeighborLists *nl, int32_t j, int n, RankKey floor);
/* What is published of j has changed: looks up what of it the list shows. */
extern void nl_show(NeighborLists *nl, int32_t j);
extern void nl_empty(NeighborLists *nl, int32_t j);

#endif							/* RECSYS_NUMERIC_NEIGHBORS_IMPL_H */
