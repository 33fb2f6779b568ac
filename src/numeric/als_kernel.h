/*
 * als_kernel.h
 *	  The inner loops of als.h, for the CPU at hand.
 */
#ifndef RECSYS_NUMERIC_ALS_KERNEL_H
#define RECSYS_NUMERIC_ALS_KERNEL_H

#include "numeric/als.h"

/* n rows of the other side: row i is base + rows[i] * stride, of which the first
 * len elements count. */
typedef struct AlsGather
{
	const float *base;
	size_t		stride;
	int			len;
	int			n;
	const int32_t *rows;
} AlsGather;

typedef struct AlsKernels
{
	const char *name;

	/*
	 * q += sum of f_i y_i, where f_i = a_i + b_i (extra + y_i.p); returns the
	 * sum of the f_i.  p and q have len elements.
	 */
	float		(*pass) (const AlsGather *g, const float *a, const float *b,
						 const float *p, float extra, float *q);

	/*
	 * Upper triangle of "a" (n x n) += sum over k of v_k w_k'.  v and w have
	 * "count" rows; all matrices as in cholesky.h, with the same stride.
	 */
	void		(*update) (float *a, int n, int stride, const float *v, const float *w, int count);

	float		(*dot) (const float *a, const float *b, int len);
} AlsKernels;

/* The best for this CPU. */
extern const AlsKernels *als_kernels(void);

/* als.c: lambda n^exponent, and the last touch to a solved row. */
extern double als_ridge(const AlsParams *params, int64_t n);
extern void als_finish_row(const AlsParams *params, int64_t n, float *x);

#endif							/* RECSYS_NUMERIC_ALS_KERNEL_H */
