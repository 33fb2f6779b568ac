/*
 * trainings.h
 *	  Trainings and evaluations under way, and the last ones: a fixed array in
 *	  shared memory with an entry for each.
 *
 * A training is done by one or more background workers that load
 * recsys_train.so; the first, its leader, is started by whoever wants the
 * training: the stream worker of the source, or a backend in recsys.train().
 * Entries of ended trainings keep their outcome until the oldest of them makes
 * room for a new one.  Whoever refers to a training does so by entry and id, as
 * the entry may belong to another one by now.
 *
 * Locking: fields marked (L) are guarded by the lock of the array, those marked
 * (S) by the entry's spinlock, and are written by the leader.  Lock order: that
 * lock, the spinlock.
 */
#ifndef RECSYS_TRAININGS_H
#define RECSYS_TRAININGS_H

#include "postgres.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/spin.h"
#include "utils/elog.h"

#include "catalog/catalog.h"
#include "compat.h"
#include "stream/shared.h"

#define TRAININGS_MAX 64		/* entries */
#define TRAINING_MAX_WORKERS 64 /* processes of one training */
#define TRAINING_AREA 1024		/* bytes for what an evaluation is told */

typedef enum TrainingKind
{
	TRAINING_TRAIN,				/* writes a new version of the model */
	TRAINING_EVALUATE			/* writes nothing */
} TrainingKind;

typedef enum TrainingState
{
	TRAINING_STARTING,			/* its leader does not run yet */
	TRAINING_RUNNING,
	TRAINING_DONE,
	TRAINING_OBSOLETE,			/* the model was changed or dropped meanwhile */
	TRAINING_CANCELLED,
	TRAINING_FAILED
} TrainingState;

/* Why a training is to end early; larger ones prevail. */
typedef enum TrainingCancel
{
	CANCEL_NOT,
	CANCEL_REQUESTER,			/* nobody waits for it any more */
	CANCEL_MODEL				/* the model or its source was changed or dropped */
} TrainingCancel;

/* An error in words. */
typedef struct TrainingError
{
	int			sqlerrcode;		/* 0: none */
	char		message[RECSYS_ERROR_LEN];
	char		detail[RECSYS_ERROR_LEN];
	char		hint[RECSYS_ERROR_LEN];
} TrainingError;

typedef struct TrainingShared
{
	/* (L) */
	bool		in_use;
	uint64		id;				/* never used again while the server runs */
	TrainingKind kind;
	Oid			dboid;
	int32		source_id;
	int32		model_id;
	int32		params_version;
	NameData	model;
	Oid			user;			/* who asked for it */
	TimestampTz requested_at;
	int			failures;		/* of this model's trainings in a row */
	TimestampTz retry_at;		/* not before, where nobody asks */
	pid_t		leader;			/* 0: not started yet, or ended */
	pid_t		helpers[TRAINING_MAX_WORKERS];

	pg_atomic_uint32 cancel;	/* TrainingCancel */

	slock_t		mutex;
	/* (S) */
	TrainingState state;
	char		phase[32];
	int64		done;
	int64		total;
	TimestampTz phase_started;
	int			iteration;		/* completed */
	int			iterations;
	double		loss;			/* NaN: not known yet */
	double		recall;			/* of what it holds out to see when to stop; NaN: nothing */
	int			workers;		/* processes that take part */
	TimestampTz started_at;
	TimestampTz ended_at;
	XLogRecPtr	applied_lsn;	/* what it has read of the source */
	TrainingError error;

	ConditionVariable changed;	/* broadcast when it has ended */
	char		area[TRAINING_AREA];	/* the requester's until it is started */
} TrainingShared;

/* A training, perhaps past. */
typedef struct TrainingRef
{
	TrainingShared *entry;
	uint64		id;
} TrainingRef;

extern void trainings_request(void);	/* from shmem_request_hook */
extern void trainings_startup(void);	/* from shmem_startup_hook */

/* --- trainings_start.c: whoever wants a training ---------------------------- */

typedef enum TrainingStart
{
	TRAINING_STARTED,			/* *ref is the new one */
	TRAINING_UNDER_WAY,			/* *ref is that one; evaluations never are */
	TRAINING_NO_ENTRY,			/* TRAININGS_MAX of them run */
	TRAINING_NO_WORKER			/* no background worker is free */
} TrainingStart;

