/*
 * windows_read.c
 *	  metrics(): figures of windows of any length that is made of buckets.
 *
 * A query over the table windows, built for the arguments, which are checked first.
 * It runs with the rights of the source's owner, under the caller's snapshot.
 * Windows begin at multiples of their length, or of slide, counted from
 * 2000-01-01 00:00 UTC, as date_bin() does with that origin.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "metrics/windows.h"
#include "metrics/windows_sql.h"

PG_FUNCTION_INFO_V1(recsys_metrics);

enum
{
	ARG_WINDOW_SIZE, ARG_SINCE, ARG_BY, ARG_SLIDE, ARG_UNTIL
};

/* What is asked for. */
typedef struct Question
{
	const RecsysSource *source;
	const RecsysMetrics *metrics;
	int64		size;			/* microseconds; 0: all in one */
	int64		slide;			/* equal to size where windows do not overlap */
	TimestampTz from;			/* windows end after this */
	TimestampTz until;			/* and begin before this */
	int			nby;
	int			by[RECSYS_MAX_DIMENSIONS];	/* dimensions, from 0 */
} Question;

/* Windows that an event may be in. */
#define MAX_OVERLAP 10000

/* --------------------------------------------------------------- arguments */

static int64
length_argument(FunctionCallInfo fcinfo, int argno, const char *name)
{
	Interval   *interval = PG_GETARG_INTERVAL_P(argno);
	int64		length = interval->day * USECS_PER_DAY + interval->time;

	if (interval->month != 0 || length <= 0 || abs(interval->day) > 100000 ||
		interval->time > 100000 * USECS_PER_DAY)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s %s is no length of windows", name,
					   DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)))),
				errhint("Give a positive length in days or less, such as '5 min', '1 hour' or '7 days'."));
	return length;
}

static void
check_multiple(const Question *q, int64 length, const char *name)
{
	int64		unit = q->metrics->bucket;

	if (length % unit != 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of %lld seconds is no multiple of the bucket of source \"%s\"", name,
					   (long long) (length / USECS_PER_SEC), NameStr(q->source->name)),
				errhint("Buckets are %lld seconds long; recsys.alter_metrics() can change that.",
						(long long) (unit / USECS_PER_SEC)));
}

static int
find_dimension(const RecsysMetrics *m, const char *name)
{
	for (int i = 0; i < m->ndimensions; i++)
		if (strcmp(m->dimensions[i], name) == 0)
			return i;
	return -1;
}

static char *
dimension_list(const RecsysMetrics *m)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < m->ndimensions; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", m->dimensions[i]);
	return list.data;
}

static void
read_by(FunctionCallInfo fcinfo, Question *q)
{
	Datum	   *names;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(ARG_BY))
		return;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(ARG_BY), TEXTOID, -1, false, TYPALIGN_INT,
					  &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *name = nulls[i] ? "" : TextDatumGetCString(names[i]);
		int			dimension = find_dimension(q->metrics, name);
		bool		again = false;

		if (dimension < 0)
			ereport(ERROR,
					errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("dimension \"%s\" of source \"%s\" is not tracked", name,
						   NameStr(q->source->name)),
					q->metrics->ndimensions > 0 ?
					errhint("Use some of %s.", dimension_list(q->metrics)) :
					errhint("SELECT recsys.alter_metrics(%s, dimensions => '{%s}');",
							quote_literal_cstr(NameStr(q->source->name)), name[0] ? name : "column"));
		for (int j = 0; j < q->nby; j++)
			again |= q->by[j] == dimension;
		if (!again)
			q->by[q->nby++] = dimension;
	}
}

static void
read_range(FunctionCallInfo fcinfo, Question *q)
{
	TimestampTz until = PG_ARGISNULL(ARG_UNTIL) ? GetCurrentTransactionStartTimestamp() :
		PG_GETARG_TIMESTAMPTZ(ARG_UNTIL);

	q->until = PG_ARGISNULL(ARG_UNTIL) ? DT_NOEND : until;
	q->from = DT_NOBEGIN;
	if (TIMESTAMP_NOT_FINITE(until))
		ereport(ERROR,
				errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("until is %s", timestamptz_to_str(until)),
				errhint("Leave it out for all there is up to now."));
	if (!PG_ARGISNULL(ARG_SINCE))
		q->from = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
														  TimestampTzGetDatum(until),
														  PG_GETARG_DATUM(ARG_SINCE)));
}

static void
read_question(FunctionCallInfo fcinfo, Question *q)
{
	memset(q, 0, sizeof(Question));
	q->source = catalog_source_by_schema(get_func_namespace(fcinfo->flinfo->fn_oid), false);
	q->metrics = catalog_metrics(q->source);
	if (q->metrics == NULL)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("no metrics of source \"%s\" are tracked", NameStr(q->source->name)),
				errhint("SELECT recsys.track_metrics(%s, ...);",
						quote_literal_cstr(NameStr(q->source->name))));
	read_by(fcinfo, q);
	read_range(fcinfo, q);
	if (!PG_ARGISNULL(ARG_WINDOW_SIZE))
	{
		q->size = q->slide = length_argument(fcinfo, ARG_WINDOW_SIZE, "window_size");
		check_multiple(q, q->size, "window_size");
	}
	if (!PG_ARGISNULL(ARG_SLIDE))
	{
		q->slide = length_argument(fcinfo, ARG_SLIDE, "slide");
		check_multiple(q, q->slide, "slide");
	}
	if (q->slide > q->size)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("slide is longer than window_size"),
				errhint("Windows begin every slide; leave it out for windows that follow one another."));
	if (q->slide > 0 && q->size / q->slide > MAX_OVERLAP)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("each event would be in %lld windows", (long long) (q->size / q->slide)),
				errhint("Make slide longer, so that there are at most %d.", MAX_OVERLAP));
}

