/*
 * forget.c
 *	  forget_user, forget_item and TRUNCATE, where the stream reaches them.
 *
 * Keys and histories go from memory and tables in the transaction that applies
 * the message, which then also stores the position.  Numbers stay retired.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "state/table.h"
#include "stream/stream.h"

void
apply_forget_user(Stream *s, const char *text, XLogRecPtr lsn)
{
	KeyValue	key;
	int32		user;

	s->writing = true;
	rejects_forget(s, true, text);
	if (!key_from_text(&s->source->user, text, &key))
		return;
	user = users_find(s->users, &key);
	feeds_forget_user(s, user, &key, lsn);
	if (user != 0)
	{
		Profile    *p = profiles_get(s->profiles, user);

		while (p->n > 0)
			apply_change(s, p, p->items[p->n - 1], 0, 0, 0);
		users_forget(s->users, &key, user);
		/* the same key may come again in this very transaction */
		stream_renew_snapshot(s);
	}
}

static void
forget_in_profile(Stream *s, int32 user, int32 item)
{
	Profile    *p = profiles_get(s->profiles, user);

	if (profile_find(p, item) >= 0)
		apply_change(s, p, item, 0, 0, 0);
}

/*
 * An item is forgotten in every history that holds it: those in memory, then
 * those in the table that are not in memory.
 */
void
apply_forget_item(Stream *s, const char *text, XLogRecPtr lsn)
{
	KeyValue	key;
	int32		item;
	StateTable *t;
	TableScanDesc scan;
	ListCell   *lc;

	s->writing = true;
	rejects_forget(s, false, text);
	if (!key_from_text(&s->source->item, text, &key))
		return;
	item = items_find(s->items, &key);
	feeds_forget_item(s, item, &key, lsn);
	if (item == 0)
		return;

	for (int32 user = 1; user <= profiles_max_user(s->profiles); user++)
	{
		if (user % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (profiles_peek(s->profiles, user))
			forget_in_profile(s, user, item);
	}
	if (!s->profiles->complete)
	{
		t = table_open_state(s->source->nspid, "profiles", NULL, AccessShareLock);
		scan = table_beginscan(t->rel, GetActiveSnapshot(), 0, NULL);
		while (table_scan_getnextslot(scan, ForwardScanDirection, t->slot))
		{
			ProfileRow	row;

			CHECK_FOR_INTERRUPTS();
			profile_row_read(t->slot, &row);
			for (int i = 0; i < row.n; i++)
				if (row.items[i] == item)
				{
					forget_in_profile(s, row.user, item);
					break;
				}
		}
		table_endscan(scan);
		table_close_state(t, AccessShareLock);
	}
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && !running->feed && running->algorithm->forget_item)
			running->algorithm->forget_item(running->state, item);
	}
	items_forget(s->items, item);
}

void
apply_truncate(Stream *s, XLogRecPtr lsn)
{
	ListCell   *lc;

	profiles_end(s->profiles);
	profiles_void(s->profiles);
	items_void(s->items);
	MemoryContextReset(s->rereads_context);
	s->rereads = NIL;
	foreach(lc, s->models)
	{
		RunningModel *running = lfirst(lc);

		if (running->built && !running->feed && running->algorithm->reset)
			running->algorithm->reset(running->state);
	}
	feeds_reset(s, lsn);
}
