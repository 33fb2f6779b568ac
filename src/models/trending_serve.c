/*
 * trending_serve.c
 *	  trending, and popular within a window: parameters, tables, and answers as
 *	  of now from what the worker has published.
 *
 * A list is at most TRENDING_PUBLISHED rows.  The answer to one that is restricted
 * to some items, and the score of one item, come from the table of all counts.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "models/trending.h"
#include "state/checked.h"
#include "state/trend_counts.h"

/* An event whose time lies ahead counts more than 1, by as many windows. */
#define SHORTEST_WINDOW	60
#define LONGEST_WINDOW (100.0 * 365 * 86400)

static const ParamSpec trending_param_specs[] = {
	/* now: as long as an event counts 1/e */
	{.name = "window", PARAM_INTERVAL, SHORTEST_WINDOW, LONGEST_WINDOW, .interval = "1 day"},
	/* before: likewise */
	{.name = "baseline", PARAM_INTERVAL, 2 * SHORTEST_WINDOW, LONGEST_WINDOW, .interval = "7 days"},
	/* standard deviations by which it must be more than before */
	{.name = "z", PARAM_FLOAT, 0, 10, 2.33},
	/* events that weigh as much as the belief that nothing has changed */
	{.name = "prior", PARAM_FLOAT, 0.1, 1e6, 2},
	{.name = NULL}
};

static const ParamSpec popular_param_specs[] = {
	/* an event counts 1/e after that; null: as in histories, of all times */
	{.name = "window", PARAM_INTERVAL, SHORTEST_WINDOW, LONGEST_WINDOW},
	{.name = NULL}
};

extern const ModelAlgorithm trending_algorithm;
extern const ModelAlgorithm popular_algorithm;

bool
trending_params(const RecsysModel *model, TrendingParams *params)
{
	memset(params, 0, sizeof(TrendingParams));
	params->trends = strcmp(model->algorithm, trending_algorithm.name) == 0;
	params->windows.length[TREND_RECENT] = params_get(model->params, "window") * USECS_PER_SEC;
	if (params->trends)
	{
		params->windows.length[TREND_LONGER] = params_get(model->params, "baseline") * USECS_PER_SEC;
		params->z = params_get(model->params, "z");
		params->prior = params_get(model->params, "prior");
	}
	return params->windows.length[TREND_RECENT] > 0;
}

/* ----------------------------------------------------------- declaration */

static char *
table_name(const RecsysSource *source, const char *model, const char *kind)
{
	return quote_qualified_identifier(NameStr(source->name), psprintf("%s%s", model, kind));
}

static const char *
constraint_name(const char *model, const char *kind)
{
	return quote_identifier(psprintf("%s%s%s", model, kind, TRENDING_INDEX));
}

char *
trending_create_sql(const RecsysSource *source, const char *model)
{
	return psprintf("CREATE TABLE %1$s (block int4 CONSTRAINT %2$s PRIMARY KEY,"
					" recent float8[] NOT NULL, longer float8[] NOT NULL, events int8[] NOT NULL,"
					" as_of int8[] NOT NULL) WITH (fillfactor = 50);"
					" COMMENT ON TABLE %1$s IS 'events of each item as decayed sums at as_of (microseconds since 2000), 32 items a row: item i stands in block i / 32 + 1 at place i %% 32 + 1; item 0 counts all';"
					" CREATE TABLE %3$s (rank int4 CONSTRAINT %4$s PRIMARY KEY, item_id int4 NOT NULL,"
					" recent float8 NOT NULL, longer float8 NOT NULL, as_of timestamptz NOT NULL)"
					" WITH (fillfactor = 50);"
					" COMMENT ON TABLE %3$s IS 'the best items as of the last flush, with their counts; rank 0: of all items'",
					table_name(source, model, TRENDING_COUNTS),
					constraint_name(model, TRENDING_COUNTS),
					table_name(source, model, TRENDING_TOP),
					constraint_name(model, TRENDING_TOP));
}

char *
trending_drop_sql(const RecsysSource *source, const char *model)
{
	return psprintf("DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s",
					table_name(source, model, TRENDING_COUNTS),
					table_name(source, model, TRENDING_TOP));
}

/* Error if the source has no times, or the parameters make no sense together. */
void
trending_check(const RecsysSource *source, const RecsysModel *model)
{
	TrendingParams params;

	if (!trending_params(model, &params))
		return;
	if (source->time_column == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("source \"%s\" has no event time column, which algorithm \"%s\" with a window needs",
					   NameStr(source->name), model->algorithm),
				params.trends ?
				errhint("Create the source with event_time_column.") :
				errhint("Create the source with event_time_column, or leave out the window."));
	if (params.trends &&
		params.windows.length[TREND_LONGER] < 2 * params.windows.length[TREND_RECENT])
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("baseline of %g seconds is too short for a window of %g seconds",
					   params.windows.length[TREND_LONGER] / USECS_PER_SEC,
					   params.windows.length[TREND_RECENT] / USECS_PER_SEC),
				errhint("Make \"baseline\" at least twice as long as \"window\"; 7 times is usual."));
}

static bool
is_plain(const RecsysModel *model)
{
	TrendingParams params;

	return !trending_params(model, &params);
}

/* ----------------------------------------------------------------- answers */

static StateTable *
open_counts(ServeContext *cx)
{
	char	   *name = psprintf("%s%s", NameStr(cx->model->name), TRENDING_COUNTS);

	return checked_open(cx->source, name, psprintf("%s%s", name, TRENDING_INDEX), TREND_COUNT_BLOCK + 1,
						TREND_COUNT_NCOLUMNS, trend_count_types);
}

