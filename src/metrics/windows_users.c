/*
 * windows_users.c
 *	  Counting the users of a bucket again, from the events table, after events
 *	  of it were taken back: a sketch forgets nobody.
 *
 * Cells that need it are marked (users_stale, in the table as well), and counted when the
 * windows are written.  The table is never behind the stream
 * (horizon_push_snapshot() sees to that) but may be ahead: users of events that are still
 * to come are counted early, and an event that is still to be taken back asks again.
 * So the sketch ends where the table ends, also when it is all done again after
 * a crash.  In the middle of a transaction, written for want of memory, nothing is
 * counted: the table may not show it yet.
 *
 * With an index on the event time the rows of each bucket are looked up.  Without one, or
 * for very many buckets, one pass over the table does for all; if that takes long, the next
 * one waits for a while, and the marks stay.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "metrics/windows_impl.h"
#include "state/extras.h"

/* Buckets that are looked up one by one. */
#define MAX_LOOKUPS 1000
#define ROWS_AT_ONCE 1000

/* A pass that took longer than this is followed by a pause of PAUSE times that. */
#define LONG_US 200000
#define PAUSE 20

typedef struct Recount
{
	Windows    *w;
	SPIPlanPtr	plan;
	MemoryContext rows;			/* reset after each portion */
	EventMap   *map;
	ExtraColumns *extras;
	const char **texts;
	int		   *lengths;
	TimestampTz now;
} Recount;

/* Of a cell whose events were taken back. */
void
users_stale(Windows *w, const Cell *cell)
{
	MemoryContext old;
	CellKey    *key;

	if (cell->users_stale)
		return;
	((Cell *) cell)->users_stale = true;
	old = MemoryContextSwitchTo(w->context);
	key = palloc(sizeof(CellKey));
	*key = cell->key;
	w->stale = lappend(w->stale, key);
	MemoryContextSwitchTo(old);
}

/* Those that were marked before the worker started. */
void
users_load(Windows *w)
{
	char	   *sql = psprintf("SELECT bucket, combination FROM %s.windows WHERE users_stale",
							   quote_identifier(NameStr(w->host->source->name)));

	SPI_connect();
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute: %s", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		CellKey    *key = MemoryContextAllocZero(w->context, sizeof(CellKey));
		bool		isnull;
		MemoryContext old;

		key->bucket = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
														1, &isnull));
		key->combination = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
													   2, &isnull));
		old = MemoryContextSwitchTo(w->context);
		w->stale = lappend(w->stale, key);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

/* ------------------------------------------------------------------- the rows */

static void
append_column(StringInfo sql, const char *name, int *n)
{
	if (name)
		appendStringInfo(sql, "%s%s", (*n)++ ? ", " : "", quote_identifier(name));
}

static char *
query_text(const Windows *w)
{
	const RecsysSource *source = w->host->source;
	const char *mapped[] = {
		NameStr(source->user.name), NameStr(source->item.name),
		source->type_column, source->value_column, source->time_column
	};
	StringInfoData sql;
	int			n = 0;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; i < (int) lengthof(mapped); i++)
		append_column(&sql, mapped[i], &n);
	for (int i = 0; i < w->ncolumns; i++)
	{
		bool		again = false;

		for (int j = 0; j < (int) lengthof(mapped); j++)
			again |= mapped[j] && strcmp(mapped[j], w->columns[i]) == 0;
		if (!again)
			append_column(&sql, w->columns[i], &n);
	}
	appendStringInfo(&sql, " FROM %1$s WHERE %2$s OPERATOR(pg_catalog.>=) $1 AND %2$s OPERATOR(pg_catalog.<) $2",
					 quoted_relation(source->events), quote_identifier(source->time_column));
	return sql.data;
}

static void
read_row(Recount *r, HeapTuple tuple)
{
	Windows    *w = r->w;
	Event		event;
	WindowEvent e;
	Cell	   *cell;

	if (event_clean_tuple(r->map, tuple, false, r->now, &event) != REJECT_NONE)
		return;
	extra_columns_read_tuple(r->extras, tuple, false, r->texts, r->lengths);
	for (int i = 0; i < w->ncolumns; i++)
		if (r->lengths[i] < 0)
			r->texts[i] = NULL;
		else
			r->texts[i] = pnstrdup(r->texts[i], r->lengths[i]);
	if (!windows_read_event(w, r->texts, r->lengths, false, &e))
		return;
	cell = cells_peek(w, row_of_bucket(w, bucket_of(w, event.time)), e.combination);
	if (cell && cell->counting)
		cells_add_user(w, cell, windows_user_hash(w, &event.user));
}

