-- Answers of als from a stored version.  The source is paused before its worker
-- starts, and state and vectors are filled in by hand, so that every score can
-- be worked out on paper.
CREATE TABLE als_events (who int, what int);
CREATE INDEX ON als_events (who);
ALTER TABLE als_events REPLICA IDENTITY FULL;

SET client_min_messages = warning;
-- the last digits are the machine's
SET extra_float_digits = -2;
BEGIN;
SELECT recsys.create_source('alsserve', 'als_events', 'who', 'what');
SELECT recsys.pause('alsserve');
COMMIT;

-- parameters
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"factors": 0}');
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"factors": 1025}');
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"factors": 2.5}');
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"factors": "many"}');
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"solver": "guess"}');
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"solver": 1}');
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"alpha": 0}');
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"alpha": "NaN"}');
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"regularization": -1}');
SELECT recsys.create_model('alsserve', 'bad', 'als', '{"rank": 10}');
SELECT count(*) FROM recsys.models WHERE source = 'alsserve';
SELECT recsys.create_model('alsserve', 'taste', 'als',
	'{"factors": 2, "alpha": 1, "regularization": 1, "regularization_exponent": 0, "solver": "cholesky"}');
SELECT algorithm, state, params FROM recsys.models WHERE source = 'alsserve';

-- Seven items of three, two, one users ...; the last has no vector.
INSERT INTO alsserve.items SELECT n, 10 * n, 8 - n, 8 - n, 1, 0 FROM generate_series(1, 7) n;
INSERT INTO alsserve.users VALUES (1, 101), (2, 102), (3, 103), (4, 104);
INSERT INTO alsserve.profiles VALUES
	(1, 0, 0, '{1,2}', '{2,4}', '{1,1}', '{700000000000000,700000001000000}'),
	(2, 0, 0, '{1}', '{1}', '{1}', '{700000000000000}'),
	(3, 0, 0, '{7}', '{1}', '{1}', '{700000000000000}'),
	(4, 0, 0, '{5}', '{3}', '{1}', '{700000000000000}');
INSERT INTO alsserve.state SELECT true, '0/0', ARRAY[0, pg_current_xact_id()::text::int8 + 1],
	system_identifier, d.oid, 'none', 5, 8, 0, 4, 0, 0, now(), 0, '{}', '{}'
	FROM pg_control_system(), pg_database d WHERE datname = current_database();

-- building: popular answers
SELECT * FROM alsserve.recommend(101, 2, 'taste');
SELECT * FROM alsserve.similar_items(10, 2, 'taste');
SELECT alsserve.predict(101, 30, 'taste'), alsserve.user_factors(101, 'taste');
SELECT * FROM alsserve.similar_users(101, 3, 'taste');

-- ready, but without a version
UPDATE recsys.model SET state = 'ready' WHERE name = 'taste';
SELECT * FROM alsserve.recommend(101, 2, 'taste');
SELECT * FROM alsserve.explain(101, 30, 2, 'taste');

-- vectors (1,0) (0,1) (1,1) (2,0) (-1,0) (0,-3): gram ((7,1),(1,11))
INSERT INTO alsserve.taste_factors VALUES
	(1, 1, 1, '{1,0}'), (1, 2, 1, '{0,1}'), (1, 3, 1, '{1,1}'), (1, 4, 1, '{2,0}'),
	(1, 5, 1, '{-1,0}'), (1, 6, 1, '{0,-3}');
INSERT INTO alsserve.taste_version VALUES
	(1, 1, 1, now(), '0/0', 4, 1, 4, 6, 5, 2, 0, 0, '{7,1,1,11}', '{}');
SELECT * FROM alsserve.item_factors ORDER BY item_id;

