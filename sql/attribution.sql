-- Attribution of clicks and conversions to impressions, and logging of impressions.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SET TimeZone = 'UTC';

-- the last value that is known
SELECT t, x, recsys.last_known(x) OVER (ORDER BY t), recsys.last_known(x) OVER (PARTITION BY t > 3 ORDER BY t) AS by_part
FROM (VALUES (1, NULL), (2, 'a'), (3, NULL), (4, NULL), (5, 'b'), (6, NULL)) AS v (t, x) ORDER BY t;
SELECT recsys.last_known(x ORDER BY t), recsys.last_known(x ORDER BY t DESC), recsys.last_known(x) FILTER (WHERE t > 9)
FROM (VALUES (1, 7), (2, 8), (3, NULL)) AS v (t, x);

CREATE TABLE at_events (who int, what text, kind text, at timestamptz DEFAULT now(), price numeric, order_no int,
	model text, placement text, recommendation_id uuid, rank int);
CREATE INDEX ON at_events (who);
SELECT recsys.create_source('at', 'at_events', 'who', 'what', 'kind', event_time_column => 'at', weights => '{"click": 1, "buy": 5}');
SELECT * FROM at.attribution();
SELECT recsys.track_metrics('at', impression => '{shown}', click => '{click}', conversion => '{buy}', amount_column => 'price', order_column => 'order_no');
SELECT * FROM at.attribution();

-- ------------------------------------------------------------ worked by hand

INSERT INTO at_events (who, what, kind, at, price, order_no, model, placement) VALUES
	(1, 'tea', 'shown', '2020-01-01 10:00', NULL, NULL, 'knn', 'home'),
	(1, 'tea', 'click', '2020-01-01 10:01', NULL, NULL, NULL, NULL),		-- the impression just before
	(1, 'tea', 'shown', '2020-01-01 11:00', NULL, NULL, 'als', 'home'),
	(1, 'tea', 'buy',   '2020-01-01 11:30', 5, 1, NULL, NULL),				-- als: the last one
	(1, 'cup', 'buy',   '2020-01-01 11:30', 7, 1, 'als', 'home'),			-- never shown: belongs to none, whatever the row says
	(2, 'tea', 'click', '2020-01-01 09:00', NULL, NULL, NULL, NULL),		-- before any impression
	(2, 'tea', 'shown', '2020-01-01 10:00', NULL, NULL, 'als', 'cart'),
	(2, 'tea', 'click', '2020-01-02 10:00', NULL, NULL, NULL, NULL),		-- a day later, to the second
	(2, 'tea', 'click', '2020-01-02 10:00:01', NULL, NULL, NULL, NULL),		-- too late
	(3, 'tea', 'click', '2020-01-01 10:00', NULL, NULL, NULL, NULL),		-- at the moment of the impression
	(3, 'tea', 'shown', '2020-01-01 10:00', NULL, NULL, NULL, 'home'),		-- of no model
	(3, 'cup', 'click', '2020-01-01 10:01', NULL, NULL, NULL, NULL);		-- another item
SELECT dimensions, impressions, clicks, conversions, orders, revenue, ctr, cvr, aov, round(ctr_lower::numeric, 4) AS lower, round(ctr_upper::numeric, 4) AS upper
FROM at.attribution(NULL);
SELECT dimensions, impressions, clicks, conversions, revenue FROM at.attribution(NULL, '30 min', '{model}');
SELECT dimensions, impressions, clicks, conversions, orders, revenue FROM at.attribution(NULL, '100 years', '{}');
SELECT sum(clicks) FROM at.attribution('100000 years', '100000 years', '{}') WHERE dimensions IS NOT NULL;
SELECT recsys.wilson_lower(1, 1) = ctr_lower AND recsys.wilson_upper(1, 1) = ctr_upper AS wilson
FROM at.attribution(NULL, by => '{model}') WHERE dimensions = '{"model": "knn"}';
SELECT * FROM at.attribution('0 days');
SELECT * FROM at.attribution('-1 day');
SELECT * FROM at.attribution('1 day', '0');
SELECT * FROM at.attribution('1 day', NULL);
SELECT * FROM at.attribution(by => '{model,colour}');
SELECT * FROM at.attribution(by => '{model,NULL}');
SELECT * FROM at.attribution(by => '{kind,kind,kind,kind,kind,kind,kind,kind,kind}');
SELECT * FROM at.attribution(by => ARRAY['x"; SELECT 1; --']);

