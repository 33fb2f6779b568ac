/*
 * flush.c
 *	  Memory -> tables: flush and publish.
 *
 * A flush writes all dirty state and the position that it belongs to, in one
 * transaction; after that is committed and on disk, the slot is confirmed.
 *
 *		crash before the commit:  nothing of it happened; the slot replays
 *		crash after the commit:   replay skips up to the stored position
 *		crash after confirming:   the same, with less to skip
 *
 * A publish overwrites derived rows (neighbours) in a transaction of its own,
 * at any moment between flushes, so replay makes them right again.  The row
 * that gives an item its number is written by then at the latest: a published
 * row must never point to a number that a crash would give to another item.
 *
 * Everything is written as the owner of the source in a security-restricted
 * context: an expression index that the owner puts on a state table runs with
 * the owner's rights.
 *
 * Our transactions carry the origin DoNotReplicateId, which our own decoding
 * drops before queueing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "recsys.h"
#include "state/table.h"
#include "stream/stream.h"

/* Columns of the state row. */
enum
{
	COL_SINGLETON, COL_APPLIED_LSN, COL_APPLIED_XIDS, COL_SYSTEM, COL_DATABASE,
	COL_SLOT, COL_NEXT_USER, COL_NEXT_ITEM, COL_LANDMARK, COL_EVENTS,
	COL_REJECTED, COL_UNMATCHED, COL_FLUSHED_AT, COL_RESYNCS, COL_ATTACHED,
	COL_ATTACHED_LSNS, NCOLUMNS
};

/* ------------------------------------------------------------- transactions */

/* Readers of state use the active snapshot; it must see what we have written. */
void
stream_renew_snapshot(Stream *s)
{
	users_end(s->users);
	profiles_end(s->profiles);
	CommandCounterIncrement();
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
stream_begin(Stream *s)
{
	StartTransactionCommand();
	decode_check_visible();
	/* decoding leaves historic entries in the caches */
	InvalidateSystemCaches();
	stream_enter(s);
}

/* In a transaction just started: become the owner, ready to read and write. */
void
stream_enter(Stream *s)
{
	replorigin_session_origin = DoNotReplicateId;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!catalog_lock_source(s->source->id, AccessShareLock))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("source \"%s\" has been dropped", NameStr(s->source->name)));
	GetUserIdAndSecContext(&s->save_user, &s->save_context);
	SetUserIdAndSecContext(s->source->owner,
						   s->save_context | SECURITY_RESTRICTED_OPERATION |
						   SECURITY_LOCAL_USERID_CHANGE);
	users_begin(s->users);
	profiles_begin(s->profiles);
	s->writing = false;
}

void
stream_commit(Stream *s)
{
	bool		wrote = TransactionIdIsValid(GetTopTransactionIdIfAny());

	users_end(s->users);
	profiles_end(s->profiles);
	SetUserIdAndSecContext(s->save_user, s->save_context);
	PopActiveSnapshot();
	CommitTransactionCommand();
	replorigin_session_origin = InvalidRepOriginId;
	s->writing = false;
	if (wrote)
		InvalidateSystemCaches();
}

/* ---------------------------------------------------------------- state row */

