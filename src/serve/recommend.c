/*
 * recommend.c
 *	  recommend(), recommend_session() and popular(), and those that say why.
 *
 * What is excluded and what the answer is restricted to is marked first, so
 * that a model can look for the best among the rest.  answer.c does the rest.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "serve/answer.h"

PG_FUNCTION_INFO_V1(recsys_recommend);
PG_FUNCTION_INFO_V1(recsys_recommend_explained);
PG_FUNCTION_INFO_V1(recsys_recommend_session);
PG_FUNCTION_INFO_V1(recsys_recommend_session_explained);
PG_FUNCTION_INFO_V1(recsys_popular);

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
begin_wish(Wish *wish, ServeCall *call, int rows)
{
	memset(wish, 0, sizeof(Wish));
	wish->call = call;
	wish->left = rows;
	wish->candidates = candidates_borrow(call->context);
}

static Datum
recommend(FunctionCallInfo fcinfo, bool explained)
{
	ServeCall	call;
	Wish		wish;
	History		history;

	serve_begin(&call, fcinfo);
	begin_wish(&wish, &call, serve_rows_wanted(&call, 1, "k", 10));
	wish.explained = explained;
	serve_use_model_for_user(&call, 2);
	history_load(&call, 0, &history);
	if (PG_ARGISNULL(3) || PG_GETARG_BOOL(3))
		exclude_history(&wish, &history);
	wish.candidates->restricted = !PG_ARGISNULL(4);
	serve_item_array(&call, 4, allow_item, &wish);
	serve_item_array(&call, 5, exclude_item, &wish);
	answer(&wish, &history, "unknown user");
	serve_end(&call);
	return (Datum) 0;
}

/* recommend(user_id, k, model, exclude_seen, items, exclude) */
Datum
recsys_recommend(PG_FUNCTION_ARGS)
{
	return recommend(fcinfo, false);
}

/* ... and whose answer each row is, and why */
Datum
recsys_recommend_explained(PG_FUNCTION_ARGS)
{
	return recommend(fcinfo, true);
}

/* ---------------------------------------------------------------- session */

/* What is known of a session. */
typedef struct SessionItems
{
	Candidates *items;			/* different ones, in the order of their first place */
	int			n,
				max;
	int32	   *clicks;			/* all, in their order */
} SessionItems;

static void
add_session_item(TupleTableSlot *slot, void *arg)
{
	SessionItems *session = arg;
	int32		item = DatumGetInt32(checked_attribute(slot, ITEM_ID));

	candidates_mark(session->items, item, 0);
	if (session->n == session->max)
	{
		session->max = Max(16, session->max * 2);
		session->clicks = session->clicks ?
			repalloc_huge(session->clicks, sizeof(int32) * session->max) :
			palloc(sizeof(int32) * session->max);
	}
	session->clicks[session->n++] = item;
}

/* A history of the items, each with weight 1, as if they were seen now. */
static void
session_history(ServeCall *call, int argno, History *history)
{
	SessionItems session = {.items = candidates_create()};
	Candidates *items = session.items;

	serve_item_array(call, argno, add_session_item, &session);
	call->cx.clicks = session.clicks;
	call->cx.nclicks = session.n;
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

/* All items of the session, or as many of the newest as the model says. */
static void
exclude_session(Wish *wish, const History *history)
{
	const ServeCall *call = wish->call;
	int			n = call->algorithm && call->algorithm->left_out ?
		call->algorithm->left_out(call->model) : history->n;
	int			excluded = 0;

	for (int i = call->cx.nclicks - 1; i >= 0 && excluded < n; i--)
	{
		Candidate  *candidate = candidates_mark(wish->candidates, call->cx.clicks[i], 0);

		excluded += !(candidate->flags & CANDIDATE_EXCLUDED);
		candidate->flags |= CANDIDATE_EXCLUDED;
	}
}

static Datum
recommend_session(FunctionCallInfo fcinfo, bool explained)
{
	ServeCall	call;
	Wish		wish;
	History		history;

	serve_begin(&call, fcinfo);
	begin_wish(&wish, &call, serve_rows_wanted(&call, 1, "k", 10));
	wish.explained = explained;
	serve_use_model(&call, 2);
	session_history(&call, 0, &history);
	exclude_session(&wish, &history);
	wish.in_session = true;
	answer(&wish, &history, "no known item");
	serve_end(&call);
	return (Datum) 0;
}

/* recommend_session(items, k, model) */
Datum
recsys_recommend_session(PG_FUNCTION_ARGS)
{
	return recommend_session(fcinfo, false);
}

Datum
recsys_recommend_session_explained(PG_FUNCTION_ARGS)
{
	return recommend_session(fcinfo, true);
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
		answer_popular(&wish);
	}
	else
		popular_since(&call, PG_GETARG_DATUM(1), rows);
	serve_end(&call);
	return (Datum) 0;
}
