/*
 * test_neighbors.c
 *	  Lists of neighbours against brute force, after random streams of adds,
 *	  changes, retractions, forgotten items and new items.
 */
#include "unit.h"

#include "numeric/neighbors.h"
#include "numeric/neighbors_scan.h"
#include "numeric/pairs.h"
#include "numeric/rowsum.h"

typedef struct Setup
{
	const char *name;
	int			nusers;
	int			nitems;
	int			longest;		/* history limit */
	double		zipf;			/* popularity of items; 0: uniform */
	int			ratings;		/* 1: all 1; > 1: 1 .. ratings; 0: real; < 0: signed */
	NeighborParams params;
	bool		with_store;
	int			budget;			/* rows per slice */
	int			burst;			/* events between refreshes, at most */
	uint64_t	seed;
} Setup;

typedef struct World
{
	const Setup *s;
	Meter		meter;
	Allocator	memory;
	PairStore  *ps;				/* NULL without store */
	RowSum	   *sum;
	NeighborLists *nl;
	double	   *r;				/* [nusers][nitems + 1] */
	double	   *sumsq;			/* [nitems + 1] */
	int32_t    *js;
	double	   *rs;
	bool		good;
	double		total;			/* users, as told to the lists */
	/* the published table, k entries a row */
	int		   *n;
	int32_t    *items;
	float	   *scores;
	uint8_t    *weights;
	int64_t		writes;
} World;

static double *
rating(World *w, int u, int i)
{
	return &w->r[(size_t) u * (size_t) (w->s->nitems + 1) + (size_t) i];
}

static int
history(World *w, int u, int without)
{
	int			n = 0;

	for (int j = 1; j <= w->s->nitems; j++)
		if (*rating(w, u, j) != 0 && j != without)
		{
			w->js[n] = j;
			w->rs[n++] = *rating(w, u, j);
		}
	return n;
}

static double
item_sumsq(World *w, int i)
{
	double		sum = 0;

	for (int u = 0; u < w->s->nusers; u++)
		sum += *rating(w, u, i) * *rating(w, u, i);
	return sum;
}

static void
change(World *w, int u, int i, double after)
{
	double		before = *rating(w, u, i);
	int			n = history(w, u, i);
	int			appears = (after != 0) - (before != 0);

	if (before == after)
		return;
	*rating(w, u, i) = after;
	w->sumsq[i] = item_sumsq(w, i);
	if (w->ps)
		w->good &= pairs_add(w->ps, i, w->js, w->rs, n, after - before, appears);
	w->good &= neighbors_touch(w->nl, i, w->js, w->rs, n, after - before);
}

static void
forget(World *w, int i)
{
	for (int u = 0; u < w->s->nusers; u++)
		*rating(w, u, i) = 0;
	w->sumsq[i] = 0;
	w->good &= neighbors_forget(w->nl, i);
	if (w->ps)
		pairs_clear_item(w->ps, i);
	w->n[i] = 0;				/* the caller deletes the row ... */
	w->good &= neighbors_load_published(w->nl, i, NULL, NULL, 0);	/* ... and says so */
}

static double
some_rating(const Setup *s, Random *r)
{
	if (s->ratings == 0)
		return 0.01 + 20 * random_real(r) * random_real(r);
	if (s->ratings < 0)
		return (double) random_below(r, (uint32_t) (1 - 2 * s->ratings)) + s->ratings;
	return 1 + random_below(r, (uint32_t) s->ratings);
}

