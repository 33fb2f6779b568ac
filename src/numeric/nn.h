/*
 * nn.h
 *	  Layers of neural networks: forward and backward as functions over the
 *	  caller's buffers, and steps of optimisers.  Nothing is allocated here and nothing is
 *	  kept; all state is in arguments.
 *
 * Matrices are dense and in rows; comments give their shapes.  A backward function gets
 * the gradient of the loss by its layer's output and sets that of the input (dx, NULL:
 * not wanted), but adds to those of parameters, so that several uses of one add up.
 *
 * Results differ between CPUs in the last bits, never between two calls with the same arguments.
 *
 * The real type is float; the same files under NN_DOUBLE compute in double, see nn_names.h.
 */
#ifndef RECSYS_NUMERIC_NN_H
#define RECSYS_NUMERIC_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numeric/nn_names.h"

/* ---------------------------------------------------------------- random */

typedef struct NnRandom
{
	uint64_t	state;
} NnRandom;

/* Uniform over 32 bits (a counter, mixed: Steele, Lea and Flood 2014). */
static inline uint32_t
nn_random_bits(NnRandom *r)
{
	uint64_t	x = r->state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t) (x >> 32);
}

static inline uint32_t
nn_random_below(NnRandom *r, uint32_t n)
{
	return (uint32_t) ((uint64_t) nn_random_bits(r) * n >> 32);
}

/* In [0, 1). */
static inline NnReal
nn_random_real(NnRandom *r)
{
	return (NnReal) (nn_random_bits(r) >> 8) / 16777216;
}

/* ------------------------------------------------------- matrix product */

/* Reals of scratch that nn_gemm() wants, aligned to 64 bytes. */
#define NN_GEMM_WORK	(384 * 256)

/*
 * c (m x n) = alpha op(a) op(b), added to what stands in c if "add".  op(a) is m x k: a itself,
 * or with ta the transpose of a (k x m); op(b) is k x n: b, or the transpose of b (n x k).
 * lda, ldb and ldc are the lengths of rows in memory.
 */
extern void nn_gemm(bool ta, bool tb, int m, int n, int k, NnReal alpha, const NnReal *a, int lda,
					const NnReal *b, int ldb, bool add, NnReal *c, int ldc, NnReal *work);

/* ---------------------------------------------------------------- layers */

/* y (n x dim) = rows ids[i] of the table; below 0: zeros. */
extern void nn_embedding_forward(int n, int dim, const int32_t *ids, const NnReal *table, NnReal *y);
/* dtable, row slots[i] += dy row i; slots below 0 are left out. */
extern void nn_embedding_backward(int n, int dim, const int32_t *slots, const NnReal *dy, NnReal *dtable);

/* y (n x out) = x (n x in) w (in x out) + b (out, or NULL) */
extern void nn_dense_forward(int n, int in, int out, const NnReal *x, const NnReal *w, const NnReal *b,
							 NnReal *y, NnReal *work);
extern void nn_dense_backward(int n, int in, int out, const NnReal *x, const NnReal *w, const NnReal *dy,
							  NnReal *dx, NnReal *dw, NnReal *db, NnReal *work);

typedef enum NnActivation
{
	NN_RELU, NN_TANH, NN_SIGMOID
} NnActivation;

/* In place; the gradient from the output y, in place in dy. */
extern void nn_activate(NnActivation kind, size_t n, NnReal *y);
extern void nn_activate_backward(NnActivation kind, size_t n, const NnReal *y, NnReal *dy);

/* y = x where kept, with probability 1 - p, times 1 / (1 - p); "kept" says where.  In place if y is x. */
extern void nn_dropout_forward(size_t n, NnReal p, NnRandom *random, const NnReal *x, uint8_t *kept, NnReal *y);
extern void nn_dropout_backward(size_t n, NnReal p, const uint8_t *kept, const NnReal *dy, NnReal *dx);

/*
 * Layer norm (Ba et al. 2016): y = gain * (x - mean) / deviation + bias over each row of
 * x (n x dim).  "scaled" (n x dim) and "inverse" (n) are kept for the backward.
 */
extern void nn_norm_forward(int n, int dim, const NnReal *x, const NnReal *gain, const NnReal *bias,
							NnReal *scaled, NnReal *inverse, NnReal *y);
extern void nn_norm_backward(int n, int dim, const NnReal *scaled, const NnReal *inverse, const NnReal *gain,
							 const NnReal *dy, NnReal *dx, NnReal *dgain, NnReal *dbias);

/* ------------------------------------------------------------------- GRU */

/*
 * Gated recurrent unit (Cho et al. 2014) over time, "lanes" sequences side by side:
 *
 *		r, z = sigmoid of their thirds of  x wx + bias + h wh
 *		c    = tanh(third of x wx + bias, + r * (third of h wh))
 *		h'   = (1 - z) * c + z * h
 *
 * wx (in x 3 dim), wh (dim x 3 dim), bias (3 dim): thirds in the order r, z, c.
 */
typedef struct NnGru
{
	int			in;
	int			dim;
	const NnReal *wx;
	const NnReal *wh;
	const NnReal *bias;
} NnGru;

