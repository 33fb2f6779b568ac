/*
 * train.c
 *	  recsys.train(), and what recsys.trainings and recsys.progress show of
 *	  trainings.
 *
 * train() has the stream worker flush first, so that everything written before
 * the call is trained on.  A training that is under way by then counts if it
 * has read the source after that flush; otherwise it is waited for, and another
 * one follows.
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "catalog/catalog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "models/model.h"
#include "recsys.h"
#include "stream/shared.h"
#include "stream/trainings.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* ------------------------------------------------------------------- train() */

static void
check_server_can_train(const char *name)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot train model \"%s\" on a standby", name),
				 errhint("Call recsys.train() on the primary.")));
	if (trainings_control == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot train model \"%s\", because recsys is not preloaded", name),
				 errhint("Add recsys to shared_preload_libraries, then restart the server.")));
}

static void
check_model_can_be_trained(const RecsysModel *model)
{
	if (!model_algorithm(model->algorithm)->trained)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("model \"%s\" is not trained: algorithm \"%s\" follows the events at once",
						NameStr(model->name), model->algorithm),
				 errhint("recsys.wait_for() waits until it is up to date.")));
	if (wait_row_is_ours("model", model->id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" was created or changed in this transaction",
						NameStr(model->name)),
				 errhint("COMMIT first; the training sees it then.")));
}

/* As they are declared by now. */
static RecsysModel *
reload(RecsysSource **source, const char *source_name, const char *model_name)
{
	RecsysModel *model;

	PushActiveSnapshot(GetLatestSnapshot());
	*source = catalog_source_by_name(source_name, false);
	model = catalog_model(*source, model_name);
	PopActiveSnapshot();
	return model;
}

/* True once a training that has read the source up to "target" has ended well. */
static bool
train_once(const RecsysSource *source, const RecsysModel *model, XLogRecPtr target)
{
	TrainingRef ref;
	TrainingStart start = training_start(TRAINING_TRAIN, source, model, NULL, 0, &ref);
	TrainingState state;
	XLogRecPtr	applied_lsn;
	TrainingError error;

	if (start == TRAINING_STARTED)
		return training_finish(&ref);
	if (start != TRAINING_UNDER_WAY)
		training_not_started(start);
	return training_wait(&ref, &state, &applied_lsn, &error) &&
		state == TRAINING_DONE && applied_lsn >= target;
}

PG_FUNCTION_INFO_V1(recsys_train);

/* recsys.train(source name, model name) returns void */
Datum
recsys_train(PG_FUNCTION_ARGS)
{
	char	   *source_name;
	char	   *model_name;
	RecsysSource *source;
	RecsysModel *model;
	XLogRecPtr	target;

	catalog_require_argument(fcinfo, 0, "source");
	catalog_require_argument(fcinfo, 1, "model");
	source_name = NameStr(*PG_GETARG_NAME(0));
	model_name = NameStr(*PG_GETARG_NAME(1));
	source = catalog_source_by_name(source_name, false);
	catalog_check_owner(source);
	model = catalog_model(source, model_name);
	check_server_can_train(model_name);
	check_model_can_be_trained(model);

	/* a source that is paused has flushed when its worker ended */
	target = source->paused ? InvalidXLogRecPtr : wait_until_flushed(source);
	while (!train_once(source, model, target))
	{
		CHECK_FOR_INTERRUPTS();
		model = reload(&source, source_name, model_name);
		catalog_check_owner(source);
	}
	PG_RETURN_VOID();
}

/* -------------------------------------------------------------------- status */

/* Columns of recsys.training_status(), in order. */
enum
{
	ROW_SOURCE,
	ROW_MODEL,
	ROW_KIND,
	ROW_STATE,
	ROW_PHASE,
	ROW_DONE,
	ROW_TOTAL,
	STATUS_PHASE_STARTED,
	ROW_ITERATION,
	ROW_ITERATIONS,
	ROW_LOSS,
	ROW_RECALL,
	ROW_WORKERS,
	ROW_PID,
	ROW_STARTED,
	ROW_ENDED,
	ROW_FAILURES,
	ROW_RETRY,
	ROW_ERROR,
	ROW_NCOLUMNS
};

typedef struct StatusRow
{
	Datum		values[ROW_NCOLUMNS];
	bool		nulls[ROW_NCOLUMNS];
} StatusRow;

static const char *
state_name(TrainingState state)
{
	switch (state)
	{
		case TRAINING_STARTING:
			return "starting";
		case TRAINING_RUNNING:
			return "running";
		case TRAINING_DONE:
			return "done";
		case TRAINING_OBSOLETE:
			return "obsolete";
		case TRAINING_CANCELLED:
			return "cancelled";
		case TRAINING_FAILED:
			return "failed";
	}
	return "failed";
}

