/*
 * source_alter.c
 *	  Changing a source: alter_source(), pause(), resume() and resync().
 *
 * A change that the state depends on counts up "resyncs" in the row; the
 * stream worker rebuilds the state when it sees a count it has not served.
 */
#include "postgres.h"

#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/internal.h"
#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_alter_source);
PG_FUNCTION_INFO_V1(recsys_pause);
PG_FUNCTION_INFO_V1(recsys_resume);
PG_FUNCTION_INFO_V1(recsys_resync);

/* Arguments of alter_source(), in order. */
enum
{
	ARG_SOURCE,
	ARG_WEIGHTS,
	ARG_HISTORY_LIMIT,
	ARG_HALF_LIFE,
	ARG_SESSION_COLUMN
};

static void
request_resync(CatalogRow *row)
{
	int32		resyncs = DatumGetInt32(row->values[SOURCE_RESYNCS]);

	row->values[SOURCE_RESYNCS] = Int32GetDatum(resyncs + 1);
}

static bool
same_weights(const CatalogRow *row, Datum weights)
{
	return !row->nulls[SOURCE_WEIGHTS] &&
		DatumGetBool(DirectFunctionCall2(jsonb_eq, row->values[SOURCE_WEIGHTS], weights));
}

/* Each of these returns true if the state no longer fits the declaration. */
static bool
change_weights(FunctionCallInfo fcinfo, CatalogRow *row)
{
	bool		none;

	if (PG_ARGISNULL(ARG_WEIGHTS))
		return false;
	none = weights_are_null(PG_GETARG_JSONB_P(ARG_WEIGHTS));
	if (none ? row->nulls[SOURCE_WEIGHTS] : same_weights(row, PG_GETARG_DATUM(ARG_WEIGHTS)))
		return false;
	row->values[SOURCE_WEIGHTS] = PG_GETARG_DATUM(ARG_WEIGHTS);
	row->nulls[SOURCE_WEIGHTS] = none;
	return true;
}

static bool
change_history_limit(FunctionCallInfo fcinfo, CatalogRow *row)
{
	Datum	   *old = &row->values[SOURCE_HISTORY_LIMIT];

	if (PG_ARGISNULL(ARG_HISTORY_LIMIT) ||
		PG_GETARG_INT32(ARG_HISTORY_LIMIT) == DatumGetInt32(*old))
		return false;
	*old = PG_GETARG_DATUM(ARG_HISTORY_LIMIT);
	return true;
}

static bool
change_half_life(FunctionCallInfo fcinfo, CatalogRow *row)
{
	Datum	   *old = &row->values[SOURCE_HALF_LIFE];

	if (PG_ARGISNULL(ARG_HALF_LIFE) ||
		(!row->nulls[SOURCE_HALF_LIFE] &&
		 half_life_seconds(DatumGetIntervalP(*old)) ==
		 half_life_seconds(PG_GETARG_INTERVAL_P(ARG_HALF_LIFE))))
		return false;
	*old = PG_GETARG_DATUM(ARG_HALF_LIFE);
	row->nulls[SOURCE_HALF_LIFE] = false;
	return true;
}

/* Models of sessions are built anew. */
static bool
change_session_column(FunctionCallInfo fcinfo, CatalogRow *row)
{
	Oid			events = DatumGetObjectId(row->values[SOURCE_EVENTS]);

	if (PG_ARGISNULL(ARG_SESSION_COLUMN) ||
		(!row->nulls[SOURCE_SESSION_COLUMN] &&
		 strcmp(NameStr(*DatumGetName(row->values[SOURCE_SESSION_COLUMN])),
				NameStr(*PG_GETARG_NAME(ARG_SESSION_COLUMN))) == 0))
		return false;
	LockRelationOid(events, AccessShareLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(events)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the event table of source \"%s\" was dropped",
						NameStr(*PG_GETARG_NAME(ARG_SOURCE))),
				 errhint("SELECT recsys.drop_source(%s);",
						 quote_literal_cstr(NameStr(*PG_GETARG_NAME(ARG_SOURCE))))));
	check_session_column(events, NameStr(*PG_GETARG_NAME(ARG_SESSION_COLUMN)));
	row->values[SOURCE_SESSION_COLUMN] = PG_GETARG_DATUM(ARG_SESSION_COLUMN);
	row->nulls[SOURCE_SESSION_COLUMN] = false;
	return true;
}

Datum
recsys_alter_source(PG_FUNCTION_ARGS)
{
	CatalogRow *row;
	RecsysSource *source;
	bool		rebuild;
	bool		new_half_life;

	catalog_require_argument(fcinfo, ARG_SOURCE, "source");
	row = source_row_for_change("alter_source", PG_GETARG_NAME(ARG_SOURCE),
								ShareUpdateExclusiveLock);
	rebuild = change_weights(fcinfo, row);
	rebuild |= change_history_limit(fcinfo, row);
	new_half_life = change_half_life(fcinfo, row);
	rebuild |= change_session_column(fcinfo, row);
	check_options(row);
	if (rebuild || new_half_life)
		request_resync(row);
	store_update("source", row);

	source = source_from_row(row);
	if (new_half_life && OidIsValid(source->nspid))
	{
		PushActiveSnapshot(GetLatestSnapshot());
		serve_create_views(source);
		PopActiveSnapshot();
	}
	catalog_changed();
	PG_RETURN_VOID();
}

static void
set_paused(const char *function, Name name, bool paused)
{
	CatalogRow *row = source_row_for_change(function, name, ShareUpdateExclusiveLock);

	row->values[SOURCE_PAUSED_FLAG] = BoolGetDatum(paused);
	store_update("source", row);
	catalog_changed();
}

Datum
recsys_pause(PG_FUNCTION_ARGS)
{
	catalog_require_argument(fcinfo, 0, "source");
	set_paused("pause", PG_GETARG_NAME(0), true);
	PG_RETURN_VOID();
}

Datum
recsys_resume(PG_FUNCTION_ARGS)
{
	catalog_require_argument(fcinfo, 0, "source");
	set_paused("resume", PG_GETARG_NAME(0), false);
	PG_RETURN_VOID();
}

Datum
recsys_resync(PG_FUNCTION_ARGS)
{
	CatalogRow *row;

	catalog_require_argument(fcinfo, 0, "source");
	row = source_row_for_change("resync", PG_GETARG_NAME(0), ShareUpdateExclusiveLock);
	request_resync(row);
	store_update("source", row);
	catalog_changed();
	PG_RETURN_VOID();
}
