-- Figures of windows, worked out by hand; bad input; what becomes of old buckets.
SET client_min_messages = warning;
SET timezone = 'UTC';

CREATE TABLE mw_events (u int, i int, kind text, price numeric(10,2), order_id int, stars int, variant text, at timestamptz);
CREATE INDEX ON mw_events (u, at);
CREATE INDEX ON mw_events (at);
ALTER TABLE mw_events REPLICA IDENTITY FULL;
SELECT recsys.create_source('mw', 'mw_events', 'u', 'i', 'kind', event_time_column => 'at', weights => '{"buy":1}');
SELECT recsys.track_metrics('mw', '{show}', '{tap}', '{buy}', 'price', 'order_id', 'rate', 'stars', dimensions => '{variant}',
    allowed_lateness => '2 min');

INSERT INTO mw_events VALUES
    (1, 1, 'show', NULL, NULL, NULL, 'A', '2024-05-01 10:00:01'), (1, 2, 'show', NULL, NULL, NULL, 'A', '2024-05-01 10:00:02'),
    (2, 1, 'show', NULL, NULL, NULL, 'B', '2024-05-01 10:00:59.999999'), (1, 2, 'tap', NULL, NULL, NULL, 'A', '2024-05-01 10:00:30'),
    -- two lines of one order, one of them in the next bucket, and one line of another
    (1, 2, 'buy', 10.50, 100, NULL, 'A', '2024-05-01 10:00:40'), (1, 1, 'buy', 2.25, 100, NULL, 'A', '2024-05-01 10:01:00'),
    (2, 1, 'buy', 7, 101, NULL, 'B', '2024-05-01 10:01:30'),
    (2, 1, 'rate', NULL, NULL, 5, 'B', '2024-05-01 10:01:40'), (1, 1, 'rate', NULL, NULL, 3, 'A', '2024-05-01 10:01:50'),
    (3, 1, 'look', NULL, NULL, NULL, 'A', '2024-05-01 10:02:00'), (3, 1, 'show', NULL, NULL, NULL, NULL, '2024-05-01 10:05:00');
SELECT recsys.wait_for('mw');

SELECT window_start, window_end, is_final AS final, impressions AS impr, clicks, ctr, conversions AS conv, cvr, orders, revenue, aov, users
FROM mw.metrics('1 min');
SELECT window_start, impressions, round(ctr::numeric, 4) AS ctr, round(ctr_lower::numeric, 4) AS lower, round(ctr_upper::numeric, 4) AS upper,
    cvr, cvr_lower, ratings, mean_rating, satisfaction, round(satisfaction_lower::numeric, 4) AS sat_lower, users
FROM mw.metrics('5 min', by => '{variant}');
SELECT window_start, dimensions, impressions, clicks, orders, revenue FROM mw.metrics('2 min', by => '{variant}', slide => '1 min')
WHERE dimensions = '{"variant":"A"}';
SELECT window_start, window_end, dimensions, impressions, orders, revenue, aov, users FROM mw.metrics(by => '{variant}');
SELECT window_start, window_end, dimensions, impressions, orders, revenue, aov, users FROM mw.metrics();
-- windows that end in the last 4 minutes before a moment
SELECT window_start, window_end, impressions FROM mw.metrics('2 min', since => '4 min', until => '2024-05-01 10:05:00');
SELECT count(*) FROM mw.metrics('1 min', since => '1 hour');

-- late: an earlier line of order 100 moves it; and a refund that makes a window negative
INSERT INTO mw_events VALUES (1, 2, 'buy', 1, 100, NULL, 'B', '2024-05-01 09:58:00'), (2, 1, 'buy', -20, 102, NULL, 'B', '2024-05-01 10:01:31');
SELECT recsys.wait_for('mw');
SELECT window_start, dimensions, conversions, orders, revenue, aov FROM mw.metrics('1 min', by => '{variant}') WHERE conversions > 0;
-- taken back, that one and the ratings
DELETE FROM mw_events WHERE at = '2024-05-01 09:58:00' OR kind = 'rate';
-- events that are their own retraction: updates to what they are, and one that comes and goes
UPDATE mw_events SET variant = variant;
BEGIN;
INSERT INTO mw_events VALUES (9, 9, 'buy', 99, 999, NULL, 'Z', '2024-05-01 10:01:00');
DELETE FROM mw_events WHERE u = 9;
COMMIT;
SELECT recsys.wait_for('mw');
SELECT window_start, dimensions, conversions, orders, revenue, aov, ratings, satisfaction, users FROM mw.metrics('1 min', by => '{variant}') WHERE conversions > 0;
SELECT count(*) FROM mw.window_orders WHERE order_id = '999';

-- orders and prices that are missing or no numbers
INSERT INTO mw_events VALUES (4, 1, 'buy', 'NaN', 103, NULL, 'C', '2024-05-01 11:00:00'), (4, 1, 'buy', NULL, 103, NULL, 'C', '2024-05-01 11:00:00'),
    (4, 1, 'buy', 5, NULL, NULL, 'C', '2024-05-01 11:00:00'), (4, 1, 'rate', NULL, NULL, NULL, 'C', '2024-05-01 11:00:00');
