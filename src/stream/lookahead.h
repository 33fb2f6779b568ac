/*
 * lookahead.h
 *	  Prefetching for the events that are about to be applied.
 */
#ifndef RECSYS_LOOKAHEAD_H
#define RECSYS_LOOKAHEAD_H

#include "stream/stream.h"

/* Events between the first look and the event itself; a power of two. */
#define LOOKAHEAD 32

typedef struct Lookahead
{
	Stream	   *s;
	Spool	   *spool;
	int64		next;			/* records looked at */
	int32		users[LOOKAHEAD];	/* by number of record; 0 = nothing to do */
	SpoolRecord *records[LOOKAHEAD];
} Lookahead;

extern void lookahead_start(Lookahead *ahead, Stream *s, Spool *spool);
extern void lookahead_step(Lookahead *ahead);	/* once per record applied */

#endif							/* RECSYS_LOOKAHEAD_H */
