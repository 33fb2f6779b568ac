/*
 * feed.c
 *	  Events -> consumers, see models/consumer.h.
 *
 * A consumer that came later was filled as of a position of its own: what
 * ended at or before that is in its tables already.  apply.c calls this for
 * each event after the histories have followed it, only where there are
 * consumers.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "stream/stream.h"

/* Columns that the feed wants, of all that were collected. */
static bool
choose_columns(Feed *feed, const char *const *texts, const int *lengths)
{
	for (int i = 0; i < feed->ncolumns; i++)
	{
		int			place = feed->places[i];

		if (lengths[place] < EXTRA_NULL)
			return false;
		feed->texts[i] = texts[place];
		feed->lengths[i] = lengths[place];
	}
	return true;
}

/* Has the relation not all columns that the feed wants? */
static bool
is_missing(const Feed *feed, const int *lengths)
{
	for (int i = 0; i < feed->ncolumns; i++)
		if (lengths[feed->places[i]] == EXTRA_MISSING)
			return true;
	return false;
}

/* What decoding has appended to the keys: the lengths, then the texts. */
static void
read_extras(Stream *s, SpoolRecord *record, const char **texts, int *lengths)
{
	char	   *from = RECORD_BYTES(record) + record->user_len + record->item_len;

	memcpy(lengths, from, sizeof(int) * s->nextras);
	from += sizeof(int) * s->nextras;
	for (int i = 0; i < s->nextras; i++)
	{
		texts[i] = NULL;
		if (lengths[i] < 0)
			continue;
		texts[i] = from;
		from += lengths[i] + 1;
	}
}

/* Numbers of events that count exist, or are given; others may have none. */
static void
find_numbers(Stream *s, const Event *event, ConsumerEvent *out)
{
	if (out->user != 0 || out->item != 0)
		return;
	if (out->sign > 0 && !event->ignored)
	{
		out->user = users_get(s->users, &event->user);
		out->item = items_get(s->items, &event->item);
	}
	else
	{
		out->user = users_find(s->users, &event->user);
		out->item = items_find(s->items, &event->item);
	}
}

static void
feed_one(Stream *s, Feed *feed, ConsumerEvent *event)
{
	ConsumerEvent given = *event;

	if (feed->calls.numbers)
	{
		find_numbers(s, event->event, event);
		given.user = event->user;
		given.item = event->item;
	}
	given.texts = feed->texts;
	given.lengths = feed->lengths;
	feed->calls.event(feed->state, &given);
}

static void
count_unmatched(Stream *s, Feed *feed)
{
	feed->unmatched++;
	feed->row_dirty = true;
	s->dirty = true;
}

/* An event of the stream, whose transaction ends at lsn. */
void
feeds_event(Stream *s, SpoolRecord *record, const Event *event, XLogRecPtr lsn)
{
	bool		retracts = record->kind == RECORD_RETRACT;
	const char **texts = s->extra_texts;
	int		   *lengths = s->extra_lengths;
	ConsumerEvent out = {.event = event,.sign = retracts ? -1 : 1,.lsn = lsn};
	ListCell   *lc;

	/* it was rejected when it came */
	if (retracts && s->source->time_column &&
		event_time_in_future(event->time, s->commit_time))
		return;
	read_extras(s, record, texts, lengths);
	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (!feed->live || lsn <= feed->from)
			continue;
		if (record->kind == RECORD_REPLACE)
			count_unmatched(s, feed);
		else if (choose_columns(feed, texts, lengths))
			feed_one(s, feed, &out);
		else if (is_missing(feed, lengths))
			feed_suspend(s, feed);
		else if (retracts)
			count_unmatched(s, feed);
	}
}

/* A change that could not be followed: by nobody, or by those that want what
 * an old row did not hold. */
void
feeds_unmatched(Stream *s, const SpoolRecord *record, XLogRecPtr lsn)
{
	const bool *known = (const bool *) RECORD_BYTES(record);
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);
		bool		concerned = record->kind == RECORD_UNMATCHED;

		if (!feed->live || lsn <= feed->from)
			continue;
		if (!concerned)
			for (int i = 0; i < feed->ncolumns; i++)
				concerned |= !known[feed->places[i]];
		if (concerned)
			count_unmatched(s, feed);
	}
}

/*
 * A row of the events table: for those that are being filled, or of an
 * attached partition for all that take the ATTACH from the stream.
 */
void
feeds_row(Stream *s, ExtraColumns *extras, const Event *event,
		  const Datum *values, const bool *isnull, bool filling, XLogRecPtr lsn)
{
	const char **texts = s->extra_texts;
	int		   *lengths = s->extra_lengths;
	ConsumerEvent out = {.event = event,.sign = 1,.lsn = lsn,.backfill = true};
	ListCell   *lc;

	if (extras)
		extra_columns_read(extras, values, isnull, false, texts, lengths);
	for (int i = 0; i < s->nextras; i++)
	{
		if (lengths[i] >= 0)
			texts[i] = pnstrdup(texts[i], lengths[i]);
		else
			lengths[i] = EXTRA_NULL;	/* detached since, and changed */
	}
	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (!feed->live || feed->filling != filling)
			continue;
		(void) choose_columns(feed, texts, lengths);
		feed_one(s, feed, &out);
	}
}

/* A partition is attached whose rows are going to be read: those that were
 * filled with them already cannot tell them from what the stream brings. */
void
feeds_attach(Stream *s, XLogRecPtr lsn)
{
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (feed->live && lsn <= feed->from)
			feed_suspend(s, feed);
	}
}

void
feeds_reset(Stream *s, XLogRecPtr lsn)
{
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (feed->live && lsn > feed->from)
			feed->calls.reset(feed->state);
	}
}

void
feeds_forget_user(Stream *s, int32 user, const KeyValue *key, XLogRecPtr lsn)
{
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (feed->live && lsn > feed->from && feed->calls.forget_user)
			feed->calls.forget_user(feed->state, user, key);
	}
}

void
feeds_forget_item(Stream *s, int32 item, const KeyValue *key, XLogRecPtr lsn)
{
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (!feed->live || lsn <= feed->from)
			continue;
		if (feed->forget_item && item != 0)
			feed->forget_item(feed->state, item);
		if (feed->calls.forget_item)
			feed->calls.forget_item(feed->state, item, key);
	}
}

/* ---------------------------------------------------------- tables, memory */

void
feeds_write(Stream *s)
{
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (feed->live)
			feed->calls.write(feed->state);
	}
}

Size
feeds_memory(Stream *s)
{
	Size		total = 0;
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (feed->live && feed->calls.memory)
			total += feed->calls.memory(feed->state);
	}
	return total;
}

Size
feeds_cached(Stream *s)
{
	Size		total = 0;
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (feed->live && feed->calls.evict)
			total += feed->calls.memory(feed->state);
	}
	return total;
}

/* All of them together are to have so many bytes. */
void
feeds_evict(Stream *s, Size target)
{
	Size		total = feeds_cached(s);
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);
		Size		bytes;

		if (!feed->live || feed->calls.evict == NULL)
			continue;
		bytes = feed->calls.memory(feed->state);
		feed->calls.evict(feed->state, (Size) ((double) target * bytes / Max(total, 1)));
	}
}
