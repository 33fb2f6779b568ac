/*
 * cholesky.c
 *	  See cholesky.h.
 */
#include "numeric/cholesky.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

void
cholesky_factor(float *a, int n, int stride)
{
	float		largest = 0;

	for (int i = 0; i < n; i++)
		largest = fmaxf(largest, a[(size_t) i * (size_t) stride + (size_t) i]);
	for (int k = 0; k < n; k++)
	{
		float	   *row = a + (size_t) k * (size_t) stride;
		float		pivot = row[k];
		float		inverse = pivot > largest * FLT_EPSILON ? 1 / sqrtf(pivot) : 0;

		row[k] = inverse;
		for (int j = k + 1; j < n; j++)
			row[j] *= inverse;
		for (int i = k + 1; i < n; i++)
		{
			float	   *other = a + (size_t) i * (size_t) stride;
			float		factor = row[i];

			for (int j = i; j < n; j++)
				other[j] -= factor * row[j];
		}
	}
}

void
cholesky_solve(const float *u, int n, int stride, float *x)
{
	/* U'z = x */
	for (int k = 0; k < n; k++)
	{
		const float *row = u + (size_t) k * (size_t) stride;

		x[k] *= row[k];
		for (int j = k + 1; j < n; j++)
			x[j] -= row[j] * x[k];
	}
	/* Ux = z */
	for (int k = n - 1; k >= 0; k--)
	{
		const float *row = u + (size_t) k * (size_t) stride;
		float		sum = x[k];

		for (int j = k + 1; j < n; j++)
			sum -= row[j] * x[j];
		x[k] = sum * row[k];
	}
}
