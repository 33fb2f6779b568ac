/*
 * wake.c
 *	  Wakes a source's worker when a transaction that touched its events table
 *	  commits, so that an idle source needs no polling.
 *
 * While statements run, the entries of touched sources are marked; at COMMIT
 * the newest commit LSN is raised and the workers' latches are set.  Marks of
 * aborted subtransactions stay: a worker woken for nothing finds nothing.  A
 * wake-up is a hint in the other direction too.  What passes by without
 * executor or utility command (the apply workers of logical replication, where
 * every commit wakes; asynchronous commits, whose WAL is flushed later) is
 * found by the worker's own time-out.
 *
 * A statement costs one comparison of a counter where the database has no
 * source.  Where it has, the entries of a relation come from a hash table of
 * this backend, filled on demand, with the ancestors of a partition resolved;
 * it is emptied when scouts change the set of sources (generation) and loses
 * single relations by relcache invalidation.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/partition.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "recsys.h"
#include "replication/logicalworker.h"
#include "stream/launcher.h"
#include "stream/shared.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Which entries a relation feeds: bits of their indexes. */
typedef struct RelationEntries
{
	Oid			relid;			/* hash key */
	Bitmapset  *entries;		/* in wake_context */
} RelationEntries;

static MemoryContext wake_context = NULL;
static HTAB *wake_cache = NULL;
static uint32 wake_generation = 0;	/* of the cache */
static uint64 wake_invalidations = 0;
static bool has_sources = false;

static bool *touched = NULL;	/* by index of entry */
static bool any_touched = false;

static ExecutorFinish_hook_type prev_ExecutorFinish = NULL;

/* ------------------------------------------------------------------- cache */

static void
forget_relation(Datum arg, Oid relid)
{
	(void) arg;
	wake_invalidations++;
	if (wake_cache == NULL)
		return;
	if (OidIsValid(relid))
		hash_search(wake_cache, &relid, HASH_REMOVE, NULL);
	else
	{
		wake_cache = NULL;
		MemoryContextReset(wake_context);
	}
}

static void
refresh(uint32 generation)
{
	forget_relation((Datum) 0, InvalidOid);
	has_sources = false;
	LWLockAcquire(shared_control->lock, LW_SHARED);
	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *s = shared_entry(i);

		has_sources |= (s->in_use && s->dboid == MyDatabaseId);
	}
	LWLockRelease(shared_control->lock);
	wake_generation = generation;
}

/* Allocates nothing and reads no catalogue: called at commit too. */
bool
wake_active(void)
{
	uint32		generation;

	if (shared_control == NULL)
		return false;
	generation = pg_atomic_read_u32(&shared_control->generation);
	if (unlikely(generation != wake_generation))
		refresh(generation);
	return has_sources;
}

/* Bits of the entries that have one of the relations as their events table. */
static Bitmapset *
entries_of(List *relids)
{
	Bitmapset  *result = NULL;

	LWLockAcquire(shared_control->lock, LW_SHARED);
	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *s = shared_entry(i);

		if (s->in_use && s->dboid == MyDatabaseId &&
			list_member_oid(relids, s->events))
			result = bms_add_member(result, i);
	}
	LWLockRelease(shared_control->lock);
	return result;
}

