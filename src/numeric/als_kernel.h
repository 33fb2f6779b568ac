/*
 * als_kernel.h
 *	  The inner loops of als.h and cholesky.h, for the CPU at hand.
 *
 * Results differ between CPUs in the last bits, never between two calls.
 */
#ifndef RECSYS_NUMERIC_ALS_KERNEL_H
#define RECSYS_NUMERIC_ALS_KERNEL_H

#include "numeric/als.h"

/*
 * n rows y_i of the other side, y_i = base + rows[i] * stride, of which the first
 * len elements count, and for each a factor that is linear in its product t with
 * some vector:  f_i = wanted_i + weight_i * (constant + slope * t)
 */
typedef struct AlsGather
{
	const float *base;
	size_t		stride;
	int			len;
	int			n;
	int			ahead;			/* so many more entries of "rows" come next: fetch theirs
								 * into the cache meanwhile; -1: all are there already */
	const int32_t *rows;
	const float *weights;		/* NULL: all 1 */
	const float *wanted;		/* NULL: all wanted_all */
	float		wanted_all;
	float		constant;
	float		slope;
} AlsGather;

typedef struct AlsKernels
{
	const char *name;
	bool		beats_blas;		/* in "update" and "product" */

	/* q += sum of f_i y_i, where t_i = y_i.p; returns the sum of the f_i.  p and q
	 * have len elements. */
	float		(*pass) (const AlsGather *g, const float *p, float *q);

	/*
	 * Matrix "a" (n x n) += sign * sum over k of v_k w_k', of which the upper
	 * triangle counts: below it are any values.  v and w have "count" rows;
	 * all as in cholesky.h, with one stride.
	 */
	void		(*update) (float *a, int n, int stride, const float *v, const float *w,
						   int count, float sign);

	/*
	 * The first CHOLESKY_ALIGN rows of the factor of "a" (n x n), from those of
	 * "a".  Pivots up to "least" are lost.
	 */
	void		(*panel) (float *a, int n, int stride, float least);

	/* q = scale * p g, where p and q are ALS_BATCH x dim, g is dim x dim */
	void		(*product) (float *q, const float *p, const float *g, float scale, int dim);

	float		(*dot) (const float *a, const float *b, int len);

	/* q = sign * (q + ridge * p) */
	void		(*shift) (float *q, const float *p, float ridge, float sign, int len);

	/* x += length * p, r -= length * q; returns r.r */
	float		(*advance) (float *x, float *r, const float *p, const float *q,
							float length, int len);

	/* p = r + factor * p */
	void		(*turn) (float *p, const float *r, float factor, int len);
} AlsKernels;

/* The best for this CPU, or those that a test chose (NULL: the best again). */
extern const AlsKernels *als_kernels(void);
extern void als_kernels_choose(const AlsKernels *kernels);

/* Number 0, 1, ... of those compiled; NULL after the last.  *runs: on this CPU. */
extern const AlsKernels *als_kernel_variant(int number, bool *runs);

/* als.c: lambda n^exponent, and the last touch to a solved row. */
extern double als_ridge(const AlsParams *params, int64_t n);
extern void als_finish_row(const AlsParams *params, int64_t n, float *x);

#endif							/* RECSYS_NUMERIC_ALS_KERNEL_H */
