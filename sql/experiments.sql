-- Experiments: who is in which variant, what is served, and the report.
SET client_min_messages = warning;
SET TimeZone = 'UTC';

-- ------------------------------------------------------------------- figures

-- a printed table; Mendel's peas (R's chisq.test: p-value = 0.9254); Kohavi, Tang
-- and Xu, Trustworthy Online Controlled Experiments: 821,588 and 815,482 users, p 1.8e-6
SELECT round(recsys.chi_square_p(3.841, 1)::numeric, 4) AS one, round(recsys.chi_square_p(18.307, 10)::numeric, 4) AS ten,
	round(recsys.sample_ratio_p('{315,108,101,32}', '{9,3,3,1}')::numeric, 4) AS peas,
	to_char(recsys.sample_ratio_p('{821588,815482}'), '9.9EEEE') AS users;
-- the manual of R's power.prop.test: p1 = .50, p2 = .75, power = .90 needs n = 76.7
SELECT recsys.sample_size(0.5, 0.5, power => 0.9), recsys.sample_size(0.04, 0.05), recsys.sample_size(0.04, 0.1);
-- what can't be said, and what can't be asked
SELECT recsys.sample_ratio_p('{0,0}'), recsys.sample_ratio_p('{5}'), recsys.sample_ratio_p(NULL),
	recsys.sample_size(0, 0.05), recsys.sample_size(0.9, 0.5), recsys.sample_size(0.5, 0);
SELECT recsys.sample_ratio_p('{1,2}', '{1}');
SELECT recsys.sample_ratio_p('{1,-2}');
SELECT recsys.sample_ratio_p('{1,2}', '{1,NaN}');
SELECT recsys.sample_ratio_p('{1,NULL}');
SELECT recsys.chi_square_p(-1, 2);
SELECT recsys.sample_size(0.5, 0.1, power => 0.3);

-- ---------------------------------------------------------------- assignment

-- the same for ever
SELECT g AS user_id, recsys.assign_variant('first', g::text, '{a,b,c}', '{0.5,0.3,0.2}') AS variant,
	recsys.assign_variant('first', g::text, '{a,b}', traffic => 0.5) AS half
FROM generate_series(1, 12) g;

-- the formula in plain SQL
CREATE FUNCTION xp_ticket(salt text, variant text, user_key text) RETURNS float8 LANGUAGE sql AS $$
	SELECT (('x' || encode(substring(sha256(convert_to(salt || '/' || variant || '/' || user_key, 'UTF8')) FOR 7), 'hex'))::bit(56)::int8 + 0.5) / 2.0 ^ 56 $$;
CREATE FUNCTION xp_variant(salt text, user_key text, variants text[], shares float8[]) RETURNS text LANGUAGE sql AS $$
	SELECT v FROM unnest(variants, shares) AS s (v, share) WHERE share > 0
	ORDER BY -ln(xp_ticket(salt, v, user_key)) / share LIMIT 1 $$;
SELECT count(*) FILTER (WHERE recsys.assign_variant('s', k, v, s) IS DISTINCT FROM xp_variant('s', k, v, s)) AS differ, count(*)
FROM generate_series(1, 3000) g, concat('käufer ', g) k,
	(VALUES ('{a,b}'::text[], '{0.5,0.5}'::float8[]), ('{a,b,ü}', '{0.7,0.25,0.05}'), ('{a,b,c,d}', '{0,0.4,0.4,0.2}')) AS t (v, s);
SELECT count(*) FILTER (WHERE (recsys.assign_variant('s', g::text, '{a,b}', traffic => 0.3) IS NULL) = (xp_ticket('s', '', g::text) < 0.3)) AS differ
FROM generate_series(1, 3000) g;

-- shares are kept: chi square over fixed keys; and of 100 experiments some 5 have a p below 0.05
CREATE TABLE xp_users AS SELECT g::text AS k FROM generate_series(1, 30000) g;
SELECT v, array_agg(users ORDER BY variant) AS users, round(recsys.sample_ratio_p(array_agg(users ORDER BY variant), s)::numeric, 3) AS p
FROM (SELECT v, s, recsys.assign_variant('even', k, v, s) AS variant, count(*) AS users FROM xp_users,
		(VALUES ('{a,b}'::text[], '{0.5,0.5}'::float8[]), ('{a,b,c}', '{0.2,0.3,0.5}'), ('{a,b,c,d}', '{0.25,0.25,0.25,0.25}')) AS t (v, s)
	GROUP BY 1, 2, 3) c