static void
event(World *w, Random *r, const Zipf *z, int newest)
{
	int			u = (int) random_below(r, (uint32_t) w->s->nusers);
	int			i = z ? zipf_next(z, r) : 1 + (int) random_below(r, (uint32_t) w->s->nitems);
	int			n;

	if (i > newest)
		i = newest;
	if (w->s->params.drift == 0 && random_below(r, 16) != 0)
	{
		/* a nudge to something that u has */
		n = history(w, u, 0);
		if (n == 0)
			return;
		i = w->js[random_below(r, (uint32_t) n)];
		change(w, u, i, w->s->ratings == 0 ? *rating(w, u, i) * (0.999 + random_real(r) / 500)
			   : *rating(w, u, i) + (*rating(w, u, i) > 1 && random_below(r, 3) == 0 ? -1 : 1));
		return;
	}
	if (*rating(w, u, i) != 0 && random_below(r, 4) == 0)
		change(w, u, i, 0);
	else
		change(w, u, i, some_rating(w->s, r));
	n = history(w, u, i);
	if (n >= w->s->longest)
		change(w, u, w->js[random_below(r, (uint32_t) n)], 0);
}

/* The row of an item out of all histories, as pairs_row_from_users. */
static void
row_from_users(World *w, int i, PairRowView *row)
{
	w->good &= rowsum_reach(w->sum, w->s->nitems);
	for (int u = 0; u < w->s->nusers; u++)
		if (*rating(w, u, i) != 0)
			rowsum_add(w->sum, *rating(w, u, i), w->js, w->rs, history(w, u, 0));
	rowsum_take(w->sum, i, row);
}

/* Until everything is done, with events in between if asked. */
static void
refresh(World *w, Random *r, const Zipf *z, int newest, int between)
{
	if (w->ps)
	{
		NeighborsState state;

		while ((state = neighbors_refresh(w->nl, w->ps, w->s->budget)) == NEIGHBORS_MORE)
			for (int e = 0; e < between; e++)
				event(w, r, z, newest);
		w->good &= state == NEIGHBORS_DONE;
		/* the drivers' duty: rows where rounding may show are made anew */
		for (int32_t i; (i = neighbors_next_worn(w->nl)) > 0;)
		{
			PairRowView row;
			int32_t    *js = malloc(sizeof(int32_t) * (size_t) (w->s->nitems + 1));
			float	   *dots = malloc(sizeof(float) * (size_t) (w->s->nitems + 1));
			int32_t    *counts = malloc(sizeof(int32_t) * (size_t) (w->s->nitems + 1));
			int32_t		n = 0;

			row_from_users(w, i, &row);
			for (int32_t x = 0; x < row.n; x++)
				if (row.dots[x] != 0)
				{
					js[n] = row.js ? row.js[x] : x;
					counts[n] = row.counts ? row.counts[x] : 0;
					dots[n++] = row.dots[x];
				}
			w->good &= pairs_set(w->ps, i, n, js, dots, counts) &&
				neighbors_touch_row(w->nl, i);
			free(js);
			free(dots);
			free(counts);
		}
	}
	else
	{
		int32_t		i;

		while ((i = neighbors_next_row(w->nl)) > 0)
		{
			PairRowView row;

			row_from_users(w, i, &row);
			w->good &= neighbors_put_row(w->nl, i, &row);
			if (between > 0 && random_below(r, 8) == 0)
				event(w, r, z, newest);
		}
		w->good &= i == 0;
	}
}

static void
publish(World *w)
{
	int			k = w->s->params.k;
	NeighborsState state;

	while ((state = neighbors_weigh(w->nl, 1 + w->s->budget / 2)) == NEIGHBORS_MORE)
		;
	w->good &= state == NEIGHBORS_DONE;
	for (int32_t i; (i = neighbors_next_dirty(w->nl)) > 0; w->writes++)
	{
		w->n[i] = neighbors_topk(w->nl, i, w->items + i * k, w->scores + i * k);
		w->good &= neighbors_weights(w->nl, w->n[i], w->items + i * k, w->weights + i * k) ==
			w->s->params.normalize;
		w->good &= neighbors_published(w->nl, i);
	}
}

static World *trusted;

static double
trust(const void *arg, int32_t item)
{
	double		users = 0;

	(void) arg;
	for (int u = 0; u < trusted->s->nusers; u++)
		users += *rating(trusted, u, item) != 0;
	return users / (users + 3);
}

