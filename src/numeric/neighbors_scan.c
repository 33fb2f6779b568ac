/*
 * neighbors_scan.c
 *	  See neighbors_scan.h.  One portable loop, and the same for AVX2 and
 *	  AVX-512, chosen at run time.
 *
 * No division: a score is compared with a bar by multiplying the bar.  Few
 * cells pass, so both comparisons begin as one with the lower of the bars.
 */
#include "numeric/neighbors_scan.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_X86 1
#include <immintrin.h>
#endif

/* --------------------------------------------------------------- portable */

static void
scan_portable(RowScan *s, int32_t from, int32_t to)
{
	for (int32_t c = from; c < to; c++)
	{
		int32_t		j = pair_cell_item(s->row, c);
		float		dot = pair_cell_dot(s->row, c);
		float		product = s->norm * s->norms[j] + s->shrinkage;

		s->own[s->nown] = c;
		s->nown += dot > s->bar * product;
		if (s->theirs)
		{
			s->theirs[s->ntheirs] = c;
			s->ntheirs += dot > s->gates[j] * product;
		}
	}
}

#ifdef HAVE_X86

/* ------------------------------------------------------------------- AVX2 */

__attribute__((target("avx2,fma,bmi")))
static inline int32_t
append_bits(int32_t *out, int32_t n, __m256 pass, int32_t c)
{
	for (unsigned mask = (unsigned) _mm256_movemask_ps(pass); mask; mask &= mask - 1)
		out[n++] = c + __builtin_ctz(mask);
	return n;
}

__attribute__((target("avx2,fma,bmi")))
static void
scan_avx2(RowScan *s, int32_t from, int32_t to)
{
	const PairRowView *row = s->row;
	const __m256 norm = _mm256_set1_ps(s->norm);
	const __m256 shrinkage = _mm256_set1_ps(s->shrinkage);
	const __m256 bar = _mm256_set1_ps(s->bar);
	const int	stride = row->in_lines ? 2 : 1;
	int32_t		c = from;

	for (; c + 8 <= to; c += 8)
	{
		__m256		dots = _mm256_loadu_ps(row->dots + (size_t) c * (size_t) stride);
		__m256i		js = _mm256_setzero_si256();
		__m256		product,
					gates = bar,
					low;

		if (row->js)
		{
			js = _mm256_loadu_si256((const __m256i *) (row->js + (size_t) c * (size_t) stride));
			product = _mm256_i32gather_ps(s->norms, js, 4);
		}
		else
			product = _mm256_loadu_ps(s->norms + c);
		product = _mm256_fmadd_ps(norm, product, shrinkage);
		if (s->theirs)
			gates = row->js ? _mm256_i32gather_ps(s->gates, js, 4)
				: _mm256_loadu_ps(s->gates + c);
		low = _mm256_min_ps(gates, bar);
		if (_mm256_movemask_ps(_mm256_cmp_ps(dots, _mm256_mul_ps(low, product), _CMP_GT_OQ)) == 0)
			continue;
		s->nown = append_bits(s->own, s->nown,
							  _mm256_cmp_ps(dots, _mm256_mul_ps(bar, product), _CMP_GT_OQ), c);
		if (s->theirs)
			s->ntheirs = append_bits(s->theirs, s->ntheirs,
									 _mm256_cmp_ps(dots, _mm256_mul_ps(gates, product), _CMP_GT_OQ), c);
	}
	scan_portable(s, c, to);
}

/* ---------------------------------------------------------------- AVX-512 */

#define AVX512_TARGET	__attribute__((target("avx512f,avx512vl,avx512dq,popcnt")))

AVX512_TARGET
static inline int32_t
append_mask(int32_t *out, int32_t n, __mmask16 mask, __m512i cells)
{
	_mm512_storeu_si512(out + n, _mm512_maskz_compress_epi32(mask, cells));
	return n + __builtin_popcount(mask);
}

AVX512_TARGET
static void
scan_avx512(RowScan *s, int32_t from, int32_t to)
{
	const PairRowView *row = s->row;
	const __m512 norm = _mm512_set1_ps(s->norm);
	const __m512 shrinkage = _mm512_set1_ps(s->shrinkage);
	const __m512 bar = _mm512_set1_ps(s->bar);
	const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7,
											8, 9, 10, 11, 12, 13, 14, 15);
	int32_t		c = from;

	for (; c + 16 <= to; c += 16)
	{
		__m512i		js = _mm512_setzero_si512();
		__m512		dots,
					product,
					gates = bar,
					low;
		__m512i		cells;
		__mmask16	mask;

		if (row->in_lines)
		{
			/* two lines of eight items and eight dots each */
			__m512i		one = _mm512_loadu_si512(row->js + 2 * (size_t) c);
			__m512i		two = _mm512_loadu_si512(row->js + 2 * (size_t) c + 16);

			js = _mm512_shuffle_i64x2(one, two, 0x44);
			dots = _mm512_castsi512_ps(_mm512_shuffle_i64x2(one, two, 0xee));
		}
		else
		{
			dots = _mm512_loadu_ps(row->dots + c);
			if (row->js)
				js = _mm512_loadu_si512(row->js + c);
		}
		product = row->js ? _mm512_i32gather_ps(js, s->norms, 4)
			: _mm512_loadu_ps(s->norms + c);
		product = _mm512_fmadd_ps(norm, product, shrinkage);
		if (s->theirs)
			gates = row->js ? _mm512_i32gather_ps(js, s->gates, 4)
				: _mm512_loadu_ps(s->gates + c);
		low = _mm512_min_ps(gates, bar);
		if (_mm512_cmp_ps_mask(dots, _mm512_mul_ps(low, product), _CMP_GT_OQ) == 0)
			continue;
		cells = _mm512_add_epi32(_mm512_set1_epi32(c), count);
		mask = _mm512_cmp_ps_mask(dots, _mm512_mul_ps(bar, product), _CMP_GT_OQ);
		s->nown = append_mask(s->own, s->nown, mask, cells);
		if (s->theirs)
		{
			mask = _mm512_cmp_ps_mask(dots, _mm512_mul_ps(gates, product), _CMP_GT_OQ);
			s->ntheirs = append_mask(s->theirs, s->ntheirs, mask, cells);
		}
	}
	scan_portable(s, c, to);
}

#endif							/* HAVE_X86 */

/* --------------------------------------------------------------- dispatch */

bool
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
