/*
 * shared.c
 *	  The shared memory of launcher, stream workers and backends.
 *
 * It holds a SharedControl and an array of SourceShared, one entry per source
 * of any database.  Entries are allocated and freed by scouts, handed to
 * workers by the launcher, and never move.  A freed entry may be allocated
 * again for another source, so whoever keeps a pointer across a wait compares
 * (in_use, dboid, source_id) again.
 *
 * Lock order: control->lock before an entry's spinlock.  Nothing is allocated
 * and nothing can fail while a spinlock is held.
 *
 * When any process is killed the postmaster restarts all others and
 * initialises this memory anew; a pid that outlives its process can't be.
 * What must survive that is kept in the postmaster's own memory: how often the
 * server crashed in quick succession (crash_count()).
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "recsys.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "stream/launcher.h"
#include "stream/shared.h"
#include "utils/elog.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define SHARED_NAME "recsys"

/* A worker that ran as long as this starts from the shortest delay again. */
#define HEALTHY_MS 60000

/* Delays grow up to this multiple of recsys.restart_delay. */
#define MAX_DELAYS 60

/* Crashes of the server within this time of its start are one series. */
#define QUICK_CRASH_MS 10000

SharedControl *shared_control = NULL;

static SourceShared *entries = NULL;
static bool notify_pending = false; /* for this database */
static bool notify_all_pending = false; /* for all of them */
static SourceShared *attached = NULL;
static emit_log_hook_type prev_emit_log_hook = NULL;

static Size
control_size(void)
{
	return MAXALIGN(sizeof(SharedControl));
}

static Size
shared_size(void)
{
	return add_size(control_size(),
					mul_size(recsys_max_sources, sizeof(SourceShared)));
}

void
shared_request(void)
{
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(SHARED_NAME, 1);
}

/*
 * Runs in the postmaster each time the shared memory is made, so that static
 * variables outlive a crash of the server.  A worker whose input crashes it
 * would take the server down as fast as it comes up; this is what its start is
 * delayed by.
 */
static int
crash_count(void)
{
	static TimestampTz last_start = 0;
	static int	crashes = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (last_start != 0 &&
		!TimestampDifferenceExceeds(last_start, now, QUICK_CRASH_MS))
		crashes++;
	else
		crashes = 0;
	last_start = now;
	return crashes;
}

static void
init_entry(SourceShared *s)
{
	SpinLockInit(&s->mutex);
	ConditionVariableInit(&s->changed);
	pg_atomic_init_u64(&s->commit_lsn, 0);
	pg_atomic_init_u64(&s->pending_since, 0);
	for (int i = 0; i < INJECT_NSTEPS; i++)
	{
		pg_atomic_init_u32(&s->inject[i], 0);
		pg_atomic_init_u32(&s->inject_wait[i], 0);
	}
	times_init(&s->times);
}

static void notify_xact_callback(XactEvent event, void *arg);

void
shared_startup(void)
{
	static bool registered = false;
	bool		found;
	char	   *base;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	base = ShmemInitStruct(SHARED_NAME, shared_size(), &found);
	shared_control = (SharedControl *) base;
	entries = (SourceShared *) (base + control_size());
	if (!found)
	{
		memset(base, 0, shared_size());
		shared_control->lock = &GetNamedLWLockTranche(SHARED_NAME)->lock;
		shared_control->crashes = crash_count();
		shared_control->scout_all = true;
		shared_control->requests_made = 1;
		pg_atomic_init_u32(&shared_control->generation, 0);
		for (int i = 0; i < recsys_max_sources; i++)
			init_entry(&entries[i]);
	}
	LWLockRelease(AddinShmemInitLock);

	if (!registered)
		RegisterXactCallback(notify_xact_callback, NULL);
	registered = true;
}

/* ---------------------------------------------------------------- entries */

SourceShared *
shared_entry(int index)
{
	Assert(index >= 0 && index < recsys_max_sources);
	return &entries[index];
}

SourceShared *
shared_lookup(Oid dboid, int32 source_id)
{
	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *s = &entries[i];

		if (s->in_use && s->dboid == dboid && s->source_id == source_id)
			return s;
	}
	return NULL;
}

