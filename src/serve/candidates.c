/*
 * candidates.c
 *	  The set of items that an answer is chosen from.
 *
 * A hash table with linear probing over an array of entries in the order of
 * arrival.  A recommendation adds a few thousand scores, so slots are only
 * indexes and stay in the caches near the core.
 *
 * Giving that memory back to the system after each call, and faulting it in
 * again, took a tenth of the time of a recommendation.  So a session keeps one
 * large set for its next call; the borrower's context returns it, in case of
 * an error too.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "serve/serve.h"

#define SMALL_BITS		7		/* 128 slots, 64 entries */
#define LARGE_BITS		13		/* 8,192 slots, 4,096 entries */
#define KEPT_BITS		16		/* a larger set is not kept */

static Candidates *kept = NULL;

static inline uint32
slot_of(const Candidates *c, int32 item)
{
	return ((uint32) item * 0x9E3779B1u) >> c->shift;
}

static inline uint32
mask_of(const Candidates *c)
{
	return UINT32_C(0xFFFFFFFF) >> c->shift;
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
	c->slots = MemoryContextAllocExtended(c->context, nslots * sizeof(int32),
										  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	c->entries = c->entries ?
		repalloc_huge(c->entries, c->max * sizeof(Candidate)) :
		MemoryContextAllocHuge(c->context, c->max * sizeof(Candidate));
}

static Candidates *
create(MemoryContext context, int bits)
{
	Candidates *c = MemoryContextAllocZero(context, sizeof(Candidates));

	c->context = context;
	allocate(c, bits);
	return c;
}

Candidates *
candidates_create(void)
{
	return create(CurrentMemoryContext, SMALL_BITS);
}

/* At the end of the borrower's context: keep the set, if it is the only one. */
static void
give_back(void *arg)
{
	Candidates *c = arg;

	if (kept == NULL && c->shift >= 32 - KEPT_BITS)
		kept = c;
	else
		MemoryContextDelete(c->context);
}

Candidates *
candidates_borrow(MemoryContext user)
{
	MemoryContextCallback *callback = MemoryContextAlloc(user, sizeof(MemoryContextCallback));
	Candidates *c = kept;

	if (c == NULL)
		c = create(AllocSetContextCreate(TopMemoryContext, "recsys candidates",
										 ALLOCSET_SMALL_SIZES), LARGE_BITS);
	else
	{
		c->n = 0;
		c->restricted = false;
		memset(c->slots, 0, ((Size) mask_of(c) + 1) * sizeof(int32));
	}
	kept = NULL;
	callback->func = give_back;
	callback->arg = c;
	MemoryContextRegisterResetCallback(user, callback);
	return c;
}

static pg_noinline void
grow(Candidates *c)
{
	pfree(c->slots);
	allocate(c, 32 - c->shift + 1);
	for (int i = 0; i < c->n; i++)
	{
		uint32		s = slot_of(c, c->entries[i].item);

		while (c->slots[s])
			s = (s + 1) & mask_of(c);
		c->slots[s] = i + 1;
	}
}

Candidate *
candidates_find(Candidates *c, int32 item)
{
	for (uint32 s = slot_of(c, item); c->slots[s]; s = (s + 1) & mask_of(c))
		if (c->entries[c->slots[s] - 1].item == item)
			return &c->entries[c->slots[s] - 1];
	return NULL;
}

static inline Candidate *
find_or_add(Candidates *c, int32 item)
{
	Candidate  *entry;
	uint32		s;

	if (c->n == c->max)
		grow(c);
	for (s = slot_of(c, item); c->slots[s]; s = (s + 1) & mask_of(c))
	{
		entry = &c->entries[c->slots[s] - 1];
		if (entry->item == item)
			return entry;
	}
	entry = &c->entries[c->n++];
	c->slots[s] = c->n;
	entry->item = item;
	entry->flags = 0;
	entry->score = 0;
	return entry;
}

/* The item's entry, made if need be, with more flags.  Entries move when one
 * is added. */
Candidate *
candidates_mark(Candidates *c, int32 item, int32 flags)
{
	Candidate  *entry = find_or_add(c, item);

	entry->flags |= flags;
	return entry;
}

void
candidates_add(Candidates *c, int32 item, double score)
{
	candidates_mark(c, item, CANDIDATE_SCORED)->score += score;
}

void
candidates_add_list(Candidates *c, int n, const int32 *items, const float *scores,
					double weight)
{
	for (int i = 0; i < n; i++)
	{
		Candidate  *entry = find_or_add(c, items[i]);

		entry->flags |= CANDIDATE_SCORED;
		entry->score += weight * scores[i];
	}
}

bool
candidates_admit(Candidates *c, int32 item)
{
	const Candidate *entry = candidates_find(c, item);
	int32		flags = entry ? entry->flags : 0;

	return !(flags & CANDIDATE_EXCLUDED) && (!c->restricted || (flags & CANDIDATE_ALLOWED));
}

int32 *
candidates_only(Candidates *c, int *n)
{
	int32	   *items;

	*n = 0;
	if (!c->restricted)
		return NULL;
	items = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * Max(c->n, 1));
	for (int i = 0; i < c->n; i++)
		if ((c->entries[i].flags & (CANDIDATE_ALLOWED | CANDIDATE_EXCLUDED)) == CANDIDATE_ALLOWED)
			items[(*n)++] = c->entries[i].item;
	return items;
}
