/*
 * ranking_metrics.sql
 *	  How good one ranked list is, given the items that are relevant.  Arrays of
 *	  any type that can be compared; avg() over users gives the usual figures.
 */

CREATE FUNCTION recsys.precision_at_k(
	recommended anyarray,
	relevant anyarray,
	k int = 10)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_precision_at_k';
COMMENT ON FUNCTION recsys.precision_at_k IS
	'share of the first k recommended items that are relevant: hits / k. relevant is a set; in recommended, nulls and repeated items are no hits; NULL if nothing is relevant';

CREATE FUNCTION recsys.recall_at_k(
	recommended anyarray,
	relevant anyarray,
	k int = 10)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_recall_at_k';
COMMENT ON FUNCTION recsys.recall_at_k IS
	'share of the relevant items that are among the first k recommended: hits / |relevant|. relevant is a set; in recommended, nulls and repeated items are no hits; NULL if nothing is relevant';

CREATE FUNCTION recsys.ndcg_at_k(
	recommended anyarray,
	relevant anyarray,
	k int = 10)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_ndcg_at_k';
COMMENT ON FUNCTION recsys.ndcg_at_k IS
	'normalised discounted cumulative gain: sum over hits of 1 / log2(rank + 1), over the same sum for a list with min(|relevant|, k) hits first. relevant is a set; in recommended, nulls and repeated items are no hits; NULL if nothing is relevant';

CREATE FUNCTION recsys.average_precision_at_k(
	recommended anyarray,
	relevant anyarray,
	k int = 10)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_average_precision_at_k';
COMMENT ON FUNCTION recsys.average_precision_at_k IS
	'sum over hits of (hits up to their rank / rank), over min(|relevant|, k); its mean over users is MAP. relevant is a set; in recommended, nulls and repeated items are no hits; NULL if nothing is relevant';

CREATE FUNCTION recsys.reciprocal_rank(
	recommended anyarray,
	relevant anyarray,
	k int = 10)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_reciprocal_rank';
COMMENT ON FUNCTION recsys.reciprocal_rank IS
	'1 / rank of the first relevant item among the first k, 0 if there is none; its mean over users is MRR. relevant is a set; in recommended, nulls and repeated items are no hits; NULL if nothing is relevant';

CREATE FUNCTION recsys.hit_rate(
	recommended anyarray,
	relevant anyarray,
	k int = 10)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_hit_rate';
COMMENT ON FUNCTION recsys.hit_rate IS
	'1 if any of the first k recommended items is relevant, else 0. relevant is a set; in recommended, nulls and repeated items are no hits; NULL if nothing is relevant';
