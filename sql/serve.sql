-- Answers of shop.* from stored state.  The source is paused before its worker
-- starts, and the state is filled in by hand, so that every score can be
-- worked out on paper.
CREATE TABLE serve_events (who int, what int, kind text, at timestamptz DEFAULT now());
CREATE INDEX ON serve_events (who);
ALTER TABLE serve_events REPLICA IDENTITY FULL;

-- a transaction as one sees it that wants no NOTICE
SET client_min_messages = warning;
BEGIN;
SELECT recsys.create_source('serve', 'serve_events', 'who', 'what', 'kind',
	event_time_column => 'at', weights => '{"view": 1, "buy": 5}');
SELECT recsys.pause('serve');
COMMIT;

-- before the backfill there is nothing
SELECT * FROM serve.recommend(1);
SELECT * FROM serve.popular();
SELECT * FROM serve.similar_items(1);
SELECT serve.predict(1, 1);
SELECT * FROM serve.explain(1, 1);
SELECT * FROM serve.item_similarity;

-- ten items: item number n has key 10 n and n users fewer than 30; number 10
-- is known but has no user (any more)
INSERT INTO serve.items
	SELECT n, 10 * n, CASE WHEN n < 10 THEN 30 - n ELSE 0 END, 30 - n, 1, 0
	FROM generate_series(1, 10) n;
-- the published list holds the first six
INSERT INTO serve.popular_items SELECT n, n, 30 - n FROM generate_series(1, 6) n;
INSERT INTO serve.users VALUES (1, 101), (2, 102), (3, 103);
INSERT INTO serve.profiles VALUES
	(1, 0, 0, '{1}', '{2}', '{1}', '{700000000000000}'),
	(1, 1, 0, '{2}', '{4}', '{1}', '{700000001000000}'),
	(2, 0, 0, '{7}', '{1}', '{1}', '{700000000000000}');
INSERT INTO serve.state SELECT true, '0/0', ARRAY[0, pg_current_xact_id()::text::int8 + 1],
	system_identifier, d.oid, 'none', 4, 11, 0, 3, 0, 0, now(), 0, '{}', '{}'
	FROM pg_control_system(), pg_database d WHERE datname = current_database();

-- no model: popular, with its scores; beyond the list all items in order
SELECT * FROM serve.popular(3);
SELECT * FROM serve.popular(100);
SELECT * FROM serve.recommend(999, 3);
SELECT * FROM serve.recommend(NULL, 3);
SELECT * FROM serve.recommend(101, 3);
SELECT * FROM serve.recommend(101, 3, exclude_seen => false);
SELECT * FROM serve.similar_items(20, 3);
SELECT serve.predict(101, 30);

-- a model that is building answers from popular
SELECT recsys.create_model('serve', 'near', 'item_knn');
SELECT * FROM serve.recommend(101, 3);
SELECT * FROM serve.recommend(101, 3, 'near');
SELECT * FROM serve.similar_items(20, 3);
SELECT serve.predict(101, 30);
SELECT * FROM serve.explain(101, 30);

-- neighbours of the first two items; number 99 was forgotten
INSERT INTO serve.near_neighbors VALUES
	(1, '{3,99,4,2}', '{0.5,0.45,0.25,0.125}'),
	(2, '{5,3,4,1}', '{0.75,0.5,0.5,0.125}');
UPDATE recsys.model SET state = 'ready' WHERE name = 'near';

-- 3: 2 * 0.5 + 4 * 0.5; 4: 2 * 0.25 + 4 * 0.5; 5: 4 * 0.75
SELECT * FROM serve.recommend(101);
SELECT * FROM serve.recommend(101, 2);
SELECT * FROM serve.recommend(101, 5, exclude_seen => false);
SELECT item_id, sum(score) AS explained FROM (VALUES (30), (40), (50)) i (item),
	LATERAL (SELECT i.item AS item_id, e.contribution AS score FROM serve.explain(101, i.item) e) e
	GROUP BY item_id ORDER BY item_id;
SELECT * FROM serve.explain(101, 40);
SELECT * FROM serve.explain(101, 40, 1);
SELECT serve.predict(101, 30), serve.predict(101, 40), serve.predict(101, 90) AS none,
	serve.predict(999, 30) AS no_user, serve.predict(101, 999) AS no_item,
	serve.predict(NULL, 30) AS null_user, serve.predict(101, NULL) AS null_item;

