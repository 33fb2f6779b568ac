/*
 * candidates.c
 *	  The set of items that an answer is chosen from, and their ranking.
 *
 * A hash table with linear probing over an array of entries in the order of
 * arrival.  A recommendation adds a few thousand scores, so slots are only
 * indexes and stay in the first-level cache.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "utils/memutils.h"

#include "serve/serve.h"

#define INITIAL_BITS 9			/* 512 slots, 256 entries */

static inline uint32
slot_of(const Candidates *c, int32 item)
{
	return ((uint32) item * 0x9E3779B1u) >> c->shift;
}

static void
allocate(Candidates *c, int bits)
{
	Size		nslots = (Size) 1 << bits;

	if (bits > 30)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("too many candidate items"));
	c->shift = 32 - bits;
	c->max = nslots / 2;
	c->slots = MemoryContextAllocExtended(CurrentMemoryContext, nslots * sizeof(int32),
										  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	c->entries = c->entries ?
		repalloc_huge(c->entries, c->max * sizeof(Candidate)) :
		palloc(c->max * sizeof(Candidate));
}

Candidates *
candidates_create(void)
{
	Candidates *c = palloc0(sizeof(Candidates));

	allocate(c, INITIAL_BITS);
	return c;
}

static void
grow(Candidates *c)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(c));
	int			bits = 32 - c->shift;
	uint32		mask;

	pfree(c->slots);
	allocate(c, bits + (bits < 13 ? 2 : 1));
	mask = ((uint32) 1 << (32 - c->shift)) - 1;
	for (int i = 0; i < c->n; i++)
	{
		uint32		s = slot_of(c, c->entries[i].item);

		while (c->slots[s])
			s = (s + 1) & mask;
		c->slots[s] = i + 1;
	}
	MemoryContextSwitchTo(old);
}

Candidate *
candidates_find(Candidates *c, int32 item)
{
	uint32		mask = ((uint32) 1 << (32 - c->shift)) - 1;

	for (uint32 s = slot_of(c, item); c->slots[s]; s = (s + 1) & mask)
		if (c->entries[c->slots[s] - 1].item == item)
			return &c->entries[c->slots[s] - 1];
	return NULL;
}

/* The item's entry, made if need be, with more flags.  Entries move when one
 * is added. */
Candidate *
candidates_mark(Candidates *c, int32 item, int32 flags)
{
	uint32		mask = ((uint32) 1 << (32 - c->shift)) - 1;
	uint32		s;
	Candidate  *entry;

	for (s = slot_of(c, item); c->slots[s]; s = (s + 1) & mask)
	{
		entry = &c->entries[c->slots[s] - 1];
		if (entry->item == item)
		{
			entry->flags |= flags;
			return entry;
		}
	}
	if (c->n == c->max)
	{
		grow(c);
		return candidates_mark(c, item, flags);
	}
	entry = &c->entries[c->n++];
	c->slots[s] = c->n;
	entry->item = item;
	entry->flags = flags;
	entry->score = 0;
	return entry;
}

void
candidates_add(Candidates *c, int32 item, double score)
{
	candidates_mark(c, item, CANDIDATE_SCORED)->score += score;
}

/* --------------------------------------------------------------- ranking */

float
score_as_real(double score)
{
	return (float) Max(Min(score, (double) FLT_MAX), -(double) FLT_MAX);
}

static inline bool
ranks_before(const ScoredItem *a, const ScoredItem *b)
{
	float		sa = score_as_real(a->score),
				sb = score_as_real(b->score);

	return sa > sb || (sa == sb && a->item < b->item);
}

static void
sift_down(ScoredItem *items, int n, int at)
{
	ScoredItem	moving = items[at];

	for (;;)
	{
		int			child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && ranks_before(&items[child + 1], &items[child]))
			child++;
		if (!ranks_before(&items[child], &moving))
			break;
		items[at] = items[child];
		at = child;
	}
	items[at] = moving;
}

void
ranking_build(ScoredItem *items, int n)
{
	for (int i = n / 2 - 1; i >= 0; i--)
		sift_down(items, n, i);
}

/* Takes the best item out of the heap; false when it is empty. */
bool
ranking_next(ScoredItem *items, int *n, ScoredItem *best)
{
	if (*n == 0)
		return false;
	*best = items[0];
	items[0] = items[--*n];
	if (*n > 1)
		sift_down(items, *n, 0);
	return true;
}
