/*
 * sketch.c
 *	  HyperLogLog, see sketch.h.
 *
 * A sparse element holds the first 26 bits of a hash and the length of the run of
 * zeros behind them, which is all that any number of registers up to 2^26 would keep of
 * it: turned into registers, a list gives the very registers that the hashes
 * would have given.
 */
#include <math.h>
#include <string.h>

#include "numeric/sketch.h"

#define SPARSE_BITS 26
#define RUN_BITS 6
#define RUN_MASK ((1u << RUN_BITS) - 1)
#define MAX_RUN (64 - SKETCH_BITS + 1)

/* The first two bytes of what is stored. */
#define STORED_SPARSE 1
#define STORED_REGISTERS 2
#define STORED_HEADER 2
#define PACKED_SIZE (SKETCH_REGISTERS * 6 / 8)

/* 1 + leading zeros of "bits" bits at the top of x */
static unsigned
run_of(uint64_t x, unsigned bits)
{
	return x >> (64 - bits) == 0 ? bits + 1 : (unsigned) __builtin_clzll(x) + 1;
}

static uint32_t
sparse_of(uint64_t hash)
{
	return (uint32_t) (hash >> (64 - SPARSE_BITS)) << RUN_BITS |
		run_of(hash << SPARSE_BITS, 64 - SPARSE_BITS);
}

static void
raise(uint8_t *registers, unsigned at, unsigned run)
{
	if (registers[at] < run)
		registers[at] = (uint8_t) run;
}

static void
raise_by_sparse(uint8_t *registers, uint32_t element)
{
	uint32_t	index = element >> RUN_BITS;
	unsigned	extra = SPARSE_BITS - SKETCH_BITS;
	uint64_t	rest = (uint64_t) index << (64 - extra);
	unsigned	run = run_of(rest, extra);

	if (run > extra)
		run = extra + (element & RUN_MASK);
	raise(registers, index >> extra, run);
}

static bool
become_dense(Sketch *s, const Allocator *a)
{
	uint8_t    *registers = a->alloc(a->arg, SKETCH_REGISTERS);

	if (registers == NULL)
		return false;
	memset(registers, 0, SKETCH_REGISTERS);
	for (int i = 0; i < s->n; i++)
		raise_by_sparse(registers, s->sparse[i]);
	sketch_clear(s, a);
	s->registers = registers;
	return true;
}

static bool
make_room(Sketch *s, int n, const Allocator *a)
{
	int			room = s->room ? s->room : 8;
	uint32_t   *sparse;

	if (n <= s->room)
		return true;
	while (room < n)
		room *= 2;
	if (room > SKETCH_SPARSE)
		room = SKETCH_SPARSE;
	sparse = a->alloc(a->arg, sizeof(uint32_t) * (size_t) room);
	if (sparse == NULL)
		return false;
	if (s->sparse)
	{
		memcpy(sparse, s->sparse, sizeof(uint32_t) * (size_t) s->n);
		a->release(a->arg, s->sparse);
	}
	s->sparse = sparse;
	s->room = room;
	return true;
}

static bool
add_element(Sketch *s, uint32_t element, const Allocator *a)
{
	int			low = 0,
				high = s->n;

	if (s->registers)
	{
		raise_by_sparse(s->registers, element);
		return true;
	}
	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (s->sparse[mid] >> RUN_BITS < element >> RUN_BITS)
			low = mid + 1;
		else
			high = mid;
	}
	if (low < s->n && s->sparse[low] >> RUN_BITS == element >> RUN_BITS)
	{
		if (s->sparse[low] < element)
			s->sparse[low] = element;
		return true;
	}
	if (s->n == SKETCH_SPARSE)
		return become_dense(s, a) && add_element(s, element, a);
	if (!make_room(s, s->n + 1, a))
		return false;
	memmove(s->sparse + low + 1, s->sparse + low, sizeof(uint32_t) * (size_t) (s->n - low));
	s->sparse[low] = element;
	s->n++;
	return true;
}

bool
sketch_add(Sketch *s, uint64_t hash, const Allocator *a)
{
	if (s->registers == NULL)
		return add_element(s, sparse_of(hash), a);
	raise(s->registers, (unsigned) (hash >> (64 - SKETCH_BITS)),
		  run_of(hash << SKETCH_BITS, 64 - SKETCH_BITS));
	return true;
}

bool
sketch_merge(Sketch *s, const Sketch *other, const Allocator *a)
{
	if (other->registers)
	{
		if (s->registers == NULL && !become_dense(s, a))
			return false;
		for (int i = 0; i < SKETCH_REGISTERS; i++)
			s->registers[i] = s->registers[i] > other->registers[i] ?
				s->registers[i] : other->registers[i];
		return true;
	}
	for (int i = 0; i < other->n; i++)
		if (!add_element(s, other->sparse[i], a))
			return false;
	return true;
}

/* ---------------------------------------------------------------- estimate */

/* Ertl 2017, Algorithm 5: x + sum over k of x^(2^k) 2^(k-1) */
static double
sigma(double x)
{
	double		y = 1,
				z = x,
				before;

	if (x == 1)
		return INFINITY;
	do
	{
		x *= x;
		before = z;
		z += x * y;
		y += y;
	} while (z != before);
	return z;
}

