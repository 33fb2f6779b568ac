/*
 * sessions_impl.h
 *	  What sessions.c, which keeps sessions by key, and session_clicks.c, which
 *	  knows what is in one, share.
 */
#ifndef RECSYS_STATE_SESSIONS_IMPL_H
#define RECSYS_STATE_SESSIONS_IMPL_H

#include "postgres.h"
#include "lib/ilist.h"

#include "state/sessions.h"

typedef struct Click
{
	TimestampTz time;
	int32		item;
	int32		user;
} Click;

typedef struct Session
{
	int32		number;
	bool		stored;			/* has a row */
	bool		dirty;
	int32		n,
				max;
	Click	   *clicks;			/* oldest first, of one time in order of arrival */
	/* while it is dirty: as the postings have it */
	int32		nlisted;
	int32	   *listed;
	TimestampTz listed_time;
} Session;

/* All sessions of a key, by the time of their first click. */
typedef struct SessionGroup
{
	int64		key;
	dlist_node	node;			/* among the clean or the dirty ones */
	bool		dirty;
	int32		n,
				max;
	Session   **sessions;
} SessionGroup;

typedef struct SessionGroupEntry
{
	int64		key;
	SessionGroup *group;
	char		status;
} SessionGroupEntry;

/* splitmix64's finalizer */
static inline uint32
hash_of_key(int64 key)
{
	uint64		x = (uint64) key;

	x = (x ^ (x >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return (uint32) (x ^ (x >> 31));
}

#define SH_PREFIX groups
#define SH_ELEMENT_TYPE SessionGroupEntry
#define SH_KEY_TYPE int64
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_of_key(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct SessionCache
{
	MemoryContext context;
	Oid			nspid;
	char		relname[NAMEDATALEN];
	char		indexname[NAMEDATALEN];
	char		key_index[NAMEDATALEN];
	SessionRules rules;
	int32		next;			/* number of the next new session */
	int32		nlisted;		/* sessions listed, as of the last write */
	Size		bytes;
	bool		table_void;		/* rows in the table are obsolete */
	bool		complete;		/* what is not in memory is not in the table */
	groups_hash *groups;
	dlist_head	clean;			/* least recently used first */
	dlist_head	dirty;
	int32		ngone,
				maxgone;
	Session   **gone;
};

/* ---- sessions.c ---------------------------------------------------------- */

extern Session *sessions_create(SessionCache *cache, int32 number);
extern void sessions_free(SessionCache *cache, Session *s);
extern void sessions_release(SessionCache *cache, void *memory);
/* Room for n clicks. */
extern void sessions_reach(SessionCache *cache, Session *s, int32 n);
/* Behind all sessions that do not begin later. */
extern int32 sessions_place_of(const SessionGroup *g, TimestampTz time);
extern void sessions_place(SessionCache *cache, SessionGroup *g, int32 at, Session *s);

/* ---- session_rows.c ------------------------------------------------------ */

/* NULL: the model has been dropped, and we are about to hear of it. */
extern StateTable *sessions_open_table(SessionCache *cache, const char *indexname,
									   LOCKMODE lockmode);
extern void sessions_load(SessionCache *cache, SessionGroup *g);

/* ---- session_clicks.c ---------------------------------------------------- */

/* Where a click of this time comes to stand: behind all that are not newer. */
extern int32 clicks_place(const Session *s, TimestampTz time);
/* The click, or -1; without has_time the newest one of user and item. */
extern int32 clicks_find(const Session *s, int32 user, int32 item, TimestampTz time,
						 bool has_time);

/* The listing of a session: its items in "items", which has room for max_items;
 * 0 if it is not to be listed. */
extern int32 clicks_listing(const Session *s, const SessionRules *rules, int32 *items);

/* How the listing differs from that in s->listed; out has room for both.
 * Returns the number of changes; *appears: +1 the session comes to be listed, -1
 * it is no longer. */
extern int	clicks_changes(const Session *s, const SessionRules *rules, int32 *items,
						   ListingChange *out, int *appears);

#endif							/* RECSYS_STATE_SESSIONS_IMPL_H */
