# Everything that can happen to events, at random, and after each phase the
# state against the oracle.  One session makes all changes, so that the log of
# the replay is in WAL order; the seed is fixed.

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

$o->seed(20240917);
my $base = $o->run("SELECT date_trunc('second', now())");

# h(g, n): a number that depends on nothing but g, n and the seed of the call
$o->run(q{
	CREATE FUNCTION h(g bigint, n int) RETURNS int LANGUAGE sql STABLE AS
		$$SELECT (hashint8extended(g * 100 + n, current_setting('test.seed')::bigint) & 1073741823)::int$$;
	CREATE FUNCTION fat(g bigint) RETURNS text LANGUAGE sql STABLE AS
		$$SELECT string_agg(md5((g * 1000 + x)::text), '') FROM generate_series(1, 100) x$$;
});

# ------------------------------------------------------------------- sources
#
# table: its definition; create: further arguments of create_source(); row: the
# select list of a new row, from g; set: what an UPDATE may change.  A log is
# kept where a history overflows, where old rows are unknown, or where the
# state outlives its events.

my $keys = q{h(g, 1) % 90};
my $kind = q{(ARRAY['view','view','view','cart','buy','other',NULL])[1 + h(g, 3) % 7]};
my $at = q{timestamptz '2024-05-01' + h(g, 4) % 5000000 * interval '1 second'};

