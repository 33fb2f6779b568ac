/*
 * test_sequence.c
 *	  Counts of what comes after what: deltas against counting anew, after random
 *	  moves of items within, into and out of sequences.
 */
#include "unit.h"

#include "numeric/sequence.h"

enum
{
	ITEMS = 40, NUMBERS = 2 * ITEMS + 2
};

typedef struct World
{
	double		kept[NUMBERS][NUMBERS];
	double		right[NUMBERS][NUMBERS];
	int32_t		items[ITEMS];
	int			n;
	int			longest;		/* call of the sink */
	int			calls_left;
} World;

static bool
add(void *arg, int32_t a, const int32_t *bs, const double *units, int n)
{
	World	   *w = arg;

	for (int x = 0; x < n; x++)
	{
		w->kept[a][bs[x]] += units[x];
		w->kept[bs[x]][a] += units[x];
	}
	w->longest = n > w->longest ? n : w->longest;
	return --w->calls_left != 0;
}

static void
take_out(int32_t *items, int *n, int at)
{
	memmove(items + at, items + at + 1, sizeof(int32_t) * (size_t) (--*n - at));
}

static void
put_in(int32_t *items, int *n, int at, int32_t item)
{
	memmove(items + at + 1, items + at, sizeof(int32_t) * (size_t) ((*n)++ - at));
	items[at] = item;
}

/* By definition. */
static void
count(World *w, int max_gap)
{
	memset(w->right, 0, sizeof(w->right));
	for (int i = 0; i < w->n; i++)
		for (int j = i + 1; j < w->n && j - i <= max_gap; j++)
		{
			int32_t		a = sequence_earlier(w->items[i]),
						b = sequence_later(w->items[j]);

			w->right[a][b] = w->right[b][a] = (double) SEQUENCE_UNIT / (j - i);
		}
}

/* By rows. */
static double
rows_off(const World *w, int max_gap)
{
	double		off = 0;
	int32_t		numbers[SEQUENCE_MAX_GAP];
	double		units[SEQUENCE_MAX_GAP];

	for (int at = 0; at < w->n; at++)
		for (int earlier = 0; earlier < 2; earlier++)
		{
			int32_t		a = earlier ? sequence_earlier(w->items[at]) : sequence_later(w->items[at]);
			double		sum = 0,
						right = 0;
			int			n = sequence_row(w->items, w->n, at, earlier, max_gap, numbers, units);

			for (int x = 0; x < n; x++)
			{
				off = fmax(off, fabs(units[x] - w->right[a][numbers[x]]));
				sum += units[x];
			}
			for (int b = 0; b < NUMBERS; b++)
				right += w->right[a][b];
			off = fmax(off, fabs(sum - right));
		}
	return off;
}

static void
run(int max_gap, uint64_t seed)
{
	static World w;
	Random		r = {seed};
	double		off = 0,
				row_off = 0;
	bool		good = true;

	memset(&w, 0, sizeof(w));
	for (int round = 0; round < 4000; round++)
	{
		int32_t		item = 1 + (int32_t) random_below(&r, ITEMS - 1);
		int			at = 0;

		while (at < w.n && w.items[at] != item)
			at++;
		if (at < w.n)
		{
			take_out(w.items, &w.n, at);
			good &= sequence_move(w.items, w.n, item, at, -1, max_gap, add, &w);
		}
		if (random_below(&r, 3) > 0)
		{
			/* most of them to the end */
			at = random_below(&r, 2) ? w.n : (int) random_below(&r, (uint32_t) w.n + 1);
			good &= sequence_move(w.items, w.n, item, at, 1, max_gap, add, &w);
			put_in(w.items, &w.n, at, item);
		}
		count(&w, max_gap);
		for (int a = 0; a < NUMBERS; a++)
			for (int b = 0; b < NUMBERS; b++)
				off = fmax(off, fabs(w.kept[a][b] - w.right[a][b]));
		row_off = fmax(row_off, rows_off(&w, max_gap));
	}
	ok(good && off == 0, "gap %d: deltas give what counting gives (off by %g)", max_gap, off);
	ok(row_off == 0, "gap %d: rows, too (off by %g)", max_gap, row_off);
	ok(w.longest <= max_gap, "gap %d: at most %d at a time", max_gap, w.longest);
	w.calls_left = 2;
	for (w.n = 0; w.n < 30; w.n++)
		w.items[w.n] = w.n + 1;
	ok(!sequence_move(w.items, w.n, 35, 15, 1, max_gap, add, &w) && w.calls_left == 0,
	   "gap %d: a sink that fails ends it", max_gap);
}

int
main(void)
{
	run(10, 1);
	run(3, 2);
	run(1, 3);
	return unit_end();
}
