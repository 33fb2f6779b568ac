/*
 * postings.c
 *	  The newest sessions of each item, see postings.h.
 *
 * The sessions of an item are ordered by time and number.  A row holds a run of them
 * and carries the place from which it is responsible, which is part of its key:
 * the row of a session is the last one that begins at or before it.  The first row of
 * an item begins at the beginning of time, until it is dropped.  A new session mostly
 * goes to the end of the newest row, and begins another one if that is full; a full
 * row in between is halved.
 *
 * When an item gets another row, those are dropped without which at least "limit"
 * sessions and a row's more remain.  So many may be retracted before older ones would be
 * missed; what the list has dropped does not come back.
 *
 * There is no cache.  Changes come sorted, those of an item together, and read and
 * write each row of it once.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "numeric/session_knn.h"
#include "state/array.h"
#include "state/checked.h"
#include "compat.h"
#include "state/postings.h"

const Oid	posting_types[POSTING_NCOLUMNS] = {
	INT4OID, INT8OID, INT4OID, INT4ARRAYOID, INT8ARRAYOID
};

void
postings_init(Postings *p, Oid nspid, const char *relname, const char *indexname, int32 limit)
{
	memset(p, 0, sizeof(Postings));
	p->nspid = nspid;
	strlcpy(p->relname, relname, NAMEDATALEN);
	strlcpy(p->indexname, indexname, NAMEDATALEN);
	p->limit = limit;
}

void
posting_row_read(TupleTableSlot *slot, PostingRow *row)
{
	int			ntimes;

	row->sessions = checked_array(checked_attribute(slot, POSTING_SESSIONS + 1), INT4OID, &row->n);
	row->times = checked_array(checked_attribute(slot, POSTING_TIMES + 1), INT8OID, &ntimes);
	if (ntimes != row->n)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("a row of the postings of a model is not as it was written"),
				errhint("Drop the model with recsys.drop_model() and create it again."));
}

/* ------------------------------------------------------------ newest first */

/* A scan allocates some of its memory when it first needs it, so it always runs in the
 * context that it lives in. */
struct PostingScan
{
	MemoryContext context;
	StateTable *table;
	IndexScanDesc scan;
	ScanKeyData keys[2];
};

static PostingScan *
scan_begin(StateTable *t, Snapshot snapshot, int nkeys)
{
	PostingScan *s = palloc0(sizeof(PostingScan));

	s->context = CurrentMemoryContext;
	s->table = t;
	ScanKeyInit(&s->keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, (Datum) 0);
	ScanKeyInit(&s->keys[1], 2, BTLessEqualStrategyNumber, F_INT8LE, (Datum) 0);
	s->scan = compat_index_beginscan(t->rel, t->index, snapshot, nkeys, 0);
	return s;
}

static void
scan_restart(PostingScan *s, int nkeys)
{
	MemoryContext old = MemoryContextSwitchTo(s->context);

	index_rescan(s->scan, s->keys, nkeys, NULL, 0);
	MemoryContextSwitchTo(old);
}

/* The next older row; it is in the table's slot. */
static bool
scan_next(PostingScan *s)
{
	MemoryContext old = MemoryContextSwitchTo(s->context);
	bool		found = index_getnext_slot(s->scan, BackwardScanDirection, s->table->slot);

	MemoryContextSwitchTo(old);
	return found;
}

PostingScan *
posting_scan_begin(StateTable *t, Snapshot snapshot)
{
	return scan_begin(t, snapshot, 1);
}

void
posting_scan_item(PostingScan *s, int32 item)
{
	s->keys[0].sk_argument = Int32GetDatum(item);
	scan_restart(s, 1);
}

bool
posting_scan_next(PostingScan *s, PostingRow *row)
{
	if (!scan_next(s))
		return false;
	posting_row_read(s->table->slot, row);
	return true;
}

void
posting_scan_end(PostingScan *s)
{
	ExecClearTuple(s->table->slot);
	index_endscan(s->scan);
	pfree(s);
}

/* --------------------------------------------------------- rows of one item */

typedef struct Entry
{
	TimestampTz time;
	int32		session;
} Entry;

typedef struct Row
{
	Entry		from;
	bool		stored;
	bool		dirty;
	int			n;
	Entry		entries[POSTING_ROW_SIZE];
} Row;

typedef struct Writer
{
	Postings   *postings;
	StateTable *t;
	PostingScan *locate;		/* (item, time) backwards */
	PostingScan *all;			/* item backwards */
	MemoryContext context;		/* of the rows of the item */
	bool		empty;			/* the table has no rows */
	int32		item;
	bool		any;			/* it has stored rows */
	Entry		newest;			/* from where the newest of them is */
	bool		grown;			/* a row has been added */
	int			n,				/* rows in memory, by their begin */
				max;
	Row		  **rows;
} Writer;

static const Entry first_of_all = {DT_NOBEGIN, 0};

static bool
before(const Entry *a, const Entry *b)
{
	return session_older(a->time, a->session, b->time, b->session);
}