my %source = (
	shop => {
		table => 'id bigserial PRIMARY KEY, u bigint, i int, kind text, at timestamptz, fat text',
		create => q{'u', 'i', 'kind', event_time_column => 'at', weights => '{"view":1,"cart":3,"buy":5}'},
		columns => 'u, i, kind, at, fat',
		row => "nullif($keys, 89) * 1000000000000, (h(g, 2) % 60)::int, $kind, "
		  . "CASE WHEN h(g, 5) % 50 = 0 THEN now() + interval '2 days' WHEN h(g, 5) % 51 = 0 THEN 'infinity' ELSE $at END, "
		  . "CASE WHEN h(g, 6) % 20 = 0 THEN fat(g) END",
		set => [ "kind = 'buy'", 'u = u + 1000000000000', 'i = (i + 7) % 60', "at = at + interval '1 day'",
			"fat = 'thin'", "fat = fat(id)", 'i = NULL', "kind = 'other'", 'id = id' ],
		exact => 1, mode => 'events' },
	vals => {
		table => 'id bigserial PRIMARY KEY, u text, i uuid, value float8, fat text',
		create => q{'u', 'i', event_value_column => 'value'},
		columns => 'u, i, value, fat',
		after => "ALTER TABLE vals_events ALTER u SET STORAGE EXTERNAL;
			ALTER TABLE vals_events SET (toast_tuple_target = 128)",
		row => q{'user ' || h(g, 1) % 70 || CASE h(g, 1) % 70 % 3 WHEN 0 THEN repeat('ü', 450)
			WHEN 1 THEN repeat('y', 12 + 13 * (h(g, 1) % 70)) ELSE '' END || CASE WHEN h(g, 7) % 60 = 0 THEN repeat('long', 280) ELSE '' END,
			md5((h(g, 2) % 50)::text)::uuid,
			CASE h(g, 3) % 40 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' WHEN 2 THEN -1 WHEN 3 THEN 0 WHEN 4 THEN NULL
				ELSE (1 + h(g, 3) % 1000) / 100.0 END, fat(g)},
		set => [ 'value = value * 1.7', "fat = 'thin'", 'fat = fat(id)', "u = 'user 1'", 'value = NULL', 'id = id',
			"i = md5('3')::uuid", "u = u || '!'" ],
		mode => 'events' },
	rate => {
		table => 'id bigserial PRIMARY KEY, u varchar(40), i smallint, value numeric(4,1), at timestamptz',
		create => q{'u', 'i', event_value_column => 'value', event_time_column => 'at', feedback => 'explicit'},
		columns => 'u, i, value, at',
		# no two ratings at the same time, or nothing tells which is the last
		row => "'user ' || h(g, 1) % 80, (h(g, 2) % 40)::smallint, CASE WHEN h(g, 3) % 30 = 0 THEN 'NaN' ELSE (h(g, 3) % 11) / 2.0 END, "
		  . "$at + nextval('ratings') * interval '1 microsecond'",
		before => 'CREATE SEQUENCE ratings',
		set => [ 'value = 5 - value / 2', "at = at - interval '9 days'", "at = at + interval '3 days'", "i = (i + 1) % 40", 'value = NULL' ],
		mode => 'events', delete => 4 },
	tiny => {
		table => 'id bigserial PRIMARY KEY, u smallint, i bigint, kind varchar(10), at timestamptz',
		create => q{'u', 'i', 'kind', event_time_column => 'at', weights => '{"view":1,"cart":3,"buy":5}', history_limit => 8},
		columns => 'u, i, kind, at',
		row => "(h(g, 1) % 60)::smallint, h(g, 2) % 50 + 5000000000, $kind, $at",
		set => [ "kind = 'buy'", 'u = (u + 1) % 60', "at = at + interval '20 days'", "at = at - interval '20 days'", 'i = i + 1' ],
		exact => 1, mode => 'log' },
	untimed => {					# no time column: the newest is what came last
		table => 'id bigserial PRIMARY KEY, u int, i varchar, kind char(6)',
		create => q{'u', 'i', 'kind', weights => '{"view":1,"cart":3,"buy":5}', history_limit => 40},
		columns => 'u, i, kind',
		row => "h(g, 1) % 25, 'item ' || h(g, 2) % 80, $kind",
		set => [ "kind = 'buy'", 'u = (u + 1) % 25', "i = 'item 3'" ],
		exact => 1, mode => 'log' },
	rush => {					# landmarks move
		table => 'id bigserial PRIMARY KEY, u int, i text, value real, at timestamptz',
		create => q{'u', 'i', event_value_column => 'value', event_time_column => 'at', half_life => '1 minute'},
		columns => 'u, i, value, at',
		# what is taken back must not be larger than the rest by as much as
		# floats have digits: each item has its own time, later ones come later
		row => "$keys, 'item ' || h(g, 1) % 9 * 6 + h(g, 2) % 12, (1 + h(g, 3) % 100) / 8.0,
			CASE WHEN h(g, 5) % 50 = 0 THEN now() + interval '2 days' ELSE
			timestamptz '$base' + (h(g, 1) % 9 * 300 + h(g, 4) % 300) * interval '1 second' END",
		set => [ 'value = value * 2', "at = at - interval '30 seconds'", "i = 'item ' || u % 9 * 6" ],
		mode => 'events' },
	decay => {
		table => 'id bigserial PRIMARY KEY, u int, i text, kind text, at timestamptz',
		create => q{'u', 'i', 'kind', event_time_column => 'at', weights => '{"view":1,"cart":3,"buy":5}', half_life => '3 days', history_limit => 30},
		columns => 'u, i, kind, at',
		row => "$keys, 'item ' || h(g, 2) % 60, $kind, timestamptz '$base' - h(g, 4) % 5000000 * interval '1 second'",
		set => [ "kind = 'buy'", "at = at - interval '2 days'", "i = 'item 3'" ],
		mode => 'log' },
	blind => {					# the old row is not in WAL
		table => 'id bigserial PRIMARY KEY, u int, i int, kind text, at timestamptz',
		create => q{'u', 'i', 'kind', event_time_column => 'at', weights => '{"view":1,"cart":3,"buy":5}'},
		columns => 'u, i, kind, at',
		row => "$keys, h(g, 2) % 60, $kind, $at",
		set => [ "kind = 'buy'", 'u = u + 1' ],
		exact => 1, mode => 'log', identity => 'none' },
	cover => {					# the identity is an index on what is mapped, part of it in TOAST
		table => 'id bigserial PRIMARY KEY, u text NOT NULL, i int NOT NULL, kind text NOT NULL, fat text',
		create => q{'u', 'i', 'kind', weights => '{"view":1,"cart":3,"buy":5}'},
		columns => 'u, i, kind, fat',
		after => "ALTER TABLE cover_events ALTER u SET STORAGE EXTERNAL;
			ALTER TABLE cover_events SET (toast_tuple_target = 128);
			CREATE UNIQUE INDEX cover_key ON cover_events (u, i, kind, id)",
		row => "CASE h(g, 1) % 2 WHEN 0 THEN 'user ' ELSE repeat('y', 900) END || h(g, 1) % 70, h(g, 2) % 60, coalesce($kind, 'view'), fat(g)",
		set => [ "kind = 'buy'", "fat = 'thin'", 'fat = fat(id + 1)', 'i = (i + 1) % 60', 'id = id', "u = 'user 3'" ],
		exact => 1, mode => 'events', identity => 'INDEX cover_key' });

