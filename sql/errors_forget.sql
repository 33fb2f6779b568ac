-- Bad calls of forget_user() and forget_item(), and what they do to the events.
CREATE TABLE ef_events (user_id int PRIMARY KEY, item_id uuid);
ALTER TABLE ef_events REPLICA IDENTITY FULL;
INSERT INTO ef_events SELECT u, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' FROM generate_series(1, 3) u;
SELECT recsys.create_source('ef_shop', 'ef_events', 'user_id', 'item_id');

-- keys that the column cannot have
SELECT recsys.forget_user('ef_shop', 'one');
SELECT recsys.forget_user('ef_shop', '99999999999');
SELECT recsys.forget_user('ef_shop', '');
SELECT recsys.forget_item('ef_shop', '1');
SELECT recsys.forget_user('ef_shop', NULL);
SELECT recsys.forget_user('ef_shop', '1', NULL);
SELECT recsys.forget_user(NULL, '1');
SELECT recsys.forget_item('ef_shop', NULL);
SELECT recsys.forget_item(NULL, '1');

-- events of the user remain; the statement of the hint mends it
SELECT recsys.forget_user('ef_shop', ' 01');
DELETE FROM public.ef_events WHERE user_id = '1';
SELECT recsys.forget_user('ef_shop', '1');
TABLE ef_events ORDER BY user_id;

-- or are deleted, in the same transaction
BEGIN;
SELECT recsys.forget_user('ef_shop', '2', delete_events => true);
TABLE ef_events ORDER BY user_id;
ROLLBACK;
TABLE ef_events ORDER BY user_id;
SELECT recsys.forget_user('ef_shop', '2', delete_events => true);
TABLE ef_events ORDER BY user_id;

-- unless something keeps them
CREATE FUNCTION ef_keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE DELETE ON ef_events FOR EACH ROW EXECUTE FUNCTION ef_keep();
SELECT recsys.forget_user('ef_shop', '3', delete_events => true);
DROP FUNCTION ef_keep CASCADE;

-- an unknown user and items are no error
SELECT recsys.forget_user('ef_shop', '77'), recsys.forget_user('ef_shop', '78', true);
SELECT recsys.forget_item('ef_shop', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11');
SELECT recsys.forget_item('ef_shop', '{b0eebc999c0b4ef8bb6d6bb9bd380a11}');

-- a paused source forgets later
SELECT recsys.pause('ef_shop');
SELECT recsys.forget_user('ef_shop', '3', true);
TABLE ef_events;
SELECT recsys.drop_source('ef_shop');
DROP TABLE ef_events;

-- partitions, and a type whose equality is not obvious
CREATE TABLE ef_events (user_id varchar(5), item_id int) PARTITION BY LIST (user_id);
CREATE INDEX ON ef_events (user_id);
CREATE TABLE ef_events_a PARTITION OF ef_events FOR VALUES IN ('a', 'a ');
CREATE TABLE ef_events_b PARTITION OF ef_events DEFAULT;
ALTER TABLE ef_events_a REPLICA IDENTITY FULL;
ALTER TABLE ef_events_b REPLICA IDENTITY FULL;
INSERT INTO ef_events VALUES ('a', 1), ('a ', 2), ('a', 3), ('b', 4), ('A', 5);
SELECT recsys.create_source('ef_shop', 'ef_events', 'user_id', 'item_id');
SELECT recsys.forget_user('ef_shop', 'a');
SELECT recsys.forget_user('ef_shop', 'a', true);
SELECT quote_literal(user_id), item_id FROM ef_events ORDER BY item_id;
SELECT recsys.forget_user('ef_shop', 'longer than the column', true);
SELECT recsys.drop_source('ef_shop');
DROP TABLE ef_events;
