/*
 * aov.c
 *	  Average order value: sum of values / number of different orders.
 *
 * An order may have several rows (one for each item in it), which add up, and
 * counts once.  Both parts are exact: values are added and taken out again as
 * numeric, orders are counted by row in a bag, and so are the scales of values:
 * the result is sum(order_value) / count(DISTINCT order_id) to the last digit that
 * PostgreSQL would show, in a moving window too.  Rows with a null value or a null
 * order belong to no order that could be averaged, and do not count.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "metrics/datum_bag.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(recsys_aov_accum);
PG_FUNCTION_INFO_V1(recsys_aov_accum_inv);
PG_FUNCTION_INFO_V1(recsys_aov_combine);
PG_FUNCTION_INFO_V1(recsys_aov_serialize);
PG_FUNCTION_INFO_V1(recsys_aov_deserialize);
PG_FUNCTION_INFO_V1(recsys_aov_final);

#define WHAT	"orders"		/* in errors of the bag */

typedef struct AovState
{
	MemoryContext context;
	DatumBag   *orders;
	Numeric		revenue;
	Size		capacity;		/* bytes at revenue */
	int64	   *scales;			/* (nscales) rows whose value has so many decimals */
	int			nscales;
} AovState;

static MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "called outside an aggregate");
	return context;
}

static Numeric
calculate(PGFunction operation, Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(operation, NumericGetDatum(a), NumericGetDatum(b)));
}

/* Keeps a copy of the sum, in place where it fits. */
static void
set_revenue(AovState *state, Numeric revenue)
{
	Size		size = VARSIZE(revenue);

	if (size > state->capacity)
	{
		if (state->revenue)
			pfree(state->revenue);
		state->revenue = MemoryContextAlloc(state->context, size);
		state->capacity = size;
	}
	memcpy(state->revenue, revenue, size);
}

static void
count_scale(AovState *state, int scale, int64 rows)
{
	if (scale >= state->nscales)
	{
		int64	   *scales = MemoryContextAllocZero(state->context, sizeof(int64) * (scale + 1));

		if (state->scales)
		{
			memcpy(scales, state->scales, sizeof(int64) * state->nscales);
			pfree(state->scales);
		}
		state->scales = scales;
		state->nscales = scale + 1;
	}
	state->scales[scale] += rows;
}

static int
scale_of(Numeric value)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(value)));
}

static AovState *
new_state(MemoryContext context, DatumBag *orders)
{
	AovState   *state = MemoryContextAllocZero(context, sizeof(AovState));

	state->context = context;
	state->orders = orders;
	set_revenue(state, int64_to_numeric(0));
	return state;
}

static AovState *
state_argument(FunctionCallInfo fcinfo)
{
	MemoryContext context = aggregate_context(fcinfo);
	Oid			type;

	if (!PG_ARGISNULL(0))
		return (AovState *) PG_GETARG_POINTER(0);
	type = get_fn_expr_argtype(fcinfo->flinfo, 2);
	if (!OidIsValid(type))
		elog(ERROR, "the type of the orders is not known");
	return new_state(context, bag_create(context, type, PG_GET_COLLATION(), WHAT));
}

static bool
row_counts(FunctionCallInfo fcinfo)
{
	return !PG_ARGISNULL(1) && !PG_ARGISNULL(2);
}

Datum
recsys_aov_accum(PG_FUNCTION_ARGS)
{
	AovState   *state = state_argument(fcinfo);

	if (row_counts(fcinfo))
	{
		Numeric		value = PG_GETARG_NUMERIC(1);

		if (numeric_is_nan(value) || numeric_is_inf(value))
			ereport(ERROR,
					errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					errmsg("order value is %s", DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)))),
					errhint("Leave such rows out by FILTER (WHERE ...), or make the value NULL."));
		set_revenue(state, calculate(numeric_add, state->revenue, value));
		count_scale(state, scale_of(value), 1);
		bag_add(state->orders, PG_GETARG_DATUM(2), 1);
	}
	PG_RETURN_POINTER(state);
}

