/*
 * datum_table.h
 *	  A hash table of datums of one type, with a number for each: what
 *	  datum_bag.c and datum_codes.c are made of.
 *
 * Two are the same if the type's own "=" says so under the table's collation.
 * No nulls.
 */
#ifndef RECSYS_METRICS_DATUM_TABLE_H
#define RECSYS_METRICS_DATUM_TABLE_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/typcache.h"

typedef struct DatumEntry
{
	Datum		value;
	int64		number;			/* the user's */
	uint32		hash;
	char		status;
} DatumEntry;

struct datums_hash;

typedef struct DatumTable
{
	MemoryContext context;		/* of the table and the datums in it */
	Oid			collation;
	TypeCacheEntry *type;
	FunctionCallInfo hash;
	FunctionCallInfo equal;
	struct datums_hash *entries;
} DatumTable;

extern uint32 datum_table_hash(const DatumTable *table, Datum value);
extern bool datum_table_same(const DatumTable *table, Datum a, Datum b);

#define SH_PREFIX datums
#define SH_ELEMENT_TYPE DatumEntry
#define SH_KEY_TYPE Datum
#define SH_KEY value
#define SH_HASH_KEY(table, key) datum_table_hash((table)->private_data, key)
#define SH_EQUAL(table, a, b) datum_table_same((table)->private_data, a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* For about so many; an error, where "what" names the datums, if the type cannot
 * be hashed or, if "ordered", sorted.  Everything is allocated in context. */
extern void datum_table_create(DatumTable *table, MemoryContext context, Oid type, Oid collation,
							   bool ordered, uint32 size, const char *what);

/* As the type's functions take it; what that allocates is the caller's. */
static inline Datum
datum_table_flat(const DatumTable *table, Datum value)
{
	return table->type->typlen == -1 ? PointerGetDatum(PG_DETOAST_DATUM_PACKED(value)) : value;
}

/* The entry of a flat datum, new with a copy of it and number 0 if need be. */
extern DatumEntry *datum_table_add(DatumTable *table, Datum value, bool *found);

/* Frees what an entry or datum_table_read() gave. */
extern void datum_table_free(const DatumTable *table, Datum value);

/* Datums as bytes and back, as they are in memory (datumSerialize): for processes
 * of one server.  The second is palloc'd, if it is not by value. */
extern Size datum_table_written_size(const DatumTable *table, Datum value);
extern void datum_table_write(const DatumTable *table, Datum value, StringInfo to);
extern Datum datum_table_read(StringInfo from);

#endif							/* RECSYS_METRICS_DATUM_TABLE_H */
