/*
 * fit_item_knn.c
 *	  item_knn offline: the lists of neighbors.h, exact, from row sums over the
 *	  training part, and the scores of item_knn_serve.c over them.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "models/histories.h"
#include "models/item_knn.h"
#include "numeric/neighbors.h"
#include "numeric/rowsum.h"
#include "numeric/topk.h"
#include "train/fit_scores.h"

#define PROGRESS_ROWS 1024

typedef struct ItemKnn
{
	bool		explicit_feedback;
	int32		max_item;
	int64	   *offsets;		/* by item, of its list */
	int32	   *neighbors;
	float	   *sims;			/* plain ... */
	float	   *weighted;		/* ... and as they count in recommendations */
	FitScores	scores;			/* of one answer */
} ItemKnn;

static void
out_of_memory(void)
{
	ereport(ERROR,
			errcode(ERRCODE_OUT_OF_MEMORY),
			errmsg("no memory for the neighbour lists of an evaluation"),
			errhint("Evaluate with a smaller k of the model."));
}

/* Users of each item, and what follows from that. */
typedef struct Trust
{
	double		damping;
	const int32 *users;
} Trust;

static double
trust_in(const void *arg, int32_t item)
{
	const Trust *trust = arg;

	return item_knn_trust(trust->users[item], trust->damping);
}

static int32 *
count_users(const FitInput *input)
{
	const Histories *h = &input->train;
	int32	   *users = palloc_extended(sizeof(int32) * ((Size) input->max_item + 1),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int64 e = 0; e < h->offsets[h->nusers]; e++)
		users[h->items[e]]++;
	return users;
}

/* The training part, by item; every weight is 1 for similarities of counts. */
static HistorySet
training_set(const FitInput *input, bool count, MemoryContext context)
{
	HistorySet	set = {.context = context,.h = input->train,
		.nentries = input->train.offsets[input->train.nusers]
	};

	if (count)
	{
		set.h.weights = MemoryContextAllocHuge(context, sizeof(float) * (Size) Max(set.nentries, 1));
		histories_count(&set);
	}
	histories_index(&set, input->max_item);
	return set;
}

static double
count_histories(const Histories *h)
{
	double		n = 0;

	for (int32 u = 0; u < h->nusers; u++)
		n += h->offsets[u + 1] > h->offsets[u];
	return n;
}

static double *
sums_of_squares(const HistorySet *set)
{
	double	   *sumsq = palloc_extended(sizeof(double) * ((Size) set->max_item + 1),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int64 e = 0; e < set->nentries; e++)
		sumsq[set->h.items[e]] += (double) set->h.weights[e] * set->h.weights[e];
	return sumsq;
}

/* All lists, of every item's row of dot products in turn. */
static void
fill_lists(NeighborLists *lists, const FitInput *input, const HistorySet *set, bool with_counts)
{
	Allocator	allocator = histories_allocator(set->context);
	RowSum	   *sum = rowsum_create(&allocator, with_counts);
	int64		done = 0;
	int32		item;

	if (sum == NULL || !rowsum_reach(sum, input->max_item))
		out_of_memory();
	while ((item = neighbors_next_row(lists)) != 0 || neighbors_behind(lists))
	{
		PairRowView row;

		if (item < 0)
			out_of_memory();
		if (++done % PROGRESS_ROWS == 0)
			input->progress("training", Min(done, input->max_item), input->max_item);
		if (item == 0)
			continue;
		histories_sum_row(set, sum, item, &row);
		if (!neighbors_put_row(lists, item, &row))
			out_of_memory();
	}
	switch (neighbors_weigh(lists, INT32_MAX))
	{
		case NEIGHBORS_DONE:
			break;
		case NEIGHBORS_MORE:
		case NEIGHBORS_FAILED:
			out_of_memory();
	}
}

/* The similarities as they count in recommendations. */
static void
weigh_lists(ItemKnn *knn, NeighborLists *lists)
{
	int64		n = knn->offsets[knn->max_item + 1];
	uint8		weight;

	knn->weighted = palloc_extended(sizeof(float) * (Size) Max(n, 1), MCXT_ALLOC_HUGE);
	for (int64 x = 0; x < n; x++)
		knn->weighted[x] = neighbors_weights(lists, 1, &knn->neighbors[x], &weight) ?
			knn->sims[x] * neighbor_weight(weight) : knn->sims[x];
}

