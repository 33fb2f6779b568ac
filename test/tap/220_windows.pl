# Windows of metrics: after each phase of random events, late ones, updates,
# deletes and crashes, every window equals plain SQL over the table.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Basename;
use Oracle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = Oracle::cluster('main');
my $o = Oracle->new($node);
my $batch = 0;

$o->run(slurp_file("$FindBin::Bin/lib/windows.sql"));
$o->run(q{
	CREATE TYPE place AS ENUM ('home', 'search', 'cart');
	CREATE FUNCTION h(g bigint, n int) RETURNS int LANGUAGE sql STABLE AS
		$$SELECT (hashint8extended(g * 100 + n, current_setting('test.seed')::bigint) & 1073741823)::int$$;
});

# table: its columns; create, track: further arguments; row: the select list of
# a new row, from g; set: what an UPDATE may change
my $kind = q{(ARRAY['show','show','show','tap','click','buy','rate','other',NULL])[1 + h(g, 3) % 9]};
my $at = q{timestamptz '2024-05-01' + h(g, 4) % 20000 * interval '1 second' - CASE WHEN h(g, 5) % 10 = 0 THEN interval '20 days' ELSE '0' END};
my %source = (
	shop => {
		table => 'id bigserial PRIMARY KEY, u bigint, i int, kind text, price numeric, order_id text, stars float8, variant text, placed place, at timestamptz',
		create => q{'u', 'i', 'kind', event_time_column => 'at', weights => '{"buy":1}'},
		track => q{impression => '{show}', click => '{tap,click}', conversion => '{buy}', amount_column => 'price', order_column => 'order_id',
			rating_type => 'rate', rating_column => 'stars', dimensions => '{variant,placed}'},
		columns => 'u, i, kind, price, order_id, stars, variant, placed, at',
		row => "nullif(h(g, 1) % 90, 89), h(g, 2) % 60, $kind,
			CASE h(g, 6) % 9 WHEN 0 THEN NULL WHEN 1 THEN -5.25 WHEN 2 THEN 'NaN' WHEN 3 THEN 1e25 + h(g, 6) ELSE (h(g, 6) % 100000) / 100.0 END,
			nullif('order ' || h(g, 7) % 400, 'order 7'), CASE h(g, 8) % 20 WHEN 0 THEN NULL WHEN 1 THEN 'Infinity' ELSE (h(g, 8) % 11) / 2.0 END,
			(ARRAY['A','B','other',NULL])[1 + h(g, 9) % 4], (ARRAY['home','search','cart']::place[])[1 + h(g, 10) % 3],
			CASE WHEN h(g, 11) % 50 = 0 THEN now() + interval '2 days' WHEN h(g, 11) % 51 = 0 THEN 'infinity' ELSE $at END",
		set => [ "kind = 'buy'", "kind = 'other'", "at = at + interval '7 minutes'", "at = at - interval '3 hours'", "price = price * 2",
			"order_id = 'order 3'", "variant = 'B'", "placed = 'home'", 'u = u + 1', 'id = id', "stars = 5", 'order_id = NULL' ] },
	# partitioned, no orders of its own, floats, buckets of ten minutes, a timestamp without time zone
	parts => {
		table => 'id bigserial, u text, i uuid, kind varchar(10), value real, region smallint, at timestamp',
		partition => 'PARTITION BY LIST (region)',
		after => 'CREATE TABLE parts_1 PARTITION OF parts_events FOR VALUES IN (1, 2);
			CREATE TABLE parts_0 (region smallint, at timestamp, gone int, value real, kind varchar(10), i uuid, u text, id bigint NOT NULL);
			ALTER TABLE parts_0 DROP gone; ALTER TABLE parts_events ATTACH PARTITION parts_0 DEFAULT',
		leaves => [ 'parts_0', 'parts_1' ],
		create => q{'u', 'i', 'kind', event_time_column => 'at'},
		track => q{impression => '{show}', click => '{tap,click,buy}', conversion => '{buy}', amount_column => 'value', dimensions => '{region}', bucket => '10 min'},
		columns => 'u, i, kind, value, region, at',
		row => "'user ' || h(g, 1) % 500, md5((h(g, 2) % 30)::text)::uuid, $kind, (h(g, 6) % 1000) / 8.0, (h(g, 7) % 5)::smallint, ($at) AT TIME ZONE 'UTC'",
		set => [ "kind = 'buy'", 'region = region % 4 + 1', "at = at - interval '5 minutes'", 'value = value * 1.7', "u = 'user 1'" ] },
	# ratings, all of them
	films => {
		table => 'id bigserial PRIMARY KEY, u int, i int, stars numeric(3,1), at timestamptz',
		create => q{'u', 'i', event_value_column => 'stars', event_time_column => 'at', feedback => 'explicit'},
		track => q{bucket => '1 day', satisfied_from => 3.5},
		columns => 'u, i, stars, at',
		row => "h(g, 1) % 3000, h(g, 2) % 200, CASE WHEN h(g, 3) % 30 = 0 THEN 'NaN' ELSE (h(g, 3) % 11) / 2.0 END, $at",
		set => [ 'stars = 5 - stars', "at = at + interval '2 days'", 'u = u + 1' ] },
);

