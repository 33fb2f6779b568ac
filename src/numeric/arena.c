/*
 * arena.c
 *	  A slab allocator for rows that grow.
 *
 * Rows of a sparse matrix grow in lockstep, step by step through the size
 * classes, and leave blocks behind that no row will ever want again.  A free
 * list per class would keep them for ever.  Here a class takes its blocks
 * from slabs, and a slab whose last block is freed goes back to the pool that
 * serves all classes.
 *
 *	  chunk		what the Allocator gives; the larger the more there is
 *	  region	2 MB of a chunk, 2 MB aligned (one huge page), 32 pages of 64 kB
 *	  slab		1, 4 or 32 pages of a region, aligned to their size, cut into
 *				blocks of one class; its header takes the first 64 bytes
 *	  block		classes are 64, 128, 192, then (4 + q) << e bytes, q = 0..3, so
 *				that at most a fifth is lost; large ones a little less, so that
 *				as many as meant fit beside the header
 *
 * A block's slab is found by masking its address, since its size tells how
 * large the slab is.  Blocks above MAX_BLOCK come from the Allocator
 * directly.  All are aligned to a cache line.
 */
#include "numeric/arena.h"

#include <string.h>

#define PAGE_SIZE_LOG	16
#define PAGE_BYTES		((size_t) 1 << PAGE_SIZE_LOG)
#define REGION_PAGES	32
#define REGION_BYTES	(PAGE_BYTES * REGION_PAGES)
#define MAX_CHUNK		((size_t) 64 << 20)
#define FIRST_CHUNK		((size_t) 512 << 10)
#define CHUNK_PART		4		/* a chunk is about this part of what there is */
#define HEADER_BYTES	64
#define MIN_BLOCK		((size_t) 64)
#define CLASSES			44		/* 64 B ... 256 kB - 512 B */
#define MAX_BLOCK		(((size_t) 256 << 10) - 512)

typedef struct FreeBlock
{
	struct FreeBlock *next;
} FreeBlock;

typedef struct Slab
{
	struct Slab *next,			/* slabs of the class with room */
			   *prev;
	FreeBlock  *free;
	uint32_t	region;
	uint32_t	live;			/* blocks handed out */
	uint32_t	fresh;			/* blocks never handed out begin here */
	uint32_t	total;
} Slab;

/* Stands before a block above MAX_BLOCK. */
typedef struct Large
{
	struct Large *next,
			   *prev;
	void	   *taken;			/* what the Allocator gave, and its size */
	size_t		size;
} Large;

typedef struct Region
{
	char	   *base;			/* address of page 0, even if it is not ours */
	uint32_t	free;			/* bit p: page p is ours and free */
} Region;

struct Arena
{
	Allocator	memory;
	size_t		max_bytes;
	size_t		bytes;
	Slab	   *room[CLASSES];
	Region	   *regions;
	uint32_t	nregions,
				maxregions;
	uint32_t	hint[3];		/* first region that may hold 1, 4, 32 pages */
	void	  **chunks;
	uint32_t	nchunks,
				maxchunks;
	Large	   *large;
};

/* ---------------------------------------------------------------- classes */

static inline size_t
class_bytes(int class)
{
	size_t		size;

	if (class < 3)
		return MIN_BLOCK * (size_t) (class + 1);
	class -= 3;
	size = (size_t) (4 + (class & 3)) << ((class >> 2) + 6);
	return size < 32768 ? size : size - ((size / 512 + 63) & ~(size_t) 63);
}

static inline int
size_class(size_t size)
{
	int			class,
				e;

	if (size <= 256)
		return size <= MIN_BLOCK ? 0 : (int) ((size - 1) / MIN_BLOCK);
	e = 61 - __builtin_clzll((unsigned long long) (size - 1));
	class = 3 + (e - 6) * 4 + (int) ((size - 1) >> e) - 4 + 1;
	return class + (class_bytes(class) < size);
}

/* Pages of a slab: so many that header and remainder stay small. */
static inline uint32_t
class_pages(int class)
{
	size_t		size = class_bytes(class);

	return size <= 2048 ? 1 : size <= 32768 ? 4 : REGION_PAGES;
}

size_t
arena_round(size_t size)
{
	if (size > MAX_BLOCK)
		return size > SIZE_MAX - 4095 ? SIZE_MAX : (size + 4095) & ~(size_t) 4095;
	return class_bytes(size_class(size));
}

