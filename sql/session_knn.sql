-- session_knn: values that can be worked out by hand.
--
-- session  clicks        different items   time
--  s1      a b           a b               2
--  s2      a b c         a b c             5
--  s3      b d b         b d               8
--  s4      c             (one: not compared with)

CREATE TABLE ses_clicks (who int, what text, session text, kind text, at timestamptz);
ALTER TABLE ses_clicks REPLICA IDENTITY FULL;
CREATE INDEX ON ses_clicks (who);
INSERT INTO ses_clicks SELECT who, what, session, 'view', timestamptz '2024-01-01 00:00+00' + n * interval '1 minute'
FROM (VALUES (1, 1, 'a', 's1'), (2, 1, 'b', 's1'), (3, 2, 'a', 's2'), (4, 2, 'b', 's2'), (5, 2, 'c', 's2'),
	(6, 3, 'b', 's3'), (7, 3, 'd', 's3'), (8, 3, 'b', 's3'), (9, 4, 'c', 's4'), (10, 4, 'd', NULL)) v(n, who, what, session);
SELECT recsys.create_source('ses', 'ses_clicks', 'who', 'what', 'kind', event_time_column => 'at', session_column => 'session',
	weights => '{"view": 1, "buy": 2, "seen": 0}');
SELECT recsys.create_model('ses', 'plain', 'session_knn', '{"idf": 0}');
SELECT recsys.create_model('ses', 'rare', 'session_knn', '{"last_items": 2, "neighbors": 1, "repeats": "older"}');
SELECT recsys.wait_for('ses');
SELECT model, params, state FROM recsys.models WHERE source = 'ses' ORDER BY model;
SELECT sessions, pairs FROM ses.plain_state;

-- b: s1, s2, s3 are like it, 1 each, which count 0.9: a 1.8, c and d 0.9
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend_session('{b}', 3, 'plain');
-- a b, L = U = 2: b (2 - 0) / 2 = 1, a (2 - 1) / 2 = 0.5: s2 1.5, s1 1.5, s3 1; c 0.9 * 1.5, d 0.9 * 1
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend_session('{a,b}', 2, 'plain');
-- b c a b, L = 4, U = 3: b 4/3, a 2/3, c 1/3: s2 7/3, s1 2, s3 4/3; d 0.9 * 4/3
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend_session('{b,c,a,b}', 1, 'plain');
-- c d: d 1, c 0.5: s3 has d, s2 has c only, which is the second newest: 0.8 * 0.5; a 0.4, b 0.4 + 0.9
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend_session('{c,d}', 2, 'plain');
-- unknown items and NULL do not count, an empty session gets popular
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend_session('{zzz,b,NULL}', 1, 'plain');
SELECT count(*) FROM ses.recommend_session('{}', 3, 'plain');
SELECT count(*) FROM ses.recommend_session(NULL, 3, 'plain');

-- the nearest of a b is s2 (s1 is as near and older), N = 7 pairs: c 0.9 * 1.5 * ln(7/1), a 0.9 * 1.5 * ln(7/2)
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend_session('{a,b}', 2, 'rare');

-- user 1 has a, b
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend(1, 2, 'plain');
SELECT round(ses.predict(1, 'c', 'plain')::numeric, 6) AS c, ses.predict(1, 'zzz', 'plain') AS unknown, ses.predict(77, 'a', 'plain') AS nobody;
-- 0.9 of b, 0.45 of a
SELECT because_item_id, round(contribution::numeric, 6) AS contribution FROM ses.explain(1, 'c', 5, 'plain');
-- an event of this very transaction: the newest item of user 1 is d now
BEGIN;
INSERT INTO ses_clicks VALUES (1, 'd', 's5', 'view', '2024-01-01 01:00+00');
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend(1, 1, 'plain');
ROLLBACK;

-- of the 3 sessions with b, 2 have a
SELECT item_id, round(score::numeric, 6) AS score FROM ses.similar_items('b', 5, 'plain');
SELECT * FROM ses.similar_items('zzz', 5, 'plain');

-- offline a user's history is a session: of a alone b is found, from a b
SELECT metric, round(value::numeric, 4) AS value FROM recsys.evaluate('ses', 'plain', 1) WHERE metric IN ('users', 'hit_rate');

