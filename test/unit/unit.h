/*
 * unit.h
 *	  What the unit tests of src/numeric share: lines "ok N - text", random
 *	  numbers with a fixed seed, and a counting allocator.
 *
 * Build one with
 *		cc -std=c11 -O2 -Isrc test/unit/test_X.c src/numeric/[a-z]*.c -lm
 * (add -g -fsanitize=address,undefined to look for bad memory).
 */
#ifndef RECSYS_UNIT_H
#define RECSYS_UNIT_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numeric/alloc.h"

static int	unit_tests;
static int	unit_failed;

__attribute__((format(printf, 2, 3)))
static inline bool
ok(bool good, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", good ? "" : "not ", ++unit_tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	unit_failed += !good;
	return good;
}

static inline int
unit_end(void)
{
	printf("1..%d\n", unit_tests);
	return unit_failed > 0;
}

/* ---------------------------------------------------------------- random */

typedef struct Random
{
	uint64_t	state;
} Random;

static inline uint32_t
random_bits(Random *r)
{
	r->state = r->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t) ((r->state ^ r->state >> 22) >> 22);
}

static inline uint32_t
random_below(Random *r, uint32_t n)
{
	return (uint32_t) ((uint64_t) random_bits(r) * n >> 32);
}

static inline double
random_real(Random *r)
{
	return (random_bits(r) + 0.5) / 4294967296.0;
}

/* 1 .. n, number x with a probability that goes like x^-s */
typedef struct Zipf
{
	int			n;
	double	   *upto;			/* cumulated */
} Zipf;

static inline Zipf
zipf_make(int n, double s)
{
	Zipf		z = {n, malloc(sizeof(double) * (size_t) n)};
	double		sum = 0;

	for (int x = 0; x < n; x++)
		z.upto[x] = sum += pow(x + 1, -s);
	return z;
}

static inline int
zipf_next(const Zipf *z, Random *r)
{
	double		at = random_real(r) * z->upto[z->n - 1];
	int			low = 0,
				high = z->n - 1;

	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (z->upto[mid] < at)
			low = mid + 1;
		else
			high = mid;
	}
	return low + 1;
}

/* ---------------------------------------------------------------- memory */

typedef struct Meter
{
	size_t		bytes;			/* now */
	size_t		most;
	size_t		limit;			/* NULL beyond; 0: none */
} Meter;

static inline void *
meter_alloc(void *arg, size_t size)
{
	Meter	   *m = arg;
	size_t	   *p;

	if (size > SIZE_MAX / 2 || (m->limit && m->bytes + size > m->limit))
		return NULL;
	p = malloc(size + 16);
	if (!p)
		return NULL;
	*p = size;
	m->bytes += size;
	m->most = m->bytes > m->most ? m->bytes : m->most;
	return (char *) p + 16;
}

static inline void
meter_release(void *arg, void *ptr)
{
	Meter	   *m = arg;
	size_t	   *p = (size_t *) ((char *) ptr - 16);

	m->bytes -= *p;
	free(p);
}

static inline Allocator
meter_allocator(Meter *m)
{
	return (Allocator) {meter_alloc, meter_release, m};
}

#endif							/* RECSYS_UNIT_H */
