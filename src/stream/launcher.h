/*
 * launcher.h
 *	  What the files of the launcher's side share: the head of the shared
 *	  memory, the wake-up of workers at commit, and the standstill of a
 *	  database.  Other rooms need shared.h only.
 */
#ifndef RECSYS_LAUNCHER_H
#define RECSYS_LAUNCHER_H

#include "stream/shared.h"

/* Databases waiting for a scout; beyond that, all of them are scouted. */
#define LAUNCHER_REQUESTS 64

/* Scouts at one time, each in a database of its own. */
#define LAUNCHER_SCOUTS 3

/* DROP DATABASE and the like at one time. */
#define LAUNCHER_BLOCKS 16

/* Given by the launcher, taken by the scout that it starts. */
typedef struct ScoutSlot
{
	Oid			dboid;			/* InvalidOid: free */
	pid_t		pid;			/* 0: not started yet, or ended */
	bool		done;			/* it did all that there was to do */
} ScoutSlot;

typedef struct SharedControl
{
	LWLock	   *lock;
	Latch	   *launcher;		/* NULL: not running.  Read without the lock, like
								 * the latches of workers */
	pg_atomic_uint32 generation;	/* moves when the set of (database, events)
									 * does; 0 = never scouted */
	int			crashes;		/* of the server in quick succession, at its start */

	/* (L) */
	uint64		requests_made;	/* of scouts, ever */
	uint64		requests_served;	/* as many of them have been served */
	bool		scout_all;
	bool		no_room;		/* some source found no entry */
	int			nrequests;
	Oid			requests[LAUNCHER_REQUESTS];
	ScoutSlot	scouts[LAUNCHER_SCOUTS];
	Oid			blocked[LAUNCHER_BLOCKS];	/* no worker may run in there */
} SharedControl;

extern SharedControl *shared_control;	/* NULL: not preloaded */

/* shared.c; the caller holds the lock (any mode / exclusively) */
extern bool shared_blocked(Oid dboid);
extern SourceShared *shared_lookup(Oid dboid, int32 source_id);
extern SourceShared *shared_allocate(Oid dboid, int32 source_id);
extern void shared_free(SourceShared *s);
extern void shared_back_off(SourceShared *s, bool failed);

/* shared.c; the worker runs and has done so for long */
extern bool shared_healthy(const SourceShared *s);

/* shared.c; the caller does not hold the lock */
extern void shared_request_scout(Oid dboid);	/* InvalidOid: all databases */
extern void shared_notify_all_at_commit(void);
extern bool shared_scouts_pending(void);	/* some commit has not been looked at */
extern void shared_wake_launcher(void);
extern void shared_wake(SourceShared *s);
extern bool shared_wait_gone(SourceShared *s, int timeout_ms);

/* wake.c: workers to be woken when the current transaction commits */
extern bool wake_active(void);		/* this database has sources */
extern bool wake_touch_relation(Oid relid);
extern void wake_touch_entry(SourceShared *s);
extern void wake_touch_all(void);

/* ddl.c, standstill.c */
extern void ddl_install_hook(void);
extern int	standstill_begin(Oid dboid);
extern void standstill_end(int block);
extern void standstill_forget(Oid dboid);

#endif							/* RECSYS_LAUNCHER_H */
