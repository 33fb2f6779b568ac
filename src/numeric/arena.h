/*
 * arena.h
 *	  Blocks of many sizes that keep growing, within a limit of bytes.
 */
#ifndef RECSYS_NUMERIC_ARENA_H
#define RECSYS_NUMERIC_ARENA_H

#include "numeric/alloc.h"

typedef struct Arena Arena;

/* NULL when there is no memory; max_bytes counts everything, ever taken. */
extern Arena *arena_create(const Allocator *memory, size_t max_bytes);
/* Frees all blocks as well. */
extern void arena_destroy(Arena *arena);

/* The size that a request of "size" bytes really gets. */
extern size_t arena_round(size_t size);
/* Aligned to 64 bytes, a cache line; NULL when the limit is reached or memory is out. */
extern void *arena_alloc(Arena *arena, size_t size);
/* size: as asked for, or rounded */
extern void arena_free(Arena *arena, void *block, size_t size);
/* Bytes taken from the Allocator. */
extern size_t arena_bytes(const Arena *arena);

#endif							/* RECSYS_NUMERIC_ARENA_H */
