-- Weights of item_knn: what a similarity counts where its item is recommended.
SET client_min_messages = warning;
CREATE TABLE kw_events (u int, i text);
CREATE INDEX ON kw_events (u);
ALTER TABLE kw_events REPLICA IDENTITY FULL;
INSERT INTO kw_events VALUES (1, 'a'), (1, 'b'), (2, 'a'), (2, 'b'), (3, 'b'), (3, 'c');
BEGIN;
SELECT recsys.create_source('kw', 'kw_events', 'u', 'i');
SELECT recsys.create_model('kw', 'knn', 'item_knn');
SELECT recsys.create_model('kw', 'plain', 'item_knn', '{"normalize": false, "damping": 0}');
SELECT recsys.create_model('kw', 'damped', 'item_knn', '{"normalize": false, "damping": 1}');
SELECT recsys.create_model('kw', 'long', 'item_knn', '{"damping": 0, "shrinkage": 1}');
COMMIT;
SELECT recsys.wait_for('kw');

-- sim(a,b) = 2 / sqrt 6, sim(b,c) = 1 / sqrt 3: so the lengths are 2 / sqrt 6, 1, 1 / sqrt 3.
-- Weights: a 2/7 * sqrt 6 / 2, b 3/8, c 1/6 * sqrt 3; as octaves -1.51, -1.41, -1.79,
-- in eighths of these, rounded, -12, -11, -14.
SELECT item_id, similar_item_id, round(score::numeric, 4) AS score FROM kw.item_similarity WHERE model = 'knn' ORDER BY 1, 2;
SELECT a.key, b.key AS neighbor, get_byte(n.weights, x - 1) - 128 AS weight
	FROM kw.knn_neighbors n, generate_subscripts(neighbors, 1) x, kw.items a, kw.items b
	WHERE a.id = item_id AND b.id = neighbors[x] ORDER BY 1, 2;
SELECT item_id, round(score::numeric, 4) AS score, round((2 / sqrt(6) * 2 ^ (-12 / 8.0))::numeric, 4) AS expected FROM kw.recommend(3);
SELECT item_id, round(score::numeric, 4) AS score, round((1 / sqrt(3) * 2 ^ (-14 / 8.0))::numeric, 4) AS expected FROM kw.recommend(1);
-- a session of a and c: twice b
SELECT item_id, round(score::numeric, 4) AS score, round(((2 / sqrt(6) + 1 / sqrt(3)) * 2 ^ (-11 / 8.0))::numeric, 4) AS expected
	FROM kw.recommend_session('{a,c}');
SELECT round(kw.predict(3, 'a')::numeric, 4) AS predicted;
SELECT because_item_id, round(contribution::numeric, 4) AS contribution FROM kw.explain(3, 'a');
-- similar items are the similarities
SELECT item_id, round(score::numeric, 4) AS score FROM kw.similar_items('b');

-- without weights, with either
SELECT count(*) AS rows, count(weights) AS weighted FROM kw.plain_neighbors;
SELECT item_id, round(score::numeric, 4) AS score FROM kw.recommend(3, model => 'plain');
-- 2 / sqrt 6 * 2 / 3, the latter as 2 ^ (-5 / 8)
SELECT item_id, round(score::numeric, 4) AS score, round((2 / sqrt(6) * 2 ^ (-5 / 8.0))::numeric, 4) AS expected
	FROM kw.recommend(3, model => 'damped');
-- shrinkage: sim(a,b) = 2 / (sqrt 6 + 1), which is the length of a's list, too; 2 ^ (6 / 8)
SELECT item_id, round(score::numeric, 4) AS score, round((2 / (sqrt(6) + 1) * 2 ^ (6 / 8.0))::numeric, 4) AS expected
	FROM kw.recommend(3, model => 'long');

-- more users of a alone: its norm grows, its list gets shorter, its trust too.
-- 2 / sqrt(3 * 8) = 0.4082; weight 8/13 / 0.4082: 5 eighths of an octave
INSERT INTO kw_events SELECT 10 + n, 'a' FROM generate_series(1, 6) n;
SELECT recsys.wait_for('kw');
SELECT item_id, round(score::numeric, 4) AS score, round((2 / sqrt(24) * 2 ^ (5 / 8.0))::numeric, 4) AS expected FROM kw.recommend(3);
-- and back
DELETE FROM kw_events WHERE u > 10;
SELECT recsys.wait_for('kw');
SELECT item_id, round(score::numeric, 4) AS score FROM kw.recommend(3);
-- other parameters of a model that has weights
SELECT recsys.alter_model('kw', 'knn', '{"damping": 0, "normalize": false}');
SELECT recsys.wait_for('kw');
SELECT count(*) AS rows, count(weights) AS weighted FROM kw.knn_neighbors;
SELECT item_id, round(score::numeric, 4) AS score FROM kw.recommend(3);
SELECT recsys.alter_model('kw', 'knn', '{"damping": 1}');
SELECT recsys.wait_for('kw');
SELECT item_id, round(score::numeric, 4) AS score FROM kw.recommend(3);

-- ratings: the order goes by weights, a rating is predicted without.  2 of b is near a by
-- 5 * 4 / (5 sqrt(4 * 4 + 3 * 3)) = 0.8
CREATE TABLE kw_ratings (u int, i text, r int);
CREATE INDEX ON kw_ratings (u);
ALTER TABLE kw_ratings REPLICA IDENTITY FULL;
INSERT INTO kw_ratings VALUES (1, 'a', 5), (1, 'b', 4), (2, 'b', 3);
SELECT recsys.create_source('kw_rated', 'kw_ratings', 'u', 'i', event_value_column => 'r', feedback => 'explicit');
SELECT recsys.create_model('kw_rated', 'knn', 'item_knn');
SELECT recsys.wait_for('kw_rated');
SELECT params FROM recsys.models WHERE source = 'kw_rated';
-- weight of a: 1/6 / 0.8, as 2 ^ (-18 / 8)
SELECT item_id, round(score::numeric, 4) AS score, round((3 * 0.8 * 2 ^ (-18 / 8.0))::numeric, 4) AS expected FROM kw_rated.recommend(2);
SELECT kw_rated.predict(2, 'a');
SELECT recsys.drop_source('kw'), recsys.drop_source('kw_rated');
DROP TABLE kw_events, kw_ratings;
