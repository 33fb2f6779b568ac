# The similarities of item_knn against plain SQL: every change of histories, users that come
# and go, restarts, crashes, pairs that do not fit into memory.

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

# implicit: many events of a pair are one user; explicit: so is a rating of 0
my %source = (
	views => "event_type_column => 'kind', weights => '{\"view\": 1, \"buy\": 5}'",
	rated => "event_value_column => 'value', feedback => 'explicit', event_time_column => 'at'",
	faded => "event_type_column => 'kind', weights => '{\"view\": 1, \"buy\": 5}', event_time_column => 'at', half_life => '2 days'");
my @names = sort keys %source;
my %model = (
	cosine => '{"k": 8}',
	jaccard => '{"similarity": "jaccard", "k": 8}',
	llr => '{"similarity": "llr", "k": 8}',
	lift => '{"similarity": "lift", "k": 8, "min_support": 2}',
	conditional => '{"similarity": "conditional", "k": 8}',
	shrunk_jaccard => '{"similarity": "jaccard", "k": 5, "shrinkage": 3.5, "damping": 0}',
	shrunk_llr => '{"similarity": "llr", "k": 5, "shrinkage": 10, "min_support": 3}',
	shrunk_lift => '{"similarity": "lift", "k": 100, "shrinkage": 0.7, "normalize": false}',
	shrunk_conditional => '{"similarity": "conditional", "k": 5, "shrinkage": 2, "min_support": 2}');
my $clock = 0;
my $base = $o->run("SELECT date_trunc('second', now()) - interval '30 days'");

$o->seed(185);

# Every time only once: nothing else tells which rating is the last.
sub insert_rows
{
	my ($name, $n) = @_;
	my @rows;

	for (1 .. $n)
	{
		my $second = ++$clock;
		# popular items, and users of whom some come once
		my $item = int($o->rand(60) * $o->rand(60) / 60);
		my $user = $o->rand(10) == 0 ? 1000 + $clock : $o->rand(50);

		push @rows, "($user, $item, '" . $o->pick('view', 'view', 'buy', 'other') . "', " . $o->rand(6) .
			", timestamptz '$base' + $second * interval '3 minutes')";
	}
	return "INSERT INTO ${name}_events (u, i, kind, value, at) VALUES " . join(', ', @rows);
}

sub command
{
	my ($name) = @_;
	my $what = $o->rand(10);
	my $some = sub { my $m = 10 + $o->rand(60); return "WHERE id % $m = " . $o->rand($m) };

	return insert_rows($name, 1 + $o->rand(30)) if $what < 5;
	return "UPDATE ${name}_events SET i = (i + 7) % 60 " . &$some if $what < 6;
	return "UPDATE ${name}_events SET u = (u + 1) % 50, kind = 'buy' " . &$some if $what < 7;
	return "DELETE FROM ${name}_events " . &$some if $what < 9;
	# a user goes
	return "DELETE FROM ${name}_events WHERE u = " . $o->rand(50);
}

sub churn
{
	my ($times) = @_;

	for my $name (@names)
	{
		$o->run(join(";\n", map {
			'BEGIN; ' . join('; ', map { command($name) } 0 .. $o->rand(4)) . ($o->rand(6) == 0 ? '; ROLLBACK' : '; COMMIT')
		} 1 .. $times));
	}
}

sub check
{
	my ($what) = @_;
	$o->check($_, $what, mode => 'events') for @names;
}

