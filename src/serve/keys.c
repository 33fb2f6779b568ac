/*
 * keys.c
 *	  From the keys that callers pass to the numbers of the state.
 *
 * Integer keys arrive as bigint whatever the column's width, strings as text;
 * a value that the column's type can't hold is an unknown key, not an error.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "serve/serve.h"

static bool
int_key(Oid type, int64 value, Datum *key)
{
	switch (type)
	{
		case INT2OID:
			*key = Int16GetDatum((int16) value);
			return value >= PG_INT16_MIN && value <= PG_INT16_MAX;
		case INT4OID:
			*key = Int32GetDatum((int32) value);
			return value >= PG_INT32_MIN && value <= PG_INT32_MAX;
		default:
			*key = Int64GetDatum(value);
			return true;
	}
}

Oid
serve_argument_type(const KeyColumn *column)
{
	KeyKind		kind = column->kind;

	return kind == KEY_INT ? INT8OID : kind == KEY_TEXT ? TEXTOID : UUIDOID;
}

bool
key_from_argument(const KeyColumn *column, Oid argtype, Datum value, Datum *key)
{
	if (argtype != serve_argument_type(column))
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("argument of type %s does not fit key column of type %s",
					   format_type_be(argtype), format_type_be(column->type)),
				errhint("Drop the source with recsys.drop_source() and create it again."));
	if (column->kind == KEY_INT)
		return int_key(column->type, DatumGetInt64(value), key);
	*key = value;
	if (column->kind == KEY_TEXT)
		return toast_raw_datum_size(value) - VARHDRSZ <= RECSYS_MAX_KEY_LEN;
	return true;
}

bool
key_from_event(const KeyColumn *column, const KeyValue *value, Datum *key)
{
	if (column->kind == KEY_INT)
		return int_key(column->type, value->num, key);
	*key = key_to_datum(column, value);
	return true;
}

/* ---------------------------------------------------------------- tables */

static StateTable *
open_users(const RecsysSource *source, const char *index, int indexed)
{
	Oid			types[] = {INT4OID, source->user.type};

	return checked_open(source, "users", index, indexed, lengthof(types), types);
}

void
serve_open_users(ServeCall *call)
{
	if (call->users_by_key == NULL)
		call->users_by_key = open_users(call->source, "users_key_key", ITEM_KEY);
}

static StateTable *
open_items(const RecsysSource *source, const char *index, int indexed)
{
	Oid			types[] = {INT4OID, source->item.type, INT4OID, FLOAT8OID, FLOAT8OID, INT4OID};

	return checked_open(source, "items", index, indexed, lengthof(types), types);
}

void
serve_open_items(ServeCall *call)
{
	if (call->items == NULL)
		call->items = open_items(call->source, "items_pkey", ITEM_ID);
}

void
serve_open_items_by_key(ServeCall *call)
{
	if (call->items_by_key == NULL)
		call->items_by_key = open_items(call->source, "items_key_key", ITEM_KEY);
}

/* --------------------------------------------------------------- look-up */

int32
serve_user_number(ServeCall *call, Datum key)
{
	TupleTableSlot *slot;

	serve_open_users(call);
	slot = table_get(call->users_by_key, call->snapshot, 1, &key);
	return slot ? DatumGetInt32(checked_attribute(slot, ITEM_ID)) : 0;
}

TupleTableSlot *
serve_user(ServeCall *call, int32 user)
{
	Datum		key = Int32GetDatum(user);

	if (call->users == NULL)
		call->users = open_users(call->source, "users_pkey", ITEM_ID);
	return table_get(call->users, call->snapshot, 1, &key);
}

TupleTableSlot *
serve_item_by_key(ServeCall *call, Datum key)
{
	serve_open_items_by_key(call);
	return table_get(call->items_by_key, call->snapshot, 1, &key);
}

TupleTableSlot *
serve_item(ServeCall *call, int32 item)
{
	Datum		key = Int32GetDatum(item);

	serve_open_items(call);
	return table_get(call->items, call->snapshot, 1, &key);
}

int32
serve_item_argument(ServeCall *call, int argno)
{
	TupleTableSlot *slot;
	Datum		key;

	if (call->fcinfo->args[argno].isnull)
		return 0;
	serve_open_items_by_key(call);
	if (!key_from_argument(&call->source->item, call->argtypes->values[argno],
						   call->fcinfo->args[argno].value, &key))
		return 0;
	slot = serve_item_by_key(call, key);
	return slot ? DatumGetInt32(checked_attribute(slot, ITEM_ID)) : 0;
}

void
serve_item_array(ServeCall *call, int argno, ItemCallback each, void *arg)
{
	ArrayType  *array;
	Oid			type;
	ArrayIterator iterator;
	Datum		value,
				key;
	bool		isnull;

	if (call->fcinfo->args[argno].isnull)
		return;
	serve_open_items_by_key(call);
	array = DatumGetArrayTypeP(call->fcinfo->args[argno].value);
	type = ARR_ELEMTYPE(array);
	iterator = array_create_iterator(array, 0, NULL);
	while (array_iterate(iterator, &value, &isnull))
	{
		TupleTableSlot *slot;

		CHECK_FOR_INTERRUPTS();
		if (isnull || !key_from_argument(&call->source->item, type, value, &key))
			continue;
		slot = serve_item_by_key(call, key);
		if (slot)
			each(slot, arg);
	}
	array_free_iterator(iterator);
}
