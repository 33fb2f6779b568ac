/*
 * worker.c
 *	  The stream worker of one source: the loop that everything hangs on.
 *
 * Start:	no slot, no state row	-> slot, snapshot, backfill (backfill.c)
 *			slot, no state row		-> a crash in the middle of that: drop, again
 *			state row, no slot		-> restored or promoted: rebuild from the table
 *			both					-> load, build the models, go on reading
 *
 * Loop:	decode a batch -> apply it -> publish if due -> flush if due ->
 *			start trainings that are due -> wait
 *
 * Any error ends the process; the launcher starts it again after a pause, and
 * it goes on from the last flush.  The error stands in recsys.status.
 *
 * The worker sleeps on its latch, which committing backends set if they have
 * touched the events.  WAL of commits with synchronous_commit = off is flushed
 * a moment later, so after such a wake-up it looks again soon.  Otherwise it
 * wakes every IDLE_TIMEOUT to let go of WAL that others have written.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "recsys.h"
#include "state/table.h"
#include "stream/stream.h"

#define IDLE_TIMEOUT 10000		/* ms */
#define STATISTICS_INTERVAL 1000	/* ms */
#define ASYNC_TIMEOUT 50		/* ms, until a commit's WAL is flushed */

/*
 * Commits in quick succession are taken together: a pause after each batch
 * costs less latency than a publish interval and saves a wake-up per commit.
 */
#define BATCH_PAUSE 20			/* ms */

/*
 * This far behind, and with this share of all events to come (by an estimate
 * of WAL per event), the stream is caught up first and the models are built
 * afterwards.  Between two such times everything is published once.
 */
#define BATCH_LAG ((uint64) 128 * 1024 * 1024)
#define WAL_PER_EVENT 400
#define BATCH_SHARE 8

/*
 * Publishing and flushing get at most this share of the time each: 1/4 when
 * the stream is up to date, 1/10 while it is catching up and results are old
 * anyway.
 */
#define PAUSE_FACTOR 3
#define LAGGING_PAUSE_FACTOR 9

/* ------------------------------------------------------------------- start */

static Stream *
stream_create(SourceShared *shared)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "recsys stream",
												  ALLOCSET_DEFAULT_SIZES);
	Stream	   *s = MemoryContextAllocZero(context, sizeof(Stream));

	s->shared = shared;
	s->context = context;
	s->source_context = AllocSetContextCreate(context, "recsys source", ALLOCSET_SMALL_SIZES);
	s->scratch = AllocSetContextCreate(context, "recsys batch", ALLOCSET_DEFAULT_SIZES);
	s->change = AllocSetContextCreate(context, "recsys change", ALLOCSET_DEFAULT_SIZES);
	s->extras_context = AllocSetContextCreate(context, "recsys extras", ALLOCSET_SMALL_SIZES);
	s->rejects_context = AllocSetContextCreate(context, "recsys rejects", ALLOCSET_SMALL_SIZES);
	s->rereads_context = AllocSetContextCreate(context, "recsys rereads", ALLOCSET_SMALL_SIZES);
	s->owner = ResourceOwnerCreate(NULL, "recsys stream");
	MemoryContextSwitchTo(context);
	s->applied = xidset_create();
	s->queue = spool_create(context, s->owner);
	relations_reset(s);
	return s;
}

/* Empty caches: at the start, and before the state is built anew. */
void
stream_create_state(Stream *s)
{
	s->users = users_create(s->context, s->source->nspid, &s->source->user);
	s->items = items_create(s->context, s->source->nspid, &s->source->item);
	s->profiles = profiles_create(s->context, s->source->nspid);
	s->landmark = 0;
}

void
stream_drop_state(Stream *s)
{
	MemoryContextDelete(s->users->context);
	MemoryContextDelete(s->items->context);
	MemoryContextDelete(s->profiles->context);
	pfree(s->users);
	pfree(s->items);
	pfree(s->profiles);
	if (s->popular)
		pfree(s->popular);
	s->popular = NULL;
}

