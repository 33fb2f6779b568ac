/*
 * test_als.c
 *	  als.h against the formulas at its top, written down in double precision
 *	  over dense matrices.
 */
#include "unit.h"

#include "numeric/als.h"
#include "numeric/als_kernel.h"

/* A table of interactions by user and by item, and vectors for both. */
typedef struct Problem
{
	AlsParams	params;
	int			n[2];			/* users, items */
	AlsMatrix	side[2];		/* by user, by item */
	float	   *rows[2];		/* n x dim */
	float	   *gram[2];		/* dim x dim */
} Problem;

static void *
aligned(size_t bytes)
{
	void	   *block = aligned_alloc(64, (bytes + 64) / 64 * 64);

	/* whoever reads scratch memory before writing it gets NaN */
	memset(block, 0xff, (bytes + 64) / 64 * 64);
	return block;
}

static AlsParams
make_params(int factors, bool explicit_feedback, AlsSolver solver)
{
	AlsParams	p = {
		.factors = factors,
		.dim = factors + explicit_feedback,
		.explicit_feedback = explicit_feedback,
		.solver = solver,
		.cg_steps = 3,
		.alpha = 40,
		.regularization = 0.1,
		.exponent = explicit_feedback ? 0.5 : 1,
		.mean = explicit_feedback ? 3.5 : 0,
	};

	return p;
}

/* Builds one side of "count" triples (user, item, weight). */
static AlsMatrix
make_side(int nrows, int count, const int32_t *rows, const int32_t *columns, const float *weights)
{
	int64_t    *offsets = calloc((size_t) nrows + 2, sizeof(int64_t));
	int32_t    *to = malloc(sizeof(int32_t) * (size_t) (count + 1));
	float	   *values = malloc(sizeof(float) * (size_t) (count + 1));

	for (int i = 0; i < count; i++)
		offsets[rows[i] + 2]++;
	for (int r = 0; r <= nrows; r++)
		offsets[r + 1] += offsets[r];
	for (int i = 0; i < count; i++)
	{
		int64_t		at = offsets[rows[i] + 1]++;

		to[at] = columns[i];
		values[at] = weights[i];
	}
	return (AlsMatrix) {nrows, offsets, to, values};
}

static void
problem_vectors(Problem *p)
{
	for (int s = 0; s < 2; s++)
	{
		size_t		dim = (size_t) p->params.dim;

		p->rows[s] = aligned(sizeof(float) * dim * (size_t) p->n[s]);
		p->gram[s] = aligned(sizeof(float) * dim * dim);
		als_init_rows(&p->params, 7 + (uint64_t) s, 0, p->n[s], p->rows[s]);
	}
}

static Problem
make_triples(const AlsParams *params, int users, int items, int count,
			 const int32_t *u, const int32_t *i, const float *w)
{
	Problem		p = {*params, {users, items}, {{0}}, {NULL}, {NULL}};

	p.side[0] = make_side(users, count, u, i, w);
	p.side[1] = make_side(items, count, i, u, w);
	problem_vectors(&p);
	return p;
}

/* Random, with the last user and the last item left without interactions. */
static Problem
make_problem(const AlsParams *params, int users, int items, int count, uint64_t seed)
{
	Random		r = {seed};
	int32_t    *u = malloc(sizeof(int32_t) * (size_t) count);
	int32_t    *i = malloc(sizeof(int32_t) * (size_t) count);
	float	   *w = malloc(sizeof(float) * (size_t) count);
	Problem		p;

	for (int x = 0; x < count; x++)
	{
		u[x] = (int32_t) random_below(&r, (uint32_t) users - 1);
		i[x] = (int32_t) (random_real(&r) * random_real(&r) * (items - 1));
		w[x] = (float) (1 + random_below(&r, 5));
	}
	p = make_triples(params, users, items, count, u, i, w);
	free(u);
	free(i);
	free(w);
	return p;
}

