/*
 * test_statistics.c
 *	  statistics.h against published tables and worked examples.
 */
#include "unit.h"

#include "numeric/statistics.h"

static bool
near(double a, double b, double within)
{
	return fabs(a - b) <= within;
}

static void
normal(void)
{
	int			wrong = 0;

	ok(near(normal_z(0.05), 1.959963984540054, 1e-14), "z of 5 %%: %.15f", normal_z(0.05));
	ok(near(normal_z(0.01), 2.575829303548901, 1e-14), "z of 1 %%");
	ok(near(normal_z(0.001), 3.290526731491926, 1e-13), "z of 0.1 %%");
	ok(normal_z(1) == 0, "z of everything is 0");
	for (double z = 0.01; z < 8.2; z += 0.01)
		wrong += !near(normal_z(normal_p(z)), z, 1e-13 * z);
	ok(wrong == 0, "normal_z is the inverse of normal_p");
}

/* P(|T| > t) in closed form, for whole degrees of freedom */
static double
closed_form(double t, int df)
{
	double		theta = atan(t / sqrt(df)),
				c = cos(theta) * cos(theta),
				term = df % 2 ? cos(theta) : 1,
				sum = 0;

	for (int k = df % 2 ? 3 : 2; k <= df; k += 2)
	{
		sum += term;
		term *= c * (k - 1) / k;
	}
	if (df % 2)
		return 1 - 2 / M_PI * (theta + sin(theta) * sum);
	return 1 - sin(theta) * sum;
}

static void
student(void)
{
	/* critical values of 5 % as printed in every table */
	const double table[][2] = {{1, 12.706}, {2, 4.303}, {5, 2.571}, {10, 2.228}, {30, 2.042}, {120, 1.980}};
	double		largest = 0;
	int			wrong = 0;

	for (int i = 0; i < 6; i++)
		ok(near(student_p(table[i][1], table[i][0]), 0.05, 5e-5), "t of 5 %%, %g degrees", table[i][0]);
	for (int df = 1; df <= 300; df++)
		for (double t = 0.01; t < 12; t *= 1.1)
			largest = fmax(largest, fabs(student_p(t, df) - closed_form(t, df)));
	ok(largest < 1e-12, "closed form for 1 to 300 degrees; largest difference %.1e", largest);

	largest = 0;
	for (double t = 0.01; t < 30; t *= 1.1)
		largest = fmax(largest, fabs(student_p(t, 1e5) / student_p(t, 1e5 + 1e-6) - 1));
	ok(largest < 1e-8, "no step where the expansion begins; largest %.1e", largest);
	ok(near(student_p(1.959963984540054, 1e15), 0.05, 1e-12), "the normal distribution in the end");

	for (double df = 0.3; df < 1e9; df *= 1.7)
		for (double t = 0.001, last = 1; t < 1e6; t *= 1.3)
		{
			double		p = student_p(t, df);

			wrong += !(p >= 0 && p <= last + 1e-12);
			last = p;
		}
	ok(wrong == 0, "p falls from 1 to 0 for any degrees");
	ok(student_p(0, 5) == 1 && student_p(INFINITY, 5) == 0 && student_p(1e200, 5) == 0 &&
	   isnan(student_p(NAN, 5)) && isnan(student_p(1, 0)) && isnan(student_p(1, NAN)), "ends");
}

