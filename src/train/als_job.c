/*
 * als_job.c
 *	  The memory of a training of als, and the processes that share it, see
 *	  als_job.h.
 */
#include "postgres.h"

#include <math.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "recsys.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "train/als_job.h"

extern PGDLLEXPORT void recsys_training_helper_main(Datum arg);

/* Units that a process should have to itself, or it is not worth its start. */
#define UNITS_PER_HELPER 2

/* --------------------------------------------------------------------- memory */

static int32
units(int32 rows)
{
	return (rows + ALS_UNIT - 1) / ALS_UNIT;
}

/* The place of n elements behind what there is so far. */
static Size
place(AlsJob *job, Size n, Size width)
{
	Size		at = TYPEALIGN(64, job->size);

	job->size = add_size(at, mul_size(n, width));
	return at;
}

static void
lay_out(AlsJob *job)
{
	Size		dim = job->params.dim;

	job->size = offsetof(AlsJob, next) +
		sizeof(pg_atomic_uint32) * als_step_count(job->iterations);
	job->user_offsets = place(job, (Size) job->nusers + 1, sizeof(int64));
	job->user_columns = place(job, job->n, sizeof(int32));
	job->user_weights = place(job, job->n, sizeof(float));
	job->item_offsets = place(job, (Size) job->nitems + 1, sizeof(int64));
	job->item_columns = place(job, job->n, sizeof(int32));
	job->item_weights = place(job, job->n, sizeof(float));
	job->users = place(job, mul_size(job->nusers, dim), sizeof(float));
	job->items = place(job, mul_size(job->nitems, dim), sizeof(float));
	job->chunks = place(job, mul_size(ALS_GRAM_CHUNKS * dim, dim), sizeof(float));
	job->losses = place(job, (Size) units(job->nusers) + units(job->nitems), sizeof(AlsLoss));
}

static void
fill_in(AlsJob *job, const AlsParams *params, int iterations, int32 nusers, int32 nitems, int64 n)
{
	job->params = *params;
	job->iterations = iterations;
	job->nusers = nusers;
	job->nitems = nitems;
	job->n = n;
	lay_out(job);
}

Size
als_job_size(const AlsParams *params, int iterations, int32 nusers, int32 nitems, int64 n)
{
	AlsJob		job;

	fill_in(&job, params, iterations, nusers, nitems, n);
	return job.size;
}

/*
 * By items from by users, which keeps users in order; then by users again from
 * that, which puts the items of each user in order.  So the training does not
 * depend on the order in which a history is stored.
 */
static void
transpose(int32 nrows, const int64 *offsets, const int32 *columns, const float *weights,
		  int64 *to_offsets, int32 *to_columns, float *to_weights)
{
	for (int32 row = 0; row < nrows; row++)
		for (int64 e = offsets[row]; e < offsets[row + 1]; e++)
		{
			int64		at = to_offsets[columns[e]]++;

			to_columns[at] = row;
			to_weights[at] = weights[e];
		}
}

/* After transpose() each offset is where its row ends. */
static void
reset_offsets(int64 *offsets, int32 nrows)
{
	memmove(offsets + 1, offsets, sizeof(int64) * nrows);
	offsets[0] = 0;
}

static void
fill_matrices(AlsJob *job, const Matrix *m)
{
	int64	   *user_offsets = als_job_part(job, job->user_offsets);
	int64	   *item_offsets = als_job_part(job, job->item_offsets);

	item_offsets[0] = 0;
	for (int32 row = 0; row < m->nitems; row++)
		item_offsets[row + 1] = item_offsets[row] + m->item_counts[row];
	transpose(m->nusers, m->offsets, m->columns, m->weights, item_offsets,
			  als_job_part(job, job->item_columns), als_job_part(job, job->item_weights));
	reset_offsets(item_offsets, m->nitems);

	memcpy(user_offsets, m->offsets, sizeof(int64) * ((Size) m->nusers + 1));
	transpose(m->nitems, item_offsets, als_job_part(job, job->item_columns),
			  als_job_part(job, job->item_weights), user_offsets,
			  als_job_part(job, job->user_columns), als_job_part(job, job->user_weights));
	reset_offsets(user_offsets, m->nusers);
}

AlsJob *
als_job_create(void *block, const AlsParams *params, int iterations, uint64 seed,
			   const Matrix *matrix)
{
	AlsJob	   *job = block;

	memset(job, 0, offsetof(AlsJob, next));
	fill_in(job, params, iterations, matrix->nusers, matrix->nitems, matrix->n);
	job->seed = seed;
	SpinLockInit(&job->meeting.mutex);
	ConditionVariableInit(&job->meeting.changed);
	for (int step = 0; step < als_step_count(iterations); step++)
		pg_atomic_init_u32(&job->next[step], 0);
	fill_matrices(job, matrix);
	return job;
}

/* ------------------------------------------------------------------ processes */

Size
als_worker_size(const AlsParams *params)
{
	AlsMatrix	none = {0};

	return add_size(als_batch_work_size(params, &none),
					mul_size(2 * sizeof(float), mul_size(params->dim, params->dim)));
}