-- User 101: A = gram + 2 e1 e1' + 4 e2 e2' + I = ((10,1),(1,16)), b = (3,5), so
-- x = (43,47)/159.  Item 30: 90/159, item 40: 86/159, item 50: -43/159,
-- item 60: -141/159; item 70 is unknown to the model and comes last, not above.
SELECT alsserve.user_factors(101, 'taste'), 43 / 159.0 AS x1, 47 / 159.0 AS x2;
SELECT * FROM alsserve.recommend(101, 10, 'taste');
SELECT * FROM alsserve.recommend(101, 1, 'taste');
SELECT * FROM alsserve.recommend(101, 10, 'taste', exclude_seen => false);
SELECT * FROM alsserve.recommend(101, 2, 'taste', exclude => '{30,40,999}');
SELECT * FROM alsserve.recommend(101, 3, 'taste', items => '{60,10,50,70,999}');
SELECT * FROM alsserve.recommend(101, 3, 'taste', items => '{}');
SELECT * FROM alsserve.recommend(101, 3, 'taste', items => '{30,40}', exclude => '{30}');
-- history without a vector, unknown user: popular
SELECT * FROM alsserve.recommend(103, 2, 'taste');
SELECT * FROM alsserve.recommend(999, 2, 'taste');
SELECT alsserve.predict(103, 30, 'taste'), alsserve.predict(999, 30, 'taste'),
	alsserve.predict(101, 70, 'taste'), alsserve.predict(101, 999, 'taste'),
	alsserve.user_factors(103, 'taste'), alsserve.user_factors(999, 'taste');
SELECT alsserve.predict(101, 30, 'taste'), 90 / 159.0 AS expected;

-- explain: 30 = (1,1), z = A^-1 (1,1)' = (15,9)/159; item 10 gives 3 z1, item 20 gives 5 z2
SELECT * FROM alsserve.explain(101, 30, 5, 'taste');
SELECT 45 / 159.0 AS from_10, 45 / 159.0 AS from_20;
SELECT sum(contribution)::real = alsserve.predict(101, 40, 'taste') FROM alsserve.explain(101, 40, 5, 'taste');
SELECT * FROM alsserve.explain(101, 70, 5, 'taste');

-- a session of items 10 and 20, weight 1 each: A = ((9,1),(1,13)), b = (2,2), x = (24,16)/116
SELECT * FROM alsserve.recommend_session('{10,20}', 2, 'taste');
SELECT 40 / 116.0 AS s30, 48 / 116.0 AS s40;
SELECT * FROM alsserve.recommend_session('{70,999}', 2, 'taste');

-- cosines
SELECT * FROM alsserve.similar_items(10, 10, 'taste');
SELECT * FROM alsserve.similar_items(70, 10, 'taste');
SELECT * FROM alsserve.similar_users(101, 10, 'taste');
SELECT * FROM alsserve.similar_users(101, 1, 'taste');
SELECT * FROM alsserve.similar_users(999, 10, 'taste');
SELECT * FROM alsserve.similar_users(101, 0, 'taste');

-- the caller's own events count at once: 101 has now seen item 30
BEGIN;
INSERT INTO als_events VALUES (101, 30), (999, 10);
SELECT item_id FROM alsserve.recommend(101, 2, 'taste');
SELECT item_id FROM alsserve.recommend(999, 2, 'taste');
ROLLBACK;

-- a publication: item 70 gets a vector, item 40 another one
BEGIN;
UPDATE alsserve.taste_version SET publish = 2;
INSERT INTO alsserve.taste_factors VALUES (1, 7, 2, '{3,3}');
UPDATE alsserve.taste_factors SET publish = 2, factors = '{4,0}' WHERE item_id = 4;
SELECT * FROM alsserve.recommend(101, 3, 'taste');
ROLLBACK;
SELECT * FROM alsserve.recommend(101, 3, 'taste');
BEGIN;
UPDATE alsserve.taste_version SET publish = 3;
INSERT INTO alsserve.taste_factors VALUES (1, 7, 3, '{3,3}');
UPDATE alsserve.taste_factors SET publish = 3, factors = '{4,0}' WHERE item_id = 4;
COMMIT;
SELECT * FROM alsserve.recommend(101, 3, 'taste');
-- forgotten: gone with its key
BEGIN;
DELETE FROM alsserve.items WHERE id = 7;
SELECT * FROM alsserve.recommend(101, 2, 'taste');
ROLLBACK;

-- another version, of another length
BEGIN;
UPDATE alsserve.taste_version SET version = 2, publish = 4, dim = 1, item_gram = '{14}';
INSERT INTO alsserve.taste_factors VALUES
	(2, 1, 4, '{1}'), (2, 2, 4, '{2}'), (2, 3, 4, '{3}');
