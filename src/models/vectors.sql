-- vectors.sql: the shared memory of the search over item vectors

CREATE FUNCTION recsys.search_segments(
	OUT database oid, OUT model_id int, OUT version int, OUT publish bigint,
	OUT bytes bigint, OUT used_at timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'recsys_search_segments';
COMMENT ON FUNCTION recsys.search_segments() IS
'item vectors that backends share: one segment per model version that has been asked for, its size, and a recent use';
REVOKE ALL ON FUNCTION recsys.search_segments() FROM PUBLIC;
