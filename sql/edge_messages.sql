-- Messages that others write into the WAL under our prefix change nothing.
SET client_min_messages = warning;
CREATE TABLE em_events (u int, i int);
CREATE INDEX ON em_events (u);
ALTER TABLE em_events REPLICA IDENTITY FULL;
INSERT INTO em_events SELECT g % 10, g % 7 FROM generate_series(1, 100) g;
SELECT recsys.create_source('em', 'em_events', 'u', 'i');
SELECT recsys.wait_for('em');
-- four bytes as the machine stores them, little end first
CREATE FUNCTION em_int4(bigint) RETURNS bytea LANGUAGE sql RETURN
	substr(int8send($1), 8, 1) || substr(int8send($1), 7, 1) ||
	substr(int8send($1), 6, 1) || substr(int8send($1), 5, 1);
CREATE FUNCTION em_header(kind text) RETURNS bytea LANGUAGE sql RETURN
	em_int4((SELECT oid::bigint FROM pg_database WHERE datname = current_database())) ||
	em_int4((SELECT source_id FROM recsys.source WHERE name = 'em')) ||
	em_int4(ascii(kind)) || em_int4(1);
SELECT count(*) FROM pg_logical_emit_message(true, 'recsys', em_header('u') || '7'::bytea);
SELECT count(*) FROM pg_logical_emit_message(true, 'recsys', em_header('u') || decode(repeat('00', 16), 'hex') || '7'::bytea);
SELECT count(*) FROM pg_logical_emit_message(true, 'recsys', em_header('i') || decode(repeat('00', 16), 'hex') || '3'::bytea);
SELECT count(*) FROM pg_logical_emit_message(true, 'recsys',
	em_header('a') || decode(repeat('00', 16), 'hex') || em_int4('pg_class'::regclass::oid::bigint));
SELECT count(*) FROM pg_logical_emit_message(true, 'recsys', '');
SELECT recsys.wait_for('em');
SELECT count(*) FROM em.interactions;
SELECT state, failures FROM recsys.status WHERE source = 'em';
-- ours do
SELECT recsys.forget_user('em', '7', delete_events => true);
SELECT recsys.wait_for('em');
SELECT count(*) FROM em.interactions;
SELECT recsys.drop_source('em');
DROP TABLE em_events;
DROP FUNCTION em_header, em_int4;