static void
free_problem(Problem *p)
{
	for (int s = 0; s < 2; s++)
	{
		free((void *) p->side[s].offsets);
		free((void *) p->side[s].columns);
		free((void *) p->side[s].weights);
		free(p->rows[s]);
		free(p->gram[s]);
	}
}

static void
whole_gram(int dim, const float *rows, int n, float *gram, bool backwards)
{
	size_t		cells = (size_t) dim * (size_t) dim;
	float	   *chunks = aligned(sizeof(float) * cells * ALS_GRAM_CHUNKS);

	for (int c = 0; c < ALS_GRAM_CHUNKS; c++)
	{
		int			chunk = backwards ? ALS_GRAM_CHUNKS - 1 - c : c;

		als_gram_chunk(dim, rows, n, chunk, chunks + (size_t) chunk * cells);
	}
	als_gram_sum(dim, chunks, gram);
	free(chunks);
}

/* Solves side s in pieces of "piece" rows, last piece first if backwards. */
static void
solve_side(Problem *p, int s, int piece, bool backwards)
{
	void	   *work = aligned(als_batch_work_size(&p->params, &p->side[s]));
	int			pieces = (p->n[s] + piece - 1) / piece;

	if (!p->params.explicit_feedback)
		whole_gram(p->params.dim, p->rows[!s], p->n[!s], p->gram[!s], backwards);
	for (int x = 0; x < pieces; x++)
	{
		int			begin = (backwards ? pieces - 1 - x : x) * piece;
		int			end = begin + piece < p->n[s] ? begin + piece : p->n[s];

		als_solve_rows(&p->params, p->gram[!s], p->rows[!s], &p->side[s], begin, end,
					   p->rows[s], work, NULL, NULL);
	}
	free(work);
}

static void
iterate(Problem *p)
{
	solve_side(p, 0, 1 << 20, false);
	solve_side(p, 1, 1 << 20, false);
}

/* --------------------------------------------------------------- reference */

/* a x = b by Gauss with pivots; n x n */
static void
gauss(double *a, double *b, int n)
{
	for (int k = 0; k < n; k++)
	{
		int			best = k;
		double		t = b[k];

		for (int i = k + 1; i < n; i++)
			if (fabs(a[i * n + k]) > fabs(a[best * n + k]))
				best = i;
		for (int j = 0; j < n; j++)
		{
			double		u = a[k * n + j];

			a[k * n + j] = a[best * n + j];
			a[best * n + j] = u;
		}
		b[k] = b[best];
		b[best] = t;
		for (int i = k + 1; i < n; i++)
		{
			double		f = a[i * n + k] / a[k * n + k];

			for (int j = k; j < n; j++)
				a[i * n + j] -= f * a[k * n + j];
			b[i] -= f * b[k];
		}
	}
	for (int k = n - 1; k >= 0; k--)
	{
		for (int j = k + 1; j < n; j++)
			b[k] -= a[k * n + j] * b[j];
		b[k] /= a[k * n + k];
	}
}

/* All rows of side s of the formula, from "other" (double, m x dim). */
static void
reference_side(const Problem *p, int s, const double *other, double *rows)
{
	const AlsParams *q = &p->params;
	int			dim = q->dim,
				f = q->factors;
	double	   *a = malloc(sizeof(double) * (size_t) (dim * dim));
	double	   *y = malloc(sizeof(double) * (size_t) dim);

	for (int r = 0; r < p->n[s]; r++)
	{
		double	   *x = rows + r * dim;
		int64_t		begin = p->side[s].offsets[r],
					end = p->side[s].offsets[r + 1];

		memset(x, 0, sizeof(double) * (size_t) dim);
		if (begin == end)
			continue;
		memset(a, 0, sizeof(double) * (size_t) (dim * dim));
		for (int i = 0; i < dim; i++)
			a[i * dim + i] = q->regularization * pow((double) (end - begin), q->exponent);
		for (int c = 0; c < p->n[!s] && !q->explicit_feedback; c++)
			for (int i = 0; i < dim; i++)
				for (int j = 0; j < dim; j++)
					a[i * dim + j] += other[c * dim + i] * other[c * dim + j] / q->alpha;
		for (int64_t at = begin; at < end; at++)
		{
			const double *theirs = other + p->side[s].columns[at] * dim;
			double		w = p->side[s].weights[at];
			double		want = q->explicit_feedback ? w - q->mean - theirs[f] : w + 1 / q->alpha;

			memcpy(y, theirs, sizeof(double) * (size_t) dim);
			if (q->explicit_feedback)
			{
				y[f] = 1;
				w = 1;
			}
			for (int i = 0; i < dim; i++)
			{
				for (int j = 0; j < dim; j++)
					a[i * dim + j] += w * y[i] * y[j];
				x[i] += want * y[i];
			}
		}
		gauss(a, x, dim);
	}
	free(a);
	free(y);
}

