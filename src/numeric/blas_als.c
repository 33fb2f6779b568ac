/*
 * blas_als.c
 *	  See als.h: training, whose dense products are BLAS's, or our own where
 *	  they are faster.
 *
 * The products are small and of one shape, and OpenBLAS packs its operands for
 * large ones: with AVX-512, 32 vectors times a Gram matrix of 64/128/256/512
 * rows take it 1.5/6.0/40/150 us, the kernel here 1.1/5.7/23/100.  On a CPU that
 * is newer than the library it falls back to SSE: 9/36/139/552.  So BLAS is for
 * the CPUs that als_kernel.c has no vectors for.
 *
 * Conjugate gradient needs the product of the Gram matrix with one vector per
 * row and step; for ALS_BATCH rows that is one sgemm.  A batch always has
 * ALS_BATCH columns, zeros where there are no rows, so that the result of
 * a row does not depend on where somebody's share ends.
 */
#include <string.h>

#include <cblas.h>

#include "numeric/als.h"
#include "numeric/als_kernel.h"
#include "numeric/cholesky.h"

#define ALS_PIECE	256			/* ratings per call of the kernel */
#define ALS_AHEAD	32			/* entries that it may look ahead */
#define ALS_CACHED	32768		/* floats that a product may go over again and again */

/* Scratch memory: matrices of ALS_BATCH rows of dim floats. */
typedef struct CgWork
{
	float	   *x;
	float	   *r;
	float	   *p;
	float	   *q;
} CgWork;

static CgWork
cg_layout(const AlsParams *params, void *work)
{
	CgWork		w;
	size_t		size = ALS_BATCH * (size_t) params->dim;

	size = (size + 15) / 16 * 16;
	w.x = work;
	w.r = w.x + size;
	w.p = w.r + size;
	w.q = w.p + size;
	return w;
}

size_t
als_batch_work_size(const AlsParams *params, const AlsMatrix *matrix)
{
	size_t		size = (ALS_BATCH * (size_t) params->dim + 15) / 16 * 16;

	(void) matrix;
	if (params->solver == ALS_CHOLESKY)
		return als_work_size(params, 0);
	return 4 * sizeof(float) * size;
}

/* q (ALS_BATCH x dim) = p gram / alpha; zeros if there is no gram */
static void
gram_product(const AlsParams *params, const float *gram, const float *p, float *q)
{
	const AlsKernels *kernels = als_kernels();
	float		scale = (float) (1 / params->alpha);

	if (params->explicit_feedback)
		memset(q, 0, sizeof(float) * ALS_BATCH * (size_t) params->dim);
	else if (kernels->beats_blas)
		kernels->product(q, p, gram, scale, params->dim);
	else
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, ALS_BATCH, params->dim, params->dim,
					scale, p, params->dim, gram, params->dim, 0, q, params->dim);
}

/* The part of explicit ratings in row_product(): what is wanted of a row depends
 * on its bias; the last element of p is the own bias. */
static void
ratings_product(const AlsParams *params, const AlsGather *row, const float *ratings,
				const float *p, float *q, bool residual)
{
	AlsGather	g = *row;
	float		wanted[ALS_PIECE];
	int			factors = params->factors;
	int			all = row->n + row->ahead;

	g.constant = g.slope * p[factors];
	if (residual)
		g.wanted = wanted;
	for (int at = 0; at < row->n; at += ALS_PIECE)
	{
		g.n = row->n - at < ALS_PIECE ? row->n - at : ALS_PIECE;
		g.rows = row->rows + at;
		if (residual)
			g.ahead = all - at - g.n < ALS_AHEAD ? all - at - g.n : ALS_AHEAD;
		for (int i = 0; i < g.n && residual; i++)
			wanted[i] = ratings[at + i] - (float) params->mean - g.base[(size_t) g.rows[i] * g.stride + (size_t) factors];
		q[factors] += als_kernels()->pass(&g, p, q);
	}
}

/*
 * q = (matrix of the row) p, to which the Gram matrix has given its part; or,
 * if "residual", the negative of that plus the right side.
 */
static void
row_product(const AlsParams *params, const AlsMatrix *matrix, const float *other, int32_t row,
			const float *p, float *q, bool residual)
{
	const AlsKernels *kernels = als_kernels();
	int64_t		begin = matrix->offsets[row],
				end = matrix->offsets[row + 1],
				all = matrix->offsets[matrix->nrows];
	float		sign = residual ? -1 : 1;
	AlsGather	g = {.base = other, .stride = (size_t) params->dim, .len = params->factors, .slope = sign};

	kernels->shift(q, p, (float) als_ridge(params, end - begin), sign, params->dim);
	g.n = (int) (end - begin);
	g.rows = matrix->columns + begin;
	/* each row is used again and again, but only the first time from afar */
	g.ahead = residual ? (int) (all - end < ALS_AHEAD ? all - end : ALS_AHEAD) : -1;
	if (params->explicit_feedback)
		ratings_product(params, &g, matrix->weights + begin, p, q, residual);
	else
	{
		/* wanted w + 1/alpha, of which w stands before the bracket */
		g.weights = matrix->weights + begin;
		g.constant = residual ? 1 : 0;
		g.wanted_all = residual ? (float) (1 / params->alpha) : 0;
		kernels->pass(&g, p, q);
	}
}

