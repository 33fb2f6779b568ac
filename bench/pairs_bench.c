/*
 * pairs_bench.c
 *	  Speed of the numeric room by itself: the pair store under a stream of
 *	  events, the batch build, the refresh of the neighbour lists.
 *
 *		cc -O2 -Isrc bench/pairs_bench.c src/numeric/[a-z]*.c -lm -o pairs_bench
 *		pairs_bench [events [users [items [history_limit [k]]]]]
 *
 * Items are Zipf(1.0) popular and numbered by first appearance, users Zipf(0.6)
 * active; a history keeps its newest items, so that most events of an active
 * user also retract one.  Memory comes in huge pages where the system grants them,
 * as in the stream worker.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "numeric/neighbors.h"
#include "numeric/pairs.h"
#include "numeric/pairs_build.h"

/* processor time: others may be busy on this machine */
static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static void *
get(void *arg, size_t size)
{
	void	   *p;

	(void) arg;
	if (size < (size_t) 1 << 21)
		return malloc(size);
	p = aligned_alloc((size_t) 1 << 21, (size + 0x1fffff) & ~(size_t) 0x1fffff);
#ifdef MADV_HUGEPAGE
	if (p && !getenv("NO_HUGE"))
		madvise(p, size, MADV_HUGEPAGE);
#endif
	return p;
}

static void
put(void *arg, void *p)
{
	(void) arg;
	free(p);
}

static uint64_t seed = 42;

static uint32_t
bits(void)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t) ((seed ^ seed >> 22) >> 22);
}

/* Walker's alias method, to draw in constant time */
typedef struct Draw
{
	int			n;
	double	   *keep;
	int		   *other;
} Draw;

static Draw
zipf(int n, double s)
{
	Draw		d = {n, malloc(sizeof(double) * (size_t) n), malloc(sizeof(int) * (size_t) n)};
	int		   *small = malloc(sizeof(int) * (size_t) n),
			   *large = malloc(sizeof(int) * (size_t) n);
	int			ns = 0,
				nl = 0;
	double		sum = 0;

	for (int x = 0; x < n; x++)
		sum += d.keep[x] = pow(x + 1, -s);
	for (int x = 0; x < n; x++)
	{
		d.keep[x] *= n / sum;
		d.other[x] = x;
		if (d.keep[x] < 1)
			small[ns++] = x;
		else
			large[nl++] = x;
	}
	while (ns > 0 && nl > 0)
	{
		int			s1 = small[--ns],
					l = large[nl - 1];

		d.other[s1] = l;
		d.keep[l] -= 1 - d.keep[s1];
		if (d.keep[l] < 1)
		{
			nl--;
			small[ns++] = l;
		}
	}
	free(small);
	free(large);
	return d;
}

static int
draw(const Draw *d)
{
	int			x = (int) ((uint64_t) bits() * (uint64_t) d->n >> 32);

	return bits() < d->keep[x] * 4294967296.0 ? x : d->other[x];
}

/* A history: items and ratings, oldest first. */
typedef struct History
{
	int			n;
	int32_t    *items;
	double	   *weights;
} History;

typedef struct Bench
{
	int			limit;
	int			nitems;			/* seen so far */
	History    *users;
	int			nusers;
	int32_t    *numbers;		/* of an item, by rank; 0: not seen yet */
	double	   *sumsq;
	PairStore  *ps;
	NeighborLists *nl;
	Allocator	memory;
	int64_t		updates;		/* dots, one per direction */
	int64_t		changes;		/* pairs_add() calls */
	double		add_time;
	bool		timed;
} Bench;

static void
change(Bench *b, History *h, int at, double delta, int dcount)
{
	int32_t		item = h->items[at];
	double		r = h->weights[at];
	int			last = h->n - 1;

	/* the rest of the history: put the last in its place for the call */
	h->items[at] = h->items[last];
	h->weights[at] = h->weights[last];
	b->sumsq[item] += delta * (2 * r + delta);
	if (b->ps && !pairs_add(b->ps, item, h->items, h->weights, last, delta, dcount))
		abort();
	if (b->nl && !neighbors_touch(b->nl, item, h->items, h->weights, last, delta))
		abort();
	h->items[at] = item;
	h->weights[at] = r + delta;
	b->updates += 2 * last;
	b->changes++;
}

