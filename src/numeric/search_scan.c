/*
 * search_scan.c
 *	  The first pass over int8 codes, for each kind of processor.
 *
 * Products of codes add up to the same integer in all of them; the floats that
 * follow may round differently, within the slack that search.c leaves.
 */
#include "numeric/search_impl.h"

#include <float.h>

#ifdef SEARCH_X86
#include <immintrin.h>
#endif

/* The processor looks ahead by itself, but not across the end of a page. */
#define AHEAD	8192

/* Bytes of a block of codes. */
static inline size_t
block_bytes(const SearchScan *scan)
{
	return (size_t) scan->groups * SEARCH_GROUP * SEARCH_BLOCK;
}

static inline float
block_bound(const SearchScan *scan, int32_t block)
{
	return scan->errors[block] * scan->error_weight + scan->norms[block] * scan->norm_weight;
}

/* -------------------------------------------------------------- portable C */

static void
sum_products(const SearchScan *scan, const uint8_t *codes, int32_t *sums)
{
	for (int r = 0; r < SEARCH_BLOCK; r++)
		sums[r] = scan->start;
	for (int g = 0; g < scan->groups; g++, codes += SEARCH_GROUP * SEARCH_BLOCK)
	{
		const int8_t *query = scan->query + g * SEARCH_GROUP;

		for (int r = 0; r < SEARCH_BLOCK; r++)
			sums[r] += codes[4 * r] * query[0] + codes[4 * r + 1] * query[1] +
				codes[4 * r + 2] * query[2] + codes[4 * r + 3] * query[3];
	}
}

int
search_scan_portable(const SearchScan *scan, int32_t first, int32_t end,
					 float bar, SearchFound *found)
{
	const size_t bytes = block_bytes(scan);
	int			n = 0;

	for (int32_t block = first; block < end; block++)
	{
		const float *scales = scan->scales + (size_t) block * SEARCH_BLOCK;
		const float bound = block_bound(scan, block);
		int32_t		sums[SEARCH_BLOCK];

		found->rows = 0;
		sum_products(scan, scan->codes + (size_t) block * bytes, sums);
		for (int r = 0; r < SEARCH_BLOCK; r++)
		{
			float		upper;

			found->estimates[r] = (float) sums[r] * scan->scale;
			upper = scales[r] * (found->estimates[r] + bound);
			if (upper < -FLT_MAX)
				upper = -FLT_MAX;
			found->rows |= (uint32_t) (upper > bar) << r;
		}
		if (found->rows)
		{
			found->block = block;
			found->bound = bound;
			found++;
			if (++n == SEARCH_NFOUND)
				break;
		}
	}
	return n;
}

#ifdef SEARCH_X86

/* Four elements of the query, as one number. */
static inline int32_t
query_group(const SearchScan *scan, int g)
{
	int32_t		four;

	__builtin_memcpy(&four, scan->query + g * SEARCH_GROUP, sizeof(four));
	return four;
}

/* -------------------------------------------------------------------- AVX2 */

/*
 * maddubs multiplies unsigned by signed bytes and adds pairs with saturation, so
 * the amounts of the query go with codes of its sign: at most 2 * 127 * 127.
 */
__attribute__((target("avx2")))
static inline __m256i
products_avx2(__m256i sums, const uint8_t *codes, __m256i query, __m256i amounts)
{
	__m256i		row = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *) (const void *) codes),
									   _mm256_set1_epi8((char) 0x80));
	__m256i		pairs = _mm256_maddubs_epi16(amounts, _mm256_sign_epi8(row, query));

	return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* Estimates of eight rows; returns which may be above the bar. */
__attribute__((target("avx2")))
static inline uint32_t
compare_avx2(const SearchScan *scan, __m256i sums, const float *scales, float bound,
			 float bar, float *estimates)
{
	__m256		estimate = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(scan->scale));
	__m256		upper = _mm256_mul_ps(_mm256_loadu_ps(scales),
									  _mm256_add_ps(estimate, _mm256_set1_ps(bound)));

	/* of these operands' order, NaN comes through */
	upper = _mm256_max_ps(_mm256_set1_ps(-FLT_MAX), upper);
	_mm256_storeu_ps(estimates, estimate);
	return (uint32_t) _mm256_movemask_ps(_mm256_cmp_ps(upper, _mm256_set1_ps(bar), _CMP_GT_OQ));
}

