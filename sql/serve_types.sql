-- Every type of key, as argument and as result.  State is filled in by hand.
SET client_min_messages = warning;
CREATE PROCEDURE try_types(user_type text, item_type text, users text[], items text[], unknown text)
LANGUAGE plpgsql AS $$
DECLARE
	arguments text;
	results text;
	answer text;
BEGIN
	EXECUTE format('CREATE TABLE typed_events (u %s, i %s)', user_type, item_type);
	ALTER TABLE typed_events REPLICA IDENTITY FULL;
	CREATE INDEX ON typed_events (u);
	PERFORM recsys.create_source('typed', 'typed_events', 'u', 'i');
	PERFORM recsys.create_model('typed', 'knn', 'item_knn');
	PERFORM recsys.pause('typed');
	EXECUTE format('INSERT INTO typed.users SELECT o, k::%s FROM unnest($1) WITH ORDINALITY x (k, o)', user_type) USING users;
	EXECUTE format('INSERT INTO typed.items SELECT o, k::%s, 1, 10 - o, 1, 0 FROM unnest($1) WITH ORDINALITY x (k, o)', item_type) USING items;
	INSERT INTO typed.profiles VALUES (1, 0, 0, '{1}', '{2}', '{1}', '{0}');
	INSERT INTO typed.knn_neighbors VALUES (1, '{2}', '{0.5}'), (2, '{1,3}', '{0.5,0.25}');
	UPDATE recsys.model SET state = 'ready';

	SELECT pg_get_function_arguments('typed.recommend'::regproc),
		pg_get_function_result('typed.recommend'::regproc) INTO arguments, results;
	RAISE NOTICE '% -> %', arguments, results;
	-- as drivers send them: text without a type
	EXECUTE format('SELECT array_agg(r::text) FROM typed.recommend(%L, 2) r', users[1]) INTO answer;
	RAISE NOTICE 'recommend %', answer;
	EXECUTE format('INSERT INTO typed_events VALUES (%L, %L)', users[2], items[2]);
	EXECUTE format('SELECT array_agg(r::text) FROM typed.recommend(%L, 2) r', users[2]) INTO answer;
	RAISE NOTICE 'by its event %', answer;
	EXECUTE format('SELECT array_agg(r::text) FROM typed.recommend(%L, 2, items => %L, exclude => %L) r',
		users[1], ARRAY[items[3], items[2], unknown], ARRAY[items[3], unknown, NULL]) INTO answer;
	RAISE NOTICE 'restricted %', answer;
	EXECUTE format('SELECT array_agg(r::text) FROM typed.recommend_session(%L, 1) r', ARRAY[items[2], unknown, NULL]) INTO answer;
	RAISE NOTICE 'session %', answer;
	EXECUTE format('SELECT array_agg(r::text) FROM typed.similar_items(%L) r', items[2]) INTO answer;
	RAISE NOTICE 'similar %', answer;
	EXECUTE format('SELECT typed.predict(%L, %L), array_agg(r::text) FROM typed.explain(%1$L, %2$L) r', users[1], items[2]) INTO answer;
	RAISE NOTICE 'predict %', answer;
	EXECUTE format('SELECT count(*) FROM typed.recommend(%L)', unknown) INTO answer;
	RAISE NOTICE 'unknown user %', answer;
	EXECUTE format('SELECT count(*) FROM typed.similar_items(%L)', unknown) INTO answer;
	RAISE NOTICE 'unknown item %', answer;
	-- joins without casts
	EXECUTE 'SELECT count(*) FROM typed.recommend(NULL) r JOIN typed_events e ON e.i = r.item_id' INTO answer;
	RAISE NOTICE 'joined %', answer;
	SELECT string_agg(format('%s %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
		FROM pg_attribute WHERE attrelid = 'typed.item_similarity'::regclass INTO answer;
	RAISE NOTICE '%', answer;
	PERFORM recsys.drop_source('typed');
	DROP TABLE typed_events;
END $$;
SET client_min_messages = notice;
\set VERBOSITY terse
CALL try_types('smallint', 'bigint', '{1,-2}', '{9223372036854775807,-2,3}', '99999');
CALL try_types('bigint', 'smallint', '{1,-9223372036854775808}', '{32767,-32768,3}', '32768');
CALL try_types('integer', 'integer', '{1,2147483647}', '{-2147483648,2,3}', '2147483648');
CALL try_types('text', 'uuid', '{one,"a \"quoted\" key"}',
	'{00000000-0000-0000-0000-000000000001,ffffffff-ffff-ffff-ffff-ffffffffffff,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}',
	'00000000-0000-0000-0000-000000000000');
CALL try_types('uuid', 'varchar(8)', '{00000000-0000-0000-0000-000000000001,00000000-0000-0000-0000-000000000002}',
	'{"",einszwei,"a, b"}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
CALL try_types('varchar COLLATE "C"', 'text COLLATE "C"', '{A,a}', '{x,y,z}', 'nobody, and longer than any key of the columns');
CALL try_types('text', 'text', '{A,a}', '{x,y,z}', repeat('long', 1000));
DROP PROCEDURE try_types;
