/*
 * profile_rows.c
 *	  Histories as rows of the table "profiles": reading and writing them.
 *
 * Reading the rows of a user in segment order and sorting by time, stably,
 * gives back the order in memory: among equal times the later arrival stands
 * in the later segment, or behind the other in the same one.
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "state/array.h"
#include "state/profiles_impl.h"
#include "state/table.h"

/* Columns of the table. */
enum
{
	COL_USER, COL_SEGMENT, COL_LANDMARK, COL_ITEMS, COL_WEIGHTS, COL_COUNTS,
	COL_TIMES, NCOLUMNS
};

/* ---------------------------------------------------------------- reading */

static const void *
array_data(Datum datum, int expected)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);

	if (ARR_HASNULL(array) ||
		(expected >= 0 && ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) != expected))
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("arrays of a profile row are not parallel"),
				errhint("Rebuild the state with recsys.resync()."));
	return ARR_DATA_PTR(array);
}

void
profile_row_read(struct TupleTableSlot *slot, ProfileRow *row)
{
	ArrayType  *items;

	slot_getallattrs(slot);
	items = DatumGetArrayTypeP(slot->tts_values[COL_ITEMS]);
	row->n = ArrayGetNItems(ARR_NDIM(items), ARR_DIMS(items));
	row->items = (const int32 *) ARR_DATA_PTR(items);
	row->user = DatumGetInt32(slot->tts_values[COL_USER]);
	row->segment = DatumGetInt32(slot->tts_values[COL_SEGMENT]);
	row->landmark = DatumGetInt32(slot->tts_values[COL_LANDMARK]);
	row->weights = array_data(slot->tts_values[COL_WEIGHTS], row->n);
	row->counts = array_data(slot->tts_values[COL_COUNTS], row->n);
	row->times = array_data(slot->tts_values[COL_TIMES], row->n);
}

/* Take the entries of a stored row over; segments come in ascending order. */
static void
append_row(Profiles *ps, Profile *p, const ProfileRow *row)
{
	double		factor = ldexp(1.0, row->landmark - ps->landmark);

	while (p->n + row->n > p->max)
		profile_resize(ps, p, Max(Max(4, p->n + row->n), p->max * 2));
	for (int i = 0; i < row->n; i++)
	{
		int			at = p->n++;

		p->items[at] = row->items[i];
		p->weights[at] = row->weights[i] * factor;
		p->times[at] = row->times[i];
		p->counts[at] = row->counts[i];
		p->segments[at] = row->segment;
	}
	p->last_segment = p->stored_segment = row->segment;
	p->last_count = row->n;
	p->nsegments++;
}

typedef struct SortEntry
{
	TimestampTz time;
	int32		at;
} SortEntry;

static int
compare_entries(const void *a, const void *b)
{
	const SortEntry *x = a;
	const SortEntry *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->at < y->at ? -1 : 1;
}

/* Restore the order by time; stored rows mostly have it already. */
static void
sort_entries(Profiles *ps, Profile *p)
{
	SortEntry  *order;
	Profile		old = *p;
	bool		sorted = true;

	for (int i = 1; i < p->n && sorted; i++)
		sorted = p->times[i - 1] <= p->times[i];
	if (sorted)
		return;

	order = palloc(sizeof(SortEntry) * p->n);
	for (int i = 0; i < p->n; i++)
	{
		order[i].time = p->times[i];
		order[i].at = i;
	}
	qsort(order, p->n, sizeof(SortEntry), compare_entries);
	p->max = 0;					/* so that profile_resize() gives a fresh chunk */
	profile_resize(ps, p, old.max);
	for (int i = 0; i < p->n; i++)
	{
		int			from = order[i].at;

		p->items[i] = old.items[from];
		p->weights[i] = old.weights[from];
		p->times[i] = old.times[from];
		p->counts[i] = old.counts[from];
		p->segments[i] = old.segments[from];
	}
	ps->bytes -= GetMemoryChunkSpace(old.weights);
	pfree(old.weights);
	pfree(order);
}

/* The reader lasts as long as the transaction. */
static void
open_reader(Profiles *ps)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	ps->reader = table_open_state(ps->nspid, "profiles", "profiles_pkey", AccessShareLock);
	MemoryContextSwitchTo(old);
}

void
profile_load(Profiles *ps, Profile *p)
{
	Datum		key = Int32GetDatum(p->user);
	ProfileRow	row;

	if (ps->reader == NULL)
		open_reader(ps);
	for (TupleTableSlot *slot = table_get(ps->reader, GetActiveSnapshot(), 1, &key);
		 slot; slot = table_get_next(ps->reader))
	{
		profile_row_read(slot, &row);
		append_row(ps, p, &row);
	}
	sort_entries(ps, p);
}

static int
compare_segments(const void *a, const void *b, void *arg)
{
	const Profile *p = arg;
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	if (p->segments[x] != p->segments[y])
		return p->segments[x] < p->segments[y] ? -1 : 1;
	return x < y ? -1 : 1;
}

