-- What fills up short answers, in which order, and why each row is there.  The
-- source is paused before its worker starts, and the state filled in by hand.
CREATE TABLE fallback_events (who int, what int, kind text, at timestamptz DEFAULT now());
CREATE INDEX ON fallback_events (who);
ALTER TABLE fallback_events REPLICA IDENTITY FULL;
SET client_min_messages = warning;
BEGIN;
SELECT recsys.create_source('fb', 'fallback_events', 'who', 'what', 'kind', event_time_column => 'at');
SELECT recsys.pause('fb');
COMMIT;

-- eight items: number n has key 10 n, and is the more popular the smaller n is
INSERT INTO fb.items SELECT n, 10 * n, 30 - n, 30 - n, 1, 0 FROM generate_series(1, 8) n;
INSERT INTO fb.popular_items SELECT n, n, 30 - n FROM generate_series(1, 8) n;
INSERT INTO fb.users VALUES (1, 101), (2, 102);
-- user 101 has item 10, user 102 item 70
INSERT INTO fb.profiles VALUES
	(1, 0, 0, '{1}', '{2}', '{1}', '{700000000000000}'),
	(2, 0, 0, '{7}', '{1}', '{1}', '{700000000000000}');
INSERT INTO fb.state SELECT true, '0/0', ARRAY[0, pg_current_xact_id()::text::int8 + 1],
	system_identifier, d.oid, 'none', 3, 9, 0, 2, 0, 0, now(), 0, '{}', '{}'
	FROM pg_control_system(), pg_database d WHERE datname = current_database();

-- without a model
SELECT * FROM fb.recommend_explained(101, 3);
SELECT * FROM fb.recommend_explained(999, 3);

SELECT recsys.create_model('fb', 'near', 'item_knn');
SELECT recsys.create_model('fb', 'follow', 'sequence_knn');
SELECT recsys.create_model('fb', 'hits', 'popular');
INSERT INTO fb.near_neighbors VALUES (1, '{3,4}', '{0.5,0.25}');
INSERT INTO fb.follow_neighbors VALUES (1, '{4,5}', '{0.75,0.5}'), (7, '{6,2}', '{0.5,0.25}');

-- while a model is building
SELECT * FROM fb.recommend_explained(101, 2);
UPDATE recsys.model SET state = 'ready';

-- without a fallback: the model, then popular
SELECT * FROM fb.recommend_explained(101, 4);
SELECT * FROM fb.recommend_explained(102, 2);
SELECT * FROM fb.recommend_explained(999, 2);
SELECT * FROM fb.recommend_explained(NULL, 2);
SELECT * FROM fb.recommend_explained(101, 2, 'hits');

-- near has two items for 101 and none for 102: follow is asked next, and only
-- what the answer has not is taken
SELECT recsys.set_fallback('fb', '{follow}');
SELECT model, fallback FROM recsys.models WHERE source = 'fb' ORDER BY 1;
SELECT * FROM fb.recommend_explained(101, 5);
SELECT * FROM fb.recommend_explained(102, 4);
SELECT * FROM fb.recommend_explained(999, 2);
-- the same rows without reasons
SELECT count(*) FROM (SELECT * FROM fb.recommend(101, 5) EXCEPT
	SELECT item_id, score FROM fb.recommend_explained(101, 5)) x;
-- excluded, seen and restricted items are so for each model
SELECT * FROM fb.recommend_explained(102, 4, exclude => '{60}');
SELECT * FROM fb.recommend_explained(102, 4, exclude_seen => false);
SELECT * FROM fb.recommend_explained(102, 4, items => '{20,30,70}');
-- the model asked for is not asked again
SELECT * FROM fb.recommend_explained(102, 4, 'follow');
-- sessions
SELECT * FROM fb.recommend_session_explained('{10}', 5);
SELECT * FROM fb.recommend_session_explained('{70}', 3);
SELECT * FROM fb.recommend_session_explained('{}', 2);
SELECT item_id, score FROM fb.recommend_session('{70}', 3);

-- one that is building is passed over, popular has its own place
UPDATE recsys.model SET state = 'building' WHERE name = 'follow';
SELECT * FROM fb.recommend_explained(102, 2);
UPDATE recsys.model SET state = 'ready' WHERE name = 'follow';
SELECT recsys.set_fallback('fb', '{hits,follow}');
SELECT * FROM fb.recommend_explained(102, 2);
SELECT recsys.set_fallback('fb', '{follow,hits}');
SELECT * FROM fb.recommend_explained(102, 3);

-- a model that is dropped leaves the order
SELECT recsys.drop_model('fb', 'follow');
SELECT model, fallback FROM recsys.models WHERE source = 'fb' ORDER BY 1;
SELECT * FROM fb.recommend_explained(102, 2);
SELECT recsys.set_fallback('fb', NULL);
SELECT * FROM fb.recommend_explained(102, 2);
SELECT recsys.set_fallback('fb', '{hits}');
SELECT recsys.set_fallback('fb', '{}');
SELECT count(fallback) FROM recsys.models WHERE source = 'fb';

-- scores below 0, of ratings, stand behind popular, and never rise
UPDATE fb.profiles SET weights = '{-4}' WHERE user_id = 1;
SELECT * FROM fb.recommend_explained(101, 8);
SELECT bool_and(score <= lag) FROM (SELECT score, lag(score) OVER () FROM fb.recommend(101, 8)) s;

-- what is wrong
SELECT recsys.set_fallback('fb', '{near,nobody}');
SELECT recsys.set_fallback('fb', '{near,hits,near}');
SELECT recsys.set_fallback('fb', '{near,NULL}');
SELECT recsys.set_fallback('nosuch', '{near}');
SELECT recsys.set_fallback(NULL, '{near}');
CREATE ROLE fallback_other;
SET ROLE fallback_other;
SELECT recsys.set_fallback('fb', '{hits}');
SELECT * FROM fb.recommend_explained(101, 3);
RESET ROLE;
DROP ROLE fallback_other;
SELECT * FROM fb.recommend_explained(101, 0);
SELECT * FROM fb.recommend_explained(101, 3, 'nobody');

SELECT recsys.drop_source('fb');
DROP TABLE fallback_events;
