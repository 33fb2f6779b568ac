/*
 * item_counts.c
 *	  How many sessions have each item, see item_counts.h.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "state/array.h"
#include "state/checked.h"
#include "state/item_counts.h"

const Oid	count_types[COUNT_NCOLUMNS] = {INT4OID, INT4ARRAYOID};

struct ItemCounts
{
	MemoryContext context;
	Oid			nspid;
	char		relname[NAMEDATALEN];
	char		indexname[NAMEDATALEN];
	bool		table_void;		/* rows in the table are obsolete */
	int32		nblocks;		/* blocks 1 .. nblocks */
	int32	   *counts;			/* COUNT_BLOCK_SIZE of each */
	bool	   *dirty;			/* by block, from 1 */
	bool		any_dirty;
};

ItemCounts *
item_counts_create(MemoryContext parent, Oid nspid, const char *relname, const char *indexname)
{
	ItemCounts *counts = MemoryContextAllocZero(parent, sizeof(ItemCounts));

	counts->context = AllocSetContextCreate(parent, "recsys item counts", ALLOCSET_DEFAULT_SIZES);
	counts->nspid = nspid;
	strlcpy(counts->relname, relname, NAMEDATALEN);
	strlcpy(counts->indexname, indexname, NAMEDATALEN);
	return counts;
}

static void *
grow(ItemCounts *counts, void *array, Size old_size, Size size)
{
	char	   *grown = array ? repalloc_huge(array, size) :
		MemoryContextAllocHuge(counts->context, size);

	memset(grown + old_size, 0, size - old_size);
	return grown;
}

static int32 *
block_of(ItemCounts *counts, int32 block)
{
	if (block > counts->nblocks)
	{
		int32		n = Max(block, counts->nblocks + counts->nblocks / 2 + 4);
		Size		width = sizeof(int32) * COUNT_BLOCK_SIZE;

		counts->counts = grow(counts, counts->counts, width * (Size) counts->nblocks, width * (Size) n);
		counts->dirty = grow(counts, counts->dirty,
							 counts->dirty ? sizeof(bool) * ((Size) counts->nblocks + 1) : 0,
							 sizeof(bool) * ((Size) n + 1));
		counts->nblocks = n;
	}
	return counts->counts + (Size) (block - 1) * COUNT_BLOCK_SIZE;
}

/* NULL: the model has been dropped, and we are about to hear of it. */
static StateTable *
open_table(ItemCounts *counts, LOCKMODE lockmode)
{
	StateTable *t;

	if (!OidIsValid(get_relname_relid(counts->relname, counts->nspid)))
		return NULL;
	t = table_open_state(counts->nspid, counts->relname, counts->indexname, lockmode);
	checked_types(t, COUNT_NCOLUMNS, count_types);
	return t;
}

static void
damaged(void)
{
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("a row of the item counts of a model is not as it was written"),
			errhint("Drop the model with recsys.drop_model() and create it again."));
}

const int32 *
item_counts_row(TupleTableSlot *slot)
{
	int			n;
	const int32 *counts = checked_array(checked_attribute(slot, COUNT_COUNTS + 1), INT4OID, &n);

	if (n != COUNT_BLOCK_SIZE)
		damaged();
	return counts;
}

void
item_counts_load(ItemCounts *counts)
{
	StateTable *t = open_table(counts, AccessShareLock);
	TableScanDesc scan;

	if (t == NULL)
		return;
	scan = table_beginscan(t->rel, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, t->slot))
	{
		const int32 *row = item_counts_row(t->slot);
		int32		block = DatumGetInt32(checked_attribute(t->slot, COUNT_BLOCK + 1));

		CHECK_FOR_INTERRUPTS();
		if (block <= 0)
			damaged();
		memcpy(block_of(counts, block), row, sizeof(int32) * COUNT_BLOCK_SIZE);
	}
	table_endscan(scan);
	table_close_state(t, AccessShareLock);
}

void
item_counts_add(ItemCounts *counts, int32 item, int32 delta)
{
	int32		block = COUNT_BLOCK_OF(item);

	block_of(counts, block)[COUNT_PLACE_OF(item)] += delta;
	counts->dirty[block] = counts->any_dirty = true;
}

void
item_counts_void(ItemCounts *counts)
{
	MemoryContextReset(counts->context);
	counts->table_void = true;
	counts->nblocks = 0;
	counts->counts = NULL;
	counts->dirty = NULL;
	counts->any_dirty = false;
}

void
item_counts_write(ItemCounts *counts)
{
	bool		fresh = counts->table_void;
	StateTable *t;

	if (!counts->any_dirty && !fresh)
		return;
	t = open_table(counts, RowExclusiveLock);
	if (t == NULL)
		return;
	if (fresh)
		table_delete(t, 0, NULL);
	counts->table_void = counts->any_dirty = false;
	for (int32 block = 1; block <= counts->nblocks; block++)
	{
		Datum		values[COUNT_NCOLUMNS];

		if (!counts->dirty[block])
			continue;
		CHECK_FOR_INTERRUPTS();
		counts->dirty[block] = false;
		values[COUNT_BLOCK] = Int32GetDatum(block);
		values[COUNT_COUNTS] = array_datum(block_of(counts, block), COUNT_BLOCK_SIZE, sizeof(int32),
										   INT4OID);
		if (fresh)
			table_insert(t, values, NULL);
		else
			table_put(t, 1, values, NULL);
		pfree(DatumGetPointer(values[COUNT_COUNTS]));
	}
	table_close_state(t, RowExclusiveLock);
}

Size
item_counts_bytes(const ItemCounts *counts)
{
	return (sizeof(int32) * COUNT_BLOCK_SIZE + sizeof(bool)) * (Size) counts->nblocks;
}
