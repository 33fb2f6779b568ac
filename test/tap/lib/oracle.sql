-- oracle.sql: what the tables of a source must hold, computed in plain SQL.
--
-- oracle.check(source, mode) compares the state of a source, as a wait_for()
-- has left it, with what follows from its events:
--
--   'events'  from the rows of the events table: right where no history has
--             ever overflowed and nothing was forgotten but with its events
--   'log'     by a replay, one change after the other, of oracle.log, which
--             triggers on the events table fill (oracle.follow), on top of
--             oracle.base, what the source held when the log began
--
-- Each row that comes out is a mistake; of float comparisons the largest
-- difference comes out as well, marked by bad = false where it is within
-- bounds.  The log is written by the transactions themselves, so what is rolled
-- back leaves no trace.  Its order is that of the changes as long as one
-- session at a time makes them.

CREATE SCHEMA oracle;

CREATE TABLE oracle.log (
	id bigserial PRIMARY KEY,
	source name NOT NULL,
	op text NOT NULL,		-- insert, retract, forget user, forget item, truncate
	u text, i text, w float8, t timestamptz);
CREATE INDEX ON oracle.log (source, id);

CREATE TABLE oracle.base (source name, u text, i text, weight float8, n int,
	t timestamptz, arrival bigint);

CREATE TYPE oracle.event AS (u text, i text, w float8, t timestamptz);

-- A row of events as the source sees it; NULL if it is rejected or weighs nothing.
CREATE FUNCTION oracle.clean(src name, r jsonb) RETURNS oracle.event
LANGUAGE plpgsql STABLE AS $$
DECLARE
	s recsys.source;
	e oracle.event;
	v float8;
BEGIN
	SELECT * INTO STRICT s FROM recsys.source WHERE name = src;
	e.u := r ->> s.user_column::text;
	e.i := r ->> s.item_column::text;
	e.w := 1;
	IF e.u IS NULL OR e.i IS NULL OR octet_length(e.u) > 1024 OR octet_length(e.i) > 1024 THEN
		RETURN NULL;
	END IF;
	IF s.event_type_column IS NOT NULL THEN
		IF r ->> s.event_type_column::text IS NULL THEN
			RETURN NULL;
		END IF;
		IF s.weights IS NOT NULL THEN
			-- trailing blanks of character(n) do not count
			e.w := coalesce((s.weights ->> rtrim(r ->> s.event_type_column::text))::float8, 0);
		END IF;
	END IF;
	IF e.w = 0 THEN
		RETURN NULL;
	END IF;
	IF s.event_value_column IS NOT NULL THEN
		v := (r ->> s.event_value_column::text)::float8;
		IF v IS NULL OR v = 'NaN' OR v = 'Infinity' OR v = '-Infinity' THEN
			RETURN NULL;
		END IF;
		IF s.feedback = 'explicit' THEN
			e.w := v;
		ELSE
			e.w := e.w * v;
			IF v <= 0 THEN
				RETURN NULL;
			END IF;
		END IF;
	END IF;
	e.t := '2000-01-01 00:00:00+00';
	IF s.event_time_column IS NOT NULL THEN
		e.t := (r ->> s.event_time_column::text)::timestamptz;
		IF e.t IS NULL OR NOT isfinite(e.t) OR e.t > clock_timestamp() + interval '1 hour' THEN
			RETURN NULL;
		END IF;
	END IF;
	RETURN e;
END $$;

-- The part of the decay up to the landmark of the state.
CREATE FUNCTION oracle.factor(half_life float8, landmark int, t timestamptz) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN half_life IS NULL THEN 1
		ELSE power(2::float8, extract(epoch FROM t - timestamptz '2000-01-01 00:00:00+00')::float8
			 / half_life - landmark) END
$$;

CREATE FUNCTION oracle.half_life(src name) RETURNS float8 LANGUAGE sql STABLE AS $$
	SELECT extract(epoch FROM half_life)::float8 FROM recsys.sources WHERE source = src
$$;

