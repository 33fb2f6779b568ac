/*
 * log.c
 *	  log_recommendations(): recommend() that writes what it shows into the event
 *	  table, as impressions.
 *
 * Unlike its neighbours it runs with the rights of whoever calls it, and so may do
 * what they could do by hand: call recommend() and INSERT into the events.
 * Triggers, defaults and policies of the table see an ordinary INSERT of theirs.
 * For the same reason it leaves search_path alone, and names everything in full.
 */
#include "postgres.h"

#include "catalog/pg_collation_d.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_log_recommendations);

/* Arguments of the function, and parameters of its statement from 1 on. */
enum
{
	ARG_USER,
	ARG_K,
	ARG_MODEL,
	ARG_PLACEMENT,
	ARG_EVENT_TYPE,
	ARG_COLUMNS,
	PARAM_EVENT_TYPE = ARG_EVENT_TYPE + 1,
	PARAM_TIME,
	PARAM_ID,
	PARAM_USED_MODEL,
	PARAM_VARIANT,
	NPARAMS = PARAM_VARIANT
};

/* Columns that are filled where the table has them, unless others are named. */
static const struct
{
	const char *column;
	const char *value;
}			extras[] =
{
	{"recommendation_id", "$7"},
	{"model", "$8"},
	{"placement", "$4"},
	{"variant", "$9"},
	{"rank", "r.rank"},
};

/* -------------------------------------------------------- the type of event */

static double
weight_of(const RecsysSource *source, const char *type)
{
	if (!source->has_weights)
		return 1;
	for (int i = 0; i < source->nweights; i++)
		if (strcmp(source->weights[i].event_type, type) == 0)
			return source->weights[i].weight;
	return 0;
}

/* The first type of impressions that metrics are kept of; NULL if there is none. */
static const char *
declared_type(const RecsysSource *source)
{
	RecsysMetrics *metrics = catalog_metrics(source);

	return metrics && metrics->nimpressions > 0 ? metrics->impressions[0] : NULL;
}

static const char *
impression_type(FunctionCallInfo fcinfo, const RecsysSource *source)
{
	const char *name = NameStr(source->name);
	const char *type;

	if (source->type_column == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("events of source \"%s\" have no type, so impressions could not be told from clicks", name),
				errhint("Create the source with event_type_column."));
	type = PG_ARGISNULL(ARG_EVENT_TYPE) ? declared_type(source) :
		text_to_cstring(PG_GETARG_TEXT_PP(ARG_EVENT_TYPE));
	if (type == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("no event type of source \"%s\" is known as impression", name),
				errhint("Pass event_type => 'impression', or name it with recsys.track_metrics(%s, impression => '{impression}').",
						quote_literal_cstr(name)));
	if (weight_of(source, type) > 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("events of type \"%s\" weigh %g in source \"%s\"", type, weight_of(source, type), name),
				errdetail("What was shown would count as what the user wanted, and not be recommended again."),
				errhint("Give weights to the other types only, as in recsys.alter_source(%s, weights => '{\"click\": 1, \"purchase\": 5}').",
						quote_literal_cstr(name)));
	return type;
}

/* ------------------------------------------------------------ the statement */

typedef struct Insert
{
	const RecsysSource *source;
	StringInfoData columns;
	StringInfoData values;
} Insert;

/* A column of the events and its value, cast to the column's type; to its length
 * the INSERT itself converts, which refuses what is too long. */
static void
add_column(Insert *insert, const char *column, const char *value)
{
	Oid			relid = insert->source->events;

	appendStringInfo(&insert->columns, "%s%s", insert->columns.len > 0 ? ", " : "", quote_identifier(column));
	appendStringInfo(&insert->values, "%s%s::%s", insert->values.len > 0 ? ", " : "", value,
					 format_type_be_qualified(get_atttype(relid, get_attnum(relid, column))));
}

static bool
is_mapped(const RecsysSource *source, const char *column)
{
	const char *mapped[] = {
		NameStr(source->user.name), NameStr(source->item.name),
		source->type_column, source->value_column, source->time_column
	};

	for (int i = 0; i < (int) lengthof(mapped); i++)
		if (mapped[i] && strcmp(mapped[i], column) == 0)
			return true;
	return false;
}

static void
add_extra(Insert *insert, const char *column, bool must_exist)
{
	const char *value = NULL;

	for (int i = 0; i < (int) lengthof(extras); i++)
		if (strcmp(extras[i].column, column) == 0)
			value = extras[i].value;
	if (value == NULL || is_mapped(insert->source, column))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("there is nothing to log in a column \"%s\"", column),
				errhint("Name some of recommendation_id, model, placement, variant and rank."));
	if (get_attnum(insert->source->events, column) > 0)
		add_column(insert, column, value);
	else if (must_exist)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of table \"%s\" does not exist",
					   column, get_rel_name(insert->source->events)),
				errhint("ALTER TABLE %s ADD COLUMN %s ...; or leave it out of columns.",
						quoted_relation(insert->source->events), quote_identifier(column)));
}

/* Named before, too: once is enough. */
static bool
is_repeated(const Datum *names, const bool *nulls, int at)
{
	for (int i = 0; i < at; i++)
		if (!nulls[i] && DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, names[i], names[at])))
			return true;
	return false;
}

