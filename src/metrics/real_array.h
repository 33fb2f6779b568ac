/*
 * real_array.h
 *	  Arguments of type real[], as C arrays of finite numbers.
 */
#ifndef RECSYS_METRICS_REAL_ARRAY_H
#define RECSYS_METRICS_REAL_ARRAY_H

#include "postgres.h"

#include "utils/array.h"

typedef struct RealArray
{
	int			n;
	const float *values;		/* 0 where null */
	const bool *nulls;			/* NULL: none */
} RealArray;

/*
 * All elements in order, whatever the dimensions; NaN and infinity are errors
 * that call the array by its name.
 */
extern RealArray real_array(ArrayType *array, const char *name);

/* Of one dimension; an empty array has none and passes. */
extern RealArray real_vector(ArrayType *array, const char *name);

#endif							/* RECSYS_METRICS_REAL_ARRAY_H */