GROUP BY v, s ORDER BY v;
SELECT count(*) FILTER (WHERE p < 0.05) AS rare, count(*) FILTER (WHERE p < 0.5) AS half, count(*)
FROM (SELECT recsys.sample_ratio_p(array_agg(users)) AS p
	FROM (SELECT salt, count(*) AS users FROM xp_users, generate_series(1, 100) salt
		WHERE k::int <= 600 GROUP BY salt, recsys.assign_variant(salt::text, k, '{a,b,c}')) c GROUP BY salt) t;
SELECT round(recsys.sample_ratio_p(ARRAY[count(variant), count(*) - count(variant)], '{0.1,0.9}')::numeric, 3) AS p
FROM (SELECT recsys.assign_variant('even', k, '{a,b}', traffic => 0.1) AS variant FROM xp_users) u;
-- neighbours in the sequence of keys have nothing to do with each other, and neither have experiments,
-- nor has taking part with the variant: chi square of the table of both, (2 - 1) (2 - 1) degrees
CREATE FUNCTION xp_independent(counts int8[]) RETURNS numeric LANGUAGE sql AS $$
	SELECT round(recsys.chi_square_p(sum((n - e) ^ 2 / e), 1)::numeric, 3)
	FROM (SELECT n, sum(n) OVER (PARTITION BY (i - 1) / 2) * sum(n) OVER (PARTITION BY (i - 1) % 2) / sum(n) OVER ()
		FROM unnest(counts) WITH ORDINALITY AS t (n, i)) AS t (n, e) $$;
SELECT what, xp_independent(array_agg(n ORDER BY x, y)) AS p
FROM (SELECT 'neighbours' AS what, recsys.assign_variant('even', k, '{a,b}') AS x, recsys.assign_variant('even', (k::int + 1)::text, '{a,b}') AS y, count(*) AS n FROM xp_users WHERE k::int % 2 = 1 GROUP BY 1, 2, 3
	UNION ALL
	SELECT 'experiments', recsys.assign_variant('even', k, '{a,b}'), recsys.assign_variant('other', k, '{a,b}'), count(*) FROM xp_users GROUP BY 1, 2, 3
	UNION ALL
	SELECT 'traffic', recsys.assign_variant('even', k, '{a,b}'), (recsys.assign_variant('even', k, '{a,b}', traffic => 0.4) IS NULL)::text, count(*) FROM xp_users GROUP BY 1, 2, 3) t
GROUP BY what ORDER BY what;

-- shares change: with two variants no more move than must, and with three none between
-- those that keep their proportion; more traffic moves nobody who took part
SELECT count(*) FILTER (WHERE a <> b) / 30000.0 AS moved, count(*) FILTER (WHERE a = 'b' AND b = 'a') AS astray
FROM (SELECT recsys.assign_variant('m', k, '{a,b}', '{0.5,0.5}') AS a, recsys.assign_variant('m', k, '{a,b}', '{0.4,0.6}') AS b FROM xp_users) t;
SELECT a, b, count(*) FROM (SELECT recsys.assign_variant('m', k, '{a,b,c}', '{0.4,0.4,0.2}') AS a,
	recsys.assign_variant('m', k, '{a,b,c}', '{0.3,0.3,0.4}') AS b FROM xp_users) t WHERE a <> b GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FILTER (WHERE a <> b OR b IS NULL) AS moved, count(a) AS before, count(b) AS after
FROM (SELECT recsys.assign_variant('m', k, '{a,b}', traffic => 0.1) AS a, recsys.assign_variant('m', k, '{a,b}', traffic => 0.2) AS b FROM xp_users) t WHERE a IS NOT NULL;

SELECT recsys.assign_variant('s', NULL, '{a,b}'), recsys.assign_variant('s', '1', '{}'), recsys.assign_variant('s', '1', '{a,b}', '{0,0}');
SELECT recsys.assign_variant('s', '1', '{a,b}', '{1}');
SELECT recsys.assign_variant('s', '1', '{a,NULL}');
SELECT recsys.assign_variant('s', '1', '{a,b}', '{-0.5,1.5}');
SELECT recsys.assign_variant('s', '1', '{a,b}', traffic => 'NaN');

