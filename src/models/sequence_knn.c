/*
 * sequence_knn.c
 *	  sequence_knn on the side of the stream worker: counts of what comes after
 *	  what, kept up with every event, published as the k most frequent successors.
 *
 * A change of a history is an item that leaves its place and one that
 * enters another (numeric/sequence.h): a new event at the end makes ten pairs
 * with those before it, and closes the gap that a repeated item leaves behind.
 * The counts are in a PairStore of the model's own, derived from the histories in one
 * pass at the start, and lists follow them as those of item_knn do
 * (numeric/neighbors.h).  Those lists divide by the norms of both numbers, of which one
 * is always what 1 is in the store, and the other one 1.
 *
 * Where the counts do not fit into recsys.memory, none are kept: a publication
 * then computes the rows that it needs from all histories.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "models/neighbor_publish.h"
#include "models/sequence_knn.h"
#include "numeric/sequence.h"

#define BUILD_HISTORIES 1024

typedef struct SequenceKnn
{
	NeighborModel base;
	int			gap;
	PairStore  *store;			/* NULL: the counts do not fit */
	double	   *squares;		/* of the norms, which stay as they are, by number */
	int32		nsquares;
	int32		nknown;			/* numbers that the lists know the norms of */
} SequenceKnn;

static const NeighborCoding coding = {
	.owner = sequence_earlier,
	.entry = sequence_later,
	.is_owner = sequence_is_earlier,
	.item = sequence_item,
};

/* What does not fit stays away for as long as the model runs. */
static void
give_up_counts(SequenceKnn *knn)
{
	ereport(LOG,
			errmsg("successions of items do not fit into recsys.memory, those of model \"%s\" are computed from the histories",
				   NameStr(knn->base.model->name)),
			errhint("Raise recsys.memory for fresher recommendations."));
	if (knn->store)
		pairs_destroy(knn->store);
	knn->store = NULL;
}

/* --------------------------------------------------------------------- build */

/* Norms of all numbers of the items that there are; new ones are told to the lists. */
static void
reach_items(SequenceKnn *knn)
{
	int32		n = sequence_later(knn->base.host->items->next) + 1;

	if (n > knn->nsquares)
	{
		int32		more = n + n / 2;

		knn->squares = knn->squares == NULL ?
			MemoryContextAllocHuge(knn->base.context, sizeof(double) * (Size) more) :
			repalloc_huge(knn->squares, sizeof(double) * (Size) more);
		for (int32 x = knn->nsquares; x < more; x++)
			knn->squares[x] = sequence_is_earlier(x) ? (double) SEQUENCE_UNIT * SEQUENCE_UNIT : 1;
		knn->nsquares = more;
	}
	neighbors_set_sumsq(knn->base.lists, knn->squares, knn->nsquares);
	/* a pair touches one of its numbers only */
	for (; knn->nknown < sequence_earlier(knn->base.host->items->next); knn->nknown++)
		if (!neighbors_touch_row(knn->base.lists, knn->nknown))
			neighbor_out_of_memory(&knn->base);
}

static void
create_lists(SequenceKnn *knn)
{
	NeighborParams params = {.k = knn->base.k,.early_eps = NEIGHBORS_EARLY_EPS};

	neighbor_model_lists(&knn->base, &params);
	knn->nknown = sequence_earlier(knn->base.host->items->next);	/* by neighbors_touch_all() */
	reach_items(knn);
	neighbor_model_load(&knn->base, sequence_later(knn->base.host->items->next - 1));
}

/* The pairs of one history. */
static bool
count_history(SequenceKnn *knn, const int32 *items, int n)
{
	int32		numbers[SEQUENCE_MAX_GAP];
	double		units[SEQUENCE_MAX_GAP];

	for (int at = 0; at + 1 < n; at++)
	{
		int			count = sequence_row(items, n, at, true, knn->gap, numbers, units);

		if (!pairs_add(knn->store, sequence_earlier(items[at]), numbers, units, count, 1, 0))
			return false;
	}
	return true;
}

static void
count_all(SequenceKnn *knn)
{
	ModelHost  *host = knn->base.host;
	HistorySet *set = histories_collect(host, CurrentMemoryContext, false);
	const Histories *h = &set->h;
	bool		fits;

	if (knn->store)
		pairs_destroy(knn->store);
	knn->store = NULL;			/* memory_left() asks how large it is */
	knn->store = pairs_create(&knn->base.allocator, host->memory_left(host) / 4 * 3, false);
	fits = knn->store && pairs_expect(knn->store, sequence_later(host->items->next));
	for (int32 u = 0; u < h->nusers && fits; u++)
	{
		fits = count_history(knn, h->items + h->offsets[u], (int) (h->offsets[u + 1] - h->offsets[u]));
		if (u % BUILD_HISTORIES == 0)
		{
			CHECK_FOR_INTERRUPTS();
			host->progress(host, "pairs", u, h->nusers);
		}
	}
	if (!fits)
		give_up_counts(knn);
	MemoryContextDelete(set->context);
}

static void
sequence_knn_build(void *state)
{
	SequenceKnn *knn = state;

	create_lists(knn);
	count_all(knn);
}

