/*
 * recommend.c
 *	  recommend(), recommend_session() and popular().
 *
 * The model scores candidates from the user's history.  Those with a positive
 * score come first, best first.  Where they are fewer than the rows wanted,
 * popular items follow in order of popularity with a score of 0, and after
 * them what the model scored 0 or below, so that scores never rise down the
 * list.  A model that has a score for every item (ranks_all) orders by it
 * alone; popular items, which then are those that it does not know, follow
 * with the last of its scores, if that is below 0.  An answer without any item of
 * the model is the popular list itself, and shows popularity as its score.
 *
 * What is excluded and what the answer is restricted to is marked first, so
 * that a model can look for the best among the rest.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_recommend);
PG_FUNCTION_INFO_V1(recsys_recommend_session);
PG_FUNCTION_INFO_V1(recsys_popular);

/* What a caller wants. */
typedef struct Wish
{
	ServeCall  *call;
	Candidates *candidates;
	int			left;			/* rows still wanted */
	int			nallowed,
				maxallowed;
	RankKey    *allowed;		/* by popularity; the items of the restriction */
	bool		from_model;		/* a row of the model's is among the answer */
	double		last_score;		/* of these */
} Wish;

/* Candidates beyond those wanted that are ranked, in case some are forgotten. */
#define SPARE_ITEMS 16

static void
allow_item(TupleTableSlot *slot, void *arg)
{
	Wish	   *wish = arg;
	int32		item = DatumGetInt32(checked_attribute(slot, ITEM_ID));
	Candidate  *candidate = candidates_mark(wish->candidates, item, 0);

	if (candidate->flags & CANDIDATE_ALLOWED)
		return;					/* listed twice */
	candidate->flags |= CANDIDATE_ALLOWED;
	if (DatumGetInt32(checked_attribute(slot, ITEM_USERS)) <= 0)
		return;					/* known, but not popular with anybody */
	if (wish->nallowed == wish->maxallowed)
	{
		wish->maxallowed = wish->maxallowed ? wish->maxallowed * 2 : 64;
		wish->allowed = wish->allowed == NULL ?
			palloc(sizeof(RankKey) * wish->maxallowed) :
			repalloc_huge(wish->allowed, sizeof(RankKey) * wish->maxallowed);
	}
	wish->allowed[wish->nallowed++] = rank_of(item, item_popularity(wish->call, slot));
}

static void
exclude_item(TupleTableSlot *slot, void *arg)
{
	candidates_mark(((Wish *) arg)->candidates,
					DatumGetInt32(checked_attribute(slot, ITEM_ID)), CANDIDATE_EXCLUDED);
}

static void
exclude_history(Wish *wish, const History *history)
{
	for (int i = 0; i < history->n; i++)
		candidates_mark(wish->candidates, history->items[i], CANDIDATE_EXCLUDED);
}

static void
score_candidates(Wish *wish, const History *history)
{
	ServeCall  *call = wish->call;

	call->cx.wanted = (int) Min((int64) wish->left + SPARE_ITEMS, INT_MAX);
	if (call->algorithm && call->algorithm->recommend && history->n > 0)
		call->algorithm->recommend(&call->cx, history, wish->candidates);
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
		if (!result_item(wish->call, rank_item(ranked[i]), rank_score(ranked[i])))
			continue;			/* forgotten since it was published */
		wish->left--;
		wish->from_model = true;
		wish->last_score = rank_score(ranked[i]);
	}
}

/* Which of the scored candidates to list. */
typedef enum Share
{
	SCORED_ABOVE_ZERO,
	SCORED_OTHERS,
	SCORED_ALL
} Share;

/* The k best of a share of the candidates; returns how many there are. */
static int
rank_candidates(const Wish *wish, Share share, RankKey *ranked, int k)
{
	const Candidates *c = wish->candidates;
	TopK		top;

	topk_init(&top, ranked, k);
	for (int i = 0; i < c->n; i++)
	{
		const Candidate *entry = &c->entries[i];

		if ((entry->flags & CANDIDATE_SCORED) &&
			(share == SCORED_ALL || (entry->score > 0) == (share == SCORED_ABOVE_ZERO)) &&
			qualifies(wish, entry))
			topk_push(&top, entry->item, score_as_real(entry->score));
	}
	rank_sort(ranked, top.n);
	return top.n;
}

