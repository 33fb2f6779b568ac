/*
 * shared.h
 *	  What backends, launcher and stream workers know of each other: one
 *	  fixed array in shared memory with an entry per source.
 *
 * Locking: shared->lock (an LWLock) guards the allocation of entries and the
 * fields marked (L).  Fields marked (S) are guarded by the entry's spinlock
 * and are written by the entry's stream worker (requests: by anyone).
 */
#ifndef RECSYS_SHARED_H
#define RECSYS_SHARED_H

#include "postgres.h"
#include "access/xlogdefs.h"
#include "catalog/pg_type_d.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "stream/times.h"

#define RECSYS_ERROR_LEN 512

typedef enum SourceState
{
	SOURCE_CREATING,			/* no slot yet */
	SOURCE_BACKFILLING,
	SOURCE_BUILDING,			/* derived structures after a start */
	SOURCE_STREAMING,
	SOURCE_PAUSED,
	SOURCE_STOPPED,				/* no worker runs */
	SOURCE_RESYNCING
} SourceState;

/* Steps at which a test can have the worker killed, see shared_inject(). */
typedef enum InjectionStep
{
	INJECT_SLOT_CREATE,			/* slot exists, not persistent */
	INJECT_SLOT_PERSIST,		/* slot persistent, backfill not committed */
	INJECT_BACKFILL,			/* once per 1,000 rows */
	INJECT_APPLY,				/* once per transaction applied in memory */
	INJECT_PUBLISH,				/* before the commit of a publish */
	INJECT_FLUSH,				/* before the commit of a flush */
	INJECT_CONFIRM,				/* after that commit, before the slot moves */
	INJECT_RESYNC,				/* before the commit of a resync */
	INJECT_CONSUMER,			/* before the commit of consumers' filling */
	INJECT_TRAIN,				/* a training: its leader, once per iteration */
	INJECT_TRAIN_HELPER,		/* any other process of it, likewise */
	INJECT_SWAP,				/* before the commit of a new version */
	INJECT_NSTEPS
} InjectionStep;

typedef struct SourceShared
{
	/* identity, (L) */
	bool		in_use;
	Oid			dboid;
	int32		source_id;
	NameData	name;
	Oid			events;			/* registered table, for the wake-up test */
	bool		wanted;			/* exists and is not paused; a worker that finds
								 * this false flushes and exits with code 0 */
	bool		paused;
	bool		dropped;		/* no row any more: to be cleared away */
	bool		starting;		/* registered, and not attached yet */
	TimestampTz unwanted_since;
	pid_t		pid;			/* of the running worker, or 0 */
	Latch	   *latch;			/* of the running worker, or NULL; may be read
								 * and set without the lock, since latches of
								 * processes are never freed */
	TimestampTz started_at;		/* of that worker or the last one */
	TimestampTz start_after;	/* backoff: not before */
	int			failures;		/* in a row */

	slock_t		mutex;
	/* (S) */
	SourceState state;
	char		phase[32];		/* of progress: "backfill", "pairs", ... */
	int64		progress_done;
	int64		progress_total; /* 0 = nothing in progress */
	TimestampTz phase_started;
	XLogRecPtr	read_lsn;		/* decoded up to here */
	XLogRecPtr	applied_lsn;	/* in the worker's memory */
	XLogRecPtr	flushed_lsn;	/* in the tables, and confirmed */
	XLogRecPtr	published_lsn;	/* everything up to here is published within
								 * the tolerance */
	XLogRecPtr	shown_lsn;		/* the same but for small moves that are put off */
	XLogRecPtr	request_lsn;	/* flush and publish once applied >= this */
	int64		events_applied;	/* in all, by this worker and those before it */
	double		events_rate;	/* per second, smoothed over some seconds */
	TimestampTz rate_at;		/* of events_rate; readers decay it from there */
	TimestampTz commit_time;	/* of the newest transaction applied */
	int64		rejected;		/* totals, from the state row on */
	int64		unmatched;
	Size		memory;
	bool		models_dirty;	/* a commit changed recsys.model or source */
	int			resync_wanted;	/* requests by resync(); served = resync_done */
	int			resync_done;
	char		warning[RECSYS_ERROR_LEN];	/* of what runs, "" if there is none */
	char		last_error[RECSYS_ERROR_LEN];
	TimestampTz last_error_at;

	ConditionVariable changed;	/* broadcast when flushed/published/state move */
	pg_atomic_uint64 commit_lsn;	/* newest commit that touched the events */
	pg_atomic_uint64 pending_since; /* when that stopped being applied at once */
	pg_atomic_uint32 inject[INJECT_NSTEPS];	/* kill at the n-th pass; 0 = off */
	pg_atomic_uint32 inject_wait[INJECT_NSTEPS];	/* not 0: wait at the step */
	WorkerTimes times;
} SourceShared;

