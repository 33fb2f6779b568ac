-- Declaring metrics: what is accepted, what is refused and with which words.
\set VERBOSITY default
SET client_min_messages = warning;

CREATE TABLE md_events (id bigserial PRIMARY KEY, u int, i int, kind text, value float8, price numeric(10,2),
    order_id text, variant text, placement text, junk point, at timestamptz);
CREATE INDEX ON md_events (u, at);
ALTER TABLE md_events REPLICA IDENTITY FULL;
CREATE TABLE md_bare (u int, i int);
CREATE INDEX ON md_bare (u);
CREATE TABLE md_ratings (u int, i int, value int, at timestamptz);
CREATE INDEX ON md_ratings (u, at);

-- tracked in the transaction that creates the source, and rolled back with it
BEGIN;
SELECT recsys.create_source('mdshop', 'md_events', 'u', 'i', 'kind', event_time_column => 'at');
SELECT recsys.track_metrics('mdshop', click => '{click}');
ROLLBACK;
SELECT count(*) FROM recsys.tracked_metrics;

SELECT recsys.create_source('mdshop', 'md_events', 'u', 'i', 'kind', event_time_column => 'at');
SELECT recsys.create_source('mdbare', 'md_bare', 'u', 'i');
SELECT recsys.create_source('mdrate', 'md_ratings', 'u', 'i', event_value_column => 'value',
    event_time_column => 'at', feedback => 'explicit');

-- refused
SELECT recsys.track_metrics('nowhere', click => '{click}');
SELECT recsys.track_metrics(NULL);
SELECT recsys.track_metrics('mdshop');
SELECT recsys.track_metrics('mdshop', click => NULL);
SELECT recsys.track_metrics('mdshop', click => '{click,NULL}');
SELECT recsys.track_metrics('mdbare', click => '{click}');
SELECT recsys.track_metrics('mdrate', click => '{click}');
SELECT recsys.track_metrics('mdshop', click => '{click}', amount_column => 'price');
SELECT recsys.track_metrics('mdshop', conversion => '{buy}', amount_column => 'cost');
SELECT recsys.track_metrics('mdshop', conversion => '{buy}', amount_column => 'variant');
SELECT recsys.track_metrics('mdshop', conversion => '{buy}', order_column => 'orders');
SELECT recsys.track_metrics('mdshop', conversion => '{buy}', dimensions => '{variant,nothing}');
SELECT recsys.track_metrics('mdshop', conversion => '{buy}', dimensions => '{xmin}');
SELECT recsys.track_metrics('mdshop', conversion => '{buy}', dimensions => '{a,b,c,d,e,f,g,h,i}');
SELECT recsys.track_metrics('mdshop', rating_type => 'rating');
SELECT recsys.track_metrics('mdshop', rating_type => 'rating', rating_column => 'kind');
SELECT recsys.track_metrics('mdshop', click => '{click}', rating_column => 'value');
SELECT recsys.track_metrics('mdshop', click => '{click}', bucket => '7 seconds');
SELECT recsys.track_metrics('mdshop', click => '{click}', bucket => '1 month');
SELECT recsys.track_metrics('mdshop', click => '{click}', bucket => '-1 min');
SELECT recsys.track_metrics('mdshop', click => '{click}', bucket => '2 hours', rollup_after => '1 day');
SELECT recsys.track_metrics('mdshop', click => '{click}', rollup_after => '1 day', rollup_bucket => '7 hours');
SELECT recsys.track_metrics('mdshop', click => '{click}', allowed_lateness => '-1 min');
SELECT recsys.track_metrics('mdshop', click => '{click}', rollup_after => '2 days', expire_after => '1 day');
SELECT recsys.track_metrics('mdshop', click => '{click}', max_combinations => 0);
SELECT recsys.track_metrics('mdshop', click => '{click}', satisfied_from => 'NaN');
SELECT recsys.alter_metrics('mdshop', click => '{click}');
SELECT recsys.untrack_metrics('mdshop');
SELECT count(*) FROM recsys.tracked_metrics;

-- accepted
SELECT recsys.track_metrics('mdshop', '{impression}', '{click}', '{buy}', 'price', 'order_id', 'rating', 'value',
    dimensions => '{placement,variant}');
SELECT recsys.track_metrics('mdshop', click => '{click}');
SELECT recsys.track_metrics('mdrate');
SELECT * FROM recsys.tracked_metrics ORDER BY source \gx

-- the version counts changes
SELECT recsys.alter_metrics('mdshop', allowed_lateness => '10 min', rollup_after => '2 days', expire_after => '1 year');
SELECT version FROM recsys.metrics_declaration JOIN recsys.source USING (source_id) WHERE name = 'mdshop';
SELECT recsys.alter_metrics('mdshop', click => '{click,tap}', max_combinations => 20);
SELECT version FROM recsys.metrics_declaration JOIN recsys.source USING (source_id) WHERE name = 'mdshop';
SELECT recsys.alter_metrics('mdshop', click => '{click,tap}', max_combinations => 20);
SELECT version FROM recsys.metrics_declaration JOIN recsys.source USING (source_id) WHERE name = 'mdshop';
SELECT recsys.alter_metrics('mdshop', amount_column => 'variant');
SELECT recsys.alter_metrics('mdshop', rollup_after => '0', expire_after => '0');
SELECT click, allowed_lateness, max_combinations, rollup_after, expire_after FROM recsys.tracked_metrics
WHERE source = 'mdshop';

-- somebody else
CREATE ROLE md_other;
SET ROLE md_other;
SELECT count(*) FROM recsys.tracked_metrics;
SELECT recsys.track_metrics('mdbare', click => '{click}');
SELECT recsys.untrack_metrics('mdshop');
SELECT * FROM recsys.metrics_declaration;
RESET ROLE;
DROP ROLE md_other;

SELECT recsys.untrack_metrics('mdrate');
SELECT to_regclass('mdrate.windows'), to_regclass('mdshop.windows');
SELECT recsys.drop_source('mdshop'), recsys.drop_source('mdbare'), recsys.drop_source('mdrate');
SELECT count(*) FROM recsys.metrics_declaration;
DROP TABLE md_events, md_bare, md_ratings;
