/*
 * similarity_sums.c
 *	  cosine_agg() and pearson_agg(): similarity of two columns.
 *
 * The state is a row of exact sums (numeric/exact_sum.h), so that the result is
 * the same to the last bit in whatever order rows come, in how many workers, and
 * in a window that moved to where it is: sums of doubles would keep the rounding
 * of every row that has left, of 1e20 for example all of what came with it.
 */
#include "postgres.h"

#include <math.h>

#include "compat.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "numeric/exact_sum.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(recsys_cosine_accum);
PG_FUNCTION_INFO_V1(recsys_cosine_accum_inv);
PG_FUNCTION_INFO_V1(recsys_cosine_final);
PG_FUNCTION_INFO_V1(recsys_pearson_accum);
PG_FUNCTION_INFO_V1(recsys_pearson_accum_inv);
PG_FUNCTION_INFO_V1(recsys_pearson_final);
PG_FUNCTION_INFO_V1(recsys_sums_combine);
PG_FUNCTION_INFO_V1(recsys_sums_serialize);
PG_FUNCTION_INFO_V1(recsys_sums_deserialize);

enum
{
	SUM_AB,
	SUM_AA,
	SUM_BB,
	SUMS_OF_COSINE,
	SUM_A = SUMS_OF_COSINE,
	SUM_B,
	SUMS_OF_PEARSON
};

typedef struct SumsState
{
	int64		pairs;			/* rows with both */
	int			nsums;
	ExactSum	sums[FLEXIBLE_ARRAY_MEMBER];
} SumsState;

static MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "called outside an aggregate");
	return context;
}

static Size
state_size(int nsums)
{
	return offsetof(SumsState, sums) + sizeof(ExactSum) * nsums;
}

static SumsState *
new_state(MemoryContext context, int nsums)
{
	SumsState  *state = MemoryContextAllocZero(context, state_size(nsums));

	state->nsums = nsums;
	return state;
}

static SumsState *
state_argument(FunctionCallInfo fcinfo, int nsums)
{
	MemoryContext context = aggregate_context(fcinfo);

	return PG_ARGISNULL(0) ? new_state(context, nsums) : (SumsState *) PG_GETARG_POINTER(0);
}

/* Arguments 1 and 2, a and b; 0 for a null. */
static double
value_argument(FunctionCallInfo fcinfo, int i)
{
	float		value = PG_ARGISNULL(i) ? 0 : PG_GETARG_FLOAT4(i);

	if (!isfinite(value))
		ereport(ERROR,
				errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("argument \"%s\" is %s", i == 1 ? "a" : "b",
					   isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity"),
				errhint("Make it NULL if there is no value, or leave the row out by FILTER (WHERE ...)."));
	return value;
}

/* sign: 1 for a row that comes, -1 for one that leaves */
static Datum
cosine_add(FunctionCallInfo fcinfo, int sign)
{
	SumsState  *state = state_argument(fcinfo, SUMS_OF_COSINE);
	double		a = value_argument(fcinfo, 1),
				b = value_argument(fcinfo, 2);

	exact_sum_add(&state->sums[SUM_AB], sign * a * b);
	exact_sum_add(&state->sums[SUM_AA], sign * a * a);
	exact_sum_add(&state->sums[SUM_BB], sign * b * b);
	PG_RETURN_POINTER(state);
}

static Datum
pearson_add(FunctionCallInfo fcinfo, int sign)
{
	SumsState  *state = state_argument(fcinfo, SUMS_OF_PEARSON);
	double		a = value_argument(fcinfo, 1),
				b = value_argument(fcinfo, 2);

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_POINTER(state);
	state->pairs += sign;
	exact_sum_add(&state->sums[SUM_AB], sign * a * b);
	exact_sum_add(&state->sums[SUM_AA], sign * a * a);
	exact_sum_add(&state->sums[SUM_BB], sign * b * b);
	exact_sum_add(&state->sums[SUM_A], sign * a);
	exact_sum_add(&state->sums[SUM_B], sign * b);
	PG_RETURN_POINTER(state);
}

Datum
recsys_cosine_accum(PG_FUNCTION_ARGS)
{
	return cosine_add(fcinfo, 1);
}

Datum
recsys_cosine_accum_inv(PG_FUNCTION_ARGS)
{
	return cosine_add(fcinfo, -1);
}

Datum
recsys_pearson_accum(PG_FUNCTION_ARGS)
{
	return pearson_add(fcinfo, 1);
}

Datum
recsys_pearson_accum_inv(PG_FUNCTION_ARGS)
{
	return pearson_add(fcinfo, -1);
}

Datum
recsys_sums_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	SumsState  *state = PG_ARGISNULL(0) ? NULL : (SumsState *) PG_GETARG_POINTER(0),
			   *part = PG_ARGISNULL(1) ? NULL : (SumsState *) PG_GETARG_POINTER(1);

	if (part == NULL && state == NULL)
		PG_RETURN_NULL();
	if (part == NULL)
		PG_RETURN_POINTER(state);
	if (state == NULL)
		state = new_state(context, part->nsums);
	state->pairs += part->pairs;
	for (int i = 0; i < state->nsums; i++)
		exact_sum_merge(&state->sums[i], &part->sums[i]);
	PG_RETURN_POINTER(state);
}

