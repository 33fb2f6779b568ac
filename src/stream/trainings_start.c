/*
 * trainings_start.c
 *	  Starting trainings, waiting for them, and having them end.
 *
 * A model is trained by one training at a time.  An entry is taken first, then
 * its leader is registered as a background worker, which finds it by its number
 * and id.  The handle of a worker that has not taken its entry yet is kept in
 * the process that started it, which looks at it whenever it is about trainings:
 * a worker that can not start leaves no other trace.
 */
#include "postgres.h"

#include <math.h>
#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "recsys.h"
#include "storage/ipc.h"
#include "stream/trainings.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* A worker that was registered by a process that is gone, and does not come. */
#define STARTING_TIMEOUT_MS 60000

/* Next look where nothing could be started. */
#define NO_ENTRY_MS 2000

/* A waiting process looks after a worker that can not start this often. */
#define LOOK_MS 1000

typedef struct Started
{
	TrainingRef ref;
	BackgroundWorkerHandle *handle;
} Started;

static List *started = NIL;		/* of Started *, in TopMemoryContext */

static bool
under_way(const TrainingShared *t)
{
	return t->in_use && (t->state == TRAINING_STARTING || t->state == TRAINING_RUNNING);
}

/* -------------------------------------------------------- workers to come */

/* The caller holds the lock exclusively. */
static void
fail_to_start(TrainingShared *t, const char *message, const char *hint)
{
	trainings_error(t, ERRCODE_INSUFFICIENT_RESOURCES, message, hint);
	trainings_end(t, TRAINING_FAILED);
}

/* Workers that we have registered and that have come, or never will. */
static void
look_after_started(void)
{
	ListCell   *lc;

	foreach(lc, started)
	{
		Started    *s = lfirst(lc);
		TrainingShared *t = s->ref.entry;
		pid_t		pid;
		bool		stopped = GetBackgroundWorkerPid(s->handle, &pid) == BGWH_STOPPED;
		bool		starting;

		LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
		starting = t->in_use && t->id == s->ref.id && t->state == TRAINING_STARTING;
		if (starting && stopped)
			fail_to_start(t, "the training worker could not start", "The server log has the reason.");
		LWLockRelease(trainings_control->lock);
		if (starting && !stopped)
			continue;
		if (starting)
			ConditionVariableBroadcast(&t->changed);
		pfree(s->handle);
		pfree(s);
		started = foreach_delete_current(started, lc);
	}
}

static bool
register_leader(const TrainingRef *ref)
{
	TrainingShared *t = ref->entry;
	TrainingExtra extra = {.id = ref->id};
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		ok;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, TRAINING_LIBRARY, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, TRAINING_LEADER, sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, BGW_MAXLEN, "recsys %s %s",
			 t->kind == TRAINING_TRAIN ? "training" : "evaluation", NameStr(t->model));
	strlcpy(worker.bgw_type, "recsys training", BGW_MAXLEN);
	worker.bgw_main_arg = Int32GetDatum((int32) (t - trainings_control->entries));
	memcpy(worker.bgw_extra, &extra, sizeof(extra));
	worker.bgw_notify_pid = MyProcPid;
	ok = RegisterDynamicBackgroundWorker(&worker, &handle);
	if (ok)
	{
		Started    *s = palloc(sizeof(Started));

		s->ref = *ref;
		s->handle = handle;
		started = lappend(started, s);
	}
	MemoryContextSwitchTo(old);
	return ok;
}

/* ------------------------------------------------------------------- entries */

/* The newest training of the model.  The caller holds the lock. */
static TrainingShared *
newest_training(Oid dboid, int32 model_id)
{
	TrainingShared *newest = NULL;

	for (int i = 0; i < TRAININGS_MAX; i++)
	{
		TrainingShared *t = &trainings_control->entries[i];

		if (t->in_use && t->dboid == dboid && t->model_id == model_id &&
			t->kind == TRAINING_TRAIN && (newest == NULL || t->id > newest->id))
			newest = t;
	}
	return newest;
}

/*
 * A free entry, or of those that have ended the one that is missed least: what
 * has been followed by another training of the model, else the oldest.
 */
