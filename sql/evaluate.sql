-- Held-out evaluation, against values by hand.
SET client_min_messages = warning;
CREATE TABLE evaluate_events (who int, what text, at timestamptz);
CREATE INDEX ON evaluate_events (who);
ALTER TABLE evaluate_events REPLICA IDENTITY FULL;
INSERT INTO evaluate_events
	SELECT who, what, '2024-01-01'::timestamptz + n * interval '1 hour'
	FROM unnest('{1,1,1,2,2,2,3,3,4,5,5}'::int[], '{a,b,c,b,c,a,c,a,c,a,b}'::text[])
		WITH ORDINALITY e (who, what, n);
SELECT recsys.create_source('evaluated', 'evaluate_events', 'who', 'what', event_time_column => 'at');
SELECT recsys.create_model('evaluated', 'top', 'popular');
SELECT recsys.create_model('evaluated', 'knn', 'item_knn');
SELECT recsys.wait_for('evaluated');

CREATE FUNCTION figures(model name, k int, split text = NULL, test regclass = NULL, share float8 = 0.1,
	folds int = NULL, fold int = NULL, seed bigint = 1, max_users int = NULL, params jsonb = NULL)
RETURNS TABLE (users float8, n float8, prec numeric, recall numeric, ndcg numeric, map numeric,
	mrr numeric, hit numeric, coverage numeric, novelty numeric)
LANGUAGE sql AS $$
	SELECT max(value) FILTER (WHERE metric = 'users'), max(value) FILTER (WHERE metric = 'interactions'),
		round(max(value) FILTER (WHERE metric = 'precision')::numeric, 6),
		round(max(value) FILTER (WHERE metric = 'recall')::numeric, 6),
		round(max(value) FILTER (WHERE metric = 'ndcg')::numeric, 6),
		round(max(value) FILTER (WHERE metric = 'map')::numeric, 6),
		round(max(value) FILTER (WHERE metric = 'mrr')::numeric, 6),
		round(max(value) FILTER (WHERE metric = 'hit_rate')::numeric, 6),
		round(max(value) FILTER (WHERE metric = 'coverage')::numeric, 6),
		round(max(value) FILTER (WHERE metric = 'novelty')::numeric, 6)
	FROM recsys.evaluate('evaluated', model, k, split, test, share, folds, fold, seed, max_users, params)
$$;

-- Held out: 1 c, 2 a, 3 a, 5 b; trained on: 1 ab, 2 bc, 3 c, 4 c, 5 a.
-- popular: c 3, a 2, b 2 users.  Lists: 1 [c], 2 [a], 3 [a b], 5 [c b]; the last one
-- finds b second, the others what they want first.
SELECT metric, round(value::numeric, 6) AS value FROM recsys.evaluate('evaluated', 'top', 2);
-- the same by formula: ndcg, map, novelty
SELECT round((3 + 1 / log(2, 3)) / 4, 6) AS ndcg, round((3 + 0.5) / 4, 6) AS map,
	round(-(2 * log(2, 3 / 5.0) + 4 * log(2, 2 / 5.0)) / 6, 6) AS novelty;
SELECT * FROM figures('top', 1);
-- item_knn: sim(a,b) = 1/2, sim(b,c) = 1/sqrt 6.  Lists: 1 [c], 2 [a], 3 [b, a from popular], 5 [b, c]
SELECT * FROM figures('knn', 2, 'last');
SELECT * FROM figures('knn', 1, 'last');
-- ... and with parameters of its own for once: no neighbours, so popular
SELECT * FROM figures('knn', 2, 'last', params => '{"min_support": 3}');

-- A test table: everything is trained on.  User 9 and item z are unknown; a
-- repeated row, nulls, and what is in the history do not count.
CREATE TABLE evaluate_test (what varchar, who bigint, more int);
INSERT INTO evaluate_test (who, what) VALUES (3, 'b'), (3, 'z'), (4, 'a'), (4, 'b'), (9, 'c'), (1, 'a'),
	(4, 'a'), (NULL, 'a'), (5, NULL), (99999999999, NULL);