static void
put(StatusRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
put_time(StatusRow *row, int column, TimestampTz value)
{
	if (value != 0)
		put(row, column, TimestampTzGetDatum(value));
}

static void
put_error(StatusRow *row, const TrainingError *error)
{
	if (error->sqlerrcode != 0)
		put(row, ROW_ERROR,
			CStringGetTextDatum(psprintf("%s%s%s%s%s", error->message,
										 error->detail[0] ? "; " : "", error->detail,
										 error->hint[0] ? "; " : "", error->hint)));
}

static void
fill_row(StatusRow *row, const RecsysSource *source, const TrainingShared *t)
{
	bool		active = t->state == TRAINING_STARTING || t->state == TRAINING_RUNNING;

	memset(row->nulls, true, sizeof(row->nulls));
	put(row, ROW_SOURCE, NameGetDatum(&source->name));
	put(row, ROW_MODEL, NameGetDatum(&t->model));
	put(row, ROW_KIND, CStringGetTextDatum(t->kind == TRAINING_TRAIN ? "train" : "evaluate"));
	put(row, ROW_STATE, CStringGetTextDatum(state_name(t->state)));
	put(row, ROW_FAILURES, Int32GetDatum(t->failures));
	put_time(row, ROW_STARTED, t->started_at != 0 ? t->started_at : t->requested_at);
	put_time(row, ROW_ENDED, t->ended_at);
	put_time(row, ROW_RETRY, t->retry_at);
	if (t->iterations > 0)
	{
		put(row, ROW_ITERATION, Int32GetDatum(t->iteration));
		put(row, ROW_ITERATIONS, Int32GetDatum(t->iterations));
	}
	if (!isnan(t->loss))
		put(row, ROW_LOSS, Float8GetDatum(t->loss));
	if (!isnan(t->recall))
		put(row, ROW_RECALL, Float8GetDatum(t->recall));
	if (active)
	{
		put(row, ROW_PHASE, CStringGetTextDatum(t->phase));
		put(row, ROW_DONE, Int64GetDatum(t->done));
		put(row, ROW_TOTAL, Int64GetDatum(t->total));
		put_time(row, STATUS_PHASE_STARTED, t->phase_started);
		put(row, ROW_WORKERS, Int32GetDatum(t->workers));
		if (t->leader != 0)
			put(row, ROW_PID, Int32GetDatum((int32) t->leader));
	}
	else if (t->state != TRAINING_DONE)
		put_error(row, &t->error);
}

/* What is to be shown: evaluations under way, and the newest training. */
static bool
is_shown(const TrainingShared *entries, const TrainingShared *t, int32 model_id)
{
	if (!t->in_use || t->dboid != MyDatabaseId || t->model_id != model_id)
		return false;
	if (t->kind != TRAINING_TRAIN)
		return t->state == TRAINING_STARTING || t->state == TRAINING_RUNNING;
	for (int i = 0; i < TRAININGS_MAX; i++)
	{
		const TrainingShared *other = &entries[i];

		if (other->in_use && other->dboid == t->dboid && other->model_id == model_id &&
			other->kind == TRAINING_TRAIN && other->id > t->id)
			return false;
	}
	return true;
}

static TrainingShared *
copy_entries(void)
{
	TrainingShared *copies = palloc(sizeof(TrainingShared) * TRAININGS_MAX);

	LWLockAcquire(trainings_control->lock, LW_SHARED);
	for (int i = 0; i < TRAININGS_MAX; i++)
	{
		TrainingShared *t = &trainings_control->entries[i];

		SpinLockAcquire(&t->mutex);
		memcpy(&copies[i], t, offsetof(TrainingShared, changed));
		SpinLockRelease(&t->mutex);
	}
	LWLockRelease(trainings_control->lock);
	return copies;
}

PG_FUNCTION_INFO_V1(recsys_training_status);

Datum
recsys_training_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TrainingShared *copies;
	ListCell   *lc;
	ListCell   *mc;

	InitMaterializedSRF(fcinfo, 0);
	if (trainings_control == NULL)
		return (Datum) 0;
	copies = copy_entries();
	foreach(lc, catalog_sources())
	{
		const RecsysSource *source = lfirst(lc);

		if (!is_member_of_role(GetUserId(), source->owner))
			continue;
		foreach(mc, catalog_models(source->id))
		{
			const RecsysModel *model = lfirst(mc);

			for (int i = 0; i < TRAININGS_MAX; i++)
			{
				StatusRow	row;

				if (!is_shown(copies, &copies[i], model->id))
					continue;
				fill_row(&row, source, &copies[i]);
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row.values, row.nulls);
			}
		}
	}
	return (Datum) 0;
}
