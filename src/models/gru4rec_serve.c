/*
 * gru4rec_serve.c
 *	  gru4rec: answers from item vectors, the network's weights and a history.
 *
 * A user has no stored vector: the network reads the newest items of the history, oldest
 * first, when it is asked, so a new user and a new event count at once.  A session is a history
 * like any other; where times are equal, its own order is that of time.  Items without
 * a vector are passed over.
 *
 * The weights of a version never change, so each backend keeps those that it used last.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "models/gru4rec.h"
#include "models/vectors.h"

/* --------------------------------------------------------------- weights */

typedef struct CachedWeights
{
	int32		model_id;		/* 0: none */
	int32		version;
	TimestampTz trained_at;
	float	   *values;
	uint64		used;
} CachedWeights;

/* Models that one backend asks in turn. */
static CachedWeights cached[4];
static uint64 cache_clock;

static CachedWeights *
find_cached(int32 model_id, const EmbeddingVersion *version)
{
	for (int i = 0; i < (int) lengthof(cached); i++)
		if (cached[i].model_id == model_id && cached[i].version == version->version &&
			cached[i].trained_at == version->trained_at)
			return &cached[i];
	return NULL;
}

/* An older version of the model's, or else the one that was not used for the longest time. */
static CachedWeights *
choose_victim(int32 model_id)
{
	CachedWeights *victim = &cached[0];

	for (int i = 0; i < (int) lengthof(cached); i++)
	{
		if (cached[i].model_id == model_id)
			return &cached[i];
		if (cached[i].used < victim->used)
			victim = &cached[i];
	}
	return victim;
}

/* NULL: the version has none. */
static const float *
weights_of(ServeContext *cx, const EmbeddingVersion *version)
{
	CachedWeights *entry = find_cached(cx->model->id, version);
	ModelWeights parts[GRU4REC_PARTS];
	float	   *values;

	if (entry != NULL)
	{
		entry->used = ++cache_clock;
		return entry->values;
	}
	values = MemoryContextAlloc(CurrentMemoryContext, sizeof(float) * gru4rec_weights(version->dim));
	gru4rec_parts(version->dim, values, parts);
	if (!weights_read(cx->source, cx->model, cx->snapshot, version->version, parts, GRU4REC_PARTS))
		return NULL;
	entry = choose_victim(cx->model->id);
	entry->model_id = 0;
	if (entry->values)
		pfree(entry->values);
	entry->values = NULL;
	entry->values = MemoryContextAlloc(TopMemoryContext, sizeof(float) * gru4rec_weights(version->dim));
	memcpy(entry->values, values, sizeof(float) * gru4rec_weights(version->dim));
	entry->model_id = cx->model->id;
	entry->version = version->version;
	entry->trained_at = version->trained_at;
	entry->used = ++cache_clock;
	pfree(values);
	return entry->values;
}

/* -------------------------------------------------------------- encoding */

/* A history, read. */
typedef struct Encoded
{
	Vectors    *vectors;
	int			dim;
	const float *weights;
	int			n;				/* items that were read */
	int		   *places;			/* in the history, oldest first */
	float	   *x;				/* their vectors */
	float	   *h;				/* the state after them */
	float	   *scratch;
	float	   *work;
} Encoded;

typedef struct Place
{
	int64		time;
	int			place;
} Place;

static int
oldest_first(const void *a, const void *b)
{
	const Place *pa = a,
			   *pb = b;

	if (pa->time != pb->time)
		return pa->time < pb->time ? -1 : 1;
	return pa->place - pb->place;
}

/* The vectors of the newest items, in order. */
static void
gather(Encoded *e, const History *history)
{
	Place	   *order = palloc(sizeof(Place) * Max(history->n, 1));
	int			n = Min(history->n, GRU4REC_LENGTH);
	int32	   *items = palloc(sizeof(int32) * Max(n, 1));
	int		   *found = palloc(sizeof(int) * Max(n, 1));

	for (int i = 0; i < history->n; i++)
		order[i] = (Place) {history->times[i], i};
	qsort(order, history->n, sizeof(Place), oldest_first);
	order += history->n - n;
	for (int i = 0; i < n; i++)
		items[i] = history->items[order[i].place];
	e->x = palloc(sizeof(float) * e->dim * Max(n, 1));
	e->n = vectors_gather(e->vectors, n, items, e->x, found);
	e->places = palloc(sizeof(int) * Max(n, 1));
	for (int i = 0; i < e->n; i++)
		e->places[i] = order[found[i]].place;
}

