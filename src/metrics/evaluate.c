/*
 * evaluate.c
 *	  recsys.evaluate(): checks what is asked for, has a worker do it and puts out
 *	  the figures.
 *
 * The worker (train/evaluate.c) reads the histories, holds a part of them out,
 * fits a model to the rest in its own memory and recommends to each user of the
 * part held out.  It writes nothing, so the model that serves stays as it is.
 *
 * Averages over users, each with the first k items recommended (numeric/ranking.h):
 *
 *		precision	hits / k
 *		recall		hits / relevant items
 *		ndcg		sum over hits of 1 / log2(rank + 1), over the same sum for
 *					min(relevant, k) hits on top
 *		map			sum over hits of (hits so far / rank), over min(relevant, k)
 *		mrr			1 / rank of the first hit, else 0
 *		hit_rate	1 with a hit, else 0
 *
 * and over all that was recommended:
 *
 *		coverage	share of the items trained on that anybody was recommended
 *		novelty		mean of -log2(share of the users trained on who have the item)
 *
 * Relevant are the items held out.  Users who have none do not count; what is in
 * a user's training history is not recommended.
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "catalog/pg_class_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "catalog/catalog.h"
#include "compat.h"
#include "metrics/evaluation.h"
#include "models/model.h"
#include "recsys.h"
#include "stream/trainings.h"

PG_FUNCTION_INFO_V1(recsys_evaluate);

/* Arguments by number. */
enum
{
	ARG_SOURCE, ARG_MODEL, ARG_K, ARG_SPLIT, ARG_TEST, ARG_SHARE, ARG_FOLDS, ARG_FOLD,
	ARG_SEED, ARG_MAX_USERS, ARG_PARAMS, ARG_RELEVANT_FROM
};

static const char *const metric_names[NMETRICS] = {
	[METRIC_USERS] = "users",
	[METRIC_INTERACTIONS] = "interactions",
	[METRIC_PRECISION] = "precision",
	[METRIC_RECALL] = "recall",
	[METRIC_NDCG] = "ndcg",
	[METRIC_MAP] = "map",
	[METRIC_MRR] = "mrr",
	[METRIC_HIT_RATE] = "hit_rate",
	[METRIC_COVERAGE] = "coverage",
	[METRIC_NOVELTY] = "novelty",
	[METRIC_RMSE] = "rmse",
	[METRIC_MAE] = "mae"
};

static const char *const split_names[] = {
	[SPLIT_LAST] = "last",
	[SPLIT_TIME] = "time",
	[SPLIT_RANDOM] = "random",
	[SPLIT_TABLE] = "table"
};

/* -------------------------------------------------------------------- arguments */

static pg_noreturn void
not_valid(const char *message, const char *hint)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("%s", message),
			errhint("%s", hint));
}

/* Without a split, what else is given tells which. */
static EvaluationSplit
split_argument(FunctionCallInfo fcinfo)
{
	char	   *name;

	if (PG_ARGISNULL(ARG_SPLIT))
		return !PG_ARGISNULL(ARG_TEST) ? SPLIT_TABLE :
			!PG_ARGISNULL(ARG_FOLDS) ? SPLIT_RANDOM : SPLIT_LAST;
	name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_SPLIT));
	for (int i = 0; i < (int) lengthof(split_names); i++)
		if (strcmp(split_names[i], name) == 0)
			return i;
	not_valid(psprintf("split \"%s\" is unknown", name),
			  "Use one of: last, time, random, table.");
}

static int
int_argument(FunctionCallInfo fcinfo, int argno, const char *name, int min, int max, int otherwise)
{
	int			value;

	if (PG_ARGISNULL(argno))
		return otherwise;
	value = PG_GETARG_INT32(argno);
	if (value < min || value > max)
		not_valid(psprintf("%s is %d", name, value),
				  psprintf("Give a number between %d and %d.", min, max));
	return value;
}

static void
check_split(const RecsysSource *source, const Evaluation *e, bool has_test)
{
	if (e->split == SPLIT_TABLE && !has_test)
		not_valid("split \"table\" needs a test table", "Name it: test => 'schema.table'.");
	if (e->split != SPLIT_TABLE && has_test)
		not_valid(psprintf("split \"%s\" takes no test table", split_names[e->split]),
				  "Use split => 'table', or leave test out.");
	if (e->split != SPLIT_RANDOM && e->folds > 0)
		not_valid(psprintf("split \"%s\" has no folds", split_names[e->split]),
				  "Use split => 'random', or leave folds out.");
	if (e->folds == 0 && e->fold > 0)
		not_valid("fold is given without folds", "Say how many there are, as in folds => 5.");
	if (e->split == SPLIT_TIME && source->time_column == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("source \"%s\" has no time column, by which it could be split",
					   NameStr(source->name)),
				errhint("Use split => 'random', or create the source with event_time_column."));
}

