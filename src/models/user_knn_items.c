/*
 * user_knn_items.c
 *	  Items like one, from the users who have it: what similar_items() answers for
 *	  user_knn.
 *
 * The cosine of the columns, as of item_knn without shrinkage,
 *
 *		score(i,j) = sum over users u of r(u,i) r(u,j) / (|i| |j|)
 *
 * over the histories of i's audience.  Where that is cut to the newest users, the
 * sum is taken for as much more as users have the item, so that the score is an
 * estimate; with all users in it, it is exact.
 *
 * The lengths stand in the table of items, histories in that of profiles: all are of
 * the last flush.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "models/user_knn.h"
#include "numeric/topk.h"
#include "state/audiences.h"
#include "state/checked.h"

/* Columns of profiles and items, from 1. */
#define PROFILE_LANDMARK	3
#define PROFILE_ITEMS	4
#define PROFILE_WEIGHTS	5
#define ITEM_USERS		3
#define ITEM_SUMSQ		5
#define ITEM_LANDMARK	6

static const Oid profile_types[] = {INT4OID, INT4OID, INT4OID, INT4ARRAYOID, FLOAT8ARRAYOID};

/* Sums by item: a hash table with linear probing. */
typedef struct Dots
{
	uint32		mask;
	uint32		n;
	int32	   *items;			/* 0 = free */
	double	   *sums;
} Dots;

static void
allocate(Dots *dots, uint32 nslots)
{
	dots->mask = nslots - 1;
	dots->n = 0;
	dots->items = palloc_extended(sizeof(int32) * (Size) nslots, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	dots->sums = palloc_extended(sizeof(double) * (Size) nslots, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static void
add_dot(Dots *dots, int32 item, double product)
{
	uint32		s = ((uint32) item * 0x9E3779B1u >> 7) & dots->mask;

	while (dots->items[s] != 0 && dots->items[s] != item)
		s = (s + 1) & dots->mask;
	dots->sums[s] += product;
	if (dots->items[s] == item)
		return;
	dots->items[s] = item;
	if (++dots->n > dots->mask / 2)
	{
		Dots		old = *dots;

		allocate(dots, (old.mask + 1) * 2);
		for (uint32 x = 0; x <= old.mask; x++)
			if (old.items[x] != 0)
				add_dot(dots, old.items[x], old.sums[x]);
		pfree(old.items);
		pfree(old.sums);
	}
}

/* The user's history, times what the user gave to the item. */
static void
add_history(ServeContext *cx, StateTable *profiles, int32 user, double weight, Dots *dots)
{
	Datum		key = Int32GetDatum(user);

	for (TupleTableSlot *slot = table_get(profiles, cx->snapshot, 1, &key);
		 slot; slot = table_get_next(profiles))
	{
		double		factor = weight *
			cx->decay(cx, DatumGetInt32(checked_attribute(slot, PROFILE_LANDMARK)));
		int			n,
					nweights;
		int32	   *items = checked_array(checked_attribute(slot, PROFILE_ITEMS), INT4OID, &n);
		double	   *weights = checked_array(checked_attribute(slot, PROFILE_WEIGHTS), FLOAT8OID,
											&nweights);

		for (int i = 0; i < Min(n, nweights); i++)
			if (items[i] > 0)
				add_dot(dots, items[i], factor * weights[i]);
	}
}

/* All of the audience; returns how many users. */
static int
add_audience(ServeContext *cx, int32 item, Dots *dots)
{
	char	   *name = psprintf("%s%s", NameStr(cx->model->name), USER_KNN_AUDIENCES);
	StateTable *audiences = checked_open(cx->source, name, psprintf("%s%s", name, USER_KNN_INDEX),
										 AUDIENCE_ITEM + 1, AUDIENCE_NCOLUMNS, audience_types);
	StateTable *profiles = checked_open(cx->source, "profiles", "profiles_pkey", 1,
										lengthof(profile_types), profile_types);
	Datum		key = Int32GetDatum(item);
	int			nusers = 0;

	for (TupleTableSlot *slot = table_get(audiences, cx->snapshot, 1, &key);
		 slot; slot = table_get_next(audiences))
	{
		AudienceRow row;
		double		factor;

		audience_row_read(slot, false, &row);
		factor = cx->decay(cx, row.landmark);
		for (int i = 0; i < row.n; i++)
		{
			CHECK_FOR_INTERRUPTS();
			add_history(cx, profiles, row.users[i], row.weights[i] * factor, dots);
		}
		nusers += row.n;
	}
	checked_close(profiles);
	checked_close(audiences);
	return nusers;
}

/* |i| of now, and the number of users; 0 if there is no such item. */
static double
length_of_item(ServeContext *cx, StateTable *items, int32 item, int32 *nusers)
{
	Datum		key = Int32GetDatum(item);
	TupleTableSlot *slot = table_get(items, cx->snapshot, 1, &key);

	if (slot == NULL)
		return 0;
	*nusers = DatumGetInt32(checked_attribute(slot, ITEM_USERS));
	return sqrt(Max(DatumGetFloat8(checked_attribute(slot, ITEM_SUMSQ)), 0)) *
		cx->decay(cx, DatumGetInt32(checked_attribute(slot, ITEM_LANDMARK)));
}

static void
rank_items(ServeContext *cx, int32 item, int audience, const Dots *dots, TopK *top)
{
	/* the key column's type is the source's own, and not looked at */
	const Oid	item_types[] = {INT4OID, cx->source->item.type, INT4OID, FLOAT8OID, FLOAT8OID, INT4OID};
	StateTable *items = checked_open(cx->source, "items", "items_pkey", 1, lengthof(item_types),
									 item_types);
	int32		users = 0,
				other;
	double		length = length_of_item(cx, items, item, &users);
	double		scale = audience > 0 ? Max(users, audience) / (double) audience / length : 0;

	for (uint32 s = 0; s <= dots->mask && length > 0; s++)
	{
		double		score;

		CHECK_FOR_INTERRUPTS();
		if (dots->items[s] == 0 || dots->items[s] == item || !(dots->sums[s] > 0))
			continue;
		score = scale * dots->sums[s] / length_of_item(cx, items, dots->items[s], &other);
		if (score > 0 && isfinite(score))
			topk_push(top, dots->items[s], (float) Min(score, 1));
	}
	checked_close(items);
}

int
user_knn_similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out)
{
	RankKey    *ranked = palloc_extended(sizeof(RankKey) * (Size) k, MCXT_ALLOC_HUGE);
	Dots		dots;
	TopK		top;
	int			audience;

	allocate(&dots, 1024);
	audience = add_audience(cx, item, &dots);
	topk_init(&top, ranked, k);
	rank_items(cx, item, audience, &dots, &top);
	rank_sort(ranked, top.n);
	for (size_t i = 0; i < top.n; i++)
		out[i] = (ScoredItem) {rank_item(ranked[i]), rank_score(ranked[i])};
	return (int) top.n;
}
