/*
 * trend.c
 *	  Decayed counts and trends, see trend.h.
 */
#include "numeric/trend.h"

#include <math.h>
#include <string.h>

/* Of what happened before, P, as a share of N: less than that is no knowledge. */
#define LEAST_BEFORE 1e-6

static inline double
decay(const TrendWindows *windows, int which, int64_t age)
{
	if (!(windows->length[which] > 0))
		return 0;
	return age == 0 ? 1 : exp(-(double) age / windows->length[which]);
}

/* The count as it is at a later time. */
static void
move_to(TrendCount *count, const TrendWindows *windows, int64_t time)
{
	for (int which = 0; which < TREND_SUMS; which++)
		count->sums[which] *= decay(windows, which, time - count->as_of);
	count->as_of = time;
}

static void
clear_if_empty(TrendCount *count)
{
	if (count->events <= 0)
		memset(count, 0, sizeof(TrendCount));
	for (int which = 0; which < TREND_SUMS; which++)
		count->sums[which] = fmax(count->sums[which], 0);
}

void
trend_count(TrendCount *count, const TrendWindows *windows, int64_t time, double weight, int sign)
{
	if (count->events == 0)
	{
		if (sign < 0)
			return;				/* it was never counted */
		count->as_of = time;
	}
	else if (time > count->as_of)
		move_to(count, windows, time);
	for (int which = 0; which < TREND_SUMS; which++)
		count->sums[which] += sign * weight * decay(windows, which, count->as_of - time);
	count->events += sign;
	clear_if_empty(count);
}

void
trend_subtract(TrendCount *whole, const TrendWindows *windows, const TrendCount *part)
{
	if (part->events == 0)
		return;
	if (part->as_of > whole->as_of)
		move_to(whole, windows, part->as_of);
	for (int which = 0; which < TREND_SUMS; which++)
		whole->sums[which] -= part->sums[which] *
			decay(windows, which, whole->as_of - part->as_of);
	whole->events -= part->events;
	clear_if_empty(whole);
}

double
trend_sum_at(const TrendCount *count, const TrendWindows *windows, int which, int64_t t)
{
	return count->sums[which] > 0 ? count->sums[which] * decay(windows, which, t - count->as_of) : 0;
}

static double
lower_bound(double now, double expected, double scale, double prior, double z)
{
	double		variance = 1 / (now + prior) +
		scale * expected / ((expected + prior) * (expected + prior));
	double		root = fmax(1 - variance / 9 - z / 3 * sqrt(variance), 0);

	return (now + prior) / (expected + prior) * root * root * root;
}

/* Where the bound of something that nobody expected passes 1. */
double
trend_least(double prior, double z)
{
	double		low = 0,
				high = 1;

	while (lower_bound(high, 0, 0, prior, z) <= 1)
		high *= 2;
	for (int i = 0; i < 50; i++)
	{
		double		middle = (low + high) / 2;

		if (lower_bound(middle, 0, 0, prior, z) <= 1)
			low = middle;
		else
			high = middle;
	}
	return low;
}

Trend
trend_at(const TrendCount *count, const TrendCount *all, const TrendWindows *windows,
		 int64_t t, double prior, double z)
{
	Trend		trend = {.now = trend_sum_at(count, windows, TREND_RECENT, t)};
	double		all_now = trend_sum_at(all, windows, TREND_RECENT, t);
	double		all_before = trend_sum_at(all, windows, TREND_LONGER, t) - all_now;
	double		before = fmax(trend_sum_at(count, windows, TREND_LONGER, t) - trend.now, 0);
	double		scale;

	if (!(all_before > LEAST_BEFORE * all_now))
	{
		/* everything happened just now */
		trend.expected = trend.now;
		return trend;
	}
	scale = all_now / all_before;
	trend.expected = before * scale;
	trend.bound = lower_bound(trend.now, trend.expected, scale, prior, z);
	return trend;
}
