/*
 * backfill.c
 *	  State from the table: at the start of a source, for a resync, and for an
 *	  attached partition.
 *
 * A new replication slot gives a snapshot and the position that it belongs to:
 * everything committed before the position is visible in the snapshot, and
 * everything after it comes by the stream.  So there is no gap and nothing
 * counts twice, while writers go on.
 *
 * Sequence, in ONE transaction (after CreateReplicationSlot with USE_SNAPSHOT):
 *
 *	1. create an ephemeral slot and find its start point; this waits for
 *	   transactions that are running, so we hold no xid and no lock
 *	2. take its snapshot
 *	3. read the table under it, aggregate, write the state and the position
 *	4. make the slot persistent, release it, commit
 *
 * An error or crash before 4 leaves neither slot nor state.  A crash between
 * making the slot persistent and the commit leaves a slot without a state row,
 * which the next start drops.  For a resync the source's own slot stays, and
 * an ephemeral second one only gives snapshot and position: the old state
 * serves until the commit, then the stream goes on at the new position.
 *
 * How the rows become histories stands in backfill_read.c.
 */
#include "postgres.h"

#include <math.h>

#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlogutils.h"
#include "catalog/partition.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "replication/snapbuild.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "recsys.h"
#include "stream/stream.h"

#define CHECK_EVERY 1000		/* rows */

/* ------------------------------------------------------------ slot, snapshot */

static void
drop_own_slot(Stream *s)
{
	if (SearchNamedReplicationSlot(NameStr(s->slot), true))
		ReplicationSlotDrop(NameStr(s->slot), true);
}

/*
 * Starts a transaction under the snapshot of a new slot; the slot is ours and
 * ephemeral.  Returns the position that the snapshot belongs to.
 */
static XLogRecPtr
begin_at_new_slot(Stream *s, const char *name)
{
	LogicalDecodingContext *ctx;
	Snapshot	snapshot;
	XLogRecPtr	lsn;

	if (GetConfigOption("output_plugin_libraries", true, false) != NULL)
		SetConfigOption("output_plugin_libraries", "recsys", PGC_SUSET, PGC_S_OVERRIDE);
	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	XactReadOnly = false;
	CheckSlotPermissions();
	CheckLogicalDecodingRequirements();
	compat_slot_create(name, RS_EPHEMERAL);
	plugin_current_stream(s);
	ctx = CreateInitDecodingContext("recsys", NIL, true, InvalidXLogRecPtr,
									XL_ROUTINE(.page_read = read_local_xlog_page,
											   .segment_open = wal_segment_open,
											   .segment_close = wal_segment_close),
									NULL, NULL, NULL);
	DecodingContextFindStartpoint(ctx);
	shared_inject(s->shared, INJECT_SLOT_CREATE);
	shared_inject_wait(s->shared, INJECT_SLOT_CREATE);
	InvalidateCatalogSnapshot();
	snapshot = SnapBuildInitialSnapshot(ctx->snapshot_builder);
	RestoreTransactionSnapshot(snapshot, MyProc);
	lsn = MyReplicationSlot->data.confirmed_flush;
	FreeDecodingContext(ctx);
	decode_check_visible();
	stream_enter(s);
	return lsn;
}

/* What a snapshot sees, as a set of transactions. */
static void
applied_from_snapshot(Stream *s, Snapshot snapshot)
{
	s->applied->n = 0;
	xidset_add(s->applied, 0, xidset_full_xid(snapshot->xmin));
	for (TransactionId xid = snapshot->xmin; TransactionIdPrecedes(xid, snapshot->xmax);)
	{
		if (!XidInMVCCSnapshot(xid, snapshot))
			xidset_add(s->applied, xidset_full_xid(xid), xidset_full_xid(xid) + 1);
		TransactionIdAdvance(xid);
	}
}

/* ------------------------------------------------------------- whole sources */

/* Reads and writes everything at the position of the snapshot just taken. */
static void
build_state(Stream *s, XLogRecPtr lsn)
{
	MemoryContext old = MemoryContextSwitchTo(s->scratch);

	applied_from_snapshot(s, GetActiveSnapshot());
	s->attached = NIL;
	s->resyncs_seen = s->source->resyncs;
	s->applied_lsn = lsn;
	if (s->source->half_life > 0)
	{
		s->landmark = (int32) floor((double) GetCurrentTimestamp() / USECS_PER_SEC /
									s->source->half_life);
		s->profiles->landmark = s->items->landmark = s->landmark;
	}
	models_reload(s);
	feeds_begin_filling(s, lsn, true);
	backfill_read(s);
	feeds_end_filling(s);
	MemoryContextSwitchTo(old);
	shared_progress(s->shared, "writing", 0, 0);
}

