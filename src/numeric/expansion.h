/*
 * expansion.h
 *	  Sums of any doubles without rounding, as a few doubles that add up to them.
 *
 * An expansion is a row of parts, smallest first, of which no two have bits in
 * common (Shewchuk, Adaptive Precision Floating-Point Arithmetic, 1997).  What
 * was added in which order, or by way of other expansions, makes no difference
 * to the sum.  Sums of whole numbers, or of amounts in cents, mostly need one
 * part or two, where numeric/exact_sum.h always takes 176 bytes.
 */
#ifndef RECSYS_NUMERIC_EXPANSION_H
#define RECSYS_NUMERIC_EXPANSION_H

/* Room for the parts.  Nearly always one to three are in use; from 48 on they are
 * packed, and 28 hold all bits from 2^-1074 to 2^372. */
#define EXPANSION_PARTS	50

/* What may be added, so that a sum of 2^40 is far from overflowing. */
#define EXPANSION_LIMIT	1e100

/* Adds x to n parts; returns how many there are now, 0 if the sum is zero. */
extern int	expansion_add(double *parts, int n, double x);

/* The sum, rounded once: to the nearest double, to the even one of two. */
extern double expansion_value(const double *parts, int n);

#endif							/* RECSYS_NUMERIC_EXPANSION_H */
