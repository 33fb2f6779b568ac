/*
 * experiments.sql
 *	  Experiments as they are declared: users of a source divided among variants.
 *
 * The arrays of recsys.experiment are parallel; the first variant is the control.
 */

CREATE SEQUENCE recsys.experiment_id AS int4;

CREATE TABLE recsys.experiment (
	experiment_id int4 PRIMARY KEY,
	source_id int4 NOT NULL REFERENCES recsys.source ON DELETE CASCADE,
	name name NOT NULL,
	salt text NOT NULL,
	variants text[] NOT NULL,
	shares float8[] NOT NULL,
	models text[] NOT NULL,
	traffic float8 NOT NULL,
	min_lift float8 NOT NULL,
	significance float8 NOT NULL,
	power float8 NOT NULL,
	started_at timestamptz NOT NULL,
	stopped_at timestamptz,
	winner text,
	UNIQUE (source_id, name)
);
COMMENT ON TABLE recsys.experiment IS 'experiments of the sources; arrays are parallel, the control first';

SELECT pg_catalog.pg_extension_config_dump('recsys.experiment_id', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.experiment', '');

CREATE VIEW recsys.experiments WITH (security_barrier) AS
	SELECT s.name AS source, e.name AS experiment, v.variant,
		   v.place = 1 AS is_control, v.share, v.model, e.traffic, e.salt,
		   e.started_at, e.stopped_at,
		   e.stopped_at IS NOT NULL AND v.variant = coalesce(e.winner, e.variants[1]) AS is_winner,
		   e.min_lift, e.significance, e.power
	FROM recsys.experiment e JOIN recsys.source s USING (source_id),
		 ROWS FROM (unnest(e.variants), unnest(e.shares), unnest(e.models))
			WITH ORDINALITY AS v (variant, share, model, place)
	WHERE pg_catalog.pg_has_role(s.owner, 'MEMBER');
COMMENT ON VIEW recsys.experiments IS 'variants of the experiments of the sources whose owner''s role the caller has';
COMMENT ON COLUMN recsys.experiments.source IS 'name of the source';
COMMENT ON COLUMN recsys.experiments.experiment IS 'name of the experiment, unique among the experiments and models of its source';
COMMENT ON COLUMN recsys.experiments.variant IS 'name of the variant';
COMMENT ON COLUMN recsys.experiments.is_control IS 'whether the others are compared with this variant';
COMMENT ON COLUMN recsys.experiments.share IS 'share of the experiment''s users that the variant gets, 0 to 1';
COMMENT ON COLUMN recsys.experiments.model IS 'model that serves the variant, NULL: the default model of the source';
COMMENT ON COLUMN recsys.experiments.traffic IS 'share of all users that take part in the experiment, 0 to 1';
COMMENT ON COLUMN recsys.experiments.salt IS 'what is hashed with the user''s key; experiments with the same salt and variants divide users alike';
COMMENT ON COLUMN recsys.experiments.started_at IS 'from when events count';
COMMENT ON COLUMN recsys.experiments.stopped_at IS 'until when events count, NULL: the experiment runs';
COMMENT ON COLUMN recsys.experiments.is_winner IS 'whether everybody has been served this variant''s model since the experiment was stopped';
COMMENT ON COLUMN recsys.experiments.min_lift IS 'smallest relative change of a rate that the experiment is to find';
COMMENT ON COLUMN recsys.experiments.significance IS 'p-value below which a difference counts';
COMMENT ON COLUMN recsys.experiments.power IS 'probability with which a change of min_lift is to be found';

GRANT SELECT ON recsys.experiments TO PUBLIC;

CREATE FUNCTION recsys.create_experiment(
	source name,
	experiment name,
	variants text[],
	shares float8[] = NULL,
	models text[] = NULL,
	traffic float8 = 1,
	salt text = NULL,
	min_lift float8 = 0.05,
	significance float8 = 0.05,
	power float8 = 0.8)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_create_experiment';
COMMENT ON FUNCTION recsys.create_experiment IS 'divide the users of a source among variants, the first being the control; shares NULL: equal ones; models NULL: each variant is the model of its name; an element of models that is NULL: the default model';

CREATE FUNCTION recsys.alter_experiment(
	source name,
	experiment name,
	shares float8[] = NULL,
	traffic float8 = NULL)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_alter_experiment';
COMMENT ON FUNCTION recsys.alter_experiment IS 'change the shares of the variants, or how many users take part; as few users as possible change their variant, and counting begins anew';

CREATE FUNCTION recsys.stop_experiment(source name, experiment name, winner text = NULL)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_stop_experiment';
COMMENT ON FUNCTION recsys.stop_experiment IS 'stop an experiment: its report stays, and everybody is served the winner''s model, the control''s if none is named; call it again to name another winner';

CREATE FUNCTION recsys.drop_experiment(source name, experiment name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_drop_experiment';
COMMENT ON FUNCTION recsys.drop_experiment IS 'drop an experiment; the events stay';
