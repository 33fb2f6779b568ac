/*
 * pairs.c
 *	  Storage of the symmetric matrix of dot products: see pairs.h.
 *
 * Row i is one block of the arena, in the smaller of two forms:
 *
 *	  sparse	open addressing with linear probing, slots {item, dot}; item 0 is
 *				an empty slot
 *	  dense		float[size], indexed by item
 *
 * with the counts, if kept, as a parallel int32 array behind.  A row changes
 * form when it grows (reshape).  The work of pairs_add() is one cache miss in
 * the item's own row and one in each partner's row, so it asks for the cells
 * of the next group of partners before it works on a group.
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

#include "numeric/arena.h"

#define ROW_DENSE		UINT32_C(0x80000000)
#define ROW_HAS_DEAD	UINT32_C(0x40000000)
#define ROW_USED		UINT32_C(0x3fffffff)

/* partners whose cells are fetched ahead: two lines each stay within the
 * first-level cache, and are more than the fill buffers can take at once */
#define GROUP			32

typedef struct Slot
{
	uint32_t	item;
	float		dot;
} Slot;

typedef struct Row
{
	void	   *cells;			/* NULL: empty */
	uint32_t	size;			/* slots or columns */
	uint32_t	used;			/* occupied slots (sparse) and ROW_ flags */
} Row;

struct PairStore
{
	Arena	   *arena;
	Row		   *rows;			/* [maxitems] */
	uint32_t	maxitems;
	uint32_t	nitems;			/* largest item number seen, plus 1 */
	bool		with_counts;
	bool		rounded;		/* some sum was not exact */
	uint64_t	coin;			/* state of the random numbers */
	void	   *scratch;		/* a sparse row, unpacked */
	size_t		scratch_bytes;
};

/* ------------------------------------------------------------------- rows */

static inline size_t
slot_bytes(const PairStore *ps)
{
	return sizeof(Slot) + (ps->with_counts ? sizeof(int32_t) : 0);
}

static inline size_t
column_bytes(const PairStore *ps)
{
	return sizeof(float) + (ps->with_counts ? sizeof(int32_t) : 0);
}

static inline bool
is_dense(const Row *row)
{
	return (row->used & ROW_DENSE) != 0;
}

static inline size_t
row_bytes(const PairStore *ps, const Row *row)
{
	return row->size * (is_dense(row) ? column_bytes(ps) : slot_bytes(ps));
}

static inline int32_t *
row_counts(const Row *row)
{
	return is_dense(row) ? (int32_t *) ((float *) row->cells + row->size)
		: (int32_t *) ((Slot *) row->cells + row->size);
}

static inline uint32_t
home(uint32_t item, uint32_t size)
{
	return (uint32_t) ((uint64_t) (item * UINT32_C(0x9E3779B1)) * size >> 32);
}

static inline bool
is_set(float dot)
{
	uint32_t	bits;

	memcpy(&bits, &dot, sizeof(bits));
	return bits != 0;
}

static void
free_row(PairStore *ps, Row *row)
{
	if (row->cells)
		arena_free(ps->arena, row->cells, row_bytes(ps, row));
	memset(row, 0, sizeof(Row));
}

/* Gives an empty row the form that is smaller for n items, the largest of
 * them max_item. */
static bool
shape_row(PairStore *ps, Row *row, uint32_t n, uint32_t max_item)
{
	size_t		columns = (max_item >= ps->nitems ? max_item + 1 : ps->nitems);
	size_t		dense = arena_round(size_mul(columns, column_bytes(ps)));
	size_t		sparse = arena_round(size_mul(n, slot_bytes(ps)));
	size_t		bytes;

	row->used = dense <= sparse ? ROW_DENSE : 0;
	bytes = dense <= sparse ? dense : sparse;
	row->size = (uint32_t) (bytes / (dense <= sparse ? column_bytes(ps) : slot_bytes(ps)));
	row->cells = arena_alloc(ps->arena, row_bytes(ps, row));
	if (!row->cells)
	{
		memset(row, 0, sizeof(Row));
		return false;
	}
	memset(row->cells, 0, row_bytes(ps, row));
	return true;
}

