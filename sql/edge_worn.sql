-- A large value that comes and goes leaves no trace in the scores.
SET client_min_messages = warning;
CREATE TABLE ew_events (u int, i int, v float8);
CREATE INDEX ON ew_events (u);
ALTER TABLE ew_events REPLICA IDENTITY FULL;
INSERT INTO ew_events SELECT u, i, 1 + (u * i) % 3
  FROM generate_series(1, 200) u, generate_series(1, 10) i WHERE (u * 7 + i * 3) % 5 <> 0;
SELECT recsys.create_source('ew', 'ew_events', 'u', 'i', event_value_column => 'v');
SELECT recsys.create_model('ew', 'knn', 'item_knn');
SELECT recsys.wait_for('ew');
CREATE TABLE ew_before AS SELECT item_id, similar_item_id, score FROM ew.item_similarity;
INSERT INTO ew_events VALUES (7, 3, 1e5), (7, 4, 1e5);
SELECT recsys.wait_for('ew');
DELETE FROM ew_events WHERE v = 1e5;
SELECT recsys.wait_for('ew');
SELECT count(*), max(abs(a.score - b.score)) < 1e-3 AS same
  FROM ew_before a FULL JOIN ew.item_similarity b USING (item_id, similar_item_id);
SELECT recsys.drop_source('ew');
DROP TABLE ew_events, ew_before;
