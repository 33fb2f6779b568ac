/*
 * table_advice.c
 *	  What create_source() says about a table that it accepts: a missing index
 *	  and a replica identity that leaves out mapped columns.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/internal.h"

/* So many ALTER TABLE statements for partitions stand in one hint. */
#define MAX_HINTED_TABLES 5

static bool
index_serves(HeapTuple tuple, AttrNumber attnum, Oid type)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
	Datum		classes;
	bool		isnull;

	if (!index->indisvalid || !index->indislive || index->indkey.values[0] != attnum)
		return false;
	/* as in get_relation_info(): older snapshots must not use it yet */
	if (index->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(tuple->t_data), TransactionXmin))
		return false;
	if (!heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
		return false;
	classes = SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indclass, &isnull);
	return ((oidvector *) DatumGetPointer(classes))->values[0] ==
		GetDefaultOpClass(type, BTREE_AM_OID);
}

/*
 * How well an index finds a user's newest rows: best if the time follows the
 * user, else by the order of insertion among equal keys, which an index on the
 * user alone has; after another column the order means nothing.
 */
static int
rank_index(HeapTuple tuple, AttrNumber time_attnum, ScanDirection *direction)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
	bool		isnull;
	int2vector *options;

	*direction = BackwardScanDirection;
	if (index->indnkeyatts == 1)
		return 2;
	if (time_attnum == InvalidAttrNumber || index->indkey.values[1] != time_attnum)
		return 1;
	options = (int2vector *)
		DatumGetPointer(SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indoption, &isnull));
	if (options->values[1] & INDOPTION_DESC)
		*direction = ForwardScanDirection;
	return 3;
}

Oid
catalog_index_on(Oid relid, AttrNumber attnum, AttrNumber time_attnum,
				 ScanDirection *newest_first)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Oid			type = TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid;
	Oid			result = InvalidOid;
	int			best = 0;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		ScanDirection direction;

		if (!HeapTupleIsValid(tuple))
			continue;
		if (index_serves(tuple, attnum, type))
		{
			int			rank = rank_index(tuple, time_attnum, &direction);

			if (rank > best)
			{
				best = rank;
				result = lfirst_oid(lc);
				*newest_first = direction;
			}
		}
		ReleaseSysCache(tuple);
	}
	table_close(rel, AccessShareLock);
	return result;
}

/* The tables that hold the rows: relid itself, or its leaf partitions. */
List *
events_leaves(Oid relid)
{
	List	   *leaves = NIL;
	ListCell   *lc;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return list_make1_oid(relid);
	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_PARTITIONED_TABLE)
			leaves = lappend_oid(leaves, lfirst_oid(lc));
	return leaves;
}

static bool
has_index_on(Oid relid, const char *column)
{
	ScanDirection direction;

	return OidIsValid(catalog_index_on(relid, get_attnum(relid, column),
									   InvalidAttrNumber, &direction));
}

/*
 * A partitioned table with an index of its own has it on every partition,
 * future ones included; one without partitions needs it as well.
 */
void
advise_index(Oid relid, const char *column)
{
	bool		indexed = has_index_on(relid, column);

	if (!indexed && get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
	{
		List	   *leaves = events_leaves(relid);
		ListCell   *lc;

		indexed = leaves != NIL;
		foreach(lc, leaves)
			if (!has_index_on(lfirst_oid(lc), column))
				indexed = false;
	}
	if (!indexed)
		ereport(WARNING,
				(errmsg("table \"%s\" has no index that starts with column \"%s\"",
						get_rel_name(relid), column),
				 errdetail("Until it has one, recommendations do not see the newest events of a user before the next flush."),
				 errhint("CREATE INDEX ON %s (%s);", quoted_relation(relid), quote_identifier(column))));
}

/* True if the old row in the WAL will have all mapped columns. */
static bool
identity_covers(Oid relid, const CatalogRow *row)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Bitmapset  *identity = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	bool		covered = true;

	if (rel->rd_rel->relreplident != REPLICA_IDENTITY_FULL)
		for (int c = SOURCE_USER_COLUMN; c <= SOURCE_SESSION_COLUMN; c++)
		{
			AttrNumber	attnum;

			if (row->nulls[c])
				continue;
			attnum = get_attnum(relid, NameStr(*DatumGetName(row->values[c])));
			if (!bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, identity))
				covered = false;
		}
	table_close(rel, AccessShareLock);
	return covered;
}

void
advise_replica_identity(const CatalogRow *row)
{
	Oid			relid = DatumGetObjectId(row->values[SOURCE_EVENTS]);
	StringInfoData statements;
	int			uncovered = 0;
	ListCell   *lc;

	initStringInfo(&statements);
	foreach(lc, events_leaves(relid))
	{
		if (identity_covers(lfirst_oid(lc), row))
			continue;
		if (uncovered++ < MAX_HINTED_TABLES)
			appendStringInfo(&statements, "%sALTER TABLE %s REPLICA IDENTITY FULL;",
							 uncovered > 1 ? " " : "", quoted_relation(lfirst_oid(lc)));
	}
	if (uncovered > MAX_HINTED_TABLES)
		appendStringInfo(&statements, " And so for %d more partitions.",
						 uncovered - MAX_HINTED_TABLES);
	if (uncovered > 0)
		ereport(NOTICE,
				(errmsg("updates and deletes in table \"%s\" cannot be retracted exactly",
						get_rel_name(relid)),
				 errdetail("Its replica identity does not cover the mapped columns, so such changes are counted as unmatched."),
				 errhint("%s", statements.data)));
	pfree(statements.data);
}
