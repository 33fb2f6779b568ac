-- Bad calls of create_source() and the other functions on sources: what they
-- say, with SQLSTATE and hint, and that they leave nothing.
CREATE FUNCTION pg_temp.attempt(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; state text;
BEGIN
	EXECUTE command;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
	RETURN state || ' ' || message || E'\n' ||
		CASE detail WHEN '' THEN '' ELSE '  DETAIL ' || detail || E'\n' END ||
		CASE hint WHEN '' THEN '' ELSE '  HINT ' || hint || E'\n' END;
END $$;
CREATE FUNCTION pg_temp.create_source(arguments text) RETURNS text LANGUAGE sql AS
	$$ SELECT pg_temp.attempt('SELECT recsys.create_source(' || arguments || ')') $$;
\pset format unaligned
\pset tuples_only on

CREATE TABLE es_events (
	id int PRIMARY KEY, user_id int, item_id int, type text, value float8, at timestamptz,
	flag boolean, birthday date, doc jsonb, code char(5));
CREATE INDEX ON es_events (user_id);
ALTER TABLE es_events REPLICA IDENTITY FULL;

-- names
SELECT pg_temp.create_source($$ '', 'es_events', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ repeat('x', 41)::name, 'es_events', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ repeat('ü', 21)::name, 'es_events', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'pg_shop', 'es_events', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'recsys', 'es_events', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'public', 'es_events', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'information_schema', 'es_events', 'user_id', 'item_id' $$);
CREATE SCHEMA "es Taken";
SELECT pg_temp.create_source($$ 'es Taken', 'es_events', 'user_id', 'item_id' $$);
DROP SCHEMA "es Taken";
SELECT recsys.create_source('es_shop', 'es_events', 'user_id', 'item_id');
SELECT pg_temp.create_source($$ 'es_shop', 'es_events', 'user_id', 'item_id' $$);

-- nulls where something is required
SELECT pg_temp.create_source($$ NULL, 'es_events', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', NULL, 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', NULL, 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', NULL $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', feedback => NULL $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', history_limit => NULL $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', accept_row_level_security => NULL $$);

-- tables that cannot be a source
SELECT pg_temp.create_source($$ 'es_bad', 'es_nowhere', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 4000000000::regclass, 'user_id', 'item_id' $$);
CREATE UNLOGGED TABLE es_unlogged (user_id int, item_id int);
SELECT pg_temp.create_source($$ 'es_bad', 'es_unlogged', 'user_id', 'item_id' $$);
CREATE TEMPORARY TABLE es_temporary (user_id int, item_id int);
SELECT pg_temp.create_source($$ 'es_bad', 'es_temporary', 'user_id', 'item_id' $$);
CREATE FOREIGN DATA WRAPPER es_wrapper;
CREATE SERVER es_server FOREIGN DATA WRAPPER es_wrapper;
CREATE FOREIGN TABLE es_foreign (user_id int, item_id int) SERVER es_server;
SELECT pg_temp.create_source($$ 'es_bad', 'es_foreign', 'user_id', 'item_id' $$);
CREATE VIEW es_view AS SELECT * FROM es_events;
SELECT pg_temp.create_source($$ 'es_bad', 'es_view', 'user_id', 'item_id' $$);
CREATE MATERIALIZED VIEW es_matview AS SELECT * FROM es_events;
SELECT pg_temp.create_source($$ 'es_bad', 'es_matview', 'user_id', 'item_id' $$);
DROP VIEW es_view;
DROP MATERIALIZED VIEW es_matview;
CREATE SEQUENCE es_sequence;
SELECT pg_temp.create_source($$ 'es_bad', 'es_sequence', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events_pkey', 'user_id', 'item_id' $$);
CREATE TYPE es_composite AS (user_id int, item_id int);
SELECT pg_temp.create_source($$ 'es_bad', 'es_composite', 'user_id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'pg_catalog.pg_class', 'oid', 'relname' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'information_schema.sql_features', 'feature_id', 'feature_name' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'recsys.model', 'source_id', 'model_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_shop.popular_items', 'rank', 'item_id' $$);
CREATE TABLE es_parent (user_id int, item_id int);
CREATE TABLE es_child () INHERITS (es_parent);
SELECT pg_temp.create_source($$ 'es_bad', 'es_parent', 'user_id', 'item_id' $$);
CREATE TABLE es_parted (user_id int, item_id int) PARTITION BY LIST (user_id);
CREATE UNLOGGED TABLE es_leaf PARTITION OF es_parted FOR VALUES IN (1);
SELECT pg_temp.create_source($$ 'es_bad', 'es_parted', 'user_id', 'item_id' $$);
DROP TABLE es_leaf;
CREATE FOREIGN TABLE es_leaf PARTITION OF es_parted FOR VALUES IN (1) SERVER es_server;
SELECT pg_temp.create_source($$ 'es_bad', 'es_parted', 'user_id', 'item_id' $$);

-- row-level security, accepted or not
CREATE TABLE es_secured (user_id int, item_id int, PRIMARY KEY (user_id, item_id));
ALTER TABLE es_secured ENABLE ROW LEVEL SECURITY;
SELECT pg_temp.create_source($$ 'es_bad', 'es_secured', 'user_id', 'item_id' $$);
ALTER TABLE es_secured FORCE ROW LEVEL SECURITY;
SELECT pg_temp.create_source($$ 'es_bad', 'es_secured', 'user_id', 'item_id', accept_row_level_security => true $$);
ALTER TABLE es_secured NO FORCE ROW LEVEL SECURITY;
SELECT pg_temp.create_source($$ 'es_secured', 'es_secured', 'user_id', 'item_id', accept_row_level_security => true $$);
SELECT recsys.drop_source('es_secured');

-- columns
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'nobody', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'nothing' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_type_column => 'no_type' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_value_column => 'no_value' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_time_column => 'no_time' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', session_column => 'no_session' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'user_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'ctid', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', '', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'flag', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'code' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'value' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_type_column => 'doc' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_value_column => 'type' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_time_column => 'birthday' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', session_column => 'at' $$);
ALTER TABLE es_events DROP COLUMN flag;
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'flag', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', '........pg.dropped.7........', 'item_id' $$);
CREATE DOMAIN es_number AS int;
CREATE COLLATION es_blind (provider = icu, locale = 'und', deterministic = false);
CREATE TABLE es_odd (user_id es_number, item_id int[], name text COLLATE es_blind, id int);
SELECT pg_temp.create_source($$ 'es_bad', 'es_odd', 'user_id', 'id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_odd', 'id', 'item_id' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_odd', 'id', 'name' $$);

-- weights
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', 'type', weights => '[1, 2]' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', 'type', weights => '5' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', 'type', weights => '"view"' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', 'type', weights => '{"view": "1"}' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', 'type', weights => '{"view": null}' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', 'type', weights => '{"view": {"a": 1}}' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', 'type', weights => '{"view": 1, "buy": -1}' $$);
SELECT left(pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', 'type', weights => '{"view": 1e309}' $$), 30);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', weights => '{"view": 1}' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', weights => '{"view"}' $$);

-- feedback, history_limit, half_life
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', feedback => 'Implicit' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', feedback => '' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', feedback => 'explicit' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', history_limit => 0 $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', history_limit => 100001 $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_time_column => 'at', half_life => '0' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_time_column => 'at', half_life => '-1 day' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_time_column => 'at', half_life => '1 day -25 hours' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', half_life => '1 day' $$);
SELECT pg_temp.create_source($$ 'es_bad', 'es_events', 'user_id', 'item_id', event_time_column => 'at',
	event_value_column => 'value', feedback => 'explicit', half_life => '1 day' $$);

-- the same rules hold for changes
SELECT pg_temp.attempt($$ SELECT recsys.alter_source('es_shop', weights => '{"view": 1}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.alter_source('es_shop', history_limit => -1) $$);
SELECT pg_temp.attempt($$ SELECT recsys.alter_source('es_shop', half_life => '1 day') $$);
SELECT pg_temp.attempt($$ SELECT recsys.alter_source('es_shop', session_column => 'nothing') $$);
SELECT resyncs FROM recsys.source WHERE name = 'es_shop';

-- unknown sources
SELECT pg_temp.attempt($$ SELECT recsys.alter_source('es_none') $$);
SELECT pg_temp.attempt($$ SELECT recsys.drop_source('es_none') $$);
SELECT pg_temp.attempt($$ SELECT recsys.pause('es_none') $$);
SELECT pg_temp.attempt($$ SELECT recsys.resume('es_none') $$);
SELECT pg_temp.attempt($$ SELECT recsys.resync('es_none') $$);
SELECT pg_temp.attempt($$ SELECT recsys.forget_user('es_none', '1') $$);
SELECT pg_temp.attempt($$ SELECT recsys.forget_item('es_none', '1') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('es_none', 'knn', 'item_knn') $$);
SELECT pg_temp.attempt($$ SELECT recsys.alter_source(NULL) $$);
SELECT pg_temp.attempt($$ SELECT recsys.drop_source(NULL) $$);
SELECT pg_temp.attempt($$ SELECT recsys.pause(NULL) $$);
SELECT pg_temp.attempt($$ SELECT recsys.resume(NULL) $$);
SELECT pg_temp.attempt($$ SELECT recsys.resync(NULL) $$);

-- read-only transactions
BEGIN READ ONLY;
SELECT recsys.create_source('es_bad', 'es_events', 'user_id', 'item_id');
ROLLBACK;
BEGIN READ ONLY;
SELECT recsys.pause('es_shop');
ROLLBACK;
BEGIN READ ONLY;
SELECT recsys.forget_item('es_shop', '1');
ROLLBACK;

-- nothing is left of all that
SELECT source, paused FROM recsys.sources WHERE source LIKE 'es%';
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'es%';
SELECT recsys.drop_source('es_shop');

DROP TABLE es_events, es_unlogged, es_temporary, es_parent, es_child, es_parted, es_secured, es_odd CASCADE;
DROP FOREIGN DATA WRAPPER es_wrapper CASCADE;
DROP SEQUENCE es_sequence;
DROP TYPE es_composite;
DROP DOMAIN es_number;
DROP COLLATION es_blind;
