-- Models: created, changed and dropped; the default one.
CREATE TABLE cm_events (user_id int, item_id int, PRIMARY KEY (user_id, item_id));
SELECT recsys.create_source('cm_shop', 'cm_events', 'user_id', 'item_id');
SELECT recsys.create_source('cm_other', 'cm_events', 'user_id', 'item_id');

-- the first one is the default; parameters are completed
SELECT recsys.create_model('cm_shop', 'first', 'item_knn');
SELECT recsys.create_model('cm_shop', 'second', 'item_knn', '{"k": 20, "shrinkage": 2.5}');
SELECT recsys.create_model(source => 'cm_shop', model => 'third', algorithm => 'popular', params => '{}');
SELECT recsys.create_model('cm_other', 'first', 'popular');
SELECT source, model, algorithm, is_default FROM recsys.models
WHERE source LIKE 'cm\_%' ORDER BY source, model;
SELECT model, params->'k' AS k, params->'shrinkage' AS shrinkage, params->'min_support' AS min_support
FROM recsys.models WHERE source = 'cm_shop' ORDER BY model;
SELECT bool_and(state IN ('building', 'ready')) AS known_states FROM recsys.models WHERE source LIKE 'cm\_%';

-- a new model is building, as long as its transaction lasts at least
BEGIN;
SELECT recsys.create_model('cm_shop', 'fourth', 'item_knn');
SELECT model, state FROM recsys.models WHERE model = 'fourth';
ROLLBACK;
SELECT to_regclass('cm_shop.fourth_neighbors');

-- its tables belong to the source, and are in the view of similarities
SELECT relname FROM pg_class
WHERE relnamespace = 'cm_shop'::regnamespace AND relkind = 'r' AND relname LIKE '%neighbors' ORDER BY 1;

-- alter_model() changes what is given, and counts versions
CREATE VIEW cm_versions AS
	SELECT m.name, m.version, m.params FROM recsys.model m JOIN recsys.source s USING (source_id)
	WHERE s.name = 'cm_shop';
SELECT recsys.alter_model('cm_shop', 'second', '{"min_support": 3}');
SELECT recsys.alter_model('cm_shop', 'second', '{}');
SELECT recsys.alter_model('cm_shop', 'second', '{"min_support": 3.0, "k": 20}');
SELECT recsys.alter_model('cm_shop', 'second', '{"k": 30}');
SELECT name, version, params->'k' AS k, params->'shrinkage' AS shrinkage, params->'min_support' AS min_support
FROM cm_versions ORDER BY name;

-- the default one
SELECT recsys.set_default_model('cm_shop', 'third');
SELECT recsys.set_default_model('cm_shop', 'third');
SELECT model, is_default FROM recsys.models WHERE source = 'cm_shop' ORDER BY model;
-- its place is taken by the oldest
SELECT recsys.drop_model('cm_shop', 'third');
SELECT model, is_default FROM recsys.models WHERE source = 'cm_shop' ORDER BY model;
SELECT recsys.create_model('cm_shop', 'third', 'item_knn');
SELECT recsys.drop_model('cm_shop', 'second');
SELECT model, is_default FROM recsys.models WHERE source = 'cm_shop' ORDER BY model;
SELECT recsys.drop_model('cm_shop', 'first'), recsys.drop_model('cm_shop', 'third');
SELECT model FROM recsys.models WHERE source = 'cm_shop';
SELECT relname FROM pg_class
WHERE relnamespace = 'cm_shop'::regnamespace AND relkind = 'r' AND relname LIKE '%neighbors' ORDER BY 1;
SELECT recsys.create_model('cm_shop', 'again', 'popular');
SELECT model, is_default FROM recsys.models WHERE source LIKE 'cm\_%' ORDER BY source, model;

-- everything in one transaction
BEGIN;
SELECT recsys.drop_model('cm_shop', 'again'), recsys.create_model('cm_shop', 'again', 'item_knn'),
	recsys.alter_model('cm_shop', 'again', '{"k": 5}'), recsys.create_model('cm_shop', 'more', 'item_knn'),
	recsys.set_default_model('cm_shop', 'more');
COMMIT;
SELECT model, algorithm, params->'k' AS k, is_default FROM recsys.models WHERE source = 'cm_shop' ORDER BY model;

-- the longest names
SELECT recsys.create_source(repeat('s', 40)::name, 'cm_events', 'user_id', 'item_id');
SELECT recsys.create_model(repeat('s', 40)::name, repeat('m', 40)::name, 'item_knn');
SELECT relname FROM pg_class WHERE relname ~ '^m+_neighbors$' AND relkind = 'r';
SELECT recsys.drop_source(repeat('s', 40)::name);

SELECT recsys.drop_source('cm_shop'), recsys.drop_source('cm_other');
SELECT count(*) FROM recsys.model m WHERE NOT EXISTS (SELECT FROM recsys.source s WHERE s.source_id = m.source_id);
DROP VIEW cm_versions;
DROP TABLE cm_events;