CREATE FUNCTION oracle.landmark(src name) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	landmark int;
BEGIN
	EXECUTE format('SELECT landmark FROM %I.state', src) INTO STRICT landmark;
	RETURN landmark;
END $$;

-- (u, i, weight at the landmark, n, t, arrival) of the rows that are there.
CREATE FUNCTION oracle.aggregate(src name)
RETURNS TABLE (u text, i text, weight float8, n int, t timestamptz, arrival bigint)
LANGUAGE plpgsql AS $$
DECLARE
	s recsys.sources;
	half_life float8 := oracle.half_life(src);
	landmark int := oracle.landmark(src);
BEGIN
	SELECT * INTO STRICT s FROM recsys.sources WHERE source = src;
	RETURN QUERY EXECUTE format($q$
		WITH rows AS MATERIALIZED (
			SELECT e.*, row_number() OVER (ORDER BY r.tableoid, r.ctid) AS no
			FROM %2$s r, oracle.clean(%1$L, to_jsonb(r)) e),
		pairs AS (
			SELECT u, i, sum(w * oracle.factor(%3$L, %4$L, t)) AS weight,
				   count(*)::int AS n, max(t) AS t,
				   (array_agg(w ORDER BY t DESC, no DESC))[1] AS last,
				   (array_agg(no ORDER BY t DESC, no DESC))[1] AS arrival
			FROM rows WHERE u IS NOT NULL GROUP BY u, i),
		ranked AS (
			SELECT *, row_number() OVER (PARTITION BY u ORDER BY t DESC, arrival DESC) AS age
			FROM pairs)
		SELECT u, i, CASE WHEN %5$L THEN last ELSE weight END,
			   CASE WHEN %5$L THEN 1 ELSE n END, t, arrival
		FROM ranked WHERE age <= %6$s$q$,
		src, s.events, half_life, landmark, s.feedback = 'explicit', s.history_limit);
END $$;

-- ------------------------------------------------------------------- replay

CREATE FUNCTION oracle.log_row() RETURNS trigger LANGUAGE plpgsql
SET datestyle = 'ISO' SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
DECLARE
	src name := TG_ARGV[0];
	identity text := TG_ARGV[1];	-- full: old rows are in WAL
	e oracle.event;
	f oracle.event;
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		INSERT INTO oracle.log (source, op) VALUES (src, 'truncate');
		RETURN NULL;
	END IF;
	IF TG_OP <> 'INSERT' AND identity = 'full' THEN
		e := oracle.clean(src, to_jsonb(OLD));
	END IF;
	IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND
		(identity = 'full' OR (SELECT feedback = 'explicit' FROM recsys.sources WHERE source = src)) THEN
		f := oracle.clean(src, to_jsonb(NEW));
	END IF;
	IF e IS NOT DISTINCT FROM f THEN
		RETURN NULL;
	END IF;
	-- without a time column events happen when they are committed
	IF (SELECT event_time_column IS NULL FROM recsys.sources WHERE source = src) THEN
		e.t := now();
		f.t := now();
	END IF;
	IF e.u IS NOT NULL THEN
		INSERT INTO oracle.log (source, op, u, i, w, t) VALUES (src, 'retract', e.u, e.i, e.w, e.t);
	END IF;
	IF f.u IS NOT NULL THEN
		INSERT INTO oracle.log (source, op, u, i, w, t) VALUES (src, 'insert', f.u, f.i, f.w, f.t);
	END IF;
	RETURN NULL;
END $$;

-- From here on changes are logged; what is there now is the base.
CREATE FUNCTION oracle.rebase(src name) RETURNS void LANGUAGE sql AS $$
	DELETE FROM oracle.log WHERE source = src;
	DELETE FROM oracle.base WHERE source = src;
	INSERT INTO oracle.base SELECT src, a.* FROM oracle.aggregate(src) a;
$$;

