/*
 * store.c
 *	  Rows of recsys.source, recsys.model and of what is measured, below SPI.
 *
 * Reads are index scans, cheap enough for every call of recommend().  Writes
 * go straight to the heap: no rights are needed (the SQL functions have
 * checked them) and no triggers fire, so whoever deletes a source deletes what
 * refers to it.  Each write is visible to the next read of the transaction.
 *
 * Locks: the tables are opened in the weakest mode that the access allows;
 * who may change which row is decided by catalog_lock_source().
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/internal.h"

/* How each CatalogKey is looked up. */
static const struct
{
	const char *table;
	const char *index;
	AttrNumber	attnum;			/* 0 = all rows */
	Oid			equal;			/* F_... of the key's type */
}			access_paths[] =
{
	[BY_SOURCE_ID] = {"source", "source_pkey", SOURCE_ID, F_INT4EQ},
	[BY_SOURCE_NAME] = {"source", "source_name_key", SOURCE_NAME, F_NAMEEQ},
	[ALL_SOURCES] = {"source", "source_pkey", 0, InvalidOid},
	[BY_MODEL_ID] = {"model", "model_pkey", MODEL_ID, F_INT4EQ},
	[BY_MODEL_SOURCE] = {"model", "model_source_id_name_key", MODEL_SOURCE_ID, F_INT4EQ},
	[BY_METRICS_SOURCE] = {"metrics_declaration", "metrics_declaration_pkey", METRICS_SOURCE_ID, F_INT4EQ},
	[BY_EXPERIMENT_SOURCE] = {"experiment", "experiment_source_id_name_key", EXPERIMENT_SOURCE_ID, F_INT4EQ},
	[BY_QUALITY_SOURCE] = {"quality", "quality_pkey", QUALITY_SOURCE_ID, F_INT4EQ},
};

/* OID of a relation of schema recsys, InvalidOid if it does not exist. */
Oid
store_relation_missing_ok(const char *name)
{
	Oid			nspid = get_namespace_oid(RECSYS_SCHEMA, true);

	return OidIsValid(nspid) ? get_relname_relid(name, nspid) : InvalidOid;
}

Oid
store_relation(const char *name)
{
	Oid			relid = store_relation_missing_ok(name);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", RECSYS_SCHEMA, name),
				 errhint("CREATE EXTENSION recsys;")));
	return relid;
}

static CatalogRow *
row_from_tuple(HeapTuple tuple, TupleDesc desc)
{
	CatalogRow *row = palloc0(sizeof(CatalogRow));

	heap_deform_tuple(tuple, desc, row->values + 1, row->nulls + 1);
	row->tid = tuple->t_self;
	return row;
}

static HeapTuple
tuple_from_row(CatalogRow *row, TupleDesc desc)
{
	return heap_form_tuple(desc, row->values + 1, row->nulls + 1);
}

/*
 * Rows by key, as copies in CurrentMemoryContext, in the order of the table's
 * numbers where the whole table is read.  Snapshot NULL: the newest state.
 */
List *
store_read(CatalogKey by, Datum key, Snapshot snapshot)
{
	List	   *rows = NIL;
	Relation	rel = table_open(store_relation(access_paths[by].table), AccessShareLock);
	int			nkeys = 0;
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;

	Assert(RelationGetDescr(rel)->natts <= SOURCE_NATTS);
	if (access_paths[by].attnum != 0)
	{
		ScanKeyInit(&scankey, access_paths[by].attnum, BTEqualStrategyNumber,
					access_paths[by].equal, key);
		nkeys = 1;
	}
	scan = systable_beginscan(rel, store_relation(access_paths[by].index), nkeys > 0,
							  snapshot, nkeys, &scankey);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		rows = lappend(rows, row_from_tuple(heap_copytuple(tuple), RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return rows;
}

void
store_insert(const char *table, CatalogRow *row)
{
	Relation	rel = table_open(store_relation(table), RowExclusiveLock);

	CatalogTupleInsert(rel, tuple_from_row(row, RelationGetDescr(rel)));
	table_close(rel, NoLock);	/* the lock stays until commit */
	CommandCounterIncrement();
}

/* Write a row back that store_read() gave under snapshot NULL. */
void
store_update(const char *table, CatalogRow *row)
{
	Relation	rel = table_open(store_relation(table), RowExclusiveLock);

	CatalogTupleUpdate(rel, &row->tid, tuple_from_row(row, RelationGetDescr(rel)));
	table_close(rel, NoLock);	/* the lock stays until commit */
	CommandCounterIncrement();
}

void
store_delete(const char *table, CatalogRow *row)
{
	Relation	rel = table_open(store_relation(table), RowExclusiveLock);

	CatalogTupleDelete(rel, &row->tid);
	table_close(rel, NoLock);	/* the lock stays until commit */
	CommandCounterIncrement();
}

int32
store_nextval(const char *sequence)
{
	return (int32) nextval_internal(store_relation(sequence), false);
}
