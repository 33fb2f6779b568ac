-- item_knn by numbers of users: values worked by hand, Dunning's example, answers.
SET client_min_messages = warning;
CREATE TABLE si_events (u int, i text, kind text);
CREATE INDEX ON si_events (u);
ALTER TABLE si_events REPLICA IDENTITY FULL;
-- a: users 1 to 4, b: 2 to 7, c: 1 and 8, d: 8 to 10; ten users
INSERT INTO si_events SELECT g, 'a', 'view' FROM generate_series(1, 4) g;
INSERT INTO si_events SELECT g, 'b', 'view' FROM generate_series(2, 7) g;
INSERT INTO si_events VALUES (1, 'c', 'view'), (8, 'c', 'view');
INSERT INTO si_events SELECT g, 'd', 'view' FROM generate_series(8, 10) g;
BEGIN;
SELECT recsys.create_source('si', 'si_events', 'u', 'i', 'kind', weights => '{"view": 1, "buy": 7}');
SELECT recsys.create_model('si', m, 'item_knn', format('{"similarity": "%s", "normalize": false, "damping": 0}', m)::jsonb)
	FROM unnest('{cosine,jaccard,llr,lift,conditional}'::text[]) m;
COMMIT;
SELECT recsys.wait_for('si');

-- all of a pair, by the numbers: n(a,b) = 3, n(a,c) = 1, n(c,d) = 1
CREATE VIEW si_shown AS SELECT item_id AS i, similar_item_id AS j, model, score::numeric FROM si.item_similarity;
SELECT i, j,
	max(round(score, 4)) FILTER (WHERE model = 'jaccard') AS jaccard,
	max(round(score, 4)) FILTER (WHERE model = 'lift') AS lift,
	max(round(score, 4)) FILTER (WHERE model = 'conditional') AS conditional,
	max(round(score, 4)) FILTER (WHERE model = 'llr') AS llr,
	max(round(score, 4)) FILTER (WHERE model = 'cosine') AS cosine
	FROM si_shown GROUP BY 1, 2 ORDER BY 1, 2;
WITH n (i, j, x, a, b) AS (VALUES ('a', 'b', 3, 4, 6), ('a', 'c', 1, 4, 2), ('c', 'd', 1, 2, 3)),
	g AS (SELECT *, 2 * (x * ln(x * 10.0 / (a * b))
		+ CASE WHEN a > x THEN (a - x) * ln((a - x) * 10.0 / (a * (10 - b))) ELSE 0 END
		+ CASE WHEN b > x THEN (b - x) * ln((b - x) * 10.0 / (b * (10 - a))) ELSE 0 END
		+ (10 - a - b + x) * ln((10 - a - b + x) * 10.0 / ((10 - a) * (10 - b)))) AS g FROM n)
SELECT i, j, round(x / (a + b - x)::numeric, 4) AS jaccard, round(x * 10 / (a * b)::numeric, 4) AS lift,
	round(x / a::numeric, 4) AS conditional, round(g / (g + 1), 4) AS llr, round(x / sqrt(a * b)::numeric, 4) AS cosine
	FROM g ORDER BY 1, 2;
-- the other way round, the share is of the other one's users
SELECT i, j, round(score, 4) AS conditional FROM si_shown WHERE model = 'conditional' AND i > j ORDER BY 1, 2;

-- what happens again changes no number, and the cosine alone
INSERT INTO si_events VALUES (2, 'a', 'buy'), (2, 'a', 'view');
SELECT recsys.wait_for('si');
SELECT model, round(score, 4) AS score FROM si_shown WHERE i = 'a' AND j = 'b' ORDER BY 1;
DELETE FROM si_events WHERE kind = 'buy' OR ctid = (SELECT max(ctid) FROM si_events);
-- a user of nothing in common makes the rest rarer: lift 3 * 11 / 24
INSERT INTO si_events VALUES (11, 'e', 'view');
SELECT recsys.wait_for('si');
SELECT model, round(score, 4) AS score FROM si_shown WHERE i = 'a' AND j = 'b' ORDER BY 1;
DELETE FROM si_events WHERE u = 11;
SELECT recsys.wait_for('si');
SELECT model, round(score, 4) AS score FROM si_shown WHERE i = 'a' AND j = 'b' ORDER BY 1;

-- answers: 7 has b only, of which a is 3/6, 3/7 ... alike; predict and explain say the same
SELECT model, r.item_id, round(r.score::numeric, 4) AS score, round(si.predict(7, 'a', model)::numeric, 4) AS predicted,
	(SELECT string_agg(because_item_id || ' ' || round(contribution::numeric, 4), ', ') FROM si.explain(7, 'a', model => model)) AS because
	FROM recsys.models m, LATERAL si.recommend(7, 1, m.model) r WHERE source = 'si' ORDER BY 1;
-- 8 has c and d: of a, c alone speaks; 1 has a and c
SELECT model, item_id, round(score::numeric, 4) AS score FROM recsys.models m, LATERAL si.recommend(8, 1, m.model) WHERE source = 'si' ORDER BY 1;
SELECT item_id, round(score::numeric, 4) AS score FROM si.similar_items('a', 5, 'conditional');
SELECT item_id, round(score::numeric, 4) AS score FROM si.similar_items('c', 5, 'conditional');
SELECT item_id, round(score::numeric, 4) AS score FROM si.recommend_session('{a,c}', 2, 'conditional');

