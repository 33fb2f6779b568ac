/*
 * session_rows.c
 *	  Sessions of a model: rows of their table, and writing them, see sessions.h.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "state/array.h"
#include "state/checked.h"
#include "state/sessions_impl.h"

/* Changes of listings that are handed on together, of 24 bytes: the more of them, the less
 * often a list is rewritten while much is filled in. */
#define MIN_CHANGES 4096
#define MAX_CHANGES (1024 * 1024)

const Oid	session_types[SESSION_NCOLUMNS] = {
	INT4OID, INT4ARRAYOID, INT8ARRAYOID, INT8OID, INT4OID, INT4ARRAYOID
};

/* NULL: the model has been dropped, and we are about to hear of it. */
StateTable *
sessions_open_table(SessionCache *cache, const char *indexname, LOCKMODE lockmode)
{
	StateTable *t;

	if (!OidIsValid(get_relname_relid(cache->relname, cache->nspid)))
		return NULL;
	t = table_open_state(cache->nspid, cache->relname, indexname, lockmode);
	checked_types(t, SESSION_NCOLUMNS, session_types);
	return t;
}

static void
damaged(void)
{
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("a row of the sessions of a model is not as it was written"),
			errhint("Drop the model with recsys.drop_model() and create it again."));
}

const int32 *
session_row_items(TupleTableSlot *slot, int *n)
{
	const int32 *items = checked_array(checked_attribute(slot, SESSION_ITEMS + 1), INT4OID, n);

	for (int i = 0; i < *n; i++)
		if (items[i] <= 0)
			damaged();
	return items;
}

static Session *
read_session(SessionCache *cache, TupleTableSlot *slot)
{
	int			n,
				ntimes,
				nusers;
	const int32 *items = session_row_items(slot, &n);
	const TimestampTz *times = checked_array(checked_attribute(slot, SESSION_TIMES + 1), INT8OID, &ntimes);
	int32		user = DatumGetInt32(checked_attribute(slot, SESSION_USER + 1));
	bool		one_user;
	Datum		users_datum = slot_getattr(slot, SESSION_USERS + 1, &one_user);
	const int32 *users = one_user ? NULL : checked_array(users_datum, INT4OID, &nusers);
	Session    *s;

	if (n == 0 || ntimes != n || (users && nusers != n))
		damaged();
	s = sessions_create(cache, DatumGetInt32(checked_attribute(slot, SESSION_NUMBER + 1)));
	s->stored = true;
	sessions_reach(cache, s, n);
	for (int i = 0; i < n; i++)
		s->clicks[i] = (Click) {times[i], items[i], users ? users[i] : user};
	s->n = n;
	return s;
}

void
sessions_load(SessionCache *cache, SessionGroup *g)
{
	StateTable *t = sessions_open_table(cache, cache->key_index, AccessShareLock);
	MemoryContext scratch,
				old;
	Datum		key = Int64GetDatum(g->key);

	if (t == NULL)
		return;
	/* where long arrays are unpacked to */
	scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys rows", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 1, &key);
		 slot; slot = table_get_next(t))
	{
		Session    *s = read_session(cache, slot);

		sessions_place(cache, g, sessions_place_of(g, s->clicks[0].time), s);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	table_close_state(t, AccessShareLock);
}

static void
write_session(StateTable *t, int64 key, Session *s)
{
	int32	   *items = palloc(sizeof(int32) * s->n);
	int32	   *users = palloc(sizeof(int32) * s->n);
	TimestampTz *times = palloc(sizeof(TimestampTz) * s->n);
	Datum		values[SESSION_NCOLUMNS];
	bool		nulls[SESSION_NCOLUMNS] = {0};

	nulls[SESSION_USERS] = true;
	for (int32 i = 0; i < s->n; i++)
	{
		items[i] = s->clicks[i].item;
		users[i] = s->clicks[i].user;
		times[i] = s->clicks[i].time;
		if (users[i] != users[0])
			nulls[SESSION_USERS] = false;
	}
	values[SESSION_NUMBER] = Int32GetDatum(s->number);
	values[SESSION_ITEMS] = array_datum(items, s->n, sizeof(int32), INT4OID);
	values[SESSION_TIMES] = array_datum(times, s->n, sizeof(TimestampTz), INT8OID);
	values[SESSION_KEY] = Int64GetDatum(key);
	values[SESSION_USER] = Int32GetDatum(users[0]);
	values[SESSION_USERS] = nulls[SESSION_USERS] ? (Datum) 0 :
		array_datum(users, s->n, sizeof(int32), INT4OID);
	if (s->stored)
		table_put(t, 1, values, nulls);
	else
		table_insert(t, values, nulls);
	s->stored = true;
	s->dirty = false;
}

