-- popular(since => ...) reads the event table, by the rules of the stream.
SET client_min_messages = warning;
CREATE TYPE action AS ENUM ('view', 'buy', 'it''s \ odd', 'none');
CREATE TABLE sales (who text, "what's" varchar(10), act action, amount numeric, at timestamptz);
CREATE INDEX ON sales (at);
CREATE INDEX ON sales (who);
BEGIN;
SELECT recsys.create_source('since', 'sales', 'who', 'what''s', 'act', 'amount', 'at',
	weights => '{"view": 1, "buy": 5, "it''s \\ odd": 2}');
SELECT recsys.pause('since');
COMMIT;
INSERT INTO sales VALUES
	('u1', 'a', 'view', 1, now() - interval '1 hour'),
	('u1', 'a', 'view', 1, now() - interval '3 days'),
	('u2', 'b', 'buy', 2, now() - interval '2 hours'),
	('u2', 'c', 'it''s \ odd', 0.5, now()),
	('u2', 'd', 'view', 1, now()),
	('u4', 'huge', 'buy', 1e8, now()),
	('u5', 'huge', 'buy', 2e8, now()),
	-- what does not count
	('u3', 'd', 'none', 100, now()),
	('u3', 'd', NULL, 100, now()),
	('u3', NULL, 'view', 100, now()),
	(NULL, 'd', 'view', 100, now()),
	(repeat('x', 1025), 'd', 'view', 100, now()),
	('u3', 'd', 'view', NULL, now()),
	('u3', 'd', 'view', -1, now()),
	('u3', 'd', 'view', 'NaN', now()),
	('u3', 'd', 'view', 'Infinity', now()),
	('u3', 'd', 'view', 1e308, now()),
	('u3', 'd', 'buy', 2.1e8, now()),
	('u3', 'd', 'view', ('1' || repeat('0', 400))::numeric, now()),
	('u3', 'd', 'view', 100, NULL),
	('u3', 'd', 'view', 100, 'infinity'),
	('u3', 'd', 'view', 100, '-infinity'),
	('u3', 'd', 'view', 100, now() + interval '2 hours'),
	('u3', 'z', 'none', 1, now());
-- equal scores: the smaller item number first, items without one last
INSERT INTO since.items VALUES (1, 'd', 1, 1, 1, 0), (2, 'c', 1, 1, 1, 0);
SELECT * FROM since.popular(since => '1 day');
SELECT * FROM since.popular(2, '10 days');
SELECT * FROM since.popular(10, '90 minutes');
SELECT * FROM since.popular(10, '1 century') LIMIT 1;
DELETE FROM since.items;
SELECT * FROM since.popular(since => '1 day');
-- the published list knows nothing of them
SELECT * FROM since.popular();
SELECT * FROM since.popular(0, '1 day');
SELECT * FROM since.popular(10, '0');
SELECT * FROM since.popular(10, '-1 day');
-- the owner's rights
CREATE ROLE regress_since;
ALTER FUNCTION since.popular OWNER TO regress_since;
SELECT * FROM since.popular(since => '1 day');
SELECT recsys.drop_source('since');
DROP ROLE regress_since;
DROP TABLE sales;
DROP TYPE action;

-- a partitioned table of ratings: how many users have rated an item
CREATE TABLE opinions (who uuid, what bigint, stars int, at timestamptz) PARTITION BY HASH (who);
CREATE INDEX ON opinions (who);
CREATE TABLE opinions_0 PARTITION OF opinions FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE opinions_1 PARTITION OF opinions FOR VALUES WITH (MODULUS 2, REMAINDER 1);
BEGIN;
SELECT recsys.create_source('since', 'opinions', 'who', 'what', event_value_column => 'stars',
	event_time_column => 'at', feedback => 'explicit');
SELECT recsys.pause('since');
COMMIT;
INSERT INTO opinions SELECT ('00000000-0000-0000-0000-00000000000' || u)::uuid, i, 5 - u, now()
	FROM generate_series(1, 6) u, generate_series(1, 3) i, generate_series(1, 2) n WHERE u <= 2 * i;
SELECT * FROM since.popular(since => '1 day');
SELECT recsys.drop_source('since');
DROP TABLE opinions;

-- decay, and a child table whose rows are not the parent's
CREATE TABLE visits (who int, what int, at timestamptz);
CREATE INDEX ON visits (who);
BEGIN;
SELECT recsys.create_source('since', 'visits', 'who', 'what', event_time_column => 'at', half_life => '1 day');
SELECT recsys.pause('since');
COMMIT;
CREATE TABLE visits_old () INHERITS (visits);
INSERT INTO visits_old VALUES (1, 99, now());
INSERT INTO visits SELECT 1, d, now() - d * interval '1 day' FROM generate_series(0, 3) d;
INSERT INTO visits VALUES (1, 7, now() - interval '10000 days');
SELECT item_id, round(score::numeric, 4) FROM since.popular(since => '30 years');
SELECT recsys.drop_source('since');
DROP TABLE visits, visits_old;

-- without a time column it can't be
CREATE TABLE visits (who int, what int);
CREATE INDEX ON visits (who);
BEGIN;
SELECT recsys.create_source('since', 'visits', 'who', 'what');
SELECT recsys.pause('since');
COMMIT;
SELECT * FROM since.popular(since => '1 day');
SELECT recsys.drop_source('since');
DROP TABLE visits;
