# Partitioned event tables: retention (DETACH, DROP, TRUNCATE of a leaf) keeps
# taste, ATTACH brings the rows of the partition, TRUNCATE of the table resets.
# The state outlives its events here, so the oracle replays the log.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Oracle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Oracle::cluster('main');
my $o = Oracle->new($node);
my $n = 0;

sub check
{
	my ($what, %more) = @_;
	$o->check('part', $what, mode => 'log', exact => 1, %more);
}

# Rows for the months from .. to.
sub rows
{
	my ($count, $from, $to, $table) = @_;

	$table ||= 'events';
	$n += $count;
	return "INSERT INTO $table (u, i, kind, at)
		SELECT 'user ' || hash(g, 1) % 40, hash(g, 2) % 50, (ARRAY['view','view','buy','other'])[1 + hash(g, 3) % 4],
			timestamptz '2024-01-01' + $from * interval '30 days'
			+ (hash(g, 4) % (($to - $from) * 2592000)) * interval '1 second'
		FROM generate_series($n - $count + 1, ${n}::bigint) g;\n";
}

# What an ATTACH of the table is to bring, in the order of its rows.
sub log_rows
{
	my ($table) = @_;
	return "INSERT INTO oracle.log (source, op, u, i, w, t)
		SELECT 'part', 'insert', (oracle.clean('part', to_jsonb(r))).* FROM $table r
		WHERE (oracle.clean('part', to_jsonb(r))).u IS NOT NULL ORDER BY r.tableoid, r.ctid;\n";
}

$o->run("
	CREATE FUNCTION hash(bigint, bigint) RETURNS int LANGUAGE sql AS 'SELECT (hashint8extended(\$1, \$2) & 1073741823)::int';
	CREATE TABLE events (u text, i int, kind text, at timestamptz NOT NULL) PARTITION BY RANGE (at);
	CREATE INDEX ON events (u);
	CREATE TABLE p0 PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2024-01-31');
	-- columns in another order, and one that is gone
	CREATE TABLE p1 (gone int, at timestamptz NOT NULL, more text, kind text, i int, u text);
	ALTER TABLE p1 DROP gone, DROP more;
	ALTER TABLE events ATTACH PARTITION p1 FOR VALUES FROM ('2024-01-31') TO ('2024-03-01');
	-- a second level
	CREATE TABLE p2 PARTITION OF events FOR VALUES FROM ('2024-03-01') TO ('2024-03-31') PARTITION BY LIST (kind);
	CREATE TABLE p2_buy PARTITION OF p2 FOR VALUES IN ('buy');
	CREATE TABLE p2_rest PARTITION OF p2 DEFAULT;
	ALTER TABLE p0 REPLICA IDENTITY FULL;
	ALTER TABLE p1 REPLICA IDENTITY FULL;
	ALTER TABLE p2_buy REPLICA IDENTITY FULL;
	ALTER TABLE p2_rest REPLICA IDENTITY FULL;
	" . rows(600, 0, 3) . q{
	SELECT recsys.create_source('part', 'events', 'u', 'i', 'kind', event_time_column => 'at',
		weights => '{"view":1,"buy":4}', history_limit => 20);
	SELECT recsys.create_model('part', 'knn', 'item_knn', '{"k": 10}')});
ok($o->wait_for('part'), 'wait for the backfill');
$o->run("SELECT oracle.follow('part')");
check('backfill of partitions');

$o->run(rows(300, 0, 3) . "DELETE FROM events WHERE i % 7 = 2; UPDATE events SET kind = 'buy' WHERE i % 11 = 3 AND kind = 'view'");
check('changes');
$o->run("UPDATE events SET at = at + interval '30 days' WHERE at < '2024-02-20' AND i % 5 = 0");
check('rows that move to other partitions');
$o->run("BEGIN; INSERT INTO p2_buy VALUES ('user 1', 77, 'buy', '2024-03-05'); SAVEPOINT a; INSERT INTO p1 (u, i, kind, at) VALUES ('user 1', 78, 'buy', '2024-02-05'); ROLLBACK TO a; COMMIT");
check('events of leaves directly');

# retention
$o->run('ALTER TABLE events DETACH PARTITION p0');
$o->run("INSERT INTO p0 VALUES ('user 1', 99, 'buy', '2024-01-05'); DELETE FROM p0 WHERE i % 3 = 0");
check('a detached partition, and what happens to it then');
$o->run('TRUNCATE p1');
check('a truncated leaf');
$o->run('TRUNCATE p2');
check('a truncated subtree');
$o->run('DROP TABLE p2_rest; DROP TABLE p0');
check('dropped partitions');
$node->psql('postgres', 'ALTER TABLE events DETACH PARTITION p1 CONCURRENTLY');
$o->run("INSERT INTO p1 (u, i, kind, at) VALUES ('user 1', 98, 'buy', '2024-02-05')");
check('a partition detached concurrently');
$o->run('CREATE TABLE p2_rest PARTITION OF p2 DEFAULT; ALTER TABLE p2_rest REPLICA IDENTITY FULL;' . rows(100, 2, 3));
check('a partition created again');

