# Search over shared item vectors gives what scoring every row of the table
# gives, in the caller's snapshot: with and without filters, while vectors and
# versions change, on a standby, after a restart, and where there is no room for
# them in shared memory.

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

# The model is trained, and then changed by hand, with the worker away.
$node->safe_psql('postgres', q{
	CREATE EXTENSION recsys;
	CREATE TABLE events (who int, what int, kind text);
	CREATE INDEX ON events (who);
	INSERT INTO events SELECT u, 1 + (u * i * 7 + i * i * 13) % 700, 'view'
	FROM generate_series(1, 200) u, generate_series(1, 20) i;
	SELECT recsys.create_source('shop', 'events', 'who', 'what', 'kind');
	SELECT recsys.create_model('shop', 'taste', 'als', '{"factors": 20, "iterations": 3}');
	SELECT recsys.wait_for('shop');
});
$node->poll_query_until('postgres', q{SELECT state = 'ready' FROM recsys.models}) or die 'no training';
$node->safe_psql('postgres', q{
	SELECT recsys.wait_for('shop');
	SELECT recsys.pause('shop');
});
$node->poll_query_until('postgres', q{SELECT worker_pid IS NULL FROM recsys.status}) or die 'no pause';

$node->safe_psql('postgres', <<'SQL');
-- Every row of the table, scored and sorted.
CREATE FUNCTION oracle(u int, k int, seen boolean, yes bigint[], no bigint[])
RETURNS TABLE (rank bigint, item int, score float8) LANGUAGE sql STABLE AS $$
	SELECT row_number() OVER (), *
	FROM (SELECT i.key, s.score
		FROM shop.taste_version v
			JOIN shop.taste_factors f USING (version)
			JOIN shop.items i ON i.id = f.item_id
			CROSS JOIN (SELECT shop.user_factors(u) AS x OFFSET 0) q
			CROSS JOIN LATERAL (SELECT sum(a::float8 * b) AS score FROM unnest(f.factors, q.x) AS t (a, b)) s
		WHERE cardinality(f.factors) > 0 AND NOT 'NaN' = ANY (f.factors)
			AND (seen OR i.key NOT IN (SELECT item_id FROM shop.interactions WHERE user_id = u))
			AND (yes IS NULL OR i.key = ANY (yes)) AND (no IS NULL OR i.key <> ALL (no))
		ORDER BY s.score::real DESC, i.id LIMIT k) x
$$;
-- Where it differs from recommend(), in one snapshot.
CREATE FUNCTION wrong(u int, k int = 10, seen boolean = false, yes bigint[] = NULL, no bigint[] = NULL)
RETURNS text LANGUAGE sql STABLE AS $$
	SELECT left(string_agg(format('user %s: rank %s is %s (%s), not %s (%s)', u, o.rank, r.item_id, r.score, o.item, o.score), '; '), 300)
	FROM oracle(u, k, seen, yes, no) o
		LEFT JOIN shop.recommend(u, k, exclude_seen => NOT seen, items => yes, exclude => no)
			WITH ORDINALITY r (item_id, score, rank) USING (rank)
	WHERE r.item_id IS DISTINCT FROM o.item OR NOT abs(r.score - o.score) < 1e-6 * (1 + abs(o.score))
