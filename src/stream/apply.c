/*
 * apply.c
 *	  Queue -> memory: events change histories, and whatever hangs on them.
 *
 * apply_queue() runs inside a transaction of the worker, because a history or
 * a key may have to be loaded.  Normally it writes nothing.  Only when memory
 * is exceeded does it write dirty state and drop clean state; the position is
 * stored at the next end of an event transaction, in the same transaction, so
 * no half of an event transaction is ever committed without the other.
 *
 * One primitive, apply_change(), moves r(u,i); totals, models and the history
 * all follow from it.  Events only compute its arguments.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "recsys.h"
#include "stream/lookahead.h"
#include "stream/stream.h"

/* Exponent of 2 that a stored weight may reach before the landmark moves. */
#define MAX_DECAY_EXPONENT 32

/*
 * A transaction larger than this, and larger than this share of all events so
 * far, makes it cheaper to build the models anew than to follow every event.
 */
#define HUGE_TRANSACTION 100000
#define HUGE_SHARE 8

/* Records between two looks at the memory in use. */
#define PRESSURE_EVERY 4096

void
apply_change(Stream *s, Profile *p, int32 item, double after, int32 count,
			 TimestampTz time)
{
	int			at = profile_find(p, item);
	double		before = at >= 0 ? p->weights[at] : 0;
	ProfileChange change;

	if (count == 0)
		after = 0;				/* exactly, whatever rounding has left */
	if (at >= 0)
		profile_remove(s->profiles, p, at);
	else if (count == 0)
		return;

	change.user = p->user;
	change.item = item;
	change.before = before;
	change.after = after;
	change.appears = (count > 0) - (at >= 0);
	change.time = time;
	change.n = p->n;
	change.items = p->items;
	change.weights = p->weights;
	change.times = p->times;
	change.place = at;
	models_change(s, &change);
	items_change(s->items, item, before, after, change.appears, count > 0 ? time : 0);
	if (count > 0)
		profile_insert(s->profiles, p, item, after, count, time);
}

/* ------------------------------------------------------------------- decay */

static double
half_lives(Stream *s, TimestampTz time)
{
	return (double) time / USECS_PER_SEC / s->source->half_life;
}

/* Move the landmark so that weights of events at "time" are near 1 again. */
void
apply_rescale(Stream *s, TimestampTz time)
{
	int32		landmark = (int32) floor(half_lives(s, time));
	double		factor = ldexp(1.0, s->landmark - landmark);
	ListCell   *lc;

	s->landmark = landmark;
	s->host.rescale_no++;
	profiles_rescale(s->profiles, landmark);
	items_rescale(s->items, landmark);
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && running->algorithm->rescale)
			running->algorithm->rescale(running->state, factor);
	}
}

/* Contribution of an event relative to the landmark (Cormode et al. 2009). */
double
apply_decayed_weight(Stream *s, const Event *event)
{
	double		exponent;

	if (s->source->half_life == 0)
		return event->weight;
	exponent = half_lives(s, event->time) - s->landmark;
	if (exponent > MAX_DECAY_EXPONENT)
	{
		apply_rescale(s, event->time);
		exponent = half_lives(s, event->time) - s->landmark;
	}
	return event->weight * exp2(exponent);
}

/* ------------------------------------------------------------------ events */

/* Make room for one more item.  False: the history is full of newer ones. */
static bool
evict_oldest(Stream *s, Profile *p, TimestampTz time)
{
	if (p->n < s->source->history_limit)
		return true;
	if (time < p->times[0])
		return false;
	apply_change(s, p, p->items[0], 0, 0, 0);
	return true;
}

static void
add_event(Stream *s, const Event *event)
{
	Profile    *p = profiles_get(s->profiles, users_get(s->users, &event->user));
	int32		item = items_get(s->items, &event->item);
	double		weight = apply_decayed_weight(s, event);
	int			at = profile_find(p, item);

	if (at < 0)
	{
		if (evict_oldest(s, p, event->time))
			apply_change(s, p, item, weight, 1, event->time);
	}
	else if (!s->source->explicit_feedback)
		apply_change(s, p, item, p->weights[at] + weight, p->counts[at] + 1,
					 Max(p->times[at], event->time));
	else if (s->source->time_column == NULL || event->time >= p->times[at])
		apply_change(s, p, item, weight, 1, event->time);
	/* else a late older rating, which changes nothing */
}

