/*
 * lists.sql
 *	  What recommended lists are like beside accuracy.
 */

CREATE FUNCTION recsys.coverage(
	recommended anyarray,
	catalog anyarray)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_coverage';
COMMENT ON FUNCTION recsys.coverage IS
	'share of the catalogue that is recommended to anybody: |recommended and in catalog| / |catalog|, both taken as sets; recommended: the items of all lists. NULL if the catalogue is empty';

CREATE FUNCTION recsys.novelty(
	users bigint[],
	total bigint)
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_novelty';
COMMENT ON FUNCTION recsys.novelty IS
	'mean self-information of recommended items in bits: mean of -log2(users / total), from the number of users who have each item and of all users; 0: everybody has them. An item of nobody counts as one of a single user; NULLs do not count; NULL of an empty list';

CREATE FUNCTION recsys.intra_list_diversity(
	vectors real[])
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_intra_list_diversity';
COMMENT ON FUNCTION recsys.intra_list_diversity IS
	'how unlike the items of one list are: mean over pairs of 1 - cosine of their vectors, from 0 (all alike) to 2; vectors: one row for each item, such as array_agg(factors); a NULL counts as 0, a vector of zeros not at all; NULL with fewer than two vectors';

CREATE FUNCTION recsys.gini(
	counts double precision[])
RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_gini';
COMMENT ON FUNCTION recsys.gini IS
	'Gini coefficient, how unequally something is spread, such as recommendations over items: sum over pairs |x_i - x_j| / (2 n^2 mean), from 0 (all alike) to (n - 1) / n (one has all); items that have none belong in as 0; NULLs do not count; NULL if all are 0';
