/*
 * sessions.c
 *	  Sessions by key: a write-back cache of bounded size over a table, see
 *	  sessions.h.
 *
 * What is in memory, and what is evicted, is all that is stored of one key: one
 * session, or with gaps all of one user.  A session that has lost its last click stays in
 * "gone" until its row is deleted.  Numbers are never used again.
 *
 * Only clean keys are evicted, so memory can exceed its target until the next write.
 * They lie in the order of their last use.  How rows are read and written stands in
 * session_rows.c.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "state/checked.h"
#include "state/sessions_impl.h"

#define MIN_CLICKS 2

static void
make_empty(SessionCache *cache)
{
	cache->bytes = 0;
	cache->groups = groups_create(cache->context, 1024, NULL);
	dlist_init(&cache->clean);
	dlist_init(&cache->dirty);
	cache->ngone = cache->maxgone = 0;
	cache->gone = NULL;
}

SessionCache *
session_cache_create(MemoryContext parent, Oid nspid, const char *relname, const char *indexname,
					 const char *key_index, const SessionRules *rules, int32 next,
					 int32 nlisted)
{
	SessionCache *cache = MemoryContextAllocZero(parent, sizeof(SessionCache));

	cache->context = AllocSetContextCreate(parent, "recsys sessions", ALLOCSET_DEFAULT_SIZES);
	cache->nspid = nspid;
	strlcpy(cache->relname, relname, NAMEDATALEN);
	strlcpy(cache->indexname, indexname, NAMEDATALEN);
	strlcpy(cache->key_index, key_index, NAMEDATALEN);
	cache->rules = *rules;
	cache->next = next;
	cache->nlisted = nlisted;
	make_empty(cache);
	return cache;
}

int32
session_cache_next(const SessionCache *cache)
{
	return cache->next;
}

int32
session_cache_listed(const SessionCache *cache)
{
	return cache->nlisted;
}

/* ------------------------------------------------------------------- memory */

static void *
get_memory(SessionCache *cache, Size size)
{
	void	   *memory = MemoryContextAllocHuge(cache->context, size);

	cache->bytes += GetMemoryChunkSpace(memory);
	return memory;
}

void
sessions_release(SessionCache *cache, void *memory)
{
	if (memory == NULL)
		return;
	cache->bytes -= GetMemoryChunkSpace(memory);
	pfree(memory);
}

Session *
sessions_create(SessionCache *cache, int32 number)
{
	Session    *s = get_memory(cache, sizeof(Session));

	memset(s, 0, sizeof(Session));
	s->number = number;
	return s;
}

static int32
new_number(SessionCache *cache)
{
	if (cache->next == INT32_MAX)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("too many sessions: number %d", cache->next));
	return cache->next++;
}

void
sessions_free(SessionCache *cache, Session *s)
{
	sessions_release(cache, s->clicks);
	sessions_release(cache, s->listed);
	sessions_release(cache, s);
}

void
sessions_reach(SessionCache *cache, Session *s, int32 n)
{
	Click	   *clicks;

	if (n <= s->max)
		return;
	s->max = Max(Max(n, MIN_CLICKS), s->max * 2);
	clicks = get_memory(cache, sizeof(Click) * (Size) s->max);
	if (s->n > 0)
		memcpy(clicks, s->clicks, sizeof(Click) * (Size) s->n);
	sessions_release(cache, s->clicks);
	s->clicks = clicks;
}

/* ------------------------------------------------------------------- groups */

void
sessions_place(SessionCache *cache, SessionGroup *g, int32 at, Session *s)
{
	if (g->n == g->max)
	{
		int32		max = Max(1, g->max * 2);
		Session   **sessions = get_memory(cache, sizeof(Session *) * (Size) max);

		if (g->n > 0)
			memcpy(sessions, g->sessions, sizeof(Session *) * (Size) g->n);
		sessions_release(cache, g->sessions);
		g->sessions = sessions;
		g->max = max;
	}
	memmove(g->sessions + at + 1, g->sessions + at, sizeof(Session *) * (Size) (g->n - at));
	g->sessions[at] = s;
	g->n++;
}

static void
free_group(SessionCache *cache, SessionGroup *g)
{
	dlist_delete(&g->node);
	groups_delete(cache->groups, g->key);
	for (int32 i = 0; i < g->n; i++)
		sessions_free(cache, g->sessions[i]);
	sessions_release(cache, g->sessions);
	sessions_release(cache, g);
}