/* ------------------------------------------------------------------- query */

static TimestampTz
plus(TimestampTz time, int64 length)
{
	return TIMESTAMP_NOT_FINITE(time) ? time : time + length;
}

static char *
time_literal(TimestampTz time)
{
	if (TIMESTAMP_IS_NOBEGIN(time))
		return "pg_catalog.timestamptz '-infinity'";
	if (TIMESTAMP_IS_NOEND(time))
		return "pg_catalog.timestamptz 'infinity'";
	return psprintf("(pg_catalog.timestamptz '2000-01-01 00:00:00+00' + %s)", windows_interval_sql(time));
}

/* {"variant": ..., ...} of the dimensions asked for */
static char *
dimensions_object(const Question *q)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "pg_catalog.jsonb_build_object(");
	for (int i = 0; i < q->nby; i++)
		appendStringInfo(&sql, "%s%s, %s", i > 0 ? ", " : "",
						 quote_literal_cstr(q->metrics->dimensions[q->by[i]]),
						 windows_dimension_sql(q->by[i] + 1));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* Rows of windows with the number of their group, see groups_sql(). */
static char *
rows_sql(const Question *q)
{
	const char *schema = quote_identifier(NameStr(q->source->name));

	return psprintf("%1$s.windows w%2$s WHERE w.bucket >= %3$s AND w.bucket < %4$s",
					schema,
					q->nby == 0 ? "" : " JOIN groups d USING (combination)",
					time_literal(plus(q->from, -q->size)), time_literal(plus(q->until, q->size)));
}

/* Combinations are put into groups once, not row by row. */
static char *
groups_sql(const Question *q)
{
	if (q->nby == 0)
		return "";
	return psprintf("WITH groups AS MATERIALIZED (SELECT d.combination, %s AS dimensions FROM %s d) ",
					dimensions_object(q), windows_dimensions_sql(q->source, q->metrics));
}

static char *
query_text(const Question *q)
{
	const char *dimensions = q->nby == 0 ? "'{}'::jsonb" : "d.dimensions";
	char	   *watermark = windows_watermark_sql(q->source, q->metrics);
	char	   *size = windows_interval_sql(q->size);
	char	   *names;
	char	   *keys;
	char	   *rows = rows_sql(q);

	if (q->size == 0)
	{
		names = psprintf("g.window_start, g.window_end, g.window_end <= %s, g.dimensions", watermark);
		keys = psprintf("pg_catalog.min(w.bucket) AS window_start, pg_catalog.max(w.bucket_end) AS window_end, %s AS dimensions",
						dimensions);
		return psprintf("%s%s ORDER BY g.dimensions", groups_sql(q),
						windows_figures_sql(q->metrics, names, keys, rows,
											q->nby == 0 ? "() HAVING pg_catalog.count(*) > 0" : dimensions));
	}
	names = psprintf("g.window_start, g.window_start + %1$s, g.window_start + %1$s <= %2$s, g.dimensions",
					 size, watermark);
	if (q->slide == q->size)
		keys = psprintf("pg_catalog.date_bin(%s, w.bucket, pg_catalog.timestamptz '2000-01-01 00:00:00+00')", size);
	else
	{
		/* the windows that hold a bucket, from the last one backwards */
		keys = "h.start";
		rows = psprintf("(SELECT * FROM %1$s) w CROSS JOIN LATERAL pg_catalog.generate_series("
						"pg_catalog.date_bin(%2$s, w.bucket, pg_catalog.timestamptz '2000-01-01 00:00:00+00'),"
						" w.bucket_end - %3$s, - %2$s) h(start)",
						psprintf(q->nby == 0 ? "(SELECT w.* FROM %s) w" : "(SELECT w.*, d.dimensions FROM %s) w", rows),
						windows_interval_sql(q->slide), size);
		if (q->nby > 0)
			dimensions = "w.dimensions";
	}
	return psprintf("%1$s%2$s WHERE g.window_start + %3$s > %4$s AND g.window_start < %5$s"
					" ORDER BY g.window_start, g.dimensions", groups_sql(q),
					windows_figures_sql(q->metrics, names,
										psprintf("%s AS window_start, %s AS dimensions", keys, dimensions),
										rows, "1, 2"),
					size, time_literal(q->from), time_literal(q->until));
}

/* Buckets that were put together no longer tell shorter windows. */
static void
check_rolled(const Question *q)
{
	const char *schema = quote_identifier(NameStr(q->source->name));
	int64		unit = q->metrics->rollup_bucket;
	bool		isnull;
	TimestampTz rolled;

	if (q->size == 0 || (q->size % unit == 0 && q->slide % unit == 0))
		return;
	if (SPI_execute(psprintf("SELECT pg_catalog.max(bucket_end) FROM %s.windows WHERE bucket >= %s AND bucket < %s"
							 " AND bucket_end - bucket > %s", schema,
							 time_literal(plus(q->from, -q->size)), time_literal(plus(q->until, q->size)),
							 windows_interval_sql(q->metrics->bucket)), true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for buckets that were rolled up");
	rolled = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (!isnull)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("buckets before %s were rolled up to %lld seconds", timestamptz_to_str(rolled),
					   (long long) (unit / USECS_PER_SEC)),
				errhint("Ask for newer windows with since, or for a window_size and slide that are multiples of that."));
}

Datum
recsys_metrics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Question	q;

	InitMaterializedSRF(fcinfo, 0);
	read_question(fcinfo, &q);
	SPI_connect();
	check_rolled(&q);
	if (SPI_execute(query_text(&q), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the windows");
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	return (Datum) 0;
}
