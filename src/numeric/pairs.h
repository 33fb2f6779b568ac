/*
 * pairs.h
 *	  Dot products of all pairs of items that share a user, kept up by deltas.
 *
 * dot(i,j) = sum over users of r(u,i) * r(u,j).  The matrix is symmetric and
 * sparse and is stored in both directions, so that the partners of an item
 * are one row.  Items are numbers from 1.
 */
#ifndef RECSYS_NUMERIC_PAIRS_H
#define RECSYS_NUMERIC_PAIRS_H

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
 * A row as it lies in memory, for scans: n cells, each a partner and a dot,
 * read with pair_cell_item() and pair_cell_dot().  Cells of partners that have
 * no dot, or of no partner (item 0), hold 0.
 *
 *	  dense		js NULL: cell c is item c, dots[c]
 *	  listed	item js[c], dots[c]
 *	  in lines	of eight: items of line l are js[16 * l ...], their dots
 *				dots[16 * l ...]; n is a multiple of eight
 *
 * counts are parallel to the cells, or NULL in a store without.
 */
#define PAIR_LINE	8

typedef struct PairRowView
{
	int32_t		n;
	bool		in_lines;
	const int32_t *js;
	const float *dots;
	const int32_t *counts;
} PairRowView;

static inline size_t
pair_cell_offset(const PairRowView *row, int32_t c)
{
	size_t		cell = (size_t) c;

	return row->in_lines ? 2 * cell - cell % PAIR_LINE : cell;
}

static inline int32_t
pair_cell_item(const PairRowView *row, int32_t c)
{
	return row->js ? row->js[pair_cell_offset(row, c)] : c;
}

static inline float
pair_cell_dot(const PairRowView *row, int32_t c)
{
	return row->dots[pair_cell_offset(row, c)];
}

/* Ends with the next call that changes the store.  False: a call before had
 * failed. */
extern bool pairs_view(PairStore *ps, int32_t i, PairRowView *view);

/* Copies the pairs of row i with a dot other than 0, in no order; returns
 * their number.  Buffers of pairs_row_size(i) elements; counts may be NULL. */
extern int32_t pairs_row_size(const PairStore *ps, int32_t i);
extern int32_t pairs_row(const PairStore *ps, int32_t i, int32_t *js,
						 float *dots, int32_t *counts);

/* Replaces row and column i by exact values, as after a rebuild of the row.
 * counts NULL without counts. */
extern bool pairs_set(PairStore *ps, int32_t i, int32_t n, const int32_t *js,
					  const float *dots, const int32_t *counts);

/* Replaces row i alone: for a builder that sets every row. */
extern bool pairs_set_row(PairStore *ps, int32_t i, const PairRowView *row);

/* Largest item number that will come soon: rows become dense for so many. */
extern bool pairs_expect(PairStore *ps, int32_t max_item);

/* Largest item number seen, or told by pairs_expect(). */
extern int32_t pairs_max_item(const PairStore *ps);

extern void pairs_scale(PairStore *ps, double factor);
/* Row and column i become empty. */
extern void pairs_clear_item(PairStore *ps, int32_t i);

#endif							/* RECSYS_NUMERIC_PAIRS_H */