static void
retract_event(Stream *s, const Event *event)
{
	int32		user = users_find(s->users, &event->user);
	int32		item = items_find(s->items, &event->item);
	Profile    *p = user ? profiles_get(s->profiles, user) : NULL;
	int			at = p && item ? profile_find(p, item) : -1;
	bool		has_time = s->source->time_column != NULL;

	/*
	 * An item that is not there may have been evicted, which is final; an
	 * event newer than all that were counted was rejected when it came.
	 */
	if (at < 0 || (has_time && event->time > p->times[at]))
	{
		if (at >= 0 || p == NULL || p->n < s->source->history_limit)
			s->unmatched++;
		return;
	}
	if (!s->source->explicit_feedback)
	{
		/* first, for it may move the landmark of p->weights */
		double		weight = apply_decayed_weight(s, event);

		apply_change(s, p, item, p->weights[at] - weight, p->counts[at] - 1, p->times[at]);
	}
	else if (!has_time || event->time == p->times[at])
		reread_later(s, user, item, &event->user, &event->item);
	/* else the rating was superseded before */
}

void
apply_event(Stream *s, const Event *event, RecordKind kind)
{
	if (event->ignored)
		return;
	switch (kind)
	{
		case RECORD_INSERT:
			add_event(s, event);
			break;
		case RECORD_RETRACT:
			retract_event(s, event);
			break;
		case RECORD_REPLACE:
			s->unmatched++;
			if (s->source->explicit_feedback)
				add_event(s, event);
			break;
		default:
			elog(ERROR, "record kind %d is no event", kind);
	}
}

/* ----------------------------------------------------------------- records */

void
apply_read_event(Stream *s, SpoolRecord *record, Event *event)
{
	char	   *bytes = RECORD_BYTES(record);

	event->user.num = record->user;
	event->user.bytes = bytes;
	event->user.len = record->user_len;
	event->item.num = record->item;
	event->item.bytes = bytes + record->user_len;
	event->item.len = record->item_len;
	event->weight = record->weight;
	event->ignored = record->ignored;
	event->time = s->source->time_column ? record->time : s->commit_time;
}

static char *
key_text(const KeyColumn *column, const KeyValue *key)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(column->type, &output, &varlena);
	return OidOutputFunctionCall(output, key_to_datum(column, key));
}

static void
reject_future(Stream *s, const Event *event)
{
	char	   *texts[EVENT_NTEXTS] = {0};

	texts[0] = key_text(&s->source->user, &event->user);
	texts[1] = key_text(&s->source->item, &event->item);
	/* an implicit contribution is no longer the value that it was made of */
	texts[3] = s->source->explicit_feedback ? psprintf("%g", event->weight) : NULL;
	texts[4] = pstrdup(timestamptz_to_str(event->time));
	reject_keep(s, REJECT_FUTURE_TIME, texts);
}

static void
reject_record(Stream *s, SpoolRecord *record)
{
	char	   *texts[EVENT_NTEXTS];
	int32		lengths[EVENT_NTEXTS];
	char	   *from = RECORD_BYTES(record);

	memcpy(lengths, from, sizeof(lengths));
	from += sizeof(lengths);
	for (int i = 0; i < EVENT_NTEXTS; i++)
	{
		texts[i] = lengths[i] < 0 ? NULL : pnstrdup(from, lengths[i]);
		from += Max(lengths[i], 0);
	}
	reject_keep(s, record->reason, texts);
}

/* Rows of an attached partition that its backfill has already counted? */
static bool
is_backfilled(Stream *s, Oid relid, XLogRecPtr commit_end)
{
	ListCell   *lc;

	foreach(lc, s->attached)
	{
		AttachedPartition *a = lfirst(lc);

		if (a->relid == relid && commit_end <= a->from)
			return true;
	}
	return false;
}

/* An event: the histories follow it, then the consumers. */
static void
apply_event_record(Stream *s, SpoolRecord *record, XLogRecPtr commit_end)
{
	Event		event;

	apply_read_event(s, record, &event);
	if (record->kind != RECORD_RETRACT && s->source->time_column &&
		event_time_in_future(event.time, s->commit_time))
	{
		if (!record->extras_only)
			reject_future(s, &event);
	}
	else
	{
		if (s->quality && record->kind == RECORD_INSERT && !record->extras_only)
			quality_event(s, &event, commit_end);
		if (!record->extras_only)
			apply_event(s, &event, record->kind);
		if (s->nlive > 0)
			feeds_event(s, record, &event, commit_end);
	}
	if (!record->extras_only)
		s->events++;
}

