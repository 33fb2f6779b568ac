/*
 * table.c
 *	  Reading and writing state tables by key, see table.h.
 *
 * A write replaces a row with table_tuple_update(): the row's index entries
 * follow unless the update was heap-only.  There is one writer per source, so
 * a concurrent update can only come from somebody who edits state by hand, and
 * is an error.
 *
 * Every tuple that a command writes must be visible to later probes of the
 * same transaction: a command counter increment follows each write that a
 * later probe of the same key could depend on.  State tables are written once
 * per key and flush, so writers increment it once per table, by opening and
 * closing it.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "state/table.h"

static Oid
find_relation(Oid nspid, const char *relname)
{
	Oid			relid = get_relname_relid(relname, nspid);
	char	   *schema;

	if (OidIsValid(relid))
		return relid;
	schema = get_namespace_name(nspid);
	if (schema == NULL)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("the source was dropped meanwhile"));
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_TABLE),
			errmsg("relation \"%s.%s\" of a recsys source is missing", schema, relname),
			errhint("Ask again, if it was dropped just now. Otherwise drop the source with recsys.drop_source() and create it again."));
}

/* Somebody may drop or replace it while we wait for the lock. */
static Relation
open_by_name(Oid nspid, const char *relname, LOCKMODE lockmode)
{
	for (;;)
	{
		Relation	rel = try_table_open(find_relation(nspid, relname), lockmode);

		if (rel)
			return rel;
	}
}

/* Equality on each column of the index, with the operator class's operator. */
static void
init_scan_keys(StateTable *t)
{
	t->nkeys = Min(IndexRelationGetNumberOfKeyAttributes(t->index),
				   (int) lengthof(t->keys));
	for (int i = 0; i < t->nkeys; i++)
	{
		Oid			opcintype = t->index->rd_opcintype[i];
		Oid			eq = get_opfamily_member(t->index->rd_opfamily[i],
											 opcintype, opcintype,
											 BTEqualStrategyNumber);

		ScanKeyEntryInitialize(&t->keys[i], 0, i + 1, BTEqualStrategyNumber,
							   opcintype, t->index->rd_indcollation[i],
							   get_opcode(eq), (Datum) 0);
	}
}

StateTable *
table_open_state(Oid nspid, const char *relname, const char *indexname,
				 LOCKMODE lockmode)
{
	StateTable *t = palloc0(sizeof(StateTable));

	t->context = CurrentMemoryContext;
	t->rel = open_by_name(nspid, relname, lockmode);
	t->slot = table_slot_create(t->rel, NULL);
	if (indexname)
	{
		t->index = index_open(find_relation(nspid, indexname), lockmode);
		init_scan_keys(t);
	}
	return t;
}

static void
end_scan(StateTable *t)
{
	if (t->scan)
		index_endscan(t->scan);
	t->scan = NULL;
}

void
table_close_state(StateTable *t, LOCKMODE lockmode)
{
	end_scan(t);
	ExecDropSingleTupleTableSlot(t->slot);
	if (t->result)
	{
		ExecCloseIndices(t->result);
		ExecDropSingleTupleTableSlot(t->newslot);
		FreeExecutorState(t->estate);
		CommandCounterIncrement();
	}
	if (t->index)
		index_close(t->index, lockmode);
	table_close(t->rel, lockmode);
	pfree(t);
}

/*
 * An index scan allocates some of its memory when it first needs it, so all of
 * this runs in the context that the scan lives in.
 */
TupleTableSlot *
table_get(StateTable *t, Snapshot snapshot, int nkeys, Datum *keys)
{
	MemoryContext old = MemoryContextSwitchTo(t->context);

	Assert(nkeys <= t->nkeys);

	for (int i = 0; i < nkeys; i++)
		t->keys[i].sk_argument = keys[i];
	if (t->scan && (t->scan->xs_snapshot != snapshot ||
					t->scan->numberOfKeys != nkeys))
		end_scan(t);
	if (t->scan == NULL)
		t->scan = compat_index_beginscan(t->rel, t->index, snapshot, nkeys, 0);
	index_rescan(t->scan, t->keys, nkeys, NULL, 0);
	MemoryContextSwitchTo(old);
	return table_get_next(t);
}

