# gru4rec as a trained model: crashes while it learns and while versions are swapped leave
# one whole version, weights and vectors of the same training; a standby answers as its
# primary; events between trainings move items, through crashes and TRUNCATE too.

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

sub ask
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);
	return $out if $status == 0;
	$err =~ s/^psql:[^ ]*: //mg;
	return $err;
}

sub wait_until
{
	my ($sql, $what) = @_;
	ok($node->poll_query_until('postgres', $sql), $what);
}

sub session
{
	my ($sql) = @_;
	my $s = { out => '', err => '' };
	$s->{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ],
		'<', \'', '>', \$s->{out}, '2>', \$s->{err});
	return $s;
}

sub finish
{
	my ($s) = @_;
	$s->{run}->finish;
	return "$s->{out}$s->{err}" =~ s/\s+$//r;
}

# Everything of the version, and that there is nothing else.
sub version
{
	return ask(q{SELECT v.version, count(*), md5(string_agg(f.item_id || f.factors::text, ' ' ORDER BY f.item_id)),
			(SELECT string_agg(w.version || w.name || md5(w."values"::text), ' ' ORDER BY w.version, w.name) FROM shop.next_weights w)
		FROM shop.next_version v JOIN shop.next_factors f USING (version) GROUP BY v.version});
}

my $answers = q{SELECT string_agg(format('%s:%s', item_id, score), ' ' ORDER BY n, score DESC)
	FROM generate_series(1, 40) n, shop.recommend(n, 5)};

# A circle of 40 items; each user has read a part of it.
$node->safe_psql('postgres', q{
	SET client_min_messages = warning;
	CREATE EXTENSION recsys;
	CREATE TABLE events (u int, i int, at timestamptz);
	CREATE INDEX ON events (u, at);
	CREATE FUNCTION read(u int, start int, n int) RETURNS void LANGUAGE sql AS $$
		INSERT INTO events SELECT u, 1 + (start + x) % 40, timestamptz '2024-01-01' + x * interval '1 minute'
		FROM generate_series(1, n) x
	$$;
	SELECT count(read(u, u, 5 + u % 6)) FROM generate_series(1, 400) u;
	SELECT recsys.create_source('shop', 'events', 'u', 'i', event_time_column => 'at');
	SELECT recsys.create_model('shop', 'next', 'gru4rec', '{"layers": 20, "n_epochs": 25, "batch_size": 16,
		"n_sample": 30, "validation": 0, "item_dropout": 0, "dropout_p_embed": 0, "dropout_p_hidden": 0,
		"learning_rate": 0.01, "retrain_share": 0, "retrain_interval": 0}');
});

wait_until(q{SELECT count(*) = 1 FROM shop.next_version}, 'a new model is trained by itself');
wait_until(q{SELECT state = 'ready' FROM recsys.models WHERE source = 'shop'}, 'it is ready then');
is(ask(q{SELECT iteration > 0, iterations, loss > 0, recall FROM recsys.trainings WHERE source = 'shop'}), 't|25|t|',
	'recsys.trainings tells the epoch and the loss');
is(ask(q{SELECT count(*) FROM generate_series(1, 400) u WHERE (SELECT item_id FROM shop.recommend(u, 1)) =
		1 + (u + 6 + u % 6) % 40}), 400, 'and everybody is told what comes next');
is(ask('SELECT shop.similar_items(1)') ne '', 1, 'similar items');

# --------------------------------------------------------------------- crashes

my $first = version();
for my $step ('train', 'swap')
{
	my $offset = -s $node->logfile;

	is(ask("SELECT recsys.inject_crash('shop', '$step', " . ($step eq 'train' ? 3 : 1) . ')'), '', "to crash at $step");
	finish(session(q{SELECT recsys.train('shop', 'next')}));
	$node->wait_for_log(qr/"recsys training" \(PID \d+\) was terminated by signal 9/, $offset);
	$node->poll_query_until('postgres', 'SELECT true');
	is(version(), $first, "after a crash at $step the old version is whole");
	wait_until(q{SELECT state = 'streaming' FROM recsys.status WHERE source = 'shop'}, 'the stream goes on');
}
is(ask($answers) =~ /^\d+:/ ? 1 : 0, 1, 'and answers');
is(ask(q{SELECT recsys.train('shop', 'next')}), '', 'another training');
isnt(version(), $first, 'gives another version');
is(ask('SELECT count(*) FROM shop.next_weights w JOIN shop.next_version v USING (version)'), 3, 'with weights');
is(ask('SELECT count(*) FROM shop.next_weights'), 3, 'and no others');

# --------------------------------------------------------------------- standby

$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', $answers), ask($answers), 'a standby gives the same answers');
is($standby->safe_psql('postgres', q{SELECT array_agg(item_id) FROM shop.recommend_session('{5,6,7}', 3)}),
	ask(q{SELECT array_agg(item_id) FROM shop.recommend_session('{5,6,7}', 3)}), 'to sessions, too');
