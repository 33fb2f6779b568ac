-- frequently_bought_together(): what it says against plain SQL over the orders.
--
-- Everybody buys a bag (b); tea goes with cups, and coffee with filters; salt and
-- pepper were bought together twice.

CREATE TABLE fbt_events (n serial, who int, what text, kind text, order_id int, at timestamptz);
ALTER TABLE fbt_events REPLICA IDENTITY FULL;
CREATE INDEX ON fbt_events (who);
INSERT INTO fbt_events (who, what, kind, order_id, at)
SELECT o % 37, what, 'buy', o, timestamptz '2024-01-01 00:00+00' + o * interval '1 minute'
FROM generate_series(1, 300) o, LATERAL (VALUES
	('bag', true), ('tea', o % 5 = 0), ('cup', o % 5 = 0 AND o % 3 > 0 OR o % 50 = 1), ('coffee', o % 4 = 1),
	('filter', o % 4 = 1 AND o % 9 > 2), ('spoon', o % 7 = 2), ('salt', o IN (11, 12)), ('pepper', o IN (11, 12))) v(what, bought)
WHERE bought AND NOT (what = 'bag' AND o % 10 = 9);
-- views, which belong to no order, and an order that was given back
INSERT INTO fbt_events (who, what, kind, order_id, at)
SELECT o % 37, w, 'view', NULL, timestamptz '2024-01-02 00:00+00' + o * interval '1 minute'
FROM generate_series(1, 50) o, unnest('{tea,filter,spoon}'::text[]) w;
INSERT INTO fbt_events (who, what, kind, order_id, at) SELECT 99, w, 'back', 1000 + o, '2024-01-03 00:00+00'
FROM generate_series(1, 20) o, unnest('{tea,spoon}'::text[]) w;
SELECT recsys.create_source('fbt', 'fbt_events', 'who', 'what', 'kind', event_time_column => 'at',
	weights => '{"view": 1, "buy": 5, "back": 1}');
SELECT recsys.create_model('fbt', 'near', 'item_knn');
-- no model of that kind yet
SELECT * FROM fbt.frequently_bought_together('{tea}');
SELECT recsys.create_model('fbt', 'orders', 'baskets', '{"basket_column": "order_id", "event_types": ["buy"]}');
SELECT recsys.wait_for('fbt');
SELECT params FROM recsys.models WHERE source = 'fbt' AND model = 'orders';
SELECT sessions AS baskets, pairs FROM fbt.orders_state;

SELECT item_id, round(score::numeric, 4) AS score, support, round(confidence::numeric, 4) AS confidence, round(lift::numeric, 3) AS lift
FROM fbt.frequently_bought_together('{tea}');
-- two orders are not enough; nobody needs a bag for salt
SELECT * FROM fbt.frequently_bought_together('{salt}');
SELECT item_id, round(score::numeric, 4) AS score, support, round(confidence::numeric, 4) AS confidence, round(lift::numeric, 3) AS lift
FROM fbt.frequently_bought_together('{tea,coffee,unknown,NULL,tea}', 5);
SELECT * FROM fbt.frequently_bought_together('{unknown}');
SELECT * FROM fbt.frequently_bought_together('{}');
SELECT * FROM fbt.frequently_bought_together(NULL);
SELECT item_id FROM fbt.frequently_bought_together('{tea,coffee}', 1, 'orders');

