/*
 * pairs.c
 *	  The matrix of dot products: see pairs.h, and pairs_rows.h for its form.
 *
 * Speed.  A change of a rating costs one cache miss in the item's row and one
 * in each partner's row, and those misses are all that counts.  So
 * pairs_add() only asks for the cells of its pairs, and works off the call
 * before it, whose cells have arrived by now: there is one call "waiting" at
 * any time, which every function that reads settles first.  (Writing the
 * partners' side to a log, partitioned by row and applied in bulk, was measured
 * too: 12 to 15 ns for each entry, where a cell asked for in time takes 8.)
 *
 * Precision.  A dot of a popular pair is the sum of millions of terms, and a
 * float that rounds to nearest swallows every term below half a unit of its
 * last place: a loss that only goes one way.  Sums are therefore made in
 * double and rounded stochastically, up or down by a coin weighed with the
 * distance, so that the error is a random walk: after n updates about
 * sqrt(n) * 2^-24 of the largest value held, 6e-5 for a million.  A sum that
 * a float can hold, as all whole numbers below 2^24, is never changed.
 * The value is computed once and stored in both directions: the matrix is
 * symmetric to the last bit.
 *
 * Cancellation.  What rounding left over must not pass for a dot when the
 * last common user is gone.  With counts, a pair without common users is
 * zero.  Otherwise a sum that is not exact and fell below 2^-19 of what it
 * was in one step is zero.  That can wrong a genuine dot only where a
 * contribution half a million times as large was taken out of it; together
 * with rounding, a pair is off by at most about 2^-19 of the product of its
 * items' largest norms since they were built.  Rows whose norm has fallen
 * far below that should be set again from their users: pairs_set(), which
 * neighbors.c asks for.
 */
#include "numeric/pairs.h"

#include <math.h>

#include "numeric/pairs_rows.h"

/* A call of pairs_add() that is still to be worked off. */
typedef struct Waiting
{
	int32_t		item;
	int			n;
	int			max;
	int			dcount;
	uint32_t	max_partner;	/* or the item, if that is larger */
	/* by partner, [max] */
	double	   *terms;			/* what its dot changes by */
	int32_t    *partners;
	/* room to work it off */
	uint32_t   *cells;			/* its cell in the item's row */
	float	   *dots;			/* the new dot */
	int32_t    *counts;
	int		   *order;
} Waiting;

struct PairStore
{
	Rows		r;
	Waiting		waiting;
	bool		rounded;		/* some sum was not exact */
	bool		failed;
	uint64_t	coin;			/* state of the random numbers */
};

/* ---------------------------------------------------------------- updates */

/* The float that stands for "sum", which came out of "before". */
static inline float
settle_sum(PairStore *ps, double sum, float before)
{
	const uint64_t tail = (UINT64_C(1) << 29) - 1;	/* bits a float lacks */
	uint64_t	bits;

	memcpy(&bits, &sum, sizeof(bits));
	if (bits & tail)
	{
		ps->rounded = true;
		if (fabs(sum) <= 0x1p-19 * fabs((double) before))
			return 0;
		ps->coin = ps->coin * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		bits = (bits + (ps->coin >> 35)) & ~tail;
		memcpy(&sum, &bits, sizeof(sum));
	}
	return (float) sum + 0.0f;	/* no -0 */
}

/* Asks for the cells of all pairs, in both directions. */
ALWAYS_INLINE void
prefetch_pairs(const Rows *r, uint32_t i, const int32_t *js, int n,
			   bool own_dense, bool with_counts)
{
	const Row  *own = &r->rows[i];
	uint32_t	hash = item_hash(i);

	for (int x = 0; x < n; x++)
	{
		const Row  *row = &r->rows[js[x]];
		/* no branch on the form, which would be a coin toss */
		size_t		dense = (size_t) 0 - row_is_dense(row);
		size_t		line = hash_line(hash, row->size);

		__builtin_prefetch((const char *) row->cells +
						   ((i * sizeof(float) & dense) | (line * CACHE_LINE & ~dense)), 1);
		if (with_counts)
			__builtin_prefetch(row_counts(row) + ((i & dense) | (line * LINE_SLOTS & ~dense)), 1);
		line = own_dense ? 0 : home_line((uint32_t) js[x], own->size);
		__builtin_prefetch((const char *) own->cells +
						   (own_dense ? (size_t) js[x] * sizeof(float) : line * CACHE_LINE), 1);
		if (with_counts)
			__builtin_prefetch(row_counts(own) + (own_dense ? (size_t) js[x] : line * LINE_SLOTS), 1);
	}
}

