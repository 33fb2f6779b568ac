-- The surface of schema recsys.

-- every function, table, view and column of a view has a comment
SELECT p.oid::regprocedure AS without_comment
FROM pg_proc p WHERE p.pronamespace = 'recsys'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass AS without_comment
FROM pg_class c
WHERE c.relnamespace = 'recsys'::regnamespace AND c.relkind IN ('r', 'v')
	AND obj_description(c.oid, 'pg_class') IS NULL;
SELECT c.oid::regclass, a.attname AS without_comment
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'recsys'::regnamespace AND c.relkind = 'v'
	AND col_description(c.oid, a.attnum) IS NULL;

-- no function is overloaded
SELECT proname FROM pg_proc WHERE pronamespace = 'recsys'::regnamespace GROUP BY 1 HAVING count(*) > 1;

-- tables are closed, views are open
SELECT c.relname, c.relkind, has_table_privilege('public', c.oid, 'SELECT') AS public_reads,
	has_table_privilege('public', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS public_writes
FROM pg_class c
WHERE c.relnamespace = 'recsys'::regnamespace AND c.relname IN
	('source', 'model', 'rejected_event', 'rejection', 'sources', 'models', 'rejected_events', 'rejections')
ORDER BY 2, 1;

-- declarations are part of a dump
SELECT unnest(extconfig)::regclass::text AS dumped FROM pg_extension WHERE extname = 'recsys' ORDER BY 1;

-- the arguments that are fixed
SELECT proname, pg_get_function_arguments(oid) FROM pg_proc
WHERE pronamespace = 'recsys'::regnamespace AND proname IN
	('create_source', 'alter_source', 'drop_source', 'pause', 'resume', 'resync',
	 'forget_user', 'forget_item', 'create_model', 'alter_model', 'drop_model', 'set_default_model')
ORDER BY proname;
