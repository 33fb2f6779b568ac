/*
 * sequence_knn.h
 *	  What comes next, by what came after what in the histories of all.
 *
 *		after(i,j) = sum over the users whose history has j later than i of 1 / gap
 *		score(u,j) = sum over the items h of u's history of decay ^ step(h) after(h,j)
 *
 * A history holds each item once, at the time of its newest event, so an item that is
 * repeated moves to the end; the gap of two items is the difference of their
 * places, and those further apart than the model's gap do not count.  The newest
 * item is at step 0, the one before it at step 1.  How much a user did with
 * an item, and how long ago, plays no part.  Of after(i, ...) the k largest are
 * published as the neighbours of i.
 *
 * Serving and declaration stand in sequence_knn_serve.c, the side of the stream
 * worker in sequence_knn.c, which fills in the ModelAlgorithm.
 */
#ifndef RECSYS_SEQUENCE_KNN_H
#define RECSYS_SEQUENCE_KNN_H

#include "postgres.h"

#include <math.h>

#include "models/histories.h"
#include "models/model.h"

extern const ParamSpec sequence_knn_params[];

/* What an item counts that is so many steps back; 0 where nobody would notice. */
static inline double
sequence_knn_factor(double decay, int step)
{
	double		factor = pow(decay, step);

	return factor < 1e-6 ? 0 : factor;
}

/* The row of a number (numeric/sequence.h) from the histories that have its item, of
 * an indexed set; the sums reach all numbers of its items. */
extern void sequence_knn_sum_row(const HistorySet *set, RowSum *sum, int32 number, int gap,
								 PairRowView *row);

extern void sequence_knn_recommend(ServeContext *cx, const History *history, Candidates *out);
extern double sequence_knn_predict(ServeContext *cx, const History *history, int32 item);
extern void sequence_knn_explain(ServeContext *cx, const History *history, int32 item,
								 double *contributions);

#endif							/* RECSYS_SEQUENCE_KNN_H */