static void
encode(const Encoded *e, int n, const float *x, float *h)
{
	gru4rec_encode(e->dim, e->weights, n, x, h, e->scratch, e->work);
}

/* False: nothing to go by.  Else end with vectors_close(e->vectors). */
static bool
read_history(ServeContext *cx, const History *history, Encoded *e)
{
	e->vectors = vectors_open(cx);
	if (e->vectors == NULL)
		return false;
	e->dim = vectors_version(e->vectors)->dim;
	gather(e, history);
	e->weights = e->n > 0 ? weights_of(cx, vectors_version(e->vectors)) : NULL;
	if (e->weights == NULL)
	{
		vectors_close(e->vectors);
		return false;
	}
	e->h = palloc(sizeof(float) * e->dim);
	e->scratch = palloc(sizeof(float) * 3 * e->dim * (e->n + 1));
	e->work = palloc(sizeof(float) * NN_GEMM_WORK);
	encode(e, e->n, e->x, e->h);
	return true;
}

/* --------------------------------------------------------------- answers */

void
gru4rec_recommend(ServeContext *cx, const History *history, Candidates *out)
{
	Encoded		e;

	if (!read_history(cx, history, &e))
		return;
	vectors_recommend(e.vectors, e.h, 0, cx->wanted, out);
	vectors_close(e.vectors);
}

/* By the cosine of the vectors. */
int
gru4rec_similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out)
{
	Vectors    *vectors = vectors_open(cx);
	int			n;

	if (vectors == NULL)
		return 0;
	n = vectors_similar(vectors, item, k, out);
	vectors_close(vectors);
	return n;
}

/* NULL: it has none. */
static float *
vector_of(const Encoded *e, int32 item)
{
	float	   *vector = palloc(sizeof(float) * e->dim);
	int			found;

	return vectors_gather(e->vectors, 1, &item, vector, &found) == 1 ? vector : NULL;
}

/* The score that recommend() gives; it says nothing of a rating. */
double
gru4rec_predict(ServeContext *cx, const History *history, int32 item)
{
	Encoded		e;
	float	   *vector;
	double		score = NAN;

	if (cx->source->explicit_feedback || !read_history(cx, history, &e))
		return NAN;
	vector = vector_of(&e, item);
	if (vector)
		score = search_score(e.dim, e.h, vector);
	vectors_close(e.vectors);
	return score;
}

/* How much lower the score is without the item.  An approximation: the parts do not add up to
 * the score, since what an item says depends on the others. */
void
gru4rec_explain(ServeContext *cx, const History *history, int32 item, double *contributions)
{
	Encoded		e;
	float	   *vector;
	float	   *others;
	double		score;

	if (!read_history(cx, history, &e))
		return;
	vector = vector_of(&e, item);
	if (vector)
	{
		score = search_score(e.dim, e.h, vector);
		others = palloc(sizeof(float) * e.dim * e.n);
		for (int i = 0; i < e.n; i++)
		{
			CHECK_FOR_INTERRUPTS();
			memcpy(others, e.x, sizeof(float) * e.dim * i);
			memcpy(others + (Size) i * e.dim, e.x + (Size) (i + 1) * e.dim,
				   sizeof(float) * e.dim * (e.n - 1 - i));
			encode(&e, e.n - 1, others, e.h);
			contributions[e.places[i]] = score - search_score(e.dim, e.h, vector);
		}
	}
	vectors_close(e.vectors);
}

float *
gru4rec_user_factors(ServeContext *cx, const History *history, int *dim)
{
	Encoded		e;

	if (!read_history(cx, history, &e))
		return NULL;
	*dim = e.dim;
	vectors_close(e.vectors);
	return e.h;
}
