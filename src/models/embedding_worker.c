/*
 * embedding_worker.c
 *	  The tables of a trained model, as the stream worker keeps them; see
 *	  embedding_worker.h.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "models/embedding_worker.h"
#include "state/array.h"
#include "state/checked.h"

/* Item numbers of an older version whose rows are deleted at a time. */
#define DELETE_ITEMS 2000

/* -------------------------------------------------------------------- tables */

/* Rows are written with all their columns, so there may be no others. */
static void
check_columns(const StateTable *t, int ncolumns)
{
	if (RelationGetDescr(t->rel)->natts != ncolumns)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("table \"%s\" has not the columns that it was created with",
					   RelationGetRelationName(t->rel)),
				errhint("Drop the model and create it again."));
}

/* InvalidOid: it is gone. */
static Oid
version_relid(const EmbeddingWorker *w)
{
	return get_relname_relid(embedding_table(w->model, "version"), w->host->source->nspid);
}

void
embedding_worker_open(EmbeddingWorker *w, ModelHost *host, const RecsysModel *model)
{
	w->host = host;
	w->model = model;
	w->retrain_interval = params_get(model->params, "retrain_interval");
	w->retrain_share = params_get(model->params, "retrain_share");
}

bool
embedding_worker_published(EmbeddingWorker *w)
{
	bool		told = w->told;

	w->told = false;
	return told;
}

void
embedding_worker_build(EmbeddingWorker *w)
{
	w->relid = version_relid(w);
	w->look = true;
}

/* A model can be dropped before we hear of it; and another of the same name created. */
bool
embedding_worker_lock(EmbeddingWorker *w)
{
	if (!OidIsValid(w->relid) || version_relid(w) != w->relid)
		return false;
	LockRelationOid(w->relid, AccessShareLock);
	if (version_relid(w) == w->relid)
		return true;
	UnlockRelationOid(w->relid, AccessShareLock);
	return false;
}

/* The version's table, locked against trainings, under a new active snapshot. */
static StateTable *
lock_version(EmbeddingWorker *w)
{
	StateTable *versions = embedding_open_version(w->host->source, w->model);

	check_columns(versions, VERSION_NCOLUMNS);
	LockRelation(versions->rel, ShareRowExclusiveLock);
	PushActiveSnapshot(GetLatestSnapshot());
	return versions;
}

static void
unlock_version(StateTable *versions)
{
	checked_close(versions);	/* the lock stays until commit */
	PopActiveSnapshot();
}

static StateTable *
open_factors(EmbeddingWorker *w)
{
	StateTable *factors = embedding_open_factors(w->host->source, w->model, false);

	check_columns(factors, FACTORS_NCOLUMNS);
	LockRelation(factors->rel, RowExclusiveLock);
	return factors;
}

/* ---------------------------------------------------------------------- read */

void
embedding_worker_read(EmbeddingWorker *w, void (*take) (void *arg, int32 item, const float *vector), void *arg)
{
	StateTable *factors = embedding_open_factors(w->host->source, w->model, false);
	Datum		key = Int32GetDatum(w->version.version);

	for (TupleTableSlot *slot = table_get(factors, GetActiveSnapshot(), 1, &key);
		 slot; slot = table_get_next(factors))
	{
		int32		item = DatumGetInt32(checked_attribute(slot, FACTORS_ITEM));
		int			n;

		CHECK_FOR_INTERRUPTS();
		(void) checked_array(checked_attribute(slot, FACTORS_VECTOR), FLOAT4OID, &n);
		if (n > 0 && item > 0 && item < w->host->items->next)
			take(arg, item, embedding_vector(slot, w->version.dim));
	}
	checked_close(factors);
}

/* The oldest rows that there are: are they of an older version? */
static void
find_old(EmbeddingWorker *w)
{
	StateTable *factors = embedding_open_factors(w->host->source, w->model, false);
	TupleTableSlot *slot = table_get(factors, GetActiveSnapshot(), 0, NULL);
	int32		version = slot ? DatumGetInt32(checked_attribute(slot, FACTORS_VERSION)) : 0;

	w->old_version = version < w->version.version ? version : 0;
	w->old_item = 1;
	checked_close(factors);
}

