/*
 * collect.c
 *	  A change of a row -> records of a spool.
 *
 * An update comes as a retraction of the old row and the event of the new one,
 * as far as WAL holds the old row.  Histories need the mapped columns of it,
 * and consumers those that they asked for ("extras").  Where the former are
 * there and some of the latter are not, the histories follow the change, and
 * the consumers that miss a column hear of neither half.
 *
 * A row whose mapped columns stay as they are is no event for the histories;
 * if extras change, its records are marked to be for consumers only.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "stream/collect.h"

/* The columns that consumers want, of one row. */
typedef struct Extras
{
	int			n;
	const char **texts;
	int		   *lengths;
} Extras;

static void
extras_begin(Stream *s, Extras *extras)
{
	extras->n = s->nextras;
	extras->texts = s->nextras > 0 ? palloc(sizeof(char *) * s->nextras) : NULL;
	extras->lengths = s->nextras > 0 ? palloc(sizeof(int) * s->nextras) : NULL;
}

/* All lengths, then the texts, each with a zero at its end. */
static Size
extras_size(const Extras *extras)
{
	Size		size = sizeof(int) * extras->n;

	for (int i = 0; i < extras->n; i++)
		if (extras->lengths[i] >= 0)
			size += extras->lengths[i] + 1;
	return size;
}

static void
extras_write(const Extras *extras, char *to)
{
	memcpy(to, extras->lengths, sizeof(int) * extras->n);
	to += sizeof(int) * extras->n;
	for (int i = 0; i < extras->n; i++)
	{
		int			length = extras->lengths[i];

		if (length < 0)
			continue;
		memcpy(to, extras->texts[i], length);
		to[length] = '\0';
		to += length + 1;
	}
}

static SpoolRecord *
append_event(Spool *spool, RecordKind kind, const Event *event, const Extras *extras,
			 TransactionId xid, Oid relid)
{
	Size		keys = event->user.len + event->item.len;
	SpoolRecord *record = spool_append(spool, kind, keys +
									   (extras->n > 0 ? extras_size(extras) : 0));

	record->xid = xid;
	record->relid = relid;
	record->ignored = event->ignored;
	record->weight = event->weight;
	record->time = event->time;
	record->user = event->user.num;
	record->item = event->item.num;
	record->user_len = event->user.len;
	record->item_len = event->item.len;
	if (event->user.len > 0)
		memcpy(RECORD_BYTES(record), event->user.bytes, event->user.len);
	if (event->item.len > 0)
		memcpy(RECORD_BYTES(record) + event->user.len, event->item.bytes, event->item.len);
	if (extras->n > 0)
		extras_write(extras, RECORD_BYTES(record) + keys);
	return record;
}

/* An update that may have changed columns which its old row does not hold. */
static void
append_unknown_extras(Spool *spool, const bool *known, int n, TransactionId xid, Oid relid)
{
	SpoolRecord *record = spool_append(spool, RECORD_UNKNOWN_EXTRAS, n);

	record->xid = xid;
	record->relid = relid;
	memcpy(RECORD_BYTES(record), known, n);
}

static void
append_unmatched(Spool *spool, TransactionId xid, Oid relid)
{
	SpoolRecord *record = spool_append(spool, RECORD_UNMATCHED, 0);

	record->xid = xid;
	record->relid = relid;
}

/* The row as text, each column with its length; -1 for null. */
static void
append_reject(Spool *spool, EventMap *map, HeapTuple tuple, RejectReason reason,
			  TransactionId xid, Oid relid)
{
	char	   *texts[EVENT_NTEXTS];
	int32		lengths[EVENT_NTEXTS];
	Size		size = sizeof(lengths);
	SpoolRecord *record;
	char	   *to;

	event_texts(map, tuple, texts);
	for (int i = 0; i < EVENT_NTEXTS; i++)
	{
		lengths[i] = -1;
		if (texts[i] == NULL)
			continue;
		/* enough to recognise the row by */
		lengths[i] = pg_mbcliplen(texts[i], strlen(texts[i]), RECSYS_MAX_KEY_LEN);
		size += lengths[i];
	}
	record = spool_append(spool, RECORD_REJECT, size);
	record->reason = reason;
	record->xid = xid;
	record->relid = relid;
	to = RECORD_BYTES(record);
	memcpy(to, lengths, sizeof(lengths));
	to += sizeof(lengths);
	for (int i = 0; i < EVENT_NTEXTS; i++)
	{
		if (lengths[i] <= 0)
			continue;
		memcpy(to, texts[i], lengths[i]);
		to += lengths[i];
	}
}