static TrainingShared *
free_entry(void)
{
	TrainingShared *oldest = NULL;
	bool		oldest_followed = false;

	for (int i = 0; i < TRAININGS_MAX; i++)
	{
		TrainingShared *t = &trainings_control->entries[i];
		bool		followed;

		if (!t->in_use)
			return t;
		if (under_way(t))
			continue;
		followed = newest_training(t->dboid, t->model_id) != t;
		if (oldest == NULL || (followed && !oldest_followed) ||
			(followed == oldest_followed && t->id < oldest->id))
		{
			oldest = t;
			oldest_followed = followed;
		}
	}
	return oldest;
}

/* The caller holds the lock exclusively.  Pids of helpers that still end stay. */
static void
fill_entry(TrainingShared *t, TrainingKind kind, const RecsysSource *source,
		   const RecsysModel *model, const void *area, Size n, const TrainingShared *last)
{
	int			failures = last != NULL && last->params_version == model->version ? last->failures : 0;

	t->in_use = true;
	t->id = ++trainings_control->last_id;
	t->kind = kind;
	t->dboid = MyDatabaseId;
	t->source_id = source->id;
	t->model_id = model->id;
	t->params_version = model->version;
	t->model = model->name;
	t->user = GetUserId();
	t->requested_at = GetCurrentTimestamp();
	t->failures = failures;
	t->retry_at = 0;
	t->leader = 0;
	pg_atomic_write_u32(&t->cancel, CANCEL_NOT);
	memset(t->area, 0, sizeof(t->area));
	if (n > 0)
		memcpy(t->area, area, n);

	SpinLockAcquire(&t->mutex);
	t->state = TRAINING_STARTING;
	strlcpy(t->phase, "starting", sizeof(t->phase));
	t->done = t->total = 0;
	t->phase_started = t->requested_at;
	t->iteration = t->iterations = 0;
	t->loss = t->recall = NAN;
	t->workers = 0;
	t->started_at = t->ended_at = 0;
	t->applied_lsn = InvalidXLogRecPtr;
	memset(&t->error, 0, sizeof(t->error));
	SpinLockRelease(&t->mutex);
}

/* Whoever started it died before the worker came, and the worker did not come. */
static void
give_up_starting(TrainingShared *t)
{
	if (t->in_use && t->state == TRAINING_STARTING &&
		TimestampDifferenceExceeds(t->requested_at, GetCurrentTimestamp(), STARTING_TIMEOUT_MS))
		fail_to_start(t, "the training worker did not start", "The server log has the reason.");
}

TrainingStart
training_start(TrainingKind kind, const RecsysSource *source, const RecsysModel *model,
			   const void *area, Size n, TrainingRef *ref)
{
	TrainingShared *last;

	Assert(n <= TRAINING_AREA);
	look_after_started();
	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TRAININGS_MAX; i++)
		give_up_starting(&trainings_control->entries[i]);
	last = newest_training(MyDatabaseId, model->id);
	if (kind == TRAINING_TRAIN && last != NULL && under_way(last))
	{
		ref->entry = last;
		ref->id = last->id;
		LWLockRelease(trainings_control->lock);
		return TRAINING_UNDER_WAY;
	}
	ref->entry = free_entry();
	if (ref->entry != NULL)
	{
		fill_entry(ref->entry, kind, source, model, area, n,
				   kind == TRAINING_TRAIN ? last : NULL);
		ref->id = ref->entry->id;
	}
	LWLockRelease(trainings_control->lock);

	if (ref->entry == NULL)
		return TRAINING_NO_ENTRY;
	if (register_leader(ref))
		return TRAINING_STARTED;

	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	fail_to_start(ref->entry, "no background worker is free for a training",
				  psprintf("Raise max_worker_processes (now %d), then restart the server.",
						   max_worker_processes));
	LWLockRelease(trainings_control->lock);
	ConditionVariableBroadcast(&ref->entry->changed);
	return TRAINING_NO_WORKER;
}

void
training_not_started(TrainingStart start)
{
	if (start == TRAINING_NO_WORKER)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("no background worker is free for a training"),
				 errhint("Try again later, or raise max_worker_processes (now %d) and restart the server.",
						 max_worker_processes)));
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("%d trainings are under way", TRAININGS_MAX),
			 errhint("Try again when they have ended.")));
}