-- --------------------------------------------------------------- declaration

CREATE TABLE xp_events (who int, what int, kind text, at timestamptz DEFAULT now(), price numeric, order_no text);
CREATE INDEX ON xp_events (who);
INSERT INTO xp_events (who, what, kind, at)
	SELECT g, (g * 7 + i * i) % 20, 'purchase', '2026-01-01' FROM generate_series(1, 40) g, generate_series(1, 4) i;
SELECT recsys.create_source('xp', 'xp_events', 'who', 'what', 'kind', event_time_column => 'at', weights => '{"purchase": 1}');
SELECT recsys.create_model('xp', 'near', 'item_knn'), recsys.create_model('xp', 'top', 'popular');
-- models can be made in the same statement
SELECT recsys.create_model('xp', 'near2', 'item_knn'), recsys.create_experiment('xp', 'three', '{near,near2,top}');
SELECT recsys.create_experiment('xp', 'test', '{control,challenger}', '{0.25,0.75}', '{NULL,near}', traffic => 0.9, salt => 'spring');
SELECT source, experiment, variant, is_control, share, model, traffic, salt, started_at <= now() AS started, stopped_at, is_winner, min_lift, significance, power
FROM recsys.experiments WHERE source = 'xp' ORDER BY experiment, is_control DESC, variant;

SELECT recsys.create_experiment('nowhere', 'x', '{near,top}');
SELECT recsys.create_experiment('xp', 'test', '{near,top}');
SELECT recsys.create_experiment('xp', 'near', '{near,top}');
SELECT recsys.create_experiment('xp', '', '{near,top}');
SELECT recsys.create_experiment('xp', NULL, '{near,top}');
SELECT recsys.create_experiment('xp', 'x', NULL);
SELECT recsys.create_experiment('xp', 'x', '{near}');
SELECT recsys.create_experiment('xp', 'x', '{}');
SELECT recsys.create_experiment('xp', 'x', '{{near,top}}');
SELECT recsys.create_experiment('xp', 'x', '{near,NULL}');
SELECT recsys.create_experiment('xp', 'x', '{near,near}');
SELECT recsys.create_experiment('xp', 'x', '{near,""}');
SELECT recsys.create_experiment('xp', 'x', '{near,far}');
SELECT recsys.create_experiment('xp', 'x', '{a,b}', models => '{near,far}');
SELECT recsys.create_experiment('xp', 'x', '{a,b}', models => '{near}');
SELECT recsys.create_experiment('xp', 'x', '{near,top}', '{0.5}');
SELECT recsys.create_experiment('xp', 'x', '{near,top}', '{0.5,NULL}');
SELECT recsys.create_experiment('xp', 'x', '{near,top}', '{0.5,0.4}');
SELECT recsys.create_experiment('xp', 'x', '{near,top}', '{1.5,-0.5}');
SELECT recsys.create_experiment('xp', 'x', '{near,top}', '{NaN,0.5}');
SELECT recsys.create_experiment('xp', 'x', '{near,top}', traffic => 0);
SELECT recsys.create_experiment('xp', 'x', '{near,top}', traffic => 2);
SELECT recsys.create_experiment('xp', 'x', '{near,top}', traffic => NULL);
SELECT recsys.create_experiment('xp', 'x', '{near,top}', min_lift => 0);
SELECT recsys.create_experiment('xp', 'x', '{near,top}', significance => 1);
SELECT recsys.create_experiment('xp', 'x', '{near,top}', power => 0.2);
SELECT recsys.create_experiment('xp', repeat('x', 41)::name, '{near,top}');
-- thirds may be written as they come
BEGIN;
SELECT recsys.create_experiment('xp', 'thirds', '{near,near2,top}', '{0.333,0.333,0.333}');
ROLLBACK;
-- a model and an experiment can't have the same name; who serves a variant stays
SELECT recsys.create_model('xp', 'test', 'popular');
SELECT recsys.drop_model('xp', 'top');
-- SQL from names that ask for it
BEGIN;
SELECT recsys.create_experiment('xp', 'it''s "x"; DROP', ARRAY['a''b"', '); SELECT 1'], models => '{near,NULL}', salt => $$'$$);
SELECT variant, users FROM xp.experiment_report('it''s "x"; DROP');
ROLLBACK;

-- ------------------------------------------------------------------- serving

SELECT recsys.wait_for('xp');
SELECT state FROM recsys.models WHERE source = 'xp' ORDER BY model;
-- the variant of a user is that of the key, whatever its type
SELECT count(*) FILTER (WHERE xp.variant('three', g) IS DISTINCT FROM recsys.assign_variant('three', g::text, '{near,near2,top}')) AS differ,
	count(*) FILTER (WHERE xp.variant('test', g) IS DISTINCT FROM recsys.assign_variant('spring', g::text, '{control,challenger}', '{0.25,0.75}', 0.9)) AS differ_test,
	count(*) FILTER (WHERE xp.variant('test', g) IS NULL) > 0 AS some_take_no_part
FROM generate_series(1, 500) g;
SELECT xp.variant('three', NULL), xp.variant('three', 1000000000000) IS NULL AS beyond_the_column;
SELECT xp.variant('nothing', 1);
SELECT xp.variant(NULL, 1);
CREATE TABLE xp_keys (who uuid, what text);
CREATE INDEX ON xp_keys (who);
SELECT recsys.create_source('xp_uuid', 'xp_keys', 'who', 'what'), recsys.create_experiment('xp_uuid', 'three', '{near,near2,top}', models => '{NULL,NULL,NULL}'),
	recsys.create_source('xp_text', 'xp_keys', 'what', 'who'), recsys.create_experiment('xp_text', 'three', '{near,near2,top}', models => '{NULL,NULL,NULL}');
SELECT count(*) FILTER (WHERE xp.variant('three', g) IS DISTINCT FROM xp_text.variant('three', g::text)) AS differ_text,
	count(*) FILTER (WHERE xp_uuid.variant('three', md5(g::text)::uuid) IS DISTINCT FROM xp_text.variant('three', md5(g::text)::uuid::text)) AS differ_uuid
FROM generate_series(1, 500) g;
SELECT recsys.drop_source('xp_uuid'), recsys.drop_source('xp_text');
DROP TABLE xp_keys;

-- the name of an experiment stands for the model of the user's variant
CREATE FUNCTION xp_answers(who int, model name) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (SELECT array_agg((item_id, score)) FROM xp.recommend(who, 5, model)),
		xp.predict(who, 3, model), (SELECT array_agg((because_item_id, contribution)) FROM xp.explain(who, 3, model => model))) $$;
