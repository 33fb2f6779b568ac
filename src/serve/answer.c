/*
 * answer.c
 *	  The rows of recommend(): lists of several models, one behind the other.
 *
 * The model asked for scores candidates from the user's history.  Those with a
 * positive score come first, best first.  Where they are fewer than the rows
 * wanted, the models of the source's fallback (recsys.set_fallback()) are asked
 * in turn, and popular items come after them.  At the very end stands what the
 * model asked for scored 0 or below.  A model that has a score for every item
 * (ranks_all) orders by it alone.
 *
 * Scores never rise down the answer.  The first list that has any rows shows its
 * own scores; those behind it show 0, or the last score before them if that is
 * below 0.  So an answer that is a model's, or the popular list's, alone looks
 * like it.
 *
 * Why a row is there is one of:
 *
 *		model				the model asked for has it
 *		unknown user		the user has no history (recommend)
 *		no known item		nor has the session (recommend_session)
 *		model is building	the model asked for cannot answer yet
 *		no model			the source has none
 *		nothing from model	the model asked for knows no item for this history
 *		short list			... or not enough of them
 *
 * and is said of the first in the chain that failed, the model asked for.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "serve/answer.h"

/* Candidates beyond those wanted that are ranked, in case some are forgotten. */
#define SPARE_ITEMS 16

/* Whose answer a row is, and why. */
static const Oid explained_columns[] = {NAMEOID, TEXTOID, InvalidOid};

/* ------------------------------------------------------------------- rows */

/* Put out a row of the list at hand; nothing if the item was forgotten. */
static void
put_item(Wish *wish, int32 item, double score)
{
	bool		found;

	if (wish->filling)
		score = Min(wish->last_score, 0);
	if (wish->take)
	{
		found = serve_item(wish->call, item) != NULL;
		if (found)
			wish->take(wish, item);
	}
	else if (wish->explained)
	{
		Datum		why[2] = {0};
		bool		nulls[2] = {wish->from == NULL, false};

		if (wish->from)
			why[0] = NameGetDatum(&wish->from->name);
		why[1] = wish->reason_text;
		found = result_item_more(wish->call, item, score, why, nulls);
	}
	else
		found = result_item(wish->call, item, score);
	if (!found)
		return;
	wish->left--;
	wish->rows++;
	wish->last_score = score;
}

/* The next list begins. */
static void
begin_list(Wish *wish, const RecsysModel *from, const char *reason)
{
	wish->from = from;
	wish->reason_text = CStringGetTextDatum(reason);
	wish->filling = wish->rows > 0;
}

static bool
qualifies(const Wish *wish, const Candidate *candidate)
{
	return !(candidate->flags & CANDIDATE_EXCLUDED) &&
		(!wish->candidates->restricted || (candidate->flags & CANDIDATE_ALLOWED));
}

/* Put out items, best first, until there are enough. */
static void
list_ranked(Wish *wish, const RankKey *ranked, int n)
{
	for (int i = 0; i < n && wish->left > 0; i++)
	{
		CHECK_FOR_INTERRUPTS();
		put_item(wish, rank_item(ranked[i]), rank_score(ranked[i]));
	}
}

/* ----------------------------------------------------------------- models */

/* The k best of the candidates, all of them or those scored above 0; returns
 * how many there are. */
static int
rank_candidates(const Wish *wish, bool all, RankKey *ranked, int k)
{
	const Candidates *c = wish->candidates;
	TopK		top;

	topk_init(&top, ranked, k);
	for (int i = 0; i < c->n; i++)
	{
		const Candidate *entry = &c->entries[i];

		if ((entry->flags & CANDIDATE_SCORED) && (all || entry->score > 0) &&
			qualifies(wish, entry))
			topk_push(&top, entry->item, score_as_real(entry->score));
	}
	rank_sort(ranked, top.n);
	return top.n;
}

/* Put out what a model scored. */
static void
list_scored(Wish *wish, bool all_scores)
{
	int			all = wish->candidates->n;
	int			few = Min((int64) all, (int64) wish->left + SPARE_ITEMS);
	RankKey    *ranked;
	int			n;

	if (all == 0)
		return;
	ranked = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(RankKey) * few);
	n = rank_candidates(wish, all_scores, ranked, few);
	list_ranked(wish, ranked, n);
	if (wish->left > 0 && n == few && few < all)
	{
		/* more were forgotten than we had in reserve */
		ranked = repalloc_huge(ranked, sizeof(RankKey) * all);
		n = rank_candidates(wish, all_scores, ranked, all);
		list_ranked(wish, ranked + few, n - few);
	}
	pfree(ranked);
}

/* No list after this has an item that the model has scored.  What it scored 0
 * or below is kept for the end, if that is wanted. */
static void
close_round(Wish *wish, bool keep_others)
{
	Candidates *c = wish->candidates;

	if (keep_others)
		wish->others = MemoryContextAllocHuge(CurrentMemoryContext,
											  sizeof(RankKey) * Max(c->n, 1));
	for (int i = 0; i < c->n; i++)
	{
		Candidate  *entry = &c->entries[i];

		if (!(entry->flags & CANDIDATE_SCORED))
			continue;
		if (keep_others && !(entry->score > 0) && qualifies(wish, entry))
			wish->others[wish->nothers++] = rank_of(entry->item, entry->score);
		entry->flags = (entry->flags & ~CANDIDATE_SCORED) | CANDIDATE_EXCLUDED;
		entry->score = 0;
	}
}

