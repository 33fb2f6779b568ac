/*
 * wait.c
 *	  recsys.wait_for(): until everything written before is flushed and
 *	  published.
 *
 * The call writes a message into the WAL and flushes it.  That puts an end to
 * "everything before", has asynchronous commits flushed along, and gives the
 * worker something to read where nothing else follows.  It then raises the
 * entry's request_lsn, at which the worker flushes and publishes at once, and
 * sleeps on the entry's condition variable.
 *
 * Models and resyncs count as written before too.  A commit that declared them
 * has asked for a scout before it returned; unless all such requests have been
 * served, models_dirty is set here as a scout would do, before the message is
 * written.  When the worker clears models_dirty it takes back published_lsn,
 * and advances it again when all models are built and published.
 *
 * What can never come true is an error at once, and in each round, since
 * others may pause or drop the source meanwhile.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "recsys.h"
#include "replication/slot.h"
#include "stream/launcher.h"
#include "stream/shared.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The worker may have been restarted without our request: remind it. */
#define REMIND_MS 1000

/* A source that no scout has seen yet is looked for this often. */
#define LOOK_MS 20

typedef struct Wait
{
	RecsysSource *source;
	bool		ours;			/* its row was written by this transaction */
	XLogRecPtr	target;
	bool		flushed_only;	/* it need not be published */
	SourceShared *entry;		/* NULL: not known to the launcher yet */
} Wait;

/* Only these are compared with the target. */
typedef struct Progress
{
	SourceState state;
	XLogRecPtr	flushed;
	XLogRecPtr	published;
	bool		models_dirty;
	char		last_error[RECSYS_ERROR_LEN];
} Progress;

/* ------------------------------------------------------- what is possible */

static void
check_server_can(const char *name)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for source \"%s\" on a standby", name),
				 errhint("Call recsys.wait_for() on the primary.")));
	if (shared_control == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" is stopped, because recsys is not preloaded", name),
				 errhint("Add recsys to shared_preload_libraries, then restart the server.")));
	if (!XLogLogicalInfoActive())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" is stopped, because wal_level is below \"logical\"", name),
				 errhint("ALTER SYSTEM SET wal_level = logical; then restart the server.")));
}

/* Whoever may use the source's functions may wait for it. */
static void
check_rights(const RecsysSource *source)
{
	if (has_privs_of_role(GetUserId(), source->owner) ||
		(OidIsValid(source->nspid) && compat_schema_usable(source->nspid, GetUserId())))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for source \"%s\"", NameStr(source->name)),
			 errhint("GRANT USAGE ON SCHEMA %s TO the role.",
					 quote_identifier(NameStr(source->name)))));
}

bool
wait_row_is_ours(const char *table, int32 id)
{
	Oid			relid = get_relname_relid(table, get_namespace_oid("recsys", false));
	Relation	rel = table_open(relid, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		ours = false;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	scan = systable_beginscan(rel, InvalidOid, false, GetActiveSnapshot(), 1, &key);
	while ((tuple = systable_getnext(scan)) != NULL)
		ours |= TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return ours;
}

static pg_noreturn void
report_paused(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("source \"%s\" is paused", name),
			 errhint("SELECT recsys.resume(%s);", quote_literal_cstr(name))));
}

static pg_noreturn void
report_uncommitted(const char *name, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("source \"%s\" was %s in this transaction", name, what),
			 errhint("COMMIT first; the change takes effect then.")));
}

/*
 * Is there a slot of that name, and has it found the position to start from?
 * It looks for one until all transactions that ran at its creation have ended.
 */
static bool
slot_exists(const char *name, bool *started)
{
	ReplicationSlot *slot = SearchNamedReplicationSlot(name, true);

	*started = false;
	if (slot == NULL)
		return false;
	SpinLockAcquire(&slot->mutex);
	*started = slot->data.confirmed_flush != InvalidXLogRecPtr;
	SpinLockRelease(&slot->mutex);
	return true;
}

