/*
 * catalog.sql
 *	  What is declared: sources and models, and the events that were rejected.
 *
 * The tables are for the extension's own code; roles look through the views,
 * which show the sources whose owner's role the caller has.
 */

GRANT USAGE ON SCHEMA recsys TO PUBLIC;

-- Numbers are never reused: slots, messages and shared memory carry them.
CREATE SEQUENCE recsys.source_id AS int4;
CREATE SEQUENCE recsys.model_id AS int4;
CREATE SEQUENCE recsys.metrics_id AS int4;

CREATE TABLE recsys.source (
	source_id int4 PRIMARY KEY,
	name name NOT NULL UNIQUE,
	owner regrole NOT NULL,
	events regclass NOT NULL,
	user_column name NOT NULL,
	item_column name NOT NULL,
	event_type_column name,
	event_value_column name,
	event_time_column name,
	session_column name,
	weights jsonb,
	feedback text NOT NULL,
	history_limit int4 NOT NULL,
	half_life interval,
	accept_rls bool NOT NULL,
	paused bool NOT NULL,
	created_at timestamptz NOT NULL,
	resyncs int4 NOT NULL DEFAULT 0,
	message_key uuid NOT NULL
);
COMMENT ON TABLE recsys.source IS 'registered event tables; the schema of a source has its name';
COMMENT ON COLUMN recsys.source.message_key IS 'secret by which the worker knows our messages in the WAL';

CREATE TABLE recsys.model (
	model_id int4 PRIMARY KEY,
	source_id int4 NOT NULL REFERENCES recsys.source ON DELETE CASCADE,
	name name NOT NULL,
	algorithm text NOT NULL,
	params jsonb NOT NULL,
	is_default bool NOT NULL,
	state text NOT NULL,
	version int4 NOT NULL DEFAULT 1,
	fallback int4,
	UNIQUE (source_id, name)
);
COMMENT ON TABLE recsys.model IS 'models of the sources; params are complete, version grows when they change';

CREATE TABLE recsys.metrics_declaration (
	source_id int4 PRIMARY KEY REFERENCES recsys.source ON DELETE CASCADE,
	impression text[] NOT NULL,
	click text[] NOT NULL,
	conversion text[] NOT NULL,
	amount_column name,
	order_column name,
	rating_type text,
	rating_column name,
	dimensions name[] NOT NULL,
	bucket interval NOT NULL,
	allowed_lateness interval NOT NULL,
	max_combinations int4 NOT NULL,
	satisfied_from float8 NOT NULL,
	rollup_after interval,
	rollup_bucket interval NOT NULL,
	expire_after interval,
	version int4 NOT NULL DEFAULT 1,
	metrics_id int4 NOT NULL
);
COMMENT ON TABLE recsys.metrics_declaration IS 'metrics that are kept of the sources; version grows when they change';

CREATE TABLE recsys.quality (
	source_id int4 PRIMARY KEY REFERENCES recsys.source ON DELETE CASCADE,
	sample float8 NOT NULL,
	k int4 NOT NULL,
	models name[],
	per_minute int4 NOT NULL,
	keep interval
);
COMMENT ON TABLE recsys.quality IS 'sources whose models are measured by the events that come in';

CREATE TABLE recsys.rejected_event (
	source_id int4 REFERENCES recsys.source ON DELETE CASCADE,
	event_no int8,
	reason text NOT NULL,
	user_key text,
	item_key text,
	event_type text,
	event_value text,
	event_time text,
	rejected_at timestamptz NOT NULL,
	PRIMARY KEY (source_id, event_no)
);
COMMENT ON TABLE recsys.rejected_event IS 'the newest rejected events of each source';

CREATE TABLE recsys.rejection (
	source_id int4 REFERENCES recsys.source ON DELETE CASCADE,
	reason text,
	events int8 NOT NULL,
	PRIMARY KEY (source_id, reason)
);
COMMENT ON TABLE recsys.rejection IS 'how many events of each source were rejected, by reason';