static void
make_cache(void)
{
	HASHCTL		ctl;

	if (wake_context == NULL)
	{
		wake_context = AllocSetContextCreate(TopMemoryContext, "recsys wake-up",
											 ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	}
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(RelationEntries);
	ctl.hcxt = wake_context;
	wake_cache = hash_create("recsys wake-up", 64, &ctl,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * The entries that relid feeds.  An invalidation that arrives while the
 * ancestors are read may be about them, so that the answer is used but not
 * kept.
 */
static Bitmapset *
lookup(Oid relid)
{
	RelationEntries *e;
	Bitmapset  *entries;
	List	   *relids;
	uint64		invalidations;

	if (wake_cache == NULL)
		make_cache();
	e = hash_search(wake_cache, &relid, HASH_FIND, NULL);
	if (e != NULL)
		return e->entries;

	invalidations = wake_invalidations;
	relids = get_rel_relispartition(relid) ? get_partition_ancestors(relid) : NIL;
	relids = lappend_oid(relids, relid);
	entries = entries_of(relids);
	list_free(relids);
	if (invalidations == wake_invalidations && wake_cache != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(wake_context);
		Bitmapset  *kept = bms_copy(entries);

		MemoryContextSwitchTo(old);
		e = hash_search(wake_cache, &relid, HASH_ENTER, NULL);
		e->entries = kept;
	}
	return entries;
}

/* ------------------------------------------------------------------- marks */

static void
touch(int index)
{
	if (touched == NULL)
		touched = MemoryContextAllocZero(TopMemoryContext,
										 recsys_max_sources * sizeof(bool));
	touched[index] = true;
	any_touched = true;
}

void
wake_touch_entry(SourceShared *s)
{
	touch(s - shared_entry(0));
}

/* True if the relation feeds a source. */
bool
wake_touch_relation(Oid relid)
{
	Bitmapset  *entries;
	int			i = -1;

	if (!wake_active())
		return false;
	entries = lookup(relid);
	while ((i = bms_next_member(entries, i)) >= 0)
		touch(i);
	return entries != NULL;
}

/* All sources of this database; LW_SHARED, no catalogue. */
void
wake_touch_all(void)
{
	if (!wake_active())
		return;
	for (int i = 0; i < recsys_max_sources; i++)
	{
		bool		here;

		LWLockAcquire(shared_control->lock, LW_SHARED);
		here = shared_entry(i)->in_use && shared_entry(i)->dboid == MyDatabaseId;
		LWLockRelease(shared_control->lock);
		if (here)
			touch(i);
	}
}

static void
wake_entry(SourceShared *s, XLogRecPtr lsn, TimestampTz now)
{
	uint64		before = pg_atomic_read_u64(&s->commit_lsn);
	XLogRecPtr	applied;

	SpinLockAcquire(&s->mutex);
	applied = s->applied_lsn;
	SpinLockRelease(&s->mutex);
	if (applied >= before)
		pg_atomic_write_u64(&s->pending_since, (uint64) now);
	while (before < lsn &&
		   !pg_atomic_compare_exchange_u64(&s->commit_lsn, &before, lsn))
		;
	shared_wake(s);
}

/* The commit is visible and has its LSN when XACT_EVENT_COMMIT comes. */
static void
wake_xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT && !any_touched && IsLogicalWorker())
		wake_touch_all();
	if (likely(!any_touched))
		return;
	if (event == XACT_EVENT_COMMIT && XactLastCommitEnd != InvalidXLogRecPtr)
	{
		TimestampTz now = GetCurrentTransactionStopTimestamp();

		for (int i = 0; i < recsys_max_sources; i++)
		{
			if (touched[i])
				wake_entry(shared_entry(i), XactLastCommitEnd, now);
		}
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
	{
		memset(touched, 0, recsys_max_sources * sizeof(bool));
		any_touched = false;
	}
}

/* ------------------------------------------------------------------- hooks */

/*
 * resultRelations holds those of data-modifying CTEs too; an UPDATE or DELETE
 * of a partitioned table lists its leaves.
 */
static void
wake_ExecutorFinish(QueryDesc *queryDesc)
{
	PlannedStmt *stmt = queryDesc->plannedstmt;
	ListCell   *lc;

	if (prev_ExecutorFinish)
		prev_ExecutorFinish(queryDesc);
	else
		standard_ExecutorFinish(queryDesc);

	if (stmt->resultRelations == NIL || !wake_active())
		return;
	foreach(lc, stmt->resultRelations)
	{
		Index		rti = lfirst_int(lc);

		wake_touch_relation(rt_fetch(rti, stmt->rtable)->relid);
	}
}

void
wake_install_hooks(void)
{
	/* pg_upgrade restores our catalogue piece by piece: nothing is to be read
	 * from it before the server starts for real */
	if (IsBinaryUpgrade)
		return;
	prev_ExecutorFinish = ExecutorFinish_hook;
	ExecutorFinish_hook = wake_ExecutorFinish;
	RegisterXactCallback(wake_xact_callback, NULL);
	ddl_install_hook();
}
