/*
 * windows_schema.c
 *	  The tables that hold the metrics of a source, in its schema.
 *
 * windows has one row per bucket and combination of dimension values in which
 * anything happened; rows that come to nothing are deleted.  Sums of rows are the
 * figures of longer windows.  window_orders says where each order is counted:
 * in the first bucket that it occurs in, there in the combination whose values come
 * first.  The stream worker relies on names and order of columns and on the names of
 * the primary keys.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "catalog/catalog.h"
#include "metrics/windows.h"

static const char *const tables =
"CREATE TABLE %1$s.window_state (\n"
"	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),\n"
"	latest timestamptz,\n"
"	rolled_until timestamptz,\n"
"	expired_until timestamptz,\n"
"	expired int8 NOT NULL,\n"
"	other int8 NOT NULL,\n"
"	without_amount int8 NOT NULL) USING heap;\n"
"COMMENT ON TABLE %1$s.window_state IS 'how far the metrics have come';\n"
"COMMENT ON COLUMN %1$s.window_state.latest IS 'largest event time so far';\n"
"COMMENT ON COLUMN %1$s.window_state.rolled_until IS 'buckets before this are of the length rollup_bucket';\n"
"COMMENT ON COLUMN %1$s.window_state.expired_until IS 'buckets before this have been dropped';\n"
"COMMENT ON COLUMN %1$s.window_state.expired IS 'events that came for buckets dropped before';\n"
"COMMENT ON COLUMN %1$s.window_state.other IS 'events counted as other, beyond max_combinations';\n"
"COMMENT ON COLUMN %1$s.window_state.without_amount IS 'conversions and ratings whose amount or value was null, NaN or infinite';\n"

"CREATE TABLE %1$s.window_dimensions (\n"
"	combination int4 PRIMARY KEY,\n"
"	dimensions text[] NOT NULL) USING heap;\n"
"COMMENT ON TABLE %1$s.window_dimensions IS 'combinations of dimension values, as texts';\n"
"COMMENT ON COLUMN %1$s.window_dimensions.combination IS 'number of the combination; 0 stands for all beyond max_combinations';\n"
"COMMENT ON COLUMN %1$s.window_dimensions.dimensions IS 'its values, in the order of recsys.tracked_metrics.dimensions';\n"

"CREATE TABLE %1$s.windows (\n"
"	bucket timestamptz,\n"
"	combination int4,\n"
"	bucket_end timestamptz NOT NULL,\n"
"	events int8 NOT NULL,\n"
"	impressions int8 NOT NULL,\n"
"	clicks int8 NOT NULL,\n"
"	conversions int8 NOT NULL,\n"
"	orders int8 NOT NULL,\n"
"	revenue numeric NOT NULL,\n"
"	ratings int8 NOT NULL,\n"
"	rating_sum numeric NOT NULL,\n"
"	satisfied int8 NOT NULL,\n"
"	users bytea NOT NULL,\n"
"	users_stale boolean NOT NULL,\n"
"	PRIMARY KEY (bucket, combination)) USING heap WITH (fillfactor = 70, toast_tuple_target = 8160);\n"
"COMMENT ON TABLE %1$s.windows IS 'what happened in each bucket of event time, by combination of dimension values';\n"
"COMMENT ON COLUMN %1$s.windows.bucket IS 'begin of the bucket';\n"
"COMMENT ON COLUMN %1$s.windows.combination IS 'dimension values, a number of window_dimensions';\n"
"COMMENT ON COLUMN %1$s.windows.bucket_end IS 'end of the bucket, not part of it';\n"
"COMMENT ON COLUMN %1$s.windows.events IS 'events that are impressions, clicks, conversions or ratings';\n"
"COMMENT ON COLUMN %1$s.windows.impressions IS 'impressions';\n"
"COMMENT ON COLUMN %1$s.windows.clicks IS 'clicks';\n"
"COMMENT ON COLUMN %1$s.windows.conversions IS 'conversions';\n"
"COMMENT ON COLUMN %1$s.windows.orders IS 'orders whose first conversion is here';\n"
"COMMENT ON COLUMN %1$s.windows.revenue IS 'sum of the amounts of the conversions';\n"
"COMMENT ON COLUMN %1$s.windows.ratings IS 'ratings';\n"
"COMMENT ON COLUMN %1$s.windows.rating_sum IS 'sum of their values';\n"
"COMMENT ON COLUMN %1$s.windows.satisfied IS 'ratings of satisfied_from or more';\n"
"COMMENT ON COLUMN %1$s.windows.users IS 'sketch of the users of the events, for recsys.users_estimate()';\n"
"COMMENT ON COLUMN %1$s.windows.users_stale IS 'whether the sketch still has users of events that were taken back';\n"

"CREATE TABLE %1$s.window_orders (\n"
"	order_id text COLLATE \"C\",\n"
"	bucket timestamptz,\n"
"	combination int4,\n"
"	events int8 NOT NULL,\n"
"	PRIMARY KEY (order_id, bucket, combination)) USING heap;\n"
"COMMENT ON TABLE %1$s.window_orders IS 'where each order occurs; it is counted in the first bucket of these';\n"
"COMMENT ON COLUMN %1$s.window_orders.order_id IS 'the order, as text';\n"
"COMMENT ON COLUMN %1$s.window_orders.bucket IS 'begin of the bucket, of the length bucket even after a roll-up';\n"
"COMMENT ON COLUMN %1$s.window_orders.combination IS 'dimension values, a number of window_dimensions';\n"
"COMMENT ON COLUMN %1$s.window_orders.events IS 'conversions of the order there';\n";

void
windows_create_schema(const RecsysSource *source, const RecsysMetrics *metrics)
{
	catalog_execute_as(source->owner, psprintf(tables, quote_identifier(NameStr(source->name))));
	windows_create_functions(source);
	windows_replace_views(source, metrics);
}

void
windows_drop_schema(const RecsysSource *source)
{
	windows_drop_views(source);
	catalog_execute_as(source->owner,
					   psprintf("DROP TABLE IF EXISTS %1$s.windows, %1$s.window_orders, %1$s.window_dimensions, %1$s.window_state",
								quote_identifier(NameStr(source->name))));
}
