/*
 * status.c
 *	  What recsys.status and recsys.progress show: one row for each source of
 *	  this database whose owner's role the caller has, read from the catalogue
 *	  and, where a worker has reported, from shared memory and its slot.
 *
 * Without shared memory (recsys not preloaded) and on a standby there are no
 * workers: sources are stopped and the rest is null.
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "recsys.h"
#include "replication/slot.h"
#include "stream/launcher.h"
#include "stream/shared.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

/* A rate of events this old still holds; then it decays. */
#define RATE_FRESH_SECONDS 2.0
#define RATE_DECAY_SECONDS 2.0

/* Columns of recsys.source_status(), in order. */
enum
{
	STATUS_SOURCE,
	STATUS_STATE,
	STATUS_LAG_BYTES,
	STATUS_LAG_SECONDS,
	STATUS_RETAINED,
	STATUS_APPLIED_LSN,
	STATUS_FLUSHED_LSN,
	STATUS_PUBLISHED_LSN,
	STATUS_RATE,
	STATUS_EVENTS,
	STATUS_REJECTED,
	STATUS_UNMATCHED,
	STATUS_MEMORY,
	STATUS_PID,
	STATUS_FAILURES,
	STATUS_LAST_ERROR,
	STATUS_LAST_ERROR_AT,
	STATUS_WARNING,
	STATUS_PHASE,
	STATUS_PHASE_DONE,
	STATUS_PHASE_TOTAL,
	STATUS_PHASE_STARTED,
	STATUS_NCOLUMNS
};

typedef struct StatusRow
{
	Datum		values[STATUS_NCOLUMNS];
	bool		nulls[STATUS_NCOLUMNS];
} StatusRow;

