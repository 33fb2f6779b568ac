/*
 * item_knn.c
 *	  item_knn on the side of the stream worker: exact similarities between items,
 *	  kept up with every event, published as the k nearest neighbours.
 *
 * dot(i,j) = sum over users of r(u,i) r(u,j).  When r(u,i) goes from a to b,
 * dot(i,j) grows by (b - a) r(u,j) for every other item j of the user's
 * history (Papagelis et al. 2005), which runs backwards for retraction.  The other
 * similarities (numeric/measure.h) take the same sums of weights of 1.
 *
 * The dots (item_pairs.h) are derived state, shared by the item_knn models of a
 * source.  Which rows have to be published is known without looking at all of
 * them (numeric/neighbors, one per model); neighbor_publish.c says what happens
 * where the dots do not fit into memory.
 *
 * Two of the similarities depend on how many users there are, so that each new one moves
 * all scores a little.  The lists are made anew when that number has moved by more
 * than they may be off, and while nobody waits no more often than takes a twentieth of
 * the time.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "models/item_knn.h"
#include "models/item_pairs.h"
#include "models/neighbor_publish.h"

/* A decayed shrinkage is adjusted when it is off by this share. */
#define SHRINKAGE_DRIFT 5e-4

/* What the number of users may be off by, as a share, and what to make all lists anew
 * for it may take, beside the time until it is done again. */
#define TOTAL_DRIFT 1e-4
#define TOTAL_PAUSE 19

typedef struct ItemKnn
{
	NeighborModel base;
	Measure		measure;
	PairsKind	kind;
	double		shrinkage;		/* as declared */
	double		used_shrinkage; /* relative to the landmark */
	int			min_support;
	bool		normalize;
	double		damping;
	double		total;			/* users, as the lists know it */
	bool		following;		/* they are being made anew for it ... */
	TimestampTz following_cost; /* ... which has taken so long */
	TimestampTz total_pause;
} ItemKnn;

/* --------------------------------------------------------------------- build */

/*
 * shrinkage applies to values decayed to now.  Dots and norms are relative to
 * the landmark, so the shrinkage is brought there, too.
 */
static double
shrinkage_now(ItemKnn *knn)
{
	const RecsysSource *source = knn->base.host->source;
	double		age;

	if (source->half_life == 0 || knn->shrinkage == 0 || knn->kind == PAIRS_OF_USERS)
		return knn->shrinkage;
	age = (double) GetCurrentTimestamp() / USECS_PER_SEC / source->half_life -
		knn->base.host->profiles->landmark;
	return knn->shrinkage * exp2(2 * age);
}

static double
users_of(const void *arg, int32_t item)
{
	const Items *items = ((const ItemKnn *) arg)->base.host->items;

	return item < items->next ? items->totals[item].users : 0;
}

static double
trust_in(const void *arg, int32_t item)
{
	return item_knn_trust(users_of(arg, item), ((const ItemKnn *) arg)->damping);
}

static void
create_lists(ItemKnn *knn)
{
	NeighborParams params = {
		.k = knn->base.k,.min_support = knn->min_support,.early_eps = NEIGHBORS_EARLY_EPS,
		.normalize = knn->normalize,.trust = knn->damping > 0 ? trust_in : NULL,.arg = knn,
		.measure = knn->measure,.sumsq = knn->kind == PAIRS_OF_USERS ? users_of : NULL
	};

	knn->used_shrinkage = params.shrinkage = shrinkage_now(knn);
	neighbor_model_lists(&knn->base, &params);
	neighbors_set_sumsq(knn->base.lists, knn->base.host->items->sumsq, knn->base.host->items->next);
	neighbor_model_load(&knn->base, knn->base.host->items->next - 1);
}

/* The number of users becomes what it is: all lists are to be made anew. */
static void
set_total(ItemKnn *knn)
{
	knn->total = (double) item_pairs_get(knn->base.host, knn->kind)->histories;
	neighbors_set_total(knn->base.lists, knn->total);
	if (!neighbors_touch_all(knn->base.lists, knn->base.host->items->next - 1))
		neighbor_out_of_memory(&knn->base);
}

static void
item_knn_build(void *state)
{
	ItemKnn    *knn = state;

	create_lists(knn);
	item_pairs_want(knn->base.host, knn->kind, knn->base.with_counts);
	if (measure_needs_all(knn->measure))
		set_total(knn);
}

