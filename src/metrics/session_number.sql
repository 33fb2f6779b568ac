/*
 * session_number.sql
 *	  Sessions by gaps in time.
 */

CREATE FUNCTION recsys.session_number(
	event_time timestamptz,
	gap interval = '30 minutes')
RETURNS bigint
LANGUAGE c STABLE WINDOW PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_session_number';
COMMENT ON FUNCTION recsys.session_number IS
	'window function: number of the session, from 1 in each partition; a new one begins where more than gap lies between a row and the one before. OVER (PARTITION BY user_id ORDER BY event_time), ascending; NULL where event_time is NULL';
