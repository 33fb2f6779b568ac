/*
 * profiles.c
 *	  Histories of users: a write-back cache of bounded size over the table
 *	  "profiles".
 *
 * A history is stored in rows (segments) of at most PROFILE_SEGMENT_SIZE
 * entries.  A new or refreshed entry always goes to the last segment, so an
 * event dirties at most two rows, however long the history is.  Segment
 * numbers only grow; when a history has become scattered over many thinly
 * filled rows, it is packed into new ones.
 *
 * Only clean histories are evicted, so memory can exceed its target until the
 * next write.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "state/profiles_impl.h"
#include "state/table.h"

#define PROFILE_PAGE_SIZE 1024

Profiles *
profiles_create(MemoryContext parent, Oid nspid)
{
	Profiles   *ps = MemoryContextAllocZero(parent, sizeof(Profiles));

	ps->context = AllocSetContextCreate(parent, "recsys profiles", ALLOCSET_DEFAULT_SIZES);
	ps->nspid = nspid;
	return ps;
}

void
profiles_begin(Profiles *ps)
{
	ps->reader = NULL;
}

void
profiles_end(Profiles *ps)
{
	if (ps->reader)
		table_close_state(ps->reader, AccessShareLock);
	ps->reader = NULL;
}

/* ------------------------------------------------------------ one profile */

static Size
entries_size(int32 max)
{
	return (sizeof(double) + sizeof(TimestampTz) + 3 * sizeof(int32)) * (Size) max;
}

/* Lays the five arrays out in one chunk, widest first. */
void
profile_resize(Profiles *ps, Profile *p, int32 max)
{
	char	   *chunk = MemoryContextAlloc(ps->context, entries_size(max));
	double	   *weights = (double *) chunk;
	TimestampTz *times = (TimestampTz *) (weights + max);
	int32	   *items = (int32 *) (times + max);
	int32	   *counts = items + max;
	int32	   *segments = counts + max;

	ps->bytes += GetMemoryChunkSpace(chunk);
	if (p->max > 0)
	{
		memcpy(weights, p->weights, sizeof(double) * p->n);
		memcpy(times, p->times, sizeof(TimestampTz) * p->n);
		memcpy(items, p->items, sizeof(int32) * p->n);
		memcpy(counts, p->counts, sizeof(int32) * p->n);
		memcpy(segments, p->segments, sizeof(int32) * p->n);
		ps->bytes -= GetMemoryChunkSpace(p->weights);
		pfree(p->weights);
	}
	p->weights = weights;
	p->times = times;
	p->items = items;
	p->counts = counts;
	p->segments = segments;
	p->max = max;
}

int
profile_find(const Profile *p, int32 item)
{
	const int32 *items = p->items;
	int			i = 0;

	/* Eight at a time without a branch between them. */
	for (; i + 8 <= p->n; i += 8)
	{
		int			hit = 0;

		for (int k = 0; k < 8; k++)
			hit |= (items[i + k] == item) << k;
		if (hit)
			return i + __builtin_ctz(hit);
	}
	for (; i < p->n; i++)
		if (items[i] == item)
			return i;
	return -1;
}

static void
mark_dirty(Profiles *ps, Profile *p, int32 segment)
{
	if (p->ndirty > 0 && p->newest_dirty == segment)
		return;
	if (p->ndirty == 0)
	{
		if (ps->ndirty == ps->maxdirty)
		{
			ps->maxdirty = Max(1024, ps->maxdirty * 2);
			ps->dirty = ps->dirty ?
				repalloc_huge(ps->dirty, sizeof(int32) * (Size) ps->maxdirty) :
				MemoryContextAlloc(ps->context, sizeof(int32) * ps->maxdirty);
		}
		ps->dirty[ps->ndirty++] = p->user;
	}
	for (int i = 0; i < p->ndirty; i++)
		if (p->dirty[i] == segment)
			return;
	if (p->ndirty == p->maxdirty)
	{
		p->maxdirty = Max(4, p->maxdirty * 2);
		if (p->dirty)
			ps->bytes -= GetMemoryChunkSpace(p->dirty);
		p->dirty = p->dirty ?
			repalloc(p->dirty, sizeof(int32) * p->maxdirty) :
			MemoryContextAlloc(ps->context, sizeof(int32) * p->maxdirty);
		ps->bytes += GetMemoryChunkSpace(p->dirty);
	}
	p->dirty[p->ndirty++] = segment;
	p->newest_dirty = segment;
}

