/*
 * als.c
 *	  See als.h: one row, solved exactly, and what trainers need besides.
 *
 * The matrix of a row is kept in the form of cholesky.h.  Rows of the other side
 * are packed ALS_PACK at a time, once as they are and once scaled by their
 * weights, so that the update is a small dense product without gathering.
 */
#include "numeric/als.h"

#include <math.h>
#include <string.h>

#include "numeric/als_kernel.h"
#include "numeric/cholesky.h"

#define ALS_PACK	32

/* Where the parts of the scratch memory are, in floats. */
typedef struct AlsWork
{
	int			size;			/* cholesky_size(dim) */
	float	   *a;				/* size x size */
	float	   *plain;			/* ALS_PACK x size */
	float	   *scaled;			/* ALS_PACK x size */
	float	   *b;				/* size */
} AlsWork;

static AlsWork
work_layout(const AlsParams *params, void *work)
{
	AlsWork		w;
	size_t		size;

	w.size = cholesky_size(params->dim);
	size = (size_t) w.size;
	w.a = work;
	w.plain = w.a + size * size;
	w.scaled = w.plain + ALS_PACK * size;
	w.b = w.scaled + ALS_PACK * size;
	return w;
}

size_t
als_work_size(const AlsParams *params, int max_n)
{
	size_t		size = (size_t) cholesky_size(params->dim);

	(void) max_n;
	return sizeof(float) * size * (size + 2 * ALS_PACK + 1);
}

double
als_ridge(const AlsParams *params, int64_t n)
{
	return params->regularization * (params->exponent == 1 ? (double) n :
									 params->exponent == 0 ? 1 : pow((double) n, params->exponent));
}

/* The part of the matrix that does not depend on the interactions. */
static void
begin_matrix(const AlsParams *params, const AlsWork *w, const float *gram, int n)
{
	int			dim = params->dim;
	float		scale = (float) (1 / params->alpha);
	float		ridge = (float) als_ridge(params, n);

	for (int i = 0; i < w->size; i++)
	{
		float	   *row = w->a + (size_t) i * (size_t) w->size;

		memset(row + i, 0, sizeof(float) * (size_t) (w->size - i));
		if (i >= dim)
		{
			row[i] = 1;
			continue;
		}
		if (!params->explicit_feedback)
			for (int j = i; j < dim; j++)
				row[j] = gram[(size_t) i * (size_t) dim + (size_t) j] * scale;
		row[i] += ridge;
	}
}

/* What the i-th interaction asks for, and how much it weighs in the matrix. */
static inline float
wanted(const AlsParams *params, const float *y, float weight)
{
	if (params->explicit_feedback)
		return (float) (weight - params->mean - y[params->factors]);
	return (float) (weight + 1 / params->alpha);
}

/* The row of the other side as the matrix sees it: where the bias of the other
 * side stands, this side has the 1 that its own bias is multiplied with. */
static void
pack_row(const AlsParams *params, const AlsWork *w, int k, const float *y, float weight)
{
	float	   *plain = w->plain + (size_t) k * (size_t) w->size;
	float	   *scaled = w->scaled + (size_t) k * (size_t) w->size;
	float		scale = params->explicit_feedback ? 1 : weight;

	memset(plain + w->size - CHOLESKY_ALIGN, 0, sizeof(float) * CHOLESKY_ALIGN);
	memcpy(plain, y, sizeof(float) * (size_t) params->dim);
	if (params->explicit_feedback)
		plain[params->factors] = 1;
	for (int j = 0; j < w->size; j++)
		scaled[j] = plain[j] * scale;
}

/* The matrix, factored; the right side in w->b if "right". */
static void
build_factor(const AlsParams *params, const AlsWork *w, const float *gram, const float *base,
			 int n, const int32_t *rows, const float *weights, bool right)
{
	const AlsKernels *kernels = als_kernels();

	begin_matrix(params, w, gram, n);
	memset(w->b, 0, sizeof(float) * (size_t) w->size);
	for (int from = 0; from < n; from += ALS_PACK)
	{
		int			count = n - from < ALS_PACK ? n - from : ALS_PACK;

		for (int k = 0; k < count; k++)
		{
			const float *y = base + (size_t) rows[from + k] * (size_t) params->dim;
			float		want = wanted(params, y, weights[from + k]);
			const float *plain = w->plain + (size_t) k * (size_t) w->size;

			pack_row(params, w, k, y, weights[from + k]);
			for (int j = 0; right && j < w->size; j++)
				w->b[j] += want * plain[j];
		}
		kernels->update(w->a, w->size, w->size, w->scaled, w->plain, count, 1);
	}
	cholesky_factor(w->a, w->size, w->size);
}

void
als_solve_row(const AlsParams *params, const float *gram, const float *base, int n,
			  const int32_t *rows, const float *weights, float *x, void *work)
{
	AlsWork		w = work_layout(params, work);

	if (n > 0)
	{
		build_factor(params, &w, gram, base, n, rows, weights, true);
		cholesky_solve(w.a, w.size, w.size, w.b);
		memcpy(x, w.b, sizeof(float) * (size_t) params->dim);
	}
	als_finish_row(params, n, x);
}

