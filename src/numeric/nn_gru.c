/*
 * nn_gru.c
 *	  The gated recurrent unit of nn.h over time.
 *
 * The inputs' share of the gates is one product over all steps; the state's share
 * is one per step.  Backward, the gradients of the gates are kept for all steps, so that
 * those of the weights are one product again.
 */
#include <string.h>

#include "numeric/nn_kernel.h"

/* --------------------------------------------------------------- forward */

/* One row: gates (3 dim) hold the inputs' share, and then r, z, c. */
static void
step_row(const NnKernels *kernels, int dim, NnReal *gates, const NnReal *share, const NnReal *before,
		 NnReal *h)
{
	NnReal	   *z = gates + dim;
	NnReal	   *c = gates + 2 * dim;
	const NnReal *inner = share + 2 * dim;

	for (int j = 0; j < 2 * dim; j++)
		gates[j] += share[j];
	kernels->sigmoid((size_t) 2 * dim, gates);
	for (int j = 0; j < dim; j++)
		c[j] += gates[j] * inner[j];
	kernels->tanh(dim, c);
	for (int j = 0; j < dim; j++)
		h[j] = c[j] + z[j] * (before[j] - c[j]);
}

static void
states_before(const NnGru *gru, int lanes, const NnReal *state, const uint8_t *begins, NnReal *before)
{
	if (state)
		memcpy(before, state, sizeof(NnReal) * lanes * gru->dim);
	else
		memset(before, 0, sizeof(NnReal) * lanes * gru->dim);
	for (int lane = 0; begins && lane < lanes; lane++)
		if (begins[lane])
			memset(before + (size_t) lane * gru->dim, 0, sizeof(NnReal) * gru->dim);
}

void
nn_gru_forward(const NnGru *gru, int steps, int lanes, const NnReal *x, const NnReal *start,
			   const uint8_t *begins, NnReal *h, NnGruTrace *trace, NnReal *work)
{
	const NnKernels *kernels = nn_kernels();
	int			dim = gru->dim;
	NnReal	   *share = trace->dx_gates;	/* of the state, in one step */

	nn_dense_forward(steps * lanes, gru->in, 3 * dim, x, gru->wx, gru->bias, trace->gates, work);
	for (int t = 0; t < steps; t++)
	{
		size_t		row = (size_t) t * lanes;
		NnReal	   *before = trace->before + row * dim;

		states_before(gru, lanes, t == 0 ? start : h + (row - lanes) * dim, begins ? begins + row : NULL, before);
		nn_gemm(false, false, lanes, 3 * dim, dim, 1, before, dim, gru->wh, 3 * dim, false, share, 3 * dim, work);
		for (int lane = 0; lane < lanes; lane++, row++)
		{
			const NnReal *its = share + (size_t) lane * 3 * dim;

			memcpy(trace->inner + row * dim, its + 2 * dim, sizeof(NnReal) * dim);
			step_row(kernels, dim, trace->gates + row * 3 * dim, its, trace->before + row * dim, h + row * dim);
		}
	}
}

void
nn_gru_last(const NnGru *gru, int steps, const NnReal *x, NnReal *h, NnReal *scratch, NnReal *work)
{
	const NnKernels *kernels = nn_kernels();
	int			dim = gru->dim;
	NnReal	   *share = scratch + (size_t) steps * 3 * dim;

	nn_dense_forward(steps, gru->in, 3 * dim, x, gru->wx, gru->bias, scratch, work);
	memset(h, 0, sizeof(NnReal) * dim);
	for (int t = 0; t < steps; t++)
	{
		nn_gemm(false, false, 1, 3 * dim, dim, 1, h, dim, gru->wh, 3 * dim, false, share, 3 * dim, work);
		step_row(kernels, dim, scratch + (size_t) t * 3 * dim, share, h, h);
	}
}

/* -------------------------------------------------------------- backward */

/* One row of one step: d is the gradient of the state after it, and becomes the direct part of that
 * of the state before it. */
static void
step_back(int dim, const NnReal *gates, const NnReal *inner, const NnReal *before, NnReal *d,
		  NnReal *dx_gates, NnReal *dh_gates)
{
	const NnReal *r = gates;
	const NnReal *z = gates + dim;
	const NnReal *c = gates + 2 * dim;

	for (int j = 0; j < dim; j++)
	{
		NnReal		dc = d[j] * (1 - z[j]) * (1 - c[j] * c[j]);

		dx_gates[j] = dc * inner[j] * r[j] * (1 - r[j]);
		dx_gates[dim + j] = d[j] * (before[j] - c[j]) * z[j] * (1 - z[j]);
		dx_gates[2 * dim + j] = dc;
		dh_gates[2 * dim + j] = dc * r[j];
		d[j] *= z[j];
	}
	memcpy(dh_gates, dx_gates, sizeof(NnReal) * 2 * dim);
}

void
nn_gru_backward(const NnGru *gru, int steps, int lanes, const NnReal *x, const uint8_t *begins,
				const NnReal *dh, NnGruTrace *trace, NnReal *dx, NnReal *dwx, NnReal *dwh,
				NnReal *dbias, NnReal *work)
{
	const NnKernels *kernels = nn_kernels();
	int			dim = gru->dim;
	int			n = steps * lanes;
	NnReal	   *d = trace->dstate;

	memset(d, 0, sizeof(NnReal) * lanes * dim);
	for (int t = steps - 1; t >= 0; t--)
	{
		size_t		first = (size_t) t * lanes;

		kernels->axpy((size_t) lanes * dim, 1, dh + first * dim, d);
		for (int lane = 0; lane < lanes; lane++)
		{
			size_t		row = first + lane;

			step_back(dim, trace->gates + row * 3 * dim, trace->inner + row * dim, trace->before + row * dim,
					  d + (size_t) lane * dim, trace->dx_gates + row * 3 * dim, trace->dh_gates + row * 3 * dim);
		}
		nn_gemm(false, true, lanes, dim, 3 * dim, 1, trace->dh_gates + first * 3 * dim, 3 * dim,
				gru->wh, 3 * dim, true, d, dim, work);
		for (int lane = 0; begins && lane < lanes; lane++)
			if (begins[first + lane])
				memset(d + (size_t) lane * dim, 0, sizeof(NnReal) * dim);
	}
	nn_gemm(true, false, dim, 3 * dim, n, 1, trace->before, dim, trace->dh_gates, 3 * dim, true, dwh, 3 * dim, work);
	nn_dense_backward(n, gru->in, 3 * dim, x, gru->wx, trace->dx_gates, dx, dwx, dbias, work);
}
