/*
 * pairs_rows.h
 *	  How pairs.c stores a row: private to it and pairs_rows.c.
 *
 * A row is one block, in the smaller of two forms:
 *
 *	  sparse	a hash table of cache lines, each with eight items and their dots.
 *				An item belongs to one line, and goes to the next only when
 *				that is full: nearly always, one cache miss finds it, and a
 *				comparison of eight items at once.  Item 0 is an empty slot.
 *	  dense		float[size], indexed by item
 *
 * with the counts, if kept, as a parallel int32 array behind.  A cell is a
 * slot or a column, by number; all slots of a line are numbered in sequence.
 */
#ifndef RECSYS_NUMERIC_PAIRS_ROWS_H
#define RECSYS_NUMERIC_PAIRS_ROWS_H

#include <string.h>

#include "numeric/arena.h"
#include "numeric/pairs.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define LINE_SLOTS		PAIR_LINE
#define CACHE_LINE		64

#define ROW_DENSE		UINT32_C(0x80000000)
#define ROW_USED		UINT32_C(0x7fffffff)

typedef struct Line
{
	uint32_t	items[LINE_SLOTS];
	float		dots[LINE_SLOTS];
} Line;

typedef struct Row
{
	void	   *cells;			/* NULL: empty */
	uint32_t	size;			/* slots or columns */
	uint32_t	used;			/* occupied slots (sparse) and ROW_DENSE */
} Row;

typedef struct Rows
{
	Arena	   *arena;
	Row		   *rows;			/* [max], by item */
	uint32_t	max;
	uint32_t	nitems;			/* largest item number seen, plus 1 */
	bool		with_counts;
	uint8_t    *fill;			/* [maxlines]: slots taken of each line of the row
								 * that is being filled */
	uint32_t	maxlines;
} Rows;

/* Makes headers for item numbers up to max_item. */
extern bool rows_reach(Rows *rows, uint32_t max_item);
/* Gives an empty row the form that is smaller for n items, the largest of
 * them max_item; fill_cell() may follow. */
extern bool row_shape(Rows *rows, Row *row, uint32_t n, uint32_t max_item);
/* Makes room for one more item in a row; cells of pairs that are gone go. */
extern bool row_grow(Rows *rows, Row *row, uint32_t item);
extern void row_free(Rows *rows, Row *row);

static inline bool
row_is_dense(const Row *row)
{
	return (row->used & ROW_DENSE) != 0;
}

static inline int32_t *
row_counts(const Row *row)
{
	return (int32_t *) ((char *) row->cells +
						(size_t) row->size * (row_is_dense(row) ? sizeof(float) : CACHE_LINE / LINE_SLOTS));
}

/* Item of a sparse row's slot, 0 if empty; of a dense row's column. */
static inline uint32_t
cell_item(const Row *row, uint32_t cell)
{
	return row_is_dense(row) ? cell
		: ((const Line *) row->cells)[cell / LINE_SLOTS].items[cell % LINE_SLOTS];
}

/* Where a cell's dot is, in floats from the beginning of the row. */
static inline size_t
cell_offset(bool dense, uint32_t cell)
{
	/* in line l: eight items, then its dots */
	return dense ? cell : (size_t) 2 * (cell / LINE_SLOTS) * LINE_SLOTS + LINE_SLOTS + cell % LINE_SLOTS;
}

static inline float *
cell_dot(const Row *row, uint32_t cell)
{
	return (float *) row->cells + cell_offset(row_is_dense(row), cell);
}

/*
 * Is this the dot of a pair?  +0 is none; a pair whose dot is zero but that has
 * common users to be counted, or that is about to get its dot, holds -0.
 */
#define NO_PAIR			0.0f
#define ZERO_PAIR		(-0.0f)

static inline bool
is_pair(float dot)
{
	uint32_t	bits;

	memcpy(&bits, &dot, sizeof(bits));
	return bits != 0;
}

static inline uint32_t
item_hash(uint32_t item)
{
	return item * UINT32_C(0x9E3779B1); /* 2^32 over the golden ratio */
}

