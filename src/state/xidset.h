/*
 * xidset.h
 *	  The applied set: which transactions' effects the stored state holds.
 *
 * A sorted array of boundaries of full (64-bit) transaction ids: bounds[0] <
 * bounds[1] < ...; the set is the union of [bounds[2i], bounds[2i+1]).  Stored
 * as int8[] in the state row.  The first range starts at 0: the horizon is its
 * end.
 */
#ifndef RECSYS_XIDSET_H
#define RECSYS_XIDSET_H

#include "postgres.h"

typedef struct XidSet
{
	int			n;				/* boundaries, even */
	int			max;
	uint64	   *bounds;
} XidSet;

extern XidSet *xidset_create(void);				/* empty, in CurrentMemoryContext */
extern void xidset_free(XidSet *set);
extern bool xidset_contains(const XidSet *set, uint64 fxid);
extern void xidset_add(XidSet *set, uint64 from, uint64 to);	/* adds [from, to) */
extern void xidset_copy(XidSet *to, const XidSet *from);
extern Datum xidset_to_array(const XidSet *set);
extern XidSet *xidset_from_array(Datum array);

/* 32-bit xid of a tuple -> full xid, relative to the next one to be given. */
extern uint64 xidset_full_xid(TransactionId xid);

#endif							/* RECSYS_XIDSET_H */
