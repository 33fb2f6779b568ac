-- user_knn: values that can be worked out by hand.
--
-- likes    a  b  c  d  e        length
--  1       1  1                 sqrt 2
--  2       1  1  1              sqrt 3
--  3       1        1           sqrt 2
--  4             1     1        sqrt 2
--  5                   1        1

CREATE TABLE knn_likes (who int, what text);
ALTER TABLE knn_likes REPLICA IDENTITY FULL;
CREATE INDEX ON knn_likes (who);
INSERT INTO knn_likes VALUES (1, 'a'), (1, 'b'), (2, 'a'), (2, 'b'), (2, 'c'), (3, 'a'), (3, 'd'),
	(4, 'c'), (4, 'e'), (5, 'e');
SELECT recsys.create_source('knn', 'knn_likes', 'who', 'what');
SELECT recsys.create_model('knn', 'plain', 'user_knn', '{"idf": 0}');
SELECT recsys.create_model('knn', 'rare', 'user_knn', '{"idf": 1, "neighbors": 2}');
SELECT recsys.wait_for('knn');
SELECT model, params, state FROM recsys.models WHERE source = 'knn' ORDER BY model;

-- 1 and 2: 2 / (sqrt 2 sqrt 3) = 0.816497; 1 and 3: 1 / 2
SELECT user_id, round(score::numeric, 6) AS score FROM knn.similar_users(1, 10, 'plain');
-- 2 and 4: 1 / (sqrt 3 sqrt 2) = 0.408248
SELECT user_id, round(score::numeric, 6) AS score FROM knn.similar_users(2, 10, 'plain');
-- the same of any model: similar_users() does not weigh items
SELECT user_id, round(score::numeric, 6) AS score FROM knn.similar_users(2, 10, 'rare');
SELECT * FROM knn.similar_users(6, 10, 'plain');
SELECT * FROM knn.similar_users(NULL, 10, 'plain');

-- c from 2: 0.816497; d from 3: 0.5; then popular
SELECT item_id, round(score::numeric, 6) AS score FROM knn.recommend(1, 10, 'plain');
SELECT round(knn.predict(1, 'c', 'plain')::numeric, 6) AS c, round(knn.predict(1, 'd', 'plain')::numeric, 6) AS d,
	knn.predict(1, 'e', 'plain') AS e, knn.predict(1, 'z', 'plain') AS unknown, knn.predict(7, 'a', 'plain') AS nobody;
-- a and b carry half of it each
SELECT because_item_id, round(contribution::numeric, 6) AS contribution FROM knn.explain(1, 'c', 5, 'plain') ORDER BY 1;
SELECT because_item_id, round(contribution::numeric, 6) AS contribution FROM knn.explain(1, 'd', 5, 'plain');

-- rare: w(a) = ln(1 + 5/3) = 0.980829, w(b) = ln(1 + 5/2) = 1.252763
-- 1 and 2: (0.980829 + 1.252763) / (sqrt 2 sqrt 3) = 0.911860; 1 and 3: 0.980829 / 2 = 0.490415
SELECT item_id, round(score::numeric, 6) AS score FROM knn.recommend(1, 2, 'rare');
SELECT because_item_id, round(contribution::numeric, 6) AS contribution FROM knn.explain(1, 'c', 5, 'rare');

-- a session, of which nobody knows whose it is; items that are unknown do not count
SELECT item_id, round(score::numeric, 6) AS score FROM knn.recommend_session('{a,b,nothing}', 2, 'plain');
SELECT item_id FROM knn.recommend_session('{}', 2, 'plain');
-- restricted, excluded, seen
SELECT item_id, round(score::numeric, 6) AS score FROM knn.recommend(1, 5, 'plain', items => '{d,e}');
SELECT item_id, round(score::numeric, 6) AS score FROM knn.recommend(1, 1, 'plain', exclude => '{c}');
SELECT item_id, round(score::numeric, 6) AS score FROM knn.recommend(1, 4, 'plain', exclude_seen => false);
-- items by the users who have them: the cosine
SELECT * FROM knn.similar_items('a', 2, 'plain');

