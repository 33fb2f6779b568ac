/*
 * search.h
 *	  Exact top-k inner-product search over the vectors of items: a first pass
 *	  over int8 copies, whose error bound tells which rows an exact second pass
 *	  has to look at.
 *
 * The matrix is one flat block without pointers, so that processes can share
 * it at different addresses.  Row numbers are item numbers; rows may be absent.
 * Readers may run beside each other, a writer needs the block for itself.
 */
#ifndef RECSYS_SEARCH_H
#define RECSYS_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct SearchMatrix SearchMatrix;	/* at the start of the block */

/* Bytes for rows 0 .. capacity - 1 of dim elements. */
extern size_t search_size(int32_t capacity, int dim);

/* An empty matrix in a block of search_size() bytes, 64-byte aligned.  The first
 * cosine_dim elements of a vector count for the cosine. */
extern SearchMatrix *search_init(void *block, int32_t capacity, int dim, int cosine_dim);

extern int32_t search_capacity(const SearchMatrix *m);
extern int	search_dim(const SearchMatrix *m);

/* Store a row; NULL, or a vector that is not finite: the row is absent from now on. */
extern void search_set(SearchMatrix *m, int32_t row, const float *vector);

/* A row in place, NULL if absent or out of range. */
extern const float *search_get(const SearchMatrix *m, int32_t row);

/* All present rows next to each other are rows of one float matrix of stride
 * search_dim(); row r is at search_rows() + r * dim. Absent rows are zeros. */
extern const float *search_rows(const SearchMatrix *m);

typedef struct SearchHit
{
	int32_t		row;
	float		score;
} SearchHit;

typedef struct SearchQuery
{
	const float *vector;		/* dim elements */
	int			k;
	bool		cosine;			/* rank by cosine of the first cosine_dim elements */
	/* asked for rows good enough to enter the answer; NULL: all qualify */
	bool		(*admit) (void *arg, int32_t row);
	void	   *arg;
	/* only these rows, each once; NULL: all */
	const int32_t *only;
	int32_t		nonly;
} SearchQuery;

/* Scratch memory that search_top() wants, for a k. */
extern size_t search_work_size(const SearchMatrix *m, int k);

/*
 * The k best admitted rows, best first, smaller row first among equal scores;
 * returns how many.  Scores are the float32 of sums in double in a fixed order: the
 * same on every machine.
 */
extern int	search_top(const SearchMatrix *m, const SearchQuery *query,
					   SearchHit *hits, void *work);

/* Neither NaN nor infinity among the elements? */
extern bool search_finite(int dim, const float *vector);

/* The score search_top() gives to a vector. */
extern float search_score(int dim, const float *query, const float *vector);
extern float search_cosine(int dim, const float *a, const float *b);

#endif							/* RECSYS_SEARCH_H */
