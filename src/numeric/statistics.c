/*
 * statistics.c
 *	  See statistics.h.
 */
#include "numeric/statistics.h"

#include <math.h>

#define ROOT_2		1.41421356237309504880
#define LOG_PI		1.14472988584940017414
#define TWO_OVER_ROOT_2PI	0.79788456080286535588

/* Where Hill's expansion is as good as the continued fraction, and faster. */
#define MANY_DEGREES	1e5

double
normal_p(double z)
{
	return erfc(fabs(z) / ROOT_2);
}

/*
 * Newton's method from 0: normal_p is convex there, so every step falls short of
 * the root and none overshoots.
 */
double
normal_z(double p)
{
	double		z = 0;

	for (int round = 0; round < 100; round++)
	{
		double		step = (normal_p(z) - p) / (TWO_OVER_ROOT_2PI * exp(-z * z / 2));

		z += step;
		if (!(step > 1e-15 * z))
			break;
	}
	return z > 0 ? z : 0;
}

/* ------------------------------------------------------------ Student's t */

/* log of Gamma(a + 1/2) / Gamma(a) */
static double
log_gamma_step(double a)
{
	double		i = 1 / a;

	if (a < 20)
		return lgamma(a + 0.5) - lgamma(a);
	/* asymptotic; the next term is below 1e-13 from a = 20 on */
	return log(a) / 2 - i * (1.0 / 8 - i * i * (1.0 / 192 - i * i * (1.0 / 640 - i * i * 17 / 14336)));
}

/*
 * The continued fraction of the incomplete beta function, by Lentz's method
 * (DLMF 8.17.22); quick for x < (a + 1) / (a + b + 2).
 */
static double
beta_fraction(double a, double b, double x)
{
	const double tiny = 1e-300;
	double		c = 1,
				d = 1 - (a + b) * x / (a + 1),
				f;

	d = 1 / (fabs(d) < tiny ? tiny : d);
	f = d;
	for (int m = 1; m < 10000; m++)
	{
		double		even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
					odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
					step;

		d = 1 + even * d;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = 1 + even / c;
		c = fabs(c) < tiny ? tiny : c;
		f *= c * d;
		d = 1 + odd * d;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = 1 + odd / c;
		c = fabs(c) < tiny ? tiny : c;
		step = c * d;
		f *= step;
		if (fabs(step - 1) < 1e-15)
			break;
	}
	return f;
}

/* Hill 1970, algorithm 395: the z as likely as t. */
static double
student_z(double t, double df)
{
	double		a = df - 0.5,
				b = 48 * a * a,
				w = a * log1p(t * t / df);

	return (((((-0.4 * w - 3.3) * w - 24) * w - 85.5) / (0.8 * w * w + 100 + b) + w + 3) / b + 1) * sqrt(w);
}

/* I_x(df/2, 1/2) at x = df / (df + t^2), the incomplete beta function (DLMF 8.17). */
double
student_p(double t, double df)
{
	double		a = df / 2,
				b = 0.5,
				t2 = t * t,
				x,
				front;

	if (isnan(t) || !(df > 0))
		return NAN;
	if (t2 == 0)
		return 1;
	if (isinf(t2))
		return 0;
	if (df > MANY_DEGREES)
		return normal_p(student_z(t, df));
	x = df / (df + t2);
	/* x^a (1 - x)^b / B(a, b) */
	front = exp(-a * log1p(t2 / df) + log(t2 / (df + t2)) / 2 + log_gamma_step(a) - LOG_PI / 2);
	if (x < (a + 1) / (a + b + 2))
		return front * beta_fraction(a, b, x) / a;
	return 1 - front * beta_fraction(b, a, t2 / (df + t2)) / b;
}

/* ------------------------------------------------------ intervals and tests */

void
wilson_interval(double successes, double trials, double z, double *lower, double *upper)
{
	double		failures = trials - successes,
				z2 = z * z,
				half = z * sqrt(successes / trials * failures + z2 / 4);

	/* the ends are exact where no other value makes sense */
	*lower = successes > 0 ? (successes + z2 / 2 - half) / (trials + z2) : 0;
	*upper = failures > 0 ? (successes + z2 / 2 + half) / (trials + z2) : 1;
}

double
two_proportion_p(double successes_a, double trials_a, double successes_b, double trials_b)
{
	double		trials = trials_a + trials_b,
				p = (successes_a + successes_b) / trials,
				variance = p * (1 - p) * (1 / trials_a + 1 / trials_b);

	if (!(variance > 0))
		return NAN;
	return normal_p((successes_a / trials_a - successes_b / trials_b) / sqrt(variance));
}

double
welch_p(double mean_a, double variance_a, double n_a, double mean_b, double variance_b, double n_b)
{
	double		a = variance_a / n_a,
				b = variance_b / n_b,
				share;

	if (!(a + b > 0))
		return NAN;
	share = a / (a + b);		/* squares of tiny variances would vanish */
	return student_p((mean_a - mean_b) / sqrt(a + b),
					 1 / (share * share / (n_a - 1) + (1 - share) * (1 - share) / (n_b - 1)));
}