static void
event(Bench *b, int u, int rank)
{
	History    *h = &b->users[u];
	int32_t		item = b->numbers[rank];
	int			at = 0;

	if (item == 0)
		item = b->numbers[rank] = ++b->nitems;
	while (at < h->n && h->items[at] != item)
		at++;
	if (at < h->n)
	{
		change(b, h, at, 1, 0);
		return;
	}
	if (h->n == b->limit)
	{
		change(b, h, 0, -h->weights[0], -1);
		h->n--;
		memmove(h->items, h->items + 1, sizeof(int32_t) * (size_t) h->n);
		memmove(h->weights, h->weights + 1, sizeof(double) * (size_t) h->n);
	}
	at = h->n++;
	h->items[at] = item;
	h->weights[at] = 0;
	change(b, h, at, 1, 1);
}

static void
refresh_report(Bench *b, const char *what, int64_t events)
{
	NeighborsWork before = neighbors_work(b->nl),
				after;
	int32_t    *items = malloc(sizeof(int32_t) * 10000);
	float	   *scores = malloc(sizeof(float) * 10000);
	double		t = now(),
				t2;
	int64_t		rows = 0;

	while (neighbors_refresh(b->nl, b->ps, 1000) == NEIGHBORS_MORE)
		;
	t2 = now();
	for (int32_t i; (i = neighbors_next_dirty(b->nl)) > 0; rows++)
	{
		neighbors_topk(b->nl, i, items, scores);
		neighbors_published(b->nl, i);
	}
	after = neighbors_work(b->nl);
	printf("refresh %-22s %8.1f ms, %lld events: %lld scans, %lld rescans, %.1f M cells, %lld single pairs,"
		   " %lld searches; then %lld rows to write, %.1f ms; %.0f MB\n",
		   what, 1e3 * (t2 - t), (long long) events, (long long) (after.scans - before.scans),
		   (long long) (after.rescans - before.rescans),
		   1e-6 * (double) (after.cells - before.cells), (long long) (after.pairs - before.pairs),
		   (long long) (after.lookups - before.lookups), (long long) rows, 1e3 * (now() - t2),
		   (double) neighbors_bytes(b->nl) / 1e6);
	free(items);
	free(scores);
}

static void
stream(Bench *b, const int *us, const int *ranks, int64_t events, const char *what)
{
	int64_t		updates = b->updates,
				changes = b->changes;
	double		t = now();

	for (int64_t e = 0; e < events; e++)
		event(b, us[e], ranks[e]);
	t = now() - t;
	printf("%-30s %9lld events %7.3f us/event  %5.2f changes/event %6.1f updates/change %6.2f ns/update  %6.0f MB\n",
		   what, (long long) events, 1e6 * t / (double) events,
		   (double) (b->changes - changes) / (double) events,
		   (double) (b->updates - updates) / (double) (b->changes - changes),
		   1e9 * t / (double) (b->updates - updates), b->ps ? (double) pairs_bytes(b->ps) / 1e6 : 0);
}