my @names = sort keys %source;

sub create
{
	my ($name) = @_;
	my $s = $source{$name};
	my $identity = $s->{identity} || 'full';
	my $table = "${name}_events";

	$o->run("$s->{before}") if $s->{before};
	$o->run("CREATE TABLE $table ($s->{table}); CREATE INDEX ON $table (u)");
	$o->run($s->{after}) if $s->{after};
	$o->run("ALTER TABLE $table REPLICA IDENTITY " .
		  ($identity eq 'full' ? 'FULL' : $identity eq 'none' ? 'DEFAULT' : "USING $identity"));
	$o->run("SET test.seed = 1; " . insert_rows($name, 400));
	$o->run("SELECT recsys.create_source('$name', '$table', $s->{create});
		SELECT recsys.create_model('$name', 'knn', 'item_knn', '{\"k\": 10}')");
	ok($o->wait_for($name), "$name: wait for the backfill");
	$o->run("SELECT oracle.follow('$name', '$identity')") if $s->{mode} eq 'log';
}

my $g = 0;

sub insert_rows
{
	my ($name, $n) = @_;
	my $s = $source{$name};
	my $from = $g + 1;

	$g += $n;
	return "INSERT INTO ${name}_events ($s->{columns}) SELECT $s->{row} FROM generate_series($from, $g) g";
}

# One random command.
sub command
{
	my ($name) = @_;
	my $s = $source{$name};
	my $what = $o->rand(12);
	my $some = sub { my $m = 20 + $o->rand(60); return "WHERE id % $m = " . $o->rand($m) };

	return insert_rows($name, 1 + $o->rand(5)) if $what < 5;
	return insert_rows($name, 20 + $o->rand(100)) if $what < 6;
	return "UPDATE ${name}_events SET " . $o->pick(@{ $s->{set} }) . ' ' . &$some if $what < 9;
	return "DELETE FROM ${name}_events " . &$some if $what < 11;
	return "DELETE FROM ${name}_events WHERE id IN (SELECT id FROM ${name}_events ORDER BY id DESC LIMIT " . (1 + $o->rand(5)) . ')';
}

# A transaction: savepoints, kept and rolled back, subtransactions of
# exceptions, and sometimes a rollback of it all.
sub transaction
{
	my ($name) = @_;
	my $sql = "BEGIN;\n";
	my $depth = 0;

	for (0 .. $o->rand(6))
	{
		my $what = $o->rand(10);

		if ($what < 5) { $sql .= command($name) . ";\n"; }
		elsif ($what < 7) { $sql .= 'SAVEPOINT s' . ++$depth . ";\n" . command($name) . ";\n"; }
		elsif ($what < 8 && $depth) { $sql .= "ROLLBACK TO s$depth;\n"; }
		elsif ($what < 9 && $depth) { $sql .= 'RELEASE s' . $depth-- . ";\n"; }
		else
		{
			my $kept = command($name);
			my $lost = command($name);

			$sql .= "DO \$do\$ BEGIN $kept; BEGIN $lost; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END \$do\$;\n";
		}
	}
	return $sql . ($o->rand(7) == 0 ? "ROLLBACK;\n" : "COMMIT;\n");
}

sub churn
{
	my ($transactions, @of) = @_;

	for my $name (@of)
	{
		my $sql = 'SET test.seed = ' . $o->rand(1000000) . ";\n";

		$sql .= $o->rand(3) ? transaction($name) : command($name) . ";\n" for 1 .. $transactions;
		$o->run($sql);
	}
}

sub check
{
	my ($what, @of) = @_;

	$o->check($_, $what, mode => $source{$_}{mode}, exact => $source{$_}{exact}) for @of;
}

# What the state holds after it was rebuilt follows from the rows alone.
sub rebased
{
	for my $name (@_)
	{
		ok($o->wait_for($name), "$name: rebuilt");
		$o->run("SELECT oracle.rebase('$name')") if $source{$name}{mode} eq 'log';
	}
}

# -------------------------------------------------------------------- phases

create($_) for @names;
check('backfill', @names);

churn(25, @names);
check('random changes', @names);

$o->run("SELECT recsys.create_model('$_', 'second', 'item_knn', '{\"k\": 3}');
	SELECT recsys.create_model('$_', 'popular', 'popular')") for @names;
churn(10, @names);
check('a second model, created midway', @names);
$o->run("SELECT recsys.create_model('$_', 'shrunk', 'item_knn', '{\"k\": 20, \"shrinkage\": 25.5, \"min_support\": 3}')") for grep { $_ ne 'rush' } @names;
churn(15, @names);
check('a third with shrinkage and support', @names);
$o->run("SELECT recsys.alter_model('$_', 'second', '{\"k\": 30, \"min_support\": 2}')") for @names;
$o->run("SELECT recsys.drop_model('$_', 'knn')") for @names;
churn(5, @names);
check('one altered, one dropped', @names);

# some large transactions
for my $name (@names)
{
	$o->run('SET test.seed = 7; BEGIN;' . insert_rows($name, 2000) . '; SAVEPOINT a; ' . insert_rows($name, 1000) .
		  "; ROLLBACK TO a; DELETE FROM ${name}_events WHERE id % 5 = 0; COMMIT");
}
check('large transactions', @names);

# forget
my %user = (shop => "'7000000000000'", vals => "'user 2'", rate => "'user 2'", tiny => "'2'", untimed => "'2'", decay => "'2'", rush => "'2'",
	blind => "'2'", cover => "'user 2'");
for my $name (@names)
{
	my $number = $o->run("SELECT id FROM $name.users WHERE key::text = $user{$name}");
	like($number, qr/^\d+$/, "$name: user to forget");
	$o->run('SET test.seed = 8; BEGIN; ' . command($name) . "; SELECT recsys.forget_user('$name', $user{$name}, delete_events => true);" .
		  ($source{$name}{mode} eq 'log' ? "INSERT INTO oracle.log (source, op, u) VALUES ('$name', 'forget user', $user{$name});" : '') .
		  'COMMIT');
	# rolled back: nothing is forgotten
	$o->run("BEGIN; SELECT recsys.forget_user('$name', (SELECT key::text FROM $name.users ORDER BY id DESC LIMIT 1), delete_events => true); ROLLBACK");
	$o->wait_for($name);
	is($o->run("SELECT count(*) FROM $name.users WHERE key::text = $user{$name} OR id = $number"), '0', "$name: user is forgotten");
}
check('forget_user', @names);
churn(6, @names);
check('and his return', @names);
for my $name (grep { $source{$_}{mode} eq 'log' } @names)
{
	my $item = "(SELECT key::text FROM $name.items WHERE users > 3 ORDER BY id LIMIT 1)";
	$o->run("BEGIN; INSERT INTO oracle.log (source, op, i) VALUES ('$name', 'forget item', $item);
		SELECT recsys.forget_item('$name', $item); COMMIT");
}
check('forget_item', grep { $source{$_}{mode} eq 'log' } @names);
churn(6, @names);
check('and its return', @names);

# pause
$o->run("SELECT recsys.pause('$_')") for @names;
churn(8, @names);
$o->run("SELECT recsys.resume('$_')") for @names;
check('after a pause', @names);

# rebuild; changes go on meanwhile where the rows alone tell the result
$o->run("SELECT recsys.resync('$_')") for @names;
churn(8, grep { $source{$_}{mode} eq 'events' } @names);
rebased(@names);
check('resync', @names);
churn(8, @names);
check('changes after a resync', @names);

$o->run("SELECT recsys.alter_source('$_', history_limit => 5)") for ('tiny', 'decay');
$o->run("SELECT recsys.alter_source('untimed', history_limit => 12)");
$o->run("SELECT recsys.alter_source('shop', weights => '{\"view\":2,\"buy\":11,\"other\":1}')");
rebased('tiny', 'decay', 'untimed', 'shop');
check('alter_source', 'tiny', 'decay', 'untimed', 'shop');
churn(15, @names);
check('changes after alter_source', @names);
$o->run("SELECT recsys.alter_source('tiny', history_limit => 20)");
rebased('tiny');
churn(15, 'tiny');
check('a longer history', 'tiny');

# time goes on
$o->run("SET test.seed = 5; UPDATE decay_events SET at = at - interval '10 days' WHERE id % 3 = 0;");
$o->run("INSERT INTO decay_events (u, i, kind, at) SELECT g % 20, 'item ' || g % 17, 'buy', now() - g * interval '1 minute' FROM generate_series(1, 200) g");
check('events of now', 'decay');
churn(10, 'decay');
check('old and new ones', 'decay');

# reset
$o->run("TRUNCATE ${_}_events") for @names;
$o->check($_, 'truncated', mode => $source{$_}{mode}, exact => $source{$_}{exact}, empty => 1) for @names;
is($o->run("SELECT count(*) FROM $_.users") > 0, 1, "$_: keys stay") for @names;
churn(20, @names);
check('and filled again', @names);
for my $name (@names)
{
	$o->run('SET test.seed = 9; BEGIN;' . insert_rows($name, 50) . "; SAVEPOINT a; TRUNCATE ${name}_events; " . insert_rows($name, 30) .
		'; ROLLBACK TO a; ' . insert_rows($name, 30) . '; COMMIT; BEGIN; ' . insert_rows($name, 50) . "; TRUNCATE ${name}_events; " . insert_rows($name, 300) . '; COMMIT');
}
check('truncated within a transaction', @names);
$node->restart;
check('a restart', @names);
$node->stop('immediate');
$node->start;
check('a crash', @names);

# the oracle itself notices what is wrong
sub notices
{
	my ($name, $change, $what) = @_;
	my ($status, $out) = $node->psql('postgres', "SET client_min_messages = error; BEGIN; $change;
		SELECT count(*) > 0 FROM oracle.check('$name', '$source{$name}{mode}', " . ($source{$name}{exact} ? 'true' : 'false') . ') WHERE bad; ROLLBACK');

	is($out, 't', "the oracle notices $what");
}

notices('shop', 'UPDATE shop.profiles SET weights[1] = weights[1] + 1 WHERE (user_id, segment) = (SELECT user_id, segment FROM shop.profiles LIMIT 1)', 'a weight');
notices('vals', 'UPDATE vals.profiles SET weights[1] = weights[1] * 1.0001 WHERE (user_id, segment) = (SELECT user_id, segment FROM vals.profiles LIMIT 1)', 'a rounded weight');
notices('tiny', 'DELETE FROM tiny.profiles WHERE user_id = (SELECT user_id FROM tiny.profiles LIMIT 1)', 'a lost history');
notices('tiny', 'UPDATE tiny.profiles SET times[1] = times[1] + 1 WHERE (user_id, segment) = (SELECT user_id, segment FROM tiny.profiles LIMIT 1)', 'a wrong time');
notices('rate', 'UPDATE rate.items SET users = users + 1 WHERE id = (SELECT id FROM rate.items LIMIT 1)', 'a wrong count of users');
notices('shop', 'UPDATE shop.second_neighbors SET scores[1] = scores[1] - 0.0011 WHERE item_id = (SELECT item_id FROM shop.second_neighbors LIMIT 1)', 'a wrong score');
notices('shop', 'UPDATE shop.second_neighbors SET neighbors = neighbors[2:], scores = scores[2:] WHERE item_id = (SELECT item_id FROM shop.second_neighbors LIMIT 1)', 'a missing neighbour');
notices('shop', 'DELETE FROM shop.second_neighbors WHERE item_id = (SELECT item_id FROM shop.second_neighbors ORDER BY scores[1] DESC LIMIT 1)', 'a missing row');
notices('shop', 'UPDATE shop.second_neighbors SET weights = set_byte(weights, 0, get_byte(weights, 0) + 3) WHERE item_id = (SELECT item_id FROM shop.second_neighbors LIMIT 1)', 'a wrong weight');
notices('shop', 'UPDATE shop.popular_items SET score = score + 1 WHERE rank = 3', 'a wrong popularity');

cmp_ok($o->run("SELECT unmatched FROM recsys.status WHERE source = 'blind'"), '>', 0, 'changes without old rows are counted');
cmp_ok($o->run("SELECT rejected FROM recsys.status WHERE source = 'shop'"), '>', 0, 'rejected events are counted');
is($o->run('SELECT count(*) FROM recsys.status WHERE failures > 0 OR last_error IS NOT NULL'), '0', 'no worker has failed');
is($o->run("SELECT sum(abs(s.events_applied)) > 0 FROM recsys.status s"), 't', 'events were applied');

$node->stop;
done_testing();
