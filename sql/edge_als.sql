-- als: a version whose row its owner has changed is an error, never a crash
CREATE TABLE edge_als_events (u int, i int);
CREATE INDEX ON edge_als_events (u);
ALTER TABLE edge_als_events REPLICA IDENTITY FULL;
INSERT INTO edge_als_events SELECT g % 20, 1 + (g * g) % 13 FROM generate_series(1, 200) g;
SELECT recsys.create_source('edge_als', 'edge_als_events', 'u', 'i');
SELECT recsys.create_model('edge_als', 'm', 'als', '{"factors": 4, "retrain_share": 0, "retrain_interval": 0}');
SELECT recsys.wait_for('edge_als');
SELECT count(*) FROM edge_als.recommend(3, 3, 'm', exclude_seen => false);

-- no Gram matrix beside vectors
BEGIN;
UPDATE edge_als.m_version SET item_gram = '{}';
SAVEPOINT s;
SELECT count(*) FROM edge_als.recommend(3, 3, 'm');
ROLLBACK TO s;
SELECT edge_als.predict(3, 5, 'm');
ROLLBACK TO s;
SELECT count(*) FROM edge_als.explain(3, 5, 3, 'm');
ROLLBACK TO s;
SELECT edge_als.user_factors(3, 'm');
ROLLBACK TO s;
SELECT count(*) FROM edge_als.similar_users(3, 3, 'm');
ROLLBACK TO s;
SELECT count(*) > 0 AS similar FROM edge_als.similar_items(5, 3, 'm');
ROLLBACK;

-- one of numbers that are none: no score is NaN
BEGIN;
UPDATE edge_als.m_version SET item_gram = array_fill('NaN'::real, ARRAY[16]);
SELECT count(*) AS nans FROM edge_als.recommend(3, 3, 'm') WHERE score = 'NaN';
SELECT edge_als.predict(3, 5, 'm') = 'NaN' AS nan;
ROLLBACK;

-- it serves on
SELECT count(*) FROM edge_als.recommend(3, 3, 'm', exclude_seen => false);
SELECT recsys.drop_source('edge_als');
DROP TABLE edge_als_events;
