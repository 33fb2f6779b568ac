/*
 * measure.h
 *	  How alike two items are, by how many users have both, each, and anything.
 *
 * With n(i,j) the users that have both i and j, n(i) those of i, and N all:
 *
 *	  jaccard		n(i,j) / (n(i) + n(j) - n(i,j) + shrinkage)
 *	  llr			G / (G + 1 + shrinkage), G = 2 sum k ln(k N / (row total * column
 *					total)) over the four cells of the table of users with and
 *					without i and j: the log-likelihood ratio of Dunning (1993).
 *					0 if both come together no more often than by chance
 *	  lift			n(i,j) / (n(i) n(j) / N + shrinkage): how many times as often as by
 *					chance they come together
 *	  conditional	n(i,j) / (n(i) + shrinkage): how many of i's users have j; the
 *					only one that is not the same from both sides
 *
 * and the cosine, which the lists of neighbors.h also know of weights other than 1.
 *
 * Lists are ordered by the "rank" of a pair, and show its score.  They differ for llr
 * alone: G orders, while G / (G + 1), all but 1 for every large G, shows.
 */
#ifndef RECSYS_NUMERIC_MEASURE_H
#define RECSYS_NUMERIC_MEASURE_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef enum Measure
{
	MEASURE_COSINE,
	MEASURE_JACCARD,
	MEASURE_LLR,
	MEASURE_LIFT,
	MEASURE_CONDITIONAL
} Measure;

/* Does it need to know how many users there are? */
static inline bool
measure_needs_all(Measure measure)
{
	return measure == MEASURE_LLR || measure == MEASURE_LIFT;
}

/* k ln(k / what is expected of the cell), 0 where there is nothing. */
static inline double
llr_cell(double k, double row, double column, double all)
{
	return k > 0 ? k * log(k * all / (row * column)) : 0;
}

/* Never below 0, and 0 unless the two attract each other. */
static inline double
log_likelihood_ratio(double both, double own, double other, double all)
{
	double		sum;

	/* all may be a little behind */
	all = fmax(all, own + other - both);
	if (both * all <= own * other)
		return 0;
	sum = llr_cell(both, own, other, all) + llr_cell(all - own - other + both, all - own, all - other, all) +
		(llr_cell(own - both, own, all - other, all) + llr_cell(other - both, all - own, other, all));
	return sum > 0 ? 2 * sum : 0;
}

/* ln(1 + x) is at most this, x >= 0: by less than 1 % of it up to 1, by 0.06 from there on. */
static inline double
log1p_bound(double x)
{
	double		pade = x * (6 + x) / (6 + 4 * x);
	float		y = (float) (1 + x) * (1 + 1e-6f);
	uint32_t	bits;

	if (x < 1)
		return pade;
	memcpy(&bits, &y, sizeof(bits));
	/* the exponent, and the mantissa for its own logarithm */
	return fmin(pade, 0.6931472 * ((double) bits * 0x1p-23 - 127 + 0.0861));
}

/*
 * Is the ratio certainly not above this one?  Without a logarithm: with x what n(i,j)
 * exceeds its expectation by, k ln(k / e) <= k - e + (k - e)^2 / e in the other cells, so that
 * G <= 2 (n(i,j) ln(n(i,j) / e(i,j)) - x + sum of x^2 / e over these).
 */
static inline bool
llr_is_below(double both, double own, double other, double all, double bar)
{
	double		without_own = all - own,
				without_other = all - other,
				expected = own * other / all,
				x = both - expected;

	if (x <= 0)
		return true;
	if (!(without_own > 0 && without_other > 0 && all - own - other + both >= 0))
		return false;
	return 2 * (both * log1p_bound(x / expected) - x +
				x * x * all * (without_own * other + own * without_other + own * other) /
				(own * without_own * other * without_other)) * (1 + 1e-9) + 1e-6 <= bar;
}

/* The rank of "other" in the list of "own"; 0: it is not listed. */
static inline double
measure_rank(Measure measure, double both, double own, double other, double all, double shrinkage)
{
	both = fmin(both, fmin(own, other));
	if (!(both > 0))
		return 0;
	switch (measure)
	{
		case MEASURE_COSINE:
			break;
		case MEASURE_JACCARD:
			return both / (own + other - both + shrinkage);
		case MEASURE_LLR:
			return log_likelihood_ratio(both, own, other, all);
		case MEASURE_LIFT:
			return both / (own * other / fmax(all, 1) + shrinkage);
		case MEASURE_CONDITIONAL:
			return both / (own + shrinkage);
	}
	return both / (sqrt(own * other) + shrinkage);
}

static inline float
measure_score(Measure measure, float rank, float shrinkage)
{
	return measure == MEASURE_LLR ? (float) (rank / ((double) rank + 1 + shrinkage)) : rank;
}

/* Back again, as far as the digits of a score go. */
static inline float
measure_rank_of_score(Measure measure, float score, float shrinkage)
{
	if (measure != MEASURE_LLR)
		return score;
	return score < 1 ? (float) (score * (1 + (double) shrinkage) / (1 - (double) score)) : FLT_MAX;
}

/* May a rank be any number?  Then it is right or wrong by its own size. */
static inline bool
measure_is_unbounded(Measure measure)
{
	return measure == MEASURE_LLR || measure == MEASURE_LIFT;
}

/*
 * For a quick first look at many pairs (neighbors_scan.h): a rank above this one
 * implies
 *
 *		n(i,j) > measure_bar() * (factor * n(j) + plus)
 *
 * of the list of i, with measure_line()'s factor and plus, and from the other side,
 * of the list of j, n(i,j) > measure_bar() of j's rank and number times the same.
 * For the cosine n() are the norms.
 *
 * Of llr: where i and j attract each other, the cells with one of them hold less than
 * expected and add nothing; the cell without both adds at most n(i,j) N / (N - n(i));
 * and n(i,j) is at most N / n(i) times what is expected.  So
 * G <= 2 n(i,j) (ln(N / n(i)) + N / (N - n(i))).
 */
static inline void
measure_line(Measure measure, double own, double all, double shrinkage, float *factor, float *plus)
{
	*factor = 0;
	*plus = 1;
	if (measure == MEASURE_COSINE || measure == MEASURE_LIFT)
	{
		*factor = (float) (measure == MEASURE_LIFT ? own / fmax(all, 1) : own);
		*plus = (float) shrinkage;
	}
	else if (measure == MEASURE_JACCARD)
	{
		*factor = 1;
		*plus = (float) (own + shrinkage);
	}
}

static inline float
measure_bar(Measure measure, float rank, double own, double all, double shrinkage)
{
	switch (measure)
	{
		case MEASURE_COSINE:
		case MEASURE_LIFT:
			break;
		case MEASURE_JACCARD:
			return rank / (1 + rank);
		case MEASURE_LLR:
			if (!(own > 0 && own < all))
				return 0;
			return (float) (0.99 * rank / (2 * (log(all / own) + all / (all - own))));
		case MEASURE_CONDITIONAL:
			return (float) (rank * (own + shrinkage));
	}
	return rank;
}

#endif							/* RECSYS_NUMERIC_MEASURE_H */
