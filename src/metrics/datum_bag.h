/*
 * datum_bag.h
 *	  A bag of datums of one type: which are in it, and how many times each.
 *
 * Two are the same if the type's own "=" says so under the bag's collation, as
 * for SELECT DISTINCT.  No nulls.
 */
#ifndef RECSYS_METRICS_DATUM_BAG_H
#define RECSYS_METRICS_DATUM_BAG_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/array.h"

typedef struct DatumBag DatumBag;

/* Everything of the bag is allocated in context; "what" names the datums in errors. */
extern DatumBag *bag_create(MemoryContext context, Oid type, Oid collation, const char *what);
extern Oid	bag_type(const DatumBag *bag);
extern Oid	bag_collation(const DatumBag *bag);

/* How many different ones there are. */
extern int64 bag_size(const DatumBag *bag);

/* true: there was none of it */
extern bool bag_add(DatumBag *bag, Datum value, int64 n);

/* One less of a datum that is in the bag; true: that was the last one. */
extern bool bag_remove(DatumBag *bag, Datum value);
extern bool bag_contains(const DatumBag *bag, Datum value);

/* Adds what stands in another one of the same type. */
extern void bag_merge(DatumBag *bag, const DatumBag *other);

/* Adds the elements of an array, each at most once in effect; nulls are left out. */
extern void bag_add_array(DatumBag *bag, ArrayType *array);

/* For the workers of one query: as bytes, and back. */
extern void bag_write(const DatumBag *bag, StringInfo to);
extern DatumBag *bag_read(StringInfo from, MemoryContext context, const char *what);

#endif							/* RECSYS_METRICS_DATUM_BAG_H */