# attach
$o->run("CREATE TABLE p3 (more text, kind text, at timestamptz NOT NULL, u text, i int);
	ALTER TABLE p3 DROP more; ALTER TABLE p3 REPLICA IDENTITY FULL;" . rows(200, 3, 4, 'p3') . 'DELETE FROM p3 WHERE i = 7');
$o->run('BEGIN;' . log_rows('p3') . "ALTER TABLE events ATTACH PARTITION p3 FOR VALUES FROM ('2024-03-31') TO ('2024-04-30'); COMMIT");
check('a partition attached with rows in it');
$o->run(rows(100, 2, 4) . "DELETE FROM events WHERE i % 6 = 1");
check('and its changes');

$o->run('CREATE TABLE p4 (LIKE events); ALTER TABLE p4 REPLICA IDENTITY FULL;' . rows(150, 4, 5, 'p4'));
$o->run("BEGIN; SAVEPOINT a; ALTER TABLE events ATTACH PARTITION p4 FOR VALUES FROM ('2024-04-30') TO ('2024-05-30'); ROLLBACK TO a; COMMIT");
check('an ATTACH rolled back');

# The rows are read when the stream gets there: changes that have happened
# meanwhile are in what is read, and must not count again.
$o->run("SELECT recsys.pause('part')");
my $landing = 'BEGIN;' . rows(50, 4, 5, 'p4') . log_rows('p4') .
  "ALTER TABLE events ATTACH PARTITION p4 FOR VALUES FROM ('2024-04-30') TO ('2024-05-30'); COMMIT;";
$o->run($landing);
$o->run("SELECT recsys.resume('part')");
check('rows written in the transaction of the ATTACH');
$o->run("SELECT recsys.pause('part'); SELECT recsys.alter_source('part', history_limit => 1000)");
$o->run('CREATE TABLE p5 (LIKE events); ALTER TABLE p5 REPLICA IDENTITY FULL;' . rows(150, 5, 6, 'p5'));
$o->run("SELECT recsys.resume('part')");
$o->wait_for('part');
$o->run("SELECT oracle.rebase('part')");
check('a longer history');
$o->run("SELECT recsys.pause('part')");
$o->run('BEGIN;' . log_rows('p5') . "ALTER TABLE events ATTACH PARTITION p5 FOR VALUES FROM ('2024-05-30') TO ('2024-06-29'); COMMIT");
$o->run(rows(50, 4, 6) . "DELETE FROM events WHERE i % 8 = 1; UPDATE events SET kind = 'buy' WHERE i % 8 = 2;" . rows(50, 4, 6));
$o->run("SELECT recsys.resume('part')");
check('changes after an ATTACH that the stream had not reached');
$o->run(rows(50, 4, 6) . "DELETE FROM events WHERE i % 8 = 3");
check('and those that follow');

# a whole tree, and a crash between the backfill of a partition and its flush
$o->run("CREATE TABLE p6 (LIKE events) PARTITION BY LIST (kind);
	CREATE TABLE p6_a PARTITION OF p6 FOR VALUES IN ('buy', 'view'); CREATE TABLE p6_b PARTITION OF p6 DEFAULT;
	ALTER TABLE p6_a REPLICA IDENTITY FULL; ALTER TABLE p6_b REPLICA IDENTITY FULL;" . rows(200, 6, 7, 'p6'));
$o->run("SELECT recsys.inject_crash('part', 'flush')");
$o->try('BEGIN;' . log_rows('p6') .
	"ALTER TABLE events ATTACH PARTITION p6 FOR VALUES FROM ('2024-06-29') TO ('2024-07-29'); COMMIT");
$node->wait_for_log(qr/"recsys stream part" \(PID \d+\) was terminated by signal 9/);
$o->wait_for_server;
# the crash may have come before or after the commit
$o->run('BEGIN;' . log_rows('p6') . "ALTER TABLE events ATTACH PARTITION p6 FOR VALUES FROM ('2024-06-29') TO ('2024-07-29'); COMMIT")
  if $o->run("SELECT relispartition FROM pg_class WHERE relname = 'p6'") eq 'f';
check('a partitioned partition, attached, and a crash');
$o->run(rows(50, 4, 7));
check('the stream goes on');

# reset
$o->run('BEGIN;' . rows(50, 2, 7) . 'TRUNCATE events;' . rows(50, 4, 7) . 'COMMIT');
check('TRUNCATE of the table itself');
$o->run(rows(300, 2, 7));
$o->run("SELECT recsys.resync('part')");
ok($o->wait_for('part'), 'resync');
$o->run("SELECT oracle.rebase('part')");
check('resync');
is($o->run('SELECT unmatched, last_error FROM recsys.status'), '0|', 'no change was unmatched, no worker failed');

$node->stop;
done_testing();
