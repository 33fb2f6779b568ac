-- Dropping: sources, and what a source stands on, in any order.
CREATE TABLE cd_events (user_id int PRIMARY KEY, item_id int);
ALTER TABLE cd_events REPLICA IDENTITY FULL;
SELECT recsys.create_source('cd_shop', 'cd_events', 'user_id', 'item_id');
SELECT recsys.create_model('cd_shop', 'knn', 'item_knn');

-- objects of the user's in the schema go silently, others are named
CREATE TABLE cd_shop.my_own (a int);
CREATE VIEW cd_shop.my_view AS SELECT * FROM cd_shop.my_own;
CREATE TYPE cd_shop.my_type AS (a cd_shop.my_own);
CREATE FUNCTION cd_shop.my_function() RETURNS int LANGUAGE sql RETURN 1;
CREATE VIEW cd_outside AS SELECT key FROM cd_shop.users;
SELECT recsys.drop_source('cd_shop');
SELECT to_regclass('cd_outside'), to_regnamespace('cd_shop');
SELECT count(*) FROM recsys.models WHERE source = 'cd_shop';

-- what was rejected goes along
SELECT recsys.create_source('cd_shop', 'cd_events', 'user_id', 'item_id');
SELECT recsys.pause('cd_shop');
INSERT INTO recsys.rejected_event
	SELECT source_id, -1, 'test', '1', '2', NULL, NULL, NULL, now() FROM recsys.source WHERE name = 'cd_shop';
INSERT INTO recsys.rejection SELECT source_id, 'test', 1 FROM recsys.source WHERE name = 'cd_shop';
SELECT source, event_no, reason, user_key, item_key FROM recsys.rejected_events WHERE source = 'cd_shop';
SELECT * FROM recsys.rejections WHERE source = 'cd_shop';
SELECT recsys.drop_source('cd_shop');
SELECT count(*) FROM recsys.rejected_event WHERE event_no = -1;
SELECT count(*) FROM recsys.rejection WHERE reason = 'test';

-- the event table can go first; the source then stands still and can be dropped
SELECT recsys.create_source('cd_shop', 'cd_events', 'user_id', 'item_id');
SELECT recsys.create_model('cd_shop', 'knn', 'item_knn');
DROP TABLE cd_events;
SELECT source, events::text ~ '^\d+$' AS only_a_number FROM recsys.sources WHERE source = 'cd_shop';
SELECT recsys.alter_source('cd_shop', session_column => 'item_id');
SELECT recsys.create_model('cd_shop', 'knn2', 'item_knn');
SELECT recsys.forget_user('cd_shop', '1'), recsys.forget_item('cd_shop', '1');
SELECT recsys.drop_source('cd_shop');

-- the schema can go first
CREATE TABLE cd_events (user_id int PRIMARY KEY, item_id int);
ALTER TABLE cd_events REPLICA IDENTITY FULL;
SELECT recsys.create_source('cd_shop', 'cd_events', 'user_id', 'item_id');
SELECT recsys.create_model('cd_shop', 'knn', 'item_knn');
SET client_min_messages = warning;
DROP SCHEMA cd_shop CASCADE;
RESET client_min_messages;
SELECT source FROM recsys.sources WHERE source = 'cd_shop';
SELECT recsys.create_model('cd_shop', 'knn2', 'item_knn');
SELECT recsys.drop_model('cd_shop', 'knn');
SELECT recsys.forget_user('cd_shop', '1');
SELECT recsys.alter_source('cd_shop', history_limit => 10);
SELECT recsys.drop_source('cd_shop');

-- the extension needs CASCADE, and then takes the schemas of the sources along
SELECT recsys.create_source('cd_shop', 'cd_events', 'user_id', 'item_id');
SELECT recsys.pause('cd_shop');
\set VERBOSITY terse
DROP EXTENSION recsys;
BEGIN;
SET LOCAL client_min_messages = warning;
DROP EXTENSION recsys CASCADE;
SELECT to_regnamespace('cd_shop'), to_regclass('recsys.source'), to_regclass('cd_events');
ROLLBACK;
\set VERBOSITY default
SELECT recsys.drop_source('cd_shop');
DROP TABLE cd_events;
