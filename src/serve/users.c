/*
 * users.c
 *	  Answers about users: similar_users() and user_factors().
 *
 * A model may know how to find users like one.  One that only compares is given
 * every stored profile in turn, in order of their primary key: all rows of a
 * user come together.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "serve/serve.h"
#include "state/array.h"

PG_FUNCTION_INFO_V1(recsys_similar_users);
PG_FUNCTION_INFO_V1(recsys_user_factors);

/* No answer has more rows. */
#define MOST_USERS 100000

/* Users beyond those wanted that are searched for, in case some are forgotten. */
#define SPARE_USERS 16

static void
no_such_answer(ServeCall *call, const char *what, const char *hint)
{
	if (call->model == NULL)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("source \"%s\" has no model", NameStr(call->source->name)),
				errhint("Create one with recsys.create_model()."));
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("algorithm \"%s\" of model \"%s\" does not %s",
				   call->model->algorithm, NameStr(call->model->name), what),
			errhint("%s", hint));
}

/* The algorithm of the model named, whether it is ready or not. */
static const ModelAlgorithm *
declared_algorithm(ServeCall *call)
{
	return call->model ? model_algorithm(call->model->algorithm) : NULL;
}

/* ---------------------------------------------------------- similar users */

/* Users in order of similarity; the profiles of one follow each other. */
typedef struct UserScan
{
	ServeCall  *call;
	void	   *comparison;
	int32		user;			/* whose history is being collected */
	History		history;
	MemoryContext context;		/* of that history */
	TopK		top;
} UserScan;

static void
compare_user(UserScan *s)
{
	double		score;

	if (s->history.n > 0 && s->user != s->call->cx.user)
	{
		score = s->call->algorithm->compare(s->comparison, &s->history);
		if (!isnan(score))
			topk_push(&s->top, s->user, score_as_real(score));
	}
	memset(&s->history, 0, sizeof(History));
	MemoryContextReset(s->context);
}

static void
compare_all(UserScan *s)
{
	StateTable *profiles = history_open_profiles(s->call);

	for (TupleTableSlot *slot = table_get(profiles, s->call->snapshot, 0, NULL);
		 slot; slot = table_get_next(profiles))
	{
		int32		user = DatumGetInt32(checked_attribute(slot, PROFILE_USER));
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (user != s->user)
			compare_user(s);
		s->user = user;
		old = MemoryContextSwitchTo(s->context);
		history_add_row(s->call, slot, &s->history);
		MemoryContextSwitchTo(old);
	}
	compare_user(s);
	checked_close(profiles);
}

static void
list_users(ServeCall *call, RankKey *ranked, int n, int rows)
{
	rank_sort(ranked, n);
	for (int i = 0; i < n && rows > 0; i++)
	{
		TupleTableSlot *slot = serve_user(call, rank_item(ranked[i]));

		if (slot == NULL)
			continue;
		result_row(call, checked_attribute(slot, ITEM_KEY), rank_score(ranked[i]));
		rows--;
	}
}

/* By comparing with everybody. */
static void
list_compared(ServeCall *call, const History *history, int rows)
{
	UserScan	scan = {.call = call};

	scan.comparison = call->algorithm->compare_begin(&call->cx, history);
	if (scan.comparison == NULL)
		return;
	scan.context = AllocSetContextCreate(call->context, "recsys profile",
										 ALLOCSET_DEFAULT_SIZES);
	topk_init(&scan.top, palloc(sizeof(RankKey) * rows), rows);
	compare_all(&scan);
	call->algorithm->compare_end(scan.comparison);
	list_users(call, scan.top.heap, scan.top.n, rows);
}

/* By the model's own search. */
static void
list_searched(ServeCall *call, const History *history, int rows)
{
	int			wanted = rows + SPARE_USERS;
	ScoredItem *similar = palloc(sizeof(ScoredItem) * wanted);
	RankKey    *ranked = palloc(sizeof(RankKey) * wanted);
	int			n = call->algorithm->similar_users(&call->cx, history, wanted, similar);

	for (int i = 0; i < n; i++)
		ranked[i] = rank_of(similar[i].item, similar[i].score);
	list_users(call, ranked, n, rows);
}

/* similar_users(user_id, k, model) */
Datum
recsys_similar_users(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	History		history;
	int			rows;
	const ModelAlgorithm *algorithm;

	serve_begin(&call, fcinfo);
	rows = serve_rows_wanted(&call, 1, "k", 10);
	serve_use_model_for_user(&call, 2);
	algorithm = declared_algorithm(&call);
	if (algorithm == NULL || (algorithm->compare == NULL && algorithm->similar_users == NULL))
		no_such_answer(&call, "compare users", "Name a model whose algorithm is user_knn or als.");
	result_begin_users(&call);
	history_load(&call, 0, &history);
	rows = Min(rows, MOST_USERS);
	if (call.algorithm == NULL || history.n == 0)
		;						/* no rows */
	else if (algorithm->similar_users)
		list_searched(&call, &history, rows);
	else
		list_compared(&call, &history, rows);
	serve_end(&call);
	return (Datum) 0;
}

/* ---------------------------------------------------------------- vectors */

/* user_factors(user_id, model) */
Datum
recsys_user_factors(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	History		history;
	const ModelAlgorithm *algorithm;
	const float *vector = NULL;
	int			dim;
	Datum		result = 0;
	MemoryContext old;

	serve_begin(&call, fcinfo);
	serve_use_model_for_user(&call, 1);
	algorithm = declared_algorithm(&call);
	if (algorithm == NULL || algorithm->user_factors == NULL)
		no_such_answer(&call, "have vectors of users", "Name an embedding model, such as als.");
	history_load(&call, 0, &history);
	if (call.algorithm && history.n > 0)
		vector = algorithm->user_factors(&call.cx, &history, &dim);
	if (vector)
	{
		old = MemoryContextSwitchTo(call.caller);
		result = array_datum(vector, dim, sizeof(float), FLOAT4OID);
		MemoryContextSwitchTo(old);
	}
	serve_end(&call);
	if (vector == NULL)
		PG_RETURN_NULL();
	return result;
}
