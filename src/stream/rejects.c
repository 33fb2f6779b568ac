/*
 * rejects.c
 *	  Rejected events: counted by reason, the newest kept with their text.
 *
 * Both go to tables of the extension with the flush that stores the position,
 * so a crash counts nothing twice.  A rejected event is numbered by the total
 * of rejected events of its source.
 */
#include "postgres.h"

#include "catalog/pg_authid_d.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "recsys.h"
#include "stream/stream.h"

typedef struct RejectedEvent
{
	int64		number;
	RejectReason reason;
	TimestampTz at;
	char	   *texts[EVENT_NTEXTS];
} RejectedEvent;

void
reject_keep(Stream *s, RejectReason reason, char **texts)
{
	MemoryContext old;
	RejectedEvent *event;

	s->rejected++;
	s->reasons[reason]++;
	if (recsys_rejected_limit == 0)
		return;
	old = MemoryContextSwitchTo(s->rejects_context);
	event = palloc(sizeof(RejectedEvent));
	event->number = s->rejected;
	event->reason = reason;
	event->at = GetCurrentTimestamp();
	for (int i = 0; i < EVENT_NTEXTS; i++)
		event->texts[i] = texts[i] ? pstrdup(texts[i]) : NULL;
	s->rejects = lappend(s->rejects, event);
	MemoryContextSwitchTo(old);

	/* what would be deleted at once need not be stored */
	while (list_length(s->rejects) > recsys_rejected_limit)
	{
		event = linitial(s->rejects);
		for (int i = 0; i < EVENT_NTEXTS; i++)
			if (event->texts[i])
				pfree(event->texts[i]);
		pfree(event);
		s->rejects = list_delete_first(s->rejects);
	}
}

static void
run(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	if (SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
}

static void
write_counts(Stream *s)
{
	for (int reason = 1; reason < REJECT_NREASONS; reason++)
	{
		Oid			types[] = {INT4OID, TEXTOID, INT8OID};
		Datum		values[] = {
			Int32GetDatum(s->source->id),
			CStringGetTextDatum(reject_reason_name(reason)),
			Int64GetDatum(s->reasons[reason])
		};

		if (s->reasons[reason] > 0)
			run("INSERT INTO recsys.rejection AS r (source_id, reason, events) VALUES ($1, $2, $3) "
				"ON CONFLICT (source_id, reason) DO UPDATE SET events = r.events + excluded.events",
				3, types, values, NULL);
	}
}

static void
write_event(Stream *s, RejectedEvent *event)
{
	Oid			types[] = {INT4OID, INT8OID, TEXTOID, TIMESTAMPTZOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		Int32GetDatum(s->source->id),
		Int64GetDatum(event->number),
		CStringGetTextDatum(reject_reason_name(event->reason)),
		TimestampTzGetDatum(event->at), 0, 0, 0, 0, 0
	};
	char		nulls[] = "         ";

	for (int i = 0; i < EVENT_NTEXTS; i++)
	{
		if (event->texts[i])
			values[4 + i] = CStringGetTextDatum(event->texts[i]);
		else
			nulls[4 + i] = 'n';
	}
	run("INSERT INTO recsys.rejected_event (source_id, event_no, reason, rejected_at, "
		"user_key, item_key, event_type, event_value, event_time) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		9, types, values, nulls);
}

/* Inside the flush's transaction; the tables belong to the extension. */
void
rejects_write(Stream *s)
{
	Oid			user;
	int			context;
	ListCell   *lc;
	Oid			types[] = {INT4OID, INT8OID};
	Datum		values[] = {
		Int32GetDatum(s->source->id),
		Int64GetDatum(s->rejected - recsys_rejected_limit)
	};
	bool		any = s->rejects_void;

	for (int reason = 1; reason < REJECT_NREASONS; reason++)
		any |= s->reasons[reason] > 0;
	if (!any)
		return;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	if (s->rejects_void)
	{
		run("DELETE FROM recsys.rejected_event WHERE source_id = $1", 1, types, values, NULL);
		run("DELETE FROM recsys.rejection WHERE source_id = $1", 1, types, values, NULL);
		s->rejects_void = false;
	}
	write_counts(s);
	foreach(lc, s->rejects)
		write_event(s, lfirst(lc));
	run("DELETE FROM recsys.rejected_event WHERE source_id = $1 AND event_no <= $2",
		2, types, values, NULL);
	SPI_finish();
	SetUserIdAndSecContext(user, context);
	memset(s->reasons, 0, sizeof(s->reasons));
	MemoryContextReset(s->rejects_context);
	s->rejects = NIL;
}

/* forget_user and forget_item: rejected events hold keys, too. */
void
rejects_forget(Stream *s, bool by_user, const char *key)
{
	Oid			user;
	int			context;
	ListCell   *lc;
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(s->source->id), CStringGetTextDatum(key)};

	foreach(lc, s->rejects)
	{
		RejectedEvent *event = lfirst(lc);
		char	   *text = event->texts[by_user ? 0 : 1];

		if (text && strcmp(text, key) == 0)
			s->rejects = foreach_delete_current(s->rejects, lc);
	}
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	run(by_user ?
		"DELETE FROM recsys.rejected_event WHERE source_id = $1 AND user_key = $2" :
		"DELETE FROM recsys.rejected_event WHERE source_id = $1 AND item_key = $2",
		2, types, values, NULL);
	SPI_finish();
	SetUserIdAndSecContext(user, context);
}