sub insert_rows
{
	my ($name, $n) = @_;
	my $s = $source{$name};
	my $first = ++$batch * 100000;

	return "SET test.seed = 42; INSERT INTO ${name}_events ($s->{columns}) SELECT $s->{row} FROM generate_series($first, " . ($first + $n - 1) . ") g;";
}

# Some of everything, in transactions of several sizes, some of them rolled back.
sub churn
{
	my ($name, $rounds) = @_;
	my $s = $source{$name};
	my $sql = '';

	for (1 .. $rounds)
	{
		my $some = 'id % 97 = ' . $o->rand(97);

		$sql .= "BEGIN;\n" if $o->rand(3) == 0;
		$sql .= insert_rows($name, 20 + $o->rand(200)) . "\n";
		$sql .= "SAVEPOINT a; DELETE FROM ${name}_events WHERE $some; ROLLBACK TO a;\n" if $sql =~ /BEGIN;[^;]*;[^;]*;\n$/;
		$sql .= "UPDATE ${name}_events SET " . $o->pick(@{ $s->{set} }) . " WHERE $some;\n" if $o->rand(2);
		$sql .= "DELETE FROM ${name}_events WHERE $some;\n" if $o->rand(3) == 0;
		$sql .= $o->rand(5) ? "COMMIT;\n" : "ROLLBACK;\n" if ($sql =~ tr/B//) && ($sql =~ /.*\b(BEGIN|COMMIT|ROLLBACK);/s)[0] eq 'BEGIN';
	}
	my ($status, $out, $err) = $o->try("SET client_min_messages = error;\n$sql");
	return $status;
}

# A crash that was asked for may come only now, and ends our session, too.
sub wait_for
{
	my ($name) = @_;

	for (1 .. 600)
	{
		my ($status, $out, $err) = $o->try("SELECT recsys.wait_for('$name', timeout => '1 min')");

		return 1 if $status == 0 && $out eq 't';
		if ($status == 0 || $err !~ /terminat|starting up|recovery|not yet accepting|connection/)
		{
			diag("wait_for $name: $out $err");
			return 0;
		}
		select(undef, undef, undef, 0.1);
	}
	return 0;
}

sub check
{
	my ($name, $test, %opt) = @_;
	my ($status, $out, $err, @bad, @good);

	return fail("$name, $test: wait_for") unless wait_for($name);
	# passes over the table for users may be put off
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM $name.windows WHERE users_stale)");
	($status, $out, $err) = $node->psql('postgres', "SET client_min_messages = error; SELECT * FROM windows_check('$name')");
	return fail("$name, $test: $err") if $status != 0;
	for (split /\n/, $out) { if (/^f\|(.*)/) { push @good, $1; } else { push @bad, $_; } }
	push @bad, 'nothing is held' unless $opt{empty} || grep { /^[1-9]\d* windows/ } @good;
	note("$name, $test: $_") for @good;
	ok(!@bad, "$name: $test") or diag(join("\n", @bad));
}

my @names = sort keys %source;

$o->seed(7);
for my $name (@names)
{
	my $s = $source{$name};

	$o->run("CREATE TABLE ${name}_events ($s->{table}) " . ($s->{partition} || ''));
	$o->run($s->{after}) if $s->{after};
	$o->run("ALTER TABLE $_ REPLICA IDENTITY FULL") for ("${name}_events", @{ $s->{leaves} || [] });
	$o->run("CREATE INDEX ON ${name}_events (u)");
	$o->run("CREATE INDEX ON ${name}_events (at)") if $name eq 'shop';
	$o->run(insert_rows($name, 500));
	# tracked in the same transaction, before there is a worker; films only later
	$o->run("BEGIN; SELECT recsys.create_source('$name', '${name}_events', $s->{create}); "
		  . ($name eq 'films' ? '' : "SELECT recsys.track_metrics('$name', $s->{track}); ") . 'COMMIT;');
}
check($_, 'what was there before') for 'parts', 'shop';
churn($_, 30) for @names;
check($_, 'inserts, updates, deletes') for 'parts', 'shop';

