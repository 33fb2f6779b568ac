# user_knn: similarities, neighbours, recommendations, predictions and
# explanations against plain SQL of the formulas, for users at random, and the
# tables of the model against the histories; after inserts, updates, deletes,
# forget_user, kill -9 of the worker, a resync, TRUNCATE, and with little memory.
#
# The ratings are those of MovieLens 100k, in DATA/ratings.tsv.gz, or generated
# ones where there is no such file.

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
my $data = ($ENV{DATA} || '') . '/ratings.tsv.gz';

$o->seed(1604);

# -------------------------------------------------------------------- ratings

$o->run('CREATE TABLE ratings (u int, i int, r real, t timestamptz);
	ALTER TABLE ratings REPLICA IDENTITY FULL');
if (-r $data)
{
	$o->run("COPY ratings FROM PROGRAM 'zcat ''$data'' | cut -f 1-4' (FORMAT csv, DELIMITER E'\\t', HEADER)");
	note("ratings of $data");
}
else
{
	$o->run("INSERT INTO ratings SELECT DISTINCT ON (u, i) u, i, 1 + hashint8(u * 7919 + i % 23) & 3,
			timestamptz '2024-01-01' + n * interval '1 second'
		FROM (SELECT n, 1 + (hashint8(n) & 1048575) % 600 AS u,
			1 + (power((hashint8(n + 1000000) & 1048575) / 1048576.0, 3) * 900)::int AS i FROM generate_series(1, 60000) n) g");
}
$o->run("CREATE UNIQUE INDEX ON ratings (u, i);
	SELECT recsys.create_source('films', 'ratings', 'u', 'i', event_value_column => 'r',
		event_time_column => 't', feedback => 'explicit', history_limit => 2000);
	SELECT recsys.create_model('films', 'plain', 'user_knn', '{\"audience_limit\": 1000000, \"idf\": 0}');
	SELECT recsys.create_model('films', 'rare', 'user_knn', '{\"audience_limit\": 1000000, \"neighbors\": 30, \"min_common\": 3}');
	SELECT recsys.create_model('films', 'cut', 'user_knn', '{\"audience_limit\": 70}')");

# ------------------------------------------------------------------ the oracle

# Rows that the tables of a model have and the histories do not, or the other way
# round.  A list that is full, or was before some left, may lack users; whom it has
# must be right.
$o->run(q{
	SET check_function_bodies = off;
	CREATE FUNCTION bad_state(source name, model name, audience_limit int) RETURNS TABLE (what text)
	LANGUAGE plpgsql AS $$
	BEGIN
		RETURN QUERY EXECUTE format($q$
			WITH h AS (SELECT user_id AS u, item AS i, weight * 2::float8 ^ (landmark - l.at) AS r, time AS t
				FROM %1$I.profiles, unnest(items, weights, times) AS x(item, weight, time), (SELECT landmark AS at FROM %1$I.state) l),
			a AS (SELECT x.u, item_id AS i, x.r::float8 * 2::float8 ^ (landmark - l.at) AS r, x.t
				FROM %1$I.%2$s_audiences, unnest(users, weights, times) AS x(u, r, t), (SELECT landmark AS at FROM %1$I.state) l),
			n AS (SELECT ((block - 1) * 64 + place - 1)::int AS u, x.s * 4::float8 ^ (landmark - l.at) AS sumsq
				FROM %1$I.%2$s_norms, unnest(sumsq) WITH ORDINALITY AS x(s, place), (SELECT landmark AS at FROM %1$I.state) l)
			SELECT format('history %%s, audience %%s', h, a) FROM h FULL JOIN a USING (u, i)
				LEFT JOIN (SELECT i, count(*) AS n FROM a GROUP BY i) c USING (i)
			WHERE CASE WHEN a.r IS NULL THEN coalesce(c.n, 0) < %3$s * 0.6
				ELSE h.r IS NULL OR abs(h.r - a.r) > 1e-6 * abs(h.r) OR h.t <> a.t END
			UNION ALL SELECT format('item %%s twice: user %%s', i, u) FROM a GROUP BY i, u HAVING count(*) > 1
			UNION ALL SELECT format('list of item %%s: %%s users', i, count(*)) FROM a GROUP BY i HAVING count(*) > %3$s
			UNION ALL SELECT format('norm of user %%s: %%s instead of %%s', u, n.sumsq, s.sumsq)
			FROM n FULL JOIN (SELECT u, sum(r * r) AS sumsq FROM h GROUP BY u) s USING (u)
			WHERE abs(coalesce(n.sumsq, 0) - coalesce(s.sumsq, 0)) > 1e-9 * coalesce(s.sumsq, 0)
			UNION ALL SELECT format('%%s users instead of %%s', users, n) FROM %1$I.%2$s_state,
				(SELECT count(DISTINCT u) AS n FROM h) x WHERE n <> users
			UNION ALL SELECT 'no state row' WHERE NOT EXISTS (SELECT FROM %1$I.%2$s_state)$q$,
			source, model, audience_limit);
	END $$;

	-- asked: who is asked for
	CREATE TABLE asked (u int);

	-- The formula, of interactions in a view "r" (u, i, r, no: the user's number).
	CREATE FUNCTION similarities(idf float8, min_common int)
	RETURNS TABLE (u int, v int, no int, sim float8) LANGUAGE sql STABLE AS $$
		WITH norms AS MATERIALIZED (SELECT u, sqrt(sum(r * r)) AS norm FROM r GROUP BY u),
		weights AS MATERIALIZED (SELECT i, ln(1 + (SELECT count(*) FROM norms)::float8 / count(*)) ^ idf AS w FROM r GROUP BY i),
		dots AS MATERIALIZED (SELECT a.u, b.u AS v, b.no, sum(w * a.r * b.r) AS dot
			FROM asked JOIN r a USING (u) JOIN r b ON b.i = a.i AND b.u <> a.u JOIN weights w ON w.i = a.i
			GROUP BY a.u, b.u, b.no HAVING count(*) >= min_common)
		SELECT dots.u, v, no, dot / (x.norm * y.norm) FROM dots JOIN norms x ON x.u = dots.u JOIN norms y ON y.u = v
		WHERE dot > 0
	$$;
	CREATE FUNCTION neighbors(idf float8, min_common int, k int)
	RETURNS TABLE (u int, v int, place bigint, sim float8) LANGUAGE sql STABLE AS $$
		SELECT * FROM (SELECT u, v, row_number() OVER (PARTITION BY u ORDER BY sim::real DESC, no), sim
			FROM similarities(idf, min_common)) s WHERE row_number <= k
	$$;

	-- Two ranked lists of scores agree: what is listed has the score that it must
	-- have, and place by place the scores are the best there are.
	CREATE TABLE got (u int, v int, place bigint, score float8);
	CREATE TABLE must (u int, v int, score float8);
	CREATE FUNCTION differences(k int) RETURNS TABLE (what text) LANGUAGE sql AS $$
		SELECT format('user %s, %s: %s instead of %s', u, v, g.score, m.score) FROM got g LEFT JOIN must m USING (u, v)
		WHERE m.score IS NULL OR abs(g.score - m.score) > 2e-6 * m.score
		UNION ALL
		SELECT format('user %s, place %s: %s instead of %s', u, place, g.score, m.score)
		FROM (SELECT *, row_number() OVER (PARTITION BY u ORDER BY score DESC) AS place FROM must) m
		LEFT JOIN got g USING (u, place)
		WHERE place <= k AND (g.score IS NULL OR abs(g.score - m.score) > 2e-6 * m.score)
	$$});

sub no_rows_of
{
	my ($sql, $what) = @_;
	my $out = $o->run($sql);
	my @bad = split /\n/, $out;

	ok(!@bad, $what) or diag(scalar(@bad) . " wrong:\n" . join("\n", @bad[0 .. ($#bad < 9 ? $#bad : 9)]));
}

sub check_state
{
	my ($source, $what, %limit) = @_;

	ok($o->wait_for($source), "$what: waited");
	no_rows_of("SELECT * FROM bad_state('$source', '$_', $limit{$_})", "$source.$_, $what: tables")
	  for sort keys %limit;
}

my %films = (plain => 1000000, rare => 1000000, cut => 70);

# 100 users at random, and what the models say of them.
sub check_answers
{
	my ($what, $n) = @_;
	my $items = "NOT EXISTS (SELECT FROM r WHERE r.u = s.u AND r.i = x.i)";

	$n ||= 100;
	$o->run("CREATE OR REPLACE VIEW r AS SELECT u, i, r::float8 AS r, id AS no FROM ratings JOIN films.users ON key = u;
		TRUNCATE asked; INSERT INTO asked SELECT u FROM (SELECT DISTINCT u FROM ratings) d
		ORDER BY hashint8(u + " . $o->rand(100000) . "::bigint) LIMIT $n; ANALYZE ratings");
	for my $m ([ 'plain', 0, 1, 100 ], [ 'rare', 2, 3, 30 ])
	{
		my ($model, $idf, $min_common, $k) = @$m;
		my $lists = sub {
			my ($columns, $call, $must, $most, $name, $filled) = @_;
			$o->run("TRUNCATE got, must;
				INSERT INTO got SELECT u, x.$columns, row_number() OVER (PARTITION BY u ORDER BY score DESC), score FROM asked, $call x;
				INSERT INTO must $must;
				DELETE FROM got WHERE $filled; ANALYZE got; ANALYZE must");
			no_rows_of("SELECT * FROM differences($most)", "$model, $what: $name of $n users");
		};

		&$lists('user_id', "films.similar_users(u, 50, '$model')",
			"SELECT u, v, sim FROM similarities(0, $min_common)", 50, 'similarities', 'false');
		&$lists('item_id', "films.recommend(u, 20, '$model')",
			"SELECT s.u, x.i, sum(sim * x.r) FROM neighbors($idf, $min_common, $k) s JOIN r x ON x.u = s.v
			WHERE $items GROUP BY 1, 2", 20, 'recommendations',
			# from popular, for those without neighbours, or behind their items
			'score = 0 OR NOT EXISTS (SELECT FROM must WHERE must.u = got.u)');
	}
	no_rows_of(q{
		WITH mean AS MATERIALIZED (SELECT u, avg(r) AS mean FROM r GROUP BY u),
		wanted AS MATERIALIZED (SELECT u, i FROM asked, LATERAL (SELECT DISTINCT i FROM r WHERE asked.u IS NOT NULL AND i % 97 = asked.u % 97) x),
		raters AS (SELECT w.u, w.i, s.v, s.sim, x.r, row_number() OVER (PARTITION BY w.u, w.i ORDER BY sim::real DESC, s.no) AS place
			FROM wanted w JOIN similarities(2, 3) s USING (u) JOIN r x ON x.u = s.v AND x.i = w.i),
		must AS (SELECT p.u, p.i, (SELECT mean FROM mean m WHERE m.u = p.u) + sum(sim * (r - mean)) / sum(sim) AS rating
			FROM raters p JOIN mean ON mean.u = v WHERE place <= 30 GROUP BY p.u, p.i)
		SELECT format('rating of %s for %s: %s instead of %s', u, i, films.predict(u, i, 'rare'), rating)
		FROM wanted LEFT JOIN must USING (u, i) WHERE CASE WHEN rating IS NULL THEN films.predict(u, i, 'rare') IS NOT NULL
			ELSE abs(films.predict(u, i, 'rare') - rating) > 1e-5 OR films.predict(u, i, 'rare') IS NULL END},
		"rare, $what: predicted ratings");
	no_rows_of(q{
		SELECT format('user %s, item %s: %s instead of %s', u, item_id, s, score) FROM asked,
			LATERAL (SELECT * FROM films.recommend(u, 3, 'rare')) x,
			LATERAL (SELECT sum(contribution) AS s FROM films.explain(u, item_id, 5000, 'rare')) e
		WHERE CASE WHEN s IS NULL THEN EXISTS (SELECT FROM films.similar_users(u, 1, 'rare')) ELSE abs(s - score) > 1e-5 * score END},
		"rare, $what: explanations add up");
}

# ---------------------------------------------------------------------- MovieLens

check_state('films', 'backfill', %films);
check_answers('backfill');

sub change_ratings
{
	my $seed = $o->rand(100000);

	return "BEGIN; UPDATE ratings SET r = 6 - r, t = t + interval '1 minute' WHERE hashint8(u * 10007::bigint + i + $seed) % 400 = 0; COMMIT;
		DELETE FROM ratings WHERE hashint8(u * 10009::bigint + i + $seed) % 400 = 1;
		INSERT INTO ratings SELECT 1 + (hashint8(n + $seed) & 1048575) % 1000, 1 + (hashint8(n * 3 + $seed) & 1048575) % 1800,
			1 + n % 5, now() - n * interval '1 hour' FROM generate_series(1, 1000) n ON CONFLICT (u, i) DO NOTHING;
		BEGIN; DELETE FROM ratings WHERE u % 50 = " . $o->rand(50) . "; ROLLBACK;
		BEGIN; SAVEPOINT a; UPDATE ratings SET i = i + 1800 WHERE u % 200 = " . $o->rand(200) . "; ROLLBACK TO a; COMMIT";
}

$o->run(change_ratings()) for 1 .. 3;
check_state('films', 'changes', %films);
check_answers('changes');

$o->run("SELECT recsys.forget_user('films', u::text, delete_events => true) FROM (SELECT DISTINCT u FROM ratings WHERE u % 100 = 13) x");
$o->run("DELETE FROM ratings WHERE i % 100 = 50; SELECT recsys.forget_item('films', i::text) FROM (SELECT i FROM ratings GROUP BY i ORDER BY count(*) DESC LIMIT 1) x;
	DELETE FROM ratings WHERE i = (SELECT i FROM ratings GROUP BY i ORDER BY count(*) DESC LIMIT 1)");
check_state('films', 'users and an item forgotten', %films);
check_answers('users and an item forgotten', 40);

# What has not been flushed yet counts for the user who asks.
$o->run("SELECT recsys.pause('films')");
$node->poll_query_until('postgres', "SELECT worker_pid IS NULL FROM recsys.status WHERE source = 'films'");
$o->run('INSERT INTO ratings SELECT 100000, i, 5, now() FROM ratings WHERE u = (SELECT min(u) FROM ratings) LIMIT 20;
	CREATE INDEX ON ratings (u, t)');
is($o->run("SELECT count(*) FROM films.similar_users(100000, 10, 'plain')"), '10', 'neighbours of a user who is not in the state yet');
is($o->run("WITH other AS (SELECT * FROM ratings WHERE u = (SELECT min(u) FROM ratings))
	SELECT round(score::numeric, 5) = round((sum(5 * a.r) / sqrt(25 * count(*)) / (SELECT sqrt(sum(r::float8 * r)) FROM other))::numeric, 5)
	FROM ratings b JOIN other a USING (i), films.similar_users(100000, 5000, 'plain') s
	WHERE b.u = 100000 AND s.user_id = a.u GROUP BY score"), 't', 'the one with the same films is as similar as that');
$o->run("SELECT recsys.resume('films')");

sub worker { return $o->run("SELECT coalesce(max(worker_pid), 0) FROM recsys.status WHERE source = 'films'") }

for my $round (1 .. 4)
{
	my $pid;

	$o->run(change_ratings());
	usleep($o->rand(300));
	$pid = worker();
	kill 'KILL', $pid if $pid;
	ok($o->wait_for_server, "the server is back ($round)");
	check_state('films', "kill -9 ($round)", %films);
}
check_answers('kill -9');
is($o->run("SELECT string_agg(DISTINCT state, ' ') FROM recsys.models WHERE source = 'films'"), 'ready', 'models are ready');

sub usleep { select(undef, undef, undef, $_[0] / 1000) }

# A clean restart takes the tables as they are.
my $before = $o->run('SELECT min(xmin::text::bigint) FROM films.plain_audiences');
$node->restart;
$o->run('UPDATE ratings SET r = 1 WHERE u = (SELECT min(u) FROM ratings)');
check_state('films', 'a restart', %films);
is($o->run('SELECT min(xmin::text::bigint) FROM films.plain_audiences'), $before, 'rows were not written anew');

$o->run("SELECT recsys.alter_model('films', 'cut', '{\"audience_limit\": 20}')");
$films{cut} = 20;
$o->run(change_ratings());
check_state('films', 'alter_model', %films);
$o->run("SELECT recsys.create_model('films', 'late', 'user_knn', '{\"audience_limit\": 90}')");
$films{late} = 90;
$o->run(change_ratings());
check_state('films', 'a model created later', %films);
$o->run("SELECT recsys.drop_model('films', 'late')");
delete $films{late};
$o->run("SELECT recsys.resync('films')");
$o->run(change_ratings());
check_state('films', 'resync', %films);
check_answers('resync', 40);
is($o->run("SELECT count(*) FROM pg_class WHERE relname LIKE 'late\\_%' AND relnamespace = 'films'::regnamespace"), '0', 'nothing is left of a dropped model');

# A transaction that is larger than all before it, and little memory.
$o->run("ALTER SYSTEM SET recsys.memory = '8MB'; SELECT pg_reload_conf()");
$o->run("INSERT INTO ratings SELECT u + 2000, i, r, t FROM ratings; INSERT INTO ratings SELECT u + 5000, i, r, t FROM ratings WHERE u > 0");
check_state('films', 'a large transaction', %films);
$o->run(change_ratings());
check_state('films', 'little memory', %films);
kill 'KILL', worker();
ok($o->wait_for_server, 'the server is back');
$o->run(change_ratings()) for 1 .. 2;
check_state('films', 'little memory, kill -9', %films);
$o->run("SELECT recsys.alter_model('films', 'plain', '{\"audience_limit\": 999999}')");
check_state('films', 'built with little memory', %films);
check_answers('little memory', 20);
$o->run("ALTER SYSTEM RESET recsys.memory; SELECT pg_reload_conf()");

$o->run('BEGIN; TRUNCATE ratings; INSERT INTO ratings SELECT u, i, 1 + (u + i) % 5, now() - u * interval \'1 minute\'
	FROM generate_series(1, 30) u, generate_series(1, 40) i WHERE hashint8(u * 100 + i) % 3 = 0; COMMIT');
check_state('films', 'TRUNCATE', %films);
check_answers('TRUNCATE');
is($o->run("SELECT count(*) FROM recsys.status WHERE source = 'films' AND failures > 4"), '0', 'the worker has not failed but by our hand');

# ------------------------------------------- decay, eviction, other keys, implicit

$o->run(q{
	CREATE TABLE clicks (u text, i uuid, kind text, at timestamptz);
	ALTER TABLE clicks REPLICA IDENTITY FULL;
	INSERT INTO clicks SELECT 'user ' || (hashint8(n) & 1048575) % 200, md5(((hashint8(n + 77) & 1048575) % 90)::text)::uuid,
		(ARRAY['view', 'buy'])[1 + n % 2], now() - n * interval '1 minute' FROM generate_series(1, 6000) n;
	SELECT recsys.create_source('web', 'clicks', 'u', 'i', 'kind', event_time_column => 'at', weights => '{"view": 1, "buy": 4}',
		half_life => '3 hours', history_limit => 25);
	SELECT recsys.create_model('web', 'all', 'user_knn', '{"audience_limit": 100000, "idf": 0}');
	SELECT recsys.create_model('web', 'cut', 'user_knn', '{"audience_limit": 10}')});
my %web = (all => 100000, cut => 10);
check_state('web', 'backfill', %web);

sub check_web
{
	my ($what) = @_;
	no_rows_of(q{
		WITH r AS MATERIALIZED (SELECT user_id AS u, item_id AS i, weight AS r FROM web.interactions),
		norms AS (SELECT u, sqrt(sum(r * r)) AS norm FROM r GROUP BY u),
		must AS (SELECT a.u, b.u AS v, sum(a.r * b.r) / (x.norm * y.norm) AS sim FROM r a JOIN r b ON b.i = a.i AND b.u <> a.u
			JOIN norms x ON x.u = a.u JOIN norms y ON y.u = b.u WHERE a.u LIKE '%7' GROUP BY a.u, b.u, x.norm, y.norm),
		got AS (SELECT u, user_id AS v, score FROM norms, web.similar_users(u, 1000, 'all') WHERE u LIKE '%7')
		SELECT format('%s %s: %s instead of %s', u, v, score, sim) FROM must FULL JOIN got USING (u, v)
		WHERE abs(coalesce(sim, 0) - coalesce(score, 0)) > 1e-5 * coalesce(sim, 0) + 1e-12}, "web, $what: similarities");
	no_rows_of(q{
		SELECT format('%s: %s', u, n) FROM (SELECT DISTINCT u FROM clicks WHERE u LIKE '%7') x,
			LATERAL (SELECT count(*) AS n FROM web.similar_users(u, 5, 'cut')) y WHERE n <> 5}, "web, $what: five neighbours");
	no_rows_of(q{
		SELECT format('%s, %s: %s, contributions %s, predicted %s', u, item_id, score, s, p) FROM (SELECT DISTINCT u FROM clicks WHERE u LIKE '%7') x,
			LATERAL (SELECT * FROM web.recommend(u, 5, 'cut')) y,
			LATERAL (SELECT sum(contribution) AS s FROM web.explain(u, item_id, 100, 'cut')) e, web.predict(u, item_id, 'cut') p
		WHERE abs(s - score) > 1e-5 * score OR abs(p - score) > 1e-6 * score OR s IS NULL OR p IS NULL}, "web, $what: explained and predicted");
}
check_web('backfill');
$o->run("INSERT INTO clicks SELECT 'user ' || (hashint8(n) & 1048575) % 200, md5(((hashint8(n + 99) & 1048575) % 120)::text)::uuid,
	'view', now() - n * interval '1 second' FROM generate_series(1, 3000) n;
	UPDATE clicks SET kind = 'buy' WHERE hashtext(u || i || at) % 30 = 0; DELETE FROM clicks WHERE hashtext(u || i || at) % 40 = 3");
check_state('web', 'changes', %web);
check_web('changes');
# landmarks move when events come that are 32 half-lives ahead of them
$o->run("TRUNCATE clicks; SELECT recsys.alter_source('web', half_life => '1 minute')");
check_state('web', 'another half-life', %web);
my $landmark = $o->run('SELECT landmark FROM web.state');
for my $minutes (-10, 10, 34, 50)
{
	$o->run("INSERT INTO clicks SELECT 'user ' || (hashint8(n + $minutes) & 1048575) % 50, md5(((hashint8(n * 3) & 1048575) % 60)::text)::uuid, 'view', now() + interval '$minutes minutes' + n * interval '1 second'
		FROM generate_series(1, 400) n; DELETE FROM clicks WHERE hashtext(u || i || at) % 40 = 5");
	check_state('web', "$minutes half-lives later", %web);
	check_web("$minutes half-lives later");
}
cmp_ok($o->run('SELECT landmark FROM web.state'), '>=', $landmark + 32, 'the landmark has moved');

is($o->run(q{SELECT count(*) FROM web.recommend_session(ARRAY[md5('1')::uuid, md5('2')::uuid], 5, 'all')}), '5', 'a session');
is($o->run(q{SELECT count(*) FROM web.recommend('nobody', 5, 'all')}), '5', 'an unknown user gets popular');
is($o->run(q{SELECT count(*) FROM web.similar_users('nobody', 5, 'all')}), '0', '... and is like nobody');

# ------------------------------------------------------------------------ a standby

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
my $answers = q{SELECT md5(string_agg(x::text, ' ' ORDER BY u, x)) FROM (SELECT DISTINCT u FROM ratings) r,
	LATERAL (SELECT 'item', item_id, score FROM films.recommend(u, 10, 'cut') UNION ALL
		SELECT 'user', user_id, score FROM films.similar_users(u, 10, 'cut')) x};
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', $answers), $o->run($answers), 'a standby answers the same');

$standby->stop;
$node->stop;
done_testing();
