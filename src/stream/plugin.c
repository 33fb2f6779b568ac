/*
 * plugin.c
 *	  The output plugin: callbacks that collect the changes of one source.
 *
 * Which relations are ours stands in relations.c, what becomes of a row in
 * collect.c.
 *
 * Callbacks run inside a transaction that decoding aborts, under a historic
 * snapshot: they only read catalogues, clean rows and append to a spool.  Rows
 * are freed after the callback, so values are copied, and values that decoding
 * put together from TOAST chunks are fetched here.
 *
 * A committed transaction goes to the queue.  One that decoding hands over
 * while it is in progress (it exceeded logical_decoding_work_mem) goes to a
 * spool of its own; when it commits, the queue gets a reference to it.  Rolled
 * back subtransactions are noted and skipped when it is applied, for their
 * changes lie among the others.
 */
#include "postgres.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "replication/logical.h"
#include "replication/origin.h"
#include "replication/output_plugin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "stream/collect.h"

/* The plugin API gives us no place to pass it through. */
static Stream *current_stream = NULL;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

void
plugin_current_stream(Stream *s)
{
	current_stream = s;
}

static inline Stream *
stream_of(LogicalDecodingContext *ctx)
{
	return ctx->output_plugin_private;
}

static void
on_startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	(void) is_init;
	if (current_stream == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("output plugin \"recsys\" serves the workers of recsys only"),
				errhint("Read the views of the source instead of its replication slot."));
	ctx->output_plugin_private = current_stream;
	options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
}

/* ----------------------------------------------------------- one change */

/* Where the change of this moment goes. */
static Spool *
target_spool(Stream *s, ReorderBufferTXN *txn)
{
	if (s->current)
	{
		s->current->touched = true;
		return s->current->spool;
	}
	if (!s->begun)
	{
		SpoolRecord *begin = spool_append(s->queue, RECORD_BEGIN, 0);

		begin->time = compat_commit_time(txn);
		begin->lsn = txn->end_lsn;
		s->begun = true;
	}
	return s->queue;
}

static void
on_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
		  ReorderBufferChange *change)
{
	Stream	   *s = stream_of(ctx);
	RelationEntry *entry = relations_find(s, relation);
	HeapTuple	newrow,
				oldrow;
	TransactionId xid;
	Spool	   *spool;
	MemoryContext old;

	if (entry == NULL)
		return;
	/* for values fetched from TOAST, numerics and the like: of one change, since
	 * a batch has as many as its largest transaction */
	old = MemoryContextSwitchTo(s->change);
	newrow = compat_change_tuple(change->data.tp.newtuple);
	oldrow = compat_change_tuple(change->data.tp.oldtuple);
	xid = change->txn ? change->txn->xid : txn->xid;
	spool = target_spool(s, txn);
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			collect_insert(s, spool, entry, newrow, xid);
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			collect_update(s, spool, entry, newrow, oldrow, xid);
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			collect_delete(s, spool, entry, oldrow, xid);
			break;
		default:
			break;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(s->change);
}

/* Only the registered table itself resets: retention truncates leaves. */
static void
on_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
			Relation relations[], ReorderBufferChange *change)
{
	Stream	   *s = stream_of(ctx);

	for (int i = 0; i < nrelations; i++)
		if (RelationGetRelid(relations[i]) == s->source->events)
		{
			SpoolRecord *record = spool_append(target_spool(s, txn), RECORD_TRUNCATE, 0);

			record->xid = change->txn ? change->txn->xid : txn->xid;
			record->relid = s->source->events;
		}
}

static void
on_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
		   bool transactional, const char *prefix, Size size, const char *message)
{
	Stream	   *s = stream_of(ctx);
	MessageHeader header;
	SpoolRecord *record;
	Size		extra;

	(void) lsn;
	if (!transactional || size < sizeof(header) ||
		strcmp(prefix, RECSYS_MESSAGE_PREFIX) != 0)
		return;
	memcpy(&header, message, sizeof(header));
	if (header.dboid != MyDatabaseId || header.source_id != s->source->id ||
		memcmp(header.key, s->source->message_key, sizeof(header.key)) != 0)
		return;

	message += sizeof(header);
	extra = size - sizeof(header);
	switch (header.kind)
	{
		case MESSAGE_FORGET_USER:
		case MESSAGE_FORGET_ITEM:
			record = spool_append(target_spool(s, txn),
								  header.kind == MESSAGE_FORGET_USER ?
								  RECORD_FORGET_USER : RECORD_FORGET_ITEM, extra + 1);
			memcpy(RECORD_BYTES(record), message, extra);
			RECORD_BYTES(record)[extra] = '\0';
			break;
		case MESSAGE_ATTACH:
			record = spool_append(target_spool(s, txn), RECORD_ATTACH, 0);
			if (extra == sizeof(Oid))
				memcpy(&record->relid, message, sizeof(Oid));
			break;
		case MESSAGE_REWRITE:
			record = spool_append(target_spool(s, txn), RECORD_REWRITE, 0);
			break;
		default:
			return;				/* wait_for's messages only have to be passed */
	}
	record->xid = header.xid;
}