/* What a forward pass keeps for the backward pass; n = steps x lanes. */
typedef struct NnGruTrace
{
	NnReal	   *before;			/* n x dim: the state that a step began with */
	NnReal	   *gates;			/* n x 3 dim: r, z, c */
	NnReal	   *inner;			/* n x dim: third of h wh */
	/* scratch of the backward pass */
	NnReal	   *dx_gates;		/* n x 3 dim */
	NnReal	   *dh_gates;		/* n x 3 dim */
	NnReal	   *dstate;			/* lanes x dim */
} NnGruTrace;

/*
 * x (steps x lanes x in), start (lanes x dim, or NULL: zeros) -> h (steps x lanes x dim).
 * begins (steps x lanes, or NULL: nowhere): there the state is zeros before the step.
 */
extern void nn_gru_forward(const NnGru *gru, int steps, int lanes, const NnReal *x, const NnReal *start,
						   const uint8_t *begins, NnReal *h, NnGruTrace *trace, NnReal *work);
/* dh as h; the gradient by "start" is not passed on (truncated in time). */
extern void nn_gru_backward(const NnGru *gru, int steps, int lanes, const NnReal *x, const uint8_t *begins,
							const NnReal *dh, NnGruTrace *trace, NnReal *dx, NnReal *dwx, NnReal *dwh,
							NnReal *dbias, NnReal *work);
/* The last state alone (dim), of one sequence x (steps x in); scratch: (steps + 1) x 3 dim reals. */
extern void nn_gru_last(const NnGru *gru, int steps, const NnReal *x, NnReal *h, NnReal *scratch, NnReal *work);

/* ---------------------------------------------------------- convolutions */

/*
 * Horizontal (Tang and Wang 2018, Caser): of n matrices x (length x dim), for each of
 * "filters" f the largest over t of  relu(bias_f + sum of w_f * rows t .. t + height - 1).
 * w (filters x height x dim), y (n x filters), at (n x filters) where the largest stands;
 * scratch: length x filters.
 */
extern void nn_conv_forward(int n, int length, int dim, int height, int filters, const NnReal *x,
							const NnReal *w, const NnReal *bias, NnReal *y, int32_t *at,
							NnReal *scratch, NnReal *work);
extern void nn_conv_backward(int n, int length, int dim, int height, int filters, const NnReal *x,
							 const NnReal *w, const NnReal *y, const int32_t *at, const NnReal *dy,
							 NnReal *dx, NnReal *dw, NnReal *dbias);

/* Vertical: y (n x filters x dim) = w (filters x length) x, for each of the n matrices. */
extern void nn_conv_down_forward(int n, int length, int dim, int filters, const NnReal *x, const NnReal *w,
								 NnReal *y, NnReal *work);
extern void nn_conv_down_backward(int n, int length, int dim, int filters, const NnReal *x, const NnReal *w,
								  const NnReal *dy, NnReal *dx, NnReal *dw, NnReal *work);

/* ---------------------------------------------------------------- losses */

/*
 * Losses over sampled items: s (n x columns) are scores, of which s[i][target[i]] is that of the
 * item that came.  A row whose target is below 0 does not count.  Each loss returns the sum over
 * the rows, and turns the scores into their gradients times "scale".
 */

/*
 * Before: s[i][j] -= logq[j] (NULL: nothing), the logarithm of how often the sample draws
 * column j, to the power that the model wants (Bengio and Senécal 2008); and columns that show
 * the same item as the target's take no part.
 */
extern void nn_loss_prepare(int n, int columns, const int32_t *items, const int32_t *target,
							const NnReal *logq, NnReal *s);

/* - log softmax(s)[target] */
extern double nn_loss_cross_entropy(int n, int columns, const int32_t *target, NnReal scale, NnReal *s);

/*
 * BPR-max (Hidasi and Karatzoglou 2018): with p the softmax over all but the target,
 * - log sum of p_j sigmoid(s_target - s_j) + bpreg sum of p_j s_j^2
 */
extern double nn_loss_bpr_max(int n, int columns, const int32_t *target, NnReal bpreg, NnReal scale, NnReal *s);

/* ------------------------------------------------------------ optimisers */

/* Of n rows with gradients g (n x dim), row i of which is row ids[i] of the tables (NULL: i):
 * all different. */

/* Adam (Kingma and Ba 2015); "step" counts from 1.  Moments of rows that have no gradient
 * stand still. */
typedef struct NnAdam
{
	double		rate;
	double		beta1;
	double		beta2;
	double		epsilon;
	int64_t		step;
} NnAdam;

extern void nn_adam_rows(const NnAdam *adam, int n, int dim, const int32_t *ids, const NnReal *g,
						 NnReal *x, NnReal *mean, NnReal *square);

/* Adagrad (Duchi, Hazan and Singer 2011) */
extern void nn_adagrad_rows(double rate, double epsilon, int n, int dim, const int32_t *ids,
							const NnReal *g, NnReal *x, NnReal *square);

#endif							/* RECSYS_NUMERIC_NN_H */
