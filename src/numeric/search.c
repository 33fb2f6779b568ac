/*
 * search.c
 *	  The search: see search.h.
 *
 * A row v is stored as floats and as v' = s c, c integers of -127 .. 127, s its
 * scale; a query q likewise, q' = t d.  By Cauchy and Schwarz
 *
 *		| q.v - s t c.d | <= |q| |v - v'| + |q - q'| |v'|
 *						   = s (|q| (|v - v'| / s) + |q - q'| |c|)
 *
 * The two factors that belong to the row hardly differ between rows, so a block
 * of sixteen rows keeps only the largest of each: what the scan reads of a row
 * besides its code is the scale.
 *
 * The scan yields rows whose upper bound is above the k-th best lower bound of
 * the rows admitted so far; rows come in the order of their numbers, so one whose
 * upper bound just equals that can't enter.  Those that are still possible
 * in the end are scored exactly.  Where bounds tell little, so that the list of
 * candidates runs full, they are scored in between, and exact scores raise the bar.
 *
 * Scores compare as floats.  Rounding keeps order, so a row whose exact value
 * is not above another's can't have a greater score; an equal one it may have.
 *
 * The query is scaled by a power of two such that its largest element is within
 * 1 .. 2, and scales of rows have a least value, so nothing of a bound is lost
 * to underflow.  SLACK is what floats may lose in computing one: a few units of
 * 2^-24 of |q'| |v'| + the bound.
 */
#include "numeric/search_impl.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "numeric/topk.h"

#define SLACK			0x1p-19

#ifndef FLT_TRUE_MIN
#define FLT_TRUE_MIN	0x1p-149f
#endif

/* Candidates before they are scored in between: enough for the list to run full
 * only where bounds tell little. */
#define LIST_MIN		1024
#define LIST_PER_K		6

#define PREFETCH		6			/* rows ahead */

/* ------------------------------------------------------------------- sieve */

/*
 * The k best of a stream of keys.  A heap if they are few.  Else k are kept and as
 * many collected, then the best of both are chosen, which is cheaper where
 * many enter, though the bar lags.
 */
typedef TopK Sieve;				/* whose heap has room for twice k */

#define HEAP_MAX	48			/* k */

static void
sieve_choose(Sieve *s)
{
	RankKey		least = UINT64_MAX;

	if (s->n <= s->k)
		return;
	rank_select(s->heap, s->n, s->k);
	s->n = s->k;
	for (size_t x = 0; x < s->k; x++)
		least = s->heap[x] < least ? s->heap[x] : least;
	s->bar = least;
}

static inline void
sieve_push(Sieve *s, RankKey key)
{
	if (key <= s->bar)
		return;
	if (s->k <= HEAP_MAX)
		topk_insert(s, key);
	else
	{
		s->heap[s->n++] = key;
		if (s->n == 2 * s->k)
			sieve_choose(s);
	}
}

/* ------------------------------------------------------------------ search */

typedef struct Candidate
{
	int32_t		row;
	float		upper;
} Candidate;

/* One search; arrays are in the caller's scratch memory. */
typedef struct Search
{
	const SearchMatrix *m;
	const SearchQuery *query;
	int			dim;			/* of what is compared */
	double		norm;			/* of the query; cosine only */
	double		factor;			/* bounds are scores times this */
	SearchDotKernel dot;
	SearchScan	scan;
	int8_t	   *codes;			/* of the query */
	Sieve		bounds;			/* lower bounds */
	float		bar;			/* k of them are not below this */
	Sieve		exact;			/* scores */
	Candidate  *list;			/* to be scored */
	int			n,
				max;
} Search;

static int
bounded_k(const SearchMatrix *m, int k)
{
	return k < m->capacity ? k : m->capacity;
}

static int
list_max(int k)
{
	size_t		n = (size_t) k * LIST_PER_K;

	return n < LIST_MIN ? LIST_MIN : n > INT32_MAX ? INT32_MAX : (int) n;
}

size_t
search_work_size(const SearchMatrix *m, int k)
{
	k = bounded_k(m, k < 0 ? 0 : k);
	return search_aligned(SEARCH_GROUP * (size_t) m->groups) +
		2 * search_aligned(2 * sizeof(RankKey) * (size_t) k) +
		sizeof(Candidate) * (size_t) list_max(k) + SEARCH_ALIGNMENT;
}

