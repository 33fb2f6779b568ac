/*
 * nn_loss.c
 *	  Losses over sampled items, see nn.h.
 */
#include <math.h>
#include <string.h>

#include "numeric/nn_kernel.h"

/* Takes no part: exp() of it beside any other score is nothing. */
#define NO_SCORE	((NnReal) -1e30)

/* Probabilities below this count as this. */
#define LEAST		((NnReal) 1e-24)

void
nn_loss_prepare(int n, int columns, const int32_t *items, const int32_t *target,
				const NnReal *logq, NnReal *s)
{
	const NnKernels *kernels = nn_kernels();

	for (int i = 0; i < n; i++, s += columns)
	{
		int32_t		item;

		if (target[i] < 0)
			continue;
		item = items[target[i]];
		if (logq)
			kernels->axpy(columns, -1, logq, s);
		for (int j = 0; j < columns; j++)
			if (items[j] == item && j != target[i])
				s[j] = NO_SCORE;
	}
}

double
nn_loss_cross_entropy(int n, int columns, const int32_t *target, NnReal scale, NnReal *s)
{
	const NnKernels *kernels = nn_kernels();
	double		loss = 0;

	for (int i = 0; i < n; i++, s += columns)
	{
		NnReal		most,
					sum,
					wanted;

		if (target[i] < 0)
		{
			memset(s, 0, sizeof(NnReal) * columns);
			continue;
		}
		most = kernels->most(columns, s);
		wanted = s[target[i]] - most;
		sum = kernels->exps(columns, most, s);
		loss += log((double) sum) - (double) wanted;
		kernels->scale(columns, scale / sum, s);
		s[target[i]] -= scale;
	}
	return loss;
}

/*
 * One row.  With q_j = p_j sigmoid(t - s_j), Q their sum, and g_j = q_j (1 - sigmoid):
 *
 *		d loss / dt   = - sum g_j / Q
 *		d loss / ds_j = - (q_j - p_j Q - g_j) / Q + bpreg p_j (s_j^2 + 2 s_j - R),  R = sum p_j s_j^2
 */
static double
bpr_max_row(const NnKernels *kernels, int columns, int target, NnReal bpreg, NnReal scale, NnReal *s)
{
	NnReal		t = s[target];
	NnReal		most,
				sum,
				hits = 0,
				squares = 0,
				down = 0;

	s[target] = NO_SCORE;
	most = kernels->most(columns, s);
	if (most <= NO_SCORE)
	{
		memset(s, 0, sizeof(NnReal) * columns);
		return 0;				/* no other item */
	}
	sum = 0;
	for (int j = 0; j < columns; j++)
		sum += s[j] <= NO_SCORE ? 0 : (NnReal) exp((double) (s[j] - most));
	for (int j = 0; j < columns; j++)
	{
		NnReal		p = s[j] <= NO_SCORE ? 0 : (NnReal) exp((double) (s[j] - most)) / sum;
		NnReal		sigmoid = t - s[j];

		if (p == 0)
			continue;
		kernels->sigmoid(1, &sigmoid);
		hits += p * sigmoid;
		squares += p * s[j] * s[j];
	}
	hits = hits > LEAST ? hits : LEAST;
	for (int j = 0; j < columns; j++)
	{
		NnReal		p = s[j] <= NO_SCORE ? 0 : (NnReal) exp((double) (s[j] - most)) / sum;
		NnReal		sigmoid = t - s[j];
		NnReal		at = s[j];
		NnReal		g;

		s[j] = 0;
		if (p == 0)
			continue;
		kernels->sigmoid(1, &sigmoid);
		g = p * sigmoid * (1 - sigmoid);
		down += g;
		s[j] = scale * ((p * hits - p * sigmoid + g) / hits + bpreg * p * (at * at + 2 * at - squares));
	}
	s[target] = -scale * down / hits;
	return -log((double) hits) + (double) (bpreg * squares);
}

double
nn_loss_bpr_max(int n, int columns, const int32_t *target, NnReal bpreg, NnReal scale, NnReal *s)
{
	double		loss = 0;

	for (int i = 0; i < n; i++, s += columns)
	{
		if (target[i] < 0)
			memset(s, 0, sizeof(NnReal) * columns);
		else
			loss += bpr_max_row(nn_kernels(), columns, target[i], bpreg, scale, s);
	}
	return loss;
}
