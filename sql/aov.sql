-- Average order value.
\pset null '(null)'
-- orders a (3.00 + 4.5), b (10), c (-2.5, a refund): 15 / 3
CREATE TABLE sold (order_id text, price numeric);
INSERT INTO sold VALUES ('a', 3.00), ('b', 10), ('a', 4.5), ('c', -2.5), (NULL, 1000), ('d', NULL);
SELECT recsys.aov(price, order_id) FROM sold;
SELECT order_id, recsys.aov(price, order_id) FROM sold GROUP BY order_id ORDER BY order_id;
SELECT recsys.aov(price, order_id) AS nothing, recsys.aov(price, 1) AS constant FROM sold WHERE order_id = 'd';
SELECT recsys.aov(price, order_id) FILTER (WHERE price > 3) AS filtered, recsys.aov(DISTINCT price, 1) AS distinct,
	recsys.aov(price, order_id ORDER BY price) AS ordered FROM sold;
-- not a digit is lost
SELECT recsys.aov(v, o) FROM (VALUES (1e30, 1), (1e-30, 1), (-1e30, 1)) t (v, o);
SELECT recsys.aov(v, o) FROM (VALUES (0.1, 1), (0.2, 2), (0.3000, 3)) t (v, o);
-- values of other types
SELECT recsys.aov(v::int, o) AS int, recsys.aov(v::bigint, o) AS bigint, recsys.aov(v::float8::numeric, o) AS double
FROM (VALUES (7, 1), (8, 2)) t (v, o);
CREATE TYPE aov_key AS (i int, t text);
-- ids of any type that can be hashed; equal is what "=" says
SELECT recsys.aov(v, i) AS int, recsys.aov(v, i::bigint) AS bigint, recsys.aov(v, lpad(i::text, 32, '0')::uuid) AS uuid,
	recsys.aov(v, i::numeric / 1.0) AS numeric, recsys.aov(v, i::text) AS text, recsys.aov(v, i::text::varchar(5)) AS varchar,
	recsys.aov(v, ARRAY[i, 1]) AS "int[]", recsys.aov(v, (i, 'x'::text)::aov_key) AS composite,
	recsys.aov(v, repeat(i::text, 5000)) AS long, recsys.aov(v, timestamptz '2026-01-01' + i * interval '1 s') AS timestamptz,
	recsys.aov(v, i::float8) AS float8, recsys.aov(v, jsonb_build_object('id', i)) AS jsonb
FROM (VALUES (1, 1), (2, 1), (9, 2)) t (v, i);
SELECT recsys.aov(10, v) AS numerics FROM unnest('{1.0,1.00,1}'::numeric[]) v;
CREATE COLLATION aov_folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SELECT recsys.aov(10, v COLLATE aov_folded) AS folded, recsys.aov(10, v) AS as_it_is FROM unnest('{a,A,b}'::text[]) v;
-- stored out of line
CREATE TABLE toasted (id text, price numeric);
ALTER TABLE toasted ALTER id SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT repeat(md5((g % 5)::text), 400), g FROM generate_series(1, 50) g;
SELECT recsys.aov(price, id), sum(price) / count(DISTINCT id) AS expected FROM toasted;
SELECT count(*) FILTER (WHERE moving IS DISTINCT FROM (SELECT sum(price) / count(DISTINCT id) FROM toasted s WHERE s.price BETWEEN t.price - 6 AND t.price)) AS differences
FROM (SELECT price, recsys.aov(price, id) OVER (ORDER BY price ROWS 6 PRECEDING) AS moving FROM toasted) AS t;
-- many
SELECT recsys.aov(g % 100, g % 30011) AS many, sum(g % 100)::numeric / count(DISTINCT g % 30011) AS expected FROM generate_series(1, 100000) g;

-- what can't be
SELECT recsys.aov(v, 1) FROM unnest('{1,NaN}'::numeric[]) v;
SELECT recsys.aov(v, 1) FROM unnest('{1,-Infinity}'::numeric[]) v;
SELECT recsys.aov(price, price::money) FROM sold;
SELECT recsys.aov(price, (order_id, 1)) FROM sold;
SELECT recsys.aov(price, point '(1,1)') FROM sold;
SELECT recsys.aov('much', order_id) FROM sold;
SELECT recsys.aov(price, NULL) FROM sold;
DROP TABLE sold, toasted;
DROP TYPE aov_key;
DROP COLLATION aov_folded;
