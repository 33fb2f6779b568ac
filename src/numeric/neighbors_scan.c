/*
 * neighbors_scan.c
 *	  See neighbors_scan.h.  One portable loop, and the same for AVX2 and
 *	  AVX-512, chosen at run time.
 *
 * No division: a score is compared with a bar by multiplying the bar.
 */
#include "numeric/neighbors_scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_X86 1
#include <immintrin.h>
#endif

/* --------------------------------------------------------------- portable */

static inline void
scan_cell(RowScan *s, int32_t c)
{
	int32_t		j = s->js ? s->js[c] : c;
	float		dot = s->dots[c];
	float		norm = s->norms[j];
	uint32_t	bits;

	memcpy(&bits, &dot, sizeof(bits));
	s->own[s->nown] = c;
	s->nown += dot > s->bar * (s->norm * norm + s->shrinkage);
	if (s->theirs)
	{
		s->theirs[s->ntheirs] = c;
		s->ntheirs += (bits != 0) &
			((dot + s->fall) * s->lift > s->gates[j] * (s->base * norm + s->shrinkage));
	}
}

static void
scan_portable(RowScan *s, int32_t from, int32_t to)
{
	for (int32_t c = from; c < to; c++)
		scan_cell(s, c);
}

#ifdef HAVE_X86

/* ------------------------------------------------------------------- AVX2 */

__attribute__((target("avx2,fma,bmi")))
static inline int32_t
append_bits(int32_t *out, int32_t n, unsigned mask, int32_t c)
{
	for (; mask; mask &= mask - 1)
		out[n++] = c + __builtin_ctz(mask);
	return n;
}

__attribute__((target("avx2,fma,bmi")))
static void
scan_avx2(RowScan *s, int32_t from, int32_t to)
{
	const __m256 shrinkage = _mm256_set1_ps(s->shrinkage);
	const __m256 norm = _mm256_set1_ps(s->norm);
	const __m256 bar = _mm256_set1_ps(s->bar);
	const __m256 fall = _mm256_set1_ps(s->fall);
	const __m256 lift = _mm256_set1_ps(s->lift);
	const __m256 base = _mm256_set1_ps(s->base);
	int32_t		c = from;

	for (; c + 8 <= to; c += 8)
	{
		__m256		dots = _mm256_loadu_ps(s->dots + c);
		__m256i		js = _mm256_setzero_si256();
		__m256		norms,
					gates;
		unsigned	mask;

		if (s->js)
		{
			js = _mm256_loadu_si256((const __m256i *) (s->js + c));
			norms = _mm256_i32gather_ps(s->norms, js, 4);
		}
		else
			norms = _mm256_loadu_ps(s->norms + c);
		mask = (unsigned) _mm256_movemask_ps(
			_mm256_cmp_ps(dots, _mm256_mul_ps(bar, _mm256_fmadd_ps(norm, norms, shrinkage)),
						  _CMP_GT_OQ));
		s->nown = append_bits(s->own, s->nown, mask, c);
		if (!s->theirs)
			continue;
		gates = s->js ? _mm256_i32gather_ps(s->gates, js, 4)
			: _mm256_loadu_ps(s->gates + c);
		mask = (unsigned) _mm256_movemask_ps(_mm256_andnot_ps(
			_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_castps_si256(dots),
												   _mm256_setzero_si256())),
			_mm256_cmp_ps(_mm256_mul_ps(_mm256_add_ps(dots, fall), lift),
						  _mm256_mul_ps(gates, _mm256_fmadd_ps(base, norms, shrinkage)),
						  _CMP_GT_OQ)));
		s->ntheirs = append_bits(s->theirs, s->ntheirs, mask, c);
	}
	scan_portable(s, c, to);
}

/* ---------------------------------------------------------------- AVX-512 */

__attribute__((target("avx512f,avx512vl,avx512dq,popcnt")))
static void
scan_avx512(RowScan *s, int32_t from, int32_t to)
{
	const __m512 shrinkage = _mm512_set1_ps(s->shrinkage);
	const __m512 norm = _mm512_set1_ps(s->norm);
	const __m512 bar = _mm512_set1_ps(s->bar);
	const __m512 fall = _mm512_set1_ps(s->fall);
	const __m512 lift = _mm512_set1_ps(s->lift);
	const __m512 base = _mm512_set1_ps(s->base);
	const __m512i step = _mm512_set1_epi32(16);
	__m512i		cells = _mm512_add_epi32(_mm512_set1_epi32(from),
										 _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
														   10, 11, 12, 13, 14, 15));
	int32_t		nown = s->nown,
				ntheirs = s->ntheirs;

	for (int32_t c = from; c < to; c += 16)
	{
		__mmask16	in = to - c >= 16 ? 0xffff : (__mmask16) ((1u << (to - c)) - 1);
		__m512		dots = _mm512_maskz_loadu_ps(in, s->dots + c);
		__m512i		js = _mm512_setzero_si512();
		__m512		norms,
					gates;
		__mmask16	mask;

		if (s->js)
		{
			js = _mm512_maskz_loadu_epi32(in, s->js + c);
			norms = _mm512_i32gather_ps(js, s->norms, 4);
		}
		else
			norms = _mm512_maskz_loadu_ps(in, s->norms + c);
		mask = _mm512_mask_cmp_ps_mask(
			in, dots, _mm512_mul_ps(bar, _mm512_fmadd_ps(norm, norms, shrinkage)),
			_CMP_GT_OQ);
		if (mask)
		{
			_mm512_storeu_si512(s->own + nown, _mm512_maskz_compress_epi32(mask, cells));
			nown += __builtin_popcount(mask);
		}
		if (s->theirs)
		{
			gates = s->js ? _mm512_i32gather_ps(js, s->gates, 4)
				: _mm512_maskz_loadu_ps(in, s->gates + c);
			in = _mm512_mask_test_epi32_mask(in, _mm512_castps_si512(dots),
											 _mm512_castps_si512(dots));
			mask = _mm512_mask_cmp_ps_mask(
				in, _mm512_mul_ps(_mm512_add_ps(dots, fall), lift),
				_mm512_mul_ps(gates, _mm512_fmadd_ps(base, norms, shrinkage)),
				_CMP_GT_OQ);
			if (mask)
			{
				_mm512_storeu_si512(s->theirs + ntheirs,
									_mm512_maskz_compress_epi32(mask, cells));
				ntheirs += __builtin_popcount(mask);
			}
		}
		cells = _mm512_add_epi32(cells, step);
	}
	s->nown = nown;
	s->ntheirs = ntheirs;
}

#endif							/* HAVE_X86 */

/* --------------------------------------------------------------- dispatch */

int
row_scan_variant(int variant, RowScanFunction *function, const char **name)
{
	*function = NULL;
	switch (variant)
	{
		case 0:
			*name = "portable";
			*function = scan_portable;
			return true;
#ifdef HAVE_X86
		case 1:
			*name = "AVX2";
			if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
				__builtin_cpu_supports("bmi"))
				*function = scan_avx2;
			return true;
		case 2:
			*name = "AVX-512";
			if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
				__builtin_cpu_supports("avx512dq"))
				*function = scan_avx512;
			return true;
#endif
		default:
			return false;
	}
}

RowScanFunction
row_scan_function(void)
{
	RowScanFunction best = scan_portable,
				function;
	const char *name;

	for (int v = 0; row_scan_variant(v, &function, &name); v++)
		if (function)
			best = function;
	return best;
}
