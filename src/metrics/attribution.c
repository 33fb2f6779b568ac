/*
 * attribution.c
 *	  attribution(): which impressions led to clicks and conversions.
 *
 * A click or a conversion belongs to the last impression of the same user and
 * item before it, if that is not longer ago than the attribution window.  One
 * query sorts the events by user, item and time, and carries the values of the
 * last impression along in one window aggregate: its time grows with the number
 * of events, however often a pair was shown.  Nothing is kept.
 *
 * The figures are of the impressions of the period asked for: what came of them
 * counts also if it came from later ones; and clicks that belong to an
 * impression before the period do not count.  What belongs to no impression at all
 * is a row of its own.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "metrics/events_sql.h"
#include "numeric/statistics.h"
#include "recsys.h"

PG_FUNCTION_INFO_V1(recsys_last_known_next);
PG_FUNCTION_INFO_V1(recsys_attribution);

#define MOST_DIMENSIONS	8

/* Longer ones are for ever: twice that back from now there still is time. */
#define FOR_EVER	(3000 * MONTHS_PER_YEAR)

/* The new value: nulls never get here. */
Datum
recsys_last_known_next(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(1));
}

/* ---------------------------------------------------------------- arguments */

static void
check_period(FunctionCallInfo fcinfo, int argno, const char *name)
{
	Interval	zero = {0};

	if (!PG_ARGISNULL(argno) &&
		!DatumGetBool(DirectFunctionCall2(interval_gt, PG_GETARG_DATUM(argno), IntervalPGetDatum(&zero))))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s must be a positive interval, not %s", name,
					   DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(argno)))),
				errhint("Pass for example %s => '1 day'.", name));
}

static bool
is_for_ever(Datum interval)
{
	Interval	limit = {.month = FOR_EVER};

	return DatumGetBool(DirectFunctionCall2(interval_gt, interval, IntervalPGetDatum(&limit)));
}

static bool
has_column(const RecsysSource *source, const char *name)
{
	return get_attnum(source->events, name) > 0;
}

/*
 * What a column holds is told to those who may read it.  Columns that say where an
 * impression comes from, and those that metrics() tells of, are for whoever may call
 * this, which runs with the rights of the source's owner.
 */
static void
check_may_group(const RecsysSource *source, const RecsysMetrics *m, const char *column)
{
	static const char *const open[] = {"model", "placement", "variant", "rank"};
	Oid			role = GetOuterUserId();

	for (int i = 0; i < (int) lengthof(open); i++)
		if (strcmp(open[i], column) == 0)
			return;
	for (int i = 0; i < m->ndimensions; i++)
		if (strcmp(m->dimensions[i], column) == 0)
			return;
	if (pg_class_aclcheck(source->events, role, ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck(source->events, get_attnum(source->events, column), role,
							  ACL_SELECT) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("role \"%s\" may not read column \"%s\" of table \"%s\"",
				   GetUserNameFromId(role, false), column, get_rel_name(source->events)),
			errhint("Group by the dimensions of recsys.track_metrics(), or GRANT SELECT (%s) ON %s TO %s;",
					quote_identifier(column),
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(source->events)),
											   get_rel_name(source->events)),
					quote_identifier(GetUserNameFromId(role, false))));
}

/* The columns that are named, or those of the usual names that there are. */
static char **
dimensions_of(FunctionCallInfo fcinfo, int argno, const RecsysSource *source,
			  const RecsysMetrics *m, int *n)
{
	static const char *const usual[] = {"model", "placement"};
	char	  **names = palloc(sizeof(char *) * MOST_DIMENSIONS);
	Datum	   *elements;
	bool	   *nulls;
	int			given;

	*n = 0;
	if (PG_ARGISNULL(argno))
	{
		for (int i = 0; i < (int) lengthof(usual); i++)
			if (has_column(source, usual[i]))
				names[(*n)++] = pstrdup(usual[i]);
		return names;
	}
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argno), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &given);
	if (given > MOST_DIMENSIONS)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%d columns to group by are too many", given),
				errhint("Name at most %d.", MOST_DIMENSIONS));
	for (int i = 0; i < given; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("a column to group by is null"),
					errhint("Name columns of the events, as in by => '{model,placement}'."));
		names[i] = TextDatumGetCString(elements[i]);
		if (!has_column(source, names[i]))
			ereport(ERROR,
					errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("column \"%s\" of table \"%s\" does not exist",
						   names[i], get_rel_name(source->events)),
					errhint("Name columns of the events, as in by => '{model,placement}'."));
		check_may_group(source, m, names[i]);
	}
	*n = given;
	return names;
}

