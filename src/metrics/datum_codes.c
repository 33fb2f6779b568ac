/*
 * datum_codes.c
 *	  See datum_codes.h.  A table of datums (datum_table.h) with their numbers,
 *	  and the datums by their numbers.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "libpq/pqformat.h"
#include "metrics/datum_codes.h"
#include "metrics/datum_table.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define FIRST_CODES	64

struct DatumCodes
{
	DatumTable	table;
	Datum	   *values;			/* [max], by number */
	int32		n,
				max;
};

DatumCodes *
codes_create(MemoryContext context, Oid type, Oid collation, const char *what)
{
	DatumCodes *codes = MemoryContextAllocZero(context, sizeof(DatumCodes));

	datum_table_create(&codes->table, context, type, collation, true, FIRST_CODES / 2, what);
	codes->max = FIRST_CODES;
	codes->values = MemoryContextAlloc(context, sizeof(Datum) * FIRST_CODES);
	return codes;
}

Oid
codes_type(const DatumCodes *codes)
{
	return codes->table.type->type_id;
}

Oid
codes_collation(const DatumCodes *codes)
{
	return codes->table.collation;
}

int32
codes_count(const DatumCodes *codes)
{
	return codes->n;
}

Datum
codes_value(const DatumCodes *codes, int32 code)
{
	return codes->values[code];
}

/* Flattening may allocate, which is the caller's. */
int32
codes_add(DatumCodes *codes, Datum value)
{
	bool		found;
	DatumEntry *entry = datum_table_add(&codes->table, datum_table_flat(&codes->table, value), &found);

	if (found)
		return (int32) entry->number;
	if (codes->n == codes->max)
	{
		codes->max = codes->max > PG_INT32_MAX / 2 ? PG_INT32_MAX : codes->max * 2;
		codes->values = repalloc_huge(codes->values, sizeof(Datum) * (Size) codes->max);
	}
	entry->number = codes->n;
	codes->values[codes->n] = entry->value;
	return codes->n++;
}

Size
codes_growth(const DatumCodes *codes)
{
	const datums_hash *entries = codes->table.entries;
	Size		bytes = 0;

	if (entries->members >= entries->grow_threshold)
		bytes += entries->size * 2 * sizeof(DatumEntry);
	if (codes->n == codes->max)
		bytes += sizeof(Datum) * (Size) codes->max;
	return bytes;
}

/* ------------------------------------------------------------------- order */

/* Equal datums under a deterministic collation are equal byte by byte, so that
 * bytes tell all apart that are in here, and do so fast. */
static int
compare_codes(const void *a, const void *b, void *arg)
{
	const DatumCodes *codes = arg;
	Oid			collation = OidIsValid(codes->table.type->typcollation) ? C_COLLATION_OID : InvalidOid;

	return DatumGetInt32(FunctionCall2Coll(&codes->table.type->cmp_proc_finfo, collation,
										   codes->values[*(const int32 *) a], codes->values[*(const int32 *) b]));
}

static bool
in_order(DatumCodes *codes)
{
	for (int32 i = 1; i < codes->n; i++)
	{
		int32		previous = i - 1;

		if (compare_codes(&previous, &i, codes) > 0)
			return false;
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

int32 *
codes_sort(DatumCodes *codes)
{
	int32	   *old,
			   *new;
	Datum	   *values;
	datums_iterator iterator;
	DatumEntry *entry;

	if (in_order(codes))
		return NULL;
	old = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * (Size) codes->n);
	new = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * (Size) codes->n);
	values = MemoryContextAllocHuge(codes->table.context, sizeof(Datum) * (Size) codes->max);
	for (int32 i = 0; i < codes->n; i++)
		old[i] = i;
	qsort_interruptible(old, (size_t) codes->n, sizeof(int32), compare_codes, codes);
	for (int32 i = 0; i < codes->n; i++)
	{
		new[old[i]] = i;
		values[i] = codes->values[old[i]];
	}
	datums_start_iterate(codes->table.entries, &iterator);
	while ((entry = datums_iterate(codes->table.entries, &iterator)) != NULL)
		entry->number = new[entry->number];
	pfree(codes->values);
	codes->values = values;
	pfree(old);
	return new;
}

/* ------------------------------------------------------------------- bytes */

Size
codes_written_size(const DatumCodes *codes)
{
	Size		bytes = 3 * sizeof(int32);

	for (int32 i = 0; i < codes->n; i++)
		bytes += datum_table_written_size(&codes->table, codes->values[i]);
	return bytes;
}

void
codes_write(const DatumCodes *codes, StringInfo to)
{
	pq_sendint32(to, codes->table.type->type_id);
	pq_sendint32(to, codes->table.collation);
	pq_sendint32(to, (uint32) codes->n);
	enlargeStringInfo(to, (int) codes_written_size(codes));
	for (int32 i = 0; i < codes->n; i++)
		datum_table_write(&codes->table, codes->values[i], to);
}

DatumCodes *
codes_read(StringInfo from, MemoryContext context, const char *what)
{
	Oid			type = (Oid) pq_getmsgint(from, 4);
	Oid			collation = (Oid) pq_getmsgint(from, 4);
	int32		n = (int32) pq_getmsgint(from, 4);
	DatumCodes *codes = codes_create(context, type, collation, what);

	for (int32 i = 0; i < n; i++)
	{
		Datum		value = datum_table_read(from);

		codes_add(codes, value);
		datum_table_free(&codes->table, value);
		CHECK_FOR_INTERRUPTS();
	}
	return codes;
}
