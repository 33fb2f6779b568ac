-- What lists are like: coverage, novelty, intra-list diversity, gini.
\pset null '(null)'
SET extra_float_digits = 0;
SELECT recsys.coverage('{a,b,a,z,NULL}'::text[], '{a,b,c,d,a,NULL}') AS half, recsys.coverage('{}'::int[], '{1}') AS none,
	recsys.coverage('{1,2}'::int[], '{}') AS no_catalog, recsys.coverage('{{1,2},{3,4}}'::int[], '{1,2,3,4}') AS lists,
	recsys.coverage(NULL, '{1}'::int[]) AS null;
-- 1, 2 and 0 bits; an item of nobody: log2(1024)
SELECT recsys.novelty('{50,25,100}', 100) AS one, recsys.novelty('{0}', 1024) AS nobody, recsys.novelty('{NULL,50}', 100) AS with_null,
	recsys.novelty('{}', 5) AS empty, recsys.novelty(ARRAY[1, 2], 4) AS "int[]", recsys.novelty(NULL, 5) AS null;
-- right angles 1; opposite 2; alike 0; (1 + 2 (1 - sqrt(1/2))) / 3
SELECT recsys.intra_list_diversity('{{1,0},{0,2}}') AS right_angle, recsys.intra_list_diversity('{{1,1},{-2,-2}}') AS opposite,
	recsys.intra_list_diversity('{{1,2},{2,4},{3,6}}')::numeric(9, 6) AS alike,
	recsys.intra_list_diversity('{{1,0},{0,2},{3,3},{0,0}}')::numeric(9, 6) AS "0.528595",
	recsys.intra_list_diversity('{{1,NULL},{0,1}}') AS with_null, recsys.intra_list_diversity('{{1,2}}') AS one_item,
	recsys.intra_list_diversity('{}') AS empty;
-- the mean of the pairs
CREATE TABLE vectors AS SELECT g, ARRAY[g % 3, g * 7 % 5 - 2, g * g % 11 - 5, 1]::real[] AS v FROM generate_series(1, 40) g;
SELECT abs(recsys.intra_list_diversity((SELECT array_agg(v) FROM vectors)) - avg(1 - recsys.cosine_similarity(a.v, b.v))) < 1e-12 AS same
FROM vectors a JOIN vectors b ON a.g < b.g;
-- 1/4; one has all; alike
SELECT recsys.gini('{3,1,4,2}') AS quarter, recsys.gini('{0,0,5,0}') AS one_has_all, recsys.gini('{7,7,7}') AS alike,
	recsys.gini('{0,0}') AS nothing, recsys.gini('{}') AS empty, recsys.gini('{NULL,3,1,4,2}') AS with_null, recsys.gini('{5}') AS single;
SELECT recsys.gini(array_agg(n)) AS bigint, recsys.gini(array_agg(n::numeric)) AS numeric FROM (VALUES (bigint '1'), (2), (3), (4)) v (n);

-- what can't be
SELECT recsys.coverage('{"(1,1)"}'::point[], '{"(1,1)"}');
SELECT recsys.novelty('{1}', 0);
SELECT recsys.novelty('{101}', 100);
SELECT recsys.novelty('{-1}', 100);
SELECT recsys.intra_list_diversity('{1,2,3}');
SELECT recsys.intra_list_diversity('{{1,2},{NaN,1}}');
SELECT recsys.gini('{1,-1}');
SELECT recsys.gini('{1,NaN}');
SELECT recsys.gini('{1,Infinity}');
DROP TABLE vectors;