Datum
recsys_sums_serialize(PG_FUNCTION_ARGS)
{
	SumsState  *state = (SumsState *) PG_GETARG_POINTER(0);
	StringInfoData out;

	aggregate_context(fcinfo);
	pq_begintypsend(&out);
	pq_sendint64(&out, state->pairs);
	pq_sendint32(&out, state->nsums);
	for (int i = 0; i < state->nsums; i++)
	{
		exact_sum_carry(&state->sums[i]);
		for (int d = 0; d < EXACT_SUM_DIGITS; d++)
			pq_sendint64(&out, state->sums[i].digits[d]);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&out));
}

Datum
recsys_sums_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData in;
	SumsState  *state;
	int64		pairs;

	aggregate_context(fcinfo);
	initStringInfo(&in);
	appendBinaryStringInfo(&in, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	pairs = pq_getmsgint64(&in);
	state = new_state(CurrentMemoryContext, pq_getmsgint(&in, 4));
	state->pairs = pairs;
	for (int i = 0; i < state->nsums; i++)
		for (int d = 0; d < EXACT_SUM_DIGITS; d++)
			state->sums[i].digits[d] = pq_getmsgint64(&in);
	pq_getmsgend(&in);
	PG_RETURN_POINTER(state);
}

static Datum
similarity_or_null(FunctionCallInfo fcinfo, double similarity)
{
	if (isnan(similarity))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(similarity);
}

Datum
recsys_cosine_final(PG_FUNCTION_ARGS)
{
	SumsState  *s = PG_ARGISNULL(0) ? NULL : (SumsState *) PG_GETARG_POINTER(0);

	aggregate_context(fcinfo);
	if (s == NULL)
		PG_RETURN_NULL();
	return similarity_or_null(fcinfo, cosine_of_sums(&s->sums[SUM_AB], &s->sums[SUM_AA], &s->sums[SUM_BB]));
}

Datum
recsys_pearson_final(PG_FUNCTION_ARGS)
{
	SumsState  *s = PG_ARGISNULL(0) ? NULL : (SumsState *) PG_GETARG_POINTER(0);

	aggregate_context(fcinfo);
	if (s == NULL)
		PG_RETURN_NULL();
	return similarity_or_null(fcinfo, correlation_of_sums(s->pairs, &s->sums[SUM_A], &s->sums[SUM_B],
														  &s->sums[SUM_AB], &s->sums[SUM_AA], &s->sums[SUM_BB]));
}
