/*
 * trainer.c
 *	  The leader of a training, and the entry of recsys_train.so.
 *
 * This library stands apart because it links BLAS.  Settings, shared memory and
 * everything else are those of recsys.so, which is preloaded.
 *
 * A leader reads under one snapshot in a first transaction, computes outside of
 * any, and writes the result in a second one.  While it computes it holds no
 * snapshot and no lock: neither vacuum nor a drop of the model waits for it.
 *
 * An error of a training ends its process; before that its text comes into the
 * training's entry, where recsys.train() and recsys.trainings find it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/origin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "models/model.h"
#include "train/trainer.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void recsys_training_main(Datum arg);

/* The widest registers want this alignment. */
#define ALIGNMENT 64

void *
trainer_alloc(Size n, Size width)
{
	Size		size = add_size(mul_size(n, width), ALIGNMENT);

	return (void *) TYPEALIGN(ALIGNMENT, MemoryContextAllocHuge(CurrentMemoryContext, size));
}

void
trainer_inject(Trainer *t, InjectionStep step)
{
	if (t->shared == NULL)
		return;
	shared_inject_wait(t->shared, step);
	shared_inject(t->shared, step);
	training_check(t->training);
}

/* -------------------------------------------------------------- transactions */

static pg_noreturn void
is_gone(const TrainingShared *training)
{
	training_outcome(TRAINING_OBSOLETE);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" was dropped", NameStr(training->model))));
}

/* What we write needs no decoding by the stream worker, see flush.c. */
void
trainer_begin(Trainer *t)
{
	MemoryContext old = CurrentMemoryContext;

	StartTransactionCommand();
	MemoryContextSwitchTo(old);
	replorigin_session_origin = DoNotReplicateId;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!catalog_lock_source(t->training->source_id, AccessShareLock))
		is_gone(t->training);
	GetUserIdAndSecContext(&t->save_user, &t->save_context);
	if (t->source != NULL)
		SetUserIdAndSecContext(t->source->owner,
							   t->save_context | SECURITY_RESTRICTED_OPERATION |
							   SECURITY_LOCAL_USERID_CHANGE);
}

void
trainer_commit(Trainer *t)
{
	MemoryContext old = CurrentMemoryContext;

	SetUserIdAndSecContext(t->save_user, t->save_context);
	PopActiveSnapshot();
	CommitTransactionCommand();
	replorigin_session_origin = InvalidRepOriginId;
	MemoryContextSwitchTo(old);
}

/* -------------------------------------------------------------------- leader */

/* The model as it was when the training was asked for; later ones come with a
 * training of their own. */
static void
load_declaration(Trainer *t)
{
	ListCell   *lc;

	trainer_begin(t);
	t->source = catalog_source_by_id(t->training->source_id, false);
	foreach(lc, catalog_models(t->source->id))
	{
		RecsysModel *model = lfirst(lc);

		if (model->id == t->training->model_id && model->version == t->training->params_version)
			t->model = model;
	}
	trainer_commit(t);
	if (t->model == NULL)
		is_gone(t->training);
}

static void
train(TrainingShared *training)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "recsys training",
												  ALLOCSET_DEFAULT_SIZES);
	Trainer    *t = MemoryContextAllocZero(context, sizeof(Trainer));

	MemoryContextSwitchTo(context);
	t->training = training;
	t->context = context;
	t->started_at = GetCurrentTimestamp();
	t->shared = shared_find(training->dboid, training->source_id);
	load_declaration(t);
	pgstat_report_activity(STATE_RUNNING,
						   psprintf("training model %s of source %s", NameStr(t->model->name),
									NameStr(t->source->name)));
	if (import_is_wanted(training))
		import_train(t);
	else if (strcmp(t->model->algorithm, "als") == 0)
		als_train(t);
	else if (strcmp(t->model->algorithm, "gru4rec") == 0)
		gru4rec_train(t);
	else
		elog(ERROR, "algorithm \"%s\" has no training", t->model->algorithm);
}

static void
run(TrainingShared *training)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		BackgroundWorkerInitializeConnectionByOid(training->dboid, InvalidOid, 0);
		training_check(training);
		if (training->kind == TRAINING_EVALUATE)
			training_evaluate(training);
		else
			train(training);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		training_error(training, CopyErrorData());
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
recsys_training_main(Datum arg)
{
	TrainingExtra extra;
	TrainingShared *training;

	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	memcpy(&extra, MyBgworkerEntry->bgw_extra, sizeof(extra));
	training = training_attach(DatumGetInt32(arg), extra.id);
	run(training);
	proc_exit(0);
}
