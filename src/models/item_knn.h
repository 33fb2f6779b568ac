/*
 * item_knn.h
 *	  The parts of item_knn: serving and declaration stand in item_knn_serve.c,
 *	  the side of the stream worker in item_knn.c, which fills in the
 *	  ModelAlgorithm.
 */
#ifndef RECSYS_ITEM_KNN_H
#define RECSYS_ITEM_KNN_H

#include "postgres.h"

#include "models/model.h"
#include "numeric/measure.h"

extern const ParamSpec item_knn_params[];
extern Measure item_knn_measure(const Jsonb *params);

/* How far an item's list can be trusted, by its users: one user's taste makes
 * cosines of 1. */
static inline double
item_knn_trust(double users, double damping)
{
	return users > 0 ? users / (users + damping) : 0;
}

extern void item_knn_recommend(ServeContext *cx, const History *history, Candidates *out);
extern double item_knn_predict(ServeContext *cx, const History *history, int32 item);
extern void item_knn_explain(ServeContext *cx, const History *history, int32 item,
							 double *contributions);

#endif							/* RECSYS_ITEM_KNN_H */
