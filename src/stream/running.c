/*
 * running.c
 *	  The models of the source as the worker runs them.
 *
 * The catalogue decides which models there are; after each commit that changed
 * it, the worker compares.  A model that is new, or whose parameters changed,
 * is built from the histories, published completely and then marked ready;
 * until then it answers from popular.
 *
 * A trained model is ready when a training has written its version.  Trainings
 * are started here: the first as soon as there is anything to train on, later
 * ones when the model says that it has become old.  A training reads the
 * tables, so everything is flushed before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid_d.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "recsys.h"
#include "models/vectors.h"
#include "stream/stream.h"
#include "stream/trainings.h"

static RecsysModel *
copy_model(const RecsysModel *model)
{
	RecsysModel *copy = palloc(sizeof(RecsysModel));

	*copy = *model;
	copy->algorithm = pstrdup(model->algorithm);
	copy->params = (Jsonb *) palloc(VARSIZE(model->params));
	memcpy(copy->params, model->params, VARSIZE(model->params));
	return copy;
}

static RunningModel *
find_running(Stream *s, const RecsysModel *model)
{
	ListCell   *lc;

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->model->id == model->id && running->model->version == model->version)
			return running;
	}
	return NULL;
}

static void
close_model(Stream *s, RunningModel *running)
{
	if (running->feed)
	{
		s->feeds = list_delete_ptr(s->feeds, running->feed);
		feed_free(running->feed);
	}
	if (running->state && running->algorithm->close)
		running->algorithm->close(running->state);
	pfree(running->model->algorithm);
	pfree(running->model->params);
	pfree(running->model);
	pfree(running);
}

/* Before the state is built anew: models start from nothing again. */
void
models_close(Stream *s)
{
	ListCell   *lc;

	foreach(lc, s->models)
		close_model(s, lfirst(lc));
	list_free(s->models);
	s->models = NIL;
	/* it asks them */
	quality_close(s);
}

static void
host_progress(ModelHost *host, const char *phase, int64 done, int64 total)
{
	Stream	   *s = (Stream *) ((char *) host - offsetof(Stream, host));

	shared_progress(s->shared, phase, done, total);
}

static Size
host_memory_left(ModelHost *host)
{
	Stream	   *s = (Stream *) ((char *) host - offsetof(Stream, host));
	Size		limit = (Size) recsys_memory_kb * 1024;
	Size		used = stream_memory(s);

	return limit > used ? limit - used : 0;
}

static void
host_warn(ModelHost *host, const char *message)
{
	Stream	   *s = (Stream *) ((char *) host - offsetof(Stream, host));

	shared_report_warning(s->shared, message);
}

static bool
host_push_snapshot(ModelHost *host, XLogRecPtr lsn)
{
	Stream	   *s = (Stream *) ((char *) host - offsetof(Stream, host));

	if (lsn > s->applied_lsn)
		return false;
	horizon_push_snapshot(s);
	return true;
}

/* Inside a transaction: follow the catalogue. */
void
models_reload(Stream *s)
{
	List	   *declared = catalog_models(s->source->id);
	List	   *kept = NIL;
	ListCell   *lc;
	MemoryContext old = MemoryContextSwitchTo(s->context);

	s->host.context = s->context;
	s->host.source = s->source;
	s->host.items = s->items;
	s->host.profiles = s->profiles;
	s->host.progress = host_progress;
	s->host.memory_left = host_memory_left;
	s->host.push_snapshot = host_push_snapshot;
	s->host.warn = host_warn;
	foreach(lc, declared)
	{
		RecsysModel *model = lfirst(lc);
		RunningModel *running = find_running(s, model);

		if (running)
		{
			s->models = list_delete_ptr(s->models, running);
			if (running->built && running->algorithm->retrained)
			{
				running->algorithm->retrained(running->state);
				s->publish_due = true;
			}
		}
		else
		{
			running = palloc0(sizeof(RunningModel));
			running->model = copy_model(model);
			running->algorithm = model_algorithm(model->algorithm);
			if (running->algorithm->open)
				running->state = running->algorithm->open(&s->host, running->model);
		}
		running->model->state = model->state;
		running->model->fallback = model->fallback;
		kept = lappend(kept, running);
	}
	foreach(lc, s->models)
		close_model(s, lfirst(lc));
	list_free(s->models);
	s->models = kept;
	MemoryContextSwitchTo(old);
	feeds_reload(s);
	quality_reload(s);
}

