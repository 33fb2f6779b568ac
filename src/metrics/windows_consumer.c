/*
 * windows_consumer.c
 *	  Windows of metrics, kept by the stream worker: events -> cells.
 *
 * An event is an impression, a click, a conversion, a rating, or several of these, by
 * its type; any other is not looked at.  It counts in the bucket of its time, however
 * late it comes, and a retraction takes away there what the event gave.  All
 * that is counted is in tables (windows_schema.c) whose dirty rows are written
 * together with the position of the stream, so it is exact over any crash.
 *
 * Two things cannot be taken away.  Users are a sketch: it is marked, and made again from
 * the events table (windows_users.c).  The largest event time, of which the
 * watermark is made, stays what it was.
 *
 * A retraction of what was never counted (its event came before a clock was set right,
 * see models/consumer.h) is recognised where its cell has nothing to give.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "metrics/windows_impl.h"
#include "state/checked.h"
#include "state/table.h"

/* ------------------------------------------------------------- declaration */

static List *
windows_declared(const RecsysSource *source)
{
	RecsysMetrics *metrics = catalog_metrics(source);
	ConsumerDeclaration *declaration;

	if (metrics == NULL)
		return NIL;
	declaration = palloc0(sizeof(ConsumerDeclaration));
	declaration->id = metrics->id;
	declaration->version = metrics->version;
	declaration->name = source->name;
	declaration->data = metrics;
	return list_make1(declaration);
}

static List *
add_column(List *columns, char *name)
{
	ListCell   *lc;

	if (name == NULL)
		return columns;
	foreach(lc, columns)
		if (strcmp(lfirst(lc), name) == 0)
			return columns;
	return lappend(columns, name);
}

List *
windows_columns(const RecsysSource *source, const RecsysMetrics *m)
{
	List	   *columns = add_column(NIL, source->type_column);

	columns = add_column(columns, m->amount_column);
	columns = add_column(columns, m->order_column);
	if (m->has_ratings)
		columns = add_column(columns, m->rating_column);
	for (int i = 0; i < m->ndimensions; i++)
		columns = add_column(columns, m->dimensions[i]);
	return columns;
}

static List *
declared_columns(const RecsysSource *source, const ConsumerDeclaration *declaration)
{
	return windows_columns(source, declaration->data);
}

static void
append_list(StringInfo buf, const char *name, char *const *strings, int n)
{
	appendStringInfo(buf, " %s", name);
	for (int i = 0; i < n; i++)
		appendStringInfo(buf, ",%s", quote_literal_cstr(strings[i]));
}

/* Whatever makes counts of other declarations wrong. */
static char *
windows_signature(const RecsysSource *source, const ConsumerDeclaration *declaration)
{
	const RecsysMetrics *m = declaration->data;
	StringInfoData buf;

	initStringInfo(&buf);
	append_list(&buf, "impression", m->impressions, m->nimpressions);
	append_list(&buf, "click", m->clicks, m->nclicks);
	append_list(&buf, "conversion", m->conversions, m->nconversions);
	append_list(&buf, "dimensions", m->dimensions, m->ndimensions);
	append_list(&buf, "amount", &m->amount_column, m->amount_column != NULL);
	append_list(&buf, "order", &m->order_column, m->order_column != NULL);
	append_list(&buf, "rating", &m->rating_column, m->has_ratings);
	append_list(&buf, "type", &m->rating_type, m->rating_type != NULL);
	appendStringInfo(&buf, " bucket " INT64_FORMAT " combinations %d satisfied %.17g rollup " INT64_FORMAT,
					 m->bucket, m->max_combinations, m->satisfied_from, m->rollup_bucket);
	(void) source;
	return buf.data;
}

/* ------------------------------------------------------------ open and close */

static int
place_of(const Windows *w, const char *name)
{
	for (int i = 0; name != NULL && i < w->ncolumns; i++)
		if (strcmp(w->columns[i], name) == 0)
			return i;
	return -1;
}

static Oid
type_of(const Windows *w, int place)
{
	Oid			events = w->host->source->events;

	return place < 0 ? InvalidOid : get_atttype(events, get_attnum(events, w->columns[place]));
}

