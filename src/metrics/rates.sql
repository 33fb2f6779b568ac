/*
 * rates.sql
 *	  Rates of events and ratings, as aggregates over any table, over windows that
 *	  move in linear time, and in parallel.
 *
 * The state of each is bigint[]: trials, hits (, detractors).
 */

CREATE TYPE recsys.estimate AS (value double precision, lower double precision, upper double precision);
COMMENT ON TYPE recsys.estimate IS 'a rate with its 95 % interval';

CREATE FUNCTION recsys.counts_combine(bigint[], bigint[])
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_counts_combine';
COMMENT ON FUNCTION recsys.counts_combine IS 'part of aggregates: adds counts of two sets of rows';

CREATE FUNCTION recsys.counts_rate(bigint[])
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_counts_rate';
COMMENT ON FUNCTION recsys.counts_rate IS 'part of aggregates: hits / trials';

CREATE FUNCTION recsys.counts_interval(bigint[])
RETURNS recsys.estimate
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_counts_interval';
COMMENT ON FUNCTION recsys.counts_interval IS 'part of aggregates: hits / trials with the Wilson 95 % interval';

CREATE FUNCTION recsys.counts_net_score(bigint[])
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_counts_net_score';
COMMENT ON FUNCTION recsys.counts_net_score IS 'part of aggregates: 100 (hits - against) / trials';

CREATE FUNCTION recsys.ctr_accum(state bigint[], event_type text)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_ctr_accum';
COMMENT ON FUNCTION recsys.ctr_accum IS 'part of aggregates: counts an impression or a click';

CREATE FUNCTION recsys.ctr_accum_inv(state bigint[], event_type text)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_ctr_accum_inv';
COMMENT ON FUNCTION recsys.ctr_accum_inv IS 'part of aggregates: takes back what ctr_accum counted';

CREATE FUNCTION recsys.cvr_accum(state bigint[], event_type text)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_cvr_accum';
COMMENT ON FUNCTION recsys.cvr_accum IS 'part of aggregates: counts a click or a conversion';

CREATE FUNCTION recsys.cvr_accum_inv(state bigint[], event_type text)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_cvr_accum_inv';
COMMENT ON FUNCTION recsys.cvr_accum_inv IS 'part of aggregates: takes back what cvr_accum counted';

CREATE FUNCTION recsys.ratio_accum(state bigint[], is_trial boolean, is_hit boolean)
RETURNS bigint[]
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_ratio_accum';
COMMENT ON FUNCTION recsys.ratio_accum IS 'part of aggregates: counts a trial, a hit, or both';

CREATE FUNCTION recsys.ratio_accum_inv(state bigint[], is_trial boolean, is_hit boolean)
RETURNS bigint[]
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_ratio_accum_inv';
COMMENT ON FUNCTION recsys.ratio_accum_inv IS 'part of aggregates: takes back what ratio_accum counted';

CREATE FUNCTION recsys.rate_accum(state bigint[], success boolean)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_rate_accum';
COMMENT ON FUNCTION recsys.rate_accum IS 'part of aggregates: counts a trial and whether it succeeded';

CREATE FUNCTION recsys.rate_accum_inv(state bigint[], success boolean)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_rate_accum_inv';
COMMENT ON FUNCTION recsys.rate_accum_inv IS 'part of aggregates: takes back what rate_accum counted';

CREATE FUNCTION recsys.csat_accum(state bigint[], rating double precision, threshold double precision)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_csat_accum';
COMMENT ON FUNCTION recsys.csat_accum IS 'part of aggregates: counts a rating and whether it reaches the threshold';

CREATE FUNCTION recsys.csat_accum_inv(state bigint[], rating double precision, threshold double precision)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_csat_accum_inv';
COMMENT ON FUNCTION recsys.csat_accum_inv IS 'part of aggregates: takes back what csat_accum counted';

CREATE FUNCTION recsys.nps_accum(state bigint[], rating double precision)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_nps_accum';
COMMENT ON FUNCTION recsys.nps_accum IS 'part of aggregates: counts a rating as promoter, detractor or neither';

CREATE FUNCTION recsys.nps_accum_inv(state bigint[], rating double precision)
RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_nps_accum_inv';
COMMENT ON FUNCTION recsys.nps_accum_inv IS 'part of aggregates: takes back what nps_accum counted';

CREATE AGGREGATE recsys.ctr(event_type text) (
	sfunc = recsys.ctr_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_rate, combinefunc = recsys.counts_combine,
	msfunc = recsys.ctr_accum, minvfunc = recsys.ctr_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_rate, parallel = safe
);
COMMENT ON AGGREGATE recsys.ctr(text) IS
	'click-through rate: rows of type ''click'' / rows of type ''impression''. Other types and NULLs do not count, case matters; NULL without impressions. Other names: recsys.ctr_of';

