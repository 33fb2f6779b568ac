/*
 * backfill_read.c
 *	  The rows of the events table under a snapshot -> histories and totals.
 *
 * Reading aggregates all rows of a user before history_limit cuts the history,
 * so the rows are distributed over temporary files by user first: memory holds
 * one file's users at a time.  Dirty histories beyond the memory are written
 * within the same transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "recsys.h"
#include "stream/stream.h"

#define PROGRESS_EVERY 10000	/* rows */
#define CRASH_EVERY 1000		/* rows per pass of INJECT_BACKFILL */
#define BUCKET_BUFFER 2048		/* records */
#define MAX_BUCKETS 256

/* ------------------------------------------------------------------- buckets */

/* A cleaned event whose keys are numbers. */
typedef struct BucketRecord
{
	int32		user;
	int32		item;
	double		weight;
	TimestampTz time;
} BucketRecord;

typedef struct Bucket
{
	BufFile    *file;
	int64		nwritten;		/* records in the file */
	int			n;
	BucketRecord *buffer;
} Bucket;

typedef struct Backfill
{
	Stream	   *s;
	MemoryContext context;		/* of the buckets */
	int			nbuckets;
	Bucket	   *buckets;
	TimestampTz now;
	TimestampTz newest;			/* of the events read, or now */
	bool		feeds_only;		/* the state stands */
	int64		done;
	int64		total;			/* estimate */
} Backfill;

static void
bucket_write(Backfill *b, Bucket *bucket)
{
	MemoryContext old = MemoryContextSwitchTo(b->context);

	if (bucket->file == NULL)
		bucket->file = BufFileCreateTemp(false);
	MemoryContextSwitchTo(old);
	BufFileWrite(bucket->file, bucket->buffer, sizeof(BucketRecord) * bucket->n);
	bucket->nwritten += bucket->n;
	bucket->n = 0;
}

static void
bucket_append(Backfill *b, const BucketRecord *record)
{
	Bucket	   *bucket = &b->buckets[record->user % b->nbuckets];

	if (bucket->buffer == NULL)
		bucket->buffer = MemoryContextAlloc(b->context, sizeof(BucketRecord) * BUCKET_BUFFER);
	bucket->buffer[bucket->n++] = *record;
	if (bucket->n == BUCKET_BUFFER)
		bucket_write(b, bucket);
}

/* ------------------------------------------------------------------- reading */

void
backfill_reject(Stream *s, EventMap *map, TupleTableSlot *slot, RejectReason reason)
{
	char	   *texts[EVENT_NTEXTS];
	HeapTuple	tuple = ExecCopySlotHeapTuple(slot);

	event_texts(map, tuple, texts);
	for (int i = 0; i < EVENT_NTEXTS; i++)
		if (texts[i] && strlen(texts[i]) > RECSYS_MAX_KEY_LEN)
			texts[i][pg_mbcliplen(texts[i], strlen(texts[i]), RECSYS_MAX_KEY_LEN)] = '\0';
	reject_keep(s, reason, texts);
}

/* An acceptable row, for those that are being filled. */
static void
feed_row(Backfill *b, ExtraColumns *extras, TupleTableSlot *slot, Event *event)
{
	if (b->s->source->time_column == NULL)
		event->time = b->now;
	feeds_row(b->s, extras, event, slot->tts_values, slot->tts_isnull, true,
			  b->s->applied_lsn);
}

static void
read_row(Backfill *b, EventMap *map, ExtraColumns *extras, TupleTableSlot *slot)
{
	Stream	   *s = b->s;
	RejectReason reason;
	Event		event;
	BucketRecord record;

	slot_getsomeattrs(slot, Max(event_map_natts(map), extras ? extra_columns_natts(extras) : 0));
	reason = event_clean(map, slot->tts_values, slot->tts_isnull, false, b->now, &event);
	if (b->feeds_only)
	{
		if (reason == REJECT_NONE)
			feed_row(b, extras, slot, &event);
		return;
	}
	s->events++;
	if (reason != REJECT_NONE)
	{
		backfill_reject(s, map, slot, reason);
		return;
	}
	if (s->nlive > 0)
		feed_row(b, extras, slot, &event);
	if (event.ignored)
		return;
	if (s->source->time_column == NULL)
		event.time = b->now;
	record.user = users_get(s->users, &event.user);
	record.item = items_get(s->items, &event.item);
	record.time = event.time;
	record.weight = event.weight;
	b->newest = Max(b->newest, event.time);
	bucket_append(b, &record);
}

