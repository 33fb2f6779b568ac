# What readers see beside the worker: state that is never lost to their hint
# bits, and each event of a user's exactly once from the moment its transaction
# is visible to them, whatever the worker has flushed by then.

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
max_prepared_transactions = 10
recsys.flush_interval = '20ms'
recsys.publish_interval = '10ms'
log_statement = none
});
my $o = Oracle->new($node);
my $dir = PostgreSQL::Test::Utils::tempdir;

# ------------------------------------------- commits that nobody sees yet
#
# A commit can be decoded before it is visible, for as long as it waits for a
# standby.  When the last rating of a pair is deleted, the worker asks the table
# for the one before, and must not be told the one that was deleted.

$o->run(q{
	CREATE TABLE rated (id int, u int, i int, value int, at timestamptz);
	CREATE INDEX ON rated (u);
	ALTER TABLE rated REPLICA IDENTITY FULL;
	INSERT INTO rated SELECT g, 1, 1 + g / 2, 1 + g % 2 * 4, '2024-01-01'::timestamptz + g * interval '1 hour' FROM generate_series(0, 5) g;
	SELECT recsys.create_source('rated_live', 'rated', 'u', 'i', event_value_column => 'value', event_time_column => 'at', feedback => 'explicit')});
ok($o->wait_for('rated_live'), 'a source of ratings');
$node->append_conf('postgresql.conf', "synchronous_commit = local\nsynchronous_standby_names = 'nobody'");
$node->reload;
my @unseen = map { $node->background_psql('postgres') } 1 .. 2;
# the last of item 1; both of item 2
for my $n (0, 1)
{
	my $ids = ('1', '2, 3')[$n];
	$unseen[$n]->query_safe('SET synchronous_commit = on');
	$unseen[$n]->query_until(qr/sent/, "\\echo sent\nDELETE FROM rated WHERE id IN ($ids);\n\\echo done\n");
}
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"),
	'two commits wait for a standby');
is($o->run("SELECT string_agg(id::text, ' ' ORDER BY id) FROM rated"), '0 1 2 3 4 5', 'nobody sees them');
# others are applied, and as the worker waits for the two, it does not ask too early
$o->run("DELETE FROM rated WHERE id = 5");
ok($node->poll_query_until('postgres', q{
	SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'recsys stream rated_live' AND wait_event_type = 'Lock')
		OR (SELECT weight = 1 FROM rated_live.interactions WHERE item_id = 3)}), 'the worker has come to them');
$node->append_conf('postgresql.conf', "synchronous_commit = on\nsynchronous_standby_names = ''");
$node->reload;
$_->query_until(qr/done/, '') , $_->quit for @unseen;
$o->check('rated_live', 'commits seen late', exact => 1);
is($o->run('SELECT item_id, weight FROM rated_live.interactions ORDER BY 1'), "1|1\n3|1", 'the ratings that are left');

# ------------------------------------------------------------------ hint bits
#
# Readers set hint bits on every row they meet.  If they took the worker's
# transactions for aborted while those are about to commit, rows were lost.

$o->run(q{
	CREATE TABLE busy (id bigserial PRIMARY KEY, u int, i int);
	CREATE INDEX ON busy (u);
	ALTER TABLE busy REPLICA IDENTITY FULL;
	SELECT recsys.create_source('hints', 'busy', 'u', 'i', history_limit => 1000);
	SELECT recsys.create_model('hints', 'knn', 'item_knn', '{"k": 10}')});
ok($o->wait_for('hints'), 'a source');
append_to_file("$dir/read.sql", q{
	SELECT count(*), sum(cardinality(items)) FROM hints.profiles;
	SELECT count(*), sum(total) FROM hints.items;
	SELECT count(*) FROM hints.users;
	SELECT count(*) FROM hints.popular_items;
	SELECT count(*) FROM hints.knn_neighbors;
	SELECT applied_lsn FROM hints.state;
	SELECT count(*) FROM hints.recommend(7);});
