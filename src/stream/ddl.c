/*
 * ddl.c
 *	  What utility commands mean to sources.
 *
 * COPY FROM and TRUNCATE change events: they wake workers at commit, as the
 * executor does for other statements (wake.c).  COMMIT PREPARED may, whatever
 * it holds.
 *
 * ATTACH PARTITION brings rows that were never decoded as events of the
 * source.  A transactional message tells the worker to read them, at the place
 * of the ATTACH among the changes.  Which sources are concerned is read from
 * the catalogue, since shared memory may not know them yet after a start.
 *
 * ALTER TABLE may write all rows of events anew, which then carry its
 * transaction although nothing in them has changed.  A message makes the worker
 * take that transaction for one of the source's.
 *
 * DROP EXTENSION, DROP SCHEMA and the like may take a source away without
 * drop_source(): the scout looks after the commit.
 *
 * Commands that need a database for themselves have its workers ended first
 * (standstill.c), but only for those whom PostgreSQL would let run them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "stream/launcher.h"
#include "stream/shared.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static ProcessUtility_hook_type prev_ProcessUtility = NULL;

/* The arguments of the hook, to be handed on. */
typedef struct UtilityCall
{
	PlannedStmt *pstmt;
	const char *query;
	bool		read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *env;
	DestReceiver *dest;
	QueryCompletion *qc;
} UtilityCall;

static void
run(UtilityCall *c)
{
	ProcessUtility_hook_type next = prev_ProcessUtility;

	if (next == NULL)
		next = standard_ProcessUtility;
	next(c->pstmt, c->query, c->read_only_tree, c->context, c->params,
		 c->env, c->dest, c->qc);
}

/* ------------------------------------------------------------ this database */

static void
run_copy(UtilityCall *c, CopyStmt *stmt)
{
	run(c);
	if (stmt->is_from && stmt->relation != NULL && wake_active())
	{
		Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);

		if (OidIsValid(relid))
			wake_touch_relation(relid);
	}
}

/* CASCADE may reach tables that the command does not name. */
static void
run_truncate(UtilityCall *c, TruncateStmt *stmt)
{
	ListCell   *lc;

	run(c);
	if (!wake_active())
		return;
	if (stmt->behavior == DROP_CASCADE)
		wake_touch_all();
	foreach(lc, stmt->relations)
	{
		Oid			relid = RangeVarGetRelid(lfirst_node(RangeVar, lc), NoLock, true);

		if (OidIsValid(relid))
			wake_touch_relation(relid);
	}
}

/* Messages to the sources whose events table is an ancestor of relid. */
static void
announce_attached(Oid relid)
{
	List	   *ancestors = get_partition_ancestors(relid);
	ListCell   *lc;

	foreach(lc, catalog_sources())
	{
		RecsysSource *source = lfirst(lc);

		if (list_member_oid(ancestors, source->events))
			message_send(source, MESSAGE_ATTACH, &relid, sizeof(relid), true);
	}
}

/* Does the command change whether the source may read its events at all? */
static bool
changes_access(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
		switch (lfirst_node(AlterTableCmd, lc)->subtype)
		{
			case AT_ChangeOwner:
			case AT_EnableRowSecurity:
			case AT_ForceRowSecurity:
			case AT_SetUnLogged:
				return true;
			default:
				break;
		}
	return false;
}

/*
 * Messages to the sources whose events relid may hold, or some of them.  With
 * "check" their workers look at the table again after the commit.
 */
static void
announce_altered(Oid relid, bool check)
{
	List	   *ancestors = get_rel_relispartition(relid) ? get_partition_ancestors(relid) : NIL;
	ListCell   *lc;

	foreach(lc, catalog_sources())
	{
		RecsysSource *source = lfirst(lc);

		if (source->events == relid || list_member_oid(ancestors, source->events) ||
			(get_rel_relispartition(source->events) &&
			 list_member_oid(get_partition_ancestors(source->events), relid)))
		{
			message_send(source, MESSAGE_REWRITE, NULL, 0, true);
			if (check && shared_control != NULL)
				shared_notify_at_commit();
		}
	}
}

static void
after_alter_table(AlterTableStmt *stmt)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);

	if (stmt->objtype != OBJECT_TABLE || !OidIsValid(relid) || !catalog_extension_exists())
		return;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	announce_altered(relid, changes_access(stmt));
	PopActiveSnapshot();
}

static void
run_alter_table(UtilityCall *c, AlterTableStmt *stmt)
{
	ListCell   *lc;

	run(c);
	after_alter_table(stmt);
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		Oid			relid;

		if (cmd->subtype != AT_AttachPartition)
			continue;
		relid = RangeVarGetRelid(castNode(PartitionCmd, cmd->def)->name, NoLock, true);
		if (!OidIsValid(relid) || !get_rel_relispartition(relid) ||
			!catalog_extension_exists())
			continue;			/* an index, or no sources here */
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		announce_attached(relid);
		PopActiveSnapshot();
	}
}

