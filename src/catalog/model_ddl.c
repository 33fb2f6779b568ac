/*
 * model_ddl.c
 *	  create_model(), alter_model(), drop_model() and set_default_model().
 *
 * The views of the source name the tables of its models, so they are replaced
 * after a model's tables are created and before they are dropped.  Of the
 * models of a source exactly one is the default.
 */
#include "postgres.h"

#include "fmgr.h"
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

static RecsysSource *
source_for_change(FunctionCallInfo fcinfo, const char *function)
{
	RecsysSource *source;

	require_argument(fcinfo, 0, "source");
	require_argument(fcinfo, 1, "model");
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
	RecsysSource *source = source_for_change(fcinfo, "create_model");
	char	   *name = NameStr(*PG_GETARG_NAME(1));
	const ModelAlgorithm *algorithm;
	CatalogRow	row = {0};

	require_argument(fcinfo, 2, "algorithm");
	require_argument(fcinfo, 3, "params");
	check_new_name("model", name);
	if (find_model_row(source, name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("model \"%s\" of source \"%s\" already exists",
						name, NameStr(source->name)),
				 errhint("Choose another name, or drop it: SELECT recsys.drop_model(%s, %s);",
						 quote_literal_cstr(NameStr(source->name)), quote_literal_cstr(name))));
	algorithm = model_algorithm(text_to_cstring(PG_GETARG_TEXT_PP(2)));

	row.values[MODEL_SOURCE_ID] = Int32GetDatum(source->id);
	row.values[MODEL_NAME] = PG_GETARG_DATUM(1);
	row.values[MODEL_ALGORITHM] = PG_GETARG_DATUM(2);
	row.values[MODEL_PARAMS] =
		JsonbPGetDatum(params_complete(algorithm->name, algorithm->params,
									   source->explicit_feedback,
									   PG_GETARG_JSONB_P(3), NULL));
	row.values[MODEL_IS_DEFAULT] = BoolGetDatum(model_rows(source) == NIL);
	row.values[MODEL_STATE] = CStringGetTextDatum(MODEL_STATE_BUILDING);
	row.values[MODEL_VERSION] = Int32GetDatum(1);
	row.values[MODEL_ID] = Int32GetDatum(store_nextval("model_id"));
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
	RecsysSource *source = source_for_change(fcinfo, "alter_model");
	CatalogRow *row = model_row(source, NameStr(*PG_GETARG_NAME(1)));
	RecsysModel *model = model_from_row(row);
	const ModelAlgorithm *algorithm = model_algorithm(model->algorithm);
	Datum		params;

	require_argument(fcinfo, 2, "params");
	params = JsonbPGetDatum(params_complete(algorithm->name, algorithm->params,
											source->explicit_feedback,
											PG_GETARG_JSONB_P(2), model->params));
	if (DatumGetBool(DirectFunctionCall2(jsonb_eq, params, JsonbPGetDatum(model->params))))
		PG_RETURN_VOID();
	row->values[MODEL_PARAMS] = params;
	row->values[MODEL_VERSION] = Int32GetDatum(model->version + 1);
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
	RecsysSource *source = source_for_change(fcinfo, "drop_model");
	CatalogRow *row = model_row(source, NameStr(*PG_GETARG_NAME(1)));
	const ModelAlgorithm *algorithm = model_algorithm(model_from_row(row)->algorithm);

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
	RecsysSource *source = source_for_change(fcinfo, "set_default_model");
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
