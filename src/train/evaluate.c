/*
 * evaluate.c
 *	  An evaluation in its worker, see metrics/evaluate.c.
 *
 * The tables are read in one short transaction.  The rest, which can take long,
 * works on memory alone and holds no snapshot and no lock, so nothing waits for
 * it: neither vacuum nor a drop of the source.
 *
 * Memory: everything is in one context, each fold in a child of it.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/dsm.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "train/evaluate.h"

/* What the whole evaluation knows. */
typedef struct Run
{
	Evaluation *e;
	Trainer		trainer;
	const ModelAlgorithm *algorithm;
	const FitAlgorithm *fit;
	Interactions all;
	Sums		sums;
} Run;

static TrainingShared *training;	/* the one that this process does */

static void
report(const char *phase, int64 done, int64 total)
{
	training_check(training);
	training_progress(training, phase, done, total);
}

/* ---------------------------------------------------------------------- reading */

/* NULL: the model or its source is gone. */
static RecsysModel *
find_model(const RecsysSource *source, int32 model_id)
{
	ListCell   *lc;

	foreach(lc, catalog_models(source->id))
		if (((RecsysModel *) lfirst(lc))->id == model_id)
			return lfirst(lc);
	return NULL;
}

static void
load_declaration(Trainer *t)
{
	trainer_begin(t);
	t->source = catalog_source_by_id(t->training->source_id, false);
	t->model = find_model(t->source, t->training->model_id);
	trainer_commit(t);
	if (t->model != NULL)
		return;
	training_outcome(TRAINING_OBSOLETE);
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("model \"%s\" was dropped", NameStr(t->training->model)));
}

static void
begin_run(Run *run)
{
	Trainer    *t = &run->trainer;

	load_declaration(t);
	run->algorithm = model_algorithm(t->model->algorithm);
	run->fit = fit_algorithm(t->model->algorithm);
	if (run->fit == NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("models of algorithm \"%s\" can not be evaluated", t->model->algorithm),
				errhint("Compare recommend() with the items of a test table by recsys.recall_at_k()."));
	pgstat_report_activity(STATE_RUNNING,
						   psprintf("evaluating model %s of source %s", NameStr(t->model->name),
									NameStr(t->source->name)));
	report("reading", 0, 0);
	trainer_begin(t);
	evaluation_read(t->source, &run->all);
	trainer_commit(t);
}

/* -------------------------------------------------------------------------- folds */

static double
mean_of(const Histories *h)
{
	int64		n = h->offsets[h->nusers];
	double		sum = 0;

	for (int64 i = 0; i < n; i++)
		sum += h->weights[i];
	return n > 0 ? sum / (double) n : 0;
}

static void
check_parts(const Run *run, const Histories *train, const HeldOut *held_out)
{
	const char *source = NameStr(run->trainer.source->name);

	if (run->all.nusers == 0)
		ereport(ERROR,
				errcode(ERRCODE_NO_DATA_FOUND),
				errmsg("source \"%s\" has no interactions", source),
				errhint("Wait until its events are read: SELECT recsys.wait_for(%s);",
						quote_literal_cstr(source)));
	if (held_out->nusers == 0)
		ereport(ERROR,
				errcode(ERRCODE_NO_DATA_FOUND),
				errmsg("there is nothing to evaluate: no interaction of source \"%s\" is held out",
					   source),
				run->e->split == SPLIT_TABLE ?
				errhint("Give test rows that are not in the users' histories already.") :
				run->e->split == SPLIT_LAST ?
				errhint("No user has two items; use split => 'random'.") :
				run->e->folds > 0 ?
				errhint("Use fewer folds.") :
				errhint("Use a larger share."));
	if (train->offsets[train->nusers] == 0)
		ereport(ERROR,
				errcode(ERRCODE_NO_DATA_FOUND),
				errmsg("there is nothing to train on: all interactions of source \"%s\" are held out",
					   source),
				errhint("Use a smaller share."));
}

static void
evaluate_fold(Run *run, int fold)
{
	const Evaluation *e = run->e;
	FitInput	input = {.explicit_feedback = run->trainer.source->explicit_feedback,
		.params = (const Jsonb *) ((const char *) e + e->params),
		.max_item = run->all.max_item,.progress = report,.trainer = &run->trainer
	};
	HeldOut		held_out = {0};
	void	   *state = NULL;

	report("splitting", 0, 0);
	evaluation_split(e, evaluation_test(e), &run->all, fold, &input.train, &held_out);
	check_parts(run, &input.train, &held_out);
	input.mean = mean_of(&input.train);
	if (run->fit->fit)
		state = run->fit->fit(&input);
	evaluation_rank(e, run->fit, run->algorithm->ranks_all, state, &input, &held_out, &run->sums);
}

static void
evaluate_folds(Run *run)
{
	MemoryContext parent = CurrentMemoryContext;
	int			first = Max(run->e->fold, 1);
	int			last = run->e->fold > 0 ? run->e->fold : Max(run->e->folds, 1);

	for (int fold = first; fold <= last; fold++)
	{
		MemoryContext context = AllocSetContextCreate(parent, "recsys fold", ALLOCSET_DEFAULT_SIZES);

		MemoryContextSwitchTo(context);
		evaluate_fold(run, fold);
		MemoryContextSwitchTo(parent);
		MemoryContextDelete(context);
	}
}

/* ------------------------------------------------------------------------- answer */

static void
answer(const Run *run)
{
	const Sums *s = &run->sums;
	double	   *v = run->e->values;
	double		users = s->users;

	for (int i = 0; i < NMETRICS; i++)
		v[i] = NAN;
	v[METRIC_USERS] = users;
	v[METRIC_INTERACTIONS] = s->interactions;
	if (s->users > 0)
	{
		v[METRIC_PRECISION] = s->precision / users;
		v[METRIC_RECALL] = s->recall / users;
		v[METRIC_NDCG] = s->ndcg / users;
		v[METRIC_MAP] = s->average_precision / users;
		v[METRIC_MRR] = s->reciprocal_rank / users;
		v[METRIC_HIT_RATE] = s->hit_rate / users;
		v[METRIC_COVERAGE] = s->coverage / s->folds;
	}
	if (s->listed > 0)
		v[METRIC_NOVELTY] = s->information / s->listed;
	if (s->ratings > 0)
	{
		v[METRIC_RMSE] = sqrt(s->squares / s->ratings);
		v[METRIC_MAE] = s->absolutes / s->ratings;
	}
	run->e->answered = true;
}

/* The caller's segment, mapped until the end of the process. */
static Evaluation *
attach_request(const TrainingShared *t)
{
	EvaluationArea area;
	dsm_segment *segment;

	memcpy(&area, t->area, sizeof(area));
	segment = dsm_attach(area.handle);
	if (segment == NULL)
		ereport(ERROR,
				errcode(ERRCODE_QUERY_CANCELED),
				errmsg("nobody waits for the evaluation any more"));
	return dsm_segment_address(segment);
}

void
training_evaluate(TrainingShared *t)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "recsys evaluation",
												  ALLOCSET_DEFAULT_SIZES);
	Run		   *run = MemoryContextAllocZero(context, sizeof(Run));

	MemoryContextSwitchTo(context);
	training = t;
	run->trainer.training = t;
	run->trainer.context = context;
	run->trainer.started_at = GetCurrentTimestamp();
	run->e = attach_request(t);
	begin_run(run);
	evaluate_folds(run);
	answer(run);
	training_outcome(TRAINING_DONE);
}