/* The largest distance of a published weight from what follows from the item's
 * published list, in steps; 256 if two rows show different ones. */
static double
weights_off(World *w)
{
	int			k = w->s->params.k;
	double		off = 0;
	int		   *told = calloc((size_t) w->s->nitems + 1, sizeof(int));

	for (int i = 1; i <= w->s->nitems && w->s->params.normalize; i++)
		for (int x = i * k; x < i * k + w->n[i]; x++)
		{
			int			j = w->items[x];
			double		sumsq = 0;

			for (int y = j * k; y < j * k + w->n[j]; y++)
				sumsq += (double) w->scores[y] * (double) w->scores[y];
			if (told[j] && told[j] != w->weights[x])
				off = 256;
			told[j] = w->weights[x];
			off = fmax(off, fabs(128 + 8 * log2(trust(NULL, j) / sqrt(sumsq)) - w->weights[x]));
		}
	free(told);
	return off;
}

/* All users count where the measure needs to know, those without history only
 * if their number is to stay the same. */
static double
count_users(World *w)
{
	double		n = 0;

	for (int u = 0; u < w->s->nusers; u++)
		n += strstr(w->s->name, "users come") == NULL || history(w, u, 0) > 0;
	return n;
}

static void
tell_total(World *w)
{
	double		total = count_users(w);

	if (total == w->total || !measure_needs_all(w->s->params.measure))
		return;
	w->total = total;
	neighbors_set_total(w->nl, total);
	w->good &= neighbors_touch_all(w->nl, w->s->nitems);
}

/* The exact rank of every partner in the list of i. */
static void
exact_row(World *w, int i, double *scores)
{
	const NeighborParams *p = &w->s->params;

	for (int j = 1; j <= w->s->nitems; j++)
	{
		double		dot = 0;
		int			common = 0;

		for (int u = 0; u < w->s->nusers; u++)
		{
			double		product = *rating(w, u, i) * *rating(w, u, j);

			dot += product;
			common += product != 0;
		}
		scores[j] = 0;
		if (j != i && common >= p->min_support && p->measure != MEASURE_COSINE)
			scores[j] = measure_rank(p->measure, common, w->sumsq[i], w->sumsq[j], count_users(w), p->shrinkage);
		else if (j != i && common >= p->min_support && dot > 0)
			scores[j] = dot / (sqrt(w->sumsq[i] * w->sumsq[j]) + p->shrinkage);
	}
}

/* Published scores as ranks; what they are off by, by their own size if they have no bound. */
static double
rank_of(World *w, float score)
{
	const NeighborParams *p = &w->s->params;

	return measure_rank_of_score(p->measure, score, (float) p->shrinkage);
}

static double
part_of(World *w, double difference, double rank)
{
	return measure_is_unbounded(w->s->params.measure) ? difference / fmax(rank, 1) : difference;
}

typedef struct Verdict
{
	double		score_off;		/* a published score, from the exact one */
	double		missed_by;		/* an unlisted pair, above the last listed */
	double		weight_off;		/* in eighths of octaves */
	double		list_off;		/* neighbors_topk() from the exact k best, rank by rank */
	int			not_listed;		/* ... of other length, out of order, or not a partner */
} Verdict;

static int
downwards(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return x > y ? -1 : x < y;
}

