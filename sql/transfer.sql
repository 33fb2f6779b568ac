-- export_model() and import_model(): the same answers elsewhere, and damaged files.
SET client_min_messages = warning;
CREATE TABLE tr_events (u int, i text, at timestamptz);
CREATE INDEX ON tr_events (u);
INSERT INTO tr_events SELECT u, chr(97 + (u + n) % 26), timestamptz '2024-01-01' + n * interval '1 minute'
	FROM generate_series(1, 150) u, generate_series(1, 5 + u % 5) n;
-- the other source knows the items in another order, and not all of them
CREATE TABLE tr_other (u int, i text, at timestamptz);
CREATE INDEX ON tr_other (u);
INSERT INTO tr_other SELECT u, chr(97 + (90 - u - n) % 26), timestamptz '2024-01-01' + n * interval '1 minute'
	FROM generate_series(1, 30) u, generate_series(1, 6) n WHERE (90 - u - n) % 26 NOT IN (3, 4);
BEGIN;
SELECT recsys.create_source('tr', 'tr_events', 'u', 'i', event_time_column => 'at');
SELECT recsys.create_source('tro', 'tr_other', 'u', 'i', event_time_column => 'at');
SELECT recsys.create_model(s, 'next', 'gru4rec', '{"layers": 12, "n_epochs": 30, "batch_size": 16, "n_sample": 20,
	"validation": 0, "learning_rate": 0.01, "retrain_share": 0, "retrain_interval": 0}') FROM unnest('{tr,tro}'::name[]) s;
SELECT recsys.create_model(s, 'taste', 'als', '{"factors": 8, "retrain_share": 0, "retrain_interval": 0}') FROM unnest('{tr,tro}'::name[]) s;
SELECT recsys.create_model('tr', 'near', 'item_knn');
COMMIT;
SELECT recsys.wait_for('tr'), recsys.wait_for('tro');
SELECT recsys.train('tr', 'next'), recsys.train('tr', 'taste'), recsys.train('tro', 'next'), recsys.train('tro', 'taste');

CREATE TABLE tr_files (model name, data bytea);
INSERT INTO tr_files SELECT m, recsys.export_model('tr', m) FROM unnest('{next,taste}'::name[]) m;
SELECT model, substr(data, 1, 8), get_byte(data, 8) AS format FROM tr_files ORDER BY 1;
SELECT model, recsys.import_model('tro', model, data) AS items FROM tr_files ORDER BY 1;
-- the weights and each vector are what they were
SELECT count(*) FROM tr.next_weights a JOIN tro.next_weights b USING (name, shape, "values");
SELECT model, count(*) FROM tr.item_factors a JOIN tro.item_factors b USING (model, item_id, factors) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM tro.item_factors WHERE item_id IN ('d', 'e');
-- and so are the answers, among the items that both know
SELECT session, count(*) FROM unnest('{"{a,b,c}","{x,y}","{m}"}'::text[]) session,
	LATERAL (SELECT item_id, score FROM tr.recommend_session(session::text[], 30, 'next') WHERE item_id NOT IN ('d', 'e')
		EXCEPT ALL SELECT item_id, score FROM tro.recommend_session(session::text[], 30, 'next')) d GROUP BY 1;
SELECT count(*) FROM (SELECT item_id, round(score::numeric, 4) FROM tr.similar_items('k', 30, 'taste') WHERE item_id NOT IN ('d', 'e')
	EXCEPT SELECT item_id, round(score::numeric, 4) FROM tro.similar_items('k', 30, 'taste')) d;
-- exported again it is as long
SELECT length(recsys.export_model('tr', 'next')) = length(data) FROM tr_files WHERE model = 'next';
-- no training follows by itself
SELECT recsys.wait_for('tro');
SELECT v.params_version = 1 AS fits, v.users, v.items FROM tro.next_version v;

-- what can't be
SELECT recsys.export_model('tr', 'near');
SELECT recsys.export_model('tr', 'none');
SELECT recsys.import_model('tro', 'next', 'nothing');
SELECT recsys.import_model('tro', 'next', NULL);
\set VERBOSITY terse
SELECT recsys.import_model('tro', 'taste', data) FROM tr_files WHERE model = 'next';
\set VERBOSITY default
SELECT recsys.import_model('tro', 'next', substr(data, 1, length(data) - 1)) FROM tr_files WHERE model = 'next';
SELECT recsys.import_model('tro', 'next', set_byte(data, 300, get_byte(data, 300) # 1)) FROM tr_files WHERE model = 'next';
SELECT recsys.import_model('tro', 'next', set_byte(data, 8, 9)) FROM tr_files WHERE model = 'next';
SELECT recsys.alter_model('tro', 'next', '{"layers": 10}');
\set VERBOSITY terse
SELECT recsys.import_model('tro', 'next', data) FROM tr_files WHERE model = 'next';
\set VERBOSITY default
CREATE ROLE tr_stranger;
SET ROLE tr_stranger;
SELECT recsys.export_model('tr', 'next');
SELECT recsys.import_model('tr', 'next', 'x');
RESET ROLE;
DROP ROLE tr_stranger;

SELECT recsys.drop_source('tr'), recsys.drop_source('tro');
DROP TABLE tr_events, tr_other, tr_files;
