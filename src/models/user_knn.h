/*
 * user_knn.h
 *	  The parts of user_knn: user_knn.c keeps its tables up to date in the stream
 *	  worker, user_knn_search.c finds a user's neighbours in them, and
 *	  user_knn_serve.c declares the model and answers from the neighbours.
 *
 * For users u and v,
 *
 *		sim(u,v) = sum over common items i of w(i) r(u,i) r(v,i) / (|u| |v|)
 *
 * with lengths over all items of each.  similar_users() has w(i) = 1, the plain
 * cosine.  Everything else weighs items by how rare they are,
 *
 *		w(i) = ln(1 + N / n(i)) ^ idf
 *
 * with N users that have a history and n(i) that have the item: what few like
 * tells more of a taste.
 */
#ifndef RECSYS_USER_KNN_H
#define RECSYS_USER_KNN_H

#include "postgres.h"

#include <math.h>

#include "models/model.h"

/* The model's tables: what is added to its name, and to that for the index. */
#define USER_KNN_AUDIENCES	"_audiences"
#define USER_KNN_NORMS		"_norms"
#define USER_KNN_STATE		"_state"
#define USER_KNN_INDEX		"_pkey"

/* Columns of the state row, and their types. */
enum
{
	USER_KNN_SINGLETON, USER_KNN_LSN, USER_KNN_LIMIT, USER_KNN_USERS, USER_KNN_NCOLUMNS
};

extern const Oid user_knn_state_types[USER_KNN_NCOLUMNS];
extern const ParamSpec user_knn_params[];

/* ---- user_knn.c: the stream worker's side ------------------------------- */

extern void *user_knn_open(ModelHost *host, const RecsysModel *model);
extern void user_knn_close(void *state);
extern void user_knn_build(void *state);
extern void user_knn_change(void *state, const ProfileChange *change);
extern void user_knn_write(void *state);
extern void user_knn_evict(void *state, Size target);
extern void user_knn_flush(void *state);
extern void user_knn_forget_item(void *state, int32 item);
extern void user_knn_reset(void *state);
extern void user_knn_rescale(void *state, double factor);
extern Size user_knn_memory(void *state);

/* ---- user_knn_search.c: neighbours --------------------------------------- */

/* The weight of an item that n of N users have. */
static inline double
user_knn_item_weight(double idf, double nusers, double n)
{
	return idf == 0 || n <= 0 ? 1 : pow(log1p(nusers / n), idf);
}

typedef struct Neighbor
{
	int32		user;
	double		sim;
	double		scale;			/* 1 / (|u| |v|) */
	History		history;		/* v's; times are missing */
} Neighbor;

typedef struct NeighborQuery
{
	const History *history;		/* of the user whose neighbours are wanted */
	double		idf;
	int			k;
	int			spare;			/* candidates beyond k that are looked at in full
								 * where audiences are cut */
	int			min_common;
	int32		having;			/* only users with this item, unless 0 */
} NeighborQuery;

/* What a query has found; in CurrentMemoryContext. */
typedef struct Neighborhood
{
	int			n;
	Neighbor   *neighbors;		/* the k best or fewer, best first, sim > 0 */
	double	   *item_weights;	/* w(i) of the history's items */
} Neighborhood;

extern void user_knn_search(ServeContext *cx, const NeighborQuery *query, Neighborhood *result);

/* ---- user_knn_items.c: items by their users --------------------------------- */

extern int	user_knn_similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out);

/* ---- item -> index, of a history ------------------------------------------ */

typedef struct ItemIndex
{
	uint32		mask;
	int32	   *items;			/* 0 = free */
	int32	   *places;
} ItemIndex;

extern void item_index_create(ItemIndex *index, int n, const int32 *items);

/* The item's place in the history, or -1. */
static inline int
item_index_find(const ItemIndex *index, int32 item)
{
	for (uint32 s = (uint32) item * 0x9E3779B1u >> 7 & index->mask; index->items[s] != 0;
		 s = (s + 1) & index->mask)
		if (index->items[s] == item)
			return index->places[s];
	return -1;
}

#endif							/* RECSYS_USER_KNN_H */
