/*
 * cholesky.h
 *	  A = U'U of symmetric matrices in float32, in place.
 *
 * Matrices are row-major, of "n" rows of "stride" floats, of which only the
 * upper triangle is read and written.  n and stride are multiples of
 * CHOLESKY_ALIGN and rows are 64-byte aligned, so that loops have no tails:
 * whoever has a smaller matrix fills up with ones on the diagonal.
 */
#ifndef RECSYS_NUMERIC_CHOLESKY_H
#define RECSYS_NUMERIC_CHOLESKY_H

#define CHOLESKY_ALIGN	16		/* floats in 64 bytes */

static inline int
cholesky_size(int n)
{
	return (n + CHOLESKY_ALIGN - 1) / CHOLESKY_ALIGN * CHOLESKY_ALIGN;
}

/*
 * The diagonal of the result holds the inverses of U's.  A pivot that is lost
 * in rounding (a singular matrix) is taken for infinite: its inverse is 0, and
 * so is that element of every solution.
 */
extern void cholesky_factor(float *a, int n, int stride);

/* x = A^-1 x */
extern void cholesky_solve(const float *u, int n, int stride, float *x);

#endif							/* RECSYS_NUMERIC_CHOLESKY_H */
