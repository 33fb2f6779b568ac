/*
 * profiles.c
 *	  Histories of users: a write-back cache of bounded size over the table
 *	  "profiles".
 *
 * A history is stored in rows (segments) of at most PROFILE_SEGMENT_SIZE
 * entries.  A new or refreshed entry always goes to the last segment, so an
 * event dirties at most two rows, however long the history is.  Segment
 * numbers only grow; when a history has become scattered over many thinly
 * filled rows, it is packed into new ones.
 *
 * Reading the rows of a user in segment order and sorting by time, stably,
 * gives back the order in memory: among equal times the later arrival stands
 * in the later segment, or behind the other in the same one.
 *
 * Only clean histories are evicted, so memory can exceed its target until the
 * next write.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "state/profiles.h"
#include "state/table.h"

#define PROFILE_PAGE_SIZE 1024
#define NO_SEGMENT (-1)

/* Columns of the table. */
enum
{
	COL_USER, COL_SEGMENT, COL_LANDMARK, COL_ITEMS, COL_WEIGHTS, COL_COUNTS,
	COL_TIMES, NCOLUMNS
};

Profiles *
profiles_create(MemoryContext parent, Oid nspid)
{
	Profiles   *ps = MemoryContextAllocZero(parent, sizeof(Profiles));

	ps->context = AllocSetContextCreate(parent, "recsys profiles", ALLOCSET_DEFAULT_SIZES);
	ps->nspid = nspid;
	return ps;
}

void
profiles_begin(Profiles *ps)
{
	ps->reader = NULL;
}

void
profiles_end(Profiles *ps)
{
	if (ps->reader)
		table_close_state(ps->reader, AccessShareLock);
	ps->reader = NULL;
}

/* ------------------------------------------------------------ one profile */

static Size
entries_size(int32 max)
{
	return (sizeof(double) + sizeof(TimestampTz) + 3 * sizeof(int32)) * (Size) max;
}

/* Lays the five arrays out in one chunk, widest first. */
static void
resize(Profiles *ps, Profile *p, int32 max)
{
	char	   *chunk = MemoryContextAlloc(ps->context, entries_size(max));
	double	   *weights = (double *) chunk;
	TimestampTz *times = (TimestampTz *) (weights + max);
	int32	   *items = (int32 *) (times + max);
	int32	   *counts = items + max;
	int32	   *segments = counts + max;

	ps->bytes += GetMemoryChunkSpace(chunk);
	if (p->max > 0)
	{
		memcpy(weights, p->weights, sizeof(double) * p->n);
		memcpy(times, p->times, sizeof(TimestampTz) * p->n);
		memcpy(items, p->items, sizeof(int32) * p->n);
		memcpy(counts, p->counts, sizeof(int32) * p->n);
		memcpy(segments, p->segments, sizeof(int32) * p->n);
		ps->bytes -= GetMemoryChunkSpace(p->weights);
		pfree(p->weights);
	}
	p->weights = weights;
	p->times = times;
	p->items = items;
	p->counts = counts;
	p->segments = segments;
	p->max = max;
}

int
profile_find(const Profile *p, int32 item)
{
	const int32 *items = p->items;
	int			i = 0;

	/* Eight at a time without a branch between them. */
	for (; i + 8 <= p->n; i += 8)
	{
		int			hit = 0;

		for (int k = 0; k < 8; k++)
			hit |= (items[i + k] == item) << k;
		if (hit)
			return i + __builtin_ctz(hit);
	}
	for (; i < p->n; i++)
		if (items[i] == item)
			return i;
	return -1;
}

static void
mark_dirty(Profiles *ps, Profile *p, int32 segment)
{
	if (p->ndirty == 0)
	{
		if (ps->ndirty == ps->maxdirty)
		{
			ps->maxdirty = Max(1024, ps->maxdirty * 2);
			ps->dirty = ps->dirty ?
				repalloc_huge(ps->dirty, sizeof(int32) * (Size) ps->maxdirty) :
				MemoryContextAlloc(ps->context, sizeof(int32) * ps->maxdirty);
		}
		ps->dirty[ps->ndirty++] = p->user;
	}
	for (int i = 0; i < p->ndirty; i++)
		if (p->dirty[i] == segment)
			return;
	if (p->ndirty == p->maxdirty)
	{
		p->maxdirty = Max(4, p->maxdirty * 2);
		if (p->dirty)
			ps->bytes -= GetMemoryChunkSpace(p->dirty);
		p->dirty = p->dirty ?
			repalloc(p->dirty, sizeof(int32) * p->maxdirty) :
			MemoryContextAlloc(ps->context, sizeof(int32) * p->maxdirty);
		ps->bytes += GetMemoryChunkSpace(p->dirty);
	}
	p->dirty[p->ndirty++] = segment;
}