SELECT count(*) FILTER (WHERE xp_answers(g, 'three') <> xp_answers(g, xp.variant('three', g))) AS differ,
	count(*) FILTER (WHERE xp_answers(g, 'near') <> xp_answers(g, 'top')) > 20 AS models_differ,
	count(DISTINCT xp.variant('three', g)) AS variants
FROM generate_series(1, 45) g;
-- without a model, and for users that take no part: the default one
SELECT recsys.set_default_model('xp', 'top');
SELECT count(*) FILTER (WHERE xp_answers(g, 'test') <> xp_answers(g, CASE xp.variant('test', g) WHEN 'challenger' THEN 'near' ELSE 'top' END)) AS differ
FROM generate_series(1, 45) g;
SELECT count(*) FROM xp.recommend(NULL, 5, 'three');
-- where there is no user there is no variant
SELECT * FROM xp.similar_items(3, 5, 'three');
SELECT * FROM xp.recommend_session('{3}', 5, 'three');
SELECT * FROM xp.recommend(1, 5, 'nothing');
SELECT * FROM xp.recommend(1, model => 'three') LIMIT 0;

-- stopped: everybody gets the control's model, or the winner's
SELECT recsys.stop_experiment('xp', 'three', 'nobody');
SELECT recsys.stop_experiment('xp', 'three');
SELECT count(*) FILTER (WHERE xp_answers(g, 'three') <> xp_answers(g, 'near')) AS differ, count(DISTINCT xp.variant('three', g)) AS variants
FROM generate_series(1, 45) g;
SELECT stopped_at AS xp_stopped FROM recsys.experiments WHERE experiment = 'three' AND is_control \gset
SELECT recsys.stop_experiment('xp', 'three', 'top');
SELECT count(*) FILTER (WHERE xp_answers(g, 'three') <> xp_answers(g, 'top')) AS differ FROM generate_series(1, 45) g;
SELECT variant, is_winner, stopped_at = :'xp_stopped' AS stopped_then FROM recsys.experiments WHERE experiment = 'three' ORDER BY 1;
SELECT recsys.alter_experiment('xp', 'three', traffic => 0.5);
SELECT recsys.drop_model('xp', 'near2');
SELECT recsys.stop_experiment('xp', 'three', 'near2');
SELECT recsys.drop_model('xp', 'top');
SELECT recsys.drop_experiment('xp', 'three');
SELECT recsys.drop_experiment('xp', 'three');
SELECT recsys.alter_experiment('xp', 'three');
SELECT recsys.stop_experiment('xp', 'three');

