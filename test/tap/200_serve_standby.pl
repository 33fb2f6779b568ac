# Everything in the schema of a source works on a hot standby that does not
# even load the library at its start; and events count exactly once in every
# answer while writers, worker and readers run side by side.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'recsys'
wal_level = logical
max_worker_processes = 20
recsys.flush_interval = '100ms'
});
$node->start;

# Item 0 is similar to every other one, by three users who have all of them:
# explain() of item 0 shows what each item weighs in a history.
$node->safe_psql('postgres', q{
	CREATE EXTENSION recsys;
	CREATE TABLE events (who int, what int, kind text);
	CREATE INDEX ON events (who);
	INSERT INTO events SELECT 1000 + u, i, 'view' FROM generate_series(1, 3) u, generate_series(0, 30) i;
	INSERT INTO events SELECT u, 1 + u % 30, 'view' FROM generate_series(1, 100) u;
	BEGIN;
	SELECT recsys.create_source('shop', 'events', 'who', 'what', 'kind', weights => '{"view": 1, "buy": 5}');
	SELECT recsys.create_model('shop', 'knn', 'item_knn', '{"k": 100, "normalize": false, "damping": 0}');
	COMMIT;
	SELECT recsys.wait_for('shop');
	-- one thing that trends
	CREATE TABLE visits (who int, what int, at timestamptz);
	CREATE INDEX ON visits (who);
	INSERT INTO visits SELECT g % 50, g % 20, now() - g * interval '1 hour' FROM generate_series(1, 600) g;
	INSERT INTO visits SELECT g, 77, now() FROM generate_series(1, 40) g;
	SELECT recsys.create_source('site', 'visits', 'who', 'what', event_time_column => 'at');
	SELECT recsys.create_model('site', 'hot', 'trending');
	SELECT recsys.create_model('site', 'week', 'popular', '{"window": "7 days"}');
	SELECT recsys.set_fallback('site', '{week}');
	SELECT recsys.wait_for('site');

	-- all of it in one statement, hence in one snapshot
	CREATE FUNCTION wrong(u int) RETURNS text LANGUAGE sql STABLE AS $$
		SELECT string_agg(format('item %s of user %s: %s, not %s', what, u, h.r, e.r), '; ')
		FROM (SELECT c.because_item_id AS what, round((c.contribution / s.score)::numeric, 2) AS r
				FROM shop.explain(u, 0, 1000) c
				LEFT JOIN shop.item_similarity s ON s.item_id = c.because_item_id AND s.similar_item_id = 0) h
			FULL JOIN (SELECT what, sum(CASE kind WHEN 'view' THEN 1 ELSE 5 END) AS r
				FROM events WHERE who = u GROUP BY what) e USING (what)
		WHERE h.r IS DISTINCT FROM e.r
	$$;
	CREATE TABLE mistakes (mistake text);
});

# ----------------------------------------------------------------- exactly once

sub script
{
	my ($name, $text) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";
	append_to_file($file, $text);
	return $file;
}

my $writer = script('writer', q{
\set u random(1, 100)
\set i random(1, 30)
\set j random(1, 30)
\set back random(0, 2)
BEGIN;
INSERT INTO events VALUES (:u, :i, 'view');
SAVEPOINT s;
INSERT INTO events VALUES (:u, :j, 'buy');
\if :back
ROLLBACK TO s;
\endif
INSERT INTO events VALUES (:u, :j, 'view');
INSERT INTO mistakes SELECT 'own: ' || m FROM wrong(:u) m WHERE m IS NOT NULL;
COMMIT;
});
my $reader = script('reader', q{
\set u random(1, 100)
INSERT INTO mistakes SELECT 'other: ' || m FROM wrong(:u) m WHERE m IS NOT NULL;
});
my $repeatable = script('repeatable', q{
\set u random(1, 100)
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1;
\sleep 250 ms
INSERT INTO mistakes SELECT 'later: ' || m FROM wrong(:u) m WHERE m IS NOT NULL;
COMMIT;
});
$node->command_ok(
	[ 'pgbench', '-n', '-c', 4, '-j', 2, '-t', 150, '-f', "$writer\@5", '-f', "$reader\@4",
	  '-f', "$repeatable\@1", $node->connstr('postgres') ],
	'writers and readers beside the worker');
is($node->safe_psql('postgres', 'SELECT count(*), min(mistake) FROM mistakes'), '0|',
	'every event counts exactly once in every snapshot');
is($node->safe_psql('postgres', q{BEGIN; INSERT INTO events VALUES (1, 1, 'buy');
	SET LOCAL recsys.tail_limit = 0; SELECT wrong(1) IS NOT NULL; ROLLBACK}), 't',
	'the test would see an event that is missing');

# --------------------------------------------------------------------- standby

$node->safe_psql('postgres', q{SELECT recsys.wait_for('shop')});
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
# a library that is not preloaded is loaded with the first function
$standby->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$standby->start;

# New events, and a worker that has not seen them.
$node->safe_psql('postgres', q{SELECT recsys.pause('shop')});
$node->safe_psql('postgres', q{INSERT INTO events VALUES (7, 3, 'buy'), (5000, 4, 'view')});
$node->wait_for_catchup($standby);

for my $query (
	'SELECT * FROM shop.recommend(7)',
	'SELECT * FROM shop.recommend(5000, 3)',
	'SELECT * FROM shop.recommend(NULL)',
	'SELECT * FROM shop.recommend_session(ARRAY[1, 2])',
	'SELECT * FROM shop.similar_items(0)',
	'SELECT shop.predict(7, 0)',
	'SELECT * FROM shop.explain(7, 0)',
	'SELECT * FROM shop.popular()',
	'SELECT * FROM shop.recommend_explained(5000, 3)',
	'SELECT * FROM shop.recommend_session_explained(ARRAY[1, 2])',
	'SELECT * FROM shop.explain_neighbors(7, 0)',
	"SELECT item_id FROM site.trending()",
	"SELECT item_id, from_model, reason FROM site.recommend_explained(NULL, 5, 'hot')",
	'SELECT * FROM shop.interactions ORDER BY 1, 2',
	'SELECT * FROM shop.item_similarity ORDER BY 1, 2, 3')
{
	my $there = $standby->safe_psql('postgres', $query);
	is($there, $node->safe_psql('postgres', $query), "standby: $query");
	isnt($there, '', 'and that is something');
}
is($standby->safe_psql('postgres', 'SELECT count(*) FROM generate_series(1, 100) u WHERE wrong(u) IS NOT NULL'),
	0, 'the standby counts the newest events, too');

$standby->stop;
$node->stop;
done_testing();
