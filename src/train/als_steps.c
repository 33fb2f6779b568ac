/*
 * als_steps.c
 *	  The steps of a training of als, see als_job.h.
 *
 *		start: random items, users at zero
 *		iterations times:
 *			Gram matrix of the items, loss now and then, users from items,
 *			Gram matrix of the users, items from users
 *		closing:
 *			Gram matrix of the items, users from items once more: these are the
 *			vectors that users will have when they are solved from their histories;
 *			their Gram matrix and the loss
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"

#include "train/als_job.h"

typedef enum Step
{
	STEP_START,
	STEP_ITEM_GRAM,
	STEP_LOSS,
	STEP_USERS,
	STEP_USER_GRAM,
	STEP_ITEMS,
	STEP_NONE
} Step;

static const Step repeated[] = {STEP_ITEM_GRAM, STEP_LOSS, STEP_USERS, STEP_USER_GRAM, STEP_ITEMS};
static const Step closing[] = {
	STEP_ITEM_GRAM, STEP_NONE, STEP_USERS, STEP_USER_GRAM, STEP_LOSS
};

/* The loss costs about as much as one step of the conjugate gradient. */
#define LOSS_EVERY 4

int
als_step_count(int iterations)
{
	return 1 + iterations * (int) lengthof(repeated) + (int) lengthof(closing);
}

/* Iterations completed before the step. */
static int
iteration_of(const AlsJob *job, int number)
{
	return Min(Max(number - 1, 0) / (int) lengthof(repeated), job->iterations);
}

static bool
loss_is_due(const AlsJob *job, int iteration)
{
	return iteration == job->iterations ||
		(iteration > 0 && (job->params.solver == ALS_CHOLESKY || iteration % LOSS_EVERY == 1));
}

static Step
step_of(const AlsJob *job, int number)
{
	int			iteration = iteration_of(job, number);
	int			place = number - 1 - iteration * (int) lengthof(repeated);
	Step		step = number == 0 ? STEP_START :
		iteration < job->iterations ? repeated[place] : closing[place];

	if (step == STEP_LOSS && !loss_is_due(job, iteration))
		return STEP_NONE;
	if ((step == STEP_USER_GRAM || step == STEP_ITEM_GRAM) && job->params.explicit_feedback)
		return STEP_NONE;
	return step;
}

static int
units_of(int32 rows)
{
	return (rows + ALS_UNIT - 1) / ALS_UNIT;
}

static int
unit_count(const AlsJob *job, Step step)
{
	switch (step)
	{
		case STEP_START:
		case STEP_LOSS:
			return units_of(job->nusers) + units_of(job->nitems);
		case STEP_USERS:
			return units_of(job->nusers);
		case STEP_ITEMS:
			return units_of(job->nitems);
		case STEP_ITEM_GRAM:
		case STEP_USER_GRAM:
			return ALS_GRAM_CHUNKS;
		case STEP_NONE:
			break;
	}
	return 0;
}

/* ---------------------------------------------------------------------- units */

/*
 * Does not come back where the training is to end.  A helper goes without a word:
 * whoever has failed has said why.
 */
static void
check(AlsWorker *w)
{
	if (w->leader)
		training_check(w->trainer->training);
	else
		CHECK_FOR_INTERRUPTS();
	if (likely(!als_job_failed(w->job)))
		return;
	if (!w->leader)
		proc_exit(0);
	ereport(ERROR,
			(errcode(ERRCODE_OPERATOR_INTERVENTION),
			 errmsg("another process of the training of model \"%s\" has ended early",
					NameStr(w->trainer->training->model)),
			 errhint("The server log has the reason.")));
}

static bool
interrupted(void *arg)
{
	check(arg);
	return false;
}

/* Rows first .. end - 1 of unit, of "rows" in all. */
static int32
unit_end(int32 first, int32 rows)
{
	return rows - first < ALS_UNIT ? rows : first + ALS_UNIT;
}

static void
start_unit(AlsWorker *w, int unit)
{
	AlsJob	   *job = w->job;
	int			of_users = units_of(job->nusers);
	int32		first = (unit < of_users ? unit : unit - of_users) * ALS_UNIT;
	Size		dim = job->params.dim;

	if (unit < of_users)
		memset(w->users + first * dim, 0,
			   sizeof(float) * dim * (unit_end(first, job->nusers) - first));
	else
		als_init_rows(&job->params, job->seed, first, unit_end(first, job->nitems), w->items);
}

static void
loss_unit(AlsWorker *w, int unit)
{
	AlsJob	   *job = w->job;
	int			of_users = units_of(job->nusers);
	int32		first = (unit < of_users ? unit : unit - of_users) * ALS_UNIT;

	if (unit < of_users)
		w->losses[unit] = als_loss_rows(&job->params, &w->by_user, first,
										unit_end(first, job->nusers), w->users, w->items);
	else
		w->losses[unit] = (AlsLoss) {
			als_penalty(&job->params, &w->by_item, first, unit_end(first, job->nitems), w->items), 0
		};
}

