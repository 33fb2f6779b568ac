/*
 * item_knn.c
 *	  item_knn on the side of the stream worker: exact cosine between items,
 *	  kept up with every event, published as the k nearest neighbours.
 *
 * dot(i,j) = sum over users of r(u,i) r(u,j).  When r(u,i) goes from a to b,
 * dot(i,j) grows by (b - a) r(u,j) for every other item j of the user's
 * history (Papagelis et al. 2005), which runs backwards for retraction.
 *
 * The dots (numeric/pairs) are derived state: they live in memory only, are
 * shared by all item_knn models of a source and are built from the histories
 * in one pass at the start.  Which rows have to be published is known without
 * looking at all of them (numeric/neighbors, one per model).
 *
 * Where the dots do not fit into recsys.memory, none are kept: a publication
 * then collects all histories (12 bytes per interaction, for its duration) and
 * computes the rows that it needs from their items' users.  That is slower and
 * publishes less often, and gives the same neighbours.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "models/item_knn.h"
#include "models/neighbor_publish.h"

#define BUILD_PRODUCTS ((int64) 10 * 1000 * 1000)

/* A decayed shrinkage is adjusted when it is off by this share. */
#define SHRINKAGE_DRIFT 5e-4

/* What the item_knn models of a source share. */
typedef struct SharedPairs
{
	MemoryContext context;
	Allocator	allocator;
	PairStore  *store;			/* NULL: they do not fit */
	bool		with_counts;
	uint64		change_no;		/* newest change that is in the store */
	uint64		rescale_no;		/* newest rescaling, likewise */
} SharedPairs;

typedef struct ItemKnn
{
	NeighborModel base;
	MemoryContext context;
	Allocator	allocator;
	double		shrinkage;		/* as declared */
	double		used_shrinkage; /* relative to the landmark */
	int			min_support;
	bool		normalize;
	double		damping;
} ItemKnn;

/* --------------------------------------------------------------------- build */

static void
drop_pairs(ModelHost *host)
{
	SharedPairs *shared = host->pairs;

	if (shared == NULL)
		return;
	MemoryContextDelete(shared->context);
	host->pairs = NULL;
}

/* What does not fit stays away for as long as the models run. */
static void
give_up_pairs(SharedPairs *shared)
{
	ereport(LOG,
			errmsg("item pairs do not fit into recsys.memory, neighbours are computed from the histories"),
			errhint("Raise recsys.memory for fresher neighbours."));
	if (shared->store)
		pairs_destroy(shared->store);
	shared->store = NULL;
}

static void
build_pairs(ItemKnn *knn, SharedPairs *shared)
{
	ModelHost  *host = knn->base.host;
	HistorySet *set = histories_collect(host, CurrentMemoryContext, false);
	Allocator	scratch = histories_allocator(set->context);
	PairBuild  *build;
	bool		fits;

	shared->store = pairs_create(&shared->allocator,
								 host->memory_left(host) / 4 * 3,	/* caches grow, too */
								 shared->with_counts);
	if (shared->store == NULL)
	{
		/* no memory is left for them at all */
		give_up_pairs(shared);
		MemoryContextDelete(set->context);
		return;
	}
	fits = pairs_expect(shared->store, host->items->next);
	build = fits ? pairs_build_begin(shared->store, &set->h, &scratch) : NULL;
	fits = build != NULL;
	while (fits && pairs_build_done(build) < pairs_build_total(build))
	{
		CHECK_FOR_INTERRUPTS();
		fits = pairs_build_step(build, BUILD_PRODUCTS);
		host->progress(host, "pairs", pairs_build_done(build), pairs_build_total(build));
	}
	if (build)
		pairs_build_end(build);
	if (!fits)
		give_up_pairs(shared);
	MemoryContextDelete(set->context);
}

/* The pairs, built by the first model that needs them; again if this one needs
 * counts and the others did not. */
static void
want_pairs(ItemKnn *knn)
{
	ModelHost  *host = knn->base.host;
	SharedPairs *shared = host->pairs;
	bool		counts = knn->min_support > 1;

	if (shared && (shared->with_counts || !counts))
		return;
	drop_pairs(host);
	shared = MemoryContextAllocZero(host->context, sizeof(SharedPairs));
	shared->context = AllocSetContextCreate(host->context, "recsys pairs", ALLOCSET_DEFAULT_SIZES);
	shared->allocator = histories_allocator(shared->context);
	shared->with_counts = counts;
	shared->change_no = host->change_no;
	shared->rescale_no = host->rescale_no;
	host->pairs = shared;
	build_pairs(knn, shared);
}

/*
 * shrinkage applies to values decayed to now.  Dots and norms are relative to
 * the landmark, so the shrinkage is brought there, too.
 */
static double
shrinkage_now(ItemKnn *knn)
{
	const RecsysSource *source = knn->base.host->source;
	double		age;

	if (source->half_life == 0 || knn->shrinkage == 0)
		return knn->shrinkage;
	age = (double) GetCurrentTimestamp() / USECS_PER_SEC / source->half_life -
		knn->base.host->profiles->landmark;
	return knn->shrinkage * exp2(2 * age);
}

static double
trust_in(const void *arg, int32_t item)
{
	const ItemKnn *knn = arg;
	const Items *items = knn->base.host->items;

	return item_knn_trust(item < items->next ? items->totals[item].users : 0, knn->damping);
}

