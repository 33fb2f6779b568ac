/*
 * test_pairs.c
 *	  The pair store, its batch build and its arena, against a full matrix of
 *	  doubles.
 */
#include "unit.h"

#include "numeric/arena.h"
#include "numeric/pairs.h"
#include "numeric/pairs_build.h"
#include "numeric/rowsum.h"

/* Users with their ratings as a full matrix, and all dots of it. */
typedef struct World
{
	int			nusers;
	int			nitems;			/* largest item */
	double	   *r;				/* [nusers][nitems + 1] */
	double	   *dots;			/* [nitems + 1][nitems + 1] */
	int		   *counts;			/* likewise */
	double	   *sumsq;			/* by item */
	double	   *peaks;			/* largest norm that an item had */
	int32_t    *js;				/* a history without one item */
	double	   *rs;
} World;

static World
world_make(int nusers, int nitems)
{
	World		w = {.nusers = nusers, .nitems = nitems};
	size_t		n = (size_t) nitems + 1;

	w.r = calloc((size_t) nusers * n, sizeof(double));
	w.dots = calloc(n * n, sizeof(double));
	w.counts = calloc(n * n, sizeof(int));
	w.sumsq = calloc(n, sizeof(double));
	w.peaks = calloc(n, sizeof(double));
	w.js = calloc(n, sizeof(int32_t));
	w.rs = calloc(n, sizeof(double));
	return w;
}

static void
world_free(World *w)
{
	free(w->r);
	free(w->dots);
	free(w->counts);
	free(w->sumsq);
	free(w->peaks);
	free(w->js);
	free(w->rs);
}

static int
history(World *w, int u, int without)
{
	double	   *r = w->r + (size_t) u * (size_t) (w->nitems + 1);
	int			n = 0;

	for (int j = 1; j <= w->nitems; j++)
		if (r[j] != 0 && j != without)
		{
			w->js[n] = j;
			w->rs[n++] = r[j];
		}
	return n;
}

static void
world_dots(World *w)
{
	size_t		n = (size_t) w->nitems + 1;

	memset(w->dots, 0, n * n * sizeof(double));
	memset(w->counts, 0, n * n * sizeof(int));
	for (int u = 0; u < w->nusers; u++)
	{
		int			m = history(w, u, 0);

		for (int a = 0; a < m; a++)
			for (int b = 0; b < m; b++)
				if (a != b)
				{
					size_t		at = (size_t) w->js[a] * n + (size_t) w->js[b];

					w->dots[at] += w->rs[a] * w->rs[b];
					w->counts[at]++;
				}
	}
}

/* r(u,i) becomes "after" */
static bool
change(World *w, PairStore *ps, int u, int i, double after)
{
	double	   *r = w->r + (size_t) u * (size_t) (w->nitems + 1) + i;
	double		before = *r;
	int			n = history(w, u, i);

	*r = after;
	w->sumsq[i] += after * after - before * before;
	w->peaks[i] = fmax(w->peaks[i], sqrt(w->sumsq[i]));
	return pairs_add(ps, i, w->js, w->rs, n, after - before,
					 (after != 0) - (before != 0));
}

static void
world_peaks(World *w)
{
	for (int i = 1; i <= w->nitems; i++)
	{
		double		sum = 0;

		for (int u = 0; u < w->nusers; u++)
			sum += pow(w->r[(size_t) u * (size_t) (w->nitems + 1) + (size_t) i], 2);
		w->sumsq[i] = sum;
		w->peaks[i] = fmax(w->peaks[i], sqrt(sum));
	}
}

/* Largest |stored - true| / product of the items' largest norms so far; also
 * counts, rows and symmetry, and zeros where they can be exact. */
static double
compare(World *w, PairStore *ps, int *wrong)
{
	size_t		n = (size_t) w->nitems + 1;
	double		worst = 0;
	int32_t    *js = malloc(sizeof(int32_t) * (n + 1000));
	float	   *dots = malloc(sizeof(float) * (n + 1000));
	int32_t    *counts = malloc(sizeof(int32_t) * (n + 1000));

	*wrong = 0;
	world_dots(w);
	world_peaks(w);
	for (int i = 1; i <= w->nitems; i++)
	{
		PairRowView view;
		int32_t		m;
		int			seen = 0;

		for (int j = 1; j <= w->nitems; j++)
		{
			double		want = w->dots[(size_t) i * n + (size_t) j];
			float		dot,
						mirror;
			int32_t		count;
			double		off;

			pairs_get(ps, j, i, &mirror, &count);
			pairs_get(ps, i, j, &dot, &count);
			off = fabs(dot - want) / fmax(w->peaks[i] * w->peaks[j], 1e-9);
			worst = off > worst ? off : worst;
			*wrong += dot != mirror;
			*wrong += want == 0 && dot != 0 &&
				(!pairs_rounded(ps) || pairs_has_counts(ps));
			if (pairs_has_counts(ps))
				*wrong += count != w->counts[(size_t) i * n + (size_t) j];
			seen += dot != 0;
		}
		m = pairs_row(ps, i, js, dots, counts);
		*wrong += m != seen || m > pairs_row_size(ps, i);
		for (int32_t x = 0; x < m; x++)
		{
			float		dot;
			int32_t		count;

			pairs_get(ps, i, js[x], &dot, &count);
			*wrong += dot != dots[x] || count != counts[x];
		}
		*wrong += !pairs_view(ps, i, &view);
		for (int32_t x = 0; x < view.n; x++)
		{
			float		dot;
			int32_t		count;

			pairs_get(ps, i, pair_cell_item(&view, x), &dot, &count);
			*wrong += dot != pair_cell_dot(&view, x) || (view.counts && view.counts[x] != count);
			seen -= pair_cell_dot(&view, x) != 0;
		}
		*wrong += seen != 0;
	}
	free(js);
	free(dots);
	free(counts);
	return worst;
}