/* Slots that leave room to grow, for a row of n items. */
static inline uint32_t
roomy(uint32_t n)
{
	return n + n / 4 * 3 + 4;
}

/* Slots of a row of n items that may well stay as it is. */
static inline uint32_t
snug(uint32_t n)
{
	return n + n / 4 + 2;
}

static inline bool
is_full(const Row *row)
{
	uint32_t	used = row->used & ROW_USED;

	return used + 1 >= row->size - row->size / 8;
}

/* The slot of an item in a sparse row with free slots: its own or the empty
 * one where it belongs. */
static inline Slot *
find_slot(const Row *row, uint32_t item)
{
	Slot	   *slots = row->cells;
	uint32_t	s = home(item, row->size);

	while (slots[s].item != item && slots[s].item != 0)
		if (++s == row->size)
			s = 0;
	return &slots[s];
}

/* Puts a cell that is not there yet into a row with room for it. */
static inline void
put_cell(const PairStore *ps, Row *row, uint32_t item, float dot, int32_t count)
{
	uint32_t	at = item;

	if (is_dense(row))
		((float *) row->cells)[item] = dot;
	else
	{
		Slot	   *slot = find_slot(row, item);

		slot->item = item;
		slot->dot = dot;
		row->used++;
		at = (uint32_t) (slot - (Slot *) row->cells);
	}
	if (ps->with_counts)
		row_counts(row)[at] = count;
}

/* Makes room for one more item in a row, dropping what is buried. */
static bool
reshape(PairStore *ps, Row *row, uint32_t item)
{
	Row			old = *row;
	bool		dense = is_dense(&old);
	const float *dots = old.cells;
	const Slot *slots = old.cells;
	uint32_t	n = 1,
				max = item;

	for (uint32_t c = 0; c < old.size; c++)
	{
		if (!is_set(dense ? dots[c] : slots[c].dot))
			continue;
		n++;
		if ((dense ? c : slots[c].item) > max)
			max = dense ? c : slots[c].item;
	}
	if (!shape_row(ps, row, roomy(n), max))
	{
		*row = old;
		return false;
	}
	row->used |= old.used & ROW_HAS_DEAD;
	for (uint32_t c = 0; c < old.size; c++)
	{
		float		dot = dense ? dots[c] : slots[c].dot;

		if (is_set(dot))
			put_cell(ps, row, dense ? c : slots[c].item, dot,
					 ps->with_counts ? row_counts(&old)[c] : 0);
	}
	if (old.cells)
		arena_free(ps->arena, old.cells, row_bytes(ps, &old));
	return true;
}

/* Index of the cell of an item in a row, or -1 if it has none. */
static inline int64_t
find_cell(const Row *row, uint32_t item)
{
	const Slot *slot;

	if (is_dense(row))
		return item < row->size ? (int64_t) item : -1;
	if (row->size == 0)
		return -1;
	slot = find_slot(row, item);
	return slot->item == item ? slot - (const Slot *) row->cells : -1;
}

static inline float *
cell_dot(const Row *row, int64_t cell)
{
	return is_dense(row) ? (float *) row->cells + cell
		: &((Slot *) row->cells)[cell].dot;
}

/* Same, but makes the cell; -1 when the limit is reached. */
static inline int64_t
make_cell(PairStore *ps, Row *row, uint32_t item)
{
	for (;;)
	{
		if (is_dense(row))
		{
			if (item < row->size)
				return item;
		}
		else if (row->size > 0)
		{
			Slot	   *slot = find_slot(row, item);

			if (slot->item != item)
			{
				if (is_full(row))
					goto grow;
				slot->item = item;
				row->used++;
			}
			return slot - (Slot *) row->cells;
		}
grow:
		if (!reshape(ps, row, item))
			return -1;
	}
}

