/*
 * baskets.c
 *	  The model "baskets", see baskets.h.  Its tables, and how they follow the events,
 *	  are those of session_knn; a basket is a session there.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "models/baskets.h"
#include "models/session_knn.h"
#include "numeric/statistics.h"
#include "numeric/topk.h"

static const ParamSpec baskets_params[] = {
	/* column whose values are baskets; null: the source's sessions, or else gaps in time */
	{.name = "basket_column", PARAM_TEXT, 0, NAMEDATALEN - 1, 0},
	{.name = "basket_gap", PARAM_INTERVAL, 1, 366 * SECS_PER_DAY, 0,.interval = "30 minutes"},
	/* null: all that have a weight */
	{.name = "event_types", PARAM_TEXTS, 0, 100, 0},
	/* baskets looked at, and kept of each item: the newest */
	{.name = "sample", PARAM_INT, 1, 1000000, 2000},
	/* different items of a basket that counts */
	{.name = "max_length", PARAM_INT, 1, 1000, 100},
	/* baskets that two items must have in common */
	{.name = "min_support", PARAM_INT, 1, 1e9, 3},
	/* certainty, in standard deviations: 2.58 is 99 % */
	{.name = "z", PARAM_FLOAT, 0, 10, 2.58},
	{.name = NULL}
};

/* -------------------------------------------------------------------- counting */

/* Items of the baskets: a hash table with linear probing. */
typedef struct Tally
{
	int32		nasked;
	uint32		mask;
	int32	   *slots;			/* place among the items plus 1; 0 = free */
	int32		n;
	int32	   *items;
	int64	   *support;
	int32	   *common;			/* nasked of each item */
} Tally;

