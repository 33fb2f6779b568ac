/*
 * datum_codes.h
 *	  Numbers for datums of one type: 0, 1, 2 ... in the order in which they come.
 *
 * Two are the same if the type's own "=" says so under the collation, as for
 * GROUP BY.  No nulls.
 */
#ifndef RECSYS_METRICS_DATUM_CODES_H
#define RECSYS_METRICS_DATUM_CODES_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef struct DatumCodes DatumCodes;

/* Everything is allocated in context; "what" names the datums in errors. */
extern DatumCodes *codes_create(MemoryContext context, Oid type, Oid collation, const char *what);
extern Oid	codes_type(const DatumCodes *codes);
extern Oid	codes_collation(const DatumCodes *codes);
extern int32 codes_count(const DatumCodes *codes);
extern Datum codes_value(const DatumCodes *codes, int32 code);

/* The number of a datum, a new one if need be. */
extern int32 codes_add(DatumCodes *codes, Datum value);

/* Bytes that the next new datum will take at once, over what it needs itself. */
extern Size codes_growth(const DatumCodes *codes);

/*
 * Renumbers all datums in the order of their type, text by its bytes: the same
 * set has the same numbers then, in whatever order it came.  Returns the new
 * numbers by the old ones, palloc'd; NULL if nothing has changed.
 */
extern int32 *codes_sort(DatumCodes *codes);

/* For the workers of one query: as bytes, in the order of their numbers, and back. */
extern Size codes_written_size(const DatumCodes *codes);
extern void codes_write(const DatumCodes *codes, StringInfo to);
extern DatumCodes *codes_read(StringInfo from, MemoryContext context, const char *what);

#endif							/* RECSYS_METRICS_DATUM_CODES_H */
