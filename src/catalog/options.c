/*
 * options.c
 *	  The rules for the options of a source, the same for create_source() and
 *	  alter_source().  Every error names the value and says what is allowed.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "catalog/internal.h"

#define MAX_HISTORY_LIMIT 100000

/* Called first by every function that changes a declaration. */
void
begin_change(const char *function)
{
	char	   *command = psprintf("recsys.%s()", function);

	PreventCommandDuringRecovery(command);
	PreventCommandIfReadOnly(command);
	PreventCommandIfParallelMode(command);
	pfree(command);
	catalog_lock_extension();
}

void
catalog_require_argument(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name),
				 errhint("Give it a value.")));
}

/* Names become parts of table names, which must fit into NAMEDATALEN. */
void
check_new_name(const char *kind, const char *name)
{
	const char *article = strchr("aeiou", kind[0]) ? "an" : "a";

	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name of %s %s must not be empty", article, kind),
				 errhint("Choose a name of 1 to %d bytes.", RECSYS_MAX_NAME)));
	if (strlen(name) > RECSYS_MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("name \"%s\" of %s %s is %d bytes long, at most %d are allowed",
						name, article, kind, (int) strlen(name), RECSYS_MAX_NAME),
				 errhint("Choose a shorter name.")));
}

/* The name of a source is also the name of a schema that does not exist yet. */
void
check_source_name(const char *name)
{
	static const char *const reserved[] = {"recsys", "public", "information_schema"};

	check_new_name("source", name);
	if (strncmp(name, "pg_", 3) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("source name \"%s\" is reserved", name),
				 errdetail("Names that begin with \"pg_\" are for system schemas."),
				 errhint("Choose another name.")));
	for (int i = 0; i < (int) lengthof(reserved); i++)
		if (strcmp(name, reserved[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("source name \"%s\" is reserved", name),
					 errhint("Choose another name.")));
	if (source_row(name, true) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("source \"%s\" already exists", name),
				 errhint("Choose another name, or drop it: SELECT recsys.drop_source(%s);",
						 quote_literal_cstr(name))));
	if (OidIsValid(get_namespace_oid(name, true)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_SCHEMA),
				 errmsg("schema \"%s\" already exists", name),
				 errdetail("A source gets a schema of its own, with the same name."),
				 errhint("Choose another name, or rename that schema: ALTER SCHEMA %s RENAME TO ...;",
						 quote_identifier(name))));
}

/* A JSON number as a weight, or an error. */
static double
weight_of(const char *event_type, const JsonbValue *value)
{
	double		weight;

	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weight of event type \"%s\" is not a number", event_type),
				 errhint("Give weights as numbers, as in '{\"view\": 1, \"purchase\": 5}'.")));
	/* numbers too large for float8 become infinite instead of failing */
	weight = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												NumericGetDatum(value->val.numeric)));
	if (!isfinite(weight) || weight < 0 || weight > RECSYS_MAX_AMOUNT)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("weight %s of event type \"%s\" is out of range",
						numeric_normalize(value->val.numeric), event_type),
				 errhint("A weight is a number from 0 to 1e9.")));
	return weight;
}

/* The JSON null, which means no weights: every event weighs 1. */
bool
weights_are_null(Jsonb *weights)
{
	JsonbValue	value;

	return JB_ROOT_IS_SCALAR(weights) &&
		JsonbExtractScalar(&weights->root, &value) && value.type == jbvNull;
}

EventWeight *
weights_parse(Jsonb *weights, int *nweights)
{
	EventWeight *result;
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;
	int			n = 0;

	if (!JB_ROOT_IS_OBJECT(weights))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weights must be an object of numbers, not %s",
						JsonbToCString(NULL, &weights->root, VARSIZE(weights))),
				 errhint("Give weights by event type, as in '{\"view\": 1, \"purchase\": 5}'.")));
	result = palloc(sizeof(EventWeight) * Max(JB_ROOT_COUNT(weights), 1));
	it = JsonbIteratorInit(&weights->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			result[n].event_type = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
		{
			result[n].weight = weight_of(result[n].event_type, &value);
			n++;
		}
	}
	*nweights = n;
	return result;
}

/* Seconds, with months of 30 days as in EXTRACT and justify_days(). */
double
half_life_seconds(const Interval *half_life)
{
	return ((double) half_life->month * DAYS_PER_MONTH + half_life->day) * SECS_PER_DAY +
		half_life->time / (double) USECS_PER_SEC;
}

static void
check_half_life(const CatalogRow *row, bool explicit_feedback)
{
	Datum		half_life = row->values[SOURCE_HALF_LIFE];

	if (row->nulls[SOURCE_HALF_LIFE])
		return;
	/* landmarks count half-lives since 2000 in an int4 */
	if (half_life_seconds(DatumGetIntervalP(half_life)) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("half_life %s is out of range",
						DatumGetCString(DirectFunctionCall1(interval_out, half_life))),
				 errhint("A half-life is at least 1 second, as in '30 days'.")));
	if (explicit_feedback)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("half_life cannot be used with explicit feedback"),
				 errdetail("Ratings do not add up, so they do not decay."),
				 errhint("Leave out half_life, or use feedback => 'implicit'.")));
	if (row->nulls[SOURCE_TIME_COLUMN])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("half_life needs event_time_column"),
				 errhint("Name the column with the time of the event, as in event_time_column => 'created_at'.")));
}

static void
check_weights(const CatalogRow *row)
{
	int			nweights;

	if (row->nulls[SOURCE_WEIGHTS])
		return;
	(void) weights_parse(DatumGetJsonbP(row->values[SOURCE_WEIGHTS]), &nweights);
	if (row->nulls[SOURCE_TYPE_COLUMN])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weights need event_type_column"),
				 errhint("Name the column with the type of the event, as in event_type_column => 'event_type'.")));
}

/* Everything about a row of recsys.source that needs no look at the table. */
void
check_options(const CatalogRow *row)
{
	char	   *feedback = TextDatumGetCString(row->values[SOURCE_FEEDBACK]);
	bool		explicit_feedback = strcmp(feedback, "explicit") == 0;
	int32		history_limit = DatumGetInt32(row->values[SOURCE_HISTORY_LIMIT]);

	if (!explicit_feedback && strcmp(feedback, "implicit") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("feedback \"%s\" is unknown", feedback),
				 errhint("Use feedback => 'implicit' or feedback => 'explicit'.")));
	if (explicit_feedback && row->nulls[SOURCE_VALUE_COLUMN])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("explicit feedback needs event_value_column"),
				 errhint("Name the column with the rating, as in event_value_column => 'rating'.")));
	if (history_limit < 1 || history_limit > MAX_HISTORY_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("history_limit %d is out of range", history_limit),
				 errhint("history_limit is between 1 and %d.", MAX_HISTORY_LIMIT)));
	check_weights(row);
	check_half_life(row, explicit_feedback);
}
