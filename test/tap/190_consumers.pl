# Consumers: who is fed with the events as they are, here the sessions of
# session_knn.  Created with the source, later and under load, altered, while
# the worker is killed at each step of it: each event of the table is in its
# session once, and histories go on as if nobody else were there.

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
logical_decoding_work_mem = '64kB'
log_statement = none
});
my $o = Oracle->new($node);
my $dir = PostgreSQL::Test::Utils::tempdir;

$o->seed(4711);

# ----------------------------------------------------------------- the oracle

# Clicks that a model's sessions have and the events do not, or the other way round.
$o->run(q{
	SET check_function_bodies = off;
	CREATE FUNCTION bad_sessions(source name, model name, session_column name) RETURNS TABLE (what text)
	LANGUAGE plpgsql AS $$
	DECLARE
		events regclass := (SELECT s.events FROM recsys.sources s WHERE s.source = bad_sessions.source);
	BEGIN
		RETURN QUERY EXECUTE format($q$
			WITH must AS (SELECT hashtextextended(left(%3$I, 1024), 0) AS key, u, i, at, count(*) AS n FROM %4$s
					WHERE kind IN ('view', 'buy') AND u IS NOT NULL AND i IS NOT NULL AND at IS NOT NULL AND %3$I IS NOT NULL GROUP BY 1, 2, 3, 4),
				has AS (SELECT s.key, u.key AS u, i.key AS i, timestamptz '2000-01-01 00:00+00' + c.at * interval '1 us' AS at, count(*) AS n
					FROM %1$I.%2$s_sessions s, LATERAL unnest(items, times, coalesce(users, array_fill(user_id, ARRAY[cardinality(items)]))) AS c(item, at, u)
					JOIN %1$I.items i ON i.id = c.item JOIN %1$I.users u ON u.id = c.u GROUP BY 1, 2, 3, 4)
			(SELECT format('missing: %%s', must) FROM (TABLE must EXCEPT TABLE has) must LIMIT 5)
			UNION ALL (SELECT format('too much: %%s', has) FROM (TABLE has EXCEPT TABLE must) has LIMIT 5)
			UNION ALL SELECT 'nothing at all' WHERE NOT EXISTS (TABLE has)$q$,
			source, model, session_column, events);
	END $$;
});

sub sessions_ok
{
	my ($source, $model, $column, $what, %more) = @_;

	ok($o->wait_for($source), "$what: all is applied") or return;
	my $bad = $o->run("SELECT what FROM bad_sessions('$source', '$model', '$column')" . ($more{empty} ? " WHERE what <> 'nothing at all'" : ''));
	is($bad, '', "$what: sessions of $model");
}

sub insist
{
	my ($sql) = @_;
	for my $try (1 .. 1200)
	{
		my ($status, $out, $err) = $o->try($sql);
		return $out if $status == 0;
		# the server may have gone after the commit, before it said so
		return $out if $try > 1 && $err =~ /model "\w+" of source "shop" already exists/;
		BAIL_OUT("$sql: $err") if $err =~ /^psql:[^:]*:\d+: ERROR/ && $err !~ /not known to the launcher/;
		select(undef, undef, undef, 0.05);
	}
	BAIL_OUT("no success: $sql");
}

# -------------------------------------------------------------------- events

my $seq = 0;
sub rows
{
	my ($n, $table, $more) = @_;
	$table ||= 'events';
	my ($from, $to) = ($seq + 1, $seq += $n);
	return "INSERT INTO $table (u, i, kind, at, sess, shop)
		SELECT 1 + hashint4(g) & 255, 1 + (hashint4(-g) & 127), (ARRAY['view','buy','imp'])[1 + g % 3], timestamptz '2025-01-01' + g * interval '1 second',
			CASE WHEN g % 50 = 0 THEN NULL WHEN g % 31 = 0 THEN (SELECT string_agg(md5(x::text || g), '') FROM generate_series(1, 200) x)
				ELSE 's' || (g / 7) END, 'shop ' || g / 3 " . ($more || '') . "
		FROM generate_series($from, $to) g;\n";
}

