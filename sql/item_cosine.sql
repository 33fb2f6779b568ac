-- item_cosine: the most similar items of any table, in one statement.
--
-- value    tea  milk  cake  salt    (user: 1 .. 5)
--  1        1    1
--  2        2    2     1
--  3        1          1
--  4             1           3
--  5                         4
-- length  √6    √6    √2     5
CREATE TABLE liked (who int, what text, value float8);
INSERT INTO liked VALUES (1, 'tea', 1), (1, 'milk', 1), (2, 'tea', 1), (2, 'tea', 1), (2, 'milk', 2), (2, 'cake', 1),
	(3, 'tea', 1), (3, 'cake', 1), (4, 'milk', 1), (4, 'salt', 3), (5, 'salt', 4),
	(NULL, 'tea', 7), (5, NULL, 7), (5, 'milk', NULL), (5, 'cake', 0), (4, 'cake', 2), (4, 'cake', -2);
-- tea and milk: (1 + 4) / 6; tea and cake: (2 + 1) / √12; milk and cake: 2 / √12; milk and salt: 3 / (5 √6)
SELECT * FROM unnest((SELECT recsys.item_cosine(who, what, value) FROM liked));
-- k is for each item
SELECT item, similar_item FROM unnest((SELECT recsys.item_cosine_top(who, what, value, 1) FROM liked));
-- without values each row counts 1
SELECT * FROM unnest((SELECT recsys.item_cosine(who, what, 1) FROM liked WHERE value > 0)) WHERE item = 'cake';
-- users by the items they have in common: the same with columns changed about
SELECT * FROM unnest((SELECT recsys.item_cosine(what, who, value) FROM liked)) WHERE item = '1';
SELECT item::int, similar_item::int FROM unnest((SELECT recsys.item_cosine(what, who, value) FROM liked)) WHERE rank = 1 ORDER BY 1;
-- one statement for each group; FILTER, DISTINCT
SELECT early, s.* FROM (SELECT who < 3, recsys.item_cosine(who, what, value) FROM liked WHERE who IS NOT NULL GROUP BY 1) AS g(early, lists), unnest(lists) AS s
	WHERE s.item = 'milk' ORDER BY 1, rank;
SELECT * FROM unnest((SELECT recsys.item_cosine(DISTINCT who, what, 1) FILTER (WHERE value > 0) FROM liked)) WHERE item = 'tea';
-- over a window: of what has come until here
SELECT who, what, (SELECT string_agg(similar_item || ' ' || score, ', ' ORDER BY rank) FROM unnest(lists) WHERE item = 'tea')
	FROM (SELECT who, what, recsys.item_cosine(who, what, value) OVER (ORDER BY who, what, value) AS lists FROM liked WHERE value > 0 AND who < 3 AND what IS NOT NULL) AS w;

-- nothing
SELECT recsys.item_cosine(who, what, value) IS NULL AS no_rows FROM liked WHERE false;
SELECT recsys.item_cosine(who, what, value) IS NULL AS no_keys FROM liked WHERE who IS NULL;
SELECT recsys.item_cosine(who, what, 0) AS nothing_but_zeros, recsys.item_cosine(5, what, 1) AS one_user, recsys.item_cosine(who, 'tea'::text, 1) AS one_item FROM liked WHERE what = 'salt' OR what = 'tea';
-- dots below zero are not similar
SELECT recsys.item_cosine(who, what, value) FROM (VALUES (1, 'up', 1), (1, 'down', -1), (2, 'up', 1), (2, 'down', -3)) AS v(who, what, value);

-- sizes do not matter: 1e100 beside 1e-100, and what does not fit in a double
SELECT * FROM unnest((SELECT recsys.item_cosine(who, what, value) FROM (VALUES (1, 'a', 3e99), (2, 'a', 4e99), (1, 'b', 3e-100), (2, 'b', 4e-100),
	(1, 'c', 1e100), (1, 'c', 3), (1, 'c', -1e100), (2, 'c', 4)) AS v(who, what, value)));
-- equal scores: in the order of items
SELECT item, similar_item, rank, score FROM unnest((SELECT recsys.item_cosine(1, n, n) FROM generate_series(5, 1, -1) n)) WHERE rank < 3 OR item = '3';

-- keys of any type, in any mix
CREATE FUNCTION same_lists(a recsys.similar_pair[], b recsys.similar_pair[]) RETURNS text LANGUAGE sql
	RETURN (SELECT count(*) FROM unnest(a)) || ' of ' || (SELECT count(*) FROM (SELECT * FROM unnest(a) INTERSECT SELECT * FROM unnest(b)) AS s);
