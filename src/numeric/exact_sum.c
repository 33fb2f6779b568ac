/*
 * exact_sum.c
 *	  See exact_sum.h.
 */
#include "numeric/exact_sum.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define LOWEST_BIT		352		/* digits[0] counts units of 2^-352 */
#define DIGIT_MASK		UINT64_C(0xffffffff)
#define EXPONENT_BIAS	1075	/* of a double whose significand is a whole number */

/* An addition moves a digit by less than 2^32. */
#define MOST_PENDING	(INT64_C(1) << 30)

void
exact_sum_carry(ExactSum *sum)
{
	for (int i = 0; i < EXACT_SUM_DIGITS - 1; i++)
	{
		int64_t		low = (int64_t) ((uint64_t) sum->digits[i] & DIGIT_MASK);

		/* exact, whatever the sign: what is left is a multiple of 2^32 */
		sum->digits[i + 1] += (sum->digits[i] - low) / (INT64_C(1) << 32);
		sum->digits[i] = low;
	}
	sum->pending = 0;
}

void
exact_sum_add(ExactSum *sum, double x)
{
	uint64_t	bits,
				significand,
				low,
				middle;
	int			at;
	int64_t	   *d;
	int64_t		sign;

	memcpy(&bits, &x, sizeof bits);
	at = (int) (bits >> 52 & 0x7ff);
	if (at == 0)
		return;					/* no product of floats is that small but 0 */
	significand = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1) << 52;
	at += LOWEST_BIT - EXPONENT_BIAS;
	assert(at >= 0 && at / 32 + 2 < EXACT_SUM_DIGITS);
	d = sum->digits + at / 32;
	at %= 32;
	sign = bits >> 63 ? -1 : 1;

	low = (significand & DIGIT_MASK) << at;
	middle = (significand >> 32 << at) + (low >> 32);
	d[0] += sign * (int64_t) (low & DIGIT_MASK);
	d[1] += sign * (int64_t) (middle & DIGIT_MASK);
	d[2] += sign * (int64_t) (middle >> 32);
	if (++sum->pending >= MOST_PENDING)
		exact_sum_carry(sum);
}

void
exact_sum_merge(ExactSum *sum, const ExactSum *other)
{
	ExactSum	part = *other;

	exact_sum_carry(sum);
	exact_sum_carry(&part);
	for (int i = 0; i < EXACT_SUM_DIGITS; i++)
		sum->digits[i] += part.digits[i];
	sum->pending = 1;
}

/* ------------------------------------------------- arithmetic of 106 bits */

/* Knuth's two-sum: hi + lo = a + b exactly */
static DoubleDouble
two_sum(double a, double b)
{
	double		hi = a + b,
				of_b = hi - a,
				of_a = hi - of_b;

	return (DoubleDouble) {hi, (a - of_a) + (b - of_b)};
}

static DoubleDouble
dd_add(DoubleDouble a, DoubleDouble b)
{
	DoubleDouble high = two_sum(a.hi, b.hi),
				low = two_sum(a.lo, b.lo);

	high = two_sum(high.hi, high.lo + low.hi);
	return two_sum(high.hi, high.lo + low.lo);
}

static DoubleDouble
dd_mul(DoubleDouble a, DoubleDouble b)
{
	double		hi = a.hi * b.hi,
				lo = fma(a.hi, b.hi, -hi);

	return two_sum(hi, lo + (a.hi * b.lo + a.lo * b.hi));
}

DoubleDouble
dd_cross(DoubleDouble a, DoubleDouble b, DoubleDouble c, DoubleDouble d)
{
	DoubleDouble minus = dd_mul(c, d);

	return dd_add(dd_mul(a, b), (DoubleDouble) {-minus.hi, -minus.lo});
}

DoubleDouble
exact_sum_value(const ExactSum *sum)
{
	ExactSum	s = *sum;
	DoubleDouble value = {0, 0};
	double		sign = 1;
	int			top = EXACT_SUM_DIGITS - 1;

	exact_sum_carry(&s);
	if (s.digits[top] < 0)
	{
		sign = -1;
		for (int i = 0; i < EXACT_SUM_DIGITS; i++)
			s.digits[i] = -s.digits[i];
		exact_sum_carry(&s);
	}
	while (top > 0 && s.digits[top] == 0)
		top--;
	/* five digits are at least 129 bits, more than fit */
	for (int i = top; i >= 0 && i > top - 5; i--)
		value = dd_add(value, (DoubleDouble) {ldexp((double) s.digits[i], 32 * i - LOWEST_BIT), 0});
	return (DoubleDouble) {sign * value.hi, sign * value.lo};
}

/* ------------------------------------------------------------- similarity */

static double
within_one(double x)
{
	return x > 1 ? 1 : x < -1 ? -1 : x;
}

double
cosine_of_sums(const ExactSum *dot, const ExactSum *aa, const ExactSum *bb)
{
	double		a = exact_sum_value(aa).hi,
				b = exact_sum_value(bb).hi;

	if (!(a > 0 && b > 0))
		return NAN;
	return within_one(exact_sum_value(dot).hi / sqrt(a * b));
}

/*
 * n squares - sum^2, exact but for 2^-104 of its terms; two floats that differ
 * at all, among fewer than 2^40 values, leave more than 2^-90.
 */
static double
spread(DoubleDouble n, const ExactSum *sum, const ExactSum *squares)
{
	DoubleDouble s = exact_sum_value(sum),
				q = exact_sum_value(squares);
	double		result = dd_cross(n, q, s, s).hi;

	return result > ldexp(n.hi * q.hi, -100) ? result : 0;
}

double
correlation_of_sums(int64_t n, const ExactSum *a, const ExactSum *b,
					const ExactSum *ab, const ExactSum *aa, const ExactSum *bb)
{
	DoubleDouble pairs = {(double) n, 0};
	double		va = spread(pairs, a, aa),
				vb = spread(pairs, b, bb);

	if (!(va > 0 && vb > 0))
		return NAN;
	return within_one(dd_cross(pairs, exact_sum_value(ab), exact_sum_value(a), exact_sum_value(b)).hi /
					  sqrt(va * vb));
}