/* Needs no transaction.  area: of n bytes for an evaluation, or NULL. */
extern TrainingStart training_start(TrainingKind kind, const RecsysSource *source,
									const RecsysModel *model, const void *area, Size n,
									TrainingRef *ref);

/*
 * Wait until it has ended; takes interrupts.  False: its entry belongs to
 * another one meanwhile, and its outcome is not known.
 */
extern bool training_wait(const TrainingRef *ref, TrainingState *state,
						  XLogRecPtr *applied_lsn, TrainingError *error);

/* Have it end soon; does nothing if it has. */
extern void training_cancel(const TrainingRef *ref, TrainingCancel why);

/*
 * Wait for a training that we have started for ourselves.  It is cancelled when
 * we are, whether by an error or by the end of the session.  If it fails, that is
 * our error.  False: the model was changed or dropped meanwhile.
 */
extern bool training_finish(const TrainingRef *ref);

/* Start one and finish it, in one. */
extern bool training_run(TrainingKind kind, const RecsysSource *source,
						 const RecsysModel *model, const void *area, Size n);

/* The error for a training that could not be started. */
pg_noreturn extern void training_not_started(TrainingStart start);

/*
 * For the stream worker, which wants the model trained: starts a training
 * unless one is under way, or the last one failed a short while ago.  True: one
 * is under way now.  False: ask again at *again, or when the latch is set, as it
 * is at the end of each training of the source.
 */
extern bool training_schedule(const RecsysSource *source, const RecsysModel *model,
							  TimestampTz *again);

/* Is the model being trained, or about to? */
extern bool training_under_way(Oid dboid, int32 model_id);

/* model_id 0: all of the source, as that is about to be dropped. */
extern void trainings_cancel(Oid dboid, int32 source_id, int32 model_id);

/* Cancels what the catalogue does not have (any more) as it is being trained. */
extern void trainings_reconcile(void);

/* Ends all processes in the database, and waits for that. */
extern void trainings_stop(Oid dboid, int timeout_ms);
extern void trainings_forget(Oid dboid);	/* that has been dropped */

/* --- trainings.c: the processes of a training -------------------------------- */

/* Take the entry; does not return where the training is not wanted any more. */
extern TrainingShared *training_attach(int index, uint64 id);
extern void training_attach_helper(TrainingShared *t, uint64 id);

/* phase NULL: as it is. */
extern void training_progress(TrainingShared *t, const char *phase, int64 done, int64 total);
extern void training_iteration(TrainingShared *t, int iteration, int iterations, double loss);

extern void training_validated(TrainingShared *t, double recall);

/* What it has read of the source. */
extern void training_has_read(TrainingShared *t, XLogRecPtr applied_lsn);
extern void training_workers(TrainingShared *t, int more);	/* take part, or less */

/* What the entry says when this process, the leader, has ended: state DONE or
 * OBSOLETE.  Otherwise it says that the training has failed. */
extern void training_outcome(TrainingState state);
extern void training_error(TrainingShared *t, const ErrorData *edata);

/* Error if the training is to end. */
extern void training_check(TrainingShared *t);

/* --- inside stream/ ------------------------------------------------------------ */

typedef struct TrainingsControl
{
	LWLock	   *lock;
	uint64		last_id;		/* (L) */
	TrainingShared entries[TRAININGS_MAX];
} TrainingsControl;

extern TrainingsControl *trainings_control; /* NULL: not preloaded */

/* The training has ended, with the state given.  The caller holds the lock. */
extern void trainings_end(TrainingShared *t, TrainingState state);
extern void trainings_error(TrainingShared *t, int sqlerrcode, const char *message,
							const char *hint);

/* What a leader and its helpers get as bgw_extra. */
typedef struct TrainingExtra
{
	uint64		id;
	uint32		handle;			/* of the segment; helpers only */
} TrainingExtra;

#define TRAINING_LIBRARY "recsys_train"
#define TRAINING_LEADER "recsys_training_main"
#define TRAINING_HELPER "recsys_training_helper_main"

#endif							/* RECSYS_TRAININGS_H */