static void
map_columns(Windows *w)
{
	const RecsysSource *source = w->host->source;
	const RecsysMetrics *m = w->metrics;
	List	   *columns = windows_columns(source, m);
	ListCell   *lc;

	w->columns = palloc(sizeof(char *) * Max(list_length(columns), 1));
	foreach(lc, columns)
		w->columns[w->ncolumns++] = pstrdup(lfirst(lc));
	w->type_at = place_of(w, source->type_column);
	w->amount_at = place_of(w, m->amount_column);
	w->order_at = place_of(w, m->order_column);
	w->rating_at = place_of(w, m->has_ratings ? m->rating_column : NULL);
	for (int i = 0; i < m->ndimensions; i++)
		w->dimension_at[i] = place_of(w, m->dimensions[i]);
	w->type_type = type_of(w, w->type_at);
	w->amount_type = type_of(w, w->amount_at);
	w->rating_type = type_of(w, w->rating_at);
}

static void
clear_state(Windows *w)
{
	w->latest = w->rolled_until = w->expired_until = DT_NOBEGIN;
	w->expired = w->other = w->without_amount = 0;
}

static void *
windows_open(ModelHost *host, const ConsumerDeclaration *declaration)
{
	MemoryContext context = AllocSetContextCreate(host->context, "recsys windows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Windows    *w = palloc0(sizeof(Windows));

	w->host = host;
	w->context = context;
	/* a copy of our own, for the source may be read again */
	w->metrics = catalog_metrics(host->source);
	if (w->metrics == NULL || w->metrics->id != declaration->id)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("metrics of source \"%s\" have just changed", NameStr(host->source->name)));
	map_columns(w);
	clear_state(w);
	combinations_create(w);
	cells_create(w);
	orders_create(w);
	MemoryContextSwitchTo(old);
	return w;
}

static void
windows_close(void *state)
{
	Windows    *w = state;

	if (w->other_warned > 0)
		w->host->warn(w->host, NULL);
	MemoryContextDelete(((Windows *) state)->context);
}

/* They go with untrack_metrics(), of which we hear a moment later. */
bool
windows_tables_exist(const Windows *w)
{
	return OidIsValid(get_relname_relid("windows", w->host->source->nspid));
}

/* ---------------------------------------------------------------- one event */

static bool
is_one_of(const char *type, int length, char *const *list, int n)
{
	for (int i = 0; i < n; i++)
		if (strncmp(list[i], type, length) == 0 && list[i][length] == '\0')
			return true;
	return false;
}

static int
kinds_of(const Windows *w, const char *const *texts, const int *lengths)
{
	const RecsysMetrics *m = w->metrics;
	const char *type = w->type_at < 0 ? NULL : texts[w->type_at];
	int			length = type ? lengths[w->type_at] : 0;
	int			kinds = m->has_ratings && m->rating_type == NULL ? KIND_RATING : 0;

	if (type == NULL)
		return kinds;
	/* as it compares in SQL, and in the weights of the source */
	while (w->type_type == BPCHAROID && length > 0 && type[length - 1] == ' ')
		length--;
	if (is_one_of(type, length, m->impressions, m->nimpressions))
		kinds |= KIND_IMPRESSION;
	if (is_one_of(type, length, m->clicks, m->nclicks))
		kinds |= KIND_CLICK;
	if (is_one_of(type, length, m->conversions, m->nconversions))
		kinds |= KIND_CONVERSION;
	if (m->rating_type && is_one_of(type, length, &w->metrics->rating_type, 1))
		kinds |= KIND_RATING;
	return kinds;
}

static bool
read_amount(int at, Oid type, const char *const *texts, const int *lengths, AmountValue *value)
{
	return texts[at] != NULL && amount_parse(texts[at], lengths[at], type, value);
}

static int32
combination_of(Windows *w, const char *const *texts, const int *lengths, bool add)
{
	const char *values[RECSYS_MAX_DIMENSIONS];
	int			sizes[RECSYS_MAX_DIMENSIONS];

	for (int i = 0; i < w->metrics->ndimensions; i++)
	{
		int			at = w->dimension_at[i];

		values[i] = texts[at];
		sizes[i] = texts[at] ? lengths[at] : -1;
	}
	return combinations_get(w, values, sizes, add);
}

