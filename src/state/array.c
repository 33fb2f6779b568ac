/*
 * array.c
 *	  Making arrays, see array.h.  construct_array() takes every element as a
 *	  Datum; ours lie next to each other already.
 */
#include "postgres.h"

#include "utils/array.h"

#include "state/array.h"

Datum
array_datum(const void *elements, int n, int width, Oid element)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + (Size) width * n;
	ArrayType  *array;

	if (n == 0)
		return PointerGetDatum(construct_empty_array(element));
	array = palloc0(size);
	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->elemtype = element;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	memcpy(ARR_DATA_PTR(array), elements, (Size) width * n);
	return PointerGetDatum(array);
}
