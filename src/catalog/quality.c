/*
 * quality.c
 *	  track_quality() and untrack_quality(): whether and how the models of a
 *	  source are measured by the events that come in, and what it is read by.
 *
 * The stream worker follows after commit (stream/quality.c), and writes the
 * tables that are made here.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_collation_d.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "catalog/internal.h"

PG_FUNCTION_INFO_V1(recsys_track_quality);
PG_FUNCTION_INFO_V1(recsys_untrack_quality);

enum
{
	ARG_SOURCE,
	ARG_SAMPLE,
	ARG_K,
	ARG_MODELS,
	ARG_PER_MINUTE,
	ARG_KEEP
};

#define MAX_K 10000

/* $S stands for the schema.  The worker relies on the order of the columns. */
static const char *const schema_sql =
"CREATE TABLE $S.quality_windows (\n"
"	model name,\n"
"	k int4,\n"
"	window_start timestamptz,\n"
"	events int8 NOT NULL,\n"
"	hits int8 NOT NULL,\n"
"	reciprocal_ranks float8 NOT NULL,\n"
"	asking_ms float8 NOT NULL,\n"
"	PRIMARY KEY (model, k, window_start)) USING heap WITH (fillfactor = 70);\n"
"COMMENT ON TABLE $S.quality_windows IS 'how often models had the items of events that came in, per minute of event time';\n"
"COMMENT ON COLUMN $S.quality_windows.model IS 'name of the model';\n"
"COMMENT ON COLUMN $S.quality_windows.k IS 'length of the lists';\n"
"COMMENT ON COLUMN $S.quality_windows.window_start IS 'beginning of the minute';\n"
"COMMENT ON COLUMN $S.quality_windows.events IS 'events of which the model was asked';\n"
"COMMENT ON COLUMN $S.quality_windows.hits IS 'events whose item was in the list';\n"
"COMMENT ON COLUMN $S.quality_windows.reciprocal_ranks IS 'sum of 1 / place of the item in the list';\n"
"COMMENT ON COLUMN $S.quality_windows.asking_ms IS 'time that the worker spent asking, in milliseconds';\n"

"CREATE TABLE $S.quality_state (\n"
"	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),\n"
"	minute timestamptz NOT NULL,\n"
"	asked int4 NOT NULL) USING heap;\n"
"COMMENT ON TABLE $S.quality_state IS 'of how many events of the newest minute models were asked';\n"

"CREATE FUNCTION $S.model_quality(window_size interval = '1 hour', since interval = NULL, of_model name = NULL)\n"
"RETURNS TABLE (window_start timestamptz, window_end timestamptz, model name, k int4, events int8, hits int8,\n"
"	hit_rate float8, hit_rate_lower float8, hit_rate_upper float8, mrr float8, ms_per_event float8)\n"
"LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp\n"
"BEGIN ATOMIC\n"
"	SELECT w.start, w.start + $1, w.model, w.k, w.events, w.hits, w.hits / nullif(w.events, 0)::float8,\n"
"		recsys.wilson_lower(w.hits, w.events), recsys.wilson_upper(w.hits, w.events),\n"
"		w.ranks / nullif(w.events, 0), w.ms / nullif(w.events, 0)\n"
"	FROM (SELECT date_bin($1, q.window_start, timestamptz '2000-01-01 00:00:00+00') AS start, q.model, q.k,\n"
"			sum(q.events)::int8 AS events, sum(q.hits)::int8 AS hits, sum(q.reciprocal_ranks) AS ranks, sum(q.asking_ms) AS ms\n"
"		FROM $S.quality_windows q\n"
"		WHERE ($2 IS NULL OR q.window_start >= date_bin($1, now() - $2, timestamptz '2000-01-01 00:00:00+00'))\n"
"			AND ($3 IS NULL OR q.model = $3)\n"
"		GROUP BY 1, 2, 3) w\n"
"	ORDER BY w.start, w.model, w.k;\n"
"END;\n"
"COMMENT ON FUNCTION $S.model_quality IS 'how good the models were at foretelling the events that came in, per window of event time: hit_rate = hits / events, the share of events whose item was among the k recommended just before, with its Wilson 95 % interval; mrr = mean of 1 / place, 0 where it was not among them; ms_per_event = what asking cost the worker. since: only windows of so long ago until now';\n"
"REVOKE ALL ON FUNCTION $S.model_quality FROM PUBLIC;\n"