/* Entries were appended in physical order of rows: order them by segment. */
static void
order_loaded(Profiles *ps, Profile *p)
{
	bool		sorted = true;
	int32	   *order;
	Profile		old = *p;

	p->last_segment = p->stored_segment = NO_SEGMENT;
	p->last_count = 0;
	for (int i = 0; i < p->n; i++)
	{
		if (p->segments[i] > p->last_segment)
		{
			p->last_segment = p->stored_segment = p->segments[i];
			p->last_count = 0;
		}
		if (p->segments[i] == p->last_segment)
			p->last_count++;
		if (i > 0 && p->segments[i] < p->segments[i - 1])
			sorted = false;
	}
	if (!sorted)
	{
		order = palloc(sizeof(int32) * p->n);
		for (int i = 0; i < p->n; i++)
			order[i] = i;
		qsort_arg(order, p->n, sizeof(int32), compare_segments, &old);
		p->max = 0;
		profile_resize(ps, p, old.max);
		for (int i = 0; i < p->n; i++)
		{
			p->items[i] = old.items[order[i]];
			p->weights[i] = old.weights[order[i]];
			p->times[i] = old.times[order[i]];
			p->counts[i] = old.counts[order[i]];
			p->segments[i] = old.segments[order[i]];
		}
		ps->bytes -= GetMemoryChunkSpace(old.weights);
		pfree(old.weights);
		pfree(order);
	}
	sort_entries(ps, p);
}

/*
 * Read the whole table in physical order, as long as it fits: one sequential
 * scan instead of a probe per user.  The rows of a user may come in any order,
 * so they are put in order at the end.
 */
void
profiles_load_all(Profiles *ps, Size limit)
{
	StateTable *t;
	TableScanDesc scan;
	bool		fits = true;

	if (ps->nprofiles > 0 || ps->table_void || ps->complete)
		return;					/* something is newer than the table */
	t = table_open_state(ps->nspid, "profiles", NULL, AccessShareLock);
	scan = table_beginscan(t->rel, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, t->slot))
	{
		ProfileRow	row;
		Profile   **place;

		CHECK_FOR_INTERRUPTS();
		profile_row_read(t->slot, &row);
		place = profile_place(ps, row.user);
		if (*place == NULL)
			*place = profile_create(ps, row.user);
		append_row(ps, *place, &row);
		if (ps->bytes > limit)
		{
			fits = false;
			break;
		}
	}
	table_endscan(scan);
	table_close_state(t, AccessShareLock);
	if (!fits)
	{
		/* Half-loaded histories are of no use. */
		profiles_void(ps);
		ps->table_void = ps->complete = false;
		return;
	}
	for (int32 user = 1; user <= profiles_max_user(ps); user++)
	{
		Profile    *p = profiles_peek(ps, user);

		if (p)
			order_loaded(ps, p);
	}
	ps->complete = true;
}

/* ---------------------------------------------------------------- writing */

static void
write_segment(StateTable *t, Profiles *ps, Profile *p, int32 segment)
{
	int32		items[PROFILE_SEGMENT_SIZE];
	double		weights[PROFILE_SEGMENT_SIZE];
	int32		counts[PROFILE_SEGMENT_SIZE];
	TimestampTz times[PROFILE_SEGMENT_SIZE];
	Datum		values[NCOLUMNS];
	int			n = 0;

	for (int i = 0; i < p->n; i++)
		if (p->segments[i] == segment)
		{
			items[n] = p->items[i];
			weights[n] = p->weights[i];
			counts[n] = p->counts[i];
			times[n++] = p->times[i];
		}
	values[COL_USER] = Int32GetDatum(p->user);
	values[COL_SEGMENT] = Int32GetDatum(segment);
	if (n == 0)
	{
		if (segment <= p->stored_segment)
			table_delete(t, 2, values);
		return;
	}
	values[COL_LANDMARK] = Int32GetDatum(ps->landmark);
	values[COL_ITEMS] = array_datum(items, n, sizeof(int32), INT4OID);
	values[COL_WEIGHTS] = array_datum(weights, n, sizeof(double), FLOAT8OID);
	values[COL_COUNTS] = array_datum(counts, n, sizeof(int32), INT4OID);
	values[COL_TIMES] = array_datum(times, n, sizeof(TimestampTz), INT8OID);
	if (segment > p->stored_segment)
		table_insert(t, values, NULL);
	else
		table_put(t, 2, values, NULL);
}

/* Write all dirty segments; memory of the rows goes with the caller's context. */
void
profiles_write(Profiles *ps)
{
	StateTable *t;
	MemoryContext scratch,
				old;

	if (ps->ndirty == 0)
		return;
	t = table_open_state(ps->nspid, "profiles", "profiles_pkey", RowExclusiveLock);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys rows", ALLOCSET_DEFAULT_SIZES);
	for (int d = 0; d < ps->ndirty; d++)
	{
		Profile    *p = profiles_peek(ps, ps->dirty[d]);
		int32		highest = p->stored_segment;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < p->ndirty; i++)
		{
			/* table_put() keeps its slots in the outer context */
			old = MemoryContextSwitchTo(scratch);
			write_segment(t, ps, p, p->dirty[i]);
			MemoryContextSwitchTo(old);
			highest = Max(highest, p->dirty[i]);
		}
		p->stored_segment = highest;
		p->ndirty = 0;
		MemoryContextReset(scratch);
	}
	ps->ndirty = 0;
	MemoryContextDelete(scratch);
	table_close_state(t, RowExclusiveLock);
}
