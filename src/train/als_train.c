/*
 * als_train.c
 *	  A training of als, as its leader does it: measure, read, compute with
 *	  helpers, write.
 *
 * The memory is one segment of dynamic shared memory.  Where the system has no
 * room for that, the leader takes memory of its own and does the work alone.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "recsys.h"
#include "storage/dsm.h"
#include "utils/memutils.h"

#include "models/als.h"
#include "train/als_job.h"

/* --------------------------------------------------------------------- reading */

static Size
memory_needed(const AlsTraining *a, const MatrixSize *size)
{
	Size		workers = mul_size(recsys_max_training_workers, als_worker_size(&a->params));
	Size		job = als_job_size(&a->params, a->iterations, size->users, size->items,
								   size->interactions);

	return add_size(matrix_memory(size), add_size(job, workers));
}

void
als_check_memory(const AlsTraining *a, const MatrixSize *size)
{
	Size		needed = memory_needed(a, size) / (1024 * 1024) + 1;
	Size		limit = (Size) recsys_training_memory_kb / 1024;

	if (needed > limit)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("training of model \"%s\" needs %zu MB, but recsys.training_memory is %zu MB",
						NameStr(a->t->model->name), needed, limit),
				 errdetail("It has %lld interactions of %d users with %d items, and %d factors.",
						   (long long) size->interactions, size->users, size->items,
						   a->params.factors),
				 errhint("Use fewer factors, or ALTER SYSTEM SET recsys.training_memory = '%zuMB'; SELECT pg_reload_conf();",
						 needed)));
}

static void
read_source(AlsTraining *a)
{
	MatrixSize	size;

	trainer_begin(a->t);
	training_progress(a->t->training, "reading", 0, 0);
	matrix_measure(a->t, &size);
	als_check_memory(a, &size);
	matrix_read(a->t, &size, &a->matrix);
	trainer_commit(a->t);
	if (a->params.explicit_feedback)
		a->params.mean = a->matrix.mean;
}

static void
free_matrix(Matrix *matrix)
{
	pfree(matrix->offsets);
	pfree(matrix->columns);
	pfree(matrix->weights);
}

/* ------------------------------------------------------------------- computing */

/* NULL where the system has no room for it. */
static dsm_segment *
shared_memory(Size size)
{
	MemoryContext context = CurrentMemoryContext;
	dsm_segment *volatile segment = NULL;

	PG_TRY();
	{
		segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_OUT_OF_MEMORY && geterrcode() != ERRCODE_DISK_FULL)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return segment;
}

static void
make_job(AlsTraining *a)
{
	Size		size = add_size(als_job_size(&a->params, a->iterations, a->matrix.nusers,
											 a->matrix.nitems, a->matrix.n), 64);
	void	   *block;

	if (recsys_max_training_workers > 1)
	{
		a->segment = shared_memory(size);
		if (a->segment == NULL)
			ereport(WARNING,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("no room for %zu MB of dynamic shared memory", size / (1024 * 1024)),
					 errdetail("Model \"%s\" is trained by one process.", NameStr(a->t->model->name)),
					 errhint("Enlarge /dev/shm, or set dynamic_shared_memory_type to mmap.")));
	}
	block = a->segment != NULL ? dsm_segment_address(a->segment) : trainer_alloc(size, 1);
	a->job = als_job_create((void *) TYPEALIGN(64, block), &a->params, a->iterations, a->seed,
							&a->matrix);
	free_matrix(&a->matrix);
}

void
als_compute(AlsTraining *a)
{
	int			first;

	make_job(a);
	a->worker = palloc(sizeof(AlsWorker));
	als_worker_init(a->worker, a->job, a->t, true);
	first = als_worker_join(a->worker, a->segment);
	if (a->segment != NULL)
		als_start_helpers(a->t, a->job, a->segment);
	als_run_steps(a->worker, first);
}

/* ---------------------------------------------------------------------- result */

static bool
is_finite(const float *values, Size n)
{
	for (Size i = 0; i < n; i++)
		if (!isfinite(values[i]))
			return false;
	return true;
}

static void
check_result(const AlsTraining *a, const TrainedVectors *v)
{
	Size		cells = (Size) v->dim * v->dim;

	if (isfinite(v->loss) && is_finite(v->vectors, (Size) v->items * v->dim) &&
		(v->item_gram == NULL || is_finite(v->item_gram, cells)) &&
		(v->user_gram == NULL || is_finite(v->user_gram, cells)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("training of model \"%s\" has led to numbers that are not finite",
					NameStr(a->t->model->name)),
			 errhint("Raise its regularization, or lower its alpha.")));
}

static void
write_result(AlsTraining *a)
{
	AlsWorker  *w = a->worker;
	bool		implicit = !a->params.explicit_feedback;
	TrainedVectors v = {
		.users = a->job->nusers,
		.items = a->job->nitems,
		.interactions = a->job->n,
		.dim = a->params.dim,
		.loss = w->loss,
		.mean = a->params.mean,
		.item_ids = a->matrix.item_ids,
		.vectors = w->items,
		.item_gram = implicit ? w->item_gram : NULL,
		.user_gram = implicit ? w->user_gram : NULL
	};

	check_result(a, &v);
	version_replace(a->t, &v);
}

void
als_train(Trainer *t)
{
	AlsTraining *a = palloc0(sizeof(AlsTraining));

	a->t = t;
	als_params_of(t->model->params, t->source->explicit_feedback, 0, &a->params);
	a->iterations = (int) params_get(t->model->params, "iterations");
	a->seed = (uint64) params_get(t->model->params, "seed");
	read_source(a);
	als_compute(a);
	write_result(a);
	if (a->segment != NULL)
		dsm_detach(a->segment);
}
