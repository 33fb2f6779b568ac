/*
 * als_kernel_impl.h
 *	  One set of kernels, written with the compiler's vectors; als_kernel.c
 *	  includes it once for each kind of CPU, with
 *
 *		LANES			floats in a vector: a power of two up to CHOLESKY_ALIGN
 *		NAME(x)			name of this kind's x
 *		TARGET			attribute of its functions
 *		SUM4(out, a, b, c, d)	sums of the lanes of four vectors, out[0..3]
 *
 * Sums are made in a fixed order that depends on lengths alone.
 *
 * A length that is no multiple of LANES ends in a vector that overlaps the one
 * before: the lanes that were seen already are zeros in the copy of p, and
 * ignored in the sums for q.
 */

#define VEC		NAME(Vec)
#define LOAD(p)	(*(const VEC *) (p))
#define STORE(p, v)	(*(VEC *) (p) = (v))

/* of no alignment but that of a float */
typedef float VEC __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* ------------------------------------------------------------------ vectors */

TARGET static float
NAME(dot) (const float *a, const float *b, int len)
{
	VEC			s0 = {0},
				s1 = {0},
				s2 = {0},
				s3 = {0};
	float		sums[4];
	int			j = 0;

	for (; j + 4 * LANES <= len; j += 4 * LANES)
	{
		s0 += LOAD(a + j) * LOAD(b + j);
		s1 += LOAD(a + j + LANES) * LOAD(b + j + LANES);
		s2 += LOAD(a + j + 2 * LANES) * LOAD(b + j + 2 * LANES);
		s3 += LOAD(a + j + 3 * LANES) * LOAD(b + j + 3 * LANES);
	}
	for (; j + LANES <= len; j += LANES)
		s0 += LOAD(a + j) * LOAD(b + j);
	SUM4(sums, s0, s1, s2, s3);
	sums[0] += sums[1] + (sums[2] + sums[3]);
	for (; j < len; j++)
		sums[0] += a[j] * b[j];
	return sums[0];
}

TARGET static void
NAME(shift) (float *q, const float *p, float ridge, float sign, int len)
{
	int			j = 0;

	for (; j + LANES <= len; j += LANES)
		STORE(q + j, (LOAD(q + j) + LOAD(p + j) * ridge) * sign);
	for (; j < len; j++)
		q[j] = (q[j] + p[j] * ridge) * sign;
}

TARGET static float
NAME(advance) (float *x, float *r, const float *p, const float *q, float length, int len)
{
	VEC			s0 = {0},
				s1 = {0},
				none = {0};
	float		sums[4];
	int			j = 0;

	for (; j + LANES <= len; j += LANES)
	{
		VEC			v = LOAD(r + j) - LOAD(q + j) * length;

		STORE(x + j, LOAD(x + j) + LOAD(p + j) * length);
		STORE(r + j, v);
		if (j & LANES)
			s1 += v * v;
		else
			s0 += v * v;
	}
	SUM4(sums, s0, s1, none, none);
	sums[0] += sums[1];
	for (; j < len; j++)
	{
		x[j] += length * p[j];
		r[j] -= length * q[j];
		sums[0] += r[j] * r[j];
	}
	return sums[0];
}

TARGET static void
NAME(turn) (float *p, const float *r, float factor, int len)
{
	int			j = 0;

	for (; j + LANES <= len; j += LANES)
		STORE(p + j, LOAD(r + j) + LOAD(p + j) * factor);
	for (; j < len; j++)
		p[j] = r[j] + factor * p[j];
}

/* --------------------------------------------------------------------- pass */

/* Rows shorter than a vector. */
TARGET static float
NAME(pass_short) (const AlsGather *g, const float *p, float *q)
{
	float		sum = 0;

	for (int i = 0; i < g->n; i++)
	{
		const float *y = g->base + (size_t) g->rows[i] * g->stride;
		float		f = 0;

		for (int j = 0; j < g->len; j++)
			f += y[j] * p[j];
		f = gather_factor(g, i, f);
		for (int j = 0; j < g->len; j++)
			q[j] += f * y[j];
		sum += f;
	}
	return sum;
}

/*
 * Four rows at a time, so that four chains of additions run beside each other
 * and each piece of p and q is loaded once; the second loop finds the rows in
 * the nearest cache.  The last group is filled up with row 0 times nothing.
 */
