-- Models measured by the events that come in: settings, and what is counted
-- against what recommend() said just before.
CREATE TABLE quality_events (who int, what int, kind text, at timestamptz);
CREATE INDEX ON quality_events (who);
ALTER TABLE quality_events REPLICA IDENTITY FULL;
INSERT INTO quality_events SELECT 1 + g % 40, 1 + (g % 11 * g) % 37, 'view', timestamptz '2025-01-01' + g * interval '1 second'
	FROM generate_series(1, 600) g;
SELECT recsys.create_source('ql', 'quality_events', 'who', 'what', 'kind', event_time_column => 'at',
	weights => '{"view": 1}');
SELECT recsys.create_model('ql', 'near', 'item_knn');
SELECT recsys.create_model('ql', 'hits', 'popular');
SELECT recsys.create_model('ql', 'people', 'user_knn');

-- settings
SELECT recsys.track_quality('nosuch');
SELECT recsys.track_quality('ql', sample => 0);
SELECT recsys.track_quality('ql', sample => 1.5);
SELECT recsys.track_quality('ql', sample => 'nan');
SELECT recsys.track_quality('ql', sample => NULL);
SELECT recsys.track_quality('ql', k => 0);
SELECT recsys.track_quality('ql', per_minute => 0);
SELECT recsys.track_quality('ql', models => '{near,nosuch}');
SELECT recsys.track_quality('ql', models => '{}');
SELECT recsys.track_quality('ql', models => '{NULL}');
SELECT recsys.track_quality('ql', keep => '-1 day');
SELECT recsys.untrack_quality('ql');
SELECT * FROM recsys.tracked_quality;
SELECT recsys.track_quality('ql');
SELECT * FROM recsys.tracked_quality;
SELECT recsys.track_quality('ql', 1, k => 5, models => '{near,hits}', keep => NULL);
SELECT * FROM recsys.tracked_quality;
SELECT recsys.wait_for('ql');
-- what was there before is not asked of
SELECT count(*) FROM ql.quality_windows;

-- one event after the other: what must be counted, then the event
CREATE TABLE quality_oracle (model name, n int, hit bool, reciprocal float8);
CREATE TABLE quality_next AS SELECT n, CASE WHEN n % 10 = 0 THEN 1000 + n ELSE 1 + n % 40 END AS who,
	CASE WHEN n % 7 = 0 THEN 2000 + n ELSE 1 + (n * n) % 37 END AS what,
	CASE WHEN n % 9 = 0 THEN 'other' ELSE 'view' END AS kind,
	timestamptz '2025-02-01' + n * interval '15 seconds' AS at FROM generate_series(1, 30) n;
\o /dev/null
SELECT format($$INSERT INTO quality_oracle
	SELECT m, %1$s, p.place IS NOT NULL, coalesce(1.0 / p.place, 0) FROM unnest('{near,hits}'::name[]) m
		LEFT JOIN LATERAL (SELECT place FROM ql.recommend(%2$s, 5, m) WITH ORDINALITY AS r(item, score, place) WHERE item = %3$s) p ON true
	WHERE %4$L = 'view' AND NOT EXISTS (SELECT FROM quality_events WHERE who = %2$s AND what = %3$s AND kind = 'view')$$, n, who, what, kind),
	format('INSERT INTO quality_events VALUES (%s, %s, %L, %L)', who, what, kind, at),
	$$SELECT recsys.wait_for('ql')$$
FROM quality_next ORDER BY n \gexec
\o
SELECT model, count(*) > 15 AS some, count(*) FILTER (WHERE hit) BETWEEN 1 AND count(*) - 1 AS of_both FROM quality_oracle GROUP BY 1 ORDER BY 1;
-- nothing else, nothing missing
SELECT w.model, k, window_start, events, hits, round(reciprocal_ranks::numeric, 6) FROM ql.quality_windows w
EXCEPT
SELECT o.model, 5, date_trunc('minute', at), count(*), count(*) FILTER (WHERE hit), round(sum(reciprocal)::numeric, 6)
	FROM quality_oracle o JOIN quality_next USING (n) GROUP BY 1, 3;