append_to_file("$dir/write.sql", q{
	\set u random(1, 300)
	\set i random(1, 80)
	\set id random(1, 10000)
	INSERT INTO busy (u, i) VALUES (:u, :i);
	INSERT INTO busy (u, i) SELECT (:u * g) % 300, (:i * g) % 80 FROM generate_series(1, 3) g;
	DELETE FROM busy WHERE id = :id;});
my $pgbench = "pgbench -n -h '" . $node->host . "' -p " . $node->port;
my $before = $o->run('SELECT applied_lsn FROM hints.state');
my $readers = IPC::Run::start([ 'bash', '-c', "$pgbench -c 3 -T 8 -f '$dir/read.sql' postgres >'$dir/read.out' 2>&1" ]);
my $writers = IPC::Run::start([ 'bash', '-c', "$pgbench -c 2 -t 1500 -R 400 -f '$dir/write.sql' postgres >'$dir/write.out' 2>&1" ]);
ok($writers->finish, 'writers');
ok($readers->finish, 'readers of state') or diag(slurp_file("$dir/read.out"));
my ($transactions) = slurp_file("$dir/read.out") =~ /actually processed: (\d+)/;
cmp_ok($transactions, '>', 100, "$transactions scans of all state tables");
$o->check('hints', 'the state after all that', exact => 1);
$o->run('VACUUM hints.profiles, hints.items, hints.users, hints.popular_items, hints.knn_neighbors, hints.state');
$o->check('hints', 'and after VACUUM', exact => 1);
$o->run("SELECT recsys.drop_source('hints')");

# --------------------------------------------------------------- newest events
#
# Items 2k-1 and 2k are alike.  What counts of user u on item 2k-1 is then what
# explain() says of 2k, over their similarity as published in the same snapshot.

$node->append_conf('postgresql.conf', "recsys.flush_interval = '10min'\nrecsys.tail_limit = 100000");
$node->reload;

my %insert = (
	plain => sub { my ($u, $k) = @_; return "INSERT INTO plain_events VALUES ($u, 2 * $k - 1)" },
	# all at the same time, which is past
	timed => sub { my ($u, $k) = @_; return "INSERT INTO timed_events VALUES ($u, 2 * $k - 1, '2024-05-05')" });

$o->run(q{
	CREATE TABLE other (i int);
	CREATE TABLE plain_events (u int, i int);
	CREATE INDEX ON plain_events (u);
	ALTER TABLE plain_events REPLICA IDENTITY FULL;
	INSERT INTO plain_events SELECT 1000 + (i + 1) / 2 * 10 + g, i FROM generate_series(1, 60) i, generate_series(1, 5) g;
	CREATE TABLE timed_events (u int, i int, at timestamptz);
	CREATE INDEX ON timed_events (u, at);
	ALTER TABLE timed_events REPLICA IDENTITY FULL;
	INSERT INTO timed_events SELECT *, '2024-05-05' FROM plain_events;
	SELECT recsys.create_source('plain', 'plain_events', 'u', 'i');
	SELECT recsys.create_source('timed', 'timed_events', 'u', 'i', event_time_column => 'at');
	SELECT recsys.create_model('plain', 'knn', 'item_knn', '{"normalize": false, "damping": 0}');
	SELECT recsys.create_model('timed', 'knn', 'item_knn', '{"normalize": false, "damping": 0}')});

sub counts_sql
{
	my ($name, $u, $k) = @_;
	return "SELECT coalesce((SELECT round((e.contribution / s.score)::numeric, 3)::float8 FROM
		$name.explain($u, (2 * $k)::int) e, $name.similar_items((2 * $k - 1)::int, 100) s
		WHERE e.because_item_id = 2 * $k - 1 AND s.item_id = 2 * $k), 0)";
}

# what of (u, k) counts, for a session or for a new one
sub counts
{
	my ($name, $u, $k, $session) = @_;
	my $sql = counts_sql($name, $u, $k);
	return $session ? $session->query_safe($sql) : $o->run($sql);
}

sub best
{
	my ($name, $u, $session) = @_;
	my $sql = "SELECT item_id FROM $name.recommend($u, 1)";
	return $session ? $session->query_safe($sql) : $o->run($sql);
}

