# Workers of sources in more than one database: they come and go with their
# source and their database, survive errors and crashes, and stay out of the way
# of commands that want a database for themselves.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'recsys'
wal_level = logical
max_replication_slots = 20
max_worker_processes = 20
max_prepared_transactions = 5
restart_after_crash = on
recsys.restart_delay = '50ms'
});
$node->start;

# Sends sql to a database; the result, or 'ERROR: ...' with its hint.
sub ask
{
	my ($db, $sql) = @_;
	my ($status, $out, $err) = $node->psql($db, $sql);
	return $out if $status == 0;
	$err =~ s/^psql:[^ ]*: //mg;
	return $err;
}

# A database with a source "shop" on table events.
sub create_source
{
	my ($db, $name, $table) = @_;
	$node->safe_psql($db, "
		CREATE TABLE $table (u int, i int);
		CREATE INDEX ON $table (u);
		SELECT recsys.create_source('$name', '$table', 'u', 'i')");
}

sub wait_for
{
	my ($db, $name, $test) = @_;
	is(ask($db, "SELECT recsys.wait_for('$name')"), 't', $test);
}

sub users
{
	my ($db, $name) = @_;
	return $node->safe_psql($db, "SELECT count(*) FROM $name.users");
}

sub slots
{
	my ($db) = @_;
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_replication_slots WHERE database = '$db'");
}

sub state_is
{
	my ($db, $name, $condition, $test) = @_;
	ok( $node->poll_query_until($db,
			"SELECT $condition FROM recsys.status WHERE source = '$name'"), $test)
	  or diag($node->safe_psql($db, 'TABLE recsys.status'));
}

# ---------------------------------------------------------- two databases

for my $db ('one', 'two')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION recsys');
	create_source($db, 'shop', 'events');
}
for my $db ('one', 'two')
{
	wait_for($db, 'shop', "a source in database $db streams");
	$node->safe_psql($db, 'INSERT INTO events SELECT g, g % 3 FROM generate_series(1, 10) g');
	wait_for($db, 'shop', "and takes events");
	is(users($db, 'shop'), '10', 'of its own database');
}
$node->safe_psql('one', 'INSERT INTO events VALUES (11, 1)');
wait_for('one', 'shop', 'one database goes on');
is(users('one', 'shop') . ' ' . users('two', 'shop'), '11 10', 'without the other');
is($node->safe_psql('one', 'SELECT state, rejected, unmatched, failures, last_error IS NULL FROM recsys.status'),
	'streaming|0|0|0|t', 'the status says so');

# -------------------------------------------------------------- wait_for

like(ask('one', "SELECT recsys.wait_for('none')"), qr/source "none" does not exist/,
	'wait_for an unknown source');
like(ask('one', "BEGIN; CREATE TABLE e2 (u int, i int); SELECT recsys.create_source('s2', 'e2', 'u', 'i'); SELECT recsys.wait_for('s2')"),
	qr/source "s2" was created in this transaction.*HINT:  COMMIT first/s,
	'wait_for a source that is not committed');
is(ask('one', "SELECT recsys.wait_for('shop', pg_current_wal_insert_lsn() + 1000000000, '200 ms')"), 'f',
	'wait_for a position that is not written yet');
is(ask('one', "SELECT recsys.wait_for('shop', '0/1', '0')"), 't', 'wait_for the past takes no time');
is(ask('one', "BEGIN; INSERT INTO events VALUES (12, 1); SELECT recsys.wait_for('shop'); COMMIT"), 't',
	'wait_for in a transaction that has written');

# A slot is created only when all transactions have ended: the source can't
# become ready while one that waits for it has written.
{
	my $writer = $node->background_psql('one');
	$writer->query_safe('BEGIN; INSERT INTO events VALUES (13, 1)');
	create_source('one', 'late', 'late_events');
	like(ask('one', "SELECT recsys.wait_for('late', timeout => '300 ms')"), qr/^f$/,
		'a new source waits for older transactions');
	like(ask('one', "BEGIN; INSERT INTO events VALUES (14, 1); SELECT recsys.wait_for('late')"),
		qr/source "late" is still creating and waits for this transaction.*HINT:  COMMIT first/s,
		'and can not be waited for by one of them');
	$writer->query_safe('COMMIT');
	$writer->quit;
	wait_for('one', 'late', 'then it starts');
}

# ----------------------------------------------------- pause, resume, drop

$node->safe_psql('one', "SELECT recsys.pause('late')");
like(ask('one', "SELECT recsys.wait_for('late')"),
	qr/source "late" is paused.*HINT:  SELECT recsys\.resume\('late'\);/s, 'wait_for a paused source');
