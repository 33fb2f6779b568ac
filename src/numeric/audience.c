/*
 * audience.c
 *	  Users of items, see audience.h.
 *
 * Who changes is mostly who came last, so a list is searched from its end.
 */
#include "numeric/audience.h"

#include <string.h>

#define MIN_ENTRIES 4
#define MIN_ITEMS	1024
#define LEAST_MOST	16			/* no use in shorter lists */

void
audiences_init(Audiences *a, const Allocator *allocator, int32_t most, size_t limit)
{
	memset(a, 0, sizeof(Audiences));
	a->allocator = *allocator;
	a->most = most;
	a->limit = limit;
}

static void
unlist(Audiences *a, Audience *audience)
{
	if (audience->entries)
	{
		a->allocator.release(a->allocator.arg, audience->entries);
		a->bytes -= sizeof(AudienceEntry) * (size_t) audience->max;
	}
	audience->entries = NULL;
	audience->max = -1;
}

void
audiences_free(Audiences *a)
{
	for (int32_t item = 0; item < a->nitems; item++)
		unlist(a, &a->items[item]);
	if (a->items)
		a->allocator.release(a->allocator.arg, a->items);
	audiences_init(a, &a->allocator, a->most, a->limit);
}

bool
audiences_reach(Audiences *a, int32_t nitems)
{
	Audience   *items;
	int32_t		room;

	if (nitems <= a->nitems)
		return true;
	room = nitems > INT32_MAX / 2 ? INT32_MAX : nitems + nitems / 2;
	room = room < MIN_ITEMS ? MIN_ITEMS : room;
	items = a->allocator.alloc(a->allocator.arg, size_mul(sizeof(Audience), (size_t) room));
	if (!items)
		return false;
	if (a->items)
	{
		memcpy(items, a->items, sizeof(Audience) * (size_t) a->nitems);
		a->allocator.release(a->allocator.arg, a->items);
	}
	memset(items + a->nitems, 0, sizeof(Audience) * (size_t) (room - a->nitems));
	a->bytes += sizeof(Audience) * (size_t) (room - a->nitems);
	a->items = items;
	a->nitems = room;
	return true;
}

static void
relieve(Audiences *a)
{
	while (a->bytes > a->limit && a->most > LEAST_MOST)
	{
		a->most /= 2;
		for (int32_t item = 0; item < a->nitems; item++)
			if (a->items[item].n > a->most && audience_listed(&a->items[item]))
				unlist(a, &a->items[item]);
	}
}

static bool
make_room(Audiences *a, Audience *audience)
{
	int32_t		max = audience->max + audience->max / 2;
	AudienceEntry *entries;

	if (audience->n < audience->max)
		return true;
	max = max < MIN_ENTRIES ? MIN_ENTRIES : max;
	entries = a->allocator.alloc(a->allocator.arg, sizeof(AudienceEntry) * (size_t) max);
	if (!entries)
		return false;
	if (audience->entries)
	{
		memcpy(entries, audience->entries, sizeof(AudienceEntry) * (size_t) audience->n);
		a->allocator.release(a->allocator.arg, audience->entries);
	}
	a->bytes += sizeof(AudienceEntry) * (size_t) (max - audience->max);
	audience->entries = entries;
	audience->max = max;
	return true;
}

static bool
enter(Audiences *a, Audience *audience, int32_t user, float weight)
{
	if (audience_listed(audience))
	{
		if (audience->n >= a->most)
			unlist(a, audience);
		else if (make_room(a, audience))
			audience->entries[audience->n] = (AudienceEntry) {user, weight};
		else
			return false;
	}
	audience->n++;
	a->n++;
	relieve(a);
	return true;
}

static AudienceEntry *
find(const Audience *audience, int32_t user)
{
	for (int32_t x = audience->n - 1; audience_listed(audience) && x >= 0; x--)
		if (audience->entries[x].user == user)
			return &audience->entries[x];
	return NULL;
}

bool
audiences_change(Audiences *a, int32_t item, int32_t user, double weight, int appears)
{
	Audience   *audience = &a->items[item];
	AudienceEntry *entry;

	if (appears > 0)
		return enter(a, audience, user, (float) weight);
	entry = find(audience, user);
	if (appears < 0)
	{
		audience->n--;
		a->n--;
		if (entry)
			*entry = audience->entries[audience->n];
		if (audience->n == 0)
		{
			/* nobody: that is a complete list again */
			unlist(a, audience);
			audience->max = 0;
		}
	}
	else if (entry)
		entry->weight = (float) weight;
	return true;
}

void
audiences_scale(Audiences *a, double factor)
{
	for (int32_t item = 0; item < a->nitems; item++)
	{
		Audience   *audience = &a->items[item];

		for (int32_t x = 0; audience_listed(audience) && x < audience->n; x++)
			audience->entries[x].weight = (float) (audience->entries[x].weight * factor);
	}
}
