/*
 * compat.h
 *	  Every dependency on PG_VERSION_NUM of the extension stands in this file.
 *
 * PostgreSQL 15 is what the tests run on; with 16 to 18 it compiles.
 */
#ifndef RECSYS_COMPAT_H
#define RECSYS_COMPAT_H

#include "postgres.h"
#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_namespace.h"
#include "executor/executor.h"
#include "nodes/bitmapset.h"
#include "replication/slot.h"
#include "storage/proc.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#include "varatt.h"
#endif

#if PG_VERSION_NUM < 150000
#error "recsys needs PostgreSQL 15 or later"
#endif

/* Functions that do not return: a word before them since 18. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/*
 * The range table of one relation that is to be written.  Rights stand beside
 * it since 16, and the set of relations that are not pruned since 18.
 */
static inline void
compat_init_range_table(EState *estate, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	List	   *rights = NIL;

	addRTEPermissionInfo(&rights, rte);
#endif
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, list_make1(rte), rights, bms_make_singleton(1));
#elif PG_VERSION_NUM >= 160000
	ExecInitRangeTable(estate, list_make1(rte), rights);
#else
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

/* Which indexes an update is for: all or none, or since 16 the summarizing. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes CompatUpdateIndexes;
#define COMPAT_UPDATE_ALL TU_All
#define compat_insert_index_tuples(result, slot, estate, update, which) \
	ExecInsertIndexTuples((result), (slot), (estate), (update), false, NULL, NIL, \
						  (which) == TU_Summarizing)
#else
typedef bool CompatUpdateIndexes;
#define COMPAT_UPDATE_ALL true
#define compat_insert_index_tuples(result, slot, estate, update, which) \
	ExecInsertIndexTuples((result), (slot), (estate), (update), false, NULL, NIL)
#endif

/* index_beginscan() gained instrumentation in 18. */
#if PG_VERSION_NUM >= 180000
#define compat_index_beginscan(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), (norderbys))
#else
#define compat_index_beginscan(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), (norderbys))
#endif

/* ReplicationSlotCreate() gained failover and synced in 17. */
#if PG_VERSION_NUM >= 170000
#define compat_slot_create(name, persistency) \
	ReplicationSlotCreate((name), true, (persistency), false, false, false)
#else
#define compat_slot_create(name, persistency) \
	ReplicationSlotCreate((name), true, (persistency), false)
#endif

/* ReplicationSlotAcquire() gained error_if_invalid in 18. */
#if PG_VERSION_NUM >= 180000
#define compat_slot_acquire(name) ReplicationSlotAcquire((name), true, true)
#else
#define compat_slot_acquire(name) ReplicationSlotAcquire((name), true)
#endif

/* Reorder buffer tuples became plain HeapTuples in 17. */
#if PG_VERSION_NUM >= 170000
#define compat_change_tuple(tp) (tp)
#else
#define compat_change_tuple(tp) ((tp) ? &(tp)->tuple : NULL)
#endif

/* A slot whose WAL is gone: which field says so moved twice. */
#if PG_VERSION_NUM >= 160000
#define compat_slot_invalidated(slot) \
	((slot)->data.invalidated != RS_INVAL_NONE)
#else
#define compat_slot_invalidated(slot) \
	((slot)->data.invalidated_at != InvalidXLogRecPtr || \
	 (slot)->data.restart_lsn == InvalidXLogRecPtr)
#endif

/* LogLogicalMessage() gained flush in 17; callers here flush themselves. */
#if PG_VERSION_NUM >= 170000
#define compat_log_message(prefix, data, len, transactional) \
	LogLogicalMessage((prefix), (data), (len), (transactional), false)
#else
#define compat_log_message(prefix, data, len, transactional) \
	LogLogicalMessage((prefix), (data), (len), (transactional))
#endif

/* The top-level transaction of a reorder buffer transaction; 16 has a macro. */
#if PG_VERSION_NUM >= 160000
#define compat_top_transaction(txn) rbtxn_get_toptxn(txn)
#else
#define compat_top_transaction(txn) ((txn)->toptxn ? (txn)->toptxn : (txn))
#endif

/* When a transaction committed, as its commit record says. */
#define compat_commit_time(txn) ((txn)->xact_time.commit_time)

/* Transactions before it are not in the commit log any more. */
#if PG_VERSION_NUM >= 170000
#define compat_oldest_clog_xid() (TransamVariables->oldestClogXid)
#else
#define compat_oldest_clog_xid() (ShmemVariableCache->oldestClogXid)
#endif

/* Ownership checks by class of object became one function in 16. */
#if PG_VERSION_NUM >= 160000
#define compat_class_ownercheck(relid, role) \
	object_ownercheck(RelationRelationId, (relid), (role))
#else
#define compat_class_ownercheck(relid, role) pg_class_ownercheck((relid), (role))
#endif

/* So did those of other classes, and the checks of rights. */
#if PG_VERSION_NUM >= 160000
#define compat_database_ownercheck(dboid, role) \
	object_ownercheck(DatabaseRelationId, (dboid), (role))
#define compat_schema_usable(nspid, role) \
	(object_aclcheck(NamespaceRelationId, (nspid), (role), ACL_USAGE) == ACLCHECK_OK)
#else
#define compat_database_ownercheck(dboid, role) pg_database_ownercheck((dboid), (role))
#define compat_schema_usable(nspid, role) \
	(pg_namespace_aclcheck((nspid), (role), ACL_USAGE) == ACLCHECK_OK)
#endif

#endif							/* RECSYS_COMPAT_H */