-- popular: a 4, c 4, b 3.  Lists: 3 [b], 4 [a b], 9 [a c]
SELECT * FROM figures('top', 2, test => 'evaluate_test');
SELECT round((0.5 + 1 + 0.5) / 3, 6) AS prec, round((0.5 + 1 + 1) / 3, 6) AS recall,
	round((1 / (1 + 1 / log(2, 3)) + 1 + 1 / log(2, 3)) / 3, 6) AS ndcg,
	round((0.5 + 1 + 0.5) / 3, 6) AS map, round((1 + 1 + 0.5) / 3, 6) AS mrr,
	round(-(2 * log(2, 3 / 5.0) + 3 * log(2, 4 / 5.0)) / 5, 6) AS novelty;
-- a temporary view will do, too
CREATE TEMP VIEW evaluate_view AS SELECT 4 AS who, 'a' AS what UNION ALL SELECT 10000000000 + i, 'c' FROM generate_series(1, 3) i;
SELECT * FROM figures('top', 1, 'table', 'evaluate_view');

-- By time: the newest three of eleven are those of users 4 and 5, who then have no history.
SELECT * FROM figures('top', 1, 'time', share => 0.25);

-- At random: folds share out everything; the same seed gives the same parts.
SELECT (SELECT sum(n) FROM generate_series(1, 3) f, figures('top', 2, 'random', folds => 3, fold => f, seed => 5)) AS one_by_one,
	(SELECT n FROM figures('top', 2, folds => 3, seed => 5)) AS all_folds,
	(SELECT count(DISTINCT f) FROM generate_series(1, 3), figures('top', 2, 'random', share => 0.5, seed => 7) f) AS same;

-- What is measured is what is served: the lists that recommend() gives.
CREATE TABLE evaluate_more (who int, what int);
INSERT INTO evaluate_more SELECT u, (u * i + i * i * i) % 97 FROM generate_series(1, 300) u, generate_series(1, 3 + u % 12) i
	GROUP BY 1, 2;
CREATE INDEX ON evaluate_more (who);
ALTER TABLE evaluate_more REPLICA IDENTITY FULL;
SELECT recsys.create_source('evaluated2', 'evaluate_more', 'who', 'what');
SELECT recsys.create_model('evaluated2', 'knn', 'item_knn', '{"k": 20, "shrinkage": 2}');
SELECT recsys.create_model('evaluated2', 'top', 'popular');
SELECT recsys.create_model('evaluated2', 'als', 'als', '{"factors": 16, "alpha": 10}');
SELECT recsys.train('evaluated2', 'als');
CREATE TABLE evaluate_more_test AS SELECT DISTINCT u AS who, (u * 31 + i * 7) % 97 AS what
	FROM generate_series(1, 310) u, generate_series(1, 5) i
	EXCEPT SELECT who, what FROM evaluate_more;
CREATE TABLE evaluate_lists AS
	SELECT who, model, ARRAY(SELECT item_id FROM evaluated2.recommend(who, 10, model)) AS recommended, relevant
	FROM (SELECT who, array_agg(what) AS relevant FROM evaluate_more_test GROUP BY who) t,
		unnest('{knn,top,als}'::name[]) model;
SELECT model, e.metric, max(abs(e.value - s.value)) < CASE model WHEN 'knn' THEN 2e-3 ELSE 1e-9 END AS as_served, max(e.value) BETWEEN 0.001 AND 0.999 AS telling
FROM (SELECT model, avg(recsys.precision_at_k(recommended, relevant, 10)) AS precision,
		avg(recsys.recall_at_k(recommended, relevant, 10)) AS recall,
		avg(recsys.ndcg_at_k(recommended, relevant, 10)) AS ndcg,
		avg(recsys.average_precision_at_k(recommended, relevant, 10)) AS map,
		avg(recsys.reciprocal_rank(recommended, relevant, 10)) AS mrr,
		avg(recsys.hit_rate(recommended, relevant, 10)) AS hit_rate
	FROM evaluate_lists GROUP BY model) a,
	LATERAL (VALUES ('precision', precision), ('recall', recall), ('ndcg', ndcg), ('map', map),
		('mrr', mrr), ('hit_rate', hit_rate)) s (metric, value)
	JOIN LATERAL recsys.evaluate('evaluated2', a.model, 10, test => 'evaluate_more_test') e USING (metric)