void
profile_remove(Profiles *ps, Profile *p, int at)
{
	int			tail = p->n - at - 1;

	mark_dirty(ps, p, p->segments[at]);
	if (p->segments[at] == p->last_segment)
		p->last_count--;
	memmove(p->items + at, p->items + at + 1, sizeof(int32) * tail);
	memmove(p->weights + at, p->weights + at + 1, sizeof(double) * tail);
	memmove(p->times + at, p->times + at + 1, sizeof(TimestampTz) * tail);
	memmove(p->counts + at, p->counts + at + 1, sizeof(int32) * tail);
	memmove(p->segments + at, p->segments + at + 1, sizeof(int32) * tail);
	p->n--;
}

/* Move all entries to new segments, densely. */
static void
pack_segments(Profiles *ps, Profile *p)
{
	int32		base = p->last_segment + 1;

	for (int i = 0; i < p->n; i++)
	{
		mark_dirty(ps, p, p->segments[i]);
		p->segments[i] = base + i / PROFILE_SEGMENT_SIZE;
	}
	p->nsegments = (p->n + PROFILE_SEGMENT_SIZE - 1) / PROFILE_SEGMENT_SIZE;
	p->last_segment = base + Max(p->nsegments - 1, 0);
	p->last_count = p->n - (p->last_segment - base) * PROFILE_SEGMENT_SIZE;
	for (int i = 0; i < p->nsegments; i++)
		mark_dirty(ps, p, base + i);
}

static void
choose_segment(Profiles *ps, Profile *p)
{
	if (p->last_segment != NO_SEGMENT && p->last_count < PROFILE_SEGMENT_SIZE)
		return;
	if (p->nsegments > 2 * (p->n / PROFILE_SEGMENT_SIZE) + 2)
		pack_segments(ps, p);
	if (p->last_segment == NO_SEGMENT || p->last_count >= PROFILE_SEGMENT_SIZE)
	{
		p->last_segment++;
		p->last_count = 0;
		p->nsegments++;
	}
}

void
profile_insert(Profiles *ps, Profile *p, int32 item, double weight,
			   int32 count, TimestampTz time)
{
	int			at = p->n;
	int			tail;

	if (p->n == p->max)
		resize(ps, p, Max(4, p->max * 2));
	choose_segment(ps, p);
	while (at > 0 && p->times[at - 1] > time)
		at--;
	tail = p->n - at;
	if (tail > 0)
	{
		memmove(p->items + at + 1, p->items + at, sizeof(int32) * tail);
		memmove(p->weights + at + 1, p->weights + at, sizeof(double) * tail);
		memmove(p->times + at + 1, p->times + at, sizeof(TimestampTz) * tail);
		memmove(p->counts + at + 1, p->counts + at, sizeof(int32) * tail);
		memmove(p->segments + at + 1, p->segments + at, sizeof(int32) * tail);
	}
	p->items[at] = item;
	p->weights[at] = weight;
	p->times[at] = time;
	p->counts[at] = count;
	p->segments[at] = p->last_segment;
	p->last_count++;
	p->n++;
	mark_dirty(ps, p, p->last_segment);
}

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
		resize(ps, p, Max(Max(4, p->n + row->n), p->max * 2));
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
	p->max = 0;					/* so that resize() gives a fresh chunk */
	resize(ps, p, old.max);
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

static Profile **
cache_place(Profiles *ps, int32 user)
{
	int32		page = user / PROFILE_PAGE_SIZE;

	if (page >= ps->npages)
	{
		int32		npages = Max(page + 1, ps->npages * 2);

		ps->pages = ps->pages ?
			repalloc_huge(ps->pages, sizeof(Profile **) * npages) :
			MemoryContextAlloc(ps->context, sizeof(Profile **) * npages);
		memset(ps->pages + ps->npages, 0, sizeof(Profile **) * (npages - ps->npages));
		ps->npages = npages;
	}
	if (ps->pages[page] == NULL)
	{
		ps->pages[page] = MemoryContextAllocZero(ps->context,
												 sizeof(Profile *) * PROFILE_PAGE_SIZE);
		ps->bytes += sizeof(Profile *) * PROFILE_PAGE_SIZE;
	}
	return &ps->pages[page][user % PROFILE_PAGE_SIZE];
}

static Profile *
new_profile(Profiles *ps, int32 user)
{
	Profile    *p = MemoryContextAllocZero(ps->context, sizeof(Profile));

	p->user = user;
	p->last_segment = p->stored_segment = NO_SEGMENT;
	p->landmark = ps->landmark;
	ps->bytes += GetMemoryChunkSpace(p);
	ps->nprofiles++;
	return p;
}

/* The reader lasts as long as the transaction. */
static void
open_reader(Profiles *ps)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	ps->reader = table_open_state(ps->nspid, "profiles", "profiles_pkey", AccessShareLock);
	MemoryContextSwitchTo(old);
}

static void
load_profile(Profiles *ps, Profile *p)
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

Profile *
profiles_peek(Profiles *ps, int32 user)
{
	int32		page = user / PROFILE_PAGE_SIZE;

	if (page >= ps->npages || ps->pages[page] == NULL)
		return NULL;
	return ps->pages[page][user % PROFILE_PAGE_SIZE];
}

