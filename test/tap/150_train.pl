# Trainings: they happen by themselves and on demand, come to the same result
# with any number of processes, end with whoever asked for them, and leave the
# old version serving whatever becomes of them.  No other process than theirs
# has BLAS or a second thread.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'recsys'
wal_level = logical
max_replication_slots = 10
max_worker_processes = 20
restart_after_crash = on
fsync = off
recsys.restart_delay = '50ms'
recsys.flush_interval = '200ms'
});
$node->start;

# The result of sql, or its error with detail and hint.
sub ask
{
	my ($sql, $db) = @_;
	my ($status, $out, $err) = $node->psql($db || 'postgres', $sql);
	return $out if $status == 0;
	$err =~ s/^psql:[^ ]*: //mg;
	return $err;
}

sub wait_until
{
	my ($sql, $what, $db) = @_;
	ok($node->poll_query_until($db || 'postgres', $sql), $what);
}

# A statement in a session of its own, which goes on.
sub session
{
	my ($sql, $db) = @_;
	my $s = { out => '', err => '' };
	$s->{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr($db || 'postgres'), '-c', $sql ],
		'<', \'', '>', \$s->{out}, '2>', \$s->{err});
	return $s;
}

sub finish
{
	my ($s) = @_;
	$s->{run}->finish;
	return "$s->{out}$s->{err}" =~ s/\s+$//r;
}

sub version { return ask('SELECT version FROM shop.taste_version') }

sub factors
{
	return ask(q{SELECT count(*) || ' ' || md5(string_agg(item_id || factors::text, ' ' ORDER BY item_id))
		FROM shop.taste_factors JOIN shop.taste_version USING (version)});
}

sub factors_of { return ask("SELECT count(*) FROM shop.taste_factors WHERE version = $_[0]") }

sub waits
{
	my ($step, $waits) = @_;
	ask("SELECT recsys.inject_wait('shop', '$step', " . ($waits ? 'true' : 'false') . ')');
}

my $state = "SELECT state FROM recsys.trainings WHERE source = 'shop' AND model = 'taste'";

sub state_is
{
	my ($wanted, $what) = @_;
	wait_until("SELECT ($state) = '$wanted'", $what);
}

# Starts a training that waits in its iterations.
sub held_training
{
	waits('train', 1);
	my $s = session(q{SELECT recsys.train('shop', 'taste')});
	wait_until(q{SELECT phase = 'training' FROM recsys.progress WHERE model = 'taste'},
		'a training is under way');
	return $s;
}

sub no_process_left
{
	wait_until(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'recsys training%'},
		'no process of it is left');
}

sub threads { my @tasks = glob("/proc/$_[0]/task/*"); return scalar @tasks }

sub maps_blas { return slurp_file("/proc/$_[0]/maps") =~ /blas/ ? 1 : 0 }

# --------------------------------------------------------------------- setup

$node->safe_psql('postgres', q{
	SET client_min_messages = warning;
	CREATE EXTENSION recsys;
	CREATE TABLE events (u int, i int, value float8);
	CREATE INDEX ON events (u);
	-- users like the items of their own part
	INSERT INTO events
		SELECT g % 600, 10 * (hashint4(g) & 1023) % 400 + (g % 600) % 10, 1 + g % 5
		FROM generate_series(1, 20000) g;
	CREATE TABLE nothing (u int, i int);
	CREATE INDEX ON nothing (u);
	CREATE ROLE stranger LOGIN;
	SELECT recsys.create_source('shop', 'events', 'u', 'i');
	SELECT recsys.create_source('void', 'nothing', 'u', 'i');
	SELECT recsys.create_model('shop', 'taste', 'als', '{"factors": 12, "iterations": 6}');
	SELECT recsys.create_model('shop', 'near', 'item_knn');
	SELECT recsys.create_model('void', 'taste', 'als');
});

# -------------------------------------------------------------- by themselves

