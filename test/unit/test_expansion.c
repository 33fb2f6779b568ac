/*
 * test_expansion.c
 *	  expansion.h: sums are exact, and rounded once.
 */
#include "unit.h"

#include "numeric/expansion.h"

static double
sum_of(const double *values, int n)
{
	double		parts[EXPANSION_PARTS];
	int			nparts = 0;

	for (int i = 0; i < n; i++)
		nparts = expansion_add(parts, nparts, values[i]);
	return expansion_value(parts, nparts);
}

#define SUM(...) sum_of((const double[]) {__VA_ARGS__}, sizeof((const double[]) {__VA_ARGS__}) / sizeof(double))

static void
by_hand(void)
{
	double		parts[EXPANSION_PARTS] = {0};
	double		two53 = ldexp(1, 53);
	int			n = 0;

	ok(expansion_value(parts, 0) == 0, "an empty sum is 0");
	n = expansion_add(parts, expansion_add(parts, 0, 2), 3);
	ok(n == 1 && parts[0] == 5, "whole numbers take one part");
	ok(expansion_add(parts, n, -5) == 0, "and none when they cancel out");
	ok(expansion_add(parts, 0, -0.0) == 0, "minus zero is nothing");
	ok(SUM(1e100, 1, -1e100) == 1, "what a large number hides comes back");
	ok(SUM(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1) == 1, "ten times 0.1 round to 1");
	ok(SUM(two53, 1) == two53, "half a unit: to the even one, below");
	ok(SUM(two53, 3) == two53 + 4, "half a unit: to the even one, above");
	ok(SUM(two53, 1, 1e-30) == two53 + 2, "a little more than half: up");
	ok(SUM(two53, 3, -1e-30) == two53 + 2, "a little less than half: down");
	ok(SUM(-two53, -1, -1e-30) == -two53 - 2, "the same of negative ones");
	ok(SUM(two53, 1, ldexp(1, -1074)) == two53 + 2, "the least double decides");
}

/* Values of all sizes, of either sign. */
static double
any_double(Random *r)
{
	double		x = (double) random_bits(r) * (random_bits(r) % 2 ? 1 : -1) + random_bits(r) / 4294967296.0;

	return ldexp(x, (int) (random_bits(r) % 1300) - 1010);
}

static void
any_order(void)
{
	enum
	{
		N = 3000
	};
	static double values[N];
	double		parts[EXPANSION_PARTS],
				others[EXPANSION_PARTS];
	Random		r = {7};
	double		expected;
	int			n = 0,
				m = 0,
				most = 0,
				wrong = 0;

	for (int i = 0; i < N; i++)
		values[i] = any_double(&r);
	expected = sum_of(values, N);
	for (int round = 0; round < 20; round++)
	{
		for (int i = N - 1; i > 0; i--)
		{
			int			j = (int) (random_bits(&r) % (uint32_t) (i + 1));
			double		t = values[i];

			values[i] = values[j];
			values[j] = t;
		}
		wrong += sum_of(values, N) != expected;
	}
	ok(wrong == 0, "20 orders of %d values give the same sum", N);

	for (int i = 0; i < N; i++)
	{
		if (i % 2)
			n = expansion_add(parts, n, values[i]);
		else
			m = expansion_add(others, m, values[i]);
		most = n > most ? n : most;
	}
	ok(most < EXPANSION_PARTS, "never more than %d parts", EXPANSION_PARTS);
	while (m > 0)
		n = expansion_add(parts, n, others[--m]);
	ok(expansion_value(parts, n) == expected, "two expansions add up to it");
	for (int i = 0; i < N; i++)
		n = expansion_add(parts, n, -values[i]);
	ok(n == 0, "and nothing is left when all are taken away");
}

int
main(void)
{
	by_hand();
	any_order();
	return unit_end();
}