enum Numbers
{
	WHOLE, REAL, SIGNED
};

static double
some_rating(Random *r, enum Numbers numbers)
{
	switch (numbers)
	{
		case WHOLE:
			return 1 + random_below(r, 5);
		case REAL:
			return 0.01 + 300 * random_real(r) * random_real(r);
		default:
			return (double) random_below(r, 9) - 4;
	}
}

static void
test_stream(enum Numbers numbers, bool with_counts, const char *name)
{
	Meter		meter = {0};
	Allocator	memory = meter_allocator(&meter);
	PairStore  *ps = pairs_create(&memory, (size_t) 64 << 20, with_counts);
	World		w = world_make(60, 400);
	Zipf		z = zipf_make(400, 1.0);
	Random		r = {7};
	double		worst = 0;
	int			wrong = 0,
				some;
	bool		good = true;

	for (int e = 0; e < 12000; e++)
	{
		int			u = (int) random_below(&r, 60);
		int			i = zipf_next(&z, &r);
		double	   *now = &w.r[(size_t) u * 401 + (size_t) i];

		/* adds, changes, and from the middle on mostly removals */
		if (*now != 0 && random_below(&r, 10) < (e < 6000 ? 2 : 7))
			good &= change(&w, ps, u, i, 0);
		else if (e < 6000 || random_below(&r, 3) == 0)
			good &= change(&w, ps, u, i, some_rating(&r, numbers));
		if (e % 3000 == 2999)
		{
			double		off = compare(&w, ps, &some);

			worst = off > worst ? off : worst;
			wrong += some;
		}
	}
	ok(good && wrong == 0 && worst <= (numbers == REAL ? 0x1p-19 : 0),
	   "stream of %s%s: largest difference %.3g, %d wrong",
	   name, with_counts ? " with counts" : "", worst, wrong);

	/* users leave one by one: everything must come back to zero exactly */
	for (int u = 0; u < 60; u++)
		for (int i = 1; i <= 400; i++)
			if (w.r[(size_t) u * 401 + (size_t) i] != 0)
				good &= change(&w, ps, u, i, 0);
	worst = compare(&w, ps, &some);
	ok(good && some == 0 && worst <= (numbers == REAL && !with_counts ? 0x1p-19 : 0),
	   "%s%s: all users gone: %.3g left, %d wrong", name,
	   with_counts ? " with counts" : "", worst, some);
	pairs_destroy(ps);
	ok(meter.bytes == 0, "nothing leaked");
	world_free(&w);
	free(z.upto);
}