void
profile_remove(Profiles *ps, Profile *p, int at)
{
	int			tail = p->n - at - 1;

	mark_dirty(ps, p, p->segments[at]);
	if (p->segments[at] == p->last_segment)
		p->last_count--;
	memmove(p->items + at, p->items + at + 1, sizeof(int32) * tail);
	memmove(p->weights + at, p->weights + at + 1, sizeof(double) * tail);
	memmove(p->times + at, p->times + at + 1, sizeof(TimestampTz) * tail);
	memmove(p->counts + at, p->counts + at + 1, sizeof(int32) * tail);
	memmove(p->segments + at, p->segments + at + 1, sizeof(int32) * tail);
	p->n--;
}

/* Move all entries to new segments, densely. */
static void
pack_segments(Profiles *ps, Profile *p)
{
	int32		base = p->last_segment + 1;

	for (int i = 0; i < p->n; i++)
	{
		mark_dirty(ps, p, p->segments[i]);
		p->segments[i] = base + i / PROFILE_SEGMENT_SIZE;
	}
	p->nsegments = (p->n + PROFILE_SEGMENT_SIZE - 1) / PROFILE_SEGMENT_SIZE;
	p->last_segment = base + Max(p->nsegments - 1, 0);
	p->last_count = p->n - (p->last_segment - base) * PROFILE_SEGMENT_SIZE;
	for (int i = 0; i < p->nsegments; i++)
		mark_dirty(ps, p, base + i);
}

static void
choose_segment(Profiles *ps, Profile *p)
{
	if (p->last_segment != NO_SEGMENT && p->last_count < PROFILE_SEGMENT_SIZE)
		return;
	if (p->nsegments > 2 * (p->n / PROFILE_SEGMENT_SIZE) + 2)
		pack_segments(ps, p);
	if (p->last_segment == NO_SEGMENT || p->last_count >= PROFILE_SEGMENT_SIZE)
	{
		p->last_segment++;
		p->last_count = 0;
		p->nsegments++;
	}
}

void
profile_insert(Profiles *ps, Profile *p, int32 item, double weight,
			   int32 count, TimestampTz time)
{
	int			at = p->n;
	int			tail;

	if (p->n == p->max)
		profile_resize(ps, p, Max(4, p->max * 2));
	choose_segment(ps, p);
	while (at > 0 && p->times[at - 1] > time)
		at--;
	tail = p->n - at;
	if (tail > 0)
	{
		memmove(p->items + at + 1, p->items + at, sizeof(int32) * tail);
		memmove(p->weights + at + 1, p->weights + at, sizeof(double) * tail);
		memmove(p->times + at + 1, p->times + at, sizeof(TimestampTz) * tail);
		memmove(p->counts + at + 1, p->counts + at, sizeof(int32) * tail);
		memmove(p->segments + at + 1, p->segments + at, sizeof(int32) * tail);
	}
	p->items[at] = item;
	p->weights[at] = weight;
	p->times[at] = time;
	p->counts[at] = count;
	p->segments[at] = p->last_segment;
	p->last_count++;
	p->n++;
	mark_dirty(ps, p, p->last_segment);
}

Profile **
profile_place(Profiles *ps, int32 user)
{
	int32		page = user / PROFILE_PAGE_SIZE;

	if (page >= ps->npages)
	{
		int32		npages = Max(page + 1, ps->npages * 2);

		ps->pages = ps->pages ?
			repalloc_huge(ps->pages, sizeof(Profile **) * npages) :
			MemoryContextAlloc(ps->context, sizeof(Profile **) * npages);
		memset(ps->pages + ps->npages, 0, sizeof(Profile **) * (npages - ps->npages));
		ps->npages = npages;
	}
	if (ps->pages[page] == NULL)
	{
		ps->pages[page] = MemoryContextAllocZero(ps->context,
												 sizeof(Profile *) * PROFILE_PAGE_SIZE);
		ps->bytes += sizeof(Profile *) * PROFILE_PAGE_SIZE;
	}
	return &ps->pages[page][user % PROFILE_PAGE_SIZE];
}

