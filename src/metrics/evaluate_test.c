/*
 * evaluate_test.c
 *	  The test table of an evaluation: read with the caller's rights, its keys
 *	  turned into numbers of the source.
 *
 * It is the caller's session that reads it, so it may be a view or a temporary
 * table, and row-level security holds as ever.  The tables of the source are
 * read by index and with checks, never by the caller's SQL: they belong to
 * somebody else.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "catalog/catalog.h"
#include "metrics/evaluation.h"
#include "serve/serve.h"

#define FETCH_ROWS 10000

/* Columns of the query. */
#define TEST_USER	1
#define TEST_ITEM	2
#define TEST_VALUE	3

/* Numbers of keys, of users or of items. */
typedef struct Numbers
{
	const KeyColumn *column;
	StateTable *table;			/* by key */
	int32		unknown;		/* newest number below 0 */
} Numbers;

typedef struct TestReader
{
	Numbers		users,
				items;
	TestRow    *rows;
	int64		n,
				max;
	Datum		user;			/* key of the newest row ... */
	MemoryContext user_context; /* ... which is here */
} TestReader;

/* ------------------------------------------------------------------- the query */

static void
column_is_missing(Oid test, const char *column, const char *what)
{
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_COLUMN),
			errmsg("test table %s has no column \"%s\"", quoted_relation(test), column),
			errhint("The %s has the name that it has in the events; a view can rename a column.", what));
}

/* The expression of a key column, of the type that key_from_argument() takes. */
static char *
key_expression(const KeyColumn *column, Oid test, const char *what)
{
	static const char *const types[] = {
		[KEY_INT] = "pg_catalog.int8",
		[KEY_TEXT] = "pg_catalog.text",
		[KEY_UUID] = "pg_catalog.uuid"
	};
	const char *name = NameStr(column->name);
	AttrNumber	attnum = get_attnum(test, name);
	KeyKind		kind;

	if (attnum <= 0)
		column_is_missing(test, name, what);
	if (!key_kind_of(get_atttype(test, attnum), &kind) || kind != column->kind)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column \"%s\" of test table %s is of type %s, that of the events of type %s",
					   name, quoted_relation(test), format_type_be(get_atttype(test, attnum)),
					   format_type_be(column->type)),
				errhint("Give a view that casts the column."));
	return psprintf("t.%s::%s%s", quote_identifier(name), types[kind],
					kind == KEY_TEXT ? " COLLATE pg_catalog.\"C\"" : "");
}

static char *
value_expression(const RecsysSource *source, Oid test)
{
	if (!source->explicit_feedback)
		return "NULL::pg_catalog.float8";
	if (get_attnum(test, source->value_column) <= 0)
		column_is_missing(test, source->value_column, "rating");
	return psprintf("t.%s::pg_catalog.float8", quote_identifier(source->value_column));
}

/* Each pair of user and item once; of several ratings the largest. */
static char *
test_query(const RecsysSource *source, Oid test)
{
	return psprintf("SELECT u, i, pg_catalog.max(v) FROM (SELECT %s AS u, %s AS i, %s AS v FROM %s t) x"
					" WHERE u IS NOT NULL AND i IS NOT NULL GROUP BY u, i ORDER BY u, i",
					key_expression(&source->user, test, "user"),
					key_expression(&source->item, test, "item"),
					value_expression(source, test), quoted_relation(test));
}

/* ------------------------------------------------------------------ its answer */

static int32
number_of(Numbers *numbers, Oid type, Datum value)
{
	Datum		key;
	TupleTableSlot *slot = NULL;

	if (key_from_argument(numbers->column, type, value, &key))
		slot = table_get(numbers->table, GetActiveSnapshot(), 1, &key);
	return slot ? DatumGetInt32(checked_attribute(slot, ITEM_ID)) : --numbers->unknown;
}

static bool
same_key(Oid type, Datum a, Datum b)
{
	if (type == TEXTOID)
		return datumIsEqual(a, b, false, -1);
	if (type == UUIDOID)
		return datumIsEqual(a, b, false, UUID_LEN);
	return DatumGetInt64(a) == DatumGetInt64(b);
}

static void
add_row(TestReader *r, HeapTuple tuple, TupleDesc desc)
{
	Oid			type = TupleDescAttr(desc, TEST_USER - 1)->atttypid;
	bool		isnull;
	Datum		user = SPI_getbinval(tuple, desc, TEST_USER, &isnull);
	Datum		item = SPI_getbinval(tuple, desc, TEST_ITEM, &isnull);
	Datum		value = SPI_getbinval(tuple, desc, TEST_VALUE, &isnull);
	TestRow    *row;

	if (r->n == r->max)
	{
		r->max *= 2;
		r->rows = repalloc_huge(r->rows, sizeof(TestRow) * (Size) r->max);
	}
	row = &r->rows[r->n];
	if (r->n > 0 && same_key(type, user, r->user))
		row->user = r->rows[r->n - 1].user;
	else
	{
		MemoryContext old;

		row->user = number_of(&r->users, type, user);
		MemoryContextReset(r->user_context);
		old = MemoryContextSwitchTo(r->user_context);
		r->user = datumCopy(user, type == INT8OID, type == TEXTOID ? -1 : UUID_LEN);
		MemoryContextSwitchTo(old);
	}
	row->item = number_of(&r->items, TupleDescAttr(desc, TEST_ITEM - 1)->atttypid, item);
	row->value = isnull ? NAN : DatumGetFloat8(value);
	r->n++;
}

static void
read_rows(TestReader *r, const char *sql)
{
	SPIPlanPtr	plan;
	Portal		portal;

	SPI_connect();
	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
			add_row(r, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

static void
begin_numbers(Numbers *numbers, const RecsysSource *source, const KeyColumn *column,
			  const char *table, const char *index)
{
	Oid			types[] = {INT4OID, column->type};

	numbers->column = column;
	numbers->table = checked_open(source, table, index, ITEM_KEY, lengthof(types), types);
	numbers->unknown = 0;
}

TestRow *
evaluation_read_test(const RecsysSource *source, Oid test, int64 *n)
{
	TestReader	r = {.max = 1024};

	r.rows = palloc(sizeof(TestRow) * r.max);
	r.user_context = AllocSetContextCreate(CurrentMemoryContext, "recsys test user",
										   ALLOCSET_SMALL_SIZES);
	begin_numbers(&r.users, source, &source->user, "users", "users_key_key");
	begin_numbers(&r.items, source, &source->item, "items", "items_key_key");
	read_rows(&r, test_query(source, test));
	checked_close(r.users.table);
	checked_close(r.items.table);
	*n = r.n;
	return r.rows;
}
