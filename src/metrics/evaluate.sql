/*
 * evaluate.sql
 *	  How well a model would have done on interactions that it has not seen.
 */

CREATE FUNCTION recsys.evaluate(
	source name,
	model name = NULL,
	k int = 20,
	split text = NULL,
	test regclass = NULL,
	share double precision = 0.1,
	folds int = NULL,
	fold int = NULL,
	seed bigint = 1,
	max_users int = NULL,
	params jsonb = NULL,
	relevant_from double precision = NULL)
RETURNS TABLE (metric text, value double precision)
LANGUAGE c VOLATILE ROWS 12 COST 1000000
AS 'MODULE_PATHNAME', 'recsys_evaluate';
COMMENT ON FUNCTION recsys.evaluate IS
'hold interactions out, fit the model to the rest in a background worker, recommend k items to each user and compare; what serves is not touched.
split: last (each user''s newest item), time (the newest share of all interactions), random (a share, or fold of folds, all folds in turn if fold is NULL; by seed), table (the rows of test, with the events'' columns of user, item and, for ratings, value; all events are trained on); NULL: table with test, random with folds, else last.
params: parameters of the model to be used instead of its own. max_users: a sample. relevant_from: ratings below are not relevant.
precision = hits / k; recall = hits / relevant; ndcg = sum over hits of 1 / log2(rank + 1), over that sum for min(relevant, k) hits on top; map = sum over hits of hits so far / rank, over min(relevant, k); mrr = 1 / rank of the first hit; hit_rate = share of users with a hit: all averaged over users with a relevant item, items of the user''s training history left out of lists and test. coverage = share of the items that are recommended to anybody; novelty = mean -log2 of the share of users who have the item, over all items recommended; rmse and mae of ratings, predictions kept within the range of ratings seen.';