/* likewise: (1 - x - sum over k of (1 - x^(2^-k))^2 2^-k) / 3 */
static double
tau(double x)
{
	double		y = 1,
				z = 1 - x,
				before;

	if (x == 0 || x == 1)
		return 0;
	do
	{
		x = sqrt(x);
		before = z;
		y *= 0.5;
		z -= (1 - x) * (1 - x) * y;
	} while (z != before);
	return z / 3;
}

/* Ertl 2017, Algorithm 6 */
double
sketch_estimate(const Sketch *s)
{
	const double m = SKETCH_REGISTERS;
	int			count[MAX_RUN + 1] = {0};
	double		z;

	if (s->registers == NULL)
	{
		double		all = 1u << SPARSE_BITS;

		return all * log(all / (all - s->n));
	}
	for (int i = 0; i < SKETCH_REGISTERS; i++)
		count[s->registers[i]]++;
	z = m * tau(1 - count[MAX_RUN] / m);
	for (int k = MAX_RUN - 1; k >= 1; k--)
		z = 0.5 * (z + count[k]);
	z += m * sigma(count[0] / m);
	return m * m / (2 * log(2) * z);
}

/* ------------------------------------------------------------------- bytes */

size_t
sketch_stored_size(const Sketch *s)
{
	return STORED_HEADER + (s->registers ? PACKED_SIZE : sizeof(uint32_t) * (size_t) s->n);
}

void
sketch_store(const Sketch *s, unsigned char *bytes)
{
	bytes[0] = s->registers ? STORED_REGISTERS : STORED_SPARSE;
	bytes[1] = SKETCH_BITS;
	bytes += STORED_HEADER;
	if (s->registers)
		for (int i = 0; i < SKETCH_REGISTERS; i += 4, bytes += 3)
		{
			uint32_t	four = (uint32_t) s->registers[i] | (uint32_t) s->registers[i + 1] << 6 |
				(uint32_t) s->registers[i + 2] << 12 | (uint32_t) s->registers[i + 3] << 18;

			for (int b = 0; b < 3; b++)
				bytes[b] = (unsigned char) (four >> 8 * b);
		}
	else
		for (int i = 0; i < s->n; i++, bytes += 4)
			for (int b = 0; b < 4; b++)
				bytes[b] = (unsigned char) (s->sparse[i] >> 8 * b);
}

static SketchResult
load_registers(Sketch *s, const unsigned char *bytes, const Allocator *a)
{
	if (!become_dense(s, a))
		return SKETCH_NO_MEMORY;
	for (int i = 0; i < SKETCH_REGISTERS; i++)
	{
		const unsigned char *from = bytes + i / 4 * 3;
		uint32_t	four = (uint32_t) from[0] | (uint32_t) from[1] << 8 | (uint32_t) from[2] << 16;

		s->registers[i] = four >> 6 * (i % 4) & 63;
		if (s->registers[i] > MAX_RUN)
			return SKETCH_MALFORMED;
	}
	return SKETCH_OK;
}

static SketchResult
load_sparse(Sketch *s, const unsigned char *bytes, size_t size, const Allocator *a)
{
	int			n = (int) (size / 4);

	if (size % 4 != 0 || size / 4 > SKETCH_SPARSE)
		return SKETCH_MALFORMED;
	if (n > 0 && !make_room(s, n, a))
		return SKETCH_NO_MEMORY;
	for (int i = 0; i < n; i++, bytes += 4)
	{
		uint32_t	element = (uint32_t) bytes[0] | (uint32_t) bytes[1] << 8 |
			(uint32_t) bytes[2] << 16 | (uint32_t) bytes[3] << 24;

		if ((element & RUN_MASK) == 0 || (element & RUN_MASK) > 64 - SPARSE_BITS + 1 ||
			(i > 0 && element >> RUN_BITS <= s->sparse[i - 1] >> RUN_BITS))
			return SKETCH_MALFORMED;
		s->sparse[i] = element;
		s->n = i + 1;
	}
	return SKETCH_OK;
}

SketchResult
sketch_load(Sketch *s, const unsigned char *bytes, size_t size, const Allocator *a)
{
	SketchResult result = SKETCH_MALFORMED;

	if (size < STORED_HEADER || bytes[1] != SKETCH_BITS)
		return SKETCH_MALFORMED;
	if (bytes[0] == STORED_REGISTERS && size == STORED_HEADER + PACKED_SIZE)
		result = load_registers(s, bytes + STORED_HEADER, a);
	else if (bytes[0] == STORED_SPARSE)
		result = load_sparse(s, bytes + STORED_HEADER, size - STORED_HEADER, a);
	if (result != SKETCH_OK)
		sketch_clear(s, a);
	return result;
}

size_t
sketch_memory(const Sketch *s)
{
	return s->registers ? SKETCH_REGISTERS : sizeof(uint32_t) * (size_t) s->room;
}

void
sketch_clear(Sketch *s, const Allocator *a)
{
	if (s->sparse)
		a->release(a->arg, s->sparse);
	if (s->registers)
		a->release(a->arg, s->registers);
	memset(s, 0, sizeof(Sketch));
}
