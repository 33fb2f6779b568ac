/*
 * item_pairs.h
 *	  Sums over pairs of items, which the item_knn models of a source share: the dots
 *	  of weights and, apart from them, the numbers of users that have both.
 *
 * Each is kept if there is a model that goes by it.  Both are stores of dots
 * (numeric/pairs.h); for users every weight is 1, so that dots are numbers, and only
 * what enters a history or leaves it makes work.  They are derived state: in
 * memory only, built from the histories in one pass.
 */
#ifndef RECSYS_ITEM_PAIRS_H
#define RECSYS_ITEM_PAIRS_H

#include "postgres.h"

#include "models/histories.h"
#include "models/model.h"
#include "numeric/pairs.h"

typedef enum PairsKind
{
	PAIRS_OF_WEIGHTS,
	PAIRS_OF_USERS
} PairsKind;

typedef struct ItemPairs
{
	MemoryContext context;
	Allocator	allocator;
	PairsKind	kind;
	PairStore  *store;			/* NULL: they do not fit */
	bool		with_counts;	/* dots have the numbers of common users beside them */
	int64		histories;		/* users that have one */
	uint64		change_no;		/* newest change that is in here */
	uint64		rescale_no;		/* newest rescaling, likewise */
	double	   *ones;
	int			maxones;
} ItemPairs;

/* A model comes, and goes: the last one takes the pairs with it. */
extern void item_pairs_enter(ModelHost *host, PairsKind kind);
extern void item_pairs_leave(ModelHost *host, PairsKind kind);

/* Builds them, unless they are there; again if counts are wanted beside the dots and
 * others did not need any. */
extern void item_pairs_want(ModelHost *host, PairsKind kind, bool with_counts);
extern void item_pairs_drop(ModelHost *host, PairsKind kind);
/* As built; NULL before. */
extern ItemPairs *item_pairs_get(ModelHost *host, PairsKind kind);

/* What does not fit stays away for as long as the models run. */
extern void item_pairs_give_up(ItemPairs *pairs);

/* These may come once from each model; the first one counts. */
extern void item_pairs_change(ItemPairs *pairs, ModelHost *host, const ProfileChange *change);
extern void item_pairs_rescale(ItemPairs *pairs, ModelHost *host, double factor);
extern void item_pairs_forget(ItemPairs *pairs, int32 item);

/* The weights as these pairs take them: of the rest of the change's history. */
extern const double *item_pairs_weights(ItemPairs *pairs, const ProfileChange *change);
/* ... and what the item's own changes by. */
extern double item_pairs_delta(const ItemPairs *pairs, const ProfileChange *change);
/* All histories by item, likewise, in a context of their own below the current one. */
extern HistorySet *item_pairs_collect(ModelHost *host, PairsKind kind);

/* A model's share of the memory. */
extern Size item_pairs_bytes(ModelHost *host, PairsKind kind);

#endif							/* RECSYS_ITEM_PAIRS_H */
