-- trending and popular within a window, from counts filled in by hand: the
-- source is paused before its worker starts.
CREATE TABLE trending_events (who int, what int, kind text, at timestamptz DEFAULT now());
CREATE INDEX ON trending_events (who);
ALTER TABLE trending_events REPLICA IDENTITY FULL;
CREATE TABLE trending_timeless (who int, what int);
CREATE INDEX ON trending_timeless (who);
ALTER TABLE trending_timeless REPLICA IDENTITY FULL;
SET client_min_messages = warning;
BEGIN;
SELECT recsys.create_source('tr', 'trending_events', 'who', 'what', 'kind', event_time_column => 'at');
SELECT recsys.pause('tr');
SELECT recsys.create_source('tr_timeless', 'trending_timeless', 'who', 'what');
SELECT recsys.pause('tr_timeless');
COMMIT;

-- eight items: number n has key 10 n, and is the more popular the smaller n is
INSERT INTO tr.items SELECT n, 10 * n, 30 - n, 30 - n, 1, 0 FROM generate_series(1, 8) n;
INSERT INTO tr.popular_items SELECT n, n, 30 - n FROM generate_series(1, 8) n;
INSERT INTO tr.users VALUES (1, 101);
INSERT INTO tr.profiles VALUES (1, 0, 0, '{4}', '{2}', '{1}', '{700000000000000}');
INSERT INTO tr.state SELECT true, '0/0', ARRAY[0, pg_current_xact_id()::text::int8 + 1],
	system_identifier, d.oid, 'none', 2, 9, 0, 1, 0, 0, now(), 0, '{}', '{}'
	FROM pg_control_system(), pg_database d WHERE datname = current_database();

SELECT * FROM tr.trending();
SELECT recsys.create_model('tr', 'hot', 'trending');
SELECT recsys.create_model('tr', 'week', 'popular', '{"window": "1 week"}');
SELECT recsys.create_model('tr', 'hits', 'popular');
SELECT model, algorithm, params FROM recsys.models WHERE source = 'tr' ORDER BY 1;
-- while it is building
SELECT * FROM tr.trending();
SELECT * FROM tr.recommend_explained(101, 2);
UPDATE recsys.model SET state = 'ready';
-- before anything is published
SELECT * FROM tr.trending();
SELECT * FROM tr.recommend_explained(101, 2);
SELECT tr.predict(101, 20), tr.predict(101, 20, 'week');

-- All things: 1,000 events now, 6,000 before.  20 had 100 of these and is expected
-- to have 16.7 now, but has 60; 30 is new; 40 has 3 times what is expected; 50
-- keeps its share; 60 is new with two events; 99 was forgotten.
BEGIN;
INSERT INTO tr.hot_top SELECT rank, item, n, n + p, now() FROM (VALUES
	(0, 0, 1000, 6000), (1, 2, 60, 100), (2, 3, 12, 0), (3, 4, 90, 180), (4, 5, 50, 300), (5, 6, 2, 0), (6, 99, 90, 10)) v (rank, item, n, p);
CREATE VIEW trending_packed AS SELECT model, block, array_agg(coalesce(recent, 0) ORDER BY i) AS recent,
	array_agg(coalesce(longer, 0) ORDER BY i) AS longer, array_agg(coalesce(longer + recent, 0)::int8 ORDER BY i) AS events,
	array_agg(coalesce(extract(epoch FROM as_of - '2000-01-01 UTC') * 1000000, 0)::int8 ORDER BY i) AS as_of
	FROM (VALUES ('hot'), ('week')) m (model) CROSS JOIN generate_series(1, 4) block
	CROSS JOIN LATERAL generate_series(block * 32 - 32, block * 32 - 1) i LEFT JOIN (SELECT 'hot', * FROM tr.hot_top UNION ALL SELECT 'week', * FROM tr.week_top) t (of, rank, item_id, recent, longer, as_of)
	ON item_id = i AND of = model GROUP BY 1, 2;
INSERT INTO tr.hot_counts SELECT block, recent, longer, events, as_of FROM trending_packed WHERE model = 'hot';
INSERT INTO tr.week_top SELECT rank, item, n, 0, now() - age FROM (VALUES
	(0, 0, 1000, interval '0'), (1, 3, 70, '0'), (2, 2, 100, '1 week'), (3, 7, 30, '0')) v (rank, item, n, age);
INSERT INTO tr.week_counts SELECT block, recent, longer, events, as_of FROM trending_packed WHERE model = 'week';
DROP VIEW trending_packed;

