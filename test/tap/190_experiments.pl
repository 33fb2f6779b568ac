# Experiments beyond one session: the same users are in the same variants on a
# standby, after a crash and in a restored dump, and the reports say the same.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'recsys'
wal_level = logical
max_worker_processes = 20
recsys.flush_interval = '100ms'
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION recsys;
	CREATE TABLE events (who text, what int, kind text, at timestamptz, price numeric, model text);
	CREATE INDEX ON events (who);
	BEGIN;
	SELECT recsys.create_source('shop', 'events', 'who', 'what', 'kind', event_time_column => 'at', weights => '{"click": 1, "buy": 1}');
	SELECT recsys.track_metrics('shop', impression => '{shown}', click => '{click}', conversion => '{buy}', amount_column => 'price');
	SELECT recsys.create_model('shop', 'near', 'item_knn'), recsys.create_model('shop', 'top', 'popular');
	SELECT recsys.create_experiment('shop', 'test', '{near,top}', '{0.3,0.7}', traffic => 0.8);
	COMMIT;
	INSERT INTO events SELECT 'user ' || u, (u * 7 + u / 20 * i + i * i) % 20, (ARRAY['shown', 'shown', 'click', 'buy'])[i],
		now() + i * interval '1 s', 10 + u % 5, 'm' || u % 2
		FROM generate_series(1, 300) u, generate_series(1, 4) i;
	SELECT recsys.wait_for('shop');
});

my %queries = (
	variants => q{SELECT string_agg(coalesce(shop.variant('test', 'user ' || u), '-'), ' ' ORDER BY u) FROM generate_series(1, 100) u},
	report => q{SELECT * FROM shop.experiment_report('test')},
	attribution => q{SELECT * FROM shop.attribution()},
	answers => q{SELECT u, r.* FROM generate_series(1, 30) u, shop.recommend('user ' || u, 3, 'test') r},
	declared => q{SELECT * FROM recsys.experiments});
my %expected = map { $_ => $node->safe_psql('postgres', $queries{$_}) } keys %queries;
like($expected{variants}, qr/near.*-|-.*near/, 'some are in a variant, some are not');
is($node->safe_psql('postgres', q{SELECT count(*) FROM generate_series(1, 30) u WHERE
		ARRAY(SELECT r::text FROM shop.recommend('user ' || u, 3, 'near') r) <> ARRAY(SELECT r::text FROM shop.recommend('user ' || u, 3, 'top') r)}) > 20,
	1, 'the models differ');

sub same
{
	my ($where, $database, @names) = @_;
	is($where->safe_psql($database, $queries{$_}), $expected{$_}, $where->name . ": $_ in $database") for @names;
}

# ------------------------------------------------------------------- a standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
same($standby, 'postgres', sort keys %queries);
for my $call (q{recsys.create_experiment('shop', 'more', '{near,top}')}, q{recsys.stop_experiment('shop', 'test')})
{
	my (undef, undef, $err) = $standby->psql('postgres', "SELECT $call");
	like($err, qr/cannot execute recsys\.\w+_experiment\(\) during recovery/, "standby: $call");
}
my (undef, undef, $err) = $standby->psql('postgres', q{SELECT * FROM shop.log_recommendations('user 1')});
like($err, qr/read-only transaction/, 'standby: nothing is logged');
$standby->stop;

# ---------------------------------------------- one transaction, one declaration

my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$node->safe_psql('postgres', q{SELECT recsys.alter_experiment('shop', 'test', '{0.9,0.1}')});
is($reader->query_safe($queries{variants}), $expected{variants}, 'a snapshot keeps its variants');
$reader->query_safe('COMMIT');
isnt($reader->query_safe($queries{variants}), $expected{variants}, 'the next one has others');
$reader->quit;
$node->safe_psql('postgres', q{
	SELECT recsys.alter_experiment('shop', 'test', '{0.3,0.7}');
	UPDATE recsys.experiment SET started_at = '2020-01-01'});
$expected{$_} = $node->safe_psql('postgres', $queries{$_}) for qw(report declared);

# ------------------------------------------------------------- crash and restore

$node->stop('immediate');
$node->start;
same($node, 'postgres', qw(attribution declared report variants));

my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump.sql";
$node->command_ok([ 'pg_dump', '-p', $node->port, '-h', $node->host, '-f', $dump, 'postgres' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-p', $node->port, '-h', $node->host, '-f', $dump, 'restored' ],
	'restore');
same($node, 'restored', qw(attribution declared report variants));
is($node->safe_psql('restored', q{
	SELECT recsys.create_experiment('shop', 'second', '{near,top}');
	SELECT count(*), count(DISTINCT experiment_id) FROM recsys.experiment}), "\n2|2", 'restored: numbers go on');
is($node->safe_psql('restored', q{SELECT recsys.drop_source('shop'); SELECT count(*) FROM recsys.experiment}), "\n0",
	'restored: can be dropped');

$node->stop;
done_testing();
