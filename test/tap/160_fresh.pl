# als kept fresh: items that came after the training get vectors and are
# recommended; crashes at any step, trainings under way, TRUNCATE, forget_item,
# alter_model and drop_model leave a version that is whole; models are trained
# again when they have become old.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'recsys'
wal_level = logical
max_replication_slots = 10
max_worker_processes = 20
restart_after_crash = on
fsync = off
recsys.restart_delay = '20ms'
recsys.flush_interval = '100ms'
recsys.publish_interval = '30ms'
});
$node->start;

sub sql { return $node->safe_psql('postgres', "SET client_min_messages = warning; $_[0]") }

# Again and again while the server recovers from a crash.
sub insist
{
	my ($sql) = @_;
	for my $try (1 .. 600)
	{
		my ($status, $out) = eval { $node->psql('postgres', "SET client_min_messages = warning; $sql") };
		return $out if defined $status && $status == 0;
		select(undef, undef, undef, 0.1);
	}
	die "in vain: $sql";
}
sub wait_for { return is(insist("SELECT recsys.wait_for('shop', timeout => '1 min')"), 't', $_[0] || 'waited') }
sub until_true { return ok($node->poll_query_until('postgres', $_[0]), $_[1]) }
sub version { return sql('SELECT version FROM shop.taste_version') }
sub publish { return sql('SELECT publish FROM shop.taste_version') }
sub state { return sql("SELECT state FROM recsys.models WHERE model = 'taste'") }