bool
embedding_worker_begin(EmbeddingWorker *w, StateTable **versions)
{
	EmbeddingVersion found = {0};

	w->look = false;
	PushActiveSnapshot(GetLatestSnapshot());
	*versions = embedding_open_version(w->host->source, w->model);
	(void) embedding_read_version(*versions, GetActiveSnapshot(), &found);
	if (found.version != 0 && found.params_version != 0 && found.applied_lsn < w->void_lsn)
	{
		/* trained on what TRUNCATE has removed since */
		checked_close(*versions);
		PopActiveSnapshot();
		embedding_worker_void(w);
		return false;
	}
	if (!w->loaded || found.version != w->version.version)
	{
		w->version = found;
		w->loaded = false;
		return true;
	}
	checked_close(*versions);
	PopActiveSnapshot();
	return false;
}

void
embedding_worker_end(EmbeddingWorker *w, StateTable *versions)
{
	w->told |= w->loaded;
	if (w->version.version != 0)
		find_old(w);
	checked_close(versions);
	PopActiveSnapshot();
}

/* --------------------------------------------------------------------- write */

/* The row with another publish number and, if not NULL, another matrix.  What is
 * stored out of line stays where it is. */
static void
renew_version_row(StateTable *versions, int64 publish, const float *item_gram, int dim)
{
	TupleTableSlot *slot = table_get(versions, GetActiveSnapshot(), 0, NULL);
	HeapTuple	tuple = ExecCopySlotHeapTuple(slot);
	Datum		values[VERSION_NCOLUMNS];
	bool		nulls[VERSION_NCOLUMNS];

	heap_deform_tuple(tuple, RelationGetDescr(versions->rel), values, nulls);
	values[VERSION_PUBLISH - 1] = Int64GetDatum(publish);
	if (item_gram)
		values[VERSION_ITEM_GRAM - 1] = array_datum(item_gram, dim * dim, sizeof(float), FLOAT4OID);
	table_put(versions, 1, values, nulls);
	heap_freetuple(tuple);
}

static void
write_factors(EmbeddingWorker *w, int32 (*next) (void *arg, const float **vector), void *arg)
{
	StateTable *factors = NULL;
	Datum		values[FACTORS_NCOLUMNS];
	const float *vector;
	int32		item;

	values[FACTORS_VERSION - 1] = Int32GetDatum(w->version.version);
	values[FACTORS_PUBLISH - 1] = Int64GetDatum(w->version.publish);
	while ((item = next(arg, &vector)) != 0)
	{
		CHECK_FOR_INTERRUPTS();
		if (factors == NULL)
			factors = open_factors(w);
		values[FACTORS_ITEM - 1] = Int32GetDatum(item);
		values[FACTORS_VECTOR - 1] =
			array_datum(vector, vector ? w->version.dim : 0, sizeof(float), FLOAT4OID);
		table_put(factors, 2, values, NULL);
		pfree(DatumGetPointer(values[FACTORS_VECTOR - 1]));
	}
	if (factors)
		checked_close(factors);
}

/* Under the lock: is the version still the one that was loaded? */
static bool
is_current(const EmbeddingWorker *w, StateTable *versions)
{
	EmbeddingVersion found;

	return embedding_read_version(versions, GetActiveSnapshot(), &found) &&
		found.version == w->version.version;
}

bool
embedding_worker_write(EmbeddingWorker *w, int32 (*next) (void *arg, const float **vector), void *arg,
					   const float *gram)
{
	StateTable *versions = lock_version(w);
	bool		current = is_current(w, versions);

	if (current)
	{
		w->version.publish++;
		write_factors(w, next, arg);
		renew_version_row(versions, w->version.publish, gram, w->version.dim);
		w->told = true;
	}
	else
		w->look = true;
	unlock_version(versions);
	return current;
}

