/*
 * list_shape.h
 *	  What lists of recommendations look like, apart from whether they hit.
 *
 *		gini		how unequally values are spread: sum over pairs |x_i - x_j| / (2 n^2 mean);
 *					0: all alike, (n - 1) / n: one has all
 *		diversity	mean over pairs i < j of 1 - cosine(v_i, v_j)
 *		novelty		mean of -log2(users_i / total), in bits
 */
#ifndef RECSYS_NUMERIC_LIST_SHAPE_H
#define RECSYS_NUMERIC_LIST_SHAPE_H

#include <stdint.h>

/* values are sorted, ascending, none below 0; NAN if all are 0 or n is */
extern double gini_of_sorted(const double *values, int n);

/*
 * vectors is (n, dim), scratch (dim).  Vectors of zeros have no direction and are
 * left out; NAN if fewer than two are left.  Takes n dim steps, not n^2 dim.
 */
extern double diversity(const float *vectors, int n, int dim, double *scratch);

/*
 * users (n) have the item of each rank, of total > 0.  An item without users
 * counts as one that a single user has.  NAN if n is 0.
 */
extern double novelty(const int64_t *users, int n, int64_t total);

#endif							/* RECSYS_NUMERIC_LIST_SHAPE_H */