/* Makes headers for item numbers up to max_item. */
static bool
reach(PairStore *ps, uint32_t max_item)
{
	size_t		n = ps->maxitems ? ps->maxitems : 256;
	Row		   *rows;

	if (max_item >= ps->maxitems)
	{
		while (n <= max_item)
			n += n / 2;
		n = arena_round(size_mul(n, sizeof(Row))) / sizeof(Row);
		rows = arena_alloc(ps->arena, size_mul(n, sizeof(Row)));
		if (!rows)
			return false;
		memset(rows, 0, n * sizeof(Row));
		if (ps->rows)
		{
			memcpy(rows, ps->rows, ps->maxitems * sizeof(Row));
			arena_free(ps->arena, ps->rows, ps->maxitems * sizeof(Row));
		}
		ps->rows = rows;
		ps->maxitems = (uint32_t) n;
	}
	if (max_item >= ps->nitems)
		ps->nitems = max_item + 1;
	return true;
}

/* ---------------------------------------------------------------- updates */

static inline void
prefetch_cell(const Row *row, uint32_t item)
{
	const char *cells = row->cells;

	__builtin_prefetch(is_dense(row) ? cells + (size_t) item * sizeof(float)
					   : cells + (size_t) home(item, row->size) * sizeof(Slot), 1);
}

/* The float that stands for "sum", which came out of "before". */
static inline float
settle_sum(PairStore *ps, double sum, float before)
{
	const uint64_t tail = (UINT64_C(1) << 29) - 1;	/* bits a float lacks */
	uint64_t	bits;
	float		dot;

	ps->coin = ps->coin * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	memcpy(&bits, &sum, sizeof(bits));
	if (bits & tail)
	{
		ps->rounded = true;
		if (fabs(sum) <= 0x1p-19 * fabs((double) before))
			return -0.0f;
		bits = (bits + (ps->coin >> 35)) & ~tail;
		memcpy(&sum, &bits, sizeof(sum));
	}
	dot = (float) sum;
	return dot == 0 ? -0.0f : dot;
}

/* dot(i,j) += term on both sides */
static inline bool
add_pair(PairStore *ps, uint32_t i, uint32_t j, double term, int dcount,
		 bool with_counts)
{
	Row		   *mine = &ps->rows[i],
			   *theirs = &ps->rows[j];
	int64_t		a,
				b;
	int32_t		count = 0;
	float		dot;

	if ((a = make_cell(ps, mine, j)) < 0 || (b = make_cell(ps, theirs, i)) < 0)
		return false;
	dot = *cell_dot(mine, a);
	dot = settle_sum(ps, dot + term, dot);
	if (with_counts)
	{
		count = row_counts(mine)[a] += dcount;
		row_counts(theirs)[b] = count;
		if (count == 0)
			dot = -0.0f;
	}
	if (dot == 0)
	{
		mine->used |= ROW_HAS_DEAD;
		theirs->used |= ROW_HAS_DEAD;
	}
	*cell_dot(mine, a) = dot;
	*cell_dot(theirs, b) = dot;
	return true;
}

static inline void
prefetch_group(const PairStore *ps, uint32_t i, const int32_t *js, int n)
{
	for (int x = 0; x < n; x++)
	{
		prefetch_cell(&ps->rows[js[x]], i);
		prefetch_cell(&ps->rows[i], (uint32_t) js[x]);
	}
}

bool
pairs_add(PairStore *ps, int32_t i, const int32_t *js, const double *rs, int n,
		  double delta, int dcount)
{
	int32_t		max = i;

	for (int x = 0; x < n; x++)
		max = js[x] > max ? js[x] : max;
	if ((uint32_t) max >= ps->nitems && !reach(ps, (uint32_t) max))
		return false;

	for (int x = 0; x < n; x++)
		__builtin_prefetch(&ps->rows[js[x]], 1);
	prefetch_group(ps, (uint32_t) i, js, n < GROUP ? n : GROUP);
	for (int g = 0; g < n; g += GROUP)
	{
		int			end = n - g < GROUP ? n : g + GROUP;

		prefetch_group(ps, (uint32_t) i, js + end,
					   n - end < GROUP ? n - end : GROUP);
		for (int x = g; x < end; x++)
			if (!(ps->with_counts
				  ? add_pair(ps, (uint32_t) i, (uint32_t) js[x], delta * rs[x], dcount, true)
				  : add_pair(ps, (uint32_t) i, (uint32_t) js[x], delta * rs[x], dcount, false)))
				return false;
	}
	return true;
}

