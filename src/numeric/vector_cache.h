/*
 * vector_cache.h
 *	  A bounded number of vectors by key; those not used lately make room.
 *
 * The cache is divided into sets of a few places.  A key has its set, in which the
 * place that was used longest ago is taken.
 */
#ifndef RECSYS_NUMERIC_VECTOR_CACHE_H
#define RECSYS_NUMERIC_VECTOR_CACHE_H

#include "numeric/alloc.h"

typedef struct VectorPlace
{
	int32_t		key;			/* 0: free */
	uint32_t	used;			/* tick of the last use */
} VectorPlace;

typedef struct VectorCache
{
	Allocator	allocator;
	int			dim;
	uint32_t	nsets;
	uint32_t	tick;
	VectorPlace *places;
	float	   *vectors;
} VectorCache;

/* Room for about n vectors.  False: no memory. */
extern bool vector_cache_init(VectorCache *c, const Allocator *allocator, int dim, int64_t n);
extern void vector_cache_free(VectorCache *c);
extern size_t vector_cache_bytes(const VectorCache *c);

/* The vector of key > 0; if it is not there, *found is false and the caller fills
 * in the dim elements returned, which stay until other keys are asked for. */
extern float *vector_cache_get(VectorCache *c, int32_t key, bool *found);
extern void vector_cache_drop(VectorCache *c, int32_t key);

#endif							/* RECSYS_NUMERIC_VECTOR_CACHE_H */
