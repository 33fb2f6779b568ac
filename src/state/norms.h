/*
 * norms.h
 *	  The length of each user's history as a vector: a write-back cache over a
 *	  table that a model owns.
 *
 * A similarity needs the sum of squares over all items of a user, for thousands
 * of users at a time.  Users with neighbouring numbers share a row.
 */
#ifndef RECSYS_NORMS_H
#define RECSYS_NORMS_H

#include "postgres.h"

#include "state/table.h"

/* Users of a row; 64 make one of half a kilobyte. */
#define NORM_BLOCK_SIZE 64

/* Rows are numbered from 1, as hinted.h wants it. */
#define NORM_BLOCK_OF(user) ((user) / NORM_BLOCK_SIZE + 1)
#define NORM_PLACE_OF(user) ((user) % NORM_BLOCK_SIZE)

/* Columns of the table, and their types. */
enum
{
	NORM_BLOCK, NORM_LANDMARK, NORM_SUMSQ, NORM_NCOLUMNS
};

extern const Oid norm_types[NORM_NCOLUMNS];

typedef struct NormCache NormCache;

/* The table may hold anything; landmark is the source's, of all in memory. */
extern NormCache *norm_cache_create(MemoryContext parent, Oid nspid, const char *relname,
									const char *indexname, int32 landmark);
/* The sum of squares of the user's history; 0 without one. */
extern void norm_cache_set(NormCache *cache, int32 user, double sumsq);
/* Ask for the memory that this will use. */
extern void norm_cache_prefetch(NormCache *cache, int32 user);
/* All are 0, and the table's rows are obsolete. */
extern void norm_cache_void(NormCache *cache);
extern void norm_cache_rescale(NormCache *cache, int32 landmark);
extern void norm_cache_write(NormCache *cache);	/* dirty rows -> table */
extern void norm_cache_evict(NormCache *cache, Size target);	/* clean ones */
extern Size norm_cache_bytes(const NormCache *cache);

/* NORM_BLOCK_SIZE sums of a stored row, in place; an error if it is not what was
 * written. */
extern const double *norm_row_read(TupleTableSlot *slot, int32 *landmark);

#endif							/* RECSYS_NORMS_H */