/* ------------------------------------------------------------ transactions */

static void
on_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	(void) txn;
	stream_of(ctx)->begun = false;
}

/* The transaction and its subtransactions: the xmin that its rows carry. */
static void
append_commit(Spool *spool, ReorderBufferTXN *txn, XLogRecPtr end)
{
	int			n = 1;
	dlist_iter	iter;
	SpoolRecord *record;
	TransactionId *xids;

	dlist_foreach(iter, &txn->subtxns)
		n++;
	record = spool_append(spool, RECORD_COMMIT, sizeof(TransactionId) * n);
	record->lsn = end;
	record->time = compat_commit_time(txn);
	record->user_len = n;
	xids = (TransactionId *) RECORD_BYTES(record);
	*xids++ = txn->xid;
	dlist_foreach(iter, &txn->subtxns)
		*xids++ = dlist_container(ReorderBufferTXN, node, iter.cur)->xid;
}

static void
on_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	Stream	   *s = stream_of(ctx);

	(void) commit_lsn;
	if (s->begun)
		append_commit(s->queue, txn, txn->end_lsn);
	s->begun = false;
}

static void
on_stream_start(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	Stream	   *s = stream_of(ctx);

	s->current = decode_streamed(s, txn->xid);
}

static void
on_stream_stop(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	(void) txn;
	stream_of(ctx)->current = NULL;
}

static void
on_stream_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr abort_lsn)
{
	Stream	   *s = stream_of(ctx);
	ReorderBufferTXN *top = compat_top_transaction(txn);
	StreamedTransaction *streamed;

	(void) abort_lsn;
	/* an error in the middle of a block leaves without stream_stop */
	s->current = NULL;
	streamed = decode_streamed(s, top->xid);
	if (top == txn)
	{
		decode_drop_streamed(s, streamed);
		return;
	}
	if (streamed->naborted == streamed->maxaborted)
	{
		streamed->maxaborted = Max(16, streamed->maxaborted * 2);
		streamed->aborted = streamed->aborted ?
			repalloc_huge(streamed->aborted, sizeof(TransactionId) * (Size) streamed->maxaborted) :
			MemoryContextAlloc(s->decoder_context, sizeof(TransactionId) * streamed->maxaborted);
	}
	streamed->aborted[streamed->naborted++] = txn->xid;
}

/* Any total order will do. */
int
stream_compare_xids(const void *a, const void *b)
{
	TransactionId x = *(const TransactionId *) a;
	TransactionId y = *(const TransactionId *) b;

	return x < y ? -1 : x > y;
}

static void
on_stream_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	Stream	   *s = stream_of(ctx);
	StreamedTransaction *streamed = decode_streamed(s, txn->xid);
	SpoolRecord *record;

	(void) commit_lsn;
	s->current = NULL;
	s->begun = false;
	/* rows that got a new xmin count, even if no column of ours changed */
	if (!streamed->touched)
	{
		decode_drop_streamed(s, streamed);
		return;
	}
	qsort(streamed->aborted, streamed->naborted, sizeof(TransactionId), stream_compare_xids);
	target_spool(s, txn);
	record = spool_append(s->queue, RECORD_STREAMED, 0);
	record->streamed = streamed;
	append_commit(s->queue, txn, txn->end_lsn);
	s->begun = false;
}

/* Our own writes carry DoNotReplicateId and are not even queued. */
static bool
on_filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	(void) ctx;
	return origin == DoNotReplicateId;
}

void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = on_startup;
	cb->begin_cb = on_begin;
	cb->change_cb = on_change;
	cb->truncate_cb = on_truncate;
	cb->commit_cb = on_commit;
	cb->message_cb = on_message;
	cb->filter_by_origin_cb = on_filter_by_origin;
	cb->stream_start_cb = on_stream_start;
	cb->stream_stop_cb = on_stream_stop;
	cb->stream_abort_cb = on_stream_abort;
	cb->stream_commit_cb = on_stream_commit;
	cb->stream_change_cb = on_change;
	cb->stream_message_cb = on_message;
	cb->stream_truncate_cb = on_truncate;
}
