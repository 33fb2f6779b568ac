/*
 * consumer_check.c
 *	  The columns of the events table that a consumer needs, looked at when it
 *	  is declared.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "catalog/internal.h"
#include "models/consumer.h"

/* At most so many tables are named in the hint. */
#define MAX_HINTED 3

static void
check_stored(const RecsysSource *source, const char *column, const char *what, const char *name)
{
	HeapTuple	tuple = SearchSysCacheAttName(source->events, column);
	Form_pg_attribute att;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\", which %s \"%s\" needs, does not exist",
						column, get_rel_name(source->events), what, name),
				 errhint("Name a column of the table, or add it: ALTER TABLE %s ADD COLUMN %s ...;",
						 quoted_relation(source->events), quote_identifier(column))));
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	/* 'v': virtual generated columns, newer than this server's headers */
	if (att->attnum < 0 || att->attgenerated == 'v')
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("column \"%s\" of table \"%s\", which %s \"%s\" needs, is not stored in its rows",
						column, get_rel_name(source->events), what, name),
				 errhint("Name a column that is stored.")));
	ReleaseSysCache(tuple);
}

/* Will old rows in the WAL have all of them? */
static bool
identity_has(Oid relid, List *columns)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Bitmapset  *identity = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	bool		has = true;
	ListCell   *lc;

	if (rel->rd_rel->relreplident != REPLICA_IDENTITY_FULL)
		foreach(lc, columns)
			has &= bms_is_member(get_attnum(relid, lfirst(lc)) - FirstLowInvalidHeapAttributeNumber,
								 identity);
	table_close(rel, AccessShareLock);
	return has;
}

void
catalog_check_consumer_columns(const RecsysSource *source, List *columns,
							   const char *what, const char *name)
{
	StringInfoData statements;
	int			lacking = 0;
	ListCell   *lc;

	foreach(lc, columns)
		check_stored(source, lfirst(lc), what, name);
	if (columns == NIL)
		return;
	initStringInfo(&statements);
	foreach(lc, events_leaves(source->events))
	{
		if (identity_has(lfirst_oid(lc), columns))
			continue;
		if (lacking++ < MAX_HINTED)
			appendStringInfo(&statements, "%sALTER TABLE %s REPLICA IDENTITY FULL;",
							 lacking > 1 ? " " : "", quoted_relation(lfirst_oid(lc)));
	}
	if (lacking > MAX_HINTED)
		appendStringInfo(&statements, " And so for %d more partitions.", lacking - MAX_HINTED);
	if (lacking > 0)
		ereport(NOTICE,
				(errmsg("%s \"%s\" cannot follow updates and deletes in table \"%s\"",
						what, name, get_rel_name(source->events)),
				 errdetail("Its replica identity does not cover the columns that are needed, so such changes are counted as unmatched."),
				 errhint("%s", statements.data)));
	pfree(statements.data);
}
