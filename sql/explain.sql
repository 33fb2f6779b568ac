-- On whose word items are recommended, with all models, against plain SQL; and
-- items like one by their users, as user_knn has it.
CREATE TABLE explain_events (who int, what int, session int, at timestamptz);
CREATE INDEX ON explain_events (who);
ALTER TABLE explain_events REPLICA IDENTITY FULL;
-- 40 users with up to 12 of 30 items; an item may come twice
INSERT INTO explain_events SELECT u, 1 + (u * 7 + g * g * 3 + g * u) % 30, u * 10 + g / 4, now() - (g * 40 + u) * interval '1 minute'
	FROM generate_series(1, 40) u, generate_series(1, 12) g WHERE g < 6 OR u % 3 > 0;
SET client_min_messages = warning;
SELECT recsys.create_source('ex', 'explain_events', 'who', 'what', event_time_column => 'at', session_column => 'session');
SELECT recsys.create_model('ex', 'near', 'item_knn');
SELECT recsys.create_model('ex', 'people', 'user_knn', '{"neighbors": 7, "idf": 0, "audience_limit": 1000}');
SELECT recsys.create_model('ex', 'visits', 'session_knn');
SELECT recsys.create_model('ex', 'follow', 'sequence_knn');
SELECT recsys.create_model('ex', 'hot', 'trending');
SELECT recsys.create_model('ex', 'hits', 'popular');
SELECT recsys.wait_for('ex');
CREATE VIEW explain_r AS SELECT who AS u, what AS i, count(*)::float8 AS r FROM explain_events GROUP BY 1, 2;
CREATE VIEW explain_sims AS SELECT a.u, b.u AS v, sum(a.r * b.r) / (na.n * nb.n) AS sim, u.id
	FROM explain_r a JOIN explain_r b USING (i) JOIN ex.users u ON u.key = b.u
	JOIN (SELECT u, sqrt(sum(r * r)) AS n FROM explain_r GROUP BY u) na ON na.u = a.u
	JOIN (SELECT u, sqrt(sum(r * r)) AS n FROM explain_r GROUP BY u) nb ON nb.u = b.u
	WHERE a.u <> b.u GROUP BY a.u, b.u, u.id, na.n, nb.n;

-- user_knn: the seven nearest, those that hold the item, and what they add up to
SELECT count(*) AS explained, count(*) FILTER (WHERE e.neighbors <> 7) AS not_seven,
	count(*) FILTER (WHERE e.holding <> n.holding) AS bad_holding,
	count(*) FILTER (WHERE abs(e.score - n.score) > 1e-5 OR abs(e.score - r.score) > 1e-5) AS bad_score,
	count(*) FILTER (WHERE e.own_items <> n.own) AS bad_own,
	count(*) FILTER (WHERE e.neighbors_are <> 'users' OR e.item_id <> r.item_id) AS bad
FROM generate_series(1, 40) u, LATERAL (SELECT * FROM ex.recommend(u, 5, 'people') WHERE score > 0) r,
	LATERAL ex.explain_neighbors(u, r.item_id, 'people') e,
	LATERAL (SELECT count(*) AS holding, sum(sim * h.r) AS score, (SELECT count(DISTINCT i)
			FROM explain_r mine, unnest(array_agg(v)) v WHERE mine.u = u.u
			AND EXISTS (SELECT FROM explain_r o WHERE o.u = v AND o.i = mine.i)) AS own
		FROM (SELECT v, sim FROM explain_sims s WHERE s.u = u.u ORDER BY sim::real DESC, id LIMIT 7) s
		JOIN explain_r h ON h.u = v AND h.i = r.item_id) n;
-- by name, if asked
SELECT count(*) AS named, count(*) FILTER (WHERE abs(e.contribution - s.sim * h.r) > 1e-5 OR h.r IS NULL) AS bad
FROM ex.recommend(11, 3, 'people') r CROSS JOIN LATERAL ex.explain_users(11, r.item_id, 100, 'people') e
	LEFT JOIN explain_sims s ON s.u = 11 AND s.v = e.user_id LEFT JOIN explain_r h ON h.u = e.user_id AND h.i = r.item_id;
