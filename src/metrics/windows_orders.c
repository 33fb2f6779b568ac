/*
 * windows_orders.c
 *	  Where each order is counted: a write-back cache of bounded size over
 *	  window_orders.
 *
 * An order has a place for each bucket and combination that it has conversions in, and
 * counts once: in the first bucket, there in the combination whose values come
 * first.  When an earlier conversion comes late, or the last one of the first
 * place is taken back, the count moves.  Places are those of the buckets as they
 * were before any roll-up, so where an order counts does not depend on when buckets
 * were put together.
 *
 * An order that spans very many buckets, such as one that stands for "unknown", is
 * held as a whole while it is in use, in a sorted array.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "metrics/windows_impl.h"
#include "state/checked.h"
#include "state/table.h"

typedef struct OrderSlot
{
	const char *id;
	Order	   *order;
	uint32		hash;
	char		status;
} OrderSlot;

#define SH_PREFIX ordertab
#define SH_ELEMENT_TYPE OrderSlot
#define SH_KEY_TYPE const char *
#define SH_KEY id
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), (int) strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) a->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

enum
{
	COL_ORDER_ID, COL_BUCKET, COL_COMBINATION, COL_EVENTS, NCOLUMNS
};

static const Oid column_types[NCOLUMNS] = {TEXTOID, TIMESTAMPTZOID, INT4OID, INT8OID};

#define KEY_COLUMNS 3

void
orders_create(Windows *w)
{
	w->orders = ordertab_create(w->context, 256, NULL);
	dlist_init(&w->dirty_orders);
	dlist_init(&w->clean_orders);
}

static Size
order_size(const Order *o)
{
	return sizeof(Order) + 2 * sizeof(OrderSlot) + strlen(o->id) + sizeof(OrderPlace) * o->room;
}

static void
drop_order(Windows *w, Order *o)
{
	ordertab_delete(w->orders, o->id);
	dlist_delete(&o->node);
	w->order_bytes -= order_size(o);
	pfree(o->places);
	pfree(o->id);
	pfree(o);
}

/* ------------------------------------------------------------------- places */

/* Where the place is, or would be. */
static int
find_place(const Order *o, TimestampTz bucket, int32 combination)
{
	int			low = 0,
				high = o->n;

	while (low < high)
	{
		int			mid = low + (high - low) / 2;
		const OrderPlace *p = &o->places[mid];

		if (p->bucket < bucket || (p->bucket == bucket && p->combination < combination))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool
is_place(const Order *o, int at, TimestampTz bucket, int32 combination)
{
	return at < o->n && o->places[at].bucket == bucket && o->places[at].combination == combination;
}

static OrderPlace *
insert_place(Windows *w, Order *o, int at, TimestampTz bucket, int32 combination)
{
	OrderPlace *p;

	if (o->n == o->room)
	{
		w->order_bytes += sizeof(OrderPlace) * o->room;
		o->room *= 2;
		o->places = repalloc_huge(o->places, sizeof(OrderPlace) * o->room);
	}
	p = &o->places[at];
	memmove(p + 1, p, sizeof(OrderPlace) * (o->n - at));
	o->n++;
	memset(p, 0, sizeof(OrderPlace));
	p->bucket = bucket;
	p->combination = combination;
	return p;
}

/* The place where the order counts, or NULL. */
static OrderPlace *
first_place(const Windows *w, const Order *o)
{
	OrderPlace *first = NULL;

	for (int i = 0; i < o->n && (first == NULL || o->places[i].bucket == first->bucket); i++)
	{
		OrderPlace *p = &o->places[i];

		if (p->events > 0 &&
			(first == NULL || combinations_compare(w, p->combination, first->combination) < 0))
			first = p;
	}
	return first;
}

/* -------------------------------------------------------------------- rows */

static void
load_order(Windows *w, Order *o)
{
	StateTable *t;
	Datum		key;

	if (w->complete || !windows_tables_exist(w))
		return;
	t = table_open_state(w->host->source->nspid, "window_orders", "window_orders_pkey", AccessShareLock);
	checked_types(t, NCOLUMNS, column_types);
	key = CStringGetTextDatum(o->id);
	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 1, &key); slot; slot = table_get_next(t))
	{
		OrderPlace *p = insert_place(w, o, o->n,
									 DatumGetTimestampTz(checked_attribute(slot, COL_BUCKET + 1)),
									 DatumGetInt32(checked_attribute(slot, COL_COMBINATION + 1)));

		p->events = DatumGetInt64(checked_attribute(slot, COL_EVENTS + 1));
		p->stored = true;
	}
	table_close_state(t, AccessShareLock);
}