static void
do_unit(AlsWorker *w, Step step, int unit)
{
	AlsJob	   *job = w->job;
	const AlsParams *params = &job->params;
	Size		cells = (Size) params->dim * params->dim;
	int32		first = unit * ALS_UNIT;
	bool		implicit = !params->explicit_feedback;

	switch (step)
	{
		case STEP_START:
			start_unit(w, unit);
			break;
		case STEP_ITEM_GRAM:
			als_gram_chunk(params->dim, w->items, job->nitems, unit, w->chunks + unit * cells);
			break;
		case STEP_USER_GRAM:
			als_gram_chunk(params->dim, w->users, job->nusers, unit, w->chunks + unit * cells);
			break;
		case STEP_LOSS:
			loss_unit(w, unit);
			break;
		case STEP_USERS:
			(void) als_solve_rows(params, implicit ? w->item_gram : NULL, w->items, &w->by_user,
								  first, unit_end(first, job->nusers), w->users, w->work,
								  interrupted, w);
			break;
		case STEP_ITEMS:
			(void) als_solve_rows(params, implicit ? w->user_gram : NULL, w->users, &w->by_item,
								  first, unit_end(first, job->nitems), w->items, w->work,
								  interrupted, w);
			break;
		case STEP_NONE:
			break;
	}
}

/* ----------------------------------------------------------------------- steps */

/*
 * Whoever joins after a Gram matrix was made finds its chunks as long as the step
 * lasts that needs it; so each process adds them up then.
 */
static void
prepare(AlsWorker *w, int number)
{
	const AlsJob *job = w->job;
	Step		step = step_of(job, number);

	if (job->params.explicit_feedback)
		return;
	if (step == STEP_USERS)
		als_gram_sum(job->params.dim, w->chunks, w->item_gram);
	if (step == STEP_ITEMS || (step == STEP_LOSS && iteration_of(job, number) == job->iterations))
		als_gram_sum(job->params.dim, w->chunks, w->user_gram);
	else if (step == STEP_LOSS)
		als_gram_sum(job->params.dim, w->chunks, w->item_gram);
}

/* Leader alone: in the closing steps and in those of an iteration alike it has
 * both Gram matrices by now. */
static double
add_up_loss(const AlsWorker *w)
{
	const AlsJob *job = w->job;
	int			n = units_of(job->nusers) + units_of(job->nitems);
	double		sum = als_loss_all(&job->params, w->user_gram, w->item_gram);

	for (int unit = 0; unit < n; unit++)
		sum += w->losses[unit].total;
	return sum / job->n;
}

/* Progress is counted in rows solved. */
static int64
total_rows(const AlsJob *job)
{
	return job->iterations * ((int64) job->nusers + job->nitems) + job->nusers;
}

static void
report(const AlsWorker *w, int number, Step step, int unit)
{
	const AlsJob *job = w->job;
	int64		rows = (int64) job->nusers + job->nitems;
	int64		done = iteration_of(job, number) * rows;

	if (step == STEP_USERS)
		done += Min((int64) unit * ALS_UNIT, job->nusers);
	else if (step == STEP_ITEMS)
		done += job->nusers + Min((int64) unit * ALS_UNIT, job->nitems);
	else
		return;
	training_progress(w->trainer->training, "training", done, total_rows(job));
}

static void
run_step(AlsWorker *w, int number)
{
	AlsJob	   *job = w->job;
	Step		step = step_of(job, number);
	int			n = unit_count(job, step);
	int			unit;

	if (step == STEP_USERS)
		trainer_inject(w->trainer, w->leader ? INJECT_TRAIN : INJECT_TRAIN_HELPER);
	prepare(w, number);
	while ((unit = (int) pg_atomic_fetch_add_u32(&job->next[number], 1)) < n)
	{
		check(w);
		if (w->leader)
			report(w, number, step, unit);
		do_unit(w, step, unit);
	}
}

void
als_run_steps(AlsWorker *w, int first)
{
	AlsJob	   *job = w->job;
	int			n = als_step_count(job->iterations);

	if (w->leader)
		training_progress(w->trainer->training, "training", 0, total_rows(job));
	for (int number = first; number < n; number++)
	{
		run_step(w, number);
		als_worker_meet(w, number);
		check(w);
		if (!w->leader)
			continue;
		if (step_of(job, number) == STEP_LOSS)
			w->loss = add_up_loss(w);
		training_iteration(w->trainer->training, iteration_of(job, number + 1), job->iterations,
						   w->loss);
	}
	w->done = true;
}