-- --------------------------------------------------- against brute force

-- 8 users and 6 items within some 33 hours: many impressions of each pair, ties, all kinds of amounts
TRUNCATE at_events;
CREATE FUNCTION at_dice(g int, salt int, sides int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT ((hashint8extended(g, salt) & 1073741823) % sides)::int $$;
INSERT INTO at_events (who, what, kind, at, price, order_no, model, placement)
	SELECT CASE WHEN g % 97 > 0 THEN at_dice(g, 1, 8) END, CASE WHEN g % 89 > 0 THEN 'item ' || at_dice(g, 2, 6) END,
		(ARRAY['shown', 'shown', 'shown', 'click', 'click', 'buy', 'other'])[1 + at_dice(g, 3, 7)],
		'2020-06-01'::timestamptz + at_dice(g, 4, 2000) * interval '1 min',
		(ARRAY[1.5, 20, NULL, 'NaN', 'Infinity', -3, 0])[1 + at_dice(g, 5, 7)], at_dice(g, 6, 300),
		(ARRAY['knn', 'als', NULL])[1 + at_dice(g, 7, 3)], (ARRAY['home', 'cart'])[1 + at_dice(g, 8, 2)]
	FROM generate_series(1, 1500) g;
INSERT INTO at_events (who, what, kind, at) VALUES (1, 'item 1', 'shown', 'infinity'), (1, 'item 1', 'shown', '-infinity'), (1, 'item 1', 'click', NULL);
-- for each click and conversion the last impression, looked for one by one; start: of the period
CREATE FUNCTION at_plain(start timestamptz, within interval) RETURNS TABLE (dimensions jsonb, impressions bigint, clicks bigint, conversions bigint, orders bigint, revenue numeric) LANGUAGE sql AS $$
	WITH e AS (SELECT *, CASE WHEN kind = 'buy' AND price NOT IN ('NaN', 'Infinity') THEN price END AS amount FROM at_events
			WHERE isfinite(at) AND who IS NOT NULL AND what IS NOT NULL),
		c AS (SELECT e.*, i.at AS shown_at, i.dimensions FROM e LEFT JOIN LATERAL
			(SELECT s.at, jsonb_build_object('model', s.model, 'placement', s.placement) AS dimensions FROM e s
			WHERE s.kind = 'shown' AND s.who = e.who AND s.what = e.what AND s.at <= e.at
			ORDER BY s.at DESC, s.model COLLATE "C" DESC NULLS FIRST, s.placement COLLATE "C" DESC LIMIT 1) i ON i.at >= e.at - within
			WHERE e.kind IN ('click', 'buy')),
		n AS (SELECT CASE WHEN shown_at IS NOT NULL THEN dimensions END AS dimensions, 0 AS shown, kind, amount, order_no
			FROM c WHERE coalesce(shown_at, at) >= start
			UNION ALL
			SELECT jsonb_build_object('model', model, 'placement', placement), 1, kind, NULL, NULL FROM e WHERE kind = 'shown' AND at >= start)
	SELECT dimensions, sum(shown), count(*) FILTER (WHERE kind = 'click'), count(*) FILTER (WHERE kind = 'buy'),
		count(DISTINCT order_no) FILTER (WHERE kind = 'buy'), sum(amount) FROM n GROUP BY 1 $$;
SELECT dimensions, impressions, clicks, conversions, orders, revenue FROM at.attribution(NULL, '3 hours');
CREATE FUNCTION at_differences(start timestamptz, within interval) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM (
		(SELECT dimensions, impressions, clicks, conversions, orders, revenue FROM at.attribution(now() - start, within)
		EXCEPT ALL SELECT * FROM at_plain(coalesce(start, '-infinity'), within))
		UNION ALL
		(SELECT * FROM at_plain(coalesce(start, '-infinity'), within)
		EXCEPT ALL SELECT dimensions, impressions, clicks, conversions, orders, revenue FROM at.attribution(now() - start, within))) d $$;
SELECT start, within, at_differences(start, within)
FROM unnest(ARRAY[NULL, '2020-06-01 12:00', '2020-06-02 03:17']::timestamptz[]) start, unnest(ARRAY['1 min', '3 hours', '1 day']::interval[]) within;
-- each conversion is an order where there is no order column; columns that metrics do not have
BEGIN;
SELECT recsys.alter_metrics('at', click => '{}');
SELECT recsys.untrack_metrics('at');
SELECT recsys.track_metrics('at', impression => '{shown}');
SELECT sum(impressions), sum(clicks), sum(conversions), sum(orders), sum(revenue) FROM at.attribution(NULL);
ROLLBACK;

-- -------------------------------------------------------------------- logging

TRUNCATE at_events;
INSERT INTO at_events (who, what, kind, at)
	SELECT g, 'item ' || (g * 7 + i * i) % 20, 'click', '2020-01-01' FROM generate_series(1, 40) g, generate_series(1, 4) i;
SELECT recsys.create_model('at', 'near', 'item_knn'), recsys.create_model('at', 'top', 'popular');
SELECT recsys.create_experiment('at', 'test', '{a,b}', models => '{near,top}');
SELECT recsys.wait_for('at');

-- the same rows as recommend(), each an impression
CREATE TABLE at_logged AS SELECT * FROM at.log_recommendations(1, 4, placement => 'home');
SELECT count(DISTINCT recommendation_id), count(*) FROM at_logged;
SELECT l.score = r.score AS same_score, (e.who, e.kind, e.model, e.placement) AS event, e.rank = r.place AS same_rank, e.recommendation_id = l.recommendation_id AS same_id, e.at > now() - interval '1 hour' AS just_now
FROM at.recommend(1, 4) WITH ORDINALITY AS r (item_id, score, place) JOIN at_logged l USING (item_id) LEFT JOIN at_events e ON e.kind = 'shown' AND e.what = r.item_id ORDER BY place;
-- what was shown is not what was wanted: nothing has changed for the user
SELECT recsys.wait_for('at');
SELECT array_agg(item_id) = (SELECT array_agg(item_id) FROM at_logged) AS same FROM at.recommend(1, 4);
-- through an experiment; the column variant is filled once there is one
ALTER TABLE at_events ADD COLUMN variant text;
SELECT count(*) FROM generate_series(1, 10) g, LATERAL at.log_recommendations(g, 2, 'test') r;
SELECT count(*) AS rows, count(*) FILTER (WHERE (variant, model) <> (at.variant('test', who), CASE at.variant('test', who) WHEN 'a' THEN 'near' ELSE 'top' END)) AS differ,
	count(DISTINCT variant) AS variants, count(DISTINCT recommendation_id) AS requests FROM at_events WHERE variant IS NOT NULL;
SELECT dimensions, impressions, clicks FROM at.attribution(by => '{model,placement,variant}') ORDER BY 1;
-- some columns only
SELECT count(*) FROM at.log_recommendations(11, 3, columns => '{model,model}');
SELECT model, placement, recommendation_id, rank, count(*) FROM at_events WHERE who = 11 AND kind = 'shown' GROUP BY 1, 2, 3, 4;
SELECT * FROM at.log_recommendations(11, 3, columns => '{colour}');
SELECT * FROM at.log_recommendations(11, 3, columns => '{who}');
ALTER TABLE at_events DROP COLUMN rank;
SELECT * FROM at.log_recommendations(11, 3, columns => '{rank}');
SELECT count(*) FROM at.log_recommendations(12, 3);
SELECT * FROM at.log_recommendations(NULL);
SELECT * FROM at.log_recommendations(11, 0);
SELECT * FROM at.log_recommendations(11, 3, 'nothing');
SELECT * FROM at.log_recommendations(11, 3, event_type => 'click');
SELECT * FROM at.log_recommendations(3000000000, 3);
BEGIN READ ONLY;
SELECT * FROM at.log_recommendations(11, 3);
ROLLBACK;
BEGIN;
SELECT recsys.untrack_metrics('at');
SAVEPOINT s;
SELECT * FROM at.log_recommendations(11, 3);
ROLLBACK TO s;
SELECT count(*) FROM at.log_recommendations(11, 3, event_type => 'seen');
SELECT count(*) FROM at_events WHERE kind = 'seen';
ROLLBACK;

-- the caller needs INSERT on the events, and EXECUTE on recommend() as well
CREATE ROLE regress_at;
GRANT USAGE ON SCHEMA at TO regress_at;
SET ROLE regress_at;
SELECT count(*) FROM at.log_recommendations(13, 3);
RESET ROLE;
GRANT EXECUTE ON FUNCTION at.log_recommendations TO regress_at;
SET ROLE regress_at;
SELECT count(*) FROM at.log_recommendations(13, 3);
RESET ROLE;
GRANT EXECUTE ON FUNCTION at.recommend TO regress_at;
SET ROLE regress_at;
SELECT count(*) FROM at.log_recommendations(13, 3);
RESET ROLE;
GRANT INSERT ON at_events TO regress_at;
SET ROLE regress_at;
SELECT count(*) FROM at.log_recommendations(13, 3);
SELECT * FROM at.attribution();
SELECT count(*) FROM at_events;
RESET ROLE;
GRANT EXECUTE ON FUNCTION at.attribution TO regress_at;
SET ROLE regress_at;
SELECT sum(impressions) > 0 AS seen FROM at.attribution();
-- other columns are for those who may read them
SELECT count(*) > 0 AS seen FROM at.attribution(by => '{who}');
RESET ROLE;
GRANT SELECT (who) ON at_events TO regress_at;
SET ROLE regress_at;
SELECT count(*) > 0 AS seen FROM at.attribution(by => '{who}');
RESET ROLE;
-- triggers run as the caller, with the search_path of the caller
CREATE FUNCTION at_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'as %, search_path %', current_user, current_setting('search_path'); RETURN NEW; END $$;
CREATE TRIGGER note BEFORE INSERT ON at_events FOR EACH ROW EXECUTE FUNCTION at_note();
SET ROLE regress_at;
SELECT count(*) FROM at.log_recommendations(14, 1);
RESET ROLE;
REVOKE ALL ON SCHEMA at FROM regress_at;
REVOKE ALL ON at_events FROM regress_at;
REVOKE ALL (who) ON at_events FROM regress_at;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA at FROM regress_at;
DROP ROLE regress_at;
SELECT recsys.drop_source('at');

-- other types: a value column, a timestamp, an enumeration, ids as text
CREATE TYPE at_kind AS ENUM ('shown', 'click');
CREATE TABLE at_typed (who uuid, what smallint, kind text, quantity int NOT NULL, at timestamp, recommendation_id varchar(36), model name, variant at_kind, placement varchar(6));
CREATE INDEX ON at_typed (who);
SELECT recsys.create_source('at', 'at_typed', 'who', 'what', 'kind', 'quantity', 'at', '{"click": 1}');
SELECT recsys.create_model('at', 'top', 'popular');
INSERT INTO at_typed SELECT md5(g::text)::uuid, g % 5, 'click', 1, '2020-01-01' FROM generate_series(1, 20) g;
SELECT recsys.wait_for('at');
SELECT item_id FROM at.log_recommendations(md5('1')::uuid, 3, placement => 'home', event_type => 'shown');
SELECT item_id FROM at.log_recommendations(md5('1')::uuid, 3, placement => 'home page', event_type => 'shown');
SELECT what, kind, quantity, abs(extract(epoch FROM at - timezone('UTC', now()))) < 3600 AS just_now, length(recommendation_id), model, placement, variant FROM at_typed WHERE kind = 'shown' ORDER BY what;
SELECT recsys.drop_source('at');
DROP TABLE at_typed, at_events, at_logged;
DROP TYPE at_kind;
DROP FUNCTION at_note, at_dice, at_plain, at_differences;
