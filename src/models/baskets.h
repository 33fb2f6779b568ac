/*
 * baskets.h
 *	  What is bought together, from baskets: orders, carts or sessions.
 *
 * For an item q that is asked about and another one j, over the baskets that are
 * kept,
 *
 *		n		the newest baskets with q, at most "sample"; k of them hold j
 *		m		all other baskets; l of them hold j
 *		gain(q,j) = lower bound of k / n - l / m		(share_difference_lower())
 *
 * the part of q's baskets that hold j because of q, and not anyway, at the certainty
 * of "z".  j counts as bought together with q if that is above 0 and k is at least
 * min_support.  Of several items asked about,
 *
 *		score(j) = 1 - product over them of (1 - gain(q,j))
 */
#ifndef RECSYS_BASKETS_H
#define RECSYS_BASKETS_H

#include "postgres.h"

#include "models/model.h"

typedef struct TogetherItem
{
	int32		item;
	int64		support;		/* baskets with it and any of those asked about */
	double		confidence;		/* k / n of the one that says most for it */
	double		lift;			/* this over j's share of all baskets */
	double		score;
} TogetherItem;

/* What is bought together with the newest of n items, in no order, palloc'd; returns
 * how many there are. */
extern int	baskets_together(ServeContext *cx, const int32 *items, int32 n, TogetherItem **out);

#endif							/* RECSYS_BASKETS_H */