state_is('one', 'late', "state = 'paused' AND worker_pid IS NULL", 'its worker ends');
$node->safe_psql('one', 'INSERT INTO late_events VALUES (1, 1)');
like(ask('one', "BEGIN; SELECT recsys.resume('late'); SELECT recsys.wait_for('late')"),
	qr/source "late" was resumed in this transaction/, 'wait_for a resume that is not committed');
$node->safe_psql('one', "SELECT recsys.resume('late')");
wait_for('one', 'late', 'resumed, it goes on');
is(users('one', 'late'), '1', 'with what it has missed');
$node->safe_psql('one', "SELECT recsys.pause('late')");
$node->safe_psql('one', "SELECT recsys.resume('late')");
wait_for('one', 'late', 'a short pause');

is(slots('one'), '2', 'a slot for each source');
$node->safe_psql('one', "SELECT recsys.drop_source('late')");
$node->poll_query_until('one', "SELECT count(*) = 1 FROM pg_replication_slots WHERE database = 'one'");
is(slots('one'), '1', 'the slot goes with the source');

# ------------------------------------------------------------ transactions

like(ask('one', "BEGIN; SELECT recsys.pause('shop'); PREPARE TRANSACTION 'p'"),
	qr/cannot PREPARE a transaction that has declared, changed or dropped recsys sources/,
	'declarations can not be prepared');
$node->safe_psql('one', "BEGIN; INSERT INTO events VALUES (15, 1); PREPARE TRANSACTION 'p'");
$node->safe_psql('one', "COMMIT PREPARED 'p'");
ok($node->poll_query_until('one', 'SELECT lag_seconds = 0 FROM recsys.status'), 'a prepared transaction is applied');

# ------------------------------------------------------- errors and crashes

# A table that is missing makes the worker fail.  It comes back by itself.
$node->safe_psql('one', 'ALTER TABLE shop.users RENAME TO hidden');
$node->safe_psql('one', 'INSERT INTO events VALUES (16, 1)');
ask('one', "SELECT recsys.wait_for('shop', timeout => '1 s')");
state_is('one', 'shop', "failures > 1 AND last_error ~ 'shop' AND last_error_at > now() - interval '1 min'",
	'failures are counted, the last error is shown');
like(ask('one', "SET client_min_messages = error; SELECT recsys.wait_for('shop', timeout => '100 ms')"),
	qr/^f$/, 'nobody waits for ever');
$node->safe_psql('one', 'ALTER TABLE shop.hidden RENAME TO users');
wait_for('one', 'shop', 'the worker recovers');
my $users = users('one', 'shop');
is($users, $node->safe_psql('one', 'SELECT count(DISTINCT u) FROM events'), 'and has lost nothing');
wait_for('two', 'shop', 'the other database streams all the time');

my $before = $node->safe_psql('one', 'SELECT worker_pid FROM recsys.status');
$node->safe_psql('one', "SELECT pg_terminate_backend($before)");
state_is('one', 'shop', "worker_pid <> $before AND state = 'streaming'", 'a worker that is terminated comes back');