/* Rows begin .. end - 1, at most ALS_BATCH. */
static void
cg_batch(const AlsParams *params, const float *gram, const float *other, const AlsMatrix *matrix,
		 int32_t begin, int32_t end, float *rows, void *work)
{
	const AlsKernels *kernels = als_kernels();
	CgWork		w = cg_layout(params, work);
	int			dim = params->dim;
	int			count = end - begin;
	float		squares[ALS_BATCH];

	memset(w.x, 0, sizeof(float) * ALS_BATCH * (size_t) dim);
	memset(w.p, 0, sizeof(float) * ALS_BATCH * (size_t) dim);
	memcpy(w.x, rows + (size_t) begin * (size_t) dim, sizeof(float) * (size_t) count * (size_t) dim);
	gram_product(params, gram, w.x, w.r);
	for (int k = 0; k < count; k++)
	{
		float	   *r = w.r + (size_t) k * (size_t) dim;

		row_product(params, matrix, other, begin + k, w.x + (size_t) k * (size_t) dim, r, true);
		memcpy(w.p + (size_t) k * (size_t) dim, r, sizeof(float) * (size_t) dim);
		squares[k] = kernels->dot(r, r, dim);
	}
	for (int step = 0; step < params->cg_steps; step++)
	{
		gram_product(params, gram, w.p, w.q);
		for (int k = 0; k < count; k++)
		{
			float	   *x = w.x + (size_t) k * (size_t) dim,
					   *r = w.r + (size_t) k * (size_t) dim,
					   *p = w.p + (size_t) k * (size_t) dim,
					   *q = w.q + (size_t) k * (size_t) dim;
			float		curvature,
						length,
						before = squares[k];

			if (!(before > 1e-20f))
				continue;
			row_product(params, matrix, other, begin + k, p, q, false);
			curvature = kernels->dot(p, q, dim);
			if (!(curvature > 0))
			{
				squares[k] = 0;
				continue;
			}
			length = before / curvature;
			squares[k] = kernels->advance(x, r, p, q, length, dim);
			kernels->turn(p, r, squares[k] / before, dim);
		}
	}
	for (int k = 0; k < count; k++)
	{
		float	   *x = w.x + (size_t) k * (size_t) dim;

		als_finish_row(params, matrix->offsets[begin + k + 1] - matrix->offsets[begin + k], x);
		memcpy(rows + (size_t) (begin + k) * (size_t) dim, x, sizeof(float) * (size_t) dim);
	}
}

bool
als_solve_rows(const AlsParams *params, const float *gram, const float *other,
			   const AlsMatrix *matrix, int32_t begin, int32_t end, float *rows,
			   void *work, bool (*interrupted) (void *arg), void *arg)
{
	for (int32_t from = begin; from < end; from += ALS_BATCH)
	{
		int32_t		to = end - from < ALS_BATCH ? end : from + ALS_BATCH;

		if (interrupted && interrupted(arg))
			return false;
		if (params->solver == ALS_CG)
			cg_batch(params, gram, other, matrix, from, to, rows, work);
		else
			for (int32_t row = from; row < to; row++)
			{
				int64_t		at = matrix->offsets[row];

				als_solve_row(params, gram, other, (int) (matrix->offsets[row + 1] - at),
							  matrix->columns + at, matrix->weights + at,
							  rows + (size_t) row * (size_t) params->dim, work);
			}
	}
	return true;
}

/* gram (upper triangle) = rows' rows */
static void
own_gram(int dim, const float *rows, int count, float *gram)
{
	const AlsKernels *kernels = als_kernels();
	int			whole = dim / CHOLESKY_ALIGN * CHOLESKY_ALIGN;
	int			block = 16 + ALS_CACHED / dim;	/* as many as a near cache holds */

	memset(gram, 0, sizeof(float) * (size_t) dim * (size_t) dim);
	for (int from = 0; from < count; from += block)
	{
		const float *some = rows + (size_t) from * (size_t) dim;

		kernels->update(gram, whole, dim, some, some, count - from < block ? count - from : block, 1);
	}
	/* columns that do not fill a vector: first as rows, of which no others make use */
	for (int j = whole; j < dim; j++)
	{
		float	   *column = gram + (size_t) j * (size_t) dim;

		memset(column, 0, sizeof(float) * (size_t) dim);
		for (int k = 0; k < count; k++)
		{
			const float *row = rows + (size_t) k * (size_t) dim;

			kernels->shift(column, row, row[j], 1, dim);
		}
		for (int i = 0; i < j; i++)
			gram[(size_t) i * (size_t) dim + (size_t) j] = column[i];
	}
}

void
als_gram_chunk(int dim, const float *rows, int32_t n, int chunk, float *gram)
{
	int64_t		from = (int64_t) n * chunk / ALS_GRAM_CHUNKS,
				to = (int64_t) n * (chunk + 1) / ALS_GRAM_CHUNKS;

	rows += from * dim;
	if (als_kernels()->beats_blas)
		own_gram(dim, rows, (int) (to - from), gram);
	else
		cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, dim, (int) (to - from), 1,
					rows, dim, 0, gram, dim);
	for (int i = 1; i < dim; i++)
		for (int j = 0; j < i; j++)
			gram[(size_t) i * (size_t) dim + (size_t) j] = gram[(size_t) j * (size_t) dim + (size_t) i];
}

void
als_gram_sum(int dim, const float *chunks, float *gram)
{
	const AlsKernels *kernels = als_kernels();
	size_t		cells = (size_t) dim * (size_t) dim;

	memcpy(gram, chunks, sizeof(float) * cells);
	for (int chunk = 1; chunk < ALS_GRAM_CHUNKS; chunk++)
		kernels->shift(gram, chunks + (size_t) chunk * cells, 1, 1, (int) cells);
}
