/*
 * since.c
 *	  popular() for a recent period: one aggregate query over the events table.
 *
 * State has no totals by period, so this reads the events of the period, by
 * the owner's right.  The query applies the rules of clean.h: what the stream
 * rejects does not count, types weigh as declared, contributions decay.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "metrics/events_sql.h"
#include "recsys.h"
#include "serve/serve.h"

/* Weight of the row's type. */
static void
append_weight(StringInfo sql, const RecsysSource *source)
{
	if (source->has_weights && source->type_column)
	{
		appendStringInfo(sql, "(CASE %s::text", events_column(source->type_column));
		for (int i = 0; i < source->nweights; i++)
			appendStringInfo(sql, " WHEN %s THEN double precision '%.17g'",
							 quote_literal_cstr(source->weights[i].event_type),
							 source->weights[i].weight < 1e-150 ? 0 : source->weights[i].weight);
		/* CASE needs a branch */
		appendStringInfoString(sql, " WHEN NULL THEN 0 ELSE 0 END)");
	}
	else
		appendStringInfoString(sql, "double precision '1'");
}

/* Contribution of a row before decay: of type double precision, null where
 * the row is to be rejected.  Of a rating only its presence counts. */
static void
append_contribution(StringInfo sql, const RecsysSource *source)
{
	if (source->explicit_feedback)
	{
		appendStringInfo(sql, "CASE WHEN %1$s BETWEEN -%2$g AND %2$g THEN ",
						 events_column(source->value_column), RECSYS_MAX_AMOUNT);
		append_weight(sql, source);
		appendStringInfoString(sql, " END");
		return;
	}
	append_weight(sql, source);
	if (source->value_column)
		appendStringInfo(sql,
						 " * (CASE WHEN %1$s BETWEEN 0 AND 1e-150 THEN 0"
						 " WHEN %1$s BETWEEN 0 AND 1.7976931348623157e308"
						 " THEN least(%1$s::double precision, 1e280) END)",
						 events_column(source->value_column));
}

/*
 * SQL raises errors where a product or a sum leaves the range of its type; the
 * stream does not.  So factors are kept within 1e-150 and 1e280, and the score
 * within that of real: what lies outside means nothing anyway.
 */
static void
append_decayed(StringInfo sql, const RecsysSource *source)
{
	if (source->half_life <= 0)
	{
		appendStringInfoString(sql, "c.contribution");
		return;
	}
	appendStringInfo(sql,
					 "CASE WHEN c.contribution < 1e-150 THEN 0 ELSE c.contribution"
					 " * power(double precision '2', greatest(-500, least(500,"
					 " extract(epoch FROM c.time - now())::double precision / double precision '%.17g'))) END",
					 source->half_life);
}

static char *
since_query(ServeCall *call)
{
	const RecsysSource *source = call->source;
	const char *time = events_time(source);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT s.item, s.score FROM (SELECT t.item,"
						   " (CASE WHEN t.score < 1e-37 THEN 0 ELSE least(t.score, 3.4e38) END)::real AS score"
						   " FROM (SELECT c.item, ");
	if (source->explicit_feedback)
		appendStringInfoString(&sql, "count(DISTINCT c.person)::double precision");
	else
	{
		appendStringInfoString(&sql, "sum(");
		append_decayed(&sql, source);
		appendStringInfoChar(&sql, ')');
	}
	appendStringInfo(&sql, " AS score FROM (SELECT %s::%s AS item, %s AS person, %s AS time, ",
					 events_column(NameStr(source->item.name)),
					 format_type_be_qualified(source->item.type),
					 events_column(NameStr(source->user.name)), time);
	append_contribution(&sql, source);
	/* further back than that begins time itself */
	appendStringInfo(&sql, " AS contribution FROM %1$s WHERE %2$s >= now() - least($1, interval '6500 years')"
					 " AND %2$s <= statement_timestamp() + interval '%3$d seconds' AND %4$s",
					 events_from(source), time, recsys_max_future, events_keys(source));
	if (source->type_column)
		appendStringInfo(&sql, " AND %s IS NOT NULL", events_column(source->type_column));
	appendStringInfo(&sql,
					 " OFFSET 0) c WHERE c.contribution > 0 AND c.contribution <= %g GROUP BY c.item) t) s"
					 " LEFT JOIN %s.items i ON i.key = s.item"
					 " ORDER BY s.score DESC, i.id, s.item LIMIT $2",
					 RECSYS_MAX_AMOUNT, quote_identifier(NameStr(source->name)));
	return sql.data;
}

static void
check_since(ServeCall *call, Datum since)
{
	Datum		zero = DirectFunctionCall3(interval_in, CStringGetDatum("0"),
										   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

	if (!DatumGetBool(DirectFunctionCall2(interval_gt, since, zero)))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("since must be a positive interval, not %s",
					   DatumGetCString(DirectFunctionCall1(interval_out, since))),
				errhint("Pass how far to look back, for example since => interval '1 day'."));
	if (call->source->time_column == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("source \"%s\" has no event time column, which since needs",
					   NameStr(call->source->name)),
				errhint("Call popular() without since, or create the source with event_time_column."));
	if (get_rel_relkind(call->source->events) == 0)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("the events table of source \"%s\" has been dropped",
					   NameStr(call->source->name)),
				errhint("Call popular() without since, or drop the source with recsys.drop_source()."));
	serve_check_may_read(call->source);
}

/* The query may run code of users: nothing of call->served is used after. */
void
popular_since(ServeCall *call, Datum since, int k)
{
	Oid			types[2] = {INTERVALOID, INT4OID};
	Datum		values[2] = {since, Int32GetDatum(k)};
	char	   *sql;

	check_since(call, since);
	serve_open_items(call);
	sql = since_query(call);
	result_begin(call);

	SPI_connect();
	SPI_execute_with_args(sql, lengthof(types), types, values, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		item = SPI_getbinval(tuple, desc, 1, &isnull);

		result_row(call, item, DatumGetFloat4(SPI_getbinval(tuple, desc, 2, &isnull)));
	}
	SPI_finish();
}
