/*
 * version.c
 *	  The new version of an embedding model: written beside the old one, and put
 *	  in its place, in one transaction.
 *
 * Locks, see embedding.h: first a weak one on <model>_version, then the table of
 * factors, in the order in which drop_model() takes them; only when all vectors
 * are written the lock that keeps the stream worker from publishing.  A
 * publication of the old version that was committed meanwhile has raised its
 * publish number; the new version's is larger than that.
 *
 * The vectors carry the publish number that the new version would have had at
 * the start: whoever sees the version for the first time reads all of it anyway.
 *
 *		crash before the commit:	the old version serves on, nothing remains
 *		crash after the commit:		the new version serves; the stream worker
 *									finds it, and removes the vectors of the old
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid_d.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "models/embedding.h"
#include "models/vectors.h"
#include "state/array.h"
#include "state/checked.h"
#include "stream/launcher.h"
#include "train/trainer.h"

/* Vectors between two looks at whether to go on. */
#define CHECK_EVERY 256

static Datum
matrix_datum(const float *matrix, int dim)
{
	return array_datum(matrix, matrix == NULL ? 0 : dim * dim, sizeof(float), FLOAT4OID);
}

static void
write_vectors(Trainer *t, StateTable *factors, const TrainedVectors *trained,
			  int32 version, int64 publish)
{
	ArrayType  *array = DatumGetArrayTypeP(array_datum(trained->vectors, trained->dim,
														sizeof(float), FLOAT4OID));
	Datum		values[FACTORS_NCOLUMNS];

	values[FACTORS_VERSION - 1] = Int32GetDatum(version);
	values[FACTORS_PUBLISH - 1] = Int64GetDatum(publish);
	values[FACTORS_VECTOR - 1] = PointerGetDatum(array);
	for (int32 row = 0; row < trained->items; row++)
	{
		if (row % CHECK_EVERY == 0)
		{
			training_check(t->training);
			training_progress(t->training, "writing", row, trained->items);
		}
		memcpy(ARR_DATA_PTR(array), trained->vectors + (Size) row * trained->dim,
			   sizeof(float) * trained->dim);
		values[FACTORS_ITEM - 1] = Int32GetDatum(trained->item_ids[row]);
		table_insert(factors, values, NULL);
	}
}

/* Returns when it was trained. */
static TimestampTz
write_version(Trainer *t, StateTable *versions, const TrainedVectors *trained,
			  int32 version, int64 publish)
{
	TimestampTz now = GetCurrentTimestamp();
	Datum		values[VERSION_NCOLUMNS];

	values[VERSION_VERSION - 1] = Int32GetDatum(version);
	values[VERSION_PUBLISH - 1] = Int64GetDatum(publish);
	values[VERSION_PARAMS_VERSION - 1] = Int32GetDatum(t->model->version);
	values[VERSION_TRAINED_AT - 1] = TimestampTzGetDatum(now);
	values[VERSION_APPLIED_LSN - 1] = LSNGetDatum(t->applied_lsn);
	values[VERSION_EVENTS - 1] = Int64GetDatum(t->events);
	values[VERSION_SECONDS - 1] = Float8GetDatum((now - t->started_at) / (double) USECS_PER_SEC);
	values[VERSION_USERS - 1] = Int32GetDatum(trained->users);
	values[VERSION_ITEMS - 1] = Int32GetDatum(trained->items);
	values[VERSION_INTERACTIONS - 1] = Int64GetDatum(trained->interactions);
	values[VERSION_DIM - 1] = Int32GetDatum(trained->dim);
	values[VERSION_LOSS - 1] = Float8GetDatum(trained->loss);
	values[VERSION_MEAN - 1] = Float8GetDatum(trained->mean);
	values[VERSION_ITEM_GRAM - 1] = matrix_datum(trained->item_gram, trained->dim);
	values[VERSION_USER_GRAM - 1] = matrix_datum(trained->user_gram, trained->dim);
	table_insert(versions, values, NULL);
	return now;
}

