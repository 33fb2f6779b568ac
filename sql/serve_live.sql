-- Serving beside a running worker: what is asked and what the state holds
-- agree, before and after every flush.
SET client_min_messages = warning;
CREATE TABLE live_events (who int, what text, kind text, at timestamptz DEFAULT now());
CREATE INDEX ON live_events (who);
ALTER TABLE live_events REPLICA IDENTITY FULL;
INSERT INTO live_events (who, what, kind)
	SELECT u, 'item ' || (u * i + i * i) % 13, CASE WHEN i = 3 THEN 'buy' ELSE 'view' END
	FROM generate_series(1, 40) u, generate_series(1, 5) i;
BEGIN;
SELECT recsys.create_source('live', 'live_events', 'who', 'what', 'kind', event_time_column => 'at',
	weights => '{"view": 1, "buy": 5}');
SELECT recsys.create_model('live', 'knn', 'item_knn', '{"k": 20}');
SELECT recsys.create_model('live', 'top', 'popular');
COMMIT;
SELECT recsys.wait_for('live');

-- the plain SQL that it stands for
CREATE VIEW r AS SELECT who, what, sum(CASE kind WHEN 'view' THEN 1 WHEN 'buy' THEN 5 ELSE 0 END) AS r
	FROM live_events GROUP BY who, what HAVING sum(CASE kind WHEN 'view' THEN 1 WHEN 'buy' THEN 5 ELSE 0 END) > 0;
CREATE VIEW sim AS SELECT a.what AS i, b.what AS j,
	sum(a.r * b.r) / sqrt(max(na.n) * max(nb.n)) AS s
	FROM r a JOIN r b USING (who)
	JOIN (SELECT what, sum(r * r) AS n FROM r GROUP BY what) na ON na.what = a.what
	JOIN (SELECT what, sum(r * r) AS n FROM r GROUP BY what) nb ON nb.what = b.what
	WHERE a.what <> b.what GROUP BY a.what, b.what;

-- what a recommended item's score counts: users / (users + 5) over the length of its
-- similarities, in steps of an eighth of an octave, and let be while it is off by one
CREATE VIEW published_weight AS SELECT k.key AS j, min(get_byte(weights, x - 1)) AS step, max(get_byte(weights, x - 1)) AS upto
	FROM live.knn_neighbors n, generate_subscripts(neighbors, 1) x, live.items k WHERE k.id = neighbors[x] GROUP BY k.key;
CREATE TABLE weight AS SELECT * FROM published_weight;
CREATE VIEW right_weight AS SELECT i AS j, log(2, u.n::numeric / (u.n + 5) / sqrt(sum(s * s))::numeric) AS octaves
	FROM sim JOIN (SELECT what, count(*) AS n FROM r GROUP BY what) u ON u.what = sim.i GROUP BY i, u.n;

