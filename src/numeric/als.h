/*
 * als.h
 *	  Alternating least squares: one side's vectors from the other side's.
 *
 * Implicit feedback (Hu, Koren and Volinsky, 2008, divided by alpha so that the
 * regularization need not follow it).  With S the interactions and r their
 * weights, minimise
 *
 *		sum over S of  r_ui (1 - x_u.y_i)^2
 *		+ 1/alpha  sum over all (u,i) of  (p_ui - x_u.y_i)^2,  p = 1 on S, else 0
 *		+ regularization (sum_u n_u^exponent |x_u|^2 + sum_i n_i^exponent |y_i|^2)
 *
 * so that a row is  x = (gram/alpha + sum r y y' + lambda n^exponent I)^-1  sum (r + 1/alpha) y
 * with gram = Y'Y over all rows of the other side.
 *
 * Explicit feedback (ALS-WR, Zhou et al., 2008, with biases):
 * r_ui ~ mean + b_u + b_i + x_u.y_i over S alone, regularised alike, biases too.
 * A vector has the bias as its last element: dim = factors + 1.
 *
 * Vectors are float32, rows of "dim" elements without padding.  No PostgreSQL,
 * and no BLAS but in blas_als.c.  Same input, same result, bit by bit, however
 * the rows are divided among processes.
 */
#ifndef RECSYS_ALS_H
#define RECSYS_ALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum AlsSolver
{
	ALS_CHOLESKY,				/* exact */
	ALS_CG						/* conjugate gradient from the vector as it is */
} AlsSolver;

typedef struct AlsParams
{
	int			factors;
	int			dim;			/* factors, or factors + 1 if explicit */
	bool		explicit_feedback;
	AlsSolver	solver;
	int			cg_steps;
	double		alpha;
	double		regularization;
	double		exponent;		/* of the frequency, in the regularization */
	double		mean;			/* explicit: of all ratings */
} AlsParams;

/* ------------------------------------------------ one row, without BLAS */

/* Bytes of scratch memory, 64-byte aligned, that the functions below want for
 * rows of up to max_n interactions. */
extern size_t als_work_size(const AlsParams *params, int max_n);

/*
 * Solve one row exactly.  gram: dim x dim of the other side (NULL if explicit);
 * the n interactions are with rows[i] of base (dim floats each), of weight (or
 * rating) weights[i].  n = 0 gives zeros.
 */
extern void als_solve_row(const AlsParams *params, const float *gram,
						  const float *base, int n, const int32_t *rows,
						  const float *weights, float *x, void *work);

/*
 * The exact split of the score of a vector "target" of the other side
 * for that row (Hu et al., section 5): contributions add up to x.target, or, if
 * explicit, to the score less mean and target's bias.
 */
extern void als_explain_row(const AlsParams *params, const float *gram,
							const float *base, int n, const int32_t *rows,
							const float *weights, const float *target,
							double *contributions, void *work);

/* The query whose inner product with an item's vector, plus the constant that
 * is returned, is the score (explicit: the predicted rating). */
extern double als_query(const AlsParams *params, const float *x, float *query);

/* ------------------------------------------- training, with BLAS (blas_als.c) */

/* One side's interactions: row r has entries offsets[r] .. offsets[r + 1] - 1. */
typedef struct AlsMatrix
{
	int32_t		nrows;
	const int64_t *offsets;
	const int32_t *columns;		/* rows of the other side, from 0 */
	const float *weights;
} AlsMatrix;

#define ALS_BATCH 32			/* rows solved together */

extern size_t als_batch_work_size(const AlsParams *params, const AlsMatrix *matrix);

/* Solve rows begin .. end - 1 into "rows" (dim floats each, read by CG as the
 * start).  begin must be a multiple of ALS_BATCH.  Between batches
 * "interrupted" (may be NULL) is asked whether to stop; false if stopped. */
extern bool als_solve_rows(const AlsParams *params, const float *gram,
						   const float *other, const AlsMatrix *matrix,
						   int32_t begin, int32_t end, float *rows, void *work,
						   bool (*interrupted) (void *arg), void *arg);

/* Gram matrix (dim x dim, both triangles) of "chunk" of ALS_GRAM_CHUNKS parts of
 * n rows; the sum of the parts in order of their numbers is the whole, the
 * same whoever computes which part. */
#define ALS_GRAM_CHUNKS 16
extern void als_gram_chunk(int dim, const float *rows, int32_t n, int chunk, float *gram);
extern void als_gram_sum(int dim, const float *chunks, float *gram);

/* The objective above (explicit: mean squared error is loss_squares / n). */
typedef struct AlsLoss
{
	double		total;			/* regularised objective */
	double		squares;		/* of the errors on S alone */
} AlsLoss;
/* Part of rows begin..end-1 of users; the part that needs all pairs is
 * als_loss_all(). */
extern AlsLoss als_loss_rows(const AlsParams *params, const AlsMatrix *matrix,
							 int32_t begin, int32_t end, const float *x, const float *y);
extern double als_loss_all(const AlsParams *params, const float *gram_x, const float *gram_y);
/* sum_i n_i^exponent |y_i|^2 times lambda, of items begin..end-1 */
extern double als_penalty(const AlsParams *params, const AlsMatrix *matrix,
						  int32_t begin, int32_t end, const float *y);

/* Start: small random values, a function of seed, row and column alone. */
extern void als_init_rows(const AlsParams *params, uint64_t seed, int32_t begin,
						  int32_t end, float *rows);

#endif							/* RECSYS_ALS_H */
