/*
 * times.h
 *	  Where the time of a stream worker goes: a clock per phase of its life,
 *	  shown by recsys.worker_times().
 *
 * The worker is in exactly one phase at a time; times_enter() ends one and
 * begins the next, twice per turn of the loop, which costs nothing that one
 * could measure.
 */
#ifndef RECSYS_TIMES_H
#define RECSYS_TIMES_H

#include "postgres.h"
#include "port/atomics.h"

typedef enum WorkerPhase
{
	PHASE_START,				/* connecting, waiting for the slot */
	PHASE_BACKFILL,				/* a new source from its table; resync */
	PHASE_LOAD,					/* state, from its tables */
	PHASE_BUILD,				/* models, from the state */
	PHASE_DECODE,				/* WAL -> clean events */
	PHASE_APPLY,				/* events -> memory; what memory pressure makes it
								 * write in between counts here */
	PHASE_PUBLISH,
	PHASE_FLUSH,
	PHASE_WAIT,					/* nothing to do */
	PHASE_N
} WorkerPhase;

/* Nanoseconds since the worker's start; only the worker writes them. */
typedef struct WorkerTimes
{
	pg_atomic_uint64 elapsed[PHASE_N];
	pg_atomic_uint64 cpu[PHASE_N];
	pg_atomic_uint64 entered[PHASE_N];
} WorkerTimes;

extern void times_init(WorkerTimes *times);		/* when the memory is made */
extern void times_reset(WorkerTimes *times);	/* by a new worker */
extern void times_enter(WorkerTimes *times, WorkerPhase phase);

#endif							/* RECSYS_TIMES_H */