void
als_worker_init(AlsWorker *w, AlsJob *job, Trainer *trainer, bool leader)
{
	Size		cells = (Size) job->params.dim * job->params.dim;

	memset(w, 0, sizeof(AlsWorker));
	w->job = job;
	w->trainer = trainer;
	w->leader = leader;
	w->loss = NAN;
	w->by_user = (AlsMatrix) {
		job->nusers, als_job_part(job, job->user_offsets),
		als_job_part(job, job->user_columns), als_job_part(job, job->user_weights)
	};
	w->by_item = (AlsMatrix) {
		job->nitems, als_job_part(job, job->item_offsets),
		als_job_part(job, job->item_columns), als_job_part(job, job->item_weights)
	};
	w->users = als_job_part(job, job->users);
	w->items = als_job_part(job, job->items);
	w->chunks = als_job_part(job, job->chunks);
	w->losses = als_job_part(job, job->losses);
	w->user_gram = trainer_alloc(cells, sizeof(float));
	w->item_gram = trainer_alloc(cells, sizeof(float));
	w->work = trainer_alloc(Max(als_batch_work_size(&job->params, &w->by_user),
								als_batch_work_size(&job->params, &w->by_item)), 1);
}

static void
leave(dsm_segment *segment, Datum arg)
{
	AlsWorker  *w = (AlsWorker *) DatumGetPointer(arg);
	AlsMeeting *m = &w->job->meeting;

	(void) segment;
	/* an error may have come while we waited in the memory that goes now */
	ConditionVariableCancelSleep();
	SpinLockAcquire(&m->mutex);
	m->members--;
	if (!w->done)
		m->failed = true;
	SpinLockRelease(&m->mutex);
	ConditionVariableBroadcast(&m->changed);
}

/* Whoever waits at the end of the current step waits for the new one as well. */
int
als_worker_join(AlsWorker *w, dsm_segment *segment)
{
	AlsMeeting *m = &w->job->meeting;
	int			step;

	SpinLockAcquire(&m->mutex);
	m->members++;
	step = m->step;
	SpinLockRelease(&m->mutex);
	if (segment != NULL)
		on_dsm_detach(segment, leave, PointerGetDatum(w));
	return step;
}

void
als_worker_meet(AlsWorker *w, int step)
{
	AlsMeeting *m = &w->job->meeting;
	bool		over;

	SpinLockAcquire(&m->mutex);
	if (++m->arrived == m->members)
	{
		m->arrived = 0;
		m->step++;
	}
	over = m->failed || m->step > step;
	SpinLockRelease(&m->mutex);
	if (over)
	{
		ConditionVariableBroadcast(&m->changed);
		return;
	}
	ConditionVariablePrepareToSleep(&m->changed);
	for (;;)
	{
		SpinLockAcquire(&m->mutex);
		over = m->failed || m->step > step;
		SpinLockRelease(&m->mutex);
		if (over)
			break;
		ConditionVariableSleep(&m->changed, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* Read without the lock, often: soon is enough. */
bool
als_job_failed(const AlsJob *job)
{
	return *(const volatile bool *) &job->meeting.failed;
}

/* Where no background worker is free, fewer do the work. */
void
als_start_helpers(Trainer *t, AlsJob *job, dsm_segment *segment)
{
	int			wanted = Min(recsys_max_training_workers - 1,
							 (units(job->nusers) + units(job->nitems)) / UNITS_PER_HELPER);
	TrainingExtra extra = {t->training->id, dsm_segment_handle(segment)};

	for (int i = 0; i < wanted; i++)
	{
		BackgroundWorker worker;

		memset(&worker, 0, sizeof(worker));
		worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
		worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
		worker.bgw_restart_time = BGW_NEVER_RESTART;
		strlcpy(worker.bgw_library_name, TRAINING_LIBRARY, sizeof(worker.bgw_library_name));
		strlcpy(worker.bgw_function_name, TRAINING_HELPER, sizeof(worker.bgw_function_name));
		snprintf(worker.bgw_name, BGW_MAXLEN, "recsys training %s, helper %d",
				 NameStr(t->model->name), i + 1);
		strlcpy(worker.bgw_type, "recsys training helper", BGW_MAXLEN);
		worker.bgw_main_arg = MyBgworkerEntry->bgw_main_arg;
		memcpy(worker.bgw_extra, &extra, sizeof(extra));
		if (!RegisterDynamicBackgroundWorker(&worker, NULL))
			break;
	}
}

/* The training is over for a helper that comes late. */
static void
help(TrainingShared *training, const TrainingExtra *extra)
{
	dsm_segment *segment = dsm_attach(extra->handle);
	Trainer    *t = palloc0(sizeof(Trainer));
	AlsWorker  *w = palloc(sizeof(AlsWorker));	/* until the exit of the process */

	if (segment == NULL)
		return;
	t->training = training;
	t->shared = shared_find(training->dboid, training->source_id);
	als_worker_init(w, dsm_segment_address(segment), t, false);
	training_workers(training, 1);
	als_run_steps(w, als_worker_join(w, segment));
	training_workers(training, -1);
	dsm_detach(segment);
}

/* Connected to no database: it stands in no way of DROP DATABASE. */
void
recsys_training_helper_main(Datum arg)
{
	MemoryContext context = CurrentMemoryContext;
	TrainingShared *training = &trainings_control->entries[DatumGetInt32(arg)];
	TrainingExtra extra;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	memcpy(&extra, MyBgworkerEntry->bgw_extra, sizeof(extra));
	training_attach_helper(training, extra.id);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	PG_TRY();
	{
		help(training, &extra);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		training_error(training, CopyErrorData());
		PG_RE_THROW();
	}
	PG_END_TRY();
	proc_exit(0);
}
