/*
 * interactions.h
 *	  What users did with items: sums of values by (user, item), from rows in any
 *	  order, within a limit of memory.
 *
 * The state of recsys.item_cosine(), see interactions.c.
 */
#ifndef RECSYS_METRICS_INTERACTIONS_H
#define RECSYS_METRICS_INTERACTIONS_H

#include "postgres.h"

#include "metrics/datum_codes.h"

/* A value of a pair, or a part of its sum: those of one pair add up. */
typedef struct Interaction
{
	uint64		pair;			/* user << 32 | item, codes */
	double		value;
} Interaction;

#define INTERACTION_USER(pair)	((int32) ((pair) >> 32))
#define INTERACTION_ITEM(pair)	((int32) (uint32) (pair))

typedef struct Interactions
{
	MemoryContext context;		/* holds everything */
	int			k;				/* neighbours asked for */
	DatumCodes *users;
	DatumCodes *items;
	Interaction *rows;
	int64		n,
				max;
	int64		try_at;			/* so many rows before they are looked through
								 * for pairs that come again */
} Interactions;

/* In a context of its own below parent, of which it may use up to
 * recsys.aggregate_memory. */
extern Interactions *interactions_create(MemoryContext parent, int k, Oid user_type, Oid user_collation,
										 Oid item_type, Oid item_collation);
extern void interactions_add(Interactions *in, Datum user, Datum item, double value);
extern void interactions_merge(Interactions *in, const Interactions *other);

/*
 * Numbers keys by their order and sorts the rows by (user, item), so that equal
 * sets have equal rows; then interactions_next() gives each pair and the
 * sum of its values, those of zero left out, from *at = 0 on.
 */
extern void interactions_sort(Interactions *in);
extern bool interactions_next(const Interactions *in, int64 *at, Interaction *pair);

/* Error, if so many bytes more are over the limit. */
extern void interactions_reserve(const Interactions *in, Size bytes);

/* For the workers of one query. */
extern bytea *interactions_write(Interactions *in);
extern Interactions *interactions_read(bytea *bytes, MemoryContext parent);

#endif							/* RECSYS_METRICS_INTERACTIONS_H */