static Datum
int8_array(List *partitions)
{
	Datum	   *datums = palloc(sizeof(Datum) * Max(list_length(partitions), 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, partitions)
		datums[n++] = Int64GetDatum((int64) ((AttachedPartition *) lfirst(lc))->from);
	return PointerGetDatum(construct_array(datums, n, INT8OID, 8, FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}

static Datum
oid_array(List *partitions)
{
	Datum	   *datums = palloc(sizeof(Datum) * Max(list_length(partitions), 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, partitions)
		datums[n++] = ObjectIdGetDatum(((AttachedPartition *) lfirst(lc))->relid);
	return PointerGetDatum(construct_array(datums, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

/* A partition's own start matters only until the stream has passed it. */
static void
forget_passed_partitions(Stream *s)
{
	ListCell   *lc;

	foreach(lc, s->attached)
		if (((AttachedPartition *) lfirst(lc))->from <= s->applied_lsn)
			s->attached = foreach_delete_current(s->attached, lc);
}

void
state_write(Stream *s)
{
	StateTable *t;
	Datum		values[NCOLUMNS];

	forget_passed_partitions(s);
	values[COL_SINGLETON] = BoolGetDatum(true);
	values[COL_APPLIED_LSN] = LSNGetDatum(s->applied_lsn);
	values[COL_APPLIED_XIDS] = xidset_to_array(s->applied);
	values[COL_SYSTEM] = Int64GetDatum((int64) GetSystemIdentifier());
	values[COL_DATABASE] = ObjectIdGetDatum(MyDatabaseId);
	values[COL_SLOT] = NameGetDatum(&s->slot);
	values[COL_NEXT_USER] = Int32GetDatum(s->users->next);
	values[COL_NEXT_ITEM] = Int32GetDatum(s->items->next);
	values[COL_LANDMARK] = Int32GetDatum(s->landmark);
	values[COL_EVENTS] = Int64GetDatum(s->events);
	values[COL_REJECTED] = Int64GetDatum(s->rejected);
	values[COL_UNMATCHED] = Int64GetDatum(s->unmatched);
	values[COL_FLUSHED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[COL_RESYNCS] = Int32GetDatum(s->resyncs_seen);
	values[COL_ATTACHED] = oid_array(s->attached);
	values[COL_ATTACHED_LSNS] = int8_array(s->attached);
	s->stored_lsn = s->host.stored_lsn = s->applied_lsn;
	t = table_open_state(s->source->nspid, "state", "state_pkey", RowExclusiveLock);
	table_put(t, 1, values, NULL);
	table_close_state(t, RowExclusiveLock);
}

static void
read_attached(Stream *s, Datum relids, Datum lsns)
{
	ArrayType  *a = DatumGetArrayTypeP(relids);
	ArrayType  *b = DatumGetArrayTypeP(lsns);
	int			n = ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
	MemoryContext old = MemoryContextSwitchTo(s->context);

	list_free_deep(s->attached);
	s->attached = NIL;
	for (int i = 0; i < n; i++)
	{
		AttachedPartition *partition = palloc(sizeof(AttachedPartition));

		partition->relid = ((Oid *) ARR_DATA_PTR(a))[i];
		partition->from = ((uint64 *) ARR_DATA_PTR(b))[i];
		s->attached = lappend(s->attached, partition);
	}
	MemoryContextSwitchTo(old);
}

/* The position and the totals.  False without a row, or with one that is not
 * this server's: a restored dump, a copied database. */
bool
state_read(Stream *s)
{
	StateTable *t = table_open_state(s->source->nspid, "state", "state_pkey", AccessShareLock);
	Datum		key = BoolGetDatum(true);
	TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 1, &key);
	bool		ours = false;

	if (slot)
	{
		Datum	   *values;
		MemoryContext old;

		slot_getallattrs(slot);
		values = slot->tts_values;
		ours = DatumGetInt64(values[COL_SYSTEM]) == (int64) GetSystemIdentifier() &&
			DatumGetObjectId(values[COL_DATABASE]) == MyDatabaseId &&
			strcmp(NameStr(*DatumGetName(values[COL_SLOT])), NameStr(s->slot)) == 0;
		s->users->next = s->users->first_new = DatumGetInt32(values[COL_NEXT_USER]);
		s->items->next = DatumGetInt32(values[COL_NEXT_ITEM]);
		s->landmark = DatumGetInt32(values[COL_LANDMARK]);
		s->profiles->landmark = s->items->landmark = s->landmark;
		s->events = DatumGetInt64(values[COL_EVENTS]);
		s->rejected = DatumGetInt64(values[COL_REJECTED]);
		s->unmatched = DatumGetInt64(values[COL_UNMATCHED]);
		if (ours)
		{
			s->flushed_lsn = s->stored_lsn = DatumGetLSN(values[COL_APPLIED_LSN]);
			s->host.stored_lsn = s->stored_lsn;
			s->resyncs_seen = DatumGetInt32(values[COL_RESYNCS]);
			read_attached(s, values[COL_ATTACHED], values[COL_ATTACHED_LSNS]);
			old = MemoryContextSwitchTo(s->context);
			s->applied = xidset_from_array(values[COL_APPLIED_XIDS]);
			MemoryContextSwitchTo(old);
		}
	}
	table_close_state(t, AccessShareLock);
	return ours;
}

/* -------------------------------------------------------------------- flush */

Size
stream_memory(Stream *s)
{
	Size		total = s->users->keys->bytes + items_bytes(s->items) +
		s->profiles->bytes + spool_memory(s->queue);
	ListCell   *lc;

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && !running->feed && running->algorithm->memory)
			total += running->algorithm->memory(running->state);
	}
	return total + feeds_memory(s);
}

/* Memory of models and other consumers that can do with less. */
Size
stream_models_cached(Stream *s)
{
	Size		total = 0;
	ListCell   *lc;

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && !running->feed && running->algorithm->evict)
			total += running->algorithm->memory(running->state);
	}
	return total + feeds_cached(s);
}

/* All of them together are to have so many bytes. */
static void
evict_models(Stream *s, Size target)
{
	Size		total = stream_models_cached(s);
	ListCell   *lc;

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);
		Size		bytes;

		if (!running->built || running->feed || running->algorithm->evict == NULL)
			continue;
		bytes = running->algorithm->memory(running->state);
		running->algorithm->evict(running->state,
								  (Size) ((double) target * bytes / Max(total, 1)));
	}
	feeds_evict(s, (Size) ((double) target * feeds_cached(s) / Max(total, 1)));
}

/* Bring clean state down so that the whole is below the limit with room. */
void
stream_evict(Stream *s, Size limit)
{
	Size		models = stream_models_cached(s);
	Size		caches = s->profiles->bytes + s->users->keys->bytes + models;
	Size		rest = stream_memory(s) - caches;
	Size		target = limit / 5 * 4;

	target = target > rest ? target - rest : 0;
	/* never so small that every event is a miss */
	target = Max(target, limit / 8);
	if (models > 0)
	{
		/* an event touches one history and one row of such a model */
		models = Min(models, target / 2);
		evict_models(s, models);
		target -= models;
	}
	profiles_evict(s->profiles, target / 4 * 3);
	users_evict(s->users, target / 4);
}

/* Rows of the tables that TRUNCATE or a resync have made obsolete. */
static void
delete_obsolete(Stream *s)
{
	char	   *sql;

	if (!s->profiles->table_void)
		return;
	sql = psprintf("DELETE FROM %s.profiles",
				   quote_identifier(NameStr(s->source->name)));
	SPI_connect();
	if (SPI_execute(sql, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not execute: %s", sql);
	SPI_finish();
	s->profiles->table_void = false;
	stream_renew_snapshot(s);
}

void
flush_dirty(Stream *s)
{
	ListCell   *lc;

	s->writing = true;
	delete_obsolete(s);
	users_write(s->users);
	items_write(s->items);
	profiles_write(s->profiles);
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && !running->feed && running->algorithm->write)
			running->algorithm->write(running->state);
	}
	feeds_write(s);
	stream_renew_snapshot(s);
}

/* All dirty state, the position and what goes with it. */
void
flush_write(Stream *s)
{
	ListCell   *lc;

	reread_all(s);
	flush_dirty(s);
	rejects_write(s);
	state_write(s);
	feeds_write_rows(s);
	quality_write(s);
	popular_items_write(s);
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && running->algorithm->flush)
			running->algorithm->flush(running->state);
	}
}

