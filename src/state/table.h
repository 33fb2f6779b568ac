/*
 * table.h
 *	  Reading and writing the tables of a source by their integer primary
 *	  keys, below SPI: one index probe, one tuple.
 *
 * Reads run under the snapshot given.  Writes are for the stream worker, the
 * only writer of these tables; they keep every index of the table but fire no
 * triggers, and call CommandCounterIncrement() only in table_flush().
 */
#ifndef RECSYS_TABLE_H
#define RECSYS_TABLE_H

#include "postgres.h"
#include "access/genam.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

typedef struct StateTable
{
	MemoryContext context;		/* of everything below */
	Relation	rel;
	Relation	index;			/* the index probed by table_get() */
	TupleTableSlot *slot;		/* of table_get() and scans */
	IndexScanDesc scan;			/* reused between probes */
	int			nkeys;
	ScanKeyData keys[3];
	/* writing only */
	EState	   *estate;
	ResultRelInfo *result;
	TupleTableSlot *newslot;
} StateTable;

/* Opens relation and, if not NULL, its index by name in schema nspid.  Key
 * columns are the first nkeys index columns; equality of the index type. */
extern StateTable *table_open_state(Oid nspid, const char *relname,
									const char *indexname, LOCKMODE lockmode);
extern void table_close_state(StateTable *t, LOCKMODE lockmode);

/* First visible tuple with the key(s); NULL if none.  The slot stays valid
 * until the next call on t. */
extern TupleTableSlot *table_get(StateTable *t, Snapshot snapshot, int nkeys, Datum *keys);
/* Next visible tuple of the same probe (prefix keys: rows in index order). */
extern TupleTableSlot *table_get_next(StateTable *t);

/* Insert, or replace the row with the same primary key. All columns given. */
extern void table_put(StateTable *t, int nkeys, const Datum *values, const bool *nulls);
extern void table_insert(StateTable *t, const Datum *values, const bool *nulls);
extern bool table_delete(StateTable *t, int nkeys, Datum *keys);	/* all rows with the (prefix) key */

#endif							/* RECSYS_TABLE_H */