__attribute__((target("avx2")))
int
search_scan_avx2(const SearchScan *scan, int32_t first, int32_t end,
				 float bar, SearchFound *found)
{
	const uint8_t *codes = scan->codes + (size_t) first * block_bytes(scan);
	int			n = 0;

	for (int32_t block = first; block < end; block++)
	{
		const float *scales = scan->scales + (size_t) block * SEARCH_BLOCK;
		const float bound = block_bound(scan, block);
		__m256i		low = _mm256_setzero_si256(),
					high = _mm256_setzero_si256();

		for (int g = 0; g < scan->groups; g++, codes += SEARCH_GROUP * SEARCH_BLOCK)
		{
			__m256i		query = _mm256_set1_epi32(query_group(scan, g));
			__m256i		amounts = _mm256_abs_epi8(query);

			_mm_prefetch((const char *) codes + AHEAD, _MM_HINT_T0);
			low = products_avx2(low, codes, query, amounts);
			high = products_avx2(high, codes + 32, query, amounts);
		}
		found->rows = compare_avx2(scan, low, scales, bound, bar, found->estimates) |
			compare_avx2(scan, high, scales + 8, bound, bar, found->estimates + 8) << 8;
		if (found->rows)
		{
			found->block = block;
			found->bound = bound;
			found++;
			if (++n == SEARCH_NFOUND)
				break;
		}
	}
	return n;
}

/* ----------------------------------------------------------------- AVX-512 */

#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* Sums of products of the sixteen rows of a block. */
TARGET_AVX512
static inline __m512i
sums_avx512(const SearchScan *scan, const uint8_t *codes)
{
	__m512i		sums[4] = {_mm512_set1_epi32(scan->start), _mm512_setzero_si512(),
	_mm512_setzero_si512(), _mm512_setzero_si512()};
	int			g = 0;

	/* four chains, since each addition waits for the one before */
	for (; g + 4 <= scan->groups; g += 4, codes += 4 * SEARCH_GROUP * SEARCH_BLOCK)
		for (int x = 0; x < 4; x++)
		{
			_mm_prefetch((const char *) codes + 64 * x + AHEAD, _MM_HINT_T0);
			sums[x] = _mm512_dpbusd_epi32(sums[x], _mm512_loadu_si512(codes + 64 * x),
										  _mm512_set1_epi32(query_group(scan, g + x)));
		}
	for (; g < scan->groups; g++, codes += SEARCH_GROUP * SEARCH_BLOCK)
		sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_loadu_si512(codes),
									  _mm512_set1_epi32(query_group(scan, g)));
	return _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]),
							_mm512_add_epi32(sums[2], sums[3]));
}

TARGET_AVX512
int
search_scan_avx512(const SearchScan *scan, int32_t first, int32_t end,
				   float bar, SearchFound *found)
{
	const size_t bytes = block_bytes(scan);
	const __m512 bars = _mm512_set1_ps(bar),
				lowest = _mm512_set1_ps(-FLT_MAX),
				scale = _mm512_set1_ps(scan->scale);
	int			n = 0;

	for (int32_t block = first; block < end; block++)
	{
		const float bound = block_bound(scan, block);
		__m512i		sums = sums_avx512(scan, scan->codes + (size_t) block * bytes);
		__m512		estimate = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale);
		__m512		upper = _mm512_mul_ps(_mm512_loadu_ps(scan->scales + (size_t) block * SEARCH_BLOCK),
										  _mm512_add_ps(estimate, _mm512_set1_ps(bound)));

		/* of these operands' order, NaN comes through */
		upper = _mm512_max_ps(lowest, upper);
		found->rows = _mm512_cmp_ps_mask(upper, bars, _CMP_GT_OQ);
		if (__builtin_expect(found->rows != 0, 0))
		{
			_mm512_storeu_ps(found->estimates, estimate);
			found->block = block;
			found->bound = bound;
			found++;
			if (++n == SEARCH_NFOUND)
				break;
		}
	}
	return n;
}

#endif							/* SEARCH_X86 */
