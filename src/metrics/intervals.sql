/*
 * intervals.sql
 *	  How sure a rate is, and whether two samples differ by more than chance.
 */

CREATE FUNCTION recsys.wilson_lower(
	successes bigint,
	trials bigint,
	confidence double precision = 0.95)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_wilson_lower';
COMMENT ON FUNCTION recsys.wilson_lower IS
	'lower end of the Wilson score interval of p = successes / trials: (p + z^2/2n - z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n), z the normal quantile of the confidence (1.96 for 0.95); NULL without trials. Sorting by it ranks rates so that few trials do not win by luck';

CREATE FUNCTION recsys.wilson_upper(
	successes bigint,
	trials bigint,
	confidence double precision = 0.95)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_wilson_upper';
COMMENT ON FUNCTION recsys.wilson_upper IS
	'upper end of the Wilson score interval of p = successes / trials: (p + z^2/2n + z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n), z the normal quantile of the confidence (1.96 for 0.95); NULL without trials';

CREATE FUNCTION recsys.two_proportion_p(
	successes_a bigint,
	trials_a bigint,
	successes_b bigint,
	trials_b bigint)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_two_proportion_p';
COMMENT ON FUNCTION recsys.two_proportion_p IS
	'two-sided p-value of the two-proportion z test, pooled: how likely rates at least so far apart are if both are the same; z = (pa - pb) / sqrt(p (1 - p) (1/na + 1/nb)), p of both together. NULL without trials on a side, or if none or all succeeded. An approximation: each side needs some 5 successes and 5 failures';

CREATE FUNCTION recsys.welch_p(
	mean_a double precision,
	variance_a double precision,
	n_a bigint,
	mean_b double precision,
	variance_b double precision,
	n_b bigint)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_welch_p';
COMMENT ON FUNCTION recsys.welch_p IS
	'two-sided p-value of the Welch t test, from avg(x), var_samp(x) and count(x) of each sample: how likely means at least so far apart are if both are the same, whatever the variances; t = (ma - mb) / sqrt(va/na + vb/nb), degrees of freedom by Welch and Satterthwaite. NULL with fewer than 2 values on a side, or if neither side varies';

CREATE FUNCTION recsys.chi_square_p(statistic double precision, degrees double precision)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_chi_square_p';
COMMENT ON FUNCTION recsys.chi_square_p IS
	'p-value of a chi-square statistic with so many degrees of freedom: how likely one at least so large is by chance';

CREATE FUNCTION recsys.sample_ratio_p(observed bigint[], shares double precision[] = NULL)
RETURNS double precision
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_sample_ratio_p';
COMMENT ON FUNCTION recsys.sample_ratio_p IS
	'p-value of the chi-square test that counts, such as the users of each variant, come in the given shares (equal ones if NULL; they need not sum to 1): sum((observed - expected)^2 / expected), one degree of freedom less than there are shares above 0. Below 0.001 the assignment or the counting is broken, and no other figure of the experiment can be trusted. NULL without observations';

CREATE FUNCTION recsys.sample_size(
	rate double precision,
	lift double precision,
	significance double precision = 0.05,
	power double precision = 0.8)
RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_sample_size';
COMMENT ON FUNCTION recsys.sample_size IS
	'trials that each of two variants needs so that the two-proportion test, at the significance given, finds a relative change of a rate by lift (0.05: 5 %) with the probability power: (z_a sqrt(2 p (1 - p)) + z_b sqrt(p1 (1 - p1) + p2 (1 - p2)))^2 / (p1 - p2)^2, p1 = rate, p2 = rate (1 + lift), p the mean of both. NULL if a rate is not within 0 and 1';
