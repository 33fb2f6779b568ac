/*
 * expansion.c
 *	  See expansion.h.
 */
#include "numeric/expansion.h"

/* a + b = the result + *error, exactly (Knuth's two-sum, any order of a and b) */
static inline double
two_sum(double a, double b, double *error)
{
	double		sum = a + b,
				of_b = sum - a,
				of_a = sum - of_b;

	*error = (a - of_a) + (b - of_b);
	return sum;
}

#define PACK_FROM	48

/*
 * Parts that have no bits in common may still have few bits each.  From the
 * largest down, each takes what it can hold of those below (Shewchuk's
 * "compress", its first pass).
 */
static int
pack(double *parts, int n)
{
	int			bottom = n - 1;
	double		sum = parts[n - 1];

	for (int i = n - 2; i >= 0; i--)
	{
		double		error;

		sum = two_sum(sum, parts[i], &error);
		if (error != 0)
		{
			parts[bottom--] = sum;
			sum = error;
		}
	}
	parts[bottom] = sum;
	for (int i = bottom; i < n; i++)
		parts[i - bottom] = parts[i];
	return n - bottom;
}

int
expansion_add(double *parts, int n, double x)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		double		error;

		x = two_sum(x, parts[i], &error);
		if (error != 0)
			parts[kept++] = error;
	}
	if (x != 0)
		parts[kept++] = x;
	return kept < PACK_FROM ? kept : pack(parts, kept);
}

/*
 * From the largest part down, the first sum that is not exact is the rounded one:
 * all that follows is smaller than its error.  Only if that error is just half a
 * unit, which rounds to even, do the rest decide: when they point the same way
 * as the error, the sum lies beyond the middle.
 */
double
expansion_value(const double *parts, int n)
{
	double		sum = n > 0 ? parts[--n] : 0,
				error = 0;

	while (n > 0 && error == 0)
		sum = two_sum(sum, parts[--n], &error);
	if (n > 0 && (error > 0) == (parts[n - 1] > 0))
	{
		double		further = sum + 2 * error;

		if (further - sum == 2 * error)
			sum = further;
	}
	return sum;
}