-- a user whose items have no neighbours gets popular without them
SELECT * FROM serve.recommend(102, 4);
-- a known user without history, and an unknown one
SELECT * FROM serve.recommend(103, 2);
SELECT * FROM serve.recommend(999, 2);
SELECT * FROM serve.recommend(999, 2, exclude => '{10}');

-- items restricts, exclude removes; NULL and unknown elements are ignored
SELECT * FROM serve.recommend(101, 10, items => '{90,30,NULL,12345,70,30,10}');
SELECT * FROM serve.recommend(101, 10, items => '{90,30,70,10}', exclude_seen => false);
SELECT * FROM serve.recommend(101, 10, items => '{100}');
SELECT * FROM serve.recommend(101, 10, items => '{}');
SELECT * FROM serve.recommend(101, 2, items => '{}', exclude => '{}');
SELECT * FROM serve.recommend(999, 2, items => '{90,80,70}');
SELECT * FROM serve.recommend(101, 3, exclude => '{30,NULL,60,9223372036854775807}');
SELECT * FROM serve.recommend(101, 3, items => '{30,40}', exclude => '{30}');
SELECT * FROM serve.recommend(101, 3, items => '{{30,40},{50,60}}');
-- every item that qualifies comes, whatever the length of the published list
SELECT count(*), min(item_id), max(item_id) FROM serve.recommend(999, 1000000);
SELECT array_agg(item_id) FROM serve.recommend(101, 2147483647);

-- sessions
SELECT * FROM serve.recommend_session('{10,20}', 4);
SELECT * FROM serve.recommend_session('{10,20,10,NULL,777}', 4);
SELECT * FROM serve.recommend_session('{}', 2);
SELECT * FROM serve.recommend_session(NULL, 2);
SELECT * FROM serve.recommend_session('{777}', 2);

-- similar items: what is stored, no more
SELECT * FROM serve.similar_items(10);
SELECT * FROM serve.similar_items(10, 1);
SELECT * FROM serve.similar_items(10, 2147483647);
SELECT * FROM serve.similar_items(30);
SELECT * FROM serve.similar_items(12345);
SELECT * FROM serve.similar_items(NULL);
SELECT * FROM serve.similar_items(99999999999);

-- equal scores: smaller item number first
UPDATE serve.near_neighbors SET neighbors = '{9,8,7,6}', scores = '{0.5,0.5,0.5,0.5}' WHERE item_id = 2;
DELETE FROM serve.near_neighbors WHERE item_id = 1;
SELECT * FROM serve.recommend(101, 4);

-- more than one model; the default is the first unless another is set
SELECT recsys.create_model('serve', 'hits', 'popular');
SELECT * FROM serve.recommend(101, 2);
UPDATE recsys.model SET state = 'ready' WHERE name = 'hits';
SELECT * FROM serve.recommend(101, 2, 'hits');
SELECT * FROM serve.recommend(101, 2, model => 'hits', exclude_seen => false);
SELECT * FROM serve.similar_items(10, 2, 'hits');
SELECT serve.predict(101, 30, 'hits');
SELECT * FROM serve.explain(101, 30, model => 'hits');
SELECT recsys.set_default_model('serve', 'hits');
SELECT * FROM serve.recommend(101, 2);
SELECT recsys.set_default_model('serve', 'near');
SELECT * FROM serve.recommend(101, 2);
-- a session sees the changes of its own transaction, and their undoing
BEGIN;
SELECT recsys.drop_model('serve', 'near');
SELECT * FROM serve.recommend(101, 2);
ROLLBACK;
SELECT * FROM serve.recommend(101, 2);

-- negative scores, of ratings: behind popular
UPDATE serve.profiles SET weights = '{-4}' WHERE user_id = 1 AND segment = 1;
SELECT * FROM serve.recommend(101, 100);
SELECT * FROM serve.explain(101, 90);
UPDATE serve.profiles SET weights = '{4}' WHERE user_id = 1 AND segment = 1;