/* Any record but those that begin and end transactions. */
static void
apply_record(Stream *s, SpoolRecord *record, XLogRecPtr commit_end)
{
	if (s->attached != NIL && record->kind != RECORD_ATTACH &&
		is_backfilled(s, record->relid, commit_end))
		return;
	switch (record->kind)
	{
		case RECORD_INSERT:
		case RECORD_RETRACT:
		case RECORD_REPLACE:
			apply_event_record(s, record, commit_end);
			break;
		case RECORD_UNMATCHED:
			s->unmatched++;
			s->events++;
			feeds_unmatched(s, record, commit_end);
			break;
		case RECORD_UNKNOWN_EXTRAS:
			feeds_unmatched(s, record, commit_end);
			break;
		case RECORD_REJECT:
			reject_record(s, record);
			s->events++;
			break;
		case RECORD_TRUNCATE:
			apply_truncate(s, commit_end);
			break;
		case RECORD_FORGET_USER:
			apply_forget_user(s, RECORD_BYTES(record), commit_end);
			break;
		case RECORD_FORGET_ITEM:
			apply_forget_item(s, RECORD_BYTES(record), commit_end);
			break;
		case RECORD_ATTACH:
			feeds_attach(s, commit_end);
			backfill_partition(s, record->relid);
			break;
		case RECORD_REWRITE:
			break;
		default:
			elog(ERROR, "unexpected record kind %d", record->kind);
	}
}

static bool
was_aborted(const StreamedTransaction *txn, TransactionId xid)
{
	return bsearch(&xid, txn->aborted, txn->naborted, sizeof(TransactionId),
				   stream_compare_xids) != NULL;
}

/*
 * Memory is exceeded: write what is dirty and drop what is not in use.  This
 * may be in the middle of an event transaction; apply_commit() completes it.
 */
static void
relieve(Stream *s)
{
	Size		limit = (Size) recsys_memory_kb * 1024;

	if (stream_memory(s) <= limit ||
		s->profiles->bytes + s->users->keys->bytes + stream_models_cached(s) <= limit / 8)
		return;
	flush_dirty(s);
	stream_evict(s, limit);
}

static void
relieve_sometimes(Stream *s, int64 *counter)
{
	if (++*counter % PRESSURE_EVERY != 0)
		return;
	CHECK_FOR_INTERRUPTS();
	relieve(s);
	MemoryContextReset(s->scratch);
}

static void
apply_streamed(Stream *s, StreamedTransaction *txn, XLogRecPtr commit_end)
{
	SpoolRecord *record;
	Lookahead	ahead;
	int64		counter = 0;

	if (txn->spool->nrecords > HUGE_TRANSACTION &&
		txn->spool->nrecords > s->events / HUGE_SHARE)
		models_suspend(s);
	spool_rewind(txn->spool);
	lookahead_start(&ahead, s, txn->spool);
	while ((record = spool_next(txn->spool)) != NULL)
	{
		lookahead_step(&ahead);
		if (txn->naborted == 0 || !was_aborted(txn, record->xid))
			apply_record(s, record, commit_end);
		relieve_sometimes(s, &counter);
	}
}

/* The end of an event transaction: it is applied as a whole. */
static void
apply_commit(Stream *s, SpoolRecord *record)
{
	TransactionId *xids = (TransactionId *) RECORD_BYTES(record);

	for (int i = 0; i < record->user_len; i++)
	{
		uint64		fxid = xidset_full_xid(xids[i]);

		xidset_add(s->applied, fxid, fxid + 1);
	}
	s->applied_lsn = record->lsn;
	s->dirty = true;
	s->publish_due = true;
	shared_inject(s->shared, INJECT_APPLY);
	if (s->writing)
	{
		/* what relieve() wrote is committed together with the position */
		flush_finish(s);
		stream_begin(s);
	}
}

void
apply_queue(Stream *s)
{
	SpoolRecord *record;
	Lookahead	ahead;
	int64		counter = 0;
	XLogRecPtr	commit_end = PG_UINT64_MAX;

	MemoryContextSwitchTo(s->scratch);
	spool_rewind(s->queue);
	lookahead_start(&ahead, s, s->queue);
	while ((record = spool_next(s->queue)) != NULL)
	{
		lookahead_step(&ahead);
		switch (record->kind)
		{
			case RECORD_BEGIN:
				s->commit_time = record->time;
				commit_end = s->host.change_lsn = record->lsn;
				break;
			case RECORD_STREAMED:
				apply_streamed(s, record->streamed, commit_end);
				decode_drop_streamed(s, record->streamed);
				break;
			case RECORD_COMMIT:
				apply_commit(s, record);
				break;
			default:
				apply_record(s, record, commit_end);
		}
		relieve_sometimes(s, &counter);
	}
	spool_clear(s->queue);
	/* not where we came from: that transaction may have been completed */
	MemoryContextSwitchTo(CurTransactionContext);
	MemoryContextReset(s->scratch);
}