COMMIT;
-- A = 14 + 2 + 16 + 1 = 33, b = 3 + 10 = 13, item 30: 39/33
SELECT * FROM alsserve.recommend(101, 2, 'taste');
SELECT alsserve.predict(101, 30, 'taste'), 39 / 33.0 AS expected;

-- tables that somebody has tampered with: an error, or no answer, never a wrong one
BEGIN;
UPDATE alsserve.taste_version SET version = 3, publish = 5;
INSERT INTO alsserve.taste_factors VALUES (3, 1, 5, '{1,2}'), (3, 2, 5, '{2}');
SELECT * FROM alsserve.recommend(101, 2, 'taste');
ROLLBACK;
BEGIN;
UPDATE alsserve.taste_version SET version = 4, publish = 5, item_gram = '{1,2,3}';
INSERT INTO alsserve.taste_factors VALUES (4, 1, 5, '{1}'), (4, 3, 5, '{1}');
SELECT * FROM alsserve.recommend(101, 2, 'taste');
ROLLBACK;
BEGIN;
DROP VIEW alsserve.item_factors;
ALTER TABLE alsserve.taste_factors ALTER factors TYPE float8[];
SELECT * FROM alsserve.recommend(101, 2, 'taste');
ROLLBACK;

-- what other algorithms cannot answer
SELECT recsys.create_model('alsserve', 'near', 'item_knn');
SELECT * FROM alsserve.similar_users(101, 3, 'near');
SELECT alsserve.user_factors(101, 'near');

-- Explicit feedback: rating ~ mean + bu + bi + x.y; one factor, mean 3,
-- regularization 1 whatever the number of ratings.
CREATE TABLE als_ratings (who int, what int, stars float8);
CREATE INDEX ON als_ratings (who);
ALTER TABLE als_ratings REPLICA IDENTITY FULL;
BEGIN;
SELECT recsys.create_source('alsrate', 'als_ratings', 'who', 'what',
	event_value_column => 'stars', feedback => 'explicit');
SELECT recsys.pause('alsrate');
SELECT recsys.create_model('alsrate', 'taste', 'als',
	'{"factors": 1, "regularization": 1, "regularization_exponent": 0}');
COMMIT;
INSERT INTO alsrate.items SELECT n, 10 * n, 2, 6, 20, 0 FROM generate_series(1, 3) n;
INSERT INTO alsrate.users VALUES (1, 101);
INSERT INTO alsrate.profiles VALUES
	(1, 0, 0, '{1,2}', '{5,2}', '{1,1}', '{700000000000000,700000001000000}');
INSERT INTO alsrate.state SELECT true, '0/0', ARRAY[0, pg_current_xact_id()::text::int8 + 1],
	system_identifier, d.oid, 'none', 2, 4, 0, 2, 0, 0, now(), 0, '{}', '{}'
	FROM pg_control_system(), pg_database d WHERE datname = current_database();
UPDATE recsys.model SET state = 'ready' WHERE name = 'taste';
INSERT INTO alsrate.taste_factors VALUES
	(1, 1, 1, '{1,0.5}'), (1, 2, 1, '{-1,0}'), (1, 3, 1, '{2,0.25}');
INSERT INTO alsrate.taste_version VALUES
	(1, 1, 1, now(), '0/0', 2, 1, 1, 3, 2, 2, 0, 3, '{}', '{}');
-- features (1,1) and (-1,1), targets 5 - 3 - 0.5 = 1.5 and 2 - 3 - 0 = -1:
-- A = ((3,0),(0,3)), b = (2.5,0.5), x = 2.5/3, bu = 0.5/3;
-- item 30: 3 + 0.5/3 + 0.25 + 2 * 2.5/3
SELECT alsrate.predict(101, 30), 3 + 0.5 / 3 + 0.25 + 5 / 3.0 AS expected;
SELECT * FROM alsrate.recommend(101, 3, exclude_seen => false);
SELECT alsrate.user_factors(101);
SELECT sum(contribution)::numeric(6,4) AS parts, (alsrate.predict(101, 30) - 3 - 0.25)::numeric(6,4) AS score_less_baselines
	FROM alsrate.explain(101, 30);
SELECT recsys.drop_source('alsserve');
SELECT recsys.drop_source('alsrate');