"CREATE VIEW $S.model_quality_hourly AS\n"
"	SELECT w.start AS window_start, w.start + interval '1 hour' AS window_end, w.model, w.k, w.events, w.hits,\n"
"		w.hits / nullif(w.events, 0)::float8 AS hit_rate, recsys.wilson_lower(w.hits, w.events) AS hit_rate_lower,\n"
"		recsys.wilson_upper(w.hits, w.events) AS hit_rate_upper, w.ranks / nullif(w.events, 0) AS mrr\n"
"	FROM (SELECT date_bin(interval '1 hour', q.window_start, timestamptz '2000-01-01 00:00:00+00') AS start, q.model, q.k,\n"
"			sum(q.events)::int8 AS events, sum(q.hits)::int8 AS hits, sum(q.reciprocal_ranks) AS ranks\n"
"		FROM $S.quality_windows q GROUP BY 1, 2, 3) w;\n"
"COMMENT ON VIEW $S.model_quality_hourly IS 'how good the models were at foretelling the events that came in, by the hour';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.window_start IS 'beginning of the hour';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.window_end IS 'end of the hour';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.model IS 'name of the model';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.k IS 'length of the lists';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.events IS 'events of which the model was asked';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.hits IS 'events whose item was in the list';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.hit_rate IS 'hits / events';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.hit_rate_lower IS 'lower end of the Wilson 95 % interval of hit_rate';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.hit_rate_upper IS 'upper end of the Wilson 95 % interval of hit_rate';\n"
"COMMENT ON COLUMN $S.model_quality_hourly.mrr IS 'mean reciprocal rank: 1 / place in the list, 0 if not in it';\n";

static const char *const drop_sql =
"DROP VIEW $S.model_quality_hourly;\n"
"DROP FUNCTION $S.model_quality;\n"
"DROP TABLE $S.quality_windows, $S.quality_state;\n";

static void
run_in_schema(const RecsysSource *source, const char *sql)
{
	catalog_execute_as(source->owner,
					   text_to_cstring(DatumGetTextPP(
						DirectFunctionCall3Coll(replace_text, C_COLLATION_OID,
												CStringGetTextDatum(sql),
												CStringGetTextDatum("$S"),
												CStringGetTextDatum(quote_identifier(NameStr(source->name)))))));
}

static RecsysSource *
source_for_change(FunctionCallInfo fcinfo, const char *function)
{
	RecsysSource *source;

	catalog_require_argument(fcinfo, ARG_SOURCE, "source");
	source = source_from_row(source_row_for_change(function, PG_GETARG_NAME(ARG_SOURCE),
												   ShareUpdateExclusiveLock));
	if (!OidIsValid(source->nspid))
		source_schema_is_gone(NameStr(source->name));
	return source;
}

static CatalogRow *
find_row(const RecsysSource *source, Snapshot snapshot)
{
	List	   *rows = store_read(BY_QUALITY_SOURCE, Int32GetDatum(source->id), snapshot);

	return rows == NIL ? NULL : linitial(rows);
}

/* Names in an array without nulls. */
static List *
names_of(Datum array)
{
	Datum	   *elements;
	int			n;
	List	   *names = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		names = lappend(names, pstrdup(NameStr(*DatumGetName(elements[i]))));
	return names;
}

