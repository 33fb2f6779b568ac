/*
 * audience.h
 *	  The users of each item with their weights, for items that have not too
 *	  many of them: the columns of the matrix of interactions.
 *
 * An item with more than "most" users loses its list, and gets it back only by
 * being cleared.  Where the lists together need more memory than allowed, "most" is
 * halved, so that the longest lists go first.
 */
#ifndef RECSYS_NUMERIC_AUDIENCE_H
#define RECSYS_NUMERIC_AUDIENCE_H

#include "numeric/alloc.h"

typedef struct AudienceEntry
{
	int32_t		user;
	float		weight;
} AudienceEntry;

typedef struct Audience
{
	int32_t		n;				/* users, listed or not */
	int32_t		max;			/* room in entries; -1: not listed any more */
	AudienceEntry *entries;		/* n of them, in no order */
} Audience;

typedef struct Audiences
{
	Allocator	allocator;
	int32_t		most;
	size_t		limit;			/* bytes */
	size_t		bytes;
	int32_t		nitems;			/* items have numbers below */
	Audience   *items;
	int64_t		n;				/* interactions, listed or not */
} Audiences;

extern void audiences_init(Audiences *a, const Allocator *allocator, int32_t most, size_t limit);
extern void audiences_free(Audiences *a);	/* empty again */

/* Make item numbers below nitems valid.  False: no memory. */
extern bool audiences_reach(Audiences *a, int32_t nitems);

/* The user's weight on an item that is reached.  appears: +1 the user is new to
 * the item, -1 leaves it, 0 neither.  False: no memory. */
extern bool audiences_change(Audiences *a, int32_t item, int32_t user, double weight, int appears);

extern void audiences_scale(Audiences *a, double factor);

/* Are all n users of the item listed? */
static inline bool
audience_listed(const Audience *audience)
{
	return audience->max >= 0;
}

#endif							/* RECSYS_NUMERIC_AUDIENCE_H */
