/*
 * pairs.h
 *	  Dot products of all pairs of items that share a user, kept up by deltas.
 *
 * dot(i,j) = sum over users of r(u,i) * r(u,j).  The matrix is symmetric and
 * sparse and is stored in both directions, so that the partners of an item
 * are one row.  Items are numbers from 1.
 *
 * A cell that has a dot but lost it again (the last common user left) stays
 * until a reader has seen it: it is "dead" and holds -0.0f, which adds and
 * compares like zero, while a pair that never was is +0.0f.  See
 * pairs_bury().
 */
#ifndef RECSYS_NUMERIC_PAIRS_H
#define RECSYS_NUMERIC_PAIRS_H

#include <string.h>

#include "numeric/alloc.h"

typedef struct PairStore PairStore;

/* NULL when there is no memory.  max_bytes limits what pairs_bytes() says.
 * Counts of common users are kept if with_counts. */
extern PairStore *pairs_create(const Allocator *memory, size_t max_bytes,
							   bool with_counts);
extern void pairs_destroy(PairStore *ps);
extern size_t pairs_bytes(const PairStore *ps);
extern bool pairs_has_counts(const PairStore *ps);
/* Has any sum been rounded?  Not with whole numbers below 2^24. */
extern bool pairs_rounded(const PairStore *ps);

/*
 * r(u,i) of one user moved by "delta": adds delta * rs[x] to dot(i, js[x]) and
 * dot(js[x], i), and dcount (+1 i enters the history, -1 it leaves, 0 it
 * stays) to their counts.  js (n different items, i not among them) and rs
 * are the rest of the user's history.  False when the limit or memory is
 * reached; the store is then only good for pairs_destroy().
 */
extern bool pairs_add(PairStore *ps, int32_t i, const int32_t *js,
					  const double *rs, int n, double delta, int dcount);

/* dot and count are 0 for a pair that isn't there; count stays 0 in a store
 * without counts. */
extern void pairs_get(const PairStore *ps, int32_t i, int32_t j,
					  float *dot, int32_t *count);

/*
 * A row as it lies in memory, for scans.  js NULL: dense, dots[j] for j in
 * [0, n); else the pairs (js[x], dots[x]), x in [0, n), in no order.  counts
 * is parallel to dots, or NULL in a store without counts.  Cells that were
 * never set or are buried are +0.0f.  A view of a sparse row lives in a
 * buffer of the store: it ends with the next call on the store.
 */
typedef struct PairRowView
{
	int32_t		n;
	const int32_t *js;
	const float *dots;
	const int32_t *counts;
} PairRowView;

extern bool pairs_view(PairStore *ps, int32_t i, PairRowView *view);

/* Copies the pairs of row i with a dot other than 0, in no order; returns
 * their number.  Buffers of pairs_row_size(i) elements; counts may be NULL. */
extern int32_t pairs_row_size(const PairStore *ps, int32_t i);
extern int32_t pairs_row(const PairStore *ps, int32_t i, int32_t *js,
						 float *dots, int32_t *counts);

/* Lets the dead cells of row i go (they turn to +0.0f), once whoever follows
 * the store has seen that their dots are gone. */
extern void pairs_bury(PairStore *ps, int32_t i);

/* Replaces the values of row and column i by exact ones, as after a rebuild of
 * the row; cells without a new value are dead.  counts NULL without counts. */
extern bool pairs_set(PairStore *ps, int32_t i, int32_t n, const int32_t *js,
					  const float *dots, const int32_t *counts);

/* Replaces row i alone: for a builder that sets every row.  Cells 1..n-1 of
 * dense arrays if js is NULL, as in PairRowView. */
extern bool pairs_set_row(PairStore *ps, int32_t i, const PairRowView *row);

/* Largest item number that will come soon: rows become dense for so many. */
extern bool pairs_expect(PairStore *ps, int32_t max_item);

extern void pairs_scale(PairStore *ps, double factor);
/* Row and column i become empty. */
extern void pairs_clear_item(PairStore *ps, int32_t i);

/* Is this cell dead (see above)? */
static inline bool
pair_is_dead(float dot)
{
	uint32_t	bits;

	memcpy(&bits, &dot, sizeof(bits));
	return bits == UINT32_C(0x80000000);
}

#endif							/* RECSYS_NUMERIC_PAIRS_H */
