/*
 * test_list_shape.c
 *	  list_shape.h against values by hand and the formulas taken literally.
 */
#include "unit.h"

#include "numeric/list_shape.h"

static bool
near(double a, double b)
{
	return fabs(a - b) < 1e-12;
}

static int
ascending(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return (x > y) - (x < y);
}

static void
inequality(void)
{
	Random		random = {3};
	double		largest = 0;

	ok(near(gini_of_sorted((double[]) {1, 2, 3, 4}, 4), 0.25), "gini of 1 2 3 4 is 1/4");
	ok(gini_of_sorted((double[]) {7, 7, 7}, 3) == 0, "all alike: 0");
	ok(near(gini_of_sorted((double[]) {0, 0, 0, 5}, 4), 0.75), "one has all: (n - 1) / n");
	ok(isnan(gini_of_sorted((double[]) {0, 0}, 2)) && isnan(gini_of_sorted(NULL, 0)), "nothing to spread");
	ok(near(gini_of_sorted((double[]) {1e308, 1e308, 1e308, 1.7e308}, 4), 0.7 / 4.7 * 0.75), "no overflow");
	for (int round = 0; round < 300; round++)
	{
		double		x[30] = {0},
					sum = 0,
					differences = 0;
		int			n = 1 + (int) random_below(&random, 30);

		for (int i = 0; i < n; i++)
			sum += x[i] = random_below(&random, 50) + 1;
		for (int i = 0; i < n; i++)
			for (int j = 0; j < n; j++)
				differences += fabs(x[i] - x[j]);
		qsort(x, (size_t) n, sizeof *x, ascending);
		largest = fmax(largest, fabs(gini_of_sorted(x, n) - differences / (2 * n * sum)));
	}
	ok(largest < 1e-14, "equals the sum over all pairs; largest difference %.1e", largest);
}

static void
lists(void)
{
	const float v[] = {1, 0, 0, 2, 3, 3, 0, 0};
	double		scratch[9],
				largest = 0;
	Random		random = {5};

	ok(near(diversity(v, 2, 2, scratch), 1), "right angles: 1");
	ok(near(diversity(v, 4, 2, scratch), (1 + 2 * (1 - sqrt(0.5))) / 3), "zeros are left out");
	ok(near(diversity((float[]) {1, 1, -1, -1}, 2, 2, scratch), 2), "opposite: 2");
	ok(near(diversity((float[]) {1, 1, 3, 3}, 2, 2, scratch), 0), "alike: 0");
	ok(isnan(diversity(v, 1, 2, scratch)) && isnan(diversity(v + 5, 1, 2, scratch)) &&
	   isnan(diversity(v, 0, 2, scratch)), "fewer than two: not defined");
	for (int round = 0; round < 300; round++)
	{
		float		x[20 * 9] = {0};
		int			n = 2 + (int) random_below(&random, 19),
					dim = 1 + (int) random_below(&random, 9);
		double		sum = 0;

		for (int i = 0; i < n * dim; i++)
			x[i] = (float) (random_real(&random) - 0.3);
		for (int i = 0; i < n; i++)
			for (int j = 0; j < i; j++)
			{
				double		dot = 0,
							ii = 0,
							jj = 0;

				for (int d = 0; d < dim; d++)
				{
					dot += (double) x[i * dim + d] * x[j * dim + d];
					ii += (double) x[i * dim + d] * x[i * dim + d];
					jj += (double) x[j * dim + d] * x[j * dim + d];
				}
				sum += 1 - dot / sqrt(ii) / sqrt(jj);
			}
		largest = fmax(largest, fabs(diversity(x, n, dim, scratch) - sum / (n * (n - 1) / 2)));
	}
	ok(largest < 1e-13, "equals the mean over all pairs; largest difference %.1e", largest);

	ok(near(novelty((int64_t[]) {50, 25, 100}, 3, 100), 1), "novelty of 1, 2 and 0 bits is 1");
	ok(near(novelty((int64_t[]) {0}, 1, 1024), 10), "an item of nobody counts as one of a single user");
	ok(isnan(novelty(NULL, 0, 5)), "an empty list has none");
}

int
main(void)
{
	inequality();
	lists();
	return unit_end();
}
