/*
 * trainings.sql
 *	  Trainings of models, and what is under way in all sources.
 */

CREATE FUNCTION recsys.train(source name, model name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_train';
COMMENT ON FUNCTION recsys.train IS
	'train a model now on everything written before the call, and wait until the new version serves; cancelling the call cancels the training that it started';

CREATE FUNCTION recsys.export_model(source name, model name)
RETURNS bytea
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'recsys_export_model';
COMMENT ON FUNCTION recsys.export_model IS
	'the version of a trained model as a file: its weights, and the vectors of its items by their keys';

CREATE FUNCTION recsys.import_model(source name, model name, data bytea)
RETURNS int
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_import_model';
COMMENT ON FUNCTION recsys.import_model IS
	'have a model serve the version in a file, of the same algorithm and size; returns the number of items that the source knows';

CREATE FUNCTION recsys.training_status(
	OUT source name,
	OUT model name,
	OUT kind text,
	OUT state text,
	OUT phase text,
	OUT phase_done bigint,
	OUT phase_total bigint,
	OUT phase_started timestamptz,
	OUT iteration int,
	OUT iterations int,
	OUT loss double precision,
	OUT recall double precision,
	OUT workers int,
	OUT pid int,
	OUT started_at timestamptz,
	OUT ended_at timestamptz,
	OUT failures int,
	OUT retry_at timestamptz,
	OUT error text)
RETURNS SETOF record
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_training_status';
COMMENT ON FUNCTION recsys.training_status IS
	'what recsys.trainings and recsys.progress show of trainings, of the sources whose owner''s role the caller has';

CREATE VIEW recsys.trainings AS
	SELECT source, model, state, started_at, ended_at, iteration, iterations, loss, recall,
		   workers, pid, failures, error AS last_error,
		   CASE WHEN failures > 0 THEN retry_at END AS retry_at
	FROM recsys.training_status()
	WHERE kind = 'train';
COMMENT ON VIEW recsys.trainings IS 'the last training of each model since the server started, of the sources whose owner''s role the caller has';
COMMENT ON COLUMN recsys.trainings.source IS 'name of the source';
COMMENT ON COLUMN recsys.trainings.model IS 'name of the model';
COMMENT ON COLUMN recsys.trainings.state IS 'starting, running, done, failed, cancelled, or obsolete: the model was changed meanwhile';
COMMENT ON COLUMN recsys.trainings.started_at IS 'when it started';
COMMENT ON COLUMN recsys.trainings.ended_at IS 'when it ended, NULL while it runs';
COMMENT ON COLUMN recsys.trainings.iteration IS 'iterations completed';
COMMENT ON COLUMN recsys.trainings.iterations IS 'iterations in all';
COMMENT ON COLUMN recsys.trainings.loss IS 'what the training minimises, per interaction, when it was last computed';
COMMENT ON COLUMN recsys.trainings.recall IS 'of gru4rec: recall at 20 of the items held out to see when to stop, after the last epoch';
COMMENT ON COLUMN recsys.trainings.workers IS 'processes at work, NULL when it has ended';
COMMENT ON COLUMN recsys.trainings.pid IS 'the first of these';
COMMENT ON COLUMN recsys.trainings.failures IS 'trainings of the model that failed in a row';
COMMENT ON COLUMN recsys.trainings.last_error IS 'why the training failed; the version before it goes on serving';
COMMENT ON COLUMN recsys.trainings.retry_at IS 'after a failure: not tried again before, but by recsys.train()';

CREATE VIEW recsys.progress AS
	SELECT source, model, phase, phase_done AS done,
		   NULLIF(phase_total, 0) AS total,
		   CASE WHEN phase_total > 0
				THEN pg_catalog.round(LEAST(100, 100.0 * phase_done / phase_total), 1)::double precision
		   END AS percent,
		   CASE WHEN phase_total > 0 AND phase_done > 0
				THEN pg_catalog.date_trunc('second',
					 (pg_catalog.clock_timestamp() - phase_started) *
					 (GREATEST(phase_total - phase_done, 0)::double precision / phase_done))
		   END AS eta,
		   iteration, loss, recall
	FROM (SELECT source, NULL::name AS model, phase, phase_done, phase_total, phase_started,
				 NULL::int AS iteration, NULL::double precision AS loss,
				 NULL::double precision AS recall
		  FROM recsys.source_status()
		  UNION ALL
		  SELECT source, model, phase, phase_done, phase_total, phase_started, iteration, loss,
				 recall
		  FROM recsys.training_status()) AS phases
	WHERE phase IS NOT NULL;
COMMENT ON VIEW recsys.progress IS 'long steps under way, of the sources whose owner''s role the caller has';
COMMENT ON COLUMN recsys.progress.source IS 'name of the source';
COMMENT ON COLUMN recsys.progress.model IS 'model that the step is for, NULL if for the whole source';
COMMENT ON COLUMN recsys.progress.phase IS 'what is being done';
COMMENT ON COLUMN recsys.progress.done IS 'rows or other units done';
COMMENT ON COLUMN recsys.progress.total IS 'units in all, NULL if not known';
COMMENT ON COLUMN recsys.progress.percent IS 'share that is done';
COMMENT ON COLUMN recsys.progress.eta IS 'time that the rest will take at the pace so far';
COMMENT ON COLUMN recsys.progress.iteration IS 'iterations of a training that are completed';
COMMENT ON COLUMN recsys.progress.loss IS 'what the training minimises, per interaction, when it was last computed';
COMMENT ON COLUMN recsys.progress.recall IS 'of gru4rec: recall at 20 of the items held out to see when to stop, after the last epoch';

GRANT SELECT ON recsys.trainings, recsys.progress TO PUBLIC;