-- an event of this very transaction: 5 now has e and a
BEGIN;
INSERT INTO knn_likes VALUES (5, 'a');
SELECT user_id, round(score::numeric, 6) AS score FROM knn.similar_users(5, 10, 'plain');
ROLLBACK;
SELECT user_id, round(score::numeric, 6) AS score FROM knn.similar_users(5, 10, 'plain');

-- min_common: only 2 has two items with 1
SELECT recsys.create_model('knn', 'two', 'user_knn', '{"min_common": 2, "idf": 0}');
SELECT recsys.wait_for('knn');
SELECT user_id, round(score::numeric, 6) AS score FROM knn.similar_users(1, 10, 'two');
SELECT item_id, round(score::numeric, 6) AS score FROM knn.recommend(1, 2, 'two');

-- audience_limit 1: of each item the user who came last
SELECT recsys.create_model('knn', 'last', 'user_knn', '{"audience_limit": 1, "idf": 0}');
SELECT recsys.wait_for('knn');
SELECT i.key AS item, cardinality(a.users) AS users FROM knn.last_audiences a JOIN knn.items i ON i.id = a.item_id ORDER BY 1;
INSERT INTO knn_likes VALUES (9, 'a');
SELECT recsys.wait_for('knn');
SELECT i.key AS item, u.key AS newest FROM knn.last_audiences a JOIN knn.items i ON i.id = a.item_id
	JOIN knn.users u ON u.id = a.users[1] WHERE i.key = 'a';
-- similarities stay exact: 1 / sqrt 2
SELECT user_id, round(score::numeric, 6) AS score FROM knn.similar_users(1, 10, 'last') ORDER BY 2 DESC LIMIT 1;

-- what goes is taken back
DELETE FROM knn_likes WHERE who = 9 OR (who = 2 AND what = 'b');
SELECT recsys.forget_user('knn', '3', delete_events => true);
SELECT recsys.wait_for('knn');
SELECT user_id, round(score::numeric, 6) AS score FROM knn.similar_users(1, 10, 'plain');
SELECT users FROM knn.plain_state;
SELECT item_id, round(score::numeric, 6) AS score FROM knn.recommend(1, 1, 'plain');

-- ratings: 1 has mean 3, 2 mean 2, 3 mean 4
CREATE TABLE knn_ratings (who int, what int, stars real);
ALTER TABLE knn_ratings REPLICA IDENTITY FULL;
CREATE INDEX ON knn_ratings (who);
INSERT INTO knn_ratings VALUES (1, 1, 4), (1, 2, 2), (2, 1, 2), (2, 3, 2), (3, 1, 3), (3, 2, 4), (3, 3, 5);
SELECT recsys.create_source('knnr', 'knn_ratings', 'who', 'what', event_value_column => 'stars', feedback => 'explicit');
SELECT recsys.create_model('knnr', 'plain', 'user_knn', '{"idf": 0}');
SELECT recsys.wait_for('knnr');
-- 1 and 2: 8 / (sqrt 20 sqrt 8) = 0.632456; 1 and 3: 20 / (sqrt 20 sqrt 50) = 0.632456
SELECT user_id, round(score::numeric, 6) AS score FROM knnr.similar_users(1, 10);
-- 3 + (0.632456 (2 - 2) + 0.632456 (5 - 4)) / (2 * 0.632456) = 3.5
SELECT round(knnr.predict(1, 3)::numeric, 4) AS predicted;
-- 0.632456 * 2 + 0.632456 * 5 = 4.427189
SELECT item_id, round(score::numeric, 5) AS score FROM knnr.recommend(1, 1);
SELECT round(sum(contribution)::numeric, 5) AS explained FROM knnr.explain(1, 3);

-- errors
SELECT recsys.create_model('knn', 'bad', 'user_knn', '{"neighbors": 0}');
SELECT recsys.create_model('knn', 'bad', 'user_knn', '{"k": 10}');
SELECT recsys.create_model('knn', 'bad', 'user_knn', '{"audience_limit": 1.5}');
SELECT knn.user_factors(1, 'plain');

SELECT recsys.drop_model('knn', 'last');
SELECT count(*) FROM pg_class WHERE relnamespace = 'knn'::regnamespace AND relname LIKE 'last%';
SELECT recsys.drop_source('knn');
SELECT recsys.drop_source('knnr');
DROP TABLE knn_likes, knn_ratings;