-- -------------------------------------------------------------------- report

SELECT * FROM xp.experiment_report('test');
SELECT recsys.track_metrics('xp', impression => '{shown}', click => '{click}', conversion => '{purchase}', amount_column => 'price', order_column => 'order_no');
-- all are of before the start
SELECT started_at AS xp_started FROM recsys.experiment WHERE name = 'test' \gset
SELECT variant, users, impressions, ctr, ctr_p, orders, revenue, aov, srm_p, warning FROM xp.experiment_report('test');
DELETE FROM xp_events;
-- 3,000 users, of whom some are ten times as busy; the challenger clicks more
SELECT recsys.alter_experiment('xp', 'test', '{0.5,0.5}', 0.8);
SELECT started_at > :'xp_started' AS counts_anew FROM recsys.experiment WHERE name = 'test';
UPDATE recsys.experiment SET started_at = '2020-02-01' WHERE name = 'test';
INSERT INTO xp_events SELECT who, i, 'shown', '2020-02-01'::timestamptz + i * interval '1 s'
	FROM generate_series(1, 3000) who, generate_series(1, CASE WHEN who % 30 = 0 THEN 20 ELSE 2 END) i;
INSERT INTO xp_events SELECT who, what, 'click', at + interval '1 s'
	FROM (SELECT *, (hashtextextended(who || '/' || what, 1) & 1023) / 1024.0 AS dice FROM xp_events WHERE kind = 'shown') e
	WHERE dice < CASE WHEN who % 30 = 0 THEN 0.4 ELSE 0.2 END + CASE recsys.assign_variant('spring', who::text, '{control,challenger}') WHEN 'challenger' THEN 0.05 ELSE 0 END;
INSERT INTO xp_events SELECT who, what, 'purchase', at + interval '1 s', round(5 + 20 * dice::numeric, 2), CASE WHEN dice < 0.9 THEN 'order ' || who / 2 END
	FROM (SELECT *, (hashtextextended(who || '/' || what, 2) & 1023) / 1024.0 AS dice FROM xp_events WHERE kind = 'click') e WHERE dice < 0.5 OR dice > 0.95;
-- what the report has to put up with
INSERT INTO xp_events VALUES (1, 1, 'purchase', '2020-02-02', 'NaN', 'odd'), (2, 1, 'purchase', '2020-02-02', 'Infinity', 'odd'),
	(3, 1, 'purchase', '2020-02-02', -5, 'refund'), (4, 1, 'purchase', '2020-02-02', NULL, 'odd');
INSERT INTO xp_events VALUES (NULL, 1, 'shown', '2020-02-02'), (5, 1, 'shown', now() + interval '1 day'), (6, 1, 'shown', 'infinity'),
	(7, 1, 'shown', '2020-01-31'), (8, 1, 'shown', NULL), (9, 1, 'other', '2020-02-02'), (10, 1, NULL, '2020-02-02');
CREATE VIEW xp_rows AS
	SELECT recsys.assign_variant('spring', e.who::text, '{control,challenger}', '{0.5,0.5}', 0.8) AS variant, e.*,
		CASE WHEN price NOT IN ('NaN', 'Infinity') THEN price END AS amount
	FROM xp_events e, recsys.experiment x
	WHERE x.name = 'test' AND at >= started_at AND at < '2020-03-01' AND kind IN ('shown', 'click', 'purchase') AND what IS NOT NULL;
CREATE VIEW xp_orders AS
	SELECT variant, order_no, coalesce(sum(amount), 0) AS total FROM xp_rows WHERE kind = 'purchase' AND order_no IS NOT NULL GROUP BY 1, 2;