static void
add_extras(Insert *insert, FunctionCallInfo fcinfo)
{
	Datum	   *names;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(ARG_COLUMNS))
	{
		for (int i = 0; i < (int) lengthof(extras); i++)
			if (!is_mapped(insert->source, extras[i].column))
				add_extra(insert, extras[i].column, false);
		return;
	}
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(ARG_COLUMNS), TEXTOID, -1, false, TYPALIGN_INT,
					  &names, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i] && !is_repeated(names, nulls, i))
			add_extra(insert, TextDatumGetCString(names[i]), true);
}

static char *
log_statement(FunctionCallInfo fcinfo, const RecsysSource *source)
{
	Insert		insert = {.source = source};

	initStringInfo(&insert.columns);
	initStringInfo(&insert.values);
	add_column(&insert, NameStr(source->user.name), "$1");
	add_column(&insert, NameStr(source->item.name), "r.item_id");
	add_column(&insert, source->type_column, "$5");
	if (source->time_column)
		add_column(&insert, source->time_column,
				   get_atttype(source->events, get_attnum(source->events, source->time_column)) == TIMESTAMPOID ?
				   "pg_catalog.timezone('UTC', $6)" : "$6");
	if (source->value_column)
		add_column(&insert, source->value_column, "1");
	add_extras(&insert, fcinfo);
	return psprintf("WITH r AS MATERIALIZED (SELECT f.item_id, f.score, f.rank"
					" FROM %s.recommend($1, $2, $3) WITH ORDINALITY AS f (item_id, score, rank)),"
					" w AS (INSERT INTO %s (%s) SELECT %s FROM r)"
					" SELECT r.item_id, r.score FROM r ORDER BY r.rank",
					quote_identifier(NameStr(source->name)), quoted_relation(source->events),
					insert.columns.data, insert.values.data);
}

/* ------------------------------------------------------------- the function */

/* Names of the model that answers and of the variant that it is for; NULL if none. */
static void
who_answers(FunctionCallInfo fcinfo, const char **model, const char **variant)
{
	ServeCall	call;

	*model = NULL;
	*variant = NULL;
	serve_begin(&call, fcinfo);
	if (!PG_ARGISNULL(ARG_MODEL))
		*variant = serve_variant(&call, NameStr(*PG_GETARG_NAME(ARG_MODEL)), ARG_USER);
	serve_use_model_for_user(&call, ARG_MODEL);
	if (call.model)
		*model = MemoryContextStrdup(call.caller, NameStr(call.model->name));
	if (*variant)
		*variant = MemoryContextStrdup(call.caller, *variant);
	serve_end(&call);
}

static Datum
new_id(void)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	if (!pg_strong_random(id->data, sizeof(id->data)))
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not generate random values"));
	id->data[6] = (id->data[6] & 0x0f) | 0x40;	/* version 4, as gen_random_uuid() */
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
	return UUIDPGetDatum(id);
}

static void
put_text(Datum *values, char *nulls, int param, const char *text)
{
	if (text)
		values[param - 1] = CStringGetTextDatum(text);
	else
		nulls[param - 1] = 'n';
}

/* log_recommendations(user_id, k, model, placement, event_type, columns) */
Datum
recsys_log_recommendations(PG_FUNCTION_ARGS)
{
	RecsysSource *source = catalog_source_by_schema(get_func_namespace(fcinfo->flinfo->fn_oid), false);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[NPARAMS] = {serve_argument_type(&source->user), INT4OID, NAMEOID,
		TEXTOID, TEXTOID, TIMESTAMPTZOID, UUIDOID, TEXTOID, TEXTOID};
	Datum		values[NPARAMS] = {0};
	char		nulls[NPARAMS];
	const char *model,
			   *variant,
			   *type;
	Datum		id = new_id();
	char	   *statement;

	if (PG_ARGISNULL(ARG_USER))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("argument \"user_id\" must not be null"),
				errhint("An impression is of a user; call recommend_session() for visitors without a key."));
	catalog_check_events(source);
	type = impression_type(fcinfo, source);
	who_answers(fcinfo, &model, &variant);
	statement = log_statement(fcinfo, source);

	memset(nulls, ' ', sizeof(nulls));
	for (int i = ARG_USER; i <= ARG_PLACEMENT; i++)
	{
		values[i] = fcinfo->args[i].value;
		nulls[i] = fcinfo->args[i].isnull ? 'n' : ' ';
	}
	put_text(values, nulls, PARAM_EVENT_TYPE, type);
	values[PARAM_TIME - 1] = TimestampTzGetDatum(GetCurrentStatementStartTimestamp());
	values[PARAM_ID - 1] = id;
	put_text(values, nulls, PARAM_USED_MODEL, model);
	put_text(values, nulls, PARAM_VARIANT, variant);
	InitMaterializedSRF(fcinfo, 0);

	SPI_connect();
	SPI_execute_with_args(statement, NPARAMS, types, values, nulls, false, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		bool		isnull[3] = {false, false, false};
		Datum		out[3];

		out[0] = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull[0]);
		out[1] = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull[1]);
		out[2] = id;
		tuplestore_putvalues(result->setResult, result->setDesc, out, isnull);
	}
	SPI_finish();
	return (Datum) 0;
}
