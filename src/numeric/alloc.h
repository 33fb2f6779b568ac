/*
 * alloc.h
 *	  Where numeric code gets its memory from.
 *
 * Nothing in this folder calls malloc: the caller hands in an Allocator, so
 * that every byte has an owner (a memory context) and a limit.  alloc()
 * returns NULL when there is no memory, which makes the function that needed
 * it return false; memory comes uninitialised, aligned to 8 bytes or more.
 * Requests may be large (64 MB); the larger ones profit from huge pages, so
 * an alloc() that can ask for them should.
 */
#ifndef RECSYS_NUMERIC_ALLOC_H
#define RECSYS_NUMERIC_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Allocator
{
	void	   *(*alloc) (void *arg, size_t size);
	void		(*release) (void *arg, void *ptr);
	void	   *arg;
} Allocator;

/* a * b, or SIZE_MAX when that overflows: no allocator grants it */
static inline size_t
size_mul(size_t a, size_t b)
{
	return (b != 0 && a > SIZE_MAX / b) ? SIZE_MAX : a * b;
}

/*
 * For functions that shall be inlined always: variants of an inner loop that
 * differ in constants, and all that do nothing but prefetch, which GCC takes
 * for functions without effect, and drops their calls.
 */
#define ALWAYS_INLINE	static inline __attribute__((always_inline))

#endif							/* RECSYS_NUMERIC_ALLOC_H */
