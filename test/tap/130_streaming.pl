# Transactions larger than logical_decoding_work_mem arrive while they are in
# progress; data larger than recsys.memory goes through tables.  Both are
# slower, and the same.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oracle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Oracle::cluster('main', q{
logical_decoding_work_mem = '64kB'
max_prepared_transactions = 5
log_statement = none
});
my $o = Oracle->new($node);
my $g = 0;

# Rows of n events, of users and items that depend on nothing but their numbers.
sub rows
{
	my ($table, $n) = @_;
	my $from = $g + 1;

	$g += $n;
	return "INSERT INTO $table (u, i, kind) SELECT 'user ' || hash(g, 1) % 3000, hash(g, 2) % 400,
		(ARRAY['view','view','buy',NULL])[1 + hash(g, 3) % 4] FROM generate_series($from, $g) g;\n";
}

sub streamed
{
	return $o->run("SELECT coalesce(sum(stream_txns), 0) FROM pg_stat_replication_slots");
}

$o->run(q{
	CREATE FUNCTION hash(bigint, bigint) RETURNS int LANGUAGE sql AS 'SELECT (hashint8extended($1, $2) & 1073741823)::int';
	CREATE TABLE events (id bigserial PRIMARY KEY, u text, i int, kind text, fat text);
	CREATE INDEX ON events (u);
	ALTER TABLE events REPLICA IDENTITY FULL;
	SELECT recsys.create_source('big', 'events', 'u', 'i', 'kind', weights => '{"view":1,"buy":4}');
	SELECT recsys.create_model('big', 'knn', 'item_knn', '{"k": 10}')});
ok($o->wait_for('big'), 'a source');

# ------------------------------------------------------------ subtransactions

my $before = streamed();
$o->run('BEGIN;' . rows('events', 3000) . 'SAVEPOINT a;' . rows('events', 3000) . 'SAVEPOINT b;' . rows('events', 3000) .
	'RELEASE b;' . rows('events', 500) . 'ROLLBACK TO a;' . rows('events', 1000) . 'SAVEPOINT c;' . rows('events', 2000) . 'RELEASE c;' .
	"DELETE FROM events WHERE id % 7 = 1; SAVEPOINT d; DELETE FROM events WHERE id % 7 = 2; UPDATE events SET kind = 'buy'; ROLLBACK TO d;" .
	"UPDATE events SET i = i + 1 WHERE id % 5 = 1; COMMIT");
$o->check('big', 'savepoints, kept and rolled back', exact => 1);
# the statistics come a moment later
ok($node->poll_query_until('postgres', "SELECT sum(stream_txns) > $before FROM pg_stat_replication_slots"), 'transactions are streamed');

$o->run(q{
	DO $$ BEGIN
		FOR n IN 1 .. 400 LOOP
			BEGIN
				INSERT INTO events (u, i, kind) SELECT 'user ' || n * 7 % 3000, (n * g) % 400, 'view' FROM generate_series(1, 20) g;
				IF n % 3 = 0 THEN
					RAISE division_by_zero;
				END IF;
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
		END LOOP;
	END $$});
$o->check('big', 'hundreds of subtransactions', exact => 1);

$o->run('BEGIN;' . rows('events', 8000) . 'SAVEPOINT a;' . rows('events', 2000) . 'RELEASE a; ROLLBACK');
$o->check('big', 'rolled back entirely', exact => 1);

# what is no row change can be rolled back, too
$o->run('BEGIN;' . rows('events', 3000) . "SAVEPOINT a; SELECT recsys.forget_user('big', 'user 5', delete_events => true); TRUNCATE events;" .
	rows('events', 3000) . 'ROLLBACK TO a;' . rows('events', 1000) . 'COMMIT');
