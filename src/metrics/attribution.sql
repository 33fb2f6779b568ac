/*
 * attribution.sql
 *	  The last value known so far, which is how a click finds its impression.
 */

CREATE FUNCTION recsys.last_known_next(state anyelement, value anyelement)
RETURNS anyelement
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_last_known_next';
COMMENT ON FUNCTION recsys.last_known_next IS 'part of aggregates: the newer value';

CREATE AGGREGATE recsys.last_known(value anyelement) (
	sfunc = recsys.last_known_next, stype = anyelement
);
COMMENT ON AGGREGATE recsys.last_known(anyelement) IS
	'the last value that is not NULL, in the order of the rows: as a window aggregate, OVER (... ORDER BY t), what was known at each row, in linear time; otherwise give the order, last_known(x ORDER BY t)';