static void
judge_row(World *w, int i, double *exact, Verdict *v)
{
	int			k = w->s->params.k;
	int32_t    *items = w->items + i * k;
	float	   *scores = w->scores + i * k;
	double		last = w->n[i] < k ? 0 : rank_of(w, scores[w->n[i] - 1]);
	int32_t		list[64];
	float		listed[64];
	int			n = neighbors_topk(w->nl, i, list, listed),
				positive = 0;
	double		sorted[1024] = {0};

	exact_row(w, i, exact);
	for (int j = 1; j <= w->s->nitems; j++)
	{
		positive += exact[j] > 1e-5;
		sorted[j - 1] = exact[j];
	}
	qsort(sorted, (size_t) w->s->nitems, sizeof(double), downwards);
	v->not_listed += n < (positive < k ? positive : k);
	for (int x = 0; x < n; x++)
	{
		double		rank = rank_of(w, listed[x]);

		v->list_off = fmax(v->list_off, part_of(w, fabs(rank - exact[list[x]]), rank));
		v->list_off = fmax(v->list_off, part_of(w, fabs(rank - sorted[x]), rank));
		v->not_listed += exact[list[x]] <= 0 || list[x] == i || (x > 0 && listed[x] > listed[x - 1]) ||
			(x > 0 && listed[x] == listed[x - 1] && list[x] < list[x - 1]);
	}
	for (int x = 0; x < w->n[i]; x++)
	{
		v->score_off = fmax(v->score_off, part_of(w, fabs(rank_of(w, scores[x]) - exact[items[x]]), exact[items[x]]));
		exact[items[x]] = 0;
	}
	for (int j = 1; j <= w->s->nitems; j++)
		v->missed_by = fmax(v->missed_by, part_of(w, exact[j] - last, exact[j]));
}

static void
judge(World *w, Verdict *v)
{
	double	   *exact = malloc(sizeof(double) * (size_t) (w->s->nitems + 1));

	for (int i = 1; i <= w->s->nitems; i++)
		judge_row(w, i, exact, v);
	v->weight_off = fmax(v->weight_off, weights_off(w));
	free(exact);
}

static void
world_open(World *w, const Setup *s)
{
	size_t		n = (size_t) s->nitems + 1,
				k = (size_t) s->params.k;

	memset(w, 0, sizeof(*w));
	w->s = s;
	trusted = w;
	w->memory = meter_allocator(&w->meter);
	w->good = true;
	if (s->with_store)
		w->ps = pairs_create(&w->memory, (size_t) 64 << 20, s->params.min_support > 1);
	w->sum = rowsum_create(&w->memory, s->params.min_support > 1);
	w->nl = neighbors_create(&w->memory, (size_t) 64 << 20, &s->params);
	w->r = calloc((size_t) s->nusers * n, sizeof(double));
	w->sumsq = calloc(n, sizeof(double));
	w->js = calloc(n, sizeof(int32_t));
	w->rs = calloc(n, sizeof(double));
	w->n = calloc(n, sizeof(int));
	w->items = calloc(n * k, sizeof(int32_t));
	w->scores = calloc(n * k, sizeof(float));
	w->weights = calloc(n * k, sizeof(uint8_t));
	neighbors_set_sumsq(w->nl, w->sumsq, (int32_t) n);
	tell_total(w);
}

static void
world_close(World *w)
{
	neighbors_destroy(w->nl);
	if (w->ps)
		pairs_destroy(w->ps);
	rowsum_destroy(w->sum);
	free(w->r);
	free(w->sumsq);
	free(w->js);
	free(w->rs);
	free(w->n);
	free(w->items);
	free(w->scores);
	free(w->weights);
}

/* After a restart: new lists over the old table and a store built anew. */
static void
restart(World *w)
{
	int			k = w->s->params.k;

	neighbors_destroy(w->nl);
	w->nl = neighbors_create(&w->memory, (size_t) 64 << 20, &w->s->params);
	neighbors_set_sumsq(w->nl, w->sumsq, (int32_t) w->s->nitems + 1);
	neighbors_set_total(w->nl, w->total);
	for (int i = 1; i <= w->s->nitems; i++)
		if (w->n[i] > 0)
			w->good &= neighbors_load_published(w->nl, i, w->items + i * k, w->scores + i * k, w->n[i]) &&
				neighbors_load_weights(w->nl, i, w->items + i * k,
									   w->s->params.normalize ? w->weights + i * k : NULL, w->n[i]);
	w->good &= neighbors_touch_all(w->nl, w->s->nitems);
}

