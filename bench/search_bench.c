/*
 * search_bench.c
 *	  Speed of the exact top-k search, beside a fused float32 scan of the same
 *	  matrix: one pass that computes each inner product and keeps the k best.
 *
 *		cc -O3 -Isrc bench/search_bench.c src/numeric/search*.c src/numeric/topk.c -lm -o search_bench
 *		search_bench [items [dim [k [rounds [kind]]]]]
 *
 * kind 0: independent elements; 1: as trained ones are, that is some common
 * directions of falling weight, norms that follow popularity.  Both ways take
 * turns; prints the medians in microseconds, their ratio, and how many rows of the
 * two answers differ (float32 sums may swap neighbours).  Memory is shared and in
 * small pages, as that of a server is.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "numeric/search_impl.h"
#include "numeric/topk.h"

#ifdef SEARCH_X86
#include <immintrin.h>
#endif

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e6 * (double) t.tv_sec + 1e-3 * (double) t.tv_nsec;
}

static uint64_t seed = 42;

static float
normal(void)
{
	double		u[2];

	for (int x = 0; x < 2; x++)
	{
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		u[x] = ((double) ((seed ^ seed >> 22) >> 22 & 0xffffffff) + 0.5) / 4294967296.0;
	}
	return (float) (sqrt(-2 * log(u[0])) * cos(2 * M_PI * u[1]));
}

#define DIRECTIONS 16

/* A vector; the last directions are shared by items and users */
static void
make_vector(int kind, int dim, const float *directions, float norm, float *v)
{
	for (int e = 0; e < dim; e++)
		v[e] = normal() * (kind ? 0.1f : 1);
	for (int d = 0; kind && d < DIRECTIONS; d++)
	{
		float		size = (fabsf(normal()) + (d == 0)) / (float) (1 + d);

		for (int e = 0; e < dim; e++)
			v[e] += size * directions[d * dim + e];
	}
	for (int e = 0; e < dim; e++)
		v[e] *= norm;
}

/* ---------------------------------------------------- the float32 scan */

#define FEW 4					/* rows at once */

static void
dots_portable(int dim, const float *q, const float *rows, float *dots)
{
	for (int r = 0; r < FEW; r++)
	{
		float		lanes[16] = {0};
		int			e = 0;

		for (; e + 16 <= dim; e += 16)
			for (int l = 0; l < 16; l++)
				lanes[l] += q[e + l] * rows[r * dim + e + l];
		for (int l = 0; e + l < dim; l++)
			lanes[l] += q[e + l] * rows[r * dim + e + l];
		dots[r] = 0;
		for (int l = 0; l < 16; l++)
			dots[r] += lanes[l];
	}
}

#ifdef SEARCH_X86
__attribute__((target("avx512f")))
static void
dots_avx512(int dim, const float *q, const float *rows, float *dots)
{
	__m512		sums[FEW][2];

	for (int r = 0; r < FEW; r++)
		sums[r][0] = sums[r][1] = _mm512_setzero_ps();
	for (int e = 0; e < dim; e += 32)
		for (int h = 0; h < 2; h++)
		{
			int			left = dim - e - 16 * h;
			__mmask16	mask = left >= 16 ? 0xffff : left <= 0 ? 0 : (__mmask16) ((1u << left) - 1);
			__m512		part = _mm512_maskz_loadu_ps(mask, q + e + 16 * h);

			for (int r = 0; r < FEW; r++)
				sums[r][h] = _mm512_fmadd_ps(part, _mm512_maskz_loadu_ps(mask, rows + r * dim + e + 16 * h), sums[r][h]);
		}
	for (int r = 0; r < FEW; r++)
		dots[r] = _mm512_reduce_add_ps(_mm512_add_ps(sums[r][0], sums[r][1]));
}

/* dim is a multiple of 32 */
__attribute__((target("avx512f")))
static void
dots_avx512_whole(int dim, const float *q, const float *rows, float *dots)
{
	__m512		sums[FEW][2];

	for (int r = 0; r < FEW; r++)
		sums[r][0] = sums[r][1] = _mm512_setzero_ps();
	for (int e = 0; e < dim; e += 32)
		for (int h = 0; h < 2; h++)
		{
			__m512		part = _mm512_loadu_ps(q + e + 16 * h);

			for (int r = 0; r < FEW; r++)
			{
				_mm_prefetch((const char *) (rows + r * dim + e + 16 * h) + 4096, _MM_HINT_T0);
				sums[r][h] = _mm512_fmadd_ps(part, _mm512_loadu_ps(rows + r * dim + e + 16 * h), sums[r][h]);
			}
		}
	for (int r = 0; r < FEW; r++)
		dots[r] = _mm512_reduce_add_ps(_mm512_add_ps(sums[r][0], sums[r][1]));
}