/* False: it does not count anywhere. */
bool
windows_read_event(Windows *w, const char *const *texts, const int *lengths,
				   bool add, WindowEvent *out)
{
	memset(out, 0, sizeof(WindowEvent));
	out->kinds = kinds_of(w, texts, lengths);
	if (out->kinds & KIND_CONVERSION && w->amount_at >= 0)
	{
		/* without one the conversion counts, and brings in nothing */
		out->has_amount = read_amount(w->amount_at, w->amount_type, texts, lengths, &out->amount);
		out->without_amount = !out->has_amount;
	}
	if (out->kinds & KIND_RATING &&
		!read_amount(w->rating_at, w->rating_type, texts, lengths, &out->rating))
	{
		/* a rating without a value is none */
		out->kinds &= ~KIND_RATING;
		out->without_amount = true;
	}
	if (out->kinds == 0)
		return false;
	out->combination = combination_of(w, texts, lengths, add);
	return true;
}

uint64
windows_user_hash(const Windows *w, const KeyValue *user)
{
	if (w->host->source->user.kind == KEY_INT)
		return sketch_hash_number((uint64) user->num);
	return hash_bytes_extended((const unsigned char *) user->bytes, user->len, 0);
}

static void
count_amounts(Windows *w, Cell *cell, const WindowEvent *e, int sign)
{
	if (e->has_amount)
		amount_add(&cell->revenue, &e->amount, sign, w->context);
	if (e->kinds & KIND_RATING)
	{
		amount_add(&cell->rating_sum, &e->rating, sign, w->context);
		cell->ratings += sign;
		if (amount_float(&e->rating) >= w->metrics->satisfied_from)
			cell->satisfied += sign;
	}
}

static void
count_order(Windows *w, Cell *cell, TimestampTz bucket, const WindowEvent *e,
			const char *order, int sign)
{
	if (!(e->kinds & KIND_CONVERSION))
		return;
	cell->conversions += sign;
	if (w->order_at < 0)
		cell->orders += sign;
	else if (order != NULL)
		orders_event(w, order, bucket, e->combination, sign);
}

static void
windows_event(void *state, const ConsumerEvent *event)
{
	Windows    *w = state;
	TimestampTz bucket = bucket_of(w, event->event->time);
	WindowEvent e;
	Cell	   *cell;
	bool		counts = windows_read_event(w, event->texts, event->lengths, event->sign > 0, &e);

	if (e.without_amount)
	{
		w->without_amount += event->sign;
		w->state_dirty = true;
	}
	if (!event->backfill)
		w->fed_lsn = event->lsn;
	if (!counts)
		return;
	cell = cells_get(w, bucket, e.combination);
	if (cell == NULL)
	{
		w->expired += event->sign > 0;
		w->state_dirty = true;
		return;
	}
	if (event->sign < 0 && cell->events <= 0)
		return;
	cell->events += event->sign;
	cell->impressions += e.kinds & KIND_IMPRESSION ? event->sign : 0;
	cell->clicks += e.kinds & KIND_CLICK ? event->sign : 0;
	count_amounts(w, cell, &e, event->sign);
	count_order(w, cell, bucket, &e, w->order_at < 0 ? NULL : event->texts[w->order_at], event->sign);
	if (event->sign > 0)
		cells_add_user(w, cell, windows_user_hash(w, &event->event->user));
	else
		users_stale(w, cell);
	cells_changed(w, cell);
	if (e.combination == WINDOWS_OTHER)
		w->other += event->sign;
	if (event->sign > 0 && event->event->time > w->latest)
		w->latest = event->event->time;
	w->state_dirty = true;
}

/* ------------------------------------------------------------- tables, memory */

enum
{
	COL_SINGLETON, COL_LATEST, COL_ROLLED, COL_EXPIRED_UNTIL, COL_EXPIRED, COL_OTHER,
	COL_WITHOUT_AMOUNT, NCOLUMNS
};

static TimestampTz
optional_time(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? DT_NOBEGIN : DatumGetTimestampTz(slot->tts_values[column]);
}

/* Too many combinations are nothing that mends itself. */
static void
warn_of_other(Windows *w)
{
	if (w->other == w->other_warned)
		return;
	w->host->warn(w->host, w->other <= 0 ? NULL :
				  psprintf("metrics: " INT64_FORMAT " events are counted as other, with more than %d combinations of dimension values;"
						   " raise max_combinations with recsys.alter_metrics(), or choose dimensions with fewer values",
						   w->other, w->metrics->max_combinations));
	w->other_warned = w->other;
}

