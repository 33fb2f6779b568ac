/*
 * decode.c
 *	  Reading WAL through in-process logical decoding.
 *
 * The decoding context is created INSIDE a transaction.  Created outside of
 * one, it would mark this process PROC_IN_LOGICAL_DECODING, and then other
 * processes' snapshots would leave our transaction id out: readers would hint
 * rows that we are about to commit as aborted, and they would be lost for
 * good.  decode_check_visible() makes sure before every write.
 *
 * Positions: commits whose record starts before the position given to
 * CreateDecodingContext() are skipped, so what is stored and confirmed is
 * always the END of the last record processed.
 *
 * A page of WAL beyond the flush position would make the page reader wait, so
 * reading stops at the flush position that was seen when the batch began.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "storage/proc.h"
#include "storage/standbydefs.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "stream/stream.h"

/* Records per batch: small enough to publish often, large enough to be cheap. */
#define BATCH_RECORDS 16384

/*
 * Newer minor releases refuse output plugins that output_plugin_libraries
 * does not list.  Ours is loaded by nobody but this process.
 */
static void
allow_own_plugin(void)
{
	if (GetConfigOption("output_plugin_libraries", true, false) != NULL)
		SetConfigOption("output_plugin_libraries", "recsys", PGC_SUSET, PGC_S_OVERRIDE);
}

void
decode_check_visible(void)
{
	if (MyProc->statusFlags & PROC_IN_LOGICAL_DECODING)
		elog(ERROR, "stream worker is marked as a decoding process and must not write");
}

/* Acquire the slot and start after what the state row holds. */
void
decode_start(Stream *s)
{
	MemoryContext old;
	HASHCTL		ctl = {.keysize = sizeof(TransactionId),.entrysize = sizeof(StreamedTransaction)};

	allow_own_plugin();
	s->decoder_context = AllocSetContextCreate(s->context, "recsys decoding", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = s->decoder_context;
	s->streamed = hash_create("recsys streamed transactions", 16, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	s->current = NULL;
	s->begun = false;

	StartTransactionCommand();
	compat_slot_acquire(NameStr(s->slot));
	if (compat_slot_invalidated(MyReplicationSlot))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("replication slot \"%s\" has lost WAL that was still needed",
					   NameStr(s->slot)),
				errdetail("max_slot_wal_keep_size was exceeded."),
				errhint("Rebuild with recsys.resync()."));
	old = MemoryContextSwitchTo(s->decoder_context);
	plugin_current_stream(s);
	s->decoder = CreateDecodingContext(Max(s->flushed_lsn, MyReplicationSlot->data.confirmed_flush),
									   NIL, false,
									   XL_ROUTINE(.page_read = read_local_xlog_page,
												  .segment_open = wal_segment_open,
												  .segment_close = wal_segment_close),
									   NULL, NULL, NULL);
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();
	decode_check_visible();
	XLogBeginRead(s->decoder->reader, MyReplicationSlot->data.restart_lsn);
	s->applied_lsn = Max(s->flushed_lsn, MyReplicationSlot->data.confirmed_flush);
	s->flushed_lsn = s->applied_lsn;
}

void
decode_stop(Stream *s)
{
	HASH_SEQ_STATUS status;
	StreamedTransaction *txn;

	hash_seq_init(&status, s->streamed);
	while ((txn = hash_seq_search(&status)) != NULL)
		spool_free(txn->spool);
	FreeDecodingContext(s->decoder);
	s->decoder = NULL;
	MemoryContextDelete(s->decoder_context);
	ReplicationSlotRelease();
	spool_clear(s->queue);
}

XLogRecPtr
decode_position(Stream *s)
{
	return Max(s->decoder->reader->EndRecPtr, s->applied_lsn);
}

static void
read_record(Stream *s)
{
	XLogReaderState *reader = s->decoder->reader;
	char	   *error = NULL;
	XLogRecord *record;
	MemoryContext old;

	/* the reader allocates its buffer when it first needs it */
	old = MemoryContextSwitchTo(s->decoder->context);
	record = XLogReadRecord(reader, &error);
	MemoryContextSwitchTo(old);
	if (error)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("could not read WAL at %X/%X: %s",
					   LSN_FORMAT_ARGS(reader->EndRecPtr), error));
	if (record == NULL)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("no WAL record at %X/%X", LSN_FORMAT_ARGS(reader->EndRecPtr)));
	if (XLogRecGetRmid(reader) == RM_STANDBY_ID &&
		(XLogRecGetInfo(reader) & ~XLR_INFO_MASK) == XLOG_RUNNING_XACTS)
		horizon_read(s, reader);
	LogicalDecodingProcessRecord(s->decoder, reader);
}

bool
decode_batch(Stream *s)
{
	XLogReaderState *reader = s->decoder->reader;
	XLogRecPtr	end = GetFlushRecPtr(NULL);
	MemoryContext old = MemoryContextSwitchTo(s->scratch);
	ResourceOwner old_owner = CurrentResourceOwner;

	s->have_horizon = false;
	while (reader->EndRecPtr < end && s->queue->nrecords < BATCH_RECORDS &&
		   !s->have_horizon)
	{
		CHECK_FOR_INTERRUPTS();
		read_record(s);
		/* replaying a transaction leaves neither as it was */
		MemoryContextSwitchTo(s->scratch);
		CurrentResourceOwner = old_owner;
	}
	MemoryContextSwitchTo(old);
	return reader->EndRecPtr < end;
}

/*
 * Let WAL up to lsn go.  Everything up to there must be committed AND flushed.
 * The slot is written out only when its horizons move, so it is marked dirty
 * here: a restart must not read again what an idle hour has confirmed.
 */
void
decode_confirm(Stream *s, XLogRecPtr lsn)
{
	(void) s;
	if (lsn <= MyReplicationSlot->data.confirmed_flush)
		return;
	LogicalConfirmReceivedLocation(lsn);
	ReplicationSlotMarkDirty();
}

StreamedTransaction *
decode_streamed(Stream *s, TransactionId xid)
{
	bool		found;
	StreamedTransaction *txn = hash_search(s->streamed, &xid, HASH_ENTER, &found);

	if (!found)
	{
		txn->spool = spool_create(s->decoder_context, s->owner);
		txn->naborted = txn->maxaborted = 0;
		txn->aborted = NULL;
		txn->touched = false;
	}
	return txn;
}

void
decode_drop_streamed(Stream *s, StreamedTransaction *txn)
{
	TransactionId xid = txn->xid;

	spool_free(txn->spool);
	if (txn->aborted)
		pfree(txn->aborted);
	hash_search(s->streamed, &xid, HASH_REMOVE, NULL);
}