static Row *
place_row(Writer *w, int at, const Entry *from)
{
	Row		   *row = MemoryContextAllocZero(w->context, sizeof(Row));

	if (w->n == w->max)
	{
		w->max = Max(8, w->max * 2);
		w->rows = w->rows ? repalloc(w->rows, sizeof(Row *) * w->max) :
			MemoryContextAlloc(w->context, sizeof(Row *) * w->max);
	}
	memmove(w->rows + at + 1, w->rows + at, sizeof(Row *) * (w->n - at));
	w->rows[at] = row;
	w->n++;
	row->from = *from;
	return row;
}

/* Index of the last row in memory that begins at or before e, or -1. */
static int
row_in_memory(const Writer *w, const Entry *e)
{
	int			at = w->n - 1;

	while (at >= 0 && before(e, &w->rows[at]->from))
		at--;
	return at;
}

/* The row in the slot, into memory if it is not there. */
static void
take_row(Writer *w, TupleTableSlot *slot, const Entry *from)
{
	int			at = row_in_memory(w, from);
	PostingRow	stored;
	Row		   *row;

	if (at >= 0 && !before(&w->rows[at]->from, from))
		return;
	posting_row_read(slot, &stored);
	if (stored.n > POSTING_ROW_SIZE)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("%d sessions in a row of the postings of a model", stored.n),
				errhint("Drop the model with recsys.drop_model() and create it again."));
	row = place_row(w, at + 1, from);
	row->stored = true;
	row->n = stored.n;
	for (int i = 0; i < stored.n; i++)
		row->entries[i] = (Entry) {stored.times[i], stored.sessions[i]};
}

static Entry
slot_from(TupleTableSlot *slot)
{
	return (Entry) {
		DatumGetInt64(checked_attribute(slot, POSTING_FROM_TIME + 1)),
			DatumGetInt32(checked_attribute(slot, POSTING_FROM_SESSION + 1))
	};
}

/* The newest stored row of an item is looked at first: mostly that is all. */
static void
begin_item(Writer *w, int32 item)
{
	w->item = item;
	w->any = false;
	if (w->empty)
		return;
	posting_scan_item(w->all, item);
	if (scan_next(w->all))
	{
		w->any = true;
		w->newest = slot_from(w->t->slot);
		take_row(w, w->t->slot, &w->newest);
	}
}

/* See to it that the stored row that e belongs to is in memory. */
static void
load_row(Writer *w, const Entry *e)
{
	PostingScan *s = w->locate;

	if (!w->any || !before(e, &w->newest))
		return;
	s->keys[0].sk_argument = Int32GetDatum(w->item);
	s->keys[1].sk_argument = Int64GetDatum(e->time);
	scan_restart(s, 2);
	while (scan_next(s))
	{
		Entry		from = slot_from(w->t->slot);

		if (before(e, &from))
			continue;			/* the same time */
		take_row(w, w->t->slot, &from);
		return;
	}
}

/*
 * The row of e, NULL if it is older than all that is kept.  The row in memory
 * is the right one: a stored row between it and e would have been found.
 */
static Row *
find_row(Writer *w, const Entry *e)
{
	int			at;

	load_row(w, e);
	at = row_in_memory(w, e);
	return at < 0 ? NULL : w->rows[at];
}

/* Where e stands or would stand. */
static int
place_in(const Row *row, const Entry *e)
{
	int			at = row->n;

	while (at > 0 && !before(&row->entries[at - 1], e))
		at--;
	return at;
}

/* A full row gets a second one behind it; returns the one that e belongs to. */
static Row *
part_row(Writer *w, Row *row, const Entry *e)
{
	int			at = row_in_memory(w, &row->from);
	int			keep = POSTING_ROW_SIZE / 2;
	Row		   *second;

	/* at the end, rows stay full */
	if (place_in(row, e) == row->n && at == w->n - 1)
		keep = row->n;
	second = place_row(w, at + 1, keep < row->n ? &row->entries[keep] : e);
	second->n = row->n - keep;
	memcpy(second->entries, row->entries + keep, sizeof(Entry) * second->n);
	row->n = keep;
	row->dirty = second->dirty = true;
	w->grown = true;
	return before(e, &second->from) ? row : second;
}

static void
add_entry(Writer *w, const Entry *e)
{
	Row		   *row = find_row(w, e);
	int			at;

	if (row == NULL)
	{
		if (w->any || w->n > 0)
			return;				/* of older ones the list has been full before */
		row = place_row(w, 0, &first_of_all);
		w->grown = true;
	}
	if (row->n == POSTING_ROW_SIZE)
		row = part_row(w, row, e);
	at = place_in(row, e);
	memmove(row->entries + at + 1, row->entries + at, sizeof(Entry) * (row->n - at));
	row->entries[at] = *e;
	row->n++;
	row->dirty = true;
}

static void
remove_entry(Writer *w, const Entry *e)
{
	Row		   *row = find_row(w, e);
	int			at = row ? place_in(row, e) : 0;

	if (row == NULL || at == row->n || before(e, &row->entries[at]))
		return;
	row->n--;
	memmove(row->entries + at, row->entries + at + 1, sizeof(Entry) * (row->n - at));
	row->dirty = true;
}

/* --------------------------------------------------------------------- write */