wait_until(q{SELECT count(*) = 1 FROM shop.taste_version}, 'a new model is trained by itself');
wait_until(q{SELECT state = 'ready' FROM recsys.models WHERE source = 'shop' AND model = 'taste'},
	'it is ready then');
is(version(), 1, 'with version 1');
like(factors(), qr/^400 /, 'and a vector for each item');
is(ask(q{SELECT count(*) FROM shop.taste_factors WHERE array_length(factors, 1) <> 12
		OR 'NaN' = ANY (factors) OR 'Infinity' = ANY (factors) OR '-Infinity' = ANY (factors)}),
	0, 'that is finite');
is(ask(q{SELECT users, items, interactions = (SELECT sum(users) FROM shop.items), dim, mean,
		array_length(item_gram, 1), array_length(user_gram, 1),
		loss > 0 AND loss < 10, trained_at <= now(), events
	FROM shop.taste_version}), '600|400|t|12|0|144|144|t|t|20000', 'the version tells what it is');
is(ask(q{SELECT count(*) FROM void.taste_version}), 0, 'nothing is trained where there is nothing');

# ------------------------------------------------------------------ on demand

my $first = factors();
is(ask(q{SELECT recsys.train('shop', 'taste')}), '', 'train()');
is(version(), 2, 'gives the next version');
is(factors(), $first, 'the same seed and data give the same vectors');
for my $workers (1, 3)
{
	$node->safe_psql('postgres', "ALTER SYSTEM SET recsys.max_training_workers = $workers");
	$node->reload;
	wait_until("SELECT setting = '$workers' FROM pg_settings WHERE name = 'recsys.max_training_workers'",
		"$workers processes");
	my $s = held_training();
	wait_until("SELECT workers = $workers FROM recsys.trainings WHERE model = 'taste' AND source = 'shop'",
		'all take part');
	my $leader = ask(q{SELECT pid FROM recsys.trainings WHERE model = 'taste' AND source = 'shop'});
	is(threads($leader), 1, 'each has one thread');
	is(maps_blas($leader), 1, 'and BLAS');
	waits('train', 0);
	is(finish($s), '', 'the training ends');
	is(factors(), $first, "$workers processes come to the same vectors");
}
is(ask(q{SELECT state, iteration, iterations, loss > 0, workers, pid, failures, last_error
	FROM recsys.trainings WHERE source = 'shop' AND model = 'taste'}), 'done|6|6|t|||0|', 'recsys.trainings');

$node->safe_psql('postgres', q{INSERT INTO events SELECT g, 4000, 1 FROM generate_series(1, 50) g});
is(ask(q{SELECT recsys.train('shop', 'taste')}), '', 'train() once more');
is(ask(q{SELECT events FROM shop.taste_version}), 20050, 'has trained on what was committed before it');
is(ask(q{SELECT count(*) FROM shop.taste_factors JOIN shop.taste_version USING (version)
	JOIN shop.items ON id = item_id WHERE key = 4000}), 1, 'a new item has a vector');

# --------------------------------------------------------------------- errors

like(ask(q{SELECT recsys.train('shop', 'near')}),
	qr/model "near" is not trained: algorithm "item_knn".*HINT:  recsys.wait_for\(\)/s, 'of another algorithm');
like(ask(q{SELECT recsys.train('shop', 'none')}), qr/model "none" of source "shop" does not exist/, 'of no model');
like(ask(q{SELECT recsys.train('none', 'taste')}), qr/source "none" does not exist/, 'of no source');
like(ask(q{SELECT recsys.train('shop', NULL)}), qr/argument "model" must not be null/, 'of null');
like(ask(q{SELECT recsys.train('void', 'taste')}),
	qr/source "void" has no interactions to train on.*HINT:/s, 'of an empty source');
like(ask(q{BEGIN; SELECT recsys.create_model('shop', 'late', 'als'); SELECT recsys.train('shop', 'late');}),
	qr/model "late" was created or changed in this transaction.*HINT:  COMMIT first/s, 'of a model not committed');