/* The objective, over every pair. */
static double
reference_loss(const Problem *p)
{
	const AlsParams *q = &p->params;
	int			dim = q->dim,
				f = q->factors;
	double		sum = 0;

	for (int u = 0; u < p->n[0]; u++)
	{
		const float *x = p->rows[0] + u * dim;

		for (int i = 0; i < p->n[1]; i++)
		{
			const float *y = p->rows[1] + i * dim;
			double		score = 0,
						present = 0;

			for (int j = 0; j < f; j++)
				score += (double) x[j] * y[j];
			if (q->explicit_feedback)
				score += q->mean + x[f] + y[f];
			for (int64_t at = p->side[0].offsets[u]; at < p->side[0].offsets[u + 1]; at++)
				if (p->side[0].columns[at] == i)
				{
					double		w = p->side[0].weights[at];

					sum += q->explicit_feedback ? (w - score) * (w - score) : w * (1 - score) * (1 - score);
					present++;
				}
			if (!q->explicit_feedback)
				sum += (score * score + present * (1 - 2 * score)) / q->alpha;
		}
	}
	for (int s = 0; s < 2; s++)
		for (int r = 0; r < p->n[s]; r++)
		{
			double		n = (double) (p->side[s].offsets[r + 1] - p->side[s].offsets[r]);

			for (int j = 0; j < dim && n > 0; j++)
				sum += q->regularization * pow(n, q->exponent) *
					(double) p->rows[s][r * dim + j] * p->rows[s][r * dim + j];
		}
	return sum;
}

static double
loss_of(Problem *p)
{
	double		sum;

	for (int s = 0; s < 2 && !p->params.explicit_feedback; s++)
		whole_gram(p->params.dim, p->rows[s], p->n[s], p->gram[s], false);
	sum = als_loss_rows(&p->params, &p->side[0], 0, p->n[0], p->rows[0], p->rows[1]).total;
	sum += als_penalty(&p->params, &p->side[1], 0, p->n[1], p->rows[1]);
	return sum + als_loss_all(&p->params, p->gram[0], p->gram[1]);
}

/* Largest difference within a row, relative to the largest element of the row. */
static double
row_difference(const float *x, const double *reference, int dim)
{
	double		scale = 1e-30,
				most = 0;

	for (int j = 0; j < dim; j++)
	{
		scale = fmax(scale, fabs(reference[j]));
		most = fmax(most, fabs(x[j] - reference[j]));
	}
	return isfinite(most) ? most / scale : INFINITY;
}

/* ------------------------------------------------------------------- tests */

