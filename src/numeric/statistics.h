/*
 * statistics.h
 *	  Intervals and tests for figures that come from samples.
 *
 * Results that are not defined are NAN.  All p-values are two-sided.
 */
#ifndef RECSYS_NUMERIC_STATISTICS_H
#define RECSYS_NUMERIC_STATISTICS_H

#include <stdint.h>

/* P(|Z| > |z|) of the standard normal distribution */
extern double normal_p(double z);

/* The z >= 0 with normal_p(z) = p, 0 < p <= 1: 1.96 for 0.05. */
extern double normal_z(double p);

/* P(|T| > |t|) of Student's distribution with df > 0 degrees of freedom */
extern double student_p(double t, double df);

/*
 * Wilson's score interval (Wilson 1927) of a share: with p = successes / trials,
 *		(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
 * 0 <= successes <= trials, trials > 0.
 */
extern void wilson_interval(double successes, double trials, double z,
							double *lower, double *upper);

/*
 * Two shares are equal: z = (pa - pb) / sqrt(p (1 - p) (1/na + 1/nb)), where p is
 * the share of both together.  NAN if p is 0 or 1.
 */
extern double two_proportion_p(double successes_a, double trials_a,
							   double successes_b, double trials_b);

/*
 * Two means are equal, whatever the variances (Welch 1947):
 *		t = (ma - mb) / sqrt(va/na + vb/nb)
 *		df = (va/na + vb/nb)^2 / ((va/na)^2 / (na - 1) + (vb/nb)^2 / (nb - 1))
 * Variances are those of samples (n - 1), na and nb at least 2.  NAN if neither
 * side varies.
 */
extern double welch_p(double mean_a, double variance_a, double n_a,
					  double mean_b, double variance_b, double n_b);

#endif							/* RECSYS_NUMERIC_STATISTICS_H */
