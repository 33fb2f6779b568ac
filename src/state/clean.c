/*
 * clean.c
 *	  Cleaning of event rows, see clean.h.
 *
 * event_clean() runs once per event of the stream, so it does no allocation
 * and no catalogue access for the common types: integers, text, float8 and
 * timestamps are read where they lie.  Event types that are not strings
 * (enums, integers) go through their output function once per distinct value.
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "recsys.h"
#include "state/clean.h"

/* Distinct event types of a by-value type that are remembered. */
#define TYPE_CACHE_SIZE 64

struct EventMap
{
	const RecsysSource *source;
	TupleDesc	desc;			/* whole: minor releases keep more behind its columns */
	int			natts;			/* up to the last mapped column */
	Datum	   *values;			/* scratch of event_clean_tuple() */
	bool	   *isnull;
	int			user,
				item,
				type,
				value,
				time;			/* column indexes from 0; -1 = not mapped */
	Oid			type_oid;
	Oid			value_oid;
	Oid			type_output;	/* of event types that are no varlena strings */
	bool		type_byval;
	int			ncached;
	struct
	{
		Datum		value;
		double		weight;
	}			cached[TYPE_CACHE_SIZE];
};

static const char *const reason_names[REJECT_NREASONS] = {
	"none",
	"null user",
	"null item",
	"key too long",
	"null event type",
	"null value",
	"value not finite",
	"negative value",
	"null time",
	"infinite time",
	"time in the future",
	"value too large",
};

const char *
reject_reason_name(RejectReason reason)
{
	Assert(reason < REJECT_NREASONS);
	return reason_names[reason];
}

/* --------------------------------------------------------------- mapping */

static int
find_column(TupleDesc desc, const char *name)
{
	if (name)
		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, i);

			if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
				return i;
		}
	return -1;
}

static bool
key_column_fits(TupleDesc desc, int column, const KeyColumn *key)
{
	return column >= 0 && TupleDescAttr(desc, column)->atttypid == key->type;
}

EventMap *
event_map_create(const RecsysSource *source, TupleDesc desc,
				 MemoryContext context, bool missing_ok)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	EventMap   *map = palloc0(sizeof(EventMap));

	map->source = source;
	map->user = find_column(desc, NameStr(source->user.name));
	map->item = find_column(desc, NameStr(source->item.name));
	map->type = find_column(desc, source->type_column);
	map->value = find_column(desc, source->value_column);
	map->time = find_column(desc, source->time_column);
	if (!key_column_fits(desc, map->user, &source->user) ||
		!key_column_fits(desc, map->item, &source->item) ||
		(source->type_column && map->type < 0) ||
		(source->value_column && map->value < 0) ||
		(source->time_column && map->time < 0))
	{
		pfree(map);
		MemoryContextSwitchTo(old);
		if (missing_ok)
			return NULL;
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("a column of the events table of recsys source \"%s\" is gone or has changed its type",
					   NameStr(source->name)),
				errhint("Undo the change and call recsys.resync(), or drop the source with recsys.drop_source() and create it again."));
	}

	map->natts = Max(Max(Max(map->user, map->item), Max(map->type, map->value)), map->time) + 1;
	map->desc = CreateTupleDescCopyConstr(desc);
	map->values = palloc(sizeof(Datum) * desc->natts);
	map->isnull = palloc(sizeof(bool) * desc->natts);
	if (map->type >= 0)
	{
		bool		varlena;

		map->type_oid = TupleDescAttr(desc, map->type)->atttypid;
		map->type_byval = TupleDescAttr(desc, map->type)->attbyval;
		getTypeOutputInfo(map->type_oid, &map->type_output, &varlena);
	}
	if (map->value >= 0)
		map->value_oid = TupleDescAttr(desc, map->value)->atttypid;
	MemoryContextSwitchTo(old);
	return map;
}

void
event_map_free(EventMap *map)
{
	FreeTupleDesc(map->desc);
	pfree(map->values);
	pfree(map->isnull);
	pfree(map);
}

int
event_map_natts(const EventMap *map)
{
	return map->natts;
}

void
event_map_row(const EventMap *map, const Datum **values, const bool **isnull)
{
	*values = map->values;
	*isnull = map->isnull;
}