/* False: nothing of it is counted. */
static bool
get_count(StateTable *t, Snapshot snapshot, int32 item, TrendCount *count)
{
	Datum		key = Int32GetDatum(TREND_BLOCK_OF(item));
	TupleTableSlot *slot = table_get(t, snapshot, 1, &key);
	TrendCount	counts[TREND_BLOCK_SIZE];

	if (slot == NULL)
		return false;
	trend_counts_read(slot, counts);
	*count = counts[TREND_PLACE_OF(item)];
	return count->events > 0;
}

/* The published rows in order; the first one is that of all. */
typedef struct TopScan
{
	StateTable *table;
	TrendCount	all;
	int32		item;			/* of the row at hand */
	TrendCount	count;
} TopScan;

static bool
read_row(TopScan *scan, TupleTableSlot *slot)
{
	if (slot == NULL)
		return false;
	scan->item = DatumGetInt32(checked_attribute(slot, TOP_ITEM + 1));
	scan->count.sums[TREND_RECENT] = DatumGetFloat8(checked_attribute(slot, TOP_RECENT + 1));
	scan->count.sums[TREND_LONGER] = DatumGetFloat8(checked_attribute(slot, TOP_LONGER + 1));
	scan->count.as_of = DatumGetTimestampTz(checked_attribute(slot, TOP_AS_OF + 1));
	return true;
}

/* False: nothing is published. */
static bool
top_begin(TopScan *scan, ServeContext *cx)
{
	char	   *name = psprintf("%s%s", NameStr(cx->model->name), TRENDING_TOP);

	memset(scan, 0, sizeof(TopScan));
	scan->table = checked_open(cx->source, name, psprintf("%s%s", name, TRENDING_INDEX), TOP_RANK + 1,
							   TOP_NCOLUMNS, trending_top_types);
	if (!read_row(scan, table_get(scan->table, cx->snapshot, 0, NULL)))
		return false;
	scan->all = scan->count;
	return true;
}

static bool
top_next(TopScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	return read_row(scan, table_get_next(scan->table));
}

static void
recommend_only(ServeContext *cx, const TrendingParams *params, const int32 *items, int n,
			   Candidates *out)
{
	StateTable *t = open_counts(cx);
	TrendCount	all,
				count;

	for (int i = 0; i < n && get_count(t, cx->snapshot, 0, &all); i++)
	{
		double		score;

		CHECK_FOR_INTERRUPTS();
		if (!get_count(t, cx->snapshot, items[i], &count))
			continue;
		score = trending_score(params, &count, &all, cx->now);
		if (score > trending_least(params))
			candidates_add(out, items[i], score);
	}
	checked_close(t);
}

void
trending_recommend(ServeContext *cx, const History *history, Candidates *out)
{
	TrendingParams params;
	TopScan		scan;
	int			n;
	int32	   *only = candidates_only(out, &n);
	int			found = 0;

	(void) history;
	(void) trending_params(cx->model, &params);
	if (only)
	{
		recommend_only(cx, &params, only, n, out);
		return;
	}
	if (top_begin(&scan, cx))
		while (top_next(&scan))
		{
			double		score;

			if (!candidates_admit(out, scan.item))
				continue;
			score = trending_score(&params, &scan.count, &scan.all, cx->now);
			if (score > trending_least(&params))
				candidates_add(out, scan.item, score);
			/* popular items keep their order */
			if (++found >= cx->wanted && !params.trends)
				break;
		}
	checked_close(scan.table);
}

double
trending_predict(ServeContext *cx, const History *history, int32 item)
{
	TrendingParams params;
	TrendCount	all,
				count;
	StateTable *t;
	double		score = NAN;

	(void) history;
	if (!trending_params(cx->model, &params))
		return NAN;
	t = open_counts(cx);
	if (get_count(t, cx->snapshot, 0, &all) && get_count(t, cx->snapshot, item, &count))
		score = trending_score(&params, &count, &all, cx->now);
	checked_close(t);
	return score;
}

void
trending_each(ServeContext *cx, TrendCallback each, void *arg)
{
	TrendingParams params;
	TopScan		scan;

	(void) trending_params(cx->model, &params);
	if (top_begin(&scan, cx))
		while (top_next(&scan))
		{
			Trend		trend = trend_at(&scan.count, &scan.all, &params.windows, cx->now,
										 params.prior, params.z);

			if (trend.bound > 1 && !each(arg, scan.item, &trend))
				break;
		}
	checked_close(scan.table);
}

#define COUNTING_CALLBACKS \
	.impersonal = true, \
	.numbers = true, \
	.create_sql = trending_create_sql, \
	.drop_sql = trending_drop_sql, \
	.check = trending_check, \
	.signature = trending_signature, \
	.open = trending_open, \
	.close = trending_close, \
	.build = trending_build, \
	.event = trending_event, \
	.write = trending_write, \
	.flush = trending_flush, \
	.publish = trending_publish, \
	.forget_item = trending_forget_item, \
	.reset = trending_reset, \
	.memory = trending_memory, \
	.recommend = trending_recommend, \
	.predict = trending_predict

const ModelAlgorithm trending_algorithm = {
	.name = "trending",
	.params = trending_param_specs,
	COUNTING_CALLBACKS
};

/*
 * popular: the same list for everybody.  Without a window it is the list that
 * is part of every source (popular_items, written at each flush), and the model
 * has no state.
 */
const ModelAlgorithm popular_algorithm = {
	.name = "popular",
	.params = popular_param_specs,
	.plain = is_plain,
	COUNTING_CALLBACKS
};