static void
build(Bench *b)
{
	int64_t    *offsets = calloc((size_t) b->nusers + 1, sizeof(int64_t));
	int64_t		n = 0,
				pairs = 0;
	int32_t    *items;
	float	   *weights;
	Histories	h;
	PairBuild  *pb;
	double		t,
				t2;

	for (int u = 0; u < b->nusers; u++)
		offsets[u + 1] = n += b->users[u].n;
	items = malloc(sizeof(int32_t) * (size_t) n);
	weights = malloc(sizeof(float) * (size_t) n);
	for (int u = 0; u < b->nusers; u++)
		for (int x = 0; x < b->users[u].n; x++)
		{
			items[offsets[u] + x] = b->users[u].items[x];
			weights[offsets[u] + x] = (float) b->users[u].weights[x];
		}
	pairs_destroy(b->ps);
	b->ps = pairs_create(&b->memory, (size_t) 16 << 30, false);
	h = (Histories) {b->nusers, offsets, items, weights};
	t = now();
	pb = pairs_build_begin(b->ps, &h, &b->memory);
	t2 = now();
	while (pairs_build_done(pb) < pairs_build_total(pb))
		if (!pairs_build_step(pb, 1000000))
			abort();
	t2 = now() - t2;
	n = pairs_build_total(pb);
	pairs_build_end(pb);
	t = now() - t;
	for (int32_t i = 1; i <= b->nitems; i++)
	{
		PairRowView v;

		pairs_view(b->ps, i, &v);
		for (int32_t x = 0; x < v.n; x++)
			pairs += pair_cell_dot(&v, x) != 0;
	}
	printf("build: %lld products, %lld pairs: %.3f s (%.3f s transposing), %.2f ns/product, %.0f MB\n",
		   (long long) n, (long long) pairs, t, t - t2, 1e9 * t / (double) n,
		   (double) pairs_bytes(b->ps) / 1e6);
	free(offsets);
	free(items);
	free(weights);
}

int
main(int argc, char **argv)
{
	int64_t		events = argc > 1 ? atoll(argv[1]) : 5000000;
	int			nusers = argc > 2 ? atoi(argv[2]) : 100000;
	int			nitems = argc > 3 ? atoi(argv[3]) : 20000;
	int			limit = argc > 4 ? atoi(argv[4]) : 50;
	int			k = argc > 5 ? atoi(argv[5]) : 50;
	Draw		items = zipf(nitems, 1.0),
				users = zipf(nusers, 0.6);
	Bench		b = {.limit = limit, .nusers = nusers, .memory = {get, put, NULL}};
	NeighborParams params = {.k = k, .min_support = 1};
	int64_t		ahead = events + 1500000;
	int		   *us = calloc((size_t) ahead, sizeof(int)),
			   *ranks = calloc((size_t) ahead, sizeof(int));
	int32_t    *block = malloc(sizeof(int32_t) * (size_t) nusers * (size_t) (limit + 1));
	double	   *block2 = malloc(sizeof(double) * (size_t) nusers * (size_t) (limit + 1));

	b.users = calloc((size_t) nusers, sizeof(History));
	for (int u = 0; u < nusers; u++)
	{
		b.users[u].items = block + (size_t) u * (size_t) (limit + 1);
		b.users[u].weights = block2 + (size_t) u * (size_t) (limit + 1);
	}
	b.numbers = calloc((size_t) nitems, sizeof(int32_t));
	b.sumsq = calloc((size_t) nitems + 1, sizeof(double));
	for (int64_t e = 0; e < ahead; e++)
	{
		us[e] = draw(&users);
		ranks[e] = draw(&items);
	}
	printf("%d users, %d items, history_limit %d, k %d\n", nusers, nitems, limit, k);
	stream(&b, us, ranks, events, "histories alone, no pairs");
	for (int u = 0; u < nusers; u++)
		b.users[u].n = 0;
	memset(b.sumsq, 0, sizeof(double) * (size_t) (nitems + 1));
	b.ps = pairs_create(&b.memory, (size_t) 16 << 30, false);
	stream(&b, us, ranks, events, "stream from nothing");
	build(&b);
	b.nl = neighbors_create(&b.memory, (size_t) 16 << 30, &params);
	neighbors_set_sumsq(b.nl, b.sumsq, nitems + 1);
	neighbors_touch_all(b.nl, b.nitems);
	refresh_report(&b, "after the build", 0);
	us += events;
	ranks += events;
	stream(&b, us, ranks, 500000, "stream with lists, no refresh");
	refresh_report(&b, "all of them", 500000);
	us += 500000;
	ranks += 500000;
	for (int x = 0; x < 3; x++)
	{
		stream(&b, us, ranks, 100000, "a second at 100,000/s");
		refresh_report(&b, "of that second", 100000);
		us += 100000;
		ranks += 100000;
	}
	for (int x = 0; x < 4; x++)
	{
		for (int e = 0; e < 600; e++)
			event(&b, *us++, *ranks++);
		refresh_report(&b, "0.3 s at 2,000/s", 600);
	}
	return 0;
}
