/*
 * model_ddl.c
 *	  create_model(), alter_model(), drop_model(), set_default_model() and
 *	  set_fallback().
 *
 * The views of the source name the tables of its models, so they are replaced
 * after a model's tables are created and before they are dropped.  Of the
 * models of a source exactly one is the default.  Those that fill up answers of
 * others carry their place in that order, so that one that is dropped leaves no
 * trace.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

#include "catalog/internal.h"
#include "models/model.h"
#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_create_model);
PG_FUNCTION_INFO_V1(recsys_alter_model);
PG_FUNCTION_INFO_V1(recsys_drop_model);
PG_FUNCTION_INFO_V1(recsys_set_default_model);
PG_FUNCTION_INFO_V1(recsys_set_fallback);

static RecsysSource *
source_for_change(FunctionCallInfo fcinfo, const char *function, bool of_one_model)
{
	RecsysSource *source;

	catalog_require_argument(fcinfo, 0, "source");
	if (of_one_model)
		catalog_require_argument(fcinfo, 1, "model");
	source = source_from_row(source_row_for_change(function, PG_GETARG_NAME(0),
												   ShareUpdateExclusiveLock));
	if (!OidIsValid(source->nspid))
		source_schema_is_gone(NameStr(source->name));
	return source;
}

/* The newest rows of the models of a source. */
static List *
model_rows(const RecsysSource *source)
{
	return store_read(BY_MODEL_SOURCE, Int32GetDatum(source->id), NULL);
}

static CatalogRow *
find_model_row(const RecsysSource *source, const char *name)
{
	ListCell   *lc;

	foreach(lc, model_rows(source))
	{
		CatalogRow *row = lfirst(lc);

		if (strcmp(NameStr(*DatumGetName(row->values[MODEL_NAME])), name) == 0)
			return row;
	}
	return NULL;
}

static CatalogRow *
model_row(const RecsysSource *source, const char *name)
{
	CatalogRow *row = find_model_row(source, name);

	if (row == NULL)
		model_does_not_exist(source, name);
	return row;
}

static void
replace_views(const RecsysSource *source)
{
	PushActiveSnapshot(GetLatestSnapshot());
	serve_create_views(source);
	PopActiveSnapshot();
}

/* A callback's statements, as the owner; algorithms without tables have none. */
static void
run_model_sql(const RecsysSource *source, const char *model,
			  char *(*sql_of) (const RecsysSource *source, const char *model))
{
	char	   *sql = sql_of == NULL ? NULL : sql_of(source, model);

	if (sql != NULL)
		catalog_execute_as(source->owner, sql);
}

/* Columns of the events table that the model wants to be fed with. */
static void
check_model_columns(const RecsysSource *source, const ModelAlgorithm *algorithm, CatalogRow *row)
{
	RecsysModel *model = model_from_row(row);

	if (algorithm->columns)
		catalog_check_consumer_columns(source, algorithm->columns(source, model),
									   "model", NameStr(model->name));
}

/* Can the source have such a model? */
static void
check_model(const RecsysSource *source, const ModelAlgorithm *algorithm, const char *name, Datum params)
{
	RecsysModel model = {.source_id = source->id,.params = DatumGetJsonbP(params)};

	if (algorithm->check == NULL)
		return;
	namestrcpy(&model.name, name);
	model.algorithm = pstrdup(algorithm->name);
	algorithm->check(source, &model);
}

static void
set_default(CatalogRow *row, bool is_default)
{
	if (DatumGetBool(row->values[MODEL_IS_DEFAULT]) == is_default)
		return;
	row->values[MODEL_IS_DEFAULT] = BoolGetDatum(is_default);
	store_update("model", row);
}

Datum
recsys_create_model(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "create_model", true);
	char	   *name = NameStr(*PG_GETARG_NAME(1));
	const ModelAlgorithm *algorithm;
	CatalogRow	row = {0};

	catalog_require_argument(fcinfo, 2, "algorithm");
	catalog_require_argument(fcinfo, 3, "params");
	check_new_name("model", name);
	if (find_model_row(source, name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("model \"%s\" of source \"%s\" already exists",
						name, NameStr(source->name)),
				 errhint("Choose another name, or drop it: SELECT recsys.drop_model(%s, %s);",
						 quote_literal_cstr(NameStr(source->name)), quote_literal_cstr(name))));
	check_no_experiment(source, name);
	algorithm = model_algorithm(text_to_cstring(PG_GETARG_TEXT_PP(2)));

	row.values[MODEL_SOURCE_ID] = Int32GetDatum(source->id);
	row.values[MODEL_NAME] = PG_GETARG_DATUM(1);
	row.values[MODEL_ALGORITHM] = PG_GETARG_DATUM(2);
	row.values[MODEL_PARAMS] =
		JsonbPGetDatum(params_complete(algorithm->name, algorithm->params,
									   source->explicit_feedback,
									   PG_GETARG_JSONB_P(3), NULL));
	check_model(source, algorithm, name, row.values[MODEL_PARAMS]);
	row.values[MODEL_IS_DEFAULT] = BoolGetDatum(model_rows(source) == NIL);
	row.values[MODEL_STATE] = CStringGetTextDatum(MODEL_STATE_BUILDING);
	row.values[MODEL_VERSION] = Int32GetDatum(1);
	row.nulls[MODEL_FALLBACK] = true;
	row.values[MODEL_ID] = Int32GetDatum(store_nextval("model_id"));
	check_model_columns(source, algorithm, &row);
	store_insert("model", &row);

	run_model_sql(source, name, algorithm->create_sql);
	replace_views(source);
	catalog_changed();
	PG_RETURN_VOID();
}

