-- Metrics of ranked lists, against values by hand.
\pset null '(null)'
CREATE VIEW lists (name, recommended, relevant, k) AS VALUES
	('example', '{a,b,c,d,e}'::text[], '{a,c,x}'::text[], 5),
	('shorter than k', '{a,b,c}', '{c}', 10),
	('beyond k', '{a,b,c}', '{c}', 2),
	('perfect', '{a,b}', '{b,a}', 2),
	('more relevant than k', '{a,b,c}', '{c,b,a,d}', 2),
	('nothing recommended', '{}', '{a}', 3),
	('nothing relevant', '{a}', '{}', 3),
	('only a null relevant', '{a}', '{NULL}', 3),
	('repeated', '{a,a,b}', '{a,b,b,NULL}', 3),
	('nulls', '{NULL,a}', '{a,NULL}', 2),
	('no list', NULL, '{a}', 3),
	('no set', '{a}', NULL, 3),
	('no k', '{a}', '{a}', NULL);
SELECT name,
	round(recsys.precision_at_k(recommended, relevant, k)::numeric, 6) AS precision,
	round(recsys.recall_at_k(recommended, relevant, k)::numeric, 6) AS recall,
	round(recsys.ndcg_at_k(recommended, relevant, k)::numeric, 6) AS ndcg,
	round(recsys.average_precision_at_k(recommended, relevant, k)::numeric, 6) AS ap,
	round(recsys.reciprocal_rank(recommended, relevant, k)::numeric, 6) AS rr,
	recsys.hit_rate(recommended, relevant, k) AS hit
FROM lists;

-- the same by plain SQL, on lists of all kinds
CREATE TABLE rounds AS
	SELECT n, 1 + n % 7 AS k,
		ARRAY(SELECT (n * 7919 + i * (1 + n % 3)) % 17 FROM generate_series(1, n % 9) i) AS recommended,
		ARRAY(SELECT (n * 104729 + i * i) % 17 FROM generate_series(1, 1 + n % 6) i) AS relevant
	FROM generate_series(1, 500) n;
WITH hits AS (
	SELECT n, r.k, (SELECT count(DISTINCT x) FROM unnest(r.relevant) x) AS size, rank,
		item = ANY (r.relevant) AND item <> ALL (r.recommended[:rank::int - 1]) AS hit
	FROM rounds r LEFT JOIN LATERAL unnest(r.recommended) WITH ORDINALITY l (item, rank) ON rank <= r.k
), counted AS (
	SELECT *, count(*) FILTER (WHERE hit) OVER (PARTITION BY n ORDER BY rank) AS found FROM hits
), expected AS (
	SELECT n, count(*) FILTER (WHERE hit)::float8 / k AS precision,
		count(*) FILTER (WHERE hit)::float8 / size AS recall,
		coalesce(sum(1 / log(2, rank + 1)) FILTER (WHERE hit), 0)::float8 /
			(SELECT sum(1 / log(2, i + 1)) FROM generate_series(1, least(k, size)) i)::float8 AS ndcg,
		coalesce(sum(found::float8 / rank) FILTER (WHERE hit), 0) / least(k, size) AS ap,
		coalesce(1 / min(rank) FILTER (WHERE hit)::float8, 0) AS rr,
		coalesce(bool_or(hit), false)::int AS hit_rate
	FROM counted GROUP BY n, k, size
)
SELECT count(*) AS lists, count(*) FILTER (WHERE recall > 0) AS with_hits,
	count(*) FILTER (WHERE abs(precision - recsys.precision_at_k(recommended, relevant, k)) > 1e-9
		OR abs(recall - recsys.recall_at_k(recommended, relevant, k)) > 1e-9
		OR abs(ndcg - recsys.ndcg_at_k(recommended, relevant, k)) > 1e-9
		OR abs(ap - recsys.average_precision_at_k(recommended, relevant, k)) > 1e-9
		OR abs(rr - recsys.reciprocal_rank(recommended, relevant, k)) > 1e-9
		OR hit_rate <> recsys.hit_rate(recommended, relevant, k)) AS differences
FROM expected JOIN rounds USING (n);

-- any type that has "=", with a hash function or without; k is 10 if not given
SELECT recsys.recall_at_k(ARRAY[1, 2, 3], ARRAY[3, 4]) AS int4,
	recsys.recall_at_k('{1,2}'::bigint[], '{2}'::bigint[], 2) AS int8,
	recsys.recall_at_k('{00000000-0000-0000-0000-000000000001}'::uuid[], '{00000000-0000-0000-0000-000000000001}'::uuid[], 1) AS uuid,
	recsys.recall_at_k('{1.0}'::numeric[], '{1.00}'::numeric[], 1) AS numeric,
	recsys.recall_at_k('{$1.00,$2.00}'::money[], '{$2.00}'::money[], 5) AS money,
	recsys.recall_at_k('{{1,2},{3,4}}'::int[], '{3}'::int[], 4) AS "flattened";
CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SELECT recsys.recall_at_k('{A}'::text[] COLLATE folded, '{a}'::text[], 1) AS folded,
	recsys.recall_at_k('{A}'::text[], '{a}'::text[], 1) AS as_it_is;
SELECT recsys.hit_rate(ARRAY(SELECT generate_series(1, 20000)), ARRAY(SELECT generate_series(20000, 60000)), 100000) AS large;

-- what can't be
SELECT recsys.precision_at_k('{1}'::int[], '{1}'::int[], 0);
SELECT recsys.ndcg_at_k('{1}'::int[], '{1}'::int[], -3);
SELECT recsys.recall_at_k('{"(1,1)"}'::point[], '{"(1,1)"}'::point[], 3);
SELECT recsys.recall_at_k('{1}'::int[], '{1}'::text[], 3);

-- of use in queries and indexes
SELECT proname, provolatile, proparallel, proisstrict, obj_description(oid) IS NOT NULL AS described
FROM pg_proc WHERE pronamespace = 'recsys'::regnamespace
	AND proname IN ('precision_at_k', 'recall_at_k', 'ndcg_at_k', 'average_precision_at_k', 'reciprocal_rank', 'hit_rate')
ORDER BY proname;
DROP VIEW lists;
DROP TABLE rounds;
DROP COLLATION folded;
