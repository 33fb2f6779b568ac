/*
 * feeds.c
 *	  The consumers of the source: which there are, and from where on they are
 *	  fed.  See models/consumer.h; feed.c feeds them.
 *
 * The table "consumers" has a row for each that has been filled, with the
 * signature of the declaration that it was filled for.  A consumer without
 * such a row is not live: it is fed with nothing until backfill_feeds() has
 * filled it.  That writes the row in the same transaction as the consumer's
 * tables, so after a crash either both are there, or it begins anew.
 *
 * Decoding collects the columns that any of them wants, in "extras" of the
 * Stream.  They change only while nothing is decoded: what lies in the queue
 * and in the spools of streamed transactions was collected for one set.  A
 * consumer with new columns is filled at a position behind all that was
 * decoded, and decoding begins again where the state stands, so that nothing
 * reaches it that was collected without them.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"

#include "metrics/windows.h"
#include "state/table.h"
#include "stream/stream.h"

#define MODEL_KIND "model"

/* Columns of the table "consumers". */
enum
{
	COL_KIND, COL_ID, COL_NAME, COL_SIGNATURE, COL_FROM, COL_UNMATCHED, NCOLUMNS
};

/* The kinds that there are, beside models. */
static const ConsumerAlgorithm *const kinds[] = {
	&windows_consumer,
	NULL
};

/* ------------------------------------------------------------------- columns */

static void
check_columns(Stream *s, Feed *feed)
{
	for (int i = 0; i < feed->ncolumns; i++)
		if (get_attnum(s->source->events, feed->columns[i]) <= 0)
			ereport(ERROR,
					errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("column \"%s\" of the events table, which %s \"%s\" needs, is gone",
						   feed->columns[i], feed->kind, NameStr(feed->name)),
					errhint("Undo the change, or drop the %s.", feed->kind));
}

static int
find_extra(Stream *s, const char *name)
{
	for (int i = 0; i < s->nextras; i++)
		if (strcmp(s->extras[i], name) == 0)
			return i;
	return -1;
}

/* Does decoding collect other columns than are wanted now? */
bool
feeds_columns_changed(Stream *s)
{
	bool	   *wanted = palloc0(sizeof(bool) * Max(s->nextras, 1));
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		for (int i = 0; i < feed->ncolumns; i++)
		{
			int			place = find_extra(s, feed->columns[i]);

			if (place < 0)
				changed = true;
			else
				wanted[place] = true;
		}
	}
	for (int i = 0; i < s->nextras; i++)
		changed |= !wanted[i];
	pfree(wanted);
	return changed;
}

static void
place_columns(Stream *s, Feed *feed)
{
	for (int i = 0; i < feed->ncolumns; i++)
		feed->places[i] = find_extra(s, feed->columns[i]);
}

/* From here on decoding collects what all of them want.  Nothing that was
 * decoded before may be left. */
void
feeds_install_columns(Stream *s)
{
	ListCell   *lc;
	int			max = 0;
	MemoryContext old;

	foreach(lc, s->feeds)
		max += ((Feed *) lfirst(lc))->ncolumns;
	MemoryContextReset(s->extras_context);
	old = MemoryContextSwitchTo(s->extras_context);
	s->nextras = 0;
	s->extras = palloc(sizeof(char *) * Max(max, 1));
	s->extra_texts = palloc(sizeof(char *) * Max(max, 1));
	s->extra_lengths = palloc(sizeof(int) * Max(max, 1));
	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		for (int i = 0; i < feed->ncolumns; i++)
			if (find_extra(s, feed->columns[i]) < 0)
				s->extras[s->nextras++] = pstrdup(feed->columns[i]);
	}
	MemoryContextSwitchTo(old);
	foreach(lc, s->feeds)
		place_columns(s, lfirst(lc));
	s->relations_stale = true;
}

/* --------------------------------------------------------------------- feeds */

/* The columns, and what else the algorithm says. */
static char *
signature_of(const Feed *feed, const char *more)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < feed->ncolumns; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? "," : "", quote_identifier(feed->columns[i]));
	if (more)
		appendStringInfo(&text, ";%s", more);
	return text.data;
}

