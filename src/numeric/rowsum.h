/*
 * rowsum.h
 *	  One row of dot products, from the histories of the item's users.
 *
 * dot(i,j) = sum over the users u of i of r(u,i) * r(u,j).  Feed every user
 * of item i with rowsum_add(), then take the row.  Sums are doubles.
 */
#ifndef RECSYS_NUMERIC_ROWSUM_H
#define RECSYS_NUMERIC_ROWSUM_H

#include "numeric/alloc.h"
#include "numeric/pairs.h"

typedef struct RowSum RowSum;

/* NULL when there is no memory. */
extern RowSum *rowsum_create(const Allocator *memory, bool with_counts);
extern void rowsum_destroy(RowSum *rs);
extern size_t rowsum_bytes(const RowSum *rs);
/* ... of one that reaches max_item at once. */
extern size_t rowsum_bytes_for(int32_t max_item, bool with_counts);

/* Makes room for item numbers up to max_item; rowsum_add() doesn't check. */
extern bool rowsum_reach(RowSum *rs, int32_t max_item);

/* One user: r is r(u,i), items and weights the user's n items (i may be among
 * them, no item twice). */
extern void rowsum_add(RowSum *rs, double r, const int32_t *items,
					   const double *weights, int n);
extern void rowsum_add_float(RowSum *rs, double r, const int32_t *items,
							 const float *weights, int n);

/* The row of item i, which starts afresh.  The view ends with the next call;
 * counts are NULL unless asked for. */
extern void rowsum_take(RowSum *rs, int32_t i, PairRowView *row);

#endif							/* RECSYS_NUMERIC_ROWSUM_H */