-- views
SELECT * FROM serve.interactions ORDER BY 1, 2;
SELECT * FROM serve.item_similarity ORDER BY 1, 2, 3;
SELECT recsys.drop_model('serve', 'hits');
SELECT count(*) FROM serve.item_similarity;

-- joins without casts, as rows and from a select list
SELECT r.item_id, p.name
	FROM serve.recommend(101, 2) r JOIN (VALUES (60, 'six'), (70, 'seven')) p (id, name) ON p.id = r.item_id
	ORDER BY 1;
SELECT serve.recommend(101, 2);
SELECT u, r.* FROM (VALUES (101), (102)) v (u), serve.recommend(v.u, 1) r;
-- untyped parameters of a driver
PREPARE asked AS SELECT * FROM serve.recommend($1, $2, $3, $4, $5, $6);
EXECUTE asked('101', '1', 'near', 'true', '{80,70}', NULL);
DEALLOCATE asked;

-- bad calls
\set VERBOSITY default
SELECT * FROM serve.recommend(101, 0);
SELECT * FROM serve.recommend(101, -1);
SELECT * FROM serve.recommend_session('{10}', 0);
SELECT * FROM serve.similar_items(10, 0);
SELECT * FROM serve.popular(0);
SELECT * FROM serve.explain(101, 30, 0);
SELECT * FROM serve.recommend(101, 10, 'nosuch');
SELECT * FROM serve.recommend_session('{10}', model => 'nosuch');
SELECT * FROM serve.similar_items(12345, model => 'nosuch');
SELECT serve.predict(101, 10, 'nosuch');
SELECT * FROM serve.explain(101, 10, model => 'nosuch');
-- NULL for a number or a switch means its default
SELECT count(*) FROM serve.recommend(101, NULL, NULL, NULL, NULL, NULL);
SELECT count(*) FROM serve.popular(NULL);

-- read-only transactions
BEGIN READ ONLY;
SELECT count(*) FROM serve.recommend(101);
SELECT count(*) FROM serve.popular(since => '1 day');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid;
COMMIT;
-- parallel workers
SET force_parallel_mode = on;
SELECT count(*), max(score) FROM serve.recommend(101);
SELECT serve.predict(101, 60);
RESET force_parallel_mode;

-- all functions are described, read-only (but for one), and nobody's but the owner's
SELECT p.proname, p.provolatile, p.prosecdef, p.proparallel, p.proconfig
	FROM pg_proc p WHERE pronamespace = 'serve'::regnamespace AND NOT (p.provolatile = 's'
	AND p.prosecdef AND p.proparallel = 's' AND p.proconfig = '{"search_path=pg_catalog, pg_temp"}'
	AND obj_description(p.oid) IS NOT NULL AND NOT has_function_privilege('pg_monitor', p.oid, 'execute'));
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relnamespace = 'serve'::regnamespace AND c.relkind = 'v'
	AND (obj_description(c.oid) IS NULL OR col_description(c.oid, a.attnum) IS NULL);

-- state that somebody has tampered with is an error, not a crash
BEGIN;
UPDATE serve.profiles SET weights = '{1,2}' WHERE user_id = 2;
SELECT * FROM serve.recommend(102);
ROLLBACK;
BEGIN;
UPDATE serve.profiles SET items = '{NULL}' WHERE user_id = 2;
SELECT * FROM serve.recommend(102);
ROLLBACK;
BEGIN;
ALTER TABLE serve.popular_items ALTER score TYPE text;
SELECT * FROM serve.recommend(999);
ROLLBACK;
BEGIN;
DROP VIEW serve.interactions, serve.item_similarity, serve.item_factors;
ALTER TABLE serve.items ALTER key TYPE text;
SELECT * FROM serve.recommend(101);
ROLLBACK;
BEGIN;
ALTER TABLE serve.users DROP CONSTRAINT users_key_key;
CREATE INDEX users_key_key ON serve.users (id);
SELECT * FROM serve.recommend(101);
ROLLBACK;
SELECT * FROM serve.recommend(101, 1);

-- the events table may go: the stored state serves on
BEGIN;
DROP TABLE serve_events;
SELECT * FROM serve.recommend(101, 1);
SELECT * FROM serve.popular(since => '1 day');
ROLLBACK;

SELECT recsys.drop_source('serve');
DROP TABLE serve_events;
