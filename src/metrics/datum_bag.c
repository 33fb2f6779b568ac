/*
 * datum_bag.c
 *	  See datum_bag.h.  A table of datums (datum_table.h) with their counts.
 *
 * Datums are copied into the bag's context, detoasted, and freed when the last
 * one of its kind goes, so a bag that follows a moving window stays small.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "metrics/datum_bag.h"
#include "metrics/datum_table.h"
#include "miscadmin.h"

struct DatumBag
{
	DatumTable	table;			/* the number is how many there are */
};

DatumBag *
bag_create(MemoryContext context, Oid type, Oid collation, const char *what)
{
	DatumBag   *bag = MemoryContextAllocZero(context, sizeof(DatumBag));

	datum_table_create(&bag->table, context, type, collation, false, 4, what);
	return bag;
}

Oid
bag_type(const DatumBag *bag)
{
	return bag->table.type->type_id;
}

Oid
bag_collation(const DatumBag *bag)
{
	return bag->table.collation;
}

int64
bag_size(const DatumBag *bag)
{
	return bag->table.entries->members;
}

bool
bag_add(DatumBag *bag, Datum value, int64 n)
{
	bool		found;

	datum_table_add(&bag->table, datum_table_flat(&bag->table, value), &found)->number += n;
	return !found;
}

bool
bag_remove(DatumBag *bag, Datum value)
{
	DatumEntry *entry = datums_lookup(bag->table.entries, datum_table_flat(&bag->table, value));
	Datum		copy;

	if (entry == NULL)
		elog(ERROR, "a value leaves the window that never came in");
	if (--entry->number > 0)
		return false;
	copy = entry->value;
	datums_delete_item(bag->table.entries, entry);
	datum_table_free(&bag->table, copy);
	return true;
}

bool
bag_contains(const DatumBag *bag, Datum value)
{
	return datums_lookup(bag->table.entries, datum_table_flat(&bag->table, value)) != NULL;
}

/*
 * Room for n more.  What comes out of a table comes in the order of its hashes,
 * and would pile up in one end of a table that is smaller.
 */
static void
make_room(DatumBag *bag, int64 n)
{
	uint64		wanted = (uint64) ((bag_size(bag) + n) * 1.25) + 1;

	if (wanted > bag->table.entries->size)
		datums_grow(bag->table.entries, wanted);
}

void
bag_merge(DatumBag *bag, const DatumBag *other)
{
	datums_iterator iterator;
	DatumEntry *entry;

	make_room(bag, bag_size(other));
	datums_start_iterate(other->table.entries, &iterator);
	while ((entry = datums_iterate(other->table.entries, &iterator)) != NULL)
	{
		bag_add(bag, entry->value, entry->number);
		CHECK_FOR_INTERRUPTS();
	}
}

void
bag_add_array(DatumBag *bag, ArrayType *array)
{
	const TypeCacheEntry *type = bag->table.type;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, type->type_id, type->typlen, type->typbyval, type->typalign,
					  &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			bag_add(bag, values[i], 1);
		CHECK_FOR_INTERRUPTS();
	}
}

/* A message has at most 1 GB: some 50 million numbers. */
void
bag_write(const DatumBag *bag, StringInfo to)
{
	datums_iterator iterator;
	DatumEntry *entry;

	pq_sendint32(to, bag->table.type->type_id);
	pq_sendint32(to, bag->table.collation);
	pq_sendint64(to, bag_size(bag));
	datums_start_iterate(bag->table.entries, &iterator);
	while ((entry = datums_iterate(bag->table.entries, &iterator)) != NULL)
	{
		pq_sendint64(to, entry->number);
		datum_table_write(&bag->table, entry->value, to);
		CHECK_FOR_INTERRUPTS();
	}
}

DatumBag *
bag_read(StringInfo from, MemoryContext context, const char *what)
{
	Oid			type = pq_getmsgint(from, 4);
	Oid			collation = pq_getmsgint(from, 4);
	int64		n = pq_getmsgint64(from);
	DatumBag   *bag = bag_create(context, type, collation, what);

	make_room(bag, n);
	for (int64 i = 0; i < n; i++)
	{
		int64		count = pq_getmsgint64(from);
		Datum		value = datum_table_read(from);

		bag_add(bag, value, count);
		datum_table_free(&bag->table, value);
		CHECK_FOR_INTERRUPTS();
	}
	return bag;
}