void
pairs_bury(PairStore *ps, int32_t i)
{
	Row		   *row;
	const int32_t *counts;

	if ((uint32_t) i >= ps->nitems)
		return;
	row = &ps->rows[i];
	if (!(row->used & ROW_HAS_DEAD))
		return;
	row->used &= ~ROW_HAS_DEAD;
	counts = ps->with_counts ? row_counts(row) : NULL;
	for (uint32_t c = 0; c < row->size; c++)
	{
		float	   *dot = cell_dot(row, c);

		/* dots can cancel while there are common users: counts are kept */
		if (pair_is_dead(*dot) && (!counts || counts[c] == 0))
			*dot = 0.0f;
	}
}

void
pairs_scale(PairStore *ps, double factor)
{
	for (uint32_t i = 1; i < ps->nitems; i++)
	{
		Row		   *row = &ps->rows[i];

		for (uint32_t c = 0; c < row->size; c++)
		{
			float	   *dot = cell_dot(row, c);

			*dot = (float) (*dot * factor);
		}
	}
}

/* Gives all pairs of an item the dot "value", and no common users. */
static void
blank_item(PairStore *ps, uint32_t i, float value)
{
	Row		   *row = &ps->rows[i];

	for (uint32_t c = 0; c < row->size; c++)
	{
		uint32_t	j = is_dense(row) ? c : ((Slot *) row->cells)[c].item;
		int64_t		cell;

		if (!is_set(*cell_dot(row, c)))
			continue;
		*cell_dot(row, c) = value;
		if (ps->with_counts)
			row_counts(row)[c] = 0;
		if ((cell = find_cell(&ps->rows[j], i)) < 0)
			continue;
		*cell_dot(&ps->rows[j], cell) = value;
		ps->rows[j].used |= ROW_HAS_DEAD;
		if (ps->with_counts)
			row_counts(&ps->rows[j])[cell] = 0;
	}
	row->used |= ROW_HAS_DEAD;
}

void
pairs_clear_item(PairStore *ps, int32_t i)
{
	if ((uint32_t) i >= ps->nitems)
		return;
	blank_item(ps, (uint32_t) i, 0.0f);
	free_row(ps, &ps->rows[i]);
}

bool
pairs_set_row(PairStore *ps, int32_t i, const PairRowView *view)
{
	Row		   *row;
	uint32_t	n = 0,
				max = (uint32_t) i;

	for (int32_t x = 0; x < view->n; x++)
		if (is_set(view->dots[x]))
		{
			uint32_t	j = (uint32_t) (view->js ? view->js[x] : x);

			n++;
			max = j > max ? j : max;
		}
	if (max >= ps->nitems && !reach(ps, max))
		return false;
	row = &ps->rows[i];
	free_row(ps, row);
	if (n == 0)
		return true;
	if (!shape_row(ps, row, snug(n), max))
		return false;
	for (int32_t x = 0; x < view->n; x++)
		if (is_set(view->dots[x]))
			put_cell(ps, row, (uint32_t) (view->js ? view->js[x] : x),
					 view->dots[x], view->counts ? view->counts[x] : 0);
	return true;
}

static bool
set_cell(PairStore *ps, uint32_t i, uint32_t j, float dot, int32_t count)
{
	int64_t		cell = make_cell(ps, &ps->rows[i], j);

	if (cell < 0)
		return false;
	*cell_dot(&ps->rows[i], cell) = dot;
	if (ps->with_counts)
		row_counts(&ps->rows[i])[cell] = count;
	return true;
}