static void
run(const Setup *s, int rounds)
{
	World		w;
	Random		r = {s->seed};
	Zipf		z = zipf_make(s->nitems, s->zipf);
	Verdict		v = {0};
	NeighborsWork work;
	double		drift = s->params.drift < 0 ? 0 : s->params.drift > 0 ? s->params.drift : NEIGHBORS_DRIFT;
	double		early_eps = fmax(s->params.early_eps, 5e-4);
	Verdict		early = {0};
	int			put_off = 0;
	int64_t		before,
				again;

	world_open(&w, s);
	if (drift > 0)
		for (int e = 0; e < s->nusers * s->longest / 2; e++)
			change(&w, (int) random_below(&r, (uint32_t) s->nusers),
				   s->zipf > 0 ? zipf_next(&z, &r) : 1 + (int) random_below(&r, (uint32_t) s->nitems),
				   some_rating(s, &r));
	for (int round = 0; round < rounds; round++)
	{
		/* new items all along the first half */
		int			newest = s->nitems / 2 + s->nitems * (round + 1) / rounds;
		int			events = 1 + (int) random_below(&r, (uint32_t) s->burst);

		newest = newest < s->nitems ? newest : s->nitems;
		for (int e = 0; e < events; e++)
			event(&w, &r, s->zipf > 0 ? &z : NULL, newest);
		if (round % 7 == 6)
			forget(&w, 1 + (int) random_below(&r, (uint32_t) newest));
		if (round % 11 == 10)
		{
			/* a user leaves */
			int			u = (int) random_below(&r, (uint32_t) s->nusers);

			for (int i = 1; i <= s->nitems; i++)
				change(&w, u, i, 0);
		}
		refresh(&w, &r, s->zipf > 0 ? &z : NULL, newest, round % 2 ? 3 : 0);
		if (round % 7 == 3)
			forget(&w, 1 + (int) random_below(&r, (uint32_t) newest));
		if (strstr(s->name, "store lost") && round == rounds / 2)
		{
			/* in the middle of a refresh */
			for (int e = 0; e < 50; e++)
				event(&w, &r, &z, newest);
			neighbors_refresh(w.nl, w.ps, 3);
			pairs_destroy(w.ps);
			w.ps = NULL;
		}
		tell_total(&w);
		/* once more for what came between, and for rows made anew */
		refresh(&w, &r, NULL, newest, 0);
		refresh(&w, &r, NULL, newest, 0);
		publish(&w);
		put_off += neighbors_put_off(w.nl);
		if (s->params.early_eps > 0)
		{
			judge(&w, &early);
			if (round % 3 != 2)
				continue;
		}
		w.good &= neighbors_strict(w.nl, true) && !neighbors_put_off(w.nl);
		refresh(&w, &r, NULL, newest, 0);
		publish(&w);
		judge(&w, &v);
		w.good &= !neighbors_put_off(w.nl) && neighbors_strict(w.nl, false);
	}
	ok(early.score_off <= early_eps + 1e-5 + 2 * drift && early.missed_by <= early_eps + 1e-5 + 4 * drift &&
	   (put_off > 0) == (s->params.early_eps > 0),
	   "%s: within %.3g before what was put off, %d times", s->name, early.score_off, put_off);
	/* while a row is put off, its item is weighed by the list as it is, and it
	 * shows the weights that it was published with */
	ok((early_eps > 5e-4 || early.weight_off <= 1.5) && v.weight_off <= 1.5,
	   "%s: weights off by %.3g steps, %.3g where nothing was put off",
	   s->name, early.weight_off, v.weight_off);
	work = neighbors_work(w.nl);
	ok(w.good && v.score_off <= 5.1e-4 + 2 * drift && v.missed_by <= 5.1e-4 + 4 * drift,
	   "%s: published within %.3g, missed by at most %.3g, %d refreshes",
	   s->name, v.score_off, v.missed_by, rounds);
	ok(v.list_off <= 2e-5 + 2 * drift && v.not_listed == 0,
	   "%s: lists are the k best (off by %.3g, %d misplaced)", s->name, v.list_off, v.not_listed);
	/* to be told the number of users is one more reason */
	if (measure_needs_all(s->params.measure))
		work.rescans -= s->nitems;
	ok((work.rescans * 5 <= work.scans + s->nitems || strstr(s->name, "users come")) && (drift == 0 || work.pairs > 0),
	   "%s: %lld scans, %lld rescans, %lld single pairs, %lld rows written, %lld lists searched",
	   s->name, (long long) work.scans, (long long) work.rescans, (long long) work.pairs,
	   (long long) w.writes, (long long) work.lookups);

	before = w.writes;
	restart(&w);
	w.good &= neighbors_strict(w.nl, true);
	refresh(&w, &r, NULL, s->nitems, 0);
	publish(&w);
	again = w.writes - before;
	v = (Verdict) {0};
	judge(&w, &v);
	ok(w.good && again <= (drift > NEIGHBORS_DRIFT ? s->nitems : drift > 0 ? s->nitems / 5 : 0) && v.score_off <= 5.1e-4 && v.missed_by <= 5.1e-4 && v.list_off <= 2e-5 &&
	   v.not_listed == 0,
	   "%s: after a restart %lld rows written again, published within %.3g", s->name,
	   (long long) again, v.score_off);
	world_close(&w);
	ok(w.meter.bytes == 0, "%s: nothing leaked", s->name);
	free(z.upto);
}

