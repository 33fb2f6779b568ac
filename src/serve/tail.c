/*
 * tail.c
 *	  The event rows of a user that the stored state does not hold yet.
 *
 * Whether a row is new is decided by its transaction, never by its time: it is
 * new exactly if the raw xmin of the row, which is that of the subtransaction
 * under a savepoint, is not in the applied set of the state row.  The raw xmin
 * stays when a row is frozen.  Rows of the caller's own transaction are never
 * in the set.  A row that was updated since the flush counts with its new
 * version besides its old contribution, and a deleted one keeps its old
 * contribution, until the next flush.
 *
 * The user's index is walked backwards, leaf by leaf from the last partition
 * on, and no more than recsys.tail_limit rows are looked at.  Which leaves
 * there are, their indexes and columns are remembered per session and watched
 * (see source.c).
 *
 * Locks: AccessShareLock on the registered table, the leaves and their
 * indexes, until the end of the transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "recsys.h"
#include "serve/serve.h"

/* A table with rows, and how to find the user's there. */
typedef struct TailLeaf
{
	Oid			relid;
	Oid			index;
	ScanDirection newest_first;
	EventMap   *map;
	ScanKeyData key;
} TailLeaf;

struct TailPlan
{
	bool		complete;		/* every leaf has an index */
	int			n;
	TailLeaf   *leaves;			/* last partition first */
};

/* ------------------------------------------------------------------ plan */

static void
init_key(TailLeaf *leaf, Relation index)
{
	Oid			opcintype = index->rd_opcintype[0];
	Oid			eq = get_opfamily_member(index->rd_opfamily[0], opcintype, opcintype,
										 BTEqualStrategyNumber);

	ScanKeyEntryInitialize(&leaf->key, 0, 1, BTEqualStrategyNumber, opcintype,
						   index->rd_indcollation[0], get_opcode(eq), (Datum) 0);
}

static void
plan_leaf(ServedSource *served, TailPlan *plan, Relation rel)
{
	const RecsysSource *source = served->source;
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), NameStr(source->user.name));
	AttrNumber	time_attnum = source->time_column ?
		get_attnum(RelationGetRelid(rel), source->time_column) : InvalidAttrNumber;
	Oid			indexid = InvalidOid;
	ScanDirection direction = BackwardScanDirection;
	EventMap   *map;
	TailLeaf   *leaf;
	Relation	index;

	if (attnum != InvalidAttrNumber)
		indexid = catalog_index_on(RelationGetRelid(rel), attnum, time_attnum, &direction);
	if (!OidIsValid(indexid))
	{
		plan->complete = false;
		return;
	}
	map = event_map_create(source, RelationGetDescr(rel), CurrentMemoryContext, true);
	if (map == NULL)
		return;

	plan->leaves = plan->leaves == NULL ? palloc(sizeof(TailLeaf)) :
		repalloc(plan->leaves, sizeof(TailLeaf) * (plan->n + 1));
	leaf = &plan->leaves[plan->n++];
	leaf->relid = RelationGetRelid(rel);
	leaf->index = indexid;
	leaf->newest_first = direction;
	leaf->map = map;
	index = index_open(indexid, AccessShareLock);
	init_key(leaf, index);
	index_close(index, NoLock);
}

static void
plan_relation(ServedSource *served, TailPlan *plan, Oid relid)
{
	Relation	rel = try_table_open(relid, AccessShareLock);

	if (rel == NULL)
		return;
	served_watch(served, relid);
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		PartitionDesc parts = RelationGetPartitionDesc(rel, true);

		for (int i = parts->nparts - 1; i >= 0; i--)
			plan_relation(served, plan, parts->oids[i]);
	}
	else if (rel->rd_rel->relkind == RELKIND_RELATION)
		plan_leaf(served, plan, rel);
	table_close(rel, NoLock);
}

static TailPlan *
make_plan(ServedSource *served, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	TailPlan   *plan = palloc0(sizeof(TailPlan));

	plan->complete = true;
	plan_relation(served, plan, served->source->events);
	MemoryContextSwitchTo(old);
	return plan;
}

/*
 * The plan, with all its tables locked.  Once they are, nobody can change
 * them; what was changed before has made the entry stale by then, and this
 * call goes by a plan of its own.  So it does where an index is missing: a new
 * one may have to wait until old snapshots are gone, without further notice.
 */
static TailPlan *
get_plan(ServeCall *call)
{
	ServedSource *served = call->served;

	LockRelationOid(served->source->events, AccessShareLock);
	if (served->tail == NULL)
		served->tail = make_plan(served, served->context);
	else
		for (int i = 0; i < served->tail->n; i++)
			LockRelationOid(served->tail->leaves[i].relid, AccessShareLock);
	if (served->stale || !served->tail->complete)
		return make_plan(served, call->context);
	return served->tail;
}

/* ------------------------------------------------------------------ scan */

