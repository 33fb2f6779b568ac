/*
 * session_knn_serve.c
 *	  session_knn: what it is declared with, and answers from the nearest sessions.
 *
 *		score(j) = sum over the nearest sessions s that hold j of
 *				   match(s) sim(s) idf(j)
 *
 * The session is the caller's own, or the newest items of a user's history.
 * similar_items() asks the newest sessions of the item, all alike: the part of them
 * that holds another one, times its idf.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"

#include "models/session_knn.h"
#include "numeric/topk.h"

const char *const session_decays[] = {"linear", "harmonic", "none", NULL};
const char *const session_repeats[] = {"none", "older", "all", NULL};

static const ParamSpec session_knn_params[] = {
	/* column whose values are sessions; null: the source's, or else gaps in time */
	{.name = "session_column", PARAM_TEXT, 0, NAMEDATALEN - 1, 0},
	{.name = "session_gap", PARAM_INTERVAL, 1, 366 * SECS_PER_DAY, 0,.interval = "30 minutes"},
	/* null: all that have a weight */
	{.name = "event_types", PARAM_TEXTS, 0, 100, 0},
	/* sessions looked at, and kept of each item: the newest */
	{.name = "sample", PARAM_INT, 1, 1000000, 500},
	/* of these, the most similar are asked */
	{.name = "neighbors", PARAM_INT, 1, 100000, 100},
	/* newest clicks of a session that it is compared by */
	{.name = "last_items", PARAM_INT, 1, SESSION_MAX_QUERY, 9},
	/* what a click counts by its position, and a session by that of the newest item shared */
	{.name = "position_decay", PARAM_ENUM, 0, 0, SESSION_DECAY_LINEAR,.words = session_decays},
	{.name = "match_decay", PARAM_FLOAT, 0, 1, 0.1},
	/* exponent of ln(N/n), the weight of an item that is in n of N pairs of session and item */
	{.name = "idf", PARAM_FLOAT, 0, 10, 1},
	/* different items of a session that others are compared with */
	{.name = "min_length", PARAM_INT, 1, 1000, 2},
	{.name = "max_length", PARAM_INT, 1, 1000, 15},
	/* which items of the session may be recommended again */
	{.name = "repeats", PARAM_ENUM, 0, 0, 0,.words = session_repeats},
	{.name = NULL}
};

/* ----------------------------------------------------------- declaration */

static char *
table_name(const RecsysSource *source, const char *model, const char *kind)
{
	return quote_qualified_identifier(NameStr(source->name), psprintf("%s%s", model, kind));
}

static const char *
index_name(const char *model, const char *kind, const char *index)
{
	return quote_identifier(psprintf("%s%s%s", model, kind, index));
}

char *
session_knn_create_sql(const RecsysSource *source, const char *model)
{
	return psprintf("CREATE TABLE %1$s (session_id int4 CONSTRAINT %2$s PRIMARY KEY, items int4[] NOT NULL,"
					" times int8[] NOT NULL, key int8 NOT NULL, user_id int4 NOT NULL, users int4[])"
					" WITH (fillfactor = 80);"
					" CREATE INDEX %3$s ON %1$s (key);"
					" COMMENT ON TABLE %1$s IS 'the clicks of each session, oldest first: item numbers and times; key is hashtextextended(session, 0), or the user where a gap parts sessions; users if they differ';"
					" CREATE TABLE %4$s (item_id int4, from_time int8, from_session int4, sessions int4[] NOT NULL,"
					" times int8[] NOT NULL, CONSTRAINT %5$s PRIMARY KEY (item_id, from_time, from_session))"
					" WITH (fillfactor = 70);"
					" COMMENT ON TABLE %4$s IS 'the newest sessions of each item, in rows by time';"
					" CREATE TABLE %6$s (block int4 CONSTRAINT %7$s PRIMARY KEY, counts int4[] NOT NULL)"
					" WITH (fillfactor = 50);"
					" COMMENT ON TABLE %6$s IS 'sessions that have each item, 256 items a row: item i stands in block i / 256 + 1 at place i %% 256 + 1';"
					" CREATE TABLE %8$s (singleton bool CONSTRAINT %9$s PRIMARY KEY, next_session int4 NOT NULL,"
					" sessions int4 NOT NULL, pairs int8 NOT NULL);"
					" COMMENT ON TABLE %8$s IS 'number of the next session, of the sessions compared with, and of their pairs of session and item'",
					table_name(source, model, SESSION_KNN_SESSIONS),
					index_name(model, SESSION_KNN_SESSIONS, SESSION_KNN_INDEX),
					index_name(model, SESSION_KNN_SESSIONS, SESSION_KNN_KEY_INDEX),
					table_name(source, model, SESSION_KNN_POSTINGS),
					index_name(model, SESSION_KNN_POSTINGS, SESSION_KNN_INDEX),
					table_name(source, model, SESSION_KNN_COUNTS),
					index_name(model, SESSION_KNN_COUNTS, SESSION_KNN_INDEX),
					table_name(source, model, SESSION_KNN_STATE),
					index_name(model, SESSION_KNN_STATE, SESSION_KNN_INDEX));
}

