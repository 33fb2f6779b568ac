-- Similarity of arrays and of columns, against values by hand.
\pset null '(null)'
SET extra_float_digits = 0;
-- dot 1*2 + 2*1 = 4 over what both have; norms sqrt(14) and sqrt(21) over what each has
SELECT recsys.cosine_similarity('{1,2,3,NULL}', '{2,1,NULL,4}')::numeric(12, 10) AS cosine, (4 / sqrt(14 * 21))::numeric(12, 10) AS expected;
SELECT recsys.cosine_agg(a, b)::numeric(12, 10) AS cosine FROM (VALUES (1, 2), (2, 1), (3, NULL), (NULL, 4), (NULL, NULL)) t (a, b);
SELECT recsys.cosine_similarity('{1,2}', '{2,4}') AS parallel, recsys.cosine_similarity('{1,0}', '{0,1}') AS right_angle,
	recsys.cosine_similarity('{1,2}', '{-1,-2}') AS opposite, recsys.cosine_similarity('{0,0}', '{1,2}') AS zeros,
	recsys.cosine_similarity('{NULL,NULL}', '{1,2}') AS nulls, recsys.cosine_similarity('{}', '{}') AS empty,
	recsys.cosine_similarity('{1,NULL}', '{NULL,1}') AS nothing_in_common, recsys.cosine_similarity(NULL, '{1}') AS null,
	recsys.cosine_similarity('{3e38,3e38}', '{3e38,3e38}') AS large, recsys.cosine_similarity('{1e-45}', '{1e-45}') AS small;
SELECT recsys.cosine_agg(a, b) AS parallel, recsys.cosine_agg(a, 0) AS zeros, recsys.cosine_agg(a, NULL) AS nulls,
	recsys.cosine_agg(a, b) FILTER (WHERE false) AS empty, recsys.cosine_agg(a, -b) AS opposite,
	recsys.cosine_agg((a * 1e38)::real, b)::numeric(7, 6) AS large, recsys.cosine_agg((a * 1e-38)::real, (b * 1e-38)::real)::numeric(7, 6) AS small
FROM (VALUES (real '1', real '0.5'), (2, 1), (3, 1.5)) t (a, b);
-- 0.8; over the places that both have
SELECT recsys.pearson('{1,2,3,4,5}', '{2,1,4,3,5}') AS r, recsys.pearson('{1,2,NULL,3,4,5}', '{2,1,9,4,3,5}') AS with_null,
	recsys.pearson('{1,2}', '{7,7}') AS constant, recsys.pearson('{1}', '{2}') AS one, recsys.pearson('{}', '{}') AS empty,
	recsys.pearson('{1,2,3}', '{3,2,1}') AS falling, recsys.pearson('{NULL,1}', '{1,NULL}') AS nothing_in_common;
SELECT recsys.pearson_agg(a, b) AS r, recsys.pearson_agg(a, 3) AS constant, recsys.pearson_agg(a, b) FILTER (WHERE a < 2) AS one,
	recsys.pearson_agg(a + 1000000, b) AS far, recsys.pearson_agg(0.1, b) AS tenth
FROM (VALUES (1, 2), (2, 1), (3, 4), (4, 3), (5, 5), (9, NULL), (NULL, 9)) t (a, b);
-- 2 of 4
SELECT recsys.jaccard('{1,2,3,3,NULL}'::int[], '{2,3,4}') AS half, recsys.jaccard('{a}'::text[], '{a,a}') AS alike, recsys.jaccard('{1}'::int[], '{}') AS none,
	recsys.jaccard('{}'::int[], '{NULL}') AS empty, recsys.jaccard(NULL, '{1}'::int[]) AS null, recsys.jaccard('{1.0}'::numeric[], '{1.00}') AS numeric;
CREATE COLLATION similarity_folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SELECT recsys.jaccard('{A,b}'::text[] COLLATE similarity_folded, '{a,B}') AS folded, recsys.jaccard('{A,b}'::text[], '{a,B}') AS as_it_is;

-- arrays and columns agree, with each other and with plain SQL and corr()
CREATE TABLE rated AS SELECT g % 20 AS one, g / 20 AS item,
	CASE WHEN g * 7919 % 13 < 9 THEN (g * 104729 % 11) / 2.0 END::real AS a, CASE WHEN g * 31 % 17 < 12 THEN (g * g % 23) / 4.0 - 2 END::real AS b
	FROM generate_series(0, 1999) g;
WITH s AS (
	SELECT recsys.cosine_agg(a, b) AS agg, recsys.cosine_similarity(array_agg(a ORDER BY item), array_agg(b ORDER BY item)) AS arrays,
		sum(a::float8 * b) / sqrt(sum(a::float8 * a) * sum(b::float8 * b)) AS plain,
		recsys.pearson_agg(a, b) AS pearson_agg, recsys.pearson(array_agg(a ORDER BY item), array_agg(b ORDER BY item)) AS pearson, corr(b, a) AS corr
	FROM rated GROUP BY one)
SELECT count(*), count(*) FILTER (WHERE abs(agg - arrays) > 1e-14 OR abs(agg - plain) > 1e-14 OR pearson_agg <> pearson OR abs(pearson - corr) > 1e-14) AS differences FROM s;

-- what can't be
SELECT recsys.cosine_similarity('{1,2,3}', '{1,2}');
SELECT recsys.cosine_similarity('{{1,2},{3,4}}', '{1,2,3,4}');
SELECT recsys.cosine_similarity('{1,NaN}', '{1,2}');
SELECT recsys.cosine_similarity('{1,NULL}', '{1,-Infinity}');
SELECT recsys.pearson('{1}', '{}');
SELECT recsys.cosine_agg(a, 1) FROM unnest('{1,NaN}'::real[]) a;
SELECT recsys.pearson_agg(1, b) FROM unnest('{1,Infinity}'::real[]) b;
SELECT recsys.jaccard('{"(1,1)"}'::point[], '{"(1,1)"}');
SELECT recsys.jaccard('{1}'::int[], '{1}'::text[]);
DROP TABLE rated;
DROP COLLATION similarity_folded;