static Feed *
feed_create(Stream *s, const char *kind, int32 id, int32 version, const char *name,
			List *columns, const char *more)
{
	MemoryContext context = AllocSetContextCreate(s->context, "recsys consumer",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Feed	   *feed = palloc0(sizeof(Feed));
	ListCell   *lc;

	feed->context = context;
	feed->kind = kind;
	feed->id = id;
	feed->version = version;
	namestrcpy(&feed->name, name);
	feed->columns = palloc(sizeof(char *) * Max(list_length(columns), 1));
	foreach(lc, columns)
		feed->columns[feed->ncolumns++] = pstrdup(lfirst(lc));
	feed->places = palloc0(sizeof(int) * Max(feed->ncolumns, 1));
	feed->texts = palloc0(sizeof(char *) * Max(feed->ncolumns, 1));
	feed->lengths = palloc0(sizeof(int) * Max(feed->ncolumns, 1));
	feed->signature = signature_of(feed, more);
	MemoryContextSwitchTo(old);
	check_columns(s, feed);
	place_columns(s, feed);
	return feed;
}

void
feed_free(Feed *feed)
{
	MemoryContextDelete(feed->context);
}

/* A model that wants events. */
static Feed *
feed_of_model(Stream *s, RunningModel *running)
{
	const ModelAlgorithm *a = running->algorithm;
	Feed	   *feed;

	feed = feed_create(s, MODEL_KIND, running->model->id, running->model->version,
					   NameStr(running->model->name),
					   a->columns ? a->columns(s->source, running->model) : NIL,
					   a->signature ? a->signature(s->source, running->model) : NULL);
	feed->calls.numbers = a->numbers;
	feed->calls.event = a->event;
	feed->calls.write = a->write;
	feed->calls.evict = a->evict;
	feed->calls.memory = a->memory;
	feed->calls.reset = a->reset;
	feed->calls.forget_user = a->forget_user;
	feed->forget_item = a->forget_item;
	feed->state = running->state;
	return feed;
}

static Feed *
feed_of_declaration(Stream *s, const ConsumerAlgorithm *a, const ConsumerDeclaration *declaration)
{
	Feed	   *feed;
	MemoryContext old;

	feed = feed_create(s, a->kind, declaration->id, declaration->version,
					   NameStr(declaration->name),
					   a->columns ? a->columns(s->source, declaration) : NIL,
					   a->signature ? a->signature(s->source, declaration) : NULL);
	feed->calls = *a;
	old = MemoryContextSwitchTo(s->context);
	feed->state = a->open(&s->host, declaration);
	MemoryContextSwitchTo(old);
	return feed;
}

static void
close_feed(Feed *feed)
{
	if (feed->calls.close)
		feed->calls.close(feed->state);
	feed_free(feed);
}

/* Beside models, whose feeds go with them. */
static bool
is_model(const Feed *feed)
{
	return feed->calls.open == NULL;
}

static Feed *
find_feed(List *feeds, const char *kind, const ConsumerDeclaration *declaration)
{
	ListCell   *lc;

	foreach(lc, feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (!is_model(feed) && strcmp(feed->kind, kind) == 0 && feed->id == declaration->id &&
			feed->version == declaration->version)
			return feed;
	}
	return NULL;
}

/* Before the state is built anew.  Models are closed by models_close(). */
void
feeds_close_all(Stream *s)
{
	ListCell   *lc;

	foreach(lc, s->feeds)
		if (!is_model(lfirst(lc)))
			close_feed(lfirst(lc));
	list_free(s->feeds);
	s->feeds = NIL;
	s->nlive = 0;
}

/* ---------------------------------------------------------------- their rows */

static void
count_live(Stream *s)
{
	ListCell   *lc;

	s->nlive = 0;
	s->feeds_due = false;
	foreach(lc, s->feeds)
	{
		if (((Feed *) lfirst(lc))->live)
			s->nlive++;
		else
			s->feeds_due = true;
	}
	if (feeds_columns_changed(s))
		s->feeds_due = true;
}

static Feed *
feed_of_row(Stream *s, const char *kind, int32 id)
{
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (feed->id == id && strcmp(feed->kind, kind) == 0)
			return feed;
	}
	return NULL;
}

/*
 * Which consumers have been filled?  Other rows go at once: from here on the
 * position moves on without their tables.
 */
static void
read_rows(Stream *s)
{
	StateTable *t = table_open_state(s->source->nspid, "consumers", "consumers_pkey",
									 RowExclusiveLock);
	List	   *gone = NIL;
	ListCell   *lc;

	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 0, NULL);
		 slot; slot = table_get_next(t))
	{
		char	   *kind;
		Feed	   *feed;
		Datum	   *keys;

		slot_getallattrs(slot);
		kind = TextDatumGetCString(slot->tts_values[COL_KIND]);
		feed = feed_of_row(s, kind, DatumGetInt32(slot->tts_values[COL_ID]));
		if (feed && feed->live)
			continue;
		if (feed == NULL || feed->row_dirty ||
			strcmp(TextDatumGetCString(slot->tts_values[COL_SIGNATURE]), feed->signature) != 0)
		{
			keys = palloc(sizeof(Datum) * 2);
			keys[0] = CStringGetTextDatum(kind);
			keys[1] = slot->tts_values[COL_ID];
			gone = lappend(gone, keys);
			continue;
		}
		feed->from = DatumGetLSN(slot->tts_values[COL_FROM]);
		feed->unmatched = DatumGetInt64(slot->tts_values[COL_UNMATCHED]);
		feed->live = true;
	}
	foreach(lc, gone)
		(void) table_delete(t, 2, lfirst(lc));
	table_close_state(t, RowExclusiveLock);
}

