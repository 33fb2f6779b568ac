# trending, and popular within a window: the counts of each item, and the
# answers from them, against plain SQL over the events; with late events,
# updates, deletes, histories that overflow, kill -9 of the worker at named steps, a
# server that goes down, models that come late or change their window, forgotten
# items and users, resync and TRUNCATE.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oracle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Oracle::cluster('main', "log_statement = none\nmax_parallel_workers_per_gather = 0\n");
my $o = Oracle->new($node);

$o->seed(195);

# -------------------------------------------------------------------- sources

# Histories hold three items: counts do not depend on them.  Events of kind "seen" have
# no weight, and some are bad.
$o->run(q{
	CREATE TABLE events (id serial PRIMARY KEY, u int, i int, kind text, t timestamptz);
	CREATE INDEX ON events (u);
	ALTER TABLE events REPLICA IDENTITY FULL;
	CREATE TABLE ratings (id serial PRIMARY KEY, u int, i int, stars int, t timestamp);
	CREATE INDEX ON ratings (u);
	ALTER TABLE ratings REPLICA IDENTITY FULL;

	-- n events from the last days, the newer the more likely; some items rise
	CREATE FUNCTION happen(first int, n int, days float8) RETURNS void LANGUAGE sql AS $$
		INSERT INTO events (u, i, kind, t)
		SELECT CASE WHEN g % 101 <> 7 THEN 1 + h % 200 END,
			CASE WHEN age < 0.6 AND g % 3 = 0 THEN 50 + h % 8 ELSE 1 + (power((h >> 8) % 1000 / 1000.0, 2) * 60)::int END,
			(ARRAY['view', 'buy', 'view', 'seen'])[1 + g % 4], now() - age * interval '1 day'
		FROM (SELECT g, hashint4(g) & 2147483647 AS h, days * power((hashint4(-g) & 65535) / 65536.0, 2) AS age
			FROM generate_series(first, first + n - 1) g) x
	$$;
	SELECT happen(1, 6000, 40);
	INSERT INTO ratings (u, i, stars, t)
		SELECT 1 + (hashint4(g) & 65535) % 90, 1 + (hashint4(g + 7) & 65535) % 30, 1 + g % 5,
			now() AT TIME ZONE 'UTC' - g * interval '10 minutes' FROM generate_series(1, 2000) g;
	SELECT recsys.create_source('shop', 'events', 'u', 'i', 'kind', event_time_column => 't',
		weights => '{"view": 1, "buy": 4}', history_limit => 3);
	SELECT recsys.create_model('shop', 'knn', 'item_knn');
	SELECT recsys.create_model('shop', 'hot', 'trending');
	SELECT recsys.create_model('shop', 'week', 'popular', '{"window": "7 days"}');
	SELECT recsys.create_source('stars', 'ratings', 'u', 'i', event_value_column => 'stars', event_time_column => 't',
		feedback => 'explicit');
	SELECT recsys.create_model('stars', 'month', 'popular', '{"window": "30 days"}')
});

# ----------------------------------------------------------------- the oracle

