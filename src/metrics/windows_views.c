/*
 * windows_views.c
 *	  What people and dashboards read: metrics(), session_metrics() and the metrics_*
 *	  views in the schema of a source.
 *
 * Names and types of the columns are the same for every source, whatever it counts,
 * so that a dashboard fits all.  Hours and days are those of the reader's time zone.
 */
#include "postgres.h"

#include "catalog/pg_authid_d.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "metrics/windows.h"
#include "metrics/windows_sql.h"

static const char *const function_comment =
"figures of windows, read from the table windows: window_size long, one after the other, or beginning every slide; with window_size NULL all in one. "
"since: windows that end within that time before until, or before now; NULL: from the first. by: dimensions to count apart, in the column dimensions; others are added up. "
"Windows begin at multiples of their length since 2000-01-01 00:00 UTC; those in which nothing happened have no row. "
"is_final: no event of the window is expected any more, its end is allowed_lateness before the largest event time, or before now if that is less; an event that comes all the same counts, too. "
"ctr = clicks / impressions, cvr = conversions / clicks, aov = revenue / orders, mean_rating = sum of ratings / ratings, satisfaction = ratings of satisfied_from or more / ratings; a division by zero gives NULL. "
"*_lower and *_upper: Wilson 95 % interval of the rate, NULL where the part is more than the whole. "
"orders: different orders, each in the window of its first conversion. users: different users, an estimate with a standard error of 2.3 %, exact up to some 384.";

static const char *const session_comment =
"figures of sessions by the window in which they begin, read from the event table at each call; window_size NULL: all in one. "
"A session is what a user does with pauses of no more than gap in between; gap NULL: the session_column of the source, or 30 minutes if it has none. "
"since: sessions that begin within that time before until, or before now; NULL: from the first. Events of all types count. "
"mean_length: mean time from the first to the last event. bounce_rate: share of sessions with at most one event other than impressions. "
"conversion_rate: share of sessions with a conversion. revenue_per_session = revenue / sessions, NULL without amount_column. *_lower and *_upper: Wilson 95 % interval.";

static char *
relation_name(const RecsysSource *source, const char *name)
{
	return quote_qualified_identifier(NameStr(source->name), name);
}

/* ---------------------------------------------------------------- function */

static char *
result_columns(void)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "window_start timestamptz, window_end timestamptz, is_final boolean, dimensions jsonb");
	for (const FigureColumn *c = window_figures; c->name; c++)
		appendStringInfo(&sql, ", %s %s", c->name, c->type);
	return sql.data;
}

/* Only superusers create functions in C; it then belongs to the owner of the source. */
static void
create_function(const RecsysSource *source, const char *function, const char *arguments,
				const char *columns, const char *comment)
{
	char	   *name = relation_name(source, function);
	Oid			superuser = BOOTSTRAP_SUPERUSERID;

	catalog_execute_as(superuser, psprintf(
		"CREATE FUNCTION %s(%s) RETURNS TABLE (%s)"
		" LANGUAGE c STABLE SECURITY DEFINER PARALLEL RESTRICTED COST 1000 ROWS 100"
		" SET search_path = pg_catalog, pg_temp AS '$libdir/recsys', 'recsys_%s'",
		name, arguments, columns, function));
	catalog_execute_as(superuser, psprintf("COMMENT ON FUNCTION %s IS %s", name,
										   quote_literal_cstr(comment)));
	catalog_execute_as(superuser, psprintf("REVOKE ALL ON FUNCTION %s FROM PUBLIC", name));
	catalog_execute_as(superuser, psprintf("ALTER FUNCTION %s OWNER TO %s", name,
										   quote_identifier(GetUserNameFromId(source->owner, false))));
}