SourceShared *
shared_find(Oid dboid, int32 source_id)
{
	SourceShared *s;

	if (shared_control == NULL)
		return NULL;
	LWLockAcquire(shared_control->lock, LW_SHARED);
	s = shared_lookup(dboid, source_id);
	LWLockRelease(shared_control->lock);
	return s;
}

/* Back to zero, but for identity, locks and what others wait on. */
static void
reset_report(SourceShared *s)
{
	SpinLockAcquire(&s->mutex);
	s->phase[0] = '\0';
	s->progress_done = s->progress_total = 0;
	s->phase_started = 0;
	s->read_lsn = s->applied_lsn = InvalidXLogRecPtr;
	s->flushed_lsn = s->published_lsn = s->shown_lsn = InvalidXLogRecPtr;
	s->events_applied = 0;
	s->events_rate = 0;
	s->rate_at = s->commit_time = 0;
	s->rejected = s->unmatched = 0;
	s->memory = 0;
	s->warning[0] = '\0';
	SpinLockRelease(&s->mutex);
}

/* A fresh entry, not yet wanted; NULL if all are taken. */
SourceShared *
shared_allocate(Oid dboid, int32 source_id)
{
	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *s = &entries[i];

		if (s->in_use)
			continue;
		s->in_use = true;
		s->dboid = dboid;
		s->source_id = source_id;
		memset(&s->name, 0, sizeof(s->name));
		s->events = InvalidOid;
		s->wanted = s->paused = s->dropped = s->starting = false;
		s->pid = 0;
		s->latch = NULL;
		s->started_at = s->start_after = s->unwanted_since = 0;
		s->failures = 0;
		reset_report(s);
		SpinLockAcquire(&s->mutex);
		s->state = SOURCE_CREATING;
		s->request_lsn = InvalidXLogRecPtr;
		s->models_dirty = false;
		s->resync_wanted = s->resync_done = 0;
		s->last_error[0] = '\0';
		s->last_error_at = 0;
		SpinLockRelease(&s->mutex);
		pg_atomic_write_u64(&s->commit_lsn, 0);
		pg_atomic_write_u64(&s->pending_since, 0);
		for (int step = 0; step < INJECT_NSTEPS; step++)
		{
			pg_atomic_write_u32(&s->inject[step], 0);
			pg_atomic_write_u32(&s->inject_wait[step], 0);
		}
		return s;
	}
	return NULL;
}

/* Sources that found no room are looked for again by the next launcher round. */
void
shared_free(SourceShared *s)
{
	Assert(s->pid == 0);
	s->in_use = false;
	s->wanted = false;
	if (shared_control->no_room)
	{
		shared_control->no_room = false;
		shared_control->scout_all = true;
		shared_control->requests_made++;
	}
	ConditionVariableBroadcast(&s->changed);
}

bool
shared_blocked(Oid dboid)
{
	for (int i = 0; i < LAUNCHER_BLOCKS; i++)
	{
		if (shared_control->blocked[i] == dboid)
			return true;
	}
	return false;
}

bool
shared_healthy(const SourceShared *s)
{
	return s->pid != 0 &&
		TimestampDifferenceExceeds(s->started_at, GetCurrentTimestamp(), HEALTHY_MS);
}

/*
 * When a worker that has ended may be started again: at once after a clean end
 * (but not in a tight loop), else after a delay that doubles with each failure
 * in a row.
 */
void
shared_back_off(SourceShared *s, bool failed)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		delays = 1;

	if (!failed || TimestampDifferenceExceeds(s->started_at, now, HEALTHY_MS))
		s->failures = 0;
	if (failed)
	{
		s->failures++;
		delays = INT64CONST(1) << Min(s->failures - 1, 6);
		delays = Min(delays, MAX_DELAYS);
	}
	if (failed || !TimestampDifferenceExceeds(s->started_at, now, 1000))
		s->start_after = TimestampTzPlusMilliseconds(now, delays * recsys_restart_delay);
	else
		s->start_after = 0;
}

/* ---------------------------------------------------------- stream worker */

