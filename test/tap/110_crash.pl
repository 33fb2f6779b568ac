# Kill -9 of the worker and immediate shutdowns of the server, under load of
# concurrent writers, at random points and at every named step.  In the end
# nothing is lost and nothing counts twice, and no number has ever changed the
# key that it stands for.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oracle;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Oracle::cluster('main', q{
recsys.flush_interval = '100ms'
recsys.publish_interval = '30ms'
checkpoint_timeout = '30s'
log_statement = none
});
my $o = Oracle->new($node);
my $dir = PostgreSQL::Test::Utils::tempdir;
my $kills = 0;

$o->seed(99);

# ------------------------------------------------------------------- writers

my %script = (
	'one@30' => q{
		\set u random(1, 2000)
		\set i random_zipfian(1, 300, 1.01)
		INSERT INTO events (u, i, kind) VALUES (:u, :i, 'view');},
	# items that nobody has seen before
	'new@20' => q{
		\set u random(1, 2000)
		\set i random(1, 300)
		BEGIN;
		INSERT INTO events (u, i, kind) SELECT :u, nextval('new_item'), 'buy' FROM generate_series(1, 2);
		INSERT INTO events (u, i, kind) SELECT :u + 1, last_value, 'view' FROM new_item;
		INSERT INTO events (u, i, kind) VALUES (:u, :i, 'view');
		COMMIT;},
	'change@10' => q{
		\set id random(1, 30000)
		BEGIN;
		UPDATE events SET kind = 'buy' WHERE id = :id;
		SAVEPOINT a;
		DELETE FROM events WHERE id = :id + 1;
		RELEASE a;
		COMMIT;},
	'delete@10' => q{
		\set id random(1, 30000)
		DELETE FROM events WHERE id BETWEEN :id AND :id + 2;},
	'half@10' => q{
		\set u random(1, 2000)
		BEGIN;
		INSERT INTO events (u, i, kind) VALUES (:u, 1, 'buy');
		SAVEPOINT a;
		INSERT INTO events (u, i, kind) VALUES (:u, 2, 'buy');
		UPDATE events SET u = :u WHERE id = :u;
		ROLLBACK TO a;
		INSERT INTO events (u, i, kind) VALUES (:u, 3, NULL);
		COMMIT;},
	'lost@5' => q{
		BEGIN;
		INSERT INTO events (u, i, kind) SELECT g, g, 'buy' FROM generate_series(1, 100) g;
		ROLLBACK;},
	'rate@15' => q{
		\set u random(1, 300)
		\set i random(1, 40)
		\set id random(1, 10000)
		BEGIN;
		INSERT INTO ratings (u, i, value, at) VALUES (:u, :i, 1 + :id % 5, clock_timestamp());
		UPDATE ratings SET value = 1 + :id % 5, at = at - interval '1 hour' WHERE id = :id;
		DELETE FROM ratings WHERE id = :id + 1;
		COMMIT;},
	# the last rating, so that what counts has to be read again
	'unrate@15' => q{
		\set u random(1, 300)
		DELETE FROM ratings WHERE id = (SELECT id FROM ratings WHERE u = :u ORDER BY at DESC LIMIT 1);},
	'many@3' => q{
		\set u random(1, 1900)
		INSERT INTO events (u, i, kind) SELECT :u + g, 1 + (:u * g) % 300, 'view' FROM generate_series(1, 60) g;});

my @files;
for my $name (sort keys %script)
{
	my ($file, $weight) = split /@/, $name;
	append_to_file("$dir/$file.sql", $script{$name});
	push @files, "-f '$dir/$file.sql\@$weight'";
}

