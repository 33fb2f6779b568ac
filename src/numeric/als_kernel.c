/*
 * als_kernel.c
 *	  See als_kernel.h.
 */
#include "numeric/als_kernel.h"

static float
dot_portable(const float *a, const float *b, int len)
{
	float		sum = 0;

	for (int j = 0; j < len; j++)
		sum += a[j] * b[j];
	return sum;
}

static float
pass_portable(const AlsGather *g, const float *a, const float *b,
			  const float *p, float extra, float *q)
{
	float		sum = 0;

	for (int i = 0; i < g->n; i++)
	{
		const float *y = g->base + (size_t) g->rows[i] * g->stride;
		float		f = a[i] + b[i] * (extra + dot_portable(y, p, g->len));

		for (int j = 0; j < g->len; j++)
			q[j] += f * y[j];
		sum += f;
	}
	return sum;
}

static void
update_portable(float *a, int n, int stride, const float *v, const float *w, int count)
{
	for (int k = 0; k < count; k++, v += stride, w += stride)
		for (int i = 0; i < n; i++)
			for (int j = i; j < n; j++)
				a[(size_t) i * (size_t) stride + (size_t) j] += v[i] * w[j];
}

const AlsKernels *
als_kernels(void)
{
	static const AlsKernels portable = {"portable", pass_portable, update_portable, dot_portable};

	return &portable;
}
