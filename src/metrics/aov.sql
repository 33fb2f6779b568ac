/*
 * aov.sql
 *	  Average order value.
 */

CREATE FUNCTION recsys.aov_accum(state internal, order_value numeric, order_id anyelement)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_aov_accum';
COMMENT ON FUNCTION recsys.aov_accum IS 'part of aggregates: adds a row of an order';

CREATE FUNCTION recsys.aov_accum_inv(state internal, order_value numeric, order_id anyelement)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_aov_accum_inv';
COMMENT ON FUNCTION recsys.aov_accum_inv IS 'part of aggregates: takes a row of an order out again';

CREATE FUNCTION recsys.aov_combine(internal, internal)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_aov_combine';
COMMENT ON FUNCTION recsys.aov_combine IS 'part of aggregates: adds the orders of two sets of rows';

CREATE FUNCTION recsys.aov_serialize(internal)
RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_aov_serialize';
COMMENT ON FUNCTION recsys.aov_serialize IS 'part of aggregates: orders as bytes';

CREATE FUNCTION recsys.aov_deserialize(bytea, internal)
RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_aov_deserialize';
COMMENT ON FUNCTION recsys.aov_deserialize IS 'part of aggregates: orders from bytes';

CREATE FUNCTION recsys.aov_final(internal)
RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_aov_final';
COMMENT ON FUNCTION recsys.aov_final IS 'part of aggregates: sum of values / different orders';

CREATE AGGREGATE recsys.aov(order_value numeric, order_id anyelement) (
	sfunc = recsys.aov_accum, stype = internal, finalfunc = recsys.aov_final,
	combinefunc = recsys.aov_combine, serialfunc = recsys.aov_serialize, deserialfunc = recsys.aov_deserialize,
	msfunc = recsys.aov_accum, minvfunc = recsys.aov_accum_inv, mstype = internal,
	mfinalfunc = recsys.aov_final, parallel = safe
);
COMMENT ON AGGREGATE recsys.aov(numeric, anyelement) IS
	'average order value: sum(order_value) / count(DISTINCT order_id); the rows of an order add up, negative values (refunds) lower it; rows with a NULL do not count; NULL without orders. Exact, in the unit of order_value';
