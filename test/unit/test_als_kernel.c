/*
 * test_als_kernel.c
 *	  Each kind of kernels of als_kernel.h that runs here, and cholesky.h on top
 *	  of it, against plain loops in double precision.
 */
#include "unit.h"

#include "numeric/als_kernel.h"
#include "numeric/cholesky.h"

#define MAX_LEN		150
#define ROWS		40

static Random r = {1};

/* n random floats with a guard behind them, so that the sanitizers see who reads
 * or writes too far */
static float *
floats(size_t n)
{
	float	   *f = malloc(sizeof(float) * (n ? n : 1));

	for (size_t i = 0; i < n; i++)
		f[i] = (float) (random_real(&r) * 2 - 1);
	return f;
}

static float *
aligned_floats(size_t n)
{
	float	   *f = aligned_alloc(64, (sizeof(float) * n + 63) / 64 * 64);

	for (size_t i = 0; i < n; i++)
		f[i] = (float) (random_real(&r) * 2 - 1);
	return f;
}

/* Differences of q and of the sum, for one length and number of rows. */
static double
pass_difference(const AlsKernels *kernels, int len, int n, int form)
{
	const size_t stride = (size_t) len + (form & 1);
	float	   *base = floats(stride * ROWS),
			   *p = floats((size_t) len),
			   *q = floats((size_t) len),
			   *weights = floats((size_t) n),
			   *wanted = floats((size_t) n);
	int32_t    *rows = malloc(sizeof(int32_t) * (size_t) (n + 3));
	double		most = 0,
				sum = 0,
				given;
	double		reference[MAX_LEN];
	AlsGather	g = {
		.base = base, .stride = stride, .len = len, .n = n, .rows = rows,
		.ahead = form & 1 ? 3 : -1,
		.weights = form & 2 ? weights : NULL,
		.wanted = form & 4 ? wanted : NULL,
		.wanted_all = 0.25f, .constant = 0.5f, .slope = -0.75f,
	};

	for (int i = 0; i < n + 3; i++)
		rows[i] = (int32_t) random_below(&r, ROWS);
	for (int j = 0; j < len; j++)
		reference[j] = q[j];
	for (int i = 0; i < n; i++)
	{
		const float *y = base + (size_t) rows[i] * stride;
		double		f = 0;

		for (int j = 0; j < len; j++)
			f += (double) y[j] * p[j];
		f = (0.5 - 0.75 * f) * (form & 2 ? weights[i] : 1) + (form & 4 ? wanted[i] : 0.25);
		sum += f;
		for (int j = 0; j < len; j++)
			reference[j] += f * y[j];
	}
	given = kernels->pass(&g, p, q);
	most = fabs(given - sum);
	for (int j = 0; j < len; j++)
		most = fmax(most, fabs(q[j] - reference[j]));
	free(base);
	free(p);
	free(q);
	free(weights);
	free(wanted);
	free(rows);
	return most;
}

static void
test_pass(const AlsKernels *kernels)
{
	double		most = 0;

	for (int len = 1; len <= MAX_LEN; len += len < 70 ? 1 : 13)
		for (int n = 0; n <= 13; n++)
			most = fmax(most, pass_difference(kernels, len, n, (len + n) % 8));
	ok(most < 1e-4, "%s: pass, lengths 1 to %d (%.1e)", kernels->name, MAX_LEN, most);
}

static void
test_vectors(const AlsKernels *kernels)
{
	double		most = 0;

	for (int len = 0; len <= MAX_LEN; len++)
	{
		float	   *v[4];
		double		dot = 0,
					squares = 0,
					reference[3][MAX_LEN];

		for (int i = 0; i < 4; i++)
			v[i] = floats((size_t) len);
		for (int j = 0; j < len; j++)
		{
			dot += (double) v[0][j] * v[1][j];
			reference[0][j] = v[0][j] + 0.5 * v[2][j];
			reference[1][j] = v[1][j] - 0.5 * v[3][j];
			squares += reference[1][j] * reference[1][j];
			reference[2][j] = reference[1][j] + 0.75 * v[2][j];
			reference[2][j] = -1 * (reference[2][j] + 0.125 * v[3][j]);
		}
		most = fmax(most, fabs(kernels->dot(v[0], v[1], len) - dot));
		most = fmax(most, fabs(kernels->advance(v[0], v[1], v[2], v[3], 0.5f, len) - squares));
		kernels->turn(v[2], v[1], 0.75f, len);
		kernels->shift(v[2], v[3], 0.125f, -1, len);
		for (int i = 0; i < 3; i++)
			for (int j = 0; j < len; j++)
				most = fmax(most, fabs(v[i][j] - reference[i][j]));
		for (int i = 0; i < 4; i++)
			free(v[i]);
	}
	ok(most < 1e-4, "%s: dot, advance, turn, shift (%.1e)", kernels->name, most);
}

