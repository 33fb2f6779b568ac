-- What create_source() says about a table that it accepts.
CREATE TABLE ca_events (user_id int, item_id int, type text, value float8);

-- no index on the user, and a replica identity that covers nothing
SELECT recsys.create_source('ca_shop', 'ca_events', 'user_id', 'item_id', 'type', 'value');
SELECT recsys.drop_source('ca_shop');

-- indexes that do not serve: the user comes second, partial, hash, other operator class
CREATE INDEX ca_second ON ca_events (item_id, user_id);
CREATE INDEX ca_partial ON ca_events (user_id) WHERE item_id > 0;
CREATE INDEX ca_hash ON ca_events USING hash (user_id);
CREATE INDEX ca_expression ON ca_events ((user_id + 0));
ALTER TABLE ca_events REPLICA IDENTITY FULL;
SELECT recsys.create_source('ca_shop', 'ca_events', 'user_id', 'item_id', 'type', 'value');
SELECT recsys.drop_source('ca_shop');

-- one that does
CREATE INDEX ca_good ON ca_events (user_id DESC, item_id) INCLUDE (type);
SELECT recsys.create_source('ca_shop', 'ca_events', 'user_id', 'item_id', 'type', 'value');
SELECT recsys.drop_source('ca_shop');

-- an operator class that is not the default one
CREATE TABLE ca_text (user_id text, item_id text, PRIMARY KEY (item_id, user_id));
CREATE INDEX ON ca_text (user_id text_pattern_ops);
SELECT recsys.create_source('ca_shop', 'ca_text', 'user_id', 'item_id');
CREATE INDEX ON ca_text (user_id);
SELECT recsys.drop_source('ca_shop');
SELECT recsys.create_source('ca_shop', 'ca_text', 'user_id', 'item_id');
SELECT recsys.drop_source('ca_shop');
DROP TABLE ca_text;

-- replica identities: nothing, a key that covers too little, indexes
ALTER TABLE ca_events REPLICA IDENTITY NOTHING;
SELECT recsys.create_source('ca_shop', 'ca_events', 'user_id', 'item_id');
SELECT recsys.drop_source('ca_shop');
ALTER TABLE ca_events REPLICA IDENTITY DEFAULT, ADD PRIMARY KEY (user_id, item_id);
SELECT recsys.create_source('ca_shop', 'ca_events', 'user_id', 'item_id', 'type');
SELECT recsys.drop_source('ca_shop');
SELECT recsys.create_source('ca_shop', 'ca_events', 'user_id', 'item_id');
SELECT recsys.drop_source('ca_shop');
ALTER TABLE ca_events ALTER type SET NOT NULL;
CREATE UNIQUE INDEX ca_identity ON ca_events (type, item_id, user_id);
ALTER TABLE ca_events REPLICA IDENTITY USING INDEX ca_identity;
SELECT recsys.create_source('ca_shop', 'ca_events', 'user_id', 'item_id', 'type');
SELECT recsys.drop_source('ca_shop');

-- partitions: each leaf is looked at
CREATE TABLE ca_parted (user_id int, item_id int, day int) PARTITION BY RANGE (day);
CREATE TABLE ca_parted1 PARTITION OF ca_parted FOR VALUES FROM (1) TO (2);
CREATE TABLE ca_parted2 PARTITION OF ca_parted FOR VALUES FROM (2) TO (4) PARTITION BY RANGE (day);
CREATE TABLE ca_parted2a PARTITION OF ca_parted2 FOR VALUES FROM (2) TO (3);
CREATE TABLE ca_parted2b (day int, extra text, item_id int, user_id int);
ALTER TABLE ca_parted2b DROP COLUMN extra;
ALTER TABLE ca_parted2 ATTACH PARTITION ca_parted2b FOR VALUES FROM (3) TO (4);
ALTER TABLE ca_parted1 REPLICA IDENTITY FULL;
CREATE INDEX ON ca_parted1 (user_id);
CREATE INDEX ON ca_parted2a (user_id);
SELECT recsys.create_source('ca_shop', 'ca_parted', 'user_id', 'item_id');
SELECT recsys.drop_source('ca_shop');
CREATE INDEX ON ca_parted2b (user_id);
ALTER TABLE ca_parted2a REPLICA IDENTITY FULL;
ALTER TABLE ca_parted2b REPLICA IDENTITY FULL;
SELECT recsys.create_source('ca_shop', 'ca_parted', 'user_id', 'item_id');
SELECT recsys.drop_source('ca_shop');
-- an index on the partitioned table
DROP INDEX ca_parted2b_user_id_idx;
CREATE INDEX ON ca_parted (user_id);
SELECT recsys.create_source('ca_shop', 'ca_parted', 'user_id', 'item_id');
SELECT recsys.drop_source('ca_shop');
-- a leaf may be a source of its own
SELECT recsys.create_source('ca_shop', 'ca_parted2b', 'user_id', 'item_id');
SELECT recsys.drop_source('ca_shop');
-- no partitions yet
CREATE TABLE ca_empty (user_id int, item_id int) PARTITION BY HASH (user_id);
SELECT recsys.create_source('ca_shop', 'ca_empty', 'user_id', 'item_id');
SELECT recsys.drop_source('ca_shop');
-- many partitions make one notice
SELECT format('CREATE TABLE ca_empty%s PARTITION OF ca_empty FOR VALUES WITH (MODULUS 8, REMAINDER %s)', r, r)
FROM generate_series(0, 7) r \gexec
CREATE INDEX ON ca_empty (user_id);
SELECT recsys.create_source('ca_shop', 'ca_empty', 'user_id', 'item_id');
SELECT recsys.drop_source('ca_shop');

DROP TABLE ca_events, ca_parted, ca_empty;
