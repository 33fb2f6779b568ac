/*
 * source_create.c
 *	  create_source(): from the arguments to a row, a schema, functions and
 *	  views.  All of it is part of the caller's transaction; the stream worker
 *	  sees the row after commit and begins.
 *
 * The caller needs no rights beyond EXECUTE and the ownership of the table.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog/internal.h"
#include "compat.h"
#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_create_source);

/* Arguments of create_source(), in order. */
enum
{
	ARG_SOURCE,
	ARG_EVENTS,
	ARG_USER_COLUMN,
	ARG_ITEM_COLUMN,
	ARG_TYPE_COLUMN,
	ARG_VALUE_COLUMN,
	ARG_TIME_COLUMN,
	ARG_WEIGHTS,
	ARG_FEEDBACK,
	ARG_HISTORY_LIMIT,
	ARG_HALF_LIFE,
	ARG_SESSION_COLUMN,
	ARG_ACCEPT_RLS
};

static void
set(CatalogRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
copy_argument(FunctionCallInfo fcinfo, int argno, CatalogRow *row, int column)
{
	if (!PG_ARGISNULL(argno))
		set(row, column, PG_GETARG_DATUM(argno));
}

static void
check_arguments(FunctionCallInfo fcinfo)
{
	catalog_require_argument(fcinfo, ARG_SOURCE, "source");
	catalog_require_argument(fcinfo, ARG_EVENTS, "events");
	catalog_require_argument(fcinfo, ARG_USER_COLUMN, "user_column");
	catalog_require_argument(fcinfo, ARG_ITEM_COLUMN, "item_column");
	catalog_require_argument(fcinfo, ARG_FEEDBACK, "feedback");
	catalog_require_argument(fcinfo, ARG_HISTORY_LIMIT, "history_limit");
	catalog_require_argument(fcinfo, ARG_ACCEPT_RLS, "accept_row_level_security");
}

static Datum
new_message_key(void)
{
	pg_uuid_t  *key = palloc(sizeof(pg_uuid_t));

	if (!pg_strong_random(key->data, UUID_LEN))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return UUIDPGetDatum(key);
}

/* The arguments as the row that they declare; source_id comes later. */
static CatalogRow *
row_from_arguments(FunctionCallInfo fcinfo)
{
	CatalogRow *row = palloc0(sizeof(CatalogRow));

	memset(row->nulls, true, sizeof(row->nulls));
	copy_argument(fcinfo, ARG_SOURCE, row, SOURCE_NAME);
	copy_argument(fcinfo, ARG_EVENTS, row, SOURCE_EVENTS);
	copy_argument(fcinfo, ARG_USER_COLUMN, row, SOURCE_USER_COLUMN);
	copy_argument(fcinfo, ARG_ITEM_COLUMN, row, SOURCE_ITEM_COLUMN);
	copy_argument(fcinfo, ARG_TYPE_COLUMN, row, SOURCE_TYPE_COLUMN);
	copy_argument(fcinfo, ARG_VALUE_COLUMN, row, SOURCE_VALUE_COLUMN);
	copy_argument(fcinfo, ARG_TIME_COLUMN, row, SOURCE_TIME_COLUMN);
	copy_argument(fcinfo, ARG_SESSION_COLUMN, row, SOURCE_SESSION_COLUMN);
	if (!PG_ARGISNULL(ARG_WEIGHTS) && !weights_are_null(PG_GETARG_JSONB_P(ARG_WEIGHTS)))
		set(row, SOURCE_WEIGHTS, PG_GETARG_DATUM(ARG_WEIGHTS));
	copy_argument(fcinfo, ARG_FEEDBACK, row, SOURCE_FEEDBACK);
	copy_argument(fcinfo, ARG_HISTORY_LIMIT, row, SOURCE_HISTORY_LIMIT);
	copy_argument(fcinfo, ARG_HALF_LIFE, row, SOURCE_HALF_LIFE);
	copy_argument(fcinfo, ARG_ACCEPT_RLS, row, SOURCE_ACCEPT_RLS);
	set(row, SOURCE_PAUSED_FLAG, BoolGetDatum(false));
	set(row, SOURCE_CREATED_AT, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	set(row, SOURCE_RESYNCS, Int32GetDatum(0));
	set(row, SOURCE_MESSAGE_KEY, new_message_key());
	return row;
}

/* Locks the events table; returns its owner, whose role the caller must have. */
static Oid
lock_events(Oid relid)
{
	HeapTuple	tuple;
	Oid			owner;

	LockRelationOid(relid, AccessShareLock);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("Name the table as events => 'schema.table'.")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	if (!compat_class_ownercheck(relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table \"%s\"", get_rel_name(relid)),
				 errhint("SET ROLE %s; or have that role make the call.",
						 quote_identifier(GetUserNameFromId(owner, false)))));
	ReleaseSysCache(tuple);
	return owner;
}

static void
create_functions_and_views(const CatalogRow *row)
{
	RecsysSource *source = source_from_row(row);

	PushActiveSnapshot(GetLatestSnapshot());
	serve_create_functions(source);
	serve_create_views(source);
	PopActiveSnapshot();
}

Datum
recsys_create_source(PG_FUNCTION_ARGS)
{
	CatalogRow *row;
	Oid			events;

	begin_change("create_source");
	check_arguments(fcinfo);
	events = PG_GETARG_OID(ARG_EVENTS);
	row = row_from_arguments(fcinfo);

	set(row, SOURCE_OWNER, ObjectIdGetDatum(lock_events(events)));
	check_server();
	check_source_name(NameStr(*PG_GETARG_NAME(ARG_SOURCE)));
	check_events_table(events, PG_GETARG_BOOL(ARG_ACCEPT_RLS));
	check_events_columns(row);
	check_options(row);
	check_resources();

	set(row, SOURCE_ID, Int32GetDatum(store_nextval("source_id")));
	store_insert("source", row);
	source_schema_create(row);
	create_functions_and_views(row);
	catalog_changed();

	advise_index(events, NameStr(*PG_GETARG_NAME(ARG_USER_COLUMN)));
	advise_replica_identity(row);
	PG_RETURN_VOID();
}