/*
 * At exit, after locks, transaction and slot have been given back and before
 * the PGPROC is: whoever sees pid = 0 may take the slot or drop it.
 */
static void
detach(int code, Datum arg)
{
	SourceShared *s = (SourceShared *) DatumGetPointer(arg);
	bool		failed;
	bool		explained;

	emit_log_hook = prev_emit_log_hook;
	attached = NULL;

	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	failed = code != 0 && s->wanted && !shared_blocked(s->dboid);
	s->pid = 0;
	s->latch = NULL;
	shared_back_off(s, failed);
	LWLockRelease(shared_control->lock);

	SpinLockAcquire(&s->mutex);
	explained = s->last_error_at >= s->started_at;
	SpinLockRelease(&s->mutex);
	if (failed && !explained)
		shared_report_error(s, "the stream worker ended; the server log has the reason");

	shared_progress(s, NULL, 0, 0);
	shared_set_state(s, SOURCE_STOPPED);
	shared_wake_launcher();
}

/*
 * Keeps the text of the error that ends this process.  In a background worker
 * an ERROR reaches the log only when nothing caught it.
 */
static void
keep_error(ErrorData *edata)
{
	if (attached != NULL && edata->elevel >= ERROR && edata->message != NULL &&
		edata->sqlerrcode != ERRCODE_ADMIN_SHUTDOWN)
	{
		char		text[RECSYS_ERROR_LEN];

		snprintf(text, sizeof(text), "%s%s%s%s%s", edata->message,
				 edata->detail ? "; " : "", edata->detail ? edata->detail : "",
				 edata->hint ? "; " : "", edata->hint ? edata->hint : "");
		shared_report_error(attached, text);
	}
	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

void
shared_attach(SourceShared *s)
{
	bool		mine;

	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	mine = s->in_use && s->wanted && s->pid == 0 && !shared_blocked(s->dboid);
	if (mine)
	{
		s->pid = MyProcPid;
		s->latch = MyLatch;
		s->started_at = GetCurrentTimestamp();
	}
	s->starting = false;
	LWLockRelease(shared_control->lock);

	if (!mine)
	{
		ConditionVariableBroadcast(&s->changed);
		shared_wake_launcher();
		proc_exit(0);
	}
	on_shmem_exit(detach, PointerGetDatum(s));
	reset_report(s);
	times_reset(&s->times);
	attached = s;
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = keep_error;
}

void
shared_set_state(SourceShared *s, SourceState state)
{
	SpinLockAcquire(&s->mutex);
	s->state = state;
	SpinLockRelease(&s->mutex);
	ConditionVariableBroadcast(&s->changed);
}

void
shared_progress(SourceShared *s, const char *phase, int64 done, int64 total)
{
	TimestampTz now = GetCurrentTimestamp();
	char		name[sizeof(s->phase)];

	memset(name, 0, sizeof(name));
	if (phase != NULL)
		strlcpy(name, phase, sizeof(name));

	SpinLockAcquire(&s->mutex);
	if (memcmp(s->phase, name, sizeof(name)) != 0)
	{
		memcpy(s->phase, name, sizeof(name));
		s->phase_started = now;
	}
	s->progress_done = done;
	s->progress_total = total;
	SpinLockRelease(&s->mutex);
}

/* A text that may end anywhere is cut between characters. */
static int
length_to_report(const char *message)
{
	int			len = strlen(message);

	return len < RECSYS_ERROR_LEN ? len : pg_mbcliplen(message, len, RECSYS_ERROR_LEN - 1);
}

void
shared_report_warning(SourceShared *s, const char *message)
{
	int			len = message ? length_to_report(message) : 0;

	SpinLockAcquire(&s->mutex);
	if (len > 0)
		memcpy(s->warning, message, len);
	s->warning[len] = '\0';
	SpinLockRelease(&s->mutex);
}

void
shared_report_error(SourceShared *s, const char *message)
{
	TimestampTz now = GetCurrentTimestamp();
	int			len = length_to_report(message);

	SpinLockAcquire(&s->mutex);
	memcpy(s->last_error, message, len);
	s->last_error[len] = '\0';
	s->last_error_at = now;
	SpinLockRelease(&s->mutex);
}

void
shared_inject(SourceShared *s, InjectionStep step)
{
	if (likely(pg_atomic_read_u32(&s->inject[step]) == 0))
		return;
	if (pg_atomic_fetch_sub_u32(&s->inject[step], 1) == 1)
		kill(getpid(), SIGKILL);
}

void
shared_inject_wait(SourceShared *s, InjectionStep step)
{
	while (unlikely(pg_atomic_read_u32(&s->inject_wait[step]) != 0))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ------------------------------------------------------------------ waking */

void
shared_wake(SourceShared *s)
{
	Latch	   *latch = *(Latch *volatile *) &s->latch;

	if (latch != NULL)
		SetLatch(latch);
}

void
shared_wake_launcher(void)
{
	Latch	   *latch = *(Latch *volatile *) &shared_control->launcher;

	if (latch != NULL)
		SetLatch(latch);
}

/* True once no worker runs and none is about to. */
bool
shared_wait_gone(SourceShared *s, int timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();
	bool		gone;

	for (;;)
	{
		LWLockAcquire(shared_control->lock, LW_SHARED);
		gone = (s->pid == 0 && !s->starting);
		LWLockRelease(shared_control->lock);
		if (gone || TimestampDifferenceExceeds(start, GetCurrentTimestamp(), timeout_ms))
			break;
		ConditionVariableTimedSleep(&s->changed, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return gone;
}

void
shared_request_scout(Oid dboid)
{
	SharedControl *c = shared_control;
	bool		known = false;

	LWLockAcquire(c->lock, LW_EXCLUSIVE);
	c->requests_made++;
	for (int i = 0; i < c->nrequests; i++)
		known |= (c->requests[i] == dboid);
	if (!OidIsValid(dboid) || (!known && c->nrequests == LAUNCHER_REQUESTS))
		c->scout_all = true;
	else if (!known)
		c->requests[c->nrequests++] = dboid;
	LWLockRelease(c->lock);
	shared_wake_launcher();
}

bool
shared_scouts_pending(void)
{
	bool		pending;

	LWLockAcquire(shared_control->lock, LW_SHARED);
	pending = shared_control->requests_made != shared_control->requests_served;
	LWLockRelease(shared_control->lock);
	return pending;
}

void
shared_notify_at_commit(void)
{
	if (shared_control != NULL)
		notify_pending = true;
}

/* For commands that make a database appear. */
void
shared_notify_all_at_commit(void)
{
	if (shared_control != NULL)
		notify_all_pending = true;
}

/*
 * A prepared transaction may be committed by another process and after a
 * restart, where nobody would know of the request any more; as with NOTIFY,
 * it can't be had.
 */
static void
notify_xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (likely(!notify_pending && !notify_all_pending))
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (!notify_pending)
				break;
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has declared, changed or dropped recsys sources or models"),
					 errhint("Use COMMIT.")));
			break;
		case XACT_EVENT_COMMIT:
			shared_request_scout(notify_all_pending ? InvalidOid : MyDatabaseId);
			notify_pending = notify_all_pending = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			notify_pending = notify_all_pending = false;
			break;
		default:
			break;
	}
}

/*
 * The PGPROCs of background workers that no process owns.  Only an estimate
 * for an early error: read without the spinlock of the free list, which is not
 * exported.  Ownership shows in the latch, since ProcKill() leaves the pid.
 */
int
shared_free_workers(void)
{
	int			n = 0;

	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];

		n += (proc->procgloballist == &ProcGlobal->bgworkerFreeProcs &&
			  proc->procLatch.owner_pid == 0);
	}
	return n;
}

const char *
shared_state_name(SourceState state)
{
	switch (state)
	{
		case SOURCE_CREATING:
			return "creating";
		case SOURCE_BACKFILLING:
			return "backfilling";
		case SOURCE_BUILDING:
			return "building";
		case SOURCE_STREAMING:
			return "streaming";
		case SOURCE_PAUSED:
			return "paused";
		case SOURCE_STOPPED:
			return "stopped";
		case SOURCE_RESYNCING:
			return "resyncing";
	}
	return "stopped";
}