/* ------------------------------------------------------------------- waiting */

/* False while it is under way. */
static bool
has_ended(const TrainingRef *ref, bool *known, TrainingState *state, XLogRecPtr *applied_lsn,
		  TrainingError *error)
{
	TrainingShared *t = ref->entry;
	bool		ended;

	LWLockAcquire(trainings_control->lock, LW_SHARED);
	*known = t->in_use && t->id == ref->id;
	ended = !*known || !under_way(t);
	SpinLockAcquire(&t->mutex);
	*state = t->state;
	*applied_lsn = t->applied_lsn;
	*error = t->error;
	SpinLockRelease(&t->mutex);
	LWLockRelease(trainings_control->lock);
	return ended;
}

bool
training_wait(const TrainingRef *ref, TrainingState *state, XLogRecPtr *applied_lsn,
			  TrainingError *error)
{
	bool		known;

	ConditionVariablePrepareToSleep(&ref->entry->changed);
	while (!has_ended(ref, &known, state, applied_lsn, error))
	{
		look_after_started();
		(void) ConditionVariableTimedSleep(&ref->entry->changed, LOOK_MS, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return known;
}

static void
cancel_ours(int code, Datum arg)
{
	(void) code;
	training_cancel((const TrainingRef *) DatumGetPointer(arg), CANCEL_REQUESTER);
}

bool
training_finish(const TrainingRef *ref)
{
	TrainingState state;
	XLogRecPtr	applied_lsn;
	TrainingError error;
	bool		known = false;

	PG_ENSURE_ERROR_CLEANUP(cancel_ours, PointerGetDatum(ref));
	{
		known = training_wait(ref, &state, &applied_lsn, &error);
	}
	PG_END_ENSURE_ERROR_CLEANUP(cancel_ours, PointerGetDatum(ref));
	if (!known)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("too many trainings have ended meanwhile to tell how this one did"),
				 errhint("See recsys.trainings.")));
	if (state == TRAINING_FAILED || state == TRAINING_CANCELLED)
		ereport(ERROR,
				(errcode(error.sqlerrcode != 0 ? error.sqlerrcode : ERRCODE_QUERY_CANCELED),
				 errmsg_internal("%s", error.message[0] != '\0' ? error.message :
								 "the training was cancelled"),
				 error.detail[0] != '\0' ? errdetail_internal("%s", error.detail) : 0,
				 error.hint[0] != '\0' ? errhint("%s", error.hint) : 0));
	return state == TRAINING_DONE;
}

bool
training_run(TrainingKind kind, const RecsysSource *source, const RecsysModel *model,
			 const void *area, Size n)
{
	TrainingRef ref;
	TrainingStart start = training_start(kind, source, model, area, n, &ref);

	if (start != TRAINING_STARTED)
		training_not_started(start);
	return training_finish(&ref);
}

/* ---------------------------------------------------------------- scheduling */

bool
training_schedule(const RecsysSource *source, const RecsysModel *model, TimestampTz *again)
{
	TrainingShared *last;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz retry_at = 0;
	bool		running;
	TrainingRef ref;

	look_after_started();
	LWLockAcquire(trainings_control->lock, LW_SHARED);
	last = newest_training(MyDatabaseId, model->id);
	running = last != NULL && under_way(last);
	if (last != NULL && !running && last->params_version == model->version)
		retry_at = last->retry_at;
	LWLockRelease(trainings_control->lock);

	*again = retry_at;
	if (running || retry_at > now)
		return running;
	switch (training_start(TRAINING_TRAIN, source, model, NULL, 0, &ref))
	{
		case TRAINING_STARTED:
		case TRAINING_UNDER_WAY:
			return true;
		case TRAINING_NO_WORKER:
			*again = ref.entry->retry_at;
			break;
		case TRAINING_NO_ENTRY:
			*again = TimestampTzPlusMilliseconds(now, NO_ENTRY_MS);
			break;
	}
	return false;
}

