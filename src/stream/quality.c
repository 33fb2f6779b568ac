/*
 * quality.c
 *	  How good the models are at foretelling the events that come in
 *	  (prequential evaluation): of a sample of the events, before one is
 *	  applied, the worker asks whether its item is among the k that recommend()
 *	  would put out for the user.
 *
 * What is asked is what serving is asked, the published rows, with the history
 * that the worker holds at that moment (serve/ask.c).  Left out are events that
 * do not count (types without weight), rejected ones, new values of ratings
 * and other events on items that the user's history has: recommend() would not
 * show those.
 *
 * Which events are asked of is decided by a hash of the event and the end of
 * its transaction, and by how many were asked of in the minute of its commit.
 * Both are the same when a crash has the worker apply an event again.  Counts
 * are kept per minute of event time, in memory until the flush that stores the
 * position, so each event counts once.  Nothing is taken back when an event is
 * retracted later: the answer was what it was.
 *
 * After a crash, what was published may be ahead of the events that come again,
 * by no more than a flush interval.
 *
 * A question that fails (somebody dropped the model this moment) must not stop
 * the stream: it runs in a subtransaction and does not count.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "serve/ask.h"
#include "state/table.h"
#include "stream/stream.h"

#define EXPIRE_INTERVAL (USECS_PER_HOUR)

/* Columns of quality_windows. */
enum
{
	COL_MODEL, COL_K, COL_WINDOW, COL_EVENTS, COL_HITS, COL_RANKS, COL_MS, NCOLUMNS
};

/* What was counted since the last flush. */
typedef struct Count
{
	struct CountKey
	{
		NameData	model;
		TimestampTz window;
	}			key;
	int64		events;
	int64		hits;
	double		ranks;
	double		ms;
} Count;

struct Quality
{
	MemoryContext context;
	RecsysQuality *settings;
	List	   *models;			/* RecsysModel, all of the source */
	List	   *asked;			/* ... those to be asked */
	struct HTAB *counts;
	TimestampTz minute;			/* of the newest commit of which was asked */
	int			nasked;			/* in it */
	bool		dirty;
	TimestampTz expired_at;		/* when old figures were dropped last */
};

static TimestampTz
minute_of(TimestampTz time)
{
	TimestampTz rest = time % USECS_PER_MINUTE;

	return time - (rest < 0 ? rest + USECS_PER_MINUTE : rest);
}

/* ------------------------------------------------------------------ settings */

static void
read_state(Stream *s, Quality *q)
{
	StateTable *t = table_open_state(s->source->nspid, "quality_state", "quality_state_pkey",
									 AccessShareLock);
	Datum		key = BoolGetDatum(true);
	TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 1, &key);

	if (slot)
	{
		slot_getallattrs(slot);
		q->minute = DatumGetTimestampTz(slot->tts_values[1]);
		q->nasked = DatumGetInt32(slot->tts_values[2]);
	}
	table_close_state(t, AccessShareLock);
}

static bool
is_chosen(const RecsysQuality *settings, const RecsysModel *model)
{
	ListCell   *lc;

	if (settings->models == NIL)
		return true;
	foreach(lc, settings->models)
		if (strcmp(lfirst(lc), NameStr(model->name)) == 0)
			return true;
	return false;
}

void
quality_close(Stream *s)
{
	if (s->quality)
		MemoryContextDelete(s->quality->context);
	s->quality = NULL;
}

