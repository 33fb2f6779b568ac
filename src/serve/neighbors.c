/*
 * neighbors.c
 *	  Whose word a recommendation rests on: explain_neighbors() counts the
 *	  neighbours that the model asked, and explain_users() names them.
 *
 * What a neighbour is depends on the model: other users, sessions, or the items of
 * the user's own history.  Counts tell nothing of anybody; who may see users by
 * their keys is decided by the right to call explain_users(), which nobody has but
 * the owner until it is granted.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_explain_neighbors);
PG_FUNCTION_INFO_V1(recsys_explain_users);

/* neighbors_are, neighbors, holding, own_items */
static const Oid neighbor_columns[] = {TEXTOID, INT4OID, INT4OID, INT4OID, InvalidOid};

/* The model and the item of arguments; false if there is nothing to explain. */
static bool
begin_explaining(ServeCall *call, int model_argno, History *history, int32 *item)
{
	serve_use_model_for_user(call, model_argno);
	*item = serve_item_argument(call, 1);
	memset(history, 0, sizeof(History));
	if (*item == 0 || call->algorithm == NULL)
		return false;
	history_load(call, 0, history);
	return history->n > 0 || call->algorithm->impersonal;
}

/* What items of the history have to do with it: how many, and the sum. */
static int
count_own_items(ServeCall *call, const History *history, int32 item, double *sum)
{
	double	   *contributions = palloc0(sizeof(double) * Max(history->n, 1));
	int			n = 0;

	*sum = 0;
	if (call->algorithm->explain == NULL || history->n == 0)
		return 0;
	call->algorithm->explain(&call->cx, history, item, contributions);
	for (int h = 0; h < history->n; h++)
	{
		n += contributions[h] != 0;
		*sum += contributions[h];
	}
	return n;
}

static void
put_counts(ServeCall *call, const History *history, int32 item)
{
	const ModelAlgorithm *algorithm = call->algorithm;
	Datum		more[4] = {0};
	bool		nulls[4] = {false};
	double		score;
	int			own = count_own_items(call, history, item, &score);

	if (algorithm->neighbors && history->n > 0)
	{
		ScoredItem *holding;
		int			nholding;

		more[1] = Int32GetDatum(algorithm->neighbors(&call->cx, history, item, &nholding, &holding));
		more[2] = Int32GetDatum(nholding);
	}
	else if (algorithm->neighbors_are)
	{
		/* items of the history, which speak for those in their lists */
		more[1] = Int32GetDatum(history->n);
		more[2] = Int32GetDatum(own);
	}
	else
		nulls[1] = nulls[2] = true;
	if (algorithm->plain && algorithm->plain(call->model))
	{
		TupleTableSlot *slot = serve_item(call, item);

		score = slot ? item_popularity(call, slot) : 0;
	}
	else if (algorithm->impersonal && algorithm->predict)
		score = algorithm->predict(&call->cx, history, item);
	nulls[0] = algorithm->neighbors_are == NULL;
	if (!nulls[0])
		more[0] = CStringGetTextDatum(algorithm->neighbors_are);
	more[3] = Int32GetDatum(own);
	(void) result_item_more(call, item, isnan(score) ? 0 : score, more, nulls);
}

/* explain_neighbors(user_id, item_id, model): one row */
Datum
recsys_explain_neighbors(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	History		history;
	int32		item;
	bool		any;

	serve_begin(&call, fcinfo);
	any = begin_explaining(&call, 2, &history, &item);
	serve_open_items(&call);
	result_begin_more(&call, neighbor_columns);
	if (any)
		put_counts(&call, &history, item);
	serve_end(&call);
	return (Datum) 0;
}

static void
check_neighbors_are_users(ServeCall *call)
{
	const ModelAlgorithm *algorithm = call->model ? model_algorithm(call->model->algorithm) : NULL;

	if (call->model == NULL)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("source \"%s\" has no model", NameStr(call->source->name)),
				errhint("Create one with recsys.create_model()."));
	if (algorithm->neighbors_are == NULL || strcmp(algorithm->neighbors_are, "users") != 0)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("algorithm \"%s\" of model \"%s\" does not ask other users",
					   call->model->algorithm, NameStr(call->model->name)),
				errhint("Name a model whose algorithm is user_knn, or call explain_neighbors()."));
}

/* explain_users(user_id, item_id, n, model): the largest contributions first */
Datum
recsys_explain_users(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	History		history;
	ScoredItem *holding;
	RankKey    *ranked;
	int32		item;
	int			rows,
				n = 0;

	serve_begin(&call, fcinfo);
	rows = serve_rows_wanted(&call, 2, "n", 5);
	if (begin_explaining(&call, 3, &history, &item) && call.algorithm->neighbors && history.n > 0)
		(void) call.algorithm->neighbors(&call.cx, &history, item, &n, &holding);
	check_neighbors_are_users(&call);
	result_begin_users(&call);
	ranked = palloc(sizeof(RankKey) * Max(n, 1));
	for (int i = 0; i < n; i++)
		ranked[i] = rank_of(holding[i].item, holding[i].score);
	rank_sort(ranked, n);
	for (int i = 0; i < n && rows > 0; i++)
	{
		TupleTableSlot *slot = serve_user(&call, rank_item(ranked[i]));

		if (slot == NULL)
			continue;			/* forgotten */
		result_row(&call, checked_attribute(slot, ITEM_KEY), rank_score(ranked[i]));
		rows--;
	}
	serve_end(&call);
	return (Datum) 0;
}
