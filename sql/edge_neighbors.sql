-- Odd and bad input of the models that go by neighbours, and of similarities of anyone's
-- arrays: a documented answer, or an error that names what is wrong.
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE FUNCTION pg_temp.attempt(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; state text; result text;
BEGIN
	EXECUTE 'SELECT coalesce(string_agg(x::text, '' ''), ''no rows'') FROM (' || command || ') x' INTO result;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
	RETURN state || ' ' || message || CASE detail WHEN '' THEN '' ELSE E'\n  DETAIL ' || detail END ||
		CASE hint WHEN '' THEN '' ELSE E'\n  HINT ' || hint END;
END $$;
CREATE TABLE en_events (u int, i text, s text, at timestamptz);
CREATE INDEX ON en_events (u, at);
ALTER TABLE en_events REPLICA IDENTITY FULL;
INSERT INTO en_events SELECT u, 'item ' || (u * 7 + n * n) % 12, 'session ' || u, now() - interval '2 days' + (u * 10 + n) * interval '1 minute'
	FROM generate_series(1, 40) u, generate_series(1, 4) n;
SELECT recsys.create_source('en', 'en_events', 'u', 'i', event_time_column => 'at', session_column => 's');
SELECT recsys.create_model('en', 'knn', 'item_knn');
SELECT recsys.create_model('en', similarity, 'item_knn', format('{"similarity": "%s"}', similarity)::jsonb)
	FROM unnest('{jaccard,llr,lift,conditional}'::text[]) similarity;
SELECT recsys.create_model('en', 'people', 'user_knn');
SELECT recsys.create_model('en', 'next', 'sequence_knn');
SELECT recsys.create_model('en', 'visits', 'session_knn');
SELECT recsys.create_model('en', 'trend', 'trending');
SELECT recsys.create_model('en', 'top', 'popular');
SELECT recsys.create_model('en', 'bought', 'baskets', '{"basket_column": "s"}');
SELECT recsys.wait_for('en', timeout => '3 min');
CREATE VIEW en_models AS SELECT model::name AS m FROM recsys.models WHERE source = 'en' ORDER BY 1;
\pset format unaligned
\pset tuples_only on

-- one line for all models that answer alike
CREATE FUNCTION pg_temp.every(command text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT string_agg(m, ', ' ORDER BY m) || ': ' || answer FROM (
		SELECT m, pg_temp.attempt(replace(command, 'MODEL', quote_literal(m))) AS answer FROM en_models) a
	GROUP BY answer ORDER BY 1
$$;

-- sessions: empty, of nothing known, with NULLs, many times the same, in two dimensions
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend_session('{}', 5, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend_session(NULL, 5, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend_session('{no such,nor this}', 5, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend_session('{NULL,NULL}', 5, MODEL) $$);
SELECT pg_temp.every($$ SELECT (SELECT array_agg(r) FROM en.recommend_session('{item 1,item 2}', 5, MODEL) r) =
	(SELECT array_agg(r) FROM en.recommend_session('{no such,NULL,item 1,nor this,item 2}', 5, MODEL) r) AS unknown_ignored $$);
SELECT pg_temp.every($$ SELECT (SELECT array_agg(item_id ORDER BY item_id) FROM en.recommend_session('{{item 1},{item 2}}', 3, MODEL) r) =
	(SELECT array_agg(item_id ORDER BY item_id) FROM en.recommend_session('{item 1,item 2}', 3, MODEL) r) AS dimensions_ignored $$);
SELECT pg_temp.every($$ SELECT count(*), count(*) FILTER (WHERE item_id = 'item 1') AS itself FROM en.recommend_session(array_fill('item 1'::text, '{10000}'), 5, MODEL) $$);

-- k
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend_session('{item 1}', 0, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend_session('{item 1}', -1, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend_session('{item 1}', NULL, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend_session('{item 1}', 2147483647, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(1, 0, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(1, -2147483648, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(1, 2147483647, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(1, NULL, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.similar_items('item 1', 0, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.similar_items('item 1', -1, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) > 0 FROM en.similar_items('item 1', 2147483647, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.similar_users(1, 0, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.similar_users(1, -1, MODEL) $$);
SELECT pg_temp.attempt($$ SELECT count(*) > 0 FROM en.similar_users(1, 2147483647, 'people') $$);
SELECT pg_temp.attempt($$ SELECT count(*) > 0 FROM en.similar_users(1, 3, 'llr') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.trending(3, 'llr') $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.explain(1, 'item 1', 0, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.explain(1, 'item 1', -1, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) <= 4 FROM en.explain(1, 'item 1', 2147483647, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.trending(0, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.trending(-1, MODEL) $$);
SELECT pg_temp.attempt($$ SELECT count(*) >= 0 FROM en.trending(2147483647, 'trend') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.popular(0) $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.popular(-1) $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.popular(2147483647) $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.popular(NULL) $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.popular(3, '-1 day') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.popular(3, '0') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.popular(3, '10000 years') $$);

-- users and items that are not there, and NULL
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(9223372036854775807, 3, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(NULL, 3, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.similar_items('no such', 3, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.similar_items(NULL, 3, MODEL) $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.similar_users(-1, 3, 'people') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.similar_users(NULL, 3, 'people') $$);
SELECT pg_temp.every($$ SELECT en.predict(1, 'no such', MODEL) $$);
SELECT pg_temp.every($$ SELECT en.predict(9223372036854775807, 'item 1', MODEL) IS NULL $$);
SELECT pg_temp.every($$ SELECT en.predict(NULL, NULL, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.explain(1, 'no such', 3, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.explain(-1, 'item 1', 3, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.explain(NULL, NULL, NULL, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(1, 3, MODEL, items => '{}') $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(1, 3, MODEL, items => '{no such,NULL}') $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(1, 3, MODEL, exclude => '{no such,NULL}') $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(1, 3, MODEL, NULL, NULL, NULL) $$);
SELECT pg_temp.every($$ SELECT count(*), count(DISTINCT from_model) FROM en.recommend_explained(NULL, 3, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend_explained(1, 0, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*), min(reason) FROM en.recommend_session_explained('{}', 3, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) FROM en.explain_neighbors(NULL, NULL, MODEL) $$);
SELECT pg_temp.every($$ SELECT count(*) <= 1 FROM en.explain_neighbors(-1, 'no such', MODEL) $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.explain_users(-1, 'no such', 3, 'people') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.explain_users(1, 'item 1', 0, 'people') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.explain_users(NULL, NULL, NULL, 'people') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.explain_users(1, 'item 1', 3, 'llr') $$);
SELECT a, k, pg_temp.attempt(format('SELECT count(*) FROM en.frequently_bought_together(%L, %s, ''bought'')', a, coalesce(k::text, 'NULL')))
	FROM (VALUES ('{}', 3), (NULL, 3), ('{no such}', 3), ('{NULL}', 3), ('{item 1}', 0), ('{item 1}', -1), ('{no such}', NULL), ('{no such}', 2147483647)) v (a, k);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.frequently_bought_together('{item 1}', 3, 'llr') $$);
SELECT pg_temp.attempt($$ SELECT en.recommend(1, 3, 'nnk') $$);
SELECT pg_temp.attempt($$ SELECT en.recommend_session('{item 1}', 3, '') $$);

-- parameters: words, ends of ranges, what is no number
SELECT pg_temp.attempt(format('SELECT recsys.create_model(''en'', ''m'', %L, %L)', algorithm, params)) FROM (VALUES
	('item_knn', '{"similarity": "cosin"}'), ('item_knn', '{"similarity": "Jaccard"}'), ('item_knn', '{"similarity": 1}'),
	('item_knn', '{"similarity": null}'), ('item_knn', '{"similarity": ["llr"]}'), ('item_knn', '{"similarity": ""}'),
	('item_knn', '{"shrinkage": "NaN"}'), ('item_knn', '{"shrinkage": -0.001}'), ('item_knn', '{"shrinkage": 1e10}'),
	('item_knn', '{"min_support": 0}'), ('item_knn', '{"k": 1001}'), ('item_knn', '{"normalize": "yes"}'), ('item_knn', '{"damping": -1}'),
	('user_knn', '{"neighbors": 0}'), ('user_knn', '{"neighbors": 10001}'), ('user_knn', '{"min_common": 0}'),
	('user_knn', '{"audience_limit": 0}'), ('user_knn', '{"audience_limit": 1e12}'), ('user_knn', '{"idf": -1}'), ('user_knn', '{"similarity": "llr"}'),
	('sequence_knn', '{"gap": 0}'), ('sequence_knn', '{"gap": 11}'), ('sequence_knn', '{"decay": 1.1}'), ('sequence_knn', '{"k": 0}'),
	('session_knn', '{"session_column": "no_such"}'), ('session_knn', '{"session_gap": "-1 hour"}'), ('session_knn', '{"session_gap": "soon"}'),
	('session_knn', '{"session_gap": 30}'), ('session_knn', '{"sample": 0}'), ('session_knn', '{"neighbors": 0}'),
	('session_knn', '{"last_items": 0}'), ('session_knn', '{"last_items": 100000}'), ('session_knn', '{"match_decay": 2}'),
	('session_knn', '{"position_decay": "nowhere"}'), ('session_knn', '{"idf": "high"}'), ('session_knn', '{"min_length": 0}'),
	('session_knn', '{"repeats": true}'), ('session_knn', '{"event_types": "view"}'),
	('baskets', '{"basket_column": "no_such"}'), ('baskets', '{"basket_gap": "0"}'), ('baskets', '{"min_support": 0}'), ('baskets', '{"z": "NaN"}'),
	('trending', '{"window": "0"}'), ('trending', '{"window": "-1 day"}'), ('trending', '{"window": "often"}'),
	('trending', '{"baseline": "1000 years"}'), ('trending', '{"window": "7 days", "baseline": "1 day"}'), ('trending', '{"z": -1}'),
	('trending', '{"prior": 0}'), ('popular', '{"window": "0"}')) v (algorithm, params);
SELECT pg_temp.attempt($$ SELECT recsys.alter_model('en', 'llr', '{"similarity": "lr"}') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM recsys.evaluate('en', 'llr', params => '{"similarity": "lr"}') $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM recsys.evaluate('en', 'llr', 0) $$);

-- the ends of ranges that are right
SELECT pg_temp.attempt(format('SELECT recsys.alter_model(''en'', %L, ''{"k": 1000, "shrinkage": 1e9, "min_support": 1}'')', m)) FROM en_models
	WHERE m IN ('llr', 'lift', 'jaccard', 'conditional');
SELECT recsys.wait_for('en');
SELECT model, count(*), bool_and(score > 0 AND score < 1e-3) AS tiny FROM en.item_similarity WHERE model IN ('llr', 'lift', 'jaccard', 'conditional') GROUP BY 1 ORDER BY 1;
SELECT pg_temp.every($$ SELECT count(*), bool_and(score >= 0 AND score < 'infinity') FROM en.recommend(1, 20, MODEL) $$);
SELECT pg_temp.attempt(format('SELECT recsys.alter_model(''en'', %L, ''{"min_support": 1000000000}'')', m)) FROM en_models WHERE m IN ('llr', 'lift');
SELECT recsys.wait_for('en');
SELECT count(*) FROM en.item_similarity WHERE model IN ('llr', 'lift');
SELECT pg_temp.every($$ SELECT count(*) FROM en.recommend(1, 20, MODEL) $$);
DROP VIEW en_models;
SELECT recsys.drop_source('en');

-- ratings of 0: vectors of nothing.  Users 1 and 2 gave nothing else, nor did item z get anything else
CREATE TABLE en_ratings (u int, i text, r float8);
CREATE INDEX ON en_ratings (u);
ALTER TABLE en_ratings REPLICA IDENTITY FULL;
INSERT INTO en_ratings VALUES (1, 'x', 0), (1, 'z', 0), (2, 'x', 0), (2, 'z', 0), (3, 'x', 4), (3, 'y', 5), (3, 'z', 0), (4, 'x', -3), (4, 'y', -2),
	(5, 'x', 'NaN'), (5, 'y', 'infinity'), (5, 'w', '-infinity'), (NULL, 'x', 1), (5, NULL, 1);
SELECT recsys.create_source('en', 'en_ratings', 'u', 'i', event_value_column => 'r', feedback => 'explicit');
SELECT recsys.create_model('en', 'knn', 'item_knn');
SELECT recsys.create_model('en', similarity, 'item_knn', format('{"similarity": "%s"}', similarity)::jsonb)
	FROM unnest('{jaccard,llr,lift,conditional}'::text[]) similarity;
SELECT recsys.create_model('en', 'people', 'user_knn');
SELECT recsys.wait_for('en');
CREATE VIEW en_models AS SELECT model::name AS m FROM recsys.models WHERE source = 'en' ORDER BY 1;
SELECT reason, events FROM recsys.rejections WHERE source = 'en' ORDER BY 1;
SELECT model, item_id, similar_item_id, round(score::numeric, 4) FROM en.item_similarity ORDER BY 1, 2, 3;
SELECT pg_temp.every($$ SELECT count(*), bool_and(score > '-infinity' AND score < 'infinity') FROM en.recommend(1, 9, MODEL) $$);
SELECT pg_temp.every($$ SELECT en.predict(1, 'y', MODEL) $$);
SELECT pg_temp.every($$ SELECT en.predict(4, 'z', MODEL) $$);
SELECT pg_temp.attempt($$ SELECT count(*) FROM en.similar_users(1, 9, 'people') $$);
SELECT pg_temp.attempt($$ SELECT user_id, round(score::numeric, 4) FROM en.similar_users(3, 9, 'people') $$);
SELECT recsys.drop_source('en');
DROP TABLE en_events, en_ratings;

-- anyone's arrays: of different length, empty, of nothing, what is no number
SELECT pg_temp.attempt(format('SELECT recsys.cosine_similarity(%L, %1$L), recsys.cosine_similarity(%1$L, %2$L), recsys.pearson(%1$L, %2$L)', a, b)) FROM (VALUES
	('{1,2}', '{1,2,3}'), ('{}', '{}'), ('{}', '{1}'), ('{0,0}', '{1,2}'), ('{NULL,NULL}', '{1,2}'), ('{1,NULL}', '{NULL,1}'), (NULL, '{1}'),
	('{NaN,1}', '{1,2}'), ('{1,2}', '{infinity,1}'), ('{3e38,3e38}', '{3e38,-3e38}'), ('{1e-45,1e-45}', '{1e-45,0}'), ('{{1,2},{3,4}}', '{1,2,3,4}'),
	('[5:6]={1,2}', '{1,2}'), ('{1}', '{2}'), ('{2,2,2}', '{1,2,3}')) v (a, b);
SELECT pg_temp.attempt(format('SELECT recsys.jaccard(%L::%s, %L::%2$s)', a, t, b)) FROM (VALUES
	('{}', 'int[]', '{}'), ('{}', 'int[]', '{1}'), ('{NULL}', 'int[]', '{NULL}'), ('{1,1,1,NULL}', 'int[]', '{1,2}'), (NULL, 'int[]', '{1}'),
	('{NaN}', 'float8[]', '{NaN}'), ('{0}', 'float8[]', '{-0}'), ('{{1,2}}', 'int[]', '{1,2}'), ('{"(1,2)"}', 'point[]', '{"(1,2)"}')) v (a, t, b);
SELECT pg_temp.attempt($$ SELECT recsys.jaccard('{1}'::int[], '{a}'::text[]) $$);

-- aggregates over rows of that kind, and over none
CREATE TEMP TABLE en_rows (g int, a real, b real);
INSERT INTO en_rows VALUES (1, 0, 0), (1, 0, 1), (2, NULL, 1), (2, 1, NULL), (3, 'NaN', 1), (3, 1, 1), (4, 'infinity', 1), (4, 1, 1), (5, 7, 9), (6, 1, 1), (6, 1, 2);
SELECT g, pg_temp.attempt(format('SELECT recsys.cosine_agg(a, b) FROM en_rows WHERE g = %s', g)),
	pg_temp.attempt(format('SELECT recsys.pearson_agg(a, b) FROM en_rows WHERE g = %s', g)) FROM generate_series(0, 6) g;
-- in a window that moves, what left leaves nothing behind
SELECT g, round(recsys.cosine_agg(a, b) OVER (ORDER BY ctid ROWS 1 PRECEDING)::numeric, 4) FROM en_rows WHERE g NOT IN (3, 4);
SELECT pg_temp.attempt('SELECT recsys.item_cosine(u, i, v) FROM (VALUES ' || v || ') r (u, i, v)') FROM (VALUES
	('(1, 1, 1.0), (1, 2, ''NaN'')'), ('(1, 1, 1.0), (1, 2, ''infinity'')'), ('(1, 1, NULL::float8), (1, 2, 1.0)'), ('(NULL::int, 1, 1.0), (1, 2, 1.0)'),
	('(1, NULL::int, 1.0), (1, 2, 1.0)'), ('(1, 1, 0.0), (1, 2, 0.0)'), ('(1, 1, 1e300), (1, 2, 1e300)'), ('(1, 1, 1e-200), (1, 2, 1e-200)'),
	('(1, 1, -1.0), (1, 2, 1.0)')) x (v);
SELECT pg_temp.attempt('SELECT recsys.item_cosine(1, 1, 1) FROM generate_series(1, 0)');
SELECT pg_temp.attempt(format('SELECT recsys.item_cosine_top(u, i, 1, %s) FROM (VALUES (1, 1), (1, 2)) r (u, i)', k)) FROM (VALUES ('0'), ('-1'), ('NULL'), ('2147483647'), ('u')) x (k);
