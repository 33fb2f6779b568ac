-- Who may do what with sources.
CREATE ROLE regress_owner;
CREATE ROLE regress_member IN ROLE regress_owner;
CREATE ROLE regress_stranger;
CREATE SCHEMA rights_app AUTHORIZATION regress_owner;
GRANT USAGE ON SCHEMA rights_app TO regress_stranger;

-- create_source() may be called by whom the administrator grants it, ...
SET ROLE regress_owner;
CREATE TABLE rights_app.events (user_id int, item_id int, PRIMARY KEY (user_id, item_id));
INSERT INTO rights_app.events VALUES (1, 1), (2, 1);
GRANT ALL ON rights_app.events TO regress_stranger;
SELECT recsys.create_source('rights_shop', 'rights_app.events', 'user_id', 'item_id');
RESET ROLE;
GRANT EXECUTE ON FUNCTION recsys.create_source TO regress_owner, regress_stranger;

-- ... on tables that they own, whatever else they may do with them
SET ROLE regress_stranger;
SELECT recsys.create_source('rights_shop', 'rights_app.events', 'user_id', 'item_id');
SELECT recsys.create_source('rights_shop', 'pg_catalog.pg_class', 'oid', 'relname');
RESET ROLE;

-- no other right is needed, not even to create schemas
SELECT has_database_privilege('regress_owner', current_database(), 'CREATE');
SET ROLE regress_owner;
SELECT recsys.create_source('rights_shop', 'rights_app.events', 'user_id', 'item_id');
SELECT recsys.create_model('rights_shop', 'knn', 'item_knn');
SELECT recsys.alter_model('rights_shop', 'knn', '{"k": 7}');
SELECT current_user;
RESET ROLE;

-- everything made belongs to the owner of the table
SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'rights_shop';
SELECT relowner::regrole, count(*) > 5 AS tables FROM pg_class WHERE relnamespace = 'rights_shop'::regnamespace GROUP BY 1;
SELECT count(*) AS functions_of_others FROM pg_proc
WHERE pronamespace = 'rights_shop'::regnamespace AND proowner <> 'regress_owner'::regrole;
-- functions run as the owner, with a search_path of their own, but for the one that writes, as its caller
SELECT proname, prosecdef, proconfig FROM pg_proc
WHERE pronamespace = 'rights_shop'::regnamespace
	AND NOT (prosecdef AND array_to_string(proconfig, ' ') ~ 'search_path=');
-- and nobody else has any right
SELECT has_schema_privilege('regress_stranger', 'rights_shop', 'USAGE, CREATE') AS stranger_schema,
	has_schema_privilege('regress_member', 'rights_shop', 'USAGE, CREATE') AS member_schema;
