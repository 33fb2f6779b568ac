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
#include "utils/timestamp.h"

#include "models/histories.h"
#include "models/neighbor_table.h"
#include "models/sequence_knn.h"
#include "numeric/neighbors.h"
#include "numeric/rowsum.h"
#include "numeric/sequence.h"

/* Work between two looks at interrupts, and time for one publication that
 * nobody waits for. */
#define REFRESH_ROWS 256
#define PUBLISH_MS 200
#define BUILD_HISTORIES 1024

/* The share of time that publications without stored counts may take: 1/4. */
#define ROWS_MODE_PAUSE 3

typedef struct SequenceKnn
{
	ModelHost  *host;
	const RecsysModel *model;
	MemoryContext context;
	Allocator	allocator;
	int			k;
	int			gap;
	PairStore  *store;			/* NULL: the counts do not fit */
	NeighborLists *lists;
	double	   *squares;		/* of the norms, which stay as they are, by number */
	int32		nsquares;
	int32		nknown;			/* numbers that the lists know the norms of */
	uint64		published_change;	/* newest one at the last publication */
	TimestampTz pause_until;	/* without stored counts */
} SequenceKnn;

static const NeighborCoding coding = {
	.owner = sequence_earlier,
	.entry = sequence_later,
	.is_owner = sequence_is_earlier,
	.item = sequence_item,
};

static void
out_of_memory(SequenceKnn *knn)
{
	ereport(ERROR,
			errcode(ERRCODE_OUT_OF_MEMORY),
			errmsg("no memory for the neighbour lists of model \"%s\"",
				   NameStr(knn->model->name)),
			errhint("Raise recsys.memory or lower the model's k."));
}

/* What does not fit stays away for as long as the model runs. */
static void
give_up_counts(SequenceKnn *knn)
{
	ereport(LOG,
			errmsg("successions of items do not fit into recsys.memory, those of model \"%s\" are computed from the histories",
				   NameStr(knn->model->name)),
			errhint("Raise recsys.memory for fresher recommendations."));
	if (knn->store)
		pairs_destroy(knn->store);
	knn->store = NULL;
}

/* ------------------------------------------------------------ open and close */

static void *
sequence_knn_open(ModelHost *host, const RecsysModel *model)
{
	MemoryContext context = AllocSetContextCreate(host->context, "recsys sequence_knn",
												  ALLOCSET_DEFAULT_SIZES);
	SequenceKnn *knn = MemoryContextAllocZero(context, sizeof(SequenceKnn));

	knn->host = host;
	knn->model = model;
	knn->context = context;
	knn->allocator = histories_allocator(context);
	knn->k = (int) params_get(model->params, "k");
	knn->gap = (int) params_get(model->params, "gap");
	return knn;
}

static void
sequence_knn_close(void *state)
{
	MemoryContextDelete(((SequenceKnn *) state)->context);
}

static Size
sequence_knn_memory(void *state)
{
	SequenceKnn *knn = state;

	return (knn->store ? pairs_bytes(knn->store) : 0) +
		(knn->lists ? neighbors_bytes(knn->lists) : 0) + sizeof(double) * (Size) knn->nsquares;
}

/* --------------------------------------------------------------------- build */

/* Norms of all numbers of the items that there are; new ones are told to the lists. */
static void
reach_items(SequenceKnn *knn)
{
	int32		n = sequence_later(knn->host->items->next) + 1;

	if (n > knn->nsquares)
	{
		int32		more = n + n / 2;

		knn->squares = knn->squares == NULL ?
			MemoryContextAllocHuge(knn->context, sizeof(double) * (Size) more) :
			repalloc_huge(knn->squares, sizeof(double) * (Size) more);
		for (int32 x = knn->nsquares; x < more; x++)
			knn->squares[x] = sequence_is_earlier(x) ? (double) SEQUENCE_UNIT * SEQUENCE_UNIT : 1;
		knn->nsquares = more;
	}
	neighbors_set_sumsq(knn->lists, knn->squares, knn->nsquares);
	/* a pair touches one of its numbers only */
	for (; knn->nknown < sequence_earlier(knn->host->items->next); knn->nknown++)
		if (!neighbors_touch_row(knn->lists, knn->nknown))
			out_of_memory(knn);
}