/* All variants of the inner loop pick the same cells. */
static void
test_scan(void)
{
	enum
	{
		N = 1024
	};
	Random		r = {9};
	float		lines[2 * N],	/* also as plain dots */
				norms[N],
				gates[N];
	int32_t		js[N];
	int32_t		own[2][N + SCAN_SLACK],
				theirs[2][N + SCAN_SLACK];
	RowScanFunction function,
				plain;
	const char *name;

	row_scan_variant(0, &plain, &name);
	for (int v = 0; row_scan_variant(v, &function, &name); v++)
	{
		int			wrong = 0,
					cells = 0;

		if (!function)
		{
			ok(true, "inner loop %s: not on this processor # SKIP", name);
			continue;
		}
		for (int round = 0; round < 300; round++)
		{
			PairRowView row = {.n = N, .dots = lines};
			RowScan		scan[2];
			int32_t		from = (int32_t) random_below(&r, N / 16) * 8,
						to = from + (int32_t) random_below(&r, N / 2);

			for (int x = 0; x < N; x++)
			{
				norms[x] = (float) random_below(&r, 9);
				gates[x] = random_below(&r, 5) ? (float) random_real(&r) : random_below(&r, 2) ? INFINITY : 0;
				js[x] = (int32_t) random_below(&r, N);
			}
			for (int x = 0; x < 2 * N; x++)
				lines[x] = random_below(&r, 3) ? 0 : (float) random_below(&r, 9) - 2;
			if (round % 3 == 1)
				row.js = js;
			if (round % 3 == 2)
			{
				row.in_lines = true;
				for (int x = 0; x < N; x++)
					memcpy(&lines[x / 8 * 16 + x % 8], &js[x], sizeof(int32_t));
				row.js = (const int32_t *) lines;
				row.dots = lines + 8;
				to = from + (to - from) / 8 * 8;
			}
			for (int x = 0; x < 2; x++)
			{
				scan[x] = (RowScan) {.row = &row, .norms = norms, .gates = gates,
					.shrinkage = round % 2 ? 0 : 10, .norm = 3, .bar = round % 5 ? 0.1f : 0,
					.own = own[x], .theirs = round % 7 ? theirs[x] : NULL
				};
				(x ? plain : function) (&scan[x], from, to);
			}
			wrong += scan[0].nown != scan[1].nown || scan[0].ntheirs != scan[1].ntheirs ||
				memcmp(own[0], own[1], sizeof(int32_t) * (size_t) scan[1].nown) != 0 ||
				memcmp(theirs[0], theirs[1], sizeof(int32_t) * (size_t) scan[1].ntheirs) != 0;
			cells += scan[0].nown + scan[0].ntheirs;
		}
		ok(wrong == 0 && cells > 1000, "inner loop %s: %d cells picked, %d differences", name, cells, wrong);
	}
}