static void
check_arguments(FunctionCallInfo fcinfo, const RecsysSource *source)
{
	double		sample = PG_GETARG_FLOAT8(ARG_SAMPLE);
	ListCell   *lc;

	if (isnan(sample) || sample <= 0 || sample > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be above 0 and at most 1, but is %g", sample),
				 errhint("0.01 asks of every hundredth event. SELECT recsys.untrack_quality(%s); ends it.",
						 quote_literal_cstr(NameStr(source->name)))));
	if (PG_GETARG_INT32(ARG_K) < 1 || PG_GETARG_INT32(ARG_K) > MAX_K)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and %d, but is %d", MAX_K, PG_GETARG_INT32(ARG_K)),
				 errhint("Pass the number of rows that users see, for example k => 10.")));
	if (PG_GETARG_INT32(ARG_PER_MINUTE) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("per_minute must be positive, not %d", PG_GETARG_INT32(ARG_PER_MINUTE)),
				 errhint("Pass a number of events, for example per_minute => 600.")));
	if (!PG_ARGISNULL(ARG_KEEP) && metrics_interval(PG_GETARG_INTERVAL_P(ARG_KEEP)) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keep must be positive"),
				 errhint("Pass an interval such as '30 days', or NULL to keep all figures.")));
	if (PG_ARGISNULL(ARG_MODELS))
		return;
	if (array_contains_nulls(PG_GETARG_ARRAYTYPE_P(ARG_MODELS)) ||
		names_of(PG_GETARG_DATUM(ARG_MODELS)) == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("models must be names of models"),
				 errhint("Leave models out to measure all of them.")));
	foreach(lc, names_of(PG_GETARG_DATUM(ARG_MODELS)))
		(void) catalog_model(source, lfirst(lc));	/* raises the error */
}

Datum
recsys_track_quality(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "track_quality");
	CatalogRow *old = find_row(source, NULL);
	CatalogRow	row = {0};

	catalog_require_argument(fcinfo, ARG_SAMPLE, "sample");
	catalog_require_argument(fcinfo, ARG_K, "k");
	catalog_require_argument(fcinfo, ARG_PER_MINUTE, "per_minute");
	check_arguments(fcinfo, source);
	if (old != NULL)
		row.tid = old->tid;
	row.values[QUALITY_SOURCE_ID] = Int32GetDatum(source->id);
	for (int column = QUALITY_SAMPLE; column <= QUALITY_KEEP; column++)
	{
		row.values[column] = PG_GETARG_DATUM(column - QUALITY_SOURCE_ID);
		row.nulls[column] = PG_ARGISNULL(column - QUALITY_SOURCE_ID);
	}
	if (old != NULL)
		store_update("quality", &row);
	else
	{
		store_insert("quality", &row);
		run_in_schema(source, schema_sql);
	}
	catalog_changed();
	PG_RETURN_VOID();
}

Datum
recsys_untrack_quality(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "untrack_quality");
	CatalogRow *row = find_row(source, NULL);

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the models of source \"%s\" are not measured", NameStr(source->name)),
				 errhint("SELECT recsys.track_quality(%s); begins it.",
						 quote_literal_cstr(NameStr(source->name)))));
	store_delete("quality", row);
	run_in_schema(source, drop_sql);
	catalog_changed();
	PG_RETURN_VOID();
}

RecsysQuality *
catalog_quality(const RecsysSource *source)
{
	CatalogRow *row = find_row(source, ActiveSnapshotSet() ? GetActiveSnapshot() : NULL);
	RecsysQuality *q;

	if (row == NULL)
		return NULL;
	q = palloc0(sizeof(RecsysQuality));
	q->sample = DatumGetFloat8(row->values[QUALITY_SAMPLE]);
	q->k = DatumGetInt32(row->values[QUALITY_K]);
	if (!row->nulls[QUALITY_MODELS])
		q->models = names_of(row->values[QUALITY_MODELS]);
	q->per_minute = DatumGetInt32(row->values[QUALITY_PER_MINUTE]);
	if (!row->nulls[QUALITY_KEEP])
		q->keep = metrics_interval(DatumGetIntervalP(row->values[QUALITY_KEEP]));
	return q;
}
