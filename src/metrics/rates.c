/*
 * rates.c
 *	  Transition functions of ctr(), cvr(), rate() and their kin, forth and back.
 *
 * Each comes in two: _accum counts a row, _accum_inv takes it out again when it
 * leaves a moving window.  Counts are whole numbers, so nothing drifts.  All but
 * ratio are strict: rows with a null do not come here.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "metrics/counts.h"
#include "utils/builtins.h"

/* The scale of nps, and where its groups begin (Reichheld 2003). */
#define NPS_LOWEST		0
#define NPS_HIGHEST		10
#define NPS_PROMOTER	9
#define NPS_DETRACTOR	6

/* A pair of functions: a row comes in, and goes. */
#define ACCUMULATE(name) \
PG_FUNCTION_INFO_V1(recsys_##name##_accum); \
PG_FUNCTION_INFO_V1(recsys_##name##_accum_inv); \
Datum \
recsys_##name##_accum(PG_FUNCTION_ARGS) \
{ \
	return name##_count(fcinfo, 1); \
} \
Datum \
recsys_##name##_accum_inv(PG_FUNCTION_ARGS) \
{ \
	return name##_count(fcinfo, -1); \
}

/* ------------------------------------------------------------ event types */

/* Types are compared byte by byte: no collation, and case matters. */
static inline bool
is_type(const text *type, const char *name, size_t length)
{
	return VARSIZE_ANY_EXHDR(type) == length && memcmp(VARDATA_ANY(type), name, length) == 0;
}

#define IS_TYPE(type, name)	is_type((type), "" name, sizeof(name) - 1)

static Datum
ctr_count(FunctionCallInfo fcinfo, int rows)
{
	Counts		counts = counts_argument(fcinfo, 2);
	text	   *type = PG_GETARG_TEXT_PP(1);

	if (IS_TYPE(type, "impression"))
		counts.values[COUNT_TRIALS] += rows;
	else if (IS_TYPE(type, "click"))
		counts.values[COUNT_HITS] += rows;
	PG_RETURN_ARRAYTYPE_P(counts.array);
}

ACCUMULATE(ctr)

static Datum
cvr_count(FunctionCallInfo fcinfo, int rows)
{
	Counts		counts = counts_argument(fcinfo, 2);
	text	   *type = PG_GETARG_TEXT_PP(1);

	if (IS_TYPE(type, "click"))
		counts.values[COUNT_TRIALS] += rows;
	else if (IS_TYPE(type, "purchase") || IS_TYPE(type, "conversion"))
		counts.values[COUNT_HITS] += rows;
	PG_RETURN_ARRAYTYPE_P(counts.array);
}

ACCUMULATE(cvr)

/* ---------------------------------------------------------------- booleans */

/* (is a trial, is a hit): rows of their own, or both of one row */
static Datum
ratio_count(FunctionCallInfo fcinfo, int rows)
{
	Counts		counts = counts_argument(fcinfo, 2);

	if (!PG_ARGISNULL(1) && PG_GETARG_BOOL(1))
		counts.values[COUNT_TRIALS] += rows;
	if (!PG_ARGISNULL(2) && PG_GETARG_BOOL(2))
		counts.values[COUNT_HITS] += rows;
	PG_RETURN_ARRAYTYPE_P(counts.array);
}

ACCUMULATE(ratio)

/* (success): every row that is not null is a trial */
static Datum
rate_count(FunctionCallInfo fcinfo, int rows)
{
	Counts		counts = counts_argument(fcinfo, 2);

	counts.values[COUNT_TRIALS] += rows;
	counts.values[COUNT_HITS] += PG_GETARG_BOOL(1) ? rows : 0;
	PG_RETURN_ARRAYTYPE_P(counts.array);
}

ACCUMULATE(rate)

/* ----------------------------------------------------------------- ratings */

static double
finite_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	double		value = PG_GETARG_FLOAT8(i);

	if (!isfinite(value))
		ereport(ERROR,
				errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("%s is %s", name, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity"),
				errhint("Leave such rows out by FILTER (WHERE ...), or make the %s NULL.", name));
	return value;
}

static Datum
csat_count(FunctionCallInfo fcinfo, int rows)
{
	Counts		counts = counts_argument(fcinfo, 2);
	double		rating = finite_argument(fcinfo, 1, "rating"),
				threshold = finite_argument(fcinfo, 2, "threshold");

	counts.values[COUNT_TRIALS] += rows;
	counts.values[COUNT_HITS] += rating >= threshold ? rows : 0;
	PG_RETURN_ARRAYTYPE_P(counts.array);
}

ACCUMULATE(csat)

static Datum
nps_count(FunctionCallInfo fcinfo, int rows)
{
	Counts		counts = counts_argument(fcinfo, 3);
	double		rating = finite_argument(fcinfo, 1, "rating");

	if (rating < NPS_LOWEST || rating > NPS_HIGHEST)
		ereport(ERROR,
				errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("rating %g is not within %d and %d", rating, NPS_LOWEST, NPS_HIGHEST),
				errhint("The net promoter score is defined on a scale of 0 to 10: leave other ratings out by FILTER (WHERE ...), or use recsys.csat for another scale."));
	counts.values[COUNT_TRIALS] += rows;
	if (rating >= NPS_PROMOTER)
		counts.values[COUNT_HITS] += rows;
	else if (rating <= NPS_DETRACTOR)
		counts.values[COUNT_AGAINST] += rows;
	PG_RETURN_ARRAYTYPE_P(counts.array);
}

ACCUMULATE(nps)
