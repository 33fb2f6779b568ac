-- What the windows of a source must hold, in plain SQL over its events.
-- windows_oracle(source) gives rows of the same form as windows_held(source).

CREATE TYPE window_row AS (bucket timestamptz, dimensions text[], events bigint, impressions bigint,
	clicks bigint, conversions bigint, orders bigint, revenue numeric, ratings bigint,
	rating_sum numeric, satisfied bigint);

CREATE FUNCTION quoted(text[]) RETURNS text LANGUAGE sql AS
	$$SELECT coalesce(string_agg(quote_literal(x), ', '), '''''') FROM unnest($1) x$$;

-- Events that count, with bucket, dimensions and numbers as they are to be added up.
-- Times ahead of the clock do not reach the state: the tests have none that become past.
CREATE FUNCTION windows_events(src text) RETURNS text LANGUAGE plpgsql AS $f$
DECLARE
	m recsys.tracked_metrics := (SELECT t FROM recsys.tracked_metrics t WHERE source = src);
	s recsys.sources := (SELECT t FROM recsys.sources t WHERE source = src);
	type text := coalesce(quote_ident(s.event_type_column) || '::text', 'NULL::text');
	rating text := coalesce(quote_ident(coalesce(m.rating_column, s.event_value_column)), 'NULL::numeric');
	is_rating text := CASE WHEN m.rating_type IS NOT NULL THEN format('%s = %L', type, m.rating_type)
		WHEN s.feedback = 'explicit' THEN 'true' ELSE 'false' END;
	rolled timestamptz;
BEGIN
	EXECUTE format('SELECT coalesce(max(rolled_until), ''-infinity'') FROM %I.window_state', src) INTO rolled;
	RETURN format($$
		SELECT *, CASE WHEN bucket_ < %L THEN date_bin(%L, bucket_, '2000-01-01 00:00+00') ELSE bucket_ END AS row_
		FROM (SELECT *, date_bin(%L, %I::timestamptz, '2000-01-01 00:00+00') AS bucket_,
			ARRAY[%s]::text[] AS dimensions_, %I AS user_,
			%s IN (%s) AS is_impression, %s IN (%s) AS is_click, %s IN (%s) AS is_conversion,
			(%s) AND %s IS NOT NULL AND %s::text NOT IN ('NaN', 'Infinity', '-Infinity') AS is_rating,
			CASE WHEN %s::text NOT IN ('NaN', 'Infinity', '-Infinity') THEN %s::numeric END AS amount_,
			CASE WHEN %s::text NOT IN ('NaN', 'Infinity', '-Infinity') THEN %s::numeric END AS rating_,
			%s AS order_
			FROM %s WHERE %I IS NOT NULL AND %I IS NOT NULL AND %s AND %I <= now() + interval '1 hour') e
		WHERE is_impression OR is_click OR is_conversion OR is_rating$$,
		rolled, m.rollup_bucket, m.bucket, s.event_time_column,
		coalesce((SELECT string_agg(format('%I::text', d), ', ' ORDER BY o) FROM unnest(m.dimensions) WITH ORDINALITY u(d, o)), ''),
		s.user_column,
		type, quoted(m.impression), type, quoted(m.click), type, quoted(m.conversion),
		is_rating, rating, rating,
		coalesce(quote_ident(m.amount_column), 'NULL'), coalesce(quote_ident(m.amount_column), 'NULL'), rating, rating,
		CASE WHEN m.order_column IS NOT NULL THEN format('%I::text', m.order_column) ELSE 'ctid::text || tableoid' END,
		s.events, s.user_column, s.item_column,
		CASE WHEN s.event_type_column IS NULL THEN 'true' ELSE format('%I IS NOT NULL', s.event_type_column) END
		|| CASE WHEN s.event_value_column IS NULL THEN '' ELSE
			format(' AND %I IS NOT NULL AND %1$I::text NOT IN (''NaN'', ''Infinity'', ''-Infinity'')', s.event_value_column) END,
		s.event_time_column);
