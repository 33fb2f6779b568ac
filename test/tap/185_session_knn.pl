# session_knn: the model's tables against plain SQL over the events, by a session
# column and by gaps in time, and its answers against plain SQL of the formula; after
# a random stream of inserts, updates, deletes, forget_user, forget_item, kill -9 of
# the worker, a resync, TRUNCATE, and with little memory.

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

$o->seed(2022);

# 60 items, 40 users, sessions of one user mostly; no two clicks at the same time
$o->run(q{
	CREATE TABLE clicks (n serial PRIMARY KEY, s text, u int, i int, kind text, at timestamptz);
	ALTER TABLE clicks REPLICA IDENTITY FULL;
	CREATE TABLE ended (u int);
	CREATE SEQUENCE seconds;
	CREATE FUNCTION more(seed int, rows int, users int = 40) RETURNS void LANGUAGE sql AS $$
		INSERT INTO clicks (s, u, i, kind, at)
		SELECT CASE WHEN b % 9 > 0 THEN 'session ' || a % users || '.' || (c % 12 + seed % 7) END,
			CASE WHEN b % 50 = 0 THEN c % users ELSE a % users END,
			1 + (power((d % 10000) / 10000.0, 2) * 60)::int,
			CASE WHEN c % 13 = 0 THEN 'shown' WHEN c % 3 = 0 THEN 'buy' ELSE 'view' END,
			timestamptz '2024-03-01' + (b % 20000) * interval '1 minute' + nextval('seconds') * interval '1 millisecond'
		FROM generate_series(1, rows) n, LATERAL (SELECT (hashint8(n * 4 + seed * 99991::bigint) & 1048575) AS a,
			(hashint8(n * 4 + 1 + seed * 99991::bigint) & 1048575) AS b, (hashint8(n * 4 + 2 + seed * 99991::bigint) & 1048575) AS c,
			(hashint8(n * 4 + 3 + seed * 99991::bigint) & 1048575) AS d) x
	$$;
	SELECT more(1, 3000);
	CREATE INDEX ON clicks (u, at);
	SELECT recsys.create_source('web', 'clicks', 'u', 'i', 'kind', event_time_column => 'at',
		weights => '{"view": 1, "buy": 3}', session_column => 's', history_limit => 100);
	SELECT recsys.create_model('web', 'all', 'session_knn', '{"sample": 100000, "neighbors": 30, "max_length": 12}');
	SELECT recsys.create_model('web', 'few', 'session_knn', '{"sample": 25, "neighbors": 10, "last_items": 4, "repeats": "older", "min_length": 1}');
	SELECT recsys.create_model('web', 'buys', 'session_knn', '{"event_types": ["buy"], "idf": 0, "repeats": "all", "match_decay": 0}');
	SELECT recsys.create_source('gaps', 'clicks', 'u', 'i', 'kind', event_time_column => 'at', weights => '{"view": 1, "buy": 3}');
	SELECT recsys.create_model('gaps', 'hour', 'session_knn', '{"session_gap": "1 hour", "sample": 50}');
	SELECT recsys.create_model('gaps', 'days', 'session_knn', '{"session_gap": "10 days", "max_length": 40, "sample": 100000}')});

# ------------------------------------------------------------------ the oracle