SELECT count(*) AS differ FROM ex.recommend(11, 3, 'people') r, LATERAL ex.explain_neighbors(11, r.item_id, 'people') e
	WHERE (e.holding, round(e.score::numeric, 4)) <> (SELECT count(*), round(sum(contribution)::numeric, 4) FROM ex.explain_users(11, r.item_id, 100, 'people'));
SELECT count(*) AS two FROM ex.explain_users(11, (SELECT item_id FROM ex.recommend(11, 1, 'people')), 2, 'people');

-- what the others ask
SELECT DISTINCT model, neighbors_are, neighbors IS NULL AS nobody, neighbors >= holding AS some_of_them,
	(SELECT count(*) FROM ex.explain(11, r.item_id, 100, model)) = own_items AS own_items_explained,
	abs(e.score - r.score) < 1e-4 * r.score AS score_of_recommend
FROM (VALUES ('near'::name), ('people'), ('visits'), ('follow')) m (model), LATERAL (SELECT * FROM ex.recommend(11, 3, model) WHERE score > 0) r,
	LATERAL ex.explain_neighbors(11, r.item_id, model) e ORDER BY 1;
SELECT count(*) FILTER (WHERE holding <> own_items OR neighbors <> (SELECT count(*) FROM explain_r WHERE u = 11)) AS bad
	FROM ex.recommend(11, 5, 'near') r, LATERAL ex.explain_neighbors(11, r.item_id, 'near') e;
SELECT neighbors_are, neighbors, holding, own_items, score < 1 AS no_trend FROM ex.explain_neighbors(11, 1, 'hot');
SELECT neighbors_are, neighbors, holding, own_items, score = (SELECT sum(r) FROM explain_r WHERE i = 1) AS popularity
	FROM ex.explain_neighbors(11, 1, 'hits');

-- nobody, nothing, another algorithm
SELECT * FROM ex.explain_neighbors(999, 1, 'people');
SELECT * FROM ex.explain_neighbors(11, 999, 'people');
SELECT * FROM ex.explain_neighbors(NULL, NULL);
SELECT * FROM ex.explain_users(999, 1, 5, 'people');
SELECT * FROM ex.explain_users(11, 1, 5, 'visits');
SELECT * FROM ex.explain_users(11, 1, 5, 'hits');
SELECT * FROM ex.explain_users(11, 1, 0, 'people');
SELECT * FROM ex.explain_neighbors(11, 1, 'nobody');

-- items like one, by all their users: the cosine
SELECT count(*) AS pairs, count(*) FILTER (WHERE s.cosine IS NULL OR abs(s.cosine - r.score) > 1e-5) AS bad
FROM (SELECT i, r.* FROM generate_series(1, 30) i, LATERAL ex.similar_items(i, 100, 'people') r) r
FULL JOIN (SELECT a.i, b.i AS j, sum(a.r * b.r) / sqrt(max(na.n) * max(nb.n)) AS cosine
	FROM explain_r a JOIN explain_r b USING (u)
	JOIN (SELECT i, sum(r * r) AS n FROM explain_r GROUP BY i) na ON na.i = a.i
	JOIN (SELECT i, sum(r * r) AS n FROM explain_r GROUP BY i) nb ON nb.i = b.i
	WHERE a.i <> b.i GROUP BY a.i, b.i) s ON s.i = r.i AND s.j = r.item_id;
SELECT count(*) AS differ FROM (SELECT item_id, score::numeric(6, 4) FROM ex.similar_items(3, 10, 'people')
	EXCEPT SELECT item_id, score::numeric(6, 4) FROM ex.similar_items(3, 10, 'near')) x;
SELECT * FROM ex.similar_items(999, 3, 'people');

SELECT recsys.drop_source('ex');
DROP TABLE explain_events CASCADE;