/* The source as it is declared now.  False: dropped or paused. */
static bool
reload_source(Stream *s)
{
	RecsysSource *source;
	MemoryContext old;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextReset(s->source_context);
	s->source = NULL;
	old = MemoryContextSwitchTo(s->source_context);
	source = catalog_extension_exists() ?
		catalog_source_by_id(s->shared->source_id, true) : NULL;
	if (source && !source->paused)
	{
		catalog_check_events(source);
		s->source = source;
		catalog_slot_name(source->id, NameStr(s->slot));
	}
	MemoryContextSwitchTo(old);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return s->source != NULL;
}

static bool
slot_exists(Stream *s)
{
	return SearchNamedReplicationSlot(NameStr(s->slot), true) != NULL;
}

static void
load_state(Stream *s)
{
	Size		limit = (Size) recsys_memory_kb * 1024;
	MemoryContext old = MemoryContextSwitchTo(s->scratch);

	shared_progress(s->shared, "loading", 0, 0);
	times_enter(&s->shared->times, PHASE_LOAD);
	stream_begin(s);
	users_load_all(s->users, limit / 4);
	items_load(s->items);
	profiles_load_all(s->profiles, limit / 2);
	stream_commit(s);
	MemoryContextSwitchTo(old);
	MemoryContextReset(s->scratch);
}

/* Make slot and state fit together, whatever a crash or a restore has left. */
static void
start_state(Stream *s)
{
	bool		have_state;

	stream_create_state(s);
	stream_begin(s);
	have_state = state_read(s);
	s->dirty = false;
	stream_commit(s);

	if (have_state && slot_exists(s) && s->resyncs_seen == s->source->resyncs)
		load_state(s);
	else
	{
		times_enter(&s->shared->times, PHASE_BACKFILL);
		backfill_source(s);
	}
}

/*
 * Consumers that came later, or changed, are filled, and decoding brings the
 * columns that they want.  It begins again where the state stands: what it has
 * collected of transactions in progress lacks them.
 */
static void
follow_consumers(Stream *s)
{
	bool		running = s->decoder != NULL;

	stream_begin(s);
	models_reload(s);
	stream_commit(s);
	if (!s->feeds_due)
		return;
	if (running)
	{
		if (s->dirty)
			flush(s);
		decode_confirm(s, s->applied_lsn);
		s->flushed_lsn = s->applied_lsn;
		decode_stop(s);
	}
	else
		s->applied_lsn = s->flushed_lsn;
	backfill_feeds(s);
	if (running)
		decode_start(s);
}

static void
build_models(Stream *s)
{
	MemoryContext old = MemoryContextSwitchTo(s->scratch);

	s->published_since_build = false;
	shared_set_state(s->shared, SOURCE_BUILDING);
	times_enter(&s->shared->times, PHASE_BUILD);
	stream_begin(s);
	models_reload(s);
	models_build(s);
	stream_commit(s);
	MemoryContextSwitchTo(old);
	MemoryContextReset(s->scratch);
	shared_progress(s->shared, "", 0, 0);
}

/* -------------------------------------------------------------------- loop */

static void
report(Stream *s)
{
	SourceShared *shared = s->shared;
	TimestampTz now = GetCurrentTimestamp();
	XLogRecPtr	before;
	bool		moved;

	SpinLockAcquire(&shared->mutex);
	before = shared->flushed_lsn;
	shared->read_lsn = s->decoder->reader->EndRecPtr;
	shared->applied_lsn = s->applied_lsn;
	shared->flushed_lsn = s->flushed_lsn;
	if (now - shared->rate_at > 1000000)
	{
		double		seconds = (now - shared->rate_at) / 1e6;
		double		rate = (s->events - s->events_at_rate) / seconds;
		/* forget half of the past in five seconds */
		double		keep = shared->rate_at == 0 ? 0 : 1 / (1 + seconds / 5);

		shared->events_rate = shared->events_rate * keep + rate * (1 - keep);
		s->events_at_rate = s->events;
		shared->rate_at = now;
	}
	shared->events_applied = s->events;
	shared->commit_time = s->commit_time;
	shared->rejected = s->rejected;
	shared->unmatched = s->unmatched;
	shared->memory = stream_memory(s);
	moved = before != shared->flushed_lsn ||
		shared->published_lsn >= shared->request_lsn;
	SpinLockRelease(&shared->mutex);
	if (moved)
		ConditionVariableBroadcast(&shared->changed);
}