-- the formula, by the newest baskets of each item asked about
CREATE FUNCTION fbt_wilson(s float8, n float8, z float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
	SELECT (s / n + z ^ 2 / (2 * n) + sign(z) * sqrt(z ^ 2 * s / n * (1 - s / n) / n + z ^ 4 / (4 * n ^ 2))) / (1 + z ^ 2 / n)
$$;
CREATE FUNCTION fbt_must(asked text[]) RETURNS TABLE (item text, score float8, support bigint, confidence float8, lift float8) LANGUAGE sql AS $$
	WITH p AS (SELECT (params->>'sample')::int AS sample, (params->>'min_support')::int AS min_support, (params->>'z')::float8 AS z
		FROM recsys.models WHERE source = 'fbt' AND model = 'orders'),
	bought AS (SELECT DISTINCT order_id, what, max(at) OVER (PARTITION BY order_id) AS at FROM fbt_events WHERE kind = 'buy' AND order_id IS NOT NULL),
	newest AS (SELECT q, order_id FROM unnest(asked) q, LATERAL (SELECT order_id FROM bought WHERE what = q ORDER BY at DESC LIMIT (SELECT sample FROM p)) x),
	pairs AS (SELECT q, what AS j, count(*)::float8 AS k FROM newest JOIN bought USING (order_id) WHERE what <> ALL (asked) GROUP BY 1, 2),
	numbers AS (SELECT q, j, k, (SELECT count(*) FROM newest x WHERE x.q = pairs.q)::float8 AS n, z,
		(SELECT count(*) FROM bought WHERE what = j)::float8 AS with_j, (SELECT count(DISTINCT order_id) FROM bought)::float8 AS b
		FROM pairs, p WHERE k >= min_support),
	gains AS (SELECT *, k / n - (with_j - k) / (b - n) - sqrt((k / n - fbt_wilson(k, n, -z)) ^ 2 +
		(fbt_wilson(with_j - k, b - n, z) - (with_j - k) / (b - n)) ^ 2) AS gain FROM numbers)
	SELECT j, 1 - exp(sum(ln(1 - gain))), (SELECT count(DISTINCT order_id) FROM newest JOIN bought x USING (order_id) WHERE x.what = j),
		(array_agg(k / n ORDER BY gain DESC))[1], (array_agg(k / n / (with_j / b) ORDER BY gain DESC))[1]
	FROM gains WHERE gain > 0 GROUP BY j
$$;
-- all questions about one item or two: rows compared, rows that differ
CREATE VIEW fbt_differences AS
WITH items AS (SELECT DISTINCT what FROM fbt_events), asked AS (SELECT ARRAY[a.what, b.what] AS asked FROM items a, items b WHERE a.what < b.what UNION ALL SELECT ARRAY[what] FROM items)
SELECT count(*) AS rows, count(*) FILTER (WHERE g.item_id IS NULL OR m.item IS NULL OR abs(g.score - m.score) > 1e-5 OR g.support <> m.support
	OR abs(g.confidence - m.confidence) > 1e-5 OR abs(g.lift - m.lift) > 1e-4 * m.lift) AS wrong
FROM (SELECT asked, x.* FROM asked, fbt_must(asked) x) m FULL JOIN (SELECT asked, x.* FROM asked, fbt.frequently_bought_together(asked, 100) x) g
	ON g.asked = m.asked AND g.item_id = m.item;
SELECT * FROM fbt_differences;
SELECT recsys.alter_model('fbt', 'orders', '{"z": 1, "min_support": 1}');
SELECT recsys.wait_for('fbt');
SELECT * FROM fbt_differences;
SELECT recsys.alter_model('fbt', 'orders', '{"sample": 20}');
SELECT recsys.wait_for('fbt');
SELECT * FROM fbt_differences;
-- orders go on, and things go back
INSERT INTO fbt_events (who, what, kind, order_id, at) SELECT 5, w, 'buy', 2000 + o, timestamptz '2024-02-01 00:00+00' + o * interval '1 minute'
FROM generate_series(1, 9) o, unnest('{salt,pepper,bag}'::text[]) w;
DELETE FROM fbt_events WHERE what = 'cup' AND order_id % 2 = 0;
UPDATE fbt_events SET order_id = order_id + 1 WHERE what = 'spoon' AND order_id < 100;
SELECT recsys.wait_for('fbt');
SELECT * FROM fbt_differences;
SELECT item_id, support FROM fbt.frequently_bought_together('{salt}', 1);

-- a cart is a session: what goes with it, and what is like a thing
SELECT item_id, round(score::numeric, 4) AS score FROM fbt.recommend_session('{salt}', 1, 'orders');
SELECT item_id FROM fbt.similar_items('salt', 1, 'orders');
SELECT item_id, round(score::numeric, 4) AS score, round(fbt.predict(99, item_id, 'orders')::numeric, 4) AS predicted,
	(SELECT round(sum(contribution)::numeric, 4) FROM fbt.explain(99, item_id, 100, 'orders')) AS explained FROM fbt.recommend(99, 1, 'orders');
SELECT recsys.alter_source('fbt', session_column => 'order_id');
SELECT recsys.create_model('fbt', 'of_the_source', 'baskets');
SELECT recsys.wait_for('fbt');
SELECT sessions AS baskets FROM fbt.of_the_source_state;

-- errors
SELECT * FROM fbt.frequently_bought_together('{tea}', 5, 'near');
SELECT * FROM fbt.frequently_bought_together('{tea}', 5, 'nobody');
SELECT * FROM fbt.frequently_bought_together('{tea}', 0);
SELECT recsys.create_model('fbt', 'bad', 'baskets', '{"basket_column": "cart"}');
SELECT recsys.create_model('fbt', 'bad', 'baskets', '{"session_column": "order_id"}');

DROP VIEW fbt_differences;
SELECT recsys.drop_source('fbt');
DROP FUNCTION fbt_must, fbt_wilson;
DROP TABLE fbt_events;
