/*
 * times.c
 *	  The phase clocks of a stream worker, and recsys.worker_times().
 *
 * Elapsed time says what users wait for, CPU time what the work costs where
 * other processes compete for the cores.  The phase under way counts when it
 * ends.
 */
#include "postgres.h"

#include <time.h>

#include "catalog/catalog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "stream/shared.h"
#include "utils/builtins.h"

#define NS_PER_SECOND INT64CONST(1000000000)

static const char *const phase_names[PHASE_N] = {
	[PHASE_START] = "start",
	[PHASE_BACKFILL] = "backfill",
	[PHASE_LOAD] = "load",
	[PHASE_BUILD] = "build",
	[PHASE_DECODE] = "decode",
	[PHASE_APPLY] = "apply",
	[PHASE_PUBLISH] = "publish",
	[PHASE_FLUSH] = "flush",
	[PHASE_WAIT] = "wait"
};

/* The phase that this worker is in, and the clocks when it began. */
static WorkerPhase current = PHASE_START;
static int64 elapsed_since;
static int64 cpu_since;

static int64
read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * NS_PER_SECOND + t.tv_nsec;
}

void
times_init(WorkerTimes *times)
{
	for (int i = 0; i < PHASE_N; i++)
	{
		pg_atomic_init_u64(&times->elapsed[i], 0);
		pg_atomic_init_u64(&times->cpu[i], 0);
		pg_atomic_init_u64(&times->entered[i], 0);
	}
}

void
times_reset(WorkerTimes *times)
{
	for (int i = 0; i < PHASE_N; i++)
	{
		pg_atomic_write_u64(&times->elapsed[i], 0);
		pg_atomic_write_u64(&times->cpu[i], 0);
		pg_atomic_write_u64(&times->entered[i], 0);
	}
	current = PHASE_START;
	elapsed_since = read_clock(CLOCK_MONOTONIC);
	cpu_since = read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static void
add(pg_atomic_uint64 *to, int64 ns)
{
	pg_atomic_write_u64(to, pg_atomic_read_u64(to) + (uint64) ns);
}

void
times_enter(WorkerTimes *times, WorkerPhase phase)
{
	int64		elapsed = read_clock(CLOCK_MONOTONIC);
	int64		cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);

	add(&times->elapsed[current], elapsed - elapsed_since);
	add(&times->cpu[current], cpu - cpu_since);
	add(&times->entered[phase], 1);
	current = phase;
	elapsed_since = elapsed;
	cpu_since = cpu;
}

PG_FUNCTION_INFO_V1(recsys_worker_times);

/* recsys.worker_times(source name) returns setof (phase, entered, elapsed, cpu) */
Datum
recsys_worker_times(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	RecsysSource *source = catalog_source_by_name(NameStr(*PG_GETARG_NAME(0)), false);
	SourceShared *s;

	catalog_check_owner(source);
	InitMaterializedSRF(fcinfo, 0);
	s = shared_find(MyDatabaseId, source->id);
	for (int i = 0; s && i < PHASE_N; i++)
	{
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = CStringGetTextDatum(phase_names[i]);
		values[1] = Int64GetDatum((int64) pg_atomic_read_u64(&s->times.entered[i]));
		values[2] = Float8GetDatum(pg_atomic_read_u64(&s->times.elapsed[i]) / (double) NS_PER_SECOND);
		values[3] = Float8GetDatum(pg_atomic_read_u64(&s->times.cpu[i]) / (double) NS_PER_SECOND);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