static void
read_arguments(FunctionCallInfo fcinfo, const RecsysSource *source, Evaluation *e)
{
	memset(e, 0, sizeof(Evaluation));
	e->k = int_argument(fcinfo, ARG_K, "k", 1, EVALUATION_MAX_K, 20);
	e->split = split_argument(fcinfo);
	e->share = PG_ARGISNULL(ARG_SHARE) ? 0.1 : PG_GETARG_FLOAT8(ARG_SHARE);
	if (!(e->share > 0 && e->share < 1))
		not_valid(psprintf("share is %g", e->share),
				  "It is held out of all interactions: give a number between 0 and 1.");
	e->folds = int_argument(fcinfo, ARG_FOLDS, "folds", 2, 1000, 0);
	e->fold = int_argument(fcinfo, ARG_FOLD, "fold", 1, e->folds > 0 ? e->folds : PG_INT32_MAX, 0);
	e->seed = PG_ARGISNULL(ARG_SEED) ? 1 : PG_GETARG_INT64(ARG_SEED);
	e->max_users = int_argument(fcinfo, ARG_MAX_USERS, "max_users", 1, PG_INT32_MAX, 0);
	e->relevant_from = PG_ARGISNULL(ARG_RELEVANT_FROM) ? -INFINITY :
		PG_GETARG_FLOAT8(ARG_RELEVANT_FROM);
	if (!source->explicit_feedback && !PG_ARGISNULL(ARG_RELEVANT_FROM))
		not_valid("relevant_from is for ratings, but feedback is implicit", "Leave it out.");
	if (isnan(e->relevant_from))
		not_valid("relevant_from must be a number, not NaN", "Pass the lowest rating that is relevant.");
	check_split(source, e, !PG_ARGISNULL(ARG_TEST));
}

static void
check_test(FunctionCallInfo fcinfo)
{
	Oid			test = PG_GETARG_OID(ARG_TEST);
	char		relkind = get_rel_relkind(test);

	if (relkind == '\0')
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("test table with OID %u does not exist", test),
				errhint("Name it: test => 'schema.table'."));
	if (strchr("rpvmf", relkind) == NULL)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("%s is not a table or view", quoted_relation(test)),
				errhint("Give a table with a row per user and item to be found."));
}

static RecsysSource *
source_argument(FunctionCallInfo fcinfo)
{
	RecsysSource *source;

	if (PG_ARGISNULL(ARG_SOURCE))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("argument \"source\" must not be null"),
				errhint("SELECT source FROM recsys.sources; shows the sources."));
	source = catalog_source_by_name(NameStr(*PG_GETARG_NAME(ARG_SOURCE)), false);
	catalog_check_owner(source);
	if (RecoveryInProgress())
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot evaluate a model on a standby"),
				errhint("Call recsys.evaluate() on the primary."));
	if (!recsys_preloaded)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("recsys is not in shared_preload_libraries"),
				errhint("Add it there, then restart the server."));
	return source;
}

static Jsonb *
params_argument(FunctionCallInfo fcinfo, const RecsysSource *source, const RecsysModel *model)
{
	const ModelAlgorithm *algorithm = model_algorithm(model->algorithm);

	if (PG_ARGISNULL(ARG_PARAMS))
		return model->params;
	return params_complete(algorithm->name, algorithm->params, source->explicit_feedback,
						   PG_GETARG_JSONB_P(ARG_PARAMS), model->params);
}

/* ----------------------------------------------------------------------- the run */

/* The request in shared memory: what was asked, the parameters, the test rows. */
static dsm_segment *
share_request(const Evaluation *request, const Jsonb *params, const TestRow *test, int64 ntest)
{
	Size		params_at = MAXALIGN(sizeof(Evaluation));
	Size		test_at = params_at + MAXALIGN(VARSIZE(params));
	Size		size = test_at + sizeof(TestRow) * (Size) ntest;
	dsm_segment *segment = dsm_create(size, 0);
	Evaluation *e = dsm_segment_address(segment);

	*e = *request;
	e->params = params_at;
	e->test = test_at;
	e->ntest = ntest;
	memcpy((char *) e + params_at, params, VARSIZE(params));
	if (ntest > 0)
		memcpy((char *) e + test_at, test, sizeof(TestRow) * (Size) ntest);
	return segment;
}

static void
run(const RecsysSource *source, const RecsysModel *model, const EvaluationArea *area)
{
	if (!training_run(TRAINING_EVALUATE, source, model, area, sizeof(EvaluationArea)))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("model \"%s\" of source \"%s\" was changed or dropped during its evaluation",
					   NameStr(model->name), NameStr(source->name)),
				errhint("Evaluate it again."));
}

static void
put_out(FunctionCallInfo fcinfo, const Evaluation *e)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < NMETRICS; i++)
	{
		Datum		values[2] = {CStringGetTextDatum(metric_names[i]), Float8GetDatum(e->values[i])};
		bool		isnull[2] = {false, false};

		if (!isnan(e->values[i]))
			tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
}

Datum
recsys_evaluate(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_argument(fcinfo);
	RecsysModel *model = catalog_model(source, PG_ARGISNULL(ARG_MODEL) ? NULL :
									   NameStr(*PG_GETARG_NAME(ARG_MODEL)));
	Evaluation	request;
	EvaluationArea area;
	dsm_segment *segment;
	TestRow    *test = NULL;
	int64		ntest = 0;
	Jsonb	   *params = params_argument(fcinfo, source, model);

	if (wait_row_is_ours("model", model->id))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("model \"%s\" was created or changed in this transaction",
					   NameStr(model->name)),
				errhint("COMMIT first; the evaluation sees it then."));
	read_arguments(fcinfo, source, &request);
	if (request.split == SPLIT_TABLE)
	{
		check_test(fcinfo);
		test = evaluation_read_test(source, PG_GETARG_OID(ARG_TEST), &ntest);
	}
	segment = share_request(&request, params, test, ntest);
	area.handle = dsm_segment_handle(segment);
	run(source, model, &area);
	if (!((Evaluation *) dsm_segment_address(segment))->answered)
		elog(ERROR, "evaluation has ended without an answer");
	put_out(fcinfo, dsm_segment_address(segment));
	dsm_detach(segment);
	return (Datum) 0;
}
