/*
 * test_trend.c
 *	  trend.h: decayed counts against their definition, in any order and with
 *	  events taken back; bounds against figures worked out apart, and how often
 *	  what does not trend is said to.
 */
#include "unit.h"

#include "numeric/trend.h"

#define SECOND	1000000.0
#define HOUR	(3600 * SECOND)
#define DAY		(24 * HOUR)

static const TrendWindows windows = {{DAY, 7 * DAY}};

static uint64_t seed = 42;

/* uniform in [0, 1) */
static double
uniform(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (double) (seed >> 11) / 9007199254740992.0;
}

static bool
near(double a, double b)
{
	return fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b)) + 1e-12;
}

static double
by_definition(const int64_t *times, const double *weights, int n, int which, int64_t t)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += weights[i] * exp(-(double) (t - times[i]) / windows.length[which]);
	return sum;
}

static void
counts(void)
{
	int64_t		times[200];
	double		weights[200];
	int64_t		t = (int64_t) (40 * DAY);
	int			wrong = 0;
	TrendCount	count = {0},
				whole = {0},
				part = {0};

	for (int i = 0; i < 200; i++)
	{
		times[i] = (int64_t) (uniform() * 30 * DAY);
		weights[i] = 1 + i % 5;
		trend_count(&count, &windows, times[i], weights[i], 1);
		for (int which = 0; which < TREND_SUMS; which++)
			wrong += !near(trend_sum_at(&count, &windows, which, t),
						   by_definition(times, weights, i + 1, which, t));
	}
	ok(wrong == 0, "sums in any order of times");
	for (int i = 199; i >= 100; i--)
		trend_count(&count, &windows, times[i], weights[i], -1);
	for (int which = 0; which < TREND_SUMS; which++)
		ok(fabs(trend_sum_at(&count, &windows, which, t) /
				by_definition(times, weights, 100, which, t) - 1) < 1e-9,
		   "sum %d after half was taken back", which);
	for (int i = 0; i < 100; i++)
		trend_count(&count, &windows, times[i], weights[i], -1);
	ok(count.sums[0] == 0 && count.sums[1] == 0 && count.events == 0, "nothing is left of nothing");
	trend_count(&count, &windows, times[0], 1, -1);
	ok(count.sums[0] == 0 && count.events == 0, "what was never counted is not taken back");

	for (int i = 0; i < 200; i++)
	{
		trend_count(&whole, &windows, times[i], weights[i], 1);
		if (i >= 50)
			trend_count(&part, &windows, times[i], weights[i], 1);
	}
	trend_subtract(&whole, &windows, &part);
	ok(whole.events == 50 && fabs(trend_sum_at(&whole, &windows, TREND_LONGER, t) /
								  by_definition(times, weights, 50, TREND_LONGER, t) - 1) < 1e-9,
	   "a part is taken from the whole");

	/* at a constant rate: the number of events of one window */
	memset(&count, 0, sizeof(count));
	for (int64_t at = 0; at <= (int64_t) (60 * DAY); at += (int64_t) (HOUR / 10))
		trend_count(&count, &windows, at, 1, 1);
	ok(fabs(trend_sum_at(&count, &windows, TREND_RECENT, (int64_t) (60 * DAY)) - 240.5) < 0.1,
	   "240 events a day are 240: %g", trend_sum_at(&count, &windows, TREND_RECENT, (int64_t) (60 * DAY)));
}

/* n events just now, after a steady stream of all things, of which none of this. */
static Trend
fresh(int n, double z)
{
	TrendCount	count = {{n, n}, 0, n};
	TrendCount	all = {{1000, 7000}, 0, 7000};

	return trend_at(&count, &all, &windows, 0, 2, z);
}