void
windows_create_functions(const RecsysSource *source)
{
	create_function(source, "metrics",
					"window_size interval = NULL, since interval = NULL, by text[] = '{}',"
					" slide interval = NULL, until timestamptz = NULL",
					result_columns(), function_comment);
	create_function(source, "session_metrics",
					"window_size interval = NULL, since interval = NULL, gap interval = NULL, until timestamptz = NULL",
					"window_start timestamptz, window_end timestamptz, sessions bigint, users bigint, events bigint,"
					" events_per_session double precision, mean_length interval,"
					" bounces bigint, bounce_rate double precision, bounce_lower double precision, bounce_upper double precision,"
					" converted bigint, conversion_rate double precision, conversion_lower double precision, conversion_upper double precision,"
					" revenue numeric, revenue_per_session numeric",
					session_comment);
}

/* ------------------------------------------------------------------- views */

static void
comment_on(const RecsysSource *source, const char *view, const char *column, const char *comment)
{
	char	   *name = relation_name(source, view);

	if (column)
		name = psprintf("%s.%s", name, column);
	catalog_execute_as(source->owner, psprintf("COMMENT ON %s %s IS %s", column ? "COLUMN" : "VIEW",
											   name, quote_literal_cstr(comment)));
}

static void
comment_on_window(const RecsysSource *source, const char *view)
{
	comment_on(source, view, "window_start", "begin of the window");
	comment_on(source, view, "window_end", "end of the window, not part of it");
	comment_on(source, view, "is_final", "whether no event of the window is expected any more");
}

static void
comment_on_figures(const RecsysSource *source, const char *view)
{
	for (const FigureColumn *c = window_figures; c->name; c++)
		comment_on(source, view, c->name, c->comment);
}

static void
create_view(const RecsysSource *source, const char *view, const char *query)
{
	catalog_execute_as(source->owner, psprintf("CREATE OR REPLACE VIEW %s AS %s",
											   relation_name(source, view), query));
}

/* Totals of each window that begins at an expression over "w". */
static void
create_by_time(const RecsysSource *source, const RecsysMetrics *metrics, const char *view,
			   const char *start, const char *end, const char *comment)
{
	char	   *watermark = windows_watermark_sql(source, metrics);
	char	   *names = psprintf("g.window_start, g.window_end, g.window_end <= %s AS is_final", watermark);
	char	   *keys = psprintf("%s AS window_start, %s AS window_end", start, end);

	create_view(source, view, windows_figures_sql(metrics, names, keys,
												  psprintf("%s w", relation_name(source, "windows")), "1"));
	comment_on(source, view, NULL, comment);
	comment_on_window(source, view);
	comment_on_figures(source, view);
}

static void
create_by_unit(const RecsysSource *source, const RecsysMetrics *metrics, const char *unit)
{
	create_by_time(source, metrics, psprintf("metrics_by_%s", unit),
				   psprintf("pg_catalog.date_trunc('%s', w.bucket)", unit),
				   psprintf("pg_catalog.date_trunc('%1$s', w.bucket) + pg_catalog.interval '1 %1$s'", unit),
				   psprintf("figures of each %s, in the time zone of the reader; its bounds are as exact as the buckets that are there", unit));
}

/* One row per hour, dimension and value. */
static void
create_by_dimension(const RecsysSource *source, const RecsysMetrics *metrics)
{
	static const char *const view = "metrics_by_dimension";
	StringInfoData values;
	char	   *watermark = windows_watermark_sql(source, metrics);

	initStringInfo(&values);
	for (int i = 0; i < metrics->ndimensions; i++)
		appendStringInfo(&values, "%s(%s::text, %s)", i > 0 ? ", " : "VALUES ",
						 quote_literal_cstr(metrics->dimensions[i]), windows_dimension_sql(i + 1));
	if (metrics->ndimensions == 0)
		appendStringInfoString(&values, "SELECT NULL::text, NULL::text WHERE false");
	create_view(source, view,
				windows_figures_sql(metrics,
									psprintf("g.dimension, g.value, g.window_start,"
											 " g.window_start + pg_catalog.interval '1 hour' AS window_end,"
											 " g.window_start + pg_catalog.interval '1 hour' <= %s AS is_final", watermark),
									"v.dimension, v.value, pg_catalog.date_trunc('hour', w.bucket) AS window_start",
									psprintf("%s w JOIN %s d USING (combination) CROSS JOIN LATERAL (%s) v(dimension, value)",
											 relation_name(source, "windows"),
											 windows_dimensions_sql(source, metrics), values.data),
									"1, 2, 3"));
	comment_on(source, view, NULL, "figures of each hour by the values of each dimension; those of one dimension add up to metrics_by_hour, but for the users");
	comment_on(source, view, "dimension", "name of the dimension, a column of the event table");
	comment_on(source, view, "value", "its value as text; NULL for events without one, other beyond max_combinations");
	comment_on_window(source, view);
	comment_on_figures(source, view);
}

