/*
 * session_metrics.c
 *	  session_metrics(): length, bounce and conversion of sessions, from the events
 *	  table.
 *
 * A session is what a user does without a pause of more than the gap, or what has one
 * value of the source's session column.  It belongs as a whole to the window
 * in which it begins.  Nothing is kept: a late event can join two sessions, or part one, so
 * each call reads the events of its time, and those of a gap before, which tell whether the
 * first session has begun earlier.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "metrics/events_sql.h"
#include "metrics/windows_sql.h"

PG_FUNCTION_INFO_V1(recsys_session_metrics);

enum
{
	ARG_WINDOW_SIZE, ARG_SINCE, ARG_GAP, ARG_UNTIL
};

#define DEFAULT_GAP (INT64CONST(30) * 60 * USECS_PER_SEC)

/* How far back a session of the session column may have begun. */
#define LONGEST_SESSION USECS_PER_DAY

/* Microseconds of an interval; 0 if the argument is null. */
static int64
length_of(FunctionCallInfo fcinfo, int argno, const char *name)
{
	Interval   *interval;
	int64		length;

	if (PG_ARGISNULL(argno))
		return 0;
	interval = PG_GETARG_INTERVAL_P(argno);
	length = interval->day * USECS_PER_DAY + interval->time;
	if (interval->month != 0 || length <= 0 || abs(interval->day) > 100000)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s %s is no positive length of time", name,
					   DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)))),
				errhint("Give it in days or less, such as '30 minutes' or '1 day'."));
	return length;
}

static char *
literal(TimestampTz time)
{
	if (TIMESTAMP_NOT_FINITE(time))
		return TIMESTAMP_IS_NOBEGIN(time) ? "timestamptz '-infinity'" : "timestamptz 'infinity'";
	return psprintf("(timestamptz '2000-01-01 00:00:00+00' + %s)", windows_interval_sql(time));
}

/* One row for each event that counts: user, time, what it is, and its session. */
static char *
events_query(const RecsysSource *source, const RecsysMetrics *m, int64 gap, TimestampTz from)
{
	char	   *time = events_time(source);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s AS u, %s AS t, %s AS shown, %s AS bought, %s AS amount, ",
					 events_column(NameStr(source->user.name)), time,
					 events_is(source, m->impressions, m->nimpressions),
					 events_is(source, m->conversions, m->nconversions), events_amount(m));
	if (gap == 0)
		appendStringInfo(&sql, "%s AS session", events_column(source->session_column));
	else
		appendStringInfo(&sql, "recsys.session_number(%1$s, %2$s) OVER (PARTITION BY %3$s ORDER BY %1$s) AS session",
						 time, windows_interval_sql(gap), events_column(NameStr(source->user.name)));
	appendStringInfo(&sql, " FROM %s WHERE %s AND isfinite(%s)", events_from(source),
					 events_accepted(source), time);
	if (source->type_column)
		appendStringInfo(&sql, " AND %s IS NOT NULL", events_column(source->type_column));
	if (gap == 0)
		appendStringInfo(&sql, " AND %s IS NOT NULL", events_column(source->session_column));
	if (!TIMESTAMP_IS_NOBEGIN(from))
		appendStringInfo(&sql, " AND %s >= %s", time, literal(TIMESTAMP_IS_NOEND(from) ? from : from - (gap ? gap : LONGEST_SESSION)));
	return sql.data;
}

static char *
query_text(const RecsysSource *source, const RecsysMetrics *m, int64 size, int64 gap,
		   TimestampTz from, TimestampTz until)
{
	StringInfoData sql;
	const char *revenue = m->amount_column ? "coalesce(sum(revenue), 0)" : "NULL::numeric";

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT window_start, window_end, sessions, users, events, events_per_session, mean_length,"
						   " bounces, bounces::float8 / sessions, recsys.wilson_lower(bounces, sessions), recsys.wilson_upper(bounces, sessions),"
						   " converted, converted::float8 / sessions, recsys.wilson_lower(converted, sessions), recsys.wilson_upper(converted, sessions),"
						   " revenue, revenue / sessions FROM (SELECT ");
	if (size > 0)
		appendStringInfo(&sql, "date_bin(%1$s, s.begun, timestamptz '2000-01-01 00:00:00+00') AS window_start,"
						 " date_bin(%1$s, s.begun, timestamptz '2000-01-01 00:00:00+00') + %1$s AS window_end",
						 windows_interval_sql(size));
	else
		appendStringInfoString(&sql, "min(s.begun) AS window_start, max(s.ended) AS window_end");
	appendStringInfo(&sql, ", count(*) AS sessions, count(DISTINCT s.u) AS users, sum(s.n)::bigint AS events,"
					 " avg(s.n)::float8 AS events_per_session, avg(s.ended - s.begun) AS mean_length,"
					 " count(*) FILTER (WHERE s.acts <= 1) AS bounces, count(*) FILTER (WHERE s.bought) AS converted,"
					 " %s AS revenue FROM (SELECT u, session, min(t) AS begun, max(t) AS ended, count(*) AS n,"
					 " count(*) FILTER (WHERE NOT shown) AS acts, bool_or(bought) AS bought,"
					 " sum(amount) FILTER (WHERE bought) AS revenue FROM (%s) e GROUP BY u, session) s WHERE true",
					 revenue, events_query(source, m, gap, from));
	if (!TIMESTAMP_IS_NOBEGIN(from))
		appendStringInfo(&sql, " AND s.begun >= %s", literal(from));
	if (!TIMESTAMP_IS_NOEND(until))
		appendStringInfo(&sql, " AND s.begun < %s", literal(until));
	appendStringInfoString(&sql, size > 0 ? " GROUP BY 1, 2) g ORDER BY 1" : " HAVING count(*) > 0) g");
	return sql.data;
}

Datum
recsys_session_metrics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const RecsysSource *source = catalog_source_by_schema(get_func_namespace(fcinfo->flinfo->fn_oid), false);
	const RecsysMetrics *metrics = events_metrics(source, "session_metrics");
	int64		size = length_of(fcinfo, ARG_WINDOW_SIZE, "window_size");
	int64		gap = length_of(fcinfo, ARG_GAP, "gap");
	TimestampTz until = PG_ARGISNULL(ARG_UNTIL) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(ARG_UNTIL);
	TimestampTz from = DT_NOBEGIN;

	if (gap == 0 && source->session_column == NULL)
		gap = DEFAULT_GAP;
	if (!PG_ARGISNULL(ARG_SINCE))
		from = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
			TimestampTzGetDatum(PG_ARGISNULL(ARG_UNTIL) ? GetCurrentTransactionStartTimestamp() : until),
													   PG_GETARG_DATUM(ARG_SINCE)));
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	if (SPI_execute(query_text(source, metrics, size, gap, from, until), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the sessions");
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	return (Datum) 0;
}
