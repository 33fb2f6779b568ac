/*
 * pairs_rows.c
 *	  Forms of a row and the change between them: see pairs_rows.h.
 */
#include "numeric/pairs_rows.h"

static inline size_t
slot_bytes(const Rows *rows)
{
	return CACHE_LINE / LINE_SLOTS + (rows->with_counts ? sizeof(int32_t) : 0);
}

static inline size_t
column_bytes(const Rows *rows)
{
	return sizeof(float) + (rows->with_counts ? sizeof(int32_t) : 0);
}

static inline size_t
row_bytes(const Rows *rows, const Row *row)
{
	return row->size * (row_is_dense(row) ? column_bytes(rows) : slot_bytes(rows));
}

void
row_free(Rows *rows, Row *row)
{
	if (row->cells)
		arena_free(rows->arena, row->cells, row_bytes(rows, row));
	memset(row, 0, sizeof(Row));
}

/* No slot of a row of so many lines is taken. */
static bool
begin_fill(Rows *rows, uint32_t lines)
{
	if (lines > rows->maxlines)
	{
		size_t		bytes = arena_round((size_t) lines + lines / 2);
		uint8_t    *fill = arena_alloc(rows->arena, bytes);

		if (!fill)
			return false;
		arena_free(rows->arena, rows->fill, rows->maxlines);
		rows->fill = fill;
		rows->maxlines = (uint32_t) bytes;
	}
	memset(rows->fill, 0, lines);
	return true;
}

bool
row_shape(Rows *rows, Row *row, uint32_t n, uint32_t max_item)
{
	size_t		columns = max_item >= rows->nitems ? max_item + 1 : rows->nitems;
	size_t		dense = arena_round(size_mul(columns, column_bytes(rows)));
	size_t		slots = ((size_t) n + LINE_SLOTS - 1) / LINE_SLOTS * LINE_SLOTS;
	size_t		sparse = arena_round(size_mul(slots, slot_bytes(rows)));

	if (dense <= sparse)
	{
		row->used = ROW_DENSE;
		row->size = (uint32_t) (dense / column_bytes(rows));
	}
	else
	{
		row->used = 0;
		row->size = (uint32_t) (sparse / slot_bytes(rows) / LINE_SLOTS * LINE_SLOTS);
	}
	row->cells = arena_alloc(rows->arena, row_bytes(rows, row));
	if (!row->cells ||
		(!row_is_dense(row) && !begin_fill(rows, row->size / LINE_SLOTS)))
	{
		arena_free(rows->arena, row->cells, row->cells ? row_bytes(rows, row) : 0);
		memset(row, 0, sizeof(Row));
		return false;
	}
	memset(row->cells, 0, row_bytes(rows, row));
	return true;
}

/* Items with a dot in a row; raises *max_item to the largest. */
static uint32_t
count_pairs(const Row *row, uint32_t *max_item)
{
	bool		dense = row_is_dense(row);
	uint32_t	n = 0,
				max = *max_item;

	for (uint32_t c = 0; c < row->size; c++)
	{
		uint32_t	item = dense ? c : cell_item(row, c);
		bool		there = is_pair(((const float *) row->cells)[cell_offset(dense, c)]);

		n += there;
		max = there && item > max ? item : max;
	}
	*max_item = max;
	return n;
}

bool
row_grow(Rows *rows, Row *row, uint32_t item)
{
	Row			old = *row;
	uint32_t	max = item;
	uint32_t	n = count_pairs(&old, &max) + 1;

	/* half as much again, and what the load allows */
	if (!row_shape(rows, row, n + n / 4 * 3 + 1, max))
	{
		*row = old;
		return false;
	}
	for (uint32_t c = 0; c < old.size; c++)
	{
		float		dot = *cell_dot(&old, c);

		if (is_pair(dot))
			fill_cell(rows, row, cell_item(&old, c), dot,
					  rows->with_counts ? row_counts(&old)[c] : 0);
	}
	row_free(rows, &old);
	return true;
}

bool
rows_reach(Rows *rows, uint32_t max_item)
{
	size_t		n = rows->max ? rows->max : 256;
	Row		   *more;

	if (max_item >= rows->max)
	{
		while (n <= max_item)
			n += n / 2;
		n = arena_round(size_mul(n, sizeof(Row))) / sizeof(Row);
		more = arena_alloc(rows->arena, size_mul(n, sizeof(Row)));
		if (!more)
			return false;
		memset(more, 0, n * sizeof(Row));
		if (rows->rows)
		{
			memcpy(more, rows->rows, rows->max * sizeof(Row));
			arena_free(rows->arena, rows->rows, rows->max * sizeof(Row));
		}
		rows->rows = more;
		rows->max = (uint32_t) n;
	}
	if (max_item >= rows->nitems)
		rows->nitems = max_item + 1;
	return true;
}