/* Complete the open transaction: everything is in memory up to applied_lsn. */
void
flush_finish(Stream *s)
{
	XLogRecPtr	lsn = s->applied_lsn;
	TimestampTz start = GetCurrentTimestamp();

	s->host.write_again = false;
	flush_write(s);
	shared_inject(s->shared, INJECT_FLUSH);
	stream_commit(s);
	/* with synchronous_commit = off the commit may not be on disk yet */
	XLogFlush(XactLastCommitEnd);
	shared_inject(s->shared, INJECT_CONFIRM);
	s->flushed_lsn = lsn;
	s->dirty = s->host.write_again;
	decode_confirm(s, lsn);
	s->last_flush = GetCurrentTimestamp();
	s->flush_cost = s->last_flush - start;
}

void
flush(Stream *s)
{
	Size		limit = (Size) recsys_memory_kb * 1024;
	MemoryContext old = MemoryContextSwitchTo(s->scratch);

	stream_begin(s);
	flush_finish(s);
	models_published(s);
	if (stream_memory(s) > limit)
		stream_evict(s, limit);
	MemoryContextSwitchTo(old);
	MemoryContextReset(s->scratch);
}

/* ------------------------------------------------------------------ publish */

/*
 * Overwrite the published rows that have moved.  A model that has more to do
 * says so and comes again after the stream has had its turn, unless "all".
 */
bool
publish_write(Stream *s, bool all)
{
	bool		done = true;
	ListCell   *lc;

	items_write_new(s->items);
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && running->algorithm->publish)
			done &= running->algorithm->publish(running->state, all);
	}
	return done && models_ready(s);
}

void
publish(Stream *s, bool all)
{
	MemoryContext old = MemoryContextSwitchTo(s->scratch);
	XLogRecPtr	lsn = s->applied_lsn;
	TimestampTz start = GetCurrentTimestamp();
	bool		done;

	stream_begin(s);
	s->host.put_off = false;
	done = publish_write(s, all);
	shared_inject(s->shared, INJECT_PUBLISH);
	stream_commit(s);
	models_published(s);
	s->publish_due = !done || s->host.put_off;
	s->last_publish = GetCurrentTimestamp();
	/* what was asked for may have been everything: the next is no such thing */
	if (!all)
		s->publish_cost = s->last_publish - start;
	if (done)
		s->published_since_build = true;
	if (done && !models_await_training(s))
	{
		SpinLockAcquire(&s->shared->mutex);
		s->shared->shown_lsn = lsn;
		if (!s->host.put_off)
			s->shared->published_lsn = lsn;
		SpinLockRelease(&s->shared->mutex);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(s->scratch);
}
