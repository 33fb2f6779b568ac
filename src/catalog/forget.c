/*
 * forget.c
 *	  forget_user() and forget_item(): messages in the WAL, so that forgetting
 *	  is ordered with the events and happens exactly once.
 *
 * The messages are part of the caller's transaction.  A source that is paused
 * or has not streamed yet forgets when its stream gets there.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/internal.h"
#include "stream/shared.h"

PG_FUNCTION_INFO_V1(recsys_forget_user);
PG_FUNCTION_INFO_V1(recsys_forget_item);

/*
 * The key as the type of the column writes it ("042" is 42); error if it is
 * not a value of the type.
 */
static char *
canonical_key(const RecsysSource *source, const KeyColumn *column, text *key)
{
	Oid			input,
				output,
				ioparam;
	bool		varlena;

	if (!OidIsValid(column->type))
		source_schema_is_gone(NameStr(source->name));
	getTypeInputInfo(column->type, &input, &ioparam);
	getTypeOutputInfo(column->type, &output, &varlena);
	return OidOutputFunctionCall(output,
								 OidInputFunctionCall(input, text_to_cstring(key), ioparam, -1));
}

/* "FROM public.events WHERE user_id = '42'" */
static char *
rows_of_user(const RecsysSource *source, const char *key)
{
	return psprintf("FROM %s WHERE %s = %s",
					quoted_relation(source->events),
					quote_identifier(NameStr(source->user.name)),
					quote_literal_cstr(key));
}

/*
 * No event of the user may remain, or a resync would bring the user back; not
 * even after they were deleted, which a trigger or a rule may have prevented.
 */
static void
clear_events(const RecsysSource *source, const char *key, bool delete_events)
{
	char	   *rows = rows_of_user(source, key);

	if (delete_events)
		catalog_execute_as(source->owner, psprintf("DELETE %s", rows));
	if (catalog_any_row_as(source->owner, psprintf("SELECT 1 %s LIMIT 1", rows)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" still has events of user \"%s\"",
						get_rel_name(source->events), key),
				 delete_events ?
				 errhint("Look for a trigger or rule that keeps rows from being deleted.") :
				 errhint("DELETE %s; or call forget_user() with delete_events => true.", rows)));
}

static RecsysSource *
source_to_forget(FunctionCallInfo fcinfo, const char *function)
{
	catalog_require_argument(fcinfo, 0, "source");
	return source_from_row(source_row_for_change(function, PG_GETARG_NAME(0), AccessShareLock));
}

Datum
recsys_forget_user(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_to_forget(fcinfo, "forget_user");
	char	   *key;

	catalog_require_argument(fcinfo, 1, "user_key");
	catalog_require_argument(fcinfo, 2, "delete_events");
	key = canonical_key(source, &source->user, PG_GETARG_TEXT_PP(1));

	/* once the table is dropped, its events are gone as well */
	LockRelationOid(source->events, AccessShareLock);
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(source->events)))
		clear_events(source, key, PG_GETARG_BOOL(2));
	message_send(source, MESSAGE_FORGET_USER, key, strlen(key), true);
	PG_RETURN_VOID();
}

Datum
recsys_forget_item(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_to_forget(fcinfo, "forget_item");
	char	   *key;

	catalog_require_argument(fcinfo, 1, "item_key");
	key = canonical_key(source, &source->item, PG_GETARG_TEXT_PP(1));
	message_send(source, MESSAGE_FORGET_ITEM, key, strlen(key), true);
	PG_RETURN_VOID();
}