/* The model stays as ready as it was: its old results serve until the worker,
 * which compares versions, has published anew. */
Datum
recsys_alter_model(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "alter_model", true);
	CatalogRow *row = model_row(source, NameStr(*PG_GETARG_NAME(1)));
	RecsysModel *model = model_from_row(row);
	const ModelAlgorithm *algorithm = model_algorithm(model->algorithm);
	Datum		params;

	catalog_require_argument(fcinfo, 2, "params");
	params = JsonbPGetDatum(params_complete(algorithm->name, algorithm->params,
											source->explicit_feedback,
											PG_GETARG_JSONB_P(2), model->params));
	if (DatumGetBool(DirectFunctionCall2(jsonb_eq, params, JsonbPGetDatum(model->params))))
		PG_RETURN_VOID();
	check_model(source, algorithm, NameStr(model->name), params);
	row->values[MODEL_PARAMS] = params;
	row->values[MODEL_VERSION] = Int32GetDatum(model->version + 1);
	check_model_columns(source, algorithm, row);
	store_update("model", row);
	catalog_changed();
	PG_RETURN_VOID();
}

/* After the default model was dropped the oldest one takes its place. */
static void
choose_default(const RecsysSource *source)
{
	CatalogRow *oldest = NULL;
	ListCell   *lc;

	foreach(lc, model_rows(source))
	{
		CatalogRow *row = lfirst(lc);

		if (DatumGetBool(row->values[MODEL_IS_DEFAULT]))
			return;
		if (oldest == NULL || DatumGetInt32(row->values[MODEL_ID]) <
			DatumGetInt32(oldest->values[MODEL_ID]))
			oldest = row;
	}
	if (oldest != NULL)
		set_default(oldest, true);
}

Datum
recsys_drop_model(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "drop_model", true);
	CatalogRow *row = model_row(source, NameStr(*PG_GETARG_NAME(1)));
	const ModelAlgorithm *algorithm = model_algorithm(model_from_row(row)->algorithm);

	check_model_unused(source, NameStr(*PG_GETARG_NAME(1)));
	store_delete("model", row);
	choose_default(source);
	replace_views(source);
	run_model_sql(source, NameStr(*PG_GETARG_NAME(1)), algorithm->drop_sql);
	catalog_changed();
	PG_RETURN_VOID();
}

Datum
recsys_set_default_model(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "set_default_model", true);
	int32		chosen = model_from_row(model_row(source, NameStr(*PG_GETARG_NAME(1))))->id;
	ListCell   *lc;

	foreach(lc, model_rows(source))
	{
		CatalogRow *row = lfirst(lc);

		set_default(row, DatumGetInt32(row->values[MODEL_ID]) == chosen);
	}
	catalog_changed();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------- fallback */

static void
set_place(CatalogRow *row, int place)
{
	int			before = row->nulls[MODEL_FALLBACK] ? 0 :
		DatumGetInt32(row->values[MODEL_FALLBACK]);

	if (place == before)
		return;
	row->nulls[MODEL_FALLBACK] = place == 0;
	row->values[MODEL_FALLBACK] = Int32GetDatum(place);
	store_update("model", row);
}

/* The model's 1-based place among the names; 0 if it is not there. */
static int
place_of(const RecsysSource *source, const Datum *names, const bool *nulls, int n, const char *name)
{
	int			place = 0;

	for (int i = 0; i < n; i++)
	{
		if (nulls[i] || strcmp(NameStr(*DatumGetName(names[i])), name) != 0)
			continue;
		if (place > 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("model \"%s\" of source \"%s\" is named twice", name,
							NameStr(source->name)),
					 errhint("Name each model once, in the order in which they are to be asked.")));
		place = i + 1;
	}
	return place;
}

/* set_fallback(source, models): none if models is NULL or empty */
Datum
recsys_set_fallback(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "set_fallback", false);
	Datum	   *names = NULL;
	bool	   *nulls = NULL;
	int			n = 0;
	ListCell   *lc;

	if (!PG_ARGISNULL(1))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
						  &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("models must not contain NULL"),
					 errhint("Name models of the source, as in '{trending,popular_week}'.")));
		(void) model_row(source, NameStr(*DatumGetName(names[i])));
	}
	foreach(lc, model_rows(source))
	{
		CatalogRow *row = lfirst(lc);

		set_place(row, place_of(source, names, nulls, n,
								NameStr(*DatumGetName(row->values[MODEL_NAME]))));
	}
	catalog_changed();
	PG_RETURN_VOID();
}