/* No row is ever NaN or infinite, whatever the weights were, nor its square. */
void
als_finish_row(const AlsParams *params, int64_t n, float *x)
{
	if (n == 0 || !isfinite(als_kernels()->dot(x, x, params->dim)))
		memset(x, 0, sizeof(float) * (size_t) params->dim);
}

void
als_explain_row(const AlsParams *params, const float *gram, const float *base, int n,
				const int32_t *rows, const float *weights, const float *target,
				double *contributions, void *work)
{
	AlsWork		w = work_layout(params, work);
	int			factors = params->factors;

	if (n <= 0)
		return;
	/* x = A^-1 sum of wanted y, so x.target is the sum of wanted (y.A^-1 target) */
	build_factor(params, &w, gram, base, n, rows, weights, false);
	memcpy(w.b, target, sizeof(float) * (size_t) params->dim);
	if (params->explicit_feedback)
		w.b[factors] = 1;
	cholesky_solve(w.a, w.size, w.size, w.b);
	for (int i = 0; i < n; i++)
	{
		const float *y = base + (size_t) rows[i] * (size_t) params->dim;
		double		sum = params->explicit_feedback ? w.b[factors] : 0;

		for (int j = 0; j < factors; j++)
			sum += (double) y[j] * w.b[j];
		sum *= wanted(params, y, weights[i]);
		contributions[i] = isfinite(sum) ? sum : 0;
	}
}

double
als_query(const AlsParams *params, const float *x, float *query)
{
	memcpy(query, x, sizeof(float) * (size_t) params->dim);
	if (!params->explicit_feedback)
		return 0;
	query[params->factors] = 1;
	return params->mean + x[params->factors];
}

/* ----------------------------------------------------------------- training */

static double
norm_squared(const float *x, int dim)
{
	double		sum = 0;

	for (int j = 0; j < dim; j++)
		sum += (double) x[j] * x[j];
	return sum;
}

AlsLoss
als_loss_rows(const AlsParams *params, const AlsMatrix *matrix,
			  int32_t begin, int32_t end, const float *x, const float *y)
{
	AlsLoss		loss = {0, 0};
	size_t		dim = (size_t) params->dim;
	int			factors = params->factors;
	const AlsKernels *kernels = als_kernels();

	for (int32_t row = begin; row < end; row++)
	{
		const float *own = x + (size_t) row * dim;

		for (int64_t at = matrix->offsets[row]; at < matrix->offsets[row + 1]; at++)
		{
			const float *other = y + (size_t) matrix->columns[at] * dim;
			double		score = kernels->dot(own, other, factors);
			double		weight = matrix->weights[at];
			double		error;

			if (params->explicit_feedback)
			{
				error = weight - params->mean - own[factors] - other[factors] - score;
				loss.total += error * error;
			}
			else
			{
				/* the sum over all pairs counts (0 - s)^2 here too */
				error = 1 - score;
				loss.total += weight * error * error + (1 - 2 * score) / params->alpha;
			}
			loss.squares += error * error;
		}
	}
	loss.total += als_penalty(params, matrix, begin, end, x);
	return loss;
}

double
als_loss_all(const AlsParams *params, const float *gram_x, const float *gram_y)
{
	size_t		cells = (size_t) params->dim * (size_t) params->dim;
	double		sum = 0;

	if (params->explicit_feedback)
		return 0;
	for (size_t c = 0; c < cells; c++)
		sum += (double) gram_x[c] * gram_y[c];
	return sum / params->alpha;
}

double
als_penalty(const AlsParams *params, const AlsMatrix *matrix,
			int32_t begin, int32_t end, const float *y)
{
	double		sum = 0;

	for (int32_t row = begin; row < end; row++)
	{
		int64_t		n = matrix->offsets[row + 1] - matrix->offsets[row];

		if (n > 0)
			sum += als_ridge(params, n) * norm_squared(y + (size_t) row * (size_t) params->dim, params->dim);
	}
	return sum;
}

/* splitmix64 */
static uint64_t
mix(uint64_t z)
{
	z += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void
als_init_rows(const AlsParams *params, uint64_t seed, int32_t begin, int32_t end, float *rows)
{
	/* so that inner products have a standard deviation of 0.1^2, whatever the factors */
	double		scale = 0.1 * sqrt(12.0) / pow((double) params->factors, 0.25);

	for (int32_t row = begin; row < end; row++)
	{
		float	   *x = rows + (size_t) row * (size_t) params->dim;
		uint64_t	state = mix(seed ^ mix((uint64_t) (uint32_t) row));

		for (int j = 0; j < params->factors; j++)
			x[j] = (float) (((double) (mix(state + (uint64_t) j) >> 11) * 0x1p-53 - 0.5) * scale);
		if (params->explicit_feedback)
			x[params->factors] = 0;
	}
}