/* The model as it is declared now is the one that was trained. */
static bool
is_current(const Trainer *t)
{
	ListCell   *lc;

	foreach(lc, catalog_models(t->source->id))
	{
		const RecsysModel *model = lfirst(lc);

		if (model->id == t->model->id)
			return model->version == t->model->version;
	}
	return false;
}

static void
check_current(const Trainer *t)
{
	if (is_current(t))
		return;
	training_outcome(TRAINING_OBSOLETE);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("model \"%s\" was changed or dropped while it was trained",
					NameStr(t->model->name)),
			 errdetail("The result of the training is discarded.")));
}

static void
renew_snapshot(void)
{
	CommandCounterIncrement();
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* Rows are written with all their columns, so there may be no others. */
static void
check_columns(const StateTable *table, int ncolumns)
{
	if (RelationGetDescr(table->rel)->natts != ncolumns)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s\" has not the columns that it was created with",
						RelationGetRelationName(table->rel)),
				 errhint("Drop the model and create it again.")));
}

static void
read_old(Trainer *t, EmbeddingVersion *old)
{
	StateTable *versions = embedding_open_version(t->source, t->model);

	memset(old, 0, sizeof(EmbeddingVersion));
	(void) embedding_read_version(versions, GetActiveSnapshot(), old);
	checked_close(versions);
}

/* From here on nobody publishes.  The row may have been renewed since "seen".
 * Fills in numbers and time of the new version. */
static void
swap(Trainer *t, const TrainedVectors *trained, const EmbeddingVersion *seen,
	 EmbeddingVersion *new)
{
	StateTable *versions = embedding_open_version(t->source, t->model);
	EmbeddingVersion old;
	Datum		key;

	check_columns(versions, VERSION_NCOLUMNS);
	LockRelation(versions->rel, ShareRowExclusiveLock);
	renew_snapshot();
	check_current(t);
	memset(&old, 0, sizeof(old));
	if (embedding_read_version(versions, GetActiveSnapshot(), &old))
	{
		key = Int32GetDatum(old.version);
		(void) table_delete(versions, 1, &key);
	}
	if (old.version != seen->version)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("version %d of model \"%s\" was replaced by version %d while it was trained",
						seen->version, NameStr(t->model->name), old.version),
				 errhint("Leave the tables of a source to its workers.")));
	new->version = old.version + 1;
	new->publish = old.publish + 1;
	new->trained_at = write_version(t, versions, trained, new->version, new->publish);
	checked_close(versions);
}

/* Where somebody is changing models just now, the stream worker does it later. */
static void
mark_ready(const Trainer *t)
{
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	(void) catalog_set_model_state(t->model->id, t->model->version, MODEL_READY);
	SetUserIdAndSecContext(user, context);
}

/* The stream worker looks at its models anew. */
static void
wake_stream_worker(const Trainer *t)
{
	SourceShared *shared = t->shared;

	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	shared->models_dirty = true;
	SpinLockRelease(&shared->mutex);
	shared_wake(shared);
}

void
version_replace(Trainer *t, const TrainedVectors *trained)
{
	MemoryContext scratch = AllocSetContextCreate(t->context, "recsys version", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	EmbeddingVersion seen;
	EmbeddingVersion new;
	StateTable *factors;

	trainer_begin(t);
	check_current(t);
	read_old(t, &seen);
	factors = embedding_open_factors(t->source, t->model, false);
	check_columns(factors, FACTORS_NCOLUMNS);
	LockRelation(factors->rel, RowExclusiveLock);
	write_vectors(t, factors, trained, seen.version + 1, seen.publish + 1);
	checked_close(factors);
	if (trained->weights != NULL)
		weights_replace(t->source, t->model, seen.version + 1, trained->weights, trained->nweights);
	vectors_prepare(t->model->id, seen.version + 1, trained->dim,
					vectors_cosine_dim(t->source, trained->dim), trained->item_gram,
					trained->items, trained->item_ids, trained->vectors);
	swap(t, trained, &seen, &new);
	mark_ready(t);
	trainer_inject(t, INJECT_SWAP);
	vectors_announce(t->model->id, new.version, new.trained_at, new.publish);
	trainer_commit(t);
	training_outcome(TRAINING_DONE);
	wake_stream_worker(t);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}
