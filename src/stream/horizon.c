/*
 * horizon.c
 *	  Keeping the applied set small, and reading tables no earlier than it.
 *
 * Applied transactions are added one by one; those that have nothing to do
 * with the source, or were rolled back, leave gaps between them.  Two things
 * close the gaps:
 *
 * A running-xacts record says of the place where it stands which transactions
 * were running: all others below its nextXid are over and have their commit
 * records before it.  It comes every 15 s, and does not know the
 * subtransactions of a transaction that has many.
 *
 * So when there are many gaps, we look up what became of the transactions in
 * them.  One that is over by then has its commit record, if any, before the end
 * of WAL as it is after the look: when the stream has passed that, it has been
 * applied.  Only what is still running leaves a gap.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/standbydefs.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "stream/stream.h"

/* Boundaries in the applied set from which on it is worth a look. */
#define MANY_BOUNDARIES 256

/* Transactions to look up at a time: some 10 ms. */
#define MAX_LOOKUPS 100000

static int
compare_xids(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/* What is not in the record's list, up to its nextXid. */
static void
add_all_but_running(XidSet *set, const xl_running_xacts *running)
{
	int			n = running->xcnt + running->subxcnt;
	uint64	   *xids = palloc(sizeof(uint64) * Max(n, 1));
	uint64		from = 0;

	for (int i = 0; i < n; i++)
		xids[i] = xidset_full_xid(running->xids[i]);
	qsort(xids, n, sizeof(uint64), compare_xids);
	for (int i = 0; i < n; i++)
	{
		xidset_add(set, from, xids[i]);
		from = xids[i] + 1;
	}
	xidset_add(set, from, xidset_full_xid(running->nextXid));
	pfree(xids);
}

/* A running-xacts record has just been read. */
void
horizon_read(Stream *s, XLogReaderState *reader)
{
	xl_running_xacts *running = (xl_running_xacts *) XLogRecGetData(reader);
	/* outlives the batch that is applied before it */
	MemoryContext old = MemoryContextSwitchTo(s->context);

	s->pending_horizon = xidset_create();
	if (running->subxid_overflow)
		xidset_add(s->pending_horizon, 0, xidset_full_xid(running->oldestRunningXid));
	else
		add_all_but_running(s->pending_horizon, running);
	s->have_horizon = true;
	MemoryContextSwitchTo(old);
}

/* The applied set grows by all of "set", which is freed. */
static void
merge(Stream *s, XidSet *set)
{
	for (int i = 0; i < s->applied->n; i += 2)
		xidset_add(set, s->applied->bounds[i], s->applied->bounds[i + 1]);
	xidset_copy(s->applied, set);
	xidset_free(set);
}

/* Everything up to applied_lsn has been applied. */
void
horizon_advance(Stream *s)
{
	if (s->have_horizon)
	{
		s->have_horizon = false;
		merge(s, s->pending_horizon);
	}
	if (s->finished && s->applied_lsn >= s->finished_lsn)
	{
		XidSet	   *finished = s->finished;

		s->finished = NULL;
		merge(s, finished);
	}
}

/* Is the transaction over?  Not if a crash ended it; the next running-xacts
 * record knows about those. */
static bool
is_over(uint64 fxid)
{
	TransactionId xid = (TransactionId) fxid;

	return TransactionIdPrecedes(xid, compat_oldest_clog_xid()) ||
		TransactionIdDidCommit(xid) || TransactionIdDidAbort(xid);
}

/* If there are many gaps, find out what has become of their transactions. */
void
horizon_look(Stream *s)
{
	const XidSet *applied = s->applied;
	MemoryContext old;
	int			lookups = 0;

	if (applied->n < MANY_BOUNDARIES || s->finished)
		return;
	old = MemoryContextSwitchTo(s->context);
	s->finished = xidset_create();
	/* nothing is cut off from the commit log meanwhile */
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	for (int i = 1; i + 1 < applied->n && lookups < MAX_LOOKUPS; i += 2)
		for (uint64 fxid = applied->bounds[i]; fxid < applied->bounds[i + 1] &&
			 lookups < MAX_LOOKUPS; fxid++)
		{
			lookups++;
			if (TransactionIdIsNormal((TransactionId) fxid) && is_over(fxid))
				xidset_add(s->finished, fxid, fxid + 1);
		}
	LWLockRelease(XactTruncationLock);
	s->finished_lsn = GetXLogInsertRecPtr();
	MemoryContextSwitchTo(old);
}

/* ------------------------------------------------------ snapshots of tables */

/* A transaction that the set holds and the snapshot does not see, if any. */
static TransactionId
applied_but_unseen(const XidSet *applied, Snapshot snapshot)
{
	uint64		end = applied->n > 0 ? applied->bounds[applied->n - 1] : 0;

	for (uint32 i = 0; i < snapshot->xcnt; i++)
	{
		if (xidset_contains(applied, xidset_full_xid(snapshot->xip[i])))
			return snapshot->xip[i];
	}
	for (uint64 fxid = xidset_full_xid(snapshot->xmax); fxid < end; fxid++)
	{
		if (xidset_contains(applied, fxid))
			return XidFromFullTransactionId(FullTransactionIdFromU64(fxid));
	}
	return InvalidTransactionId;
}

/*
 * Pushes a snapshot that sees all that has been applied.
 *
 * A commit can be decoded as soon as its record is on disk, and becomes visible
 * a moment later, or much later where it waits for a synchronous standby.  Until
 * then, other sessions see the table as it was before.  Whoever asks a table of
 * the user's what has become of a row must not be among them.
 */
void
horizon_push_snapshot(Stream *s)
{
	Snapshot	snapshot;
	TransactionId unseen;

	while (snapshot = GetLatestSnapshot(),
		   TransactionIdIsValid(unseen = applied_but_unseen(s->applied, snapshot)))
		XactLockTableWait(unseen, NULL, NULL, XLTW_None);
	PushActiveSnapshot(snapshot);
}