static void
key_values(const Writer *w, const Entry *from, Datum *values)
{
	values[POSTING_ITEM] = Int32GetDatum(w->item);
	values[POSTING_FROM_TIME] = Int64GetDatum(from->time);
	values[POSTING_FROM_SESSION] = Int32GetDatum(from->session);
}

/* An empty row stays, so that its part of time has a row. */
static void
write_row(Writer *w, Row *row)
{
	int32		sessions[POSTING_ROW_SIZE];
	TimestampTz times[POSTING_ROW_SIZE];
	Datum		values[POSTING_NCOLUMNS];

	for (int i = 0; i < row->n; i++)
	{
		sessions[i] = row->entries[i].session;
		times[i] = row->entries[i].time;
	}
	key_values(w, &row->from, values);
	values[POSTING_SESSIONS] = array_datum(sessions, row->n, sizeof(int32), INT4OID);
	values[POSTING_TIMES] = array_datum(times, row->n, sizeof(TimestampTz), INT8OID);
	if (row->stored)
		table_put(w->t, POSTING_FROM_SESSION + 1, values, NULL);
	else
		table_insert(w->t, values, NULL);
	row->stored = true;
	row->dirty = false;
}

static void
drop_row(Writer *w, const Entry *from)
{
	Datum		key[POSTING_FROM_SESSION + 1];

	key_values(w, from, key);
	table_delete(w->t, POSTING_FROM_SESSION + 1, key);
}

/*
 * All rows of the item, stored or in memory, from the newest on: once there are enough
 * sessions, with some to spare, the rest goes.
 */
static void
trim(Writer *w)
{
	int			at = w->n - 1;
	bool		more = w->any;
	int64		n = 0;

	if (more)
	{
		posting_scan_item(w->all, w->item);
		more = scan_next(w->all);
	}
	while (more || at >= 0)
	{
		bool		enough = n >= (int64) w->postings->limit + POSTING_ROW_SIZE;
		Entry		from = more ? slot_from(w->t->slot) : first_of_all;
		Row		   *row = at >= 0 && (!more || !before(&w->rows[at]->from, &from)) ?
			w->rows[at--] : NULL;

		if (row)
		{
			n += row->n;
			if (enough)
				row->dirty = false;
			if (!row->stored)
				continue;		/* the slot holds an older row */
		}
		else
		{
			PostingRow	stored;

			posting_row_read(w->t->slot, &stored);
			n += stored.n;
		}
		if (enough)
			drop_row(w, &from);
		more = scan_next(w->all);
	}
}

static void
end_item(Writer *w)
{
	if (w->item == 0)
		return;
	if (w->grown)
		trim(w);
	for (int i = 0; i < w->n; i++)
		if (w->rows[i]->dirty)
			write_row(w, w->rows[i]);
	w->n = w->max = 0;
	w->rows = NULL;
	w->grown = false;
	MemoryContextReset(w->context);
}

static int
compare_changes(const void *a, const void *b)
{
	const ListingChange *x = a,
			   *y = b;

	if (x->item != y->item)
		return x->item < y->item ? -1 : 1;
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->session < y->session ? -1 : x->session > y->session;
}

/* NULL: the model has been dropped, and we are about to hear of it. */
static StateTable *
open_table(Postings *p)
{
	StateTable *t;

	if (!OidIsValid(get_relname_relid(p->relname, p->nspid)))
		return NULL;
	t = table_open_state(p->nspid, p->relname, p->indexname, RowExclusiveLock);
	checked_types(t, POSTING_NCOLUMNS, posting_types);
	return t;
}

void
postings_write(Postings *p, ListingChange *changes, int n)
{
	Writer		w = {.postings = p};
	MemoryContext old;

	if (n == 0 && !p->table_void)
		return;
	w.t = open_table(p);
	if (w.t == NULL)
		return;
	w.empty = p->table_void;
	if (p->table_void)
		table_delete(w.t, 0, NULL);
	p->table_void = false;
	/* it sees what an earlier call in this transaction has written */
	PushActiveSnapshot(GetTransactionSnapshot());
	qsort(changes, n, sizeof(ListingChange), compare_changes);
	w.context = AllocSetContextCreate(CurrentMemoryContext, "recsys postings", ALLOCSET_DEFAULT_SIZES);
	w.locate = scan_begin(w.t, GetActiveSnapshot(), 2);
	w.all = scan_begin(w.t, GetActiveSnapshot(), 1);
	old = MemoryContextSwitchTo(w.context);
	for (int i = 0; i < n; i++)
	{
		Entry		e = {changes[i].time, changes[i].session};

		if (changes[i].item != w.item)
		{
			CHECK_FOR_INTERRUPTS();
			end_item(&w);
			begin_item(&w, changes[i].item);
		}
		if (changes[i].leaves)
			remove_entry(&w, &e);
		else
			add_entry(&w, &e);
	}
	end_item(&w);
	MemoryContextSwitchTo(old);
	posting_scan_end(w.locate);
	posting_scan_end(w.all);
	MemoryContextDelete(w.context);
	PopActiveSnapshot();
	table_close_state(w.t, RowExclusiveLock);
}
