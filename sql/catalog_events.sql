-- A source whose event table no longer is what create_source() accepted says
-- so in its status, and goes on when that is mended.
CREATE ROLE regress_ce_owner;
CREATE SCHEMA ce_app AUTHORIZATION regress_ce_owner;
SET ROLE regress_ce_owner;
CREATE TABLE ce_app.events (user_id int, item_id text, PRIMARY KEY (user_id, item_id));
RESET ROLE;

-- the source's last error, once it has one that the pattern matches
CREATE FUNCTION ce_error(pattern text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
BEGIN
	FOR i IN 1 .. 600 LOOP
		SELECT last_error INTO message FROM recsys.status WHERE source = 'ce_shop' AND last_error ~ pattern;
		EXIT WHEN FOUND;
		PERFORM pg_sleep(0.1);
	END LOOP;
	RETURN message;
END $$;

-- each of these is committed before the worker looks for the first time
BEGIN;
SELECT recsys.create_source('ce_shop', 'ce_app.events', 'user_id', 'item_id');
ALTER TABLE ce_app.events RENAME COLUMN item_id TO thing_id;
COMMIT;
SELECT ce_error('item_id');
ALTER TABLE ce_app.events RENAME COLUMN thing_id TO item_id;
SELECT recsys.wait_for('ce_shop');
SELECT recsys.drop_source('ce_shop');

BEGIN;
SELECT recsys.create_source('ce_shop', 'ce_app.events', 'user_id', 'item_id');
ALTER TABLE ce_app.events ALTER COLUMN user_id TYPE bigint;
COMMIT;
SELECT ce_error('bigint');
SELECT recsys.drop_source('ce_shop');

BEGIN;
SELECT recsys.create_source('ce_shop', 'ce_app.events', 'user_id', 'item_id');
ALTER TABLE ce_app.events ENABLE ROW LEVEL SECURITY;
COMMIT;
SELECT ce_error('security');
SELECT recsys.drop_source('ce_shop');

BEGIN;
SELECT recsys.create_source('ce_shop', 'ce_app.events', 'user_id', 'item_id', accept_row_level_security => true);
ALTER TABLE ce_app.events FORCE ROW LEVEL SECURITY;
COMMIT;
SELECT ce_error('security');
SELECT recsys.drop_source('ce_shop');
ALTER TABLE ce_app.events NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;

BEGIN;
SELECT recsys.create_source('ce_shop', 'ce_app.events', 'user_id', 'item_id');
ALTER TABLE ce_app.events SET UNLOGGED;
COMMIT;
SELECT ce_error('unlogged');
SELECT recsys.drop_source('ce_shop');
ALTER TABLE ce_app.events SET LOGGED;

BEGIN;
SELECT recsys.create_source('ce_shop', 'ce_app.events', 'user_id', 'item_id');
ALTER TABLE ce_app.events OWNER TO CURRENT_USER;
COMMIT;
SELECT ce_error('owner');
SELECT recsys.drop_source('ce_shop');
ALTER TABLE ce_app.events OWNER TO regress_ce_owner;

BEGIN;
SELECT recsys.create_source('ce_shop', 'ce_app.events', 'user_id', 'item_id');
SET LOCAL client_min_messages = warning;
DROP SCHEMA ce_shop CASCADE;
COMMIT;
SELECT ce_error('schema');
SELECT recsys.drop_source('ce_shop');

BEGIN;
SELECT recsys.create_source('ce_shop', 'ce_app.events', 'user_id', 'item_id');
DROP TABLE ce_app.events;
COMMIT;
SELECT ce_error('dropped');
SELECT recsys.drop_source('ce_shop');

DROP FUNCTION ce_error;
DROP SCHEMA ce_app;
DROP ROLE regress_ce_owner;
