/*
 * intervals.c
 *	  Wilson's interval of a share, tests whether samples differ, and how large
 *	  they must be to tell.
 *
 * numeric/statistics.h has the formulas.  What the formula does not define is
 * null; what can not be a count or a moment of a sample is an error.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "numeric/statistics.h"
#include "utils/array.h"

PG_FUNCTION_INFO_V1(recsys_wilson_lower);
PG_FUNCTION_INFO_V1(recsys_wilson_upper);
PG_FUNCTION_INFO_V1(recsys_two_proportion_p);
PG_FUNCTION_INFO_V1(recsys_welch_p);
PG_FUNCTION_INFO_V1(recsys_chi_square_p);
PG_FUNCTION_INFO_V1(recsys_sample_ratio_p);
PG_FUNCTION_INFO_V1(recsys_sample_size);

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

/* chi_square_p(statistic, degrees) */
Datum
recsys_chi_square_p(PG_FUNCTION_ARGS)
{
	double		statistic = PG_GETARG_FLOAT8(0),
				degrees = PG_GETARG_FLOAT8(1);

	if (!(statistic >= 0) || !(degrees > 0))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("there is no chi square of %g with %g degrees of freedom", statistic, degrees),
				errhint("A sum of squares is not negative, and there is at least one degree of freedom."));
	return p_or_null(fcinfo, chi_square_p(statistic, degrees));
}

/* The elements of a list without nulls, of a type of 8 bytes that is passed by value. */
static Datum *
list_argument(FunctionCallInfo fcinfo, int argno, Oid type, const char *name, int *n)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(argno);
	Datum	   *values;

	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s must be a list without NULL", name),
				errhint("Leave such elements out."));
	deconstruct_array(array, type, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, NULL, n);
	return values;
}

static double *
shares_argument(FunctionCallInfo fcinfo, int argno, int n)
{
	double	   *shares = palloc(sizeof(double) * Max(n, 1));
	Datum	   *values;
	int			given = n;

	if (PG_ARGISNULL(argno))
	{
		for (int i = 0; i < n; i++)
			shares[i] = 1;
		return shares;
	}
	values = list_argument(fcinfo, argno, FLOAT8OID, "shares", &given);
	if (given != n)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("there are %d counts, but %d shares", n, given),
				errhint("Give one share for each count."));
	for (int i = 0; i < n; i++)
	{
		shares[i] = DatumGetFloat8(values[i]);
		if (!isfinite(shares[i]) || shares[i] < 0)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("%g is no share", shares[i]),
					errhint("Shares are finite and not negative."));
	}
	return shares;
}

/* sample_ratio_p(observed, shares) */
Datum
recsys_sample_ratio_p(PG_FUNCTION_ARGS)
{
	Datum	   *values;
	double	   *observed,
			   *shares;
	int			n;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	values = list_argument(fcinfo, 0, INT8OID, "observed", &n);
	shares = shares_argument(fcinfo, 1, n);
	observed = palloc(sizeof(double) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		observed[i] = (double) DatumGetInt64(values[i]);
		if (observed[i] < 0)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("count is negative: %g", observed[i]),
					errhint("Pass counts, such as count(*)."));
	}
	return p_or_null(fcinfo, sample_ratio_p(observed, shares, n));
}

static void
check_between(const char *name, double value, double lower, double upper)
{
	if (!(value > lower && value < upper))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s %g is not between %g and %g", name, value, lower, upper),
				errhint("Pass for example significance => 0.05, power => 0.8."));
}

/* sample_size(rate, lift, significance, power) */
Datum
recsys_sample_size(PG_FUNCTION_ARGS)
{
	double		rate = PG_GETARG_FLOAT8(0),
				changed = rate * (1 + PG_GETARG_FLOAT8(1)),
				trials;

	check_between("significance", PG_GETARG_FLOAT8(2), 0, 1);
	check_between("power", PG_GETARG_FLOAT8(3), 0.5, 1);
	if (!(rate >= 0 && rate <= 1 && changed >= 0 && changed <= 1))
		PG_RETURN_NULL();
	trials = ceil(two_proportion_trials(rate, changed, PG_GETARG_FLOAT8(2), PG_GETARG_FLOAT8(3)));
	if (!(trials < 9e18))
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) trials);
}
