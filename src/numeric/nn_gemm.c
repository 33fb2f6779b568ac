/*
 * nn_gemm.c
 *	  The matrix product of nn.h, in blocks that stay in the cache (Goto and van de
 *	  Geijn 2008): a block of op(b) is packed into panels of a tile's columns, panels of op(a)
 *	  into a tile's rows, and the kernel of the CPU at hand multiplies tiles.
 *
 * Without BLAS, so that backends can run an encoder; and Debian's OpenBLAS knows
 * no AVX kernels for some CPUs that have AVX-512.
 */
#include <string.h>

#include "numeric/nn_kernel.h"

#define BLOCK_K	256
#define BLOCK_N	256				/* a multiple of all tiles' columns */
#define BLOCK_M	96				/* a multiple of all tiles' rows */

_Static_assert(NN_GEMM_WORK >= BLOCK_K * (BLOCK_N + BLOCK_M) + NN_MAX_TILE, "room for packed blocks");

static int
least(int a, int b)
{
	return a < b ? a : b;
}

/*
 * "count" lines of length k, of which line i begins at from + i * ld (or, across, is column i of
 * rows of length ld), into panels of "width" lines; the last one is filled up with zeros.
 */
static void
pack(const NnKernels *kernels, bool across, int count, int k, const NnReal *from, int ld, int width, NnReal *to)
{
	for (int i = 0; i < count; i += width)
	{
		int			lines = least(width, count - i);

		if (!across)
		{
			kernels->turn(lines, k, from + (size_t) i * ld, ld, to, width);
			to += (size_t) k * width;
			continue;
		}
		for (int p = 0; p < k; p++, to += width)
		{
			memcpy(to, from + (size_t) p * ld + i, sizeof(NnReal) * lines);
			if (lines < width)
				memset(to + lines, 0, sizeof(NnReal) * (width - lines));
		}
	}
}

typedef struct Output
{
	NnReal		alpha;
	bool		add;
	NnReal	   *c;
	int			ldc;
} Output;

/* A tile at the edge is made aside, and its part copied. */
static void
edge(const NnKernels *kernels, int rows, int columns, int k, const NnReal *a, const NnReal *b,
	 const Output *out, NnReal *aside)
{
	kernels->tile(k, a, b, out->alpha, false, aside, kernels->columns);
	for (int i = 0; i < rows; i++)
	{
		NnReal	   *c = out->c + (size_t) i * out->ldc;
		const NnReal *tile = aside + (size_t) i * kernels->columns;

		for (int j = 0; j < columns; j++)
			c[j] = tile[j] + (out->add ? c[j] : 0);
	}
}

/* Packed blocks m x k and k x n. */
static void
multiply(const NnKernels *kernels, int m, int n, int k, const NnReal *a, const NnReal *b,
		 const Output *out, NnReal *aside)
{
	int			rows = kernels->rows;
	int			columns = kernels->columns;

	for (int j = 0; j < n; j += columns)
		for (int i = 0; i < m; i += rows)
		{
			Output		here = *out;
			const NnReal *panel_a = a + (size_t) i * k;
			const NnReal *panel_b = b + (size_t) j * k;

			here.c += (size_t) i * out->ldc + j;
			if (i + rows <= m && j + columns <= n)
				kernels->tile(k, panel_a, panel_b, here.alpha, here.add, here.c, here.ldc);
			else
				edge(kernels, least(rows, m - i), least(columns, n - j), k, panel_a, panel_b, &here, aside);
		}
}

/* Few rows: packing b would cost as much as the product. */
static void
by_rows(const NnKernels *kernels, bool ta, int m, int n, int k, const NnReal *a, int lda,
		const NnReal *b, int ldb, const Output *out)
{
	for (int i = 0; i < m; i++)
	{
		NnReal	   *c = out->c + (size_t) i * out->ldc;

		if (!out->add)
			memset(c, 0, sizeof(NnReal) * n);
		for (int p = 0; p < k; p++)
			kernels->axpy(n, out->alpha * (ta ? a[(size_t) p * lda + i] : a[(size_t) i * lda + p]),
						  b + (size_t) p * ldb, c);
	}
}

void
nn_gemm(bool ta, bool tb, int m, int n, int k, NnReal alpha, const NnReal *a, int lda,
		const NnReal *b, int ldb, bool add, NnReal *c, int ldc, NnReal *work)
{
	const NnKernels *kernels = nn_kernels();
	NnReal	   *block_b = work;
	NnReal	   *block_a = work + BLOCK_K * BLOCK_N;
	NnReal	   *aside = block_a + BLOCK_K * BLOCK_M;
	Output		out = {alpha, add, c, ldc};

	if (k == 0 && !add)
		for (int i = 0; i < m; i++)
			memset(c + (size_t) i * ldc, 0, sizeof(NnReal) * n);
	if (m <= 3 && !tb)
	{
		if (k > 0)
			by_rows(kernels, ta, m, n, k, a, lda, b, ldb, &out);
		return;
	}
	for (int j = 0; j < n; j += BLOCK_N)
		for (int p = 0; p < k; p += BLOCK_K)
		{
			int			nj = least(BLOCK_N, n - j);
			int			kp = least(BLOCK_K, k - p);

			pack(kernels, !tb, nj, kp, b + (tb ? (size_t) j * ldb + p : (size_t) p * ldb + j), ldb,
				 kernels->columns, block_b);
			for (int i = 0; i < m; i += BLOCK_M)
			{
				int			mi = least(BLOCK_M, m - i);

				pack(kernels, ta, mi, kp, a + (ta ? (size_t) p * lda + i : (size_t) i * lda + p), lda,
					 kernels->rows, block_a);
				out.add = add || p > 0;
				out.c = c + (size_t) i * ldc + j;
				multiply(kernels, mi, nj, kp, block_a, block_b, &out, aside);
			}
		}
}
