/*
 * users_estimate.sql
 *	  How many different users the sketches of windows stand for.
 */

CREATE FUNCTION recsys.users_accum(state internal, sketch bytea)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_users_accum';
COMMENT ON FUNCTION recsys.users_accum IS 'part of aggregates: adds the users of a sketch';

CREATE FUNCTION recsys.users_combine(internal, internal)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_users_combine';
COMMENT ON FUNCTION recsys.users_combine IS 'part of aggregates: adds the users of two sets of sketches';

CREATE FUNCTION recsys.users_serialize(internal)
RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_users_serialize';
COMMENT ON FUNCTION recsys.users_serialize IS 'part of aggregates: the sketch of all users together';

CREATE FUNCTION recsys.users_deserialize(bytea, internal)
RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_users_deserialize';
COMMENT ON FUNCTION recsys.users_deserialize IS 'part of aggregates: a sketch from bytes';

CREATE FUNCTION recsys.users_final(internal)
RETURNS bigint
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_users_final';
COMMENT ON FUNCTION recsys.users_final IS 'part of aggregates: how many users a sketch stands for';

CREATE AGGREGATE recsys.users_estimate(sketch bytea) (
	sfunc = recsys.users_accum, stype = internal, finalfunc = recsys.users_final,
	combinefunc = recsys.users_combine, serialfunc = recsys.users_serialize,
	deserialfunc = recsys.users_deserialize, parallel = safe
);
COMMENT ON AGGREGATE recsys.users_estimate(bytea) IS
	'how many different users are in sketches (column users of the table windows of a source), each counted once however many of them have it: exact up to some 384 users (one in a million users is taken for another), beyond that with a standard error of 2.3 %: two of three estimates are nearer, 95 % within 4.5 %; 0 without rows, NULLs do not count';

CREATE AGGREGATE recsys.users_union(sketch bytea) (
	sfunc = recsys.users_accum, stype = internal, finalfunc = recsys.users_serialize,
	combinefunc = recsys.users_combine, serialfunc = recsys.users_serialize,
	deserialfunc = recsys.users_deserialize, parallel = safe
);
COMMENT ON AGGREGATE recsys.users_union(bytea) IS
	'the sketch of the users of all sketches together, for recsys.users_estimate';
