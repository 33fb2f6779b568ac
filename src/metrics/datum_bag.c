/*
 * datum_bag.c
 *	  See datum_bag.h.  A hash table (simplehash.h) by the type's hash function.
 *
 * Datums are copied into the bag's context, detoasted, and freed when the last
 * one of its kind goes, so a bag that follows a moving window stays small.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "metrics/datum_bag.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

typedef struct BagEntry
{
	Datum		value;
	int64		count;
	uint32		hash;
	char		status;
} BagEntry;

static uint32 hash_datum(const DatumBag *bag, Datum value);
static bool same_datum(const DatumBag *bag, Datum a, Datum b);

#define SH_PREFIX bagtable
#define SH_ELEMENT_TYPE BagEntry
#define SH_KEY_TYPE Datum
#define SH_KEY value
#define SH_HASH_KEY(table, key) hash_datum((table)->private_data, key)
#define SH_EQUAL(table, a, b) same_datum((table)->private_data, a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct DatumBag
{
	MemoryContext context;
	Oid			collation;
	TypeCacheEntry *type;
	FunctionCallInfo hash;
	FunctionCallInfo equal;
	bagtable_hash *table;
};

static uint32
hash_datum(const DatumBag *bag, Datum value)
{
	bag->hash->args[0].value = value;
	bag->hash->isnull = false;
	return DatumGetUInt32(FunctionCallInvoke(bag->hash));
}

static bool
same_datum(const DatumBag *bag, Datum a, Datum b)
{
	bag->equal->args[0].value = a;
	bag->equal->args[1].value = b;
	bag->equal->isnull = false;
	return DatumGetBool(FunctionCallInvoke(bag->equal));
}

static FunctionCallInfo
prepare_call(FmgrInfo *function, int nargs, Oid collation)
{
	FunctionCallInfo call = palloc0(SizeForFunctionCallInfo(nargs));

	InitFunctionCallInfoData(*call, function, nargs, collation, NULL, NULL);
	return call;
}

DatumBag *
bag_create(MemoryContext context, Oid type, Oid collation, const char *what)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	DatumBag   *bag = palloc0(sizeof(DatumBag));

	bag->context = context;
	bag->collation = collation;
	bag->type = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO);
	if (!OidIsValid(bag->type->eq_opr_finfo.fn_oid) || !OidIsValid(bag->type->hash_proc_finfo.fn_oid))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("%s of type %s cannot be told apart: the type has no hash function",
					   what, format_type_be(type)),
				errhint("Cast them to a type that can be hashed, such as text."));
	bag->hash = prepare_call(&bag->type->hash_proc_finfo, 1, collation);
	bag->equal = prepare_call(&bag->type->eq_opr_finfo, 2, collation);
	bag->table = bagtable_create(context, 4, bag);
	MemoryContextSwitchTo(before);
	return bag;
}

Oid
bag_type(const DatumBag *bag)
{
	return bag->type->type_id;
}

Oid
bag_collation(const DatumBag *bag)
{
	return bag->collation;
}

int64
bag_size(const DatumBag *bag)
{
	return bag->table->members;
}

/* As the type's functions take it; what that allocates is the caller's. */
static Datum
flat(const DatumBag *bag, Datum value)
{
	return bag->type->typlen == -1 ? PointerGetDatum(PG_DETOAST_DATUM_PACKED(value)) : value;
}

bool
bag_add(DatumBag *bag, Datum value, int64 n)
{
	bool		found;
	BagEntry   *entry;

	value = flat(bag, value);
	entry = bagtable_insert(bag->table, value, &found);
	if (!found)
	{
		MemoryContext before = MemoryContextSwitchTo(bag->context);

		entry->value = datumCopy(value, bag->type->typbyval, bag->type->typlen);
		entry->count = 0;
		MemoryContextSwitchTo(before);
	}
	entry->count += n;
	return !found;
}

bool
bag_remove(DatumBag *bag, Datum value)
{
	BagEntry   *entry = bagtable_lookup(bag->table, flat(bag, value));
	Datum		copy;

	if (entry == NULL)
		elog(ERROR, "a value leaves the window that never came in");
	if (--entry->count > 0)
		return false;
	copy = entry->value;
	bagtable_delete_item(bag->table, entry);
	if (!bag->type->typbyval)
		pfree(DatumGetPointer(copy));
	return true;
}

bool
bag_contains(const DatumBag *bag, Datum value)
{
	return bagtable_lookup(bag->table, flat(bag, value)) != NULL;
}

/*
 * Room for n more.  What comes out of a table comes in the order of its hashes,
 * and would pile up in one end of a table that is smaller.
 */
static void
make_room(DatumBag *bag, int64 n)
{
	uint64		wanted = (uint64) ((bag_size(bag) + n) * 1.25) + 1;

	if (wanted > bag->table->size)
		bagtable_grow(bag->table, wanted);
}

void
bag_merge(DatumBag *bag, const DatumBag *other)
{
	bagtable_iterator iterator;
	BagEntry   *entry;

	make_room(bag, bag_size(other));
	bagtable_start_iterate(other->table, &iterator);
	while ((entry = bagtable_iterate(other->table, &iterator)) != NULL)
	{
		bag_add(bag, entry->value, entry->count);
		CHECK_FOR_INTERRUPTS();
	}
}

void
bag_add_array(DatumBag *bag, ArrayType *array)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, bag->type->type_id, bag->type->typlen, bag->type->typbyval,
					  bag->type->typalign, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			bag_add(bag, values[i], 1);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Datums travel as they are in memory (datumSerialize), so this is for processes
 * of one server.  A message has at most 1 GB: some 50 million numbers.
 */
void
bag_write(const DatumBag *bag, StringInfo to)
{
	bagtable_iterator iterator;
	BagEntry   *entry;

	pq_sendint32(to, bag->type->type_id);
	pq_sendint32(to, bag->collation);
	pq_sendint64(to, bag_size(bag));
	bagtable_start_iterate(bag->table, &iterator);
	while ((entry = bagtable_iterate(bag->table, &iterator)) != NULL)
	{
		Size		size = datumEstimateSpace(entry->value, false, bag->type->typbyval, bag->type->typlen);
		char	   *end;

		pq_sendint64(to, entry->count);
		enlargeStringInfo(to, (int) size);
		end = to->data + to->len;
		datumSerialize(entry->value, false, bag->type->typbyval, bag->type->typlen, &end);
		to->len = (int) (end - to->data);
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
		char	   *at = from->data + from->cursor;
		bool		isnull;
		Datum		value = datumRestore(&at, &isnull);

		from->cursor = (int) (at - from->data);
		bag_add(bag, value, count);
		if (!bag->type->typbyval)
			pfree(DatumGetPointer(value));
		CHECK_FOR_INTERRUPTS();
	}
	return bag;
}