-- differences beyond the tolerance of 1e-3 per similarity, in any function
CREATE FUNCTION differences() RETURNS TABLE (test text, n bigint) LANGUAGE sql AS $$
	DELETE FROM weight;
	INSERT INTO weight SELECT * FROM published_weight;
	SELECT 'interactions', count(*) FROM r FULL JOIN live.interactions i ON i.user_id = r.who AND i.item_id = r.what
		WHERE i.weight IS DISTINCT FROM r.r
	UNION ALL
	SELECT 'item_similarity', count(*) FROM sim FULL JOIN live.item_similarity l ON l.item_id = sim.i AND l.similar_item_id = sim.j
		WHERE abs(l.score - sim.s) IS NULL OR abs(l.score - sim.s) > 1e-3
	UNION ALL
	SELECT 'similar_items', count(*) FROM (SELECT DISTINCT what FROM r) w, LATERAL
		(SELECT count(*) AS n, count(sim.s) AS m, max(abs(l.score - sim.s)) AS d
		 FROM live.similar_items(w.what, 20) l LEFT JOIN sim ON sim.i = w.what AND sim.j = l.item_id) x
		WHERE x.n <> x.m OR x.d > 1e-3
	UNION ALL
	SELECT 'recommend', count(*) FROM (SELECT DISTINCT who FROM r) u, LATERAL
		(SELECT count(*) FROM live.recommend(u.who, 1000) l
			FULL JOIN (SELECT sim.j, sum(r.r * sim.s * 2 ^ ((w.step - 128) / 8.0)) AS score, sum(r.r) * 2 ^ max((w.step - 128) / 8.0) AS weight
				FROM r JOIN sim ON sim.i = r.what JOIN weight w USING (j)
				WHERE r.who = u.who AND sim.j NOT IN (SELECT what FROM r x WHERE x.who = u.who) GROUP BY sim.j) e
			ON e.j = l.item_id
			WHERE l.score IS NULL OR (e.score IS NULL AND l.score <> 0) OR abs(l.score - e.score) > 1e-3 * e.weight) d (n)
		WHERE d.n > 0
	UNION ALL
	SELECT 'weights', count(*) FROM weight FULL JOIN right_weight USING (j)
		WHERE step IS DISTINCT FROM upto OR abs(step - 128 - 8 * octaves) <= 1.1 IS NOT TRUE
	UNION ALL
	SELECT 'predict', count(*) FROM (SELECT DISTINCT who FROM r) u, live.recommend(u.who, 3) l
		WHERE l.score > 0 AND live.predict(u.who, l.item_id) IS DISTINCT FROM l.score
	UNION ALL
	SELECT 'explain', count(*) FROM (SELECT DISTINCT who FROM r) u, live.recommend(u.who, 3) l
		WHERE l.score > 0 AND abs((SELECT sum(contribution) FROM live.explain(u.who, l.item_id, 1000)) - l.score) > 1e-5 * l.score
	UNION ALL
	SELECT 'popular', count(*) FROM live.popular(1000) p
		FULL JOIN (SELECT what, sum(r) AS score FROM r GROUP BY what) e ON e.what = p.item_id
		WHERE p.score IS DISTINCT FROM e.score
	UNION ALL
	SELECT 'popular since', count(*) FROM live.popular(1000) p
		FULL JOIN live.popular(1000, '1 day') e USING (item_id)
		WHERE p.score IS DISTINCT FROM e.score
$$;
SELECT * FROM differences();
SELECT model, algorithm, is_default, state FROM recsys.models WHERE source = 'live' ORDER BY 1;
SELECT p.item_id = t.item_id AS same FROM live.popular(1) p, live.recommend(NULL, 1, 'top') t;

-- own events count before any worker has run: those views of the state that
-- are asked by user are exact at once, though similarities are not yet
CREATE FUNCTION history_differs(u int) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM (
		SELECT what FROM r WHERE who = u
		EXCEPT SELECT what FROM (SELECT DISTINCT what FROM r) x WHERE what NOT IN (SELECT item_id FROM live.recommend(u, 1000))) d
$$;
INSERT INTO live_events VALUES (1, 'item 12', 'buy'), (1, 'item 0', 'view');
SELECT history_differs(1);
SELECT recsys.wait_for('live');
SELECT * FROM differences() WHERE n > 0;

-- updates and deletes; a new user, a new item
UPDATE live_events SET kind = 'buy' WHERE who % 7 = 0;
DELETE FROM live_events WHERE who = 13;
INSERT INTO live_events VALUES (1000, 'item 1', 'view'), (1000, 'new', 'buy'), (13, 'new', 'view');
SELECT recsys.wait_for('live');
SELECT * FROM differences() WHERE n > 0;
SELECT item_id FROM live.similar_items('new', 1);

-- paused: still at once
SELECT recsys.pause('live');
INSERT INTO live_events VALUES (2000, 'item 5', 'view'), (2000, 'new', 'view');
SELECT count(*) FROM live.recommend(2000, 1000) WHERE item_id IN ('item 5', 'new');
SELECT because_item_id, contribution > 0 AS positive FROM live.explain(2000, 'item 1');
SELECT recsys.resume('live');
SELECT recsys.wait_for('live');
SELECT * FROM differences() WHERE n > 0;
SELECT because_item_id, contribution > 0 AS positive FROM live.explain(2000, 'item 1');

-- a model created later is built while the old one serves
SELECT recsys.create_model('live', 'narrow', 'item_knn', '{"k": 1}');
SELECT recsys.wait_for('live');
SELECT count(*), count(DISTINCT item_id) FROM live.item_similarity WHERE model = 'narrow';
SELECT recsys.drop_model('live', 'narrow');
SELECT recsys.drop_source('live');
DROP FUNCTION differences, history_differs;
DROP TABLE weight;
DROP VIEW right_weight, sim, r;
DROP TABLE live_events;