static void
test_product(const AlsKernels *kernels)
{
	double		most = 0;

	for (int dim = 1; dim <= 545; dim += dim < 80 ? 1 : 31)
	{
		size_t		size = (size_t) dim;
		float	   *p = floats(ALS_BATCH * size),
				   *g = floats(size * size),
				   *q = floats(ALS_BATCH * size);

		kernels->product(q, p, g, 0.5f, dim);
		for (int i = 0; i < ALS_BATCH; i++)
			for (int j = 0; j < dim; j++)
			{
				double		sum = 0;

				for (int k = 0; k < dim; k++)
					sum += (double) p[i * dim + k] * g[k * dim + j];
				most = fmax(most, fabs(q[i * dim + j] - sum / 2));
			}
		free(p);
		free(g);
		free(q);
	}
	ok(most < 1e-4, "%s: product with a Gram matrix, 1 to 545 rows (%.1e)", kernels->name, most);
}

/* A = BB' + 1 of "rank" columns, solved; the residual relative to the right side. */
static double
residual(int n, int rank, float ridge)
{
	size_t		size = (size_t) n;
	float	   *a = aligned_floats(size * size),
			   *u = aligned_floats(size * size),
			   *b = aligned_floats(size * (size_t) rank),
			   *x = aligned_floats(size),
			   *right = aligned_floats(size);
	double		most = 0;

	/* a right side in the space of the columns, so that there is a solution */
	for (int i = 0; i < n; i++)
	{
		right[i] = b[i * rank];
		for (int j = 0; j < n; j++)
		{
			double		sum = i == j ? ridge : 0;

			for (int k = 0; k < rank; k++)
				sum += (double) b[i * rank + k] * b[j * rank + k];
			a[i * n + j] = u[i * n + j] = (float) sum;
			/* nobody may look below the diagonal */
			if (j < i)
				u[i * n + j] = NAN;
		}
	}
	memcpy(x, right, sizeof(float) * size);
	cholesky_factor(u, n, n);
	cholesky_solve(u, n, n, x);
	for (int i = 0; i < n; i++)
	{
		double		sum = -right[i];

		for (int j = 0; j < n; j++)
			sum += (double) a[i * n + j] * x[j];
		most = isfinite(sum) ? fmax(most, fabs(sum)) : INFINITY;
	}
	free(a);
	free(u);
	free(b);
	free(x);
	free(right);
	return most;
}

static void
test_cholesky(const AlsKernels *kernels)
{
	double		most = 0;
	_Alignas(64) float zero[CHOLESKY_ALIGN * CHOLESKY_ALIGN] = {0};
	float		x[CHOLESKY_ALIGN];
	bool		zeros = true;

	for (int n = CHOLESKY_ALIGN; n <= 160; n += CHOLESKY_ALIGN)
		most = fmax(most, residual(n, n + 3, 1));
	ok(most < 1e-3, "%s: Cholesky, 16 to 160 rows (%.1e)", kernels->name, most);
	most = residual(64, 5, 0);
	ok(most < 1e-2, "%s: Cholesky of a singular matrix (%.1e)", kernels->name, most);
	for (int i = 0; i < CHOLESKY_ALIGN; i++)
		x[i] = 1;
	cholesky_factor(zero, CHOLESKY_ALIGN, CHOLESKY_ALIGN);
	cholesky_solve(zero, CHOLESKY_ALIGN, CHOLESKY_ALIGN, x);
	for (int i = 0; i < CHOLESKY_ALIGN; i++)
		zeros = zeros && x[i] == 0;
	ok(zeros, "%s: Cholesky of nothing", kernels->name);
}

int
main(void)
{
	const AlsKernels *kernels,
			   *best = NULL;
	bool		runs;

	for (int variant = 0; (kernels = als_kernel_variant(variant, &runs)); variant++)
	{
		if (!runs)
		{
			printf("# %s: not on this machine\n", kernels->name);
			continue;
		}
		best = kernels;
		als_kernels_choose(kernels);
		test_pass(kernels);
		test_vectors(kernels);
		test_product(kernels);
		test_cholesky(kernels);
	}
	als_kernels_choose(NULL);
	ok(als_kernels() == best, "%s is what is chosen here", als_kernels()->name);
	return unit_end();
}
