/*
 * launcher.c
 *	  The one background worker of the server that starts all others.
 *
 * It is connected to no database and knows sources only through the entries of
 * shared memory, which scouts (scout.c) bring in line with the catalogue of
 * one database each: of every database when the server starts, later of those
 * that asked for it at a commit.  For each entry that is wanted and has no
 * worker it starts a stream worker, when the entry's backoff has passed.
 *
 * Nothing polls: the latch is set by requests, by ending workers (detach() in
 * shared.c) and by the postmaster when a worker starts or ends; time-outs run
 * only while something is due.
 *
 * Handles of workers live in this process.  A launcher that starts anew finds
 * running workers by their entries and needs no handle for those: a handle is
 * only asked between start and attachment, where the worker could end without
 * a trace in shared memory.
 */
#include "postgres.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "recsys.h"
#include "storage/ipc.h"
#include "stream/launcher.h"
#include "stream/shared.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* How often something that is under way is looked at. */
#define POLL_MS 1000

/* Next try where no background worker is free. */
#define NO_WORKER_MS 2000

/* A paused source's worker gets this long for its last flush. */
#define PAUSE_MS 30000

/* A database to be scouted. */
typedef struct Job
{
	Oid			dboid;
	TimestampTz due;
	int			failures;
	int			slot;			/* in control->scouts while running, else -1 */
	bool		again;			/* asked for anew while running */
	BackgroundWorkerHandle *handle;
} Job;

static List *jobs = NIL;		/* of Job *, in TopMemoryContext */
static uint64 requests_taken = 0;	/* of control->requests_made */
static BackgroundWorkerHandle **starting_handles;	/* by entry */
static TimestampTz next_due;	/* of the round of the main loop */

static void
due_at(TimestampTz when)
{
	if (next_due == 0 || when < next_due)
		next_due = when;
}

static void
due_in(int ms)
{
	due_at(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms));
}

static bool
start_worker(const char *function, const char *name, Datum arg,
			 BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		ok;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "recsys", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, name, BGW_MAXLEN);
	worker.bgw_main_arg = arg;
	worker.bgw_notify_pid = MyProcPid;
	ok = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(old);
	return ok;
}

/* ------------------------------------------------------------------ scouts */

static Job *
find_job(Oid dboid)
{
	ListCell   *lc;

	foreach(lc, jobs)
	{
		if (((Job *) lfirst(lc))->dboid == dboid)
			return lfirst(lc);
	}
	return NULL;
}

static void
add_job(Oid dboid)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Job		   *job = find_job(dboid);

	if (job == NULL)
	{
		job = palloc0(sizeof(Job));
		job->dboid = dboid;
		job->slot = -1;
		jobs = lappend(jobs, job);
	}
	else if (job->slot >= 0)
		job->again = true;
	else
	{
		job->due = 0;
		job->failures = 0;
	}
	MemoryContextSwitchTo(old);
}

/* Databases that can have sources, as a list of Oids in the caller's context. */
static List *
connectable_databases(void)
{
	MemoryContext cx = CurrentMemoryContext;
	List	   *result = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database db = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		/* -2 marks a database whose DROP was cut short */
		if (!db->datallowconn || db->datistemplate || db->datconnlimit < -1)
			continue;
		old = MemoryContextSwitchTo(cx);
		result = lappend_oid(result, db->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	return result;
}

/*
 * Takes over the requests.  Databases that are gone lose their jobs and
 * entries here: a scout could not connect to them.
 */
static void
collect_requests(void)
{
	Oid			requests[LAUNCHER_REQUESTS];
	int			nrequests;
	bool		all;
	List	   *databases;
	ListCell   *lc;

	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	nrequests = shared_control->nrequests;
	memcpy(requests, shared_control->requests, nrequests * sizeof(Oid));
	all = shared_control->scout_all;
	shared_control->nrequests = 0;
	shared_control->scout_all = false;
	requests_taken = shared_control->requests_made;
	LWLockRelease(shared_control->lock);
	if (!all && nrequests == 0)
		return;

	databases = connectable_databases();
	if (all)
	{
		foreach(lc, databases)
			add_job(lfirst_oid(lc));
	}
	for (int i = 0; i < nrequests; i++)
	{
		if (list_member_oid(databases, requests[i]))
			add_job(requests[i]);
	}
}

/* After a scout's end.  True: the job is done. */
static bool
finish_job(Job *job)
{
	ScoutSlot  *slot = &shared_control->scouts[job->slot];
	bool		done;

	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	done = slot->done;
	slot->dboid = InvalidOid;
	LWLockRelease(shared_control->lock);

	pfree(job->handle);
	job->handle = NULL;
	job->slot = -1;
	if (done)
	{
		job->failures = 0;
		job->due = 0;
		done = !job->again;
		job->again = false;
		return done;
	}
	job->failures++;
	job->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										   (1000 << Min(job->failures - 1, 6)));
	if (!list_member_oid(connectable_databases(), job->dboid))
	{
		standstill_forget(job->dboid);
		return true;
	}
	return false;
}

