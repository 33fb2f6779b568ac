/*
 * als_version.c
 *	  als on the side of the stream worker: the tables of the version.
 *
 * Whoever changes the row of the version holds a lock (models/embedding.h), and looks at
 * it under a snapshot taken afterwards.  So nothing is ever written for a
 * version that a training has replaced: in that case the new one is loaded,
 * and what was to be written is written for that one.
 *
 * An item that has lost its vector has an empty one in its row, which readers
 * that follow the publish numbers see; a row that is gone they would not.
 *
 * After TRUNCATE an empty version takes the place of the old one.  Were the row
 * deleted, the next training would begin with the numbers of old versions, which
 * readers know.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "models/als_version.h"
#include "state/array.h"
#include "state/checked.h"

/* The matrix is written when it has moved by this part. */
#define GRAM_DRIFT 0.005

/* Item numbers of an older version whose rows are deleted at a time. */
#define DELETE_ITEMS 2000

/* Share of the memory left that users' vectors may take. */
#define CACHE_SHARE 4

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

Oid
als_version_relid(AlsModel *m)
{
	return get_relname_relid(embedding_table(m->model, "version"), m->host->source->nspid);
}

/* A model can be dropped before we hear of it; and another of the same name created. */
bool
als_lock_tables(AlsModel *m)
{
	if (!OidIsValid(m->relid) || als_version_relid(m) != m->relid)
		return false;
	LockRelationOid(m->relid, AccessShareLock);
	if (als_version_relid(m) == m->relid)
		return true;
	UnlockRelationOid(m->relid, AccessShareLock);
	return false;
}