SELECT recsys.wait_for('mw');
SELECT window_start, conversions, cvr, cvr_lower, orders, revenue, aov, ratings FROM mw.metrics('1 min', since => '1 hour', until => '2024-05-01 11:30') WHERE conversions > 0 AND window_start >= '2024-05-01 11:00';
-- a clock ahead by less than recsys.max_future counts, but nothing becomes final early; one ahead by more is rejected
INSERT INTO mw_events VALUES (5, 1, 'show', NULL, NULL, NULL, 'D', now() + interval '30 min'), (5, 1, 'show', NULL, NULL, NULL, 'D', now() + interval '3 hours');
SELECT recsys.wait_for('mw');
SELECT impressions FROM mw.metrics(by => '{variant}') WHERE dimensions = '{"variant":"D"}';
SELECT latest > now() + interval '25 min' AS ahead, watermark <= now() - interval '2 min' AS watermark_is_not, without_amount, combinations FROM mw.metrics_status;
DELETE FROM mw_events WHERE u = 5;
SELECT recsys.wait_for('mw');

-- refused
SELECT * FROM mw.metrics('90 seconds');
SELECT * FROM mw.metrics('1 month');
SELECT * FROM mw.metrics('-1 min');
SELECT * FROM mw.metrics('100000 days', slide => '1 min');
SELECT * FROM mw.metrics('1 min', until => 'infinity');
SELECT * FROM mw.metrics('1 min', slide => '2 min');
SELECT * FROM mw.metrics(slide => '2 min');
SELECT * FROM mw.metrics('1 min', by => '{placement}');
SELECT * FROM mw.metrics('1 min', by => '{NULL}');
SELECT * FROM mw.metrics('soon');

-- views
SELECT window_start, window_end, is_final, impressions, clicks, orders, revenue, users FROM mw.metrics_by_hour ORDER BY 1;
SELECT window_start, window_end, impressions, orders FROM mw.metrics_by_day ORDER BY 1;
SELECT window_start, impressions FROM mw.metrics_by_minute WHERE impressions > 0 ORDER BY 1;
SELECT dimension, value, window_start, impressions, orders, revenue FROM mw.metrics_by_dimension ORDER BY 1, 2, 3;
SELECT c.relname, count(*) AS columns, count(col_description(c.oid, a.attnum)) AS commented
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'mw'::regnamespace AND c.relname LIKE 'metrics%' GROUP BY 1 ORDER BY 1;

-- who may read: those who are granted it, and nothing else
CREATE ROLE mw_reader;
SET ROLE mw_reader;
SELECT count(*) FROM mw.metrics();
RESET ROLE;
GRANT USAGE ON SCHEMA mw TO mw_reader;
GRANT EXECUTE ON FUNCTION mw.metrics TO mw_reader;
GRANT SELECT ON mw.metrics_by_hour TO mw_reader;
SET ROLE mw_reader;
SELECT impressions FROM mw.metrics();
SELECT sum(impressions) FROM mw.metrics_by_hour;
SELECT count(*) FROM mw.windows;
RESET ROLE;
DROP OWNED BY mw_reader;
DROP ROLE mw_reader;

-- more combinations than allowed: what came first is apart, the rest is other
SELECT recsys.alter_metrics('mw', max_combinations => 2);
SELECT recsys.wait_for('mw');
SELECT count(*), sum(impressions), sum(clicks), sum(orders), sum(revenue) FROM mw.metrics(by => '{variant}');
SELECT count(*) FROM mw.metrics(by => '{variant}') WHERE dimensions = '{"variant":"other"}';
SELECT combinations, other FROM mw.metrics_status;
SELECT warning FROM recsys.status WHERE source = 'mw';
SELECT recsys.alter_metrics('mw', max_combinations => 10);
SELECT recsys.wait_for('mw');
SELECT warning FROM recsys.status WHERE source = 'mw';

-- roll-up: hours instead of minutes, late events in them too, and orders where they were
SELECT recsys.alter_metrics('mw', rollup_after => '20 min');
SELECT recsys.wait_for('mw');
INSERT INTO mw_events VALUES (1, 1, 'show', NULL, NULL, NULL, 'A', '2024-05-01 12:00:00');
SELECT recsys.wait_for('mw');
SELECT bucket, bucket_end, dimensions, events, impressions, orders, revenue, recsys.users_estimate(users) AS users
FROM mw.windows JOIN mw.window_dimensions USING (combination) GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 3;
INSERT INTO mw_events VALUES (8, 2, 'buy', 3, 101, NULL, 'A', '2024-05-01 10:00:10'), (8, 2, 'buy', 3, 105, NULL, 'A', '2024-05-01 10:02:10');
DELETE FROM mw_events WHERE order_id = 100;
SELECT recsys.wait_for('mw');
SELECT bucket, bucket_end, dimensions, events, impressions, orders, revenue, recsys.users_estimate(users) AS users
FROM mw.windows JOIN mw.window_dimensions USING (combination) WHERE bucket = '2024-05-01 10:00' GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 3;
SELECT * FROM mw.metrics('1 min');
SELECT window_start, impressions FROM mw.metrics('1 min', since => '10 min', until => '2024-05-01 12:01');
SELECT window_start, window_end, impressions FROM mw.metrics('2 hours');

