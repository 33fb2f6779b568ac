# sequence_knn against plain SQL: every change of histories, restarts, crashes,
# counts that do not fit into memory.

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
my @names = qw(long few);
my $clock = 0;

$o->seed(180);
for my $name (@names)
{
	$o->run("CREATE TABLE ${name}_events (id bigserial PRIMARY KEY, u int, i int, at timestamptz);
		CREATE INDEX ON ${name}_events (u);
		ALTER TABLE ${name}_events REPLICA IDENTITY FULL");
}

# Every time only once: nothing else tells which event is the later one.
sub insert_rows
{
	my ($name, $n) = @_;
	my @rows;

	for (1 .. $n)
	{
		my $second = ++$clock;

		# some come late
		$second -= 100000 * (1 + $o->rand(30)) if $o->rand(8) == 0;
		push @rows, '(' . $o->rand(40) . ', ' . $o->rand(60) . ", timestamptz '2024-01-01' + $second * interval '1 second')";
	}
	return "INSERT INTO ${name}_events (u, i, at) VALUES " . join(', ', @rows);
}

sub command
{
	my ($name) = @_;
	my $what = $o->rand(10);
	my $some = sub { my $m = 10 + $o->rand(60); return "WHERE id % $m = " . $o->rand($m) };

	return insert_rows($name, 1 + $o->rand(40)) if $what < 6;
	return "UPDATE ${name}_events SET i = (i + 7) % 60 " . &$some if $what < 7;
	return "UPDATE ${name}_events SET at = at + interval '77777.5 seconds' " . &$some if $what < 8;
	return "DELETE FROM ${name}_events " . &$some;
}

# Histories in their order: by time, equal times by arrival, which is the order of
# what is stored.
sub places
{
	my ($name, $order) = @_;

	return "SELECT u.key AS user_id, i.key AS item_id, row_number() OVER (PARTITION BY user_id
			ORDER BY e.time $order, p.segment $order, e.n $order) AS place
		FROM $name.profiles p CROSS JOIN unnest(p.items, p.times) WITH ORDINALITY AS e (item, time, n)
		JOIN $name.users u ON u.id = p.user_id JOIN $name.items i ON i.id = e.item";
}

# Lists that are off, of all successors (k is above the number of items), and answers.
sub check
{
	my ($what, @sources) = @_;

	for my $name (@sources)
	{
		ok($o->wait_for($name), "$name: wait, $what");
		for my $gap (10, 2)
		{
			is($o->run("
				WITH h AS MATERIALIZED (" . places($name, 'ASC') . "),
				want AS MATERIALIZED (SELECT a.item_id AS i, b.item_id AS j, sum(1.0 / (b.place - a.place)) AS score
					FROM h a JOIN h b USING (user_id) WHERE b.place - a.place BETWEEN 1 AND $gap GROUP BY 1, 2)
				SELECT count(*) FROM want FULL JOIN (SELECT item_id AS i, similar_item_id AS j, score
					FROM $name.item_similarity WHERE model = 'gap$gap') got USING (i, j)
				WHERE abs(want.score - got.score) < 1e-3 IS NOT TRUE"), '0', "$name: $what, gap $gap");
		}
		# served: decay ^ step of the published lists, for all users
		is($o->run("
			WITH h AS MATERIALIZED (" . places($name, 'DESC') . "),
			want AS MATERIALIZED (SELECT user_id, similar_item_id AS item_id, sum(0.6 ^ (place - 1) * score) AS score
				FROM h JOIN $name.item_similarity s USING (item_id) WHERE model = 'gap10' AND place <= 27 GROUP BY 1, 2),
			got AS MATERIALIZED (SELECT user_id, r.* FROM (SELECT DISTINCT user_id FROM h) u,
				LATERAL $name.recommend(user_id, 1000, 'gap10', exclude_seen => false) r WHERE r.score > 0)
			SELECT count(*) FROM want FULL JOIN got USING (user_id, item_id)
			WHERE abs(want.score - got.score) < 1e-4 IS NOT TRUE"), '0', "$name: $what, recommend()");
	}
}

sub churn
{
	my ($times, @sources) = @_;

	for (1 .. $times)
	{
		for my $name (@sources)
		{
			my $sql = 'BEGIN; ' . join('; ', map { command($name) } 0 .. $o->rand(4));

			$o->run($sql . ($o->rand(6) == 0 ? '; ROLLBACK' : '; COMMIT'));
		}
	}
}

for my $name (@names)
{
	my $limit = $name eq 'few' ? 12 : 1000;

	$o->run(insert_rows($name, 300));
	$o->run("SELECT recsys.create_source('$name', '${name}_events', 'u', 'i', event_time_column => 'at', history_limit => $limit);
		SELECT recsys.create_model('$name', 'gap10', 'sequence_knn', '{\"k\": 100}');
		SELECT recsys.create_model('$name', 'gap2', 'sequence_knn', '{\"k\": 100, \"gap\": 2}')");
}
check('backfill', @names);
churn(12, @names);
check('changes', @names);
$o->run("DELETE FROM ${_}_events WHERE i = 11; SELECT recsys.forget_user('$_', '7', true), recsys.forget_item('$_', '11')") for @names;
churn(4, @names);
check('forgotten', @names);
$node->restart;
check('a restart', @names);
churn(8, @names);
check('changes after a restart', @names);
$node->stop('immediate');
$node->start;
check('a crash', @names);
$o->run("TRUNCATE long_events; " . insert_rows('long', 200));
check('truncated and filled again', @names);

# no room for the counts: rows from the histories
$o->run("INSERT INTO long_events (u, i, at) SELECT 1000 + g / 10, 1000 + (g * 7919) % 6000, timestamptz '2024-02-01' + g * interval '1 second'
	FROM generate_series(1, 30000) g");
check('more items', 'long');
$node->safe_psql('postgres', "SET client_min_messages = error; ALTER SYSTEM SET recsys.memory = '8MB'");
$node->restart;
check('without room', @names);
churn(4, @names);
check('changes without room', @names);
like(slurp_file($node->logfile), qr/successions of items do not fit into recsys.memory/, 'there was no room');
is($o->run('SELECT count(*) FROM recsys.status WHERE failures > 0 OR last_error IS NOT NULL'), '0', 'no worker has failed');

$node->stop;
done_testing();
