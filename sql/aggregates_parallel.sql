-- Aggregates in parallel, and partition by partition, equal those of one process.
CREATE TABLE parts (n int, type text, success boolean, rating int, price numeric, order_id bigint, name text, a real, b real) PARTITION BY RANGE (n);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (7000);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (7000) TO (15000);
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (15000) TO (30000);
INSERT INTO parts SELECT n, (ARRAY['impression', 'click', 'impression', 'purchase', NULL, 'view'])[1 + n * 7919 % 6],
	CASE n % 7 WHEN 0 THEN NULL ELSE n * 31 % 7 < 3 END, n % 11,
	CASE WHEN n % 13 > 0 THEN (n * 7907 % 1999)::numeric / (ARRAY[1, 10.0, 1000.000])[1 + n % 3] END,
	n * 13::bigint % 4001, CASE WHEN n % 2 = 0 THEN repeat('x', 40) ELSE 'o' END || n * 17 % 1009,
	CASE WHEN n % 5 > 0 THEN (n * 7919 % 23 - 11) * (ARRAY[1, 1e20, 1e-20, 0.1])[1 + n / 30 % 4] END::real,
	CASE WHEN n % 7 > 0 THEN (n * 31 % 19 - 9) * (ARRAY[1, 1e-10, 0.3])[1 + n / 50 % 3] END::real
	FROM generate_series(1, 20000) n;
ANALYZE parts;
CREATE COLLATION parts_folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE VIEW figures AS SELECT recsys.ctr(type) AS ctr, recsys.ctr_interval(type) AS ctr_interval, recsys.ctr_of(success, rating > 5) AS ctr_of,
	recsys.cvr(type) AS cvr, recsys.cvr_interval(type) AS cvr_interval, recsys.cvr_of(rating > 5, success) AS cvr_of,
	recsys.rate(success) AS rate, recsys.rate_interval(success) AS rate_interval, recsys.csat(rating, 7) AS csat,
	recsys.csat_interval(rating, 7) AS csat_interval, recsys.nps(rating % 11) AS nps,
	recsys.aov(price, order_id) AS aov, recsys.aov(price, name) AS aov_text,
	recsys.aov(price, CASE WHEN n % 3 = 0 THEN upper(name) ELSE name END COLLATE parts_folded) AS aov_folded,
	recsys.aov(price, ARRAY[order_id, n % 3]) AS aov_array,
	recsys.cosine_agg(a, b) AS cosine_agg, recsys.pearson_agg(a, b) AS pearson_agg, recsys.aov(price, order_id) FILTER (WHERE n < 0) AS nothing,
	recsys.cosine_agg(a, b) FILTER (WHERE n < 0) AS no_cosine FROM parts;
CREATE VIEW grouped AS SELECT rating, recsys.ctr(type), recsys.aov(price, name), recsys.cosine_agg(a, b), recsys.nps(rating) FROM parts GROUP BY rating;

SET max_parallel_workers_per_gather = 0;
SET enable_partitionwise_aggregate = off;
CREATE TABLE alone AS SELECT f::text FROM figures f;
CREATE TABLE alone_grouped AS SELECT g::text FROM grouped g;
SELECT (f.aov, f.aov_text, f.aov_folded) = (e.a, e.b, e.b) AS as_plain_sql FROM figures f,
	(SELECT sum(price) / count(DISTINCT order_id) FILTER (WHERE price IS NOT NULL) AS a, sum(price) / count(DISTINCT name) FILTER (WHERE price IS NOT NULL) AS b FROM parts) AS e;

SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 3;
EXPLAIN (COSTS OFF) SELECT recsys.ctr(type), recsys.aov(price, name), recsys.cosine_agg(a, b) FROM parts;
SELECT f::text FROM figures f EXCEPT TABLE alone;
SELECT count(*) AS same FROM (SELECT g::text FROM grouped g INTERSECT TABLE alone_grouped) AS s;
SET parallel_leader_participation = off;
SELECT f::text FROM figures f EXCEPT TABLE alone;
RESET parallel_leader_participation;

-- each partition by itself: the parts add up without workers, too
SET enable_partitionwise_aggregate = on;
SET max_parallel_workers_per_gather = 0;
EXPLAIN (COSTS OFF) SELECT recsys.ctr(type), recsys.aov(price, name), recsys.cosine_agg(a, b) FROM parts;
SELECT f::text FROM figures f EXCEPT TABLE alone;
SELECT count(*) AS same FROM (SELECT g::text FROM grouped g INTERSECT TABLE alone_grouped) AS s;
DROP VIEW figures, grouped;
DROP TABLE parts, alone, alone_grouped;
DROP COLLATION parts_folded;