/* The lists, one behind the other. */
static void
take_lists(ItemKnn *knn, NeighborLists *lists, int k)
{
	int64		n = 0,
				max = Max((int64) knn->max_item * Min(k, 16), k);

	knn->offsets = palloc_extended(sizeof(int64) * ((Size) knn->max_item + 2),
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	knn->neighbors = palloc_extended(sizeof(int32) * (Size) max, MCXT_ALLOC_HUGE);
	knn->sims = palloc_extended(sizeof(float) * (Size) max, MCXT_ALLOC_HUGE);
	for (int32 item = 1; item <= knn->max_item; item++)
	{
		if (n + k > max)
		{
			max = 2 * max + k;
			knn->neighbors = repalloc_huge(knn->neighbors, sizeof(int32) * (Size) max);
			knn->sims = repalloc_huge(knn->sims, sizeof(float) * (Size) max);
		}
		knn->offsets[item] = n;
		n += neighbors_topk(lists, item, knn->neighbors + n, knn->sims + n);
	}
	knn->offsets[knn->max_item + 1] = n;
}

static void *
fit(const FitInput *input)
{
	ItemKnn    *knn = palloc0(sizeof(ItemKnn));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "recsys item_knn fit",
												  ALLOCSET_DEFAULT_SIZES);
	Allocator	allocator = histories_allocator(context);
	NeighborParams params = {
		.k = (int) params_get(input->params, "k"),
		.shrinkage = params_get(input->params, "shrinkage"),
		.min_support = (int) params_get(input->params, "min_support"),
		.drift = -1,
		.normalize = params_get(input->params, "normalize") != 0,
		.measure = item_knn_measure(input->params)
	};
	bool		count = params.measure != MEASURE_COSINE;
	HistorySet	set = training_set(input, count, context);
	Trust		trust = {params_get(input->params, "damping"), count_users(input)};
	NeighborLists *lists;

	if (trust.damping > 0)
	{
		params.trust = trust_in;
		params.arg = &trust;
	}
	lists = neighbors_create(&allocator, SIZE_MAX, &params);

	knn->explicit_feedback = input->explicit_feedback;
	knn->max_item = input->max_item;
	if (lists == NULL)
		out_of_memory();
	neighbors_set_sumsq(lists, sums_of_squares(&set), input->max_item + 1);
	neighbors_set_total(lists, count_histories(&set.h));
	if (!neighbors_touch_all(lists, input->max_item))
		out_of_memory();
	fill_lists(lists, input, &set, params.min_support > 1 && !count);
	take_lists(knn, lists, params.k);
	weigh_lists(knn, lists);
	MemoryContextDelete(context);

	fit_scores_create(&knn->scores, knn->max_item);
	return knn;
}

/* Scores of all neighbours of the history. */
static void
add_scores(ItemKnn *knn, const FitUser *user)
{
	fit_scores_begin(&knn->scores);
	for (int h = 0; h < user->n; h++)
		for (int64 x = knn->offsets[user->items[h]]; x < knn->offsets[user->items[h] + 1]; x++)
			fit_scores_add(&knn->scores, user, knn->neighbors[x],
						   (double) user->weights[h] * knn->weighted[x]);
}

static int
top(void *state, const FitUser *user, int k, SearchHit *hits)
{
	ItemKnn    *knn = state;

	add_scores(knn, user);
	return fit_scores_top(&knn->scores, user, k, hits);
}

static double
predict(void *state, const FitUser *user, int32 item)
{
	ItemKnn    *knn = state;
	double		sum = 0,
				norm = 0;

	for (int h = 0; h < user->n; h++)
		for (int64 x = knn->offsets[user->items[h]]; x < knn->offsets[user->items[h] + 1]; x++)
			if (knn->neighbors[x] == item)
			{
				double		sim = knn->explicit_feedback ? knn->sims[x] : knn->weighted[x];

				sum += (double) user->weights[h] * sim;
				norm += fabs(sim);
			}
	if (norm == 0)
		return NAN;
	return knn->explicit_feedback ? sum / norm : sum;
}

extern const FitAlgorithm fit_item_knn;

const FitAlgorithm fit_item_knn = {
	.name = "item_knn",
	.fit = fit,
	.top = top,
	.predict = predict,
};