static void
bounds(void)
{
	TrendCount	all = {{1000, 7000}, 0, 7000};
	TrendCount	twice = {{200, 800}, 0, 800};
	TrendCount	steady = {{100, 700}, 0, 700};
	Trend		trend;
	int			wrong = 0;

	for (int n = 0; n <= 5; n++)
		ok(fresh(n, 3).bound < 1, "%d events of something new are no trend: %g", n, fresh(n, 3).bound);
	ok(fresh(6, 3).bound > 1, "6 are: %g", fresh(6, 3).bound);
	ok(trend_least(2, 3) > 5 && trend_least(2, 3) < 6, "at least %g", trend_least(2, 3));
	for (double p = 0.1; p < 1000; p *= 3)
		for (double z = 0; z <= 10; z += 0.5)
		{
			double		least = trend_least(p, z);
			TrendCount	below = {{least * 0.999, least * 0.999}, 0, 1};
			TrendCount	above = {{least * 1.001 + 1e-6, least * 1.001 + 1e-6}, 0, 1};

			wrong += trend_at(&below, &all, &windows, 0, p, z).bound > 1;
			wrong += trend_at(&above, &all, &windows, 0, p, z).bound <= 1;
		}
	ok(wrong == 0, "and so for any prior and z");
	ok(fresh(2, 1.645).bound < 1, "two clicks do not trend at 5 %% either");

	trend = trend_at(&twice, &all, &windows, 0, 2, 3);
	/* before 600, times 1000/6000 = 100; variance 1/202 + 100/6/102^2 */
	ok(near(trend.expected, 100) && near(trend.now, 200), "expected %g", trend.expected);
	ok(fabs(trend.bound - 1.5336990) < 1e-6, "bound of 200 against 100: %.7f", trend.bound);
	trend = trend_at(&steady, &all, &windows, 0, 2, 3);
	ok(near(trend.expected, 100) && trend.bound < 1, "what keeps its share does not trend");
	/* a night: everything is a tenth, so is this */
	all = (TrendCount) {{100, 6100}, 0, 6100};
	steady = (TrendCount) {{10, 610}, 0, 610};
	ok(trend_at(&steady, &all, &windows, 0, 2, 3).bound < 1, "not at night");
	/* a table loaded at once knows of no before */
	all = (TrendCount) {{100, 100}, 0, 100};
	trend = trend_at(&(TrendCount) {{50, 50}, 0, 50}, &all, &windows, 0, 2, 3);
	ok(trend.bound == 0 && trend.expected == 50, "nothing is known of before");
	ok(trend_at(&(TrendCount) {0}, &(TrendCount) {0}, &windows, 0, 2, 3).bound == 0, "nothing at all");
}

/* Items of any frequency at constant rates: who is said to trend? */
static void
false_trends(void)
{
	enum {ITEMS = 400, PROBES = 40};
	static TrendCount counts[ITEMS];
	TrendCount	all = {0};
	int			said = 0,
				loosely = 0,
				probes = 0;
	double		t = 0;

	/* item i comes with a share of about 1 / (i + 10); some 60 events an hour */
	for (int probe = 0; probe < PROBES; probe++)
	{
		double		until = (30 + 2 * probe) * DAY;

		while (t < until)
		{
			int			item = (int) (10 * exp(uniform() * log((ITEMS + 10) / 10.0)) - 10);

			t += -log(1 - uniform()) * HOUR / 60;
			trend_count(&counts[item], &windows, (int64_t) t, 1, 1);
			trend_count(&all, &windows, (int64_t) t, 1, 1);
		}
		for (int item = 0; item < ITEMS; item++)
		{
			probes++;
			said += trend_at(&counts[item], &all, &windows, (int64_t) t, 2, 2.33).bound > 1;
			loosely += trend_at(&counts[item], &all, &windows, (int64_t) t, 2, 0.5).bound > 1;
		}
	}
	/* z = 2.33 allows 1 % */
	ok(said <= probes * 0.01, "of %d that do not trend, %d are said to", probes, said);
	ok(loosely > probes * 0.01, "with less caution it would be %d", loosely);
}

int
main(void)
{
	counts();
	bounds();
	false_trends();
	return unit_end();
}