/* Does DROP TABLE name a table that feeds a source? */
static bool
names_events(List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		RangeVar   *rv = makeRangeVarFromNameList(lfirst(lc));
		Oid			relid = RangeVarGetRelid(rv, NoLock, true);

		if (OidIsValid(relid) && wake_touch_relation(relid))
			return true;
	}
	return false;
}

static bool
names_extension(List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		if (strcmp(strVal(lfirst(lc)), "recsys") == 0)
			return true;
	}
	return false;
}

static void
run_drop(UtilityCall *c, DropStmt *stmt)
{
	bool		notify = false;

	switch (stmt->removeType)
	{
		case OBJECT_EXTENSION:
			notify = names_extension(stmt->objects);
			break;
		case OBJECT_SCHEMA:
			notify = wake_active();
			break;
		case OBJECT_TABLE:
			notify = wake_active() && names_events(stmt->objects);
			break;
		default:
			break;
	}
	run(c);
	if (notify)
		shared_notify_at_commit();
}

/* --------------------------------------------------------- whole databases */

static void
end_standstill(int code, Datum arg)
{
	(void) code;
	standstill_end(DatumGetInt32(arg));
}

/* The command with the workers of a database away; dboid may be invalid. */
static void
run_alone(UtilityCall *c, Oid dboid, bool drop)
{
	const bool	alone = shared_control != NULL && OidIsValid(dboid) &&
	dboid != MyDatabaseId && compat_database_ownercheck(dboid, GetUserId());
	const int	block = alone ? standstill_begin(dboid) : -1;

	PG_ENSURE_ERROR_CLEANUP(end_standstill, Int32GetDatum(block));
	{
		run(c);
		if (drop && block >= 0)
			standstill_forget(dboid);
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_standstill, Int32GetDatum(block));
	standstill_end(block);
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (!HeapTupleIsValid(tuple))
		return false;
	may = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	ReleaseSysCache(tuple);
	return may;
}

static const char *
string_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* A copy has the rows of its template's sources; a scout finds them. */
static void
run_createdb(UtilityCall *c, CreatedbStmt *stmt)
{
	const char *template = string_option(stmt->options, "template");
	Oid			dboid = InvalidOid;

	if (template == NULL)
		template = "template1";
	if (may_create_databases())
		dboid = get_database_oid(template, true);
	run_alone(c, dboid, false);
	shared_notify_all_at_commit();
}

/* MOVE to a tablespace; ALLOW_CONNECTIONS may bring a database back. */
static void
run_alter_database(UtilityCall *c, AlterDatabaseStmt *stmt)
{
	Oid			dboid = get_database_oid(stmt->dbname, true);

	if (string_option(stmt->options, "tablespace") != NULL)
		run_alone(c, dboid, false);
	else
		run(c);
	shared_notify_all_at_commit();
}

static void
ddl_ProcessUtility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	UtilityCall call = {pstmt, query, read_only_tree, context, params, env, dest, qc};
	Node	   *stmt = pstmt->utilityStmt;

	switch (nodeTag(stmt))
	{
		case T_CopyStmt:
			run_copy(&call, (CopyStmt *) stmt);
			break;
		case T_TruncateStmt:
			run_truncate(&call, (TruncateStmt *) stmt);
			break;
		case T_AlterTableStmt:
			run_alter_table(&call, (AlterTableStmt *) stmt);
			break;
		case T_DropStmt:
			run_drop(&call, (DropStmt *) stmt);
			break;
		case T_DropOwnedStmt:
			run(&call);
			if (wake_active())
				shared_notify_at_commit();
			break;
		case T_TransactionStmt:
			{
				bool		prepared = ((TransactionStmt *) stmt)->kind ==
				TRANS_STMT_COMMIT_PREPARED;

				run(&call);
				if (prepared)
					wake_touch_all();
				break;
			}
		case T_DropdbStmt:
			/* the check that comes first in the standard routine */
			PreventInTransactionBlock(context == PROCESS_UTILITY_TOPLEVEL, "DROP DATABASE");
			run_alone(&call, get_database_oid(((DropdbStmt *) stmt)->dbname, true), true);
			break;
		case T_CreatedbStmt:
			PreventInTransactionBlock(context == PROCESS_UTILITY_TOPLEVEL, "CREATE DATABASE");
			run_createdb(&call, (CreatedbStmt *) stmt);
			break;
		case T_AlterDatabaseStmt:
			run_alter_database(&call, (AlterDatabaseStmt *) stmt);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				run_alone(&call, get_database_oid(((RenameStmt *) stmt)->subname, true), false);
			else
				run(&call);
			break;
		default:
			run(&call);
			break;
	}
}

void
ddl_install_hook(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = ddl_ProcessUtility;
}