/* One iteration from the same start, in both. */
static double
iteration_difference(const AlsParams *params, int users, int items, int count, bool feed_back)
{
	Problem		p = make_problem(params, users, items, count, 3);
	int			dim = params->dim;
	double		most = 0;
	double	   *reference[2];

	for (int s = 0; s < 2; s++)
	{
		reference[s] = malloc(sizeof(double) * (size_t) (p.n[s] * dim));
		for (int c = 0; c < p.n[s] * dim; c++)
			reference[s][c] = p.rows[s][c];
	}
	for (int s = 0; s < 2; s++)
	{
		reference_side(&p, s, reference[!s], reference[s]);
		solve_side(&p, s, 1 << 20, false);
		for (int r = 0; r < p.n[s]; r++)
			most = fmax(most, row_difference(p.rows[s] + r * dim, reference[s] + r * dim, dim));
		for (int c = 0; c < p.n[s] * dim && feed_back; c++)
			reference[s][c] = p.rows[s][c];
	}
	for (int s = 0; s < 2; s++)
		free(reference[s]);
	free_problem(&p);
	return most;
}

static void
test_reference(void)
{
	for (int e = 0; e < 2; e++)
		for (int f = 0; f < 6; f++)
		{
			const int	factors[] = {1, 2, 15, 16, 33, 64};
			AlsParams	params = make_params(factors[f], e, ALS_CHOLESKY);
			double		difference = iteration_difference(&params, 50, 40, 600, false);

			ok(difference <= 1e-4, "%s, %d factors: one iteration as in the formula (%.1e)",
			   e ? "explicit" : "implicit", factors[f], difference);
			params.solver = ALS_CG;
			params.cg_steps = 2 * factors[f] + 4;
			difference = iteration_difference(&params, 50, 40, 600, true);
			ok(difference <= 1e-3, "%s, %d factors: conjugate gradient gets there (%.1e)",
			   e ? "explicit" : "implicit", factors[f], difference);
		}
}

static void
test_loss(void)
{
	for (int e = 0; e < 2; e++)
		for (int solver = 0; solver < 2; solver++)
		{
			AlsParams	params = make_params(20, e, solver ? ALS_CG : ALS_CHOLESKY);
			Problem		p = make_problem(&params, 70, 90, 1500, 5);
			double		before = INFINITY,
						wrong = 0;
			int			rises = 0;

			for (int i = 0; i < 12; i++)
			{
				double		loss = loss_of(&p);
				double		reference = reference_loss(&p);

				wrong = fmax(wrong, fabs(loss - reference) / reference);
				rises += !(loss <= before * (1 + 1e-6));
				before = loss;
				iterate(&p);
			}
			ok(wrong < 1e-5, "%s: loss as in the formula (%.1e)", e ? "explicit" : "implicit", wrong);
			ok(rises == 0, "%s, %s: loss never rises, at last %.4f", e ? "explicit" : "implicit",
			   solver ? "conjugate gradient" : "Cholesky", before);
			free_problem(&p);
		}
}

static void
test_split(void)
{
	for (int e = 0; e < 2; e++)
		for (int solver = 0; solver < 2; solver++)
		{
			AlsParams	params = make_params(37, e, solver ? ALS_CG : ALS_CHOLESKY);
			Problem		one = make_problem(&params, 300, 210, 4000, 11);
			Problem		other = make_problem(&params, 300, 210, 4000, 11);
			size_t		dim = (size_t) params.dim;

			for (int i = 0; i < 3; i++)
			{
				iterate(&one);
				solve_side(&other, 0, (i + 1) * ALS_BATCH, true);
				solve_side(&other, 1, (i + 1) * ALS_BATCH, i % 2);
			}
			ok(!memcmp(one.rows[0], other.rows[0], 300 * dim * sizeof(float)) &&
			   !memcmp(one.rows[1], other.rows[1], 210 * dim * sizeof(float)),
			   "%s, %s: the same bits, whoever does which rows", e ? "explicit" : "implicit",
			   solver ? "conjugate gradient" : "Cholesky");
			free_problem(&one);
			free_problem(&other);
		}
}