bool
pairs_set(PairStore *ps, int32_t i, int32_t n, const int32_t *js,
		  const float *dots, const int32_t *counts)
{
	int32_t		max = i;

	for (int32_t x = 0; x < n; x++)
		max = js[x] > max ? js[x] : max;
	if ((uint32_t) max >= ps->nitems && !reach(ps, (uint32_t) max))
		return false;
	blank_item(ps, (uint32_t) i, -0.0f);
	for (int32_t x = 0; x < n; x++)
	{
		int32_t		count = counts ? counts[x] : 0;

		if (is_set(dots[x]) &&
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
	if ((uint32_t) i < ps->nitems)
		cell = find_cell(&ps->rows[i], (uint32_t) j);
	if (cell < 0)
		return;
	*dot = *cell_dot(&ps->rows[i], cell) + 0.0f;
	if (ps->with_counts)
		*count = row_counts(&ps->rows[i])[cell];
}

int32_t
pairs_row_size(const PairStore *ps, int32_t i)
{
	const Row  *row = &ps->rows[i];

	if ((uint32_t) i >= ps->nitems)
		return 0;
	return (int32_t) (is_dense(row) ? row->size : row->used & ROW_USED);
}

int32_t
pairs_row(const PairStore *ps, int32_t i, int32_t *js, float *dots,
		  int32_t *counts)
{
	const Row  *row = &ps->rows[i];
	int32_t		n = 0;

	if ((uint32_t) i >= ps->nitems)
		return 0;
	for (uint32_t c = 0; c < row->size; c++)
	{
		float		dot = *cell_dot(row, c);

		if (dot == 0)
			continue;
		js[n] = (int32_t) (is_dense(row) ? c : ((Slot *) row->cells)[c].item);
		dots[n] = dot;
		if (counts)
			counts[n] = ps->with_counts ? row_counts(row)[c] : 0;
		n++;
	}
	return n;
}

/* Unpacks a sparse row into the scratch buffer. */
static bool
view_sparse(PairStore *ps, const Row *row, PairRowView *view)
{
	size_t		n = (row->used & ROW_USED) + 1; /* one is written in vain */
	size_t		bytes = n * 3 * sizeof(int32_t);
	const Slot *slots = row->cells;
	int32_t    *js,
			   *counts = NULL;
	float	   *dots;
	int32_t		m = 0;

	if (bytes > ps->scratch_bytes)
	{
		size_t		more = arena_round(bytes + bytes / 2);
		void	   *p = arena_alloc(ps->arena, more);

		if (!p)
			return false;
		arena_free(ps->arena, ps->scratch, ps->scratch_bytes);
		ps->scratch = p;
		ps->scratch_bytes = more;
	}
	js = ps->scratch;
	dots = (float *) (js + n);
	if (ps->with_counts)
		counts = (int32_t *) (dots + n);
	for (uint32_t c = 0; c < row->size; c++)
	{
		js[m] = (int32_t) slots[c].item;
		dots[m] = slots[c].dot;
		if (counts)
			counts[m] = row_counts(row)[c];
		m += is_set(slots[c].dot);
	}
	*view = (PairRowView) {m, js, dots, counts};
	return true;
}

bool
pairs_view(PairStore *ps, int32_t i, PairRowView *view)
{
	const Row  *row;

	memset(view, 0, sizeof(*view));
	if ((uint32_t) i >= ps->nitems)
		return true;
	row = &ps->rows[i];
	if (row->size == 0)
		return true;
	if (!is_dense(row))
		return view_sparse(ps, row, view);
	view->n = (int32_t) (row->size < ps->nitems ? row->size : ps->nitems);
	view->dots = row->cells;
	if (ps->with_counts)
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
	if (!ps)
	{
		arena_destroy(arena);
		return NULL;
	}
	memset(ps, 0, sizeof(PairStore));
	ps->arena = arena;
	ps->with_counts = with_counts;
	ps->nitems = 1;
	ps->coin = UINT64_C(0x853c49e6748fea9b);
	if (!reach(ps, 1))
	{
		arena_destroy(arena);
		return NULL;
	}
	return ps;
}

void
pairs_destroy(PairStore *ps)
{
	arena_destroy(ps->arena);
}

bool
pairs_expect(PairStore *ps, int32_t max_item)
{
	return (uint32_t) max_item < ps->nitems || reach(ps, (uint32_t) max_item);
}

size_t
pairs_bytes(const PairStore *ps)
{
	return arena_bytes(ps->arena);
}

bool
pairs_rounded(const PairStore *ps)
{
	return ps->rounded;
}

bool
pairs_has_counts(const PairStore *ps)
{
	return ps->with_counts;
}
