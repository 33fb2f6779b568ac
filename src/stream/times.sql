/*
 * times.sql
 *	  Where a stream worker spends its time.
 */

CREATE FUNCTION recsys.worker_times(
	source name,
	OUT phase text,
	OUT entered bigint,
	OUT elapsed_seconds double precision,
	OUT cpu_seconds double precision)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'recsys_worker_times';
COMMENT ON FUNCTION recsys.worker_times IS
	'how long the worker of a source has been in each phase of its work since it started; the phase under way counts when it ends';