static void
take_memory(Search *s, char *work, int k)
{
	work = (char *) search_aligned((size_t) (uintptr_t) work);
	s->codes = (int8_t *) work;
	work += search_aligned(SEARCH_GROUP * (size_t) s->m->groups);
	topk_init(&s->bounds, (RankKey *) (void *) work, (size_t) k);
	work += search_aligned(2 * sizeof(RankKey) * (size_t) k);
	topk_init(&s->exact, (RankKey *) (void *) work, (size_t) k);
	work += search_aligned(2 * sizeof(RankKey) * (size_t) k);
	s->list = (Candidate *) (void *) work;
	s->n = 0;
	s->max = list_max(k);
	s->bar = -INFINITY;
}

static float
as_score(double value)
{
	return (float) fmax(-FLT_MAX, fmin(FLT_MAX, value)) + 0.0f;
}

/* As search_score() and search_cosine(), which are the same sums. */
static float
exact_score(const Search *s, const float *vector)
{
	double		dot = s->dot(s->dim, s->query->vector, vector);
	double		norms;

	if (!s->query->cosine)
		return as_score(dot);
	norms = s->norm * sqrt(s->dot(s->dim, vector, vector));
	return norms > 0 ? as_score(fmax(-1, fmin(1, dot / norms))) : 0;
}

/* The greatest float that is not above a score, times factor. */
static float
as_bound(const Search *s, float score)
{
	double		value = score * s->factor;
	float		f = value < -FLT_MAX ? -INFINITY : (float) fmin(value, FLT_MAX);

	return f > value ? nextafterf(f, -INFINITY) : f;
}

static inline void
fetch(const void *memory, size_t bytes)
{
#ifdef __GNUC__
	for (size_t x = 0; x < bytes && x < 1024; x += 64)
		__builtin_prefetch((const char *) memory + x);
#endif
}

static inline void
raise_bar(Search *s)
{
	float		bound;

	if (s->bounds.bar == 0)
		return;
	bound = rank_score(s->bounds.bar);
	if (bound > s->bar)
		s->bar = bound;
}

/*
 * An upper bound below this is that of a row whose score, a float, is below the
 * k-th best.  Less than the bar: a row with a smaller number than those that
 * made the bar may win by an equal score, though its value is less.
 */
static double
list_bar(const Search *s)
{
	double		bar = s->bar;

	if (bar <= -FLT_MAX * s->factor)
		return -INFINITY;
	bar = fmin(bar, FLT_MAX * s->factor);
	return bar - (fabs(bar) * 2 * FLT_EPSILON + 2 * FLT_TRUE_MIN * s->factor);
}

/* Only what is still possible remains in the list. */
static void
thin_list(Search *s)
{
	double		bar;
	int			n = 0;

	sieve_choose(&s->bounds);
	raise_bar(s);
	bar = list_bar(s);
	for (int c = 0; c < s->n; c++)
		if (s->list[c].upper >= bar)
			s->list[n++] = s->list[c];
	s->n = n;
}

/* Exact scores of the rows of the list, which is empty then. */
static void
score_list(Search *s)
{
	const size_t bytes = sizeof(float) * (size_t) s->dim;

	for (int c = 0; c < s->n; c++)
	{
		int32_t		row = s->list[c].row;

		if (c + PREFETCH < s->n)
			fetch(search_row(s->m, s->list[c + PREFETCH].row), bytes);
		sieve_push(&s->exact, rank_key(row, exact_score(s, search_row(s->m, row))));
	}
	s->n = 0;
}

/* The list is full.  Where most of it is still possible, score it, and have the
 * scores as bounds. */
static void
make_room(Search *s)
{
	thin_list(s);
	if (s->n <= s->max / 2)
		return;
	score_list(s);
	sieve_choose(&s->exact);
	if (s->exact.bar == 0)
		return;
	topk_init(&s->bounds, s->bounds.heap, s->bounds.k);
	for (size_t x = 0; x < s->exact.n; x++)
		sieve_push(&s->bounds, rank_key(rank_item(s->exact.heap[x]),
										as_bound(s, rank_score(s->exact.heap[x]))));
	s->bar = as_bound(s, rank_score(s->exact.bar));
}

