/*
 * neighbors_impl.h
 *	  What neighbors.c (life and bookkeeping) and neighbors_refresh.c (the
 *	  algorithm) share.
 */
#ifndef RECSYS_NUMERIC_NEIGHBORS_IMPL_H
#define RECSYS_NUMERIC_NEIGHBORS_IMPL_H

#include "numeric/arena.h"
#include "numeric/neighbors.h"
#include "numeric/neighbors_scan.h"
#include "numeric/topk.h"

/* cells per call of the inner loop; its outputs stay in the first-level cache */
#define SCAN_CELLS	2048

/* flags of an item */
#define TOUCHED		0x01		/* in nl->touched */
#define IN_BATCH	0x02		/* in nl->batch, gate closed */
#define SHORT_LIST	0x04		/* in nl->rescan */
#define CHANGED		0x08		/* in nl->changed: list to be compared with what is published */
#define DIRTY		0x10		/* published row is off */
#define FORCED		0x20		/* ... whatever the comparison says */
#define QUEUED		0x40		/* in nl->dirty */
#define WORN		0x80		/* in nl->worn */

/* What came upon an item since its last batch. */
typedef struct Pending
{
	float		fall;			/* no dot of it fell by more */
	uint32_t	touches;		/* events, hence roundings */
	float		peak;			/* largest sumsq since the row was computed */
	uint8_t		flags;
} Pending;

typedef struct List
{
	RankKey    *keys;			/* [cap], in no order: all above floor */
	RankKey		floor;			/* no partner outside the list is above it */
	int32_t    *published;		/* [npublished] items, then their scores */
	uint16_t	n;
	uint16_t	cap;
	uint16_t	npublished;
	uint16_t	maxpublished;
} List;

typedef struct BatchItem
{
	int32_t		item;
	float		fall;
	float		norm;			/* before this batch */
	uint32_t	touches;
} BatchItem;

/* A growing stack of item numbers. */
typedef struct Stack
{
	int32_t    *items;
	uint32_t	n;
	uint32_t	max;
} Stack;

/* Pairs (item << 32 | partner) that may have lost their last common user. */
typedef struct Losses
{
	uint64_t   *pairs;
	size_t		n;
	size_t		max;
} Losses;

typedef enum Phase
{
	PHASE_IDLE,
	PHASE_SCAN,					/* work off the batch */
	PHASE_RESCAN,				/* lists that ran short */
	PHASE_CHECK					/* compare changed lists with the published */
} Phase;

struct NeighborLists
{
	Arena	   *arena;
	int			k;
	int			max_list;		/* entries a list may have */
	float		shrinkage;
	int			min_support;
	float		eps;
	const double *sumsq;		/* [nsumsq], the caller's */
	int32_t		nsumsq;

	/* by item, [nitems] */
	int32_t		nitems;
	float	   *norms;			/* as of the item's last batch */
	float	   *gates;			/* floor's score less a margin; infinite in a batch */
	Pending    *pending;
	List	   *lists;
	float	   *seen;			/* -1; scratch of the comparison */

	Phase		phase;
	Stack		touched;
	Stack		rescan;
	Stack		changed;
	Stack		dirty;
	Stack		worn;
	BatchItem  *batch;
	uint32_t	nbatch;
	uint32_t	maxbatch;
	uint32_t	next;			/* of the batch */
	bool		rows_only;		/* no store that keeps dead cells: losses are kept here */
	Losses		losses;			/* since the batch was taken */
	Losses		batch_losses;	/* of the batch, in order of rank_sort */

	RowScanFunction scan;
	int32_t    *own;			/* [SCAN_CELLS + SCAN_SLACK] */
	int32_t    *theirs;
	RankKey    *found;			/* [max_list + SCAN_CELLS + ...] */
	NeighborsWork work;
};

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

extern bool nl_reach(NeighborLists *nl, int32_t max_item);
extern bool nl_push(NeighborLists *nl, Stack *stack, int32_t item);
extern bool nl_mark(NeighborLists *nl, Stack *stack, int32_t item, uint8_t flag);
extern float nl_norm_now(const NeighborLists *nl, int32_t item);
extern void nl_open_gate(NeighborLists *nl, int32_t item);
/* Takes i out of j's list. */
extern bool nl_remove(NeighborLists *nl, int32_t j, int32_t i);
extern int nl_find(const List *list, int32_t item);

#endif							/* RECSYS_NUMERIC_NEIGHBORS_IMPL_H */