for my $name ('plain', 'timed')
{
	my $add = $insert{$name};
	my $user = 1;
	my ($a, $b);

	ok($o->wait_for($name), "$name: wait");
	is(counts($name, 1, 1), '0', "$name: nobody knows user 1");

	# in one's own transaction
	$a = $node->background_psql('postgres');
	$a->query_safe('BEGIN;' . $add->(1, 1));
	is(counts($name, 1, 1, $a) . ' ' . best($name, 1, $a), '1 2', "$name: own INSERT, same transaction");
	is(counts($name, 1, 1), '0', "$name: not for others");
	$a->query_safe('SAVEPOINT x;' . $add->(1, 1));
	is(counts($name, 1, 1, $a), '2', "$name: below a savepoint");
	$a->query_safe('SAVEPOINT y;' . $add->(1, 1) . ';RELEASE y;' . 'SAVEPOINT z;' . $add->(1, 2));
	is(counts($name, 1, 1, $a) . counts($name, 1, 2, $a), '31', "$name: savepoint released");
	$a->query_safe('ROLLBACK TO x');
	is(counts($name, 1, 1, $a) . counts($name, 1, 2, $a), '10', "$name: savepoint rolled back");
	$a->query_safe($add->(1, 1));
	$a->query_safe('COMMIT');
	is(counts($name, 1, 1), '2', "$name: committed, not flushed");
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 1, 1), '2', "$name: and flushed");
	$o->run($add->(1, 1));
	is(counts($name, 1, 1), '3', "$name: one more");
	$o->run('BEGIN;' . $add->(1, 1) . ';ROLLBACK');
	is(counts($name, 1, 1), '3', "$name: rolled back");
	$o->run("BEGIN;" . $add->(1, 1) . ";SAVEPOINT x;" . $add->(1, 1) . ';RELEASE x; ROLLBACK');
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 1, 1), '3', "$name: never flushed");

	# a transaction that commits late, across flushes; with more subtransactions
	# than a running-xacts record lists
	$a->query_safe('BEGIN;' . $add->(2, 3));
	for my $n (1 .. 80)
	{
		$a->query_safe("SAVEPOINT s$n;" . $add->(2, 4) . ($n % 2 ? '' : ";ROLLBACK TO s$n"));
	}
	$o->run($add->(2, 3));
	is(counts($name, 2, 3), '1', "$name: an early one");
	for my $n (1 .. 3)
	{
		ok($o->wait_for($name), "$name: flush $n beside a long transaction");
		# many transactions, with gaps between those that have events
		$o->run(join(';', map { ($add->(3, 5), 'INSERT INTO other VALUES (1)') } 1 .. 200));
		is(counts($name, 2, 3) . counts($name, 2, 4) . ' ' . counts($name, 3, 5), '10 ' . 200 * $n, "$name: others' events beside it");
	}
	is(counts($name, 2, 3, $a) . ' ' . counts($name, 2, 4, $a), '2 40', "$name: the long transaction sees its own");
	$o->run('CHECKPOINT');		# writes a running-xacts record
	ok($o->wait_for($name), "$name: flush");
	cmp_ok($o->run("SELECT cardinality(applied_xids) FROM $name.state"), '<', 600, "$name: a small set of applied transactions");
	is(counts($name, 2, 3) . counts($name, 2, 4), '10', "$name: the long transaction is not over");
	$a->query_safe('COMMIT');
	is(counts($name, 2, 3) . ' ' . counts($name, 2, 4), '2 40', "$name: a late commit");
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 2, 3) . ' ' . counts($name, 2, 4), '2 40', "$name: flushed");
	is(counts($name, 3, 5), '600', "$name: all the others");

	# the same, prepared
	$o->run('BEGIN;' . $add->(4, 6) . ';SAVEPOINT x;' . $add->(4, 6) . ";PREPARE TRANSACTION 'p'");
	$o->run($add->(4, 7));
	ok($o->wait_for($name), "$name: flush beside a prepared transaction");
	is(counts($name, 4, 6) . counts($name, 4, 7), '01', "$name: prepared");
	$o->run("COMMIT PREPARED 'p'");
	is(counts($name, 4, 6), '2', "$name: prepared and committed");
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 4, 6), '2', "$name: and flushed");

	# a reader that keeps its snapshot across a flush
	$o->run($add->(5, 8));
	ok($o->wait_for($name), "$name: flush");
	$o->run($add->(5, 8));
	$a->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is(counts($name, 5, 8, $a), '2', "$name: repeatable read");
	$o->run($add->(5, 8));
	is(counts($name, 5, 8, $a) . counts($name, 5, 8), '23', "$name: keeps its snapshot");
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 5, 8, $a) . counts($name, 5, 8), '23', "$name: across a flush");
	$o->run($add->(5, 8));
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 5, 8, $a) . counts($name, 5, 8), '24', "$name: and one more");
	$a->query_safe($add->(5, 8));
	is(counts($name, 5, 8, $a), '3', "$name: with its own");
	$a->query_safe('COMMIT');
	is(counts($name, 5, 8, $a), '5', "$name: and then with all");

	# a paused worker; frozen rows
	$o->run("SELECT recsys.pause('$name')");
	$o->run($add->(6, 9));
	is(counts($name, 6, 9) . ' ' . best($name, 6), '1 18', "$name: paused");
	$o->run('BEGIN;' . $add->(6, 9) . ';SAVEPOINT x;' . $add->(6, 9) . ';COMMIT');
	is(counts($name, 6, 9), '3', "$name: paused, with a savepoint");
	$o->run("VACUUM (FREEZE) ${name}_events");
	is(counts($name, 6, 9) . counts($name, 5, 8), '35', "$name: frozen");
	$o->run("SELECT recsys.resume('$name')");
	ok($o->wait_for($name), "$name: resumed");
	is(counts($name, 6, 9) . counts($name, 5, 8), '35', "$name: what was frozen counts once");
	$o->run($add->(6, 9) . ";VACUUM (FREEZE) ${name}_events");
	is(counts($name, 6, 9), '4', "$name: frozen before its flush");
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 6, 9), '4', "$name: and after");

	# changes of rows show when they are flushed
	$o->run("DELETE FROM ${name}_events WHERE u = 6 AND ctid = (SELECT min(ctid) FROM ${name}_events WHERE u = 6)");
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 6, 9), '3', "$name: deleted");
	$o->run('BEGIN;' . $add->(6, 9) . ";DELETE FROM ${name}_events WHERE u = 6 AND ctid = (SELECT min(ctid) FROM ${name}_events WHERE u = 6); COMMIT");
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 6, 9), '3', "$name: one added, one deleted");

	# a rebuild, with a transaction open that its snapshot does not see
	$o->run("SELECT recsys.resync('$name')");
	ok($o->wait_for($name), "$name: resync");
	$o->run($add->(7, 10));
	is(counts($name, 6, 9) . counts($name, 5, 8) . counts($name, 7, 10), '351', "$name: rebuilt");
	$a->query_safe('BEGIN;' . $add->(7, 10));
	$o->run("SELECT recsys.resync('$name')");
	# it waits for the transaction; meanwhile the old state serves
	ok($node->poll_query_until('postgres', "SELECT state = 'resyncing' FROM recsys.status WHERE source = '$name'"), "$name: resync waits");
	is(counts($name, 6, 9) . counts($name, 5, 8) . counts($name, 7, 10) . counts($name, 7, 10, $a), '3512', "$name: old results serve");
	$a->query_safe('COMMIT');
	is(counts($name, 7, 10), '2', "$name: committed");
	ok($o->wait_for($name), "$name: resync");
	is(counts($name, 6, 9) . counts($name, 5, 8) . counts($name, 7, 10), '352', "$name: rebuilt");
	$a->quit;

	# a crash forgets what was not flushed, a reader never does
	$o->run($add->(8, 11));
	$node->stop('immediate');
	$node->start;
	is(counts($name, 8, 11), '1', "$name: after a crash");
	ok($o->wait_for($name), "$name: flush");
	is(counts($name, 8, 11), '1', "$name: and replay");
	$o->check($name, 'in the end', exact => 1);
}

$node->stop;
done_testing();