__attribute__((target("avx2,fma")))
static void
dots_avx2(int dim, const float *q, const float *rows, float *dots)
{
	__m256		sums[FEW];

	for (int r = 0; r < FEW; r++)
	{
		float		lanes[8];
		int			e;

		sums[r] = _mm256_setzero_ps();
		for (e = 0; e + 8 <= dim; e += 8)
			sums[r] = _mm256_fmadd_ps(_mm256_loadu_ps(q + e), _mm256_loadu_ps(rows + r * dim + e), sums[r]);
		_mm256_storeu_ps(lanes, sums[r]);
		dots[r] = 0;
		for (int l = 0; l < 8; l++)
			dots[r] += lanes[l];
		for (; e < dim; e++)
			dots[r] += q[e] * rows[r * dim + e];
	}
}
#endif

typedef void (*DotsKernel) (int dim, const float *q, const float *rows, float *dots);

static DotsKernel
dots_kernel(int dim)
{
	(void) dim;
#ifdef SEARCH_X86
	if (__builtin_cpu_supports("avx512f"))
		return dim % 32 == 0 ? dots_avx512_whole : dots_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return dots_avx2;
#endif
	return dots_portable;
}

/* n is a multiple of FEW */
static int
scan_floats(const float *rows, int n, int dim, const float *q, int k, RankKey *heap,
			int32_t *items, float *scores)
{
	DotsKernel	kernel = dots_kernel(dim);
	TopK		top;

	topk_init(&top, heap, (size_t) k);
	for (int x = 0; x < n; x += FEW)
	{
		float		dots[FEW];

		kernel(dim, q, rows + (size_t) x * (size_t) dim, dots);
		for (int r = 0; r < FEW; r++)
			topk_push(&top, x + r, dots[r]);
	}
	return (int) topk_finish(&top, items, scores);
}

/* ------------------------------------------------------------------- main */

static int
by_value(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
median(double *values, int n)
{
	qsort(values, (size_t) n, sizeof(double), by_value);
	return values[n / 2];
}

static int
argument(int argc, char **argv, int n, int otherwise)
{
	return argc > n ? atoi(argv[n]) : otherwise;
}

static int
differences(const SearchHit *hits, const int32_t *items, int n)
{
	int			missing = 0;

	for (int x = 0; x < n; x++)
	{
		int			y = 0;

		while (y < n && items[y] != hits[x].row)
			y++;
		missing += y == n;
	}
	return missing;
}

int
main(int argc, char **argv)
{
	const int	n = argument(argc, argv, 1, 100000) / FEW * FEW;
	const int	dim = argument(argc, argv, 2, 128);
	const int	k = argument(argc, argv, 3, 10);
	const int	rounds = argument(argc, argv, 4, 51);
	const int	kind = argument(argc, argv, 5, 0);
	const size_t size = search_size(n, dim);
	float	   *directions = malloc(sizeof(float) * DIRECTIONS * (size_t) dim);
	float	   *q = malloc(sizeof(float) * (size_t) dim);
	double	   *times[2] = {malloc(sizeof(double) * (size_t) rounds), malloc(sizeof(double) * (size_t) rounds)};
	RankKey    *heap = malloc(sizeof(RankKey) * (size_t) k);
	int32_t    *items = malloc(sizeof(int32_t) * (size_t) k);
	float	   *scores = malloc(sizeof(float) * (size_t) k);
	SearchHit  *hits = malloc(sizeof(SearchHit) * (size_t) k);
	/* cppcheck-suppress invalidFunctionArg */
	void	   *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void	   *work;
	SearchMatrix *m;
	int			different = 0;
	double		start,
				medians[2];

	if (block == MAP_FAILED)
		exit(1);
	m = search_init(block, n, dim, dim);
	work = malloc(search_work_size(m, k));
	for (int e = 0; e < DIRECTIONS * dim; e++)
		directions[e] = normal() / sqrtf((float) dim);
	start = now();
	for (int x = 0; x < n; x++)
	{
		make_vector(kind, dim, directions, kind ? powf((float) (1 + x % 1000), -0.3f) : 1, q);
		search_set(m, x, q);
	}
	fprintf(stderr, "%s: %d vectors made and stored in %.0f ms\n", search_kernels()->name, n, (now() - start) / 1000);
	for (int x = -1; x < rounds; x++)
	{
		SearchQuery query = {.vector = q,.k = k};
		double		before,
					between;

		make_vector(kind, dim, directions, 1, q);
		before = now();
		search_top(m, &query, hits, work);
		between = now();
		scan_floats(search_rows(m), n, dim, q, k, heap, items, scores);
		if (x < 0)
			continue;
		times[1][x] = now() - between;
		times[0][x] = between - before;
		different += differences(hits, items, k < n ? k : n);
	}
	for (int x = 0; x < 2; x++)
		medians[x] = median(times[x], rounds);
	printf("%d items, %d dimensions, k %d, %s: int8 and exact %.1f us, float32 %.1f us, ratio %.3f, %d rows of %d differ\n",
		   n, dim, k, kind ? "trained-like" : "independent", medians[0], medians[1],
		   medians[0] / medians[1], different, rounds * k);
	return 0;
}