CREATE TABLE mixed AS SELECT n * 7919 % 211 AS u, n * n * 31 % 97 AS i, n % 5 + 1 AS v FROM generate_series(1, 4000) n;
CREATE TABLE plain AS SELECT recsys.item_cosine(u, lpad(i::text, 3, '0'), v) AS lists FROM mixed;
SELECT same_lists(lists, l) FROM plain, LATERAL (SELECT recsys.item_cosine(u::int8, lpad(i::text, 3, '0')::varchar(20), v) AS l FROM mixed) AS m;
SELECT same_lists(lists, l) FROM plain, LATERAL (SELECT recsys.item_cosine(md5(u::text)::uuid, lpad(i::text, 3, '0')::char(3), v) AS l FROM mixed) AS m;
SELECT same_lists(lists, l) FROM plain, LATERAL (SELECT recsys.item_cosine(u::int2, repeat('0', 3 - length(i::text)) || i, v) AS l FROM mixed) AS m;
SELECT same_lists(lists, ARRAY(SELECT (lpad(s.item, 3, '0'), s.rank, lpad(s.similar_item, 3, '0'), s.score)::recsys.similar_pair FROM unnest(l) AS s))
	FROM plain, LATERAL (SELECT recsys.item_cosine(u::text, i::int8, v::real) AS l FROM mixed) AS m;
SELECT same_lists(lists, ARRAY(SELECT (lpad(s.item, 3, '0'), s.rank, lpad(s.similar_item, 3, '0'), s.score)::recsys.similar_pair FROM unnest(l) AS s))
	FROM plain, LATERAL (SELECT recsys.item_cosine(u::numeric, i::numeric, v::numeric) AS l FROM mixed) AS m;
-- long ones, and those that are the same under their collation; each side has its own
CREATE COLLATION cosine_folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SELECT length(item), length(similar_item), score FROM unnest((SELECT recsys.item_cosine(repeat('user', 1000) || u, repeat('item', 1000) || i % 2, 1) FROM mixed));
CREATE TABLE folded (u text COLLATE cosine_folded, i text COLLATE "C");
INSERT INTO folded VALUES ('ann', 'x'), ('ANN', 'y'), ('bob', 'y'), ('Bob', 'X');
SELECT item, similar_item, score FROM unnest((SELECT recsys.item_cosine(u, i, 1) FROM folded));
SELECT count(*) AS pairs FROM unnest((SELECT recsys.item_cosine(i, u, 1) FROM folded));

-- plain SQL of the formula says the same
WITH r AS (SELECT u, i, sum(v) AS r FROM mixed GROUP BY 1, 2),
	norm AS (SELECT i, sqrt(sum(r * r)) AS n FROM r GROUP BY 1),
	pairs AS (SELECT a.i, b.i AS j, sum(a.r * b.r) / (x.n * y.n) AS score FROM r a JOIN r b ON b.u = a.u AND b.i <> a.i
		JOIN norm x ON x.i = a.i JOIN norm y ON y.i = b.i GROUP BY a.i, b.i, x.n, y.n)
SELECT count(*) AS pairs, count(*) FILTER (WHERE abs(s.score - p.score) < 1e-6) AS same
	FROM pairs p FULL JOIN unnest((SELECT recsys.item_cosine_top(u, i, v, 1000) FROM mixed)) AS s ON s.item::int = p.i AND s.similar_item::int = p.j;

-- in parallel: no bit differs, whatever the order of rows and the values
CREATE TABLE busy AS SELECT n * 7919::bigint % 4001 AS u, 'item ' || n * 31 % 997 * (n % 3) AS i,
	(n % 7 - 2) * (ARRAY[1, 0.1, 1e10, 1e-5])[1 + n % 4] AS v FROM generate_series(1, 150000) n;
ANALYZE busy;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE alone AS SELECT recsys.item_cosine(u, i, v) AS lists, recsys.item_cosine_top(i, u, v, 3) AS users FROM busy;
SELECT lists = (SELECT recsys.item_cosine(u, i, v ORDER BY v, i) FROM busy) AS any_order FROM alone;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 3;
EXPLAIN (COSTS OFF) SELECT recsys.item_cosine(u, i, v), recsys.item_cosine_top(i, u, v, 3) FROM busy;
SELECT lists = s.l AS same, users = s.u AS same_users, cardinality(lists) AS pairs
	FROM alone, LATERAL (SELECT recsys.item_cosine(u, i, v) AS l, recsys.item_cosine_top(i, u, v, 3) AS u FROM busy) AS s;
