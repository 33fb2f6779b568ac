/*
 * nn_layers.c
 *	  Embedding, dense, activations, dropout and layer norm, see nn.h.
 */
#include <math.h>
#include <string.h>

#include "numeric/nn_kernel.h"

#define NORM_EPSILON	((NnReal) 1e-5)

/* ------------------------------------------------------------- embedding */

void
nn_embedding_forward(int n, int dim, const int32_t *ids, const NnReal *table, NnReal *y)
{
	for (int i = 0; i < n; i++, y += dim)
	{
		if (ids[i] < 0)
			memset(y, 0, sizeof(NnReal) * dim);
		else
			memcpy(y, table + (size_t) ids[i] * dim, sizeof(NnReal) * dim);
	}
}

void
nn_embedding_backward(int n, int dim, const int32_t *slots, const NnReal *dy, NnReal *dtable)
{
	const NnKernels *kernels = nn_kernels();

	for (int i = 0; i < n; i++)
		if (slots[i] >= 0)
			kernels->axpy(dim, 1, dy + (size_t) i * dim, dtable + (size_t) slots[i] * dim);
}

/* ----------------------------------------------------------------- dense */

void
nn_dense_forward(int n, int in, int out, const NnReal *x, const NnReal *w, const NnReal *b,
				 NnReal *y, NnReal *work)
{
	if (b)
		for (int i = 0; i < n; i++)
			memcpy(y + (size_t) i * out, b, sizeof(NnReal) * out);
	nn_gemm(false, false, n, out, in, 1, x, in, w, out, b != NULL, y, out, work);
}

void
nn_dense_backward(int n, int in, int out, const NnReal *x, const NnReal *w, const NnReal *dy,
				  NnReal *dx, NnReal *dw, NnReal *db, NnReal *work)
{
	if (dx)
		nn_gemm(false, true, n, in, out, 1, dy, out, w, out, false, dx, in, work);
	nn_gemm(true, false, in, out, n, 1, x, in, dy, out, true, dw, out, work);
	if (db)
		for (int i = 0; i < n; i++)
			nn_kernels()->axpy(out, 1, dy + (size_t) i * out, db);
}

/* ----------------------------------------------------------- activations */

void
nn_activate(NnActivation kind, size_t n, NnReal *y)
{
	switch (kind)
	{
		case NN_RELU:
			for (size_t i = 0; i < n; i++)
				y[i] = y[i] > 0 ? y[i] : 0;
			break;
		case NN_TANH:
			nn_kernels()->tanh(n, y);
			break;
		case NN_SIGMOID:
			nn_kernels()->sigmoid(n, y);
			break;
	}
}

void
nn_activate_backward(NnActivation kind, size_t n, const NnReal *y, NnReal *dy)
{
	switch (kind)
	{
		case NN_RELU:
			for (size_t i = 0; i < n; i++)
				dy[i] = y[i] > 0 ? dy[i] : 0;
			break;
		case NN_TANH:
			for (size_t i = 0; i < n; i++)
				dy[i] *= 1 - y[i] * y[i];
			break;
		case NN_SIGMOID:
			for (size_t i = 0; i < n; i++)
				dy[i] *= y[i] * (1 - y[i]);
			break;
	}
}

/* --------------------------------------------------------------- dropout */

void
nn_dropout_forward(size_t n, NnReal p, NnRandom *random, const NnReal *x, uint8_t *kept, NnReal *y)
{
	uint32_t	below = (uint32_t) ((double) p * 4294967295.0);
	NnReal		factor = 1 / (1 - p);

	for (size_t i = 0; i < n; i++)
	{
		kept[i] = nn_random_bits(random) >= below;
		y[i] = kept[i] ? x[i] * factor : 0;
	}
}

void
nn_dropout_backward(size_t n, NnReal p, const uint8_t *kept, const NnReal *dy, NnReal *dx)
{
	NnReal		factor = 1 / (1 - p);

	for (size_t i = 0; i < n; i++)
		dx[i] = kept[i] ? dy[i] * factor : 0;
}

/* ------------------------------------------------------------ layer norm */

static NnReal
mean_of(int n, const NnReal *x)
{
	NnReal		sum = 0;

	for (int j = 0; j < n; j++)
		sum += x[j];
	return sum / n;
}

void
nn_norm_forward(int n, int dim, const NnReal *x, const NnReal *gain, const NnReal *bias,
				NnReal *scaled, NnReal *inverse, NnReal *y)
{
	for (int i = 0; i < n; i++, x += dim, scaled += dim, y += dim)
	{
		NnReal		mean = mean_of(dim, x);
		NnReal		squares = 0;

		for (int j = 0; j < dim; j++)
			squares += (x[j] - mean) * (x[j] - mean);
		inverse[i] = 1 / (NnReal) sqrt((double) (squares / dim + NORM_EPSILON));
		for (int j = 0; j < dim; j++)
		{
			scaled[j] = (x[j] - mean) * inverse[i];
			y[j] = gain[j] * scaled[j] + bias[j];
		}
	}
}

/* With d = gain dy:  dx = (d - mean(d) - scaled mean(d scaled)) / deviation */
void
nn_norm_backward(int n, int dim, const NnReal *scaled, const NnReal *inverse, const NnReal *gain,
				 const NnReal *dy, NnReal *dx, NnReal *dgain, NnReal *dbias)
{
	for (int i = 0; i < n; i++, scaled += dim, dy += dim)
	{
		NnReal		sum = 0,
					along = 0;

		for (int j = 0; j < dim; j++)
		{
			sum += gain[j] * dy[j];
			along += gain[j] * dy[j] * scaled[j];
			dgain[j] += dy[j] * scaled[j];
			dbias[j] += dy[j];
		}
		for (int j = 0; dx && j < dim; j++)
			dx[(size_t) i * dim + j] = (gain[j] * dy[j] - sum / dim - scaled[j] * along / dim) * inverse[i];
	}
}