/* -------------------------------------------------------------------- change */

static void
item_knn_change(void *state, const ProfileChange *change)
{
	ItemKnn    *knn = state;
	const Items *items = knn->base.host->items;
	ItemPairs  *pairs = item_pairs_get(knn->base.host, knn->kind);
	double		delta = item_pairs_delta(pairs, change);

	if (delta == 0 && change->appears == 0)
		return;
	item_pairs_change(pairs, knn->base.host, change);
	/* a new item may have moved the array */
	neighbors_set_sumsq(knn->base.lists, items->sumsq, items->next);
	if (!neighbors_touch(knn->base.lists, change->item, change->items, item_pairs_weights(pairs, change),
						 change->n, delta))
		neighbor_out_of_memory(&knn->base);
}

static void
item_knn_rescale(void *state, double factor)
{
	ItemKnn    *knn = state;

	if (knn->kind == PAIRS_OF_USERS)
		return;
	item_pairs_rescale(item_pairs_get(knn->base.host, knn->kind), knn->base.host, factor);
	create_lists(knn);
}

static void
item_knn_forget_item(void *state, int32 item)
{
	ItemKnn    *knn = state;

	item_pairs_forget(item_pairs_get(knn->base.host, knn->kind), item);
	if (!neighbors_forget(knn->base.lists, item))
		neighbor_out_of_memory(&knn->base);
}

/* All histories are empty: so are the rows, which the next publication finds. */
static void
item_knn_reset(void *state)
{
	ItemKnn    *knn = state;

	item_pairs_drop(knn->base.host, knn->kind);
	item_knn_build(knn);
}

static Size
item_knn_memory(void *state)
{
	ItemKnn    *knn = state;

	return item_pairs_bytes(knn->base.host, knn->kind) +
		(knn->base.lists ? neighbors_bytes(knn->base.lists) : 0);
}

/* ------------------------------------------------------------------- publish */

/* Dots that have lost most of what they were are computed afresh.  True if
 * there were any: the lists have to be refreshed again. */
static bool
repair_worn(ItemKnn *knn, ItemPairs *pairs)
{
	HistorySet *set = NULL;
	RowSum	   *sum = NULL;
	Allocator	scratch;
	int32		item;

	while ((item = neighbors_next_worn(knn->base.lists)) != 0)
	{
		PairRowView row;
		int32	   *js;
		float	   *dots;
		int32	   *counts;
		int32		n = 0;

		CHECK_FOR_INTERRUPTS();
		if (set == NULL)
		{
			set = histories_collect(knn->base.host, CurrentMemoryContext, true);
			scratch = histories_allocator(set->context);
			sum = rowsum_create(&scratch, pairs->with_counts);
			if (sum == NULL || !rowsum_reach(sum, knn->base.host->items->next))
				neighbor_out_of_memory(&knn->base);
		}
		histories_sum_row(set, sum, item, &row);
		js = palloc_extended(sizeof(int32) * (Size) Max(row.n, 1), MCXT_ALLOC_HUGE);
		dots = palloc_extended(sizeof(float) * (Size) Max(row.n, 1), MCXT_ALLOC_HUGE);
		counts = palloc_extended(sizeof(int32) * (Size) Max(row.n, 1), MCXT_ALLOC_HUGE);
		for (int32 x = 0; x < row.n; x++)
		{
			int32		j = row.js ? row.js[x] : x;

			if (row.dots[x] == 0 || j == item || j == 0)
				continue;
			js[n] = j;
			dots[n] = row.dots[x];
			counts[n++] = row.counts ? row.counts[x] : 0;
		}
		if (!pairs_set(pairs->store, item, n, js, dots, pairs->with_counts ? counts : NULL))
		{
			item_pairs_give_up(pairs);
			break;
		}
		if (!neighbors_touch_row(knn->base.lists, item))
			neighbor_out_of_memory(&knn->base);
		pfree(js);
		pfree(dots);
		pfree(counts);
	}
	if (set)
		MemoryContextDelete(set->context);
	return set != NULL;
}

static bool
repair(void *model)
{
	ItemKnn    *knn = model;

	return repair_worn(knn, item_pairs_get(knn->base.host, knn->kind));
}

