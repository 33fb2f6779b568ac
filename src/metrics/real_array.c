/*
 * real_array.c
 *	  See real_array.h.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "metrics/real_array.h"

static RealArray
expand(ArrayType *array)
{
	Datum	   *elements;
	RealArray	result;
	float	   *values;
	bool	   *nulls;

	deconstruct_array(array, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT,
					  &elements, &nulls, &result.n);
	values = palloc(sizeof(float) * Max(result.n, 1));
	for (int i = 0; i < result.n; i++)
		values[i] = nulls[i] ? 0 : DatumGetFloat4(elements[i]);
	result.values = values;
	result.nulls = nulls;
	return result;
}

RealArray
real_array(ArrayType *array, const char *name)
{
	RealArray	result;

	Assert(ARR_ELEMTYPE(array) == FLOAT4OID);
	if (ARR_HASNULL(array))
		result = expand(array);
	else
		result = (RealArray) {ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)),
		(const float *) ARR_DATA_PTR(array), NULL};
	for (int i = 0; i < result.n; i++)
		if (unlikely(!isfinite(result.values[i])))
			ereport(ERROR,
					errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					errmsg("element %d of array \"%s\" is %s", i + 1, name,
						   isnan(result.values[i]) ? "NaN" : result.values[i] > 0 ? "Infinity" : "-Infinity"),
					errhint("Make it NULL if there is no value."));
	return result;
}

RealArray
real_vector(ArrayType *array, const char *name)
{
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("array \"%s\" has %d dimensions", name, ARR_NDIM(array)),
				errhint("Pass an array of one dimension."));
	return real_array(array, name);
}
