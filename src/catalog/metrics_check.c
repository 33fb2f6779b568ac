/*
 * metrics_check.c
 *	  The rules for a declaration of metrics, the same for track_metrics(),
 *	  alter_metrics() and, later, for the stream worker, because DDL on the
 *	  events table goes on.
 */
#include "postgres.h"

#include <math.h>

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "catalog/internal.h"

#define MAX_COMBINATIONS 100000
#define MAX_TYPES 100
#define MAX_DAYS 36500

static void
check_array(const CatalogRow *row, int column, const char *argument, int max)
{
	ArrayType  *array = DatumGetArrayTypeP(row->values[column]);

	if (ARR_NDIM(array) > 1 || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must be a list without nulls", argument),
				 errhint("Give it as in %s => '{first,second}'.", argument)));
	if (ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) > max)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("argument \"%s\" has %d elements", argument,
						ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array))),
				 errhint("At most %d are allowed.", max)));
}

/* An interval between two bounds, in microseconds; only ages may have months. */
static int64
check_interval(const CatalogRow *row, int column, const char *argument, int64 min, int64 max)
{
	Interval   *interval;
	int64		length;

	if (row->nulls[column])
		return 0;
	interval = DatumGetIntervalP(row->values[column]);
	if (abs(interval->day) > MAX_DAYS || abs(interval->month) > MAX_DAYS / DAYS_PER_MONTH ||
		(interval->month != 0 && max <= USECS_PER_DAY))
		length = -1;
	else
		length = metrics_interval(interval);
	if (length < min || length > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s %s is out of range", argument,
						DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)))),
				 errhint("It can be from %lld seconds to %lld days.",
						 (long long) (min / USECS_PER_SEC), (long long) (max / USECS_PER_DAY))));
	return length;
}

static void
check_intervals(const CatalogRow *row)
{
	int64		always = MAX_DAYS * USECS_PER_DAY;
	int64		bucket = check_interval(row, METRICS_BUCKET, "bucket", USECS_PER_SEC, USECS_PER_DAY);
	int64		coarse = check_interval(row, METRICS_ROLLUP_BUCKET, "rollup_bucket",
										USECS_PER_SEC, USECS_PER_DAY);
	int64		rollup = check_interval(row, METRICS_ROLLUP_AFTER, "rollup_after", 0, always);
	int64		expire = check_interval(row, METRICS_EXPIRE_AFTER, "expire_after", 0, always);

	(void) check_interval(row, METRICS_ALLOWED_LATENESS, "allowed_lateness", 0, always);
	if (USECS_PER_DAY % bucket != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("bucket does not divide a day into equal parts"),
				 errhint("Choose a bucket such as '10 seconds', '1 min', '5 min' or '1 hour'.")));
	if (rollup != 0 && (coarse % bucket != 0 || USECS_PER_DAY % coarse != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rollup_bucket is no multiple of bucket that divides a day"),
				 errhint("Choose a rollup_bucket such as '1 hour' or '1 day'.")));
	if (expire != 0 && rollup != 0 && expire <= rollup)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expire_after is not longer than rollup_after"),
				 errhint("Buckets roll up first and expire later; leave one of them NULL, or change one.")));
}

static void
check_columns(const RecsysMetrics *m, const RecsysSource *source)
{
	for (int i = 0; i < m->ndimensions; i++)
		check_metrics_column(source->events, m->dimensions[i], "an element of dimensions", false);
	if (m->amount_column)
		check_metrics_column(source->events, m->amount_column, "amount_column", true);
	if (m->order_column)
		check_metrics_column(source->events, m->order_column, "order_column", false);
	if (m->has_ratings && m->rating_column)
		check_metrics_column(source->events, m->rating_column, "rating_column", true);
}

static void
needs(bool missing, const char *what, const char *column, const char *example)
{
	if (missing)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s, which the source does not have", psprintf(what, column)),
				 errhint("Drop the source, and create it with %s => '%s'.", column, example)));
}

/* Error unless the source can have the metrics that the row declares. */
void
check_metrics(const RecsysSource *source, const CatalogRow *row)
{
	RecsysMetrics *m;
	int			ntypes;

	check_array(row, METRICS_IMPRESSION, "impression", MAX_TYPES);
	check_array(row, METRICS_CLICK, "click", MAX_TYPES);
	check_array(row, METRICS_CONVERSION, "conversion", MAX_TYPES);
	check_array(row, METRICS_DIMENSIONS, "dimensions", RECSYS_MAX_DIMENSIONS);
	check_intervals(row);
	m = metrics_from_row(row, source);
	ntypes = m->nimpressions + m->nclicks + m->nconversions;

	needs(source->time_column == NULL, "metrics need %s", "event_time_column", "at");
	needs((ntypes > 0 || m->rating_type) && source->type_column == NULL,
		  "event types need %s", "event_type_column", "event_type");
	if (ntypes == 0 && !m->has_ratings)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no event type is named, so there is nothing to count"),
				 errhint("Name event types, as in impression => '{impression}', click => '{click}', conversion => '{purchase}'.")));
	if (m->has_ratings && m->rating_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ratings need a column with their value"),
				 errhint("Name it, as in rating_column => 'rating'.")));
	if (!m->has_ratings && !row->nulls[METRICS_RATING_COLUMN])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rating_column needs rating_type where feedback is implicit"),
				 errhint("Say which events are ratings, as in rating_type => 'rating'.")));
	if (m->nconversions == 0 && (m->amount_column || m->order_column))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs conversions", m->amount_column ? "amount_column" : "order_column"),
				 errhint("Say which events are conversions, as in conversion => '{purchase}'.")));
	if (m->max_combinations < 1 || m->max_combinations > MAX_COMBINATIONS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_combinations %d is out of range", m->max_combinations),
				 errhint("max_combinations is between 1 and %d.", MAX_COMBINATIONS)));
	if (!isfinite(m->satisfied_from))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("satisfied_from is not finite"),
				 errhint("Give the least rating of a satisfied user, as in satisfied_from => 4.")));
	check_columns(m, source);
}
