/*
 * search_matrix.c
 *	  The matrix of search.h: its layout, storing and reading of rows.
 *
 * search.c says what scales, errors and norms are for.  The errors and norms of a
 * block only grow while its rows are overwritten, up to bounds that the codes
 * have by their nature, so rows that were stored often cost little.
 */
#include "numeric/search_impl.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define MIN_SCALE		0x1p-100f
#define MIN_ERROR		0x1p-20f	/* of a row that is not exact: see search.c */
#define MAX_DIM			32768		/* sums of products fit into 32 bits */

/* Fills in where everything stands; returns the size of it all. */
static size_t
lay_out(SearchMatrix *m, int32_t capacity, int dim, int cosine_dim)
{
	size_t		blocks = search_blocks(capacity);
	size_t		at = search_aligned(sizeof(SearchMatrix));

	m->capacity = capacity;
	m->used = 0;
	m->dim = dim;
	m->cosine_dim = cosine_dim;
	m->groups = (dim + SEARCH_GROUP - 1) / SEARCH_GROUP;
	m->reserved = 0;
	m->codes = at;
	at += search_aligned(blocks * SEARCH_BLOCK * SEARCH_GROUP * (size_t) m->groups);
	m->scales = at;
	at += search_aligned(blocks * SEARCH_BLOCK * sizeof(float));
	m->cosine_scales = at;
	at += search_aligned(blocks * SEARCH_BLOCK * sizeof(float));
	m->errors = at;
	at += search_aligned(blocks * sizeof(float));
	m->norms = at;
	at += search_aligned(blocks * sizeof(float));
	m->rows = at;
	return at + search_aligned((size_t) capacity * sizeof(float) * (size_t) dim);
}

size_t
search_size(int32_t capacity, int dim)
{
	SearchMatrix m;

	if (capacity < 0 || dim < 1 || dim > MAX_DIM)
		return 0;
	return lay_out(&m, capacity, dim, dim);
}

SearchMatrix *
search_init(void *block, int32_t capacity, int dim, int cosine_dim)
{
	SearchMatrix *m = block;

	(void) lay_out(m, capacity, dim, cosine_dim);
	return m;
}

int32_t
search_capacity(const SearchMatrix *m)
{
	return m->capacity;
}

int
search_dim(const SearchMatrix *m)
{
	return m->dim;
}

const float *
search_rows(const SearchMatrix *m)
{
	return search_row(m, 0);
}

const float *
search_get(const SearchMatrix *m, int32_t row)
{
	if (row < 0 || row >= m->used || isnan(search_floats(m, m->scales)[row]))
		return NULL;
	return search_row(m, row);
}

/* ----------------------------------------------------------------- storing */

/* Rows up to "row" that were never set become absent. */
static void
extend(SearchMatrix *m, int32_t row)
{
	float	   *scales = search_floats(m, m->scales),
			   *cosine_scales = search_floats(m, m->cosine_scales);
	size_t		from = search_blocks(m->used) * SEARCH_BLOCK;

	/* to the end of the block, since the scan looks at whole blocks */
	for (size_t r = from; r < search_blocks(row + 1) * SEARCH_BLOCK; r++)
	{
		scales[r] = cosine_scales[r] = NAN;
		search_floats(m, m->errors)[r / SEARCH_BLOCK] = 0;
		search_floats(m, m->norms)[r / SEARCH_BLOCK] = 0;
	}
	for (int32_t r = m->used; r < row; r++)
		memset(search_row(m, r), 0, sizeof(float) * (size_t) m->dim);
	m->used = row + 1;
}

static void
clear_row(SearchMatrix *m, int32_t row)
{
	search_floats(m, m->scales)[row] = NAN;
	search_floats(m, m->cosine_scales)[row] = NAN;
	memset(search_row(m, row), 0, sizeof(float) * (size_t) m->dim);
}

float
search_largest(int n, const float *vector)
{
	float		most = 0;
	bool		finite = true;

	for (int e = 0; e < n; e++)
	{
		float		amount = fabsf(vector[e]);

		finite &= amount <= FLT_MAX;
		most = amount > most ? amount : most;
	}
	return finite ? most : NAN;
}

bool
search_finite(int dim, const float *vector)
{
	return !isnan(search_largest(dim, vector));
}

static void
raise_to(float *largest_yet, float value)
{
	if (*largest_yet < value)
		*largest_yet = value;
}

static inline uint8_t *
code_at(const SearchMatrix *m, int32_t row)
{
	size_t		block = (size_t) (row / SEARCH_BLOCK);

	return (uint8_t *) (uintptr_t) m + m->codes +
		block * SEARCH_BLOCK * SEARCH_GROUP * (size_t) m->groups +
		(size_t) (row % SEARCH_BLOCK) * SEARCH_GROUP;
}

/*
 * Codes of a vector with a scale; |vector - scale code| / scale and |code|.  The
 * last few bits of the error are lost, which SLACK makes up for.
 */
static void
encode(SearchMatrix *m, int32_t row, const float *vector, float scale,
	   double *error, double *norm)
{
	uint8_t    *code = code_at(m, row);
	const double inverse = 1 / (double) scale;
	double		errors[SEARCH_GROUP] = {0};
	int32_t		squares = 0;

	for (int g = 0; g < m->groups; g++, code += SEARCH_GROUP * SEARCH_BLOCK)
		for (int l = 0; l < SEARCH_GROUP; l++)
		{
			int			e = g * SEARCH_GROUP + l;
			double		x = e < m->dim ? vector[e] * inverse : 0;
			int32_t		c = (int32_t) (x + (x < 0 ? -0.5 : 0.5));

			code[l] = (uint8_t) (128 + c);
			squares += c * c;
			errors[l] += (x - c) * (x - c);
		}
	*error = sqrt(errors[0] + errors[1] + errors[2] + errors[3]);
	*norm = sqrt(squares);
}

void
search_set(SearchMatrix *m, int32_t row, const float *vector)
{
	float		most = vector ? search_largest(m->dim, vector) : NAN;
	float		scale;
	double		error,
				norm,
				cosine_norm;

	if (row < 0 || row >= m->capacity || (isnan(most) && row >= m->used))
		return;
	if (row >= m->used)
		extend(m, row);
	if (isnan(most))
	{
		clear_row(m, row);
		return;
	}
	scale = most / SEARCH_MAX_CODE * (1 + FLT_EPSILON);	/* codes do not exceed 127 */
	if (scale < MIN_SCALE)
		scale = MIN_SCALE;
	encode(m, row, vector, scale, &error, &norm);
	if (most == 0)
		scale = 0;				/* its bounds are 0, then */
	if (error > 0 && error < MIN_ERROR)
		error = MIN_ERROR;
	raise_to(&search_floats(m, m->errors)[row / SEARCH_BLOCK], search_upward(error));
	raise_to(&search_floats(m, m->norms)[row / SEARCH_BLOCK], search_upward(norm));
	cosine_norm = sqrt(search_kernels()->dot(m->cosine_dim, vector, vector));
	search_floats(m, m->cosine_scales)[row] = cosine_norm > 0 ?
		(float) fmin(scale / cosine_norm, FLT_MAX) : 0;
	search_floats(m, m->scales)[row] = scale;
	memcpy(search_row(m, row), vector, sizeof(float) * (size_t) m->dim);
}