/* Does the worker wait, or is it going to, for transactions that run now? */
static bool
waits_for_transactions(int32 source_id, SourceState state)
{
	char		name[NAMEDATALEN];
	bool		started;

	catalog_slot_name(source_id, name);
	if (state == SOURCE_RESYNCING || state == SOURCE_BUILDING)
	{
		strlcat(name, state == SOURCE_BUILDING ? RECSYS_FILLING_SLOT : RECSYS_RESYNC_SLOT,
				sizeof(name));
		return slot_exists(name, &started) && !started;
	}
	return !slot_exists(name, &started) || !started;
}

/* Is every entry of the shared array taken? */
static bool
no_entry_is_free(void)
{
	bool		full = true;

	LWLockAcquire(shared_control->lock, LW_SHARED);
	for (int i = 0; i < recsys_max_sources; i++)
		full &= shared_entry(i)->in_use;
	LWLockRelease(shared_control->lock);
	return full;
}

/* Before the launcher knows the source. */
static void
check_unknown(const Wait *w)
{
	const char *name = NameStr(w->source->name);

	if (w->ours)
		report_uncommitted(name, "created");
	if (no_entry_is_free())
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("source \"%s\" is stopped, because recsys.max_sources is %d",
						name, recsys_max_sources),
				 errhint("Raise recsys.max_sources in postgresql.conf, then restart the server.")));
}

/*
 * The entry says paused.  It may be behind a resume() that has been committed
 * just now, so that the newest row decides.
 */
static void
check_paused(const Wait *w)
{
	RecsysSource *source;

	if (w->ours)
		report_uncommitted(NameStr(w->source->name), "resumed");
	PushActiveSnapshot(GetLatestSnapshot());
	source = catalog_source_by_id(w->source->id, true);
	PopActiveSnapshot();
	if (source != NULL && source->paused)
		report_paused(NameStr(w->source->name));
	if (source != NULL)
		pfree(source);
}

/* With an entry: did others pause or drop it, do we ourselves hold it up? */
static void
check_known(const Wait *w, const Progress *p)
{
	const char *name = NameStr(w->source->name);
	SourceShared *s = w->entry;
	bool		paused,
				dropped;

	LWLockAcquire(shared_control->lock, LW_SHARED);
	dropped = !s->in_use || s->dropped || s->dboid != MyDatabaseId ||
		s->source_id != w->source->id;
	paused = s->paused;
	LWLockRelease(shared_control->lock);

	if (dropped)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("source \"%s\" was dropped", name)));
	if (paused)
		check_paused(w);

	/*
	 * A slot is created only when all transactions that run have ended, this
	 * one among them.
	 */
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		waits_for_transactions(w->source->id, p->state))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" is still %s and waits for this transaction, which has written",
						name, p->state == SOURCE_RESYNCING ? "resyncing" :
						p->state == SOURCE_BUILDING ? "building" : "creating"),
				 errhint("COMMIT first, then call recsys.wait_for().")));
}

/* ---------------------------------------------------------------- waiting */

static void
read_progress(SourceShared *s, Progress *p)
{
	SpinLockAcquire(&s->mutex);
	p->state = s->state;
	p->flushed = s->flushed_lsn;
	p->published = s->published_lsn;
	p->models_dirty = s->models_dirty;
	memcpy(p->last_error, s->last_error, sizeof(p->last_error));
	SpinLockRelease(&s->mutex);
}

/* Nothing is requested for the part of the target that is not written yet. */
static void
request(SourceShared *s, XLogRecPtr target)
{
	SpinLockAcquire(&s->mutex);
	s->request_lsn = Max(s->request_lsn, target);
	SpinLockRelease(&s->mutex);
	shared_wake(s);
}

/* The worker reads the declarations anew before it publishes again. */
static void
mark_dirty(SourceShared *s)
{
	SpinLockAcquire(&s->mutex);
	s->models_dirty = true;
	SpinLockRelease(&s->mutex);
}

/* The end of "everything before", flushed. */
static XLogRecPtr
write_mark(const RecsysSource *source)
{
	XLogRecPtr	lsn = message_send(source, MESSAGE_WAIT, NULL, 0, false);

	XLogFlush(lsn);
	return lsn;
}

static bool
reached(const Wait *w, const Progress *p)
{
	if (w->flushed_only)
		return p->flushed >= w->target;
	return p->state == SOURCE_STREAMING && !p->models_dirty &&
		p->flushed >= w->target && p->published >= w->target;
}