$node->safe_psql('one', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'recsys launcher'");
$before = $node->safe_psql('one', 'SELECT worker_pid FROM recsys.status');
ok($node->poll_query_until('one', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'recsys launcher'"),
	'so does the launcher');
is($node->safe_psql('one', "SELECT worker_pid FROM recsys.status"), $before, 'while workers go on');
$node->safe_psql('one', "SELECT pg_terminate_backend($before)");
state_is('one', 'shop', "worker_pid <> $before AND state = 'streaming'", 'and are restarted by the new launcher');

like(ask('one', "SELECT recsys.inject_crash('shop', 'lunch')"), qr/unknown step "lunch"/, 'an unknown step');
$node->safe_psql('one', "SELECT recsys.inject_crash('shop', 'apply')");
ask('one', 'INSERT INTO events VALUES (17, 1)');
$node->wait_for_log(qr/"recsys stream shop" \(PID \d+\) was terminated by signal 9/);
ok($node->poll_query_until('one', "SELECT recsys.wait_for('shop')"), 'streaming again after a crash');
ok($node->poll_query_until('two', "SELECT recsys.wait_for('shop')"), 'in the other database too');
is(users('one', 'shop'), $node->safe_psql('one', 'SELECT count(DISTINCT u) FROM events'), 'nothing is lost');

# --------------------------------------------------------- whole databases

$node->safe_psql('postgres', 'ALTER DATABASE two RENAME TO three');
wait_for('three', 'shop', 'a database with a source can be renamed');
$node->safe_psql('postgres', 'CREATE DATABASE four TEMPLATE three');
wait_for('three', 'shop', 'and copied');
wait_for('four', 'shop', 'the copy streams on its own');
$node->safe_psql('four', 'INSERT INTO events VALUES (100, 1)');
wait_for('four', 'shop', 'and takes events');
is(users('four', 'shop') . ' ' . users('three', 'shop'), '11 10', 'of its own');

$node->safe_psql('postgres', 'CREATE ROLE visitor LOGIN');
like(ask('postgres', 'SET ROLE visitor; DROP DATABASE three'), qr/must be owner of database three/,
	'who may not drop a database');
wait_for('three', 'shop', 'does not stop its workers');
{
	my $guest = $node->background_psql('three');
	$guest->query_safe('SELECT 1');
	like(ask('postgres', 'DROP DATABASE three'), qr/is being accessed by other users/,
		'a database in use is not dropped');
	wait_for('three', 'shop', 'and streams on');
	$guest->quit;
}
# the guest's process may take a moment to end
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'three' AND backend_type = 'client backend'"),
	'the guest leaves');
is(ask('postgres', 'DROP DATABASE three'), '', 'DROP DATABASE');
is(ask('postgres', 'DROP DATABASE four WITH (FORCE)'), '', 'DROP DATABASE WITH (FORCE)');
is(slots('three') . slots('four'), '00', 'take the slots along');

# ------------------------------------------------------- without drop_source

$node->safe_psql('one', 'DROP EXTENSION recsys CASCADE');
ok($node->poll_query_until('one', "SELECT count(*) = 0 FROM pg_replication_slots WHERE database = 'one'"),
	'DROP EXTENSION leaves no slot');
ok($node->poll_query_until('one', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'recsys stream shop'"),
	'and no worker');

$node->safe_psql('one', 'CREATE EXTENSION recsys');
create_source('one', 'again', 'again_events');
wait_for('one', 'again', 'a new source after that');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
is($node->safe_psql('one', 'SELECT state, last_error FROM recsys.status'),
	'stopped|recsys is not in shared_preload_libraries', 'status without the library');
like(ask('one', "SELECT recsys.wait_for('again')"),
	qr/source "again" is stopped, because recsys is not preloaded.*HINT:  Add recsys to shared_preload_libraries/s,
	'wait_for without the library');
is($node->safe_psql('one', 'DROP SCHEMA again CASCADE; DELETE FROM recsys.source RETURNING name'), 'again',
	'a row is deleted by hand meanwhile');
is(slots('one'), '1', 'its slot is an orphan');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'recsys'");
$node->restart;
ok($node->poll_query_until('one', "SELECT count(*) = 0 FROM pg_replication_slots"),
	'which goes when the server starts with the library');

# --------------------------------------------------------------------- rights

create_source('one', 'private', 'private_events');
wait_for('one', 'private', 'a source of the superuser');
is(ask('one', 'SET ROLE visitor; SELECT count(*) FROM recsys.status'), '0', 'others do not see it');
like(ask('one', "SET ROLE visitor; SELECT recsys.wait_for('private')"),
	qr/permission denied for source "private".*HINT:  GRANT USAGE ON SCHEMA private/s, 'nor wait for it');
like(ask('one', "SET ROLE visitor; SELECT recsys.inject_crash('private', 'apply')"),
	qr/permission denied for function inject_crash/, 'nor crash it');
$node->safe_psql('one', 'GRANT USAGE ON SCHEMA private TO visitor');
is(ask('one', "SET ROLE visitor; SELECT recsys.wait_for('private')"), 't', 'unless they may use it');

# ----------------------------------------------------------------------- room

create_source('one', 'second', 'second_events');
wait_for('one', 'second', 'a second source');
$node->append_conf('postgresql.conf', 'recsys.max_sources = 1');
$node->restart;
ok($node->poll_query_until('one', "SELECT count(*) FILTER (WHERE state = 'streaming') = 1
		AND count(*) FILTER (WHERE state = 'stopped' AND last_error ~ 'recsys.max_sources is 1; raise it') = 1 FROM recsys.status"),
	'a server with too little room says so');
my $lucky = $node->safe_psql('one', "SELECT source FROM recsys.status WHERE state = 'streaming'");
my $other = $lucky eq 'private' ? 'second' : 'private';
like(ask('one', "SELECT recsys.wait_for('$other')"),
	qr/source "$other" is stopped, because recsys\.max_sources is 1.*HINT:  Raise recsys\.max_sources/s,
	'wait_for a source without room');
$node->safe_psql('one', "SELECT recsys.drop_source('$lucky')");
ok($node->poll_query_until('one', "SELECT state = 'streaming' FROM recsys.status"), 'room that is given up is used');

$node->stop;
done_testing();
