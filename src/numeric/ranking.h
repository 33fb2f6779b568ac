/*
 * ranking.h
 *	  How good a ranked list is, given which of its items are relevant.
 *
 * With rel(r) = 1 if the item at rank r (from 1) is relevant, else 0, R
 * relevant items in all and the list cut at k:
 *
 *		hits				sum over r <= k of rel(r)
 *		precision			hits / k
 *		recall				hits / R
 *		dcg					sum over r <= k of rel(r) / log2(r + 1)
 *		ndcg				dcg / (dcg of a list that has min(R, k) relevant items first)
 *		average precision	sum over r <= k of rel(r) (hits up to r) / r, over min(R, k)
 *		reciprocal rank		1 / rank of the first hit, 0 without one
 *		hit rate			1 with a hit, else 0
 *
 * A list shorter than k is one whose missing ranks are not relevant.
 */
#ifndef RECSYS_NUMERIC_RANKING_H
#define RECSYS_NUMERIC_RANKING_H

#include <stdbool.h>
#include <stdint.h>

typedef struct RankingScores
{
	int			hits;
	double		precision;
	double		recall;
	double		ndcg;
	double		average_precision;
	double		reciprocal_rank;
	double		hit_rate;
} RankingScores;

/* relevant[r - 1] tells of rank r, 1 <= r <= n; ranks beyond k do not count.
 * nrelevant > 0 and k > 0. */
extern void ranking_scores(const bool *relevant, int n, int64_t nrelevant, int k,
						   RankingScores *scores);

#endif							/* RECSYS_NUMERIC_RANKING_H */