/* Numbers of keys outlive the state that is rebuilt: they are never reused. */
static void
load_keys(Stream *s)
{
	stream_begin(s);
	/* a restored dump has lost that */
	catalog_bind_schema(s->source->nspid);
	(void) state_read(s);
	users_load_all(s->users, (Size) recsys_memory_kb * 1024 / 4);
	items_load(s->items);
	stream_commit(s);
	profiles_void(s->profiles);
	items_void(s->items);
	/* the rows are counted again, too */
	s->events = s->rejected = s->unmatched = 0;
	s->rejects_void = true;
}

/*
 * From here on the state row fits no slot, least of all the new one: after a
 * crash between making that persistent and the commit, the next start would
 * take the two for a pair and skip all that lies between them.
 */
static void
disown_state(Stream *s)
{
	char	   *sql;

	stream_begin(s);
	sql = psprintf("UPDATE %s.state SET resyncs = -1",
				   quote_identifier(NameStr(s->source->name)));
	SPI_connect();
	if (SPI_execute(sql, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not execute: %s", sql);
	SPI_finish();
	stream_commit(s);
	XLogFlush(XactLastCommitEnd);
}

/* A source that has no slot, or whose state does not belong to its slot. */
void
backfill_source(Stream *s)
{
	XLogRecPtr	lsn;

	shared_set_state(s->shared, SOURCE_BACKFILLING);
	disown_state(s);
	drop_own_slot(s);
	load_keys(s);
	lsn = begin_at_new_slot(s, NameStr(s->slot));
	build_state(s, lsn);
	flush_write(s);
	ReplicationSlotPersist();
	shared_inject(s->shared, INJECT_SLOT_PERSIST);
	ReplicationSlotRelease();
	stream_commit(s);
	XLogFlush(XactLastCommitEnd);
	s->flushed_lsn = lsn;
	s->dirty = false;
	MemoryContextReset(s->scratch);
}

/*
 * Rebuild a running source.  The models are built and published in the same
 * transaction, so readers go from the old results to the new ones at once.
 */
void
backfill_resync(Stream *s)
{
	XLogRecPtr	lsn;
	char		name[NAMEDATALEN];

	shared_set_state(s->shared, SOURCE_RESYNCING);
	snprintf(name, sizeof(name), "%s" RECSYS_RESYNC_SLOT, NameStr(s->slot));
	decode_stop(s);
	models_close(s);
	feeds_close_all(s);
	stream_drop_state(s);
	stream_create_state(s);
	load_keys(s);
	lsn = begin_at_new_slot(s, name);
	build_state(s, lsn);
	flush_write(s);
	/* ephemeral: gone with its release */
	ReplicationSlotRelease();
	models_build(s);
	(void) publish_write(s, true);
	shared_inject(s->shared, INJECT_RESYNC);
	stream_commit(s);
	XLogFlush(XactLastCommitEnd);
	s->flushed_lsn = lsn;
	s->dirty = false;
	MemoryContextReset(s->scratch);
	decode_start(s);
}

/* ------------------------------------------------------------ consumers alone */

static bool
any_to_fill(Stream *s)
{
	return s->nlive < list_length(s->feeds);
}

/*
 * Consumers that came after the state, or that changed: filled from the table
 * as of a position of their own, which lies ahead of the state's.  Called with
 * nothing being decoded and everything flushed; applied_lsn is where decoding
 * will begin again.
 */
void
backfill_feeds(Stream *s)
{
	MemoryContext old;
	char		name[NAMEDATALEN];
	XLogRecPtr	lsn;

	if (!any_to_fill(s))
	{
		feeds_install_columns(s);
		s->feeds_due = false;
		return;
	}
	shared_set_state(s->shared, SOURCE_BUILDING);
	shared_progress(s->shared, "consumers", 0, 0);
	snprintf(name, sizeof(name), "%s" RECSYS_FILLING_SLOT, NameStr(s->slot));
	lsn = begin_at_new_slot(s, name);
	old = MemoryContextSwitchTo(s->scratch);
	feeds_begin_filling(s, lsn, false);
	backfill_read_feeds(s);
	feeds_end_filling(s);
	/* keys that got a number here, and the state's position as it was */
	flush_write(s);
	MemoryContextSwitchTo(old);
	ReplicationSlotRelease();
	shared_inject(s->shared, INJECT_CONSUMER);
	stream_commit(s);
	XLogFlush(XactLastCommitEnd);
	s->dirty = false;
	MemoryContextReset(s->scratch);
	shared_progress(s->shared, "", 0, 0);
}

/* ---------------------------------------------------------------- partitions */

/* The row counts from now on, so its transaction is one that is applied. */
static void
add_applied(Stream *s, TupleTableSlot *slot)
{
	bool		isnull;
	TransactionId xmin = DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber,
															   &isnull));
	uint64		fxid = xidset_full_xid(xmin);

	if (TransactionIdIsNormal(xmin) && !xidset_contains(s->applied, fxid))
		xidset_add(s->applied, fxid, fxid + 1);
}

