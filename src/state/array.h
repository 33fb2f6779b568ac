/*
 * array.h
 *	  Arrays as columns of state tables have them: of one dimension, no nulls,
 *	  elements of a fixed width.
 */
#ifndef RECSYS_STATE_ARRAY_H
#define RECSYS_STATE_ARRAY_H

#include "postgres.h"

/* A palloc'd array of n elements of type "element"; width is the type's. */
extern Datum array_datum(const void *elements, int n, int width, Oid element);

#endif							/* RECSYS_STATE_ARRAY_H */