char *
session_knn_drop_sql(const RecsysSource *source, const char *model)
{
	return psprintf("DROP TABLE IF EXISTS %s, %s, %s, %s",
					table_name(source, model, SESSION_KNN_SESSIONS),
					table_name(source, model, SESSION_KNN_POSTINGS),
					table_name(source, model, SESSION_KNN_COUNTS),
					table_name(source, model, SESSION_KNN_STATE));
}

/* --------------------------------------------------------------- the session */

typedef struct Place
{
	int64		time;
	int			place;
} Place;

static int
oldest_first(const void *a, const void *b)
{
	const Place *pa = a,
			   *pb = b;

	if (pa->time != pb->time)
		return pa->time < pb->time ? -1 : 1;
	return pa->place - pb->place;
}

/* What is asked about: the session, or the history in the order of time. */
const int32 *
session_knn_clicks(ServeContext *cx, const History *history, int32 *n)
{
	Place	   *places;
	int32	   *clicks;

	*n = cx->clicks ? cx->nclicks : history->n;
	if (cx->clicks)
		return cx->clicks;
	places = palloc(sizeof(Place) * Max(history->n, 1));
	clicks = palloc(sizeof(int32) * Max(history->n, 1));
	for (int h = 0; h < history->n; h++)
		places[h] = (Place) {history->times[h], h};
	qsort(places, history->n, sizeof(Place), oldest_first);
	for (int i = 0; i < history->n; i++)
		clicks[i] = history->items[places[i].place];
	pfree(places);
	return clicks;
}

static SessionSearch
how_to_search(const RecsysModel *model)
{
	const Jsonb *params = model->params;
	SessionSearch how;

	how.last = (int32) params_get(params, "last_items");
	how.decay = params_get_enum(params, "position_decay", session_decays);
	how.sample = how.pool = (int32) params_get(params, "sample");
	how.k = (int32) params_get(params, "neighbors");
	how.match_decay = params_get(params, "match_decay");
	how.idf = params_get(params, "idf");
	return how;
}

static void
search(ServeContext *cx, const History *history, SessionHood *hood)
{
	int32		n;
	const int32 *clicks = session_knn_clicks(cx, history, &n);
	SessionSearch how = how_to_search(cx->model);

	session_knn_search(cx, clicks, n, &how, hood);
}

static bool
holds(const SessionNeighbor *neighbor, int32 item)
{
	for (int32 i = 0; i < neighbor->n; i++)
		if (neighbor->items[i] == item)
			return true;
	return false;
}

/* ------------------------------------------------------------------- sums */

/* Sums by item: a hash table with linear probing. */
typedef struct ItemSums
{
	uint32		mask;
	int32	   *items;			/* 0 = free */
	double	   *sums;
} ItemSums;