TARGET static float
NAME(pass) (const AlsGather *g, const float *p, float *q)
{
	const int	whole = g->len / LANES * LANES;
	const int	last = g->len - LANES;	/* where the overlapping vector is */
	const bool	tail = whole < g->len;
	const int	known = g->n + g->ahead;
	VEC			tail_p = {0},
				tail_q = {0};
	float		sum = 0;

	if (last < 0)
		return NAME(pass_short) (g, p, q);
	for (int j = whole; j < g->len; j++)
		tail_p[j - last] = p[j];

	for (int i = 0; i < g->n; i += 4)
	{
		const int	count = g->n - i < 4 ? g->n - i : 4;
		const float *y[4];
		const float *ahead[4];
		VEC			s0 = {0},
					s1 = {0},
					s2 = {0},
					s3 = {0};
		float		f[4];

		for (int k = 0; k < 4; k++)
		{
			int			next = i + AHEAD + k < known ? i + AHEAD + k : i;

			y[k] = g->base + (size_t) g->rows[k < count ? i + k : i] * g->stride;
			ahead[k] = g->base + (size_t) g->rows[next] * g->stride;
		}
		if (g->ahead >= 0)
			for (int j = 0; j < whole; j += LANES)
			{
				if (j % 16 == 0)
					for (int k = 0; k < 4; k++)
						__builtin_prefetch(ahead[k] + j);
				s0 += LOAD(y[0] + j) * LOAD(p + j);
				s1 += LOAD(y[1] + j) * LOAD(p + j);
				s2 += LOAD(y[2] + j) * LOAD(p + j);
				s3 += LOAD(y[3] + j) * LOAD(p + j);
			}
		else
			for (int j = 0; j < whole; j += LANES)
			{
				s0 += LOAD(y[0] + j) * LOAD(p + j);
				s1 += LOAD(y[1] + j) * LOAD(p + j);
				s2 += LOAD(y[2] + j) * LOAD(p + j);
				s3 += LOAD(y[3] + j) * LOAD(p + j);
			}
		if (tail)
		{
			s0 += LOAD(y[0] + last) * tail_p;
			s1 += LOAD(y[1] + last) * tail_p;
			s2 += LOAD(y[2] + last) * tail_p;
			s3 += LOAD(y[3] + last) * tail_p;
		}
		SUM4(f, s0, s1, s2, s3);
		for (int k = 0; k < 4; k++)
		{
			f[k] = k < count ? gather_factor(g, i + k, f[k]) : 0;
			sum += f[k];
		}
		for (int j = 0; j < whole; j += LANES)
			STORE(q + j, LOAD(q + j) + ((LOAD(y[0] + j) * f[0] + LOAD(y[1] + j) * f[1]) +
										(LOAD(y[2] + j) * f[2] + LOAD(y[3] + j) * f[3])));
		if (tail)
			tail_q += (LOAD(y[0] + last) * f[0] + LOAD(y[1] + last) * f[1]) +
				(LOAD(y[2] + last) * f[2] + LOAD(y[3] + last) * f[3]);
	}
	for (int j = whole; j < g->len; j++)
		q[j] += tail_q[j - last];
	return sum;
}

/* ----------------------------------------------------------------- matrices */

/* A tile of "update": ROWS x (COLUMNS vectors), summed in registers. */
#define UPDATE_ROWS	(LANES == 16 ? 8 : 4)

#define UPDATE_TILE(columns) \
	do { \
		VEC			sums[UPDATE_ROWS][columns] = {{{0}}}; \
		for (int k = 0; k < count; k++) \
		{ \
			const float *left = v + (size_t) k * (size_t) stride + i; \
			const float *right = w + (size_t) k * (size_t) stride + j; \
			for (int r = 0; r < UPDATE_ROWS; r++) \
				for (int c = 0; c < columns; c++) \
					sums[r][c] += LOAD(right + c * LANES) * left[r]; \
		} \
		for (int r = 0; r < UPDATE_ROWS; r++) \
			for (int c = 0; c < columns; c++) \
			{ \
				float	   *to = a + (size_t) (i + r) * (size_t) stride + j + c * LANES; \
				STORE(to, LOAD(to) + sums[r][c] * sign); \
			} \
	} while (0)

TARGET static void
NAME(update) (float *a, int n, int stride, const float *v, const float *w,
			  int count, float sign)
{
	for (int i = 0; i < n; i += UPDATE_ROWS)
	{
		int			j = i / LANES * LANES;

		for (; j + 2 * LANES <= n; j += 2 * LANES)
			UPDATE_TILE(2);
		if (j < n)
			UPDATE_TILE(1);
	}
}

/*
 * A stripe of COLUMNS vectors of q, eight rows at a time, from rows begin ..
 * end - 1 of g.
 */