Datum
recsys_aov_accum_inv(PG_FUNCTION_ARGS)
{
	AovState   *state = state_argument(fcinfo);

	if (row_counts(fcinfo))
	{
		Numeric		value = PG_GETARG_NUMERIC(1);

		set_revenue(state, calculate(numeric_sub, state->revenue, value));
		count_scale(state, scale_of(value), -1);
		bag_remove(state->orders, PG_GETARG_DATUM(2));
	}
	PG_RETURN_POINTER(state);
}

Datum
recsys_aov_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	AovState   *state = PG_ARGISNULL(0) ? NULL : (AovState *) PG_GETARG_POINTER(0),
			   *part = PG_ARGISNULL(1) ? NULL : (AovState *) PG_GETARG_POINTER(1);

	if (part == NULL && state == NULL)
		PG_RETURN_NULL();
	if (part == NULL)
		PG_RETURN_POINTER(state);
	if (state == NULL)
		state = new_state(context, bag_create(context, bag_type(part->orders),
											  bag_collation(part->orders), WHAT));
	set_revenue(state, calculate(numeric_add, state->revenue, part->revenue));
	for (int i = 0; i < part->nscales; i++)
		count_scale(state, i, part->scales[i]);
	bag_merge(state->orders, part->orders);
	PG_RETURN_POINTER(state);
}

Datum
recsys_aov_serialize(PG_FUNCTION_ARGS)
{
	AovState   *state = (AovState *) PG_GETARG_POINTER(0);
	StringInfoData out;

	aggregate_context(fcinfo);
	pq_begintypsend(&out);
	pq_sendint32(&out, VARSIZE(state->revenue));
	pq_sendbytes(&out, (char *) state->revenue, VARSIZE(state->revenue));
	pq_sendint32(&out, state->nscales);
	for (int i = 0; i < state->nscales; i++)
		pq_sendint64(&out, state->scales[i]);
	bag_write(state->orders, &out);
	PG_RETURN_BYTEA_P(pq_endtypsend(&out));
}

Datum
recsys_aov_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData in;
	Numeric		revenue;
	int			size,
				nscales;
	int64	   *scales;
	AovState   *state;

	aggregate_context(fcinfo);
	initStringInfo(&in);
	appendBinaryStringInfo(&in, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	size = pq_getmsgint(&in, 4);
	revenue = palloc(size);
	pq_copymsgbytes(&in, (char *) revenue, size);
	nscales = pq_getmsgint(&in, 4);
	scales = palloc(sizeof(int64) * Max(nscales, 1));
	for (int i = 0; i < nscales; i++)
		scales[i] = pq_getmsgint64(&in);
	state = new_state(CurrentMemoryContext, bag_read(&in, CurrentMemoryContext, WHAT));
	state->scales = scales;
	state->nscales = nscales;
	set_revenue(state, revenue);
	pq_getmsgend(&in);
	PG_RETURN_POINTER(state);
}

/*
 * The sum has the largest scale that any row ever had, also of rows that left the
 * window; the scale of what is left decides how many digits the quotient gets.
 */
Datum
recsys_aov_final(PG_FUNCTION_ARGS)
{
	AovState   *state = PG_ARGISNULL(0) ? NULL : (AovState *) PG_GETARG_POINTER(0);
	int			scale;
	Datum		revenue,
				orders;

	aggregate_context(fcinfo);
	if (state == NULL || bag_size(state->orders) == 0)
		PG_RETURN_NULL();
	for (scale = state->nscales - 1; scale > 0 && state->scales[scale] == 0;)
		scale--;
	revenue = DirectFunctionCall2(numeric_round, NumericGetDatum(state->revenue), Int32GetDatum(scale));
	orders = NumericGetDatum(int64_to_numeric(bag_size(state->orders)));
	PG_RETURN_DATUM(DirectFunctionCall2(numeric_div, revenue, orders));
}