static void
chi_square(void)
{
	/* critical values of 5 % as printed in every table */
	const double table[][2] = {{1, 3.841}, {2, 5.991}, {3, 7.815}, {5, 11.070}, {10, 18.307}, {30, 43.773}, {100, 124.342}};
	double		largest = 0;

	for (int i = 0; i < 7; i++)
		ok(near(chi_square_p(table[i][1], table[i][0]), 0.05, 5e-5), "chi square of 5 %%, %g degrees", table[i][0]);
	for (int df = 2; df <= 200; df += 2)
		for (double x = 0.01; x < 600; x *= 1.2)
		{
			double		term = exp(-x / 2),
						sum = term;

			for (int k = 1; k < df / 2; k++)
				sum += term *= x / 2 / k;
			largest = fmax(largest, fabs(chi_square_p(x, df) - sum));
		}
	ok(largest < 1e-12, "closed form for even degrees; largest difference %.1e", largest);
	largest = 0;
	for (double x = 0.01; x < 600; x *= 1.1)
		largest = fmax(largest, fabs(chi_square_p(x, 1) / normal_p(sqrt(x)) - 1));
	ok(largest < 1e-11, "one degree is the square of a normal; largest %.1e", largest);
	/* Mendel's peas, 315 : 108 : 101 : 32 against 9 : 3 : 3 : 1; R's chisq.test: 0.47002, p-value 0.9254 */
	ok(near(chi_square_p(0.47002, 3), 0.9254, 5e-5), "Mendel's peas: p %.4f", chi_square_p(0.47002, 3));
	{
		const double peas[] = {315, 108, 101, 32},
					nine[] = {9, 3, 3, 1};

		/* Kohavi, Tang and Xu, Trustworthy Online Controlled Experiments (2020), chapter 3 */
		const double users[] = {821588, 815482},
					half[] = {0.5, 0.5},
					some[] = {3, 1, 0},
					zero[] = {0.5, 0.5, 0};

		ok(near(sample_ratio_p(peas, nine, 4), 0.9254, 5e-5), "and from their counts");
		ok(near(sample_ratio_p(users, half, 2), 1.8e-6, 5e-8), "821,588 and 815,482 users: p %.2g", sample_ratio_p(users, half, 2));
		ok(sample_ratio_p(some, zero, 3) == sample_ratio_p(some, half, 2) && sample_ratio_p(nine, zero, 3) == 0 &&
		   isnan(sample_ratio_p(zero + 2, half, 1)) && isnan(sample_ratio_p(users, half, 1)), "shares of 0");
	}
	ok(chi_square_p(0, 4) == 1 && chi_square_p(INFINITY, 4) == 0 && chi_square_p(1e6, 4) == 0 &&
	   isnan(chi_square_p(NAN, 4)) && isnan(chi_square_p(1, 0)), "ends");
}

/* Sums about the means of (x, y). */
static RatioSample
sample_of(const double (*xy)[2], int n)
{
	RatioSample s = {.n = n};

	for (int i = 0; i < n; i++)
	{
		s.x += xy[i][0];
		s.y += xy[i][1];
	}
	for (int i = 0; i < n; i++)
	{
		double		dx = xy[i][0] - s.x / n,
					dy = xy[i][1] - s.y / n;

		s.sxx += dx * dx;
		s.syy += dy * dy;
		s.sxy += dx * dy;
	}
	return s;
}

static void
ratios(void)
{
	/* residuals y - r x by hand.  r = 6/12 = 1/2:
	 * residuals .5, -1, .5, 0; squares 1.5; 4/3 * 1.5 / 144 */
	const double small[][2] = {{1, 1}, {4, 1}, {3, 2}, {4, 2}};
	double		many[2000][2];
	Random		r = {5};
	RatioSample s = sample_of(small, 4),
				once;
	double		share,
				wider;

	ok(near(ratio_variance(&s), 4.0 / 3 * 1.5 / 144, 1e-15), "a ratio by hand: %.6f", ratio_variance(&s));
	ok(ratio_p(&s, &s) == 1, "equal ratios: 1");
	s.n = 1;
	ok(isnan(ratio_variance(&s)), "one unit: not defined");

	/* one trial each: the variance of a share */
	for (int i = 0; i < 2000; i++)
	{
		many[i][0] = 1;
		many[i][1] = random_bits(&r) % 10 == 0;
	}
	once = sample_of((const double (*)[2]) many, 2000);
	share = once.y / 2000;
	ok(near(ratio_variance(&once) / (share * (1 - share) / 1999), 1, 1e-9), "one trial each is a share");
	/* ten trials each that all go the same way are no more than one */
	for (int i = 0; i < 2000; i++)
	{
		many[i][0] *= 10;
		many[i][1] *= 10;
	}
	s = sample_of((const double (*)[2]) many, 2000);
	wider = ratio_variance(&s);
	ok(near(wider / ratio_variance(&once), 1, 1e-9), "repeating oneself adds nothing");
}