/* Put out what the model scored. */
static void
list_scored(Wish *wish, Share share)
{
	int			all = wish->candidates->n;
	int			few = Min((int64) all, (int64) wish->left + SPARE_ITEMS);
	RankKey    *ranked = MemoryContextAllocHuge(CurrentMemoryContext,
												sizeof(RankKey) * Max(few, 1));
	int			n;

	if (all == 0)
		return;
	n = rank_candidates(wish, share, ranked, few);
	list_ranked(wish, ranked, n);
	if (wish->left > 0 && n == few && few < all)
	{
		/* more were forgotten than we had in reserve */
		ranked = repalloc_huge(ranked, sizeof(RankKey) * all);
		n = rank_candidates(wish, share, ranked, all);
		list_ranked(wish, ranked + few, n - few);
	}
	pfree(ranked);
}

/* Put out a popular item, unless the model has scored it. */
static void
list_popular_item(Wish *wish, const ScoredItem *popular)
{
	Candidate  *candidate = candidates_find(wish->candidates, popular->item);

	if (candidate && ((candidate->flags & CANDIDATE_SCORED) || !qualifies(wish, candidate)))
		return;
	if (result_item(wish->call, popular->item,
					wish->from_model ? Min(wish->last_score, 0) : popular->score))
		wish->left--;
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

static void
answer(Wish *wish)
{
	const ModelAlgorithm *algorithm = wish->call->algorithm;
	bool		ranks_all = algorithm && algorithm->ranks_all;

	serve_open_items(wish->call);
	result_begin(wish->call);
	list_scored(wish, ranks_all ? SCORED_ALL : SCORED_ABOVE_ZERO);
	if (wish->left > 0)
		list_popular(wish);
	if (wish->left > 0 && !ranks_all)
		list_scored(wish, SCORED_OTHERS);
}

static void
begin_wish(Wish *wish, ServeCall *call, int rows)
{
	memset(wish, 0, sizeof(Wish));
	wish->call = call;
	wish->left = rows;
	wish->candidates = candidates_borrow(call->context);
}

/* recommend(user_id, k, model, exclude_seen, items, exclude) */
Datum
recsys_recommend(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	Wish		wish;
	History		history;

	serve_begin(&call, fcinfo);
	begin_wish(&wish, &call, serve_rows_wanted(&call, 1, "k", 10));
	serve_use_model(&call, 2);
	history_load(&call, 0, &history);
	if (PG_ARGISNULL(3) || PG_GETARG_BOOL(3))
		exclude_history(&wish, &history);
	wish.candidates->restricted = !PG_ARGISNULL(4);
	serve_item_array(&call, 4, allow_item, &wish);
	serve_item_array(&call, 5, exclude_item, &wish);
	score_candidates(&wish, &history);
	answer(&wish);
	serve_end(&call);
	return (Datum) 0;
}

/* ---------------------------------------------------------------- session */

static void
add_session_item(TupleTableSlot *slot, void *arg)
{
	candidates_mark(arg, DatumGetInt32(checked_attribute(slot, ITEM_ID)), 0);
}

/* A history of the items, each with weight 1, as if they were seen now. */
static void
session_history(ServeCall *call, int argno, History *history)
{
	Candidates *items = candidates_create();

	serve_item_array(call, argno, add_session_item, items);
	history->n = items->n;
	history->items = palloc(sizeof(int32) * Max(items->n, 1));
	history->weights = palloc(sizeof(double) * Max(items->n, 1));
	history->times = palloc(sizeof(int64) * Max(items->n, 1));
	for (int i = 0; i < items->n; i++)
	{
		history->items[i] = items->entries[i].item;
		history->weights[i] = 1;
		history->times[i] = call->now;
	}
}

/* recommend_session(items, k, model) */
Datum
recsys_recommend_session(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	Wish		wish;
	History		history;

	serve_begin(&call, fcinfo);
	begin_wish(&wish, &call, serve_rows_wanted(&call, 1, "k", 10));
	serve_use_model(&call, 2);
	session_history(&call, 0, &history);
	exclude_history(&wish, &history);
	score_candidates(&wish, &history);
	answer(&wish);
	serve_end(&call);
	return (Datum) 0;
}

/* popular(k, since) */
Datum
recsys_popular(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	Wish		wish;
	int			rows;

	serve_begin(&call, fcinfo);
	rows = serve_rows_wanted(&call, 0, "k", 10);
	if (PG_ARGISNULL(1))
	{
		begin_wish(&wish, &call, rows);
		answer(&wish);
	}
	else
		popular_since(&call, PG_GETARG_DATUM(1), rows);
	serve_end(&call);
	return (Datum) 0;
}