END $f$;

CREATE FUNCTION windows_oracle(src text) RETURNS SETOF window_row LANGUAGE plpgsql AS $f$
BEGIN
	RETURN QUERY EXECUTE format($$
		WITH e AS MATERIALIZED (%s),
		-- the first bucket of each order, there the values that come first as bytes, nulls before
		o AS (SELECT DISTINCT ON (order_) row_, dimensions_ FROM e WHERE is_conversion AND order_ IS NOT NULL
			ORDER BY order_, bucket_,
				(SELECT array_agg(CASE WHEN v IS NULL THEN '' ELSE 'x' || v END ORDER BY n) FROM unnest(dimensions_) WITH ORDINALITY u(v, n)) COLLATE "C"),
		n AS (SELECT row_, dimensions_, count(*) AS orders FROM o GROUP BY 1, 2)
		SELECT row_, dimensions_, count(*), count(*) FILTER (WHERE is_impression), count(*) FILTER (WHERE is_click),
			count(*) FILTER (WHERE is_conversion),
			coalesce(max(n.orders), 0),
			coalesce(sum(amount_) FILTER (WHERE is_conversion), 0), count(*) FILTER (WHERE is_rating),
			coalesce(sum(rating_) FILTER (WHERE is_rating), 0),
			count(*) FILTER (WHERE is_rating AND rating_ >= %L)
		FROM e LEFT JOIN n USING (row_, dimensions_) GROUP BY 1, 2$$, windows_events(src),
		(SELECT satisfied_from FROM recsys.tracked_metrics WHERE source = src));
END $f$;

CREATE FUNCTION windows_held(src text) RETURNS SETOF window_row LANGUAGE plpgsql AS $f$
BEGIN
	RETURN QUERY EXECUTE format('SELECT bucket, dimensions, events, impressions, clicks, conversions, orders,
		revenue, ratings, rating_sum, satisfied FROM %1$I.windows JOIN %1$I.window_dimensions USING (combination)', src);
END $f$;

-- What is wrong, and lines that begin with "f" that say how much was compared.
CREATE FUNCTION windows_check(src text) RETURNS TABLE (bad bool, what text) LANGUAGE plpgsql AS $f$
DECLARE
	n bigint;
	orders_ bigint;
	error_ float8;
BEGIN
	CREATE TEMP TABLE want AS SELECT * FROM windows_oracle(src);
	CREATE TEMP TABLE have AS SELECT * FROM windows_held(src);
	RETURN QUERY SELECT true, 'too much: ' || x::text FROM (TABLE have EXCEPT ALL TABLE want LIMIT 5) x;
	RETURN QUERY SELECT true, 'missing: ' || x::text FROM (TABLE want EXCEPT ALL TABLE have LIMIT 5) x;
	SELECT count(*), sum(orders) INTO n, orders_ FROM have;
	RETURN QUERY SELECT false, format('%s windows, %s orders', n, orders_);

	EXECUTE format($$CREATE TEMP TABLE users AS
		SELECT w.bucket, w.combination, w.users_stale, recsys.users_estimate(w.users) AS held, count(DISTINCT e.user_) AS want
		FROM %1$I.windows w JOIN %1$I.window_dimensions d USING (combination)
		JOIN (%2$s) e ON e.row_ = w.bucket AND e.dimensions_ = d.dimensions GROUP BY 1, 2$$,
		src, windows_events(src));
	-- few are exact; 4 standard errors otherwise
	RETURN QUERY SELECT true, 'users: ' || u::text FROM users u
		WHERE users_stale OR abs(held - want) > CASE WHEN want <= 384 THEN 0 ELSE 4 * 0.023 * want END LIMIT 5;
	SELECT max(abs(held - want) / want::float8) INTO error_ FROM users;
	RETURN QUERY SELECT false, format('largest error of users %s', round(error_::numeric, 4));
	DROP TABLE want, have, users;
END $f$;