GROUP BY 1, 2 ORDER BY 1, 2;
SELECT max(value) FILTER (WHERE metric = 'users') AS users FROM recsys.evaluate('evaluated2', 'knn', 5, max_users => 40);

-- Ratings: popular predicts by the baseline: mean 11/3; a (1/3 + 4/3) / 12, b (-5/3) / 11 off it
CREATE TABLE evaluate_ratings (who int, what text, stars real);
ALTER TABLE evaluate_ratings REPLICA IDENTITY FULL;
CREATE INDEX ON evaluate_ratings (who);
INSERT INTO evaluate_ratings VALUES (1, 'a', 4), (1, 'b', 2), (2, 'a', 5);
SELECT recsys.create_source('evaluated3', 'evaluate_ratings', 'who', 'what', event_value_column => 'stars', feedback => 'explicit');
SELECT recsys.create_model('evaluated3', 'top', 'popular');
SELECT recsys.create_model('evaluated3', 'knn', 'item_knn');
SELECT recsys.wait_for('evaluated3');
CREATE TABLE evaluate_rated (who int, what text, stars int);
INSERT INTO evaluate_rated VALUES (2, 'b', 3), (7, 'a', 5), (1, 'zz', 1);
SELECT metric, round(value::numeric, 6) AS value FROM recsys.evaluate('evaluated3', 'top', 3, test => 'evaluate_rated')
	WHERE metric IN ('users', 'interactions', 'rmse', 'mae');
WITH b AS (SELECT 11 / 3.0 AS m, (1 / 3.0 + 4 / 3.0) / 12 AS a, (-5 / 3.0) / 11 AS b),
	e AS (SELECT unnest(ARRAY[m + b + (5 - m - a) / 6 - 3, m + a - 5, m + ((4 - m - a) + (2 - m - b)) / 7 - 1]) AS error FROM b)
SELECT round(sqrt(avg(error * error)), 6) AS rmse, round(avg(abs(error)), 6) AS mae FROM e;
-- item_knn: for (2, b) the mean of the history is 5; kept within what was rated before
SELECT metric, round(value::numeric, 6) AS value FROM recsys.evaluate('evaluated3', 'knn', 3, test => 'evaluate_rated')
	WHERE metric = 'rmse';
SELECT metric, value FROM recsys.evaluate('evaluated3', 'top', 3, test => 'evaluate_rated', relevant_from => 3)
	WHERE metric IN ('users', 'interactions');

-- What can't be
SELECT * FROM recsys.evaluate(NULL);
SELECT * FROM recsys.evaluate('nobody');
SELECT * FROM recsys.evaluate('evaluated', 'nothing');
SELECT * FROM recsys.evaluate('evaluated', k => 0);
SELECT * FROM recsys.evaluate('evaluated', split => 'first');
SELECT * FROM recsys.evaluate('evaluated', split => 'table');
SELECT * FROM recsys.evaluate('evaluated', split => 'last', test => 'evaluate_test');
SELECT * FROM recsys.evaluate('evaluated', split => 'time', folds => 3);
SELECT * FROM recsys.evaluate('evaluated', split => 'random', folds => 1);
SELECT * FROM recsys.evaluate('evaluated', split => 'random', folds => 3, fold => 4);
SELECT * FROM recsys.evaluate('evaluated', split => 'random', fold => 1);
SELECT * FROM recsys.evaluate('evaluated', split => 'random', share => 'NaN');
SELECT * FROM recsys.evaluate('evaluated', split => 'time', share => 1);
SELECT * FROM recsys.evaluate('evaluated', max_users => 0);
SELECT * FROM recsys.evaluate('evaluated', relevant_from => 3);
SELECT * FROM recsys.evaluate('evaluated', 'knn', params => '{"neighbours": 3}');
SELECT * FROM recsys.evaluate('evaluated', 'knn', params => '{"k": -3}');
SELECT * FROM recsys.evaluate('evaluated2', split => 'time');
SELECT * FROM recsys.evaluate('evaluated', test => 4294967295);
SELECT * FROM recsys.evaluate('evaluated', test => 'evaluate_events_who_idx');
SELECT * FROM recsys.evaluate('evaluated', test => 'evaluate_nothing');
SELECT * FROM recsys.evaluate('evaluated', test => 'pg_catalog.pg_class');
SELECT * FROM recsys.evaluate('evaluated', test => 'evaluate_more');
SELECT * FROM recsys.evaluate('evaluated3', test => 'evaluate_test');
-- nothing is left of what is asked for
CREATE TEMP TABLE evaluate_none (who int, what text);
SELECT * FROM recsys.evaluate('evaluated', test => 'evaluate_none');
SELECT * FROM recsys.evaluate('evaluated', split => 'random', share => 1e-9);
SELECT * FROM recsys.evaluate('evaluated', split => 'random', share => 0.999999999);
BEGIN;
SELECT recsys.create_model('evaluated', 'new', 'popular');
SELECT * FROM recsys.evaluate('evaluated', 'new');
ROLLBACK;

