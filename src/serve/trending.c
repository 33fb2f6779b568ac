/*
 * trending.c
 *	  trending(): what a model of algorithm trending says of its items.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "models/trending.h"
#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_trending);

#define TRENDING "trending"

/* Events now, and how many were to be expected. */
static const Oid trending_columns[] = {FLOAT4OID, FLOAT4OID, InvalidOid};

typedef struct TrendList
{
	int			n;
	int32		items[TRENDING_PUBLISHED];
	Trend		trends[TRENDING_PUBLISHED];
} TrendList;

static bool
collect(void *arg, int32 item, const Trend *trend)
{
	TrendList  *list = arg;

	if (list->n == TRENDING_PUBLISHED)
		return false;
	list->items[list->n] = item;
	list->trends[list->n++] = *trend;
	return true;
}

static bool
is_trending(const RecsysModel *model)
{
	return model && strcmp(model->algorithm, TRENDING) == 0;
}

/* The model named; else the default model or the oldest that is one of trends. */
static void
use_trending_model(ServeCall *call, int argno)
{
	ListCell   *lc;

	serve_use_model(call, argno);
	if (is_trending(call->model))
		return;
	if (!call->fcinfo->args[argno].isnull)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("algorithm \"%s\" of model \"%s\" does not look for trends",
					   call->model->algorithm, NameStr(call->model->name)),
				errhint("Name a model of algorithm \"%s\", or none.", TRENDING));
	foreach(lc, call->served->models)
		if (is_trending(lfirst(lc)))
		{
			serve_take_model(call, lfirst(lc));
			return;
		}
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("source \"%s\" has no model of algorithm \"%s\"",
				   NameStr(call->source->name), TRENDING),
			errhint("SELECT recsys.create_model(%s, '%s', '%s');",
					quote_literal_cstr(NameStr(call->source->name)), TRENDING, TRENDING));
}

static void
list_trends(ServeCall *call, const TrendList *list, int rows)
{
	RankKey    *ranked = palloc(sizeof(RankKey) * Max(list->n, 1));
	Candidates *places = candidates_create();

	for (int i = 0; i < list->n; i++)
	{
		ranked[i] = rank_of(list->items[i], list->trends[i].bound);
		candidates_add(places, list->items[i], i);
	}
	rank_sort(ranked, list->n);
	for (int i = 0; i < list->n && rows > 0; i++)
	{
		int32		item = rank_item(ranked[i]);
		const Trend *trend = &list->trends[(int) candidates_find(places, item)->score];
		Datum		more[2];

		more[0] = Float4GetDatum(score_as_real(trend->now));
		more[1] = Float4GetDatum(score_as_real(trend->expected));
		if (result_item_more(call, item, trend->bound, more, NULL))
			rows--;
	}
}

/* trending(k, model) */
Datum
recsys_trending(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	TrendList  *list;
	int			rows;

	serve_begin(&call, fcinfo);
	rows = serve_rows_wanted(&call, 0, "k", 10);
	use_trending_model(&call, 1);
	serve_open_items(&call);
	result_begin_more(&call, trending_columns);
	if (call.algorithm)
	{
		list = palloc0(sizeof(TrendList));
		trending_each(&call.cx, collect, list);
		list_trends(&call, list, rows);
	}
	serve_end(&call);
	return (Datum) 0;
}