CREATE TABLE xp_plain AS
	SELECT *, clicks::float8 / impressions AS ctr, conversions::float8 / clicks AS cvr, revenue::float8 / orders AS aov FROM
		(SELECT variant, count(DISTINCT who) AS users, count(*) FILTER (WHERE kind = 'shown') AS impressions,
			count(*) FILTER (WHERE kind = 'click') AS clicks, count(*) FILTER (WHERE kind = 'purchase') AS conversions,
			sum(amount) FILTER (WHERE kind = 'purchase') AS revenue
		FROM xp_rows WHERE variant IS NOT NULL AND who IS NOT NULL GROUP BY 1) a
	JOIN (SELECT variant, count(*) AS orders, avg(total::float8) AS mean, var_samp(total::float8) AS variance FROM xp_orders GROUP BY 1) o USING (variant);
SELECT variant, users, impressions, clicks, round(ctr::numeric, 5) AS ctr, conversions, round(cvr::numeric, 5) AS cvr, orders, revenue, round(aov, 4) AS aov
FROM xp.experiment_report('test');
SELECT variant, is_control, model, share, round(ctr_lift::numeric, 4) AS ctr_lift, to_char(ctr_p, '9.99EEEE') AS ctr_p, to_char(ctr_p_users, '9.99EEEE') AS ctr_p_users,
	round(cvr_p::numeric, 4) AS cvr_p, round(cvr_p_users::numeric, 4) AS cvr_p_users, round(aov_p::numeric, 4) AS aov_p, round(srm_p::numeric, 4) AS srm_p,
	impressions_needed, clicks_needed, warning
FROM xp.experiment_report('test');
-- the same in plain SQL
SELECT count(*) AS same FROM xp.experiment_report('test') r JOIN xp_plain p USING (variant, users, impressions, clicks, conversions, orders, revenue)
WHERE (r.ctr, r.cvr, r.aov::float8) = (p.ctr, p.cvr, p.aov)
	AND r.ctr_lower = recsys.wilson_lower(p.clicks, p.impressions) AND r.cvr_upper = recsys.wilson_upper(p.conversions, p.clicks);
SELECT abs(r.ctr_p / recsys.two_proportion_p(a.clicks, a.impressions, b.clicks, b.impressions) - 1) < 1e-9 AS ctr_p,
	abs(r.cvr_p / recsys.two_proportion_p(a.conversions, a.clicks, b.conversions, b.clicks) - 1) < 1e-9 AS cvr_p,
	abs(r.aov_p / recsys.welch_p(a.mean, a.variance, a.orders, b.mean, b.variance, b.orders) - 1) < 1e-9 AS aov_p,
	abs(r.ctr_lift - (a.ctr / b.ctr - 1)) < 1e-12 AS ctr_lift, abs(r.aov_lift - (a.aov / b.aov - 1)) < 1e-12 AS aov_lift,
	abs(r.srm_p / recsys.sample_ratio_p(ARRAY[a.users, b.users]) - 1) < 1e-9 AS srm_p,
	r.impressions_needed = recsys.sample_size(b.ctr, 0.05) AS impressions_needed, r.clicks_needed = recsys.sample_size(b.cvr, 0.05) AS clicks_needed
FROM xp.experiment_report('test') r, xp_plain a, xp_plain b
WHERE r.variant = 'challenger' AND a.variant = 'challenger' AND b.variant = 'control';
-- users as units: the variance of a ratio from its residuals
WITH u AS (SELECT variant, who, count(*) FILTER (WHERE kind = 'shown') AS x, count(*) FILTER (WHERE kind = 'click') AS y FROM xp_rows WHERE variant IS NOT NULL GROUP BY 1, 2),
	v AS (SELECT variant, ctr, count(*) / (count(*) - 1.0) * sum((y - ctr * x) ^ 2) / sum(x) ^ 2 AS variance FROM u JOIN xp_plain USING (variant) GROUP BY 1, 2)
SELECT abs(r.ctr_p_users / recsys.chi_square_p((a.ctr - b.ctr) ^ 2 / (a.variance + b.variance), 1) - 1) < 1e-9 AS ctr_p_users
FROM xp.experiment_report('test') r, v a, v b WHERE r.variant = 'challenger' AND a.variant = 'challenger' AND b.variant = 'control';