/* -------------------------------------------------------------------- write */

typedef struct Writing
{
	SessionCache *cache;
	StateTable *t;
	MemoryContext scratch;
	int32	   *items;			/* a listing */
	int			nchanges,
				maxchanges;
	ListingChange *changes;
	ListingSink sink;
	void	   *arg;
} Writing;

static void
hand_on(Writing *w)
{
	if (w->nchanges > 0)
		w->sink(w->arg, w->changes, w->nchanges);
	w->nchanges = 0;
}

static void
make_room(Writing *w)
{
	if (w->maxchanges >= MAX_CHANGES)
	{
		hand_on(w);
		return;
	}
	w->maxchanges *= 2;
	w->changes = repalloc_huge(w->changes, sizeof(ListingChange) * (Size) w->maxchanges);
}

static void
list_changes(Writing *w, Session *s)
{
	SessionCache *cache = w->cache;
	int			appears;

	if (w->nchanges + 2 * cache->rules.max_items > w->maxchanges)
		make_room(w);
	w->nchanges += clicks_changes(s, &cache->rules, w->items, w->changes + w->nchanges,
								  &appears);
	cache->nlisted += appears;
	sessions_release(cache, s->listed);
	s->listed = NULL;
	s->nlisted = 0;
	s->listed_time = 0;
}

static void
write_group(Writing *w, SessionGroup *g)
{
	CHECK_FOR_INTERRUPTS();
	for (int32 i = 0; i < g->n; i++)
	{
		Session    *s = g->sessions[i];
		MemoryContext old;

		if (!s->dirty)
			continue;
		list_changes(w, s);
		old = MemoryContextSwitchTo(w->scratch);
		write_session(w->t, g->key, s);
		MemoryContextSwitchTo(old);
		MemoryContextReset(w->scratch);
	}
	g->dirty = false;
	dlist_delete(&g->node);
	dlist_push_tail(&w->cache->clean, &g->node);
}

/* Its key stays in memory, as one that has no session. */
static void
write_gone(Writing *w, Session *s)
{
	Datum		number = Int32GetDatum(s->number);

	list_changes(w, s);
	if (s->stored)
		table_delete(w->t, 1, &number);
	sessions_free(w->cache, s);
}

void
session_cache_write(SessionCache *cache, ListingSink sink, void *arg)
{
	Writing		w = {.cache = cache,.sink = sink,.arg = arg};
	dlist_mutable_iter iter;

	if (dlist_is_empty(&cache->dirty) && cache->ngone == 0 && !cache->table_void)
		return;
	w.t = sessions_open_table(cache, cache->indexname, RowExclusiveLock);
	if (w.t == NULL)
	{
		session_cache_void(cache);
		return;
	}
	if (cache->table_void)
		table_delete(w.t, 0, NULL);
	cache->table_void = false;
	w.items = palloc(sizeof(int32) * cache->rules.max_items);
	w.maxchanges = Max(MIN_CHANGES, 2 * cache->rules.max_items);
	w.changes = palloc(sizeof(ListingChange) * w.maxchanges);
	w.scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys rows", ALLOCSET_DEFAULT_SIZES);
	for (int32 i = 0; i < cache->ngone; i++)
		write_gone(&w, cache->gone[i]);
	cache->ngone = 0;
	dlist_foreach_modify(iter, &cache->dirty)
		write_group(&w, dlist_container(SessionGroup, node, iter.cur));
	table_close_state(w.t, RowExclusiveLock);
	hand_on(&w);
	MemoryContextDelete(w.scratch);
	pfree(w.changes);
	pfree(w.items);
}