$o->run("
	CREATE TABLE said (what text);
	CREATE TABLE events (id bigserial PRIMARY KEY, u int, i int, kind text, at timestamptz, sess text, shop text, note text);
	CREATE INDEX ON events (u);
	ALTER TABLE events ALTER sess SET STORAGE EXTERNAL;
	ALTER TABLE events REPLICA IDENTITY FULL;
	" . rows(3000) . "
	SELECT recsys.create_source('shop', 'events', 'u', 'i', 'kind', event_time_column => 'at',
		weights => '{\"view\": 1, \"buy\": 3}', session_column => 'sess', history_limit => 1000);
	SELECT recsys.create_model('shop', 'knn', 'item_knn');
");

# ----------------------------- no consumers yet, and a transaction in progress

ok($o->wait_for('shop'), 'a source without consumers');
is($o->run('SELECT count(*) FROM shop.consumers'), 0, 'which has none');
my $open = $node->background_psql('postgres');
# more than decoding keeps in memory: it has been read, without the columns
$open->query_safe('BEGIN; ' . rows(4000));
$o->run(rows(1));
ok($o->wait_for('shop'), 'behind a transaction in progress');
$o->run("SELECT recsys.create_model('shop', 'first', 'session_knn')");
$open->query_safe(rows(1000));
# whoever waits within the transaction that the worker waits for is told
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name LIKE '%_consumer' AND confirmed_flush_lsn IS NULL")
	or BAIL_OUT('no slot');
$open->query_safe(q{DO $$ BEGIN PERFORM recsys.wait_for('shop');
	EXCEPTION WHEN object_not_in_prerequisite_state THEN INSERT INTO said VALUES (SQLERRM); END $$});
$open->query_safe('COMMIT');
$open->quit;
is($o->run('SELECT what FROM said'), 'source "shop" is still building and waits for this transaction, which has written', 'a wait that cannot end');
sessions_ok('shop', 'first', 'sess', 'created while a transaction was in progress');
$o->check('shop', 'histories beside it', exact => 1);
is($o->run("SELECT kind, name, unmatched FROM shop.consumers"), 'model|first|0', 'it has its row');

# -------------------------------------------------------------------- changes

sub changes
{
	my ($table) = @_;
	$table ||= 'events';
	# of nothing but the column, of mapped ones, of others, of both; TOAST values that stay
	return "
		UPDATE $table SET sess = 't' || id / 5 WHERE id % 11 = 0 AND id % 4 = 1;
		UPDATE $table SET kind = 'buy' WHERE id % 13 = 0;
		UPDATE $table SET note = 'n' WHERE id % 3 = 0;
		UPDATE $table SET shop = sess, note = 'm' WHERE id % 17 = 0;
		UPDATE $table SET sess = NULL WHERE id % 19 = 0;
		UPDATE $table SET sess = 'back' || id / 40, i = i + 1 WHERE sess IS NULL AND id % 2 = 0;
		UPDATE $table SET u = NULL WHERE id % 101 = 0;
		UPDATE $table SET u = 7 WHERE u IS NULL AND id % 2 = 0;
		DELETE FROM $table WHERE id % 23 = 0;
		BEGIN;
		" . rows(3000, $table) . "
		SAVEPOINT a;
		DELETE FROM $table WHERE id % 2 = 0;
		" . rows(100, $table) . "
		ROLLBACK TO a;
		DELETE FROM $table WHERE id % 29 = 0;
		COMMIT;";
}

$o->run(changes());
sessions_ok('shop', 'first', 'sess', 'changes');
$o->check('shop', 'changes', exact => 1);
is($o->run("SELECT unmatched FROM shop.consumers"), 0, 'all of them could be followed');

# ------------------------------------------------- later ones, other columns

$o->run("SELECT recsys.create_model('shop', 'late', 'session_knn', '{\"session_column\": \"shop\"}');" . changes());
sessions_ok('shop', 'late', 'shop', 'a later one with a column of its own');
sessions_ok('shop', 'first', 'sess', 'the first one beside it');
$o->check('shop', 'beside a later one', exact => 1);
my $from = $o->run("SELECT name, from_lsn FROM shop.consumers ORDER BY 1");
$o->run("SELECT recsys.alter_model('shop', 'late', '{\"neighbors\": 7}');" . rows(500));
sessions_ok('shop', 'late', 'shop', 'altered in what its tables do not depend on');
is($o->run("SELECT name, from_lsn FROM shop.consumers ORDER BY 1"), $from, 'they are not filled again');
$o->run("SELECT recsys.alter_model('shop', 'late', '{\"session_column\": \"sess\"}');" . rows(500));
sessions_ok('shop', 'late', 'sess', 'altered to another column');
isnt($o->run("SELECT from_lsn FROM shop.consumers WHERE name = 'late'"), (split /\|/, (split /\n/, $from)[1])[1], 'filled again');
sessions_ok('shop', 'first', 'sess', 'the first one still');
$o->run("SELECT recsys.drop_model('shop', 'late');" . rows(10));
sessions_ok('shop', 'first', 'sess', 'one dropped');
is($o->run("SELECT name FROM shop.consumers"), 'first', 'with its row');

# ------------------------------------------------------------- bad declarations

my ($status, $out, $err) = $node->psql('postgres', "SELECT recsys.create_model('shop', 'x', 'session_knn', '{\"session_column\": \"nosuch\"}')");
like($err, qr/ERROR:  column "nosuch" of table "events", which model "x" needs, does not exist\nHINT: .*ALTER TABLE public.events ADD COLUMN nosuch/, 'a column that does not exist');
($status, $out, $err) = $node->psql('postgres', "SELECT recsys.create_model('shop', 'x', 'session_knn', '{\"session_column\": \"ctid\"}')");
like($err, qr/ERROR:  column "ctid" of table "events", which model "x" needs, is not stored/, 'a column that is not stored');

# a column that goes away under a consumer
$o->run("SELECT recsys.create_model('shop', 'late', 'session_knn', '{\"session_column\": \"shop\"}')");
sessions_ok('shop', 'late', 'shop', 'once more');
$o->run("ALTER TABLE events RENAME shop TO sh;
	INSERT INTO events (u, i, kind, at, sess) VALUES (1, 1, 'view', '2025-06-01', 'z')");
$node->poll_query_until('postgres', "SELECT last_error ~ 'column \"shop\" of the events table, which model \"late\" needs, is gone' FROM recsys.status") or BAIL_OUT('no error');
pass('the worker says which column is gone');
$o->run("ALTER TABLE events RENAME sh TO shop;" . rows(50));
sessions_ok('shop', 'late', 'shop', 'the column came back');
sessions_ok('shop', 'first', 'sess', 'the column came back');
# a new column, in a stream that has rows without it
$o->run("SELECT recsys.pause('shop')");
$o->run(rows(100) . "ALTER TABLE events ADD basket text;" . rows(100) . "
	UPDATE events SET basket = shop || '!' WHERE id % 3 = 0;
	SELECT recsys.create_model('shop', 'fresh', 'session_knn', '{\"session_column\": \"basket\"}');
	UPDATE events SET basket = 'b' || id / 40 WHERE id % 5 = 0;");
$o->run("SELECT recsys.resume('shop')");
sessions_ok('shop', 'fresh', 'basket', 'a column added under way');
sessions_ok('shop', 'first', 'sess', 'a column added under way');
$o->run("SELECT recsys.drop_model('shop', 'fresh'), recsys.drop_model('shop', 'late')");

# --------------------------------------------- resync, forgetting, small memory

$o->run("SELECT recsys.resync('shop');" . changes());
sessions_ok('shop', 'first', 'sess', 'resync');
$o->check('shop', 'resync', exact => 1);
$o->run("SELECT recsys.forget_user('shop', '7', delete_events => true);
	DELETE FROM events WHERE i = 5;
	SELECT recsys.forget_item('shop', '5');" . rows(500));
sessions_ok('shop', 'first', 'sess', 'a user and an item forgotten');
$o->run("TRUNCATE events; " . rows(2000));
sessions_ok('shop', 'first', 'sess', 'TRUNCATE');
$o->run("BEGIN; TRUNCATE events; " . rows(10) . " COMMIT;" . rows(1500));
sessions_ok('shop', 'first', 'sess', 'TRUNCATE and more in one transaction');
$o->check('shop', 'after TRUNCATE', exact => 1);
is($o->run("SELECT unmatched FROM shop.consumers"), 0, 'nothing unmatched');

# ------------------------------------------------------- old rows without them

$o->run("
	CREATE TABLE keyed (id bigserial, u int NOT NULL, i int NOT NULL, kind text NOT NULL, at timestamptz NOT NULL, sess text, shop text, note text);
	CREATE INDEX ON keyed (u);
	CREATE UNIQUE INDEX keyed_row ON keyed (id, u, i, kind, at);
	ALTER TABLE keyed REPLICA IDENTITY USING INDEX keyed_row;
	" . rows(1000, 'keyed'));
$o->run("SELECT recsys.create_source('keyed', 'keyed', 'u', 'i', 'kind', event_time_column => 'at', weights => '{\"view\": 1, \"buy\": 3}', history_limit => 1000)");
($status, $out, $err) = $node->psql('postgres', "SELECT recsys.create_model('keyed', 'm', 'session_knn', '{\"session_column\": \"sess\"}')");
like($err, qr/NOTICE:  model "m" cannot follow updates and deletes in table "keyed".*ALTER TABLE public.keyed REPLICA IDENTITY FULL;/s, 'the advice');
sessions_ok('keyed', 'm', 'sess', 'a narrower identity');
$o->run("CREATE TABLE had AS SELECT * FROM keyed WHERE kind IN ('view', 'buy') AND sess IS NOT NULL");
my $n = $o->run("SELECT count(*) FROM keyed WHERE id % 10 IN (1, 2, 3)");
$o->run("DELETE FROM keyed WHERE id % 10 = 1;
	UPDATE keyed SET i = i + 1 WHERE id % 10 = 2;
	UPDATE keyed SET sess = 'other' WHERE id % 10 = 3;");
ok($o->wait_for('keyed'), 'changes that the sessions cannot follow');
is($o->run("SELECT unmatched FROM keyed.consumers"), $n, 'are counted, each once');
$o->check('keyed', 'histories follow them', exact => 1);
is($o->run("SELECT unmatched FROM keyed.state"), 0, 'all of them');
is($o->run("SELECT (SELECT sum(cardinality(items)) FROM keyed.m_sessions) = (SELECT count(*) FROM had)"), 't', 'the sessions are as they were');
$o->run("ALTER TABLE keyed REPLICA IDENTITY FULL; SELECT recsys.resync('keyed');" . rows(300, 'keyed') . "
	DELETE FROM keyed WHERE id % 7 = 1; UPDATE keyed SET sess = 'another' || id / 40 WHERE id % 7 = 3;");
sessions_ok('keyed', 'm', 'sess', 'and right again with a full identity');
is($o->run("SELECT unmatched FROM keyed.consumers"), 0, 'whose count begins anew');
# no old row at all
$o->run("ALTER TABLE keyed REPLICA IDENTITY NOTHING");
$n = $o->run("SELECT count(*) FROM keyed WHERE id % 9 IN (1, 2)");
$o->run("DELETE FROM keyed WHERE id % 9 = 1; UPDATE keyed SET sess = 'x' WHERE id % 9 = 2");
ok($o->wait_for('keyed'), 'no old rows');
is($o->run("SELECT c.unmatched = $n AND s.unmatched = $n FROM keyed.consumers c, keyed.state s"), 't', 'unmatched for all');

# ------------------------------------------------------------------ partitions

$o->run("
	CREATE SEQUENCE p2_id START 1001;
	CREATE SEQUENCE p3_id START 2001;
	CREATE TABLE parts (id bigserial, u int, i int, kind text, at timestamptz NOT NULL, sess text, shop text) PARTITION BY RANGE (id);
	CREATE INDEX ON parts (u);
	CREATE TABLE p1 PARTITION OF parts FOR VALUES FROM (1) TO (1001);
	CREATE TABLE p2 (shop text, gone int, sess text, at timestamptz NOT NULL, kind text, i int, u int, id bigint NOT NULL DEFAULT nextval('p2_id'));
	ALTER TABLE p2 DROP gone;
	CREATE TABLE p3 (id bigint NOT NULL DEFAULT nextval('p3_id'), u int, i int, kind text, at timestamptz NOT NULL, sess text, shop text);
	ALTER TABLE p1 REPLICA IDENTITY FULL;
	ALTER TABLE p2 REPLICA IDENTITY FULL;
	ALTER TABLE p3 REPLICA IDENTITY FULL;
	" . rows(600, 'parts') . rows(500, 'p2') . rows(500, 'p3') . "
	SELECT recsys.create_source('parts', 'parts', 'u', 'i', 'kind', event_time_column => 'at', weights => '{\"view\": 1, \"buy\": 3}', session_column => 'sess', history_limit => 1000);
	SELECT recsys.create_model('parts', 'm', 'session_knn');
");
sessions_ok('parts', 'm', 'sess', 'a partitioned table');
$o->run("ALTER TABLE parts ATTACH PARTITION p2 FOR VALUES FROM (1001) TO (2001);" . rows(100, 'parts') . rows(100, 'p2') . "
	DELETE FROM p2 WHERE id % 3 = 0; UPDATE parts SET sess = 'moved' || id / 40 WHERE id % 5 = 0;");
sessions_ok('parts', 'm', 'sess', 'a partition attached with rows');
# filled as of a position behind an ATTACH that the stream has yet to bring
$o->run("SELECT recsys.pause('parts')");
$o->run("ALTER TABLE parts ATTACH PARTITION p3 FOR VALUES FROM (2001) TO (3001);" . rows(50, 'p3') . "
	SELECT recsys.create_model('parts', 'late', 'session_knn', '{\"session_column\": \"shop\"}');
	DELETE FROM p3 WHERE id % 4 = 0;");
$o->run("SELECT recsys.resume('parts')");
sessions_ok('parts', 'late', 'shop', 'created behind an ATTACH');
sessions_ok('parts', 'm', 'sess', 'created before it');
$o->check('parts', 'histories beside them', exact => 1);
# attached between the position of a snapshot and the reading under it: the
# partition comes by the stream, with its rows, and is not read
my $bound = 3001;
for my $case ([ 'consumer', "SELECT recsys.create_model('parts', 'later', 'session_knn', '{\"session_column\": \"shop\"}')", 'later', 'shop' ],
	[ 'resync', "SELECT recsys.resync('parts')", 'm', 'sess' ])
{
	my ($what, $begin, $model, $column) = @$case;
	my $from = $bound;
	my $to = $bound += 1000;

	$o->run("
		CREATE SEQUENCE p${from}_id START $from;
		CREATE TABLE p$from (id bigint NOT NULL DEFAULT nextval('p${from}_id'), u int, i int, kind text, at timestamptz NOT NULL, sess text, shop text);
		ALTER TABLE p$from REPLICA IDENTITY FULL;
		" . rows(300, "p$from") . "
		SELECT recsys.inject_wait('parts', 'slot_create');
		$begin");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name LIKE '%_$what' AND confirmed_flush_lsn IS NOT NULL")
		or BAIL_OUT('no slot');
	$o->run("ALTER TABLE parts ATTACH PARTITION p$from FOR VALUES FROM ($from) TO ($to);
		SELECT recsys.inject_wait('parts', 'slot_create', false);");
	sessions_ok('parts', $model, $column, "attached while it waits: $what");
	sessions_ok('parts', 'm', 'sess', "attached while it waits: $what");
	$o->check('parts', "attached while it waits: $what", exact => 1);
}

# ------------------------------------------------------------------- crashes

append_to_file("$dir/write.sql", q{
	\set g random(1, 1000000)
	\set id random(1, 12000)
	BEGIN;
	INSERT INTO events (u, i, kind, at, sess, shop) VALUES (1 + :g % 256, 1 + :g % 128, 'view', clock_timestamp(), 's' || :g % 500, 'shop ' || :g % 300);
	UPDATE events SET sess = 'v' || :g % 100 WHERE id = :id;
	SAVEPOINT a;
	DELETE FROM events WHERE id = :id + 1;
	RELEASE a;
	COMMIT;
});
my $writers;
sub start_writers
{
	unlink "$dir/stop";
	$writers = IPC::Run::start([ 'bash', '-c', "while [ ! -e '$dir/stop' ]; do
		pgbench -n -c 2 -T 1 -R 150 -h '" . $node->host . "' -p " . $node->port . " -f '$dir/write.sql' postgres || sleep 0.05; done >>'$dir/out' 2>&1" ]);
}

sub stop_writers
{
	append_to_file("$dir/stop", '');
	$writers->finish;
}

# the step "backfill" is passed once per 1,000 rows
$o->run(rows(4000));
my $late = 0;
for my $step ([ 'slot_create', 1 ], [ 'backfill', 2 ], [ 'consumer', 1 ], [ 'apply', 3 ], [ 'flush', 1 ], [ 'confirm', 1 ], [ 'publish', 1 ])
{
	my ($name, $pass) = @$step;
	my $offset = -s $node->logfile;
	my $model = 'late' . ++$late;

	start_writers();
	insist("SELECT recsys.inject_crash('shop', '$name', $pass);
		SELECT recsys.create_model('shop', '$model', 'session_knn', '{\"session_column\": \"shop\"}')");
	$node->wait_for_log(qr/"recsys stream shop" \(PID \d+\) was terminated by signal 9/, $offset);
	$o->wait_for_server;
	stop_writers();
	sessions_ok('shop', $model, 'shop', "killed at $name");
	sessions_ok('shop', 'first', 'sess', "killed at $name");
	$o->check('shop', "killed at $name", exact => 1);
	insist("SELECT recsys.drop_model('shop', '$model')");
}
# by a resync
my $offset = -s $node->logfile;
start_writers();
insist("SELECT recsys.inject_crash('shop', 'resync', 1); SELECT recsys.resync('shop')");
$node->wait_for_log(qr/"recsys stream shop" \(PID \d+\) was terminated by signal 9/, $offset);
$o->wait_for_server;
stop_writers();
sessions_ok('shop', 'first', 'sess', 'killed at resync');
is(insist("SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ 'consumer|resync'"), 0, 'no slot is left');
is(insist("SELECT string_agg(name, ',') FROM shop.consumers"), 'first', 'nor a row');
$node->stop;
done_testing();