void
profiles_prefetch_place(Profiles *ps, int32 user)
{
	int32		page = user / PROFILE_PAGE_SIZE;

	if (page < ps->npages && ps->pages[page] != NULL)
		__builtin_prefetch(&ps->pages[page][user % PROFILE_PAGE_SIZE]);
}

void
profiles_prefetch_struct(Profiles *ps, int32 user)
{
	Profile    *p = profiles_peek(ps, user);

	__builtin_prefetch(p);
	__builtin_prefetch((char *) p + 64);
}

/* All items, which are searched, and the newest end of the rest. */
void
profiles_prefetch_arrays(Profiles *ps, int32 user)
{
	Profile    *p = profiles_peek(ps, user);

	if (p == NULL)
		return;
	for (int i = 0; i < p->n; i += 16)
		__builtin_prefetch(&p->items[i]);
	for (int i = 0; i < p->n; i += 8)
		__builtin_prefetch(&p->weights[i]);
	__builtin_prefetch(&p->times[p->n]);
	__builtin_prefetch(&p->counts[p->n]);
	__builtin_prefetch(&p->segments[p->n]);
}

Profile *
profiles_get(Profiles *ps, int32 user)
{
	Profile   **place = cache_place(ps, user);

	if (*place == NULL)
	{
		Profile    *p = new_profile(ps, user);

		if (!ps->complete)
			load_profile(ps, p);
		*place = p;
	}
	(*place)->referenced = true;
	return *place;
}

/*
 * Read the whole table in physical order, as long as it fits: one sequential
 * scan instead of a probe per user.  The rows of a user may come in any order,
 * so they are put in order at the end.
 */
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
		resize(ps, p, old.max);
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
		place = cache_place(ps, row.user);
		if (*place == NULL)
			*place = new_profile(ps, row.user);
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

int32
profiles_max_user(const Profiles *ps)
{
	return ps->npages * PROFILE_PAGE_SIZE - 1;
}

/* ---------------------------------------------------------------- writing */

static Datum
make_array(const void *data, int n, int width, Oid type)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + (Size) width * n;
	ArrayType  *array = palloc0(size);

	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = type;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	memcpy(ARR_DATA_PTR(array), data, (Size) width * n);
	return PointerGetDatum(array);
}

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
	values[COL_ITEMS] = make_array(items, n, sizeof(int32), INT4OID);
	values[COL_WEIGHTS] = make_array(weights, n, sizeof(double), FLOAT8OID);
	values[COL_COUNTS] = make_array(counts, n, sizeof(int32), INT4OID);
	values[COL_TIMES] = make_array(times, n, sizeof(TimestampTz), INT8OID);
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

/* --------------------------------------------------------------- eviction */

static void
free_profile(Profiles *ps, Profile *p)
{
	ps->bytes -= GetMemoryChunkSpace(p);
	if (p->max > 0)
	{
		ps->bytes -= GetMemoryChunkSpace(p->weights);
		pfree(p->weights);
	}
	if (p->dirty)
	{
		ps->bytes -= GetMemoryChunkSpace(p->dirty);
		pfree(p->dirty);
	}
	pfree(p);
	ps->nprofiles--;
}

/* Clock over pages: a referenced history gets a second chance. */
void
profiles_evict(Profiles *ps, Size target)
{
	int			visits = 0;

	while (ps->bytes > target && ps->nprofiles > 0 && visits++ < 2 * ps->npages + 1)
	{
		Profile   **page;

		ps->hand = (ps->hand + 1) % ps->npages;
		page = ps->pages[ps->hand];
		for (int i = 0; page && i < PROFILE_PAGE_SIZE; i++)
		{
			Profile    *p = page[i];

			if (p == NULL || p->ndirty > 0)
				continue;
			if (p->referenced)
			{
				p->referenced = false;
				continue;
			}
			page[i] = NULL;
			free_profile(ps, p);
			ps->complete = false;
		}
	}
}

void
profiles_void(Profiles *ps)
{
	MemoryContextReset(ps->context);
	ps->npages = 0;
	ps->pages = NULL;
	ps->nprofiles = 0;
	ps->bytes = 0;
	ps->hand = 0;
	ps->ndirty = ps->maxdirty = 0;
	ps->dirty = NULL;
	ps->table_void = true;
	ps->complete = true;
}

/* The source's landmark moves: what is in memory follows, and is not dirty
 * for that; stored rows carry the landmark that they were written with. */
void
profiles_rescale(Profiles *ps, int32 landmark)
{
	double		factor = ldexp(1.0, ps->landmark - landmark);

	ps->landmark = landmark;
	for (int32 user = 1; user <= profiles_max_user(ps); user++)
	{
		Profile    *p = profiles_peek(ps, user);

		for (int i = 0; p && i < p->n; i++)
			p->weights[i] *= factor;
	}
}
