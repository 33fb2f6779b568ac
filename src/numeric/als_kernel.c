/*
 * als_kernel.c
 *	  See als_kernel.h: the same source for each kind of CPU, chosen at run time.
 */
#include "numeric/als_kernel.h"

#include <math.h>

#include "numeric/cholesky.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_X86 1
#include <immintrin.h>
#endif

/* How many rows before its turn a row is fetched into the cache. */
#define AHEAD	16

/* f_i, from t */
static inline float
gather_factor(const AlsGather *g, int i, float t)
{
	float		f = g->constant + g->slope * t;

	if (g->weights)
		f *= g->weights[i];
	return f + (g->wanted ? g->wanted[i] : g->wanted_all);
}

/* ----------------------------------------------------------------- portable */

#define KERNELS_NAME	"portable"
#define LANES	4
#define NAME(x)	x##_portable
#define TARGET
#define SUM4(out, a, b, c, d) \
	do { \
		out[0] = ((a)[0] + (a)[1]) + ((a)[2] + (a)[3]); \
		out[1] = ((b)[0] + (b)[1]) + ((b)[2] + (b)[3]); \
		out[2] = ((c)[0] + (c)[1]) + ((c)[2] + (c)[3]); \
		out[3] = ((d)[0] + (d)[1]) + ((d)[2] + (d)[3]); \
	} while (0)
#include "numeric/als_kernel_impl.h"

#ifdef HAVE_X86

/* --------------------------------------------------------------------- AVX2 */

#define SUM4_256(out, a, b, c, d) \
	do { \
		__m256		all = _mm256_hadd_ps(_mm256_hadd_ps((a), (b)), _mm256_hadd_ps((c), (d))); \
		_mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1))); \
	} while (0)

#define KERNELS_NAME	"AVX2"
#define LANES	8
#define NAME(x)	x##_avx2
#define TARGET	__attribute__((target("avx2,fma")))
#define SUM4	SUM4_256
#include "numeric/als_kernel_impl.h"

/* ------------------------------------------------------------------ AVX-512 */

#define HALVES(a)	_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps((a), 1))

#define KERNELS_NAME	"AVX-512"
#define LANES	16
#define NAME(x)	x##_avx512
#define TARGET	__attribute__((target("avx512f,avx512vl,avx512dq,avx2,fma")))
#define SUM4(out, a, b, c, d)	SUM4_256(out, HALVES(a), HALVES(b), HALVES(c), HALVES(d))
#include "numeric/als_kernel_impl.h"

#endif

/* ----------------------------------------------------------------- dispatch */

const AlsKernels *
als_kernel_variant(int number, bool *runs)
{
	*runs = true;
	switch (number)
	{
		case 0:
			return &kernels_portable;
#ifdef HAVE_X86
		case 1:
			*runs = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
			return &kernels_avx2;
		case 2:
			*runs = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
				__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
			return &kernels_avx512;
#endif
		default:
			return NULL;
	}
}

static const AlsKernels *chosen;

void
als_kernels_choose(const AlsKernels *kernels)
{
	chosen = kernels;
}

const AlsKernels *
als_kernels(void)
{
	if (!chosen)
	{
		const AlsKernels *variant,
				   *best = NULL;
		bool		runs;

		for (int number = 0; (variant = als_kernel_variant(number, &runs)); number++)
			if (runs)
				best = variant;
		chosen = best;
	}
	return chosen;
}