/* Rows on their own: fold-in, and the split of a score. */
static void
test_rows(void)
{
	for (int e = 0; e < 2; e++)
	{
		AlsParams	params = make_params(48, e, ALS_CHOLESKY);
		Problem		p = make_problem(&params, 80, 60, 3000, 17);
		int			dim = params.dim;
		void	   *work = aligned(als_work_size(&params, 3000));
		float	   *x = aligned(sizeof(float) * (size_t) dim),
				   *query = aligned(sizeof(float) * (size_t) dim);
		double	   *parts = malloc(sizeof(double) * 3000);
		int			different = 0;
		double		most = 0;

		iterate(&p);
		iterate(&p);
		solve_side(&p, 0, 1 << 20, false);
		for (int u = 0; u < p.n[0]; u++)
		{
			int64_t		at = p.side[0].offsets[u];
			int			n = (int) (p.side[0].offsets[u + 1] - at);
			double		constant;

			als_solve_row(&params, p.gram[1], p.rows[1], n, p.side[0].columns + at,
						  p.side[0].weights + at, x, work);
			different += memcmp(x, p.rows[0] + u * dim, sizeof(float) * (size_t) dim) != 0;
			constant = als_query(&params, x, query);
			for (int i = 0; i < p.n[1]; i += 7)
			{
				const float *y = p.rows[1] + i * dim;
				double		score = constant,
							direct = 0,
							sum = 0;

				als_explain_row(&params, p.gram[1], p.rows[1], n, p.side[0].columns + at,
								p.side[0].weights + at, y, parts, work);
				for (int j = 0; j < dim; j++)
					score += (double) query[j] * y[j];
				for (int j = 0; j < params.factors; j++)
					direct += (double) x[j] * y[j];
				if (e)
					direct += params.mean + x[dim - 1] + y[dim - 1];
				for (int j = 0; j < n; j++)
					sum += parts[j];
				if (e)
					sum += params.mean + y[dim - 1];
				most = fmax(most, fabs(sum - score));
				most = fmax(most, fabs(direct - score));
			}
		}
		ok(different == 0, "%s: fold-in equals the trained rows (%d differ)", e ? "explicit" : "implicit", different);
		ok(most < 1e-4, "%s: contributions add up to the score (%.1e)", e ? "explicit" : "implicit", most);
		free(work);
		free(x);
		free(query);
		free(parts);
		free_problem(&p);
	}
}

static int
not_finite(const Problem *p)
{
	int			bad = 0;

	for (int s = 0; s < 2; s++)
		for (int c = 0; c < p->n[s] * p->params.dim; c++)
			bad += !isfinite(p->rows[s][c]);
	return bad;
}

static void
test_odd_input(void)
{
	static const int32_t zeros[100],
				same[] = {1, 1, 1, 1, 1},
				rising[] = {0, 1, 2, 3, 4};
	static const float weights[] = {1, 1, 1, 1, 1},
				fours[] = {4, 4, 4, 4, 4},
				huge[] = {3e38f, 1e30f, 1e-38f, 1, 3e38f};

	for (int kind = 0; kind < 16; kind++)
	{
		bool		e = kind & 1;
		AlsParams	params = make_params(kind & 2 ? 1 : 24, e, kind & 4 ? ALS_CG : ALS_CHOLESKY);
		Problem		p;
		int			bad = 0,
					nonzero = 0;

		params.regularization = kind & 8 ? 0 : 0.1;
		/* one user */
		p = make_triples(&params, 1, 5, 5, zeros, rising, weights);
		iterate(&p);
		bad += not_finite(&p);
		free_problem(&p);
		/* all of one item, by one user, again and again */
		p = make_triples(&params, 2, 3, 5, same, same, weights);
		iterate(&p);
		iterate(&p);
		bad += not_finite(&p);
		for (int j = 0; j < params.dim; j++)
			nonzero += p.rows[0][j] != 0 || p.rows[1][j] != 0;
		free_problem(&p);
		/* nothing at all */
		p = make_triples(&params, 2, 3, 0, NULL, NULL, NULL);
		iterate(&p);
		for (int j = 0; j < 2 * params.dim; j++)
			nonzero += p.rows[0][j] != 0;
		bad += !isfinite(loss_of(&p));
		free_problem(&p);
		/* all ratings equal: the mean says it all */
		params.mean = e ? 4 : 0;
		p = make_triples(&params, 5, 5, 5, rising, same, fours);
		for (int i = 0; i < 4; i++)
			iterate(&p);
		bad += not_finite(&p);
		bad += e && !(kind & 8) && fabs(loss_of(&p)) > 1e-3;
		free_problem(&p);
		/* weights that no arithmetic survives */
		p = make_triples(&params, 5, 5, 5, rising, rising, huge);
		iterate(&p);
		iterate(&p);
		bad += not_finite(&p);
		free_problem(&p);
		ok(bad == 0 && nonzero == 0, "odd input, %s, %d factors, %s, regularization %g: finite; zeros where there is nothing",
		   e ? "explicit" : "implicit", params.factors, kind & 4 ? "conjugate gradient" : "Cholesky", params.regularization);
	}
}

