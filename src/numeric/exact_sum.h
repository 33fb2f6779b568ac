/*
 * exact_sum.h
 *	  Sums of floats and of products of two floats, without any rounding.
 *
 * A float is a multiple of 2^-149 below 2^128, so a product of two is a
 * multiple of 2^-298 below 2^256, and a double holds it exactly.  The sum is a
 * fixed point number wide enough for 2^63 of them, so it does not depend on the
 * order of what was added, a number that is subtracted again leaves no trace,
 * and the parts of parallel workers add up to the same bits.  (The idea is
 * Kulisch's long accumulator; the digits with delayed carries are Neal's, 2015.)
 *
 * Only the result is rounded, to a pair of doubles of 106 bits; the product of two
 * sums is far from a double's limits still.
 */
#ifndef RECSYS_NUMERIC_EXACT_SUM_H
#define RECSYS_NUMERIC_EXACT_SUM_H

#include <stdint.h>

/* 32 bits each, the lowest worth 2^-352: 2^-298 less the 52 bits by which a
 * double's significand may stand below its value, down to a whole digit. */
#define EXACT_SUM_DIGITS	21

/* All zero: the empty sum. */
typedef struct ExactSum
{
	int64_t		digits[EXACT_SUM_DIGITS];	/* lowest first; carries not yet handed on */
	int64_t		pending;		/* additions since they were */
} ExactSum;

/* hi + lo, |lo| <= half a unit in the last place of hi */
typedef struct DoubleDouble
{
	double		hi;
	double		lo;
} DoubleDouble;

/* x is a float, or a product of two; finite */
extern void exact_sum_add(ExactSum *sum, double x);
extern void exact_sum_merge(ExactSum *sum, const ExactSum *other);

/* Hands all carries on: equal sums have equal digits then. */
extern void exact_sum_carry(ExactSum *sum);
extern DoubleDouble exact_sum_value(const ExactSum *sum);

/* a b - c d, of which most digits may cancel */
extern DoubleDouble dd_cross(DoubleDouble a, DoubleDouble b, DoubleDouble c, DoubleDouble d);

/*
 * dot / sqrt(aa bb), within [-1, 1]; NAN if aa or bb is 0.
 */
extern double cosine_of_sums(const ExactSum *dot, const ExactSum *aa, const ExactSum *bb);

/*
 * (n ab - a b) / sqrt((n aa - a a) (n bb - b b)), within [-1, 1], from n pairs
 * and the sums over them; NAN if either side does not vary.
 */
extern double correlation_of_sums(int64_t n, const ExactSum *a, const ExactSum *b,
								  const ExactSum *ab, const ExactSum *aa, const ExactSum *bb);

#endif							/* RECSYS_NUMERIC_EXACT_SUM_H */
