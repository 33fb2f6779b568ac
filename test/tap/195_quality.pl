# Models measured by the events that come in: each event that is asked of counts
# once, however often the worker is killed, and a sample is the same sample again.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oracle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Oracle::cluster('main', q{
recsys.flush_interval = '200ms'
recsys.publish_interval = '30ms'
log_statement = none
});
my $o = Oracle->new($node);

sub insist
{
	my ($sql) = @_;
	for my $try (1 .. 1200)
	{
		my ($status, $out, $err) = $o->try($sql);
		return $out if $status == 0;
		BAIL_OUT("$sql: $err") if $err =~ /^psql:[^:]*:\d+: ERROR/ && $err !~ /not known to the launcher/;
		select(undef, undef, undef, 0.05);
	}
	BAIL_OUT("no success: $sql");
}

$o->run(q{
	CREATE TABLE events (u int, i int, kind text, at timestamptz, mark int);
	CREATE INDEX ON events (u);
	ALTER TABLE events REPLICA IDENTITY FULL;
	INSERT INTO events SELECT 1 + hashint4(g) & 255, 1 + (hashint4(-g) & 63), 'view', timestamptz '2025-01-01' + g * interval '1 second', 0
		FROM generate_series(1, 3000) g;
	SELECT recsys.create_source('shop', 'events', 'u', 'i', 'kind', event_time_column => 'at', weights => '{"view": 1}', history_limit => 1000);
	SELECT recsys.create_model('shop', 'knn', 'item_knn'), recsys.create_model('shop', 'top', 'popular'),
		recsys.create_model('shop', 'next', 'sequence_knn');
	SELECT recsys.track_quality('shop', 1, per_minute => 1000000, keep => NULL);
});
ok($o->wait_for('shop'), 'streaming');

# --------------------------------------------- each event once, at each step

# of users and items that nobody has together, so that each is asked of
my $user = 1000;
my $asked = 0;
sub events
{
	my ($n, $more) = @_;
	my $sql = '';

	for my $t (1 .. 10)
	{
		$user += 1;
		$asked += $n;
		$sql .= "BEGIN; INSERT INTO events SELECT $user, g, 'view', timestamptz '2025-02-01' + g * interval '10 seconds', 1 FROM generate_series(1, $n) g;
			INSERT INTO events SELECT $user, g, 'view', timestamptz '2025-02-01', 1 FROM generate_series(1, 3) g;	-- has them
			INSERT INTO events SELECT $user, g, 'other', timestamptz '2025-02-01', 1 FROM generate_series(30, 40) g;	-- do not count
			INSERT INTO events VALUES ($user, 1000000, NULL, now(), 1);
			SAVEPOINT a; INSERT INTO events SELECT $user, g, 'view', timestamptz '2025-02-01', 1 FROM generate_series(41, 50) g; ROLLBACK TO a; COMMIT;\n";
	}
	return $sql . ($more || '');
}

sub check
{
	my ($what) = @_;
	ok($o->wait_for('shop'), "$what: all is applied") or return;
	is($o->run("SELECT model, sum(events), sum(hits) BETWEEN 1 AND sum(events) - 1, sum(hits) >= sum(reciprocal_ranks), min(asking_ms) > 0 FROM shop.quality_windows WHERE k = 10 GROUP BY 1 ORDER BY 1"),
		join("\n", map { "$_|$asked|t|t|t" } 'knn', 'next', 'top'), "$what: each event is counted once");
	is($o->run("SELECT string_agg(DISTINCT extract(minute FROM window_start)::text, ',') FROM shop.quality_windows WHERE date_trunc('minute', window_start) = window_start AND window_start < '2025-02-02'"),
		'0,1,2,3', "$what: in the minute of its time");
}

$o->run(events(20));
check('events');
for my $step ([ 'apply', 4 ], [ 'flush', 1 ], [ 'confirm', 1 ], [ 'publish', 1 ], [ 'apply', 9 ])
{
	my ($name, $pass) = @$step;
	my $offset = -s $node->logfile;

	insist("SELECT recsys.inject_crash('shop', '$name', $pass)");
	$o->try(events(20));
	$node->wait_for_log(qr/"recsys stream shop" \(PID \d+\) was terminated by signal 9/, $offset);
	$o->wait_for_server;
	# what of it was committed
	$asked = insist("SELECT count(DISTINCT (u, i)) FROM events WHERE mark = 1 AND kind = 'view'");
	check("killed at $name");
}
$o->run("DELETE FROM events WHERE mark = 1 AND i % 2 = 0");
check('nothing is taken back');
$o->run("SELECT recsys.resync('shop')");
check('nor counted again by a resync');

# ------------------------------------------------------- the same sample again

$o->run("SELECT recsys.track_quality('shop', 0.3, k => 3, per_minute => 1000000, keep => NULL)");
ok($o->wait_for('shop'), 'a sample');
my $offset = -s $node->logfile;
# counted in memory, lost, and counted again
$node->append_conf('postgresql.conf', "recsys.flush_interval = '10min'");
$node->reload;
ok($o->wait_for('shop'), 'flushed no more by itself');
insist("SELECT recsys.inject_crash('shop', 'flush', 1)");
$o->run(events(20, events(20)));
$o->try("SELECT recsys.wait_for('shop')");
$node->wait_for_log(qr/"recsys stream shop" \(PID \d+\) was terminated by signal 9/, $offset);
$o->wait_for_server;
ok($o->wait_for('shop'), 'applied twice, counted once');
my $sampled = $o->run("SELECT sum(events) FROM shop.quality_windows WHERE k = 3 AND model = 'top'");
cmp_ok($sampled, '>', 60, "$sampled of 400");
cmp_ok($sampled, '<', 180, "$sampled of 400");
is($o->run("SELECT string_agg(DISTINCT n::text, ',') FROM (SELECT sum(events) AS n FROM shop.quality_windows WHERE k = 3 GROUP BY model) x"), $sampled, 'the same for all models');
$o->check('shop', 'histories', exact => 1);

# ------------------------------------------------ a model that goes, and comes

$o->run("SELECT recsys.drop_model('shop', 'next'); SELECT recsys.create_model('shop', 'people', 'user_knn');
	SELECT recsys.track_quality('shop', 1, k => 4, per_minute => 1000000, keep => NULL)");
ok($o->wait_for('shop'), 'another model');
$o->run(events(5));
ok($o->wait_for('shop'), 'and events');
is($o->run("SELECT model, sum(events) FROM shop.quality_windows WHERE k = 4 GROUP BY 1 ORDER BY 1"), "knn|50\npeople|50\ntop|50", 'models that there are');
$o->run("SELECT recsys.untrack_quality('shop');" . events(5));
ok($o->wait_for('shop'), 'untracked');
unlike(slurp_file($node->logfile), qr/could not be asked/, 'no question failed');
$node->stop;
done_testing();
