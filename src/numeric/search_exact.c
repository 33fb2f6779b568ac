/*
 * search_exact.c
 *	  Exact inner products, and the choice of kernels.
 *
 * A product of two floats is exact in double, so only the order of the additions
 * decides the result.  It is the same everywhere: sixteen lanes, lane l sums
 * elements l, l + 16, l + 32, ... in this order; then lanes l and l + 8 are
 * added, then l and l + 4, l + 2, l + 1.  Fused or not makes no difference.
 */
#include "numeric/search_impl.h"

#include <float.h>
#include <math.h>

#ifdef SEARCH_X86
#include <immintrin.h>
#endif

#define LANES 16

static double
dot_portable(int dim, const float *a, const float *b)
{
	double		lanes[LANES] = {0};
	int			e = 0;

	for (; e + LANES <= dim; e += LANES)
		for (int l = 0; l < LANES; l++)
			lanes[l] += (double) a[e + l] * b[e + l];
	for (int l = 0; e + l < dim; l++)
		lanes[l] += (double) a[e + l] * b[e + l];
	for (int half = LANES / 2; half > 0; half /= 2)
		for (int l = 0; l < half; l++)
			lanes[l] += lanes[l + half];
	return lanes[0];
}

/* ------------------------------------------------------------------ scores */

/* What ranks and is shown: a number that is finite, and 0 only one way. */
static float
as_score(double value)
{
	if (value > FLT_MAX)
		return FLT_MAX;
	if (value < -FLT_MAX)
		return -FLT_MAX;
	return (float) value + 0.0f;
}

float
search_score(int dim, const float *query, const float *vector)
{
	return as_score(search_kernels()->dot(dim, query, vector));
}

float
search_cosine(int dim, const float *a, const float *b)
{
	SearchDotKernel dot = search_kernels()->dot;
	double		norms = sqrt(dot(dim, a, a)) * sqrt(dot(dim, b, b));

	if (!(norms > 0))
		return 0;
	return as_score(fmax(-1, fmin(1, dot(dim, a, b) / norms)));
}

/* ----------------------------------------------------------------- kernels */

static const SearchKernels kernels_portable = {"portable", search_scan_portable, dot_portable};

#ifdef SEARCH_X86

/* lanes 0 .. 7 and 8 .. 15 have been added: the rest of the tree */
__attribute__((target("avx2")))
static inline double
add_eight(__m256d low, __m256d high)
{
	__m256d		four = _mm256_add_pd(low, high);
	__m128d		two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));

	return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

__attribute__((target("avx2,fma")))
static double
dot_avx2(int dim, const float *a, const float *b)
{
	__m256d		lanes[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(),
	_mm256_setzero_pd(), _mm256_setzero_pd()};
	double		rest[LANES];
	int			e = 0;

	for (; e + LANES <= dim; e += LANES)
		for (int l = 0; l < 4; l++)
			lanes[l] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(a + e + 4 * l)),
									   _mm256_cvtps_pd(_mm_loadu_ps(b + e + 4 * l)), lanes[l]);
	if (e < dim)
	{
		for (int l = 0; l < 4; l++)
			_mm256_storeu_pd(rest + 4 * l, lanes[l]);
		for (int l = 0; e + l < dim; l++)
			rest[l] += (double) a[e + l] * b[e + l];
		for (int l = 0; l < 4; l++)
			lanes[l] = _mm256_loadu_pd(rest + 4 * l);
	}
	return add_eight(_mm256_add_pd(lanes[0], lanes[2]), _mm256_add_pd(lanes[1], lanes[3]));
}

__attribute__((target("avx512f")))
static inline __m512d
add_products(__m512d sum, __m256 a, __m256 b)
{
	return _mm512_fmadd_pd(_mm512_cvtps_pd(a), _mm512_cvtps_pd(b), sum);
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")))
static double
dot_avx512(int dim, const float *a, const float *b)
{
	__m512d		low = _mm512_setzero_pd(),
				high = _mm512_setzero_pd();
	int			e = 0;

	for (; e + LANES <= dim; e += LANES)
	{
		low = add_products(low, _mm256_loadu_ps(a + e), _mm256_loadu_ps(b + e));
		high = add_products(high, _mm256_loadu_ps(a + e + 8), _mm256_loadu_ps(b + e + 8));
	}
	if (e < dim)
	{
		/* what is masked out adds +0, which changes no sum: none is -0 */
		__mmask16	mask = (__mmask16) ((1u << (dim - e)) - 1);
		__mmask8	first = (__mmask8) mask,
					second = (__mmask8) (mask >> 8);

		low = add_products(low, _mm256_maskz_loadu_ps(first, a + e), _mm256_maskz_loadu_ps(first, b + e));
		if (second)
			high = add_products(high, _mm256_maskz_loadu_ps(second, a + e + 8),
								_mm256_maskz_loadu_ps(second, b + e + 8));
	}
	low = _mm512_add_pd(low, high);
	return add_eight(_mm512_castpd512_pd256(low), _mm512_extractf64x4_pd(low, 1));
}

static const SearchKernels kernels_avx2 = {"avx2", search_scan_avx2, dot_avx2};
static const SearchKernels kernels_avx512 = {"avx512vnni", search_scan_avx512, dot_avx512};

#endif							/* SEARCH_X86 */

/* ---------------------------------------------------------------- dispatch */

const SearchKernels *
search_kernels_number(int n)
{
#ifdef SEARCH_X86
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") && n-- == 0)
		return &kernels_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && n-- == 0)
		return &kernels_avx2;
#endif
	return n == 0 ? &kernels_portable : NULL;
}

static const SearchKernels *chosen = NULL;

const SearchKernels *
search_kernels(void)
{
	if (!chosen)
		chosen = search_kernels_number(0);
	return chosen;
}

void
search_kernels_force(const SearchKernels *kernels)
{
	chosen = kernels;
}