static void
sum_items(const SessionHood *hood, ItemSums *s)
{
	int64		n = 0;
	uint32		nslots = 64;

	for (int32 v = 0; v < hood->n; v++)
		n += hood->neighbors[v].n;
	while (nslots < 2 * n)
		nslots *= 2;
	s->mask = nslots - 1;
	s->items = palloc_extended(sizeof(int32) * (Size) nslots, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	s->sums = palloc_extended(sizeof(double) * (Size) nslots, MCXT_ALLOC_HUGE);
	for (int32 v = 0; v < hood->n; v++)
		for (int32 i = 0; i < hood->neighbors[v].n; i++)
		{
			int32		item = hood->neighbors[v].items[i];
			uint32		x = ((uint32) item * 0x9E3779B1u >> 7) & s->mask;

			while (s->items[x] != 0 && s->items[x] != item)
				x = (x + 1) & s->mask;
			if (s->items[x] == 0)
				s->sums[x] = 0;
			s->items[x] = item;
			s->sums[x] += hood->neighbors[v].weight;
		}
}

/* ---------------------------------------------------------------- answers */

static void
recommend(ServeContext *cx, const History *history, Candidates *out)
{
	SessionHood hood;
	ItemSums	s;

	search(cx, history, &hood);
	sum_items(&hood, &s);
	for (uint32 x = 0; x <= s.mask; x++)
		if (s.items[x] != 0 && candidates_admit(out, s.items[x]))
			candidates_add(out, s.items[x], s.sums[x] * session_knn_item_weight(&hood, s.items[x]));
	session_knn_end(&hood);
}

/* The newest items, one or all, do not come back. */
static int
left_out(const RecsysModel *model)
{
	switch (params_get_enum(model->params, "repeats", session_repeats))
	{
		case 0:
			return PG_INT32_MAX;
		case 1:
			return 1;
		default:
			return 0;
	}
}

static double
predict(ServeContext *cx, const History *history, int32 item)
{
	SessionHood hood;
	double		sum = 0;

	if (cx->source->explicit_feedback)
		return NAN;				/* it says nothing of a rating */
	search(cx, history, &hood);
	for (int32 v = 0; v < hood.n; v++)
		if (holds(&hood.neighbors[v], item))
			sum += hood.neighbors[v].weight;
	if (sum > 0)
		sum *= session_knn_item_weight(&hood, item);
	session_knn_end(&hood);
	return sum > 0 ? sum : NAN;
}

/* The part of each item of the query in the similarities. */
static void
explain(ServeContext *cx, const History *history, int32 item, double *contributions)
{
	SessionHood hood;
	double		parts[SESSION_MAX_QUERY] = {0};
	double		weight;

	memset(contributions, 0, sizeof(double) * history->n);
	search(cx, history, &hood);
	for (int32 v = 0; v < hood.n; v++)
	{
		const SessionNeighbor *neighbor = &hood.neighbors[v];

		if (!holds(neighbor, item))
			continue;
		for (int32 x = 0; x < hood.nquery; x++)
			if (neighbor->candidate.shared >> x & 1)
				parts[x] += neighbor->weight / neighbor->candidate.sim * hood.query[x].weight;
	}
	weight = session_knn_item_weight(&hood, item);
	for (int32 x = 0; x < hood.nquery; x++)
		for (int h = 0; h < history->n; h++)
			if (history->items[h] == hood.query[x].item)
				contributions[h] = parts[x] * weight;
	session_knn_end(&hood);
}

static int
neighbors(ServeContext *cx, const History *history, int32 item, int *nholding, ScoredItem **holding)
{
	SessionHood hood;
	double		weight;
	int			found;

	search(cx, history, &hood);
	*nholding = 0;
	*holding = palloc(sizeof(ScoredItem) * Max(hood.n, 1));
	weight = session_knn_item_weight(&hood, item);
	for (int32 v = 0; v < hood.n; v++)
		if (holds(&hood.neighbors[v], item))
			(*holding)[(*nholding)++] = (ScoredItem) {hood.neighbors[v].candidate.session,
				hood.neighbors[v].weight * weight};
	found = hood.n;
	session_knn_end(&hood);
	return found;
}

static int
similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out)
{
	SessionHood hood;
	ItemSums	s;
	RankKey    *keys = palloc_extended(sizeof(RankKey) * (Size) k, MCXT_ALLOC_HUGE);
	TopK		top;
	SessionSearch how = how_to_search(cx->model);

	how.k = how.sample;
	session_knn_search(cx, &item, 1, &how, &hood);
	for (int32 v = 0; v < hood.n; v++)
		hood.neighbors[v].weight = 1.0 / hood.n;
	sum_items(&hood, &s);
	topk_init(&top, keys, k);
	for (uint32 x = 0; x <= s.mask; x++)
		if (s.items[x] != 0 && s.items[x] != item)
			topk_push(&top, s.items[x],
					  (float) (s.sums[x] * session_knn_item_weight(&hood, s.items[x])));
	session_knn_end(&hood);
	rank_sort(keys, top.n);
	for (size_t i = 0; i < top.n; i++)
		out[i] = (ScoredItem) {rank_item(keys[i]), rank_score(keys[i])};
	return (int) top.n;
}

extern const ModelAlgorithm session_knn_algorithm;

const ModelAlgorithm session_knn_algorithm = {
	.name = "session_knn",
	.params = session_knn_params,
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
	.left_out = left_out,
	.similar_items = similar_items,
	.predict = predict,
	.explain = explain,
	.neighbors_are = "sessions",
	.neighbors = neighbors,
};