int
main(void)
{
	static const Setup setups[] = {
		{"plain", 60, 120, 30, 1.0, 1, {5, 0, 1, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 1000, 60, 1},
		{"k = 3, uniform", 60, 150, 25, 0, 1, {3, 0, 1, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 10, 40, 2},
		{"ratings, shrinkage", 80, 200, 40, 1.0, 5, {10, 10, 1, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 7, 100, 3},
		{"min support", 80, 150, 40, 0.8, 5, {6, 0, 3, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 20, 80, 4},
		{"min support, shrinkage, real", 80, 150, 40, 0.8, 0, {6, 5, 2, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 20, 80, 5},
		{"real", 60, 120, 30, 1.0, 0, {5, 0, 1, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 50, 50, 6},
		{"signed", 60, 120, 30, 1.0, -3, {5, 2, 1, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 50, 50, 7},
		{"single events", 40, 100, 20, 1.0, 5, {4, 0, 1, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 3, 2, 8},
		{"k = 1", 40, 100, 20, 1.0, 5, {1, 1, 1, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 3, 20, 9},
		{"many more partners than k", 200, 500, 60, 1.0, 1, {3, 0, 1, 0, -1, 0, false, NULL, NULL, 0, NULL}, true, 100, 400, 10},
		{"without a store", 60, 120, 30, 1.0, 5, {5, 0, 1, 0, -1, 0, false, NULL, NULL, 0, NULL}, false, 0, 40, 11},
		{"without a store, min support", 60, 120, 30, 0.5, 0, {4, 3, 2, 0, -1, 0, false, NULL, NULL, 0, NULL}, false, 0, 40, 12},
		{"drift", 80, 100, 14, 1.0, 1000, {5, 0, 1, 0, 0, 0, false, NULL, NULL, 0, NULL}, true, 1000, 30, 13},
		{"drift, uniform", 150, 150, 14, 0, 300, {3, 0, 1, 0, 0, 0, false, NULL, NULL, 0, NULL}, true, 5, 60, 14},
		{"drift, shrinkage, min support", 100, 100, 14, 0.5, 1000, {6, 1e5, 2, 0, 0, 0, false, NULL, NULL, 0, NULL}, true, 5, 60, 15},
		{"drift, real", 80, 100, 14, 0.5, 0, {5, 0, 1, 0, 0, 0, false, NULL, NULL, 0, NULL}, true, 50, 30, 16},
		{"drift, signed", 80, 100, 14, 0.5, -1000, {5, 2, 1, 0, 0, 0, false, NULL, NULL, 0, NULL}, true, 10, 30, 17},
		{"drift, signed, min support", 60, 40, 14, 0.5, -300, {5, 0, 4, 0, 0, 0, false, NULL, NULL, 0, NULL}, true, 10, 12, 21},
		{"drift, single events", 60, 60, 10, 0.5, 500, {4, 0, 1, 0, 0, 0, false, NULL, NULL, 0, NULL}, true, 3, 2, 18},
		{"drift, many partners", 400, 500, 20, 0.5, 1000, {3, 0, 1, 0, 0, 0, false, NULL, NULL, 0, NULL}, true, 100, 100, 19},
		{"put off", 60, 120, 30, 1.0, 1000, {5, 0, 1, 0, -1, 2e-2, false, NULL, NULL, 0, NULL}, true, 1000, 3, 22},
		{"put off, drift", 80, 100, 14, 1.0, 1000, {5, 0, 1, 0, 0, 2e-2, false, NULL, NULL, 0, NULL}, true, 7, 3, 23},
		{"put off, without a store", 60, 120, 30, 1.0, 500, {5, 0, 1, 0, -1, 2e-2, false, NULL, NULL, 0, NULL}, false, 0, 3, 24},
		{"jaccard", 80, 150, 30, 1.0, 1, {5, 0, 1, 0, -1, 0, false, NULL, NULL, MEASURE_JACCARD, NULL}, true, 20, 80, 31},
		{"jaccard, shrinkage, min support", 80, 150, 30, 0.5, 1, {5, 7.5, 3, 0, -1, 0, false, NULL, NULL, MEASURE_JACCARD, NULL}, true, 1000, 80, 32},
		{"jaccard, single events", 60, 120, 30, 1.0, 1, {5, 0, 1, 0, -1, 2e-2, false, NULL, NULL, MEASURE_JACCARD, NULL}, true, 5, 2, 33},
		{"jaccard, numbers lag", 300, 60, 20, 0.5, 1, {5, 0, 1, 0, 0.02, 0, false, NULL, NULL, MEASURE_JACCARD, NULL}, true, 20, 20, 43},
		{"lift, numbers lag", 300, 60, 20, 0.5, 1, {5, 0, 1, 0, 0.02, 0, false, NULL, NULL, MEASURE_LIFT, NULL}, true, 20, 20, 44},
		{"conditional, numbers lag", 300, 60, 20, 0.5, 1, {5, 0, 1, 0, 0.02, 0, false, NULL, NULL, MEASURE_CONDITIONAL, NULL}, true, 20, 20, 45},
		{"conditional", 80, 150, 30, 1.0, 1, {5, 0, 1, 0, -1, 0, false, NULL, NULL, MEASURE_CONDITIONAL, NULL}, true, 20, 80, 34},
		{"conditional, shrinkage, without a store", 60, 120, 30, 1.0, 1, {5, 3, 2, 0, -1, 0, false, NULL, NULL, MEASURE_CONDITIONAL, NULL}, false, 0, 40, 35},
		{"lift", 80, 150, 30, 1.0, 1, {5, 0, 2, 0, -1, 0, false, NULL, NULL, MEASURE_LIFT, NULL}, true, 20, 80, 36},
		{"lift, shrinkage, users come", 80, 150, 30, 1.0, 1, {5, 1.5, 1, 0, -1, 0, false, NULL, NULL, MEASURE_LIFT, NULL}, true, 1000, 10, 37},
		{"llr", 80, 150, 30, 1.0, 1, {5, 0, 1, 0, -1, 0, false, NULL, NULL, MEASURE_LLR, NULL}, true, 20, 80, 38},
		{"llr, uniform, single events", 150, 100, 14, 0, 1, {3, 0, 1, 0, -1, 0, false, NULL, NULL, MEASURE_LLR, NULL}, true, 5, 2, 39},
		{"llr, many partners", 300, 450, 60, 1.0, 1, {4, 0, 2, 0, -1, 0, false, NULL, NULL, MEASURE_LLR, NULL}, true, 100, 300, 40},
		{"llr, shrinkage, users come", 80, 150, 30, 1.0, 1, {5, 10, 1, 0, -1, 0, false, NULL, NULL, MEASURE_LLR, NULL}, true, 7, 10, 41},
		{"llr, without a store", 60, 120, 30, 0.5, 1, {5, 0, 1, 0, -1, 0, false, NULL, NULL, MEASURE_LLR, NULL}, false, 0, 40, 42},
		{"drift, store lost", 80, 100, 14, 1.0, 500, {5, 0, 1, 0, 0, 0, false, NULL, NULL, 0, NULL}, true, 10, 30, 20},
	};

	test_scan();
	for (size_t s = 0; s < sizeof(setups) / sizeof(setups[0]); s++)
	{
		int			rounds = setups[s].nitems > 400 ? 12 : 81;
		Setup		weighted = setups[s];

		run(&setups[s], rounds);
		weighted.name = "with weights";
		weighted.params.normalize = true;
		weighted.params.trust = trust;
		if (!strstr(setups[s].name, "store lost"))
			run(&weighted, rounds / 3);
	}
	return unit_end();
}