$$;
CREATE FUNCTION must_agree(u int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE how text := (SELECT wrong(u));
	BEGIN
		IF how IS NOT NULL THEN RAISE EXCEPTION '%', how; END IF;
	END
$$;
-- What a publish of the stream worker does: the item becomes the user's favourite.
CREATE FUNCTION publish(u int, item int, factor float8 = 100) RETURNS void LANGUAGE sql AS $$
	UPDATE shop.taste_version SET publish = publish + 1;
	UPDATE shop.taste_factors f SET publish = v.publish,
		factors = (SELECT array_agg((factor * x)::real ORDER BY n) FROM unnest(shop.user_factors(u)) WITH ORDINALITY t (x, n))
	FROM shop.taste_version v WHERE f.version = v.version AND f.item_id = (SELECT id FROM shop.items WHERE key = item);
$$;
-- What a training does at its end: other vectors, in a new version.
CREATE PROCEDURE swap() LANGUAGE plpgsql AS $$
	BEGIN
		LOCK TABLE shop.taste_version IN SHARE ROW EXCLUSIVE MODE;
		INSERT INTO shop.taste_factors
		SELECT v.version + 1, f.item_id, v.publish + 1,
			(SELECT coalesce(array_agg((x * (0.5 + f.item_id * v.version * 37 % 101 / 100.0))::real ORDER BY n DESC), '{}') FROM unnest(f.factors) WITH ORDINALITY t (x, n))
		FROM shop.taste_factors f JOIN shop.taste_version v USING (version);
		UPDATE shop.taste_version SET version = version + 1, publish = publish + 1, trained_at = clock_timestamp();
		DELETE FROM shop.taste_factors USING shop.taste_version v WHERE taste_factors.version < v.version;
	END
$$;
SQL

sub agrees
{
	my ($server, $what, $expression) = @_;
	$expression ||= 'wrong(u)';
	is($server->safe_psql('postgres', "SELECT $expression FROM generate_series(1, 200, 7) u WHERE $expression IS NOT NULL LIMIT 3"),
		'', $what);
}

# An item that is new to the user and not among the best.
sub unseen { return $node->safe_psql('postgres', "SELECT item FROM oracle($_[0], 80, false, NULL, NULL) ORDER BY rank DESC LIMIT 1") }

sub segments { return $_[0]->safe_psql('postgres', 'SELECT count(*) FROM recsys.search_segments()') }

# ---------------------------------------------------------------------- answers

is(segments($node), 0, 'nobody has asked, so nothing is in shared memory');
agrees($node, 'recommend() gives what scoring all rows gives');
is(segments($node), 1, 'and has the vectors in shared memory now');
agrees($node, '... 300 rows', 'wrong(u, 300)');
agrees($node, '... all there are', 'wrong(u, 2000)');
agrees($node, '... with seen items', 'wrong(u, 10, true)');
agrees($node, '... among given items', 'wrong(u, 10, false, ARRAY[1, 5, 9, u, u + 3, 650, 12345])');
agrees($node, '... among many', 'wrong(u, 20, false, (SELECT array_agg(i::bigint) FROM generate_series(1, 700, 2) i))');
agrees($node, '... without given items',
	'wrong(u, 10, false, NULL, (SELECT array_agg(item::bigint) FROM oracle(u, 30, false, NULL, NULL)))');

$node->safe_psql('postgres', q{
	CREATE FUNCTION similar_wrong(i int) RETURNS text LANGUAGE sql STABLE AS $$
		SELECT left(string_agg(format('%s: rank %s is %s, not %s', i, rank, r.found, o.other), '; '), 300)
		FROM shop.similar_items(i, 15) WITH ORDINALITY r (found, score, rank)
			FULL JOIN (SELECT row_number() OVER (), * FROM (SELECT b.key, c.cosine
				FROM shop.taste_factors f JOIN shop.items a ON a.id = f.item_id AND a.key = i,
					shop.taste_factors g JOIN shop.items b ON b.id = g.item_id,
					LATERAL (SELECT (sum(x::float8 * y) / sqrt(sum(x::float8 ^ 2) * sum(y::float8 ^ 2)))
						FROM unnest(f.factors, g.factors) AS t (x, y)) c (cosine)
				WHERE b.key <> i ORDER BY c.cosine::real DESC, b.id LIMIT 15) x) o (rank, other, cosine) USING (rank)
		WHERE r.found IS DISTINCT FROM o.other OR NOT abs(r.score - o.cosine) < 1e-6
	$$});
is($node->safe_psql('postgres', q{SELECT w FROM (SELECT similar_wrong(key) FROM shop.items WHERE id % 23 = 0) x (w) WHERE w IS NOT NULL LIMIT 3}),
	'', 'similar_items() gives the greatest cosines');

# --------------------------------------------------------------------- publishing

my $item = unseen(8);
$node->safe_psql('postgres', "SELECT publish(8, $item)");
is($node->safe_psql('postgres', 'SELECT item_id FROM shop.recommend(8, 1)'), $item, 'a vector that was published counts');
agrees($node, 'nothing else has changed');
is(segments($node), 1, 'in the segment that there was');

$item = unseen(9);
$node->safe_psql('postgres', "BEGIN; SELECT publish(9, $item, 1000); SELECT must_agree(9); SELECT must_agree(8); ROLLBACK");
isnt($node->safe_psql('postgres', 'SELECT item_id FROM shop.recommend(9, 1)'), $item, 'one that is rolled back does not');
is($node->safe_psql('postgres', "BEGIN; SELECT publish(9, $item, 1000); SELECT item_id FROM shop.recommend(9, 1); ROLLBACK") =~ s/\s//gr,
	$item,
	'but in its own transaction');
agrees($node, 'others never see it');

# Rows without a vector, and such as no training writes.
$node->safe_psql('postgres', q{
	UPDATE shop.taste_version SET publish = publish + 1;
	UPDATE shop.taste_factors f SET publish = v.publish,
		factors = CASE f.item_id % 3 WHEN 0 THEN '{}' WHEN 1 THEN array_fill('NaN'::real, '{20}') ELSE factors END
	FROM shop.taste_version v WHERE f.item_id < 60});
agrees($node, 'items whose vectors have gone are not found', 'wrong(u, 2000)');
my ($status, $out, $err) = $node->psql('postgres', q{
	UPDATE shop.taste_version SET publish = publish + 1;
	UPDATE shop.taste_factors f SET publish = v.publish, factors = '{1,2}' FROM shop.taste_version v WHERE f.item_id = 60;
	SELECT * FROM shop.recommend(1)});
like($err, qr/a vector of an embedding model is not as a training wrote it/, 'a vector of a wrong length is an error');
($status, $out, $err) = $node->psql('postgres', 'SELECT * FROM shop.recommend(1)');
like($err, qr/a vector of an embedding model/, 'again');
$node->safe_psql('postgres', q{UPDATE shop.taste_factors SET factors = '{}' WHERE item_id = 60});
agrees($node, 'that ends when it is mended');
($status, $out, $err) = $node->psql('postgres', q{
	BEGIN; UPDATE shop.taste_version SET dim = 21, publish = publish + 1; SELECT * FROM shop.recommend(1); ROLLBACK});
like($err, qr/ of an embedding model is not as a training wrote it/, 'so is a wrong length in the version');
$node->safe_psql('postgres', 'UPDATE shop.taste_version SET dim = 25');
($status, $out, $err) = $node->psql('postgres', 'SELECT * FROM shop.recommend(1)');
like($err, qr/ of an embedding model is not as a training wrote it/, 'when it is committed, too');
$node->safe_psql('postgres', 'UPDATE shop.taste_version SET dim = 20');
agrees($node, 'nothing is left of it');

# More items than there was room for.
$node->safe_psql('postgres', q{
	INSERT INTO shop.items (id, key, users, total, sumsq, landmark)
	SELECT i, 100000 + i, 0, 0, 0, 0 FROM generate_series(5000, 9000) i;
	UPDATE shop.taste_version SET publish = publish + 1;
	INSERT INTO shop.taste_factors
	SELECT v.version, i, v.publish, (SELECT array_agg((random() / 10 - 0.05 + 0 * i * n)::real) FROM generate_series(1, 20) n)
	FROM shop.taste_version v, generate_series(5000, 9000) i});
agrees($node, 'new items are found', 'wrong(u, 50)');
is(segments($node), 1, 'and the segment was replaced by a larger one');

# Small numbers are gone, as after TRUNCATE.
$node->safe_psql('postgres', q{
	CALL swap();
	UPDATE shop.taste_version SET version = version + 1, publish = publish + 1, trained_at = clock_timestamp();
	UPDATE shop.taste_factors f SET version = v.version, publish = v.publish, item_id = f.item_id + 1000000 FROM shop.taste_version v;
	UPDATE shop.items SET id = id + 1000000;
	UPDATE shop.profiles SET items = (SELECT array_agg(i + 1000000 ORDER BY n) FROM unnest(items) WITH ORDINALITY t (i, n))});
agrees($node, 'numbers need not begin with 1', 'wrong(u, 50, true, NULL, ARRAY[1, 2, 3])');
agrees($node, '... among given items', 'wrong(u, 10, true, ARRAY[1, 5, 9, u, u + 3, 650, 12345])');
cmp_ok($node->safe_psql('postgres', 'SELECT max(bytes) FROM recsys.search_segments()'), '<', 4000000,
	'and those that are missing take no memory');
$node->safe_psql('postgres', q{
	UPDATE shop.items SET id = id - 1000000;
	UPDATE shop.profiles SET items = (SELECT array_agg(i - 1000000 ORDER BY n) FROM unnest(items) WITH ORDINALITY t (i, n));
	UPDATE shop.taste_version SET publish = publish + 1;
	UPDATE shop.taste_factors f SET publish = v.publish, item_id = f.item_id - 1000000 FROM shop.taste_version v});
agrees($node, 'a smaller number than the first makes a new segment');

# --------------------------------------------------------------------- new versions

my $agree = "$PostgreSQL::Test::Utils::tmp_check/agree.sql";
append_to_file($agree, "\\set u random(1, 200)\nSELECT must_agree(:u);\n");
my $swap = "$PostgreSQL::Test::Utils::tmp_check/swap.sql";
append_to_file($swap, "CALL swap();\n");
$node->command_ok(
	[ 'pgbench', '-n', '-c', 4, '-j', 2, '-t', 60, '-f', "$agree\@20", '-f', "$swap\@1", $node->connstr('postgres') ],
	'versions change beside readers, and each answer is that of one version');
agrees($node, 'after that, too');
is(segments($node), 1, 'old versions have no memory');

my $psql = $node->installed_command('psql');
my $repeatable = $node->safe_psql('postgres', q{
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	CREATE TEMP TABLE before AS SELECT * FROM shop.recommend(4, 50);
	\! psql -XAtq -c 'CALL swap(); SELECT must_agree(4)'
	SELECT count(*), count(b) FROM shop.recommend(4, 50) r LEFT JOIN before b USING (item_id, score);
	SELECT coalesce(wrong(4, 50), 'right');
	COMMIT;
	SELECT coalesce(wrong(4, 50), 'right'), count(*) <> count(b)
		FROM shop.recommend(4, 50) r LEFT JOIN before b USING (item_id, score)});
is($repeatable =~ s/^\s+//r, "50|50\nright\nright|t", 'a snapshot that lasts goes on with its version');

# Cancelled at any step, whoever makes a segment leaves nothing half made.
for my $ms (1 .. 9, 12, 15, 20)
{
	$node->psql('postgres', "UPDATE shop.taste_version SET trained_at = clock_timestamp();
		SET statement_timeout = $ms; SELECT * FROM shop.recommend(5)");
}
agrees($node, 'makers of segments are cancelled');
is(segments($node), 1, 'and the last one is complete');

# Room for one version and not for two.
$node->safe_psql('postgres', q{
	ALTER SYSTEM SET recsys.search_memory = '2MB';
	CALL swap();
	SELECT count(*) FROM shop.taste_factors});
$node->reload;
my ($ok, $shown, $complaint) = $node->psql('postgres', 'SELECT must_agree(1)');
is($complaint, '', 'a new version takes the room of the old one');
like($node->safe_psql('postgres', q{
	SELECT count(*), sum(bytes) BETWEEN 1024 * 1024 AND 2 * 1024 * 1024, max(s.version) = max(v.version)
	FROM recsys.search_segments() s, shop.taste_version v}), qr/^1\|t\|t$/, 'which is the one in memory now');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET recsys.search_memory');
$node->reload;

# ------------------------------------------------------------------- no room

# Two calls in one session, and what they have to say.
sub without_room
{
	my ($server, $what) = @_;
	my ($status, $out, $err) = $server->psql('postgres', q{SELECT * FROM shop.recommend(3); SELECT * FROM shop.recommend(4)});
	is($out, $node->safe_psql('postgres', q{SELECT * FROM shop.recommend(3); SELECT * FROM shop.recommend(4)}), "$what: the same answers");
	is(scalar(() = $err =~ /WARNING:  searching the table/g), 1, 'and one warning');
	like($err, qr/HINT:/, 'with a hint');
	return $err;
}

my $answers = $node->safe_psql('postgres', 'SELECT * FROM shop.recommend(3, 30)');
$node->safe_psql('postgres', 'ALTER SYSTEM SET recsys.search_memory = 0');
$node->reload;
like(without_room($node, 'recsys.search_memory = 0'), qr/Raise recsys.search_memory/, 'that names the setting');
is($node->safe_psql('postgres', 'SELECT * FROM shop.recommend(3, 30)'), $answers, 'as they were with memory');
agrees($node, 'right ones', 'wrong(u, 300)');
agrees($node, 'with filters', 'wrong(u, 10, false, ARRAY[1, 5, 9, u, u + 3, 650], ARRAY[5])');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET recsys.search_memory');
$node->restart;
is(segments($node), 0, 'a server starts with no segments');
is($node->safe_psql('postgres', 'SELECT * FROM shop.recommend(3, 30)'), $answers, 'and makes them again');
is(segments($node), 1, 'as they are asked for');

# More than /dev/shm can ever hold, where that is not huge.
my $shm = `df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print \$2 }'` || 0;
SKIP:
{
	skip 'no /dev/shm of less than 100 GB', 4 unless $shm > 0 && $shm < 100_000_000;
	$node->safe_psql('postgres', q{
		INSERT INTO shop.taste_factors SELECT version, 2147000000, 0, factors FROM shop.taste_factors LIMIT 1;
		UPDATE shop.taste_version SET trained_at = clock_timestamp();
		ALTER SYSTEM SET recsys.search_memory = '100TB'});
	$node->reload;
	like(without_room($node, 'shared memory is too small'), qr{/dev/shm}, 'that says where');
	$node->safe_psql('postgres', q{
		DELETE FROM shop.taste_factors WHERE item_id = 2147000000;
		ALTER SYSTEM RESET recsys.search_memory});
	$node->reload;
}
agrees($node, 'when there is room again, it is used');

# All at once, with nothing there.
$node->restart;
$node->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 5, '-f', $agree, $node->connstr('postgres') ],
	'the first calls all want the same segment');
is(segments($node), 1, 'and get one');

# ----------------------------------------------------------------------- standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
agrees($standby, 'a standby answers from memory of its own');
is(segments($standby), 1, 'which it has');
is($standby->safe_psql('postgres', 'SELECT * FROM shop.recommend(3, 30)'),
	$node->safe_psql('postgres', 'SELECT * FROM shop.recommend(3, 30)'), 'and gives the same answers');

$item = unseen(12);
$node->safe_psql('postgres', "SELECT publish(12, $item, 10000)");
my $seen = 0;
for (1 .. 10)
{
	$seen = $standby->safe_psql('postgres', 'SELECT item_id FROM shop.recommend(12, 1)') eq $item and last;
	select(undef, undef, undef, 0.1);
}
ok($seen, 'what is published shows on the standby within a second');
$node->safe_psql('postgres', 'CALL swap()');
$node->wait_for_catchup($standby);
agrees($standby, 'a new version, too');

$standby->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$standby->restart;
like(without_room($standby, 'not preloaded'), qr/shared_preload_libraries/, 'that names what to add');
$standby->stop;

# ------------------------------------------------------------------ trainings

# A training leaves the segment of its version behind: whoever asks first finds it.
$node->safe_psql('postgres', q{
	DELETE FROM shop.taste_factors WHERE item_id > 1000;
	UPDATE shop.taste_version SET trained_at = clock_timestamp();
	SELECT recsys.resume('shop');
	SELECT recsys.wait_for('shop')});
$node->safe_psql('postgres', 'SELECT * FROM shop.recommend(1)');
my $version = $node->safe_psql('postgres', 'SELECT version + 1 FROM shop.taste_version');
# It is there before the version is: a lock holds up the commit.
my $prepared = $node->safe_psql('postgres', q{
	BEGIN;
	LOCK TABLE shop.taste_version IN SHARE MODE;
	\! psql -XAtq -c "SELECT recsys.train('shop', 'taste')" >/dev/null 2>&1 &
	DO $$ BEGIN
		FOR i IN 1 .. 300 LOOP
			EXIT WHEN (SELECT count(*) = 2 FROM recsys.search_segments());
			PERFORM pg_sleep(0.1);
		END LOOP;
	END $$;
	SELECT count(*), max(s.version) - max(v.version) FROM recsys.search_segments() s, shop.taste_version v;
	SELECT must_agree(2);
	SELECT count(*) FROM recsys.search_segments();
	COMMIT});
is($prepared =~ s/\s+/ /gr, '2|1 2', 'a training makes a segment of its version before anybody can see it');
$node->poll_query_until('postgres', "SELECT version = $version FROM shop.taste_version") or die 'no new version';
agrees($node, 'it gives the right answers');
is(segments($node), 1, 'and takes the place of the old one');

# -------------------------------------------------------------------------- going

is(segments($node), 1, 'there is a segment');
$node->safe_psql('postgres', q{SELECT recsys.drop_model('shop', 'taste')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM recsys.search_segments()'), 'it goes with the model');

$node->stop;
done_testing();