/* A free place for a scout of the database; -1 if it has to wait. */
static int
claim_slot(Oid dboid)
{
	int			slot = -1;

	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < LAUNCHER_SCOUTS; i++)
	{
		if (shared_control->scouts[i].dboid == dboid)
		{
			slot = -1;			/* an earlier launcher's, still at work */
			break;
		}
		if (!OidIsValid(shared_control->scouts[i].dboid))
			slot = i;
	}
	if (slot >= 0)
	{
		shared_control->scouts[slot].dboid = dboid;
		shared_control->scouts[slot].pid = 0;
		shared_control->scouts[slot].done = false;
	}
	LWLockRelease(shared_control->lock);
	return slot;
}

static void
start_job(Job *job)
{
	int			slot = claim_slot(job->dboid);

	if (slot < 0)
		return;					/* the scout that ends wakes us */
	if (start_worker("recsys_scout_main", "recsys scout", Int32GetDatum(slot), &job->handle))
	{
		job->slot = slot;
		return;
	}
	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	shared_control->scouts[slot].dboid = InvalidOid;
	LWLockRelease(shared_control->lock);
	if (job->failures++ == 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no free background worker to look for recsys sources in database %u",
						job->dboid),
				 errhint("Raise max_worker_processes (now %d), then restart the server.",
						 max_worker_processes)));
	job->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NO_WORKER_MS);
	due_at(job->due);
}

/* Places of scouts that an earlier launcher started and that have ended. */
static void
release_orphans(void)
{
	bool		owned[LAUNCHER_SCOUTS] = {0};
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (job->slot >= 0)
			owned[job->slot] = true;
	}
	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < LAUNCHER_SCOUTS; i++)
	{
		if (!owned[i] && shared_control->scouts[i].pid == 0)
			shared_control->scouts[i].dboid = InvalidOid;
	}
	LWLockRelease(shared_control->lock);
}

static void
run_jobs(void)
{
	ListCell   *lc;

	release_orphans();
	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);
		pid_t		pid;
		bool		blocked;

		LWLockAcquire(shared_control->lock, LW_SHARED);
		blocked = shared_blocked(job->dboid);
		LWLockRelease(shared_control->lock);

		if (job->slot >= 0)
		{
			if (GetBackgroundWorkerPid(job->handle, &pid) != BGWH_STOPPED)
			{
				if (blocked)
					TerminateBackgroundWorker(job->handle);
				due_in(POLL_MS);
				continue;
			}
			if (finish_job(job))
			{
				jobs = foreach_delete_current(jobs, lc);
				pfree(job);
				continue;
			}
		}
		if (blocked)
			continue;			/* the end of the block wakes us */
		if (job->due > GetCurrentTimestamp())
			due_at(job->due);
		else
			start_job(job);
	}
	if (jobs == NIL)
	{
		LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
		shared_control->requests_served = requests_taken;
		LWLockRelease(shared_control->lock);
	}
}

/* ---------------------------------------------------------- stream workers */

/* A worker between start and attachment: has it ended? */
static void
check_starting(int index)
{
	SourceShared *s = shared_entry(index);
	BackgroundWorkerHandle *handle = starting_handles[index];
	pid_t		pid;
	bool		stopped;
	bool		failed = false;

	if (handle == NULL)
		return;
	stopped = GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED;
	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	if (s->starting && stopped)
	{
		s->starting = false;
		s->started_at = GetCurrentTimestamp();
		shared_back_off(s, true);
		failed = true;
	}
	stopped |= !s->starting;
	LWLockRelease(shared_control->lock);

	if (failed)
	{
		shared_report_error(s, "the stream worker could not start; the server log has the reason");
		ConditionVariableBroadcast(&s->changed);
	}
	if (stopped)
	{
		pfree(handle);
		starting_handles[index] = NULL;
	}
	else
		due_in(POLL_MS);
}

