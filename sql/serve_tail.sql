-- Events that the stored state does not hold yet count at once, by
-- transaction.  The workers of these sources never start, and each item has
-- the item "probe" as its one neighbour with similarity 1: explain() of that
-- item shows the history as recommend() has it.
SET client_min_messages = warning;

-- state as after a flush: everything committed so far is applied
CREATE PROCEDURE fill_state(source text, items text[]) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('INSERT INTO %I.items SELECT o, k, 1, 1, 1, 0
		FROM unnest($1::text[]) WITH ORDINALITY AS x (k, o)', source) USING items || 'probe'::text;
	EXECUTE format('INSERT INTO %I.knn_neighbors SELECT id, ARRAY[$1], ARRAY[1]::real[]
		FROM %I.items WHERE id < $1', source, source) USING cardinality(items) + 1;
	EXECUTE format($f$INSERT INTO %I.state SELECT true, '0/0', ARRAY[0,
		pg_current_xact_id()::text::int8 + 1], system_identifier, d.oid, 'none', 2, 10, 0, 0, 0, 0,
		now(), 0, '{}', '{}' FROM pg_control_system(), pg_database d WHERE datname = current_database()$f$, source);
	UPDATE recsys.model SET state = 'ready';
END $$;
-- what a flush writes of the transactions so far
CREATE PROCEDURE apply_all(source text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('UPDATE %I.state SET applied_xids = ARRAY[0, pg_current_xact_id()::text::int8 + 1]', source);
END $$;
CREATE FUNCTION history(source text, who bigint, OUT item text, OUT r real)
RETURNS SETOF record LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN QUERY EXECUTE format(
		'SELECT because_item_id::text, contribution FROM %I.explain($1, ''probe'', 1000)', source) USING who;
END $$;

-- no time column
CREATE TABLE clicks (who int, what text, kind text, amount float8);
CREATE INDEX ON clicks (who);
BEGIN;
SELECT recsys.create_source('tail', 'clicks', 'who', 'what', 'kind', 'amount',
	weights => '{"view": 1, "buy": 5}');
SELECT recsys.create_model('tail', 'knn', 'item_knn');
SELECT recsys.pause('tail');
COMMIT;
INSERT INTO clicks VALUES (1, 'a', 'view', 1);
-- no state row yet: all events are new, but no item has a number
SELECT * FROM tail.recommend(1);
CALL fill_state('tail', '{a,b,c,d,e}');
INSERT INTO tail.users VALUES (1, 1);
INSERT INTO tail.profiles VALUES (1, 0, 0, '{1}', '{1}', '{1}', '{0}');
SELECT * FROM history('tail', 1);

-- an event of the same session, of the same transaction, of a savepoint
INSERT INTO clicks VALUES (1, 'b', 'buy', 1);
SELECT * FROM history('tail', 1);
SELECT item_id FROM tail.recommend(1);
BEGIN;
INSERT INTO clicks VALUES (1, 'c', 'view', 2);
SAVEPOINT s;
INSERT INTO clicks VALUES (1, 'd', 'view', 3), (1, 'a', 'view', 1);
SELECT * FROM history('tail', 1);
ROLLBACK TO s;
SELECT * FROM history('tail', 1);
SAVEPOINT s;
INSERT INTO clicks VALUES (1, 'e', 'view', 0.5);
RELEASE s;
SELECT * FROM history('tail', 1);
COMMIT;
SELECT * FROM history('tail', 1);
BEGIN;
INSERT INTO clicks VALUES (1, 'd', 'view', 1);
ROLLBACK;
SELECT * FROM history('tail', 1);

-- after a flush the profile holds them; freezing a row changes nothing
UPDATE tail.profiles SET items = '{1,2,3,5}', weights = '{1,5,2,0.5}', counts = '{1,1,1,1}', times = '{0,1,2,3}';
CALL apply_all('tail');
SELECT * FROM history('tail', 1);
INSERT INTO clicks VALUES (1, 'd', 'view', 7);
VACUUM FREEZE clicks;
SELECT * FROM history('tail', 1);
CALL apply_all('tail');
SELECT * FROM history('tail', 1);
-- the applied set need not be one range
DO $$ BEGIN INSERT INTO clicks VALUES (1, 'e', 'view', 10); END $$;
UPDATE tail.state SET applied_xids = applied_xids || (SELECT ARRAY[max(x), max(x) + 1]
	FROM (SELECT xmin::text::int8 AS x FROM clicks WHERE amount = 10) y);
INSERT INTO clicks VALUES (1, 'b', 'view', 10);
SELECT * FROM history('tail', 1);
CALL apply_all('tail');

-- a user without a number; the same with bad rows, which the stream rejects
INSERT INTO clicks VALUES (2, 'a', 'view', 1), (2, 'a', 'buy', 2), (2, 'b', 'view', 1),
	(2, 'c', 'other', 1), (2, 'd', 'view', 0), (2, 'new', 'view', 1),
	(2, NULL, 'view', 1), (2, 'e', NULL, 1), (2, 'e', 'view', NULL),
	(2, 'e', 'view', -1), (2, 'e', 'view', 'NaN'), (2, 'e', 'view', 'infinity'),
	(2, repeat('x', 2000), 'view', 1);
SELECT * FROM history('tail', 2);
SELECT item_id FROM tail.recommend(2);

-- no more rows than recsys.tail_limit are looked at
SET recsys.tail_limit = 0;
SELECT * FROM history('tail', 2);
SET recsys.tail_limit = 1;
INSERT INTO clicks VALUES (2, 'e', 'view', 3);
SELECT * FROM history('tail', 2);
RESET recsys.tail_limit;
SELECT * FROM history('tail', 2);

-- a row updated since the flush counts with both versions until the next one
CALL apply_all('tail');
UPDATE clicks SET amount = 4 WHERE who = 1 AND what = 'a';
SELECT * FROM history('tail', 1) WHERE item = 'a';
CALL apply_all('tail');

-- state restored from another server knows nothing of this one's transactions
BEGIN;
INSERT INTO clicks VALUES (1, 'a', 'view', 100);
UPDATE tail.state SET system_identifier = 1;
SELECT * FROM history('tail', 1) WHERE item = 'a';
ROLLBACK;

-- history_limit: the newest stay
UPDATE recsys.source SET history_limit = 3;
INSERT INTO clicks VALUES (1, 'd', 'view', 1);
SELECT * FROM history('tail', 1);
UPDATE recsys.source SET history_limit = 100;

-- index and columns come and go under a session that has used them
INSERT INTO clicks VALUES (3, 'a', 'view', 1);
SELECT * FROM history('tail', 3);
DROP INDEX clicks_who_idx;
SELECT * FROM history('tail', 3);
CREATE INDEX clicks_no_1 ON clicks (what, who);
CREATE INDEX clicks_no_2 ON clicks (who) WHERE what = 'a';
SELECT * FROM history('tail', 3);
CREATE INDEX clicks_yes ON clicks (who, what);
SELECT * FROM history('tail', 3);
BEGIN;
ALTER TABLE clicks ALTER who TYPE bigint;
SELECT * FROM history('tail', 3);
ROLLBACK;
BEGIN;
ALTER TABLE clicks DROP amount;
SELECT * FROM history('tail', 3);
ROLLBACK;
SELECT * FROM history('tail', 3);

-- rights: the owner's, not the caller's
CREATE ROLE regress_tail_owner;
CREATE ROLE regress_tail_app;
GRANT USAGE ON SCHEMA tail TO regress_tail_app;
GRANT EXECUTE ON FUNCTION tail.recommend TO regress_tail_app;
SET ROLE regress_tail_app;
SELECT count(*) FROM tail.recommend(3);
SELECT tail.predict(3, 'probe');
SELECT * FROM tail.users;
RESET ROLE;
ALTER FUNCTION tail.explain OWNER TO regress_tail_owner;
SELECT because_item_id FROM tail.explain(3, 'probe');
GRANT SELECT ON clicks TO regress_tail_owner;
SELECT because_item_id FROM tail.explain(3, 'probe');

SELECT recsys.drop_source('tail');
DROP TABLE clicks;
DROP ROLE regress_tail_owner, regress_tail_app;

-- ratings: the last one counts
CREATE TABLE ratings (who int, what text, stars float8, at timestamptz);
CREATE INDEX ON ratings (who, what);
BEGIN;
SELECT recsys.create_source('rated', 'ratings', 'who', 'what', event_value_column => 'stars',
	event_time_column => 'at', feedback => 'explicit');
SELECT recsys.create_model('rated', 'knn', 'item_knn');
SELECT recsys.pause('rated');
COMMIT;
CALL fill_state('rated', '{a,b,c,d,e}');
INSERT INTO rated.users VALUES (1, 1);
INSERT INTO rated.profiles SELECT 1, 0, 0, '{1,2}', '{3,4}', '{1,1}',
	ARRAY[(extract(epoch from timestamptz '2024-01-01 00:00:00+00' - '2000-01-01 00:00:00+00') * 1e6)::int8, 0];
-- later than what is stored, earlier, at the same time
INSERT INTO ratings VALUES (1, 'a', 5, '2024-01-02 00:00:00+00');
SELECT * FROM history('rated', 1);
INSERT INTO ratings VALUES (1, 'a', 1, '2023-12-31 00:00:00+00');
SELECT * FROM history('rated', 1);
DELETE FROM ratings;
INSERT INTO ratings VALUES (1, 'a', 1, '2023-12-31 00:00:00+00');
SELECT * FROM history('rated', 1);
INSERT INTO ratings VALUES (1, 'a', 2, '2024-01-01 00:00:00+00');
SELECT * FROM history('rated', 1);
-- equal times: the last transaction, the last command, wherever the row lies
INSERT INTO ratings SELECT 1, 'c', n, '2024-01-01 00:00:00+00' FROM generate_series(1, 3) n;
SELECT * FROM history('rated', 1) WHERE item = 'c';
INSERT INTO ratings VALUES (1, 'c', 4.5, '2024-01-01 00:00:00+00');
DELETE FROM ratings WHERE stars < 3;
VACUUM ratings;
INSERT INTO ratings VALUES (1, 'c', 2.5, '2024-01-01 00:00:00+00');
SELECT * FROM history('rated', 1) WHERE item = 'c';
BEGIN;
INSERT INTO ratings VALUES (1, 'c', 1, '2024-01-01 00:00:00+00');
SAVEPOINT s;
INSERT INTO ratings VALUES (1, 'c', 1.5, '2024-01-01 00:00:00+00');
RELEASE s;
INSERT INTO ratings VALUES (1, 'c', 2, '2024-01-01 00:00:00+00');
SELECT * FROM history('rated', 1) WHERE item = 'c';
ROLLBACK;
-- a rating is predicted by the mean: (2 + 4 + 2.5) / 3
SELECT * FROM history('rated', 1);
SELECT rated.predict(1, 'probe');
SELECT * FROM rated.recommend(1, 1);
-- rejected: too far ahead, infinite, no time
INSERT INTO ratings VALUES (1, 'e', 5, now() + interval '2 hours'), (1, 'e', 5, 'infinity'), (1, 'e', 5, NULL);
SELECT * FROM history('rated', 1) WHERE item = 'e';
INSERT INTO ratings VALUES (1, 'e', 5, now() + interval '30 minutes');
SELECT * FROM history('rated', 1) WHERE item = 'e';
SELECT recsys.drop_source('rated');
DROP TABLE ratings;

-- decay: an event counts half after a half-life, in profile and tail alike
CREATE TABLE visits (who int, what text, at timestamptz);
CREATE INDEX ON visits (who, at);
BEGIN;
SELECT recsys.create_source('faded', 'visits', 'who', 'what', event_time_column => 'at',
	half_life => '10 days');
SELECT recsys.create_model('faded', 'knn', 'item_knn');
SELECT recsys.pause('faded');
COMMIT;
CALL fill_state('faded', '{a,b,c,d,e}');
BEGIN;
INSERT INTO faded.users VALUES (1, 1);
-- weights with the landmark of now, one and two half-lives old
INSERT INTO faded.profiles SELECT 1, 0, floor(h)::int, '{1,2}', ARRAY[2 ^ (h - 1 - floor(h)), 2 ^ (h - 2 - floor(h))],
	'{1,1}', ARRAY[((h - 1) * 10 * 86400 * 1e6)::int8, ((h - 2) * 10 * 86400 * 1e6)::int8]
	FROM (SELECT extract(epoch from now() - timestamptz '2000-01-01 00:00:00+00')::float8 / 86400 / 10) x (h);
INSERT INTO visits VALUES (1, 'c', now() - interval '10 days'), (1, 'd', now() - interval '30 days'),
	(1, 'a', now() - interval '10 days'), (1, 'e', now() - interval '100000 days');
SELECT item, round(r::numeric, 6) FROM history('faded', 1);
SELECT user_id, item_id, round(weight::numeric, 6), now() - last_time AS age FROM faded.interactions ORDER BY 2;
-- the state still has the old half-life: only the ranking is right
UPDATE recsys.source SET half_life = '7 days', resyncs = resyncs + 1 WHERE name = 'faded';
UPDATE faded.state SET landmark = p.landmark FROM faded.profiles p;
SELECT item FROM history('faded', 1) WHERE r > 0.01 ORDER BY item;
UPDATE recsys.source SET half_life = '10 days', resyncs = resyncs - 1 WHERE name = 'faded';
-- so old that its weight underflows
UPDATE faded.profiles SET landmark = -1000000;
SELECT user_id, item_id, weight < 1e-100 FROM faded.interactions ORDER BY 2;
SELECT item, round(r::numeric, 6) FROM history('faded', 1);
COMMIT;
SELECT recsys.drop_source('faded');
DROP TABLE visits;

-- partitions: the last one first, each with an index of its own
CREATE TABLE parts (day int, what text, who int) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20) PARTITION BY LIST (who);
CREATE TABLE parts_2_1 PARTITION OF parts_2 FOR VALUES IN (1);
CREATE TABLE parts_3 (who int, extra text, what text, day int);
CREATE INDEX ON parts (who);
BEGIN;
SELECT recsys.create_source('part', 'parts', 'who', 'what');
SELECT recsys.create_model('part', 'knn', 'item_knn');
SELECT recsys.pause('part');
COMMIT;
CALL fill_state('part', '{a,b,c,d,e}');
INSERT INTO parts VALUES (1, 'a', 1), (11, 'b', 1), (2, 'c', 1);
SELECT * FROM history('part', 1);
SET recsys.tail_limit = 1;
SELECT * FROM history('part', 1);
RESET recsys.tail_limit;
-- other columns in another order; a session that has used the partitions
ALTER TABLE parts_3 DROP extra;
INSERT INTO parts_3 VALUES (1, 'd', 20);
ALTER TABLE parts ATTACH PARTITION parts_3 FOR VALUES FROM (20) TO (30);
SELECT * FROM history('part', 1);
ALTER TABLE parts DETACH PARTITION parts_1;
SELECT * FROM history('part', 1);
DROP TABLE parts_2;
SELECT * FROM history('part', 1);
INSERT INTO parts VALUES (21, 'e', 1);
SELECT * FROM history('part', 1);
SELECT recsys.drop_source('part');
DROP TABLE parts, parts_1;

DROP FUNCTION history;
DROP PROCEDURE fill_state;
DROP PROCEDURE apply_all;
