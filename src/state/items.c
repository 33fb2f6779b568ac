/*
 * items.c
 *	  Dictionary and totals of items over the table "items", see items.h.
 *
 * A row is written when its totals changed (at a flush), or when a publication
 * is about to use the number of an item whose row is not stored yet.  In the
 * second case the row carries totals of zero: totals only become true together
 * with the applied position.
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "state/items.h"
#include "state/table.h"

enum
{
	COL_ID, COL_KEY, COL_USERS, COL_TOTAL, COL_SUMSQ, COL_LANDMARK, COL_FIRST,
	COL_LAST, NCOLUMNS
};

#define ITEMS_MIN 1024

Items *
items_create(MemoryContext parent, Oid nspid, const KeyColumn *column)
{
	Items	   *items = MemoryContextAllocZero(parent, sizeof(Items));

	items->context = AllocSetContextCreate(parent, "recsys items", ALLOCSET_DEFAULT_SIZES);
	items->nspid = nspid;
	items->keys = keymap_create(items->context, column);
	items->next = 1;
	return items;
}

static void *
grow_array(Items *items, void *array, Size width, int32 from, int32 to)
{
	char	   *grown = array ?
		repalloc_huge(array, width * to) :
		MemoryContextAllocHuge(items->context, width * to);

	memset(grown + width * from, 0, width * (to - from));
	return grown;
}

static void
make_room(Items *items, int32 number)
{
	int32		max;

	if (number < items->max)
		return;
	if (number > INT32_MAX / 2)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("too many items: number %d", number));
	max = Max(ITEMS_MIN, Max(number + 1, items->max * 2));
	items->totals = grow_array(items, items->totals, sizeof(ItemTotals), items->max, max);
	items->sumsq = grow_array(items, items->sumsq, sizeof(double), items->max, max);
	items->max = max;
}

static void
mark_dirty(Items *items, int32 item)
{
	if (items->totals[item].dirty)
		return;
	items->totals[item].dirty = true;
	if (items->ndirty == items->maxdirty)
	{
		int32		max = Max(ITEMS_MIN, items->maxdirty * 2);

		items->dirty = grow_array(items, items->dirty, sizeof(int32), items->maxdirty, max);
		items->maxdirty = max;
	}
	items->dirty[items->ndirty++] = item;
}

void
items_load(Items *items)
{
	StateTable *t = table_open_state(items->nspid, "items", NULL, AccessShareLock);
	TableScanDesc scan = table_beginscan(t->rel, GetActiveSnapshot(), 0, NULL);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys item keys",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);

	while (table_scan_getnextslot(scan, ForwardScanDirection, t->slot))
	{
		Datum	   *values = t->slot->tts_values;
		bool	   *nulls = t->slot->tts_isnull;
		int32		item;
		ItemTotals *totals;
		KeyValue	key;
		double		factor;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(scratch);
		slot_getallattrs(t->slot);
		item = DatumGetInt32(values[COL_ID]);
		make_room(items, item);
		totals = &items->totals[item];
		key = key_from_datum(items->keys->column, values[COL_KEY]);
		factor = ldexp(1.0, DatumGetInt32(values[COL_LANDMARK]) - items->landmark);
		totals->key = keymap_put(items->keys, &key, item);
		totals->users = DatumGetInt32(values[COL_USERS]);
		totals->total = DatumGetFloat8(values[COL_TOTAL]) * factor;
		totals->first_time = nulls[COL_FIRST] ? 0 : DatumGetTimestampTz(values[COL_FIRST]);
		totals->last_time = nulls[COL_LAST] ? 0 : DatumGetTimestampTz(values[COL_LAST]);
		totals->known = totals->stored = true;
		items->sumsq[item] = DatumGetFloat8(values[COL_SUMSQ]) * factor * factor;
		items->next = Max(items->next, item + 1);
	}
	/* the largest numbers may belong to items that were forgotten */
	make_room(items, items->next - 1);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	table_endscan(scan);
	table_close_state(t, AccessShareLock);
}

int32
items_find(Items *items, const KeyValue *key)
{
	return keymap_get(items->keys, key);
}

int32
items_get(Items *items, const KeyValue *key)
{
	int32		item = keymap_get(items->keys, key);

	if (item == 0)
	{
		item = items->next++;
		make_room(items, item);
		items->totals[item].key = keymap_put(items->keys, key, item);
		items->totals[item].known = true;
		mark_dirty(items, item);
	}
	return item;
}