/* In the transaction that stores the position. */
void
feeds_write_rows(Stream *s)
{
	StateTable *t = NULL;
	ListCell   *lc;

	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);
		Datum		values[NCOLUMNS];

		if (!feed->row_dirty)
			continue;
		if (t == NULL)
			t = table_open_state(s->source->nspid, "consumers", "consumers_pkey",
								 RowExclusiveLock);
		values[COL_KIND] = CStringGetTextDatum(feed->kind);
		values[COL_ID] = Int32GetDatum(feed->id);
		values[COL_NAME] = NameGetDatum(&feed->name);
		values[COL_SIGNATURE] = CStringGetTextDatum(feed->signature);
		values[COL_FROM] = LSNGetDatum(feed->from);
		values[COL_UNMATCHED] = Int64GetDatum(feed->unmatched);
		if (feed->live)
			table_put(t, 2, values, NULL);
		else
			(void) table_delete(t, 2, values);
		feed->row_dirty = false;
	}
	if (t)
		table_close_state(t, RowExclusiveLock);
}

/* ---------------------------------------------------------------- follow them */

static List *
declared_feeds(Stream *s)
{
	List	   *feeds = NIL;
	ListCell   *lc;

	for (int i = 0; i < (int) lengthof(kinds) && kinds[i]; i++)
		foreach(lc, kinds[i]->declared(s->source))
		{
			ConsumerDeclaration *declaration = lfirst(lc);
			Feed	   *feed = find_feed(s->feeds, kinds[i]->kind, declaration);

			if (feed)
				s->feeds = list_delete_ptr(s->feeds, feed);
			else
				feed = feed_of_declaration(s, kinds[i], declaration);
			feeds = lappend(feeds, feed);
		}
	return feeds;
}

/*
 * Inside a transaction, after models_reload(): the consumers as they are
 * declared now.  feeds_due says whether something is left to do for them.
 */
void
feeds_reload(Stream *s)
{
	List	   *feeds = declared_feeds(s);
	ListCell   *lc;
	MemoryContext old;

	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->algorithm->event == NULL ||
			(running->algorithm->plain && running->algorithm->plain(running->model)))
			continue;
		if (running->feed == NULL)
			running->feed = feed_of_model(s, running);
		else
			s->feeds = list_delete_ptr(s->feeds, running->feed);
		feeds = lappend(feeds, running->feed);
	}
	/* the feeds of models that are gone went with them */
	foreach(lc, s->feeds)
		if (!is_model(lfirst(lc)))
			close_feed(lfirst(lc));
	list_free(s->feeds);
	old = MemoryContextSwitchTo(s->context);
	s->feeds = list_copy(feeds);
	MemoryContextSwitchTo(old);
	read_rows(s);
	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (feed->live && !is_model(feed) && feed->calls.load && !feed->loaded)
		{
			feed->calls.load(feed->state);
			/* the next flush does what another declaration asks for, such as
			 * to drop what has become too old, and wait_for() waits for that */
			s->dirty = true;
		}
		feed->loaded = feed->live;
	}
	count_live(s);
}

/*
 * Those that are not live, or all of them, begin anew: they are fed with rows
 * as of lsn, and then with the transactions that end after it.
 */
void
feeds_begin_filling(Stream *s, XLogRecPtr lsn, bool all)
{
	ListCell   *lc;

	feeds_install_columns(s);
	foreach(lc, s->feeds)
	{
		Feed	   *feed = lfirst(lc);

		if (feed->live && !all)
			continue;
		check_columns(s, feed);
		feed->filling = feed->live = feed->loaded = feed->row_dirty = true;
		feed->from = lsn;
		feed->unmatched = 0;
		feed->calls.reset(feed->state);
	}
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->feed && running->feed->filling)
			running->built = true;
	}
	count_live(s);
}

void
feeds_end_filling(Stream *s)
{
	ListCell   *lc;

	foreach(lc, s->feeds)
		((Feed *) lfirst(lc))->filling = false;
	s->publish_due = true;
}

/*
 * The consumer cannot follow the stream any further: it is fed no more, and
 * filled anew.  What it has published goes on serving.
 */
void
feed_suspend(Stream *s, Feed *feed)
{
	feed->live = feed->loaded = false;
	feed->row_dirty = true;
	s->dirty = true;
	count_live(s);
}