/* All histories are empty: so are the rows, which the next publication finds. */
static void
sequence_knn_reset(void *state)
{
	sequence_knn_build(state);
}

/* -------------------------------------------------------------------- change */

static bool
add_pairs(void *arg, int32_t a, const int32_t *bs, const double *units, int n)
{
	SequenceKnn *knn = arg;

	if (knn->store && !pairs_add(knn->store, a, bs, units, n, 1, 0))
		give_up_counts(knn);
	return neighbors_touch(knn->base.lists, a, bs, units, n, 1);
}

/* Where it will stand: behind all that are not newer. */
static int
new_place(const ProfileChange *change)
{
	int			at = change->n;

	while (at > 0 && change->times[at - 1] > change->time)
		at--;
	return at;
}

static void
sequence_knn_change(void *state, const ProfileChange *change)
{
	SequenceKnn *knn = state;
	int			from = change->place,
				to = change->appears < 0 ? -1 : new_place(change);

	if (from == to)
		return;
	reach_items(knn);
	if ((from >= 0 && !sequence_move(change->items, change->n, change->item, from, -1, knn->gap,
									 add_pairs, knn)) ||
		(to >= 0 && !sequence_move(change->items, change->n, change->item, to, 1, knn->gap,
								   add_pairs, knn)))
		neighbor_out_of_memory(&knn->base);
}

/* It has left all histories before. */
static void
sequence_knn_forget_item(void *state, int32 item)
{
	SequenceKnn *knn = state;
	int32		numbers[2] = {sequence_earlier(item), sequence_later(item)};

	for (int x = 0; x < 2; x++)
	{
		if (knn->store)
			pairs_clear_item(knn->store, numbers[x]);
		if (!neighbors_forget(knn->base.lists, numbers[x]))
			neighbor_out_of_memory(&knn->base);
	}
}

/* ------------------------------------------------------------------- publish */

void
sequence_knn_sum_row(const HistorySet *set, RowSum *sum, int32 number, int gap, PairRowView *row)
{
	int32		item = sequence_item(number);
	int32		numbers[SEQUENCE_MAX_GAP];
	double		units[SEQUENCE_MAX_GAP];

	for (int64 x = set->item_offsets[item]; x < set->item_offsets[item + 1]; x++)
	{
		int32		user = set->item_rows[x];
		const int32 *items = set->h.items + set->h.offsets[user];
		int			n = (int) (set->h.offsets[user + 1] - set->h.offsets[user]);
		int			at = 0;

		while (items[at] != item)
			at++;
		n = sequence_row(items, n, at, sequence_is_earlier(number), gap, numbers, units);
		rowsum_add(sum, 1, numbers, units, n);
	}
	rowsum_take(sum, number, row);
}

static PairStore *
stored_counts(void *model)
{
	return ((SequenceKnn *) model)->store;
}

static void
sum_row(void *model, const HistorySet *set, RowSum *sum, int32 number, PairRowView *row)
{
	if (sequence_item(number) <= set->max_item)
		sequence_knn_sum_row(set, sum, number, ((SequenceKnn *) model)->gap, row);
}

static int32
max_number(void *model)
{
	return sequence_later(((SequenceKnn *) model)->base.host->items->next);
}

static bool
sequence_knn_publish(void *state, bool all)
{
	SequenceKnn *knn = state;

	reach_items(knn);
	return neighbor_publish(&knn->base, all);
}

/* ------------------------------------------------------------ open and close */

static const NeighborMethods methods = {
	.coding = &coding,
	.store = stored_counts,
	.sum_row = sum_row,
	.max_number = max_number,
};

static void *
sequence_knn_open(ModelHost *host, const RecsysModel *model)
{
	SequenceKnn *knn = neighbor_model_open(sizeof(SequenceKnn), &methods, host, model);

	knn->gap = (int) params_get(model->params, "gap");
	return knn;
}

static void
sequence_knn_close(void *state)
{
	neighbor_model_close(state);
}

static Size
sequence_knn_memory(void *state)
{
	SequenceKnn *knn = state;

	return (knn->store ? pairs_bytes(knn->store) : 0) +
		(knn->base.lists ? neighbors_bytes(knn->base.lists) : 0) + sizeof(double) * (Size) knn->nsquares;
}

const ModelAlgorithm sequence_knn_algorithm = {
	.name = "sequence_knn",
	.params = sequence_knn_params,
	.create_sql = neighbor_table_create_sql,
	.drop_sql = neighbor_table_drop_sql,
	.similarity_sql = neighbor_table_similarity_sql,
	.open = sequence_knn_open,
	.close = sequence_knn_close,
	.build = sequence_knn_build,
	.change = sequence_knn_change,
	.publish = sequence_knn_publish,
	.forget_item = sequence_knn_forget_item,
	.reset = sequence_knn_reset,
	.memory = sequence_knn_memory,
	.recommend = sequence_knn_recommend,
	.similar_items = neighbor_table_similar_items,	/* what came after it */
	.predict = sequence_knn_predict,
	.explain = sequence_knn_explain,
	.neighbors_are = "items",
};
