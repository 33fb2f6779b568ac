/*
 * als.h
 *	  The parts of als: declaration and serving stand in als.c and als_serve.c,
 *	  the side of the stream worker in als_online.c, training in train/als_train.c.
 */
#ifndef RECSYS_MODELS_ALS_H
#define RECSYS_MODELS_ALS_H

#include "postgres.h"

#include "models/embedding.h"
#include "models/model.h"
#include "numeric/als.h"

extern const ParamSpec als_params[];

/* What the numeric code wants; "mean" is that of the version (0 if implicit). */
extern void als_params_of(const Jsonb *params, bool explicit_feedback, double mean,
						  AlsParams *result);

/* als_serve.c: answers. */
extern void als_recommend(ServeContext *cx, const History *history, Candidates *out);
extern int	als_similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out);
extern double als_predict(ServeContext *cx, const History *history, int32 item);
extern void als_explain(ServeContext *cx, const History *history, int32 item,
						double *contributions);
extern float *als_user_factors(ServeContext *cx, const History *history, int *dim);
extern void *als_compare_begin(ServeContext *cx, const History *history);
extern double als_compare(void *state, const History *other);
extern void als_compare_end(void *state);

/* als_online.c: the stream worker's side. */
extern void *als_open(ModelHost *host, const RecsysModel *model);
extern void als_close(void *state);
extern void als_build(void *state);
extern void als_change(void *state, const ProfileChange *change);
extern bool als_publish(void *state, bool all);
extern void als_flush(void *state);
extern void als_forget_item(void *state, int32 item);
extern void als_reset(void *state);
extern void als_rescale(void *state, double factor);
extern Size als_memory(void *state);
extern bool als_published(void *state);
extern void als_retrained(void *state);
extern TrainingNeed als_training_need(void *state, int64 events, TimestampTz *due_at);
extern bool als_has_version(void *state);

#endif							/* RECSYS_MODELS_ALS_H */