static void
apply_partition_row(Stream *s, EventMap *map, ExtraColumns *extras, TupleTableSlot *slot,
					TimestampTz now)
{
	Event		event;
	RejectReason reason;

	add_applied(s, slot);
	slot_getsomeattrs(slot, Max(event_map_natts(map), extras ? extra_columns_natts(extras) : 0));
	reason = event_clean(map, slot->tts_values, slot->tts_isnull, false, now, &event);
	s->events++;
	if (reason != REJECT_NONE)
	{
		backfill_reject(s, map, slot, reason);
		return;
	}
	if (s->source->time_column == NULL)
		event.time = now;
	apply_event(s, &event, RECORD_INSERT);
	if (s->nlive > 0)
		feeds_row(s, extras, &event, slot->tts_values, slot->tts_isnull, false,
				  s->host.change_lsn);
}

/*
 * A partition that was attached with rows in it.  They count as events of the
 * ATTACH, in the order of the table.  The rows are read as they are now, which
 * is later than the stream: changes of the partition that the stream still
 * brings and that are in what was read are skipped up to that position.
 *
 * Called while a transaction of ours is open; the position is the one that a
 * snapshot taken now is sure to include.
 */
void
backfill_partition(Stream *s, Oid relid)
{
	ListCell   *lc;
	TimestampTz now = GetCurrentTimestamp();
	bool		detached;

	LockRelationOid(relid, AccessShareLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return;					/* dropped since */
	/* what was detached since counts as long as it can be read */
	detached = !get_rel_relispartition(relid) ||
		!list_member_oid(get_partition_ancestors(relid), s->source->events);
	if (detached && get_rel_relkind(relid) != RELKIND_RELATION &&
		get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return;
	foreach(lc, backfill_leaves(relid))
	{
		Oid			leaf = lfirst_oid(lc);
		Relation	rel;
		EventMap   *map;
		ExtraColumns *extras = NULL;
		TupleTableSlot *slot;
		TableScanDesc scan;
		AttachedPartition *partition;
		MemoryContext old,
					rows;
		int64		counter = 0;

		/* no writer is at work in it while we hold this lock */
		rel = table_open(leaf, ShareLock);
		map = event_map_create(s->source, RelationGetDescr(rel), s->context, detached);
		if (map == NULL)
		{
			table_close(rel, ShareLock);
			continue;
		}
		if (s->nextras > 0)
			extras = extra_columns_create(RelationGetDescr(rel), s->extras, s->nextras,
										  s->context);
		PushActiveSnapshot(GetLatestSnapshot());
		old = MemoryContextSwitchTo(s->context);
		partition = palloc(sizeof(AttachedPartition));
		partition->relid = leaf;
		partition->from = GetXLogInsertRecPtr();
		s->attached = lappend(s->attached, partition);
		MemoryContextSwitchTo(old);

		slot = table_slot_create(rel, NULL);
		scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
		rows = AllocSetContextCreate(CurrentMemoryContext, "recsys rows", ALLOCSET_DEFAULT_SIZES);
		old = MemoryContextSwitchTo(rows);
		while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		{
			apply_partition_row(s, map, extras, slot, now);
			if (++counter % CHECK_EVERY == 0)
			{
				CHECK_FOR_INTERRUPTS();
				MemoryContextReset(rows);
			}
		}
		MemoryContextSwitchTo(old);
		MemoryContextDelete(rows);
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(slot);
		event_map_free(map);
		if (extras)
			extra_columns_free(extras);
		PopActiveSnapshot();
		table_close(rel, ShareLock);
	}
}