-- a click more makes c and s4 a session to compare with; events without weight do not count
INSERT INTO ses_clicks VALUES (4, 'a', 's4', 'view', '2024-01-01 02:00+00'), (4, 'b', 's4', 'seen', '2024-01-01 02:00+00');
SELECT recsys.wait_for('ses');
SELECT sessions, pairs FROM ses.plain_state;
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend_session('{c}', 3, 'plain');
-- what goes is taken back
DELETE FROM ses_clicks WHERE session = 's4' AND what = 'a';
UPDATE ses_clicks SET session = 's1' WHERE what = 'c' AND session = 's2';
SELECT recsys.forget_user('ses', '3', delete_events => true);
SELECT recsys.wait_for('ses');
SELECT sessions, pairs FROM ses.plain_state;
SELECT items.key AS item, cardinality(p.sessions) AS sessions FROM ses.plain_postings p JOIN ses.items ON id = item_id ORDER BY 1;
SELECT item_id, round(score::numeric, 6) AS score FROM ses.recommend_session('{c}', 2, 'plain');

-- sessions by gaps in time: 1's clicks are parted where more than the gap lies between them
SELECT recsys.create_source('gap', 'ses_clicks', 'who', 'what', event_time_column => 'at');
SELECT recsys.create_model('gap', 'minute', 'session_knn', '{"session_gap": "1 minute", "min_length": 1}');
SELECT recsys.create_model('gap', 'second', 'session_knn', '{"session_gap": "1 second", "min_length": 1}');
SELECT recsys.wait_for('gap');
SELECT m.sessions AS by_minute, s.sessions AS by_second FROM gap.minute_state m, gap.second_state s;
-- one in between joins two
INSERT INTO ses_clicks SELECT who, what, 's9', 'view', at + interval '30 seconds' FROM ses_clicks WHERE who = 2 AND what = 'a';
SELECT recsys.alter_model('gap', 'second', '{"session_gap": "30 seconds"}');
SELECT recsys.wait_for('gap');
SELECT m.sessions AS by_minute, s.sessions AS by_half FROM gap.minute_state m, gap.second_state s;

-- the source comes to have sessions of its own
SELECT recsys.alter_source('gap', session_column => 'session');
SELECT recsys.wait_for('gap');
SELECT m.sessions AS by_session, s.sessions AS by_session_too FROM gap.minute_state m, gap.second_state s;

-- what tells sessions apart, and which events count
SELECT recsys.create_model('ses', 'bad', 'session_knn', '{"session_column": "nothing"}');
SELECT recsys.create_model('ses', 'bad', 'session_knn', '{"event_types": ["view", "seen"]}');
SELECT recsys.create_model('ses', 'bad', 'session_knn', '{"event_types": "view"}');
SELECT recsys.create_model('ses', 'bad', 'session_knn', '{"event_types": []}');
SELECT recsys.create_model('gap', 'bad', 'session_knn', '{"event_types": ["view"]}');
SELECT recsys.alter_model('gap', 'minute', '{"event_types": ["view"]}');
SELECT recsys.create_model('ses', 'bad', 'session_knn', '{"session_column": ""}');
SELECT recsys.create_model('ses', 'bad', 'session_knn', '{"session_gap": "soon"}');
SELECT recsys.create_model('ses', 'bad', 'session_knn', '{"min_length": 5, "max_length": 4}');
SELECT recsys.create_model('ses', 'bad', 'session_knn', '{"repeats": "some"}');
SELECT recsys.create_model('ses', 'bad', 'session_knn', '{"last_items": 51}');
CREATE TABLE ses_none (who int, what int);
SELECT recsys.create_source('none', 'ses_none', 'who', 'what');
SELECT recsys.create_model('none', 'bad', 'session_knn');
SELECT ses.similar_users(1, 5, 'plain');

-- types of the type char(n) are padded with blanks, which do not count
CREATE TABLE ses_padded (who int, what int, session text, kind char(10));
CREATE INDEX ON ses_padded (who);
ALTER TABLE ses_padded REPLICA IDENTITY FULL;
INSERT INTO ses_padded VALUES (1, 1, 's', 'view'), (1, 2, 's', 'view'), (1, 3, 's', 'buy');
SELECT recsys.create_source('padded', 'ses_padded', 'who', 'what', 'kind', weights => '{"view": 1, "buy": 1}');
SELECT recsys.create_model('padded', 'viewed', 'session_knn', '{"session_column": "session", "event_types": ["view"]}');
SELECT recsys.wait_for('padded');
SELECT sessions, pairs FROM padded.viewed_state;
SELECT recsys.drop_source('padded');

SELECT recsys.drop_model('ses', 'rare');
SELECT count(*) FROM pg_class WHERE relnamespace = 'ses'::regnamespace AND relname LIKE 'rare%';
SELECT recsys.drop_source('ses');
SELECT recsys.drop_source('gap');
SELECT recsys.drop_source('none');
DROP TABLE ses_clicks, ses_none, ses_padded;