CREATE FUNCTION oracle.follow(src name, identity text = 'full') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	events regclass := (SELECT events FROM recsys.sources WHERE source = src);
BEGIN
	EXECUTE format('CREATE TRIGGER log_row AFTER INSERT OR UPDATE OR DELETE ON %s
		FOR EACH ROW EXECUTE FUNCTION oracle.log_row(%L, %L)', events, src, identity);
	EXECUTE format('CREATE TRIGGER log_truncate AFTER TRUNCATE ON %s
		FOR EACH STATEMENT EXECUTE FUNCTION oracle.log_row(%L)', events, src);
	PERFORM oracle.rebase(src);
END $$;

CREATE FUNCTION oracle.replay(src name)
RETURNS TABLE (u text, i text, weight float8, n int, t timestamptz, arrival bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	s recsys.sources;
	half_life float8 := oracle.half_life(src);
	landmark int := oracle.landmark(src);
	l oracle.log;
	h record;
	size int;
	w float8;
BEGIN
	SELECT * INTO STRICT s FROM recsys.sources WHERE source = src;
	CREATE TEMP TABLE IF NOT EXISTS history (u text, i text, weight float8, n int,
		t timestamptz, arrival bigint, PRIMARY KEY (u, i));
	DELETE FROM history;
	INSERT INTO history SELECT b.u, b.i, b.weight, b.n, b.t, b.arrival - 1000000000
		FROM oracle.base b WHERE b.source = src;
	FOR l IN SELECT * FROM oracle.log WHERE source = src ORDER BY id LOOP
		IF l.op = 'truncate' THEN
			DELETE FROM history;
			CONTINUE;
		ELSIF l.op = 'forget user' THEN
			DELETE FROM history WHERE u = l.u;
			CONTINUE;
		ELSIF l.op = 'forget item' THEN
			DELETE FROM history WHERE i = l.i;
			CONTINUE;
		END IF;
		w := l.w * oracle.factor(half_life, landmark, l.t);
		SELECT * INTO h FROM history WHERE u = l.u AND i = l.i;
		IF l.op = 'retract' THEN
			-- what was evicted is gone; what is newer than all was never counted
			IF NOT FOUND OR l.t > h.t AND s.event_time_column IS NOT NULL THEN
				CONTINUE;
			ELSIF h.n = 1 THEN
				DELETE FROM history WHERE u = l.u AND i = l.i;
			ELSE
				UPDATE history SET weight = h.weight - w, n = h.n - 1, arrival = l.id
				WHERE u = l.u AND i = l.i;
			END IF;
		ELSIF FOUND AND s.feedback = 'explicit' THEN
			UPDATE history SET weight = l.w, t = l.t, arrival = l.id
			WHERE u = l.u AND i = l.i AND l.t >= h.t;
		ELSIF FOUND THEN
			UPDATE history SET weight = h.weight + w, n = h.n + 1, t = greatest(h.t, l.t), arrival = l.id
			WHERE u = l.u AND i = l.i;
		ELSE
			SELECT count(*) INTO size FROM history WHERE u = l.u;
			IF size >= s.history_limit THEN
				SELECT * INTO h FROM history WHERE u = l.u ORDER BY t, arrival LIMIT 1;
				CONTINUE WHEN l.t < h.t;
				DELETE FROM history WHERE u = h.u AND i = h.i;
			END IF;
			INSERT INTO history VALUES (l.u, l.i, w, 1, l.t, l.id);
		END IF;
	END LOOP;
	RETURN QUERY SELECT u, i, weight, n, t, arrival FROM history;
END $$;

-- -------------------------------------------------------------------- check

CREATE TYPE oracle.finding AS (bad boolean, what text);

-- Rows of one query that the other lacks, both ways.
CREATE FUNCTION oracle.differ(what text, is_query text, should_query text)
RETURNS SETOF oracle.finding LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		(SELECT true, %1$L || ' is, but should not be: ' || x::text FROM
			((%2$s) EXCEPT ALL (%3$s)) x LIMIT 5)
		UNION ALL
		(SELECT true, %1$L || ' should be, but is not: ' || x::text FROM
			((%3$s) EXCEPT ALL (%2$s)) x LIMIT 5)$q$,
		what, is_query, should_query);
END $$;

-- Queries of (key, value): same keys, values within a relative tolerance of
-- the value or, where sums have cancelled out, of the scale.
CREATE FUNCTION oracle.differ_by(what text, is_query text, should_query text, tolerance float8)
RETURNS SETOF oracle.finding LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH a AS MATERIALIZED (%2$s), b AS MATERIALIZED (%3$s),
		d AS MATERIALIZED (
			SELECT key, a.value AS got, b.value AS want,
				CASE WHEN a.value = b.value THEN 0
					 ELSE abs(a.value - b.value) / greatest(abs(b.value), 1e-300) END AS diff
			FROM a FULL JOIN b USING (key))
		SELECT coalesce(max(diff) > %4$L, false), %1$L || ': largest relative difference ' || coalesce(max(diff), 0) FROM d
		UNION ALL
		(SELECT true, %1$L || ' of ' || key || ' is ' || coalesce(got::text, 'missing')
			|| ', should be ' || coalesce(want::text, 'missing')
		 FROM d WHERE got IS NULL OR want IS NULL OR diff > %4$L LIMIT 5)$q$,
		what, is_query, should_query, tolerance);
END $$;

-- What orders a neighbour in the list of an item: users of both, of the item, of the
-- neighbour and in all, as src/numeric/measure.h has it.
CREATE FUNCTION oracle.llr_cell(k float8, row_total float8, column_total float8, n float8)
RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN k > 0 THEN k * ln(k * n / (row_total * column_total)) ELSE 0 END
$$;

CREATE FUNCTION oracle.rank(similarity text, common float8, own float8, other float8, n float8, shrinkage float8)
RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE similarity
		WHEN 'jaccard' THEN common / (own + other - common + shrinkage)
		WHEN 'lift' THEN common / (own * other / n + shrinkage)
		WHEN 'conditional' THEN common / (own + shrinkage)
		WHEN 'llr' THEN CASE WHEN common * n <= own * other THEN 0 ELSE 2 * (
			oracle.llr_cell(common, own, other, n) + oracle.llr_cell(own - common, own, n - other, n) +
			oracle.llr_cell(other - common, n - own, other, n) +
			oracle.llr_cell(n - own - other + common, n - own, n - other, n)) END END
$$;

-- Neighbours of a model against the exact similarities that follow from oracle.expected.
CREATE FUNCTION oracle.check_neighbors(src name, model name, params jsonb)
RETURNS SETOF oracle.finding LANGUAGE plpgsql AS $$
DECLARE
	half_life float8 := oracle.half_life(src);
	shrinkage float8 := (params ->> 'shrinkage')::float8;
	similarity text := params ->> 'similarity';
	-- these have no bound, and may be off by a part of themselves
	unbounded boolean := similarity IN ('llr', 'lift');
	now_factor float8 := 1;
	missing bigint;
BEGIN
	-- shrinkage applies to values decayed to now
	IF half_life IS NOT NULL THEN
		now_factor := power(1 / oracle.factor(half_life, oracle.landmark(src), clock_timestamp()), 2);
	END IF;
	CREATE TEMP TABLE IF NOT EXISTS norm (i text PRIMARY KEY, sumsq float8, users float8);
	CREATE TEMP TABLE IF NOT EXISTS pair (i text, j text, score float8, PRIMARY KEY (i, j));
	CREATE TEMP TABLE IF NOT EXISTS listed (i text, j text, shown float8, place bigint, n bigint, weight int, score float8);
	DELETE FROM norm;
	DELETE FROM pair;
	DELETE FROM listed;
	INSERT INTO norm SELECT i, sum(weight * weight), count(*) FROM expected GROUP BY i;
	INSERT INTO pair
		SELECT * FROM (SELECT d.i, d.j, CASE similarity
			WHEN 'cosine' THEN d.dot * now_factor / (sqrt(a.sumsq * b.sumsq) * now_factor + shrinkage)
			ELSE oracle.rank(similarity, d.common, a.users, b.users, (SELECT count(DISTINCT u) FROM expected), shrinkage) END AS score
		FROM (SELECT a.i, b.i AS j, sum(a.weight * b.weight) AS dot, count(*) AS common
			  FROM expected a JOIN expected b USING (u) WHERE a.i <> b.i
			  GROUP BY a.i, b.i HAVING count(*) >= (params ->> 'min_support')::int) d
		JOIN norm a ON a.i = d.i JOIN norm b ON b.i = d.j
		WHERE similarity <> 'cosine' OR d.dot > 0) p WHERE score > 0;
	EXECUTE format('INSERT INTO listed
		SELECT a.key::text, b.key::text, l.score, l.place, cardinality(n.neighbors),
			get_byte(n.weights, l.place::int - 1),
			CASE WHEN %3$L THEN l.score * (1 + %4$L::float8) / (1 - l.score::float8) ELSE l.score END
		FROM %1$I.%2$I n JOIN %1$I.items a ON a.id = n.item_id
		CROSS JOIN unnest(n.neighbors, n.scores) WITH ORDINALITY AS l(j, score, place)
		LEFT JOIN %1$I.items b ON b.id = l.j', src, model || '_neighbors', similarity = 'llr', shrinkage);
	ANALYZE norm, pair, listed;
	RETURN QUERY EXECUTE format('SELECT true, ''published row of unknown item '' || n.item_id FROM %1$I.%2$I n
		WHERE NOT EXISTS (SELECT FROM %1$I.items WHERE id = n.item_id)', src, model || '_neighbors');
	RETURN QUERY SELECT true, format('%s: %s lists an unknown item', model, i) FROM listed WHERE j IS NULL;
	RETURN QUERY SELECT true, format('%s: %s lists %s twice', model, i, j) FROM listed GROUP BY i, j HAVING count(*) > 1;
	RETURN QUERY SELECT true, format('%s: %s lists %s', model, i, n) FROM listed
		WHERE n > (params ->> 'k')::int AND place = 1;
	RETURN QUERY SELECT true, format('%s: list of %s is out of order at %s', model, i, place)
		FROM (SELECT *, lag(shown) OVER (PARTITION BY i ORDER BY place) AS before FROM listed) l
		WHERE before < shown;
	RETURN QUERY
		WITH d AS (SELECT l.i, l.j, l.score AS got, coalesce(p.score, 0) AS want,
					abs(l.score - coalesce(p.score, 0)) / CASE WHEN unbounded THEN greatest(p.score, 1) ELSE 1 END AS diff
				   FROM listed l LEFT JOIN pair p USING (i, j))
		SELECT coalesce(max(diff) > 1e-3, false),
			   format('%s: %s listed scores, largest difference %s', model, count(*), max(diff)) FROM d
		UNION ALL
		(SELECT true, format('%s: score of %s and %s is %s, should be %s', model, i, j, got, want)
		 FROM d WHERE diff > 1e-3 LIMIT 5);
	RETURN QUERY
		WITH kth AS (SELECT i, CASE WHEN max(n) < (params ->> 'k')::int THEN 0 ELSE min(score) END AS score
					 FROM listed GROUP BY i)
		SELECT true, format('%s: %s does not list %s with %s, the last listed has %s', model, p.i, p.j,
							p.score, coalesce(k.score, 0))
		FROM pair p LEFT JOIN kth k USING (i)
		WHERE p.score > coalesce(k.score, 0) + 1e-3 * CASE WHEN unbounded THEN greatest(p.score, 1) ELSE 1 END AND
			NOT EXISTS (SELECT FROM listed l WHERE l.i = p.i AND l.j = p.j) LIMIT 5;
	RETURN QUERY SELECT * FROM oracle.check_weights(model, (params ->> 'normalize')::boolean, (params ->> 'damping')::float8);
END $$;

-- What a neighbour counts in recommendations: users / (users + damping), over the
-- length of its own list, in steps of an eighth of an octave; off by one of
-- these at most, and by what the published scores are.
CREATE FUNCTION oracle.check_weights(model name, by_length boolean, damping float8)
RETURNS SETOF oracle.finding LANGUAGE plpgsql AS $$
BEGIN
	IF NOT by_length AND damping = 0 THEN
		RETURN QUERY SELECT true, format('%s: weight of %s for %s', model, j, i) FROM listed WHERE weight IS NOT NULL LIMIT 5;
		RETURN;
	END IF;
	RETURN QUERY
		WITH shown AS (SELECT j AS i, min(weight) AS low, max(weight) AS high, bool_or(weight IS NULL) AS lacking
					   FROM listed GROUP BY j),
		own AS (SELECT i, sqrt(sum(shown * shown)) AS length, 1e-3 * sqrt(sum(greatest(shown, 1) ^ 2)) AS slack FROM listed GROUP BY i),
		steps AS (
			SELECT i, 128 + 8 * ln(u.users / (u.users + damping) / CASE WHEN by_length THEN length ELSE 1 END) / ln(2) AS want,
				1.1 + CASE WHEN by_length THEN 8 * ln(1 + slack / length) / ln(2) ELSE 0 END AS slack
			FROM own JOIN (SELECT i, count(*)::float8 AS users FROM expected GROUP BY i) u USING (i))
		SELECT true, format('%s: weights of %s are %s to %s, should be %s', model, i, low, high, want)
		FROM shown LEFT JOIN steps USING (i)
		WHERE lacking OR low <> high OR (abs(low - greatest(1, least(255, want))) <= slack) IS NOT TRUE LIMIT 5;
END $$;

-- exact: weights are integers, so that all sums must be equal.
CREATE FUNCTION oracle.check(src name, mode text, exact boolean, tolerance float8 = 1e-5)
RETURNS SETOF oracle.finding LANGUAGE plpgsql
SET datestyle = 'ISO' SET timezone = 'UTC' AS $$
DECLARE
	s recsys.sources;
	m recsys.models;
	has_time boolean;
	is_query text;
BEGIN
	SELECT * INTO STRICT s FROM recsys.sources WHERE source = src;
	has_time := s.event_time_column IS NOT NULL;
	CREATE TEMP TABLE IF NOT EXISTS expected (u text, i text, weight float8, n int, t timestamptz, arrival bigint);
	CREATE TEMP TABLE IF NOT EXISTS held (u text, i text, weight float8, n int, t timestamptz);
	DELETE FROM expected;
	DELETE FROM held;
	IF mode = 'log' THEN
		INSERT INTO expected SELECT * FROM oracle.replay(src);
	ELSE
		INSERT INTO expected SELECT * FROM oracle.aggregate(src);
	END IF;
	EXECUTE format('INSERT INTO held
		SELECT u.key::text, i.key::text,
			e.weight * power(2::float8, p.landmark - s.landmark), e.n,
			timestamptz ''2000-01-01 00:00:00+00'' + e.t * interval ''1 microsecond''
		FROM %1$I.state s, %1$I.profiles p
		CROSS JOIN unnest(p.items, p.weights, p.counts, p.times) AS e(item, weight, n, t)
		LEFT JOIN %1$I.users u ON u.id = p.user_id LEFT JOIN %1$I.items i ON i.id = e.item', src);
	ANALYZE expected, held;

	RETURN QUERY SELECT false, format('%s interactions of %s users and %s items', count(*),
		count(DISTINCT u), count(DISTINCT i)) FROM expected;
	RETURN QUERY SELECT true, format('a history refers to an unknown key (%s)', count(*)) FROM held
		WHERE u IS NULL OR i IS NULL HAVING count(*) > 0;
	RETURN QUERY SELECT true, format('%s holds %s twice', u, i) FROM held GROUP BY u, i HAVING count(*) > 1 LIMIT 5;
	RETURN QUERY SELECT true, format('history of %s has %s items', u, count(*)) FROM held
		GROUP BY u HAVING count(*) > s.history_limit LIMIT 5;

	RETURN QUERY SELECT * FROM oracle.differ('interaction', 'SELECT u, i, n FROM held', 'SELECT u, i, n FROM expected');
	IF exact THEN
		RETURN QUERY SELECT * FROM oracle.differ('weight', 'SELECT u, i, weight FROM held',
			'SELECT u, i, weight FROM expected');
	END IF;
	RETURN QUERY SELECT * FROM oracle.differ_by('weight', $q$SELECT u || ', ' || i AS key, weight AS value FROM held$q$,
		$q$SELECT u || ', ' || i AS key, weight AS value FROM expected$q$, tolerance);
	IF mode = 'log' AND has_time THEN
		RETURN QUERY SELECT * FROM oracle.differ('time', 'SELECT u, i, t FROM held', 'SELECT u, i, t FROM expected');
	END IF;
	-- the view shows the same
	EXECUTE format('SELECT count(*) FROM %I.interactions', src) INTO STRICT is_query;
	RETURN QUERY SELECT true, format('view interactions has %s rows, the histories have %s', is_query, count(*))
		FROM held HAVING count(*) <> is_query::bigint;

	RETURN QUERY SELECT * FROM oracle.differ('users of item',
		format('SELECT key::text, users::bigint FROM %I.items WHERE users <> 0', src),
		'SELECT i, count(*) FROM expected GROUP BY i');
	is_query := format('SELECT i.key::text AS key, i.%%s * power(2::float8, (i.landmark - s.landmark) * %%s) AS value
		FROM %I.state s, %I.items i WHERE i.users > 0', src, src);
	RETURN QUERY SELECT * FROM oracle.differ_by('total of item', format(is_query, 'total', 1),
		'SELECT i AS key, sum(weight) AS value FROM expected GROUP BY i', CASE WHEN exact THEN 0 ELSE tolerance END);
	RETURN QUERY SELECT * FROM oracle.differ_by('sumsq of item', format(is_query, 'sumsq', 2),
		'SELECT i AS key, sum(weight * weight) AS value FROM expected GROUP BY i', CASE WHEN exact THEN 0 ELSE tolerance END);
	RETURN QUERY EXECUTE format('SELECT true, ''sums of an item without users: '' || i::text FROM %I.items i
		WHERE users = 0 AND (total <> 0 OR sumsq <> 0)', src);
	RETURN QUERY EXECUTE format('SELECT true, ''number '' || id || '' was given before its time'' FROM
		(SELECT max(id) AS id FROM %1$I.items) i WHERE id >= (SELECT next_item FROM %1$I.state)', src);

	-- popular: decayed to a moment of the flush, so proportional
	is_query := format('SELECT p.rank AS key, p.score * %s AS value FROM %I.popular_items p',
		CASE WHEN s.half_life IS NULL THEN '1' ELSE
			format('(SELECT sum(e.weight) FROM expected e) / (SELECT sum(score) FROM %I.popular_items)', src) END, src);
	RETURN QUERY SELECT * FROM oracle.differ_by('popular', is_query,
		format('SELECT rank() OVER (ORDER BY score DESC, id) AS key, score AS value FROM
			(SELECT i.id, %s::float8 AS score FROM expected e JOIN %I.items i ON i.key::text = e.i
			 GROUP BY i.id ORDER BY 2 DESC, 1 LIMIT 1000) x',
			CASE s.feedback WHEN 'explicit' THEN 'count(*)' ELSE 'sum(e.weight)' END, src),
		CASE WHEN exact THEN 0 ELSE tolerance END);
	IF exact THEN
		RETURN QUERY SELECT * FROM oracle.differ('popular item',
			format('SELECT rank::bigint, item_id FROM %I.popular_items', src),
			format('SELECT rank() OVER (ORDER BY %s DESC, i.id), i.id
				FROM expected e JOIN %I.items i ON i.key::text = e.i GROUP BY i.id ORDER BY 1 LIMIT 1000',
				CASE s.feedback WHEN 'explicit' THEN 'count(*)' ELSE 'sum(e.weight)' END, src));
	END IF;

	FOR m IN SELECT * FROM recsys.models WHERE source = src AND algorithm = 'item_knn' LOOP
		RETURN QUERY SELECT true, format('model %s is %s', m.model, m.state) WHERE m.state <> 'ready';
		RETURN QUERY SELECT * FROM oracle.check_neighbors(src, m.model, m.params);
	END LOOP;
END $$;
