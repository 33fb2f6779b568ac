/*
 * als_job.h
 *	  A training of als as its processes share it: one block of memory, whose
 *	  parts are found by offsets, since each process maps it elsewhere.
 *
 * The work is a fixed series of steps (als_steps.c).  A step is divided into
 * units, which the processes take one by one from a counter; at its end all meet
 * again (AlsMeeting).  A unit's result depends on nothing but the step and its number,
 * and nothing is added up in the order of arrival, so the result of the training is
 * the same for any number of processes.  A process may join at any step.
 *
 * One that leaves before the end, whatever the reason, says so (failed), and
 * all others end at their next unit, batch or meeting.
 */
#ifndef RECSYS_ALS_JOB_H
#define RECSYS_ALS_JOB_H

#include "postgres.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/spin.h"

#include "numeric/als.h"
#include "train/matrix.h"
#include "train/trainer.h"

/* Rows of a unit: a multiple of ALS_BATCH. */
#define ALS_UNIT (2 * ALS_BATCH)

/*
 * Where the processes meet after each step.  Unlike the server's Barrier it bears
 * that somebody who waits there gives up.
 */
typedef struct AlsMeeting
{
	slock_t		mutex;
	int			step;			/* that is being done */
	int			members;
	int			arrived;		/* of these, at its end */
	bool		failed;			/* somebody has left before the end */
	ConditionVariable changed;
} AlsMeeting;

typedef struct AlsJob
{
	AlsParams	params;
	int			iterations;
	uint64		seed;
	int32		nusers;
	int32		nitems;
	int64		n;
	Size		size;
	/* offsets */
	Size		user_offsets,
				user_columns,
				user_weights;
	Size		item_offsets,
				item_columns,
				item_weights;
	Size		users;			/* vectors: nusers x dim */
	Size		items;			/* nitems x dim */
	Size		chunks;			/* Gram matrices: ALS_GRAM_CHUNKS x dim x dim */
	Size		losses;			/* AlsLoss of each unit of users, then of items */

	AlsMeeting	meeting;
	pg_atomic_uint32 next[FLEXIBLE_ARRAY_MEMBER];	/* unit, by step */
} AlsJob;

/* A process at work. */
typedef struct AlsWorker
{
	AlsJob	   *job;
	Trainer    *trainer;		/* of a helper: training and shared alone */
	bool		leader;
	bool		done;			/* leaving is no failure any more */
	AlsMatrix	by_user;
	AlsMatrix	by_item;
	float	   *users;
	float	   *items;
	float	   *chunks;
	AlsLoss    *losses;
	/* its own */
	float	   *user_gram;
	float	   *item_gram;
	void	   *work;
	double		loss;			/* leader: newest, per interaction; NAN: none yet */
} AlsWorker;

/* als_job.c */
extern Size als_job_size(const AlsParams *params, int iterations, int32 nusers, int32 nitems, int64 n);
/* In a block of that size, 64-byte aligned; copies the matrix and transposes it. */
extern AlsJob *als_job_create(void *block, const AlsParams *params, int iterations, uint64 seed,
							  const Matrix *matrix);
extern Size als_worker_size(const AlsParams *params);	/* memory of one process */
extern void als_worker_init(AlsWorker *w, AlsJob *job, Trainer *trainer, bool leader);
/* The process counts as one that takes part until it has done so to the end. */
extern int	als_worker_join(AlsWorker *w, dsm_segment *segment);
/* Until all have done the step, or somebody has failed. */
extern void als_worker_meet(AlsWorker *w, int step);
extern bool als_job_failed(const AlsJob *job);
extern void als_start_helpers(Trainer *t, AlsJob *job, dsm_segment *segment);

/* als_steps.c */
extern int	als_step_count(int iterations);
extern void als_run_steps(AlsWorker *w, int first);

/* als_train.c */
typedef struct AlsTraining
{
	Trainer    *t;
	AlsParams	params;
	int			iterations;
	uint64		seed;
	Matrix		matrix;
	dsm_segment *segment;		/* NULL: not shared */
	AlsJob	   *job;
	AlsWorker  *worker;
} AlsTraining;

/* Error if it would take more than recsys.training_memory. */
extern void als_check_memory(const AlsTraining *a, const MatrixSize *size);

/* Computes with helpers and frees the matrix; the result is in a->worker, whose
 * memory is the segment's where there is one. */
extern void als_compute(AlsTraining *a);

static inline void *
als_job_part(AlsJob *job, Size offset)
{
	return (char *) job + offset;
}

#endif							/* RECSYS_ALS_JOB_H */