/* Finds or makes the cells of the waiting partners in the item's own row. */
static bool
own_cells(PairStore *ps, Waiting *w, int n)
{
	Row		   *row = &ps->r.rows[w->item];

	for (int x = 0; x < n; x++)
	{
		const void *before = row->cells;
		int64_t		cell = make_cell(&ps->r, row, (uint32_t) w->partners[x]);

		if (cell < 0)
			return false;
		w->cells[x] = (uint32_t) cell;
		if (row->cells != before && x > 0)
			x = -1;				/* the row moved: cells so far are void */
	}
	return true;
}

/* Adds the terms to the item's own row, and leaves the new dots (and counts)
 * in w->dots. */
ALWAYS_INLINE void
add_terms(PairStore *ps, Waiting *w, int n, const Row *row, bool dense,
		  bool with_counts)
{
	const uint32_t *cells = dense ? (const uint32_t *) w->partners : w->cells;

	for (int x = 0; x < n; x++)
	{
		float	   *at = (float *) row->cells + cell_offset(dense, cells[x]);
		float		dot = settle_sum(ps, *at + w->terms[x], *at);

		if (with_counts)
		{
			int32_t    *count = &row_counts(row)[cells[x]];

			w->counts[x] = *count += w->dcount;
			if (*count == 0)
				dot = NO_PAIR;
			else if (dot == 0)
				dot = ZERO_PAIR;
		}
		*at = w->dots[x] = dot;
	}
}

/* Stores the new dots in the rows of the partners. */
ALWAYS_INLINE bool
mirror(PairStore *ps, Waiting *w, int n, bool with_counts)
{
	uint32_t	i = (uint32_t) w->item;
	Row		   *rows = ps->r.rows;
	int			ndense = 0,
				nother = 0;

	/* the dense ones to the front, the others to the back: a loop for each,
	 * again to spare the branch */
	for (int x = 0; x < n; x++)
	{
		const Row  *row = &rows[w->partners[x]];
		int			dense = row_is_dense(row) & (i < row->size);

		w->order[ndense] = x;
		w->order[n - 1 - nother] = x;
		ndense += dense;
		nother += 1 - dense;
	}
	for (int o = 0; o < ndense; o++)
	{
		int			x = w->order[o];
		Row		   *row = &rows[w->partners[x]];

		((float *) row->cells)[i] = w->dots[x];
		if (with_counts)
			row_counts(row)[i] = w->counts[x];
	}
	for (int o = ndense; o < n; o++)
	{
		int			x = w->order[o];
		Row		   *row = &rows[w->partners[x]];
		int64_t		cell = make_cell(&ps->r, row, i);

		if (cell < 0)
			return false;
		*cell_dot(row, (uint32_t) cell) = w->dots[x];
		if (with_counts)
			row_counts(row)[cell] = w->counts[x];
	}
	return true;
}

ALWAYS_INLINE bool
work_off(PairStore *ps, Waiting *w, int n, bool with_counts)
{
	Row		   *row = &ps->r.rows[w->item];

	if (row_is_dense(row) && w->max_partner < row->size)
		add_terms(ps, w, n, row, true, with_counts);
	else
	{
		if (!own_cells(ps, w, n))
			return false;
		add_terms(ps, w, n, row, row_is_dense(row), with_counts);
	}
	return mirror(ps, w, n, with_counts);
}

/* Works off the waiting call. */
static bool
settle_all(PairStore *ps)
{
	Waiting    *w = &ps->waiting;
	int			n = w->n;

	w->n = 0;
	if (!(ps->r.with_counts ? work_off(ps, w, n, true) : work_off(ps, w, n, false)))
		ps->failed = true;
	return !ps->failed;
}

static inline bool
settle(const PairStore *ps)
{
	/* reading settles: the store changes, but not what it says */
	return ps->waiting.n == 0 ? !ps->failed : settle_all((PairStore *) ps);
}

/* Buffers for a call with n partners. */
static bool
reserve_waiting(PairStore *ps, int n)
{
	const size_t each = sizeof(double) + 5 * sizeof(int32_t);
	Waiting    *w = &ps->waiting;
	size_t		max = (size_t) n + (size_t) n / 2 + 64;

	if (n <= w->max)
		return true;
	if (!settle(ps))
		return false;
	arena_free(ps->r.arena, w->terms, (size_t) w->max * each);
	w->max = 0;
	w->terms = arena_alloc(ps->r.arena, size_mul(max, each));
	if (!w->terms)
	{
		ps->failed = true;
		return false;
	}
	w->max = (int) max;
	w->partners = (int32_t *) (w->terms + max);
	w->cells = (uint32_t *) (w->partners + max);
	w->dots = (float *) (w->cells + max);
	w->counts = (int32_t *) (w->dots + max);
	w->order = (int *) (w->counts + max);
	return true;
}