my $writers;
sub start_writers
{
	unlink "$dir/stop";
	$writers = IPC::Run::start([ 'bash', '-c', "while [ ! -e '$dir/stop' ]; do
		pgbench -n -c 3 -T 1 -R 300 -h '" . $node->host . "' -p " . $node->port . " @files postgres || sleep 0.05; done >>'$dir/out' 2>&1" ]);
}

sub stop_writers
{
	append_to_file("$dir/stop", '');
	$writers->finish;
}

# --------------------------------------------------------------------- kills

# Runs one command, however often the server goes away.
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

sub killed
{
	my ($offset, $what) = @_;
	$node->wait_for_log(qr/"recsys stream \w+" \(PID \d+\) was terminated by signal 9/, $offset);
	$kills++;
	$o->wait_for_server;
	pass("killed $what");
}

sub kill_worker
{
	my $offset = -s $node->logfile;
	my $pid = insist("SELECT worker_pid FROM recsys.status WHERE source = 'shop'");

	select(undef, undef, undef, $o->rand(250) / 1000);
	# it may have gone for another reason since
	return if $pid eq '' || !kill(9, $pid);
	killed($offset, 'at a random point');
}

sub stop_server
{
	select(undef, undef, undef, $o->rand(250) / 1000);
	$node->stop('immediate');
	$node->start;
	$kills++;
	pass('immediate shutdown');
}

# At the n-th pass of a step, which $then leads to.
sub kill_at
{
	my ($source, $step, $n, $then) = @_;
	my $offset = -s $node->logfile;

	insist("SELECT recsys.inject_crash('$source', '$step', $n)");
	&$then if $then;
	killed($offset, "at $step, pass $n");
}

# The creation of a slot waits for transactions: time to prepare for its steps.
sub held
{
	my ($start, $source, $step, $n) = @_;
	my $offset = -s $node->logfile;
	my $holder = $node->background_psql('postgres');

	$holder->query_safe("BEGIN; INSERT INTO held VALUES (1)");
	$start->();
	insist("SELECT recsys.inject_crash('$source', '$step', $n)");
	$holder->query_safe('COMMIT');
	eval { $holder->quit };
	killed($offset, "at $step, pass $n");
}

# --------------------------------------------- numbers and what they stand for

my %key_of;
my $changed = 0;
my $compared = 0;
sub look_at_numbers
{
	my $rows = insist("WITH used AS (SELECT item_id FROM shop.knn_neighbors UNION SELECT unnest(neighbors) FROM shop.knn_neighbors)
		SELECT item_id, coalesce(key::text, 'none') FROM used LEFT JOIN shop.items ON id = item_id");

	# what was read may be lost with commits that are not on disk yet
	insist('SET synchronous_commit = on; INSERT INTO held VALUES (2)');
	for my $row (split /\n/, $rows)
	{
		my ($id, $key) = split /\|/, $row;

		if ($key eq 'none') { diag("number $id is published, but stands for nothing"); $changed++; }
		elsif (!defined $key_of{$id}) { $key_of{$id} = $key; }
		elsif ($key_of{$id} ne $key) { diag("number $id stood for $key_of{$id}, now for $key"); $changed++; }
		else { $compared++; }
	}
}

sub check
{
	my ($what) = @_;
	stop_writers();
	look_at_numbers();
	$o->check('shop', $what, exact => 1);
	$o->check('stars', $what, exact => 1);
	look_at_numbers();
	is($changed, 0, "$what: every number stands for what it stood for");
	start_writers();
}

# ---------------------------------------------------------------------- start

$o->run(q{
	CREATE TABLE held (i int);
	CREATE SEQUENCE new_item START 1000000;
	CREATE TABLE events (id bigserial PRIMARY KEY, u bigint, i int, kind text);
	CREATE INDEX ON events (u);
	ALTER TABLE events REPLICA IDENTITY FULL;
	INSERT INTO events (u, i, kind) SELECT 1 + (hashint4(g) & 1073741823) % 2000, 1 + (hashint4(-g) & 1073741823) % 300, 'view'
		FROM generate_series(1, 5000) g;
	CREATE TABLE ratings (id bigserial PRIMARY KEY, u int, i int, value int, at timestamptz);
	CREATE INDEX ON ratings (u);
	ALTER TABLE ratings REPLICA IDENTITY FULL;
	INSERT INTO ratings (u, i, value, at) SELECT 1 + (hashint4(g) & 1073741823) % 300, 1 + (hashint4(-g) & 1073741823) % 40, 1 + g % 5,
		now() - g * interval '1 minute' FROM generate_series(1, 6000) g;
	SELECT recsys.create_source('stars', 'ratings', 'u', 'i', event_value_column => 'value', event_time_column => 'at', feedback => 'explicit');
	SELECT recsys.create_model('stars', 'knn', 'item_knn', '{"k": 8}');
});
ok($o->wait_for('stars'), 'a source of ratings');
my $create = sub {
	insist(q{SELECT recsys.create_source('shop', 'events', 'u', 'i', 'kind', weights => '{"view":1,"buy":4}', history_limit => 10000);
		SELECT recsys.create_model('shop', 'knn', 'item_knn', '{"k": 8}')});
};
start_writers();
held($create, 'shop', 'slot_create', 1);
# it starts again at once: another transaction holds it up
for my $step ([ 'backfill', 2 ], [ 'slot_persist', 1 ], [ 'backfill', 5 ], [ 'slot_create', 1 ])
{
	# the catalogue is as it was, the worker begins again; pausing has it wait for us
	$o->wait_for('shop');
	my $slot = insist("SELECT slot FROM shop.state");
	insist("SELECT recsys.pause('shop')");
	$node->poll_query_until('postgres', "SELECT NOT bool_or(active) FROM pg_replication_slots WHERE slot_name = '$slot'") or BAIL_OUT('it does not pause');
	insist("SELECT pg_drop_replication_slot('$slot')");
	held(sub { insist("SELECT recsys.resume('shop')") }, 'shop', @$step);
}
ok($o->wait_for('shop'), 'streaming');
check('creation and rebuilding');

# what is not on disk goes with the server, too
$node->append_conf('postgresql.conf', 'synchronous_commit = off');
$node->reload;

for my $round (1 .. 3)
{
	for my $step ('apply', 'publish', 'flush', 'confirm')
	{
		$o->wait_for('shop') if $o->rand(2);
		look_at_numbers();
		kill_at('shop', $step, 1 + $o->rand($step eq 'apply' ? 60 : 4));
		look_at_numbers();
	}
	kill_worker();
	$o->wait_for('shop') if $round == 2;
	kill_at('shop', 'resync', 1, sub { insist("SELECT recsys.resync('shop')") });
	stop_server();
	look_at_numbers();
}
check('named steps');

for my $round (1 .. 20)
{
	look_at_numbers();
	$round % 3 ? kill_worker() : stop_server();
}
# in quick succession, before the worker gets anywhere
kill_at('shop', 'apply', 1), kill_at('shop', 'apply', 1), kill_at('shop', 'flush', 1), kill_at('shop', 'publish', 1);
check('random points');

cmp_ok($kills, '>=', 30, "$kills kills");
cmp_ok($compared, '>', 1000, "$compared comparisons of numbers with their keys");
cmp_ok(scalar(grep { $_ >= 1000000 } values %key_of), '>', 50, 'of items that came up under way, too');
stop_writers();
$node->stop;
done_testing();
