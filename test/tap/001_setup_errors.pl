# What create_source() says where the server is not set up for it, that the
# statement of the hint mends it, and that nothing is left behind.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $create = "SELECT recsys.create_source('%s', 'events', 'user_id', 'item_id')";

my $node = PostgreSQL::Test::Cluster->new('setup');
$node->init;
$node->append_conf(
	'postgresql.conf', qq(
wal_level = replica
max_wal_senders = 0
max_logical_replication_workers = 0
max_replication_slots = 2
max_worker_processes = 4
));
$node->start;
$node->safe_psql(
	'postgres', q(
	CREATE EXTENSION recsys;
	CREATE TABLE events (user_id int, item_id int, PRIMARY KEY (user_id, item_id));
	ALTER TABLE events REPLICA IDENTITY FULL));

# The error of a statement: its first line and its hint.
sub error_of
{
	my ($sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql, extra_params => ['-v', 'VERBOSITY=verbose']);
	isnt($ret, 0, "fails: $sql");
	my ($state, $message) = $err =~ /ERROR:  (\w+): (.*)/;
	my ($hint) = $err =~ /HINT:  (.*)/;
	return ($state, $message, $hint);
}

sub nothing_left
{
	my ($what) = @_;
	is( $node->safe_psql(
			'postgres',
			"SELECT (SELECT count(*) FROM recsys.sources WHERE source = 'bad'),
				to_regnamespace('bad') IS NULL"),
		'0|t',
		"$what: nothing is left");
}

# Does what a hint says: everything up to "; then restart the server."
sub follow
{
	my ($hint) = @_;
	my ($sql) = $hint =~ /^(ALTER SYSTEM .*;) then restart the server\.$/;
	ok(defined $sql, "hint is a statement: $hint");
	$node->safe_psql('postgres', $sql);
	$node->restart;
}

sub bad_source { return sprintf($create, 'bad'); }

# --- the library is not preloaded
my ($state, $message, $hint) = error_of(bad_source());
is($state, '55000', 'not preloaded: SQLSTATE');
is($message, 'recsys is not in shared_preload_libraries', 'not preloaded: message');
is($hint, "ALTER SYSTEM SET shared_preload_libraries = 'recsys'; then restart the server.",
	'not preloaded: hint');
nothing_left('not preloaded');
is($node->safe_psql('postgres', 'SELECT count(*) FROM recsys.sources'), '0', 'views work without preloading');

# others that are preloaded stay in the list, if the caller may see them
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'auto_explain, \"pg_stat_statements\"'");
$node->restart;
(undef, undef, $hint) = error_of(bad_source());
is( $hint,
	"ALTER SYSTEM SET shared_preload_libraries = 'auto_explain', 'pg_stat_statements', 'recsys'; then restart the server.",
	'not preloaded: the hint keeps other libraries');
$node->safe_psql('postgres',
	'CREATE ROLE app; GRANT EXECUTE ON FUNCTION recsys.create_source TO app; ALTER TABLE events OWNER TO app');
(undef, undef, my $app_hint) = error_of('SET ROLE app; ' . bad_source());
is($app_hint, "ALTER SYSTEM SET shared_preload_libraries = 'recsys'; then restart the server.",
	'not preloaded: ordinary roles are not told of other libraries');
follow($hint);

# --- wal_level
($state, $message, $hint) = error_of(bad_source());
is($state, '55000', 'wal_level: SQLSTATE');
is($message, 'wal_level is "replica", but recsys reads events by logical decoding', 'wal_level: message');
is($hint, 'ALTER SYSTEM SET wal_level = logical; then restart the server.', 'wal_level: hint');
nothing_left('wal_level');

# (the fixed message for the lowest level too)
$node->safe_psql('postgres', 'ALTER SYSTEM SET wal_level = minimal; ALTER SYSTEM SET max_replication_slots = 0');
$node->restart;
(undef, $message, $hint) = error_of(bad_source());
is($message, 'wal_level is "minimal", but recsys reads events by logical decoding', 'wal_level minimal: message');
$node->safe_psql('postgres', 'ALTER SYSTEM SET max_replication_slots = 2');
follow($hint);

# --- replication slots
$node->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('a'), pg_create_physical_replication_slot('b')");
($state, $message, $hint) = error_of(bad_source());
is($state, '53400', 'slots: SQLSTATE');
is($message, 'all 2 replication slots are in use or promised to other sources', 'slots: message');
is($hint, 'ALTER SYSTEM SET max_replication_slots = 12; then restart the server.', 'slots: hint');
nothing_left('slots');

# one free slot is enough for one source, also before its worker has taken it
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('a')");
($state, $message, undef) = error_of('BEGIN; ' . sprintf($create, 'good') . '; ' . bad_source() . '; COMMIT');
is($state, '53400', 'slots: a source in the same transaction counts');
nothing_left('slots in one transaction');
$node->safe_psql('postgres', sprintf($create, 'good'));
($state) = error_of(bad_source());
is($state, '53400', 'slots: a committed source counts');
$node->safe_psql('postgres',
	"BEGIN; SELECT recsys.drop_source('good'); " . sprintf($create, 'good') . '; COMMIT');
is($node->safe_psql('postgres', 'SELECT source FROM recsys.sources'), 'good',
	'slots: a dropped source makes room in the same transaction');
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('b'); SELECT recsys.drop_source('good')");
follow($hint);

# --- the shared array of sources
$node->safe_psql('postgres', 'ALTER SYSTEM SET recsys.max_sources = 1');
$node->restart;
$node->safe_psql('postgres', sprintf($create, 'good') . "; SELECT recsys.pause('good')");
($state, $message, $hint) = error_of(bad_source());
is($state, '53400', 'max_sources: SQLSTATE');
is($message, 'this server has its 1 sources already', 'max_sources: message');
is($hint, 'ALTER SYSTEM SET recsys.max_sources = 2; then restart the server.', 'max_sources: hint');
nothing_left('max_sources');
$node->safe_psql('postgres', "SELECT recsys.drop_source('good')");
follow($hint);

# --- background workers: the launcher takes the only one
$node->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 1');
$node->restart;
ok( $node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type ~ 'recsys'"),
	'the launcher runs');
($state, $message, $hint) = error_of(bad_source());
is($state, '53400', 'workers: SQLSTATE');
is($message, 'all 1 background workers are in use or promised to other sources', 'workers: message');
is($hint, 'ALTER SYSTEM SET max_worker_processes = 9; then restart the server.', 'workers: hint');
nothing_left('workers');
follow($hint);

# --- all is well now
$node->safe_psql('postgres', bad_source());
is($node->safe_psql('postgres', 'SELECT source FROM recsys.sources'), 'bad', 'all hints followed: the source is created');

# --- a server in recovery
$node->safe_psql('postgres', "ALTER SYSTEM SET max_wal_senders = 4; ALTER SYSTEM RESET recsys.max_sources");
$node->restart;
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my (undef, undef, $err) = $standby->psql('postgres', bad_source());
like($err, qr/cannot execute recsys\.create_source\(\) during recovery/, 'standby: create_source');
(undef, undef, $err) = $standby->psql('postgres', "SELECT recsys.pause('bad')");
like($err, qr/cannot execute recsys\.pause\(\) during recovery/, 'standby: pause');
is($standby->safe_psql('postgres', 'SELECT source FROM recsys.sources'), 'bad', 'standby: views work');
$standby->stop;

# --- a dump brings the declarations along, and numbers go on where they were
$node->safe_psql('postgres', "SELECT recsys.create_model('bad', 'knn', 'item_knn', '{\"k\": 7}')");
my $dump = "$PostgreSQL::Test::Utils::tmp_check/dump.sql";
$node->command_ok([ 'pg_dump', '-p', $node->port, '-h', $node->host, '-f', $dump, 'postgres' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-p', $node->port, '-h', $node->host, '-f', $dump, 'restored' ],
	'restore');
is( $node->safe_psql('restored',
		"SELECT s.source, s.owner, s.events, m.model, m.params->>'k', n.nspowner::regrole
		 FROM recsys.sources s JOIN recsys.models m USING (source) JOIN pg_namespace n ON nspname = source"),
	'bad|app|events|knn|7|app',
	'restored: source, model and schema');
$node->safe_psql('restored', sprintf($create, 'second'));
is( $node->safe_psql('restored',
		'SELECT count(*), count(DISTINCT source_id) FROM recsys.source'),
	'2|2',
	'restored: numbers go on');
$node->safe_psql('restored', "SELECT recsys.drop_source('bad'), recsys.drop_source('second')");
is($node->safe_psql('restored', "SELECT to_regnamespace('bad') IS NULL"), 't', 'restored: can be dropped');

$node->stop;
done_testing();