static void
put(StatusRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
put_lsn(StatusRow *row, int column, XLogRecPtr lsn)
{
	if (lsn != InvalidXLogRecPtr)
		put(row, column, LSNGetDatum(lsn));
}

/* Where the slot stands; InvalidXLogRecPtr where there is none. */
static void
slot_positions(int32 source_id, XLogRecPtr *restart, XLogRecPtr *confirmed)
{
	char		name[NAMEDATALEN];
	ReplicationSlot *slot;

	*restart = *confirmed = InvalidXLogRecPtr;
	catalog_slot_name(source_id, name);
	slot = SearchNamedReplicationSlot(name, true);
	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	*restart = slot->data.restart_lsn;
	*confirmed = slot->data.confirmed_flush;
	SpinLockRelease(&slot->mutex);
}

/*
 * How long the oldest commit known to wait has been waiting: 0 if none does.
 * While the worker keeps up with a steady stream that is the age of what it
 * has just applied; after an idle time, the age of the commit that ended it.
 */
static void
put_lag_seconds(StatusRow *row, SourceShared *s, const SourceShared *copy)
{
	TimestampTz since;

	if (pg_atomic_read_u64(&s->commit_lsn) <= copy->applied_lsn &&
		copy->state == SOURCE_STREAMING)
	{
		put(row, STATUS_LAG_SECONDS, Float8GetDatum(0));
		return;
	}
	since = Max(copy->commit_time, (TimestampTz) pg_atomic_read_u64(&s->pending_since));
	if (since != 0)
		put(row, STATUS_LAG_SECONDS,
			Float8GetDatum(Max(GetCurrentTimestamp() - since, 0) / (double) USECS_PER_SEC));
}

/* Bytes of flushed WAL that have not been read, and of WAL that is kept. */
static void
put_bytes(StatusRow *row, int32 source_id, XLogRecPtr read)
{
	XLogRecPtr	restart,
				confirmed,
				end = GetFlushRecPtr(NULL);

	slot_positions(source_id, &restart, &confirmed);
	read = Max(read, confirmed);
	if (read != InvalidXLogRecPtr)
		put(row, STATUS_LAG_BYTES, Int64GetDatum(end > read ? end - read : 0));
	if (restart != InvalidXLogRecPtr)
		put(row, STATUS_RETAINED, Int64GetDatum(end > restart ? end - restart : 0));
}

static void
put_error(StatusRow *row, const char *message, TimestampTz at)
{
	if (message[0] != '\0')
		put(row, STATUS_LAST_ERROR, CStringGetTextDatum(message));
	if (at != 0)
		put(row, STATUS_LAST_ERROR_AT, TimestampTzGetDatum(at));
}

/*
 * While events come the worker renews the rate each second or so; when none
 * come it sleeps, and the rate decays to nothing within seconds.
 */
static double
rate_now(const SourceShared *copy)
{
	double		idle = (GetCurrentTimestamp() - copy->rate_at) / (double) USECS_PER_SEC;

	if (copy->pid == 0 || copy->rate_at == 0)
		return 0;
	return copy->events_rate * exp(-Max(idle - RATE_FRESH_SECONDS, 0) / RATE_DECAY_SECONDS);
}

/* What the worker has reported since it started. */
static void
put_report(StatusRow *row, SourceShared *s)
{
	SourceShared copy;

	LWLockAcquire(shared_control->lock, LW_SHARED);
	SpinLockAcquire(&s->mutex);
	memcpy(&copy, s, offsetof(SourceShared, changed));
	SpinLockRelease(&s->mutex);
	LWLockRelease(shared_control->lock);

	if (!copy.paused)
		put(row, STATUS_STATE, CStringGetTextDatum(shared_state_name(copy.state)));
	put_bytes(row, copy.source_id, copy.read_lsn);
	put_lsn(row, STATUS_APPLIED_LSN, copy.applied_lsn);
	put_lsn(row, STATUS_FLUSHED_LSN, copy.flushed_lsn);
	put_lsn(row, STATUS_PUBLISHED_LSN, Max(copy.published_lsn, copy.shown_lsn));
	put(row, STATUS_FAILURES, Int32GetDatum(shared_healthy(&copy) ? 0 : copy.failures));
	put_error(row, copy.last_error, copy.last_error_at);
	if (copy.warning[0] != '\0' && copy.pid != 0)
		put(row, STATUS_WARNING, CStringGetTextDatum(copy.warning));
	if (copy.phase[0] != '\0' && copy.pid != 0)
	{
		put(row, STATUS_PHASE, CStringGetTextDatum(copy.phase));
		put(row, STATUS_PHASE_DONE, Int64GetDatum(copy.progress_done));
		put(row, STATUS_PHASE_TOTAL, Int64GetDatum(copy.progress_total));
		put(row, STATUS_PHASE_STARTED, TimestampTzGetDatum(copy.phase_started));
	}
	if (copy.started_at == 0)
		return;					/* no worker yet */

	put_lag_seconds(row, s, &copy);
	put(row, STATUS_EVENTS, Int64GetDatum(copy.events_applied));
	put(row, STATUS_REJECTED, Int64GetDatum(copy.rejected));
	put(row, STATUS_UNMATCHED, Int64GetDatum(copy.unmatched));
	put(row, STATUS_RATE, Float8GetDatum(rate_now(&copy)));
	if (copy.pid != 0)
	{
		put(row, STATUS_MEMORY, Int64GetDatum((int64) copy.memory));
		put(row, STATUS_PID, Int32GetDatum((int32) copy.pid));
	}
}

static bool
entries_are_full(void)
{
	bool		full = true;

	LWLockAcquire(shared_control->lock, LW_SHARED);
	for (int i = 0; i < recsys_max_sources; i++)
		full &= shared_entry(i)->in_use;
	LWLockRelease(shared_control->lock);
	return full;
}

/* A source that no scout has seen yet, or has found no room for. */
static void
put_unknown(StatusRow *row, const RecsysSource *source)
{
	XLogRecPtr	restart,
				confirmed;
	bool		full = entries_are_full();

	slot_positions(source->id, &restart, &confirmed);
	if (!full && restart == InvalidXLogRecPtr && !source->paused)
		put(row, STATUS_STATE, CStringGetTextDatum(shared_state_name(SOURCE_CREATING)));
	put_bytes(row, source->id, InvalidXLogRecPtr);
	if (full)
		put_error(row, psprintf("recsys.max_sources is %d; raise it in postgresql.conf, then restart the server",
								recsys_max_sources), 0);
}

static void
fill_row(StatusRow *row, const RecsysSource *source)
{
	SourceShared *s;
	SourceState state = source->paused ? SOURCE_PAUSED : SOURCE_STOPPED;

	memset(row->nulls, true, sizeof(row->nulls));
	put(row, STATUS_SOURCE, NameGetDatum(&source->name));
	put(row, STATUS_STATE, CStringGetTextDatum(shared_state_name(state)));
	if (RecoveryInProgress())
		return;
	if (shared_control == NULL)
	{
		put_error(row, "recsys is not in shared_preload_libraries", 0);
		return;
	}
	s = shared_find(MyDatabaseId, source->id);
	if (s == NULL)
		put_unknown(row, source);
	else
		put_report(row, s);
}

PG_FUNCTION_INFO_V1(recsys_source_status);

Datum
recsys_source_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, catalog_sources())
	{
		const RecsysSource *source = lfirst(lc);
		StatusRow	row;

		if (!is_member_of_role(GetUserId(), source->owner))
			continue;
		fill_row(&row, source);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row.values, row.nulls);
	}
	return (Datum) 0;
}