/* Consumers may keep a quarter of the memory while rows are read; what they
 * write is in this transaction. */
static void
relieve_feeds(Stream *s)
{
	Size		limit = (Size) recsys_memory_kb * 1024 / 4;

	if (s->nlive == 0 || feeds_memory(s) <= limit)
		return;
	feeds_write(s);
	stream_renew_snapshot(s);
	feeds_evict(s, limit / 2);
}

static void
count_row(Backfill *b)
{
	b->done++;
	if (b->done % CRASH_EVERY == 0)
		shared_inject(b->s->shared, INJECT_BACKFILL);
	if (b->done % PROGRESS_EVERY == 0)
	{
		CHECK_FOR_INTERRUPTS();
		relieve_feeds(b->s);
		MemoryContextReset(b->s->scratch);
		shared_progress(b->s->shared, b->feeds_only ? "consumers" : "backfill", b->done,
						Max(b->total, b->done));
	}
}

static void
read_relation(Backfill *b, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	EventMap   *map = event_map_create(b->s->source, RelationGetDescr(rel),
									   CurrentMemoryContext, false);
	ExtraColumns *extras = b->s->nextras == 0 ? NULL :
		extra_columns_create(RelationGetDescr(rel), b->s->extras, b->s->nextras,
							 CurrentMemoryContext);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	/* the active one is renewed under way */
	Snapshot	snapshot = RegisterSnapshot(GetActiveSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	MemoryContext old = MemoryContextSwitchTo(b->s->scratch);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		read_row(b, map, extras, slot);
		count_row(b);
	}
	MemoryContextSwitchTo(old);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	event_map_free(map);
	if (extras)
		extra_columns_free(extras);
	table_close(rel, NoLock);
}

/* The tables with storage below relid, itself included. */
List *
backfill_leaves(Oid relid)
{
	List	   *leaves = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Oid			leaf = lfirst_oid(lc);
		char		kind = get_rel_relkind(leaf);

		if (kind == RELKIND_RELATION)
			leaves = lappend_oid(leaves, leaf);
		else if (kind != RELKIND_PARTITIONED_TABLE)
			ereport(ERROR,
					errcode(ERRCODE_WRONG_OBJECT_TYPE),
					errmsg("partition \"%s\" of the events table is not an ordinary table",
						   get_rel_name(leaf)),
					errhint("Detach it; recsys reads the write-ahead log of ordinary tables."));
	}
	return leaves;
}

/* Its parent as the active snapshot has it, or InvalidOid. */
static Oid
parent_then(Oid relid)
{
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			parent = InvalidOid;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, GetActiveSnapshot(),
							  1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parent = ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent;
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return parent;
}

/*
 * The leaves of the events table that the snapshot has.  One that was attached
 * after it comes by the stream, with its rows.
 */
static List *
leaves_of_snapshot(Oid events)
{
	List	   *leaves = NIL;
	ListCell   *lc;

	foreach(lc, backfill_leaves(events))
	{
		Oid			above = lfirst_oid(lc);

		while (OidIsValid(above) && above != events)
			above = parent_then(above);
		if (above == events)
			leaves = lappend_oid(leaves, lfirst_oid(lc));
	}
	return leaves;
}

static int64
estimated_rows(List *leaves)
{
	double		rows = 0;
	ListCell   *lc;

	foreach(lc, leaves)
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);
		BlockNumber pages;
		double		tuples,
					visible;

		table_relation_estimate_size(rel, NULL, &pages, &tuples, &visible);
		rows += tuples;
		table_close(rel, NoLock);
	}
	return (int64) rows;
}