/* ------------------------------------------------------------------ keys */

KeyValue
key_from_datum(const KeyColumn *column, Datum value)
{
	KeyValue	key = {0};

	switch (column->kind)
	{
		case KEY_INT:
			key.num = column->type == INT8OID ? DatumGetInt64(value) :
				column->type == INT4OID ? DatumGetInt32(value) : DatumGetInt16(value);
			break;
		case KEY_UUID:
			key.bytes = (char *) DatumGetUUIDP(value)->data;
			key.len = UUID_LEN;
			break;
		case KEY_TEXT:
			{
				struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

				key.bytes = VARDATA_ANY(text);
				key.len = VARSIZE_ANY_EXHDR(text);
				break;
			}
	}
	return key;
}

Datum
key_to_datum(const KeyColumn *column, const KeyValue *key)
{
	switch (column->kind)
	{
		case KEY_INT:
			return column->type == INT8OID ? Int64GetDatum(key->num) :
				column->type == INT4OID ? Int32GetDatum((int32) key->num) :
				Int16GetDatum((int16) key->num);
		case KEY_UUID:
			{
				pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

				memcpy(uuid->data, key->bytes, UUID_LEN);
				return UUIDPGetDatum(uuid);
			}
		case KEY_TEXT:
			return PointerGetDatum(cstring_to_text_with_len(key->bytes, key->len));
	}
	return (Datum) 0;			/* not reached */
}

bool
key_from_text(const KeyColumn *column, const char *text, KeyValue *key)
{
	char	   *end;

	memset(key, 0, sizeof(*key));
	switch (column->kind)
	{
		case KEY_INT:
			errno = 0;
			key->num = strtoi64(text, &end, 10);
			return errno == 0 && end != text && *end == '\0';
		case KEY_UUID:
			{
				Datum		uuid = DirectFunctionCall1(uuid_in, CStringGetDatum(text));

				key->bytes = (char *) DatumGetUUIDP(uuid)->data;
				key->len = UUID_LEN;
				return true;
			}
		case KEY_TEXT:
			key->bytes = text;
			key->len = strlen(text);
			return true;
	}
	return false;				/* not reached */
}

/* -------------------------------------------------------------- cleaning */

static double
weight_of_name(const RecsysSource *source, const char *name, int len)
{
	for (int i = 0; i < source->nweights; i++)
	{
		const char *known = source->weights[i].event_type;

		if (strncmp(known, name, len) == 0 && known[len] == '\0')
			return source->weights[i].weight;
	}
	return 0;
}

/* Weight of an event type that is no string: by its text, remembered. */
static double
weight_of_value(EventMap *map, Datum value)
{
	char	   *text;
	double		weight;

	if (map->type_byval)
		for (int i = 0; i < map->ncached; i++)
			if (map->cached[i].value == value)
				return map->cached[i].weight;

	text = OidOutputFunctionCall(map->type_output, value);
	weight = weight_of_name(map->source, text, strlen(text));
	pfree(text);
	if (map->type_byval && map->ncached < TYPE_CACHE_SIZE)
	{
		map->cached[map->ncached].value = value;
		map->cached[map->ncached++].weight = weight;
	}
	return weight;
}

static double
weight_of_event(EventMap *map, Datum value)
{
	if (!map->source->has_weights)
		return 1;
	if (map->type_oid == TEXTOID || map->type_oid == VARCHAROID)
	{
		struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

		return weight_of_name(map->source, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
	}
	if (map->type_oid == BPCHAROID)
	{
		struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

		return weight_of_name(map->source, VARDATA_ANY(text),
							  bpchartruelen(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text)));
	}
	return weight_of_value(map, value);
}

static double
number_of(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return (double) DatumGetInt64(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		default:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
	}
}

/* A varlena column of a decoded row that was neither changed nor logged? */
static inline bool
not_logged(EventMap *map, int column, const Datum *values, const bool *isnull)
{
	return column >= 0 && !isnull[column] &&
		TupleDescAttr(map->desc, column)->attlen == -1 &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(values[column]));
}