static void
create_lists(SequenceKnn *knn)
{
	NeighborParams params = {.k = knn->k,.early_eps = NEIGHBORS_EARLY_EPS};

	if (knn->lists)
		neighbors_destroy(knn->lists);
	/* the lists are what the model is: no limit but the machine's memory */
	knn->lists = neighbors_create(&knn->allocator, SIZE_MAX, &params);
	if (knn->lists == NULL)
		out_of_memory(knn);
	knn->nknown = sequence_earlier(knn->host->items->next);	/* by neighbors_touch_all() */
	reach_items(knn);
	if (!neighbor_table_load(knn->lists, knn->host->source, knn->model, &coding) ||
		!neighbors_touch_all(knn->lists, sequence_later(knn->host->items->next - 1)))
		out_of_memory(knn);
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
	ModelHost  *host = knn->host;
	HistorySet *set = histories_collect(host, CurrentMemoryContext, false);
	const Histories *h = &set->h;
	bool		fits;

	if (knn->store)
		pairs_destroy(knn->store);
	knn->store = NULL;			/* memory_left() asks how large it is */
	knn->store = pairs_create(&knn->allocator, host->memory_left(host) / 4 * 3, false);
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
	return neighbors_touch(knn->lists, a, bs, units, n, 1);
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
		out_of_memory(knn);
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
		if (!neighbors_forget(knn->lists, numbers[x]))
			out_of_memory(knn);
	}
}

/* ------------------------------------------------------------------- publish */

/* False: more to do before rows can be written. */
static bool
refresh_from_counts(SequenceKnn *knn, bool all)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PUBLISH_MS);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		switch (neighbors_refresh(knn->lists, knn->store, REFRESH_ROWS))
		{
			case NEIGHBORS_DONE:
				if (all && neighbors_behind(knn->lists))
					break;
				return true;
			case NEIGHBORS_FAILED:
				out_of_memory(knn);
				break;
			case NEIGHBORS_MORE:
				if (!all && GetCurrentTimestamp() > deadline)
					return false;
		}
	}
}

/* The row of a number from the histories that have its item. */
static void
sum_row(SequenceKnn *knn, RowSum *sum, const HistorySet *set, int32 number, PairRowView *row)
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
		n = sequence_row(items, n, at, sequence_is_earlier(number), knn->gap, numbers, units);
		rowsum_add(sum, 1, numbers, units, n);
	}
	rowsum_take(sum, number, row);
}

static bool
refresh_from_histories(SequenceKnn *knn, bool all)
{
	TimestampTz start = GetCurrentTimestamp();
	HistorySet *set;
	Allocator	scratch;
	RowSum	   *sum;
	int32		number;

	if (!all && start < knn->pause_until)
		return false;
	set = histories_collect(knn->host, CurrentMemoryContext, true);
	scratch = histories_allocator(set->context);
	sum = rowsum_create(&scratch, false);
	if (sum == NULL || !rowsum_reach(sum, sequence_later(knn->host->items->next)))
		out_of_memory(knn);
	while ((number = neighbors_next_row(knn->lists)) != 0 || neighbors_behind(knn->lists))
	{
		PairRowView row = {0};

		CHECK_FOR_INTERRUPTS();
		if (number < 0)
			out_of_memory(knn);
		if (number == 0)
			continue;			/* a list begun before the newest events */
		if (sequence_item(number) <= set->max_item)
			sum_row(knn, sum, set, number, &row);
		if (!neighbors_put_row(knn->lists, number, &row))
			out_of_memory(knn);
	}
	MemoryContextDelete(set->context);
	knn->pause_until = GetCurrentTimestamp() +
		ROWS_MODE_PAUSE * (GetCurrentTimestamp() - start);
	return true;
}

static bool
sequence_knn_publish(void *state, bool all)
{
	SequenceKnn *knn = state;
	bool		done;

	reach_items(knn);
	if (!neighbors_strict(knn->lists, all || knn->host->change_no == knn->published_change))
		out_of_memory(knn);
	knn->published_change = knn->host->change_no;
	done = knn->store ? refresh_from_counts(knn, all) : refresh_from_histories(knn, all);
	if (!done)
		return false;
	done = !neighbors_behind(knn->lists);
	knn->host->put_off |= neighbors_put_off(knn->lists);
	if (!neighbor_table_write(knn->lists, knn->host->source, knn->model, knn->k, &coding))
		out_of_memory(knn);
	return done;
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
};
