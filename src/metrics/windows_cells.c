/*
 * windows_cells.c
 *	  The rows of windows: a write-back cache of bounded size over the table.
 *
 * A cell is what one combination did in one bucket.  It is loaded when an event
 * falls into it, written with the flush, and may be dropped when it is clean, the
 * longest unused first.  Cells that have come to nothing are deleted.
 *
 * After a roll-up, buckets before rolled_until are of the length rollup_bucket: the row
 * of a bucket is found from its begin alone, at any time.
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

typedef struct CellSlot
{
	CellKey		key;
	Cell	   *cell;
	char		status;
} CellSlot;

static inline uint32
hash_cell(CellKey key)
{
	return hash_combine(murmurhash32((uint32) (key.bucket >> 20) ^ (uint32) key.bucket),
						murmurhash32((uint32) key.combination));
}

#define SH_PREFIX celltab
#define SH_ELEMENT_TYPE CellSlot
#define SH_KEY_TYPE CellKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_cell(key)
#define SH_EQUAL(tb, a, b) ((a).bucket == (b).bucket && (a).combination == (b).combination)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

enum
{
	COL_BUCKET, COL_COMBINATION, COL_BUCKET_END, COL_EVENTS, COL_IMPRESSIONS, COL_CLICKS,
	COL_CONVERSIONS, COL_ORDERS, COL_REVENUE, COL_RATINGS, COL_RATING_SUM, COL_SATISFIED,
	COL_USERS, COL_USERS_STALE, NCOLUMNS
};

static const Oid column_types[NCOLUMNS] = {
	TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
	NUMERICOID, INT8OID, NUMERICOID, INT8OID, BYTEAOID, BOOLOID
};

/* ------------------------------------------------------------------ memory */

static void *
sketch_alloc(void *arg, size_t size)
{
	Windows    *w = arg;

	void	   *ptr = MemoryContextAlloc(w->context, size);

	w->sketches += GetMemoryChunkSpace(ptr);
	return ptr;
}

static void
sketch_release(void *arg, void *ptr)
{
	Windows    *w = arg;

	w->sketches -= GetMemoryChunkSpace(ptr);
	pfree(ptr);
}

void
cells_create(Windows *w)
{
	w->cells = celltab_create(w->context, 256, NULL);
	w->allocator = (Allocator) {sketch_alloc, sketch_release, w};
	dlist_init(&w->dirty_cells);
	dlist_init(&w->clean_cells);
}

static Cell *
new_cell(Windows *w, CellKey key)
{
	Cell	   *cell = MemoryContextAllocZero(w->context, sizeof(Cell));
	bool		rolled = key.bucket < w->rolled_until;

	cell->key = key;
	cell->end = key.bucket + (rolled ? w->metrics->rollup_bucket : w->metrics->bucket);
	dlist_push_tail(&w->clean_cells, &cell->node);
	return cell;
}

static void
drop_cell(Windows *w, Cell *cell)
{
	celltab_delete(w->cells, cell->key);
	dlist_delete(&cell->node);
	sketch_clear(&cell->users, &w->allocator);
	amount_clear(&cell->revenue);
	amount_clear(&cell->rating_sum);
	pfree(cell);
}

Size
cells_memory(const Windows *w)
{
	return w->cells->members * (sizeof(Cell) + 2 * sizeof(CellSlot)) + w->sketches;
}

/* -------------------------------------------------------------------- rows */

static int64
counter(TupleTableSlot *slot, int column)
{
	return DatumGetInt64(checked_attribute(slot, column + 1));
}

static void
load_users(Windows *w, Cell *cell, Datum datum)
{
	bytea	   *bytes = DatumGetByteaPP(datum);

	if (sketch_load(&cell->users, (unsigned char *) VARDATA_ANY(bytes),
					VARSIZE_ANY_EXHDR(bytes), &w->allocator) != SKETCH_OK)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("a row of %s.windows holds no sketch of users", NameStr(w->host->source->name)),
				errhint("SELECT recsys.resync(%s);",
						quote_literal_cstr(NameStr(w->host->source->name))));
}

