/*
 * popular_items.c
 *	  The most popular items, published with each flush.
 *
 * Popularity is the sum of r over all users, for ratings the number of users.
 * Every answer that runs short is filled up from this list, so it is kept for
 * every source, with a popular model or without.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "state/table.h"
#include "stream/stream.h"

#define POPULAR_ITEMS 1000

enum
{
	COL_RANK, COL_ITEM, COL_SCORE, NCOLUMNS
};

/* Heap order: the worst of those kept is at the root. */
static inline bool
is_worse(const ScoredItem *a, const ScoredItem *b)
{
	return a->score < b->score || (a->score == b->score && a->item > b->item);
}

static void
sift_down(ScoredItem *heap, int n, int at)
{
	for (;;)
	{
		int			worst = at;
		ScoredItem	swap;

		for (int child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++)
			if (is_worse(&heap[child], &heap[worst]))
				worst = child;
		if (worst == at)
			return;
		swap = heap[at];
		heap[at] = heap[worst];
		heap[worst] = swap;
		at = worst;
	}
}

static int
compare_best_first(const void *a, const void *b)
{
	return is_worse(a, b) ? 1 : -1;
}

static int
select_popular(Stream *s, ScoredItem *best)
{
	double		factor = s->source->half_life == 0 ? 1 :
		exp2(s->landmark - (double) GetCurrentTimestamp() / USECS_PER_SEC / s->source->half_life);
	int			n = 0;

	for (int32 item = 1; item < s->items->next; item++)
	{
		ItemTotals *totals;
		ScoredItem	candidate;

		if (item >= s->items->max)
			break;
		totals = &s->items->totals[item];
		if (totals->users <= 0)
			continue;
		candidate.item = item;
		candidate.score = s->source->explicit_feedback ? totals->users : totals->total * factor;
		if (n < POPULAR_ITEMS)
		{
			best[n++] = candidate;
			if (n == POPULAR_ITEMS)
				for (int at = n / 2 - 1; at >= 0; at--)
					sift_down(best, n, at);
		}
		else if (is_worse(&best[0], &candidate))
		{
			best[0] = candidate;
			sift_down(best, n, 0);
		}
	}
	qsort(best, n, sizeof(ScoredItem), compare_best_first);
	return n;
}

/* Inside the flush's transaction; only rows that differ are written. */
void
popular_items_write(Stream *s)
{
	ScoredItem *best = palloc(sizeof(ScoredItem) * POPULAR_ITEMS);
	int			n = select_popular(s, best);
	StateTable *t;
	bool		known = s->popular != NULL;

	if (!known)
		s->popular = MemoryContextAlloc(s->context, sizeof(ScoredItem) * POPULAR_ITEMS);
	t = table_open_state(s->source->nspid, "popular_items", "popular_items_pkey",
						 RowExclusiveLock);
	for (int i = 0; i < Max(n, known ? s->npopular : POPULAR_ITEMS); i++)
	{
		Datum		values[NCOLUMNS];

		values[COL_RANK] = Int32GetDatum(i + 1);
		if (i >= n)
		{
			table_delete(t, 1, values);
			continue;
		}
		if (known && i < s->npopular && s->popular[i].item == best[i].item &&
			s->popular[i].score == best[i].score)
			continue;
		values[COL_ITEM] = Int32GetDatum(best[i].item);
		values[COL_SCORE] = Float8GetDatum(best[i].score);
		table_put(t, 1, values, NULL);
	}
	table_close_state(t, RowExclusiveLock);
	memcpy(s->popular, best, sizeof(ScoredItem) * n);
	s->npopular = n;
	pfree(best);
}