-- Rights: the owner's role, and SELECT on the test table
CREATE ROLE regress_evaluate_owner;
CREATE ROLE regress_evaluate_other;
GRANT CREATE ON SCHEMA public TO regress_evaluate_owner;
GRANT EXECUTE ON FUNCTION recsys.create_source TO regress_evaluate_owner;
SET ROLE regress_evaluate_owner;
CREATE TABLE evaluate_owned (who int, what int);
CREATE INDEX ON evaluate_owned (who);
ALTER TABLE evaluate_owned REPLICA IDENTITY FULL;
INSERT INTO evaluate_owned SELECT u, i FROM generate_series(1, 4) u, generate_series(1, u) i;
SELECT recsys.create_source('evaluated4', 'evaluate_owned', 'who', 'what');
SELECT recsys.create_model('evaluated4', 'top', 'popular');
SELECT recsys.wait_for('evaluated4');
SELECT * FROM recsys.evaluate('evaluated4', k => 3) WHERE metric IN ('users', 'recall');
SELECT * FROM recsys.evaluate('evaluated4', k => 3, test => 'evaluate_more_test');
RESET ROLE;
SET ROLE regress_evaluate_other;
SELECT * FROM recsys.evaluate('evaluated4', k => 3);
RESET ROLE;
GRANT SELECT ON evaluate_more_test TO regress_evaluate_owner;
SET ROLE regress_evaluate_owner;
SELECT * FROM recsys.evaluate('evaluated4', k => 3, test => 'evaluate_more_test') WHERE metric IN ('users', 'interactions');
RESET ROLE;

-- Nobody waits for it any more: the worker ends
SELECT recsys.create_model('evaluated', 'als', 'als');
SELECT recsys.wait_for('evaluated');
SET statement_timeout = '1s';
SELECT * FROM recsys.evaluate('evaluated', 'als', params => '{"iterations": 1000, "factors": 1024, "solver": "cholesky"}');
RESET statement_timeout;
DO $$
BEGIN
	FOR i IN 1 .. 200 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE 'recsys training%');
		PERFORM pg_sleep(0.05);
		PERFORM pg_stat_clear_snapshot();
	END LOOP;
END $$;
SELECT count(*) AS still_running FROM pg_stat_activity WHERE backend_type LIKE 'recsys training%';

-- Nothing of all this has touched what is served
SELECT model, count(*) FROM evaluated.item_similarity GROUP BY model;

SELECT recsys.drop_source('evaluated');
SELECT recsys.drop_source('evaluated2');
SELECT recsys.drop_source('evaluated3');
SELECT recsys.drop_source('evaluated4');
DROP FUNCTION figures;
DROP VIEW evaluate_view;
DROP TABLE evaluate_events, evaluate_test, evaluate_more, evaluate_more_test, evaluate_lists, evaluate_ratings,
	evaluate_rated, evaluate_owned;
REVOKE ALL ON SCHEMA public FROM regress_evaluate_owner;
REVOKE ALL ON FUNCTION recsys.create_source FROM regress_evaluate_owner;
DROP ROLE regress_evaluate_owner, regress_evaluate_other;