/* Behind the name of a source's slot: those that only give a snapshot. */
#define RECSYS_RESYNC_SLOT "_resync"
#define RECSYS_FILLING_SLOT "_consumer"

/* (dboid, source_id) -> entry, or NULL.  Entries never move. */
extern SourceShared *shared_find(Oid dboid, int32 source_id);
extern SourceShared *shared_entry(int index);	/* 0 .. recsys_max_sources-1 */
extern const char *shared_state_name(SourceState state);

extern void shared_request(void);	/* from shmem_request_hook */
extern void shared_startup(void);	/* from shmem_startup_hook */

/* --- used by the stream worker ------------------------------------------ */

/*
 * Takes the entry: pid and latch, everything reported by an earlier worker
 * reset, clean-up at exit.  Does not return (exits with code 0) where the
 * worker is not wanted any more.  From then on the text of the ERROR or FATAL
 * that ends the process is kept as last_error.
 */
extern void shared_attach(SourceShared *s);
extern void shared_set_state(SourceShared *s, SourceState state);	/* broadcasts */

/* phase NULL: nothing in progress.  A new phase starts its clock. */
extern void shared_progress(SourceShared *s, const char *phase, int64 done, int64 total);
/* A lasting state that the owner should know of; NULL: it is over. */
extern void shared_report_warning(SourceShared *s, const char *message);
extern void shared_report_error(SourceShared *s, const char *message);

/* Kills this process with SIGKILL if a test asked for it at this step. */
extern void shared_inject(SourceShared *s, InjectionStep step);
/* Waits as long as a test wants it to; takes interrupts. */
extern void shared_inject_wait(SourceShared *s, InjectionStep step);

/* --- used by backends ---------------------------------------------------- */

/*
 * Ask that the launcher looks at this database's sources again (new, dropped,
 * paused, resumed, changed models), after the current transaction commits.
 * Nothing happens on abort; PREPARE TRANSACTION fails from then on.
 */
extern void shared_notify_at_commit(void);

/*
 * Wait until everything written before the call is in the tables of the source;
 * the position where that ends.
 */
struct RecsysSource;
extern XLogRecPtr wait_until_flushed(struct RecsysSource *source);

/* Did this transaction write the row with that number of recsys.<table>? */
extern bool wait_row_is_ours(const char *table, int32 id);

/* --- processes ------------------------------------------------------------ */
extern void launcher_register(void);		/* in _PG_init, preloaded */
extern void wake_install_hooks(void);		/* in _PG_init, preloaded */
extern PGDLLEXPORT void recsys_launcher_main(Datum arg);
extern PGDLLEXPORT void recsys_scout_main(Datum arg);	/* per database */
extern PGDLLEXPORT void recsys_stream_main(Datum arg);	/* arg: entry index */

/* Bgworker slots that are free now (max_worker_processes minus used). */
extern int	shared_free_workers(void);

/* --- control messages in the WAL (stream/messages.c) ----------------------
 * Prefix "recsys"; the payload starts with this header. */
typedef enum MessageKind
{
	MESSAGE_WAIT = 'w',			/* wait_for, non-transactional, no data */
	MESSAGE_FORGET_USER = 'u',	/* data: text of the key */
	MESSAGE_FORGET_ITEM = 'i',
	MESSAGE_ATTACH = 'a',		/* data: Oid of the attached leaf or subtree */
	MESSAGE_REWRITE = 'r'		/* rows have got the transaction's xmin; no data */
} MessageKind;

typedef struct MessageHeader
{
	Oid			dboid;
	int32		source_id;
	uint32		kind;			/* MessageKind */
	TransactionId xid;			/* the (sub)transaction that sent it, if it is
								 * transactional */
	uint8		key[16];		/* message_key of the source */
} MessageHeader;

#define RECSYS_MESSAGE_PREFIX "recsys"
extern XLogRecPtr message_send(const struct RecsysSource *source, MessageKind kind,
							   const void *data, Size len, bool transactional);

#endif							/* RECSYS_SHARED_H */