static PairStore *
stored_pairs(void *model)
{
	ItemKnn    *knn = model;

	return item_pairs_get(knn->base.host, knn->kind)->store;
}

static HistorySet *
collect(void *model)
{
	ItemKnn    *knn = model;

	return item_pairs_collect(knn->base.host, knn->kind);
}

static void
sum_row(void *model, const HistorySet *set, RowSum *sum, int32 item, PairRowView *row)
{
	(void) model;
	histories_sum_row(set, sum, item, row);
}

static int32
max_number(void *model)
{
	return ((NeighborModel *) model)->host->items->next;
}

/* Takes up how many users there are, now or later. */
static void
follow_total(ItemKnn *knn, bool all)
{
	double		histories = (double) item_pairs_get(knn->base.host, knn->kind)->histories;

	if (fabs(histories - knn->total) <= TOTAL_DRIFT * knn->total)
		return;
	if (all || GetCurrentTimestamp() >= knn->total_pause)
	{
		set_total(knn);
		knn->following = true;
	}
	else
		knn->base.host->put_off = true;
}

static bool
publish_counts(ItemKnn *knn, bool all)
{
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz end;
	bool		done;

	if (measure_needs_all(knn->measure))
		follow_total(knn, all);
	done = neighbor_publish(&knn->base, all);
	if (!knn->following)
		return done;
	end = GetCurrentTimestamp();
	knn->following_cost += end - start;
	if (done)
	{
		knn->total_pause = end + TOTAL_PAUSE * knn->following_cost;
		knn->following = false;
		knn->following_cost = 0;
	}
	return done;
}

static bool
item_knn_publish(void *state, bool all)
{
	ItemKnn    *knn = state;
	const Items *items = knn->base.host->items;

	if (knn->kind == PAIRS_OF_USERS)
		return publish_counts(knn, all);
	if (knn->shrinkage > 0 &&
		fabs(shrinkage_now(knn) - knn->used_shrinkage) > SHRINKAGE_DRIFT * knn->used_shrinkage)
		create_lists(knn);
	neighbors_set_sumsq(knn->base.lists, items->sumsq, items->next);
	return neighbor_publish(&knn->base, all);
}

/* ------------------------------------------------------------ open and close */

static const NeighborMethods methods = {
	.store = stored_pairs,
	.repair = repair,
	.collect = collect,
	.sum_row = sum_row,
	.max_number = max_number,
};

static void *
item_knn_open(ModelHost *host, const RecsysModel *model)
{
	ItemKnn    *knn = neighbor_model_open(sizeof(ItemKnn), &methods, host, model);

	knn->shrinkage = params_get(model->params, "shrinkage");
	knn->min_support = (int) params_get(model->params, "min_support");
	knn->measure = item_knn_measure(model->params);
	knn->kind = knn->measure == MEASURE_COSINE ? PAIRS_OF_WEIGHTS : PAIRS_OF_USERS;
	/* or the dots are what has to be that many */
	knn->base.with_counts = knn->kind == PAIRS_OF_WEIGHTS && knn->min_support > 1;
	knn->normalize = params_get(model->params, "normalize") != 0;
	knn->damping = params_get(model->params, "damping");
	item_pairs_enter(host, knn->kind);
	return knn;
}

static void
item_knn_close(void *state)
{
	ItemKnn    *knn = state;

	item_pairs_leave(knn->base.host, knn->kind);
	neighbor_model_close(&knn->base);
}

const ModelAlgorithm item_knn_algorithm = {
	.name = "item_knn",
	.params = item_knn_params,
	.create_sql = neighbor_table_create_sql,
	.drop_sql = neighbor_table_drop_sql,
	.similarity_sql = neighbor_table_similarity_sql,
	.open = item_knn_open,
	.close = item_knn_close,
	.build = item_knn_build,
	.change = item_knn_change,
	.publish = item_knn_publish,
	.forget_item = item_knn_forget_item,
	.reset = item_knn_reset,
	.rescale = item_knn_rescale,
	.memory = item_knn_memory,
	.recommend = item_knn_recommend,
	.similar_items = neighbor_table_similar_items,
	.predict = item_knn_predict,
	.explain = item_knn_explain,
	.neighbors_are = "items",
};
