/*
 * extras.h
 *	  Columns of the events table beyond those that the source maps, in text
 *	  form: what consumers ask for.
 */
#ifndef RECSYS_STATE_EXTRAS_H
#define RECSYS_STATE_EXTRAS_H

#include "postgres.h"
#include "access/htup.h"
#include "access/tupdesc.h"

/* Longer texts are cut, at the end of a character. */
#define EXTRA_MAX_TEXT 1024

/* Lengths that are none. */
#define EXTRA_NULL (-1)
#define EXTRA_MISSING (-2)		/* the relation has no such column */
#define EXTRA_UNKNOWN (-3)		/* the row does not tell: not logged */

/* How the columns of one relation are read. */
typedef struct ExtraColumns ExtraColumns;

extern ExtraColumns *extra_columns_create(TupleDesc desc, char *const *names, int n,
										  MemoryContext context);
extern void extra_columns_free(ExtraColumns *x);
/* Columns that a row has to be taken apart to. */
extern int	extra_columns_natts(const ExtraColumns *x);
/* Attribute number of the i-th one, 0 if the relation does not have it. */
extern AttrNumber extra_columns_attnum(const ExtraColumns *x, int i);

/*
 * The columns of a row.  Texts are not terminated, refer to the row or to
 * CurrentMemoryContext, and are at most EXTRA_MAX_TEXT bytes long.
 * decoding: an external on-disk value is one that was not logged.
 */
extern void extra_columns_read(ExtraColumns *x, const Datum *values, const bool *isnull,
							   bool decoding, const char **texts, int *lengths);
extern void extra_columns_read_tuple(ExtraColumns *x, HeapTuple tuple, bool decoding,
									 const char **texts, int *lengths);

#endif							/* RECSYS_STATE_EXTRAS_H */
