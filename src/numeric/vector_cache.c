/*
 * vector_cache.c
 *	  Vectors by key, see vector_cache.h.
 */
#include "numeric/vector_cache.h"

#include <string.h>

#define WAYS 8

bool
vector_cache_init(VectorCache *c, const Allocator *allocator, int dim, int64_t n)
{
	size_t		places;

	memset(c, 0, sizeof(VectorCache));
	c->allocator = *allocator;
	c->dim = dim;
	c->nsets = (uint32_t) ((n < 1 ? 1 : n > INT32_MAX ? INT32_MAX : n) + WAYS - 1) / WAYS;
	places = (size_t) c->nsets * WAYS;
	c->places = allocator->alloc(allocator->arg, size_mul(sizeof(VectorPlace), places));
	c->vectors = allocator->alloc(allocator->arg, size_mul(sizeof(float) * (size_t) dim, places));
	if (!c->places || !c->vectors)
	{
		vector_cache_free(c);
		return false;
	}
	memset(c->places, 0, sizeof(VectorPlace) * places);
	return true;
}

void
vector_cache_free(VectorCache *c)
{
	if (c->places)
		c->allocator.release(c->allocator.arg, c->places);
	if (c->vectors)
		c->allocator.release(c->allocator.arg, c->vectors);
	c->places = NULL;
	c->vectors = NULL;
	c->nsets = 0;
}

size_t
vector_cache_bytes(const VectorCache *c)
{
	return (sizeof(VectorPlace) + sizeof(float) * (size_t) c->dim) * c->nsets * WAYS;
}

static VectorPlace *
set_of(const VectorCache *c, int32_t key)
{
	uint32_t	hash = (uint32_t) key * UINT32_C(0x9e3779b1);

	return c->places + ((uint64_t) hash * c->nsets >> 32) * WAYS;
}

float *
vector_cache_get(VectorCache *c, int32_t key, bool *found)
{
	VectorPlace *set = set_of(c, key);
	VectorPlace *place = set;

	c->tick++;
	for (int w = 0; w < WAYS; w++)
	{
		if (set[w].key == key)
		{
			place = &set[w];
			break;
		}
		/* free ones first, then by age, which may wrap around */
		if (place->key != 0 && (set[w].key == 0 ||
								c->tick - set[w].used > c->tick - place->used))
			place = &set[w];
	}
	*found = place->key == key;
	place->key = key;
	place->used = c->tick;
	return c->vectors + (size_t) (place - c->places) * (size_t) c->dim;
}

void
vector_cache_drop(VectorCache *c, int32_t key)
{
	VectorPlace *set;

	if (c->nsets == 0)
		return;
	set = set_of(c, key);
	for (int w = 0; w < WAYS; w++)
		if (set[w].key == key)
			set[w].key = 0;
}