SELECT proname FROM pg_proc
WHERE pronamespace = 'rights_shop'::regnamespace AND has_function_privilege('regress_stranger', oid, 'EXECUTE');
SELECT relname FROM pg_class
WHERE relnamespace = 'rights_shop'::regnamespace AND relkind IN ('r', 'v')
	AND has_table_privilege('regress_stranger', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');

-- views show the sources whose owner's role the caller has; tables are closed
SELECT recsys.wait_for('rights_shop');
INSERT INTO recsys.rejected_event SELECT source_id, -1, 'test', '1', '2', NULL, NULL, NULL, now()
	FROM recsys.source WHERE name = 'rights_shop';
INSERT INTO recsys.rejection SELECT source_id, 'test', 1 FROM recsys.source WHERE name = 'rights_shop';
CREATE FUNCTION rights_seen() RETURNS text LANGUAGE sql AS $$
	SELECT format('%s: %s sources, %s models, %s rejected events, %s rejections', current_user,
		(SELECT count(*) FROM recsys.sources WHERE source = 'rights_shop'),
		(SELECT count(*) FROM recsys.models WHERE source = 'rights_shop'),
		(SELECT count(*) FROM recsys.rejected_events WHERE source = 'rights_shop' AND reason = 'test'),
		(SELECT count(*) FROM recsys.rejections WHERE source = 'rights_shop' AND reason = 'test')) $$;
CREATE FUNCTION rights_leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
	$$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
SET ROLE regress_owner;
SELECT rights_seen();
SET ROLE regress_member;
SELECT rights_seen();
SET ROLE regress_stranger;
SELECT rights_seen();
SELECT * FROM recsys.sources WHERE rights_leak(source::text) AND source = 'rights_shop';
SELECT * FROM recsys.rejected_events WHERE rights_leak(user_key) AND source = 'rights_shop';
SELECT * FROM recsys.source;
SELECT * FROM recsys.model;
SELECT * FROM recsys.rejected_event;
SELECT * FROM recsys.rejection;
SELECT nextval('recsys.source_id');
UPDATE recsys.sources SET paused = true;
RESET ROLE;

-- a stranger can change nothing
SET ROLE regress_stranger;
SELECT recsys.alter_source('rights_shop', history_limit => 1);
SELECT recsys.pause('rights_shop');
SELECT recsys.resume('rights_shop');
SELECT recsys.resync('rights_shop');
SELECT recsys.drop_source('rights_shop');
SELECT recsys.forget_user('rights_shop', '1');
SELECT recsys.forget_user('rights_shop', '1', true);
SELECT recsys.forget_item('rights_shop', '1');
SELECT recsys.create_model('rights_shop', 'mine', 'popular');
SELECT recsys.alter_model('rights_shop', 'knn', '{}');
SELECT recsys.drop_model('rights_shop', 'knn');
SELECT recsys.set_default_model('rights_shop', 'knn');
RESET ROLE;
SELECT count(*) FROM rights_app.events;

-- a member of the owner's role can; what it makes is the owner's
SET ROLE regress_member;
SELECT recsys.pause('rights_shop'), recsys.resume('rights_shop'), recsys.resync('rights_shop'),
	recsys.alter_source('rights_shop', history_limit => 10),
	recsys.create_model('rights_shop', 'second', 'item_knn'),
	recsys.set_default_model('rights_shop', 'second'),
	recsys.forget_item('rights_shop', '1');
RESET ROLE;
SELECT relowner::regrole FROM pg_class WHERE oid = 'rights_shop.second_neighbors'::regclass;

-- code of the owner's runs with the owner's rights, in a restricted context,
-- when somebody with more rights makes the call
SET ROLE regress_owner;
CREATE TABLE rights_app.log (who name);
CREATE FUNCTION rights_app.log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO rights_app.log VALUES (current_user);
	BEGIN
		EXECUTE 'SET ROLE none';
	EXCEPTION WHEN OTHERS THEN
		RAISE NOTICE '%', SQLERRM;
	END;
	BEGIN
		CREATE TEMPORARY TABLE rights_trap (a int);
	EXCEPTION WHEN OTHERS THEN
		RAISE NOTICE '%', SQLERRM;
	END;
	RAISE NOTICE 'search_path is %', current_setting('search_path');
	RETURN OLD;
END $$;
CREATE TRIGGER log BEFORE DELETE ON rights_app.events FOR EACH ROW EXECUTE FUNCTION rights_app.log();
RESET ROLE;
SELECT recsys.forget_user('rights_shop', '1', true);
SELECT who FROM rights_app.log;
SELECT current_user = session_user AS myself, current_setting('search_path') AS search_path;
SELECT * FROM rights_app.events;
-- also after an error
SET ROLE regress_owner;
CREATE FUNCTION rights_app.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'as %', current_user; END $$;
CREATE TRIGGER fail BEFORE DELETE ON rights_app.events FOR EACH ROW EXECUTE FUNCTION rights_app.fail();
RESET ROLE;
BEGIN;
SAVEPOINT s;
SELECT recsys.forget_user('rights_shop', '2', true);
ROLLBACK TO s;
SELECT current_user = session_user AS myself, current_setting('search_path') AS search_path;
COMMIT;

-- a superuser's source of somebody's table belongs to that somebody
SELECT recsys.create_source('rights_other', 'rights_app.events', 'user_id', 'item_id');
SELECT owner FROM recsys.sources WHERE source = 'rights_other';
SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'rights_other';

-- a schema of somebody else's that took the place of a source's is not used
GRANT CREATE ON DATABASE :DBNAME TO regress_stranger;
SET ROLE regress_owner;
SET client_min_messages = warning;
DROP SCHEMA rights_other CASCADE;
RESET client_min_messages;
SET ROLE regress_stranger;
CREATE SCHEMA rights_other;
CREATE TABLE rights_other.users (id int PRIMARY KEY, key int UNIQUE);
CREATE TABLE rights_other.items (id int PRIMARY KEY, key int UNIQUE);
SELECT count(*) FROM recsys.sources WHERE source = 'rights_other';
SELECT recsys.drop_source('rights_other');
SET ROLE regress_owner;
SELECT recsys.create_model('rights_other', 'knn', 'item_knn');
SELECT recsys.forget_user('rights_other', '1');
SELECT recsys.drop_source('rights_other');
RESET ROLE;
SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'rights_other';
DROP SCHEMA rights_other CASCADE;
REVOKE CREATE ON DATABASE :DBNAME FROM regress_stranger;

-- the owner drops it
SET ROLE regress_owner;
SELECT recsys.drop_source('rights_shop');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION recsys.create_source FROM regress_owner, regress_stranger;
DROP FUNCTION rights_seen, rights_leak;
DROP SCHEMA rights_app CASCADE;
DROP ROLE regress_member, regress_owner, regress_stranger;
