/*
 * fit_sequence_knn.c
 *	  sequence_knn offline: what came after what in the training part, counted row by
 *	  row, and the scores of sequence_knn_serve.c over it.
 *
 * Histories of the training part, and of a user to recommend to, come oldest first.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "models/histories.h"
#include "models/sequence_knn.h"
#include "numeric/rowsum.h"
#include "numeric/sequence.h"
#include "numeric/topk.h"
#include "train/fit_scores.h"

#define PROGRESS_ROWS 1024

typedef struct SequenceKnn
{
	bool		explicit_feedback;
	int			k;
	double		decay;
	int32		max_item;
	int64	   *offsets;		/* by item, of its list */
	int32	   *successors;
	float	   *counts;
	int64		n,
				max;
	FitScores	scores;			/* of one answer */
} SequenceKnn;

/* The k largest of the row, behind the lists before. */
static void
append_list(SequenceKnn *knn, const PairRowView *row, RankKey *keys)
{
	TopK		best;

	if (knn->n + knn->k > knn->max)
	{
		knn->max = 2 * knn->max + knn->k;
		knn->successors = repalloc_huge(knn->successors, sizeof(int32) * (Size) knn->max);
		knn->counts = repalloc_huge(knn->counts, sizeof(float) * (Size) knn->max);
	}
	topk_init(&best, keys, knn->k);
	for (int32 c = 0; c < row->n; c++)
		if (pair_cell_dot(row, c) > 0)
			topk_push(&best, sequence_item(pair_cell_item(row, c)),
					  pair_cell_dot(row, c) / SEQUENCE_UNIT);
	knn->n += (int64) topk_finish(&best, knn->successors + knn->n, knn->counts + knn->n);
}

static void
fill_lists(SequenceKnn *knn, const FitInput *input, MemoryContext context)
{
	HistorySet	set = {.context = context,.h = input->train,
		.nentries = input->train.offsets[input->train.nusers]
	};
	Allocator	allocator = histories_allocator(context);
	RowSum	   *sum = rowsum_create(&allocator, false);
	RankKey    *keys = MemoryContextAlloc(context, sizeof(RankKey) * knn->k);
	int			gap = (int) params_get(input->params, "gap");

	histories_index(&set, input->max_item);
	if (sum == NULL || !rowsum_reach(sum, sequence_later(input->max_item)))
		ereport(ERROR,
				errcode(ERRCODE_OUT_OF_MEMORY),
				errmsg("no memory for the successions of an evaluation"),
				errhint("Give the server more memory."));
	for (int32 item = 1; item <= input->max_item; item++)
	{
		PairRowView row;

		if (item % PROGRESS_ROWS == 0)
			input->progress("training", item, input->max_item);
		sequence_knn_sum_row(&set, sum, sequence_earlier(item), gap, &row);
		knn->offsets[item] = knn->n;
		append_list(knn, &row, keys);
	}
	knn->offsets[input->max_item + 1] = knn->n;
}

static void *
fit(const FitInput *input)
{
	SequenceKnn *knn = palloc0(sizeof(SequenceKnn));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "recsys sequence_knn fit",
												  ALLOCSET_DEFAULT_SIZES);
	Size		numbers = (Size) input->max_item + 2;

	knn->explicit_feedback = input->explicit_feedback;
	knn->k = (int) params_get(input->params, "k");
	knn->decay = params_get(input->params, "decay");
	knn->max_item = input->max_item;
	knn->max = knn->k;
	knn->offsets = palloc_extended(sizeof(int64) * numbers, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	knn->successors = palloc(sizeof(int32) * knn->k);
	knn->counts = palloc(sizeof(float) * knn->k);
	fill_lists(knn, input, context);
	MemoryContextDelete(context);
	fit_scores_create(&knn->scores, knn->max_item);
	return knn;
}

/* Scores of all successors of the history. */
static void
add_scores(SequenceKnn *knn, const FitUser *user)
{
	fit_scores_begin(&knn->scores);
	for (int step = 0; step < user->n; step++)
	{
		int32		h = user->items[user->n - 1 - step];
		double		factor = sequence_knn_factor(knn->decay, step);

		for (int64 x = knn->offsets[h]; x < knn->offsets[h + 1] && factor > 0; x++)
			fit_scores_add(&knn->scores, user, knn->successors[x], factor * knn->counts[x]);
	}
}

static int
top(void *state, const FitUser *user, int k, SearchHit *hits)
{
	SequenceKnn *knn = state;

	add_scores(knn, user);
	return fit_scores_top(&knn->scores, user, k, hits);
}

static double
predict(void *state, const FitUser *user, int32 item)
{
	SequenceKnn *knn = state;
	double		sum = 0;

	if (knn->explicit_feedback)
		return NAN;
	for (int step = 0; step < user->n; step++)
	{
		int32		h = user->items[user->n - 1 - step];

		for (int64 x = knn->offsets[h]; x < knn->offsets[h + 1]; x++)
			if (knn->successors[x] == item)
				sum += sequence_knn_factor(knn->decay, step) * knn->counts[x];
	}
	return sum > 0 ? sum : NAN;
}

extern const FitAlgorithm fit_sequence_knn;

const FitAlgorithm fit_sequence_knn = {
	.name = "sequence_knn",
	.fit = fit,
	.top = top,
	.predict = predict,
};
