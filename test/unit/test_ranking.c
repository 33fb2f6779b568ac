/*
 * test_ranking.c
 *	  ranking.h against values by hand, and what must hold for any list.
 */
#include "unit.h"

#include "numeric/ranking.h"

static bool
near(double a, double b)
{
	return fabs(a - b) < 1e-12;
}

static RankingScores
scores_of(const char *list, int64_t nrelevant, int k)
{
	RankingScores scores;
	bool		relevant[64];
	int			n = (int) strlen(list);

	for (int r = 0; r < n; r++)
		relevant[r] = list[r] == '+';
	ranking_scores(relevant, n, nrelevant, k, &scores);
	return scores;
}

int
main(void)
{
	RankingScores s = scores_of("+-+--", 3, 5);
	Random		random = {7};
	int			wrong = 0;

	ok(s.hits == 2 && near(s.precision, 2.0 / 5) && near(s.recall, 2.0 / 3),
	   "two hits of five ranks, three relevant: precision 2/5, recall 2/3");
	ok(near(s.ndcg, (1 + 1 / log2(4)) / (1 + 1 / log2(3) + 1 / log2(4))), "ndcg %.12f", s.ndcg);
	ok(near(s.average_precision, (1 + 2.0 / 3) / 3), "average precision 5/9");
	ok(s.reciprocal_rank == 1 && s.hit_rate == 1, "reciprocal rank and hit rate 1");

	s = scores_of("--+", 1, 10);
	ok(near(s.precision, 0.1) && s.recall == 1 && near(s.ndcg, 0.5) &&
	   near(s.average_precision, 1.0 / 3) && near(s.reciprocal_rank, 1.0 / 3),
	   "a list shorter than k is divided by k; third rank");
	s = scores_of("--+", 1, 2);
	ok(s.hits == 0 && s.recall == 0 && s.ndcg == 0 && s.average_precision == 0 &&
	   s.reciprocal_rank == 0 && s.hit_rate == 0, "a hit beyond k is none");
	s = scores_of("", 4, 5);
	ok(s.hits == 0 && s.precision == 0 && s.ndcg == 0, "an empty list scores 0");
	s = scores_of("++", 1000, 2);
	ok(s.precision == 1 && near(s.recall, 0.002) && s.ndcg == 1 && s.average_precision == 1,
	   "more relevant items than k: the ideal list is cut at k");

	for (int round = 0; round < 2000; round++)
	{
		bool		list[40];
		int			n = (int) random_below(&random, 40);
		int			k = 1 + (int) random_below(&random, 50);
		int			hits = 0;
		int64_t		nrelevant;

		for (int r = 0; r < n; r++)
			hits += list[r] = random_below(&random, 3) == 0;
		nrelevant = hits + (int) random_below(&random, 5) + (hits == 0);
		ranking_scores(list, n, nrelevant, k, &s);
		wrong += s.precision < 0 || s.precision > 1 || s.recall < 0 || s.recall > 1 ||
			s.ndcg < 0 || s.ndcg > 1 + 1e-12 || s.average_precision < 0 ||
			s.average_precision > 1 + 1e-12 || s.reciprocal_rank > 1 ||
			(s.hits > 0) != (s.hit_rate == 1) || (s.hits > 0) != (s.ndcg > 0) ||
			!near(s.precision * k, s.recall * (double) nrelevant);
	}
	ok(wrong == 0, "scores of random lists lie between 0 and 1 and agree with each other (%d do not)", wrong);
	return unit_end();
}
