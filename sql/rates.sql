-- Rates of events and of ratings, against values by hand.
\pset null '(null)'
SET extra_float_digits = 0;
CREATE TABLE happenings (day int, event_type text, rating int);
INSERT INTO happenings VALUES
	(1, 'impression', 10), (1, 'impression', 9), (1, 'impression', 8), (1, 'impression', 7), (1, 'click', 6),
	(1, 'view', 0), (1, 'Click', NULL), (1, NULL, NULL),
	(2, 'impression', 3), (2, 'click', 4), (2, 'click', 5), (2, 'purchase', 5),
	(3, 'click', 9), (3, 'purchase', 10), (3, 'conversion', 9), (3, 'click', 2), (3, 'click', NULL),
	(4, 'view', NULL);

-- ctr 1/4, 2/1, no impressions; cvr 0/1, 1/2, 2/3, no clicks
SELECT day, recsys.ctr(event_type), recsys.cvr(event_type),
	recsys.rate(event_type = 'click') AS rate_of_clicks,
	recsys.ctr_of(event_type = 'view', event_type IN ('click', 'Click')) AS ctr_of_views,
	recsys.cvr_of(event_type IN ('click', 'view'), event_type = 'purchase')
FROM happenings GROUP BY day ORDER BY day;
-- satisfied 4/6 with 7 and more; nps 100 (2 - 2) / 6 on day 1, 100 (0 - 4) / 4, 100 (3 - 1) / 4
SELECT day, recsys.csat(rating, 7), recsys.nps(rating) FROM happenings GROUP BY day ORDER BY day;
SELECT recsys.ctr('impression'), recsys.cvr('click'), recsys.rate(true), recsys.csat(4.5, 4.5), recsys.nps(6.5)
FROM happenings WHERE day < 3;
SELECT recsys.ctr(event_type), recsys.cvr(event_type), recsys.rate(NULL), recsys.csat(NULL, 3), recsys.nps(NULL),
	recsys.ctr_of(NULL, NULL), recsys.ctr_interval(event_type), recsys.rate_interval(NULL)
FROM happenings WHERE false;
SELECT recsys.csat(rating, NULL), recsys.ctr_of(NULL, true), recsys.ctr_of(true, NULL), recsys.nps(NULL) FROM happenings;
-- types of fixed length and of domains, long values
SELECT recsys.ctr(event_type::varchar(20)) AS varchar, recsys.ctr(event_type::name) AS name,
	recsys.ctr(event_type || repeat('x', 100000)) AS long
FROM happenings WHERE day = 1;

-- intervals (Newcombe 1998, Statistics in Medicine 17, table I, method 3):
-- 81/263: 0.2553 0.3662, 15/148: 0.0624 0.1605, 0/20: 0 0.1611, 1/29: 0.0061 0.1718
SELECT hits, trials, round(((r).value)::numeric, 4) AS value, round(((r).lower)::numeric, 4) AS lower, round(((r).upper)::numeric, 4) AS upper
FROM (VALUES (81, 263), (15, 148), (0, 20), (1, 29)) v (hits, trials),
	LATERAL (SELECT recsys.rate_interval(g <= hits) AS r FROM generate_series(1, trials) g) AS x;
SELECT ((recsys.ctr_interval(t)).value, recsys.wilson_lower(2, 8), recsys.wilson_upper(2, 8)) =
	((recsys.ctr_interval(t)).value, (recsys.ctr_interval(t)).lower, (recsys.ctr_interval(t)).upper) AS as_by_counts
FROM unnest('{impression,impression,impression,impression,impression,impression,impression,impression,click,click}'::text[]) t;
SELECT day, recsys.ctr_interval(event_type), recsys.cvr_interval(event_type), recsys.csat_interval(rating, 12)
FROM happenings WHERE day IN (2, 4) GROUP BY day ORDER BY day;

-- what can't be
SELECT recsys.nps(r) FROM unnest('{9,11}'::int[]) r;
SELECT recsys.nps(r) FROM unnest('{9,-1}'::float8[]) r;
SELECT recsys.nps(r) FROM unnest('{9,NaN}'::float8[]) r;
SELECT recsys.csat(r, 3) FROM unnest('{9,NaN}'::float4[]) r;
SELECT recsys.csat(r, 'Infinity') FROM unnest('{9,NULL}'::float4[]) r;
SELECT recsys.nps(r) FILTER (WHERE r BETWEEN 0 AND 10) FROM unnest('{9,11,NaN}'::float8[]) r;
-- parts of the aggregates, called by themselves
SELECT recsys.rate_accum('{3,4}', true), recsys.rate_accum(NULL, true), recsys.counts_rate('{4,3}'), recsys.counts_combine('{1,2,3}', '{4,5,6}');
SELECT recsys.rate_accum('{3}', true);
SELECT recsys.ratio_accum(NULL, true, true);
SELECT recsys.rate_accum('{3,NULL}', true);
SELECT recsys.counts_combine('{3,4}', '{1,2,3}');
SELECT recsys.counts_rate('{}');
SELECT recsys.counts_interval('{{1,2},{3,4}}');
-- a state is changed where it is by its aggregate alone
CREATE TABLE states AS SELECT '{1,1}'::bigint[] AS state;
SELECT recsys.rate_accum(state, true), state FROM states;
DROP TABLE happenings, states;
