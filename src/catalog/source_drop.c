/*
 * source_drop.c
 *	  drop_source(): the row with what refers to it, and the schema.  After
 *	  commit the worker goes, and the replication slot with it.
 *
 * Works whatever else is gone already: the events table, the schema, the
 * owner.  Rejected events and models go by ON DELETE CASCADE.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"

#include "catalog/internal.h"

PG_FUNCTION_INFO_V1(recsys_drop_source);

Datum
recsys_drop_source(PG_FUNCTION_ARGS)
{
	RecsysSource *source;

	catalog_require_argument(fcinfo, 0, "source");
	source = source_from_row(source_row_for_change("drop_source", PG_GETARG_NAME(0),
												   AccessExclusiveLock));
	catalog_execute_as(BOOTSTRAP_SUPERUSERID,
					   psprintf("DELETE FROM %s.source WHERE source_id = %d",
								RECSYS_SCHEMA, source->id));
	source_schema_drop(source);
	catalog_changed();
	PG_RETURN_VOID();
}
