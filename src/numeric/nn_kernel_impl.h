/*
 * nn_kernel_impl.h
 *	  One set of kernels; nn_kernel.c includes it once for each kind of CPU, with
 *
 *		LANES			reals in a vector
 *		ROWS			of a tile; it has two vectors of columns
 *		NAME(x)			name of this kind's x
 *		TARGET			attribute of its functions
 */

#define VEC		NAME(Vec)
#define LOAD(p)	(*(const VEC *) (p))
#define STORE(p, v)	(*(VEC *) (p) = (v))

/* of no alignment but that of a real */
typedef NnReal VEC __attribute__((vector_size(sizeof(NnReal) * LANES), aligned(sizeof(NnReal)), may_alias));

TARGET static void
NAME(tile) (int k, const NnReal *a, const NnReal *b, NnReal alpha, bool add, NnReal *c, int ldc)
{
	VEC			sums[ROWS][2] = {0};

	for (int p = 0; p < k; p++)
	{
		VEC			b0 = LOAD(b),
					b1 = LOAD(b + LANES);

		UNROLL
		for (int i = 0; i < ROWS; i++)
		{
			sums[i][0] += b0 * a[i];
			sums[i][1] += b1 * a[i];
		}
		a += ROWS;
		b += 2 * LANES;
	}
	UNROLL
	for (int i = 0; i < ROWS; i++)
	{
		NnReal	   *to = c + (size_t) i * ldc;

		if (add)
		{
			STORE(to, LOAD(to) + sums[i][0] * alpha);
			STORE(to + LANES, LOAD(to + LANES) + sums[i][1] * alpha);
		}
		else
		{
			STORE(to, sums[i][0] * alpha);
			STORE(to + LANES, sums[i][1] * alpha);
		}
	}
}

TARGET static void
NAME(turn) (int rows, int n, const NnReal *from, int ld, NnReal *to, int stride)
{
	for (int j = 0; j < n; j++)
	{
		for (int i = 0; i < rows; i++)
			to[i] = from[(size_t) i * ld + j];
		for (int i = rows; i < stride; i++)
			to[i] = 0;
		to += stride;
	}
}

TARGET static void
NAME(axpy) (size_t n, NnReal f, const NnReal *x, NnReal *y)
{
	for (size_t i = 0; i < n; i++)
		y[i] += f * x[i];
}

TARGET static NnReal
NAME(most) (size_t n, const NnReal *x)
{
	NnReal		lanes[LANES];
	NnReal		most = x[0];
	size_t		i = 0;

	for (int lane = 0; lane < LANES; lane++)
		lanes[lane] = most;
	for (; i + LANES <= n; i += LANES)
		for (int lane = 0; lane < LANES; lane++)
			lanes[lane] = x[i + lane] > lanes[lane] ? x[i + lane] : lanes[lane];
	for (int lane = 0; lane < LANES; lane++)
		most = lanes[lane] > most ? lanes[lane] : most;
	for (; i < n; i++)
		most = x[i] > most ? x[i] : most;
	return most;
}

TARGET static void
NAME(scale) (size_t n, NnReal f, NnReal *x)
{
	for (size_t i = 0; i < n; i++)
		x[i] *= f;
}

TARGET static NnReal
NAME(exps) (size_t n, NnReal most, NnReal *x)
{
	VEC			sums = {0};
	NnReal		sum = 0;
	size_t		i = 0;

	for (size_t j = 0; j < n; j++)
		x[j] = real_exp(x[j] - most);
	for (; i + LANES <= n; i += LANES)
		sums += LOAD(x + i);
	for (int lane = 0; lane < LANES; lane++)
		sum += sums[lane];
	for (; i < n; i++)
		sum += x[i];
	return sum;
}

TARGET static void
NAME(sigmoid) (size_t n, NnReal *x)
{
	for (size_t i = 0; i < n; i++)
		x[i] = 1 / (1 + real_exp(-x[i]));
}

TARGET static void
NAME(tanh) (size_t n, NnReal *x)
{
	for (size_t i = 0; i < n; i++)
		x[i] = 1 - 2 / (1 + real_exp(2 * x[i]));
}

TARGET static void
NAME(adam) (size_t n, NnReal rate, NnReal beta1, NnReal beta2, NnReal epsilon,
			const NnReal *g, NnReal *x, NnReal *mean, NnReal *square)
{
	for (size_t i = 0; i < n; i++)
	{
		mean[i] = beta1 * mean[i] + (1 - beta1) * g[i];
		square[i] = beta2 * square[i] + (1 - beta2) * g[i] * g[i];
		x[i] -= rate * mean[i] / (real_sqrt(square[i]) + epsilon);
	}
}

TARGET static void
NAME(adagrad) (size_t n, NnReal rate, NnReal epsilon, const NnReal *g, NnReal *x, NnReal *square)
{
	for (size_t i = 0; i < n; i++)
	{
		square[i] += g[i] * g[i];
		x[i] -= rate * g[i] / (real_sqrt(square[i]) + epsilon);
	}
}

static const NnKernels NAME(kernels) = {
	.name = KERNELS_NAME,
	.rows = ROWS,
	.columns = 2 * LANES,
	.tile = NAME(tile),
	.turn = NAME(turn),
	.axpy = NAME(axpy),
	.most = NAME(most),
	.scale = NAME(scale),
	.exps = NAME(exps),
	.sigmoid = NAME(sigmoid),
	.tanh = NAME(tanh),
	.adam = NAME(adam),
	.adagrad = NAME(adagrad),
};

#undef VEC
#undef LOAD
#undef STORE
#undef LANES
#undef ROWS
#undef NAME
#undef TARGET
#undef KERNELS_NAME
