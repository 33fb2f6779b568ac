/*
 * standstill.c
 *	  Keeps the workers of a database away while a command runs that allows no
 *	  other session in it: DROP DATABASE, RENAME, SET TABLESPACE, and its use
 *	  as a template.
 *
 * Such a command fails on an active logical slot even WITH (FORCE), so the
 * stream workers have to end before it starts.  A block in shared memory keeps
 * the launcher from starting them and a worker that is starting from attaching
 * (shared_attach()); ending the block has the launcher start them again where
 * the database still exists.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "recsys.h"
#include "models/vectors.h"
#include "storage/ipc.h"
#include "stream/launcher.h"
#include "stream/shared.h"
#include "stream/trainings.h"

/* Longest wait for one worker; the command itself waits 5 s more. */
#define STOP_TIMEOUT_MS 10000

static void
stop_workers(Oid dboid)
{
	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *s = shared_entry(i);
		bool		running;

		LWLockAcquire(shared_control->lock, LW_SHARED);
		running = s->in_use && s->dboid == dboid && (s->pid != 0 || s->starting);
		if (running && s->pid != 0)
			kill(s->pid, SIGTERM);
		LWLockRelease(shared_control->lock);
		if (running)
			(void) shared_wait_gone(s, STOP_TIMEOUT_MS);
	}
	/* after those who would start new ones */
	trainings_stop(dboid, STOP_TIMEOUT_MS);
}

static void
end_on_error(int code, Datum arg)
{
	(void) code;
	standstill_end(DatumGetInt32(arg));
}

/* A free block, now the database's; -1 if all are taken. */
static int
claim_block(Oid dboid)
{
	int			block = -1;

	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < LAUNCHER_BLOCKS && block < 0; i++)
	{
		if (!OidIsValid(shared_control->blocked[i]))
			block = i;
	}
	if (block >= 0)
		shared_control->blocked[block] = dboid;
	LWLockRelease(shared_control->lock);
	return block;
}

/*
 * Returns when no worker runs in the database, with the number for
 * standstill_end().
 */
int
standstill_begin(Oid dboid)
{
	const int	block = claim_block(dboid);

	if (block < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("more than %d commands want databases for themselves at one time",
						LAUNCHER_BLOCKS),
				 errhint("Try again when they have ended.")));

	PG_ENSURE_ERROR_CLEANUP(end_on_error, Int32GetDatum(block));
	{
		shared_wake_launcher(); /* it ends a scout of that database */
		stop_workers(dboid);
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_on_error, Int32GetDatum(block));
	return block;
}

/* block < 0: there is nothing to end. */
void
standstill_end(int block)
{
	if (block < 0)
		return;
	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	shared_control->blocked[block] = InvalidOid;
	LWLockRelease(shared_control->lock);
	shared_wake_launcher();
}

/*
 * After DROP DATABASE, which drops the slots: the entries go as well, and what
 * its models have in shared memory.  An entry whose worker still ends is freed by
 * the launcher.
 */
void
standstill_forget(Oid dboid)
{
	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *s = shared_entry(i);

		if (!s->in_use || s->dboid != dboid)
			continue;
		s->wanted = false;
		s->dropped = true;
		s->dboid = InvalidOid;
		if (s->pid == 0 && !s->starting)
			shared_free(s);
	}
	LWLockRelease(shared_control->lock);
	trainings_forget(dboid);
	vectors_forget_database(dboid);
}