void
items_change(Items *items, int32 item, double before, double after,
			 int appears, TimestampTz time)
{
	ItemTotals *totals = &items->totals[item];

	totals->users += appears;
	if (totals->users == 0)
	{
		/* exactly, whatever rounding has left */
		totals->total = 0;
		items->sumsq[item] = 0;
	}
	else
	{
		totals->total += after - before;
		items->sumsq[item] = Max(items->sumsq[item] + after * after - before * before, 0);
	}
	if (time != 0)
	{
		if (totals->first_time == 0 || time < totals->first_time)
			totals->first_time = time;
		if (totals->last_time == 0 || time > totals->last_time)
			totals->last_time = time;
	}
	mark_dirty(items, item);
}

/* With zero totals where only the number is to be known. */
static void
write_row(StateTable *t, Items *items, int32 item, bool zero)
{
	ItemTotals *totals = &items->totals[item];
	KeyValue	key = keymap_value(items->keys, totals->key);
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS] = {0};

	values[COL_ID] = Int32GetDatum(item);
	values[COL_KEY] = key_to_datum(items->keys->column, &key);
	values[COL_USERS] = Int32GetDatum(zero ? 0 : totals->users);
	values[COL_TOTAL] = Float8GetDatum(zero ? 0 : totals->total);
	values[COL_SUMSQ] = Float8GetDatum(zero ? 0 : items->sumsq[item]);
	values[COL_LANDMARK] = Int32GetDatum(items->landmark);
	values[COL_FIRST] = TimestampTzGetDatum(totals->first_time);
	values[COL_LAST] = TimestampTzGetDatum(totals->last_time);
	nulls[COL_FIRST] = zero || totals->first_time == 0;
	nulls[COL_LAST] = zero || totals->last_time == 0;
	if (totals->stored)
		table_put(t, 1, values, nulls);
	else
		table_insert(t, values, nulls);
	totals->stored = true;
}

static void
write_rows(Items *items, bool only_new)
{
	StateTable *t;
	MemoryContext scratch,
				old;

	if (items->ndirty == 0)
		return;
	t = table_open_state(items->nspid, "items", "items_pkey", RowExclusiveLock);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys rows", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	for (int32 i = 0; i < items->ndirty; i++)
	{
		int32		item = items->dirty[i];

		CHECK_FOR_INTERRUPTS();
		if (items->totals[item].known && !(only_new && items->totals[item].stored))
			write_row(t, items, item, only_new);
		if (!only_new)
			items->totals[item].dirty = false;
		MemoryContextReset(scratch);
	}
	if (!only_new)
		items->ndirty = 0;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	table_close_state(t, RowExclusiveLock);
}

void
items_write(Items *items)
{
	write_rows(items, false);
}

void
items_write_new(Items *items)
{
	write_rows(items, true);
}

/* The number stays retired: "next" never goes back. */
void
items_forget(Items *items, int32 item)
{
	ItemTotals *totals = &items->totals[item];
	KeyValue	key = keymap_value(items->keys, totals->key);
	Datum		id = Int32GetDatum(item);

	keymap_remove(items->keys, &key);
	totals->known = false;
	totals->users = 0;
	totals->total = 0;
	items->sumsq[item] = 0;
	if (totals->stored)
	{
		StateTable *t = table_open_state(items->nspid, "items", "items_pkey", RowExclusiveLock);

		table_delete(t, 1, &id);
		table_close_state(t, RowExclusiveLock);
		totals->stored = false;
	}
}

/* All totals are zero from now on; keys and numbers stay. */
void
items_void(Items *items)
{
	for (int32 item = 1; item < items->next; item++)
	{
		ItemTotals *totals = &items->totals[item];

		if (!totals->known)
			continue;
		totals->users = 0;
		totals->total = 0;
		totals->first_time = totals->last_time = 0;
		items->sumsq[item] = 0;
		mark_dirty(items, item);
	}
}

void
items_rescale(Items *items, int32 landmark)
{
	double		factor = ldexp(1.0, items->landmark - landmark);

	items->landmark = landmark;
	for (int32 item = 1; item < items->next; item++)
	{
		items->totals[item].total *= factor;
		items->sumsq[item] *= factor * factor;
	}
}

Size
items_bytes(const Items *items)
{
	return (sizeof(ItemTotals) + sizeof(double)) * (Size) items->max +
		sizeof(int32) * (Size) items->maxdirty + items->keys->bytes;
}
