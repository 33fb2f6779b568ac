/*
 * clean.h
 *	  From a row of the events table to an event: columns are mapped, bad rows
 *	  rejected with a reason, event types weighed.  Shared by whoever reads
 *	  rows: the stream worker, the backfill and the tail scan of serving.
 */
#ifndef RECSYS_CLEAN_H
#define RECSYS_CLEAN_H

#include "postgres.h"
#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"

#include "catalog/catalog.h"

/* A longer key would not fit into the unique index of its table. */
#define RECSYS_MAX_KEY_LEN 1024

typedef enum RejectReason
{
	REJECT_NONE,
	REJECT_NULL_USER,
	REJECT_NULL_ITEM,
	REJECT_LONG_KEY,
	REJECT_NULL_TYPE,
	REJECT_NULL_VALUE,
	REJECT_BAD_VALUE,			/* NaN or infinite */
	REJECT_NEGATIVE_VALUE,		/* implicit feedback only */
	REJECT_NULL_TIME,
	REJECT_BAD_TIME,			/* infinite */
	REJECT_FUTURE_TIME,
	REJECT_LARGE_VALUE,
	REJECT_NREASONS
} RejectReason;

extern const char *reject_reason_name(RejectReason reason);

/* A user or item key.  The column's KeyKind tells which fields count. */
typedef struct KeyValue
{
	int64		num;			/* KEY_INT */
	const char *bytes;			/* KEY_TEXT, KEY_UUID; not terminated */
	int32		len;			/* 0 for KEY_INT */
} KeyValue;

typedef struct Event
{
	KeyValue	user;
	KeyValue	item;
	double		weight;			/* implicit: contribution to r(u,i); explicit:
								 * the rating */
	bool		ignored;		/* its type weighs 0: not in histories */
	TimestampTz time;			/* 0 if the source maps no time column */
} Event;

/* How rows of one relation (a leaf of the registered table) are read. */
typedef struct EventMap EventMap;

/* Columns are found by name in desc.  missing_ok: NULL if one is gone or has
 * changed its type, else an error. */
extern EventMap *event_map_create(const RecsysSource *source, TupleDesc desc,
								  MemoryContext context, bool missing_ok);
extern void event_map_free(EventMap *map);

/* What event_clean() can not decide, because the row does not hold it. */
#define EVENT_INCOMPLETE REJECT_NREASONS

/*
 * values/isnull: the row's columns, at least up to event_map_natts().
 * decoding: the row comes from WAL, where an external on-disk value means "not
 * changed and not logged"; the answer is then EVENT_INCOMPLETE.
 * Pointers in *event refer to the row, or to CurrentMemoryContext where a
 * value had to be detoasted.  Times ahead of "now" plus recsys.max_future are
 * rejected; pass DT_NOEND to leave that to the caller.
 */
extern RejectReason event_clean(EventMap *map, const Datum *values,
								const bool *isnull, bool decoding,
								TimestampTz now, Event *event);
/* The same for a heap tuple. */
extern RejectReason event_clean_tuple(EventMap *map, HeapTuple tuple, bool decoding,
									  TimestampTz now, Event *event);
/* For a decoded update: columns not logged in newrow are taken from oldrow. */
extern RejectReason event_clean_merged(EventMap *map, HeapTuple newrow,
									   HeapTuple oldrow, Event *event);
extern int	event_map_natts(const EventMap *map);
/* The row that event_clean_tuple() took apart last, as long as it exists. */
extern void event_map_row(const EventMap *map, const Datum **values, const bool **isnull);

/* The mapped columns of a row as text, for recsys.rejected_events; NULL where
 * null, not mapped or not logged.  Order: user, item, type, value, time. */
#define EVENT_NTEXTS 5
extern void event_texts(EventMap *map, HeapTuple tuple, char **texts);

/* Datum of the key column's type <-> KeyValue. */
extern KeyValue key_from_datum(const KeyColumn *column, Datum value);
extern Datum key_to_datum(const KeyColumn *column, const KeyValue *key);
/* Text of a key -> KeyValue; false where it is no value of the type. */
extern bool key_from_text(const KeyColumn *column, const char *text, KeyValue *key);

extern bool event_time_in_future(TimestampTz time, TimestampTz now);

#endif							/* RECSYS_CLEAN_H */
