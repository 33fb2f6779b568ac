/*
 * nn_optimize.c
 *	  Steps of optimisers over whole matrices or some of their rows, see nn.h.
 */
#include <math.h>

#include "numeric/nn_kernel.h"

void
nn_adam_rows(const NnAdam *adam, int n, int dim, const int32_t *ids, const NnReal *g,
			 NnReal *x, NnReal *mean, NnReal *square)
{
	double		first = 1 - pow(adam->beta1, (double) adam->step);
	double		second = sqrt(1 - pow(adam->beta2, (double) adam->step));

	for (int i = 0; i < n; i++)
	{
		size_t		at = (size_t) (ids ? ids[i] : i) * dim;

		nn_kernels()->adam(dim, (NnReal) (adam->rate * second / first), (NnReal) adam->beta1,
						   (NnReal) adam->beta2, (NnReal) (adam->epsilon * second),
						   g + (size_t) i * dim, x + at, mean + at, square + at);
	}
}

void
nn_adagrad_rows(double rate, double epsilon, int n, int dim, const int32_t *ids,
				const NnReal *g, NnReal *x, NnReal *square)
{
	for (int i = 0; i < n; i++)
	{
		size_t		at = (size_t) (ids ? ids[i] : i) * dim;

		nn_kernels()->adagrad(dim, (NnReal) rate, (NnReal) epsilon, g + (size_t) i * dim, x + at, square + at);
	}
}