$o->check('big', 'forget_user and TRUNCATE, rolled back', exact => 1);
like($o->run("SELECT count(*) FROM big.interactions WHERE user_id = 'user 5'"), qr/^[1-9]/, 'user 5 is not forgotten');
$o->run('BEGIN;' . rows('events', 3000) . "SAVEPOINT a; SELECT recsys.forget_user('big', 'user 5', delete_events => true); RELEASE a;
	INSERT INTO events (u, i, kind) VALUES ('user 5', 3, 'buy');" . rows('events', 100) . 'COMMIT');
$o->check('big', 'forgotten, and back in the same transaction', exact => 1);
$o->run('BEGIN;' . rows('events', 3000) . 'SAVEPOINT a; TRUNCATE events;' . rows('events', 6000) . 'RELEASE a; COMMIT');
$o->check('big', 'TRUNCATE in the middle', exact => 1);

$o->run(q{BEGIN; INSERT INTO events (u, i, kind, fat) SELECT 'user ' || g % 90, g % 50, 'buy', (SELECT string_agg(md5((g * x)::text), '') FROM generate_series(1, 90) x)
	FROM generate_series(1, 300) g; UPDATE events SET kind = 'view' WHERE fat IS NOT NULL AND id % 2 = 0; COMMIT});
$o->check('big', 'TOAST', exact => 1);

# ------------------------------------------- several at a time, and interrupted

my $a = $node->background_psql('postgres');
my $b = $node->background_psql('postgres');
$a->query_safe('BEGIN;' . rows('events', 3000));
$b->query_safe('BEGIN;' . rows('events', 3000) . 'SAVEPOINT x;' . rows('events', 3000));
$o->run(rows('events', 50));
ok($o->wait_for('big'), 'the stream has passed their first half');
$a->query_safe(rows('events', 3000));
$b->query_safe('ROLLBACK TO x;' . rows('events', 2000));
$b->query_safe('COMMIT');
$o->run(rows('events', 50));
$o->check('big', 'two at a time, one still open', exact => 1);
my $worker = $o->run('SELECT worker_pid FROM recsys.status');
$o->run("SELECT pg_terminate_backend($worker)");
ok($node->poll_query_until('postgres', "SELECT worker_pid <> $worker AND state = 'streaming' FROM recsys.status"), 'a new worker');
$o->check('big', 'in the middle of a transaction', exact => 1);
$a->query_safe(rows('events', 3000) . 'SAVEPOINT x;' . rows('events', 2000) . 'ROLLBACK TO x;' . rows('events', 10));
ok($o->wait_for('big'), 'the stream goes on');
$o->run("SELECT recsys.pause('big')");
$a->query_safe(rows('events', 3000));
$o->run("SELECT recsys.resume('big')");
ok($o->wait_for('big'), 'paused and resumed under way');
$a->query_safe('COMMIT');
$o->check('big', 'and its end', exact => 1);
$a->query_safe('BEGIN;' . rows('events', 4000) . "PREPARE TRANSACTION 'p'");
$o->run(rows('events', 50));
$o->check('big', 'prepared', exact => 1);
$node->restart;
$o->check('big', 'prepared, and a restart', exact => 1);
$o->run("COMMIT PREPARED 'p'");
$o->check('big', 'prepared and committed', exact => 1);

sub crash
{
	my ($what, $do) = @_;
	my $offset = -s $node->logfile;

	$do->();
	$node->wait_for_log(qr/"recsys stream \w+" \(PID \d+\) was terminated by signal 9/, $offset);
	ok($o->wait_for_server, "crash $what");
}

$a = $node->background_psql('postgres');
$a->query_safe('BEGIN;' . rows('events', 6000));
ok($o->wait_for('big'), 'the stream has passed it');
crash('in the middle of a transaction', sub { kill 9, $o->run('SELECT worker_pid FROM recsys.status') });
$o->check('big', 'a transaction lost in a crash', exact => 1);
for my $step ('apply', 'flush', 'confirm', 'publish')
{
	crash("at $step of a large transaction", sub {
		$o->run("SELECT recsys.inject_crash('big', '$step')");
		$o->try('BEGIN;' . rows('events', 3000) . 'SAVEPOINT a;' . rows('events', 3000) . 'ROLLBACK TO a;' . rows('events', 500) . 'COMMIT');
	});
	$o->check('big', "a crash at $step", exact => 1);
}

# ------------------------------------------------------- more than memory holds

$node->append_conf('postgresql.conf', "recsys.memory = '8MB'\nlogical_decoding_work_mem = '1MB'");
$node->restart;
$o->run(q{
	TRUNCATE events;
	-- long keys, so that dictionaries fill memory as well
	INSERT INTO events (u, i, kind) SELECT 'a user with a long key, number ' || g % 25000, hash(g, 2) % 1500, 'view' FROM generate_series(1, 75000) g;
	CREATE TABLE stars (id bigserial PRIMARY KEY, u text, i int, value int, at timestamptz);
	CREATE INDEX ON stars (u);
	ALTER TABLE stars REPLICA IDENTITY FULL;
	INSERT INTO stars (u, i, value, at) SELECT 'a user with a long key, number ' || g % 6000, hash(g, 2) % 1500, 1 + hash(g, 3) % 5,
		timestamptz '2024-01-01' + g * interval '1 second' FROM generate_series(1, 25000) g;
	SELECT recsys.create_source('stars', 'stars', 'u', 'i', event_value_column => 'value', event_time_column => 'at', feedback => 'explicit');
	SELECT recsys.create_model('stars', 'knn', 'item_knn', '{"k": 10}')});
$o->check('big', 'one transaction larger than memory', exact => 1);
$o->check('stars', 'a backfill larger than memory', exact => 1);
ok($node->log_contains(qr/item pairs do not fit into recsys.memory/), 'pairs are not kept');

# A key is looked up in its table only after it has had to leave memory.
sub reads_back
{
	my ($what) = @_;

	ok($node->poll_query_until('postgres', "SELECT idx_scan > 100 FROM pg_stat_user_indexes
		WHERE schemaname = 'big' AND indexrelname = 'users_key_key'"), "$what: keys were evicted");
}

sub change
{
	my ($source, $table, $more) = @_;
	my $users = $source eq 'big' ? 25000 : 6000;
	my $columns = $source eq 'big' ? "'buy'" : "5, timestamptz '2025-01-01' + g * interval '1 second'";
	my $names = $source eq 'big' ? 'u, i, kind' : 'u, i, value, at';

	$o->run("BEGIN;
		DELETE FROM $table WHERE id % 11 = 1;
		INSERT INTO $table ($names) SELECT 'a user with a long key, number ' || hash(g, 4) % ($users + 1000), hash(g, 5) % 1500, $columns FROM generate_series($g + 1, $g + 8000) g;
		SAVEPOINT a;
		DELETE FROM $table WHERE id % 5 = 1;
		ROLLBACK TO a;
		UPDATE $table SET i = (i + 1) % 1500 WHERE id % 29 = 2;
		SELECT recsys.forget_user('$source', 'a user with a long key, number 77', delete_events => true);
		INSERT INTO $table ($names) SELECT 'a user with a long key, number 77', g, $columns FROM generate_series(1, 3) g;
		INSERT INTO $table ($names) SELECT 'somebody new ' || $g, g, $columns FROM generate_series(1, 3) g;
		SELECT recsys.forget_user('$source', 'somebody new ' || $g, delete_events => true);
		$more COMMIT");
	$g += 8000;
	# many small ones
	$o->run(join(';', map { "INSERT INTO $table ($names) SELECT 'a user with a long key, number ' || $_ * 37 % $users, $_ % 1500, $columns FROM generate_series(1, 1) g" } $g + 1 .. $g + 1000));
	$g += 1000;
}

for my $s ([ 'big', 'events' ], [ 'stars', 'stars' ])
{
	change(@$s, '');
	$o->check($s->[0], 'changes beyond memory', exact => 1);
	is($o->run("SELECT count(*) FROM $s->[0].users WHERE key LIKE 'somebody new%'"), '0', 'somebody new is forgotten');
}
reads_back('changes');
$node->restart;
for my $s ([ 'big', 'events' ], [ 'stars', 'stars' ])
{
	change(@$s, '');
	$o->check($s->[0], 'and after a restart', exact => 1);
}
$o->run("SELECT recsys.create_model('big', 'shrunk', 'item_knn', '{\"k\": 5, \"shrinkage\": 3, \"min_support\": 2}')");
for my $step ('apply', 'flush', 'confirm')
{
	crash("at $step, with state written in the middle of a transaction", sub {
		$o->run("SELECT recsys.inject_crash('big', '$step')");
		$o->try("BEGIN; DELETE FROM events WHERE id % 13 = 3; UPDATE events SET kind = 'buy' WHERE id % 17 = 3; COMMIT");
	});
	$o->check('big', "a crash at $step beyond memory", exact => 1);
}
my $item = $o->run("SELECT key FROM stars.items WHERE users > 3 ORDER BY id LIMIT 1");
$o->run("BEGIN; DELETE FROM stars WHERE i = $item; SELECT recsys.forget_item('stars', '$item'); COMMIT");
$o->check('stars', 'forget_item beyond memory', exact => 1);
is($o->run("SELECT count(*) FROM stars.items WHERE key = $item"), '0', 'the item is forgotten');
$o->run("SELECT recsys.resync('big'); SELECT recsys.resync('stars')");
$o->check('big', 'resync beyond memory', exact => 1);
$o->check('stars', 'resync beyond memory', exact => 1);
$o->run('TRUNCATE stars');
$o->check('stars', 'TRUNCATE beyond memory', exact => 1, empty => 1);
$o->run("INSERT INTO stars (u, i, value, at) SELECT 'a user with a long key, number ' || g % 6000, hash(g, 2) % 1500, 1 + hash(g, 3) % 5,
	timestamptz '2024-01-01' + g * interval '1 second' FROM generate_series(1, 12000) g");
$o->check('stars', 'and filled again', exact => 1);
is($o->run('SELECT count(*) FROM recsys.status WHERE last_error IS NOT NULL'), '0', 'no worker has failed');
ok($node->poll_query_until('postgres', "SELECT n_tup_ins > 0 AND n_tup_del > 0 FROM pg_stat_user_tables WHERE schemaname = 'big' AND relname = 'profiles'"),
	'autovacuum hears of rows that are replaced');
unlike(slurp_file($node->logfile), qr/lost connection|PANIC|TRAP/, 'nor a server');

$node->stop;
done_testing();
