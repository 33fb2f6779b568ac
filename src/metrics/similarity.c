/*
 * similarity.c
 *	  Similarity of two arrays: cosine, Pearson's correlation, Jaccard.
 *
 * A null in a vector means "not rated".  The cosine takes the dot product over
 * what both have, and each norm over all that side has, the formula of
 * Papagelis 2005 by which item_knn works too; the correlation looks at nothing
 * but what both have.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "metrics/datum_bag.h"
#include "metrics/real_array.h"
#include "numeric/exact_sum.h"

PG_FUNCTION_INFO_V1(recsys_cosine_similarity);
PG_FUNCTION_INFO_V1(recsys_pearson);
PG_FUNCTION_INFO_V1(recsys_jaccard);

typedef struct Vectors
{
	int			n;
	RealArray	a;
	RealArray	b;
} Vectors;

static Vectors
vector_arguments(FunctionCallInfo fcinfo)
{
	Vectors		v;

	v.a = real_vector(PG_GETARG_ARRAYTYPE_P(0), "a");
	v.b = real_vector(PG_GETARG_ARRAYTYPE_P(1), "b");
	if (v.a.n != v.b.n)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("different numbers of elements: %d and %d", v.a.n, v.b.n),
				errhint("The same place in both arrays stands for the same item; fill places without a value with NULL."));
	v.n = v.a.n;
	return v;
}

/*
 * Nulls are 0, which adds to no sum.  Products of floats are exact in a double
 * and their sums are far from its limits, so plain sums are good to 2^-53 times their length.
 */
Datum
recsys_cosine_similarity(PG_FUNCTION_ARGS)
{
	Vectors		v = vector_arguments(fcinfo);
	double		dot = 0,
				aa = 0,
				bb = 0,
				cosine;

	for (int i = 0; i < v.n; i++)
	{
		double		a = v.a.values[i],
					b = v.b.values[i];

		dot += a * b;
		aa += a * a;
		bb += b * b;
	}
	if (aa == 0 || bb == 0)
		PG_RETURN_NULL();
	cosine = dot / sqrt(aa * bb);
	PG_RETURN_FLOAT8(Max(-1.0, Min(1.0, cosine)));
}

Datum
recsys_pearson(PG_FUNCTION_ARGS)
{
	Vectors		v = vector_arguments(fcinfo);
	ExactSum	a = {0},
				b = {0},
				ab = {0},
				aa = {0},
				bb = {0};
	int64		n = 0;
	double		r;

	for (int i = 0; i < v.n; i++)
	{
		double		x = v.a.values[i],
					y = v.b.values[i];

		if ((v.a.nulls && v.a.nulls[i]) || (v.b.nulls && v.b.nulls[i]))
			continue;
		n++;
		exact_sum_add(&a, x);
		exact_sum_add(&b, y);
		exact_sum_add(&ab, x * y);
		exact_sum_add(&aa, x * x);
		exact_sum_add(&bb, y * y);
	}
	r = correlation_of_sums(n, &a, &b, &ab, &aa, &bb);
	if (isnan(r))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(r);
}

Datum
recsys_jaccard(PG_FUNCTION_ARGS)
{
	ArrayType  *a = PG_GETARG_ARRAYTYPE_P(0),
			   *b = PG_GETARG_ARRAYTYPE_P(1);
	Oid			type = ARR_ELEMTYPE(a);
	DatumBag   *of_a = bag_create(CurrentMemoryContext, type, PG_GET_COLLATION(), "elements"),
			   *of_b = bag_create(CurrentMemoryContext, type, PG_GET_COLLATION(), "elements");
	int64		sizes,
				both;

	bag_add_array(of_a, a);
	bag_add_array(of_b, b);
	sizes = bag_size(of_a) + bag_size(of_b);
	if (sizes == 0)
		PG_RETURN_NULL();
	bag_merge(of_a, of_b);		/* now the union */
	both = sizes - bag_size(of_a);
	PG_RETURN_FLOAT8((double) both / bag_size(of_a));
}
