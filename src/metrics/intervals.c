/*
 * intervals.c
 *	  Wilson's interval of a share, and tests whether two samples differ.
 *
 * numeric/statistics.h has the formulas.  What the formula does not define is
 * null; what can not be a count or a moment of a sample is an error.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "numeric/statistics.h"

PG_FUNCTION_INFO_V1(recsys_wilson_lower);
PG_FUNCTION_INFO_V1(recsys_wilson_upper);
PG_FUNCTION_INFO_V1(recsys_two_proportion_p);
PG_FUNCTION_INFO_V1(recsys_welch_p);

/* successes and trials, arguments i and i + 1 */
static void
check_counts(FunctionCallInfo fcinfo, int i)
{
	int64		successes = PG_GETARG_INT64(i),
				trials = PG_GETARG_INT64(i + 1);

	if (trials < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("number of trials is negative: %lld", (long long) trials),
				errhint("Pass counts, such as count(*)."));
	if (successes < 0 || successes > trials)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%lld successes are not within 0 and %lld, the number of trials",
					   (long long) successes, (long long) trials),
				errhint("Successes come first, and are some of the trials; where one trial can succeed more than once, count it once."));
}

/* -1 for the lower end, 1 for the upper one */
static Datum
wilson_end(FunctionCallInfo fcinfo, int end)
{
	double		confidence = PG_GETARG_FLOAT8(2),
				lower,
				upper;

	if (!(confidence > 0 && confidence < 1))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("confidence %g is not between 0 and 1", confidence),
				errhint("Pass a share, such as 0.95 for 95 %%."));
	check_counts(fcinfo, 0);
	if (PG_GETARG_INT64(1) == 0)
		PG_RETURN_NULL();
	wilson_interval(PG_GETARG_INT64(0), PG_GETARG_INT64(1), normal_z(1 - confidence), &lower, &upper);
	PG_RETURN_FLOAT8(end < 0 ? lower : upper);
}

Datum
recsys_wilson_lower(PG_FUNCTION_ARGS)
{
	return wilson_end(fcinfo, -1);
}

Datum
recsys_wilson_upper(PG_FUNCTION_ARGS)
{
	return wilson_end(fcinfo, 1);
}

static Datum
p_or_null(FunctionCallInfo fcinfo, double p)
{
	if (isnan(p))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(p);
}

Datum
recsys_two_proportion_p(PG_FUNCTION_ARGS)
{
	check_counts(fcinfo, 0);
	check_counts(fcinfo, 2);
	if (PG_GETARG_INT64(1) == 0 || PG_GETARG_INT64(3) == 0)
		PG_RETURN_NULL();
	return p_or_null(fcinfo, two_proportion_p(PG_GETARG_INT64(0), PG_GETARG_INT64(1),
											  PG_GETARG_INT64(2), PG_GETARG_INT64(3)));
}

/* mean, variance and size of a sample, arguments i to i + 2 */
static void
check_sample(FunctionCallInfo fcinfo, int i)
{
	double		mean = PG_GETARG_FLOAT8(i),
				variance = PG_GETARG_FLOAT8(i + 1);
	int64		n = PG_GETARG_INT64(i + 2);

	if (!isfinite(mean))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("mean of a sample is not finite"),
				errhint("Leave NaN and infinity out of the sample."));
	if (!isfinite(variance) || variance < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%g is no variance", variance),
				errhint("Pass var_samp(...) of the sample, the square of its standard deviation."));
	if (n < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("size of a sample is negative: %lld", (long long) n),
				errhint("Pass count(*) of the sample."));
}

Datum
recsys_welch_p(PG_FUNCTION_ARGS)
{
	check_sample(fcinfo, 0);
	check_sample(fcinfo, 3);
	if (PG_GETARG_INT64(2) < 2 || PG_GETARG_INT64(5) < 2)
		PG_RETURN_NULL();
	return p_or_null(fcinfo, welch_p(PG_GETARG_FLOAT8(0), PG_GETARG_FLOAT8(1), PG_GETARG_INT64(2),
									 PG_GETARG_FLOAT8(3), PG_GETARG_FLOAT8(4), PG_GETARG_INT64(5)));
}