CREATE AGGREGATE recsys.ctr_interval(event_type text) (
	sfunc = recsys.ctr_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_interval, combinefunc = recsys.counts_combine,
	msfunc = recsys.ctr_accum, minvfunc = recsys.ctr_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_interval, parallel = safe
);
COMMENT ON AGGREGATE recsys.ctr_interval(text) IS
	'recsys.ctr with its Wilson 95 % interval, as (value, lower, upper); NULL without impressions, no interval with more clicks than impressions';

CREATE AGGREGATE recsys.ctr_of(is_impression boolean, is_click boolean) (
	sfunc = recsys.ratio_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_rate, combinefunc = recsys.counts_combine,
	msfunc = recsys.ratio_accum, minvfunc = recsys.ratio_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_rate, parallel = safe
);
COMMENT ON AGGREGATE recsys.ctr_of(boolean, boolean) IS
	'click-through rate: rows where is_click / rows where is_impression; a row can be both, NULL is false; NULL without impressions';

CREATE AGGREGATE recsys.cvr(event_type text) (
	sfunc = recsys.cvr_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_rate, combinefunc = recsys.counts_combine,
	msfunc = recsys.cvr_accum, minvfunc = recsys.cvr_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_rate, parallel = safe
);
COMMENT ON AGGREGATE recsys.cvr(text) IS
	'conversion rate: rows of type ''purchase'' or ''conversion'' / rows of type ''click''. Other types and NULLs do not count, case matters; NULL without clicks. Other names: recsys.cvr_of';

CREATE AGGREGATE recsys.cvr_interval(event_type text) (
	sfunc = recsys.cvr_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_interval, combinefunc = recsys.counts_combine,
	msfunc = recsys.cvr_accum, minvfunc = recsys.cvr_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_interval, parallel = safe
);
COMMENT ON AGGREGATE recsys.cvr_interval(text) IS
	'recsys.cvr with its Wilson 95 % interval, as (value, lower, upper); NULL without clicks, no interval with more conversions than clicks';

CREATE AGGREGATE recsys.cvr_of(is_click boolean, is_conversion boolean) (
	sfunc = recsys.ratio_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_rate, combinefunc = recsys.counts_combine,
	msfunc = recsys.ratio_accum, minvfunc = recsys.ratio_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_rate, parallel = safe
);
COMMENT ON AGGREGATE recsys.cvr_of(boolean, boolean) IS
	'conversion rate: rows where is_conversion / rows where is_click; a row can be both, NULL is false; NULL without clicks';

CREATE AGGREGATE recsys.rate(success boolean) (
	sfunc = recsys.rate_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_rate, combinefunc = recsys.counts_combine,
	msfunc = recsys.rate_accum, minvfunc = recsys.rate_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_rate, parallel = safe
);
COMMENT ON AGGREGATE recsys.rate(boolean) IS
	'share of rows that are true, of those that are not NULL; NULL without such rows';

CREATE AGGREGATE recsys.rate_interval(success boolean) (
	sfunc = recsys.rate_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_interval, combinefunc = recsys.counts_combine,
	msfunc = recsys.rate_accum, minvfunc = recsys.rate_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_interval, parallel = safe
);
COMMENT ON AGGREGATE recsys.rate_interval(boolean) IS
	'recsys.rate with its Wilson 95 % interval, as (value, lower, upper); NULL without rows';

CREATE AGGREGATE recsys.csat(rating double precision, threshold double precision) (
	sfunc = recsys.csat_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_rate, combinefunc = recsys.counts_combine,
	msfunc = recsys.csat_accum, minvfunc = recsys.csat_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_rate, parallel = safe
);
COMMENT ON AGGREGATE recsys.csat(double precision, double precision) IS
	'customer satisfaction: share of ratings >= threshold, from 0 to 1; rows with a NULL do not count; NULL without ratings';

CREATE AGGREGATE recsys.csat_interval(rating double precision, threshold double precision) (
	sfunc = recsys.csat_accum, stype = bigint[], initcond = '{0,0}',
	finalfunc = recsys.counts_interval, combinefunc = recsys.counts_combine,
	msfunc = recsys.csat_accum, minvfunc = recsys.csat_accum_inv, mstype = bigint[],
	minitcond = '{0,0}', mfinalfunc = recsys.counts_interval, parallel = safe
);
COMMENT ON AGGREGATE recsys.csat_interval(double precision, double precision) IS
	'recsys.csat with its Wilson 95 % interval, as (value, lower, upper); NULL without ratings';

CREATE AGGREGATE recsys.nps(rating double precision) (
	sfunc = recsys.nps_accum, stype = bigint[], initcond = '{0,0,0}',
	finalfunc = recsys.counts_net_score, combinefunc = recsys.counts_combine,
	msfunc = recsys.nps_accum, minvfunc = recsys.nps_accum_inv, mstype = bigint[],
	minitcond = '{0,0,0}', mfinalfunc = recsys.counts_net_score, parallel = safe
);
COMMENT ON AGGREGATE recsys.nps(double precision) IS
	'net promoter score: 100 (promoters - detractors) / ratings, from -100 to 100, of ratings from 0 to 10; promoters: 9 and more, detractors: 6 and less; NULLs do not count; NULL without ratings';