-- A dump of a database carries the declarations, and the sequences with them.
SELECT pg_catalog.pg_extension_config_dump('recsys.source_id', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.model_id', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.metrics_id', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.source', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.model', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.metrics_declaration', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.quality', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.rejected_event', '');
SELECT pg_catalog.pg_extension_config_dump('recsys.rejection', '');

CREATE VIEW recsys.sources WITH (security_barrier) AS
	SELECT s.name AS source, s.owner, s.events, s.user_column, s.item_column,
		   s.event_type_column, s.event_value_column, s.event_time_column,
		   s.session_column, s.weights, s.feedback, s.history_limit, s.half_life,
		   s.accept_rls AS accept_row_level_security, s.paused, s.created_at
	FROM recsys.source s
	WHERE pg_catalog.pg_has_role(s.owner, 'MEMBER');
COMMENT ON VIEW recsys.sources IS 'sources whose owner''s role the caller has';
COMMENT ON COLUMN recsys.sources.source IS 'name of the source and of its schema';
COMMENT ON COLUMN recsys.sources.owner IS 'role that owns the event table and the schema';
COMMENT ON COLUMN recsys.sources.events IS 'registered event table';
COMMENT ON COLUMN recsys.sources.user_column IS 'column with the key of the user';
COMMENT ON COLUMN recsys.sources.item_column IS 'column with the key of the item';
COMMENT ON COLUMN recsys.sources.event_type_column IS 'column with the type of the event, NULL if there is none';
COMMENT ON COLUMN recsys.sources.event_value_column IS 'column with the value of the event, NULL if there is none';
COMMENT ON COLUMN recsys.sources.event_time_column IS 'column with the time of the event, NULL if there is none';
COMMENT ON COLUMN recsys.sources.session_column IS 'column with the key of the session, NULL if there is none';
COMMENT ON COLUMN recsys.sources.weights IS 'weight of each event type; NULL: every event weighs 1';
COMMENT ON COLUMN recsys.sources.feedback IS 'implicit: weights add up; explicit: the last value counts';
COMMENT ON COLUMN recsys.sources.history_limit IS 'how many of a user''s newest items count';
COMMENT ON COLUMN recsys.sources.half_life IS 'time after which an event counts half, NULL: always in full';
COMMENT ON COLUMN recsys.sources.accept_row_level_security IS 'whether row-level security on the event table was accepted';
COMMENT ON COLUMN recsys.sources.paused IS 'whether the source is paused';
COMMENT ON COLUMN recsys.sources.created_at IS 'when the source was created';

CREATE VIEW recsys.models WITH (security_barrier) AS
	SELECT s.name AS source, m.name AS model, m.algorithm, m.params,
		   m.is_default, m.state, m.fallback
	FROM recsys.model m JOIN recsys.source s USING (source_id)
	WHERE pg_catalog.pg_has_role(s.owner, 'MEMBER');
COMMENT ON VIEW recsys.models IS 'models of the sources whose owner''s role the caller has';
COMMENT ON COLUMN recsys.models.source IS 'name of the source';
COMMENT ON COLUMN recsys.models.model IS 'name of the model, unique in its source';
COMMENT ON COLUMN recsys.models.algorithm IS 'algorithm of the model';
COMMENT ON COLUMN recsys.models.params IS 'all parameters of the algorithm, defaults included';
COMMENT ON COLUMN recsys.models.is_default IS 'whether functions use the model when none is named';
COMMENT ON COLUMN recsys.models.state IS 'building: answers come from popular; ready: the model has been published';
COMMENT ON COLUMN recsys.models.fallback IS 'place among the models that fill up answers of others, before popular; NULL: it does not';

CREATE VIEW recsys.tracked_metrics WITH (security_barrier) AS
	SELECT s.name AS source, m.impression, m.click, m.conversion, m.amount_column, m.order_column,
		   m.rating_type, m.rating_column, m.dimensions, m.bucket, m.allowed_lateness,
		   m.max_combinations, m.satisfied_from, m.rollup_after, m.rollup_bucket, m.expire_after
	FROM recsys.metrics_declaration m JOIN recsys.source s USING (source_id)
	WHERE pg_catalog.pg_has_role(s.owner, 'MEMBER');
COMMENT ON VIEW recsys.tracked_metrics IS 'metrics that are kept, of the sources whose owner''s role the caller has';
COMMENT ON COLUMN recsys.tracked_metrics.source IS 'name of the source';
COMMENT ON COLUMN recsys.tracked_metrics.impression IS 'event types that are impressions';
COMMENT ON COLUMN recsys.tracked_metrics.click IS 'event types that are clicks';
COMMENT ON COLUMN recsys.tracked_metrics.conversion IS 'event types that are conversions';
COMMENT ON COLUMN recsys.tracked_metrics.amount_column IS 'column with the amount of a conversion, NULL if there is none';
COMMENT ON COLUMN recsys.tracked_metrics.order_column IS 'column with the order that a conversion belongs to; NULL: each is an order';
COMMENT ON COLUMN recsys.tracked_metrics.rating_type IS 'event type that is a rating; NULL: none, or with explicit feedback every event';
COMMENT ON COLUMN recsys.tracked_metrics.rating_column IS 'column with the value of a rating; NULL: event_value_column of the source';
COMMENT ON COLUMN recsys.tracked_metrics.dimensions IS 'columns by whose values everything is counted apart';
COMMENT ON COLUMN recsys.tracked_metrics.bucket IS 'length of the buckets that are counted';
COMMENT ON COLUMN recsys.tracked_metrics.allowed_lateness IS 'how long after the end of a window events of it may arrive before it is called final';
COMMENT ON COLUMN recsys.tracked_metrics.max_combinations IS 'so many different combinations of dimension values are counted apart, further ones as other';
COMMENT ON COLUMN recsys.tracked_metrics.satisfied_from IS 'least rating of a satisfied user';
COMMENT ON COLUMN recsys.tracked_metrics.rollup_after IS 'age at which buckets are put together; NULL: never';
COMMENT ON COLUMN recsys.tracked_metrics.rollup_bucket IS 'length of the buckets that old ones are put together to';
COMMENT ON COLUMN recsys.tracked_metrics.expire_after IS 'age at which buckets are dropped; NULL: never';

CREATE VIEW recsys.tracked_quality WITH (security_barrier) AS
	SELECT s.name AS source, q.sample, q.k, q.models, q.per_minute, q.keep
	FROM recsys.quality q JOIN recsys.source s USING (source_id)
	WHERE pg_catalog.pg_has_role(s.owner, 'MEMBER');
COMMENT ON VIEW recsys.tracked_quality IS 'how models are measured, of the sources whose owner''s role the caller has';
COMMENT ON COLUMN recsys.tracked_quality.source IS 'name of the source';
COMMENT ON COLUMN recsys.tracked_quality.sample IS 'share of the events of which models are asked';
COMMENT ON COLUMN recsys.tracked_quality.k IS 'length of the lists in which the item of an event is looked for';
COMMENT ON COLUMN recsys.tracked_quality.models IS 'names of the models that are asked; NULL: all';
COMMENT ON COLUMN recsys.tracked_quality.per_minute IS 'of at most so many events per minute they are asked';
COMMENT ON COLUMN recsys.tracked_quality.keep IS 'age at which figures are dropped; NULL: never';

CREATE VIEW recsys.rejected_events WITH (security_barrier) AS
	SELECT s.name AS source, r.event_no, r.reason, r.user_key, r.item_key,
		   r.event_type, r.event_value, r.event_time, r.rejected_at
	FROM recsys.rejected_event r JOIN recsys.source s USING (source_id)
	WHERE pg_catalog.pg_has_role(s.owner, 'MEMBER');
COMMENT ON VIEW recsys.rejected_events IS 'the newest events that were rejected, of the sources whose owner''s role the caller has';
COMMENT ON COLUMN recsys.rejected_events.source IS 'name of the source';
COMMENT ON COLUMN recsys.rejected_events.event_no IS 'running number of the rejected event in its source';
COMMENT ON COLUMN recsys.rejected_events.reason IS 'why the event was rejected';
COMMENT ON COLUMN recsys.rejected_events.user_key IS 'user of the event, as text';
COMMENT ON COLUMN recsys.rejected_events.item_key IS 'item of the event, as text';
COMMENT ON COLUMN recsys.rejected_events.event_type IS 'type of the event, as text';
COMMENT ON COLUMN recsys.rejected_events.event_value IS 'value of the event, as text';
COMMENT ON COLUMN recsys.rejected_events.event_time IS 'time of the event, as text';
COMMENT ON COLUMN recsys.rejected_events.rejected_at IS 'when the event was rejected';

CREATE VIEW recsys.rejections WITH (security_barrier) AS
	SELECT s.name AS source, r.reason, r.events
	FROM recsys.rejection r JOIN recsys.source s USING (source_id)
	WHERE pg_catalog.pg_has_role(s.owner, 'MEMBER');
COMMENT ON VIEW recsys.rejections IS 'number of rejected events by reason, of the sources whose owner''s role the caller has';
COMMENT ON COLUMN recsys.rejections.source IS 'name of the source';
COMMENT ON COLUMN recsys.rejections.reason IS 'why events were rejected';
COMMENT ON COLUMN recsys.rejections.events IS 'how many events were rejected for this reason';

GRANT SELECT ON recsys.sources, recsys.models, recsys.rejected_events, recsys.rejections,
	recsys.tracked_metrics, recsys.tracked_quality TO PUBLIC;

CREATE FUNCTION recsys.create_source(
	source name,
	events regclass,
	user_column name,
	item_column name,
	event_type_column name = NULL,
	event_value_column name = NULL,
	event_time_column name = NULL,
	weights jsonb = NULL,
	feedback text = 'implicit',
	history_limit int = 100,
	half_life interval = NULL,
	session_column name = NULL,
	accept_row_level_security boolean = false)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_create_source';
COMMENT ON FUNCTION recsys.create_source IS 'register an event table as a source, with a schema of its own; streaming begins after commit';
REVOKE ALL ON FUNCTION recsys.create_source FROM PUBLIC;

CREATE FUNCTION recsys.alter_source(
	source name,
	weights jsonb = NULL,
	history_limit int = NULL,
	half_life interval = NULL,
	session_column name = NULL)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_alter_source';
COMMENT ON FUNCTION recsys.alter_source IS 'change a source; NULL leaves a setting as it is, and the state is rebuilt where it must be';

CREATE FUNCTION recsys.drop_source(source name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_drop_source';
COMMENT ON FUNCTION recsys.drop_source IS 'drop a source with its schema, its models, its worker and its replication slot';

CREATE FUNCTION recsys.pause(source name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_pause';
COMMENT ON FUNCTION recsys.pause IS 'stop streaming a source; its replication slot keeps the WAL';

CREATE FUNCTION recsys.resume(source name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_resume';
COMMENT ON FUNCTION recsys.resume IS 'stream a paused source again, from where it stopped';

CREATE FUNCTION recsys.resync(source name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_resync';
COMMENT ON FUNCTION recsys.resync IS 'rebuild the state of a source from its event table; old results keep serving meanwhile';

CREATE FUNCTION recsys.forget_user(
	source name,
	user_key text,
	delete_events boolean = false)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_forget_user';
COMMENT ON FUNCTION recsys.forget_user IS 'remove a user from the state and all models; fails while events of the user exist, unless they are to be deleted too';

CREATE FUNCTION recsys.forget_item(source name, item_key text)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_forget_item';
COMMENT ON FUNCTION recsys.forget_item IS 'remove an item from the state and all models; later events make it known again, as a new one';

CREATE FUNCTION recsys.create_model(
	source name,
	model name,
	algorithm text,
	params jsonb = '{}')
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_create_model';
COMMENT ON FUNCTION recsys.create_model IS 'create a model of a source; it is built after commit, and the first one is the default';

CREATE FUNCTION recsys.alter_model(source name, model name, params jsonb)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_alter_model';
COMMENT ON FUNCTION recsys.alter_model IS 'change the given parameters of a model, which is then rebuilt; old results keep serving meanwhile';

CREATE FUNCTION recsys.drop_model(source name, model name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_drop_model';
COMMENT ON FUNCTION recsys.drop_model IS 'drop a model; if it was the default, the oldest remaining one becomes the default';

CREATE FUNCTION recsys.set_default_model(source name, model name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_set_default_model';
COMMENT ON FUNCTION recsys.set_default_model IS 'make a model the one that functions use when none is named';

CREATE FUNCTION recsys.set_fallback(source name, models name[])
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_set_fallback';
COMMENT ON FUNCTION recsys.set_fallback IS 'choose the models that are asked in turn where one has no or too few items; popular comes after them, and alone if there are none';

CREATE FUNCTION recsys.track_metrics(
	source name,
	impression text[] = '{}',
	click text[] = '{}',
	conversion text[] = '{}',
	amount_column name = NULL,
	order_column name = NULL,
	rating_type text = NULL,
	rating_column name = NULL,
	dimensions name[] = '{}',
	bucket interval = '1 min',
	allowed_lateness interval = '1 min',
	max_combinations int = 1000,
	satisfied_from double precision = 4,
	rollup_after interval = NULL,
	rollup_bucket interval = '1 hour',
	expire_after interval = NULL)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_track_metrics';
COMMENT ON FUNCTION recsys.track_metrics IS
'keep impressions, clicks, conversions, orders, revenue, ratings and users of a source per bucket of event time and combination of dimension values; read them with metrics() and the metrics_* views in the schema of the source. What the event table holds already is counted, too.
impression, click, conversion: event types. amount_column: what a conversion brings in. order_column: the order that a conversion belongs to, each is one without it. rating_type: event type of ratings, whose value is in rating_column, or event_value_column; with explicit feedback every event is a rating unless it is given. satisfied_from: least rating of a satisfied user.
dimensions: columns by whose values everything is counted apart, at most max_combinations of them, further ones as other. A window is final once an event allowed_lateness after its end has come; later events count all the same. Buckets older than rollup_after are put together to rollup_bucket, those older than expire_after dropped.';

CREATE FUNCTION recsys.alter_metrics(
	source name,
	impression text[] = NULL,
	click text[] = NULL,
	conversion text[] = NULL,
	amount_column name = NULL,
	order_column name = NULL,
	rating_type text = NULL,
	rating_column name = NULL,
	dimensions name[] = NULL,
	bucket interval = NULL,
	allowed_lateness interval = NULL,
	max_combinations int = NULL,
	satisfied_from double precision = NULL,
	rollup_after interval = NULL,
	rollup_bucket interval = NULL,
	expire_after interval = NULL)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_alter_metrics';
COMMENT ON FUNCTION recsys.alter_metrics IS
	'change what track_metrics() declared; NULL leaves a setting as it is, 0 as rollup_after or expire_after means never. Everything is counted anew from the event table unless only allowed_lateness, rollup_after or expire_after change';

CREATE FUNCTION recsys.untrack_metrics(source name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_untrack_metrics';
COMMENT ON FUNCTION recsys.untrack_metrics IS 'drop the metrics of a source, with everything counted';

CREATE FUNCTION recsys.track_quality(
	source name,
	sample double precision = 0.01,
	k int = 10,
	models name[] = NULL,
	per_minute int = 600,
	keep interval = '30 days')
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_track_quality';
COMMENT ON FUNCTION recsys.track_quality IS
'measure models by the events that come in: of a share of the events, before one is applied, the worker asks whether its item is among the k that recommend would give the user now. Read the result with model_quality() in the schema of the source. Events of types without weight, and on items that the user has already, are left out. Which events are asked of is chosen by a hash, per_minute of each minute at most; models: NULL means all; figures older than keep are dropped, NULL keeps them. Call it again to change the settings.';

CREATE FUNCTION recsys.untrack_quality(source name)
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'recsys_untrack_quality';
COMMENT ON FUNCTION recsys.untrack_quality IS 'measure the models of a source no more, and drop what was measured';