bool
pairs_add(PairStore *ps, int32_t i, const int32_t *js, const double *rs, int n,
		  double delta, int dcount)
{
	Waiting    *w = &ps->waiting;
	int32_t		max = i;

	for (int x = 0; x < n; x++)
		max = js[x] > max ? js[x] : max;
	if (((uint32_t) max >= ps->r.nitems && !rows_reach(&ps->r, (uint32_t) max)) ||
		!reserve_waiting(ps, n))
		return false;

	for (int x = 0; x < n; x++)
		__builtin_prefetch(&ps->r.rows[js[x]], 1);
	if (ps->r.with_counts)
		prefetch_pairs(&ps->r, (uint32_t) i, js, n, row_is_dense(&ps->r.rows[i]), true);
	else if (row_is_dense(&ps->r.rows[i]))
		prefetch_pairs(&ps->r, (uint32_t) i, js, n, true, false);
	else
		prefetch_pairs(&ps->r, (uint32_t) i, js, n, false, false);
	if (!settle(ps))
		return false;
	w->item = i;
	w->max_partner = (uint32_t) max;
	w->n = n;
	w->dcount = dcount;
	for (int x = 0; x < n; x++)
	{
		w->partners[x] = js[x];
		w->terms[x] = delta * rs[x];
	}
	return true;
}

void
pairs_scale(PairStore *ps, double factor)
{
	if (!settle(ps))
		return;
	for (uint32_t i = 1; i < ps->r.nitems; i++)
	{
		Row		   *row = &ps->r.rows[i];

		for (uint32_t c = 0; c < row->size; c++)
		{
			float	   *dot = cell_dot(row, c);

			*dot = (float) (*dot * factor);
		}
	}
}

/* ------------------------------------------------------------ whole rows */

/* Ends all pairs of an item. */
static void
blank_item(PairStore *ps, uint32_t i)
{
	Row		   *row = &ps->r.rows[i];

	for (uint32_t c = 0; c < row->size; c++)
	{
		float	   *dot = cell_dot(row, c);
		Row		   *theirs;
		int64_t		cell;

		if (!is_pair(*dot))
			continue;
		*dot = NO_PAIR;
		if (ps->r.with_counts)
			row_counts(row)[c] = 0;
		theirs = &ps->r.rows[cell_item(row, c)];
		if ((cell = find_cell(theirs, i)) < 0)
			continue;
		*cell_dot(theirs, (uint32_t) cell) = NO_PAIR;
		if (ps->r.with_counts)
			row_counts(theirs)[cell] = 0;
	}
}

void
pairs_clear_item(PairStore *ps, int32_t i)
{
	if (!settle(ps) || (uint32_t) i >= ps->r.nitems)
		return;
	blank_item(ps, (uint32_t) i);
	row_free(&ps->r, &ps->r.rows[i]);
}

/* Pairs in a view; *max is their largest item, if above what it was. */
static uint32_t
count_view(const PairRowView *view, uint32_t *max)
{
	uint32_t	n = 0,
				m = *max;

	for (int32_t c = 0; c < view->n; c++)
	{
		uint32_t	there = is_pair(pair_cell_dot(view, c));
		uint32_t	item = (0 - there) & (uint32_t) pair_cell_item(view, c);

		n += there;
		m = item > m ? item : m;
	}
	*max = m;
	return n;
}

bool
pairs_set_row(PairStore *ps, int32_t i, const PairRowView *view)
{
	Row		   *row;
	uint32_t	max = (uint32_t) i,
				n = count_view(view, &max);

	if (!settle(ps) || (max >= ps->r.nitems && !rows_reach(&ps->r, max)))
		return false;
	row = &ps->r.rows[i];
	row_free(&ps->r, row);
	if (n == 0)
		return true;
	if (!row_shape(&ps->r, row, n + n / 4 + 1, max))
		return false;
	if (row_is_dense(row) && !view->js && (uint32_t) view->n <= row->size)
	{
		memcpy(row->cells, view->dots, (size_t) view->n * sizeof(float));
		if (ps->r.with_counts && view->counts)
			memcpy(row_counts(row), view->counts, (size_t) view->n * sizeof(int32_t));
		return true;
	}
	for (int32_t c = 0; c < view->n; c++)
		if (is_pair(pair_cell_dot(view, c)))
			fill_cell(&ps->r, row, (uint32_t) pair_cell_item(view, c),
					  pair_cell_dot(view, c), view->counts ? view->counts[c] : 0);
	return true;
}

static bool
set_cell(PairStore *ps, uint32_t i, uint32_t j, float dot, int32_t count)
{
	Row		   *row = &ps->r.rows[i];
	int64_t		cell = make_cell(&ps->r, row, j);

	if (cell < 0)
		return false;
	*cell_dot(row, (uint32_t) cell) = dot;
	if (ps->r.with_counts)
		row_counts(row)[cell] = count;
	return true;
}