# Users and items are of one of five groups, by their numbers, and like their own.
sub events
{
	my ($n, $seed) = @_;
	insist("SELECT setseed($seed);
		INSERT INTO events (u, i) SELECT 5 * u + g, 5 * i + g
		FROM (SELECT (random() * 60)::int AS u, (random() * 30)::int AS i, (random() * 4)::int AS g
			FROM generate_series(1, $n)) r");
}

# Ten users of group 2 like an item of theirs.
sub new_item
{
	my ($item) = @_;
	insist("INSERT INTO events (u, i) SELECT 5 * g + 2, $item FROM generate_series(1, 10) g");
}

my $vectors = 'shop.taste_factors f JOIN shop.taste_version v USING (version) JOIN shop.items i ON i.id = f.item_id';

sub has_vector { return sql("SELECT count(*) FROM $vectors WHERE i.key = $_[0] AND f.factors <> '{}'") }

# Every item that is in somebody's history has a finite vector, nothing is newer
# than the version's row says, and the Gram matrix there is that of the vectors.
sub check_whole
{
	my ($what) = @_;
	wait_for("$what: waited");
	my $bad = sql("SELECT i.key FROM shop.items i WHERE i.users > 0 AND NOT EXISTS (
		SELECT FROM shop.taste_factors f JOIN shop.taste_version v USING (version)
		WHERE f.item_id = i.id AND array_length(f.factors, 1) = v.dim
		AND f.factors::text !~ 'N|I') LIMIT 5");
	is($bad, '', "$what: every item has a vector");
	is(sql("SELECT count(*) FROM $vectors WHERE f.publish > v.publish"), '0', "$what: publish numbers");
	is(sql("WITH y AS (SELECT f.item_id, x.k, x.y FROM $vectors, unnest(f.factors) WITH ORDINALITY x(y, k)),
		g AS (SELECT a.k AS a, b.k AS b, sum(a.y::float8 * b.y) AS s FROM y a JOIN y b USING (item_id) GROUP BY 1, 2)
		SELECT sqrt(sum((s - item_gram[(a - 1) * dim + b]) ^ 2) / sum(s ^ 2)) < 0.03 FROM g, shop.taste_version"),
		't', "$what: the Gram matrix");
}

sql(q{
	CREATE EXTENSION recsys;
	CREATE TABLE events (u int, i int, at timestamptz DEFAULT clock_timestamp());
	ALTER TABLE events REPLICA IDENTITY FULL;
	CREATE INDEX ON events (u, at);
	SELECT recsys.create_source('shop', 'events', 'u', 'i', event_time_column => 'at');
	SELECT recsys.create_model('shop', 'taste', 'als', '{"factors": 8, "retrain_share": 0, "retrain_interval": 0}')});

# ----------------------------------------------------------------- first training

wait_for('nothing to train on, nothing to wait for');
is(state(), 'building', 'without events the model is building');
events(3000, 0.1);
wait_for('waited for the first training');
is(version(), '1', 'trained');
is(state(), 'ready', 'ready');
check_whole('first version');

# --------------------------------------------------------------------- fresh items

my $before = publish();
new_item(1002);
wait_for();
is(has_vector(1002), '1', 'a new item has a vector');
cmp_ok(publish(), '>', $before, 'which is a publication');
is(version(), '1', 'of the same version');
is(sql('SELECT bool_and(EXISTS (SELECT FROM shop.recommend(u, 30) WHERE item_id = 1002))
	FROM (VALUES (77), (102), (202)) x(u)'), 't', 'users of its group get it recommended');
is(sql('SELECT bool_or(EXISTS (SELECT FROM shop.recommend(u, 10) WHERE item_id = 1002))
	FROM (VALUES (81), (104), (203)) x(u)'), 'f', 'others do not');
is(sql('SELECT count(*) > 5 FROM shop.similar_items(1002, 10) WHERE item_id % 5 = 2'), 't',
	'it is like those of its group');

sql('INSERT INTO events (u, i) VALUES (90001, 5007)');
wait_for();
is(has_vector(5007), '0', 'an item whose only user is unknown has none');
sql('INSERT INTO events (u, i) SELECT 90001, 5 * g + 2 FROM generate_series(1, 5) g');
wait_for();
is(has_vector(5007), '1', 'until that user is known');

sql('DELETE FROM events WHERE i = 5007');
wait_for();
is(has_vector(5007), '0', 'an item without users has none any more');
check_whole('retracted') if sql("DELETE FROM events WHERE u = 90001 RETURNING 1");

# ----------------------------------------------------------------------- crashes

my $log = 0;
for my $step (qw(publish flush confirm apply))
{
	my $item = { publish => 2002, flush => 2007, confirm => 2012, apply => 2017 }->{$step};
	my $was = publish();
	sql("SELECT recsys.inject_crash('shop', '$step', 1)");
	new_item($item);
	events(200, 0.3);
	wait_for();
	my ($killed) = grep { slurp_file($node->logfile, $log) =~ /terminated by signal 9/ || !sleep 1 } 1 .. 30;
	ok($killed, "killed at $step");
	$log = -s $node->logfile;
	insist('SELECT 1');
	check_whole("killed at $step");
	is(has_vector($item), '1', "$step: the item came through");
	cmp_ok(publish(), '>', $was, "$step: publish numbers grow");
	new_item($item + 1000);
	wait_for();
	is(has_vector($item + 1000), '1', "$step: later ones do, too");
}
is(version(), '1', 'still the first version');

# a server that stops in the middle of it all
events(500, 0.4);
new_item(4002);
$node->stop('immediate');
$node->start;
check_whole('immediate stop');
is(has_vector(4002), '1', 'nothing was lost');

# ----------------------------------------------------------- during a training

sub hold { sql("SELECT recsys.inject_wait('shop', 'train', $_[0])") }

hold('true');
my $training = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT recsys.train('shop', 'taste')" ],
	'<', \'', '>', \my $out, '2>', \my $err);
until_true("SELECT count(*) > 0 FROM recsys.trainings WHERE state = 'running'", 'a training runs');
sleep 1;
new_item(6002);
events(300, 0.5);
wait_for('publications go on beside it');
is(has_vector(6002), '1', 'and items get vectors');
$before = publish();
hold('false');
$training->finish;
is($err, '', 'the training ends');
is(version(), '2', 'with a new version');
check_whole('after the swap');
is(has_vector(6002), '1', 'what came during the training has a vector');
cmp_ok(publish(), '>', $before, 'publish numbers grow over versions');
until_true('SELECT count(*) = 0 FROM shop.taste_factors WHERE version < 2', 'the old version is removed');
new_item(7002);
wait_for();
is(has_vector(7002), '1', 'the new one is kept fresh');

# -------------------------------------------------------------- forget an item

sql("SELECT recsys.forget_item('shop', '7002')");
wait_for();
is(has_vector(7002), '0', 'a forgotten item has no vector');
is(sql("SELECT count(*) FROM shop.taste_factors f WHERE f.factors <> '{}' AND NOT EXISTS
	(SELECT FROM shop.items WHERE id = f.item_id)"), '0', 'no vector without an item');
is(sql('SELECT count(*) FROM shop.recommend(77, 100) WHERE item_id = 7002'), '0', 'nobody gets it');

# ------------------------------------------------------------ when they are due

sql(q{SELECT recsys.alter_model('shop', 'taste', '{"retrain_share": 0.5}')});
wait_for('waited for the training that new parameters cause');
is(version(), '3', 'which is a version');
events(2500, 0.6);
wait_for();
events(1500, 0.7);
until_true('SELECT version > 3 FROM shop.taste_version', 'half as many events again: trained again');
is(state(), 'ready', 'and ready all the time');

sql(q{SELECT recsys.alter_model('shop', 'taste', '{"retrain_share": 0, "retrain_interval": 1}')});
wait_for();
my $version = version();
sleep 2;
is(version(), $version, 'no new events, no training');
events(1, 0.8);
until_true("SELECT version > $version FROM shop.taste_version", 'trained again after the interval');

sql(q{SELECT recsys.alter_model('shop', 'taste', '{"retrain_interval": 0, "factors": 12}')});
is(sql('SELECT count(*) FROM shop.recommend(77, 5)'), '5', 'meanwhile there are answers');
wait_for();
is(sql('SELECT dim FROM shop.taste_version'), '12', 'new parameters');
check_whole('another dimension');

# ----------------------------------------------------------------------- TRUNCATE

$version = version();
$before = publish();
sql('TRUNCATE events');
wait_for('nothing to train on after TRUNCATE');
is(state(), 'building', 'the model is building again');
is(sql('SELECT count(*) FROM shop.recommend(77, 5)'), '0', 'and has no answers');
until_true('SELECT count(*) = 0 FROM shop.taste_factors', 'its vectors go');
events(3000, 0.9);
wait_for();
is(state(), 'ready', 'trained on new data');
cmp_ok(version(), '>', $version, 'version numbers grow on');
cmp_ok(publish(), '>', $before, 'so do publish numbers');
check_whole('after TRUNCATE');

# -------------------------------------------------- followed in bulk, built again

$version = version();
new_item(8002);
sql('INSERT INTO events (u, i) SELECT 5 * (g % 60) + g % 5, 5 * (g / 7 % 40) + g % 5 FROM generate_series(1, 120000) g');
check_whole('one large transaction');
is(version(), $version, 'the version stays');
new_item(8007);
wait_for();
is(has_vector(8007), '1', 'and is kept fresh');

# ------------------------------------------------------------ models come and go

my $writer = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		'DO $$ BEGIN FOR n IN 1..400 LOOP INSERT INTO events (u, i) SELECT 5 * (random() * 60)::int, 9000 + n; COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$' ],
	'<', \'', '>', \my $out2, '2>', \my $err2);
for my $n (1 .. 4)
{
	sql(q{SELECT recsys.create_model('shop', 'other', 'als', '{"factors": 4, "retrain_share": 0.001}')});
	select(undef, undef, undef, 0.3 * $n);
	sql(q{SELECT recsys.drop_model('shop', 'other')});
}
$writer->finish;
check_whole('models dropped under way');
unlike(slurp_file($node->logfile), qr/is missing|was changed by someone|PANIC|TRAP/, 'no error in the log');

# ----------------------------------------------------------------------- ratings

sql(q{
	CREATE TABLE ratings (u int, i int, value float8, at timestamptz DEFAULT clock_timestamp());
	INSERT INTO ratings (u, i, value) SELECT u, i, CASE WHEN u % 3 = i % 3 THEN 5 ELSE 2 END
	FROM generate_series(1, 60) u, generate_series(1, 30) i WHERE (u * 7 + i * 11) % 10 < 7;
	SELECT recsys.create_source('films', 'ratings', 'u', 'i', event_value_column => 'value',
		event_time_column => 'at', feedback => 'explicit');
	SELECT recsys.create_model('films', 'taste', 'als',
		'{"factors": 4, "regularization": 0.1, "retrain_share": 0, "retrain_interval": 0}');
});
is(sql("SELECT recsys.wait_for('films')"), 't', 'ratings: waited');
sql('INSERT INTO ratings (u, i, value) SELECT u, 1001, CASE WHEN u % 3 = 2 THEN 5 ELSE 2 END FROM generate_series(1, 30) u');
is(sql("SELECT recsys.wait_for('films')"), 't', 'ratings: waited');
is(sql('SELECT version FROM films.taste_version'), '1', 'ratings: not trained again');
my ($high, $low) = split /\|/, sql('SELECT films.predict(41, 1001), films.predict(42, 1001)');
cmp_ok($high, '>', 4, "ratings: a new item is predicted ($high)");
cmp_ok($low, '<', 3, "ratings: for others differently ($low)");

$node->stop;
done_testing();