# got and must: what a model holds of each session, and what it has to hold.  A session is
# named by its key, or by user and first click.
$o->run(q{
	SET check_function_bodies = off;
	CREATE TABLE held (source name, model name, session int, name text, u int, i int, at timestamptz);
	CREATE TABLE postings (item int, session int, at timestamptz, row_no bigint, place bigint, from_time int8, from_session int);
	CREATE FUNCTION bad_sessions(source name, model name) RETURNS TABLE (what text) LANGUAGE plpgsql AS $$
	DECLARE
		p jsonb := (SELECT params FROM recsys.models m WHERE m.source = $1 AND m.model = $2);
	BEGIN
		TRUNCATE held;
		EXECUTE format($q$INSERT INTO held SELECT %1$L, %2$L, session_id,
			CASE WHEN %1$L = 'web' THEN x.key::text ELSE u.key || ' ' || extract(epoch FROM timestamptz '2000-01-01 00:00+00' + min(t.time) OVER (PARTITION BY session_id) * interval '1 us') END,
			u.key, i.key, timestamptz '2000-01-01 00:00+00' + t.time * interval '1 us'
			FROM %1$I.%2$s_sessions x CROSS JOIN unnest(items, times) WITH ORDINALITY AS t(item, time, place)
			LEFT JOIN %1$I.items i ON i.id = t.item LEFT JOIN %1$I.users u ON u.id = coalesce(x.users[place], user_id)$q$, source, model);
		RETURN QUERY WITH counted AS (SELECT * FROM clicks c WHERE kind <> 'shown' AND (p->'event_types' = 'null' OR p->'event_types' ? kind)),
			numbered AS (SELECT *, recsys.session_number(c.at, (p->>'session_gap')::interval) OVER (PARTITION BY u ORDER BY c.at) AS number FROM counted c),
			must AS (SELECT hashtextextended(s, 0)::text AS name, u, i, at FROM counted WHERE source = 'web' AND s IS NOT NULL
				UNION ALL
				SELECT u || ' ' || extract(epoch FROM min(at) OVER (PARTITION BY u, number)), u, i, at FROM numbered WHERE source = 'gaps'),
			m AS (SELECT name, u, i, at, count(*) AS n FROM must GROUP BY 1, 2, 3, 4),
			g AS (SELECT name, u, i, at, count(*) AS n FROM held GROUP BY 1, 2, 3, 4)
		SELECT format('click of %s on %s at %s in %s: %s instead of %s', u, i, at, name, g.n, m.n)
		FROM m FULL JOIN g USING (name, u, i, at) WHERE g.n IS DISTINCT FROM m.n
		UNION ALL SELECT format('%s is %s sessions', name, count(DISTINCT session)) FROM held GROUP BY name HAVING count(DISTINCT session) > 1;
	END $$;

	-- listed: sessions that are long enough and not too long, with their time
	CREATE FUNCTION bad_postings(source name, model name) RETURNS TABLE (what text) LANGUAGE plpgsql AS $$
	DECLARE
		p jsonb := (SELECT params FROM recsys.models m WHERE m.source = $1 AND m.model = $2);
	BEGIN
		TRUNCATE postings;
		EXECUTE format($q$INSERT INTO postings SELECT i.key, x.session, timestamptz '2000-01-01 00:00+00' + x.time * interval '1 us',
			row_number, place, from_time, from_session
			FROM (SELECT *, row_number() OVER (PARTITION BY item_id ORDER BY from_time, from_session) FROM %1$I.%2$s_postings) r CROSS JOIN
				unnest(sessions, times) WITH ORDINALITY AS x(session, time, place) LEFT JOIN %1$I.items i ON i.id = item_id$q$, source, model);
		CREATE TEMP TABLE listed ON COMMIT DROP AS
			SELECT session, i, max(max(at)) OVER (PARTITION BY session) AS at FROM held
			WHERE session IN (SELECT session FROM held GROUP BY session
				HAVING count(DISTINCT i) BETWEEN (p->>'min_length')::int AND (p->>'max_length')::int) GROUP BY session, i;
		RETURN QUERY SELECT format('item %s, session %s at %s: in postings %s', l.i, l.session, l.at, g.at)
			FROM (SELECT *, row_number() OVER (PARTITION BY i ORDER BY at DESC, session DESC) AS place FROM listed) l
			FULL JOIN postings g ON g.item = l.i AND g.session = l.session
			WHERE l.at IS DISTINCT FROM g.at AND (g.at IS NOT NULL OR l.place <= (p->>'sample')::int);
		RETURN QUERY SELECT format('item %s: %s sessions', item, count(*)) FROM postings GROUP BY item
			HAVING count(*) > (p->>'sample')::int + 191 OR count(*) <> count(DISTINCT session);
		RETURN QUERY SELECT format('item %s, row %s, place %s: out of order', item, row_no, place) FROM
			(SELECT *, lag((at, session)) OVER (PARTITION BY item ORDER BY row_no, place) AS before FROM postings) x
			WHERE before > (at, session) OR from_time > extract(epoch FROM at - timestamptz '2000-01-01 00:00+00') * 1000000;
		RETURN QUERY EXECUTE format($q$SELECT format('item %%s: %%s sessions counted instead of %%s', key, c.n, coalesce(m.n, 0))
			FROM (SELECT (block - 1) * 256 + place - 1 AS id, x.n FROM %1$I.%2$s_item_sessions, unnest(counts) WITH ORDINALITY x(n, place) WHERE x.n <> 0) c
			LEFT JOIN %1$I.items USING (id) FULL JOIN (SELECT i, count(*) AS n FROM listed GROUP BY i) m ON m.i = key
			WHERE c.n IS DISTINCT FROM m.n
			UNION ALL SELECT format('state: %%s sessions, %%s pairs instead of %%s, %%s', sessions, pairs, s, n)
			FROM %1$I.%2$s_state, (SELECT count(*) AS n, count(DISTINCT session) AS s FROM listed) x WHERE (sessions, pairs) <> (s, n)
			UNION ALL SELECT 'no state row' WHERE NOT EXISTS (SELECT FROM %1$I.%2$s_state)$q$, source, model);
		DROP TABLE listed;
	END $$;

	-- Over "held" and "postings" of a model, by the words of the formula.
	CREATE TABLE pool (session int PRIMARY KEY, at timestamptz, sim float8);
	CREATE FUNCTION answer(model name, asked int[]) RETURNS TABLE (found int, score float8) LANGUAGE plpgsql AS $$
	DECLARE
		p jsonb := (SELECT params FROM recsys.models m WHERE m.source = 'web' AND m.model = $1);
		clicks int[] := asked[greatest(cardinality(asked) - (p->>'last_items')::int + 1, 1):];
		l int := cardinality(clicks);
		different int := (SELECT count(DISTINCT c) FROM unnest(clicks) c);
		x record;
		s record;
		oldest record;
	BEGIN
		DELETE FROM pool;
		FOR x IN SELECT c.item, l - max(place) AS pos FROM unnest(clicks) WITH ORDINALITY c(item, place) GROUP BY 1 ORDER BY 2 LOOP
			FOR s IN SELECT q.session, q.at FROM postings q WHERE item = x.item ORDER BY at DESC, q.session DESC LIMIT (p->>'sample')::int LOOP
				UPDATE pool SET sim = sim + (l - x.pos)::float8 / different WHERE pool.session = s.session;
				CONTINUE WHEN FOUND;
				IF (SELECT count(*) FROM pool) = (p->>'sample')::int THEN
					SELECT * INTO oldest FROM pool ORDER BY at, pool.session LIMIT 1;
					EXIT WHEN (oldest.at, oldest.session) > (s.at, s.session);
					DELETE FROM pool WHERE pool.session = oldest.session;
				END IF;
				INSERT INTO pool VALUES (s.session, s.at, (l - x.pos)::float8 / different);
			END LOOP;
		END LOOP;
		RETURN QUERY
			WITH near AS (SELECT * FROM pool ORDER BY sim DESC, at DESC, pool.session DESC LIMIT (p->>'neighbors')::int),
			contents AS (SELECT DISTINCT h.session, h.i FROM held h JOIN near USING (session)),
			matches AS (SELECT c.session, l - max(q.place) + 1 AS pos FROM contents c JOIN unnest(clicks) WITH ORDINALITY q(item, place) ON q.item = c.i GROUP BY 1),
			counts AS (SELECT h.i, count(DISTINCT h.session) AS n FROM held h WHERE h.session IN (SELECT g.session FROM held g GROUP BY g.session
				HAVING count(DISTINCT g.i) BETWEEN (p->>'min_length')::int AND (p->>'max_length')::int) GROUP BY h.i)
			SELECT c.i, sum(greatest(1 - (p->>'match_decay')::float8 * m.pos, 0) * near.sim *
				ln((SELECT sum(n) FROM counts)::float8 / k.n) ^ (p->>'idf')::float8)
			FROM near JOIN matches m USING (session) JOIN contents c USING (session) JOIN counts k ON k.i = c.i
			WHERE CASE p->>'repeats' WHEN 'all' THEN true WHEN 'older' THEN c.i <> asked[cardinality(asked)] ELSE c.i <> ALL (asked) END
			GROUP BY c.i;
	END $$;

	CREATE FUNCTION bad_answers(model name, asked int, seed int) RETURNS TABLE (what text) LANGUAGE plpgsql AS $$
	DECLARE
		session int[];
	BEGIN
		FOR q IN 1 .. asked LOOP
			session := ARRAY(SELECT 1 + (power((hashint8(n * 7 + q * 1009 + seed) & 4095) / 4096.0, 2) * 60)::int
				FROM generate_series(1, 1 + (hashint8(q + seed) & 1023) % 12) n);
			session := ARRAY(SELECT c FROM unnest(session) WITH ORDINALITY x(c, place) JOIN web.items ON key = c ORDER BY place);
			CONTINUE WHEN session = '{}';
			RETURN QUERY SELECT format('session %s: item %s has %s instead of %s', session, a.found, g.score, a.score)
				FROM answer(model, session) a FULL JOIN
					(SELECT item_id, score FROM web.recommend_session(session, 1000, model) r WHERE score > 0) g ON g.item_id = a.found
				WHERE a.score > 0 AND (g.score IS NULL OR abs(g.score - a.score) > 2e-6 * a.score);
		END LOOP;
	END $$});