/* --------------------------------------------------------------- aggregating */

/* One item of one user, of all the user's rows. */
typedef struct Interaction
{
	int32		item;
	int32		count;
	double		weight;
	TimestampTz time;
	int32		arrival;		/* of the newest event */
} Interaction;

typedef struct SortKey
{
	int32		item;
	int32		arrival;
} SortKey;

static int
compare_sort_keys(const void *a, const void *b)
{
	const SortKey *x = a;
	const SortKey *y = b;

	if (x->item != y->item)
		return x->item < y->item ? -1 : 1;
	return x->arrival < y->arrival ? -1 : 1;
}

static int
compare_newest_last(const void *a, const void *b)
{
	const Interaction *x = a;
	const Interaction *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->arrival < y->arrival ? -1 : 1;
}

/* Adds a record to the interaction that it belongs to; records come in order
 * of arrival. */
static void
add_record(Stream *s, Interaction *to, const BucketRecord *record, int32 arrival)
{
	Event		event = {.weight = record->weight,.time = record->time};
	bool		newer = to->count == 0 || record->time >= to->time;

	if (!s->source->explicit_feedback)
	{
		to->weight += apply_decayed_weight(s, &event);
		to->count++;
	}
	else if (newer || s->source->time_column == NULL)
	{
		to->weight = record->weight;
		to->count = 1;
	}
	if (newer)
	{
		to->time = record->time;
		to->arrival = arrival;
	}
}

/* All records of one user -> the user's history. */
static void
build_history(Stream *s, int32 user, const BucketRecord *records, int32 n,
			  SortKey *keys, Interaction *interactions)
{
	Profile    *p = profiles_get(s->profiles, user);
	int32		ninteractions = 0;

	for (int32 i = 0; i < n; i++)
	{
		keys[i].item = records[i].item;
		keys[i].arrival = i;
	}
	qsort(keys, n, sizeof(SortKey), compare_sort_keys);
	for (int32 i = 0; i < n; i++)
	{
		if (i == 0 || keys[i].item != keys[i - 1].item)
		{
			memset(&interactions[ninteractions], 0, sizeof(Interaction));
			interactions[ninteractions++].item = keys[i].item;
		}
		add_record(s, &interactions[ninteractions - 1], &records[keys[i].arrival],
				   keys[i].arrival);
	}
	qsort(interactions, ninteractions, sizeof(Interaction), compare_newest_last);
	for (int32 i = Max(ninteractions - s->source->history_limit, 0); i < ninteractions; i++)
	{
		Interaction *x = &interactions[i];

		items_change(s->items, x->item, 0, x->weight, 1, x->time);
		profile_insert(s->profiles, p, x->item, x->weight, x->count, x->time);
	}
}

