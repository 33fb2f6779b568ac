-- Sources: declared, changed and dropped as plain transactional catalogue writes.
CREATE TABLE cs_events (
	user_id int, item_id varchar(20), type text, value numeric, at timestamptz, session uuid);
ALTER TABLE cs_events REPLICA IDENTITY FULL;
CREATE INDEX ON cs_events (user_id);

SELECT recsys.create_source('cs_shop', 'cs_events', 'user_id', 'item_id');
SELECT source, owner::text = current_user AS mine, events, user_column, item_column,
	event_type_column, event_value_column, event_time_column, session_column, weights,
	feedback, history_limit, half_life, accept_row_level_security, paused,
	created_at = now() AS before_now
FROM recsys.sources WHERE source = 'cs_shop' \gx

-- all arguments
SELECT recsys.create_source(source => 'cs_full', events => 'cs_events', user_column => 'user_id',
	item_column => 'item_id', event_type_column => 'type', event_value_column => 'value',
	event_time_column => 'at', weights => '{"view": 1, "add_to_cart": 3, "purchase": 5.5}',
	feedback => 'implicit', history_limit => 100000, half_life => '30 days',
	session_column => 'session', accept_row_level_security => true);
SELECT source, events, event_type_column, event_value_column, event_time_column,
	session_column, weights, feedback, history_limit, half_life, accept_row_level_security
FROM recsys.sources WHERE source = 'cs_full' \gx

-- state tables have the types of the keys, and belong to the owner of the table
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'cs_shop'::regnamespace AND c.relkind = 'r' AND a.attname = 'key'
ORDER BY 1, 2;
SELECT relname, relkind, relowner = (SELECT relowner FROM pg_class WHERE oid = 'cs_events'::regclass) AS by_owner
FROM pg_class
WHERE relnamespace = 'cs_shop'::regnamespace
	AND relname IN ('state', 'users', 'items', 'profiles', 'popular_items',
		'state_pkey', 'users_pkey', 'users_key_key', 'items_pkey', 'items_key_key',
		'profiles_pkey', 'popular_items_pkey')
ORDER BY relname;

-- NULL leaves a setting as it is; what the state depends on asks for a rebuild
CREATE VIEW cs_resyncs AS SELECT name, resyncs FROM recsys.source WHERE name LIKE 'cs\_%';
SELECT recsys.alter_source('cs_full');
SELECT recsys.alter_source('cs_full', weights => '{"purchase": 5.5, "view": 1.0, "add_to_cart": 3}',
	history_limit => 100000, half_life => '720 hours', session_column => 'user_id');
TABLE cs_resyncs ORDER BY name;
SELECT recsys.alter_source('cs_full', history_limit => 50);
SELECT recsys.alter_source('cs_full', half_life => '1 month 12 hours');
SELECT recsys.alter_source('cs_full', weights => '{"view": 2}');
SELECT weights, history_limit, half_life, session_column FROM recsys.sources WHERE source = 'cs_full';
SELECT recsys.alter_source('cs_full', weights => 'null');
SELECT weights, history_limit, half_life, session_column FROM recsys.sources WHERE source = 'cs_full';
TABLE cs_resyncs ORDER BY name;
SELECT recsys.resync('cs_full');
TABLE cs_resyncs ORDER BY name;

-- pause and resume, any number of times
SELECT recsys.pause('cs_shop'), recsys.pause('cs_shop');
SELECT source, paused FROM recsys.sources WHERE source LIKE 'cs\_%' ORDER BY source;
SELECT recsys.resume('cs_shop'), recsys.resume('cs_shop');
SELECT source, paused FROM recsys.sources WHERE source LIKE 'cs\_%' ORDER BY source;

-- rollback leaves nothing
BEGIN;
SELECT recsys.create_source('cs_gone', 'cs_events', 'user_id', 'item_id');
SELECT recsys.create_model('cs_gone', 'knn', 'item_knn');
SELECT recsys.drop_source('cs_shop');
ROLLBACK;
SELECT source FROM recsys.sources WHERE source LIKE 'cs\_%' ORDER BY source;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'cs\_%' ORDER BY nspname;
SELECT count(*) FROM recsys.model m LEFT JOIN recsys.source s USING (source_id) WHERE s.name IS NULL;

-- any order in one transaction, with savepoints, and several in one statement
BEGIN;
SELECT recsys.drop_source('cs_shop');
SELECT recsys.create_source('cs_shop', 'cs_events', 'user_id', 'item_id', history_limit => 7);
SELECT recsys.pause('cs_shop');
SAVEPOINT one;
SELECT recsys.create_model('cs_shop', 'knn', 'item_knn');
SELECT recsys.alter_source('cs_shop', history_limit => 8);
ROLLBACK TO one;
SELECT recsys.create_model('cs_shop', 'pop', 'popular');
SELECT recsys.resume('cs_shop');
SELECT recsys.create_source('cs_short', 'cs_events', 'user_id', 'item_id'),
	recsys.create_model('cs_short', 'knn', 'item_knn'),
	recsys.drop_source('cs_short');
