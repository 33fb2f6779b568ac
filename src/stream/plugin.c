/*
 * plugin.c
 *	  The output plugin: callbacks that collect the changes of one source.
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

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/partition.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/logical.h"
#include "replication/origin.h"
#include "replication/output_plugin.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "compat.h"
#include "stream/stream.h"

/* How much of an old row WAL holds. */
typedef enum OldRow
{
	OLD_ROW_NONE,				/* identity does not cover the mapped columns */
	OLD_ROW_COVERED,			/* mapped columns are part of the identity */
	OLD_ROW_FULL
} OldRow;

typedef struct RelationEntry
{
	Oid			relid;			/* hash key */
	EventMap   *map;			/* NULL: not of this source */
	OldRow		old_row;
	ExtraColumns *extras;		/* what consumers want; NULL: nothing */
	bool	   *extra_logged;	/* old rows have it */
} RelationEntry;

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

/* ------------------------------------------------- which relations are ours */

/* Called at any moment, so it only leaves a note. */
static void
on_relcache_invalidation(Datum arg, Oid relid)
{
	(void) arg;
	(void) relid;
	if (current_stream)
		current_stream->relations_stale = true;
}

void
plugin_reset_relations(Stream *s)
{
	static bool registered = false;
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(RelationEntry)};

	if (!registered)
		CacheRegisterRelcacheCallback(on_relcache_invalidation, (Datum) 0);
	registered = true;
	if (s->relations)
	{
		HASH_SEQ_STATUS status;
		RelationEntry *entry;

		hash_seq_init(&status, s->relations);
		while ((entry = hash_seq_search(&status)) != NULL)
		{
			if (entry->map)
				event_map_free(entry->map);
			if (entry->extras)
				extra_columns_free(entry->extras);
			if (entry->extra_logged)
				pfree(entry->extra_logged);
		}
		hash_destroy(s->relations);
	}
	ctl.hcxt = s->context;
	s->relations = hash_create("recsys relations", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	s->relations_stale = false;
}

static bool
is_covered(Relation relation, const char *column, Bitmapset *identity)
{
	if (column == NULL)
		return true;
	for (int i = 0; i < RelationGetDescr(relation)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(relation), i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), column) == 0)
			return bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, identity);
	}
	return false;
}

static OldRow
old_row_of(Stream *s, Relation relation)
{
	RecsysSource *source = s->source;
	Bitmapset  *identity;
	bool		covered;

	if (relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return OLD_ROW_FULL;
	identity = RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	covered = is_covered(relation, NameStr(source->user.name), identity) &&
		is_covered(relation, NameStr(source->item.name), identity) &&
		is_covered(relation, source->type_column, identity) &&
		is_covered(relation, source->value_column, identity) &&
		is_covered(relation, source->time_column, identity);
	bms_free(identity);
	return covered ? OLD_ROW_COVERED : OLD_ROW_NONE;
}

/* Which of the columns that consumers want do old rows hold? */
static bool *
extras_logged(Stream *s, Relation relation, const ExtraColumns *extras)
{
	bool		full = relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	bool	   *logged = MemoryContextAllocZero(s->context, sizeof(bool) * s->nextras);
	Bitmapset  *identity = full ? NULL :
		RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_IDENTITY_KEY);

	for (int i = 0; i < s->nextras; i++)
	{
		AttrNumber	attnum = extra_columns_attnum(extras, i);

		logged[i] = full || attnum == 0 ||
			bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, identity);
	}
	bms_free(identity);
	return logged;
}

static bool
belongs_to_source(Stream *s, Relation relation)
{
	List	   *ancestors;
	bool		found;

	if (RelationGetRelid(relation) == s->source->events)
		return true;
	if (!relation->rd_rel->relispartition)
		return false;
	ancestors = get_partition_ancestors(RelationGetRelid(relation));
	found = list_member_oid(ancestors, s->source->events);
	list_free(ancestors);
	return found;
}

