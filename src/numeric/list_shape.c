/*
 * list_shape.c
 *	  See list_shape.h.
 */
#include "numeric/list_shape.h"

#include <math.h>

double
gini_of_sorted(const double *values, int n)
{
	double		largest = n > 0 ? values[n - 1] : 0,
				sum = 0,
				weighted = 0;

	if (!(largest > 0))
		return NAN;
	/* the measure has no unit, so dividing by the largest keeps sums in range */
	for (int i = 0; i < n; i++)
	{
		sum += values[i] / largest;
		weighted += (2.0 * i + 1 - n) * (values[i] / largest);
	}
	return weighted > 0 ? weighted / (n * sum) : 0;
}

/* The sum of all cosines is that of the sum of unit vectors with itself. */
double
diversity(const float *vectors, int n, int dim, double *scratch)
{
	double		all = 0,
				left = 0;

	for (int d = 0; d < dim; d++)
		scratch[d] = 0;
	for (int i = 0; i < n; i++)
	{
		const float *v = vectors + (int64_t) i * dim;
		double		square = 0,
					length;

		for (int d = 0; d < dim; d++)
			square += (double) v[d] * v[d];
		if (square == 0)
			continue;
		length = sqrt(square);
		left++;
		for (int d = 0; d < dim; d++)
			scratch[d] += v[d] / length;
	}
	if (left < 2)
		return NAN;
	for (int d = 0; d < dim; d++)
		all += scratch[d] * scratch[d];
	all = 1 - (all - left) / (left * (left - 1));
	return all < 0 ? 0 : all > 2 ? 2 : all;
}

double
novelty(const int64_t *users, int n, int64_t total)
{
	double		sum = 0;

	if (n == 0)
		return NAN;
	for (int i = 0; i < n; i++)
		sum += log2((double) total / (double) (users[i] > 0 ? users[i] : 1));
	return sum / n;
}
