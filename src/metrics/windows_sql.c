/*
 * windows_sql.c
 *	  From sums over rows of windows to the figures that people read.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "metrics/windows.h"
#include "metrics/windows_sql.h"

const FigureColumn window_figures[] = {
	{"impressions", "bigint", "impressions"},
	{"clicks", "bigint", "clicks"},
	{"ctr", "double precision", "click-through rate: clicks / impressions; NULL without impressions"},
	{"ctr_lower", "double precision", "lower end of its Wilson 95 % interval; NULL with more clicks than impressions"},
	{"ctr_upper", "double precision", "upper end of its Wilson 95 % interval; NULL with more clicks than impressions"},
	{"conversions", "bigint", "conversions"},
	{"cvr", "double precision", "conversion rate: conversions / clicks; NULL without clicks"},
	{"cvr_lower", "double precision", "lower end of its Wilson 95 % interval; NULL with more conversions than clicks"},
	{"cvr_upper", "double precision", "upper end of its Wilson 95 % interval; NULL with more conversions than clicks"},
	{"orders", "bigint", "different orders, each counted in the bucket of its first conversion"},
	{"revenue", "numeric", "sum of the amounts of the conversions; NULL without amount_column"},
	{"aov", "numeric", "average order value: revenue / orders; NULL without orders"},
	{"ratings", "bigint", "ratings"},
	{"mean_rating", "double precision", "mean of the ratings; NULL without ratings"},
	{"satisfaction", "double precision", "share of ratings of satisfied_from or more; NULL without ratings"},
	{"satisfaction_lower", "double precision", "lower end of its Wilson 95 % interval"},
	{"satisfaction_upper", "double precision", "upper end of its Wilson 95 % interval"},
	{"users", "bigint", "different users, an estimate with a standard error of 2.3 %, exact up to some 384 users"},
	{NULL, NULL, NULL}
};

/* A rate with its interval. */
static void
append_rate(StringInfo sql, const char *name, const char *part, const char *all)
{
	appendStringInfo(sql,
					 "g.%2$s::double precision / nullif(g.%3$s, 0) AS %1$s, "
					 "CASE WHEN g.%2$s <= g.%3$s THEN recsys.wilson_lower(g.%2$s, g.%3$s) END AS %1$s_lower, "
					 "CASE WHEN g.%2$s <= g.%3$s THEN recsys.wilson_upper(g.%2$s, g.%3$s) END AS %1$s_upper, ",
					 name, part, all);
}

static void
append_figures(StringInfo sql, const RecsysMetrics *metrics)
{
	const char *revenue = metrics->amount_column ? "g.revenue" : "NULL::numeric";

	appendStringInfoString(sql, "g.impressions, g.clicks, ");
	append_rate(sql, "ctr", "clicks", "impressions");
	appendStringInfoString(sql, "g.conversions, ");
	append_rate(sql, "cvr", "conversions", "clicks");
	appendStringInfo(sql, "g.orders, %1$s AS revenue, %1$s / nullif(g.orders, 0) AS aov, g.ratings, "
					 "(g.rating_sum / nullif(g.ratings, 0))::double precision AS mean_rating, ", revenue);
	append_rate(sql, "satisfaction", "satisfied", "ratings");
	appendStringInfoString(sql, "g.users");
}

char *
windows_figures_sql(const RecsysMetrics *metrics, const char *names,
					const char *keys, const char *relation, const char *group)
{
	static const char *const counters[] = {
		"impressions", "clicks", "conversions", "orders", "ratings", "satisfied"
	};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s, ", names);
	append_figures(&sql, metrics);
	appendStringInfo(&sql, " FROM (SELECT %s", keys);
	for (int i = 0; i < (int) lengthof(counters); i++)
		appendStringInfo(&sql, ", pg_catalog.sum(w.%1$s)::bigint AS %1$s", counters[i]);
	appendStringInfo(&sql, ", pg_catalog.sum(w.revenue) AS revenue, pg_catalog.sum(w.rating_sum) AS rating_sum,"
					 " recsys.users_estimate(w.users) AS users FROM %s GROUP BY %s) g", relation, group);
	return sql.data;
}

char *
windows_interval_sql(int64 length)
{
	return psprintf("pg_catalog.interval '" INT64_FORMAT " microseconds'", length);
}

char *
windows_watermark_sql(const RecsysSource *source, const RecsysMetrics *metrics)
{
	return psprintf("(SELECT LEAST(s.latest, pg_catalog.now()) - %s FROM %s.window_state s)",
					windows_interval_sql(metrics->allowed_lateness),
					quote_identifier(NameStr(source->name)));
}

char *
windows_dimension_sql(int i)
{
	return psprintf("CASE WHEN d.combination = %d THEN 'other' ELSE d.dimensions[%d] END",
					WINDOWS_OTHER, i);
}

char *
windows_dimensions_sql(const RecsysSource *source, const RecsysMetrics *metrics)
{
	StringInfoData sql;

	(void) metrics;
	initStringInfo(&sql);
	appendStringInfo(&sql, "(SELECT combination, dimensions FROM %s.window_dimensions"
					 " UNION ALL SELECT %d, NULL::text[])",
					 quote_identifier(NameStr(source->name)), WINDOWS_OTHER);
	return sql.data;
}