COMMIT;
SELECT source, history_limit, paused FROM recsys.sources WHERE source LIKE 'cs\_%' ORDER BY source;
SELECT source, model FROM recsys.models WHERE source LIKE 'cs\_%' ORDER BY source, model;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'cs\_%' ORDER BY nspname;

-- numbers are never reused
SELECT count(*), count(DISTINCT source_id), bool_and(source_id <= (SELECT last_value FROM recsys.source_id)) AS below
FROM recsys.source WHERE name LIKE 'cs\_%';

-- names that need quotes
CREATE SCHEMA "Cs Schema";
CREATE TABLE "Cs Schema"."my ""Events""" ("the User" text COLLATE "POSIX", "it's" uuid, PRIMARY KEY ("the User", "it's"));
SELECT recsys.create_source('cs 1 "Shop''s" $S %s', '"Cs Schema"."my ""Events"""', 'the User', 'it''s');
SELECT recsys.create_model('cs 1 "Shop''s" $S %s', 'my "Model''s" $U', 'item_knn');
SELECT recsys.forget_user('cs 1 "Shop''s" $S %s', 'a ''quoted'' \ key');
SELECT recsys.forget_user('cs 1 "Shop''s" $S %s', 'a ''quoted'' \ key', true);
SELECT relname FROM pg_class WHERE relnamespace = '"cs 1 ""Shop''s"" $S %s"'::regnamespace AND relkind = 'r' ORDER BY 1;
SELECT collation_name FROM information_schema.columns
WHERE table_schema LIKE 'cs 1%' AND table_name = 'users' AND column_name = 'key';
SELECT recsys.drop_model('cs 1 "Shop''s" $S %s', 'my "Model''s" $U');
SELECT recsys.drop_source('cs 1 "Shop''s" $S %s');
DROP SCHEMA "Cs Schema" CASCADE;

-- all types of columns
CREATE TYPE cs_kind AS ENUM ('view', 'purchase');
CREATE TABLE cs_types (
	i2 int2, i4 int4, i8 int8, t text, v varchar, v9 varchar(9), u uuid,
	ty1 text, ty2 varchar(9), ty3 char(9), ty4 name, ty5 cs_kind, ty6 int2, ty7 int4, ty8 int8,
	va1 int2, va2 int4, va3 int8, va4 float4, va5 float8, va6 numeric(10, 2),
	ti1 timestamptz, ti2 timestamp(3),
	g8 int8 GENERATED ALWAYS AS (i4 * 2) STORED,
	PRIMARY KEY (i2, i4, i8, t, v, v9, u));
DO $$
DECLARE
	u text; i text;
	keys text[] = '{i2,i4,i8,t,v,v9,u,g8}';
	types text[] = '{ty1,ty2,ty3,ty4,ty5,ty6,ty7,ty8}';
	n int = 0;
BEGIN
	SET LOCAL client_min_messages = error;
	FOREACH u IN ARRAY keys LOOP
		FOREACH i IN ARRAY keys LOOP
			CONTINUE WHEN u = i;
			PERFORM recsys.create_source('cs_types', 'cs_types', u::name, i::name,
				types[1 + n % 8]::name, ('va' || 1 + n % 6)::name, ('ti' || 1 + n % 2)::name,
				session_column => keys[1 + n % 8]::name);
			IF NOT (SELECT count(*) = 2 AND bool_and(e.atttypid = s.atttypid AND e.atttypmod = s.atttypmod)
					FROM pg_attribute e, pg_attribute s
					WHERE e.attrelid = 'cs_types'::regclass AND s.attname = 'key'
						AND ((e.attname = u AND s.attrelid = 'cs_types.users'::regclass) OR
							 (e.attname = i AND s.attrelid = 'cs_types.items'::regclass))) THEN
				RAISE 'key types of %, % differ', u, i;
			END IF;
			PERFORM recsys.drop_source('cs_types');
			n := n + 1;
		END LOOP;
	END LOOP;
	PERFORM set_config('client_min_messages', 'notice', true);
	RAISE NOTICE '% pairs of types', n;
END $$;
DROP TABLE cs_types;
DROP TYPE cs_kind;

SELECT recsys.drop_source(source) FROM recsys.sources WHERE source LIKE 'cs\_%' ORDER BY source;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'cs\_%';
DROP VIEW cs_resyncs;
DROP TABLE cs_events;
