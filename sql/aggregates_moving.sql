-- Moving windows: every frame equals the plain aggregate over its rows, to the last digit.
CREATE TABLE moves AS SELECT n, timestamptz '2026-01-01' + (n / 3 * 7 + n * n % 5) * interval '1 minute' AS at,
	(ARRAY['impression', 'click', 'impression', 'purchase', NULL, 'view', 'impression', 'conversion'])[1 + n * 7919 % 8] AS type,
	CASE n * 31 % 7 WHEN 0 THEN NULL ELSE n * 31 % 7 < 3 END AS success,
	CASE WHEN n % 11 > 0 THEN n * 104729 % 11 END AS rating,
	CASE WHEN n % 13 > 0 THEN (n * 7907 % 1999)::numeric / (ARRAY[1, 10.0, 1000.000])[1 + n / 40 % 3] END AS price,
	CASE WHEN n % 17 > 0 THEN 'order ' || n / 4 * 13 % 9 END AS order_id,
	CASE WHEN n % 5 > 0 THEN (n * 7919 % 23 - 11) * (ARRAY[1, 1e20, 1e-20, 0.1])[1 + n / 30 % 4] END::real AS a,
	CASE WHEN n % 7 > 0 THEN (n * 31 % 19 - 9) * (ARRAY[1, 1e-10, 0.3])[1 + n / 50 % 3] END::real AS b
	FROM generate_series(1, 400) n;
CREATE TABLE aggregates (name text, call text);
INSERT INTO aggregates
	SELECT split_part(call, '(', 1), 'recsys.' || call FROM unnest(ARRAY[
		'ctr(type)', 'ctr_interval(type)', 'ctr_of(type = ''view'', success)', 'cvr(type)', 'cvr_interval(type)', 'cvr_of(success, rating > 5)',
		'rate(success)', 'rate_interval(success)', 'csat(rating, 7)', 'csat_interval(rating, n % 10)', 'nps(rating)',
		'aov(price, order_id)', 'cosine_agg(a, b)', 'pearson_agg(a, b)']) call;

-- The rows of each frame come from array_agg(), which has no way to move.
CREATE FUNCTION differences(frame text, OUT differing text, OUT frames bigint, OUT empty bigint, OUT results bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($q$
		WITH framed AS MATERIALIZED (
			SELECT ARRAY[%1$s] AS moved, array_agg(n) OVER w AS rows FROM moves WINDOW w AS (%2$s)
		), compared AS MATERIALIZED (
			SELECT moved, rows, (SELECT ARRAY[%3$s] FROM moves WHERE n = ANY (f.rows)) AS plain FROM framed f
		)
		SELECT (SELECT string_agg(DISTINCT a.name, ' ') FROM compared, unnest(moved, plain) WITH ORDINALITY u (m, p, o)
				JOIN (SELECT name, row_number() OVER () FROM aggregates) a ON a.row_number = u.o WHERE m IS DISTINCT FROM p),
			count(*), count(*) FILTER (WHERE rows IS NULL), (SELECT count(DISTINCT m) FROM compared, unnest(moved) m) FROM compared
		$q$, (SELECT string_agg(format('(%s OVER w)::text', call), ', ') FROM aggregates), frame,
		(SELECT string_agg(format('(%s)::text', call), ', ') FROM aggregates))
	INTO differing, frames, empty, results;
END $$;
\pset null '(none)'
SELECT frame, d.* FROM unnest(ARRAY[
	'ORDER BY at RANGE BETWEEN ''1 hour'' PRECEDING AND CURRENT ROW',
	'ORDER BY at RANGE BETWEEN ''40 min'' PRECEDING AND ''38 min'' PRECEDING',
	'ORDER BY at DESC RANGE BETWEEN ''20 min'' PRECEDING AND ''30 min'' FOLLOWING',
	'ORDER BY n ROWS BETWEEN 7 PRECEDING AND 3 FOLLOWING',
	'ORDER BY n ROWS BETWEEN 2 PRECEDING AND CURRENT ROW',
	'ORDER BY n ROWS BETWEEN 5 FOLLOWING AND 20 FOLLOWING',
	'ORDER BY at GROUPS BETWEEN 2 PRECEDING AND 1 FOLLOWING',
	'PARTITION BY n % 3 ORDER BY n ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING',
	'PARTITION BY n / 100 ORDER BY n',
	'ORDER BY n ROWS BETWEEN 4 PRECEDING AND 4 FOLLOWING EXCLUDE CURRENT ROW']) frame, differences(frame) d;

-- the digits of numeric are those of plain SQL, also after longer values have left
SELECT count(*) AS rows, count(*) FILTER (WHERE moved::text IS DISTINCT FROM (
	SELECT (sum(price) / nullif(count(DISTINCT order_id), 0))::text FROM moves WHERE n = ANY (rows) AND price IS NOT NULL AND order_id IS NOT NULL)) AS differences
FROM (SELECT recsys.aov(price, order_id) OVER w AS moved, array_agg(n) OVER w AS rows FROM moves WINDOW w AS (ORDER BY n ROWS 9 PRECEDING)) AS x;

-- filtered, and over rows that come in no order
SELECT count(*) FILTER (WHERE f IS DISTINCT FROM g) AS differences, count(DISTINCT f) > 5 AS several FROM (
	SELECT recsys.ctr(type) FILTER (WHERE success) OVER w AS f, recsys.ctr(CASE WHEN success THEN type END) OVER w AS g
	FROM moves WINDOW w AS (ORDER BY n ROWS 30 PRECEDING)) AS x;

-- all can move, be taken apart and be put together
SELECT p.proname, aggminvtransfn <> 0 AS moves, aggcombinefn <> 0 AS combines, proparallel,
	aggtranstype <> 'internal'::regtype OR (aggserialfn <> 0 AND aggdeserialfn <> 0) AS travels, obj_description(p.oid) IS NOT NULL AS described
FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid JOIN (SELECT DISTINCT name FROM aggregates) n ON n.name = p.proname
WHERE p.pronamespace = 'recsys'::regnamespace ORDER BY 1;
DROP FUNCTION differences;
DROP TABLE moves, aggregates;