/* Has somebody asked that everything up to a position is stored and shown? */
static bool
is_requested(Stream *s)
{
	SourceShared *shared = s->shared;
	bool		requested;

	SpinLockAcquire(&shared->mutex);
	requested = shared->request_lsn > Min(shared->published_lsn, shared->flushed_lsn) &&
		s->applied_lsn >= shared->request_lsn;
	SpinLockRelease(&shared->mutex);
	return requested;
}

static void
apply_batch(Stream *s)
{
	if (s->queue->nrecords > 0)
	{
		stream_begin(s);
		apply_queue(s);
		stream_commit(s);
	}
	s->applied_lsn = decode_position(s);
	horizon_advance(s);
	MemoryContextReset(s->scratch);
}

/* The interval that was set, or longer if the work itself takes long. */
static int
pause_after(int interval, TimestampTz cost, bool lagging)
{
	int64		pause = cost / 1000 * (lagging ? LAGGING_PAUSE_FACTOR : PAUSE_FACTOR);

	return (int) Min(Max(interval, pause), INT_MAX);
}

static bool
is_due(TimestampTz last, int interval, TimestampTz now)
{
	return now >= TimestampTzPlusMilliseconds(last, interval);
}

/* True if it has written something, which is WAL to be passed. */
static bool
write_what_is_due(Stream *s, bool lagging)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		wrote = false;
	bool		requested = is_requested(s);
	int			flush_pause = pause_after(recsys_flush_interval, s->flush_cost, lagging);
	int			publish_pause = pause_after(recsys_publish_interval, s->publish_cost, lagging);

	if (requested || (s->dirty && is_due(s->last_flush, flush_pause, now)))
	{
		times_enter(&s->shared->times, PHASE_FLUSH);
		if (s->dirty)
		{
			flush(s);
			wrote = true;
		}
		else if (s->flushed_lsn < s->applied_lsn)
		{
			/* nothing of ours lies in between */
			decode_confirm(s, s->applied_lsn);
			s->flushed_lsn = s->applied_lsn;
		}
		horizon_look(s);
	}
	if (requested && s->suspended)
	{
		build_models(s);
		shared_set_state(s->shared, SOURCE_STREAMING);
	}
	/* whoever waits for a training does not hurry it by having us publish */
	if (!s->suspended &&
		((requested && (s->publish_due || !models_await_training(s))) ||
		 (s->publish_due && is_due(s->last_publish, publish_pause, now))))
	{
		times_enter(&s->shared->times, PHASE_PUBLISH);
		publish(s, requested);
		/* what could not be completed now is not tried again at once */
		wrote |= !s->publish_due;
	}
	if (!s->dirty && !s->publish_due && !s->suspended)
	{
		/* an idle source retains no WAL, and is up to date with all of it */
		if (s->applied_lsn > s->flushed_lsn && is_due(s->last_flush, 1000, now))
		{
			decode_confirm(s, s->applied_lsn);
			s->flushed_lsn = s->applied_lsn;
			s->last_flush = now;
		}
		if (!models_await_training(s))
		{
			SpinLockAcquire(&s->shared->mutex);
			s->shared->published_lsn = s->applied_lsn;
			SpinLockRelease(&s->shared->mutex);
		}
	}
	return wrote;
}

static long
until(TimestampTz last, int interval)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   TimestampTzPlusMilliseconds(last, interval));
}

static void
wait_for_work(Stream *s)
{
	long		timeout = IDLE_TIMEOUT;
	XLogRecPtr	target = pg_atomic_read_u64(&s->shared->commit_lsn);

	if (s->dirty)
		timeout = Min(timeout, until(s->last_flush, pause_after(recsys_flush_interval,
																	   s->flush_cost, false)));
	if (s->publish_due && !s->suspended)
		timeout = Min(timeout, until(s->last_publish, pause_after(recsys_publish_interval,
																		 s->publish_cost, false)));
	if (target > s->decoder->reader->EndRecPtr)
		timeout = Min(timeout, ASYNC_TIMEOUT);
	if (s->flushed_lsn < s->applied_lsn)
		timeout = Min(timeout, 1000);
	if (s->train_at != DT_NOEND)
		timeout = Min(timeout, until(s->train_at, 0));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max(timeout, 1), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (s->publish_due && !is_requested(s))
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, BATCH_PAUSE, PG_WAIT_EXTENSION);
}

