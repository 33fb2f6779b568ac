/*
 * reread.c
 *	  Explicit ratings whose last row was deleted: what the table says now.
 *
 * The stream does not know which older rating becomes the last one, so the
 * worker asks the table, when it flushes.  The table is never behind the stream
 * (horizon_push_snapshot() sees to that), and often ahead of it: the answer may
 * be a rating whose insertion is still to come.  Applying that
 * again changes nothing, and a deletion that is still to come asks again, so
 * the state ends where the table ends.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "stream/stream.h"

typedef struct Reread
{
	int32		user;
	int32		item;
	Datum		user_key;
	Datum		item_key;
} Reread;

void
reread_later(Stream *s, int32 user, int32 item,
			 const KeyValue *user_key, const KeyValue *item_key)
{
	MemoryContext old = MemoryContextSwitchTo(s->rereads_context);
	Reread	   *r = palloc(sizeof(Reread));

	r->user = user;
	r->item = item;
	r->user_key = key_to_datum(&s->source->user, user_key);
	r->item_key = key_to_datum(&s->source->item, item_key);
	s->rereads = lappend(s->rereads, r);
	MemoryContextSwitchTo(old);
}

static char *
query_text(RecsysSource *source)
{
	StringInfoData sql;
	const char *columns[] = {
		NameStr(source->user.name), NameStr(source->item.name),
		source->type_column, source->value_column, source->time_column
	};

	initStringInfo(&sql);
	for (int i = 0; i < (int) lengthof(columns); i++)
		if (columns[i])
			appendStringInfo(&sql, "%s%s", i == 0 ? "SELECT " : ", ",
							 quote_identifier(columns[i]));
	appendStringInfo(&sql, " FROM %s.%s WHERE %s OPERATOR(pg_catalog.=) $1 AND %s OPERATOR(pg_catalog.=) $2 ORDER BY ",
					 quote_identifier(get_namespace_name(get_rel_namespace(source->events))),
					 quote_identifier(get_rel_name(source->events)),
					 quote_identifier(columns[0]), quote_identifier(columns[1]));
	if (source->time_column)
		appendStringInfo(&sql, "%s DESC NULLS LAST, ", quote_identifier(source->time_column));
	appendStringInfoString(&sql, "tableoid DESC, ctid DESC");
	return sql.data;
}

/* The newest acceptable rating of the pair, if there is one. */
static bool
find_rating(Stream *s, SPIPlanPtr plan, Reread *r, Event *event)
{
	Datum		values[] = {r->user_key, r->item_key};
	Portal		portal = SPI_cursor_open(NULL, plan, values, NULL, true);
	EventMap   *map = NULL;
	bool		found = false;

	do
	{
		SPI_cursor_fetch(portal, true, 1);
		if (SPI_processed == 0)
			break;
		if (map == NULL)
			map = event_map_create(s->source, SPI_tuptable->tupdesc, CurrentMemoryContext, false);
		found = event_clean_tuple(map, SPI_tuptable->vals[0], false,
								  GetCurrentTimestamp(), event) == REJECT_NONE &&
			!event->ignored;
	} while (!found);
	SPI_cursor_close(portal);
	return found;
}

static void
reread_one(Stream *s, SPIPlanPtr plan, Reread *r)
{
	Profile    *p = profiles_get(s->profiles, r->user);
	int			at = profile_find(p, r->item);
	Event		event;

	if (at < 0)
		return;					/* evicted or forgotten meanwhile */
	if (find_rating(s, plan, r, &event))
		apply_change(s, p, r->item, event.weight, 1,
					 s->source->time_column ? event.time : p->times[at]);
	else
		apply_change(s, p, r->item, 0, 0, 0);
	s->publish_due = true;
}

/* Inside the flush's transaction, before anything is written. */
void
reread_all(Stream *s)
{
	Oid			types[2];
	SPIPlanPtr	plan;
	ListCell   *lc;
	MemoryContext spi_context;

	if (s->rereads == NIL)
		return;
	types[0] = s->source->user.type;
	types[1] = s->source->item.type;
	horizon_push_snapshot(s);
	SPI_connect();
	spi_context = CurrentMemoryContext;
	plan = SPI_prepare(query_text(s->source), 2, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare the rereading of ratings: %s",
			 SPI_result_code_string(SPI_result));
	foreach(lc, s->rereads)
	{
		CHECK_FOR_INTERRUPTS();
		reread_one(s, plan, lfirst(lc));
		MemoryContextSwitchTo(spi_context);
	}
	SPI_finish();
	PopActiveSnapshot();
	MemoryContextReset(s->rereads_context);
	s->rereads = NIL;
}
