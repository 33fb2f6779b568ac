/*
 * counts.c
 *	  Adding up the states of counting aggregates, and their results.
 *
 * Every state is a bigint array (counts.h).  Shares are hits / trials; without
 * trials there is no share, and the result is null.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "metrics/counts.h"
#include "numeric/statistics.h"

/* Two-sided, of the intervals that aggregates return. */
#define INTERVAL_CONFIDENCE	0.95

PG_FUNCTION_INFO_V1(recsys_counts_combine);
PG_FUNCTION_INFO_V1(recsys_counts_rate);
PG_FUNCTION_INFO_V1(recsys_counts_interval);
PG_FUNCTION_INFO_V1(recsys_counts_net_score);

static Counts
counts_of(ArrayType *array, int n)
{
	if (array == NULL || ARR_NDIM(array) != 1 || ARR_HASNULL(array) || ARR_ELEMTYPE(array) != INT8OID ||
		(n > 0 && ARR_DIMS(array)[0] != n))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("not the state of an aggregate of recsys"),
				errhint("This function is part of an aggregate: call the aggregate instead."));
	return (Counts) {array, (int64 *) ARR_DATA_PTR(array), ARR_DIMS(array)[0]};
}

/* Only an aggregate's own state may be changed where it is. */
Counts
counts_argument(FunctionCallInfo fcinfo, int n)
{
	return counts_of(PG_ARGISNULL(0) ? NULL :
					 AggCheckCallContext(fcinfo, NULL) ? PG_GETARG_ARRAYTYPE_P(0) :
					 PG_GETARG_ARRAYTYPE_P_COPY(0), n);
}

Datum
recsys_counts_combine(PG_FUNCTION_ARGS)
{
	Counts		sum = counts_argument(fcinfo, 0),
				part = counts_of(PG_GETARG_ARRAYTYPE_P(1), sum.n);

	for (int i = 0; i < sum.n; i++)
		sum.values[i] += part.values[i];
	PG_RETURN_ARRAYTYPE_P(sum.array);
}

Datum
recsys_counts_rate(PG_FUNCTION_ARGS)
{
	Counts		counts = counts_of(PG_GETARG_ARRAYTYPE_P(0), 2);

	if (counts.values[COUNT_TRIALS] == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8((double) counts.values[COUNT_HITS] / counts.values[COUNT_TRIALS]);
}

/* The row type of results, looked up once per query. */
static TupleDesc
result_type(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		TupleDesc	desc;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != 3)
			elog(ERROR, "the result of an interval is no row of three");
		fcinfo->flinfo->fn_extra = BlessTupleDesc(desc);
		MemoryContextSwitchTo(before);
	}
	return fcinfo->flinfo->fn_extra;
}

/* More clicks than impressions are no share of them, and have no interval. */
Datum
recsys_counts_interval(PG_FUNCTION_ARGS)
{
	Counts		counts = counts_of(PG_GETARG_ARRAYTYPE_P(0), 2);
	double		trials = counts.values[COUNT_TRIALS],
				hits = counts.values[COUNT_HITS],
				lower,
				upper;
	Datum		values[3] = {0};
	bool		nulls[3] = {false, hits > trials, hits > trials};

	if (trials == 0)
		PG_RETURN_NULL();
	values[0] = Float8GetDatum(hits / trials);
	if (hits <= trials)
	{
		wilson_interval(hits, trials, normal_z(1 - INTERVAL_CONFIDENCE), &lower, &upper);
		values[1] = Float8GetDatum(lower);
		values[2] = Float8GetDatum(upper);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(result_type(fcinfo), values, nulls)));
}

Datum
recsys_counts_net_score(PG_FUNCTION_ARGS)
{
	Counts		counts = counts_of(PG_GETARG_ARRAYTYPE_P(0), 3);
	int64		net = counts.values[COUNT_HITS] - counts.values[COUNT_AGAINST];

	if (counts.values[COUNT_TRIALS] == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(100.0 * net / counts.values[COUNT_TRIALS]);
}
