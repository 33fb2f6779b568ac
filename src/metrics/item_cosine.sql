/*
 * item_cosine.sql
 *	  The most similar items of all items of any table, in one statement.
 */

CREATE TYPE recsys.similar_pair AS (
	item text,
	rank integer,
	similar_item text,
	score real
);
COMMENT ON TYPE recsys.similar_pair IS
	'element of what recsys.item_cosine() returns: similar_item is at place "rank" (1 is best) of the items similar to item';

CREATE FUNCTION recsys.item_cosine_accum(state internal, user_key anyelement, item_key anycompatible, value double precision)
RETURNS internal
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_item_cosine_accum';
COMMENT ON FUNCTION recsys.item_cosine_accum IS
	'part of aggregates: one interaction of a user with an item, of some weight';

CREATE FUNCTION recsys.item_cosine_top_accum(state internal, user_key anyelement, item_key anycompatible, value double precision, k integer)
RETURNS internal
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_item_cosine_accum';
COMMENT ON FUNCTION recsys.item_cosine_top_accum IS
	'part of aggregates: the same, for lists of some length';

CREATE FUNCTION recsys.item_cosine_combine(internal, internal)
RETURNS internal
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_item_cosine_combine';
COMMENT ON FUNCTION recsys.item_cosine_combine IS 'part of aggregates: the interactions of two sets of rows';

CREATE FUNCTION recsys.item_cosine_serialize(internal)
RETURNS bytea
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_item_cosine_serialize';
COMMENT ON FUNCTION recsys.item_cosine_serialize IS 'part of aggregates: interactions as bytes';

CREATE FUNCTION recsys.item_cosine_deserialize(bytea, internal)
RETURNS internal
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_item_cosine_deserialize';
COMMENT ON FUNCTION recsys.item_cosine_deserialize IS 'part of aggregates: interactions from bytes';

CREATE FUNCTION recsys.item_cosine_final(internal)
RETURNS recsys.similar_pair[]
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_item_cosine_final';
COMMENT ON FUNCTION recsys.item_cosine_final IS 'part of aggregates: the most similar items of each item';

CREATE AGGREGATE recsys.item_cosine(user_key anyelement, item_key anycompatible, value double precision) (
	sfunc = recsys.item_cosine_accum, stype = internal, sspace = 1000000, finalfunc = recsys.item_cosine_final,
	combinefunc = recsys.item_cosine_combine, serialfunc = recsys.item_cosine_serialize,
	deserialfunc = recsys.item_cosine_deserialize, parallel = safe
);
COMMENT ON AGGREGATE recsys.item_cosine(anyelement, anycompatible, double precision) IS
	'the 50 most similar items of each item, by the cosine over users of the summed values; value 1: each row counts alike; see item_cosine_top()';

CREATE AGGREGATE recsys.item_cosine_top(user_key anyelement, item_key anycompatible, value double precision, k integer) (
	sfunc = recsys.item_cosine_top_accum, stype = internal, sspace = 1000000, finalfunc = recsys.item_cosine_final,
	combinefunc = recsys.item_cosine_combine, serialfunc = recsys.item_cosine_serialize,
	deserialfunc = recsys.item_cosine_deserialize, parallel = safe
);
COMMENT ON AGGREGATE recsys.item_cosine_top(anyelement, anycompatible, double precision, integer) IS
	'the k (1 to 1000) most similar items of each item: r(u,i) = sum of the values of user u and item i, score = sum_u r(u,i) r(u,j) / (sqrt(sum_u r(u,i)^2) sqrt(sum_u r(u,j)^2)) where positive; equal scores by the order of items. Rows with a NULL do not count; NULL without rows. Order and workers change no bit. Memory: recsys.aggregate_memory';