-- expiry
SELECT recsys.alter_metrics('mw', expire_after => '1 hour');
SELECT recsys.wait_for('mw');
INSERT INTO mw_events VALUES (1, 1, 'show', NULL, NULL, NULL, 'A', '2024-05-01 12:00:01');
SELECT recsys.wait_for('mw');
INSERT INTO mw_events VALUES (1, 1, 'show', NULL, NULL, NULL, 'A', '2024-05-01 09:00:00');
SELECT recsys.wait_for('mw');
SELECT bucket, bucket_end, dimensions, events FROM mw.windows JOIN mw.window_dimensions USING (combination) ORDER BY 1, 3;
SELECT order_id FROM mw.window_orders ORDER BY 1;
SELECT rolled_until, expired_until, expired FROM mw.metrics_status;

-- sessions: user 1 has two, of 10:00 and of 11:00; the impression alone and user 3's look bounce
TRUNCATE mw_events;
INSERT INTO mw_events VALUES (1, 1, 'show', NULL, NULL, NULL, 'A', '2024-05-01 10:00:00'), (1, 1, 'tap', NULL, NULL, NULL, 'A', '2024-05-01 10:10:00'),
    (1, 1, 'buy', 12, 1, NULL, 'A', '2024-05-01 10:40:00'), (1, 1, 'tap', NULL, NULL, NULL, 'A', '2024-05-01 11:10:00.000001'), (1, 1, 'tap', NULL, NULL, NULL, 'A', '2024-05-01 11:20:00'),
    (2, 1, 'show', NULL, NULL, NULL, 'A', '2024-05-01 10:59:00'), (3, 1, 'look', NULL, NULL, NULL, 'A', '2024-05-01 11:01:00'), (NULL, 1, 'look', NULL, NULL, NULL, 'A', '2024-05-01 11:01:00');
SELECT window_start, sessions, users, events, events_per_session, mean_length, bounces, bounce_rate, converted, conversion_rate, round(conversion_lower::numeric, 4) AS lower, revenue, revenue_per_session
FROM mw.session_metrics('1 hour');
SELECT window_start, window_end, sessions, users, events, bounces, converted, round(revenue_per_session, 2) AS rps FROM mw.session_metrics();
SELECT sessions, events, mean_length FROM mw.session_metrics(gap => '1 hour');
-- a session that began before is not one that begins
SELECT window_start, sessions FROM mw.session_metrics(since => '1 hour', until => '2024-05-01 11:30');
SELECT sessions FROM mw.session_metrics(since => '1 min');
SELECT * FROM mw.session_metrics(gap => '-1 min');
SELECT recsys.alter_source('mw', session_column => 'variant');
SELECT sessions, users, events, mean_length FROM mw.session_metrics();

-- somebody has dropped a view by hand
DROP VIEW mw.metrics_by_day;
SELECT recsys.untrack_metrics('mw');
SELECT * FROM mw.metrics();
SELECT recsys.drop_source('mw');
DROP TABLE mw_events;

-- events that there were before are counted and put together at once, and so by a rebuild;
-- a purchase that is a rating, too, brings in its price with a rating or without
CREATE TABLE mr_events (u int, i int, kind text, price numeric, stars int, at timestamptz);
CREATE INDEX ON mr_events (u, at);
ALTER TABLE mr_events REPLICA IDENTITY FULL;
INSERT INTO mr_events SELECT n % 7, 1, 'buy', n, CASE WHEN n % 2 = 0 THEN 5 END, '2024-05-01'::timestamptz + n * interval '1 min'
FROM generate_series(0, 299) n;
SELECT recsys.create_source('mr', 'mr_events', 'u', 'i', 'kind', event_time_column => 'at', weights => '{"buy":1}');
SELECT recsys.track_metrics('mr', conversion => '{buy}', amount_column => 'price', rating_type => 'buy', rating_column => 'stars',
    rollup_after => '1 hour', expire_after => '3 hours');
SELECT recsys.wait_for('mr');
SELECT window_start, conversions, revenue, ratings, users FROM mr.metrics('1 hour');
SELECT count(*), rolled_until, expired_until, without_amount FROM mr.windows, mr.metrics_status GROUP BY 2, 3, 4;
SELECT recsys.resync('mr');
SELECT recsys.wait_for('mr');
SELECT window_start, conversions, revenue, ratings, users FROM mr.metrics('1 hour');
TRUNCATE mr_events;
INSERT INTO mr_events SELECT n % 7, 1, 'buy', n, 5, '2024-05-01'::timestamptz + n * interval '1 min' FROM generate_series(0, 299) n;
SELECT recsys.wait_for('mr');
SELECT window_start, conversions, revenue, ratings, users FROM mr.metrics('1 hour');
SELECT recsys.drop_source('mr');
DROP TABLE mr_events;