static void
read_row(Windows *w, Cell *cell, TupleTableSlot *slot)
{
	cell->end = DatumGetTimestampTz(checked_attribute(slot, COL_BUCKET_END + 1));
	cell->events = counter(slot, COL_EVENTS);
	cell->impressions = counter(slot, COL_IMPRESSIONS);
	cell->clicks = counter(slot, COL_CLICKS);
	cell->conversions = counter(slot, COL_CONVERSIONS);
	cell->orders = counter(slot, COL_ORDERS);
	cell->ratings = counter(slot, COL_RATINGS);
	cell->satisfied = counter(slot, COL_SATISFIED);
	amount_load(&cell->revenue, DatumGetNumeric(checked_attribute(slot, COL_REVENUE + 1)), w->context);
	amount_load(&cell->rating_sum, DatumGetNumeric(checked_attribute(slot, COL_RATING_SUM + 1)), w->context);
	load_users(w, cell, checked_attribute(slot, COL_USERS + 1));
	cell->users_stale = DatumGetBool(checked_attribute(slot, COL_USERS_STALE + 1));
	cell->stored = true;
}

static void
load_cell(Windows *w, Cell *cell)
{
	StateTable *t;
	Datum		keys[2] = {TimestampTzGetDatum(cell->key.bucket), Int32GetDatum(cell->key.combination)};
	TupleTableSlot *slot;

	if (w->complete || !windows_tables_exist(w))
		return;
	t = table_open_state(w->host->source->nspid, "windows", "windows_pkey", AccessShareLock);
	checked_types(t, NCOLUMNS, column_types);
	slot = table_get(t, GetActiveSnapshot(), 2, keys);
	if (slot)
		read_row(w, cell, slot);
	table_close_state(t, AccessShareLock);
}

static void
write_row(StateTable *t, Cell *cell)
{
	Datum		values[NCOLUMNS];
	Size		size = sketch_stored_size(&cell->users);
	bytea	   *users = palloc(VARHDRSZ + size);

	SET_VARSIZE(users, VARHDRSZ + size);
	sketch_store(&cell->users, (unsigned char *) VARDATA(users));
	values[COL_BUCKET] = TimestampTzGetDatum(cell->key.bucket);
	values[COL_COMBINATION] = Int32GetDatum(cell->key.combination);
	values[COL_BUCKET_END] = TimestampTzGetDatum(cell->end);
	values[COL_EVENTS] = Int64GetDatum(cell->events);
	values[COL_IMPRESSIONS] = Int64GetDatum(cell->impressions);
	values[COL_CLICKS] = Int64GetDatum(cell->clicks);
	values[COL_CONVERSIONS] = Int64GetDatum(cell->conversions);
	values[COL_ORDERS] = Int64GetDatum(cell->orders);
	values[COL_REVENUE] = NumericGetDatum(amount_numeric(&cell->revenue));
	values[COL_RATINGS] = Int64GetDatum(cell->ratings);
	values[COL_RATING_SUM] = NumericGetDatum(amount_numeric(&cell->rating_sum));
	values[COL_SATISFIED] = Int64GetDatum(cell->satisfied);
	values[COL_USERS] = PointerGetDatum(users);
	values[COL_USERS_STALE] = BoolGetDatum(cell->users_stale);
	if (cell->stored)
		table_put(t, 2, values, NULL);
	else
		table_insert(t, values, NULL);
	cell->stored = true;
}

static void
write_cell(Windows *w, StateTable *t, Cell *cell)
{
	Datum		keys[2] = {TimestampTzGetDatum(cell->key.bucket), Int32GetDatum(cell->key.combination)};

	cell->dirty = false;
	if (cell->events != 0 || cell->orders != 0)
		write_row(t, cell);
	else
	{
		if (cell->stored)
			(void) table_delete(t, 2, keys);
		drop_cell(w, cell);
	}
}

void
cells_write(Windows *w)
{
	MemoryContext scratch;
	StateTable *t;

	if (dlist_is_empty(&w->dirty_cells))
		return;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys windows write",
									ALLOCSET_DEFAULT_SIZES);
	t = table_open_state(w->host->source->nspid, "windows", "windows_pkey", RowExclusiveLock);
	while (!dlist_is_empty(&w->dirty_cells))
	{
		Cell	   *cell = dlist_head_element(Cell, node, &w->dirty_cells);

		CHECK_FOR_INTERRUPTS();
		dlist_delete(&cell->node);
		dlist_push_tail(&w->clean_cells, &cell->node);
		MemoryContextSwitchTo(scratch);
		write_cell(w, t, cell);
		MemoryContextSwitchTo(scratch->parent);
		MemoryContextReset(scratch);
	}
	table_close_state(t, RowExclusiveLock);
	MemoryContextDelete(scratch);
}