typedef struct TailScan
{
	ServeCall  *call;
	const XidSet *applied;		/* NULL: nothing is applied */
	uint64		next;			/* full transaction id not given out yet */
	int			left;			/* rows that may still be looked at */
	int			n,
				max;
	TailEvent  *events;
} TailScan;

/* Full id of a transaction in a row: one that lies in the past. */
static uint64
full_xid(uint64 next, TransactionId xid)
{
	uint64		full = (next & ~UINT64CONST(0xFFFFFFFF)) | xid;

	return full >= next && next > PG_UINT32_MAX ? full - (UINT64CONST(1) << 32) : full;
}

/* Is the row new?  Sets *xid then. */
static bool
is_new(TailScan *scan, TupleTableSlot *slot, uint64 *xid)
{
	bool		isnull;
	TransactionId xmin;

	xmin = DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
	if (!TransactionIdIsNormal(xmin))
		return false;
	*xid = full_xid(scan->next, xmin);
	if (*xid >= scan->next)
		return false;			/* frozen ages ago */
	return scan->applied == NULL || !xidset_contains(scan->applied, *xid);
}

/* Clean the row, and put it into the list if it counts. */
static void
take_row(TailScan *scan, TailLeaf *leaf, TupleTableSlot *slot, uint64 xid)
{
	ServeCall  *call = scan->call;
	const RecsysSource *source = call->source;
	TupleTableSlot *item;
	TailEvent  *tail;
	Event		event;
	Datum		key;
	bool		isnull;

	slot_getsomeattrs(slot, event_map_natts(leaf->map));
	if (event_clean(leaf->map, slot->tts_values, slot->tts_isnull, false,
					GetCurrentStatementStartTimestamp(), &event) != REJECT_NONE)
		return;
	if (event.ignored)
		return;
	if (!key_from_event(&source->item, &event.item, &key))
		return;
	item = serve_item_by_key(call, key);
	if (item == NULL)
		return;					/* a new item has no neighbours yet */

	if (scan->n == scan->max)
	{
		scan->max = scan->max ? scan->max * 2 : 16;
		scan->events = scan->events == NULL ? palloc(sizeof(TailEvent) * scan->max) :
			repalloc(scan->events, sizeof(TailEvent) * scan->max);
	}
	tail = &scan->events[scan->n++];
	tail->item = DatumGetInt32(checked_attribute(item, ITEM_ID));
	tail->time = source->time_column ? event.time : call->now;
	tail->weight = event.weight * decay_since(source, tail->time, call->now);
	tail->xid = TransactionIdIsCurrentTransactionId((TransactionId) xid) ? PG_UINT64_MAX : xid;
	tail->command = DatumGetCommandId(slot_getsysattr(slot, MinCommandIdAttributeNumber, &isnull));
	tail->order = scan->n - 1;
}

static void
scan_leaf(TailScan *scan, TailLeaf *leaf, Datum user)
{
	Relation	rel = table_open(leaf->relid, NoLock);
	Relation	index = index_open(leaf->index, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc desc = compat_index_beginscan(rel, index, scan->call->snapshot, 1, 0);
	uint64		xid;

	leaf->key.sk_argument = user;
	index_rescan(desc, &leaf->key, 1, NULL, 0);
	while (scan->left > 0 && index_getnext_slot(desc, leaf->newest_first, slot))
	{
		CHECK_FOR_INTERRUPTS();
		scan->left--;
		if (is_new(scan, slot, &xid))
			take_row(scan, leaf, slot, xid);
	}
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
}

/* All transactions that the snapshot can see are applied? */
static bool
all_applied(ServeCall *call, uint64 next)
{
	const XidSet *set = call->applied;
	TransactionId xmax = call->snapshot->xmax;

	return set && set->n >= 2 && set->bounds[0] == 0 &&
		call->snapshot->snapshot_type == SNAPSHOT_MVCC &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		TransactionIdIsNormal(xmax) &&
		(xmax == (TransactionId) next ? next : full_xid(next, xmax)) <= set->bounds[1];
}

int
tail_scan(ServeCall *call, Datum user, TailEvent **events)
{
	TailScan	scan = {.call = call, .left = recsys_tail_limit};
	TailPlan   *plan;

	if (scan.left == 0 || get_rel_relkind(call->source->events) == 0)
		return 0;
	serve_check_may_read(call->source);
	serve_read_state(call);
	if (call->foreign_state)
		return 0;				/* its transactions mean nothing here */
	scan.applied = call->applied;
	scan.next = U64FromFullTransactionId(ReadNextFullTransactionId());
	if (all_applied(call, scan.next))
		return 0;

	serve_open_items_by_key(call);
	plan = get_plan(call);
	for (int i = 0; i < plan->n && scan.left > 0; i++)
		scan_leaf(&scan, &plan->leaves[i], user);
	*events = scan.events;
	return scan.n;
}
