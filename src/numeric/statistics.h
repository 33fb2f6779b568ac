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

/* P(X > x) of the chi-square distribution with df > 0 degrees of freedom */
extern double chi_square_p(double x, double df);

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
 * Lower bound of the difference of two shares, pa - pb (Newcombe 1998, method 10):
 *		pa - pb - sqrt((pa - lower(a))^2 + (upper(b) - pb)^2)
 * with the bounds of wilson_interval().  Trials above 0.
 */
extern double share_difference_lower(double successes_a, double trials_a,
									 double successes_b, double trials_b, double z);

/*
 * Two means are equal, whatever the variances (Welch 1947):
 *		t = (ma - mb) / sqrt(va/na + vb/nb)
 *		df = (va/na + vb/nb)^2 / ((va/na)^2 / (na - 1) + (vb/nb)^2 / (nb - 1))
 * Variances are those of samples (n - 1), na and nb at least 2.  NAN if neither
 * side varies.
 */
extern double welch_p(double mean_a, double variance_a, double n_a,
					  double mean_b, double variance_b, double n_b);

/*
 * Counts come in the shares given: sum((observed - expected)^2 / expected), with
 * one degree of freedom less than there are shares above 0.  NAN without counts,
 * or with fewer than 2 such shares; 0 if there are counts where the share is 0.
 */
extern double sample_ratio_p(const double *observed, const double *shares, int n);

/*
 * How many trials each of two sides needs so that the two-proportion test finds a
 * difference between the shares pa and pb, at the two-sided significance given, with
 * the power given (Fleiss, Levin and Paik 2003, 4.14):
 *		n = (z_a sqrt(2 p (1 - p)) + z_b sqrt(pa (1 - pa) + pb (1 - pb)))^2 / (pa - pb)^2
 * with p = (pa + pb) / 2, z_a the two-sided quantile and z_b that of the power, at least 1/2.
 * NAN if the shares are equal.
 */
extern double two_proportion_trials(double pa, double pb, double significance, double power);

/*
 * A ratio of sums sum(y) / sum(x) over n units that were drawn independently, such
 * as clicks / impressions of users (delta method: Deng, Knoblich and Lu 2018).  sxx, syy and
 * sxy are sums of squares and products about the means.
 */
typedef struct RatioSample
{
	double		n,
				x,				/* sum(x) */
				y,				/* sum(y) */
				sxx,
				syy,
				sxy;
} RatioSample;

/* Variance of y / x: n / (n - 1) (syy - 2 r sxy + r^2 sxx) / x^2, r = y / x; NAN if n < 2 or x = 0 */
extern double ratio_variance(const RatioSample *sample);

/* Two ratios are equal: z test.  NAN if neither side varies. */
extern double ratio_p(const RatioSample *a, const RatioSample *b);

#endif							/* RECSYS_NUMERIC_STATISTICS_H */