static void
create_status(const RecsysSource *source, const RecsysMetrics *metrics)
{
	static const char *const view = "metrics_status";

	create_view(source, view, psprintf(
		"SELECT s.latest, %1$s AS watermark, s.rolled_until, s.expired_until,"
		" (SELECT pg_catalog.count(*) FROM %2$s.window_dimensions) AS combinations, %3$d AS max_combinations,"
		" s.other, s.expired, s.without_amount,"
		" (SELECT c.unmatched FROM %2$s.consumers c WHERE c.kind = 'metrics' LIMIT 1) AS unmatched,"
		" (SELECT pg_catalog.count(*) FROM %2$s.windows w WHERE w.users_stale) AS users_to_recount"
		" FROM %2$s.window_state s",
		windows_watermark_sql(source, metrics), quote_identifier(NameStr(source->name)),
		metrics->max_combinations));
	comment_on(source, view, NULL, "how far the metrics have come, and what did not fit into them");
	comment_on(source, view, "latest", "largest event time so far");
	comment_on(source, view, "watermark", "windows that end by then are final");
	comment_on(source, view, "rolled_until", "buckets before this were put together to longer ones; NULL: none");
	comment_on(source, view, "expired_until", "buckets before this were dropped; NULL: none");
	comment_on(source, view, "combinations", "combinations of dimension values that are counted apart");
	comment_on(source, view, "max_combinations", "how many of them may be");
	comment_on(source, view, "other", "events of further combinations, counted as other");
	comment_on(source, view, "expired", "events that came for buckets dropped before, counted nowhere");
	comment_on(source, view, "without_amount", "conversions without an amount and ratings without a value: null, NaN or infinite");
	comment_on(source, view, "unmatched", "updates and deletes that could not be followed, for want of the old row in the WAL");
	comment_on(source, view, "users_to_recount", "buckets whose users still have those of events that were taken back");
}

void
windows_replace_views(const RecsysSource *source, const RecsysMetrics *metrics)
{
	create_by_time(source, metrics, "metrics_by_minute",
				   "pg_catalog.date_trunc('minute', w.bucket)",
				   "GREATEST(pg_catalog.date_trunc('minute', w.bucket) + pg_catalog.interval '1 minute', pg_catalog.max(w.bucket_end))",
				   "figures of each minute, or of each bucket where these are longer");
	create_by_unit(source, metrics, "hour");
	create_by_unit(source, metrics, "day");
	create_by_dimension(source, metrics);
	create_status(source, metrics);
}

void
windows_drop_views(const RecsysSource *source)
{
	char	   *schema = (char *) quote_identifier(NameStr(source->name));

	catalog_execute_as(source->owner,
					   psprintf("DROP VIEW IF EXISTS %1$s.metrics_by_minute, %1$s.metrics_by_hour, %1$s.metrics_by_day,"
								" %1$s.metrics_by_dimension, %1$s.metrics_status", schema));
	catalog_execute_as(source->owner, psprintf("DROP FUNCTION IF EXISTS %s, %s", relation_name(source, "metrics"),
											   relation_name(source, "session_metrics")));
}
