/*
 * item_rows.c
 *	  See item_rows.h.
 */
#include "numeric/item_rows.h"

#include <string.h>

#include "numeric/rowsum.h"

struct ItemRows
{
	Histories	histories;
	Allocator	memory;
	RowSum	   *sum;
	int32_t		nitems;			/* largest item number plus 1 */
	int32_t		next;			/* item whose row comes next */
	int64_t		done;
	int64_t		total;
	int64_t    *offsets;		/* [nitems + 1]: users of item i are
								 * users[offsets[i] .. offsets[i + 1]) */
	int32_t    *users;
	float	   *weights;		/* r(u,i), parallel to users */
};

static void *
get(ItemRows *rows, size_t n, size_t element)
{
	return rows->memory.alloc(rows->memory.arg, size_mul(n, element));
}

static void
drop(ItemRows *rows, void *p)
{
	if (p)
		rows->memory.release(rows->memory.arg, p);
}

void
item_rows_end(ItemRows *rows)
{
	drop(rows, rows->offsets);
	drop(rows, rows->users);
	drop(rows, rows->weights);
	if (rows->sum)
		rowsum_destroy(rows->sum);
	rows->memory.release(rows->memory.arg, rows);
}

/* Counting sort of all (user, item, weight) by item. */
static void
transpose(ItemRows *rows)
{
	const Histories *h = &rows->histories;
	int64_t    *ends = rows->offsets + 1;	/* ends[i]: where the next of i goes */
	int64_t		all = h->offsets[h->nusers];
	int64_t		sum = 0;

	memset(rows->offsets, 0, ((size_t) rows->nitems + 1) * sizeof(int64_t));
	for (int64_t x = h->offsets[0]; x < all; x++)
		ends[h->items[x]]++;
	for (int32_t i = 0; i < rows->nitems; i++)
	{
		int64_t		n = ends[i];

		ends[i] = sum;
		sum += n;
	}
	for (int32_t u = 0; u < h->nusers; u++)
		for (int64_t x = h->offsets[u]; x < h->offsets[u + 1]; x++)
		{
			int64_t		at = ends[h->items[x]]++;

			rows->users[at] = u;
			rows->weights[at] = h->weights[x];
		}
}

ItemRows *
item_rows_begin(const Histories *histories, const Allocator *memory, bool with_counts)
{
	ItemRows   *rows = memory->alloc(memory->arg, sizeof(ItemRows));
	int64_t		first = histories->offsets[0],
				all = histories->offsets[histories->nusers];
	int32_t		max = 0;

	if (!rows)
		return NULL;
	memset(rows, 0, sizeof(ItemRows));
	rows->histories = *histories;
	rows->memory = *memory;
	for (int64_t x = first; x < all; x++)
		max = histories->items[x] > max ? histories->items[x] : max;
	for (int32_t u = 0; u < histories->nusers; u++)
	{
		int64_t		n = histories->offsets[u + 1] - histories->offsets[u];

		rows->total += n * n;
	}
	rows->nitems = max + 1;
	rows->next = 1;
	rows->sum = rowsum_create(memory, with_counts);
	rows->offsets = get(rows, (size_t) rows->nitems + 1, sizeof(int64_t));
	rows->users = get(rows, (size_t) (all - first) + 1, sizeof(int32_t));
	rows->weights = get(rows, (size_t) (all - first) + 1, sizeof(float));
	if (!rows->sum || !rows->offsets || !rows->users || !rows->weights ||
		!rowsum_reach(rows->sum, max))
	{
		item_rows_end(rows);
		return NULL;
	}
	transpose(rows);
	return rows;
}

size_t
item_rows_bytes(int64_t entries, int32_t max_item, bool with_counts)
{
	return sizeof(ItemRows) + rowsum_bytes_for(max_item, with_counts) +
		((size_t) max_item + 2) * sizeof(int64_t) +
		((size_t) entries + 1) * (sizeof(int32_t) + sizeof(float));
}

int32_t
item_rows_max_item(const ItemRows *rows)
{
	return rows->nitems - 1;
}

int32_t
item_rows_next(ItemRows *rows, PairRowView *row)
{
	const Histories *h = &rows->histories;
	int32_t		i = rows->next;

	if (i >= rows->nitems)
		return 0;
	rows->next++;
	for (int64_t x = rows->offsets[i]; x < rows->offsets[i + 1]; x++)
	{
		int64_t		from = h->offsets[rows->users[x]];
		int			n = (int) (h->offsets[rows->users[x] + 1] - from);

		if (x + 4 < rows->offsets[i + 1])
		{
			int64_t		ahead = h->offsets[rows->users[x + 4]];

			__builtin_prefetch(&h->items[ahead]);
			__builtin_prefetch(&h->weights[ahead]);
		}
		rowsum_add_float(rows->sum, rows->weights[x], h->items + from,
						 h->weights + from, n);
		rows->done += n;
	}
	rowsum_take(rows->sum, i, row);
	return i;
}

int64_t
item_rows_done(const ItemRows *rows)
{
	return rows->done;
}

int64_t
item_rows_total(const ItemRows *rows)
{
	return rows->total;
}