/* The line that a hash belongs to, of a row of "size" slots. */
static inline uint32_t
hash_line(uint32_t hash, uint32_t size)
{
	return (uint32_t) ((uint64_t) hash * (size / LINE_SLOTS) >> 32);
}

static inline uint32_t
home_line(uint32_t item, uint32_t size)
{
	return hash_line(item_hash(item), size);
}

/* Bit s: slot s of the line has this item. */
static inline uint32_t
line_match(const Line *line, uint32_t item)
{
#ifdef __SSE2__
	__m128i		wanted = _mm_set1_epi32((int) item);
	__m128i		low = _mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *) line->items), wanted);
	__m128i		high = _mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *) (line->items + 4)), wanted);

	return (uint32_t) (_mm_movemask_ps(_mm_castsi128_ps(low)) |
					   _mm_movemask_ps(_mm_castsi128_ps(high)) << 4);
#else
	uint32_t	match = 0;

	for (int s = 0; s < LINE_SLOTS; s++)
		match |= (uint32_t) (line->items[s] == item) << s;
	return match;
#endif
}

/* The slot of an item in a sparse row: its own, or the empty one where it
 * belongs (*found tells).  The row has an empty slot. */
static inline uint32_t
find_slot(const Row *row, uint32_t item, bool *found)
{
	const Line *lines = row->cells;
	uint32_t	l = home_line(item, row->size);

	for (;;)
	{
		uint32_t	match = line_match(&lines[l], item);

		*found = match != 0;
		if (!match)
			match = line_match(&lines[l], 0);
		if (match)
			return l * LINE_SLOTS + (uint32_t) __builtin_ctz(match);
		if (++l == row->size / LINE_SLOTS)
			l = 0;
	}
}

/* The cell of an item in a row, or -1 if it has none. */
static inline int64_t
find_cell(const Row *row, uint32_t item)
{
	bool		found;
	uint32_t	slot;

	if (row_is_dense(row))
		return item < row->size ? (int64_t) item : -1;
	if (row->size == 0)
		return -1;
	slot = find_slot(row, item, &found);
	return found ? (int64_t) slot : -1;
}

/* A sparse row keeps an eighth of its slots empty. */
static inline bool
row_is_full(const Row *row)
{
	return (row->used & ROW_USED) >= row->size - row->size / 8;
}

/* Same, but makes the cell; -1 when the limit is reached. */
static inline int64_t
make_cell(Rows *rows, Row *row, uint32_t item)
{
	for (;;)
	{
		if (row_is_dense(row))
		{
			if (item < row->size)
				return item;
		}
		else if (row->size > 0)
		{
			bool		found;
			uint32_t	slot = find_slot(row, item, &found);

			if (found)
				return slot;
			if (!row_is_full(row))
			{
				Line	   *line = (Line *) row->cells + slot / LINE_SLOTS;

				line->items[slot % LINE_SLOTS] = item;
				line->dots[slot % LINE_SLOTS] = ZERO_PAIR;
				row->used++;
				return slot;
			}
		}
		if (!row_grow(rows, row, item))
			return -1;
	}
}

/* Puts a new item into a row that row_shape() has just made for as many. */
static inline void
fill_cell(Rows *rows, Row *row, uint32_t item, float dot, int32_t count)
{
	uint32_t	cell = item;

	if (row_is_dense(row))
		((float *) row->cells)[cell] = dot;
	else
	{
		uint32_t	l = home_line(item, row->size);
		Line	   *line;

		while (rows->fill[l] == LINE_SLOTS)
			if (++l == row->size / LINE_SLOTS)
				l = 0;
		line = (Line *) row->cells + l;
		line->items[rows->fill[l]] = item;
		line->dots[rows->fill[l]] = dot;
		cell = l * LINE_SLOTS + rows->fill[l]++;
		row->used++;
	}
	if (rows->with_counts)
		row_counts(row)[cell] = count;
}

#endif							/* RECSYS_NUMERIC_PAIRS_ROWS_H */