/* ------------------------------------------------------ chunks and regions */

static void *
take(Arena *arena, size_t size)
{
	void	   *p;

	if (size > arena->max_bytes || arena->bytes > arena->max_bytes - size)
		return NULL;
	p = arena->memory.alloc(arena->memory.arg, size);
	if (p)
		arena->bytes += size;
	return p;
}

static void
give_back(Arena *arena, void *p, size_t size)
{
	arena->memory.release(arena->memory.arg, p);
	arena->bytes -= size;
}

/* Makes room for "more" elements in one of the arena's own arrays. */
static bool
reserve(Arena *arena, void **array, uint32_t used, uint32_t *max, uint32_t more,
		size_t element)
{
	uint32_t	want = *max ? *max * 2 : 32;
	void	   *p;

	if (used + more <= *max)
		return true;
	while (want < used + more)
		want *= 2;
	p = take(arena, size_mul(want, element));
	if (!p)
		return false;
	if (*array)
	{
		memcpy(p, *array, used * element);
		give_back(arena, *array, *max * element);
	}
	*array = p;
	*max = want;
	return true;
}

/* One more chunk, with an aligned run of "pages" pages at least. */
static bool
add_chunk(Arena *arena, uint32_t pages)
{
	size_t		least = PAGE_BYTES * pages * 2;
	size_t		size = arena->bytes / CHUNK_PART;
	size_t		left;
	uint32_t	most;
	uintptr_t	p,
				end;

	if (size < FIRST_CHUNK)
		size = FIRST_CHUNK;
	if (size < least)
		size = least;
	if (size > MAX_CHUNK)
		size = MAX_CHUNK;
	most = (uint32_t) (size / REGION_BYTES) + 2;
	if (!reserve(arena, (void **) &arena->regions, arena->nregions,
				 &arena->maxregions, most, sizeof(Region)) ||
		!reserve(arena, (void **) &arena->chunks, arena->nchunks,
				 &arena->maxchunks, 1, sizeof(void *)))
		return false;
	left = arena->max_bytes - arena->bytes;
	if (size > left)
		size = left;
	if (size < least)
		return false;
	p = (uintptr_t) take(arena, size);
	if (!p)
		return false;
	arena->chunks[arena->nchunks++] = (void *) p;

	end = (p + size) & ~(PAGE_BYTES - 1);
	p = (p + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	while (p < end)
	{
		Region	   *r = &arena->regions[arena->nregions++];
		uintptr_t	base = p & ~(REGION_BYTES - 1);

		r->base = (char *) base;
		r->free = 0;
		for (; p < end && p < base + REGION_BYTES; p += PAGE_BYTES)
			r->free |= (uint32_t) 1 << ((p - base) >> PAGE_SIZE_LOG);
	}
	return true;
}

static inline int
hint_of(uint32_t pages)
{
	return pages == 1 ? 0 : pages == 4 ? 1 : 2;
}

static inline uint32_t
page_mask(uint32_t pages)
{
	return pages == 32 ? UINT32_MAX : ((uint32_t) 1 << pages) - 1;
}

/* An aligned run of free pages of the first region that has one. */
static Slab *
find_pages(Arena *arena, uint32_t pages)
{
	uint32_t	mask = page_mask(pages);
	uint32_t   *hint = &arena->hint[hint_of(pages)];

	for (uint32_t i = *hint; i < arena->nregions; i++)
	{
		Region	   *r = &arena->regions[i];

		if (r->free == 0)
			continue;
		for (uint32_t p = 0; p < REGION_PAGES; p += pages)
		{
			Slab	   *slab;

			if ((r->free >> p & mask) != mask)
				continue;
			r->free &= ~(mask << p);
			*hint = i;
			slab = (Slab *) (r->base + ((size_t) p << PAGE_SIZE_LOG));
			slab->region = i;
			return slab;
		}
	}
	*hint = arena->nregions;
	return NULL;
}

static void
free_pages(Arena *arena, Slab *slab, uint32_t pages)
{
	Region	   *r = &arena->regions[slab->region];
	uint32_t	p = (uint32_t) (((char *) slab - r->base) >> PAGE_SIZE_LOG);

	r->free |= page_mask(pages) << p;
	for (int h = 0; h < 3; h++)
		if (arena->hint[h] > slab->region)
			arena->hint[h] = slab->region;
}

/* ------------------------------------------------------------------ slabs */

static void
link_slab(Arena *arena, int class, Slab *slab)
{
	slab->prev = NULL;
	slab->next = arena->room[class];
	if (slab->next)
		slab->next->prev = slab;
	arena->room[class] = slab;
}

static void
unlink_slab(Arena *arena, int class, Slab *slab)
{
	if (slab->prev)
		slab->prev->next = slab->next;
	else
		arena->room[class] = slab->next;
	if (slab->next)
		slab->next->prev = slab->prev;
}

static Slab *
new_slab(Arena *arena, int class)
{
	uint32_t	pages = class_pages(class);
	Slab	   *slab = find_pages(arena, pages);

	if (!slab)
	{
		if (!add_chunk(arena, pages))
			return NULL;
		slab = find_pages(arena, pages);
		if (!slab)
			return NULL;
	}
	slab->free = NULL;
	slab->live = 0;
	slab->fresh = 0;
	slab->total = (uint32_t) ((PAGE_BYTES * pages - HEADER_BYTES) / class_bytes(class));
	link_slab(arena, class, slab);
	return slab;
}

static void *
alloc_large(Arena *arena, size_t size)
{
	Large	   *block;
	void	   *taken;

	size = arena_round(size);
	if (size > SIZE_MAX - 2 * HEADER_BYTES)
		return NULL;
	size += 2 * HEADER_BYTES;
	taken = take(arena, size);
	if (!taken)
		return NULL;
	block = (Large *) (((uintptr_t) taken + HEADER_BYTES - 1) & ~(uintptr_t) (HEADER_BYTES - 1));
	block->taken = taken;
	block->size = size;
	block->prev = NULL;
	block->next = arena->large;
	if (block->next)
		block->next->prev = block;
	arena->large = block;
	return (char *) block + HEADER_BYTES;
}

static void
free_large(Arena *arena, Large *block)
{
	if (block->prev)
		block->prev->next = block->next;
	else
		arena->large = block->next;
	if (block->next)
		block->next->prev = block->prev;
	give_back(arena, block->taken, block->size);
}

void *
arena_alloc(Arena *arena, size_t size)
{
	int			class;
	Slab	   *slab;
	void	   *block;

	if (size > MAX_BLOCK)
		return alloc_large(arena, size);
	class = size_class(size);
	slab = arena->room[class];
	if (!slab && !(slab = new_slab(arena, class)))
		return NULL;
	if (slab->free)
	{
		block = slab->free;
		slab->free = slab->free->next;
	}
	else
		block = (char *) slab + HEADER_BYTES + class_bytes(class) * slab->fresh++;
	if (++slab->live == slab->total)
		unlink_slab(arena, class, slab);
	return block;
}

void
arena_free(Arena *arena, void *block, size_t size)
{
	int			class;
	uint32_t	pages;
	Slab	   *slab;

	if (!block)
		return;
	if (size > MAX_BLOCK)
	{
		free_large(arena, (Large *) ((char *) block - HEADER_BYTES));
		return;
	}
	class = size_class(size);
	pages = class_pages(class);
	slab = (Slab *) ((uintptr_t) block & ~(PAGE_BYTES * pages - 1));
	((FreeBlock *) block)->next = slab->free;
	slab->free = block;
	if (slab->live-- == slab->total)
		link_slab(arena, class, slab);
	if (slab->live == 0)
	{
		unlink_slab(arena, class, slab);
		free_pages(arena, slab, pages);
	}
}

/* ------------------------------------------------------------- life cycle */

Arena *
arena_create(const Allocator *memory, size_t max_bytes)
{
	Arena	   *arena;

	if (max_bytes < sizeof(Arena))
		return NULL;
	arena = memory->alloc(memory->arg, sizeof(Arena));
	if (!arena)
		return NULL;
	memset(arena, 0, sizeof(Arena));
	arena->memory = *memory;
	arena->max_bytes = max_bytes;
	arena->bytes = sizeof(Arena);
	return arena;
}

void
arena_destroy(Arena *arena)
{
	Allocator	memory = arena->memory;

	while (arena->large)
		free_large(arena, arena->large);
	for (uint32_t i = 0; i < arena->nchunks; i++)
		memory.release(memory.arg, arena->chunks[i]);
	if (arena->chunks)
		memory.release(memory.arg, arena->chunks);
	if (arena->regions)
		memory.release(memory.arg, arena->regions);
	memory.release(memory.arg, arena);
}

size_t
arena_bytes(const Arena *arena)
{
	return arena->bytes;
}