Profile *
profile_create(Profiles *ps, int32 user)
{
	Profile    *p = MemoryContextAllocZero(ps->context, sizeof(Profile));

	p->user = user;
	p->last_segment = p->stored_segment = NO_SEGMENT;
	p->landmark = ps->landmark;
	ps->bytes += GetMemoryChunkSpace(p);
	ps->nprofiles++;
	return p;
}

Profile *
profiles_peek(Profiles *ps, int32 user)
{
	int32		page = user / PROFILE_PAGE_SIZE;

	if (page >= ps->npages || ps->pages[page] == NULL)
		return NULL;
	return ps->pages[page][user % PROFILE_PAGE_SIZE];
}

void
profiles_prefetch_place(Profiles *ps, int32 user)
{
	int32		page = user / PROFILE_PAGE_SIZE;

	if (page < ps->npages && ps->pages[page] != NULL)
		__builtin_prefetch(&ps->pages[page][user % PROFILE_PAGE_SIZE]);
}

void
profiles_prefetch_struct(Profiles *ps, int32 user)
{
	Profile    *p = profiles_peek(ps, user);

	__builtin_prefetch(p);
	__builtin_prefetch((char *) p + 64);
}

/* All items, which are searched, and the newest end of the rest. */
void
profiles_prefetch_arrays(Profiles *ps, int32 user)
{
	Profile    *p = profiles_peek(ps, user);

	if (p == NULL)
		return;
	for (int i = 0; i < p->n; i += 16)
		__builtin_prefetch(&p->items[i]);
	for (int i = 0; i < p->n; i += 8)
		__builtin_prefetch(&p->weights[i]);
	__builtin_prefetch(&p->times[p->n]);
	__builtin_prefetch(&p->counts[p->n]);
	__builtin_prefetch(&p->segments[p->n]);
}

Profile *
profiles_get(Profiles *ps, int32 user)
{
	Profile   **place = profile_place(ps, user);

	if (*place == NULL)
	{
		Profile    *p = profile_create(ps, user);

		if (!ps->complete)
			profile_load(ps, p);
		*place = p;
	}
	(*place)->referenced = true;
	return *place;
}

int32
profiles_max_user(const Profiles *ps)
{
	return ps->npages * PROFILE_PAGE_SIZE - 1;
}

/* --------------------------------------------------------------- eviction */

static void
free_profile(Profiles *ps, Profile *p)
{
	ps->bytes -= GetMemoryChunkSpace(p);
	if (p->max > 0)
	{
		ps->bytes -= GetMemoryChunkSpace(p->weights);
		pfree(p->weights);
	}
	if (p->dirty)
	{
		ps->bytes -= GetMemoryChunkSpace(p->dirty);
		pfree(p->dirty);
	}
	pfree(p);
	ps->nprofiles--;
}

/* Clock over pages: a referenced history gets a second chance. */
void
profiles_evict(Profiles *ps, Size target)
{
	int			visits = 0;

	while (ps->bytes > target && ps->nprofiles > 0 && visits++ < 2 * ps->npages + 1)
	{
		Profile   **page;

		ps->hand = (ps->hand + 1) % ps->npages;
		page = ps->pages[ps->hand];
		for (int i = 0; page && i < PROFILE_PAGE_SIZE; i++)
		{
			Profile    *p = page[i];

			if (p == NULL || p->ndirty > 0)
				continue;
			if (p->referenced)
			{
				p->referenced = false;
				continue;
			}
			page[i] = NULL;
			free_profile(ps, p);
			ps->complete = false;
		}
	}
}

void
profiles_void(Profiles *ps)
{
	MemoryContextReset(ps->context);
	ps->npages = 0;
	ps->pages = NULL;
	ps->nprofiles = 0;
	ps->bytes = 0;
	ps->hand = 0;
	ps->ndirty = ps->maxdirty = 0;
	ps->dirty = NULL;
	ps->table_void = true;
	ps->complete = true;
}

/* The source's landmark moves: what is in memory follows, and is not dirty
 * for that; stored rows carry the landmark that they were written with. */
void
profiles_rescale(Profiles *ps, int32 landmark)
{
	double		factor = ldexp(1.0, ps->landmark - landmark);

	ps->landmark = landmark;
	for (int32 user = 1; user <= profiles_max_user(ps); user++)
	{
		Profile    *p = profiles_peek(ps, user);

		for (int i = 0; p && i < p->n; i++)
			p->weights[i] *= factor;
	}
}