bool
pairs_set(PairStore *ps, int32_t i, int32_t n, const int32_t *js,
		  const float *dots, const int32_t *counts)
{
	int32_t		max = i;

	for (int32_t x = 0; x < n; x++)
		max = js[x] > max ? js[x] : max;
	if (!settle(ps) ||
		((uint32_t) max >= ps->r.nitems && !rows_reach(&ps->r, (uint32_t) max)))
		return false;
	blank_item(ps, (uint32_t) i);
	for (int32_t x = 0; x < n; x++)
	{
		int32_t		count = counts ? counts[x] : 0;

		if (is_pair(dots[x]) &&
			(!set_cell(ps, (uint32_t) i, (uint32_t) js[x], dots[x], count) ||
			 !set_cell(ps, (uint32_t) js[x], (uint32_t) i, dots[x], count)))
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------- reading */

void
pairs_get(const PairStore *ps, int32_t i, int32_t j, float *dot, int32_t *count)
{
	int64_t		cell = -1;

	*dot = 0;
	*count = 0;
	if (settle(ps) && (uint32_t) i < ps->r.nitems)
		cell = find_cell(&ps->r.rows[i], (uint32_t) j);
	if (cell < 0)
		return;
	*dot = *cell_dot(&ps->r.rows[i], (uint32_t) cell) + 0.0f;
	if (ps->r.with_counts)
		*count = row_counts(&ps->r.rows[i])[cell];
}

int32_t
pairs_row_size(const PairStore *ps, int32_t i)
{
	const Row  *row = &ps->r.rows[i];

	if (!settle(ps) || (uint32_t) i >= ps->r.nitems)
		return 0;
	return (int32_t) (row_is_dense(row) ? row->size : row->used & ROW_USED);
}

int32_t
pairs_row(const PairStore *ps, int32_t i, int32_t *js, float *dots,
		  int32_t *counts)
{
	const Row  *row = &ps->r.rows[i];
	int32_t		n = 0;

	if (!settle(ps) || (uint32_t) i >= ps->r.nitems)
		return 0;
	for (uint32_t c = 0; c < row->size; c++)
	{
		float		dot = *cell_dot(row, c);

		if (dot == 0)
			continue;
		js[n] = (int32_t) cell_item(row, c);
		dots[n] = dot;
		if (counts)
			counts[n] = ps->r.with_counts ? row_counts(row)[c] : 0;
		n++;
	}
	return n;
}

bool
pairs_view(PairStore *ps, int32_t i, PairRowView *view)
{
	const Row  *row;

	memset(view, 0, sizeof(*view));
	if (!settle(ps))
		return false;
	if ((uint32_t) i >= ps->r.nitems)
		return true;
	row = &ps->r.rows[i];
	if (row->size == 0)
		return true;
	view->n = (int32_t) row->size;
	view->dots = row->cells;
	if (row_is_dense(row))
	{
		if (row->size > ps->r.nitems)
			view->n = (int32_t) ps->r.nitems;
	}
	else
	{
		const Line *lines = row->cells;

		view->in_lines = true;
		view->js = (const int32_t *) lines->items;
		view->dots = lines->dots;
	}
	if (ps->r.with_counts)
		view->counts = row_counts(row);
	return true;
}

/* ------------------------------------------------------------- life cycle */

PairStore *
pairs_create(const Allocator *memory, size_t max_bytes, bool with_counts)
{
	Arena	   *arena = arena_create(memory, max_bytes);
	PairStore  *ps;

	if (!arena)
		return NULL;
	ps = arena_alloc(arena, sizeof(PairStore));
	if (ps)
	{
		memset(ps, 0, sizeof(PairStore));
		ps->r.arena = arena;
		ps->r.with_counts = with_counts;
		ps->r.nitems = 1;
		ps->coin = UINT64_C(0x853c49e6748fea9b);
	}
	if (!ps || !rows_reach(&ps->r, 1))
	{
		arena_destroy(arena);
		return NULL;
	}
	return ps;
}

void
pairs_destroy(PairStore *ps)
{
	arena_destroy(ps->r.arena);
}

bool
pairs_expect(PairStore *ps, int32_t max_item)
{
	return (uint32_t) max_item < ps->r.nitems || rows_reach(&ps->r, (uint32_t) max_item);
}

int32_t
pairs_max_item(const PairStore *ps)
{
	return (int32_t) ps->r.nitems - 1;
}

size_t
pairs_bytes(const PairStore *ps)
{
	return arena_bytes(ps->r.arena);
}

bool
pairs_rounded(const PairStore *ps)
{
	settle(ps);
	return ps->rounded;
}

bool
pairs_has_counts(const PairStore *ps)
{
	return ps->r.with_counts;
}