/* All rows from one time up to another. */
static void
read_range(Recount *r, TimestampTz from, TimestampTz until)
{
	Windows    *w = r->w;
	Datum		values[] = {TimestampTzGetDatum(from), TimestampTzGetDatum(until)};
	Portal		portal = SPI_cursor_open(NULL, r->plan, values, NULL, true);

	for (;;)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, ROWS_AT_ONCE);
		if (SPI_processed == 0)
			break;
		old = MemoryContextSwitchTo(r->rows->parent);
		if (r->map == NULL)
		{
			TupleDesc	desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);

			r->map = event_map_create(w->host->source, desc, r->rows->parent, false);
			r->extras = extra_columns_create(desc, w->columns, w->ncolumns, r->rows->parent);
		}
		MemoryContextSwitchTo(r->rows);
		for (uint64 i = 0; i < SPI_processed; i++)
			read_row(r, SPI_tuptable->vals[i]);
		MemoryContextSwitchTo(old);
		MemoryContextReset(r->rows);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
}

/* -------------------------------------------------------------------- the cells */

static int
compare_cells(const ListCell *a, const ListCell *b)
{
	TimestampTz x = ((Cell *) lfirst(a))->key.bucket;
	TimestampTz y = ((Cell *) lfirst(b))->key.bucket;

	return (x > y) - (x < y);
}

/* The marked cells that are still there, their sketches empty. */
static List *
take_cells(Windows *w)
{
	List	   *cells = NIL;
	ListCell   *lc;

	foreach(lc, w->stale)
	{
		CellKey    *key = lfirst(lc);
		Cell	   *cell = cells_find(w, key->bucket, key->combination);

		if (cell == NULL || !cell->users_stale || cell->counting || cell->events == 0)
			continue;
		cell->counting = true;
		sketch_clear(&cell->users, &w->allocator);
		cells_changed(w, cell);
		cells = lappend(cells, cell);
	}
	list_free_deep(w->stale);
	w->stale = NIL;
	list_sort(cells, compare_cells);
	return cells;
}

static bool
time_is_indexed(const Windows *w)
{
	Oid			events = w->host->source->events;
	AttrNumber	attnum = get_attnum(events, w->host->source->time_column);
	ScanDirection direction;

	return OidIsValid(catalog_index_on(events, attnum, 0, &direction));
}

static void
read_buckets(Recount *r, List *cells)
{
	Cell	   *first = linitial(cells),
			   *last = llast(cells);
	TimestampTz done = DT_NOBEGIN;
	ListCell   *lc;

	if (list_length(cells) > MAX_LOOKUPS || !time_is_indexed(r->w))
	{
		read_range(r, first->key.bucket, last->end);
		return;
	}
	foreach(lc, cells)
	{
		Cell	   *cell = lfirst(lc);

		if (cell->key.bucket >= done)
			read_range(r, cell->key.bucket, cell->end);
		done = Max(done, cell->end);
	}
}

static void
count_cells(Windows *w, List *cells)
{
	Oid			events = w->host->source->events;
	Oid			type = get_atttype(events, get_attnum(events, w->host->source->time_column));
	Oid			types[2] = {type, type};
	Recount		r = {.w = w,.now = GetCurrentTimestamp()};
	ListCell   *lc;

	SPI_connect();
	r.rows = AllocSetContextCreate(CurrentMemoryContext, "recsys users", ALLOCSET_DEFAULT_SIZES);
	r.texts = palloc(sizeof(char *) * Max(w->ncolumns, 1));
	r.lengths = palloc(sizeof(int) * Max(w->ncolumns, 1));
	r.plan = SPI_prepare(query_text(w), 2, types);
	if (r.plan == NULL)
		elog(ERROR, "could not prepare the counting of users: %s",
			 SPI_result_code_string(SPI_result));
	read_buckets(&r, cells);
	SPI_finish();
	foreach(lc, cells)
	{
		Cell	   *cell = lfirst(lc);

		cell->counting = cell->users_stale = false;
	}
}

/* Inside the transaction that writes the windows. */
void
users_count_again(Windows *w)
{
	TimestampTz start = GetCurrentTimestamp(),
				took;
	List	   *cells;

	if (w->stale == NIL || start < w->users_again ||
		!w->host->push_snapshot(w->host, w->fed_lsn))
		return;
	cells = take_cells(w);
	if (cells != NIL)
		count_cells(w, cells);
	PopActiveSnapshot();
	list_free(cells);
	took = GetCurrentTimestamp() - start;
	w->users_again = took > LONG_US ? start + took * (PAUSE + 1) : 0;
}