/* ---------------------------------------------------------------- the query */

/*
 * $1 start or null, $2 window, $3 end.  Level by level: the events of the time,
 * with those before it whose impressions may matter; what each belongs to; sums
 * by values and order, since an order counts once; sums by values.  Of impressions at
 * the same moment the one whose values sort last is the last.
 */
static char *
attribution_query(const RecsysSource *source, const RecsysMetrics *m, char **dimensions, int n)
{
	const char *impression = events_is(source, m->impressions, m->nimpressions);
	const char *time = events_time(source);
	StringInfoData values,
				keys,
				sql;

	initStringInfo(&values);
	initStringInfo(&keys);
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(&values, "%s%s::text", i > 0 ? ", " : "", events_column(dimensions[i]));
		appendStringInfo(&keys, "%s%s", i > 0 ? ", " : "", quote_literal_cstr(dimensions[i]));
	}
	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "WITH known AS (SELECT %1$s AS time, %2$s AS impression, %3$s AS click, %4$s AS conversion,"
					 " %5$s AS amount, %6$s AS id,"
					 " recsys.last_known(CASE WHEN %2$s THEN ARRAY[%7$s]::text[] END) OVER w AS shown,"
					 " max(%1$s) FILTER (WHERE %2$s) OVER w AS shown_at"
					 " FROM %8$s WHERE %1$s >= coalesce($1 - $2, '-infinity') AND %1$s > '-infinity' AND %1$s < $3"
					 " AND %12$s AND %11$s"
					 " WINDOW w AS (PARTITION BY %9$s, %10$s ORDER BY %1$s, NOT %2$s,"
					 " CASE WHEN %2$s THEN ARRAY[%7$s]::text[] END COLLATE \"C\" ROWS UNBOUNDED PRECEDING)), ",
					 time, impression,
					 events_is(source, m->clicks, m->nclicks),
					 events_is(source, m->conversions, m->nconversions),
					 events_amount(m),
					 m->order_column ? psprintf("%s::text COLLATE \"C\"", events_column(m->order_column)) : "NULL::text",
					 values.data, events_from(source),
					 events_column(NameStr(source->user.name)), events_column(NameStr(source->item.name)),
					 events_counted(source, m), events_accepted(source));
	appendStringInfoString(&sql,
						   "credited AS (SELECT k.*, k.shown_at IS NOT NULL AND k.time <= k.shown_at + $2 AS known FROM known k), "
						   "part AS (SELECT CASE WHEN known THEN shown END AS shown,"
						   " CASE WHEN conversion THEN id END AS id,"
						   " count(*) FILTER (WHERE impression) AS impressions, count(*) FILTER (WHERE click) AS clicks,"
						   " count(*) FILTER (WHERE conversion) AS conversions, sum(amount) FILTER (WHERE conversion) AS revenue"
						   " FROM credited WHERE $1 IS NULL OR CASE WHEN known THEN shown_at ELSE time END >= $1"
						   " GROUP BY 1, 2) ");
	appendStringInfo(&sql,
					 "SELECT CASE WHEN shown IS NOT NULL THEN jsonb_object(ARRAY[%1$s]::text[], shown) END,"
					 " sum(impressions)::int8, sum(clicks)::int8, sum(conversions)::int8, %2$s::int8, sum(revenue),"
					 " sum(revenue) / nullif(%2$s, 0)"
					 " FROM part GROUP BY shown ORDER BY shown IS NULL, 2 DESC, 3 DESC, 1",
					 keys.data, m->order_column ? "count(id)" : "sum(conversions)");
	return sql.data;
}

/* ----------------------------------------------------------------- the rows */

