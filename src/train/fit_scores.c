/*
 * fit_scores.c
 *	  Scores by item of one answer, see fit_scores.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "train/fit_scores.h"

void
fit_scores_create(FitScores *s, int32 max_item)
{
	Size		n = (Size) max_item + 1;

	memset(s, 0, sizeof(FitScores));
	s->context = CurrentMemoryContext;
	s->scores = palloc_extended(sizeof(double) * n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	s->touched = palloc_extended(sizeof(int32) * n, MCXT_ALLOC_HUGE);
}

int
fit_scores_top(FitScores *s, const FitUser *user, int k, SearchHit *hits)
{
	TopK		best;

	if (s->max_heap < k)
	{
		if (s->heap)
			pfree(s->heap);
		s->heap = MemoryContextAllocHuge(s->context, sizeof(RankKey) * (Size) k);
		s->max_heap = k;
	}
	topk_init(&best, s->heap, k);
	for (int i = 0; i < s->n; i++)
		if (user->excluded[s->touched[i]] != user->stamp)
			topk_push(&best, s->touched[i], (float) s->scores[s->touched[i]]);
	rank_sort(s->heap, best.n);
	for (size_t i = 0; i < best.n; i++)
		hits[i] = (SearchHit) {rank_item(s->heap[i]), rank_score(s->heap[i])};
	return (int) best.n;
}
