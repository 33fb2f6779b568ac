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

/* ------------------------------------------------------------- chi-square */

/* 1 - Q(a, x) / (x^a e^-x / Gamma(a)), by the series of the lower incomplete gamma
 * function (DLMF 8.11.4); quick for x < a + 1 */
static double
gamma_series(double a, double x)
{
	double		term = 1 / a,
				sum = term;

	for (int n = 1; n < 100000 && term > sum * 1e-17; n++)
	{
		term *= x / (a + n);
		sum += term;
	}
	return sum;
}

/* Q(a, x) / (x^a e^-x / Gamma(a)), by the continued fraction of the upper incomplete
 * gamma function (DLMF 8.9.2), by Lentz's method; quick for x > a + 1 */
static double
gamma_fraction(double a, double x)
{
	const double tiny = 1e-300;
	double		b = x + 1 - a,
				c = 1 / tiny,
				d = 1 / b,
				f = d;

	for (int n = 1; n < 100000; n++)
	{
		double		an = -n * (n - a),
					step;

		b += 2;
		d = an * d + b;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = b + an / c;
		c = fabs(c) < tiny ? tiny : c;
		step = c * d;
		f *= step;
		if (fabs(step - 1) < 1e-16)
			break;
	}
	return f;
}

/* Q(df/2, x/2), the upper incomplete gamma function. */
double
chi_square_p(double x, double df)
{
	double		a = df / 2,
				front;

	if (isnan(x) || !(df > 0))
		return NAN;
	if (x <= 0)
		return 1;
	if (isinf(x))
		return 0;
	x /= 2;
	front = exp(a * log(x) - x - lgamma(a));
	return x < a + 1 ? 1 - front * gamma_series(a, x) : front * gamma_fraction(a, x);
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
share_difference_lower(double successes_a, double trials_a, double successes_b, double trials_b,
					   double z)
{
	double		pa = successes_a / trials_a,
				pb = successes_b / trials_b;
	double		lower,
				upper,
				unused;

	wilson_interval(successes_a, trials_a, z, &lower, &unused);
	wilson_interval(successes_b, trials_b, z, &unused, &upper);
	return pa - pb - sqrt((pa - lower) * (pa - lower) + (upper - pb) * (upper - pb));
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

double
sample_ratio_p(const double *observed, const double *shares, int n)
{
	double		all = 0,
				whole = 0,
				chi_square = 0;
	int			degrees = -1;

	for (int i = 0; i < n; i++)
	{
		all += observed[i];
		whole += shares[i];
	}
	if (!(all > 0) || !(whole > 0))
		return NAN;
	for (int i = 0; i < n; i++)
	{
		double		expected = shares[i] / whole * all;

		if (expected > 0)
		{
			chi_square += (observed[i] - expected) * (observed[i] - expected) / expected;
			degrees++;
		}
		else if (observed[i] > 0)
			return 0;
	}
	return chi_square_p(chi_square, degrees);
}

double
two_proportion_trials(double pa, double pb, double significance, double power)
{
	double		p = (pa + pb) / 2,
				z_a = normal_z(significance),
				z_b = normal_z(2 * (1 - power)),
				root = z_a * sqrt(2 * p * (1 - p)) + z_b * sqrt(pa * (1 - pa) + pb * (1 - pb));

	if (pa == pb)
		return NAN;
	return root * root / ((pa - pb) * (pa - pb));
}

double
ratio_variance(const RatioSample *sample)
{
	double		r = sample->y / sample->x,
				squares = sample->syy - 2 * r * sample->sxy + r * r * sample->sxx;

	if (sample->n < 2 || sample->x == 0)
		return NAN;
	/* a sum of squares, whatever rounding says */
	return sample->n / (sample->n - 1) * fmax(squares, 0) / (sample->x * sample->x);
}

double
ratio_p(const RatioSample *a, const RatioSample *b)
{
	double		variance = ratio_variance(a) + ratio_variance(b);

	if (!(variance > 0))
		return NAN;
	return normal_p((a->y / a->x - b->y / b->x) / sqrt(variance));
}