/* Inside a transaction, with everything flushed: follow the catalogue. */
void
quality_reload(Stream *s)
{
	RecsysQuality *settings;
	MemoryContext context,
				old;
	Quality    *q;
	HASHCTL		ctl = {.keysize = sizeof(struct CountKey),.entrysize = sizeof(Count)};
	ListCell   *lc;

	quality_close(s);
	context = AllocSetContextCreate(s->context, "recsys quality", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	settings = catalog_quality(s->source);
	/* dropped a moment ago: we are about to hear of it */
	if (settings == NULL ||
		!OidIsValid(get_relname_relid("quality_windows", s->source->nspid)))
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		return;
	}
	q = palloc0(sizeof(Quality));
	q->context = context;
	q->settings = settings;
	foreach(lc, s->models)
	{
		RecsysModel *model = ((RunningModel *) lfirst(lc))->model;

		q->models = lappend(q->models, model);
		if (is_chosen(settings, model))
			q->asked = lappend(q->asked, model);
	}
	ctl.hcxt = context;
	q->counts = hash_create("recsys quality", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	read_state(s, q);
	MemoryContextSwitchTo(old);
	s->quality = q;
}

/* -------------------------------------------------------------------- sample */

static uint64
hash_number(uint64 number, uint64 seed)
{
	return hash_bytes_extended((const unsigned char *) &number, sizeof(number), seed);
}

static uint64
hash_key(const KeyValue *key, uint64 seed)
{
	if (key->len > 0)
		return hash_bytes_extended((const unsigned char *) key->bytes, key->len, seed);
	return hash_number((uint64) key->num, seed);
}

static bool
is_sampled(const Quality *q, const Event *event, XLogRecPtr lsn)
{
	uint64		hash = hash_number((uint64) event->time, lsn);

	hash = hash_key(&event->item, hash_key(&event->user, hash));
	return (double) (hash >> 11) < q->settings->sample * 9007199254740992.0;
}

/* May one more be asked of in the minute of this commit? */
static bool
has_room(Quality *q, TimestampTz commit_time)
{
	TimestampTz minute = minute_of(commit_time);

	/* commits come in order but for clocks that are set back */
	if (minute > q->minute)
	{
		q->minute = minute;
		q->nasked = 0;
	}
	if (q->nasked >= q->settings->per_minute)
		return false;
	q->nasked++;
	q->dirty = true;
	return true;
}

/* -------------------------------------------------------------------- asking */

static void
count(Quality *q, const RecsysModel *model, TimestampTz time, int place, double ms)
{
	struct CountKey key;
	Count	   *c;
	bool		found;

	memset(&key, 0, sizeof(key));
	namestrcpy(&key.model, NameStr(model->name));
	key.window = minute_of(time);
	c = hash_search(q->counts, &key, HASH_ENTER, &found);
	if (!found)
	{
		c->events = c->hits = 0;
		c->ranks = c->ms = 0;
	}
	c->events++;
	c->hits += place > 0;
	c->ranks += place > 0 ? 1.0 / place : 0;
	c->ms += ms;
}

/* -1: it could not be asked. */
static int
ask(Stream *s, const RecsysModel *model, int32 user, const History *history, int32 item)
{
	Quality    *q = s->quality;
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile int place = -1;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		place = ask_place(s->source, q->models, model, user, history, s->landmark, item,
						  q->settings->k, s->commit_time);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		ereport(LOG,
				errmsg("model \"%s\" of source \"%s\" could not be asked: %s",
					   NameStr(model->name), NameStr(s->source->name), error->message));
		FreeErrorData(error);
		place = -1;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return place;
}

/* An event that is about to be applied. */
void
quality_event(Stream *s, const Event *event, XLogRecPtr lsn)
{
	Quality    *q = s->quality;
	int32		user,
				item;
	Profile    *p;
	History		history = {0};
	ListCell   *lc;

	if (event->ignored || !is_sampled(q, event, lsn))
		return;
	user = users_find(s->users, &event->user);
	item = items_find(s->items, &event->item);
	p = user != 0 ? profiles_get(s->profiles, user) : NULL;
	if (p && item != 0 && profile_find(p, item) >= 0)
		return;
	if (!has_room(q, s->commit_time))
		return;
	if (p)
		history = (History)
	{
		p->n, p->items, p->weights, p->times
	};
	foreach(lc, q->asked)
	{
		const RecsysModel *model = lfirst(lc);
		instr_time	start,
					end;
		int			place = 0;

		if (model->state != MODEL_READY)
			continue;
		INSTR_TIME_SET_CURRENT(start);
		/* nobody recommends what nobody knows */
		if (item != 0)
			place = ask(s, model, user, &history, item);
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		if (place >= 0)
			count(q, model, event->time, place, INSTR_TIME_GET_MILLISEC(end));
	}
}

/* ------------------------------------------------------------------- writing */

static void
write_count(StateTable *t, int k, const Count *c)
{
	Datum		values[NCOLUMNS];
	TupleTableSlot *slot;
	int64		events = c->events,
				hits = c->hits;
	double		ranks = c->ranks,
				ms = c->ms;

	values[COL_MODEL] = NameGetDatum(&c->key.model);
	values[COL_K] = Int32GetDatum(k);
	values[COL_WINDOW] = TimestampTzGetDatum(c->key.window);
	slot = table_get(t, GetActiveSnapshot(), 3, values);
	if (slot)
	{
		slot_getallattrs(slot);
		events += DatumGetInt64(slot->tts_values[COL_EVENTS]);
		hits += DatumGetInt64(slot->tts_values[COL_HITS]);
		ranks += DatumGetFloat8(slot->tts_values[COL_RANKS]);
		ms += DatumGetFloat8(slot->tts_values[COL_MS]);
	}
	values[COL_EVENTS] = Int64GetDatum(events);
	values[COL_HITS] = Int64GetDatum(hits);
	values[COL_RANKS] = Float8GetDatum(ranks);
	values[COL_MS] = Float8GetDatum(ms);
	table_put(t, 3, values, NULL);
}

static void
write_counts(Stream *s, Quality *q)
{
	StateTable *t = table_open_state(s->source->nspid, "quality_windows",
									 "quality_windows_pkey", RowExclusiveLock);
	HASH_SEQ_STATUS status;
	Count	   *c;

	hash_seq_init(&status, q->counts);
	while ((c = hash_seq_search(&status)) != NULL)
	{
		write_count(t, q->settings->k, c);
		/* removing the entry just returned is allowed */
		hash_search(q->counts, &c->key, HASH_REMOVE, NULL);
	}
	table_close_state(t, RowExclusiveLock);
}

static void
write_state(Stream *s, Quality *q)
{
	StateTable *t = table_open_state(s->source->nspid, "quality_state", "quality_state_pkey",
									 RowExclusiveLock);
	Datum		values[] = {BoolGetDatum(true), TimestampTzGetDatum(q->minute),
	Int32GetDatum(q->nasked)};

	table_put(t, 1, values, NULL);
	table_close_state(t, RowExclusiveLock);
}

static void
expire(Stream *s, Quality *q)
{
	TimestampTz now = GetCurrentTimestamp();
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(now - q->settings->keep)};
	char	   *sql;

	if (q->settings->keep == 0 || now - q->expired_at < EXPIRE_INTERVAL)
		return;
	q->expired_at = now;
	sql = psprintf("DELETE FROM %s.quality_windows WHERE window_start OPERATOR(pg_catalog.<) $1",
				   quote_identifier(NameStr(s->source->name)));
	SPI_connect();
	if (SPI_execute_with_args(sql, 1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not execute: %s", sql);
	SPI_finish();
}

/* In the transaction that stores the position. */
void
quality_write(Stream *s)
{
	Quality    *q = s->quality;

	if (q == NULL || !q->dirty)
		return;
	q->dirty = false;
	/* untracked a moment ago: we are about to hear of it */
	if (!OidIsValid(get_relname_relid("quality_windows", s->source->nspid)))
		return;
	write_counts(s, q);
	write_state(s, q);
	expire(s, q);
}