static void
start_stream(int index)
{
	SourceShared *s = shared_entry(index);
	char		name[BGW_MAXLEN];

	snprintf(name, sizeof(name), "recsys stream %s", NameStr(s->name));
	if (start_worker("recsys_stream_main", name, Int32GetDatum(index),
					 &starting_handles[index]))
	{
		due_in(POLL_MS);
		return;
	}

	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	s->starting = false;
	s->start_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NO_WORKER_MS);
	LWLockRelease(shared_control->lock);
	ConditionVariableBroadcast(&s->changed);
	shared_report_error(s, psprintf("no free background worker; raise max_worker_processes (now %d), then restart the server",
									max_worker_processes));
	due_in(NO_WORKER_MS);
}

/* Is it time to start this entry's worker?  Then it counts as starting. */
static bool
claim_start(SourceShared *s)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		start;

	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	start = s->in_use && s->wanted && s->pid == 0 && !s->starting &&
		!shared_blocked(s->dboid);
	if (start && s->start_after > now)
	{
		due_at(s->start_after);
		start = false;
	}
	if (start)
		s->starting = true;
	LWLockRelease(shared_control->lock);
	return start;
}

/*
 * The worker of a paused source ends by itself, but may not take for ever.  An
 * entry without a database (standstill_forget()) goes when its worker has.
 */
static void
check_unwanted(SourceShared *s)
{
	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	if (s->in_use && !s->wanted && s->pid != 0)
	{
		if (TimestampDifferenceExceeds(s->unwanted_since, GetCurrentTimestamp(), PAUSE_MS))
			kill(s->pid, SIGTERM);
		due_in(POLL_MS);
	}
	if (s->in_use && !OidIsValid(s->dboid) && s->pid == 0 && !s->starting)
	{
		shared_free(s);
		due_in(0);
	}
	LWLockRelease(shared_control->lock);
}

static void
run_workers(void)
{
	for (int i = 0; i < recsys_max_sources; i++)
	{
		check_starting(i);
		check_unwanted(shared_entry(i));
		if (claim_start(shared_entry(i)))
			start_stream(i);
	}
}

/* -------------------------------------------------------------- main loop */

static void
launcher_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	shared_control->launcher = NULL;
}

/*
 * Of an earlier launcher's children no handle is left: the places of its
 * scouts stay taken while they run, and a worker that was starting counts as
 * gone; should it attach after all, the second one is refused.
 */
static void
launcher_setup(void)
{
	starting_handles = MemoryContextAllocZero(TopMemoryContext,
											  recsys_max_sources * sizeof(BackgroundWorkerHandle *));
	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < recsys_max_sources; i++)
		shared_entry(i)->starting = false;
	shared_control->scout_all = true;
	shared_control->requests_made++;
	LWLockRelease(shared_control->lock);
	shared_control->launcher = MyLatch;
	on_shmem_exit(launcher_exit, (Datum) 0);
}

static long
time_out(void)
{
	if (next_due == 0)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_due) + 1;
}

/* Waits as long as the last crashes of the server call for. */
static void
wait_after_crashes(void)
{
	int			crashes = shared_control->crashes;
	int64		delay;
	TimestampTz until;

	if (crashes < 3)
		return;
	delay = (int64) recsys_restart_delay << Min(crashes - 3, 5);
	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay);
	ereport(WARNING,
			(errmsg("the server has crashed %d times in quick succession", crashes),
			 errdetail("Stream workers are started %lld ms later, in case one of them is the cause.",
					   (long long) delay)));
	while (GetCurrentTimestamp() < until)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until) + 1,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
recsys_launcher_main(Datum arg)
{
	MemoryContext cx;

	(void) arg;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	launcher_setup();
	wait_after_crashes();
	cx = AllocSetContextCreate(TopMemoryContext, "recsys launcher", ALLOCSET_SMALL_SIZES);

	for (;;)
	{
		int			events;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(cx);
		next_due = 0;
		collect_requests();
		run_jobs();
		run_workers();
		MemoryContextSwitchTo(cx);
		MemoryContextReset(cx);

		events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (next_due != 0 ? WL_TIMEOUT : 0);
		(void) WaitLatch(MyLatch, events, time_out(), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
launcher_register(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "recsys", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "recsys_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "recsys launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "recsys launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