-- the same events, divided by 100 salts among two variants that do not differ: where some users are much
-- busier than others, the test by impressions finds differences all the same, the one by users some 5 %
BEGIN;
UPDATE recsys.experiment SET traffic = 1 WHERE name = 'test';
DELETE FROM xp_events WHERE kind = 'click' AND who % 30 = 0;
INSERT INTO xp_events SELECT who, what, 'click', at FROM xp_events WHERE kind = 'shown' AND who % 90 = 0;
CREATE FUNCTION xp_aa(salt_no int) RETURNS TABLE (p float8, p_users float8) LANGUAGE plpgsql AS $$
BEGIN
	UPDATE recsys.experiment SET salt = 'A/A ' || salt_no WHERE name = 'test';
	RETURN QUERY SELECT ctr_p, ctr_p_users FROM xp.experiment_report('test') WHERE NOT is_control;
END $$;
SELECT count(*) FILTER (WHERE p < 0.05) AS by_impressions, count(*) FILTER (WHERE p_users < 0.05) AS by_users, count(*) FROM generate_series(1, 100) g, xp_aa(g);
ROLLBACK;

-- users missing from one side; more clicks than impressions; nobody at all
BEGIN;
DELETE FROM xp_events WHERE recsys.assign_variant('spring', who::text, '{control,challenger}') = 'control' AND who % 5 = 0;
SELECT variant, users, to_char(srm_p, '9.9EEEE') AS srm_p, warning FROM xp.experiment_report('test');
DELETE FROM xp_events WHERE kind = 'shown' AND what > 1;
UPDATE xp_events SET kind = 'click' WHERE kind = 'purchase';
SELECT variant, impressions < clicks AS more_clicks, ctr > 1 AS above_one, ctr_lower, ctr_upper, ctr_lift IS NOT NULL AS lift, ctr_p, ctr_p_users IS NOT NULL AS by_user, cvr, orders, revenue, aov FROM xp.experiment_report('test');
DELETE FROM xp_events;
SELECT variant, users, impressions, ctr, srm_p, warning FROM xp.experiment_report('test');
ROLLBACK;
-- each conversion is an order where there is no order column
BEGIN;
SELECT recsys.untrack_metrics('xp');
SELECT recsys.track_metrics('xp', impression => '{shown}', click => '{click}', conversion => '{purchase}', amount_column => 'price');
SELECT variant, conversions = orders AS all_orders, round(aov, 4) = round(revenue / conversions, 4) AS aov FROM xp.experiment_report('test');
ROLLBACK;
-- all experiments at once, as a view with comments
SELECT recsys.create_experiment('xp', 'later', '{near,top}');
SELECT experiment, variant, users > 0 AS users FROM xp.experiments ORDER BY 1, 2;
SELECT attname FROM pg_attribute WHERE attrelid = 'xp.experiments'::regclass AND attnum > 0 AND col_description(attrelid, attnum) IS NULL;
SELECT * FROM xp.experiment_report('nothing');
-- later events do not count after the end
SELECT recsys.stop_experiment('xp', 'test');
SELECT sum(users) AS users, sum(impressions) AS impressions FROM xp.experiment_report('test');
UPDATE recsys.experiment SET stopped_at = '2020-02-01 00:00:02' WHERE name = 'test';
SELECT sum(users) AS users, sum(impressions) AS impressions FROM xp.experiment_report('test');
SELECT count(DISTINCT who), count(*) FROM xp_rows WHERE at < '2020-02-01 00:00:02' AND kind = 'shown' AND variant IS NOT NULL;

-- --------------------------------------------------------------------- rights

CREATE ROLE regress_xp;
SET ROLE regress_xp;
SELECT count(*) FROM recsys.experiments;
SELECT * FROM recsys.experiment;
SELECT recsys.create_experiment('xp', 'mine', '{near,top}');
SELECT recsys.alter_experiment('xp', 'test', traffic => 1);
SELECT recsys.stop_experiment('xp', 'test');
SELECT recsys.drop_experiment('xp', 'test');
SELECT xp.variant('test', 1);
RESET ROLE;
-- a BI tool reads the view and needs no right on the events
GRANT USAGE ON SCHEMA xp TO regress_xp;
GRANT SELECT ON xp.experiments TO regress_xp;
GRANT EXECUTE ON FUNCTION xp.experiment_report TO regress_xp;
SET ROLE regress_xp;
SELECT count(*) FROM xp.experiments;
SELECT count(*) FROM xp_events;
RESET ROLE;
REVOKE ALL ON SCHEMA xp FROM regress_xp;
REVOKE ALL ON xp.experiments FROM regress_xp;
REVOKE ALL ON FUNCTION xp.experiment_report FROM regress_xp;
DROP ROLE regress_xp;