like(ask(q{SET ROLE stranger; SELECT recsys.train('shop', 'taste')}),
	qr/must have the role of the owner of source "shop"/, 'by a stranger');
is(ask(q{SET ROLE stranger; SELECT count(*) FROM recsys.trainings}), 0, 'who sees no trainings');

$node->safe_psql('postgres', q{ALTER SYSTEM SET recsys.training_memory = '1MB'});
$node->reload;
wait_until(q{SELECT setting = '1024' FROM pg_settings WHERE name = 'recsys.training_memory'}, 'little memory');
$node->safe_psql('postgres', q{SELECT recsys.create_model('shop', 'large', 'als', '{"factors": 100}')});
like(ask(q{SELECT recsys.train('shop', 'large')}),
	qr/training of model "large" needs \d+ MB, but recsys.training_memory is 1 MB.*HINT:/s, 'is refused');
wait_until(q{SELECT state = 'failed' AND last_error ~ 'needs [0-9]+ MB' AND failures > 0 AND retry_at IS NOT NULL
	FROM recsys.trainings WHERE model = 'large'}, 'recsys.trainings says so');
is(ask('SELECT count(*) FROM shop.large_version'), 0, 'nothing was trained');
$node->safe_psql('postgres', q{SELECT recsys.drop_model('shop', 'large')});
$node->safe_psql('postgres', q{ALTER SYSTEM RESET recsys.training_memory});
$node->reload;
wait_until(q{SELECT setting = '2097152' FROM pg_settings WHERE name = 'recsys.training_memory'}, 'enough memory');

$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
my (undef, undef, $refusal) = $standby->psql('postgres', q{SELECT recsys.train('shop', 'taste')});
like($refusal, qr/cannot train model "taste" on a standby.*HINT:/s, 'a standby does not train');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM recsys.trainings'), 0, 'and has no trainings');
$standby->stop;

# ----------------------------------------------------------------- who ends it