bool
event_time_in_future(TimestampTz time, TimestampTz now)
{
	return now != DT_NOEND && time > now + (TimestampTz) recsys_max_future * USECS_PER_SEC;
}

RejectReason
event_clean(EventMap *map, const Datum *values, const bool *isnull,
			bool decoding, TimestampTz now, Event *event)
{
	const RecsysSource *source = map->source;

	if (decoding &&
		(not_logged(map, map->user, values, isnull) ||
		 not_logged(map, map->item, values, isnull) ||
		 not_logged(map, map->type, values, isnull) ||
		 not_logged(map, map->value, values, isnull)))
		return EVENT_INCOMPLETE;

	if (isnull[map->user])
		return REJECT_NULL_USER;
	if (isnull[map->item])
		return REJECT_NULL_ITEM;
	event->user = key_from_datum(&source->user, values[map->user]);
	event->item = key_from_datum(&source->item, values[map->item]);
	if (event->user.len > RECSYS_MAX_KEY_LEN || event->item.len > RECSYS_MAX_KEY_LEN)
		return REJECT_LONG_KEY;

	event->weight = 1;
	if (map->type >= 0)
	{
		if (isnull[map->type])
			return REJECT_NULL_TYPE;
		event->weight = weight_of_event(map, values[map->type]);
	}
	event->ignored = event->weight == 0;
	if (map->value >= 0)
	{
		double		value;

		if (isnull[map->value])
			return REJECT_NULL_VALUE;
		value = number_of(map->value_oid, values[map->value]);
		if (!isfinite(value))
			return REJECT_BAD_VALUE;
		if (source->explicit_feedback)
			event->weight = value;
		else if (value < 0)
			return REJECT_NEGATIVE_VALUE;
		else
		{
			event->weight *= value;
			event->ignored = event->weight == 0;
		}
		if (fabs(event->weight) > RECSYS_MAX_AMOUNT)
			return REJECT_LARGE_VALUE;
	}

	event->time = 0;
	if (map->time >= 0)
	{
		if (isnull[map->time])
			return REJECT_NULL_TIME;
		event->time = DatumGetTimestampTz(values[map->time]);
		if (TIMESTAMP_NOT_FINITE(event->time))
			return REJECT_BAD_TIME;
		if (event_time_in_future(event->time, now))
			return REJECT_FUTURE_TIME;
	}
	return REJECT_NONE;
}

RejectReason
event_clean_tuple(EventMap *map, HeapTuple tuple, bool decoding,
				  TimestampTz now, Event *event)
{
	heap_deform_tuple(tuple, map->desc, map->values, map->isnull);
	return event_clean(map, map->values, map->isnull, decoding, now, event);
}

RejectReason
event_clean_merged(EventMap *map, HeapTuple newrow, HeapTuple oldrow, Event *event)
{
	int			natts = map->desc->natts;
	Datum	   *old_values = palloc(sizeof(Datum) * natts);
	bool	   *old_isnull = palloc(sizeof(bool) * natts);

	heap_deform_tuple(oldrow, map->desc, old_values, old_isnull);
	heap_deform_tuple(newrow, map->desc, map->values, map->isnull);
	for (int i = 0; i < natts; i++)
		if (not_logged(map, i, map->values, map->isnull))
		{
			map->values[i] = old_values[i];
			map->isnull[i] = old_isnull[i];
		}
	return event_clean(map, map->values, map->isnull, true, DT_NOEND, event);
}

void
event_texts(EventMap *map, HeapTuple tuple, char **texts)
{
	int			columns[EVENT_NTEXTS] = {map->user, map->item, map->type, map->value, map->time};

	heap_deform_tuple(tuple, map->desc, map->values, map->isnull);
	for (int i = 0; i < EVENT_NTEXTS; i++)
	{
		int			column = columns[i];
		Oid			output;
		bool		varlena;

		texts[i] = NULL;
		if (column < 0 || map->isnull[column] ||
			not_logged(map, column, map->values, map->isnull))
			continue;
		getTypeOutputInfo(TupleDescAttr(map->desc, column)->atttypid, &output, &varlena);
		texts[i] = OidOutputFunctionCall(output, map->values[column]);
	}
}
