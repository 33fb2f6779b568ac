/*
 * vectors.h
 *	  The vectors of one model version as backends see them: a shared segment
 *	  that all processes map, or, where shared memory has no room, the table.
 */
#ifndef RECSYS_VECTORS_H
#define RECSYS_VECTORS_H

#include "postgres.h"

#include "models/embedding.h"
#include "models/model.h"
#include "numeric/search.h"

typedef struct Vectors Vectors;

extern void vectors_request(void);	/* from shmem_request_hook */
extern void vectors_startup(void);	/* from shmem_startup_hook */

/*
 * The version that cx->snapshot sees, up to date by publish number; NULL if the model has none
 * yet.  Memory of the caller's context; call vectors_close() at the end, an error
 * cleans up by itself.
 */
extern Vectors *vectors_open(ServeContext *cx);
extern void vectors_close(Vectors *v);
extern const EmbeddingVersion *vectors_version(const Vectors *v);

/* Gram matrix of the items (dim x dim); NULL if the version has none.  Valid until close. */
extern const float *vectors_gram(Vectors *v);

/*
 * Copies the vectors of n items into "out" (n x dim) and their numbers' positions:
 * items that have no vector are left out; found[i] = index into items.  Returns how many.
 */
extern int	vectors_gather(Vectors *v, int n, const int32 *items, float *out, int *found);

/* Memory for the answer to a query, of the caller's context. */
extern SearchHit *vectors_hits(Vectors *v, const SearchQuery *query);

/* search_top() over all vectors (query->vector, k, cosine, admit, only). */
extern int	vectors_top(Vectors *v, const SearchQuery *query, SearchHit *hits);

/* Of the items that the candidates admit, those whose product with the query (dim) is
 * largest, at most "wanted"; scores are the products and "constant". */
extern void vectors_recommend(Vectors *v, const float *query, double constant,
							  int wanted, Candidates *out);

/* The k items most like one by the cosine, best first; returns how many. */
extern int	vectors_similar(Vectors *v, int32 item, int k, ScoredItem *out);

/* Stream worker, outside of a transaction, after the commit of a publish or of a new
 * version: if the model has a segment, bring it up to date. */
extern void vectors_published(const RecsysSource *source, const RecsysModel *model);

/* Of a vector's elements, those that count for the cosine: not the bias. */
static inline int
vectors_cosine_dim(const RecsysSource *source, int dim)
{
	return source->explicit_feedback && dim > 1 ? dim - 1 : dim;
}

/*
 * For a training, inside the transaction that replaces the version: a segment of the
 * new one, so that readers need not wait for somebody to make it.  Prepared when the
 * vectors are known, announced right before the commit, when the version's row is.  Does nothing where nobody
 * reads the model's vectors or there is no room for both versions.
 */
extern void vectors_prepare(int32 model_id, int32 version, int dim, int cosine_dim,
							const float *gram, int n, const int32 *items, const float *vectors);
extern void vectors_announce(int32 model_id, int32 version, TimestampTz trained_at, int64 publish);

/* Give back the segments of a model that is gone or reset, of all models of this
 * database but some (a list of ids), of a database that has been dropped. */
extern void vectors_forget(int32 model_id);
extern void vectors_keep_models(const List *models);
extern void vectors_forget_database(Oid dboid);

#endif							/* RECSYS_VECTORS_H */