is(ask(q{SELECT recsys.train('shop', 'next')}), '', 'a new version');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $answers), ask($answers), 'reaches it');
$standby->stop;

# ------------------------------------------------------------ between trainings

my $version = ask('SELECT version FROM shop.next_version');
ask(q{INSERT INTO events SELECT u, i, timestamptz '2024-02-01' + n * interval '1 minute'
	FROM generate_series(1001, 1040) u, unnest(ARRAY[10, 11, 12, 99]) WITH ORDINALITY t (i, n)});
is(ask(q{SELECT recsys.wait_for('shop')}), 't', 'a new item, after 10, 11, 12');
is(ask(q{SELECT 99 IN (SELECT item_id FROM shop.recommend_session('{10,11,12}', 2))}), 't', 'is recommended then');
is(ask('SELECT version FROM shop.next_version'), $version, 'without a training');
my $worker = ask(q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'recsys stream%'});
like($worker, qr|^\d+$|, 'the stream worker');
ask("SELECT pg_terminate_backend($worker)");
ask(q{INSERT INTO events SELECT u, i, timestamptz '2024-02-01' + n * interval '1 minute'
	FROM generate_series(1101, 1140) u, unnest(ARRAY[20, 21, 22, 98]) WITH ORDINALITY t (i, n)});
is(ask(q{SELECT recsys.wait_for('shop')}), 't', 'after a restart of the stream worker');
is(ask(q{SELECT 98 IN (SELECT item_id FROM shop.recommend_session('{20,21,22}', 2))}), 't', 'another one is, too');
is(ask(q{SELECT 99 IN (SELECT item_id FROM shop.recommend_session('{10,11,12}', 2))}), 't', 'beside the first');
is(ask(q{SELECT recsys.forget_item('shop', '99')}), '', 'forgotten');
is(ask(q{SELECT recsys.wait_for('shop')}), 't', '...');
is(ask(q{SELECT 99 IN (SELECT item_id FROM shop.recommend_session('{10,11,12}', 50))}), 'f', 'it is not');

ask(q{SELECT recsys.alter_model('shop', 'next', '{"online_rate": 0}')});
is(ask(q{SELECT recsys.train('shop', 'next')}), '', 'a model that stays as it was trained');
is(ask(q{SELECT recsys.forget_item('shop', '98')}), '', '... forgets');
is(ask(q{SELECT recsys.wait_for('shop')}), 't', '...');
is(ask(q{SELECT count(*) FROM shop.next_factors f JOIN shop.next_version v USING (version) WHERE factors = '{}'}), 1,
	'... the vector, too');

# ------------------------------------------------------------ what can't be learnt

ask(q{SELECT recsys.alter_model('shop', 'next', '{"learning_rate": 1e30}')});
my $kept = version();
like(ask(q{SELECT recsys.train('shop', 'next')}),
	qr/training of model "next" has led to numbers that are not finite.*HINT:  Lower its learning_rate/s,
	'a loss that explodes ends the training');
is(version(), $kept, 'and the old version stays');
ask(q{SELECT recsys.alter_model('shop', 'next', '{"loss": "cross-entropy", "learning_rate": 0.01, "n_epochs": 25}')});
ask(q{SELECT recsys.alter_model('shop', 'next', '{"validation": 0.2, "patience": 2, "rate_drops": 0}')});
is(ask(q{SELECT recsys.train('shop', 'next')}), '', 'a right one learns');
is(ask(q{SELECT iteration BETWEEN 3 AND 24, recall > 0.5 FROM recsys.trainings WHERE source = 'shop'}), 't|t',
	'with validation it ends early, and tells the recall');
ask('TRUNCATE events');
is(ask(q{SELECT recsys.wait_for('shop')}), 't', 'TRUNCATE');
is(ask(q{SELECT count(*) FROM shop.recommend_session('{5,6,7}', 3)}), 0, 'leaves nothing');
ask(q{INSERT INTO events SELECT u, u, now() FROM generate_series(1, 50) u});
is(ask(q{SELECT recsys.wait_for('shop')}), 't', 'histories of one item');
like(ask(q{SELECT recsys.train('shop', 'next')}), qr/no history has two items/, 'are nothing to learn from');
ask(q{SELECT count(read(u, u, 5 + u % 6)) FROM generate_series(1, 400) u});
is(ask(q{SELECT recsys.train('shop', 'next')}), '', 'longer ones are');
is(ask(q{SELECT item_id FROM shop.recommend_session('{5,6,7}', 1)}), 8, 'and it knows again');
is(ask(q{SELECT recsys.drop_model('shop', 'next')}), '', 'dropped');
is(ask(q{SELECT count(*) FROM pg_class WHERE relname LIKE 'next\_%' AND relkind = 'r'}), 0, 'with its tables');

$node->stop;
done_testing();
