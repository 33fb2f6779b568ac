/*
 * als_version.c
 *	  als on the side of the stream worker: the vectors and the Gram matrix of the
 *	  version, read from its tables and written to them (embedding_worker.h).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "models/als_version.h"
#include "state/checked.h"

/* The matrix is written when it has moved by this part. */
#define GRAM_DRIFT 0.005

/* Share of the memory left that users' vectors may take. */
#define CACHE_SHARE 4

static void
require(AlsModel *m, bool good)
{
	if (!good)
		als_no_memory(m);
}

static bool
begin_vectors(AlsModel *m, StateTable *versions)
{
	const EmbeddingVersion *v = &m->w.version;
	bool		explicit_feedback = m->w.host->source->explicit_feedback;
	AlsParams	params;
	float	   *user_gram = NULL;
	float	   *item_gram = NULL;

	als_params_of(m->w.model->params, explicit_feedback, v->mean, &params);
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
								m->w.host->memory_left(m->w.host) / CACHE_SHARE));
	return true;
}

static void
take_vector(void *arg, int32 item, const float *vector)
{
	AlsModel   *m = arg;

	require(m, als_online_put(m->online, item, vector));
}

/* Items that have been forgotten while the training ran. */
static void
erase_unknown(AlsModel *m)
{
	for (int32 item = 1; item < m->w.host->items->next; item++)
		if (!m->w.host->items->totals[item].known)
			require(m, als_online_erase(m->online, item));
}

void
als_follow_version(AlsModel *m)
{
	StateTable *versions;

	if (!embedding_worker_begin(&m->w, &versions))
	{
		if (!m->w.loaded)
			als_online_drop_vectors(m->online);
		return;
	}
	als_online_drop_vectors(m->online);
	m->w.loaded = m->w.version.version != 0 && begin_vectors(m, versions);
	if (m->w.loaded)
	{
		embedding_worker_read(&m->w, take_vector, m);
		require(m, als_online_end(m->online));
		erase_unknown(m);
		als_replay(m);
	}
	embedding_worker_end(&m->w, versions);
}

static int32
next_dirty(void *arg, const float **vector)
{
	AlsModel   *m = arg;
	int32		item = als_online_next_dirty(m->online);

	if (item != 0)
		*vector = als_online_present(m->online, item) ? als_online_vector(m->online, item) : NULL;
	return item;
}

bool
als_write_vectors(AlsModel *m, bool gram)
{
	float	   *matrix = NULL;
	bool		written;

	gram = gram && als_online_gram_drift(m->online) > GRAM_DRIFT;
	if (!gram && !als_online_has_dirty(m->online))
		return true;
	if (gram)
	{
		matrix = palloc(sizeof(float) * m->w.version.dim * m->w.version.dim);
		als_online_write_gram(m->online, matrix);
	}
	written = embedding_worker_write(&m->w, next_dirty, m, matrix);
	if (written && gram)
		m->gram_at = GetCurrentTimestamp();
	return written;
}

void
als_write_void(AlsModel *m)
{
	embedding_worker_void(&m->w);
	als_online_drop_vectors(m->online);
}