TupleTableSlot *
table_get_next(StateTable *t)
{
	MemoryContext old = MemoryContextSwitchTo(t->context);
	bool		found = index_getnext_slot(t->scan, ForwardScanDirection, t->slot);

	MemoryContextSwitchTo(old);
	return found ? t->slot : NULL;
}

/* The executor state that index maintenance wants; built at the first write. */
static void
prepare_write(StateTable *t)
{
	RangeTblEntry *rte;
	MemoryContext old;

	if (t->result)
		return;
	old = MemoryContextSwitchTo(t->context);
	t->estate = CreateExecutorState();
	rte = makeNode(RangeTblEntry);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(t->rel);
	rte->relkind = t->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	compat_init_range_table(t->estate, rte);
	t->estate->es_output_cid = GetCurrentCommandId(true);
	t->result = makeNode(ResultRelInfo);
	InitResultRelInfo(t->result, t->rel, 1, NULL, 0);
	ExecOpenIndices(t->result, false);
	t->newslot = table_slot_create(t->rel, NULL);
	MemoryContextSwitchTo(old);
}

static void
fill_slot(StateTable *t, const Datum *values, const bool *nulls)
{
	int			natts = RelationGetDescr(t->rel)->natts;

	ExecClearTuple(t->newslot);
	memcpy(t->newslot->tts_values, values, sizeof(Datum) * natts);
	if (nulls)
		memcpy(t->newslot->tts_isnull, nulls, sizeof(bool) * natts);
	else
		memset(t->newslot->tts_isnull, false, sizeof(bool) * natts);
	ExecStoreVirtualTuple(t->newslot);
}

static void
insert_index_entries(StateTable *t, bool update, CompatUpdateIndexes which)
{
	(void) which;				/* 15 has but one kind */
	if (t->result->ri_NumIndices > 0)
		list_free(compat_insert_index_tuples(t->result, t->newslot, t->estate,
											 update, which));
	ResetPerTupleExprContext(t->estate);
}

void
table_insert(StateTable *t, const Datum *values, const bool *nulls)
{
	prepare_write(t);
	fill_slot(t, values, nulls);
	table_tuple_insert(t->rel, t->newslot, t->estate->es_output_cid, 0, NULL);
	insert_index_entries(t, false, COMPAT_UPDATE_ALL);
	ExecClearTuple(t->newslot);
}

static void
check_result(StateTable *t, TM_Result result)
{
	if (result != TM_Ok)
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("row of state table \"%s\" was changed by someone else",
					   RelationGetRelationName(t->rel)),
				errhint("Leave the tables of a source to its worker."));
}

void
table_put(StateTable *t, int nkeys, const Datum *values, const bool *nulls)
{
	Snapshot	snapshot = GetActiveSnapshot();
	TM_FailureData failure;
	LockTupleMode lockmode;
	CompatUpdateIndexes update_indexes;

	prepare_write(t);
	if (table_get(t, snapshot, nkeys, unconstify(Datum *, values)) == NULL)
	{
		table_insert(t, values, nulls);
		return;
	}
	fill_slot(t, values, nulls);
	check_result(t, table_tuple_update(t->rel, &t->slot->tts_tid, t->newslot,
									   t->estate->es_output_cid, snapshot,
									   InvalidSnapshot, true, &failure,
									   &lockmode, &update_indexes));
	if (update_indexes)
		insert_index_entries(t, true, update_indexes);
	ExecClearTuple(t->newslot);
}

bool
table_delete(StateTable *t, int nkeys, Datum *keys)
{
	Snapshot	snapshot = GetActiveSnapshot();
	TM_FailureData failure;
	bool		any = false;

	prepare_write(t);
	for (TupleTableSlot *slot = table_get(t, snapshot, nkeys, keys);
		 slot; slot = table_get_next(t))
	{
		check_result(t, table_tuple_delete(t->rel, &slot->tts_tid,
										   t->estate->es_output_cid, snapshot,
										   InvalidSnapshot, true, &failure, false));
		any = true;
	}
	return any;
}
