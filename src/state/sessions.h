/*
 * sessions.h
 *	  Sessions with their clicks: a write-back cache over a table that a model
 *	  owns.
 *
 * A session is known by a key.  Either the key is all (the value of a column, as
 * its hash), or it is the user's number, and the clicks of a user are parted where
 * more than a gap of time lies between two of them.  There a late click can join two
 * sessions, and one that is retracted can part one.
 *
 * What postings and counts of items (postings.h, item_counts.h) are to hold of a session is
 * its listing: its different items and the time of its newest click, if it has
 * neither too few nor too many of them.  Changes of listings come out when sessions are
 * written, so that many clicks between two writes cost no more than one.
 */
#ifndef RECSYS_STATE_SESSIONS_H
#define RECSYS_STATE_SESSIONS_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "state/table.h"

/* Of a session the newest clicks are kept. */
#define SESSION_MAX_CLICKS 1000

/* Columns of the table, and their types. */
enum
{
	SESSION_NUMBER, SESSION_ITEMS, SESSION_TIMES, SESSION_KEY, SESSION_USER,
	SESSION_USERS, SESSION_NCOLUMNS
};

extern const Oid session_types[SESSION_NCOLUMNS];

typedef struct SessionRules
{
	bool		by_gap;			/* keys are users */
	int64		gap;			/* microseconds; one as long still belongs to it */
	bool		has_time;		/* else retracted clicks come with another time */
	int32		min_items,		/* of a session that is listed */
				max_items;
} SessionRules;

/* An item of a session comes into its postings, or goes. */
typedef struct ListingChange
{
	int32		item;
	int32		session;
	TimestampTz time;
	bool		leaves;
	bool		counts;			/* else it only moves to another time */
} ListingChange;

/* Gets changes in no order, some at a time, as memory that lasts for the call. */
typedef void (*ListingSink) (void *arg, ListingChange *changes, int n);

typedef struct SessionCache SessionCache;

/* New sessions have numbers from "next" on; nlisted of those stored are listed. */
extern SessionCache *session_cache_create(MemoryContext parent, Oid nspid, const char *relname,
										  const char *indexname, const char *key_index,
										  const SessionRules *rules, int32 next, int32 nlisted);
extern int32 session_cache_next(const SessionCache *cache);
extern int32 session_cache_listed(const SessionCache *cache);	/* as of the last write */

/* A click appears (sign 1) or is retracted (-1); one that is not there is none. */
extern void session_cache_click(SessionCache *cache, int64 key, int32 user, int32 item,
								TimestampTz time, int sign);
/* All clicks of a user, or on an item. */
extern void session_cache_forget_user(SessionCache *cache, int32 user);
extern void session_cache_forget_item(SessionCache *cache, int32 item);
/* There are no sessions, and the table's rows are obsolete.  Numbers go on. */
extern void session_cache_void(SessionCache *cache);

/* Dirty rows -> table, and what changed in their listings -> sink. */
extern void session_cache_write(SessionCache *cache, ListingSink sink, void *arg);
extern void session_cache_evict(SessionCache *cache, Size target);	/* clean ones */
extern Size session_cache_bytes(const SessionCache *cache);

/* Items of a stored row, one for each click, oldest first; in place. */
extern const int32 *session_row_items(TupleTableSlot *slot, int *n);

#endif							/* RECSYS_STATE_SESSIONS_H */
