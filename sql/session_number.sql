-- Sessions by gaps in time.
\pset null '(null)'
SET timezone = 'Europe/Berlin';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
CREATE TABLE visits (user_id int, at timestamptz, bought boolean);
INSERT INTO visits VALUES
	(1, '2026-01-01 10:00', false), (1, '2026-01-01 10:30', false), (1, '2026-01-01 11:00:00.000001', true),
	(1, '2026-01-01 11:00:00.000001', false), (1, NULL, false), (1, '2026-01-02 11:00', false),
	(2, '2026-01-01 10:40', true), (2, '2026-01-01 11:20', true);
-- a pause of just the gap goes on; equal times are one session; each user from 1
SELECT user_id, at, recsys.session_number(at, '30 minutes') OVER w, recsys.session_number(at, '1 day') OVER w AS daily,
	recsys.session_number(at, '0') OVER w AS different_times
FROM visits WINDOW w AS (PARTITION BY user_id ORDER BY at) ORDER BY user_id, at;
SELECT user_id, max(session) AS sessions FROM (
	SELECT user_id, recsys.session_number(at) OVER (PARTITION BY user_id ORDER BY at) AS session FROM visits) AS s
GROUP BY user_id ORDER BY user_id;

-- figures of sessions, as in README
SELECT count(*) AS sessions, avg(events)::numeric(6, 2) AS events, avg(length) AS length,
	recsys.rate(events = 1) AS bounce, recsys.rate(conversions > 0) AS conversion
FROM (
	SELECT user_id, session, count(*) AS events, max(at) - min(at) AS length, count(*) FILTER (WHERE bought) AS conversions
	FROM (SELECT *, recsys.session_number(at, '30 minutes') OVER (PARTITION BY user_id ORDER BY at) AS session FROM visits) AS v
	WHERE session IS NOT NULL
	GROUP BY user_id, session) AS s;

-- the same by lag() and sum(), on data of all kinds
CREATE TABLE walks AS SELECT g % 7 AS user_id, timestamptz '2026-01-01' + (g::bigint * g * 7919 % 1000003) * interval '1 s' AS at FROM generate_series(1, 5000) g;
SELECT gap, max(a) AS most, count(*) FILTER (WHERE a IS DISTINCT FROM b) AS differences
FROM (VALUES (interval '1 s'), ('3 min'), ('30 min'), ('2 hours')) v (gap), LATERAL (
	SELECT recsys.session_number(at, gap) OVER (PARTITION BY user_id ORDER BY at) AS a,
		1 + count(*) FILTER (WHERE late) OVER (PARTITION BY user_id ORDER BY at) AS b
	FROM (SELECT *, at - lag(at) OVER (PARTITION BY user_id ORDER BY at) > gap AS late FROM walks) AS l) AS x
GROUP BY gap ORDER BY gap;

-- a day and a month are those of the calendar: 23 hours when the clock goes forward
SELECT recsys.session_number(at, gap) OVER (PARTITION BY gap::text ORDER BY at), gap, at
FROM (VALUES (timestamptz '2026-03-28 12:00'), ('2026-03-29 12:30')) v (at), (VALUES (interval '1 day'), ('24 hours')) w (gap);
SELECT recsys.session_number(at, '1 month') OVER (ORDER BY at), at FROM (VALUES (timestamptz '2026-01-31'), ('2026-02-28'), ('2026-03-31')) v (at);
SELECT recsys.session_number(at, '1 s') OVER (ORDER BY at), at FROM (VALUES (timestamptz '4713-01-01 BC'), ('294276-12-31')) v (at);
SELECT recsys.session_number(event_time => at, gap => '1 s') OVER (ORDER BY at) AS by_name FROM (VALUES (timestamptz '2026-01-01')) v (at);

-- what can't be
SELECT recsys.session_number(at) OVER (ORDER BY at DESC) FROM visits;
SELECT recsys.session_number(at) OVER () FROM (VALUES (timestamptz '2026-01-02'), ('2026-01-01')) v (at);
SELECT recsys.session_number(at, '-1 s') OVER (ORDER BY at) FROM visits;
SELECT recsys.session_number(at, NULL) OVER (ORDER BY at) FROM visits;
SELECT recsys.session_number(at) OVER (ORDER BY at) FROM (VALUES (timestamptz 'infinity'), ('2026-01-01')) v (at);
SELECT recsys.session_number(at) FROM visits;
DROP TABLE visits, walks;