static void
tally_create(Tally *t, const SessionHood *hood)
{
	int64		n = 0;
	uint32		nslots = 64;
	Size		max;

	memset(t, 0, sizeof(Tally));
	t->nasked = hood->nquery;
	for (int32 v = 0; v < hood->n; v++)
		n += hood->neighbors[v].n;
	/* and one more */
	while (nslots < 2 * (n + 1))
		nslots *= 2;
	max = nslots / 2;
	t->mask = nslots - 1;
	t->slots = palloc_extended(sizeof(int32) * (Size) nslots, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	t->items = palloc_extended(sizeof(int32) * max, MCXT_ALLOC_HUGE);
	t->support = palloc_extended(sizeof(int64) * max, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	t->common = palloc_extended(sizeof(int32) * max * Max(hood->nquery, 1),
								MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static int32
tally_place(Tally *t, int32 item)
{
	uint32		s = ((uint32) item * 0x9E3779B1u >> 7) & t->mask;

	while (t->slots[s] != 0 && t->items[t->slots[s] - 1] != item)
		s = (s + 1) & t->mask;
	if (t->slots[s] == 0)
	{
		t->items[t->n++] = item;
		t->slots[s] = t->n;
	}
	return t->slots[s] - 1;
}

/* baskets[x] of the x-th item asked about. */
static void
count_baskets(const SessionHood *hood, Tally *t, int64 *baskets)
{
	for (int32 v = 0; v < hood->n; v++)
	{
		const SessionNeighbor *basket = &hood->neighbors[v];

		if (v % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int32 x = 0; x < t->nasked; x++)
			baskets[x] += basket->candidate.shared >> x & 1;
		for (int32 i = 0; i < basket->n; i++)
		{
			int32		place = tally_place(t, basket->items[i]);

			t->support[place]++;
			for (int32 x = 0; x < t->nasked; x++)
				t->common[(Size) place * t->nasked + x] += basket->candidate.shared >> x & 1;
		}
	}
}

static bool
is_asked(const SessionHood *hood, int32 item)
{
	for (int32 x = 0; x < hood->nquery; x++)
		if (hood->query[x].item == item)
			return true;
	return false;
}

/* False: it is not bought together with any of them.  gains: of each item asked about. */
static bool
judge(ServeContext *cx, SessionHood *hood, const Tally *t, int32 place, const int64 *baskets,
	  TogetherItem *out, double *gains)
{
	int			min_support = (int) params_get(cx->model->params, "min_support");
	double		z = params_get(cx->model->params, "z");
	double		with_it = session_knn_count(hood, t->items[place]);
	double		best = 0,
				rest = 1;

	for (int32 x = 0; x < t->nasked; x++)
	{
		double		n = baskets[x];
		double		k = t->common[(Size) place * t->nasked + x];
		double		m = session_knn_sessions(hood) - n;
		double		l = Min(Max(with_it - k, 0), m);
		double		gain;

		gains[x] = 0;
		if (k < min_support || m <= 0)
			continue;
		gain = share_difference_lower(k, n, l, m, z);
		if (!(gain > 0))
			continue;
		gains[x] = gain;
		rest *= 1 - gain;
		if (gain <= best)
			continue;
		best = gain;
		out->confidence = k / n;
		out->lift = k / n / (with_it / session_knn_sessions(hood));
	}
	out->item = t->items[place];
	out->support = t->support[place];
	out->score = 1 - rest;
	return best > 0;
}

/* The newest baskets with any of the items, counted. */
static void
look_up(ServeContext *cx, const int32 *items, int32 n, SessionHood *hood, Tally *t, int64 *baskets)
{
	int32		sample = (int32) params_get(cx->model->params, "sample");
	SessionSearch how = {.last = SESSION_MAX_QUERY,.decay = SESSION_DECAY_NONE,.sample = sample,
		.pool = (int32) Min((int64) sample * SESSION_MAX_QUERY, INT32_MAX),.k = INT32_MAX
	};

	session_knn_search(cx, items, n, &how, hood);
	tally_create(t, hood);
	memset(baskets, 0, sizeof(int64) * SESSION_MAX_QUERY);
	count_baskets(hood, t, baskets);
}

int
baskets_together(ServeContext *cx, const int32 *items, int32 n, TogetherItem **out)
{
	int64		baskets[SESSION_MAX_QUERY];
	double		gains[SESSION_MAX_QUERY];
	SessionHood hood;
	Tally		t;
	int			nout = 0;

	look_up(cx, items, n, &hood, &t, baskets);
	*out = palloc_extended(sizeof(TogetherItem) * (Size) Max(t.n, 1), MCXT_ALLOC_HUGE);
	for (int32 place = 0; place < t.n; place++)
		if (!is_asked(&hood, t.items[place]) &&
			judge(cx, &hood, &t, place, baskets, &(*out)[nout], gains))
			nout++;
	session_knn_end(&hood);
	return nout;
}

/* --------------------------------------------------------------------- answers */

static void
recommend(ServeContext *cx, const History *history, Candidates *out)
{
	int32		n;
	const int32 *items = session_knn_clicks(cx, history, &n);
	TogetherItem *together;
	int			ntogether = baskets_together(cx, items, n, &together);

	for (int i = 0; i < ntogether; i++)
		if (candidates_admit(out, together[i].item))
			candidates_add(out, together[i].item, together[i].score);
}

/*
 * The score, split by -ln(1 - gain), which add up; 0 for an item that is asked
 * about itself.
 */
static void
explain(ServeContext *cx, const History *history, int32 item, double *contributions)
{
	int32		n;
	const int32 *items = session_knn_clicks(cx, history, &n);
	int64		baskets[SESSION_MAX_QUERY];
	double		gains[SESSION_MAX_QUERY];
	SessionHood hood;
	Tally		t;
	TogetherItem together;
	double		sum = 0;

	memset(contributions, 0, sizeof(double) * history->n);
	look_up(cx, items, n, &hood, &t, baskets);
	if (!is_asked(&hood, item) &&
		judge(cx, &hood, &t, tally_place(&t, item), baskets, &together, gains))
	{
		for (int32 x = 0; x < hood.nquery; x++)
			sum += -log1p(-gains[x]);
		for (int32 x = 0; x < hood.nquery; x++)
			for (int h = 0; h < history->n; h++)
				if (history->items[h] == hood.query[x].item)
					contributions[h] = together.score * -log1p(-gains[x]) / sum;
	}
	session_knn_end(&hood);
}

static double
predict(ServeContext *cx, const History *history, int32 item)
{
	double	   *contributions;
	double		sum = 0;

	if (cx->source->explicit_feedback)
		return NAN;				/* it says nothing of a rating */
	contributions = palloc(sizeof(double) * Max(history->n, 1));
	explain(cx, history, item, contributions);
	for (int h = 0; h < history->n; h++)
		sum += contributions[h];
	return sum > 0 ? sum : NAN;
}

static int
similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out)
{
	TogetherItem *together;
	int			n = baskets_together(cx, &item, 1, &together);
	RankKey    *keys = palloc_extended(sizeof(RankKey) * (Size) k, MCXT_ALLOC_HUGE);
	TopK		top;

	topk_init(&top, keys, k);
	for (int i = 0; i < n; i++)
		topk_push(&top, together[i].item, (float) together[i].score);
	rank_sort(keys, top.n);
	for (size_t i = 0; i < top.n; i++)
		out[i] = (ScoredItem) {rank_item(keys[i]), rank_score(keys[i])};
	return (int) top.n;
}

extern const ModelAlgorithm baskets_algorithm;

const ModelAlgorithm baskets_algorithm = {
	.name = BASKETS,
	.params = baskets_params,
	.create_sql = session_knn_create_sql,
	.drop_sql = session_knn_drop_sql,
	.numbers = true,
	.columns = session_knn_columns,
	.signature = session_knn_signature,
	.open = session_knn_open,
	.close = session_knn_close,
	.build = session_knn_build,
	.event = session_knn_event,
	.write = session_knn_write,
	.evict = session_knn_evict,
	.forget_user = session_knn_forget_user,
	.forget_item = session_knn_forget_item,
	.reset = session_knn_reset,
	.memory = session_knn_memory,
	.recommend = recommend,
	.similar_items = similar_items,
	.predict = predict,
	.explain = explain,
};