/* Stable counting sort by user: records of a user become neighbours. */
static BucketRecord *
sort_by_user(const BucketRecord *records, int64 n, int32 first, int stride, int32 nusers)
{
	int64	   *at = palloc_extended(sizeof(int64) * ((Size) nusers + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	BucketRecord *sorted = palloc_extended(sizeof(BucketRecord) * (Size) n, MCXT_ALLOC_HUGE);

	for (int64 i = 0; i < n; i++)
		at[(records[i].user - first) / stride + 1]++;
	for (int32 u = 1; u <= nusers; u++)
		at[u] += at[u - 1];
	for (int64 i = 0; i < n; i++)
		sorted[at[(records[i].user - first) / stride]++] = records[i];
	pfree(at);
	return sorted;
}

static BucketRecord *
bucket_read(Bucket *bucket, int64 *n)
{
	BucketRecord *records;
	Size		in_file = sizeof(BucketRecord) * (Size) bucket->nwritten;

	*n = bucket->nwritten + bucket->n;
	records = palloc_extended(sizeof(BucketRecord) * (Size) Max(*n, 1), MCXT_ALLOC_HUGE);
	if (bucket->file)
	{
		if (BufFileSeek(bucket->file, 0, 0, SEEK_SET) != 0 ||
			BufFileRead(bucket->file, records, in_file) != in_file)
			ereport(ERROR,
					errcode_for_file_access(),
					errmsg("could not read back a temporary file of the backfill"));
		BufFileClose(bucket->file);
		bucket->file = NULL;
	}
	memcpy(records + bucket->nwritten, bucket->buffer, sizeof(BucketRecord) * bucket->n);
	return records;
}

static void
build_bucket(Backfill *b, int number)
{
	Stream	   *s = b->s;
	Bucket	   *bucket = &b->buckets[number];
	int32		first = number == 0 ? b->nbuckets : number;
	int32		nusers = (s->users->next - first) / b->nbuckets + 1;
	BucketRecord *records,
			   *sorted;
	SortKey    *keys;
	Interaction *interactions;
	int64		n;

	if (bucket->buffer == NULL)
		return;
	records = bucket_read(bucket, &n);
	sorted = sort_by_user(records, n, first, b->nbuckets, nusers);
	pfree(records);
	keys = palloc_extended(sizeof(SortKey) * (Size) n, MCXT_ALLOC_HUGE);
	interactions = palloc_extended(sizeof(Interaction) * (Size) n, MCXT_ALLOC_HUGE);
	for (int64 from = 0; from < n;)
	{
		int64		to = from + 1;

		while (to < n && sorted[to].user == sorted[from].user)
			to++;
		if (to - from > INT32_MAX)
			ereport(ERROR,
					errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					errmsg("a user has " INT64_FORMAT " events", to - from));
		build_history(s, sorted[from].user, sorted + from, (int32) (to - from),
					  keys, interactions);
		from = to;
		CHECK_FOR_INTERRUPTS();
	}
	pfree(sorted);
	pfree(keys);
	pfree(interactions);
	pfree(bucket->buffer);
	bucket->buffer = NULL;
}

/* The landmark must not move while weights are aggregated: it does before, if
 * the newest event lies too many half-lives ahead of it. */
static void
settle_landmark(Stream *s, TimestampTz newest)
{
	Event		event = {.weight = 1,.time = newest};

	(void) apply_decayed_weight(s, &event);
}

/* The whole table under the active snapshot -> caches (and tables). */
void
backfill_read(Stream *s)
{
	Size		limit = (Size) recsys_memory_kb * 1024;
	MemoryContext context = AllocSetContextCreate(s->context, "recsys backfill",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *leaves = leaves_of_snapshot(s->source->events);
	Backfill	b = {.s = s,.context = context,.now = GetCurrentTimestamp()};
	ListCell   *lc;

	b.newest = b.now;
	b.total = estimated_rows(leaves);
	/* a bucket needs about four times its records while it is built */
	b.nbuckets = (int) Min(b.total * (int64) sizeof(BucketRecord) * 16 / (int64) limit + 1,
						   MAX_BUCKETS);
	b.buckets = palloc0(sizeof(Bucket) * b.nbuckets);
	foreach(lc, leaves)
		read_relation(&b, lfirst_oid(lc));
	settle_landmark(s, b.newest);
	for (int i = 0; i < b.nbuckets; i++)
	{
		shared_progress(s->shared, "aggregate", i, b.nbuckets);
		build_bucket(&b, i);
		if (stream_memory(s) > limit)
		{
			flush_dirty(s);
			stream_evict(s, limit);
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* The same for consumers alone. */
void
backfill_read_feeds(Stream *s)
{
	MemoryContext context = AllocSetContextCreate(s->context, "recsys backfill",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *leaves = leaves_of_snapshot(s->source->events);
	Backfill	b = {.s = s,.context = context,.now = GetCurrentTimestamp(),.feeds_only = true};
	ListCell   *lc;

	b.total = estimated_rows(leaves);
	foreach(lc, leaves)
		read_relation(&b, lfirst_oid(lc));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
