/*
 * cholesky.c
 *	  See cholesky.h.  CHOLESKY_ALIGN rows are factored, then the matrix below
 *	  is updated with them, and so on.
 *
 * LAPACK's sposv is made for matrices larger than these: at 64 rows most of its
 * time is not arithmetic.
 */
#include "numeric/cholesky.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "numeric/als_kernel.h"

void
cholesky_factor(float *a, int n, int stride)
{
	const AlsKernels *kernels = als_kernels();
	float		largest = 0;

	for (int i = 0; i < n; i++)
		largest = fmaxf(largest, a[(size_t) i * (size_t) stride + (size_t) i]);
	for (int k = 0; k < n; k += CHOLESKY_ALIGN)
	{
		float	   *panel = a + (size_t) k * (size_t) stride + k;
		float	   *right = panel + CHOLESKY_ALIGN;
		int			rest = n - k - CHOLESKY_ALIGN;

		kernels->panel(panel, n - k, stride, largest * FLT_EPSILON);
		kernels->update(right + CHOLESKY_ALIGN * (size_t) stride, rest, stride,
						right, right, CHOLESKY_ALIGN, -1);
	}
}

void
cholesky_solve(const float *u, int n, int stride, float *x)
{
	const AlsKernels *kernels = als_kernels();

	/* U'z = x */
	for (int k = 0; k < n; k++)
	{
		const float *row = u + (size_t) k * (size_t) stride + k;

		x[k] *= row[0];
		kernels->shift(x + k + 1, row + 1, -x[k], 1, n - k - 1);
	}
	/* Ux = z */
	for (int k = n - 1; k >= 0; k--)
	{
		const float *row = u + (size_t) k * (size_t) stride + k;

		x[k] = (x[k] - kernels->dot(row + 1, x + k + 1, n - k - 1)) * row[0];
	}
}
