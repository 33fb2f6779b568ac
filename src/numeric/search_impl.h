/*
 * search_impl.h
 *	  What the search*.c share: the layout of the
 *	  block, the kernels, and their choice.
 *
 * Codes are in blocks of SEARCH_BLOCK rows.  A block has the codes of its rows
 * by groups of four elements: element e of row r is byte
 *		(e / 4) * 64 + (r % 16) * 4 + e % 4
 * so that one register has the same four elements of sixteen rows and sums need
 * not be gathered across a register.
 */
#ifndef RECSYS_SEARCH_IMPL_H
#define RECSYS_SEARCH_IMPL_H

#include "numeric/search.h"

/* Other processors and compilers take the portable way. */
#if defined(__x86_64__) && defined(__GNUC__)
#define SEARCH_X86
#endif

#define SEARCH_BLOCK	16		/* rows */
#define SEARCH_GROUP	4		/* elements */

struct SearchMatrix
{
	int32_t		capacity;
	int32_t		used;			/* rows from here on have never been set */
	int32_t		dim;
	int32_t		cosine_dim;
	int32_t		groups;			/* of elements, in a code */
	int32_t		reserved;
	/* from the start of the block */
	size_t		codes;			/* uint8: 128 + round(element / scale) */
	size_t		scales;			/* float per row; NaN: the row is absent */
	size_t		cosine_scales;	/* float per row: scale / norm; 0: norm is 0 */
	size_t		errors;			/* float per block, see search.c */
	size_t		norms;			/* float per block */
	size_t		rows;			/* float: the vectors themselves */
};

#define SEARCH_ALIGNMENT 64
#define SEARCH_MAX_CODE 127

static inline size_t
search_aligned(size_t size)
{
	return (size + SEARCH_ALIGNMENT - 1) & ~(size_t) (SEARCH_ALIGNMENT - 1);
}

static inline size_t
search_blocks(int32_t rows)
{
	return ((size_t) rows + SEARCH_BLOCK - 1) / SEARCH_BLOCK;
}

static inline float *
search_floats(const SearchMatrix *m, size_t offset)
{
	return (float *) ((char *) (uintptr_t) m + offset);
}

static inline float *
search_row(const SearchMatrix *m, int32_t row)
{
	return search_floats(m, m->rows) + (size_t) row * (size_t) m->dim;
}

/* A number that is surely not less. */
static inline float
search_upward(double value)
{
	return (float) (value * (1 + 0x1p-22));
}

/* The largest amount among elements; NaN if one of them is not finite. */
extern float search_largest(int n, const float *vector);

/* ------------------------------------------------------------------ scan */

/* A query as the first pass wants it, over the arrays of a matrix. */
typedef struct SearchScan
{
	const uint8_t *codes;
	const float *scales;		/* or cosine_scales */
	const float *errors;
	const float *norms;
	const int8_t *query;		/* groups * SEARCH_GROUP codes */
	int32_t		groups;
	int32_t		start;			/* what takes the 128 off a sum of products */
	float		scale;			/* of the query */
	float		error_weight;	/* bound = errors * this ... */
	float		norm_weight;	/* ... + norms * this */
} SearchScan;

/* A block with rows that may be above the bar. */
typedef struct SearchFound
{
	int32_t		block;
	uint32_t	rows;			/* bit r: row r of the block may be */
	float		bound;			/* the true value is within +- this, times scale */
	float		estimates[SEARCH_BLOCK];	/* before the scale of the row */
} SearchFound;

/* Found at a time: few, as the bar is out of date by so much; more than one,
 * as leaving the scan's loop and entering it again costs as much as a block. */
#define SEARCH_NFOUND	8

/*
 * Looks at blocks first .. end - 1 until SEARCH_NFOUND of them have a row whose
 * upper bound is above the bar; returns how many do.
 */
typedef int (*SearchScanKernel) (const SearchScan *scan, int32_t first, int32_t end,
								 float bar, SearchFound *found);

extern int	search_scan_portable(const SearchScan *scan, int32_t first, int32_t end,
								 float bar, SearchFound *found);
extern int	search_scan_avx2(const SearchScan *scan, int32_t first, int32_t end,
							 float bar, SearchFound *found);
extern int	search_scan_avx512(const SearchScan *scan, int32_t first, int32_t end,
							   float bar, SearchFound *found);

/* ----------------------------------------------------------------- exact */

/* Sums in double, in the order that search_exact.c describes. */
typedef double (*SearchDotKernel) (int dim, const float *a, const float *b);

/* --------------------------------------------------------------- dispatch */

typedef struct SearchKernels
{
	const char *name;
	SearchScanKernel scan;
	SearchDotKernel dot;
} SearchKernels;

/* The best that this processor has. */
extern const SearchKernels *search_kernels(void);

/* For tests: number n of those that this processor has, NULL beyond the last;
 * and make search_kernels() answer that one from now on. */
extern const SearchKernels *search_kernels_number(int n);
extern void search_kernels_force(const SearchKernels *kernels);

#endif							/* RECSYS_SEARCH_IMPL_H */