/* The catalogue changed: follow it.  False: the source is not ours to run. */
static bool
follow_catalogue(Stream *s)
{
	/* nobody takes for published what a model yet to be built will publish */
	SpinLockAcquire(&s->shared->mutex);
	s->shared->models_dirty = false;
	s->shared->published_lsn = InvalidXLogRecPtr;
	SpinLockRelease(&s->shared->mutex);

	times_enter(&s->shared->times, PHASE_FLUSH);
	if (s->dirty)
		flush(s);
	if (!reload_source(s))
		return false;
	relations_reset(s);
	if (s->source->resyncs != s->resyncs_seen)
	{
		times_enter(&s->shared->times, PHASE_BACKFILL);
		backfill_resync(s);
	}
	follow_consumers(s);
	build_models(s);
	shared_set_state(s->shared, SOURCE_STREAMING);
	return true;
}

/* Follow every event, or catch up first? */
static void
choose_pace(Stream *s)
{
	uint64		lag = GetFlushRecPtr(NULL) - s->decoder->reader->EndRecPtr;

	if (!s->suspended && s->published_since_build && lag > BATCH_LAG &&
		(int64) (lag / WAL_PER_EVENT) > s->events / BATCH_SHARE)
		models_suspend(s);
	else if (s->suspended && lag < BATCH_LAG / 8)
	{
		/* a model may keep what it finds to be as old as the tables */
		if (s->dirty)
			flush(s);
		build_models(s);
		publish(s, true);
		shared_set_state(s->shared, SOURCE_STREAMING);
	}
}

/*
 * Backends do this when they wait for a command.  Without it autovacuum would
 * never hear of the rows that we replace, and the state tables would grow.
 */
static void
report_statistics(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (!is_due(last, STATISTICS_INTERVAL, now))
		return;
	pgstat_report_stat(true);
	last = now;
}

static void
run(Stream *s)
{
	for (;;)
	{
		bool		more;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if ((s->shared->models_dirty || s->feeds_due) && !follow_catalogue(s))
			return;
		times_enter(&s->shared->times, PHASE_DECODE);
		choose_pace(s);
		more = decode_batch(s);
		times_enter(&s->shared->times, PHASE_APPLY);
		apply_batch(s);
		more |= write_what_is_due(s, more);
		models_train(s);
		report(s);
		report_statistics();
		if (!more)
		{
			times_enter(&s->shared->times, PHASE_WAIT);
			wait_for_work(s);
		}
	}
}

static void
stream_source(SourceShared *shared)
{
	Stream	   *s = stream_create(shared);

	shared_set_state(shared, SOURCE_CREATING);
	if (!reload_source(s))
		return;
	SpinLockAcquire(&shared->mutex);
	shared->models_dirty = false;
	SpinLockRelease(&shared->mutex);
	start_state(s);
	follow_consumers(s);
	decode_start(s);
	build_models(s);
	s->last_flush = s->last_publish = GetCurrentTimestamp();
	s->events_at_rate = s->events;
	shared->rate_at = s->last_flush;
	shared_set_state(shared, SOURCE_STREAMING);
	run(s);
	decode_stop(s);
}

/*
 * Values of columns become text here, and are found again by it.  So their text
 * must not depend on what the server is set to: the settings of pg_dump and of
 * logical replication, whatever a database or a file says now or later.
 */
static void
fix_text_of_values(void)
{
	static const char *const settings[][2] = {
		{"TimeZone", "UTC"}, {"DateStyle", "ISO"}, {"IntervalStyle", "postgres"},
		{"extra_float_digits", "3"}, {"bytea_output", "hex"}
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

void
recsys_stream_main(Datum arg)
{
	SourceShared *shared = shared_entry(DatumGetInt32(arg));

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	shared_attach(shared);
	BackgroundWorkerInitializeConnectionByOid(shared->dboid, InvalidOid, 0);
	fix_text_of_values();
	stream_source(shared);
	proc_exit(0);
}
