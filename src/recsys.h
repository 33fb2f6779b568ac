/*
 * recsys.h
 *	  Settings that more than one room reads.  Defined in recsys.c.
 */
#ifndef RECSYS_H
#define RECSYS_H

#include "postgres.h"

extern int	recsys_memory_kb;			/* recsys.memory, per source */
extern int	recsys_publish_interval;	/* ms */
extern int	recsys_flush_interval;		/* ms */
extern int	recsys_tail_limit;			/* event rows per recommend() */
extern int	recsys_max_future;			/* s an event may lie ahead of now */
extern int	recsys_max_sources;			/* size of the shared array */
extern int	recsys_rejected_limit;		/* rejected events kept per source */
extern int	recsys_restart_delay;		/* ms, before a worker's second start */
extern int	recsys_max_training_workers;	/* processes of one training */
extern int	recsys_training_memory_kb;	/* of all of them together */
extern int	recsys_search_memory_mb;	/* shared item vectors, whole server */
extern int	recsys_aggregate_memory_kb; /* of one group of an aggregate, one process */

/* True once shared_preload_libraries has loaded us. */
extern bool recsys_preloaded;

#endif							/* RECSYS_H */
