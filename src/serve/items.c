/*
 * items.c
 *	  Answers about one item: similar_items(), predict() and explain().
 *
 * An unknown item has no answer.  While a model is building, and where there
 * is none that knows similarity, similar_items() answers from popular.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_similar_items);
PG_FUNCTION_INFO_V1(recsys_predict);
PG_FUNCTION_INFO_V1(recsys_explain);

/* No model lists more neighbours of an item. */
#define MOST_SIMILAR 65536

/* Items beyond those wanted that are read, in case some are forgotten. */
#define SPARE_ITEMS 16

static void
list_similar(ServeCall *call, int32 item, int rows)
{
	int			wanted = Min(rows, MOST_SIMILAR) + SPARE_ITEMS;
	ScoredItem *similar;
	int			n;

	similar = palloc(sizeof(ScoredItem) * wanted);
	n = call->algorithm->similar_items(&call->cx, item, wanted, similar);
	for (int i = 0; i < n && rows > 0; i++)
		if (result_item(call, similar[i].item, similar[i].score))
			rows--;
}

static void
list_popular_but(ServeCall *call, int32 item, int rows)
{
	PopularScan *scan = popular_begin(call);
	ScoredItem	popular;

	while (rows > 0 && popular_next(scan, &popular))
	{
		CHECK_FOR_INTERRUPTS();
		if (popular.item != item && result_item(call, popular.item, popular.score))
			rows--;
	}
	popular_end(scan);
}

/* similar_items(item_id, k, model) */
Datum
recsys_similar_items(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	int			rows;
	int32		item;

	serve_begin(&call, fcinfo);
	rows = serve_rows_wanted(&call, 1, "k", 10);
	serve_use_model(&call, 2);
	item = serve_item_argument(&call, 0);
	serve_open_items(&call);
	result_begin(&call);
	if (item == 0)
		;						/* no rows */
	else if (call.algorithm && call.algorithm->similar_items)
		list_similar(&call, item, rows);
	else
		list_popular_but(&call, item, rows);
	serve_end(&call);
	return (Datum) 0;
}

/* predict(user_id, item_id, model) */
Datum
recsys_predict(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	History		history;
	int32		item;
	double		score = NAN;

	serve_begin(&call, fcinfo);
	serve_use_model_for_user(&call, 2);
	item = serve_item_argument(&call, 1);
	if (item != 0 && call.algorithm && call.algorithm->predict)
	{
		history_load(&call, 0, &history);
		if (history.n > 0 || call.algorithm->impersonal)
			score = call.algorithm->predict(&call.cx, &history, item);
	}
	serve_end(&call);
	if (isnan(score))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT4(score_as_real(score));
}

/* explain(user_id, item_id, n, model): the largest contributions first */
Datum
recsys_explain(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	History		history;
	RankKey    *ranking;
	double	   *contributions;
	int			rows,
				n = 0;
	int32		item;

	serve_begin(&call, fcinfo);
	rows = serve_rows_wanted(&call, 2, "n", 5);
	serve_use_model_for_user(&call, 3);
	item = serve_item_argument(&call, 1);
	serve_open_items(&call);
	result_begin(&call);
	memset(&history, 0, sizeof(history));
	if (item != 0 && call.algorithm && call.algorithm->explain)
		history_load(&call, 0, &history);
	if (history.n > 0)
	{
		contributions = palloc0(sizeof(double) * history.n);
		ranking = palloc(sizeof(RankKey) * history.n);
		call.algorithm->explain(&call.cx, &history, item, contributions);
		for (int i = 0; i < history.n; i++)
			if (contributions[i] != 0)
				ranking[n++] = rank_of(history.items[i], contributions[i]);
		rank_sort(ranking, n);
		for (int i = 0; i < n && rows > 0; i++)
			if (result_item(&call, rank_item(ranking[i]), rank_score(ranking[i])))
				rows--;
	}
	serve_end(&call);
	return (Datum) 0;
}