SET parallel_leader_participation = off;
SELECT lists = (SELECT recsys.item_cosine(u, i, v) FROM busy) AS same FROM alone;
RESET parallel_leader_participation;
SELECT recsys.item_cosine(u, i, v) FILTER (WHERE u < 0) IS NULL AS nothing FROM busy;
CREATE VIEW of_groups AS SELECT u % 3 AS third, recsys.item_cosine(u, i, v) AS lists FROM busy GROUP BY 1;
SET enable_sort = off;
EXPLAIN (COSTS OFF) TABLE of_groups;
RESET enable_sort;
CREATE TABLE grouped AS TABLE of_groups;
SET max_parallel_workers_per_gather = 0;
SELECT third, o.lists = g.lists AS same FROM of_groups o JOIN grouped g USING (third) ORDER BY 1;

-- item_knn publishes the same lists
CREATE TABLE cosine_events (who int, what text);
ALTER TABLE cosine_events REPLICA IDENTITY FULL;
CREATE INDEX ON cosine_events (who);
INSERT INTO cosine_events SELECT n * 7919 % 311, 'item ' || (n * n % 1009 * 31 % 89) FROM generate_series(1, 6000) n;
SELECT recsys.create_source('cosine', 'cosine_events', 'who', 'what');
SELECT recsys.create_model('cosine', 'knn', 'item_knn', '{"k": 20}');
SELECT recsys.wait_for('cosine');
INSERT INTO cosine_events SELECT n * 31 % 311, 'item ' || n % 97 FROM generate_series(1, 500) n;
DELETE FROM cosine_events WHERE who % 10 = 3;
SELECT recsys.wait_for('cosine');
WITH batch AS (SELECT * FROM unnest((SELECT recsys.item_cosine_top(who, what, 1, 20) FROM cosine_events))),
	published AS (SELECT i.key AS item, p.rank, j.key AS similar_item, p.score FROM cosine.knn_neighbors n JOIN cosine.items i ON i.id = n.item_id,
		unnest(n.neighbors, n.scores) WITH ORDINALITY AS p(neighbor, score, rank) JOIN cosine.items j ON j.id = p.neighbor)
SELECT count(*) > 1500 AS many, count(*) = count(b.item) AND count(*) = count(p.item) AS same_places, max(abs(b.score - p.score)) < 1e-3 AS same_scores
	FROM batch b FULL JOIN published p USING (item, rank);
SELECT recsys.drop_source('cosine');

-- errors
SELECT recsys.item_cosine(who, what, 'NaN') FROM liked;
SELECT recsys.item_cosine(who, what, '-Infinity') FROM liked;
SELECT recsys.item_cosine(who, what, 1e101) FROM liked;
SELECT recsys.item_cosine_top(who, what, value, 0) FROM liked;
SELECT recsys.item_cosine_top(who, what, value, 1001) FROM liked;
SELECT recsys.item_cosine_top(who, what, value, who) FROM liked;
SELECT recsys.item_cosine(point(who, 1), what, value) FROM liked;
SELECT recsys.item_cosine(who, what, 'much') FROM liked;
SET recsys.aggregate_memory = '1MB';
\set VERBOSITY sqlstate
SELECT recsys.item_cosine(n, n % 10, 1) FROM generate_series(1, 100000) n;
SELECT recsys.item_cosine(n % 10, repeat('x', 1000) || n, 1) FROM generate_series(1, 2000) n;
SELECT recsys.item_cosine(n % 1000, n % 499, 1) FROM generate_series(1, 100000) n;
SET recsys.aggregate_memory = '4MB';
SELECT cardinality(recsys.item_cosine_top(1, n, 1, 50)) AS pairs FROM generate_series(1, 300) n;
SELECT cardinality(recsys.item_cosine_top(1, n, 1, 1000)) AS pairs FROM generate_series(1, 300) n;
\set VERBOSITY default
-- pairs that come again take no more memory
SELECT item, score FROM unnest((SELECT recsys.item_cosine(n % 7, n % 4, 0.1) FROM generate_series(1, 1000000) n)) WHERE rank = 1;
RESET recsys.aggregate_memory;
DROP VIEW of_groups;
DROP TABLE grouped, folded, liked, mixed, plain, busy, alone, cosine_events;
DROP FUNCTION same_lists;
DROP COLLATION cosine_folded;