static void
take_found(Search *s, const SearchFound *found)
{
	const float *scales = s->scan.scales + (size_t) found->block * SEARCH_BLOCK;

	for (uint32_t rows = found->rows; rows != 0; rows &= rows - 1)
	{
		int			r = __builtin_ctz(rows);
		int32_t		row = found->block * SEARCH_BLOCK + r;
		float		upper = scales[r] * (found->estimates[r] + found->bound),
					lower = scales[r] * (found->estimates[r] - found->bound);

		if (upper < -FLT_MAX)
			upper = -FLT_MAX;
		if (!(upper > s->bar) ||
			(s->query->admit && !s->query->admit(s->query->arg, row)))
			continue;
		if (s->n == s->max)
			make_room(s);
		s->list[s->n++] = (Candidate) {row, upper};
		sieve_push(&s->bounds, rank_key(row, lower < FLT_MAX ? lower : FLT_MAX));
		raise_bar(s);
	}
}

/* False: the query is not finite. */
static bool
prepare(Search *s)
{
	const SearchMatrix *m = s->m;
	const float *q = s->query->vector;
	float		most = search_largest(s->dim, q);
	double		squares = 0,
				error_squares = 0,
				scale,
				unit;
	int			exponent,
				sum = 0;

	if (isnan(most))
		return false;
	frexp(most, &exponent);
	unit = ldexp(1, most > 0 ? 1 - exponent : 0);
	scale = search_upward(most * unit / SEARCH_MAX_CODE);
	memset(s->codes, 0, SEARCH_GROUP * (size_t) m->groups);
	for (int e = 0; e < s->dim && most > 0; e++)
	{
		double		x = q[e] * unit,
					c = rint(x / scale);

		s->codes[e] = (int8_t) c;
		sum += (int) c;
		squares += x * x;
		error_squares += (x - c * scale) * (x - c * scale);
	}
	s->norm = sqrt(s->dot(s->dim, q, q));
	s->factor = s->query->cosine ? s->norm * unit : unit;
	s->scan.codes = (const uint8_t *) m + m->codes;
	s->scan.scales = search_floats(m, s->query->cosine ? m->cosine_scales : m->scales);
	s->scan.errors = search_floats(m, m->errors);
	s->scan.norms = search_floats(m, m->norms);
	s->scan.query = s->codes;
	s->scan.groups = m->groups;
	s->scan.start = -128 * sum;
	s->scan.scale = (float) scale;
	s->scan.error_weight = (float) (sqrt(squares) * (1 + SLACK));
	s->scan.norm_weight = (float) (sqrt(error_squares) * (1 + SLACK) +
								   (sqrt(squares) + sqrt(error_squares)) * SLACK);
	return true;
}

static void
search_all(Search *s)
{
	const SearchScanKernel kernel = search_kernels()->scan;
	const int32_t end = (int32_t) search_blocks(s->m->used);
	SearchFound found[SEARCH_NFOUND];
	int32_t		block = 0;
	int			n;

	do
	{
		n = kernel(&s->scan, block, end, s->bar, found);
		for (int x = 0; x < n; x++)
			take_found(s, &found[x]);
		if (n > 0)
			block = found[n - 1].block + 1;
	} while (n == SEARCH_NFOUND);
	thin_list(s);
	score_list(s);
}

static void
search_only(Search *s)
{
	const SearchQuery *query = s->query;

	for (int32_t x = 0; x < query->nonly; x++)
	{
		const float *vector = search_get(s->m, query->only[x]);
		RankKey		key;

		if (!vector)
			continue;
		key = rank_key(query->only[x], exact_score(s, vector));
		if (key > s->exact.bar && (!query->admit || query->admit(query->arg, query->only[x])))
			sieve_push(&s->exact, key);
	}
}

int
search_top(const SearchMatrix *m, const SearchQuery *query, SearchHit *hits, void *work)
{
	Search		s = {.m = m,.query = query};
	int			k = bounded_k(m, query->k);

	if (k <= 0)
		return 0;
	s.dim = query->cosine ? m->cosine_dim : m->dim;
	s.dot = search_kernels()->dot;
	take_memory(&s, work, k);
	if (!prepare(&s))
		return 0;
	if (query->only)
		search_only(&s);
	else
		search_all(&s);
	sieve_choose(&s.exact);
	rank_sort(s.exact.heap, s.exact.n);
	for (size_t x = 0; x < s.exact.n; x++)
		hits[x] = (SearchHit) {rank_item(s.exact.heap[x]), rank_score(s.exact.heap[x])};
	return (int) s.exact.n;
}