$o->run(q{
	-- what counts of the events: key, time, weight of popular
	CREATE TABLE forgotten (i int);
	CREATE VIEW shop_counted AS SELECT i, t, CASE kind WHEN 'view' THEN 1 WHEN 'buy' THEN 4 END AS w FROM events
		WHERE kind IN ('view', 'buy') AND u IS NOT NULL AND i NOT IN (SELECT i FROM forgotten);
	CREATE VIEW stars_counted AS SELECT i, t AT TIME ZONE 'UTC' AS t, 1 AS w FROM ratings;

	CREATE FUNCTION kernel(age interval, length interval) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
		SELECT exp(-least(extract(epoch FROM age)::float8 / extract(epoch FROM length)::float8, 700))
	$$;

	-- Differences between the table of counts and the events; unit: every event counts 1.
	CREATE FUNCTION bad_counts(source name, model name, recent interval, longer interval, unit bool)
	RETURNS TABLE (what text) LANGUAGE plpgsql AS $$
	BEGIN
		RETURN QUERY EXECUTE format($q$
			WITH c AS MATERIALIZED (SELECT coalesce(key, 0) AS i, x.recent, x.longer, x.events,
					timestamptz '2000-01-01 UTC' + x.as_of * interval '1 microsecond' AS as_of
				FROM %1$I.%2$I CROSS JOIN unnest(recent, longer, events, as_of) WITH ORDINALITY x(recent, longer, events, as_of, place)
				LEFT JOIN %1$I.items ON id = block * 32 - 33 + place WHERE x.events <> 0),
			e AS MATERIALIZED (SELECT i, t, CASE WHEN %6$L THEN 1 ELSE w END AS w FROM %3$I
				UNION ALL SELECT 0, t, CASE WHEN %6$L THEN 1 ELSE w END FROM %3$I),
			s AS (SELECT i, count(e.t) AS n, sum(w * kernel(as_of - t, %4$L)) AS a,
				CASE WHEN %5$L::interval IS NULL THEN 0 ELSE sum(w * kernel(as_of - t, %5$L)) END AS b
				FROM e LEFT JOIN c USING (i) GROUP BY i)
			SELECT format('item %%s: %%s of %%s events, %%s for %%s, %%s for %%s', i, events, n, recent, a, longer, b)
			FROM c FULL JOIN s USING (i)
			WHERE events IS DISTINCT FROM n OR NOT abs(recent - a) <= 1e-9 * (1 + a) OR NOT abs(longer - b) <= 1e-9 * (1 + b)$q$,
			source, model || '_counts', source || '_counted', recent, longer, unit);
	END $$;

	-- The formula of trending, of now().
	CREATE FUNCTION trends(recent interval, longer interval, z float8, prior float8)
	RETURNS TABLE (i int, score float8, events float8, expected float8) LANGUAGE sql STABLE AS $$
		WITH s AS (SELECT i, sum(kernel(now() - t, recent)) AS n, sum(kernel(now() - t, longer)) - sum(kernel(now() - t, recent)) AS p
			FROM shop_counted GROUP BY i),
		a AS (SELECT sum(n) / sum(p) AS scale FROM s),
		r AS (SELECT i, n, p * scale AS e, scale FROM s, a),
		v AS (SELECT *, 1 / (n + prior) + scale * e / (e + prior) ^ 2 AS v FROM r)
		SELECT i, (n + prior) / (e + prior) * greatest(1 - v / 9 - z / 3 * sqrt(v), 0) ^ 3, n, e FROM v
	$$});

