/*
 * test_exact_sum.c
 *	  exact_sum.h: no bit is lost, whatever the order, the sizes and the signs.
 */
#include <float.h>

#include "unit.h"

#include "numeric/exact_sum.h"

static double
value_of(const ExactSum *sum)
{
	return exact_sum_value(sum).hi;
}

/* any finite float but subnormal ones, of either sign */
static float
any_float(Random *r)
{
	uint32_t	bits = random_bits(r);
	float		x;

	memcpy(&x, &bits, sizeof x);
	return isfinite(x) && (x == 0 || fabsf(x) >= FLT_MIN) ? x : 1.5f;
}

static bool
same(ExactSum a, ExactSum b)
{
	exact_sum_carry(&a);
	exact_sum_carry(&b);
	return memcmp(a.digits, b.digits, sizeof a.digits) == 0;
}

static void
extremes(void)
{
	ExactSum	sum = {0};
	float		tiny = 1.401298464324817e-45f;	/* the least subnormal */

	ok(value_of(&sum) == 0, "an empty sum is 0");
	exact_sum_add(&sum, -0.0);
	ok(value_of(&sum) == 0 && !signbit(value_of(&sum)), "minus zero changes nothing");
	exact_sum_add(&sum, (double) tiny * tiny);
	ok(value_of(&sum) == ldexp(1, -298), "the least product");
	exact_sum_add(&sum, (double) FLT_MAX * FLT_MAX);
	ok(value_of(&sum) == (double) FLT_MAX * FLT_MAX, "the largest product beside it");
	exact_sum_add(&sum, -(double) FLT_MAX * FLT_MAX);
	ok(value_of(&sum) == ldexp(1, -298), "and without it: the least product again");
	exact_sum_add(&sum, -2 * ldexp(1, -298));
	ok(value_of(&sum) == -ldexp(1, -298), "below zero");
	for (int i = 0; i < 1000; i++)
		exact_sum_add(&sum, -(double) FLT_MAX * FLT_MAX);
	ok(value_of(&sum) == -1000.0 * FLT_MAX * FLT_MAX, "more than the largest product");
}

static void
order(void)
{
	enum {N = 2000};
	Random		random = {11};
	static double x[N];
	ExactSum	forward = {0},
				backward = {0},
				halves[2] = {{{0}, 0}, {{0}, 0}};
	int			wrong = 0;

	for (int i = 0; i < N; i++)
		x[i] = (double) any_float(&random) * any_float(&random);
	for (int i = 0; i < N; i++)
	{
		exact_sum_add(&forward, x[i]);
		exact_sum_add(&backward, x[N - 1 - i]);
		exact_sum_add(&halves[i % 2], x[i]);
	}
	exact_sum_merge(&halves[0], &halves[1]);
	ok(same(forward, backward) && same(forward, halves[0]), "forward, backward and in two parts: the same bits");
	for (int i = 0; i < N; i++)
		exact_sum_add(&forward, -x[i]);
	ok(value_of(&forward) == 0, "all taken out again: 0");

	/* whole numbers, against 64 bits */
	memset(&forward, 0, sizeof forward);
	for (int64_t i = 0, expected = 0; i < 20000; i++)
	{
		int64_t		a = (int64_t) random_below(&random, 1 << 24) - (1 << 23),
					b = (int64_t) random_below(&random, 1 << 20) - (1 << 19);

		exact_sum_add(&forward, (double) a * (double) b);
		expected += a * b;
		wrong += value_of(&forward) != (double) expected;
	}
	ok(wrong == 0, "sums of whole numbers equal those of int64");
}

/* the carries that an addition hands on after 2^30 others */
static void
pending(void)
{
	ExactSum	sum = {0};

	sum.pending = (INT64_C(1) << 30) - 2;
	for (int i = 0; i < 5; i++)
		exact_sum_add(&sum, 3.0);
	ok(value_of(&sum) == 15 && sum.pending == 3, "carries are handed on in time");
}

static void
similarity(void)
{
	ExactSum	s[5] = {{{0}, 0}};
	const float a[] = {1, 2, 3, 4, 5},
				b[] = {2, 1, 4, 3, 5};
	const double far = 1 << 20;

	for (int i = 0; i < 5; i++)
	{
		exact_sum_add(&s[0], a[i]);
		exact_sum_add(&s[1], b[i]);
		exact_sum_add(&s[2], a[i] * b[i]);
		exact_sum_add(&s[3], a[i] * a[i]);
		exact_sum_add(&s[4], b[i] * b[i]);
	}
	ok(fabs(cosine_of_sums(&s[2], &s[3], &s[4]) - 53.0 / 55) < 1e-15, "cosine 53 / 55");
	ok(fabs(correlation_of_sums(5, &s[0], &s[1], &s[2], &s[3], &s[4]) - 0.8) < 1e-15, "correlation 0.8");

	/* far from 0, where sums of doubles would leave nothing of the differences */
	memset(s, 0, sizeof s);
	for (int i = 0; i < 5; i++)
	{
		double		x = far + a[i] / 8,
					y = far + b[i] / 8;

		exact_sum_add(&s[0], x);
		exact_sum_add(&s[1], y);
		exact_sum_add(&s[2], x * y);
		exact_sum_add(&s[3], x * x);
		exact_sum_add(&s[4], y * y);
	}
	ok(fabs(correlation_of_sums(5, &s[0], &s[1], &s[2], &s[3], &s[4]) - 0.8) < 1e-14, "the same far from 0");

	memset(s, 0, sizeof s);
	ok(isnan(cosine_of_sums(&s[0], &s[0], &s[0])), "no cosine with a vector of zeros");
	for (int i = 0; i < 1000003; i++)
	{
		double		x = 0.1f;

		exact_sum_add(&s[0], x);
		exact_sum_add(&s[3], x * x);
	}
	ok(isnan(correlation_of_sums(1000003, &s[0], &s[0], &s[3], &s[3], &s[3])), "no correlation with what does not vary");
	exact_sum_add(&s[0], (double) nextafterf(0.1f, 1));
	exact_sum_add(&s[3], (double) nextafterf(0.1f, 1) * nextafterf(0.1f, 1));
	ok(fabs(correlation_of_sums(1000004, &s[0], &s[0], &s[3], &s[3], &s[3]) - 1) < 1e-12,
	   "one value of a million differs in its last bit: correlation 1 with itself");
}

int
main(void)
{
	extremes();
	order();
	pending();
	similarity();
	return unit_end();
}
