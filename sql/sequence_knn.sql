-- sequence_knn: what comes next.
SET client_min_messages = warning;
CREATE TABLE sk_events (u int, i text, at timestamptz);
CREATE INDEX ON sk_events (u);
ALTER TABLE sk_events REPLICA IDENTITY FULL;
-- seq(u, from, items): one event a minute
CREATE FUNCTION sk_seq(u int, start int, items text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO sk_events SELECT u, x, timestamptz '2024-01-01' + (start + n) * interval '1 minute'
	FROM regexp_split_to_table(items, '') WITH ORDINALITY AS t (x, n)
$$;
SELECT sk_seq(1, 0, 'abc'), sk_seq(2, 0, 'bca'), sk_seq(3, 0, 'ab');
BEGIN;
SELECT recsys.create_source('sk', 'sk_events', 'u', 'i', event_time_column => 'at');
SELECT recsys.create_model('sk', 'next', 'sequence_knn');
SELECT recsys.create_model('sk', 'near', 'sequence_knn', '{"gap": 1, "k": 1, "decay": 0.5}');
COMMIT;
SELECT recsys.wait_for('sk');

-- after(a,b) = 1 + 1, after(a,c) = 1/2, after(b,c) = 1 + 1, after(b,a) = 1/2, after(c,a) = 1
SELECT item_id, similar_item_id, round(score::numeric, 4) AS score FROM sk.item_similarity WHERE model = 'next' ORDER BY 1, 2;
SELECT item_id, similar_item_id, score FROM sk.item_similarity WHERE model = 'near' ORDER BY 1, 2;
SELECT * FROM sk.similar_items('a', model => 'next');
-- 3 had a, then b: c is 2 + 0.6 / 2
SELECT item_id, round(score::numeric, 4) AS score FROM sk.recommend(3);
SELECT because_item_id, round(contribution::numeric, 4) AS contribution FROM sk.explain(3, 'c');
SELECT round(sk.predict(3, 'c')::numeric, 4) AS predicted, sk.predict(1, 'zzz') AS unknown;
-- the same backwards: after(b,c) * 0.6 + after(a,c), seen again: a
SELECT item_id, round(score::numeric, 4) AS score FROM sk.recommend_session('{b,a}');
SELECT item_id, round(score::numeric, 4) AS score FROM sk.recommend(3, exclude_seen => false, model => 'near');

-- what is not published yet is at the end of the history
BEGIN;
SELECT sk_seq(3, 9, 'c');
SELECT item_id, round(score::numeric, 4) AS score FROM sk.recommend(3, exclude_seen => false);
ROLLBACK;

-- an item that is repeated moves to the end: 3 is bd, then bda
SELECT sk_seq(3, 10, 'd'), sk_seq(3, 20, 'a');
SELECT recsys.wait_for('sk');
SELECT item_id, similar_item_id, round(score::numeric, 4) AS score FROM sk.item_similarity WHERE model = 'next' ORDER BY 1, 2;
SELECT item_id, similar_item_id, score FROM sk.item_similarity WHERE model = 'near' ORDER BY 1, 2;

-- one in the middle that comes late, and leaves: bda becomes beda and bda
SELECT sk_seq(3, 5, 'e');
SELECT recsys.wait_for('sk');
SELECT item_id, similar_item_id, round(score::numeric, 4) AS score FROM sk.item_similarity WHERE model = 'next' AND 'e' IN (item_id, similar_item_id) ORDER BY 1, 2;
SELECT item_id, similar_item_id, round(score::numeric, 4) AS score FROM sk.item_similarity WHERE model = 'next' AND item_id = 'b' ORDER BY 1, 2;
DELETE FROM sk_events WHERE i = 'e';
SELECT recsys.wait_for('sk');
SELECT item_id, similar_item_id, round(score::numeric, 4) AS score FROM sk.item_similarity WHERE model = 'next' AND item_id IN ('b', 'e') ORDER BY 1, 2;
-- b is forgotten: 1 ac, 2 ca, 3 da
SELECT recsys.forget_item('sk', 'b');
SELECT recsys.wait_for('sk');
SELECT item_id, similar_item_id, score FROM sk.item_similarity WHERE model = 'next' ORDER BY 1, 2;
TRUNCATE sk_events;
SELECT recsys.wait_for('sk');
SELECT count(*) FROM sk.next_neighbors;

-- held out: the last of each; trained on ab, bc, a, whose lists are b, c, none: after(a,b), after(b,c)
SELECT sk_seq(1, 0, 'abc'), sk_seq(2, 0, 'bca'), sk_seq(3, 0, 'ab');
SELECT recsys.wait_for('sk');
SELECT metric, round(value::numeric, 4) AS value FROM recsys.evaluate('sk', 'next', 1, 'last') WHERE metric IN ('users', 'hit_rate', 'mrr');
SELECT recsys.create_model('sk', 'wrong', 'sequence_knn', '{"gap": 11}');
SELECT params FROM recsys.models WHERE source = 'sk' ORDER BY model;
SELECT recsys.drop_source('sk');
DROP TABLE sk_events;
DROP FUNCTION sk_seq;
