/*
 * als_online_impl.h
 *	  What the files of als_online.h share.
 */
#ifndef RECSYS_NUMERIC_ALS_ONLINE_IMPL_H
#define RECSYS_NUMERIC_ALS_ONLINE_IMPL_H

#include "numeric/als_online.h"
#include "numeric/vector_cache.h"

/* Items with more users have no list of them, and keep their vectors. */
#define MOST	2048

typedef struct OnlineItem
{
	int32_t		changes;		/* since it was solved */
	float		moved;			/* since it was written, as a part of its length */
	bool		present;		/* has a vector other than zeros */
	bool		queued;
	bool		dirty;
} OnlineItem;

/* Item numbers, first in, first out. */
typedef struct ItemQueue
{
	int32_t    *items;
	uint32_t	head,
				tail;			/* of a ring of max places, a power of 2 */
	uint32_t	max;
} ItemQueue;

/* Interactions of one row to be solved. */
typedef struct OnlineRows
{
	int32_t		max;
	int32_t    *rows;
	float	   *weights;
} OnlineRows;

struct AlsOnline
{
	Allocator	allocator;
	AlsHistory	history;
	void	   *arg;
	Audiences	audiences;
	int64_t		users;			/* now */

	/* vectors; loaded between begin and drop_vectors */
	bool		loaded;
	AlsParams	params;
	int32_t		nitems;			/* items have numbers below */
	OnlineItem *items;
	float	   *vectors;		/* nitems x dim */
	double		longest;		/* squared length, of those put */
	VectorCache cache;			/* of users' vectors */
	ItemQueue	queue;
	ItemQueue	dirty;

	/* matrices, dim x dim; NULL if explicit */
	int64_t		trained_users;
	double		scaled_users;	/* user_gram was scaled for */
	float	   *trained_gram;	/* of the users, by the training */
	float	   *user_gram;		/* the same, scaled to the users now */
	double	   *item_sum;		/* Gram matrix of the items */
	float	   *item_gram;		/* the same, for solving */
	bool		gram_stale;		/* item_gram is behind item_sum */
	float	   *written_gram;	/* what readers have */

	/* scratch */
	void	   *work_block;
	void	   *work;			/* of als_solve_row(), aligned */
	OnlineRows	of_user;		/* a history's items */
	OnlineRows	of_item;		/* its users */
	float	   *base;			/* of_item.max x dim: their vectors */
	float	   *solution;		/* dim */
};

/* als_online.c */
extern void *online_get(AlsOnline *o, size_t width, size_t n);
extern void online_put_back(AlsOnline *o, void *pointer);	/* address of the pointer */
extern int32_t online_queue_pop(ItemQueue *q);	/* 0: empty */
extern bool online_mark_dirty(AlsOnline *o, int32_t item);

static inline double
length_squared(const float *x, int dim)
{
	double		sum = 0;

	for (int a = 0; a < dim; a++)
		sum += (double) x[a] * x[a];
	return sum;
}

/* als_online_solve.c: where one vector is replaced by another */
extern void online_move_gram(AlsOnline *o, const float *from, const float *to);
/* The sum of y y' over all items.  False: no memory. */
extern bool online_sum_gram(AlsOnline *o);

#endif							/* RECSYS_NUMERIC_ALS_ONLINE_IMPL_H */