/* ------------------------------------------------------------------- access */

static TimestampTz
floor_to(TimestampTz time, int64 length)
{
	int64		rest = time % length;

	return time - (rest < 0 ? rest + length : rest);
}

TimestampTz
bucket_of(const Windows *w, TimestampTz time)
{
	return floor_to(time, w->metrics->bucket);
}

TimestampTz
row_of_bucket(const Windows *w, TimestampTz bucket)
{
	return bucket < w->rolled_until ? floor_to(bucket, w->metrics->rollup_bucket) : bucket;
}

Cell *
cells_get(Windows *w, TimestampTz bucket, int32 combination)
{
	CellKey		key = {row_of_bucket(w, bucket), combination, 0};
	CellSlot   *slot;
	Cell	   *cell;
	bool		found;

	if (key.bucket < w->expired_until)
		return NULL;
	slot = celltab_lookup(w->cells, key);
	if (slot)
		return slot->cell;
	cell = new_cell(w, key);
	load_cell(w, cell);
	slot = celltab_insert(w->cells, key, &found);
	slot->cell = cell;
	return cell;
}

/* Likewise, but none that is not there. */
Cell *
cells_find(Windows *w, TimestampTz row, int32 combination)
{
	Cell	   *cell = cells_get(w, row, combination);

	if (cell && !cell->dirty && !cell->stored)
	{
		drop_cell(w, cell);
		return NULL;
	}
	return cell;
}

/* The cell of a row, if it is in memory. */
Cell *
cells_peek(Windows *w, TimestampTz row, int32 combination)
{
	CellSlot   *slot = celltab_lookup(w->cells, (CellKey) {row, combination, 0});

	return slot ? slot->cell : NULL;
}

/* To be called whenever anything in the cell has changed. */
void
cells_changed(Windows *w, Cell *cell)
{
	if (cell->dirty)
		return;
	cell->dirty = true;
	dlist_delete(&cell->node);
	dlist_push_tail(&w->dirty_cells, &cell->node);
}

static void
out_of_memory(void)
{
	ereport(ERROR,
			errcode(ERRCODE_OUT_OF_MEMORY),
			errmsg("no memory for a sketch of users"));
}

void
cells_add_user(Windows *w, Cell *cell, uint64 hash)
{
	if (!sketch_add(&cell->users, hash, &w->allocator))
		out_of_memory();
}

/* Move everything that is counted in one cell to another. */
void
cells_move(Windows *w, Cell *into, Cell *cell)
{
	into->events += cell->events;
	into->impressions += cell->impressions;
	into->clicks += cell->clicks;
	into->conversions += cell->conversions;
	into->orders += cell->orders;
	into->ratings += cell->ratings;
	into->satisfied += cell->satisfied;
	amount_merge(&into->revenue, &cell->revenue, w->context);
	amount_merge(&into->rating_sum, &cell->rating_sum, w->context);
	if (!sketch_merge(&into->users, &cell->users, &w->allocator))
		out_of_memory();
	into->users_stale |= cell->users_stale;
	cells_changed(w, into);
	cell->events = cell->orders = 0;	/* so that it is deleted */
	cells_changed(w, cell);
}

/* ------------------------------------------------------------------ leaving */

void
cells_evict(Windows *w, Size target)
{
	while (cells_memory(w) > target && !dlist_is_empty(&w->clean_cells))
	{
		Cell	   *cell = dlist_head_element(Cell, node, &w->clean_cells);

		w->complete &= !cell->stored;
		drop_cell(w, cell);
	}
}

static void
drop_list(Windows *w, dlist_head *list, TimestampTz end)
{
	dlist_mutable_iter it;

	dlist_foreach_modify(it, list)
	{
		Cell	   *cell = dlist_container(Cell, node, it.cur);

		if (cell->end <= end)
			drop_cell(w, cell);
	}
}

/* Forget the cells that end by then, without a word to the table. */
void
cells_drop_before(Windows *w, TimestampTz end)
{
	drop_list(w, &w->dirty_cells, end);
	drop_list(w, &w->clean_cells, end);
}

void
cells_clear(Windows *w)
{
	cells_drop_before(w, DT_NOEND);
}