/* Inside a transaction, with everything flushed. */
void
models_build(Stream *s)
{
	ListCell   *lc;

	s->host.change_lsn = s->stored_lsn;
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		/* one that is fed with events is filled first */
		if (running->built || (running->feed && !running->feed->live))
			continue;
		if (running->algorithm->build)
			running->algorithm->build(running->state);
		running->built = true;
		s->publish_due = true;
	}
	s->suspended = false;
}

/*
 * Stop feeding changes to models that can be built from the histories: far
 * behind, or before a huge transaction, building them afterwards is cheaper
 * than following every event.  What is published goes on serving.
 */
void
models_suspend(Stream *s)
{
	ListCell   *lc;
	MemoryContext old = MemoryContextSwitchTo(s->context);

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (!running->built || running->algorithm->build == NULL || running->feed)
			continue;
		running->algorithm->close(running->state);
		running->state = running->algorithm->open(&s->host, running->model);
		running->built = false;
		s->suspended = true;
	}
	MemoryContextSwitchTo(old);
}

void
models_change(Stream *s, const ProfileChange *change)
{
	ListCell   *lc;

	s->host.change_no++;
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && running->algorithm->change)
			running->algorithm->change(running->state, change);
	}
}

/* The state that the catalogue ought to have now. */
static ModelState
state_of(Stream *s, RunningModel *running)
{
	TimestampTz due_at;

	if (!running->algorithm->trained)
		return MODEL_READY;
	if (!running->algorithm->has_version(running->state))
		return MODEL_BUILDING;
	switch (running->algorithm->training_need(running->state, s->events, &due_at))
	{
		case TRAINING_NOT_NEEDED:
		case TRAINING_DUE:
			return MODEL_READY;
		default:
			/* a version of older parameters serves on, if there is one */
			return running->model->state;
	}
}

/*
 * Everything has been published in this transaction: models that were
 * building are ready, but for those that wait for a training.  True if the
 * catalogue says so.
 */
bool
models_ready(Stream *s)
{
	ListCell   *lc;
	bool		all = true;

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);
		ModelState	state;
		Oid			user;
		int			context;

		if (!running->built)
		{
			all = false;
			continue;
		}
		state = state_of(s, running);
		if (running->model->state == state)
			continue;
		GetUserIdAndSecContext(&user, &context);
		SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
		if (catalog_set_model_state(running->model->id, running->model->version, state))
			running->model->state = state;
		else
			all = false;
		SetUserIdAndSecContext(user, context);
	}
	return all;
}

/* ------------------------------------------------------------------ trainings */

static TrainingNeed
training_need(Stream *s, RunningModel *running, TimestampTz *due_at)
{
	*due_at = DT_NOEND;
	if (!running->built || !running->algorithm->trained)
		return TRAINING_NOT_NEEDED;
	return running->algorithm->training_need(running->state, s->events, due_at);
}

/* Does a model wait for a training that it cannot do without? */
bool
models_await_training(Stream *s)
{
	ListCell   *lc;
	TimestampTz due_at;

	foreach(lc, s->models)
	{
		TrainingNeed need = training_need(s, lfirst(lc), &due_at);

		if (need == TRAINING_NEEDED || need == TRAINING_UNKNOWN)
			return true;
	}
	return false;
}

/* Start what is due, unless it runs, or has failed a short while ago. */
static TimestampTz
train_model(Stream *s, RunningModel *running)
{
	TimestampTz again;

	if (running->train_again > GetCurrentTimestamp())
		return running->train_again;
	if (training_under_way(MyDatabaseId, running->model->id))
		return DT_NOEND;
	/* it ended just now: its version is to be looked at first */
	if (s->shared->models_dirty)
		return DT_NOEND;
	if (s->dirty)
		flush(s);
	if (training_schedule(s->source, running->model, &again))
		return DT_NOEND;
	running->train_again = again;
	return again;
}

/* Between transactions.  Sets when to look again without being woken. */
void
models_train(Stream *s)
{
	ListCell   *lc;

	s->train_at = DT_NOEND;
	if (s->suspended)
		return;
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);
		TimestampTz at;
		TrainingNeed need = training_need(s, running, &at);

		if (need == TRAINING_NEEDED || need == TRAINING_DUE)
			at = train_model(s, running);
		s->train_at = Min(s->train_at, at);
	}
}

/* After a commit: readers of vectors that share them need not look themselves. */
void
models_published(Stream *s)
{
	ListCell   *lc;

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && running->algorithm->published &&
			running->algorithm->published(running->state))
			vectors_published(s->source, running->model);
	}
}
