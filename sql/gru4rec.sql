-- gru4rec: a recurrent network that reads histories.
SET client_min_messages = warning;
CREATE TABLE ge_events (u int, i text, at timestamptz);
CREATE INDEX ON ge_events (u);
ALTER TABLE ge_events REPLICA IDENTITY FULL;
-- seq(u, from, items): one event a minute
CREATE FUNCTION ge_seq(u int, start int, items text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO ge_events SELECT u, x, timestamptz '2024-01-01' + (start + n) * interval '1 minute'
	FROM regexp_split_to_table(items, '') WITH ORDINALITY AS t (x, n)
$$;
-- the alphabet in a circle: each user has read a part of it
SELECT count(*) FROM generate_series(1, 200) u,
	LATERAL (SELECT ge_seq(u, 0, substr('abcdefghijklmnopqrstuvwxyzabcdefghijkl', 1 + u % 26, 6 + u % 5))) AS s;
BEGIN;
SELECT recsys.create_source('ge', 'ge_events', 'u', 'i', event_time_column => 'at');
SELECT recsys.create_model('ge', 'next', 'gru4rec', '{"layers": 16, "n_epochs": 60, "batch_size": 16, "n_sample": 20,
	"validation": 0, "item_dropout": 0, "dropout_p_embed": 0, "dropout_p_hidden": 0, "learning_rate": 0.01, "retrain_share": 0}');
COMMIT;
SELECT recsys.wait_for('ge');
SELECT recsys.train('ge', 'next');

SELECT items, users, interactions, dim, loss < 0.1 AS learnt FROM ge.next_version;
SELECT w.name, w.shape, cardinality(w."values") FROM ge.next_weights w JOIN ge.next_version v USING (version) ORDER BY 1;
SELECT count(*) FROM ge.item_factors WHERE model = 'next' AND cardinality(factors) = 16;

-- what comes next
SELECT item_id FROM ge.recommend_session('{a,b,c}', 1);
SELECT item_id FROM ge.recommend_session('{x,y,z}', 1);
SELECT i FROM ge_events WHERE u = 1 ORDER BY at DESC LIMIT 1;
SELECT item_id FROM ge.recommend(1, 1);
SELECT count(*), count(DISTINCT item_id) FROM ge.recommend(1, 100);
SELECT item_id FROM ge.recommend(1, 1, items => '{m,n,i}');
SELECT item_id FROM ge.recommend(1, 2, items => '{m,n,i}', exclude => '{i}') ORDER BY 1;
SELECT ge.predict(1, 'i') > ge.predict(1, 'q') AS likelier, ge.predict(1, 'zzz') AS unknown;
SELECT round(abs(r.score - ge.predict(1, 'i'))::numeric, 3) AS same FROM ge.recommend(1, 1) r;
SELECT count(*), bool_and(because_item_id IN (SELECT i FROM ge_events WHERE u = 1)) FROM ge.explain(1, 'i');
SELECT count(*) FROM ge.similar_items('c', 5);
SELECT cardinality(recsys_user) FROM (SELECT ge.user_factors(1, 'next') AS recsys_user) f;
-- an event that nothing has read yet
BEGIN;
SELECT ge_seq(1, 30, 'i');
SELECT item_id FROM ge.recommend(1, 1);
ROLLBACK;

-- histories of no item, and of one
SELECT count(*) FROM ge.recommend(100000, 3);
SELECT item_id FROM ge.recommend_session('{}', 3) EXCEPT SELECT item_id FROM ge.popular(3);
SELECT count(*) FROM ge.recommend_session('{k}', 3);

-- between trainings: a new item takes part
SELECT count(*) FROM generate_series(1001, 1030) u, LATERAL (SELECT ge_seq(u, 0, 'efg!')) AS s;
SELECT recsys.wait_for('ge');
SELECT count(*) FROM ge.item_factors WHERE model = 'next' AND item_id = '!';
SELECT '!' IN (SELECT item_id FROM ge.recommend_session('{e,f,g}', 2)) AS comes_next;
SELECT max(version) = min(version) AS same_version FROM ge.next_version;

-- a training from there, and one anew with the same result each time
SELECT recsys.train('ge', 'next');
SELECT item_id FROM ge.recommend_session('{a,b,c}', 1);
SELECT recsys.alter_model('ge', 'next', '{"warm_start": false, "n_epochs": 3, "online_rate": 0}');
SELECT recsys.train('ge', 'next');
CREATE TEMP TABLE before AS SELECT item_id, factors FROM ge.item_factors WHERE model = 'next';
SELECT recsys.train('ge', 'next');
SELECT count(*) FROM (TABLE before EXCEPT SELECT item_id, factors FROM ge.item_factors WHERE model = 'next') d;

-- offline: who follows the circle is known by heart
SELECT metric, round(value::numeric, 4) AS value FROM recsys.evaluate('ge', 'next', 1, params => '{"n_epochs": 60}') WHERE metric IN ('hit_rate', 'users');

-- what can't be
SELECT recsys.create_model('ge', 'bad', 'gru4rec', '{"layers": 0}');
SELECT recsys.create_model('ge', 'bad', 'gru4rec', '{"loss": "top1"}');
SELECT recsys.create_model('ge', 'bad', 'gru4rec', '{"dropout_p_embed": 1}');
-- a loss that explodes leaves the old version
SELECT recsys.alter_model('ge', 'next', '{"learning_rate": 1e30}');
SELECT recsys.train('ge', 'next');
SELECT count(*) FROM ge.recommend_session('{a,b,c}', 3);
SELECT count(*) FROM ge.next_version;

-- a table that somebody has damaged is an error
UPDATE ge.next_weights SET shape = '{1,2}' WHERE name = 'wh';
\c -
SELECT item_id FROM ge.recommend_session('{a,b,c}', 1);

SELECT recsys.drop_source('ge');
DROP TABLE ge_events;
DROP FUNCTION ge_seq;