/* Columns of the result; the query has the first ones, and the last. */
enum
{
	OUT_DIMENSIONS,
	OUT_IMPRESSIONS,
	OUT_CLICKS,
	OUT_CONVERSIONS,
	OUT_ORDERS,
	OUT_REVENUE,
	OUT_CTR,
	OUT_CTR_LOWER,
	OUT_CTR_UPPER,
	OUT_CVR,
	OUT_CVR_LOWER,
	OUT_CVR_UPPER,
	OUT_AOV,
	OUT_NATTS
};

typedef struct Row
{
	Datum		values[OUT_NATTS];
	bool		nulls[OUT_NATTS];
} Row;

static void
put_number(Row *row, int column, double value)
{
	row->values[column] = Float8GetDatum(value);
	row->nulls[column] = false;
}

/* a rate and its interval, which there is of shares only */
static void
put_rate(Row *row, int column, int64 hits, int64 trials)
{
	double		lower,
				upper;

	if (trials == 0)
		return;
	put_number(row, column, (double) hits / trials);
	if (hits > trials)
		return;
	wilson_interval(hits, trials, normal_z(1 - 0.95), &lower, &upper);
	put_number(row, column + 1, lower);
	put_number(row, column + 2, upper);
}

static void
put_row(ReturnSetInfo *result, HeapTuple tuple, TupleDesc desc)
{
	Row			row;
	int64		clicks;

	memset(row.nulls, true, sizeof(row.nulls));
	for (int i = OUT_DIMENSIONS; i <= OUT_REVENUE; i++)
		row.values[i] = SPI_getbinval(tuple, desc, i + 1, &row.nulls[i]);
	clicks = DatumGetInt64(row.values[OUT_CLICKS]);
	if (!row.nulls[OUT_DIMENSIONS])
		put_rate(&row, OUT_CTR, clicks, DatumGetInt64(row.values[OUT_IMPRESSIONS]));
	put_rate(&row, OUT_CVR, DatumGetInt64(row.values[OUT_CONVERSIONS]), clicks);
	row.values[OUT_AOV] = SPI_getbinval(tuple, desc, OUT_REVENUE + 2, &row.nulls[OUT_AOV]);
	tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
}

/* attribution(since, within, by) */
Datum
recsys_attribution(PG_FUNCTION_ARGS)
{
	RecsysSource *source = catalog_source_by_schema(get_func_namespace(fcinfo->flinfo->fn_oid), false);
	RecsysMetrics *metrics;
	Oid			types[] = {TIMESTAMPTZOID, INTERVALOID, TIMESTAMPTZOID};
	Datum		values[3] = {0};
	char		nulls[] = {' ', ' ', ' '};
	Interval	for_ever = {.month = FOR_EVER};
	char	  **dimensions;
	int			n;

	check_period(fcinfo, 0, "since");
	check_period(fcinfo, 1, "within");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("argument \"within\" must not be null"),
				errhint("Pass for example within => '1 day'."));
	metrics = events_metrics(source, "attribution");
	dimensions = dimensions_of(fcinfo, 2, source, metrics, &n);
	if (PG_ARGISNULL(0) || is_for_ever(PG_GETARG_DATUM(0)))
		nulls[0] = 'n';
	else
		values[0] = DirectFunctionCall2(timestamptz_mi_interval,
										TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()),
										PG_GETARG_DATUM(0));
	values[1] = is_for_ever(PG_GETARG_DATUM(1)) ? IntervalPGetDatum(&for_ever) : PG_GETARG_DATUM(1);
	values[2] = TimestampTzGetDatum(GetCurrentStatementStartTimestamp() +
									(int64) recsys_max_future * USECS_PER_SEC);
	InitMaterializedSRF(fcinfo, 0);

	SPI_connect();
	SPI_execute_with_args(attribution_query(source, metrics, dimensions, n), lengthof(types),
						  types, values, nulls, true, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
		put_row((ReturnSetInfo *) fcinfo->resultinfo, SPI_tuptable->vals[row], SPI_tuptable->tupdesc);
	SPI_finish();
	return (Datum) 0;
}
