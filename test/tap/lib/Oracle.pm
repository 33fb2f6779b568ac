# Oracle: what a source must hold, recomputed in plain SQL; see oracle.sql.
package Oracle;

use strict;
use warnings;
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Settings that all these tests share: workers come back soon, publish and
# flush often, so that much happens in little time.
our $settings = q{
shared_preload_libraries = 'recsys'
wal_level = logical
max_replication_slots = 24
max_worker_processes = 32
fsync = off
restart_after_crash = on
autovacuum_naptime = '1s'
recsys.restart_delay = '20ms'
recsys.publish_interval = '50ms'
recsys.flush_interval = '200ms'
};

sub cluster
{
	my ($name, $more) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', $settings . ($more || ''));
	$node->start;
	return $node;
}

# The extension and the oracle in a database.
sub new
{
	my ($class, $node, $db) = @_;
	my $self = bless { node => $node, db => $db || 'postgres' }, $class;

	$self->run('CREATE EXTENSION IF NOT EXISTS recsys');
	$self->run(slurp_file(dirname(__FILE__) . '/oracle.sql'));
	return $self;
}

sub run
{
	my ($self, $sql) = @_;
	return $self->{node}->safe_psql($self->{db}, "SET client_min_messages = warning;\n$sql");
}

# Like psql() of a node, for a server that may be down just now: a psql that
# can't connect may be gone before IPC::Run has handed it its query, which dies.
sub try
{
	my ($self, $sql) = @_;
	my @result = eval { $self->{node}->psql($self->{db}, $sql) };
	return $@ ? (2, '', $@) : @result;
}

# Waits for the end of a crash recovery, or BAILs OUT.
sub wait_for_server
{
	my ($self) = @_;
	for my $try (1 .. 1800)
	{
		my ($status, $out) = $self->try('SELECT pg_is_in_recovery()');
		return 1 if $status == 0 && $out eq 'f';
		select(undef, undef, undef, 0.1);
	}
	BAIL_OUT('the server does not come back');
}

# True when all that was written has come into the state.  After a crash the
# first calls may find no server, or be ended with it.
sub wait_for
{
	my ($self, $source) = @_;

	for my $try (1 .. 600)
	{
		my ($status, $out, $err) = $self->try("SELECT recsys.wait_for('$source', timeout => '3 min')");

		return 1 if $status == 0 && $out eq 't';
		if ($status == 0 || $err =~ /HINT/)
		{
			diag("wait_for $source: $out $err");
			diag($self->{node}->psql($self->{db}, 'SELECT * FROM recsys.status', extra_params => ['-x']));
			return 0;
		}
		select(undef, undef, undef, 0.1);
	}
	return 0;
}

# check(source, name of the test, option => value ...):
#   mode => 'events' or 'log', see oracle.sql
#   exact => 1: weights are integers, all sums must be equal
#   empty => 1: nothing is held, and nothing should be
sub check
{
	my ($self, $source, $name, %o) = @_;
	my $mode = $o{mode} || 'events';
	my $exact = $o{exact} ? 'true' : 'false';
	my ($status, $out, $err);
	my (@bad, @good);

	return fail("$name: wait_for") unless $o{nowait} || $self->wait_for($source);
	($status, $out, $err) = $self->{node}->psql($self->{db}, "
		SET client_min_messages = error;
		SELECT bad, what FROM oracle.check('$source', '$mode', $exact)");
	return fail("$name: $err") if $status != 0;
	for my $line (split /\n/, $out)
	{
		if ($line =~ /^f\|(.*)/) { push @good, $1; }
		else { push @bad, $line; }
	}
	my $held = grep { /^([1-9]\d*) interactions/ } @good;
	push @bad, 'nothing is held' unless $held || $o{empty};
	note("$source, $name: $_") for @good;
	ok(!@bad, "$source: $name") or diag(join("\n", @bad));
	return !@bad;
}

# A generator of the same numbers everywhere: rand(n) is in [0, n).
sub seed
{
	my ($self, $seed) = @_;
	$self->{seed} = $seed;
}

sub rand
{
	my ($self, $n) = @_;
	$self->{seed} = ($self->{seed} * 1103515245 + 12345) % 2147483648;
	return int($self->{seed} / 65536) % $n;
}

sub pick
{
	my ($self, @of) = @_;
	return $of[ $self->rand(scalar @of) ];
}

1;
