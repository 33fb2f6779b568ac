/*
 * nn_conv.c
 *	  The convolutions of nn.h.
 *
 * The rows of a window follow each other in memory, so a window is one long row, and
 * a horizontal convolution is the product of overlapping rows with the filters.
 */
#include <string.h>

#include "numeric/nn_kernel.h"

/* Where the largest of column f stands. */
static int
largest_in_column(const NnReal *values, int rows, int columns, int f)
{
	int			at = 0;

	for (int t = 1; t < rows; t++)
		if (values[(size_t) t * columns + f] > values[(size_t) at * columns + f])
			at = t;
	return at;
}

void
nn_conv_forward(int n, int length, int dim, int height, int filters, const NnReal *x,
				const NnReal *w, const NnReal *bias, NnReal *y, int32_t *at,
				NnReal *scratch, NnReal *work)
{
	int			windows = length - height + 1;

	for (int i = 0; i < n; i++, x += (size_t) length * dim, y += filters, at += filters)
	{
		nn_gemm(false, true, windows, filters, height * dim, 1, x, dim, w, height * dim, false,
				scratch, filters, work);
		for (int f = 0; f < filters; f++)
		{
			at[f] = largest_in_column(scratch, windows, filters, f);
			y[f] = scratch[(size_t) at[f] * filters + f] + bias[f];
		}
		nn_activate(NN_RELU, filters, y);
	}
}

void
nn_conv_backward(int n, int length, int dim, int height, int filters, const NnReal *x,
				 const NnReal *w, const NnReal *y, const int32_t *at, const NnReal *dy,
				 NnReal *dx, NnReal *dw, NnReal *dbias)
{
	const NnKernels *kernels = nn_kernels();
	size_t		cells = (size_t) height * dim;

	if (dx)
		memset(dx, 0, sizeof(NnReal) * n * length * dim);
	for (int i = 0; i < n; i++)
		for (int f = 0; f < filters; f++)
		{
			size_t		of = (size_t) i * filters + f;
			size_t		window = ((size_t) i * length + at[of]) * dim;

			if (y[of] <= 0)
				continue;
			dbias[f] += dy[of];
			kernels->axpy(cells, dy[of], x + window, dw + f * cells);
			if (dx)
				kernels->axpy(cells, dy[of], w + f * cells, dx + window);
		}
}

void
nn_conv_down_forward(int n, int length, int dim, int filters, const NnReal *x, const NnReal *w,
					 NnReal *y, NnReal *work)
{
	for (int i = 0; i < n; i++)
		nn_gemm(false, false, filters, dim, length, 1, w, length, x + (size_t) i * length * dim, dim,
				false, y + (size_t) i * filters * dim, dim, work);
}

void
nn_conv_down_backward(int n, int length, int dim, int filters, const NnReal *x, const NnReal *w,
					  const NnReal *dy, NnReal *dx, NnReal *dw, NnReal *work)
{
	for (int i = 0; i < n; i++)
	{
		const NnReal *its = dy + (size_t) i * filters * dim;
		size_t		at = (size_t) i * length * dim;

		nn_gemm(false, true, filters, length, dim, 1, its, dim, x + at, dim, true, dw, length, work);
		if (dx)
			nn_gemm(true, false, length, dim, filters, 1, w, length, its, dim, false, dx + at, dim, work);
	}
}