static int
milliseconds_left(TimestampTz deadline, int most)
{
	long		left;

	if (deadline == DT_NOEND)
		return most;
	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
	return (int) Min(left, most);
}

/* False when the time is up. */
static bool
find_entry(Wait *w, TimestampTz deadline)
{
	for (;;)
	{
		int			left = milliseconds_left(deadline, LOOK_MS);

		CHECK_FOR_INTERRUPTS();
		w->entry = shared_find(MyDatabaseId, w->source->id);
		if (w->entry != NULL)
			return true;
		check_unknown(w);
		if (left <= 0)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

static void
warn_if_stopped(const Wait *w, const Progress *p)
{
	if (p->state == SOURCE_STOPPED && p->last_error[0] != '\0')
		ereport(WARNING,
				(errmsg("source \"%s\" is stopped: %s", NameStr(w->source->name), p->last_error)));
}

/* Who waits without end for a worker that fails is told so once. */
static bool
wait_until_reached(Wait *w, TimestampTz deadline)
{
	Progress	p;
	bool		done;
	bool		warned = deadline != DT_NOEND;

	ConditionVariablePrepareToSleep(&w->entry->changed);
	for (;;)
	{
		int			left = milliseconds_left(deadline, REMIND_MS);

		read_progress(w->entry, &p);
		done = reached(w, &p);
		if (done)
			break;
		check_known(w, &p);
		if (left <= 0)
			break;
		request(w->entry, w->target);
		if (!ConditionVariableTimedSleep(&w->entry->changed, left, PG_WAIT_EXTENSION) || warned)
			continue;
		warn_if_stopped(w, &p);
		warned = p.state == SOURCE_STOPPED;
	}
	ConditionVariableCancelSleep();

	if (!done)
		warn_if_stopped(w, &p);
	return done;
}

/* Milliseconds of a timeout; months count 30 days, less than 0 is 0. */
static TimestampTz
deadline_after(const Interval *timeout)
{
	double		us = (double) timeout->time +
	((double) timeout->month * DAYS_PER_MONTH + timeout->day) * (double) USECS_PER_DAY;
	TimestampTz now = GetCurrentTimestamp();

	if (us <= 0)
		return now;
	if (us >= (double) (DT_NOEND - now) / 2)
		return DT_NOEND;
	return now + (int64) us;
}

XLogRecPtr
wait_until_flushed(RecsysSource *source)
{
	Wait		w = {.source = source,.flushed_only = true};

	check_server_can(NameStr(source->name));
	w.ours = wait_row_is_ours("source", source->id);
	(void) find_entry(&w, DT_NOEND);
	w.target = write_mark(source);
	(void) wait_until_reached(&w, DT_NOEND);
	return w.target;
}

PG_FUNCTION_INFO_V1(recsys_wait_for);

/*
 * recsys.wait_for(source name, lsn pg_lsn, timeout interval) returns boolean;
 * lsn NULL: everything written so far; timeout NULL: without limit.
 */
Datum
recsys_wait_for(PG_FUNCTION_ARGS)
{
	Wait		w;
	TimestampTz deadline;

	catalog_require_argument(fcinfo, 0, "source");
	deadline = PG_ARGISNULL(2) ? DT_NOEND : deadline_after(PG_GETARG_INTERVAL_P(2));

	memset(&w, 0, sizeof(w));
	w.source = catalog_source_by_name(NameStr(*PG_GETARG_NAME(0)), false);
	check_rights(w.source);
	check_server_can(NameStr(w.source->name));
	w.ours = wait_row_is_ours("source", w.source->id);
	if (w.source->paused)
		report_paused(NameStr(w.source->name));
	if (!find_entry(&w, deadline))
		PG_RETURN_BOOL(false);

	if (shared_scouts_pending())
		mark_dirty(w.entry);
	if (PG_ARGISNULL(1))
		w.target = write_mark(w.source);
	else
	{
		w.target = PG_GETARG_LSN(1);
		if (w.target > GetFlushRecPtr(NULL))
			(void) write_mark(w.source);
	}
	PG_RETURN_BOOL(wait_until_reached(&w, deadline));
}