#define PRODUCT_STRIPE(columns, begin, end) \
	for (int i = 0; i < ALS_BATCH; i += 8) \
	{ \
		VEC			sums[8][columns] = {{{0}}}; \
		for (int k = begin; k < end; k++) \
		{ \
			const float *right = g + (size_t) k * (size_t) dim + j; \
			const float *left = p + (size_t) i * (size_t) dim + k; \
			for (int r = 0; r < 8; r++) \
				for (int c = 0; c < columns; c++) \
					sums[r][c] += LOAD(right + c * LANES) * left[(size_t) r * (size_t) dim]; \
		} \
		for (int r = 0; r < 8; r++) \
			for (int c = 0; c < columns; c++) \
			{ \
				float	   *to = q + (size_t) (i + r) * (size_t) dim + j + c * LANES; \
				STORE(to, begin > 0 ? LOAD(to) + sums[r][c] * scale : sums[r][c] * scale); \
			} \
	}

/* Rows of g whose part of a stripe stays in the nearest cache until all rows of
 * p have seen it. */
#define PRODUCT_ROWS	256

TARGET static void
NAME(product) (float *q, const float *p, const float *g, float scale, int dim)
{
	int			j = 0;

	for (; j + 2 * LANES <= dim; j += 2 * LANES)
		for (int begin = 0; begin < dim; begin += PRODUCT_ROWS)
		{
			const int	end = begin + PRODUCT_ROWS < dim ? begin + PRODUCT_ROWS : dim;

			PRODUCT_STRIPE(2, begin, end);
		}
	if (j + LANES <= dim)
	{
		PRODUCT_STRIPE(1, 0, dim);
		j += LANES;
	}
	if (j == dim)
		return;
	if (dim >= LANES)
	{
		/* overlaps the one before: the same values once more */
		j = dim - LANES;
		PRODUCT_STRIPE(1, 0, dim);
		return;
	}
	for (int i = 0; i < ALS_BATCH; i++)
		for (j = 0; j < dim; j++)
		{
			float		sum = 0;

			for (int k = 0; k < dim; k++)
				sum += p[i * dim + k] * g[k * dim + j];
			q[i * dim + j] = sum * scale;
		}
}

/* The square on the diagonal, then what is right of it: a column of vectors at
 * a time, all rows of it in registers where there are enough. */
TARGET static void
NAME(panel) (float *a, int n, int stride, float least)
{
	const size_t s = (size_t) stride;

	for (int k = 0; k < CHOLESKY_ALIGN; k++)
	{
		float	   *row = a + (size_t) k * s;
		float		inverse = row[k] > least ? 1 / sqrtf(row[k]) : 0;

		for (int j = 0; j < CHOLESKY_ALIGN; j += LANES)
			STORE(row + j, LOAD(row + j) * inverse);
		for (int i = k + 1; i < CHOLESKY_ALIGN; i++)
			for (int j = i / LANES * LANES; j < CHOLESKY_ALIGN; j += LANES)
				STORE(a + (size_t) i * s + j, LOAD(a + (size_t) i * s + j) - LOAD(row + j) * row[i]);
		row[k] = inverse;
	}
	for (int j = CHOLESKY_ALIGN; j < n; j += LANES)
	{
		VEC			x[CHOLESKY_ALIGN];

#pragma GCC unroll 16
		for (int i = 0; i < CHOLESKY_ALIGN; i++)
			x[i] = LOAD(a + (size_t) i * s + j);
#pragma GCC unroll 16
		for (int k = 0; k < CHOLESKY_ALIGN; k++)
		{
			const float *row = a + (size_t) k * s;

			x[k] *= row[k];
			STORE(a + (size_t) k * s + j, x[k]);
#pragma GCC unroll 16
			for (int i = k + 1; i < CHOLESKY_ALIGN; i++)
				x[i] -= x[k] * row[i];
		}
	}
}

static const AlsKernels NAME(kernels) = {
	.name = KERNELS_NAME,
	.beats_blas = LANES > 4,
	.pass = NAME(pass),
	.update = NAME(update),
	.panel = NAME(panel),
	.product = NAME(product),
	.dot = NAME(dot),
	.shift = NAME(shift),
	.advance = NAME(advance),
	.turn = NAME(turn),
};

#undef VEC
#undef LOAD
#undef STORE
#undef UPDATE_ROWS
#undef UPDATE_TILE
#undef PRODUCT_STRIPE
#undef PRODUCT_ROWS
#undef LANES
#undef NAME
#undef TARGET
#undef SUM4
#undef KERNELS_NAME