for my $name (@names)
{
	$o->run("CREATE TABLE ${name}_events (id bigserial PRIMARY KEY, u int, i int, kind text, value int, at timestamptz);
		CREATE INDEX ON ${name}_events (u);
		ALTER TABLE ${name}_events REPLICA IDENTITY FULL");
	$o->run(insert_rows($name, 400));
	$o->run("BEGIN; SELECT recsys.create_source('$name', '${name}_events', 'u', 'i', $source{$name});"
		  . join('', map { "SELECT recsys.create_model('$name', '$_', 'item_knn', '$model{$_}');" } sort grep { !/shrunk/ } keys %model)
		  . 'COMMIT');
}
check('backfill');
churn(20);
check('changes');
# models that come later
for my $name (@names)
{
	$o->run(join('', map { "SELECT recsys.create_model('$name', '$_', 'item_knn', '$model{$_}');" } sort grep { /shrunk/ } keys %model));
}
churn(10);
check('further models');
is($o->run("SELECT count(*) FROM $_.item_similarity WHERE model = 'llr'") > 100, 1, "$_: there are neighbours") for @names;
# the order of large log-likelihood ratios is that of the ratios, where all scores are nearly 1
is($o->run("SELECT count(*) FROM views.item_similarity a JOIN views.item_similarity b USING (item_id, similar_item_id)
	WHERE a.model = 'cosine' AND b.model = 'jaccard' AND a.score <> b.score") > 0, 1, 'similarities differ');

# what recommend() adds up is what is published; predict() and explain() say the same
for my $model (sort keys %model)
{
	is($o->run("
		WITH u AS (SELECT DISTINCT user_id FROM views.interactions WHERE user_id < 20),
		l AS (SELECT a.key AS item_id, b.key AS other, e.score * CASE WHEN n.weights IS NULL THEN 1
					ELSE 2 ^ ((get_byte(n.weights, e.place::int - 1) - 128) / 8.0) END AS score
			FROM views.${model}_neighbors n CROSS JOIN unnest(n.neighbors, n.scores) WITH ORDINALITY AS e (j, score, place)
			JOIN views.items a ON a.id = n.item_id JOIN views.items b ON b.id = e.j),
		want AS MATERIALIZED (SELECT user_id, other AS item_id, sum(weight * score) AS score FROM u JOIN views.interactions USING (user_id)
			JOIN l USING (item_id) GROUP BY 1, 2),
		got AS MATERIALIZED (SELECT user_id, r.item_id, r.score, views.predict(user_id, r.item_id, '$model') AS predicted,
				(SELECT sum(contribution) FROM views.explain(user_id, r.item_id, 1000, '$model')) AS explained
			FROM u, LATERAL views.recommend(user_id, 1000, '$model', exclude_seen => false) r WHERE r.score > 0)
		SELECT count(*) FROM want FULL JOIN got USING (user_id, item_id)
		WHERE (abs(want.score - got.score) <= 1e-5 * want.score AND abs(predicted - got.score) <= 1e-5 * got.score
			AND abs(explained - got.score) <= 1e-5 * got.score) IS NOT TRUE"), '0', "$model: answers follow from the lists");
}
for my $name (@names)
{
	$o->run("BEGIN; DELETE FROM ${name}_events WHERE i = 3; SELECT recsys.forget_user('$name', '7', true), recsys.forget_item('$name', '3'); COMMIT");
}
check('forgotten');
$o->run("SELECT recsys.alter_model('$_', 'cosine', '{\"similarity\": \"lift\", \"min_support\": 3}');
	SELECT recsys.alter_model('$_', 'llr', '{\"similarity\": \"cosine\"}');
	SELECT recsys.alter_model('$_', 'jaccard', '{\"similarity\": \"llr\"}')") for @names;
churn(4);
check('altered');
$node->restart;
check('a restart');
churn(6);
$node->stop('immediate');
$node->start;
check('a crash');
churn(6);
check('changes after a crash');
$o->run("TRUNCATE ${_}_events") for @names;
$o->check($_, 'truncated', mode => 'events', empty => 1) for @names;
churn(10);
check('filled again');

# no room for pairs
$o->run("SELECT recsys.drop_model('views', '$_')") for grep { /shrunk_(jaccard|conditional)|cosine|jaccard/ } sort keys %model;
$o->run("INSERT INTO views_events (u, i, kind) SELECT 2000 + g / 10, 1000 + (g * 7919) % 6000, 'view' FROM generate_series(1, 30000) g");
ok($o->wait_for('views'), 'more items');
$node->safe_psql('postgres', "SET client_min_messages = error; ALTER SYSTEM SET recsys.memory = '8MB'");
$node->restart;
check('without room');
churn(3);
check('changes without room');
like(slurp_file($node->logfile), qr/item pairs do not fit into recsys.memory/, 'there was no room');

# the oracle notices what is wrong
for my $change ("SET scores[1] = scores[1] * 1.005", 'SET neighbors = neighbors[2:], scores = scores[2:], weights = substr(weights, 2)')
{
	for my $model (qw(conditional lift jaccard))
	{
		my ($status, $out) = $node->psql('postgres', "SET client_min_messages = error; BEGIN;
			UPDATE rated.${model}_neighbors $change WHERE item_id = (SELECT item_id FROM rated.${model}_neighbors ORDER BY cardinality(neighbors) DESC LIMIT 1);
			SELECT count(*) > 0 FROM oracle.check('rated', 'events', false) WHERE bad; ROLLBACK");
		is($out, 't', "the oracle notices $change in $model");
	}
}
is($o->run('SELECT count(*) FROM recsys.status WHERE failures > 0 OR last_error IS NOT NULL'), '0', 'no worker has failed');

$node->stop;
done_testing();