static void
create_lists(ItemKnn *knn)
{
	NeighborParams params = {
		.k = knn->base.k,.min_support = knn->min_support,.early_eps = NEIGHBORS_EARLY_EPS,
		.normalize = knn->normalize,.trust = knn->damping > 0 ? trust_in : NULL,.arg = knn
	};

	if (knn->base.lists)
		neighbors_destroy(knn->base.lists);
	knn->used_shrinkage = params.shrinkage = shrinkage_now(knn);
	/* the lists are what the model is: no limit but the machine's memory */
	knn->base.lists = neighbors_create(&knn->allocator, SIZE_MAX, &params);
	if (knn->base.lists == NULL)
		neighbor_out_of_memory(&knn->base);
	neighbors_set_sumsq(knn->base.lists, knn->base.host->items->sumsq, knn->base.host->items->next);
	if (!neighbor_table_load(knn->base.lists, knn->base.host->source, knn->base.model, NULL))
		neighbor_out_of_memory(&knn->base);
	if (!neighbors_touch_all(knn->base.lists, knn->base.host->items->next - 1))
		neighbor_out_of_memory(&knn->base);
}

static void
item_knn_build(void *state)
{
	ItemKnn    *knn = state;

	create_lists(knn);
	want_pairs(knn);
}

/* -------------------------------------------------------------------- change */

static void
item_knn_change(void *state, const ProfileChange *change)
{
	ItemKnn    *knn = state;
	SharedPairs *shared = knn->base.host->pairs;
	double		delta = change->after - change->before;

	if (delta == 0 && change->appears == 0)
		return;
	if (shared->store && shared->change_no != knn->base.host->change_no)
	{
		shared->change_no = knn->base.host->change_no;
		if (!pairs_add(shared->store, change->item, change->items, change->weights,
					   change->n, delta, change->appears))
			give_up_pairs(shared);
	}
	/* a new item may have moved the array */
	neighbors_set_sumsq(knn->base.lists, knn->base.host->items->sumsq, knn->base.host->items->next);
	if (!neighbors_touch(knn->base.lists, change->item, change->items, change->weights,
						 change->n, delta))
		neighbor_out_of_memory(&knn->base);
}

static void
item_knn_rescale(void *state, double factor)
{
	ItemKnn    *knn = state;
	SharedPairs *shared = knn->base.host->pairs;

	/* the models are told one after the other: the pairs are scaled once */
	if (shared->store && shared->rescale_no != knn->base.host->rescale_no)
		pairs_scale(shared->store, factor * factor);
	shared->rescale_no = knn->base.host->rescale_no;
	create_lists(knn);
}

static void
item_knn_forget_item(void *state, int32 item)
{
	ItemKnn    *knn = state;
	SharedPairs *shared = knn->base.host->pairs;

	if (shared->store)
		pairs_clear_item(shared->store, item);
	if (!neighbors_forget(knn->base.lists, item))
		neighbor_out_of_memory(&knn->base);
}

/* All histories are empty: so are the rows, which the next publication finds. */
static void
item_knn_reset(void *state)
{
	ItemKnn    *knn = state;

	drop_pairs(knn->base.host);
	create_lists(knn);
	want_pairs(knn);
}

static Size
item_knn_memory(void *state)
{
	ItemKnn    *knn = state;
	SharedPairs *shared = knn->base.host->pairs;
	Size		pairs = shared && shared->store ? pairs_bytes(shared->store) : 0;

	return pairs / Max(knn->base.host->nitem_knn, 1) +
		(knn->base.lists ? neighbors_bytes(knn->base.lists) : 0);
}

/* ------------------------------------------------------------------- publish */

/* Dots that have lost most of what they were are computed afresh.  True if
 * there were any: the lists have to be refreshed again. */
static bool
repair_worn(ItemKnn *knn, SharedPairs *shared)
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
			sum = rowsum_create(&scratch, shared->with_counts);
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
		if (!pairs_set(shared->store, item, n, js, dots, shared->with_counts ? counts : NULL))
		{
			give_up_pairs(shared);
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

	return repair_worn(knn, knn->base.host->pairs);
}

static PairStore *
stored_pairs(void *model)
{
	return ((SharedPairs *) ((NeighborModel *) model)->host->pairs)->store;
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

static bool
item_knn_publish(void *state, bool all)
{
	ItemKnn    *knn = state;
	const Items *items = knn->base.host->items;

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
	.sum_row = sum_row,
	.max_number = max_number,
};

static void *
item_knn_open(ModelHost *host, const RecsysModel *model)
{
	MemoryContext context = AllocSetContextCreate(host->context, "recsys item_knn",
												  ALLOCSET_DEFAULT_SIZES);
	ItemKnn    *knn = MemoryContextAllocZero(context, sizeof(ItemKnn));

	knn->base.methods = &methods;
	knn->base.host = host;
	knn->base.model = model;
	knn->context = context;
	knn->allocator = histories_allocator(context);
	knn->base.k = (int) params_get(model->params, "k");
	knn->shrinkage = params_get(model->params, "shrinkage");
	knn->min_support = (int) params_get(model->params, "min_support");
	knn->base.with_counts = knn->min_support > 1;
	knn->normalize = params_get(model->params, "normalize") != 0;
	knn->damping = params_get(model->params, "damping");
	host->nitem_knn++;
	return knn;
}

static void
item_knn_close(void *state)
{
	ItemKnn    *knn = state;

	if (--knn->base.host->nitem_knn == 0)
		drop_pairs(knn->base.host);
	MemoryContextDelete(knn->context);
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
};
