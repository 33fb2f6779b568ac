/*
 * trend.h
 *	  How often something happens now, and whether that is more than before.
 *
 * Events are counted with exponential decay: at time t
 *
 *		count(t) = sum over events of weight * exp(-(t - time of the event) / window)
 *
 * At a constant rate that is the number of events of one window.  The sums are
 * kept as they are at the newest event's time; an older event that comes late
 * adds what is left of it by then, and one that is taken back takes just that.
 *
 * A thing that is counted has two such sums, with a short window W and a long
 * one B.  What stood before is their difference,
 *
 *		now    = sum of exp(-age / W)
 *		before = sum of (exp(-age / B) - exp(-age / W)),
 *
 * which an event enters slowly as it leaves "now".  If the thing keeps its share of
 * all that happens, then with the sums N and P of all things
 *
 *		expected = before * N / P
 *
 * so that neither the hour of the day, nor growth, nor a young source makes
 * anything trend.
 *
 * The rate ratio now / expected is judged as in the search for signals among
 * many counts (DuMouchel 1999, The American Statistician 53:177): a Gamma prior
 * with mean 1 and the weight of "prior" events shrinks it,
 *
 *		ratio = (now + prior) / (expected + prior)
 *
 * and a lower bound of it ranks.  The relative variance is at most
 *
 *		1 / a = 1 / (now + prior) + N / P * expected / (expected + prior)^2
 *
 * because a sum of Poisson events with weights of at most 1 varies by no more than
 * its mean.  With z standard deviations, by the cube root transform of
 * a Gamma quantile (Wilson and Hilferty 1931),
 *
 *		bound = ratio * (1 - 1 / (9 a) - z / (3 sqrt(a)))^3
 *
 * A bound above 1 is a trend.
 */
#ifndef RECSYS_NUMERIC_TREND_H
#define RECSYS_NUMERIC_TREND_H

#include <stdint.h>

#define TREND_RECENT	0
#define TREND_LONGER	1
#define TREND_SUMS		2

/* Lengths of the windows, in microseconds; a length of 0: not kept. */
typedef struct TrendWindows
{
	double		length[TREND_SUMS];
} TrendWindows;

typedef struct TrendCount
{
	double		sums[TREND_SUMS];	/* as they are at "as_of" */
	int64_t		as_of;			/* microseconds */
	int64_t		events;			/* that are in the sums */
} TrendCount;

/* sign: +1 the event happened, -1 it is taken back.  Without events, the sums are
 * exactly 0, whatever rounding has left. */
extern void trend_count(TrendCount *count, const TrendWindows *windows,
						int64_t time, double weight, int sign);

/* All that is in "part" is taken from the whole. */
extern void trend_subtract(TrendCount *whole, const TrendWindows *windows, const TrendCount *part);

/* A sum as it is at time t. */
extern double trend_sum_at(const TrendCount *count, const TrendWindows *windows, int which,
						   int64_t t);

typedef struct Trend
{
	double		now;
	double		expected;
	double		bound;			/* of now / expected, 0 or more */
} Trend;

/* No thing with fewer events now trends. */
extern double trend_least(double prior, double z);

/* all: of everything that is counted. */
extern Trend trend_at(const TrendCount *count, const TrendCount *all, const TrendWindows *windows,
					  int64_t t, double prior, double z);

#endif							/* RECSYS_NUMERIC_TREND_H */