static Order *
get_order(Windows *w, const char *id)
{
	OrderSlot  *slot = ordertab_lookup(w->orders, id);
	Order	   *o;
	bool		found;

	if (slot)
		return slot->order;
	o = MemoryContextAllocZero(w->context, sizeof(Order));
	o->id = MemoryContextStrdup(w->context, id);
	o->room = 1;
	o->places = MemoryContextAlloc(w->context, sizeof(OrderPlace) * o->room);
	w->order_bytes += order_size(o);
	dlist_push_tail(&w->clean_orders, &o->node);
	load_order(w, o);
	slot = ordertab_insert(w->orders, o->id, &found);
	slot->order = o;
	return o;
}

/* Changed places only; those that have come to nothing are deleted. */
static void
write_order(Windows *w, StateTable *t, Order *o)
{
	int			kept = 0;

	for (int i = 0; i < o->n; i++)
	{
		OrderPlace *p = &o->places[i];
		Datum		values[NCOLUMNS];

		values[COL_ORDER_ID] = CStringGetTextDatum(o->id);
		values[COL_BUCKET] = TimestampTzGetDatum(p->bucket);
		values[COL_COMBINATION] = Int32GetDatum(p->combination);
		values[COL_EVENTS] = Int64GetDatum(p->events);
		if (p->dirty && p->events > 0 && p->stored)
			table_put(t, KEY_COLUMNS, values, NULL);
		else if (p->dirty && p->events > 0)
			table_insert(t, values, NULL);
		else if (p->dirty && p->stored)
			(void) table_delete(t, KEY_COLUMNS, values);
		if (p->events > 0)
		{
			p->stored = true;
			p->dirty = false;
			o->places[kept++] = *p;
		}
		pfree(DatumGetPointer(values[COL_ORDER_ID]));
	}
	o->n = kept;
	o->dirty = false;
	if (o->n == 0)
		drop_order(w, o);
}

void
orders_write(Windows *w)
{
	MemoryContext scratch;
	StateTable *t;

	if (dlist_is_empty(&w->dirty_orders))
		return;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys orders write",
									ALLOCSET_DEFAULT_SIZES);
	t = table_open_state(w->host->source->nspid, "window_orders", "window_orders_pkey", RowExclusiveLock);
	while (!dlist_is_empty(&w->dirty_orders))
	{
		Order	   *o = dlist_head_element(Order, node, &w->dirty_orders);

		CHECK_FOR_INTERRUPTS();
		dlist_delete(&o->node);
		dlist_push_tail(&w->clean_orders, &o->node);
		MemoryContextSwitchTo(scratch);
		write_order(w, t, o);
		MemoryContextSwitchTo(scratch->parent);
		MemoryContextReset(scratch);
	}
	table_close_state(t, RowExclusiveLock);
	MemoryContextDelete(scratch);
}

/* ------------------------------------------------------------------- events */

static void
count_order(Windows *w, TimestampTz bucket, int32 combination, int change)
{
	Cell	   *cell = cells_get(w, bucket, combination);

	if (cell == NULL)
		return;					/* it has expired */
	cell->orders += change;
	cells_changed(w, cell);
}

void
orders_event(Windows *w, const char *id, TimestampTz bucket, int32 combination, int sign)
{
	Order	   *o = get_order(w, id);
	OrderPlace *first = first_place(w, o),
				before = {0};
	int			at = find_place(o, bucket, combination);
	bool		counted = first != NULL;

	if (counted)
		before = *first;
	if (!is_place(o, at, bucket, combination))
	{
		if (sign < 0)
			return;				/* it was never counted */
		(void) insert_place(w, o, at, bucket, combination);
	}
	if (sign < 0 && o->places[at].events == 0)
		return;
	o->places[at].events += sign;
	o->places[at].dirty = true;
	if (!o->dirty)
	{
		o->dirty = true;
		dlist_delete(&o->node);
		dlist_push_tail(&w->dirty_orders, &o->node);
	}
	first = first_place(w, o);
	if (counted && first && first->bucket == before.bucket && first->combination == before.combination)
		return;
	if (counted)
		count_order(w, before.bucket, before.combination, -1);
	if (first)
		count_order(w, first->bucket, first->combination, 1);
}

/* ------------------------------------------------------------------ leaving */

Size
orders_memory(const Windows *w)
{
	return w->order_bytes;
}

void
orders_evict(Windows *w, Size target)
{
	while (w->order_bytes > target && !dlist_is_empty(&w->clean_orders))
	{
		Order	   *o = dlist_head_element(Order, node, &w->clean_orders);

		w->complete &= o->n == 0;
		drop_order(w, o);
	}
}

void
orders_clear(Windows *w)
{
	while (!dlist_is_empty(&w->dirty_orders))
		drop_order(w, dlist_head_element(Order, node, &w->dirty_orders));
	while (!dlist_is_empty(&w->clean_orders))
		drop_order(w, dlist_head_element(Order, node, &w->clean_orders));
}