static void
test_build(enum Numbers numbers, bool with_counts, int nusers, int nitems,
		   int length, const char *name)
{
	Meter		meter = {0};
	Allocator	memory = meter_allocator(&meter);
	PairStore  *ps = pairs_create(&memory, (size_t) 256 << 20, with_counts);
	World		w = world_make(nusers, nitems);
	Zipf		z = zipf_make(nitems, 1.0);
	Random		r = {3};
	Histories	h = {.nusers = nusers};
	int64_t    *offsets = calloc((size_t) nusers + 1, sizeof(int64_t));
	int32_t    *items = malloc(sizeof(int32_t) * (size_t) (nusers * length));
	float	   *weights = malloc(sizeof(float) * (size_t) (nusers * length));
	int64_t		at = 0;
	PairBuild  *pb;
	double		worst;
	int			wrong,
				some,
				steps = 0;
	bool		good = true;

	for (int u = 0; u < nusers; u++)
	{
		int			n;

		for (int e = 0; e < length; e++)
			w.r[(size_t) u * (size_t) (nitems + 1) + (size_t) zipf_next(&z, &r)] =
				(float) some_rating(&r, numbers);
		n = history(&w, u, 0);
		for (int x = 0; x < n; x++, at++)
		{
			items[at] = w.js[x];
			weights[at] = (float) w.rs[x];
		}
		offsets[u + 1] = at;
	}
	h.offsets = offsets;
	h.items = items;
	h.weights = weights;
	pb = pairs_build_begin(ps, &h, &memory);
	while (pb && good && pairs_build_done(pb) < pairs_build_total(pb))
	{
		good = pairs_build_step(pb, 1000);
		steps++;
	}
	good = good && pb;
	if (pb)
		pairs_build_end(pb);
	worst = compare(&w, ps, &wrong);
	ok(good && wrong == 0 && worst < 1e-7,
	   "build from %d users, %d items, %s%s, in %d slices: largest difference %.3g, %d wrong",
	   nusers, nitems, name, with_counts ? " with counts" : "", steps, worst, wrong);

	/* the stream goes on from there */
	for (int e = 0; e < 2000; e++)
	{
		int			u = (int) random_below(&r, (uint32_t) nusers);
		int			i = zipf_next(&z, &r);

		good &= change(&w, ps, u, i, (float) some_rating(&r, numbers) * (e % 3 > 0));
	}
	worst = compare(&w, ps, &wrong);
	ok(good && wrong == 0 && worst < 0x1p-19, "... and 2,000 changes later: %.3g, %d wrong", worst, wrong);

	/* clear an item, then set it again as a rebuild of its row would */
	for (int i = 1; i <= nitems; i += nitems / 7 + 1)
	{
		RowSum	   *sum = rowsum_create(&memory, with_counts);
		PairRowView row;
		int32_t		n = 0;
		int32_t    *js = malloc(sizeof(int32_t) * (size_t) (nitems + 1));
		float	   *dots = malloc(sizeof(float) * (size_t) (nitems + 1));
		int32_t    *counts = malloc(sizeof(int32_t) * (size_t) (nitems + 1));
		float		dot;
		int32_t		count;

		good &= rowsum_reach(sum, nitems);
		for (int u = 0; u < nusers; u++)
		{
			double		rating = w.r[(size_t) u * (size_t) (nitems + 1) + (size_t) i];

			if (rating != 0)
				rowsum_add(sum, rating, w.js, w.rs, history(&w, u, 0));
		}
		rowsum_take(sum, i, &row);
		for (int32_t x = 0; x < row.n; x++)
			if (row.dots[x] != 0 || (row.counts && row.counts[x] != 0))
			{
				js[n] = row.js ? row.js[x] : x;
				dots[n] = row.dots[x];
				counts[n++] = row.counts ? row.counts[x] : 0;
			}
		pairs_clear_item(ps, i);
		wrong += pairs_row(ps, i, (int32_t *) w.rs, (float *) w.rs, NULL) != 0;
		for (int j = 1; j <= nitems; j++)
		{
			pairs_get(ps, j, i, &dot, &count);
			wrong += dot != 0 || count != 0;
		}
		good &= pairs_set(ps, i, n, js, dots, counts);
		rowsum_destroy(sum);
		free(js);
		free(dots);
		free(counts);
	}
	worst = compare(&w, ps, &some);
	ok(good && wrong + some == 0 && worst < 0x1p-19, "... and items cleared and set again: %.3g, %d wrong", worst, wrong + some);

	/* every r doubles */
	pairs_scale(ps, 4);
	for (size_t x = 0; x < (size_t) nusers * (size_t) (nitems + 1); x++)
		w.r[x] *= 2;
	worst = compare(&w, ps, &wrong);
	ok(wrong == 0 && worst < 0x1p-19, "... and scaled: %.3g, %d wrong", worst, wrong);
	pairs_destroy(ps);
	ok(meter.bytes == 0, "nothing leaked");
	world_free(&w);
	free(z.upto);
	free(offsets);
	free(items);
	free(weights);
}

/* Many small terms on a large sum: rounding to nearest would lose them all. */
static void
test_drift(void)
{
	Meter		meter = {0};
	Allocator	memory = meter_allocator(&meter);
	PairStore  *ps = pairs_create(&memory, (size_t) 16 << 20, false);
	int32_t		js[1] = {2};
	double		rs[1] = {1};
	float		dot;
	int32_t		count;

	pairs_add(ps, 1, js, rs, 1, 0x1p27, 1);
	ok(!pairs_rounded(ps), "a power of two is exact");
	for (int x = 0; x < 4000000; x++)
		pairs_add(ps, 1, js, rs, 1, 3, 0);
	pairs_get(ps, 1, 2, &dot, &count);
	ok(fabs(dot / (0x1p27 + 12e6) - 1) < 1.5e-4 && pairs_rounded(ps),
	   "4 million terms of 3 on 2^27: difference %.3g", dot / (0x1p27 + 12e6) - 1);
	pairs_destroy(ps);
}

