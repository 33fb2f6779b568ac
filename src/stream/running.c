/*
 * running.c
 *	  The models of the source as the worker runs them.
 *
 * The catalogue decides which models there are; after each commit that changed
 * it, the worker compares.  A model that is new, or whose parameters changed,
 * is built from the histories, published completely and then marked ready;
 * until then it answers from popular.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid_d.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "recsys.h"
#include "stream/stream.h"

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
close_model(RunningModel *running)
{
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
		close_model(lfirst(lc));
	list_free(s->models);
	s->models = NIL;
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
	foreach(lc, declared)
	{
		RecsysModel *model = lfirst(lc);
		RunningModel *running = find_running(s, model);

		if (running)
			s->models = list_delete_ptr(s->models, running);
		else
		{
			running = palloc0(sizeof(RunningModel));
			running->model = copy_model(model);
			running->algorithm = model_algorithm(model->algorithm);
			if (running->algorithm->open)
				running->state = running->algorithm->open(&s->host, running->model);
		}
		running->model->state = model->state;
		kept = lappend(kept, running);
	}
	foreach(lc, s->models)
		close_model(lfirst(lc));
	list_free(s->models);
	s->models = kept;
	MemoryContextSwitchTo(old);
}

/* Inside a transaction, with everything flushed. */
void
models_build(Stream *s)
{
	ListCell   *lc;

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built)
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

		if (!running->built || running->algorithm->build == NULL)
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

/*
 * Everything has been published in this transaction: models that were
 * building are ready.  True if all are.
 */
bool
models_ready(Stream *s)
{
	ListCell   *lc;
	bool		all = true;

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);
		Oid			user;
		int			context;

		if (!running->built)
			all = false;
		if (!running->built || running->model->state == MODEL_READY)
			continue;
		GetUserIdAndSecContext(&user, &context);
		SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
		if (catalog_set_model_state(running->model->id, running->model->version, MODEL_READY))
			running->model->state = MODEL_READY;
		else
			all = false;
		SetUserIdAndSecContext(user, context);
	}
	return all;
}