my $version = version();
my $s = held_training();
ask(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT recsys.train(%'});
like(finish($s), qr/canceling statement due to user request/, 'train() is cancelled');
state_is('cancelled', 'and with it the training');
no_process_left();

waits('train', 1);
like(ask(q{SET statement_timeout = '300ms'; SELECT recsys.train('shop', 'taste')}),
	qr/statement timeout/, 'train() takes too long');
state_is('cancelled', 'the training ends');

$s = held_training();
ask(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT recsys.train(%'});
finish($s);
state_is('cancelled', 'the training ends with its session');

$s = held_training();
ask(q{SELECT pg_terminate_backend(pid) FROM recsys.trainings WHERE pid IS NOT NULL});
like(finish($s), qr/training was terminated/, 'train() tells that its worker was terminated');
state_is('failed', 'which is a failure');

$s = held_training();
wait_until(q{SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'recsys training helper'}, 'helpers run');
ask(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'recsys training helper'});
waits('train', 0);
like(finish($s), qr/another process of the training of model "taste" has ended early/,
	'a training does not go on without its helpers');
no_process_left();
is(version(), $version, 'nothing of all that has changed the version');

# at any moment
for my $try (1 .. 40)
{
	ask('SET statement_timeout = ' . (20 + 5 * ($try % 20)) . q{; SELECT recsys.train('shop', 'taste')});
}
no_process_left();
is(ask(q{SELECT count(*) FROM shop.taste_version}), 1, 'there is one version');
is(ask(q{SELECT recsys.train('shop', 'taste')}), '', 'and training goes on');
is(factors_of(ask(q{SELECT version FROM shop.taste_version})), 401, 'with a vector for each item');
$version = version();

# two who want it: one training does for both
$s = held_training();
my $other = session(q{SELECT recsys.train('shop', 'taste')});
wait_until(q{SELECT count(*) = 2 FROM pg_stat_activity WHERE query LIKE 'SELECT recsys.train(%' AND state = 'active'},
	'two wait');
waits('train', 0);
is(finish($s) . finish($other), '', 'both see the end');
ok(version() >= $version + 1 && version() <= $version + 2, 'of a new version');

# the old version serves while a new one is about to be committed
$version = version();
waits('swap', 1);
$s = session(q{SELECT recsys.train('shop', 'taste')});
wait_until(q{SELECT phase = 'writing' FROM recsys.progress WHERE model = 'taste'}, 'a version is written');
is(ask(q{SET statement_timeout = '30s'; SELECT count(*) FROM shop.recommend(7, 5, 'taste')}), 5,
	'recommend() does not wait for it');
is(version(), $version, 'it is not visible');
ask(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT recsys.train(%'});
finish($s);
waits('swap', 0);
state_is('cancelled', 'it can still be cancelled');
is(version(), $version, 'and leaves nothing');
is(ask("SELECT count(*) FROM shop.taste_factors WHERE version > $version"), 0, 'not one vector');

# parameters change under way
$s = held_training();
$node->safe_psql('postgres', q{SELECT recsys.alter_model('shop', 'taste', '{"factors": 10}')});
waits('train', 0);
is(finish($s), '', 'train() goes on with the new parameters');
is(ask(q{SELECT params_version, dim FROM shop.taste_version}), '2|10', 'and trains them');

# two models at a time
$node->safe_psql('postgres', q{SELECT recsys.create_model('shop', 'other', 'als', '{"factors": 4}')});
wait_until(q{SELECT count(*) = 1 FROM shop.other_version}, 'another model is trained');
waits('train', 1);
my @both = map { session("SELECT recsys.train('shop', '$_')") } qw(taste other);
wait_until(q{SELECT count(*) = 2 FROM recsys.progress WHERE phase = 'training'}, 'two models are trained at a time');

# a model goes under way
ask(q{SELECT recsys.drop_model('shop', 'other')});
like(finish($both[1]), qr/model "other" of source "shop" does not exist/, 'drop_model() ends its training');
waits('train', 0);
is(finish($both[0]), '', 'but not that of another model');
no_process_left();

# ------------------------------------------------------------------- databases

$node->safe_psql('postgres', 'CREATE DATABASE gone');
$node->safe_psql('gone', q{
	SET client_min_messages = warning;
	CREATE EXTENSION recsys;
	CREATE TABLE events (u int, i int);
	CREATE INDEX ON events (u);
	INSERT INTO events SELECT g % 100, hashint4(g) & 63 FROM generate_series(1, 3000) g;
	SELECT recsys.create_source('shop', 'events', 'u', 'i');
	SELECT recsys.create_model('shop', 'taste', 'als', '{"factors": 4}');
});
wait_until(q{SELECT count(*) = 1 FROM shop.taste_version}, 'a model in another database', 'gone');
$node->safe_psql('gone', q{SELECT recsys.inject_wait('shop', 'train')});
$s = session(q{SELECT recsys.train('shop', 'taste')}, 'gone');
wait_until(q{SELECT phase = 'training' FROM recsys.progress WHERE model = 'taste'}, 'is being trained', 'gone');
$s->{run}->kill_kill;
wait_until(q{SELECT count(*) = 1 FROM pg_database WHERE datname = 'gone'}, 'the database is there');
is(ask('DROP DATABASE gone WITH (FORCE)'), '', 'DROP DATABASE ends the training');
no_process_left();

# drop_source
$node->safe_psql('postgres', q{
	SET client_min_messages = warning;
	INSERT INTO nothing SELECT g % 100, hashint4(g) & 63 FROM generate_series(1, 3000) g;
});
wait_until(q{SELECT count(*) = 1 FROM void.taste_version}, 'a source that gets events is trained');
ask(q{SELECT recsys.inject_wait('void', 'train')});
$s = session(q{SELECT recsys.train('void', 'taste')});
wait_until(q{SELECT phase = 'training' FROM recsys.progress WHERE source = 'void' AND model = 'taste'}, 'once more');
is(ask(q{SELECT recsys.drop_source('void')}), '', 'drop_source() does not wait for a training');
like(finish($s), qr/source "void" does not exist/, 'and ends it');
no_process_left();

# --------------------------------------------------------------------- crashes

sub crash
{
	my ($step, $pass) = @_;
	my $before;
	my $offset = -s $node->logfile;

	# the leader may be done with all the work before a helper comes that far
	ask("SELECT recsys.inject_crash('shop', '$step', $pass)");
	for (1 .. 50)
	{
		$before = version();
		last if finish(session(q{SELECT recsys.train('shop', 'taste')})) ne '';
	}
	$node->wait_for_log(qr/"recsys training( helper)?" \(PID \d+\) was terminated by signal 9/, $offset);
	$node->poll_query_until('postgres', 'SELECT true');
	is(version(), $before, "killed at $step: the old version is there");
	is(ask('SELECT count(*) FROM shop.taste_factors WHERE version > ' . $before), 0, 'and nothing else');
	is(ask(q{SELECT count(*) FROM shop.recommend(7, 5, 'taste')}), 5, 'and serves');
	is(ask(q{SELECT recsys.train('shop', 'taste')}), '', 'trained again');
	is(version(), $before + 1, 'with success');
}

crash('train', 3);
crash('train_helper', 2);
crash('swap', 1);

# a model that has no version yet
waits('train', 1);
$node->safe_psql('postgres', q{SELECT recsys.create_model('shop', 'young', 'als', '{"factors": 5}')});
wait_until(q{SELECT phase = 'training' FROM recsys.progress WHERE model = 'young'}, 'the first training of a model');
my $offset = -s $node->logfile;
kill 9, ask(q{SELECT pid FROM recsys.trainings WHERE model = 'young'});
$node->wait_for_log(qr/"recsys training" \(PID \d+\) was terminated by signal 9/, $offset);
wait_until('SELECT count(*) = 1 FROM shop.young_version', 'is done again after a crash');

# ------------------------------------------------------------------ server stop

$version = version();
$s = held_training();
$node->stop('fast');
pass('the server stops while a training is under way');
finish($s);
$node->start;
is(version(), $version, 'and comes up with the old version');

# ----------------------------------------------------------- processes and BLAS

SKIP:
{
	skip 'no /proc', 4 unless -d "/proc/$$/task";
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my ($in, $out, $err) = (q{SELECT recsys.train('shop', 'taste') IS NULL;
		SELECT count(*) FROM shop.recommend(7, 5, 'taste');
		SELECT pg_backend_pid();
}, '', '');
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \$in, '>', \$out, '2>', \$err);
	$psql->pump until $out =~ /^\d\d+$/m || $err ne '';
	my ($backend) = $out =~ /^(\d\d+)$/m;
	is(threads($postmaster), 1, 'the postmaster has one thread');
	is(threads($backend), 1, 'so has a backend that has used als');
	is(maps_blas($postmaster), 0, 'the postmaster has no BLAS');
	is(maps_blas($backend), 0, 'nor has the backend');
	$psql->kill_kill;
}
my $library = $node->config_data('--pkglibdir') . '/recsys.so';
unlike(scalar `readelf -d $library`, qr/NEEDED.*(blas|lapack)/i, 'recsys.so links no BLAS');

# ---------------------------------------------------------------- few processes

# launcher, logical replication launcher, stream worker, and a scout now and then
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->restart;
wait_until(q{SELECT state = 'streaming' FROM recsys.status WHERE source = 'shop'}, 'streaming with few workers');
like(ask(q{SELECT recsys.train('shop', 'taste')}),
	qr/no background worker is free for a training.*HINT:.*max_worker_processes \(now 3\)/s, 'no worker is free');
$node->append_conf('postgresql.conf', 'max_worker_processes = 4');
$node->restart;
wait_until(q{SELECT state = 'streaming' FROM recsys.status WHERE source = 'shop'}, 'with one more');
is(ask(q{SELECT recsys.train('shop', 'taste')}), '', 'the leader does all the work');

$node->stop;
done_testing();