-- shrinkage goes to the denominator: 3 / (7 + 3), 3 / (2.4 + 0.6), 3 / (4 + 2), G / (G + 1 + 4)
SELECT recsys.alter_model('si', 'jaccard', '{"shrinkage": 3}'), recsys.alter_model('si', 'lift', '{"shrinkage": 0.6}'),
	recsys.alter_model('si', 'conditional', '{"shrinkage": 2}'), recsys.alter_model('si', 'llr', '{"shrinkage": 4}');
SELECT recsys.wait_for('si');
SELECT model, round(score, 4) AS score FROM si_shown WHERE i = 'a' AND j = 'b' ORDER BY 1;
-- min_support is a number of users
SELECT recsys.alter_model('si', model, '{"shrinkage": 0, "min_support": 2}') FROM recsys.models WHERE source = 'si';
SELECT recsys.wait_for('si');
SELECT model, string_agg(i || j, ' ' ORDER BY i) FROM si_shown GROUP BY 1 ORDER BY 1;
-- another similarity for the same model, weights of recommendations by default
SELECT recsys.alter_model('si', 'cosine', '{"similarity": "jaccard", "min_support": 1, "normalize": true, "damping": 5}');
SELECT recsys.wait_for('si');
SELECT i, j, round(score, 4) AS score FROM si_shown WHERE model = 'cosine' ORDER BY 1, 2;
-- weight of a: 4/9 over the length of (3/7, 1/5): 0.9397, as 2 ^ (-1 / 8)
SELECT item_id, round(score::numeric, 4) AS score, round((3 / 7.0 * 2 ^ (-1 / 8.0))::numeric, 4) AS expected FROM si.recommend(7, 1, 'cosine');
-- what nobody has
TRUNCATE si_events;
SELECT recsys.wait_for('si');
SELECT count(*) FROM si_shown;

-- Dunning (1993), "the swiss": 110 together, 2442 the, 111 swiss, 29114 neither: 270.72
INSERT INTO si_events SELECT g, 'the', 'view' FROM generate_series(1, 2552) g;
INSERT INTO si_events SELECT g, 'swiss', 'view' FROM generate_series(2443, 2663) g;
INSERT INTO si_events SELECT g, 'other', 'view' FROM generate_series(2664, 31777) g;
SELECT recsys.wait_for('si');
SELECT i, j, round(score, 4) AS score, round(270.72 / 271.72, 4) AS published FROM si_shown WHERE model = 'llr' ORDER BY 1;
SELECT recsys.drop_source('si');
DROP TABLE si_events;

-- ratings: a rating of 0 is one, and predictions are in their units
CREATE TABLE si_ratings (u int, i text, r int);
CREATE INDEX ON si_ratings (u);
ALTER TABLE si_ratings REPLICA IDENTITY FULL;
INSERT INTO si_ratings VALUES (1, 'a', 0), (1, 'b', 4), (2, 'b', 3), (2, 'c', 5), (3, 'b', 1);
SELECT recsys.create_source('si_rated', 'si_ratings', 'u', 'i', event_value_column => 'r', feedback => 'explicit');
SELECT recsys.create_model('si_rated', 'knn', 'item_knn', '{"similarity": "jaccard"}');
SELECT recsys.wait_for('si_rated');
SELECT item_id, similar_item_id, round(score::numeric, 4) AS score FROM si_rated.item_similarity ORDER BY 1, 2;
SELECT si_rated.predict(3, 'a'), si_rated.predict(2, 'a'), si_rated.predict(1, 'c');

SELECT recsys.drop_source('si_rated');
DROP TABLE si_ratings;

-- offline the same: what evaluate() finds is what recommend() finds
CREATE TABLE si_train AS SELECT DISTINCT hashint8(g) & 63 AS u, ((hashint8(g + 1000) & 63) * (hashint8(g + 2000) & 63)) / 64 AS i FROM generate_series(1, 900) g;
CREATE TABLE si_test AS SELECT DISTINCT hashint8(g) & 63 AS u, ((hashint8(g + 1000) & 63) * (hashint8(g + 2000) & 63)) / 64 AS i FROM generate_series(5001, 5400) g
	EXCEPT SELECT * FROM si_train;
ALTER TABLE si_train REPLICA IDENTITY FULL;
CREATE INDEX ON si_train (u);
SELECT recsys.create_source('si', 'si_train', 'u', 'i');
SELECT recsys.create_model('si', m, 'item_knn', format('{"similarity": "%s", "k": 8, "shrinkage": 1.5, "min_support": 2}', m)::jsonb)
	FROM unnest('{jaccard,llr,lift,conditional}'::text[]) m;
SELECT recsys.wait_for('si');
WITH answers AS MATERIALIZED (
	SELECT m.model, u, array(SELECT item_id FROM si.recommend(u, 10, m.model)) AS recommended, relevant
	FROM recsys.models m, (SELECT u, array_agg(i) AS relevant FROM si_test WHERE u IN (SELECT u FROM si_train) GROUP BY 1) t
	WHERE source = 'si'),
online AS (SELECT model, avg(recsys.recall_at_k(recommended, relevant, 10)) AS recall, avg(recsys.ndcg_at_k(recommended, relevant, 10)) AS ndcg
	FROM answers GROUP BY 1)
SELECT model, recall > 0.2 AS finds, round((recall - r.value)::numeric, 9) AS recall_off, round((ndcg - n.value)::numeric, 9) AS ndcg_off
	FROM online, LATERAL recsys.evaluate('si', model, 10, test => 'si_test') r, LATERAL recsys.evaluate('si', model, 10, test => 'si_test') n
	WHERE r.metric = 'recall' AND n.metric = 'ndcg' ORDER BY 1;
SELECT recsys.drop_source('si');
DROP TABLE si_train, si_test;