static void
windows_load(void *state)
{
	Windows    *w = state;
	StateTable *t;
	TupleTableSlot *slot;
	Datum		key = BoolGetDatum(true);

	if (!windows_tables_exist(w))
		return;
	t = table_open_state(w->host->source->nspid, "window_state", "window_state_pkey", AccessShareLock);
	slot = table_get(t, GetActiveSnapshot(), 1, &key);
	if (slot)
	{
		slot_getallattrs(slot);
		w->latest = optional_time(slot, COL_LATEST);
		w->rolled_until = optional_time(slot, COL_ROLLED);
		w->expired_until = optional_time(slot, COL_EXPIRED_UNTIL);
		w->expired = DatumGetInt64(slot->tts_values[COL_EXPIRED]);
		w->other = DatumGetInt64(slot->tts_values[COL_OTHER]);
		w->without_amount = DatumGetInt64(slot->tts_values[COL_WITHOUT_AMOUNT]);
	}
	table_close_state(t, AccessShareLock);
	combinations_load(w);
	users_load(w);
	warn_of_other(w);
}

static void
write_state(Windows *w)
{
	StateTable *t;
	TimestampTz times[] = {w->latest, w->rolled_until, w->expired_until};
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS] = {false};

	if (!w->state_dirty)
		return;
	values[COL_SINGLETON] = BoolGetDatum(true);
	for (int i = 0; i < (int) lengthof(times); i++)
	{
		values[COL_LATEST + i] = TimestampTzGetDatum(times[i]);
		nulls[COL_LATEST + i] = times[i] == DT_NOBEGIN;
	}
	values[COL_EXPIRED] = Int64GetDatum(w->expired);
	values[COL_OTHER] = Int64GetDatum(w->other);
	values[COL_WITHOUT_AMOUNT] = Int64GetDatum(w->without_amount);
	t = table_open_state(w->host->source->nspid, "window_state", "window_state_pkey", RowExclusiveLock);
	table_put(t, 1, values, nulls);
	table_close_state(t, RowExclusiveLock);
	w->state_dirty = false;
}

static void
delete_obsolete(Windows *w)
{
	static const char *const tables[] = {"windows", "window_orders", "window_dimensions", "window_state"};

	if (!w->void_tables)
		return;
	SPI_connect();
	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		char	   *sql = psprintf("DELETE FROM %s.%s",
								   quote_identifier(NameStr(w->host->source->name)), tables[i]);

		if (SPI_execute(sql, false, 0) != SPI_OK_DELETE)
			elog(ERROR, "could not execute: %s", sql);
	}
	SPI_finish();
	w->void_tables = false;
}

static void
windows_write(void *state)
{
	Windows    *w = state;

	if (!windows_tables_exist(w))
		return;
	delete_obsolete(w);
	/* that of a filling shows the tables as they were */
	PushActiveSnapshot(GetLatestSnapshot());
	users_count_again(w);
	combinations_write(w);
	orders_write(w);
	cells_write(w);
	age_windows(w);
	write_state(w);
	PopActiveSnapshot();
	warn_of_other(w);
	w->host->write_again |= w->stale != NIL;
}

static Size
windows_memory(void *state)
{
	Windows    *w = state;

	return cells_memory(w) + orders_memory(w) + w->combination_bytes;
}

static void
windows_evict(void *state, Size target)
{
	Windows    *w = state;
	double		all = Max(cells_memory(w) + orders_memory(w), 1);
	double		share = cells_memory(w) / all;

	cells_evict(w, (Size) (target * share));
	orders_evict(w, (Size) (target * (1 - share)));
}

static void
windows_reset(void *state)
{
	Windows    *w = state;

	cells_clear(w);
	orders_clear(w);
	combinations_clear(w);
	list_free_deep(w->stale);
	w->stale = NIL;
	clear_state(w);
	w->state_dirty = true;
	w->void_tables = true;
	w->complete = true;
}

const ConsumerAlgorithm windows_consumer = {
	.kind = "metrics",
	.declared = windows_declared,
	.columns = declared_columns,
	.signature = windows_signature,
	.open = windows_open,
	.close = windows_close,
	.load = windows_load,
	.event = windows_event,
	.write = windows_write,
	.evict = windows_evict,
	.memory = windows_memory,
	.reset = windows_reset,
};
