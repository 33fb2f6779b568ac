/*
 * nn_kernel.h
 *	  The inner loops of nn.h, for the CPU at hand.
 */
#ifndef RECSYS_NUMERIC_NN_KERNEL_H
#define RECSYS_NUMERIC_NN_KERNEL_H

#include "numeric/nn.h"

/* The largest tile of any kind of CPU. */
#define NN_MAX_TILE	(12 * 32)

typedef struct NnKernels
{
	const char *name;
	int			rows;			/* of a tile */
	int			columns;

	/*
	 * Tile c (rows x columns) = alpha a b, or added to c; a is packed as k x rows, b as
	 * k x columns, aligned to 64 bytes.
	 */
	void		(*tile) (int k, const NnReal *a, const NnReal *b, NnReal alpha, bool add, NnReal *c, int ldc);

	/* "to", column by column (n x stride), = the transpose of up to "stride" rows of "from" (rows x n); the
	 * columns beyond rows are zeros */
	void		(*turn) (int rows, int n, const NnReal *from, int ld, NnReal *to, int stride);

	/* y += f x */
	void		(*axpy) (size_t n, NnReal f, const NnReal *x, NnReal *y);

	/* the largest, of at least one; not a number where there is one, or any other */
	NnReal		(*most) (size_t n, const NnReal *x);

	/* x *= f */
	void		(*scale) (size_t n, NnReal f, NnReal *x);

	/* x = exp(x - most); returns the sum */
	NnReal		(*exps) (size_t n, NnReal most, NnReal *x);

	/* 1 / (1 + exp(-x)); tanh x */
	void		(*sigmoid) (size_t n, NnReal *x);
	void		(*tanh) (size_t n, NnReal *x);

	/* one row, see nn_adam_rows(): rate and epsilon are those of the step */
	void		(*adam) (size_t n, NnReal rate, NnReal beta1, NnReal beta2, NnReal epsilon,
						 const NnReal *g, NnReal *x, NnReal *mean, NnReal *square);
	void		(*adagrad) (size_t n, NnReal rate, NnReal epsilon, const NnReal *g, NnReal *x, NnReal *square);
} NnKernels;

/* The best for this CPU, or those that a test chose (NULL: the best again). */
extern const NnKernels *nn_kernels(void);
extern void nn_kernels_choose(const NnKernels *kernels);

/* Number 0, 1, ... of those compiled; NULL after the last.  *runs: on this CPU. */
extern const NnKernels *nn_kernel_variant(int number, bool *runs);

#endif							/* RECSYS_NUMERIC_NN_KERNEL_H */
