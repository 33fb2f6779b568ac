-- Bad calls of the functions on models.
CREATE FUNCTION pg_temp.attempt(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; state text;
BEGIN
	EXECUTE command;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
	RETURN state || ' ' || message || E'\n' ||
		CASE detail WHEN '' THEN '' ELSE '  DETAIL ' || detail || E'\n' END ||
		CASE hint WHEN '' THEN '' ELSE '  HINT ' || hint || E'\n' END;
END $$;
\pset format unaligned
\pset tuples_only on

CREATE TABLE em_events (user_id int, item_id int, PRIMARY KEY (user_id, item_id));
SELECT recsys.create_source('em_shop', 'em_events', 'user_id', 'item_id');
SELECT recsys.create_model('em_shop', 'knn', 'item_knn');

-- names
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', '', 'item_knn') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', repeat('m', 41)::name, 'item_knn') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'knn', 'popular') $$);
CREATE TABLE em_shop.mine_neighbors (a int);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'mine', 'item_knn') $$);

-- nulls
SELECT pg_temp.attempt($$ SELECT recsys.create_model(NULL, 'm', 'item_knn') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', NULL, 'item_knn') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', NULL) $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', NULL) $$);
SELECT pg_temp.attempt($$ SELECT recsys.alter_model('em_shop', NULL, '{}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.alter_model('em_shop', 'knn', NULL) $$);
SELECT pg_temp.attempt($$ SELECT recsys.drop_model('em_shop', NULL) $$);
SELECT pg_temp.attempt($$ SELECT recsys.set_default_model('em_shop', NULL) $$);

-- unknown things
SELECT regexp_replace(pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_nkk') $$), 'of: .*', 'of: ...');
SELECT pg_temp.attempt($$ SELECT recsys.alter_model('em_shop', 'nkk', '{}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.drop_model('em_shop', 'nkk') $$);
SELECT pg_temp.attempt($$ SELECT recsys.set_default_model('em_shop', 'nkk') $$);
SELECT pg_temp.attempt($$ SELECT recsys.set_default_model('em_none', 'knn') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '{"kk": 1}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'popular', '{"k": 1}') $$);

-- parameters
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '{"k": 0}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '{"k": 1e30}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '{"k": 1.5}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '{"k": "10"}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '{"k": true}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '{"k": null}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '{"k": [1, {"a": 2}]}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '{"shrinkage": -1}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '[1]') $$);
SELECT pg_temp.attempt($$ SELECT recsys.create_model('em_shop', 'm', 'item_knn', '7') $$);
SELECT pg_temp.attempt($$ SELECT recsys.alter_model('em_shop', 'knn', '{"k": -3}') $$);
SELECT pg_temp.attempt($$ SELECT recsys.alter_model('em_shop', 'knn', '{"k": 3, "what": 1}') $$);

-- nothing is left of all that
SELECT model, params->'k' = (SELECT params->'k' FROM recsys.models WHERE source = 'em_shop') AS unchanged, is_default
FROM recsys.models WHERE source = 'em_shop';
SELECT relname FROM pg_class WHERE relnamespace = 'em_shop'::regnamespace AND relkind = 'r' AND relname ~ 'neighbors' ORDER BY 1;
SELECT recsys.drop_source('em_shop');
DROP TABLE em_events;
