# A hot standby: it serves what its primary has flushed and published.  After
# its promotion it has the state, but no slot: the source is rebuilt by itself,
# whatever happens meanwhile, and streams on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oracle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = Oracle::cluster('primary');
my $o = Oracle->new($primary);

$o->run(q{
	CREATE TABLE events (id bigserial PRIMARY KEY, u int, i text, kind text, at timestamptz);
	CREATE INDEX ON events (u);
	ALTER TABLE events REPLICA IDENTITY FULL;
	CREATE TABLE held (i int);
	CREATE FUNCTION more(n int) RETURNS void LANGUAGE sql AS $$
		INSERT INTO events (u, i, kind, at)
		SELECT (hashint4(g) & 1073741823) % 200, 'item ' || (hashint4(-g) & 1073741823) % 80,
			(ARRAY['view','buy'])[1 + g % 2], now() - g * interval '1 second'
		FROM (SELECT g + (SELECT count(*)::int FROM events) AS g FROM generate_series(1, n) g) x
	$$;
	SELECT more(2000);
	SELECT recsys.create_source('shop', 'events', 'u', 'i', 'kind', event_time_column => 'at', weights => '{"view":1,"buy":4}');
	SELECT recsys.create_model('shop', 'knn', 'item_knn', '{"k": 10}');
	CREATE TABLE ratings (u int, i int, value int, at timestamptz);
	ALTER TABLE ratings REPLICA IDENTITY FULL;
	CREATE INDEX ON ratings (u);
	SELECT recsys.create_source('stars', 'ratings', 'u', 'i', event_value_column => 'value', event_time_column => 'at', feedback => 'explicit')});
$o->check('shop', 'on the primary', exact => 1);
ok($o->wait_for('stars'), 'another source');

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
my $s = bless { node => $standby, db => 'postgres' }, 'Oracle';

sub caught_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
}

# ---------------------------------------------------------------------- standby

my @queries = (
	'SELECT * FROM shop.recommend(7, 20)',
	'SELECT * FROM shop.recommend(7, 5, exclude_seen => false)',
	"SELECT * FROM shop.recommend_session(ARRAY['item 3', 'item 4'])",
	"SELECT * FROM shop.similar_items('item 5', 7)",
	"SELECT shop.predict(7, 'item 5')",
	"SELECT * FROM shop.explain(7, 'item 5')",
	'SELECT * FROM shop.popular(20)',
	'SELECT * FROM shop.interactions ORDER BY 1, 2',
	'SELECT * FROM shop.item_similarity ORDER BY 1, 2, 3',
	'SELECT source, events FROM recsys.sources ORDER BY 1',
	'SELECT source, model, state FROM recsys.models ORDER BY 1, 2');

sub same_answers
{
	my ($what) = @_;

	caught_up();
	for my $sql (@queries)
	{
		my $ours = $primary->safe_psql('postgres', $sql);

		isnt($ours, '', "$what: an answer");
		is($standby->safe_psql('postgres', $sql), $ours, "$what: $sql");
	}
}

same_answers('standby');
$o->run('SELECT more(300)');
$o->wait_for('shop');
same_answers('after more events');
# events that the worker has not seen count on both sides, once they are there
$o->run("SELECT recsys.pause('shop'); INSERT INTO events (u, i, kind, at) VALUES (7, 'item 1', 'buy', now()), (5000, 'item 1', 'buy', now())");
same_answers('with events that are not flushed');
isnt($standby->safe_psql('postgres', "SELECT * FROM shop.explain(5000, (SELECT item_id FROM shop.recommend(5000, 1)))"), '',
	'a user whom no state knows');
$o->run("SELECT recsys.resume('shop')");

my ($status, $out, $err) = $standby->psql('postgres', "SELECT recsys.wait_for('shop')");
like($err, qr/ERROR:  cannot wait for source "shop" on a standby.*HINT:  Call recsys\.wait_for\(\) on the primary/s, 'wait_for on a standby');
($status, $out, $err) = $standby->psql('postgres', "SELECT recsys.pause('shop')");
like($err, qr/ERROR:  cannot .*(read-only|recovery)/, 'nor is anything declared there');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM recsys.status WHERE worker_pid IS NOT NULL'), '0', 'no worker runs there');
is($standby->safe_psql('postgres', "SELECT string_agg(DISTINCT state, ', ') FROM recsys.status"), 'stopped', 'the status says so');

# ----------------------------------------------------------------- promotion

# What the primary had not flushed when it went away comes from the table.
$o->run("SELECT recsys.pause('shop'); SELECT recsys.pause('stars')");
ok($primary->poll_query_until('postgres', 'SELECT count(*) = 0 FROM recsys.status WHERE worker_pid IS NOT NULL'), 'workers end');
$o->run("SELECT more(200); DELETE FROM events WHERE id % 9 = 1; INSERT INTO ratings SELECT g % 9, g % 7, g % 5, now() FROM generate_series(1, 50) g;
	SELECT recsys.resume('stars')");
caught_up();
my $numbers = $o->run('SELECT id, key FROM shop.items ORDER BY id');
$primary->stop('immediate');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '0', 'the slots stay behind');
$standby->promote;
is($s->run("SELECT count(*) FROM shop.recommend(7)"), '10', 'it answers at once');
$s->check('stars', 'rebuilt after promotion', exact => 1);

# A crash after its new slot has become permanent, and before its new state is:
# the old state and the new slot must not be taken for a pair.
my $holder = $standby->background_psql('postgres');
$holder->query_safe('BEGIN; INSERT INTO held VALUES (1)');
$s->run("SELECT recsys.resume('shop')");
ok($standby->poll_query_until('postgres', "SELECT state = 'backfilling' FROM recsys.status WHERE source = 'shop'"), 'the other one begins');
is($s->run("SELECT count(*) FROM shop.recommend(7)"), '10', 'old results serve meanwhile');
my $offset = -s $standby->logfile;
$s->run("SELECT recsys.inject_crash('shop', 'slot_persist')");
$s->run("INSERT INTO events (u, i, kind, at) VALUES (7, 'item 2', 'buy', now())");
$holder->query_safe('COMMIT');
eval { $holder->quit };
$standby->wait_for_log(qr/"recsys stream shop" \(PID \d+\) was terminated by signal 9/, $offset);
$s->wait_for_server;
$s->check('shop', 'rebuilt after promotion, and a crash in the middle', exact => 1);
$s->run('SELECT more(300); DELETE FROM events WHERE id % 11 = 1');
$s->check('shop', 'streams on', exact => 1);
my %was = map { split /\|/ } split /\n/, $numbers;
my %is = map { split /\|/ } split /\n/, $s->run('SELECT id, key FROM shop.items ORDER BY id');
is(scalar(grep { defined $is{$_} && $is{$_} ne $was{$_} } keys %was), 0, 'numbers stand for what they stood for');
cmp_ok(scalar(keys %was), '>', 50, 'of many items');
is($s->run('SELECT count(*) FROM recsys.status WHERE last_error IS NOT NULL'), '0', 'no worker has failed');

$standby->stop;
done_testing();
