/*
 * fit_scores.h
 *	  The scores of one answer by item, summed up in no order, and the best of
 *	  them: what the neighbourhood models share when they are asked offline.
 */
#ifndef RECSYS_FIT_SCORES_H
#define RECSYS_FIT_SCORES_H

#include "postgres.h"

#include "numeric/topk.h"
#include "train/fit.h"

typedef struct FitScores
{
	MemoryContext context;
	double	   *scores;			/* by item, where the user's "scored" has the stamp */
	int32	   *touched;		/* items with a score */
	int			n;
	RankKey    *heap;
	int			max_heap;
} FitScores;

/* For items 1 .. max_item, as memory of CurrentMemoryContext. */
extern void fit_scores_create(FitScores *s, int32 max_item);

/* A new answer starts. */
static inline void
fit_scores_begin(FitScores *s)
{
	s->n = 0;
}

static inline void
fit_scores_add(FitScores *s, const FitUser *user, int32 item, double score)
{
	if (user->scored[item] != user->stamp)
	{
		user->scored[item] = user->stamp;
		s->scores[item] = 0;
		s->touched[s->n++] = item;
	}
	s->scores[item] += score;
}

/* The k best items that are not excluded, best first; returns how many. */
extern int	fit_scores_top(FitScores *s, const FitUser *user, int k, SearchHit *hits);

#endif							/* RECSYS_FIT_SCORES_H */