SELECT recsys.drop_source('xp');

-- other types: partitions, uuid and text keys, a timestamp, a value that cleaning looks at, amounts as double precision
CREATE TABLE xp_parts (who uuid, what varchar(20), kind varchar(10), quantity int, at timestamp, price float8) PARTITION BY RANGE (at);
CREATE TABLE xp_part1 PARTITION OF xp_parts FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
CREATE TABLE xp_part2 PARTITION OF xp_parts FOR VALUES FROM ('2020-02-01') TO ('2020-03-01');
CREATE INDEX ON xp_parts (who);
SELECT recsys.create_source('xp', 'xp_parts', 'who', 'what', 'kind', 'quantity', 'at', '{"click": 1, "buy": 1}');
SELECT recsys.create_model('xp', 'top', 'popular'), recsys.create_model('xp', 'near', 'item_knn'), recsys.create_experiment('xp', 'typed', '{top,near}');
SELECT recsys.track_metrics('xp', impression => '{shown}', click => '{click}', conversion => '{buy}', amount_column => 'price');
UPDATE recsys.experiment SET started_at = '2020-01-31 23:00+00' WHERE name = 'typed';
INSERT INTO xp_parts SELECT md5(g::text)::uuid, 'item ' || (g * i) % 7, (ARRAY['shown', 'click', 'buy'])[i], 1, '2020-01-31 22:59'::timestamp + g * interval '1 min', 0.5 * i
	FROM generate_series(1, 120) g, generate_series(1, 3) i;
INSERT INTO xp_parts VALUES (md5('1')::uuid, 'item 1', 'buy', 1, '2020-02-02', 'NaN'), (md5('1')::uuid, 'item 1', 'buy', 1, '2020-02-02', 'Infinity');
-- rejected by cleaning
INSERT INTO xp_parts VALUES (md5('1')::uuid, 'item 1', 'buy', NULL, '2020-02-02', 1), (md5('1')::uuid, 'item 1', 'buy', -1, '2020-02-02', 1),
	(NULL, 'item 1', 'buy', 1, '2020-02-02', 1), (md5('1')::uuid, NULL, 'buy', 1, '2020-02-02', 1);
SELECT sum(users) AS users, sum(impressions) AS impressions, sum(clicks) AS clicks, sum(conversions) AS conversions, sum(revenue) AS revenue FROM xp.experiment_report();
SELECT variant, users, round(aov, 4) AS aov FROM xp.experiment_report('typed');
SELECT variant, count(*) FROM (SELECT recsys.assign_variant('typed', md5(g::text)::uuid::text, '{top,near}') AS variant FROM generate_series(1, 120) g) u GROUP BY 1 ORDER BY 1 DESC;
SELECT dimensions, impressions, clicks, conversions, revenue FROM xp.attribution(NULL, by => '{quantity}');
SELECT recsys.wait_for('xp');
-- the windows count the same events
SELECT m.impressions = r.impressions AND m.clicks = r.clicks AND m.conversions = r.conversions AND m.orders = r.orders AND m.revenue = r.revenue AND m.users = r.users AS same
FROM xp.metrics() m, (SELECT sum(users) AS users, sum(impressions) AS impressions, sum(clicks) AS clicks, sum(conversions) AS conversions, sum(orders) AS orders, sum(revenue) AS revenue FROM xp.experiment_report()) r;
-- which model answers
SELECT count(*), bool_and(coalesce(from_model, 'top') = xp.variant('typed', md5(g::text)::uuid)) AS that_of_the_variant
FROM generate_series(1, 10) g, xp.recommend_explained(md5(g::text)::uuid, 1, 'typed');
SELECT recsys.drop_source('xp');
DROP TABLE xp_parts;
SELECT count(*) FROM recsys.experiment WHERE name IN ('test', 'later');
DROP VIEW xp_rows CASCADE;
DROP TABLE xp_events, xp_users, xp_plain;
DROP FUNCTION xp_ticket, xp_variant, xp_independent, xp_answers;