static void
insert_void(const EmbeddingWorker *w, StateTable *versions, const EmbeddingVersion *void_version)
{
	Datum		values[VERSION_NCOLUMNS] = {0};

	values[VERSION_VERSION - 1] = Int32GetDatum(void_version->version);
	values[VERSION_PUBLISH - 1] = Int64GetDatum(void_version->publish);
	values[VERSION_PARAMS_VERSION - 1] = Int32GetDatum(0);
	values[VERSION_TRAINED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[VERSION_APPLIED_LSN - 1] = LSNGetDatum(w->void_lsn);
	values[VERSION_EVENTS - 1] = Int64GetDatum(0);
	values[VERSION_SECONDS - 1] = Float8GetDatum(0);
	values[VERSION_USERS - 1] = values[VERSION_ITEMS - 1] = Int32GetDatum(0);
	values[VERSION_INTERACTIONS - 1] = Int64GetDatum(0);
	values[VERSION_DIM - 1] = Int32GetDatum(void_version->dim);
	values[VERSION_LOSS - 1] = values[VERSION_MEAN - 1] = Float8GetDatum(0);
	values[VERSION_ITEM_GRAM - 1] = values[VERSION_USER_GRAM - 1] =
		array_datum(NULL, 0, sizeof(float), FLOAT4OID);
	table_insert(versions, values, NULL);
}

void
embedding_worker_void(EmbeddingWorker *w)
{
	StateTable *versions = lock_version(w);
	EmbeddingVersion found = {0};
	Datum		key;

	if (embedding_read_version(versions, GetActiveSnapshot(), &found) && found.params_version != 0)
	{
		key = Int32GetDatum(found.version);
		(void) table_delete(versions, 1, &key);
		found.version++;
		found.publish++;
		found.params_version = 0;
		insert_void(w, versions, &found);
		w->told = true;
	}
	w->version = found;
	w->loaded = false;
	w->voided = false;
	w->look = true;				/* for older rows, once this is visible */
	unlock_version(versions);
}

/*
 * By item number and not along the index: what was deleted before would be
 * passed again and again.
 */
bool
embedding_worker_delete_old(EmbeddingWorker *w)
{
	StateTable *factors;
	int32		end = Min(w->host->items->next, w->old_item + DELETE_ITEMS);

	PushActiveSnapshot(GetLatestSnapshot());
	factors = open_factors(w);
	for (; w->old_item < end; w->old_item++)
	{
		Datum		keys[2] = {Int32GetDatum(w->old_version), Int32GetDatum(w->old_item)};

		CHECK_FOR_INTERRUPTS();
		(void) table_delete(factors, 2, keys);
	}
	checked_close(factors);
	if (end == w->host->items->next)
	{
		CommandCounterIncrement();
		PopActiveSnapshot();
		PushActiveSnapshot(GetLatestSnapshot());
		find_old(w);
	}
	PopActiveSnapshot();
	return w->old_version == 0;
}

/* ------------------------------------------------------------------ trainings */

/* Does a version fit the parameters as they are declared? */
static bool
is_trained(const EmbeddingWorker *w)
{
	return w->loaded && w->version.params_version == w->model->version;
}

TrainingNeed
embedding_worker_need(const EmbeddingWorker *w, bool learnable, int64 events, TimestampTz *due_at)
{
	double		news = (double) (events - w->version.events);

	*due_at = DT_NOEND;
	if (w->look)
		return TRAINING_UNKNOWN;
	if (!learnable)
		return is_trained(w) ? TRAINING_NOT_NEEDED : TRAINING_IMPOSSIBLE;
	if (!is_trained(w))
		return TRAINING_NEEDED;
	/* less events than there were: the state was rebuilt from another table */
	if (w->retrain_share > 0 && fabs(news) > w->retrain_share * Max(w->version.events, 1))
		return TRAINING_DUE;
	if (w->retrain_interval == 0 || news == 0)
		return TRAINING_NOT_NEEDED;
	*due_at = w->version.trained_at + (TimestampTz) (w->retrain_interval * USECS_PER_SEC);
	return *due_at <= GetCurrentTimestamp() ? TRAINING_DUE : TRAINING_NOT_NEEDED;
}