sub no_rows_of
{
	my ($sql, $what) = @_;
	my @bad = split /\n/, $o->run($sql);

	return ok(!@bad, $what) || diag(scalar(@bad) . " wrong:\n" . join("\n", @bad[0 .. ($#bad < 9 ? $#bad : 9)]));
}

my %hot = (recent => '1 day', longer => '7 days');
my %late;

# Lists have the right scores place by place, and as many rows as there are; now()
# is the same for both.
sub check_answers
{
	my ($what, $model, %w) = @_;

	no_rows_of("SELECT format('%s, place %s: %s instead of %s', item_id, place, g.score, m.score)
		FROM (SELECT *, row_number() OVER (ORDER BY score DESC) AS place FROM shop.trending(1000, '$model')) g
		FULL JOIN (SELECT *, row_number() OVER (ORDER BY score DESC) AS place
			FROM trends('$w{recent}', '$w{longer}', 2.33, 2) WHERE score > 1) m USING (place)
		LEFT JOIN trends('$w{recent}', '$w{longer}', 2.33, 2) t ON t.i = g.item_id
		WHERE NOT abs(g.score - m.score) <= 1e-5 * m.score OR g.score IS NULL OR m.score IS NULL
			OR NOT abs(g.score - t.score) <= 1e-5 * t.score OR NOT abs(g.events - t.events) <= 1e-5 * t.events
			OR NOT abs(g.expected - t.expected) <= 1e-5 * (t.expected + 1)", "$what: trends of $model");
	no_rows_of("SELECT format('%s: %s, %s instead of %s', item_id, from_model, r.score, s.score)
		FROM shop.recommend_explained(NULL, 1000, '$model') r
		FULL JOIN trends('$w{recent}', '$w{longer}', 2.33, 2) s ON i = item_id
		WHERE coalesce(from_model = '$model', false) <> (s.score > 1) AND s.score IS NOT NULL
			OR from_model = '$model' AND NOT abs(r.score - s.score) <= 1e-5 * s.score", "$what: recommendations of $model");
	no_rows_of("SELECT format('%s: %s instead of %s', i, shop.predict(1, i, '$model'), score)
		FROM trends('$w{recent}', '$w{longer}', 2.33, 2)
		WHERE NOT abs(shop.predict(1, i, '$model') - score) <= 1e-5 * (score + 1)", "$what: predictions of $model");
}

sub check
{
	my ($what) = @_;

	ok($o->wait_for('shop') && $o->wait_for('stars'), "$what: waited");
	no_rows_of("SELECT * FROM bad_counts('shop', 'hot', '1 day', '7 days', true)", "$what: counts of hot");
	no_rows_of("SELECT * FROM bad_counts('shop', 'week', '7 days', NULL, false)", "$what: counts of week");
	no_rows_of("SELECT * FROM bad_counts('stars', 'month', '30 days', NULL, true)", "$what: counts of ratings");
	check_answers($what, 'hot', %hot);
	no_rows_of("SELECT format('place %s: %s instead of %s', place, g.score, m.score)
		FROM (SELECT *, row_number() OVER (ORDER BY score DESC) AS place FROM shop.recommend(NULL, 50, 'week')) g
		FULL JOIN (SELECT score, row_number() OVER (ORDER BY score DESC) AS place FROM
			(SELECT sum(w * kernel(now() - t, '7 days')) AS score FROM shop_counted GROUP BY i ORDER BY 1 DESC LIMIT 50) x) m USING (place)
		WHERE NOT abs(g.score - m.score) <= 1e-5 * m.score OR g.score IS NULL OR m.score IS NULL", "$what: popular");
	return unless %late;
	no_rows_of("SELECT * FROM bad_counts('shop', 'late', '$late{recent}', '$late{longer}', true)", "$what: counts of late");
	check_answers($what, 'late', %late);
}

my $next = 10000;
sub happen
{
	my ($n, $days) = @_;

	$o->run("SELECT happen($next, $n, $days)");
	$next += $n;
}

# Whatever can become of an event.
sub change
{
	my $from = $o->rand(5000);

	happen(150, 0.3);
	happen(40, 60);				# long past
	$o->run("UPDATE events SET t = t - interval '3 hours' WHERE id % 97 = $from % 97;
		UPDATE events SET i = i + 1, kind = 'buy' WHERE id % 89 = $from % 89;
		UPDATE events SET kind = 'seen' WHERE id % 83 = $from % 83;
		DELETE FROM events WHERE id % 71 = $from % 71;
		BEGIN; INSERT INTO events (u, i, kind, t) SELECT 1, 5, 'buy', now() FROM generate_series(1, 50);
		SAVEPOINT a; DELETE FROM events WHERE i = 7; ROLLBACK TO a; ROLLBACK;
		INSERT INTO ratings (u, i, stars, t) SELECT 1 + g, 1 + g % 30, 3, now() AT TIME ZONE 'UTC' FROM generate_series(1, 60) g;
		UPDATE ratings SET stars = 5 - stars % 4 WHERE id % 53 = $from % 53;
		DELETE FROM ratings WHERE id % 67 = $from % 67");
}

# At the n-th pass of a step, which $then leads to.
sub kill_at
{
	my ($step, $n, $then) = @_;
	my $offset = -s $node->logfile;

	$o->run("SELECT recsys.inject_crash('shop', '$step', $n)");
	&$then;
	$node->wait_for_log(qr/"recsys stream \w+" \(PID \d+\) was terminated by signal 9/, $offset);
	$o->wait_for_server;
	pass("killed at $step, pass $n");
}

# ----------------------------------------------------------------------- tests

check('backfill');
cmp_ok($o->run("SELECT count(*) FROM shop.trending(1000)"), '>', 3, 'some items trend');
cmp_ok($o->run("SELECT count(*) FROM trends('1 day', '7 days', 2.33, 2) WHERE score <= 1"), '>', 30, 'most do not');
change() for 1 .. 4;
check('changes');

# two clicks on something new are no trend, twenty are
$o->run("INSERT INTO events (u, i, kind, t) SELECT g, 1001, 'view', now() FROM generate_series(1, 2) g;
	INSERT INTO events (u, i, kind, t) SELECT g, 1002, 'view', now() FROM generate_series(1, 20) g");
check('new items');
is($o->run("SELECT item_id FROM shop.trending(1000) WHERE item_id > 1000"), '1002', 'two clicks do not trend, twenty do');
$o->run("DELETE FROM events WHERE i IN (1001, 1002)");
check('and their end');
is($o->run("SELECT sum(e + r + l) FROM shop.hot_counts CROSS JOIN unnest(events, recent, longer) WITH ORDINALITY x(e, r, l, place)
	JOIN shop.items ON id = block * 32 - 33 + place WHERE key > 1000"), '0', 'without events sums are exactly 0');

# crashes
for my $step (['apply', 2], ['flush', 1], ['confirm', 1], ['publish', 1])
{
	kill_at(@$step, sub { eval { change() }; });
	change();
}
check('kills of the worker');

# a model that comes late is filled from the events
%late = (recent => '6 hours', longer => '3 days');
kill_at('consumer', 1, sub {
	$o->run("SELECT recsys.create_model('shop', 'late', 'trending', '{\"window\": \"6 hours\", \"baseline\": \"3 days\"}')") });
change();
check('a late model, killed at its birth');
$node->stop('immediate');
$node->start;
change();
check('an immediate shutdown');

# other windows, other counts
%late = (recent => '2 days', longer => '20 days');
$o->run("SELECT recsys.alter_model('shop', 'late', '{\"window\": \"2 days\", \"baseline\": \"20 days\"}')");
change();
check('another window');

# forgotten items count nowhere, and users' events are taken back with their rows
$o->run("INSERT INTO forgotten VALUES (3); SELECT recsys.forget_item('shop', '3')");
check('a forgotten item');
is($o->run("SELECT count(*) FROM shop.recommend(NULL, 1000, 'week') WHERE item_id = 3"), '0', 'it is not recommended');
$o->run("SELECT recsys.forget_user('shop', '17', delete_events => true)");
check('a forgotten user');
is($o->run("SELECT count(*) FROM events WHERE u = 17"), '0', 'whose events are gone');

$o->run("DELETE FROM forgotten; SELECT recsys.resync('shop')");
change();
check('resync');

# a window that is taken away and comes again
$o->run("SELECT recsys.alter_model('shop', 'late', '{\"z\": 1}');
	SELECT recsys.alter_model('shop', 'week', '{\"window\": null}')");
change();
ok($o->wait_for('shop'), 'popular of all times');
is($o->run("SELECT item_id, score FROM shop.recommend(NULL, 5, 'week')"), $o->run("SELECT * FROM shop.popular(5)"), 'is the list of the source');
$o->run("SELECT recsys.alter_model('shop', 'late', '{\"z\": 2.33}');
	SELECT recsys.alter_model('shop', 'week', '{\"window\": \"7 days\"}')");
change();
check('within a window again');

$o->run("TRUNCATE events");
check('TRUNCATE');
is($o->run("SELECT count(*) FROM shop.hot_counts"), '0', 'nothing is left');
happen(500, 20);
check('and on');

$node->stop;
done_testing();
