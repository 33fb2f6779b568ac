/*
 * stream.sql
 *	  The running side of sources: waiting for them and looking at them.
 */

CREATE FUNCTION recsys.wait_for(source name, lsn pg_lsn = NULL, timeout interval = '1 min')
RETURNS boolean
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_wait_for';
COMMENT ON FUNCTION recsys.wait_for IS
	'wait until everything written before the call (or up to lsn) is flushed and published; false when the time is up, NULL as timeout waits without limit';

CREATE FUNCTION recsys.inject_wait(source name, step text, waits boolean = true)
RETURNS void
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'recsys_inject_wait';
COMMENT ON FUNCTION recsys.inject_wait IS
	'developer testing: whoever comes to the given step of a source waits there, until it is called with false';
REVOKE ALL ON FUNCTION recsys.inject_wait FROM PUBLIC;

CREATE FUNCTION recsys.inject_crash(source name, step text, passes int = 1)
RETURNS void
LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'recsys_inject_crash';
COMMENT ON FUNCTION recsys.inject_crash IS
	'developer testing: kill the worker of a source, and with it all sessions, at the given pass of a step';
REVOKE ALL ON FUNCTION recsys.inject_crash FROM PUBLIC;

-- Restored and hand-made rows are noticed like those of create_source().
CREATE FUNCTION recsys.notify_launcher()
RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_notify_launcher';
COMMENT ON FUNCTION recsys.notify_launcher IS
	'trigger: the launcher looks at the sources of this database after commit';
REVOKE ALL ON FUNCTION recsys.notify_launcher FROM PUBLIC;

CREATE TRIGGER notify_launcher
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON recsys.source
	FOR EACH STATEMENT EXECUTE FUNCTION recsys.notify_launcher();
CREATE TRIGGER notify_launcher
	AFTER INSERT OR DELETE OR TRUNCATE ON recsys.model
	FOR EACH STATEMENT EXECUTE FUNCTION recsys.notify_launcher();
CREATE TRIGGER notify_launcher
	AFTER INSERT OR DELETE OR TRUNCATE ON recsys.metrics_declaration
	FOR EACH STATEMENT EXECUTE FUNCTION recsys.notify_launcher();

CREATE FUNCTION recsys.source_status(
	OUT source name,
	OUT state text,
	OUT lag_bytes bigint,
	OUT lag_seconds double precision,
	OUT retained_wal_bytes bigint,
	OUT applied_lsn pg_lsn,
	OUT flushed_lsn pg_lsn,
	OUT published_lsn pg_lsn,
	OUT events_per_second double precision,
	OUT events_applied bigint,
	OUT rejected bigint,
	OUT unmatched bigint,
	OUT memory_bytes bigint,
	OUT worker_pid int,
	OUT failures int,
	OUT last_error text,
	OUT last_error_at timestamptz,
	OUT warning text,
	OUT phase text,
	OUT phase_done bigint,
	OUT phase_total bigint,
	OUT phase_started timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_source_status';
COMMENT ON FUNCTION recsys.source_status IS
	'what recsys.status and recsys.progress show, of the sources whose owner''s role the caller has';

CREATE VIEW recsys.status AS
	SELECT source, state, lag_bytes,
		   pg_catalog.round(lag_seconds::numeric, 3)::double precision AS lag_seconds,
		   retained_wal_bytes, applied_lsn, flushed_lsn, published_lsn,
		   pg_catalog.round(events_per_second::numeric, 1)::double precision AS events_per_second,
		   events_applied, rejected, unmatched, memory_bytes, worker_pid, failures,
		   last_error, last_error_at, warning
	FROM recsys.source_status();
COMMENT ON VIEW recsys.status IS 'how the sources stream, of those whose owner''s role the caller has';
COMMENT ON COLUMN recsys.status.source IS 'name of the source';
COMMENT ON COLUMN recsys.status.state IS 'creating, backfilling, building, streaming, paused, stopped or resyncing';
COMMENT ON COLUMN recsys.status.lag_bytes IS 'WAL flushed, but not read by the worker yet';
COMMENT ON COLUMN recsys.status.lag_seconds IS 'how long the oldest commit that is not applied has been waiting, 0 if there is none; NULL where nothing is known about it';
COMMENT ON COLUMN recsys.status.retained_wal_bytes IS 'WAL that the replication slot keeps from being removed';
COMMENT ON COLUMN recsys.status.applied_lsn IS 'events up to here are in the worker''s memory';
COMMENT ON COLUMN recsys.status.flushed_lsn IS 'events up to here are in the tables of the source';
COMMENT ON COLUMN recsys.status.published_lsn IS 'events up to here show in what the models have published';
COMMENT ON COLUMN recsys.status.events_per_second IS 'events applied per second, over the last seconds';
COMMENT ON COLUMN recsys.status.events_applied IS 'events applied so far';
COMMENT ON COLUMN recsys.status.rejected IS 'events rejected so far; recsys.rejections counts them by reason';
COMMENT ON COLUMN recsys.status.unmatched IS 'updates and deletes of events that could not be retracted, for want of the old row in the WAL';
COMMENT ON COLUMN recsys.status.memory_bytes IS 'memory that the worker holds, see recsys.memory';
COMMENT ON COLUMN recsys.status.worker_pid IS 'process that streams the source, NULL if none runs';
COMMENT ON COLUMN recsys.status.failures IS 'failures of the worker in a row';
COMMENT ON COLUMN recsys.status.last_error IS 'last error of the worker since the server started; it may be past';
COMMENT ON COLUMN recsys.status.last_error_at IS 'when that happened';
COMMENT ON COLUMN recsys.status.warning IS 'what is not as declared, and what to do about it; NULL if all is well';

GRANT SELECT ON recsys.status TO PUBLIC;
