/*
 * metrics_ddl.c
 *	  track_metrics(), alter_metrics() and untrack_metrics(): plain writes of
 *	  recsys.metrics_declaration, and the tables, functions and views that the
 *	  metrics of a source live in.
 *
 * The stream worker follows after commit: what is new, or is to be counted in another
 * way (windows_consumer.c says when), is counted from the events table and from then on by
 * the stream.
 */
#include "postgres.h"

#include "catalog/pg_collation_d.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

#include "catalog/internal.h"
#include "metrics/windows.h"

PG_FUNCTION_INFO_V1(recsys_track_metrics);
PG_FUNCTION_INFO_V1(recsys_alter_metrics);
PG_FUNCTION_INFO_V1(recsys_untrack_metrics);

/* Arguments after the source have the order of the columns. */
#define ARGUMENT_OF(column) ((column) - METRICS_SOURCE_ID)

static const struct
{
	const char *name;
	bool		required;
}			arguments[METRICS_VERSION] =
{
	[METRICS_IMPRESSION] = {"impression", true},
	[METRICS_CLICK] = {"click", true},
	[METRICS_CONVERSION] = {"conversion", true},
	[METRICS_AMOUNT_COLUMN] = {"amount_column", false},
	[METRICS_ORDER_COLUMN] = {"order_column", false},
	[METRICS_RATING_TYPE] = {"rating_type", false},
	[METRICS_RATING_COLUMN] = {"rating_column", false},
	[METRICS_DIMENSIONS] = {"dimensions", true},
	[METRICS_BUCKET] = {"bucket", true},
	[METRICS_ALLOWED_LATENESS] = {"allowed_lateness", true},
	[METRICS_MAX_COMBINATIONS] = {"max_combinations", true},
	[METRICS_SATISFIED_FROM] = {"satisfied_from", true},
	[METRICS_ROLLUP_AFTER] = {"rollup_after", false},
	[METRICS_ROLLUP_BUCKET] = {"rollup_bucket", true},
	[METRICS_EXPIRE_AFTER] = {"expire_after", false},
};

static RecsysSource *
source_for_change(FunctionCallInfo fcinfo, const char *function)
{
	RecsysSource *source;

	catalog_require_argument(fcinfo, 0, "source");
	source = source_from_row(source_row_for_change(function, PG_GETARG_NAME(0),
												   ShareUpdateExclusiveLock));
	if (!OidIsValid(source->nspid))
		source_schema_is_gone(NameStr(source->name));
	return source;
}

static CatalogRow *
find_row(const RecsysSource *source)
{
	List	   *rows = store_read(BY_METRICS_SOURCE, Int32GetDatum(source->id), NULL);

	return rows == NIL ? NULL : linitial(rows);
}

static CatalogRow *
row_of(const RecsysSource *source)
{
	CatalogRow *row = find_row(source);

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no metrics of source \"%s\" are tracked", NameStr(source->name)),
				 errhint("SELECT recsys.track_metrics(%s, impression => '{impression}', click => '{click}', conversion => '{purchase}');",
						 quote_literal_cstr(NameStr(source->name)))));
	return row;
}

/* A NOTICE where updates and deletes could not be followed. */
static void
check_columns(const RecsysSource *source, const CatalogRow *row)
{
	catalog_check_consumer_columns(source, windows_columns(source, metrics_from_row(row, source)),
								   "metrics", NameStr(source->name));
}

Datum
recsys_track_metrics(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "track_metrics");
	CatalogRow	row = {0};

	if (find_row(source) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("metrics of source \"%s\" are tracked already", NameStr(source->name)),
				 errhint("Change them with recsys.alter_metrics(), or begin anew after SELECT recsys.untrack_metrics(%s);",
						 quote_literal_cstr(NameStr(source->name)))));
	row.values[METRICS_SOURCE_ID] = Int32GetDatum(source->id);
	for (int column = METRICS_IMPRESSION; column < METRICS_VERSION; column++)
	{
		int			argno = ARGUMENT_OF(column);

		if (arguments[column].required)
			catalog_require_argument(fcinfo, argno, arguments[column].name);
		row.values[column] = PG_GETARG_DATUM(argno);
		row.nulls[column] = PG_ARGISNULL(argno);
	}
	row.values[METRICS_VERSION] = Int32GetDatum(1);
	check_metrics(source, &row);
	check_columns(source, &row);
	row.values[METRICS_ID] = Int32GetDatum(store_nextval("metrics_id"));
	store_insert("metrics_declaration", &row);
	windows_create_schema(source, metrics_from_row(&row, source));
	catalog_changed();
	PG_RETURN_VOID();
}

/* Compares as the column's type does; arguments that are left out say nothing. */
static bool
changes(FunctionCallInfo fcinfo, const CatalogRow *row, int column, Oid type)
{
	TypeCacheEntry *cache;
	int			argno = ARGUMENT_OF(column);

	if (PG_ARGISNULL(argno))
		return false;
	if (row->nulls[column])
		return true;
	cache = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO);
	return !DatumGetBool(FunctionCall2Coll(&cache->eq_opr_finfo, C_COLLATION_OID,
										   row->values[column], PG_GETARG_DATUM(argno)));
}

Datum
recsys_alter_metrics(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "alter_metrics");
	CatalogRow *row = row_of(source);
	bool		any = false;

	for (int column = METRICS_IMPRESSION; column < METRICS_VERSION; column++)
	{
		int			argno = ARGUMENT_OF(column);

		if (!changes(fcinfo, row, column, get_fn_expr_argtype(fcinfo->flinfo, argno)))
			continue;
		row->values[column] = PG_GETARG_DATUM(argno);
		row->nulls[column] = false;
		any = true;
	}
	if (!any)
		PG_RETURN_VOID();
	check_metrics(source, row);
	check_columns(source, row);
	row->values[METRICS_VERSION] = Int32GetDatum(DatumGetInt32(row->values[METRICS_VERSION]) + 1);
	store_update("metrics_declaration", row);
	windows_replace_views(source, metrics_from_row(row, source));
	catalog_changed();
	PG_RETURN_VOID();
}

Datum
recsys_untrack_metrics(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "untrack_metrics");

	store_delete("metrics_declaration", row_of(source));
	windows_drop_schema(source);
	catalog_changed();
	PG_RETURN_VOID();
}