/* Is the call's model the popular list? */
static bool
is_popular_list(const ServeCall *call)
{
	return call->algorithm &&
		(call->algorithm->recommend == NULL ||
		 (call->algorithm->plain && call->algorithm->plain(call->model)));
}

/* Does it have an answer of its own? */
static bool
can_answer(const ServeCall *call, const History *history)
{
	return call->algorithm && !is_popular_list(call) &&
		(history->n > 0 || call->algorithm->impersonal);
}

/* The list of the call's model. */
static void
list_model(Wish *wish, const History *history)
{
	ServeCall  *call = wish->call;

	if (!can_answer(call, history))
		return;
	call->cx.wanted = (int) Min((int64) wish->left + SPARE_ITEMS, INT_MAX);
	call->algorithm->recommend(&call->cx, history, wish->candidates);
	list_scored(wish, call->algorithm->ranks_all);
}

/* ---------------------------------------------------------------- popular */

static void
list_popular_item(Wish *wish, const ScoredItem *popular)
{
	Candidate  *candidate = candidates_find(wish->candidates, popular->item);

	if (candidate == NULL || qualifies(wish, candidate))
		put_item(wish, popular->item, popular->score);
}

static void
list_popular(Wish *wish)
{
	ScoredItem	item;

	if (wish->candidates->restricted)
	{
		rank_sort(wish->allowed, wish->nallowed);
		for (int i = 0; i < wish->nallowed && wish->left > 0; i++)
		{
			item = (ScoredItem) {rank_item(wish->allowed[i]), rank_score(wish->allowed[i])};
			list_popular_item(wish, &item);
		}
		return;
	}
	for (PopularScan *scan = popular_begin(wish->call);; )
	{
		CHECK_FOR_INTERRUPTS();
		if (wish->left == 0 || !popular_next(scan, &item))
		{
			popular_end(scan);
			return;
		}
		list_popular_item(wish, &item);
	}
}

/* ------------------------------------------------------------------ chain */

static void
begin_rows(Wish *wish)
{
	serve_open_items(wish->call);
	if (wish->take)
		return;
	if (wish->explained)
		result_begin_more(wish->call, explained_columns);
	else
		result_begin(wish->call);
}

/* Why the model asked for has not filled the answer. */
static const char *
why_short(const Wish *wish, const History *history, const char *nobody)
{
	const ServeCall *call = wish->call;

	if (call->model == NULL)
		return "no model";
	if (call->algorithm == NULL)
		return "model is building";
	if (!can_answer(call, history))
		return nobody;
	return wish->rows == 0 ? "nothing from model" : "short list";
}

/* The models of the fallback but "asked", in turn, and the popular list, which
 * one of them may be. */
static void
fill_up(Wish *wish, const RecsysModel *asked, const History *history, const char *reason)
{
	ServeCall  *call = wish->call;
	const RecsysModel *popular = NULL;
	const RecsysModel *model;

	for (int32 place = 0; wish->left > 0 && popular == NULL &&
		 (model = serve_fallback(call, place)) != NULL; place = model->fallback)
	{
		if (asked && model->id == asked->id)
			continue;
		serve_take_model(call, model);
		if (is_popular_list(call))
			popular = model;
		begin_list(wish, model, reason);
		list_model(wish, history);
		close_round(wish, false);
	}
	begin_list(wish, popular, reason);
	if (wish->left > 0)
		list_popular(wish);
}

void
answer(Wish *wish, const History *history, const char *nobody)
{
	ServeCall  *call = wish->call;
	const RecsysModel *asked = call->model;
	const ModelAlgorithm *algorithm = call->algorithm;

	begin_rows(wish);
	begin_list(wish, asked, "model");
	if (is_popular_list(call))
	{
		list_popular(wish);
		return;
	}
	list_model(wish, history);
	if (wish->left == 0)
		return;
	close_round(wish, !(algorithm && algorithm->ranks_all));
	/* a model may repeat items of a session; what fills up does not */
	for (int i = 0; wish->in_session && i < history->n; i++)
		candidates_mark(wish->candidates, history->items[i], CANDIDATE_EXCLUDED);
	fill_up(wish, asked, history, why_short(wish, history, nobody));
	if (wish->left > 0 && wish->nothers > 0)
	{
		begin_list(wish, asked, "model");
		/* below 0 themselves, they show it, unless another list ended lower */
		wish->filling = wish->rows > 0 && wish->last_score < 0;
		rank_sort(wish->others, wish->nothers);
		list_ranked(wish, wish->others, wish->nothers);
	}
}

/* popular(): the source's list and nothing else. */
void
answer_popular(Wish *wish)
{
	begin_rows(wish);
	begin_list(wish, NULL, "model");
	list_popular(wish);
}
