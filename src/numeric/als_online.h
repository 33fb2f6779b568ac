/*
 * als_online.h
 *	  Keeping the item vectors of a factorisation fresh between trainings.
 *
 * An item's vector is the solution of a small problem over the vectors of its
 * users (als.h), and a user's vector is that of one over the items of his
 * history.  So an item with new interactions is solved again, exactly, from
 * its users as they are now: at every chance while it has few, and when a
 * part of its interactions is new later on.  Vectors of users are folded in
 * from their histories and kept in a bounded cache until these change.  What
 * stays the training's is the sum over all users of x x', scaled to their
 * number, and the vectors of items with very many users: these have little to
 * learn from some more.
 *
 * Steps instead of solutions (a gradient step with the inverse of an average
 * matrix, as He et al. 2016 and others suggest) were measured, too: replays of
 * films and of a shop ranked worse with them than with vectors left alone.
 */
#ifndef RECSYS_NUMERIC_ALS_ONLINE_H
#define RECSYS_NUMERIC_ALS_ONLINE_H

#include "numeric/als.h"
#include "numeric/audience.h"

typedef struct AlsOnline AlsOnline;

/* A user's history; returns its length.  Valid until the next call. */
typedef int (*AlsHistory) (void *arg, int32_t user, const int32_t **items, const double **weights);

/* Lists of items' users take up to "limit" bytes.  NULL: no memory. */
extern AlsOnline *als_online_create(const Allocator *allocator, size_t limit,
									AlsHistory history, void *arg);
extern void als_online_destroy(AlsOnline *o);
extern size_t als_online_bytes(const AlsOnline *o);

/* All functions that return bool: false means that there was no memory. */

/* ---- interactions: with or without vectors */

/*
 * r(user,item) is "weight" now; appears as in audience.h.  Also tells of each
 * interaction once at the start, with "old": then nothing is queued.
 */
extern bool als_online_change(AlsOnline *o, int32_t user, int32_t item, double weight,
							  int appears, bool old);
extern void als_online_rescale(AlsOnline *o, double factor);
/* So many users have a history now. */
extern void als_online_users(AlsOnline *o, int64_t users);
extern int64_t als_online_interactions(const AlsOnline *o);

/* ---- vectors: begin, put each, end */

/* user_gram (dim x dim, of "users" users) and item_gram, as the readers of the
 * vectors have it, are copied; both NULL if explicit.  The cache takes up to "cache"
 * bytes. */
extern bool als_online_begin(AlsOnline *o, const AlsParams *params, const float *user_gram,
							 int64_t users, const float *item_gram, size_t cache);
extern bool als_online_put(AlsOnline *o, int32_t item, const float *vector);
/* Queues items that have users and no vector, or a vector and no users. */
extern bool als_online_end(AlsOnline *o);
extern void als_online_drop_vectors(AlsOnline *o);

/* The item has changed since the vectors' training. */
extern bool als_online_touch(AlsOnline *o, int32_t item);
/* If it has no vector yet, another try may give it one: its user has changed. */
extern bool als_online_retry(AlsOnline *o, int32_t item);
/* Its vector is zeros from now on. */
extern bool als_online_erase(AlsOnline *o, int32_t item);

/* ---- work */

/*
 * Solve the next item in the queue; weights are "scale" times those told.
 * *item = 0: the queue is empty.
 */
extern bool als_online_step(AlsOnline *o, double scale, int32_t *item);

/* Items whose vectors moved by more than the tolerance since they were written. */
extern int32_t als_online_next_dirty(AlsOnline *o);	/* 0: none; taken off the list */
extern bool als_online_has_dirty(const AlsOnline *o);
extern const float *als_online_vector(const AlsOnline *o, int32_t item);
extern bool als_online_present(const AlsOnline *o, int32_t item);	/* other than zeros */

/* How far the Gram matrix of the items is from what readers have (relative);
 * a copy of it for them. */
extern double als_online_gram_drift(const AlsOnline *o);
extern void als_online_write_gram(AlsOnline *o, float *gram);

#endif							/* RECSYS_NUMERIC_ALS_ONLINE_H */
