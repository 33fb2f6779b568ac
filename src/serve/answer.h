/*
 * answer.h
 *	  What a caller of recommend() wants, and the answer to it (answer.c).
 */
#ifndef RECSYS_ANSWER_H
#define RECSYS_ANSWER_H

#include "postgres.h"

#include "serve/serve.h"

typedef struct Wish
{
	ServeCall  *call;			/* its model is the one asked for */
	Candidates *candidates;		/* with what is excluded and allowed */
	int			left;			/* rows still wanted */
	int			nallowed,
				maxallowed;
	RankKey    *allowed;		/* by popularity; the items of the restriction */
	bool		explained;		/* rows say whose answer they are */
	bool		in_session;		/* the history is a session */
	void		(*take) (struct Wish *wish, int32 item);	/* instead of putting rows out */

	/* answer.c */
	const RecsysModel *from;	/* whose rows come next; NULL: the source's list */
	Datum		reason_text;	/* and why they come */
	int			rows;			/* put out so far */
	bool		filling;		/* they come behind rows of another list */
	double		last_score;		/* of those put out */
	int			nothers;
	RankKey    *others;			/* what the model scored 0 or below */
} Wish;

/* nobody: the reason if the history is empty. */
extern void answer(Wish *wish, const History *history, const char *nobody);
extern void answer_popular(Wish *wish);

#endif							/* RECSYS_ANSWER_H */
