/*
 * similarity.sql
 *	  Similarity of two arrays, or of two columns.
 */

CREATE FUNCTION recsys.cosine_similarity(
	a real[],
	b real[])
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_cosine_similarity';
COMMENT ON FUNCTION recsys.cosine_similarity IS
	'cosine: sum a_i b_i / (sqrt(sum a_i^2) sqrt(sum b_i^2)); a NULL element is not rated: the pair is no part of the dot product, and each norm is over all that its side has; NULL if a side has nothing but NULL and 0';

CREATE FUNCTION recsys.pearson(
	a real[],
	b real[])
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_pearson';
COMMENT ON FUNCTION recsys.pearson IS
	'Pearson correlation: (n sum ab - sum a sum b) / sqrt((n sum a^2 - (sum a)^2) (n sum b^2 - (sum b)^2)), over the n places where neither is NULL; NULL if a side does not vary there';

CREATE FUNCTION recsys.jaccard(
	a anyarray,
	b anyarray)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_jaccard';
COMMENT ON FUNCTION recsys.jaccard IS
	'Jaccard similarity of two sets: |in both| / |in any|; repetitions and NULLs do not count; NULL if both are empty';

CREATE FUNCTION recsys.cosine_accum(state internal, a real, b real)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_cosine_accum';
COMMENT ON FUNCTION recsys.cosine_accum IS 'part of aggregates: adds a row to the sums of the cosine of two columns';

CREATE FUNCTION recsys.cosine_accum_inv(state internal, a real, b real)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_cosine_accum_inv';
COMMENT ON FUNCTION recsys.cosine_accum_inv IS 'part of aggregates: takes a row out of the sums of the cosine of two columns';

CREATE FUNCTION recsys.cosine_final(internal)
RETURNS double precision
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_cosine_final';
COMMENT ON FUNCTION recsys.cosine_final IS 'part of aggregates: the cosine of two columns from their sums';

CREATE FUNCTION recsys.pearson_accum(state internal, a real, b real)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_pearson_accum';
COMMENT ON FUNCTION recsys.pearson_accum IS 'part of aggregates: adds a row to the sums of the correlation of two columns';

CREATE FUNCTION recsys.pearson_accum_inv(state internal, a real, b real)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_pearson_accum_inv';
COMMENT ON FUNCTION recsys.pearson_accum_inv IS 'part of aggregates: takes a row out of the sums of the correlation of two columns';

CREATE FUNCTION recsys.pearson_final(internal)
RETURNS double precision
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_pearson_final';
COMMENT ON FUNCTION recsys.pearson_final IS 'part of aggregates: the correlation of two columns from their sums';

CREATE FUNCTION recsys.sums_combine(internal, internal)
RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_sums_combine';
COMMENT ON FUNCTION recsys.sums_combine IS 'part of aggregates: adds the sums of two sets of rows';

CREATE FUNCTION recsys.sums_serialize(internal)
RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_sums_serialize';
COMMENT ON FUNCTION recsys.sums_serialize IS 'part of aggregates: sums as bytes';

CREATE FUNCTION recsys.sums_deserialize(bytea, internal)
RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_sums_deserialize';
COMMENT ON FUNCTION recsys.sums_deserialize IS 'part of aggregates: sums from bytes';

CREATE AGGREGATE recsys.cosine_agg(a real, b real) (
	sfunc = recsys.cosine_accum, stype = internal, sspace = 544, finalfunc = recsys.cosine_final,
	combinefunc = recsys.sums_combine, serialfunc = recsys.sums_serialize, deserialfunc = recsys.sums_deserialize,
	msfunc = recsys.cosine_accum, minvfunc = recsys.cosine_accum_inv, mstype = internal, msspace = 544,
	mfinalfunc = recsys.cosine_final, parallel = safe
);
COMMENT ON AGGREGATE recsys.cosine_agg(real, real) IS
	'cosine of two columns: sum ab / (sqrt(sum a^2) sqrt(sum b^2)); NULL is not rated: a row counts in the dot product only if it has both, in each norm by itself. NULL if a side has nothing but NULL and 0. Exact sums: order, workers and moving windows change no bit';

CREATE AGGREGATE recsys.pearson_agg(a real, b real) (
	sfunc = recsys.pearson_accum, stype = internal, sspace = 896, finalfunc = recsys.pearson_final,
	combinefunc = recsys.sums_combine, serialfunc = recsys.sums_serialize, deserialfunc = recsys.sums_deserialize,
	msfunc = recsys.pearson_accum, minvfunc = recsys.pearson_accum_inv, mstype = internal, msspace = 896,
	mfinalfunc = recsys.pearson_final, parallel = safe
);
COMMENT ON AGGREGATE recsys.pearson_agg(real, real) IS
	'Pearson correlation of two columns: (n sum ab - sum a sum b) / sqrt((n sum a^2 - (sum a)^2) (n sum b^2 - (sum b)^2)), over the n rows that have both; NULL if a side does not vary. Exact sums: order, workers and moving windows change no bit';