/* Behind all sessions that do not begin later. */
int32
sessions_place_of(const SessionGroup *g, TimestampTz time)
{
	int32		low = 0,
				high = g->n;

	while (low < high)
	{
		int32		mid = low + (high - low) / 2;

		if (g->sessions[mid]->clicks[0].time <= time)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void
mark_dirty(SessionCache *cache, SessionGroup *g, Session *s)
{
	if (!g->dirty)
	{
		g->dirty = true;
		dlist_delete(&g->node);
		dlist_push_tail(&cache->dirty, &g->node);
	}
	if (s->dirty)
		return;
	s->dirty = true;
	if (s->n > 0 && s->stored)
	{
		int32	   *items = get_memory(cache, sizeof(int32) * Min(s->n, cache->rules.max_items));

		s->nlisted = clicks_listing(s, &cache->rules, items);
		s->listed = items;
		s->listed_time = s->nlisted > 0 ? s->clicks[s->n - 1].time : 0;
	}
}

static SessionGroup *
get_group(SessionCache *cache, int64 key)
{
	bool		found;
	SessionGroupEntry *entry = groups_insert(cache->groups, key, &found);
	SessionGroup	   *g = found ? entry->group : NULL;

	if (found)
	{
		if (!g->dirty)
			dlist_move_tail(&cache->clean, &g->node);
		return g;
	}
	g = get_memory(cache, sizeof(SessionGroup));
	memset(g, 0, sizeof(SessionGroup));
	g->key = key;
	entry->group = g;
	dlist_push_tail(&cache->clean, &g->node);
	if (!cache->complete)
		sessions_load(cache, g);
	return g;
}

/* ------------------------------------------------------------------ changes */

/* The session has no clicks any more. */
static void
dismiss(SessionCache *cache, SessionGroup *g, int32 at)
{
	Session    *s = g->sessions[at];

	memmove(g->sessions + at, g->sessions + at + 1, sizeof(Session *) * (Size) (g->n - at - 1));
	g->n--;
	if (!s->stored)
	{
		sessions_free(cache, s);
		return;
	}
	if (cache->ngone == cache->maxgone)
	{
		int32		max = Max(64, cache->maxgone * 2);
		Session   **gone = get_memory(cache, sizeof(Session *) * (Size) max);

		if (cache->ngone > 0)
			memcpy(gone, cache->gone, sizeof(Session *) * (Size) cache->ngone);
		sessions_release(cache, cache->gone);
		cache->gone = gone;
		cache->maxgone = max;
	}
	cache->gone[cache->ngone++] = s;
}

/* Sessions at and at + 1 have come together. */
static void
join_sessions(SessionCache *cache, SessionGroup *g, int32 at)
{
	Session    *a = g->sessions[at],
			   *b = g->sessions[at + 1];
	int32		lost = Max(a->n + b->n - SESSION_MAX_CLICKS, 0);

	mark_dirty(cache, g, a);
	mark_dirty(cache, g, b);
	lost = Min(lost, a->n);
	memmove(a->clicks, a->clicks + lost, sizeof(Click) * (Size) (a->n - lost));
	a->n -= lost;
	sessions_reach(cache, a, a->n + b->n);
	memcpy(a->clicks + a->n, b->clicks, sizeof(Click) * (Size) b->n);
	a->n += b->n;
	b->n = 0;
	dismiss(cache, g, at + 1);
}

/* The clicks of session "at" from "from" on become one of their own. */
static void
part_session(SessionCache *cache, SessionGroup *g, int32 at, int32 from)
{
	Session    *a = g->sessions[at];
	Session    *b = sessions_create(cache, new_number(cache));

	sessions_reach(cache, b, a->n - from);
	memcpy(b->clicks, a->clicks + from, sizeof(Click) * (Size) (a->n - from));
	b->n = a->n - from;
	a->n = from;
	sessions_place(cache, g, at + 1, b);
	mark_dirty(cache, g, b);
}

static void
insert_click(SessionCache *cache, SessionGroup *g, Session *s, const Click *click)
{
	int32		at = clicks_place(s, click->time);

	mark_dirty(cache, g, s);
	if (s->n == SESSION_MAX_CLICKS)
	{
		if (at == 0)
			return;				/* older than all that are kept */
		memmove(s->clicks, s->clicks + 1, sizeof(Click) * (Size) --at);
		s->clicks[at] = *click;
		return;
	}
	sessions_reach(cache, s, s->n + 1);
	memmove(s->clicks + at + 1, s->clicks + at, sizeof(Click) * (Size) (s->n - at));
	s->clicks[at] = *click;
	s->n++;
}

static void
add_session(SessionCache *cache, SessionGroup *g, int32 at, const Click *click)
{
	Session    *s = sessions_create(cache, new_number(cache));

	insert_click(cache, g, s, click);
	sessions_place(cache, g, at, s);
}

static bool
within_gap(const SessionCache *cache, TimestampTz from, TimestampTz to)
{
	return to - from <= cache->rules.gap;
}

static void
add_click(SessionCache *cache, SessionGroup *g, const Click *click)
{
	int32		at;
	Session    *s;

	if (!cache->rules.by_gap)
	{
		if (g->n == 0)
			add_session(cache, g, 0, click);
		else
			insert_click(cache, g, g->sessions[0], click);
		return;
	}
	at = sessions_place_of(g, click->time);
	s = at > 0 ? g->sessions[at - 1] : NULL;
	if (s && within_gap(cache, s->clicks[s->n - 1].time, click->time))
	{
		insert_click(cache, g, s, click);
		if (at < g->n && within_gap(cache, s->clicks[s->n - 1].time, g->sessions[at]->clicks[0].time))
			join_sessions(cache, g, at - 1);
	}
	else if (at < g->n && within_gap(cache, click->time, g->sessions[at]->clicks[0].time))
		insert_click(cache, g, g->sessions[at], click);
	else
		add_session(cache, g, at, click);
}

static void
remove_click(SessionCache *cache, SessionGroup *g, int32 at, int32 click)
{
	Session    *s = g->sessions[at];

	mark_dirty(cache, g, s);
	s->n--;
	memmove(s->clicks + click, s->clicks + click + 1, sizeof(Click) * (Size) (s->n - click));
	if (s->n == 0)
		dismiss(cache, g, at);
	else if (cache->rules.by_gap && click > 0 && click < s->n &&
			 !within_gap(cache, s->clicks[click - 1].time, s->clicks[click].time))
		part_session(cache, g, at, click);
}

static void
retract_click(SessionCache *cache, SessionGroup *g, const Click *click)
{
	int32		at = cache->rules.by_gap ? sessions_place_of(g, click->time) - 1 : 0;
	int32		found;

	if (at < 0 || at >= g->n)
		return;
	found = clicks_find(g->sessions[at], click->user, click->item, click->time,
						cache->rules.has_time);
	if (found >= 0)
		remove_click(cache, g, at, found);
}

void
session_cache_click(SessionCache *cache, int64 key, int32 user, int32 item, TimestampTz time,
					int sign)
{
	SessionGroup	   *g = get_group(cache, key);
	Click		click = {time, item, user};

	if (sign > 0)
		add_click(cache, g, &click);
	else
		retract_click(cache, g, &click);
}

/* ------------------------------------------------------------------- forget */

/* Clicks of the user, or on the item; the other of the two is 0. */
static void
forget_in_group(SessionCache *cache, SessionGroup *g, int32 user, int32 item)
{
	for (int32 at = g->n - 1; at >= 0; at--)
	{
		Session    *s = g->sessions[at];

		/* what is parted from it lies behind, and has been seen */
		for (int32 i = s->n - 1; i >= 0; i--)
			if (s->clicks[i].user == user || s->clicks[i].item == item)
			{
				bool		last = s->n == 1;

				remove_click(cache, g, at, i);
				if (last)
					break;
			}
	}
}

static bool
array_has(const int32 *values, int n, int32 value)
{
	for (int i = 0; i < n; i++)
		if (values[i] == value)
			return true;
	return false;
}

static bool
row_concerns(TupleTableSlot *slot, int32 user, int32 item)
{
	int			n;
	bool		one_user;
	Datum		users;
	const int32 *values;

	if (user == 0)
	{
		values = session_row_items(slot, &n);
		return array_has(values, n, item);
	}
	if (DatumGetInt32(checked_attribute(slot, SESSION_USER + 1)) == user)
		return true;
	users = slot_getattr(slot, SESSION_USERS + 1, &one_user);
	if (one_user)
		return false;
	values = checked_array(users, INT4OID, &n);
	return array_has(values, n, user);
}

/* What is in memory is newer than the rows. */
static void
forget_everywhere(SessionCache *cache, int32 user, int32 item)
{
	groups_iterator iter;
	SessionGroupEntry *entry;
	StateTable *t;
	TableScanDesc scan;

	groups_start_iterate(cache->groups, &iter);
	while ((entry = groups_iterate(cache->groups, &iter)) != NULL)
		forget_in_group(cache, entry->group, user, item);
	if (cache->complete)
		return;
	t = sessions_open_table(cache, NULL, AccessShareLock);
	if (t == NULL)
		return;
	scan = table_beginscan(t->rel, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, t->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (row_concerns(t->slot, user, item))
		{
			int64		key = DatumGetInt64(checked_attribute(t->slot, SESSION_KEY + 1));

			forget_in_group(cache, get_group(cache, key), user, item);
		}
	}
	table_endscan(scan);
	table_close_state(t, AccessShareLock);
}

void
session_cache_forget_user(SessionCache *cache, int32 user)
{
	if (cache->rules.by_gap)
		forget_in_group(cache, get_group(cache, user), user, 0);
	else
		forget_everywhere(cache, user, 0);
}

void
session_cache_forget_item(SessionCache *cache, int32 item)
{
	forget_everywhere(cache, 0, item);
}

void
session_cache_void(SessionCache *cache)
{
	MemoryContextReset(cache->context);
	make_empty(cache);
	cache->table_void = cache->complete = true;
	cache->nlisted = 0;
}

void
session_cache_evict(SessionCache *cache, Size target)
{
	while (session_cache_bytes(cache) > target && !dlist_is_empty(&cache->clean))
	{
		free_group(cache, dlist_head_element(SessionGroup, node, &cache->clean));
		cache->complete = false;
	}
}

Size
session_cache_bytes(const SessionCache *cache)
{
	return cache->bytes + sizeof(SessionGroupEntry) * (Size) cache->groups->size;
}