/* NULL if the relation is not of this source. */
static RelationEntry *
find_relation(Stream *s, Relation relation)
{
	Oid			relid = RelationGetRelid(relation);
	RelationEntry *entry;

	if (s->relations_stale)
		plugin_reset_relations(s);
	entry = hash_search(s->relations, &relid, HASH_FIND, NULL);
	if (entry == NULL)
	{
		EventMap   *map = NULL;
		OldRow		old_row = OLD_ROW_NONE;
		ExtraColumns *extras = NULL;
		bool	   *logged = NULL;

		/* may raise an error, so the entry is made afterwards */
		if (belongs_to_source(s, relation))
		{
			map = event_map_create(s->source, RelationGetDescr(relation), s->context, false);
			old_row = old_row_of(s, relation);
			if (s->nextras > 0)
			{
				extras = extra_columns_create(RelationGetDescr(relation), s->extras,
											  s->nextras, s->context);
				logged = extras_logged(s, relation, extras);
			}
		}
		entry = hash_search(s->relations, &relid, HASH_ENTER, NULL);
		entry->map = map;
		entry->old_row = old_row;
		entry->extras = extras;
		entry->extra_logged = logged;
	}
	return entry->map ? entry : NULL;
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

/* The columns that consumers want, of one row. */
typedef struct Extras
{
	int			n;
	const char **texts;
	int		   *lengths;
} Extras;

static void
extras_begin(Stream *s, Extras *extras)
{
	extras->n = s->nextras;
	extras->texts = s->nextras > 0 ? palloc(sizeof(char *) * s->nextras) : NULL;
	extras->lengths = s->nextras > 0 ? palloc(sizeof(int) * s->nextras) : NULL;
}

/* All lengths, then the texts, each with a zero at its end. */
static Size
extras_size(const Extras *extras)
{
	Size		size = sizeof(int) * extras->n;

	for (int i = 0; i < extras->n; i++)
		if (extras->lengths[i] >= 0)
			size += extras->lengths[i] + 1;
	return size;
}

static void
extras_write(const Extras *extras, char *to)
{
	memcpy(to, extras->lengths, sizeof(int) * extras->n);
	to += sizeof(int) * extras->n;
	for (int i = 0; i < extras->n; i++)
	{
		int			length = extras->lengths[i];

		if (length < 0)
			continue;
		memcpy(to, extras->texts[i], length);
		to[length] = '\0';
		to += length + 1;
	}
}

static SpoolRecord *
append_event(Spool *spool, RecordKind kind, const Event *event, const Extras *extras,
			 TransactionId xid, Oid relid)
{
	Size		keys = event->user.len + event->item.len;
	SpoolRecord *record = spool_append(spool, kind, keys +
									   (extras->n > 0 ? extras_size(extras) : 0));

	record->xid = xid;
	record->relid = relid;
	record->ignored = event->ignored;
	record->weight = event->weight;
	record->time = event->time;
	record->user = event->user.num;
	record->item = event->item.num;
	record->user_len = event->user.len;
	record->item_len = event->item.len;
	if (event->user.len > 0)
		memcpy(RECORD_BYTES(record), event->user.bytes, event->user.len);
	if (event->item.len > 0)
		memcpy(RECORD_BYTES(record) + event->user.len, event->item.bytes, event->item.len);
	if (extras->n > 0)
		extras_write(extras, RECORD_BYTES(record) + keys);
	return record;
}

/* An update that may have changed columns which its old row does not hold. */
static void
append_unknown_extras(Spool *spool, const bool *known, int n, TransactionId xid, Oid relid)
{
	SpoolRecord *record = spool_append(spool, RECORD_UNKNOWN_EXTRAS, n);

	record->xid = xid;
	record->relid = relid;
	memcpy(RECORD_BYTES(record), known, n);
}

static void
append_unmatched(Spool *spool, TransactionId xid, Oid relid)
{
	SpoolRecord *record = spool_append(spool, RECORD_UNMATCHED, 0);

	record->xid = xid;
	record->relid = relid;
}

/* The row as text, each column with its length; -1 for null. */
static void
append_reject(Spool *spool, EventMap *map, HeapTuple tuple, RejectReason reason,
			  TransactionId xid, Oid relid)
{
	char	   *texts[EVENT_NTEXTS];
	int32		lengths[EVENT_NTEXTS];
	Size		size = sizeof(lengths);
	SpoolRecord *record;
	char	   *to;

	event_texts(map, tuple, texts);
	for (int i = 0; i < EVENT_NTEXTS; i++)
	{
		lengths[i] = -1;
		if (texts[i] == NULL)
			continue;
		/* enough to recognise the row by */
		lengths[i] = pg_mbcliplen(texts[i], strlen(texts[i]), RECSYS_MAX_KEY_LEN);
		size += lengths[i];
	}
	record = spool_append(spool, RECORD_REJECT, size);
	record->reason = reason;
	record->xid = xid;
	record->relid = relid;
	to = RECORD_BYTES(record);
	memcpy(to, lengths, sizeof(lengths));
	to += sizeof(lengths);
	for (int i = 0; i < EVENT_NTEXTS; i++)
	{
		if (lengths[i] <= 0)
			continue;
		memcpy(to, texts[i], lengths[i]);
		to += lengths[i];
	}
}

static bool
same_bytes(const KeyValue *a, const KeyValue *b)
{
	return a->num == b->num && a->len == b->len &&
		(a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

/* A row of an update whose mapped columns did not change is no event. */
static bool
same_event(const Event *a, const Event *b)
{
	return same_bytes(&a->user, &b->user) && same_bytes(&a->item, &b->item) &&
		a->weight == b->weight && a->time == b->time && a->ignored == b->ignored;
}

/*
 * Columns that an update left in TOAST are missing from the new row; they are
 * as in the old one, where that holds all that is mapped.
 */
static RejectReason
clean_new_row(RelationEntry *entry, HeapTuple newrow, HeapTuple oldrow, Event *event)
{
	RejectReason reason = event_clean_tuple(entry->map, newrow, true, DT_NOEND, event);

	if (reason == EVENT_INCOMPLETE && oldrow && entry->old_row != OLD_ROW_NONE)
		reason = event_clean_merged(entry->map, newrow, oldrow, event);
	return reason;
}

/* What an old row holds of the extras. */
static void
read_old_extras(RelationEntry *entry, HeapTuple row, Extras *extras)
{
	if (extras->n == 0)
		return;
	extra_columns_read_tuple(entry->extras, row, true, extras->texts, extras->lengths);
	for (int i = 0; i < extras->n; i++)
		if (!entry->extra_logged[i])
			extras->lengths[i] = EXTRA_UNKNOWN;
}

/*
 * Of the new row of an update.  What it left in TOAST is as in the old row.
 * Whoever cannot be told the one half is not told the other either.
 */
static void
read_new_extras(RelationEntry *entry, HeapTuple row, const Extras *before, Extras *extras)
{
	if (extras->n == 0)
		return;
	extra_columns_read_tuple(entry->extras, row, true, extras->texts, extras->lengths);
	for (int i = 0; i < extras->n; i++)
	{
		if (extras->lengths[i] == EXTRA_UNKNOWN)
		{
			extras->lengths[i] = before->lengths[i];
			extras->texts[i] = before->texts[i];
		}
	}
}

static void
hide_unknown(Extras *extras, const Extras *other)
{
	for (int i = 0; i < extras->n; i++)
		if (other->lengths[i] == EXTRA_UNKNOWN)
			extras->lengths[i] = EXTRA_UNKNOWN;
}

static bool
same_extras(const Extras *a, const Extras *b)
{
	for (int i = 0; i < a->n; i++)
		if (a->lengths[i] != b->lengths[i] ||
			(a->lengths[i] > 0 && memcmp(a->texts[i], b->texts[i], a->lengths[i]) != 0))
			return false;
	return true;
}

/* Tells the consumers that want what extras does not have. */
static void
report_unknown(Spool *spool, const Extras *extras, TransactionId xid, Oid relid)
{
	bool	   *known = palloc(sizeof(bool) * Max(extras->n, 1));
	bool		all = true;

	for (int i = 0; i < extras->n; i++)
	{
		known[i] = extras->lengths[i] != EXTRA_UNKNOWN;
		all &= known[i];
	}
	if (!all)
		append_unknown_extras(spool, known, extras->n, xid, relid);
}

static void
collect_insert(Stream *s, Spool *spool, RelationEntry *entry, HeapTuple row, TransactionId xid)
{
	Event		event;
	Extras		extras;
	RejectReason reason = event_clean_tuple(entry->map, row, true, DT_NOEND, &event);

	if (reason != REJECT_NONE)
	{
		append_reject(spool, entry->map, row, reason, xid, entry->relid);
		return;
	}
	extras_begin(s, &extras);
	if (extras.n > 0)
	{
		const Datum *values;
		const bool *isnull;

		event_map_row(entry->map, &values, &isnull);
		extra_columns_read(entry->extras, values, isnull, true, extras.texts, extras.lengths);
	}
	append_event(spool, RECORD_INSERT, &event, &extras, xid, entry->relid);
}

static void
collect_delete(Stream *s, Spool *spool, RelationEntry *entry, HeapTuple row, TransactionId xid)
{
	Event		event;
	Extras		extras;

	if (row == NULL || entry->old_row == OLD_ROW_NONE)
		append_unmatched(spool, xid, entry->relid);
	else if (event_clean_tuple(entry->map, row, true, DT_NOEND, &event) == REJECT_NONE)
	{
		extras_begin(s, &extras);
		read_old_extras(entry, row, &extras);
		append_event(spool, RECORD_RETRACT, &event, &extras, xid, entry->relid);
	}
	/* else it was rejected when it came, and has counted for nothing */
}

/* Both rows of an update are acceptable events. */
static void
collect_change(Spool *spool, RelationEntry *entry, const Event *before, Extras *old_extras,
			   const Event *after, Extras *new_extras, TransactionId xid)
{
	bool		extras_only = same_event(before, after);
	Oid			relid = entry->relid;

	/* a value of the new row that is not known is not known to change, either */
	hide_unknown(old_extras, new_extras);
	hide_unknown(new_extras, old_extras);
	if (extras_only && same_extras(old_extras, new_extras))
	{
		report_unknown(spool, old_extras, xid, relid);
		return;
	}
	append_event(spool, RECORD_RETRACT, before, old_extras, xid, relid)->extras_only = extras_only;
	append_event(spool, RECORD_INSERT, after, new_extras, xid, relid)->extras_only = extras_only;
}

static void
collect_update(Stream *s, Spool *spool, RelationEntry *entry, HeapTuple newrow, HeapTuple oldrow,
			   TransactionId xid)
{
	Event		before,
				after;
	Extras		old_extras,
				new_extras;
	RejectReason old_reason,
				new_reason;

	/* No old row although the identity covers our columns: they are as before. */
	if (oldrow == NULL && entry->old_row == OLD_ROW_COVERED)
	{
		if (s->nextras > 0 && memchr(entry->extra_logged, false, s->nextras) != NULL)
			append_unknown_extras(spool, entry->extra_logged, s->nextras, xid, entry->relid);
		return;
	}

	extras_begin(s, &old_extras);
	extras_begin(s, &new_extras);
	new_reason = clean_new_row(entry, newrow, oldrow, &after);
	if (oldrow == NULL || entry->old_row == OLD_ROW_NONE)
	{
		if (new_reason == REJECT_NONE)
		{
			for (int i = 0; i < new_extras.n; i++)
				new_extras.lengths[i] = EXTRA_UNKNOWN;
			append_event(spool, RECORD_REPLACE, &after, &new_extras, xid, entry->relid);
		}
		else
			append_unmatched(spool, xid, entry->relid);
		return;
	}

	old_reason = event_clean_tuple(entry->map, oldrow, true, DT_NOEND, &before);
	read_old_extras(entry, oldrow, &old_extras);
	read_new_extras(entry, newrow, &old_extras, &new_extras);
	if (old_reason == REJECT_NONE && new_reason == REJECT_NONE)
	{
		collect_change(spool, entry, &before, &old_extras, &after, &new_extras, xid);
		return;
	}
	if (old_reason == REJECT_NONE)
		append_event(spool, RECORD_RETRACT, &before, &old_extras, xid, entry->relid);
	if (new_reason == REJECT_NONE)
	{
		append_event(spool, RECORD_INSERT, &after, &new_extras, xid, entry->relid);
		report_unknown(spool, &new_extras, xid, entry->relid);
	}
	else if (new_reason != EVENT_INCOMPLETE && old_reason != new_reason)
		append_reject(spool, entry->map, newrow, new_reason, xid, entry->relid);
}

static void
on_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
		  ReorderBufferChange *change)
{
	Stream	   *s = stream_of(ctx);
	RelationEntry *entry = find_relation(s, relation);
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