SELECT o.model, 5, date_trunc('minute', at), count(*), count(*) FILTER (WHERE hit), round(sum(reciprocal)::numeric, 6)
	FROM quality_oracle o JOIN quality_next USING (n) GROUP BY 1, 3
EXCEPT
SELECT w.model, k, window_start, events, hits, round(reciprocal_ranks::numeric, 6) FROM ql.quality_windows w;

-- what is read
SELECT m.model, window_start, window_end, m.k, m.events = o.n AS events, m.hits = o.hits AS hits,
	m.hit_rate = o.hits::float8 / o.n AS hit_rate, m.hit_rate_lower = recsys.wilson_lower(o.hits, o.n) AS lower,
	m.hit_rate_upper = recsys.wilson_upper(o.hits, o.n) AS upper, abs(m.mrr - o.ranks / o.n) < 1e-9 AS mrr, ms_per_event > 0 AS ms
FROM ql.model_quality('1 day') m JOIN (SELECT model, count(*) AS n, count(*) FILTER (WHERE hit) AS hits, sum(reciprocal) AS ranks
	FROM quality_oracle GROUP BY 1) o USING (model);
SELECT count(*), bool_and(model = 'hits') FROM ql.model_quality('1 min', of_model => 'hits');
SELECT count(*) FROM ql.model_quality('1 min', since => '1 day');
SELECT model, count(*), sum(events) = (SELECT count(*) FROM quality_oracle o WHERE o.model = h.model) AS events
	FROM ql.model_quality_hourly h GROUP BY 1 ORDER BY 1;

-- at most so many of the minute of a commit
SELECT recsys.untrack_quality('ql');
SELECT recsys.track_quality('ql', 1, k => 6, models => '{hits}', per_minute => 3, keep => NULL);
SELECT recsys.wait_for('ql');
INSERT INTO quality_events SELECT 5000 + g, g % 30, 'view', '2025-03-01' FROM generate_series(1, 50) g;
SELECT recsys.wait_for('ql');
SELECT model, k, window_start, events FROM ql.quality_windows WHERE k = 6;
SELECT asked FROM ql.quality_state;
-- a share of the events, the same for all models; the figures of another k stand apart
SELECT recsys.track_quality('ql', 0.3, k => 7, per_minute => 100000, keep => NULL);
SELECT recsys.wait_for('ql');
INSERT INTO quality_events SELECT 6000 + g, g % 30, 'view', '2025-03-01' FROM generate_series(1, 2000) g;
SELECT recsys.wait_for('ql');
SELECT count(*), min(events) = max(events) AS same, min(events) BETWEEN 500 AND 700 AS share FROM ql.quality_windows WHERE k = 7;
-- what is old goes
SELECT recsys.track_quality('ql', 1, per_minute => 100000, keep => '1 hour');
SELECT recsys.wait_for('ql');
INSERT INTO quality_events VALUES (7000, 1, 'view', now());
SELECT recsys.wait_for('ql');
SELECT k, count(*) FROM ql.quality_windows GROUP BY 1;
-- rights
CREATE ROLE quality_reader;
GRANT USAGE ON SCHEMA ql TO quality_reader;
SET ROLE quality_reader;
SELECT * FROM ql.model_quality();
SELECT * FROM recsys.tracked_quality;
SELECT recsys.track_quality('ql');
RESET ROLE;
GRANT EXECUTE ON FUNCTION ql.model_quality TO quality_reader;
SET ROLE quality_reader;
SELECT count(*) FROM ql.model_quality();
RESET ROLE;
SELECT recsys.untrack_quality('ql');
SELECT relname FROM pg_class WHERE relnamespace = 'ql'::regnamespace AND relname ~ 'quality';
SELECT proname FROM pg_proc WHERE pronamespace = 'ql'::regnamespace AND proname ~ 'quality';
INSERT INTO quality_events VALUES (7000, 2, 'view', now());
SELECT recsys.wait_for('ql');
SELECT recsys.drop_source('ql');
DROP TABLE quality_events, quality_oracle, quality_next;
DROP OWNED BY quality_reader;
DROP ROLE quality_reader;