# --- tracked late, while events come
$o->run("SELECT recsys.track_metrics('films', $source{films}{track})");
churn('films', 20);
check('films', 'tracked on a source that has run for a while');

# --- crashes at each step, with more to do right after
for my $step ('apply', 'flush', 'confirm', 'publish')
{
	for my $name ('shop', 'films')
	{
		$o->try("SELECT recsys.inject_crash('$name', '$step')");
		churn($name, 6);
		$o->wait_for_server;
		churn($name, 4);
		$o->wait_for_server;
		check($name, "a crash at $step");
	}
}

# --- filled again: each of these counts from the table
$o->run("SELECT recsys.inject_crash('shop', 'consumer'); SELECT recsys.alter_metrics('shop', click => '{click}', satisfied_from => 2, bucket => '5 min')");
$o->wait_for_server;
churn('shop', 5);
$o->wait_for_server;
check('shop', 'other types and buckets, filled again over a crash');
$o->run("SELECT recsys.untrack_metrics('shop')");
churn('shop', 3);
$o->run("SELECT recsys.track_metrics('shop', $source{shop}{track})");
churn('shop', 3);
check('shop', 'tracked anew');
$o->run("SELECT recsys.resync('shop')");
churn('shop', 3);
check('shop', 'a resync');

# --- partitions: one that comes with rows, and TRUNCATE
$o->run("CREATE TABLE parts_new (LIKE parts_1 INCLUDING ALL); ALTER TABLE parts_new REPLICA IDENTITY FULL; "
	  . "INSERT INTO parts_new SELECT id + 1000000, u, i, kind, value, 9, at FROM parts_events; ALTER TABLE parts_events ATTACH PARTITION parts_new FOR VALUES IN (9)");
churn('parts', 5);
check('parts', 'an attached partition');
$o->run('TRUNCATE films_events');
check('films', 'TRUNCATE', empty => 1);
is($o->run('SELECT count(*) FROM films.windows'), 0, 'nothing is left');
churn('films', 5);
check('films', 'events after TRUNCATE');

# --- old buckets are put together, and counted in as they are
$o->run("SELECT recsys.alter_metrics('shop', rollup_after => '2 hours')");
wait_for('shop');
churn('shop', 10);
check('shop', 'rolled up');
is($o->run("SELECT count(*) > 0 FROM shop.windows WHERE bucket_end - bucket = '1 hour'"), 't', 'there are hours');
churn('shop', 10);
check('shop', 'changes of hours');
$o->run("SELECT recsys.resync('shop')");
churn('shop', 3);
check('shop', 'filled and rolled up again');
$o->run("SELECT recsys.alter_metrics('shop', rollup_after => '0')");

# --- what was never counted is not taken back
$o->run("DELETE FROM shop_events WHERE at > now()");
$o->run("DELETE FROM shop_events");
check('shop', 'everything deleted', empty => 1);
is($o->run("SELECT (SELECT count(*) FROM shop.windows) + (SELECT count(*) FROM shop.window_orders)"), 0, 'no window and no order is left');
is($o->run('SELECT without_amount, unmatched FROM shop.metrics_status'), '0|0', 'nor anything else that was counted');

# --- little memory: rows are dropped and read again
$o->run("ALTER SYSTEM SET recsys.memory = '8MB'");
$node->restart;
$o->run("SET test.seed = 5; INSERT INTO shop_events (u, i, kind, price, order_id, variant, at)
	SELECT h(g, 1) % 20000, h(g, 2) % 50, CASE h(g, 3) % 2 WHEN 0 THEN 'buy' ELSE 'show' END, (h(g, 6) % 10000) / 100.0, 'order ' || h(g, 7) % 30000,
		(ARRAY['A','B'])[1 + h(g, 9) % 2], timestamptz '2024-05-01' + h(g, 4) % 3000000 * interval '1 second' FROM generate_series(1, 60000) g");
check('shop', 'more windows and orders than fit into memory');
$o->run("UPDATE shop_events SET at = at - interval '1 hour' WHERE id % 9 = 0; DELETE FROM shop_events WHERE id % 11 = 0");
check('shop', 'changes of those');
$o->run("SELECT recsys.resync('shop')");
check('shop', 'filled again with little memory');

done_testing();
