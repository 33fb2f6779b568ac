/*
 * ranking.c
 *	  See ranking.h, which has the formulas.
 */
#include "numeric/ranking.h"

#include <math.h>

/* dcg of a list that is relevant from the first to the n-th rank */
static double
ideal_dcg(int64_t n)
{
	double		dcg = 0;

	for (int64_t rank = 1; rank <= n; rank++)
		dcg += 1 / log2((double) rank + 1);
	return dcg;
}

void
ranking_scores(const bool *relevant, int n, int64_t nrelevant, int k, RankingScores *scores)
{
	int64_t		reachable = nrelevant < k ? nrelevant : k;
	double		dcg = 0,
				precisions = 0;
	int			hits = 0,
				first = 0;

	for (int rank = 1; rank <= n && rank <= k; rank++)
	{
		if (!relevant[rank - 1])
			continue;
		hits++;
		if (first == 0)
			first = rank;
		dcg += 1 / log2(rank + 1.0);
		precisions += (double) hits / rank;
	}
	scores->hits = hits;
	scores->precision = (double) hits / k;
	scores->recall = (double) hits / (double) nrelevant;
	scores->ndcg = dcg / ideal_dcg(reachable);
	scores->average_precision = precisions / (double) reachable;
	scores->reciprocal_rank = first ? 1.0 / first : 0;
	scores->hit_rate = first ? 1 : 0;
}