bool
training_under_way(Oid dboid, int32 model_id)
{
	TrainingShared *last;
	bool		result;

	look_after_started();
	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	last = newest_training(dboid, model_id);
	if (last != NULL)
		give_up_starting(last);
	result = last != NULL && under_way(last);
	LWLockRelease(trainings_control->lock);
	return result;
}

/* -------------------------------------------------------------------- ending */

/* The caller holds the lock exclusively. */
static void
cancel_entry(TrainingShared *t, TrainingCancel why)
{
	if (!under_way(t) || pg_atomic_read_u32(&t->cancel) >= (uint32) why)
		return;
	pg_atomic_write_u32(&t->cancel, why);
	if (t->leader != 0)
		kill(t->leader, SIGINT);
}

void
training_cancel(const TrainingRef *ref, TrainingCancel why)
{
	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	if (ref->entry->in_use && ref->entry->id == ref->id)
		cancel_entry(ref->entry, why);
	LWLockRelease(trainings_control->lock);
}

void
trainings_cancel(Oid dboid, int32 source_id, int32 model_id)
{
	if (trainings_control == NULL)
		return;
	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TRAININGS_MAX; i++)
	{
		TrainingShared *t = &trainings_control->entries[i];

		if (t->dboid == dboid && t->source_id == source_id &&
			(model_id == 0 || t->model_id == model_id))
			cancel_entry(t, CANCEL_MODEL);
	}
	LWLockRelease(trainings_control->lock);
}

/* Is the model there, as it is being trained?  Under the active snapshot. */
static bool
is_declared(const TrainingShared *t)
{
	ListCell   *lc;

	if (!catalog_extension_exists())
		return false;
	foreach(lc, catalog_models(t->source_id))
	{
		const RecsysModel *model = lfirst(lc);

		if (model->id == t->model_id)
			return t->kind != TRAINING_TRAIN || model->version == t->params_version;
	}
	return false;
}

/*
 * The snapshot is taken after the entries were: it sees whatever the one saw
 * that led to a training.
 */
void
trainings_reconcile(void)
{
	TrainingShared *copies = palloc(sizeof(TrainingShared) * TRAININGS_MAX);

	LWLockAcquire(trainings_control->lock, LW_SHARED);
	memcpy(copies, trainings_control->entries, sizeof(TrainingShared) * TRAININGS_MAX);
	LWLockRelease(trainings_control->lock);

	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < TRAININGS_MAX; i++)
	{
		TrainingRef ref = {&trainings_control->entries[i], copies[i].id};

		if (copies[i].dboid == MyDatabaseId && under_way(&copies[i]) && !is_declared(&copies[i]))
			training_cancel(&ref, CANCEL_MODEL);
	}
	PopActiveSnapshot();
	pfree(copies);
}

/* Sends SIGTERM; false if there is no process.  The caller holds the lock. */
static bool
terminate(TrainingShared *t)
{
	bool		any = under_way(t);

	if (t->leader != 0)
		kill(t->leader, SIGTERM);
	for (int i = 0; i < TRAINING_MAX_WORKERS; i++)
	{
		if (t->helpers[i] == 0)
			continue;
		kill(t->helpers[i], SIGTERM);
		any = true;
	}
	return any;
}

void
trainings_stop(Oid dboid, int timeout_ms)
{
	TimestampTz start = GetCurrentTimestamp();

	for (int i = 0; i < TRAININGS_MAX; i++)
	{
		TrainingShared *t = &trainings_control->entries[i];

		for (;;)
		{
			bool		busy;

			LWLockAcquire(trainings_control->lock, LW_SHARED);
			busy = t->in_use && t->dboid == dboid && terminate(t);
			LWLockRelease(trainings_control->lock);
			if (!busy || TimestampDifferenceExceeds(start, GetCurrentTimestamp(), timeout_ms))
				break;
			ConditionVariableTimedSleep(&t->changed, 100, PG_WAIT_EXTENSION);
		}
		ConditionVariableCancelSleep();
	}
}

void
trainings_forget(Oid dboid)
{
	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TRAININGS_MAX; i++)
	{
		TrainingShared *t = &trainings_control->entries[i];

		if (t->in_use && t->dboid == dboid && !under_way(t))
			t->in_use = false;
	}
	LWLockRelease(trainings_control->lock);
}
