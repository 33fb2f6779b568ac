/*
 * access.c
 *	  Who may change a source, under whose name SQL runs, and which lock keeps
 *	  changes of one source apart.
 *
 * SQL never runs as the caller: what is created in the schema of a source is
 * created as its owner, in a security-restricted context (triggers and
 * expressions of the owner must not act with the caller's rights, nor change
 * the caller's session).  The caller's user id is put back also on error.
 *
 * Locks, taken in this order, before any lock on a table of the source:
 *
 *	 1. the extension, AccessShareLock: waits for DROP EXTENSION;
 *	 2. the source, a heavyweight object lock on its row's number, free of any
 *	    table: a transaction that registers one source and then sits idle does
 *	    not hold up the others;
 *	 3. the schema, AccessShareLock, by those who use its tables: DROP SCHEMA
 *	    locks the schema before the tables in it.
 *
 * So commands that drop many tables never deadlock with the stream worker.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/internal.h"
#include "recsys.h"
#include "stream/shared.h"
#include "stream/trainings.h"

void
catalog_check_owner(const RecsysSource *source)
{
	char	   *owner;

	if (has_privs_of_role(GetUserId(), source->owner))
		return;
	owner = GetUserNameFromId(source->owner, true);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must have the role of the owner of source \"%s\"", NameStr(source->name)),
			 owner == NULL ? errhint("Its owner was dropped; a superuser can drop the source.") :
			 errhint("SET ROLE %s; or have that role make the call.", quote_identifier(owner))));
}

/* Runs sql by SPI; true if the last statement gave or touched a row. */
static bool
execute(const char *sql, long limit)
{
	int			rc;
	bool		found;

	SPI_connect();
	rc = SPI_execute(sql, false, limit);
	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
	found = SPI_processed > 0;
	SPI_finish();
	return found;
}

static bool
execute_as(Oid role, const char *sql, long limit)
{
	Oid			save_user;
	int			save_context;
	int			save_nest = NewGUCNestLevel();
	volatile bool found = false;

	GetUserIdAndSecContext(&save_user, &save_context);
	PG_TRY();
	{
		SetUserIdAndSecContext(role, save_context |
							   SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
		(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		found = execute(sql, limit);
	}
	PG_FINALLY();
	{
		SetUserIdAndSecContext(save_user, save_context);
	}
	PG_END_TRY();
	AtEOXact_GUC(true, save_nest);
	return found;
}

void
catalog_execute_as(Oid role, const char *sql)
{
	(void) execute_as(role, sql, 0);
}

/* True if the query gives a row. */
bool
catalog_any_row_as(Oid role, const char *sql)
{
	return execute_as(role, sql, 1);
}

/* Against DROP EXTENSION, until the end of the transaction. */
void
catalog_lock_extension(void)
{
	LockDatabaseObject(ExtensionRelationId, get_extension_oid(RECSYS_SCHEMA, false), 0,
					   AccessShareLock);
}

static bool
lock_source(int32 source_id, LOCKMODE lockmode, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, store_relation("source"), (Oid) source_id, 0);
	if (LockAcquire(&tag, lockmode, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	/* like LockDatabaseObject(): see what the previous holder did */
	AcceptInvalidationMessages();
	return true;
}

bool
catalog_lock_source(int32 source_id, LOCKMODE lockmode)
{
	List	   *rows;
	RecsysSource *source;

	catalog_lock_extension();
	(void) lock_source(source_id, lockmode, true);
	rows = store_read(BY_SOURCE_ID, Int32GetDatum(source_id), NULL);
	if (rows == NIL)
		return false;
	if (lockmode != AccessShareLock)
		return true;

	source = source_from_row(linitial(rows));
	if (OidIsValid(source->nspid))
		LockDatabaseObject(NamespaceRelationId, source->nspid, 0, AccessShareLock);
	if (!SearchSysCacheExists1(NAMESPACEOID, ObjectIdGetDatum(source->nspid)))
		source_schema_is_gone(NameStr(source->name));
	return true;
}

/* AccessExclusiveLock, for dropping the source.  A worker that is busy with
 * it, perhaps with a long backfill, and trainings are told to end: if the drop is
 * rolled back they start anew. */
bool
catalog_lock_source_to_drop(int32 source_id)
{
	SourceShared *shared = recsys_preloaded ? shared_find(MyDatabaseId, source_id) : NULL;

	catalog_lock_extension();
	trainings_cancel(MyDatabaseId, source_id, 0);
	if (!lock_source(source_id, AccessExclusiveLock, false) &&
		shared != NULL && shared->pid != 0)
		kill(shared->pid, SIGTERM);
	return catalog_lock_source(source_id, AccessExclusiveLock);
}

/* ShareUpdateExclusiveLock if it is free. */
bool
catalog_try_lock_source(int32 source_id)
{
	return lock_source(source_id, ShareUpdateExclusiveLock, false);
}

/* To be called after every change of a declaration. */
void
catalog_changed(void)
{
	if (recsys_preloaded)
		shared_notify_at_commit();
}

bool
catalog_extension_exists(void)
{
	return OidIsValid(get_extension_oid(RECSYS_SCHEMA, true)) &&
		OidIsValid(store_relation_missing_ok("source"));
}

Oid
catalog_relation(const RecsysSource *source, const char *name)
{
	Oid			relid = OidIsValid(source->nspid) ?
		get_relname_relid(name, source->nspid) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" of source \"%s\" does not exist",
						name, NameStr(source->name)),
				 errdetail("The tables of a source stand in the schema of its name, which belongs to its owner."),
				 errhint("SELECT recsys.drop_source(%s); then create the source again.",
						 quote_literal_cstr(NameStr(source->name)))));
	return relid;
}

void
catalog_slot_name(int32 source_id, char *buf)
{
	snprintf(buf, NAMEDATALEN, "recsys_%u_%d", MyDatabaseId, source_id);
}