sub no_rows_of
{
	my ($sql, $what) = @_;
	my @bad = split /\n/, $o->run($sql);

	ok(!@bad, $what) or diag(scalar(@bad) . " wrong:\n" . join("\n", @bad[0 .. ($#bad < 9 ? $#bad : 9)]));
}

my %models = (web => [ 'all', 'few', 'buys' ], gaps => [ 'hour', 'days' ]);

sub check
{
	my ($what, $asked) = @_;

	for my $source (sort keys %models)
	{
		ok($o->wait_for($source), "$what: waited for $source");
		for my $model (@{ $models{$source} })
		{
			no_rows_of("SELECT * FROM bad_sessions('$source', '$model')", "$source.$model, $what: sessions");
			no_rows_of("SELECT * FROM bad_postings('$source', '$model')", "$source.$model, $what: postings");
			no_rows_of("SELECT * FROM bad_answers('$model', $asked, " . $o->rand(100000) . ')', "$model, $what: answers")
			  if $source eq 'web' && $asked;
		}
	}
}

sub change
{
	my $seed = $o->rand(100000);

	return "SELECT more($seed, 300);
		BEGIN; UPDATE clicks SET s = 'session ' || u || '.' || n % 15 WHERE hashint8(n + $seed) % 60 = 0; COMMIT;
		UPDATE clicks SET at = at + interval '40 minutes' WHERE hashint8(n + $seed) % 60 = 1;
		UPDATE clicks SET i = 1 + (i * 7) % 60, kind = 'view' WHERE hashint8(n + $seed) % 60 = 2;
		DELETE FROM clicks WHERE hashint8(n + $seed) % 40 = 3;
		BEGIN; DELETE FROM clicks WHERE u % 5 = 1; ROLLBACK;
		BEGIN; SELECT more($seed + 1, 50); SAVEPOINT a; SELECT more($seed + 2, 50); ROLLBACK TO a; SELECT more($seed + 3, 50); COMMIT";
}

check('backfill', 30);
$o->run(change()) for 1 .. 3;
check('changes', 30);

# What is newer than the tables counts for the user who asks: u 1000 clicks 1, 2, 3.
is($o->run(q{BEGIN; INSERT INTO clicks (s, u, i, kind, at) VALUES ('new', 1000, 1, 'view', now() - interval '3 s'), ('new', 1000, 2, 'view', now() - interval '2 s'), ('new', 1000, 3, 'view', now());
	SELECT count(*) FROM (SELECT * FROM web.recommend(1000, 20, 'all') EXCEPT SELECT * FROM web.recommend_session('{1,2,3}', 20, 'all')) x;
	ROLLBACK}), '0', 'a user gets what a session of the newest items gets');
no_rows_of(q{SELECT format('user %s, item %s: %s, explained %s, predicted %s', u, item_id, score, e, p) FROM (SELECT DISTINCT u FROM clicks WHERE u % 4 = 0) x,
		LATERAL web.recommend(u, 4, 'all') r, LATERAL (SELECT sum(contribution) AS e FROM web.explain(u, item_id, 100, 'all')) e, web.predict(u, item_id, 'all') p
	WHERE score > 0 AND (abs(e - score) > 1e-5 * score OR abs(p - score) > 1e-5 * score OR e IS NULL OR p IS NULL)}, 'explanations add up, predictions are the scores');

$o->run("SELECT recsys.forget_user('web', u::text, delete_events => true), recsys.forget_user('gaps', u::text) FROM generate_series(3, 9, 3) u");
$o->run("DELETE FROM clicks WHERE i = 7; SELECT recsys.forget_item('web', '7'), recsys.forget_item('gaps', '7')");
check('users and an item forgotten', 20);
is($o->run("SELECT count(*) FROM web.few_sessions WHERE user_id NOT IN (SELECT id FROM web.users)"), '0', 'nothing is left of them');

sub worker { return $o->run("SELECT coalesce(max(worker_pid), 0) FROM recsys.status WHERE source = '$_[0]'") }

for my $round (1 .. 4)
{
	my $pid;

	$o->run(change());
	select(undef, undef, undef, $o->rand(300) / 1000);
	$pid = worker($round % 2 ? 'web' : 'gaps');
	kill 'KILL', $pid if $pid;
	ok($o->wait_for_server, "the server is back ($round)");
	$o->run(change());
	check("kill -9 ($round)", 0);
}
check('kill -9', 20);

$o->run("SELECT recsys.alter_model('web', 'few', '{\"sample\": 8, \"max_length\": 5}')");
$o->run(change());
check('alter_model', 10);
$o->run("SELECT recsys.create_model('web', 'late', 'session_knn', '{\"sample\": 70, \"idf\": 2}')");
push @{ $models{web} }, 'late';
$o->run(change());
check('a model created later', 10);
$o->run("SELECT recsys.resync('web'); SELECT recsys.resync('gaps')");
$o->run(change());
check('resync', 10);

# little memory: sessions come and go.  A session of which clicks are dropped, or a list of which
# many are retracted, would hold less than plain SQL, so these are other users.
$o->run("ALTER SYSTEM SET recsys.memory = '8MB'; SELECT pg_reload_conf()");
$o->run("SELECT more(n, 3000, 4000) FROM generate_series(100, 120) n");
$o->run(change()) for 1 .. 2;
check('little memory', 5);
$o->run("SELECT recsys.alter_model('gaps', 'hour', '{\"session_gap\": \"2 hours\"}')");
check('filled with little memory', 0);
kill 'KILL', worker('gaps');
ok($o->wait_for_server, 'the server is back');
$o->run(change());
check('little memory, kill -9', 0);
$o->run("ALTER SYSTEM RESET recsys.memory; SELECT pg_reload_conf()");

$o->run('BEGIN; TRUNCATE clicks; SELECT more(77, 500); COMMIT');
check('TRUNCATE', 10);
is($o->run("SELECT count(*) FROM recsys.status WHERE failures > 4"), '0', 'the workers have not failed but by our hand');

# -------------------------------------------------- without times, long sessions

$o->run(q{
	CREATE TABLE carts (cart uuid, who text, what text);
	ALTER TABLE carts REPLICA IDENTITY FULL;
	SELECT recsys.create_source('shop', 'carts', 'who', 'what', session_column => 'cart');
	SELECT recsys.create_model('shop', 'near', 'session_knn')});
ok($o->wait_for('shop'), 'an empty source');
$o->run(q{INSERT INTO carts SELECT md5((n / 4)::text)::uuid, 'who ' || n % 3, 'what ' || n % 29 FROM generate_series(1, 400) n;
	INSERT INTO carts SELECT md5('long')::uuid, 'robot', 'what ' || n FROM generate_series(1, 2500) n});
$o->run(q{DELETE FROM carts WHERE what LIKE '%3'; UPDATE carts SET what = 'what 1' WHERE what = 'what 5'});
ok($o->wait_for('shop'), 'carts');
no_rows_of(q{SELECT format('%s of %s: %s instead of %s', what, who, g, m) FROM
	(SELECT i.key AS what, u.key AS who, count(*) AS g FROM shop.near_sessions s CROSS JOIN unnest(s.items) WITH ORDINALITY AS t(item, place)
		JOIN shop.items i ON i.id = t.item JOIN shop.users u ON u.id = coalesce(s.users[place], user_id) WHERE u.key <> 'robot' GROUP BY 1, 2) x
	FULL JOIN (SELECT what, who, count(*) AS m FROM carts WHERE who <> 'robot' GROUP BY 1, 2) y USING (what, who) WHERE g IS DISTINCT FROM m}, 'carts without times');
cmp_ok($o->run("SELECT max(cardinality(items)) FROM shop.near_sessions"), '<=', 1000, 'of a long session the newest clicks are kept');
is($o->run("SELECT count(*) FROM shop.recommend_session('{what 1,what 2}', 5, 'near')"), '5', 'a session by names');

# ------------------------------------------------ a standby, and edited tables

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
my $answers = q{SELECT md5(string_agg(x::text, ' ' ORDER BY a, x)) FROM generate_series(1, 29) a,
	LATERAL shop.recommend_session(ARRAY['what ' || a, 'what ' || a % 7], 10, 'near') x};
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', $answers), $o->run($answers), 'a standby answers the same');
$standby->stop;

for my $edit ("sessions SET items[1] = -7", "sessions SET items = '{}'", "postings SET times = '{1}'", "item_sessions SET counts = '{1,2}'", "sessions SET items = '{{1,2},{3,4}}'")
{
	my ($status, $out, $err) = $node->psql('postgres', "BEGIN; UPDATE shop.near_$edit; SELECT count(*) FROM shop.recommend_session('{what 1}', 5, 'near'); ROLLBACK");

	like($status ? $err : $out, qr/not as it was written|unexpected array|5/, "no crash after $edit");
}
is($o->run("SELECT count(*) FROM shop.recommend_session('{what 1}', 5, 'near')"), '5', 'nor after it was taken back');

$node->stop;
done_testing();
