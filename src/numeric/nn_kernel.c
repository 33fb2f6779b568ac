/*
 * nn_kernel.c
 *	  See nn_kernel.h: the same source for each kind of CPU, chosen at run time.
 */
#include "numeric/nn_kernel.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(NN_DOUBLE)
#define HAVE_X86 1
#endif

/* Sums have to stay in registers. */
#define UNROLL	_Pragma("GCC unroll 16")

#ifdef NN_DOUBLE

static inline double
real_exp(double x)
{
	return exp(x);
}

static inline double
real_sqrt(double x)
{
	return sqrt(x);
}

#else

/*
 * exp(x) to 2e-7 as a plain expression, which the compiler can vectorise:
 * 2^n by the exponent's bits, times a polynomial of degree 6 on |r| <= ln(2) / 2.  Beyond what float holds
 * it stays at the ends; NaN stays NaN.
 */
static inline float
real_exp(float x)
{
	const float shift = 12582912.0f;	/* 1.5 * 2^23: adding it rounds */
	float		limited = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
	float		rounded = limited * 1.44269504f + shift;
	float		n = rounded - shift;
	float		r = (limited - n * 0.693359375f) + n * 2.12194440e-4f;
	float		p = 1.0f / 720;
	uint32_t	bits;
	float		power;

	p = p * r + 1.0f / 120;
	p = p * r + 1.0f / 24;
	p = p * r + 1.0f / 6;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	memcpy(&bits, &rounded, sizeof(bits));
	bits = (bits << 23) + 0x3f800000u;
	memcpy(&power, &bits, sizeof(power));
	return p * power;
}

static inline float
real_sqrt(float x)
{
	return sqrtf(x);
}
#endif

/* ----------------------------------------------------------------- portable */

#define KERNELS_NAME	"portable"
#define LANES	4
#define ROWS	4
#define NAME(x)	x##_portable
#define TARGET
#include "numeric/nn_kernel_impl.h"

#ifdef HAVE_X86

#define KERNELS_NAME	"AVX2"
#define LANES	8
#define ROWS	6
#define NAME(x)	x##_avx2
#define TARGET	__attribute__((target("avx2,fma")))
#include "numeric/nn_kernel_impl.h"

#define KERNELS_NAME	"AVX-512"
#define LANES	16
#define ROWS	12
#define NAME(x)	x##_avx512
#define TARGET	__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")))
#include "numeric/nn_kernel_impl.h"

#endif

/* ----------------------------------------------------------------- dispatch */

const NnKernels *
nn_kernel_variant(int number, bool *runs)
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
				__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
				__builtin_cpu_supports("fma");
			return &kernels_avx512;
#endif
		default:
			return NULL;
	}
}

static const NnKernels *chosen;

void
nn_kernels_choose(const NnKernels *kernels)
{
	chosen = kernels;
}

const NnKernels *
nn_kernels(void)
{
	if (!chosen)
	{
		const NnKernels *variant,
				   *best = NULL;
		bool		runs;

		for (int number = 0; (variant = nn_kernel_variant(number, &runs)); number++)
			if (runs)
				best = variant;
		chosen = best;
	}
	return chosen;
}