SELECT * FROM tr.trending();
SELECT item_id, score, events, expected FROM (VALUES (20, 60, 100 / 6.0), (30, 12, 0), (40, 90, 30)) v (i, n, e),
	LATERAL (SELECT i AS item_id, v.n AS events, e::real AS expected,
		((n + 2) / (e + 2) * (1 - var / 9 - 2.33 / 3 * sqrt(var)) ^ 3)::real AS score
		FROM (SELECT 1 / (n + 2.0) + e / 6 / (e + 2) ^ 2 AS var) x) s ORDER BY score DESC;
SELECT * FROM tr.trending(1);
SELECT * FROM tr.trending(model => 'hot');
-- the same as recommendations: to anybody, without what is seen, excluded or not wanted
SELECT * FROM tr.recommend_explained(999, 5, 'hot');
SELECT * FROM tr.recommend_explained(101, 3, 'hot');
SELECT * FROM tr.recommend_explained(101, 3, 'hot', exclude => '{20}', exclude_seen => false);
SELECT * FROM tr.recommend_explained(101, 5, 'hot', items => '{30,50,70}');
SELECT * FROM tr.recommend_session_explained('{30}', 2, 'hot');
SELECT tr.predict(999, 20, 'hot'), tr.predict(999, 50, 'hot') < 1 AS no_trend, tr.predict(999, 60, 'hot') < 1 AS two_clicks,
	tr.predict(999, 70, 'hot') AS no_events;
SELECT * FROM tr.explain(101, 20, model => 'hot');

-- popular within a week: 100 of a week ago count e^-1
SELECT * FROM tr.recommend_explained(999, 4, 'week');
SELECT * FROM tr.recommend_explained(999, 4, 'week', items => '{20,70,80}');
SELECT tr.predict(999, 20, 'week'), 100 * exp(-1)::real AS must;
-- of all times: the list of the source
SELECT * FROM tr.recommend_explained(999, 2, 'hits');
COMMIT;

-- as a fallback, for somebody unknown and behind a short list
SELECT recsys.create_model('tr', 'near', 'item_knn');
UPDATE recsys.model SET state = 'ready';
INSERT INTO tr.near_neighbors VALUES (4, '{8}', '{0.5}');
SELECT recsys.set_default_model('tr', 'near');
SELECT recsys.set_fallback('tr', '{hot,week}');
SELECT item_id, from_model, reason FROM tr.recommend_explained(999, 5);
SELECT item_id, from_model, reason FROM tr.recommend_explained(101, 5);
-- the default model is none of trends: the oldest that is
SELECT count(*) FROM tr.trending();

-- with time everything calms down
UPDATE tr.hot_top SET as_of = as_of - interval '1 year';
SELECT * FROM tr.trending();

-- what is wrong
SELECT * FROM tr.trending(0);
SELECT * FROM tr.trending(model => 'week');
SELECT * FROM tr.trending(model => 'nobody');
SELECT recsys.create_model('tr_timeless', 'hot', 'trending');
SELECT recsys.create_model('tr_timeless', 'week', 'popular', '{"window": "7 days"}');
SELECT recsys.create_model('tr_timeless', 'hits', 'popular');
SELECT recsys.alter_model('tr_timeless', 'hits', '{"window": "7 days"}');
SELECT recsys.create_model('tr', 'odd', 'trending', '{"window": "1 day", "baseline": "36 hours"}');
SELECT recsys.alter_model('tr', 'hot', '{"baseline": "1 day"}');
SELECT recsys.create_model('tr', 'odd', 'trending', '{"window": 5}');
SELECT recsys.create_model('tr', 'odd', 'trending', '{"window": "soon"}');
SELECT recsys.create_model('tr', 'odd', 'trending', '{"window": "0 s"}');
SELECT recsys.create_model('tr', 'odd', 'trending', '{"window": null}');
SELECT recsys.create_model('tr', 'odd', 'popular', '{"window": "-1 day"}');
SELECT recsys.create_model('tr', 'odd', 'popular', '{"window": "200 years"}');
SELECT recsys.create_model('tr', 'odd', 'trending', '{"z": -1}');
SELECT recsys.create_model('tr', 'odd', 'trending', '{"prior": 0}');
SELECT recsys.create_model('tr', 'odd', 'trending', '{"halflife": "1 day"}');
-- tables that somebody has altered
ALTER TABLE tr.hot_top RENAME recent TO lately;
ALTER TABLE tr.hot_top ALTER lately TYPE real;
SELECT * FROM tr.trending();

SELECT recsys.drop_model('tr', 'hot');
SELECT recsys.drop_model('tr', 'week');
SELECT count(*) FROM pg_class WHERE relnamespace = 'tr'::regnamespace AND relname ~ '^(hot|week)';
SELECT recsys.drop_source('tr'), recsys.drop_source('tr_timeless');
DROP TABLE trending_events, trending_timeless;
