/*
 * ask.c
 *	  recommend() without a caller, see ask.h.
 *
 * The history is given, not loaded: the stream worker's is exactly that of the
 * moment before an event, while the events table holds that event already.
 * All else is as in recommend(): items of the history are left out, short
 * answers are filled up, and forgotten items have no row.
 */
#include "postgres.h"

#include "serve/answer.h"
#include "serve/ask.h"

typedef struct Question
{
	Wish		wish;
	int32		item;
	int			place;			/* of the item; 0: not seen yet */
} Question;

static void
take_item(Wish *wish, int32 item)
{
	Question   *q = (Question *) wish;

	if (item == q->item)
		q->place = wish->rows + 1;
}

/* The weights as recommend() has them. */
static void
decay_history(ServeCall *call, const History *from, int32 landmark, History *to)
{
	double		factor = decay_factor(call, landmark, call->now);

	*to = *from;
	to->weights = palloc(sizeof(double) * Max(from->n, 1));
	for (int i = 0; i < from->n; i++)
		to->weights[i] = from->weights[i] * factor;
}

int
ask_place(const RecsysSource *source, List *models, const RecsysModel *model,
		  int32 user, const History *history, int32 landmark,
		  int32 item, int k, TimestampTz now)
{
	ServeCall	call;
	Question	q = {.item = item};
	History		decayed;

	serve_begin_inside(&call, source, models, now);
	serve_take_model(&call, model);
	call.cx.user = user;
	decay_history(&call, history, landmark, &decayed);
	q.wish.call = &call;
	q.wish.left = k;
	q.wish.take = take_item;
	q.wish.candidates = candidates_borrow(call.context);
	for (int i = 0; i < decayed.n; i++)
		candidates_mark(q.wish.candidates, decayed.items[i], CANDIDATE_EXCLUDED);
	answer(&q.wish, &decayed, "unknown user");
	serve_end(&call);
	return q.place;
}
