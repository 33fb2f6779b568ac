/*
 * sketch.h
 *	  How many different things there are, from their hashes, in little memory:
 *	  HyperLogLog (Flajolet et al. 2007), estimated as by Ertl (2017).
 *
 * 2,048 registers keep the longest run of leading zeros of the hashes that fall
 * to them; the standard error is 1.04 / sqrt(2048) = 2.3 %, at any count.  Up to
 * SKETCH_SPARSE hashes are kept by 26 of their bits, as in HyperLogLog++ (Heule et
 * al. 2013), and counted without any error to speak of.  Adding is idempotent, and
 * two sketches merge to exactly the sketch of both together, in any order.  Nothing
 * can be taken out again.
 */
#ifndef RECSYS_NUMERIC_SKETCH_H
#define RECSYS_NUMERIC_SKETCH_H

#include "numeric/alloc.h"

#define SKETCH_BITS 11
#define SKETCH_REGISTERS (1 << SKETCH_BITS)
/* a longer list of hashes would be larger than the registers, in six bits each */
#define SKETCH_SPARSE (SKETCH_REGISTERS * 6 / 8 / 4)

/* All zeros is an empty one. */
typedef struct Sketch
{
	int			n;				/* hashes */
	int			room;
	uint32_t   *sparse;			/* (n) sorted: 26 bits of a hash, 6 of the run behind */
	uint8_t    *registers;		/* (SKETCH_REGISTERS), or NULL while sparse */
} Sketch;

typedef enum SketchResult
{
	SKETCH_OK,
	SKETCH_NO_MEMORY,
	SKETCH_MALFORMED
} SketchResult;

/* False: no memory. */
extern bool sketch_add(Sketch *sketch, uint64_t hash, const Allocator *a);
extern bool sketch_merge(Sketch *sketch, const Sketch *other, const Allocator *a);

extern double sketch_estimate(const Sketch *sketch);

/* As bytes, the same on every machine. */
extern size_t sketch_stored_size(const Sketch *sketch);
extern void sketch_store(const Sketch *sketch, unsigned char *bytes);
/* Into an empty sketch; what fails leaves it empty. */
extern SketchResult sketch_load(Sketch *sketch, const unsigned char *bytes, size_t size,
								const Allocator *a);

extern size_t sketch_memory(const Sketch *sketch);
extern void sketch_clear(Sketch *sketch, const Allocator *a);

/* A well mixed hash of a number (the finaliser of SplitMix64). */
static inline uint64_t
sketch_hash_number(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

#endif							/* RECSYS_NUMERIC_SKETCH_H */