/* The version's table, locked against trainings, under a new active snapshot. */
static StateTable *
lock_version(AlsModel *m)
{
	StateTable *versions = embedding_open_version(m->host->source, m->model);

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
open_factors(AlsModel *m)
{
	StateTable *factors = embedding_open_factors(m->host->source, m->model, false);

	check_columns(factors, FACTORS_NCOLUMNS);
	LockRelation(factors->rel, RowExclusiveLock);
	return factors;
}

/* ---------------------------------------------------------------------- read */

static void
require(AlsModel *m, bool good)
{
	if (!good)
		als_no_memory(m);
}

static bool
begin_vectors(AlsModel *m, StateTable *versions)
{
	const EmbeddingVersion *v = &m->version;
	bool		explicit_feedback = m->host->source->explicit_feedback;
	AlsParams	params;
	float	   *user_gram = NULL;
	float	   *item_gram = NULL;

	als_params_of(m->model->params, explicit_feedback, v->mean, &params);
	params.dim = v->dim;
	params.factors = v->dim - (explicit_feedback ? 1 : 0);
	if (!explicit_feedback)
	{
		item_gram = embedding_read_matrix(versions, GetActiveSnapshot(), v->version, VERSION_ITEM_GRAM);
		user_gram = embedding_read_matrix(versions, GetActiveSnapshot(), v->version, VERSION_USER_GRAM);
	}
	/* an empty version, of a source that was emptied */
	if (params.factors < 1 || (!explicit_feedback && (!item_gram || !user_gram)) ||
		v->params_version == 0)
		return false;
	require(m, als_online_begin(m->online, &params, user_gram, v->users, item_gram,
								m->host->memory_left(m->host) / CACHE_SHARE));
	return true;
}

static void
read_vectors(AlsModel *m)
{
	StateTable *factors = embedding_open_factors(m->host->source, m->model, false);
	Datum		key = Int32GetDatum(m->version.version);

	for (TupleTableSlot *slot = table_get(factors, GetActiveSnapshot(), 1, &key);
		 slot; slot = table_get_next(factors))
	{
		int32		item = DatumGetInt32(checked_attribute(slot, FACTORS_ITEM));
		int			n;

		CHECK_FOR_INTERRUPTS();
		(void) checked_array(checked_attribute(slot, FACTORS_VECTOR), FLOAT4OID, &n);
		if (n > 0 && item > 0 && item < m->host->items->next)
			require(m, als_online_put(m->online, item, embedding_vector(slot, m->version.dim)));
	}
	checked_close(factors);
}

/* Items that have been forgotten while the training ran. */
static void
erase_unknown(AlsModel *m)
{
	for (int32 item = 1; item < m->host->items->next; item++)
		if (!m->host->items->totals[item].known)
			require(m, als_online_erase(m->online, item));
}

/* The oldest rows that there are: are they of an older version? */
static void
find_old(AlsModel *m)
{
	StateTable *factors = embedding_open_factors(m->host->source, m->model, false);
	TupleTableSlot *slot = table_get(factors, GetActiveSnapshot(), 0, NULL);
	int32		version = slot ? DatumGetInt32(checked_attribute(slot, FACTORS_VERSION)) : 0;

	m->old_version = version < m->version.version ? version : 0;
	m->old_item = 1;
	checked_close(factors);
}

void
als_follow_version(AlsModel *m)
{
	StateTable *versions;
	EmbeddingVersion found = {0};

	m->look = false;
	PushActiveSnapshot(GetLatestSnapshot());
	versions = embedding_open_version(m->host->source, m->model);
	(void) embedding_read_version(versions, GetActiveSnapshot(), &found);
	if (found.version != 0 && found.params_version != 0 && found.applied_lsn < m->void_lsn)
	{
		/* trained on what TRUNCATE has removed since */
		checked_close(versions);
		PopActiveSnapshot();
		als_write_void(m);
		return;
	}
	if (!m->loaded || found.version != m->version.version)
	{
		als_online_drop_vectors(m->online);
		m->version = found;
		m->loaded = found.version != 0 && begin_vectors(m, versions);
		if (m->loaded)
		{
			read_vectors(m);
			require(m, als_online_end(m->online));
			erase_unknown(m);
			als_replay(m);
			m->told = true;
		}
		if (found.version != 0)
			find_old(m);
	}
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
write_factors(AlsModel *m, int32 item, int64 publish)
{
	StateTable *factors = open_factors(m);
	Datum		values[FACTORS_NCOLUMNS];

	values[FACTORS_VERSION - 1] = Int32GetDatum(m->version.version);
	values[FACTORS_PUBLISH - 1] = Int64GetDatum(publish);
	for (; item != 0; item = als_online_next_dirty(m->online))
	{
		const float *vector = als_online_vector(m->online, item);

		CHECK_FOR_INTERRUPTS();
		values[FACTORS_ITEM - 1] = Int32GetDatum(item);
		values[FACTORS_VECTOR - 1] =
			array_datum(vector, als_online_present(m->online, item) ? m->version.dim : 0,
						sizeof(float), FLOAT4OID);
		table_put(factors, 2, values, NULL);
		pfree(DatumGetPointer(values[FACTORS_VECTOR - 1]));
	}
	checked_close(factors);
}

/* Under the lock: is the version still the one that was loaded? */
static bool
is_current(AlsModel *m, StateTable *versions)
{
	EmbeddingVersion found;

	return embedding_read_version(versions, GetActiveSnapshot(), &found) &&
		found.version == m->version.version;
}

bool
als_write_vectors(AlsModel *m, bool gram)
{
	StateTable *versions;
	int32		item;
	float	   *matrix = NULL;
	bool		current;

	gram = gram && als_online_gram_drift(m->online) > GRAM_DRIFT;
	if (!gram && !als_online_has_dirty(m->online))
		return true;
	versions = lock_version(m);
	current = is_current(m, versions);
	if (current)
	{
		item = als_online_next_dirty(m->online);
		m->version.publish++;
		if (item != 0)
			write_factors(m, item, m->version.publish);
		if (gram)
		{
			matrix = palloc(sizeof(float) * m->version.dim * m->version.dim);
			als_online_write_gram(m->online, matrix);
			m->gram_at = GetCurrentTimestamp();
		}
		renew_version_row(versions, m->version.publish, matrix, m->version.dim);
		m->told = true;
	}
	else
		m->look = true;
	unlock_version(versions);
	return current;
}

void
als_write_void(AlsModel *m)
{
	StateTable *versions = lock_version(m);
	EmbeddingVersion found = {0};
	Datum		values[VERSION_NCOLUMNS] = {0};

	if (embedding_read_version(versions, GetActiveSnapshot(), &found) && found.params_version != 0)
	{
		values[VERSION_VERSION - 1] = Int32GetDatum(found.version);
		(void) table_delete(versions, 1, values);
		found.version++;
		found.publish++;
		found.params_version = 0;
		values[VERSION_VERSION - 1] = Int32GetDatum(found.version);
		values[VERSION_PUBLISH - 1] = Int64GetDatum(found.publish);
		values[VERSION_PARAMS_VERSION - 1] = Int32GetDatum(0);
		values[VERSION_TRAINED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
		values[VERSION_APPLIED_LSN - 1] = LSNGetDatum(m->void_lsn);
		values[VERSION_EVENTS - 1] = Int64GetDatum(0);
		values[VERSION_SECONDS - 1] = Float8GetDatum(0);
		values[VERSION_USERS - 1] = values[VERSION_ITEMS - 1] = Int32GetDatum(0);
		values[VERSION_INTERACTIONS - 1] = Int64GetDatum(0);
		values[VERSION_DIM - 1] = Int32GetDatum(found.dim);
		values[VERSION_LOSS - 1] = values[VERSION_MEAN - 1] = Float8GetDatum(0);
		values[VERSION_ITEM_GRAM - 1] = values[VERSION_USER_GRAM - 1] =
			array_datum(NULL, 0, sizeof(float), FLOAT4OID);
		table_insert(versions, values, NULL);
		m->told = true;
	}
	als_online_drop_vectors(m->online);
	m->version = found;
	m->loaded = false;
	m->voided = false;
	m->look = true;				/* for older rows, once this is visible */
	unlock_version(versions);
}

/*
 * By item number and not along the index: what was deleted before would be
 * passed again and again.
 */
bool
als_delete_old(AlsModel *m)
{
	StateTable *factors;
	int32		end = Min(m->host->items->next, m->old_item + DELETE_ITEMS);

	PushActiveSnapshot(GetLatestSnapshot());
	factors = open_factors(m);
	for (; m->old_item < end; m->old_item++)
	{
		Datum		keys[2] = {Int32GetDatum(m->old_version), Int32GetDatum(m->old_item)};

		CHECK_FOR_INTERRUPTS();
		(void) table_delete(factors, 2, keys);
	}
	checked_close(factors);
	if (end == m->host->items->next)
	{
		CommandCounterIncrement();
		PopActiveSnapshot();
		PushActiveSnapshot(GetLatestSnapshot());
		find_old(m);
	}
	PopActiveSnapshot();
	return m->old_version == 0;
}