static bool
same_bytes(const KeyValue *a, const KeyValue *b)
{
	return a->num == b->num && a->len == b->len &&
		(a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

/* A row of an update whose mapped columns did not change is no event. */
static bool
same_event(const Event *a, const Event *b)
{
	return same_bytes(&a->user, &b->user) && same_bytes(&a->item, &b->item) &&
		a->weight == b->weight && a->time == b->time && a->ignored == b->ignored;
}

/*
 * Columns that an update left in TOAST are missing from the new row; they are
 * as in the old one, where that holds all that is mapped.
 */
static RejectReason
clean_new_row(RelationEntry *entry, HeapTuple newrow, HeapTuple oldrow, Event *event)
{
	RejectReason reason = event_clean_tuple(entry->map, newrow, true, DT_NOEND, event);

	if (reason == EVENT_INCOMPLETE && oldrow && entry->old_row != OLD_ROW_NONE)
		reason = event_clean_merged(entry->map, newrow, oldrow, event);
	return reason;
}

/* What an old row holds of the extras. */
static void
read_old_extras(RelationEntry *entry, HeapTuple row, Extras *extras)
{
	if (extras->n == 0)
		return;
	extra_columns_read_tuple(entry->extras, row, true, extras->texts, extras->lengths);
	for (int i = 0; i < extras->n; i++)
		if (!entry->extra_logged[i])
			extras->lengths[i] = EXTRA_UNKNOWN;
}

/*
 * Of the new row of an update.  What it left in TOAST is as in the old row.
 * Whoever cannot be told the one half is not told the other either.
 */
static void
read_new_extras(RelationEntry *entry, HeapTuple row, const Extras *before, Extras *extras)
{
	if (extras->n == 0)
		return;
	extra_columns_read_tuple(entry->extras, row, true, extras->texts, extras->lengths);
	for (int i = 0; i < extras->n; i++)
	{
		if (extras->lengths[i] == EXTRA_UNKNOWN)
		{
			extras->lengths[i] = before->lengths[i];
			extras->texts[i] = before->texts[i];
		}
	}
}

static void
hide_unknown(Extras *extras, const Extras *other)
{
	for (int i = 0; i < extras->n; i++)
		if (other->lengths[i] == EXTRA_UNKNOWN)
			extras->lengths[i] = EXTRA_UNKNOWN;
}

static bool
same_extras(const Extras *a, const Extras *b)
{
	for (int i = 0; i < a->n; i++)
		if (a->lengths[i] != b->lengths[i] ||
			(a->lengths[i] > 0 && memcmp(a->texts[i], b->texts[i], a->lengths[i]) != 0))
			return false;
	return true;
}

/* Tells the consumers that want what extras does not have. */
static void
report_unknown(Spool *spool, const Extras *extras, TransactionId xid, Oid relid)
{
	bool	   *known = palloc(sizeof(bool) * Max(extras->n, 1));
	bool		all = true;

	for (int i = 0; i < extras->n; i++)
	{
		known[i] = extras->lengths[i] != EXTRA_UNKNOWN;
		all &= known[i];
	}
	if (!all)
		append_unknown_extras(spool, known, extras->n, xid, relid);
}

void
collect_insert(Stream *s, Spool *spool, RelationEntry *entry, HeapTuple row, TransactionId xid)
{
	Event		event;
	Extras		extras;
	RejectReason reason = event_clean_tuple(entry->map, row, true, DT_NOEND, &event);

	if (reason != REJECT_NONE)
	{
		append_reject(spool, entry->map, row, reason, xid, entry->relid);
		return;
	}
	extras_begin(s, &extras);
	if (extras.n > 0)
	{
		const Datum *values;
		const bool *isnull;

		event_map_row(entry->map, &values, &isnull);
		extra_columns_read(entry->extras, values, isnull, true, extras.texts, extras.lengths);
	}
	append_event(spool, RECORD_INSERT, &event, &extras, xid, entry->relid);
}

void
collect_delete(Stream *s, Spool *spool, RelationEntry *entry, HeapTuple row, TransactionId xid)
{
	Event		event;
	Extras		extras;

	if (row == NULL || entry->old_row == OLD_ROW_NONE)
		append_unmatched(spool, xid, entry->relid);
	else if (event_clean_tuple(entry->map, row, true, DT_NOEND, &event) == REJECT_NONE)
	{
		extras_begin(s, &extras);
		read_old_extras(entry, row, &extras);
		append_event(spool, RECORD_RETRACT, &event, &extras, xid, entry->relid);
	}
	/* else it was rejected when it came, and has counted for nothing */
}

/* Both rows of an update are acceptable events. */
static void
collect_change(Spool *spool, RelationEntry *entry, const Event *before, Extras *old_extras,
			   const Event *after, Extras *new_extras, TransactionId xid)
{
	bool		extras_only = same_event(before, after);
	Oid			relid = entry->relid;

	/* a value of the new row that is not known is not known to change, either */
	hide_unknown(old_extras, new_extras);
	hide_unknown(new_extras, old_extras);
	if (extras_only && same_extras(old_extras, new_extras))
	{
		report_unknown(spool, old_extras, xid, relid);
		return;
	}
	append_event(spool, RECORD_RETRACT, before, old_extras, xid, relid)->extras_only = extras_only;
	append_event(spool, RECORD_INSERT, after, new_extras, xid, relid)->extras_only = extras_only;
}

void
collect_update(Stream *s, Spool *spool, RelationEntry *entry, HeapTuple newrow, HeapTuple oldrow,
			   TransactionId xid)
{
	Event		before,
				after;
	Extras		old_extras,
				new_extras;
	RejectReason old_reason,
				new_reason;

	/* No old row although the identity covers our columns: they are as before. */
	if (oldrow == NULL && entry->old_row == OLD_ROW_COVERED)
	{
		if (s->nextras > 0 && memchr(entry->extra_logged, 0, s->nextras) != NULL)
			append_unknown_extras(spool, entry->extra_logged, s->nextras, xid, entry->relid);
		return;
	}

	extras_begin(s, &old_extras);
	extras_begin(s, &new_extras);
	new_reason = clean_new_row(entry, newrow, oldrow, &after);
	if (oldrow == NULL || entry->old_row == OLD_ROW_NONE)
	{
		if (new_reason == REJECT_NONE)
		{
			for (int i = 0; i < new_extras.n; i++)
				new_extras.lengths[i] = EXTRA_UNKNOWN;
			append_event(spool, RECORD_REPLACE, &after, &new_extras, xid, entry->relid);
		}
		else
			append_unmatched(spool, xid, entry->relid);
		return;
	}

	old_reason = event_clean_tuple(entry->map, oldrow, true, DT_NOEND, &before);
	read_old_extras(entry, oldrow, &old_extras);
	read_new_extras(entry, newrow, &old_extras, &new_extras);
	if (old_reason == REJECT_NONE && new_reason == REJECT_NONE)
	{
		collect_change(spool, entry, &before, &old_extras, &after, &new_extras, xid);
		return;
	}
	if (old_reason == REJECT_NONE)
		append_event(spool, RECORD_RETRACT, &before, &old_extras, xid, entry->relid);
	if (new_reason == REJECT_NONE)
	{
		append_event(spool, RECORD_INSERT, &after, &new_extras, xid, entry->relid);
		report_unknown(spool, &new_extras, xid, entry->relid);
	}
	else if (new_reason != EVENT_INCOMPLETE && old_reason != new_reason)
		append_reject(spool, entry->map, newrow, new_reason, xid, entry->relid);
}
