/*
 * item_pairs.c
 *	  See item_pairs.h.
 *
 * Models are told of a change one after the other, and each passes it on: numbers of
 * changes tell whether it is here already.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "models/item_pairs.h"

#define KINDS 2
#define BUILD_PRODUCTS ((int64) 10 * 1000 * 1000)

/* host->pairs */
typedef struct SharedPairs
{
	int			models[KINDS];
	ItemPairs  *pairs[KINDS];	/* NULL: not built */
} SharedPairs;

/* ---------------------------------------------------------------- come and go */

void
item_pairs_enter(ModelHost *host, PairsKind kind)
{
	if (host->pairs == NULL)
		host->pairs = MemoryContextAllocZero(host->context, sizeof(SharedPairs));
	((SharedPairs *) host->pairs)->models[kind]++;
}

void
item_pairs_leave(ModelHost *host, PairsKind kind)
{
	if (--((SharedPairs *) host->pairs)->models[kind] == 0)
		item_pairs_drop(host, kind);
}

ItemPairs *
item_pairs_get(ModelHost *host, PairsKind kind)
{
	return ((SharedPairs *) host->pairs)->pairs[kind];
}

void
item_pairs_drop(ModelHost *host, PairsKind kind)
{
	SharedPairs *shared = host->pairs;

	if (shared->pairs[kind])
		MemoryContextDelete(shared->pairs[kind]->context);
	shared->pairs[kind] = NULL;
}

Size
item_pairs_bytes(ModelHost *host, PairsKind kind)
{
	const SharedPairs *shared = host->pairs;
	const ItemPairs *pairs = shared->pairs[kind];

	return pairs && pairs->store ? pairs_bytes(pairs->store) / shared->models[kind] : 0;
}

/* --------------------------------------------------------------------- build */

void
item_pairs_give_up(ItemPairs *pairs)
{
	ereport(LOG,
			errmsg("item pairs do not fit into recsys.memory, neighbours are computed from the histories"),
			errhint("Raise recsys.memory for fresher neighbours."));
	if (pairs->store)
		pairs_destroy(pairs->store);
	pairs->store = NULL;
}

static bool
fill(ItemPairs *pairs, ModelHost *host, HistorySet *set)
{
	Allocator	scratch = histories_allocator(set->context);
	PairBuild  *build;
	bool		fits;

	pairs->store = pairs_create(&pairs->allocator,
								host->memory_left(host) / 4 * 3,	/* caches grow, too */
								pairs->with_counts);
	if (pairs->store == NULL || !pairs_expect(pairs->store, host->items->next))
		return false;
	build = pairs_build_begin(pairs->store, &set->h, &scratch);
	fits = build != NULL;
	while (fits && pairs_build_done(build) < pairs_build_total(build))
	{
		CHECK_FOR_INTERRUPTS();
		fits = pairs_build_step(build, BUILD_PRODUCTS);
		host->progress(host, "pairs", pairs_build_done(build), pairs_build_total(build));
	}
	if (build)
		pairs_build_end(build);
	return fits;
}

void
item_pairs_want(ModelHost *host, PairsKind kind, bool with_counts)
{
	ItemPairs  *pairs = item_pairs_get(host, kind);
	HistorySet *set;

	if (pairs && (pairs->with_counts || !with_counts))
		return;
	item_pairs_drop(host, kind);
	pairs = MemoryContextAllocZero(host->context, sizeof(ItemPairs));
	pairs->context = AllocSetContextCreate(host->context, "recsys pairs", ALLOCSET_DEFAULT_SIZES);
	pairs->allocator = histories_allocator(pairs->context);
	pairs->kind = kind;
	pairs->with_counts = with_counts;
	pairs->change_no = host->change_no;
	pairs->rescale_no = host->rescale_no;
	((SharedPairs *) host->pairs)->pairs[kind] = pairs;

	set = histories_collect(host, CurrentMemoryContext, false);
	pairs->histories = set->h.nusers;
	if (kind == PAIRS_OF_USERS)
		histories_count(set);
	if (!fill(pairs, host, set))
		item_pairs_give_up(pairs);
	MemoryContextDelete(set->context);
}

HistorySet *
item_pairs_collect(ModelHost *host, PairsKind kind)
{
	HistorySet *set = histories_collect(host, CurrentMemoryContext, true);

	if (kind == PAIRS_OF_USERS)
		histories_count(set);
	return set;
}

/* -------------------------------------------------------------------- change */

const double *
item_pairs_weights(ItemPairs *pairs, const ProfileChange *change)
{
	if (pairs->kind == PAIRS_OF_WEIGHTS)
		return change->weights;
	if (change->n > pairs->maxones)
	{
		if (pairs->ones)
			pfree(pairs->ones);
		pairs->maxones = 2 * change->n;
		pairs->ones = MemoryContextAllocHuge(pairs->context, sizeof(double) * (Size) pairs->maxones);
		for (int i = 0; i < pairs->maxones; i++)
			pairs->ones[i] = 1;
	}
	return pairs->ones;
}

double
item_pairs_delta(const ItemPairs *pairs, const ProfileChange *change)
{
	return pairs->kind == PAIRS_OF_WEIGHTS ? change->after - change->before : change->appears;
}

void
item_pairs_change(ItemPairs *pairs, ModelHost *host, const ProfileChange *change)
{
	if (pairs->change_no == host->change_no)
		return;
	pairs->change_no = host->change_no;
	if (change->n == 0)
		pairs->histories += change->appears;
	if (pairs->store &&
		!pairs_add(pairs->store, change->item, change->items, item_pairs_weights(pairs, change),
				   change->n, item_pairs_delta(pairs, change), change->appears))
		item_pairs_give_up(pairs);
}

void
item_pairs_rescale(ItemPairs *pairs, ModelHost *host, double factor)
{
	if (pairs->store && pairs->kind == PAIRS_OF_WEIGHTS && pairs->rescale_no != host->rescale_no)
		pairs_scale(pairs->store, factor * factor);
	pairs->rescale_no = host->rescale_no;
}

void
item_pairs_forget(ItemPairs *pairs, int32 item)
{
	if (pairs->store)
		pairs_clear_item(pairs->store, item);
}
