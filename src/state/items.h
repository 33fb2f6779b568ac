/*
 * items.h
 *	  The items of a source: dictionary and totals, all of them in memory.
 *
 * Models keep vectors over all items anyway, so items are not evicted: about
 * 100 bytes each, plus the key where it is text.
 */
#ifndef RECSYS_ITEMS_H
#define RECSYS_ITEMS_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "state/keys.h"

typedef struct ItemTotals
{
	StoredKey	key;
	double		total;			/* sum of r(u,i) */
	TimestampTz first_time;		/* of any event counted; 0 = none */
	TimestampTz last_time;
	int32		users;
	bool		known;			/* has a key, not forgotten */
	bool		stored;			/* has a row */
	bool		dirty;
} ItemTotals;

typedef struct Items
{
	MemoryContext context;
	Oid			nspid;
	KeyMap	   *keys;
	int32		next;			/* next number to be given */
	int32		max;			/* allocated, in items */
	ItemTotals *totals;			/* by number */
	double	   *sumsq;			/* by number: sum of r(u,i)^2; 0 if unknown */
	int32		landmark;
	int32		ndirty;
	int32		maxdirty;
	int32	   *dirty;
} Items;

extern Items *items_create(MemoryContext parent, Oid nspid, const KeyColumn *column);
extern void items_load(Items *items);		/* the whole table */
extern int32 items_find(Items *items, const KeyValue *key);	/* 0 if unknown */
extern int32 items_get(Items *items, const KeyValue *key);	/* new number if unknown */
/* r(u,i) goes from before to after. */
extern void items_change(Items *items, int32 item, double before, double after,
						 int appears, TimestampTz time);
extern void items_write(Items *items);		/* dirty rows -> table */
/* Rows of items not stored yet: before a published row uses their numbers. */
extern void items_write_new(Items *items);
extern void items_forget(Items *items, int32 item);
extern void items_void(Items *items);
extern void items_rescale(Items *items, int32 landmark);
extern Size items_bytes(const Items *items);

#endif							/* RECSYS_ITEMS_H */
