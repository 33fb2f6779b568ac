/*
 * lists.c
 *	  What recommended lists are like beside accuracy: coverage, novelty,
 *	  intra-list diversity, and how unequally they treat the items (gini).
 *
 * numeric/list_shape.h has the formulas.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "metrics/datum_bag.h"
#include "metrics/real_array.h"
#include "miscadmin.h"
#include "numeric/list_shape.h"

PG_FUNCTION_INFO_V1(recsys_coverage);
PG_FUNCTION_INFO_V1(recsys_novelty);
PG_FUNCTION_INFO_V1(recsys_intra_list_diversity);
PG_FUNCTION_INFO_V1(recsys_gini);

static Datum
value_or_null(FunctionCallInfo fcinfo, double value)
{
	if (isnan(value))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(value);
}

Datum
recsys_coverage(PG_FUNCTION_ARGS)
{
	ArrayType  *recommended = PG_GETARG_ARRAYTYPE_P(0),
			   *catalog = PG_GETARG_ARRAYTYPE_P(1);
	Oid			type = ARR_ELEMTYPE(catalog);
	DatumBag   *shown = bag_create(CurrentMemoryContext, type, PG_GET_COLLATION(), "items"),
			   *all = bag_create(CurrentMemoryContext, type, PG_GET_COLLATION(), "items");
	int64		ncatalog,
				nshown;

	bag_add_array(all, catalog);
	ncatalog = bag_size(all);
	if (ncatalog == 0)
		PG_RETURN_NULL();
	bag_add_array(shown, recommended);
	nshown = bag_size(shown);
	bag_merge(all, shown);		/* grows by what is not in the catalogue */
	PG_RETURN_FLOAT8((double) (nshown - (bag_size(all) - ncatalog)) / ncatalog);
}

Datum
recsys_novelty(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int64		total = PG_GETARG_INT64(1);
	Datum	   *elements;
	bool	   *nulls;
	int64	   *users;
	int			n,
				known = 0;

	if (total <= 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("total number of users must be positive, not %lld", (long long) total),
				errhint("Pass the number of all users."));
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, &nulls, &n);
	users = palloc(sizeof(int64) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			continue;
		users[known] = DatumGetInt64(elements[i]);
		if (users[known] < 0 || users[known] > total)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("%lld users of an item are not within 0 and %lld, the number of all users",
						   (long long) users[known], (long long) total),
					errhint("Pass for each recommended item the number of different users who have it."));
		known++;
	}
	return value_or_null(fcinfo, novelty(users, known, total));
}

/* One row of a two-dimensional array is one item's vector. */
Datum
recsys_intra_list_diversity(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	RealArray	vectors;
	int			dim;

	if (ARR_NDIM(array) == 0)
		PG_RETURN_NULL();
	if (ARR_NDIM(array) != 2)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("vectors are not an array of two dimensions, but of %d", ARR_NDIM(array)),
				errhint("Pass a vector for each item of the list, such as array_agg(factors)."));
	vectors = real_array(array, "vectors");
	dim = ARR_DIMS(array)[1];
	return value_or_null(fcinfo, diversity(vectors.values, ARR_DIMS(array)[0], dim,
										   palloc(sizeof(double) * dim)));
}

static int
ascending(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return (x > y) - (x < y);
}

Datum
recsys_gini(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	Datum	   *elements;
	bool	   *nulls;
	double	   *values;
	int			n,
				known = 0;

	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, &nulls, &n);
	values = palloc_extended(sizeof(double) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			continue;
		values[known] = DatumGetFloat8(elements[i]);
		if (!isfinite(values[known]) || values[known] < 0)
			ereport(ERROR,
					errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					errmsg("value %g is not finite and at least 0", values[known]),
					errhint("Pass for each item how often it was recommended, 0 if never."));
		known++;
	}
	qsort(values, known, sizeof(double), ascending);
	return value_or_null(fcinfo, gini_of_sorted(values, known));
}