static void
test_large(void)
{
	for (int solver = 0; solver < 2; solver++)
	{
		AlsParams	params = make_params(1024, false, solver ? ALS_CG : ALS_CHOLESKY);
		Problem		p = make_problem(&params, 5, 10, 40, 23);
		double		first = loss_of(&p),
					last;

		iterate(&p);
		last = loss_of(&p);
		ok(not_finite(&p) == 0 && last < first, "1024 factors, %s: loss %.3f, then %.3f",
		   solver ? "conjugate gradient" : "Cholesky", first, last);
		free_problem(&p);
	}
}

static bool
stop_at_third(void *arg)
{
	return ++*(int *) arg == 3;
}

static void
test_interrupt(void)
{
	AlsParams	params = make_params(8, false, ALS_CG);
	Problem		p = make_problem(&params, 200, 30, 900, 29);
	void	   *work = aligned(als_batch_work_size(&params, &p.side[0]));
	int			asked = 0;

	whole_gram(params.dim, p.rows[1], p.n[1], p.gram[1], false);
	ok(!als_solve_rows(&params, p.gram[1], p.rows[1], &p.side[0], 0, 200, p.rows[0], work, stop_at_third, &asked) &&
	   asked == 3, "stops between batches when told to");
	free(work);
	free_problem(&p);
}

static void
test_start(void)
{
	AlsParams	params = make_params(100, true, ALS_CG);
	float	   *whole = aligned(sizeof(float) * 101 * 500),
			   *part = aligned(sizeof(float) * 101 * 500);
	double		sum = 0,
				squares = 0;

	als_init_rows(&params, 42, 0, 500, whole);
	als_init_rows(&params, 42, 200, 300, part);
	ok(!memcmp(whole + 200 * 101, part + 200 * 101, 100 * 101 * sizeof(float)), "the start depends on seed and place alone");
	als_init_rows(&params, 43, 200, 300, part);
	ok(memcmp(whole + 200 * 101, part + 200 * 101, 100 * 101 * sizeof(float)) != 0, "another seed, another start");
	for (int c = 0; c < 500 * 101; c++)
	{
		sum += whole[c];
		squares += (double) whole[c] * whole[c];
	}
	ok(fabs(sum / 50000) < 1e-3 && fabs(squares / 50000 * 10 / 0.01 - 1) < 0.05, "mean %.1e, variance %.1e", sum / 50000, squares / 50000);
	free(whole);
	free(part);
}

/* All kinds of kernels that run here, the best last; one without vectors of its
 * own calls BLAS. */
int
main(void)
{
	const AlsKernels *kernels;
	bool		runs;

	test_start();
	test_interrupt();
	for (int variant = 0; (kernels = als_kernel_variant(variant, &runs)); variant++)
	{
		if (!runs)
		{
			printf("# %s: not on this machine\n", kernels->name);
			continue;
		}
		printf("# %s\n", kernels->name);
		als_kernels_choose(kernels);
		test_reference();
		test_loss();
		test_split();
		test_rows();
		test_odd_input();
		test_large();
	}
	return unit_end();
}