static void
test_limit(void)
{
	Meter		meter = {0};
	Allocator	memory = meter_allocator(&meter);
	Random		r = {5};
	int			fails = 0,
				over = 0;

	for (size_t limit = 1000; limit < (size_t) 8 << 20; limit = limit * 3 / 2)
	{
		PairStore  *ps;
		bool		good = true;

		/* the limit of the store, then memory that gives out */
		meter.limit = limit & 1 ? limit / 2 : 0;
		ps = pairs_create(&memory, limit, limit & 2);
		if (!ps)
		{
			fails++;
			continue;
		}
		for (int e = 0; e < 30000 && good; e++)
		{
			int32_t		js[30];
			double		rs[30];
			int			n = 0;
			int32_t		first = 1 + (int32_t) random_below(&r, 3000);

			for (int x = 0; x < 30; x++, n++)
			{
				js[n] = first + 1 + x * 31;
				rs[n] = 1;
			}
			good = pairs_add(ps, first, js, rs, n, 1, 1);
			over += pairs_bytes(ps) > limit || pairs_bytes(ps) > meter.bytes;
		}
		fails += !good;
		pairs_destroy(ps);
	}
	ok(fails > 5 && over == 0 && meter.bytes == 0,
	   "limits are kept (%d stores were refused more), and nothing leaked", fails);
}

static void
test_arena(void)
{
	enum
	{
		BLOCKS = 3000
	};
	Meter		meter = {0};
	Allocator	memory = meter_allocator(&meter);
	Arena	   *arena = arena_create(&memory, (size_t) 1 << 30);
	Random		r = {11};
	unsigned char *blocks[BLOCKS] = {0};
	size_t		sizes[BLOCKS] = {0};
	int			wrong = 0;
	size_t		live = 0,
				most = 0;

	for (int step = 0; step < 100000; step++)
	{
		int			b = (int) random_below(&r, BLOCKS);

		if (blocks[b])
		{
			/* its ends still hold what was written */
			wrong += blocks[b][0] != (unsigned char) b || blocks[b][sizes[b] - 1] != (unsigned char) b;
			arena_free(arena, blocks[b], sizes[b]);
			live -= sizes[b];
			blocks[b] = NULL;
		}
		else
		{
			sizes[b] = (size_t) exp(random_real(&r) * (step % 500 == 0 ? 13.5 : 10.3)) + 1;
			blocks[b] = arena_alloc(arena, sizes[b]);
			wrong += !blocks[b] || (uintptr_t) blocks[b] % 64 != 0 ||
				arena_round(sizes[b]) < sizes[b] ||
				arena_round(arena_round(sizes[b])) != arena_round(sizes[b]);
			memset(blocks[b], b, sizes[b]);
			live += sizes[b];
			most = live > most ? live : most;
		}
	}
	ok(wrong == 0, "arena: blocks don't overlap (%d wrong); %.1f MB taken for %.1f MB at most",
	   wrong, (double) arena_bytes(arena) / 1e6, (double) most / 1e6);
	ok(arena_bytes(arena) == meter.bytes && arena_bytes(arena) < 2 * most + ((size_t) 16 << 20), "arena: bytes are counted and not many more");
	arena_destroy(arena);
	ok(meter.bytes == 0, "arena: nothing leaked");

	/* rows growing in lockstep: what is left behind is used again */
	arena = arena_create(&memory, (size_t) 1 << 30);
	memset(blocks, 0, sizeof(blocks));
	for (size_t size = 64; size <= 16384; size = arena_round(size + 1))
		for (int b = 0; b < BLOCKS; b++)
		{
			void	   *block = arena_alloc(arena, size);

			if (blocks[b])
				arena_free(arena, blocks[b], sizes[b]);
			blocks[b] = block;
			sizes[b] = size;
		}
	ok(arena_bytes(arena) < (size_t) BLOCKS * 16384 * 3,
	   "arena: %d rows grown to 16 kB took %.0f MB", BLOCKS, (double) arena_bytes(arena) / 1e6);
	arena_destroy(arena);
}

int
main(void)
{
	test_arena();
	test_stream(WHOLE, false, "whole numbers");
	test_stream(WHOLE, true, "whole numbers");
	test_stream(REAL, false, "real numbers");
	test_stream(REAL, true, "real numbers");
	test_stream(SIGNED, false, "signed numbers");
	test_stream(SIGNED, true, "signed numbers");
	test_build(WHOLE, false, 80, 300, 40, "whole numbers");
	test_build(REAL, true, 80, 300, 40, "real numbers");
	test_build(SIGNED, true, 50, 500, 30, "signed numbers");
	test_build(REAL, false, 300, 1500, 30, "real numbers");
	test_drift();
	test_limit();
	return unit_end();
}
