-- Values and times at the ends of their types: rejected by reason or counted,
-- and nothing is left of what is deleted again.
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE TABLE ev_events (u bigint, i int, t text, v float8, ts timestamptz);
CREATE INDEX ON ev_events (u);
ALTER TABLE ev_events REPLICA IDENTITY FULL;
SELECT recsys.create_source('ev', 'ev_events', 'u', 'i', 't', 'v', 'ts',
	weights => '{"a": 1, "big": 1e9, "tiny": 1e-300}');
SELECT recsys.create_model('ev', 'knn', 'item_knn');
SELECT recsys.create_source('ev_half', 'ev_events', 'u', 'i', 't', 'v', 'ts',
	weights => '{"a": 1, "big": 1e9, "tiny": 1e-300}', half_life => '1 second');
SELECT recsys.create_model('ev_half', 'knn', 'item_knn');
SELECT recsys.create_source('ev_stars', 'ev_events', 'u', 'i', NULL, 'v', 'ts', feedback => 'explicit');
SELECT recsys.wait_for('ev'), recsys.wait_for('ev_half'), recsys.wait_for('ev_stars');
INSERT INTO ev_events SELECT g % 20, g % 13, 'a', 1, now() - interval '1 day' FROM generate_series(1, 400) g;
INSERT INTO ev_events VALUES
	(1, 1, 'big', 1e10, now()), (1, 1, 'big', 1.5, now()), (1, 2, 'a', 1e300, now()),
	(1, 2, 'big', 1e308, now()), (2, 2, 'a', -1e308, now()),
	(2, 3, 'a', 5e-324, now()), (2, 3, 'tiny', 1e-300, now()), (2, 4, 'a', '-0', now()),
	(4, 5, 'a', 'NaN', now()), (4, 5, 'a', 'infinity', now()), (4, 5, 'a', '-infinity', now()),
	(5, 5, 'a', 1, 'infinity'), (5, 5, 'a', 1, '-infinity'), (5, 6, 'a', 1, '4713-01-01 BC'),
	(5, 7, 'a', 1, '5000-01-01'), (7, 9, 'a', 1, '294276-12-31 23:00'),
	(9223372036854775807, -2147483648, 'a', 1, '1900-01-01'), (-9223372036854775808, 2147483647, 'a', 1, now());
SELECT recsys.wait_for('ev'), recsys.wait_for('ev_half'), recsys.wait_for('ev_stars');
SELECT source, reason, events FROM recsys.rejections WHERE source LIKE 'ev%' ORDER BY source, reason COLLATE "C";
SELECT source, state, failures FROM recsys.status WHERE source LIKE 'ev%' ORDER BY 1;
SELECT key, users, total, sumsq FROM ev.items WHERE key NOT BETWEEN 6 AND 12 ORDER BY key;
SELECT bool_and(total BETWEEN 0 AND 1e308), bool_and(sumsq BETWEEN 0 AND 1e308) FROM ev_half.items;
SELECT item_id FROM ev.similar_items(1, 3);
SELECT count(*), bool_and(score BETWEEN 0 AND 1.001) FROM ev_half.similar_items(1, 13);
SELECT count(*), bool_and(score BETWEEN 0 AND 3.4e38) FROM ev_half.recommend(1, 13, exclude_seen => false);
SELECT count(*) FROM ev.popular(20, '1 century');
SELECT item_id FROM ev.recommend(9223372036854775807, exclude_seen => false, items => '{-2147483648}');
SELECT item_id, score FROM ev_stars.popular(3);
DELETE FROM ev_events WHERE NOT v = 1;
SELECT recsys.wait_for('ev');
SELECT count(*) FROM (
	SELECT i, sum(v) AS r FROM ev_events WHERE isfinite(ts) AND ts < now() GROUP BY u, i) e
	HAVING sum(r) = (SELECT sum(total) FROM ev.items)
	AND sum(r * r) = (SELECT sum(sumsq) FROM ev.items);
SELECT recsys.drop_source('ev'), recsys.drop_source('ev_half'), recsys.drop_source('ev_stars');
DROP TABLE ev_events;
