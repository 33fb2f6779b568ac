/*
 * trainings.c
 *	  The array of trainings, see trainings.h, and what their processes do with
 *	  it.
 *
 * A process enters its pid when it starts and takes it out at its exit, after
 * its transaction and locks are gone.  The state says that a training has ended
 * no sooner than that, so the next one never meets the last one's leader.
 */
#include "postgres.h"

#include <signal.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "recsys.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "stream/launcher.h"
#include "stream/trainings.h"
#include "utils/timestamp.h"

#define TRAININGS_NAME "recsys trainings"

/* Failures in a row double the time until the next try, up to this power. */
#define MAX_DOUBLINGS 9

TrainingsControl *trainings_control = NULL;

static TrainingState outcome = TRAINING_FAILED; /* of the training we lead */

void
trainings_request(void)
{
	RequestAddinShmemSpace(sizeof(TrainingsControl));
	RequestNamedLWLockTranche(TRAININGS_NAME, 1);
}

void
trainings_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	trainings_control = ShmemInitStruct(TRAININGS_NAME, sizeof(TrainingsControl), &found);
	if (!found)
	{
		memset(trainings_control, 0, sizeof(TrainingsControl));
		trainings_control->lock = &GetNamedLWLockTranche(TRAININGS_NAME)->lock;
		for (int i = 0; i < TRAININGS_MAX; i++)
		{
			TrainingShared *t = &trainings_control->entries[i];

			SpinLockInit(&t->mutex);
			ConditionVariableInit(&t->changed);
			pg_atomic_init_u32(&t->cancel, CANCEL_NOT);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/* ----------------------------------------------------------------- processes */

void
trainings_end(TrainingShared *t, TrainingState state)
{
	TimestampTz now = GetCurrentTimestamp();

	if (state == TRAINING_FAILED || state == TRAINING_CANCELLED)
	{
		int			doublings = Min(t->failures, MAX_DOUBLINGS);

		t->failures++;
		t->retry_at = TimestampTzPlusMilliseconds(now, (int64) recsys_restart_delay << doublings);
	}
	else
	{
		t->failures = 0;
		t->retry_at = 0;
	}
	SpinLockAcquire(&t->mutex);
	t->state = state;
	t->ended_at = now;
	SpinLockRelease(&t->mutex);
}

static void
end_of_leader(int code, Datum arg)
{
	TrainingShared *t = (TrainingShared *) DatumGetPointer(arg);
	uint32		cancel = pg_atomic_read_u32(&t->cancel);
	SourceShared *source;

	(void) code;
	if (outcome == TRAINING_FAILED && cancel != CANCEL_NOT)
		outcome = cancel == CANCEL_MODEL ? TRAINING_OBSOLETE : TRAINING_CANCELLED;
	if (outcome == TRAINING_FAILED)
		trainings_error(t, ERRCODE_OPERATOR_INTERVENTION, "the training was terminated",
						"The server log has the reason.");

	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	t->leader = 0;
	trainings_end(t, outcome);
	LWLockRelease(trainings_control->lock);

	ConditionVariableBroadcast(&t->changed);
	source = shared_find(t->dboid, t->source_id);
	if (source != NULL)
		shared_wake(source);
}

TrainingShared *
training_attach(int index, uint64 id)
{
	TrainingShared *t = &trainings_control->entries[index];
	bool		blocked;
	bool		mine;

	LWLockAcquire(shared_control->lock, LW_SHARED);
	blocked = shared_blocked(t->dboid);
	LWLockRelease(shared_control->lock);

	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	mine = t->in_use && t->id == id && t->state == TRAINING_STARTING;
	if (mine)
	{
		t->leader = MyProcPid;
		SpinLockAcquire(&t->mutex);
		t->state = TRAINING_RUNNING;
		t->workers = 1;
		t->started_at = t->phase_started = GetCurrentTimestamp();
		SpinLockRelease(&t->mutex);
	}
	LWLockRelease(trainings_control->lock);
	if (!mine)
		proc_exit(0);
	on_shmem_exit(end_of_leader, PointerGetDatum(t));
	if (blocked)
		proc_exit(0);
	return t;
}

static void
end_of_helper(int code, Datum arg)
{
	TrainingShared *t = (TrainingShared *) DatumGetPointer(arg);

	(void) code;
	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TRAINING_MAX_WORKERS; i++)
		if (t->helpers[i] == MyProcPid)
			t->helpers[i] = 0;
	LWLockRelease(trainings_control->lock);
	ConditionVariableBroadcast(&t->changed);
}

void
training_attach_helper(TrainingShared *t, uint64 id)
{
	bool		mine = false;

	LWLockAcquire(trainings_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TRAINING_MAX_WORKERS && !mine; i++)
	{
		if (t->in_use && t->id == id && t->leader != 0 && t->helpers[i] == 0)
		{
			t->helpers[i] = MyProcPid;
			mine = true;
		}
	}
	LWLockRelease(trainings_control->lock);
	if (!mine)
		proc_exit(0);
	on_shmem_exit(end_of_helper, PointerGetDatum(t));
}

/* ------------------------------------------------------------------- reports */

void
training_progress(TrainingShared *t, const char *phase, int64 done, int64 total)
{
	TimestampTz now = GetCurrentTimestamp();
	char		name[sizeof(t->phase)];

	memset(name, 0, sizeof(name));
	if (phase != NULL)
		strlcpy(name, phase, sizeof(name));
	SpinLockAcquire(&t->mutex);
	if (phase != NULL && memcmp(t->phase, name, sizeof(name)) != 0)
	{
		memcpy(t->phase, name, sizeof(name));
		t->phase_started = now;
	}
	t->done = done;
	t->total = total;
	SpinLockRelease(&t->mutex);
}

void
training_iteration(TrainingShared *t, int iteration, int iterations, double loss)
{
	SpinLockAcquire(&t->mutex);
	t->iteration = iteration;
	t->iterations = iterations;
	t->loss = loss;
	SpinLockRelease(&t->mutex);
}

void
training_validated(TrainingShared *t, double recall)
{
	SpinLockAcquire(&t->mutex);
	t->recall = recall;
	SpinLockRelease(&t->mutex);
}

void
training_has_read(TrainingShared *t, XLogRecPtr applied_lsn)
{
	SpinLockAcquire(&t->mutex);
	t->applied_lsn = applied_lsn;
	SpinLockRelease(&t->mutex);
}

void
training_workers(TrainingShared *t, int more)
{
	SpinLockAcquire(&t->mutex);
	t->workers += more;
	SpinLockRelease(&t->mutex);
}

void
training_outcome(TrainingState state)
{
	outcome = state;
}

/* The first error of the training stays: others follow from it. */
static void
keep_error(TrainingShared *t, const TrainingError *error)
{
	SpinLockAcquire(&t->mutex);
	if (t->error.sqlerrcode == 0)
		t->error = *error;
	SpinLockRelease(&t->mutex);
}

/* The text may end anywhere: it is cut between characters. */
static void
copy_text(char *to, const char *from)
{
	int			len = from == NULL ? 0 : strlen(from);

	if (len >= RECSYS_ERROR_LEN)
		len = pg_mbcliplen(from, len, RECSYS_ERROR_LEN - 1);
	memcpy(to, from == NULL ? "" : from, len);
	to[len] = '\0';
}

void
training_error(TrainingShared *t, const ErrorData *edata)
{
	TrainingError error;

	memset(&error, 0, sizeof(error));
	error.sqlerrcode = edata->sqlerrcode;
	copy_text(error.message, edata->message);
	copy_text(error.detail, edata->detail);
	copy_text(error.hint, edata->hint);
	keep_error(t, &error);
}

void
trainings_error(TrainingShared *t, int sqlerrcode, const char *message, const char *hint)
{
	TrainingError error;

	memset(&error, 0, sizeof(error));
	error.sqlerrcode = sqlerrcode;
	copy_text(error.message, message);
	copy_text(error.hint, hint);
	keep_error(t, &error);
}

void
training_check(TrainingShared *t)
{
	uint32		cancel = pg_atomic_read_u32(&t->cancel);

	if (unlikely(cancel != CANCEL_NOT))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("training of model \"%s\" was cancelled", NameStr(t->model)),
				 errdetail("%s", cancel == CANCEL_MODEL ?
						   "The model or its source was changed or dropped." :
						   "Nobody waits for it any more.")));
	CHECK_FOR_INTERRUPTS();
}