static void
sizes(void)
{
	/* the manual of R's power.prop.test: p1 = .50, p2 = .75, power = .90 needs n = 76.7 */
	double		n = two_proportion_trials(0.5, 0.75, 0.05, 0.9);

	ok(near(n, 76.7, 0.05), "R's manual: %.4f", n);
	ok(two_proportion_trials(0.75, 0.5, 0.05, 0.9) == n, "either way");
	ok(near(two_proportion_trials(0.1, 0.3, 0.05, 0.5) /
			pow(normal_z(0.05) * sqrt(2 * 0.2 * 0.8) / 0.2, 2), 1, 1e-12), "a power of half needs no reserve");
	ok(isnan(two_proportion_trials(0.1, 0.1, 0.05, 0.8)), "no difference, no size");
}

static void
wilson(void)
{
	/* Newcombe 1998, Statistics in Medicine 17, table I, method 3 */
	const double table[][4] = {{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605},
	{0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}};
	int			wrong = 0;

	for (int i = 0; i < 4; i++)
	{
		double		lower,
					upper;

		wilson_interval(table[i][0], table[i][1], normal_z(0.05), &lower, &upper);
		ok(near(lower, table[i][2], 5e-5) && near(upper, table[i][3], 5e-5),
		   "%g of %g: %.4f to %.4f", table[i][0], table[i][1], lower, upper);
	}
	for (int n = 1; n < 60; n++)
		for (int k = 0; k <= n; k++)
		{
			double		l[2],
						u[2];

			wilson_interval(k, n, 1.96, &l[0], &u[0]);
			wilson_interval(n - k, n, 1.96, &l[1], &u[1]);
			wrong += !(l[0] >= 0 && l[0] <= (double) k / n && u[0] >= (double) k / n && u[0] <= 1 &&
					   near(l[0], 1 - u[1], 1e-14) && (k > 0 || l[0] == 0) && (k < n || u[0] == 1));
		}
	ok(wrong == 0, "the share within, both ends within 0 and 1, mirrored for failures");
}

static void
tests(void)
{
	double		p;

	/* Physicians' Health Study, NEJM 1989: heart attacks with placebo and with
	 * aspirin; X^2 = 25.01 (Agresti, Categorical Data Analysis) */
	p = two_proportion_p(189, 11034, 104, 11037);
	ok(near(p, normal_p(sqrt(25.01)), 1e-8), "aspirin: X^2 25.01, p %.3g", p);
	ok(two_proportion_p(5, 10, 50, 100) == 1, "equal shares: 1");
	ok(isnan(two_proportion_p(0, 10, 0, 20)) && isnan(two_proportion_p(10, 10, 20, 20)), "all or none: not defined");

	/* Newcombe 1998, table II, contrasts (a) and (f), method 10 */
	p = share_difference_lower(56, 70, 48, 80, 1.96);
	ok(near(p, 0.0524, 5e-5), "56/70 less 48/80: at least %.4f", p);
	p = share_difference_lower(5, 56, 0, 29, 1.96);
	ok(near(p, -0.0381, 5e-5), "5/56 less 0/29: at least %.4f", p);
	ok(share_difference_lower(3, 10, 1, 10, 0) > 0.2 - 1e-15, "without certainty: the difference");

	/* Student's sleep data, as in the manual of R's t.test: t = -1.8608, df = 17.776, p-value = 0.07939 */
	p = welch_p(0.75, 28.805 / 9, 10, 2.33, 36.081 / 9, 10);
	ok(near(p, 0.07939, 5e-6), "sleep: p %.5f", p);
	ok(isnan(welch_p(1, 0, 5, 2, 0, 5)), "nothing varies: not defined");
	ok(near(welch_p(1, 2, 10, 1.5, 0, 1000), student_p(0.5 / sqrt(0.2), 9), 1e-15), "one side known: its degrees");
	ok(near(welch_p(1e-160, 1e-320, 10, 0, 2e-320, 20), welch_p(1, 1, 10, 0, 2, 20), 1e-3), "no underflow");
}

int
main(void)
{
	normal();
	student();
	chi_square();
	wilson();
	tests();
	ratios();
	sizes();
	return unit_end();
}
