/*
 * gru4rec.h
 *	  The parts of gru4rec: declaration in gru4rec.c, answers in gru4rec_serve.c,
 *	  the side of the stream worker in gru4rec_online.c, the training in
 *	  train/gru4rec_train.c, the mathematics in numeric/gru4rec.h.
 *
 * A version is the vectors of the items, as of every embedding model, and the
 * weights of the network (models/weights.h), by these names.  The weights stay as the training
 * left them; between trainings the vectors of items that have new events move.
 */
#ifndef RECSYS_MODELS_GRU4REC_H
#define RECSYS_MODELS_GRU4REC_H

#include "postgres.h"

#include "models/embedding.h"
#include "models/model.h"
#include "models/weights.h"
#include "numeric/gru4rec_learn.h"

/* The newest items of a history that the network reads. */
#define GRU4REC_LENGTH	100

extern const ParamSpec gru4rec_params[];

/* What the parameters say of a training. */
extern void gru4rec_params_of(const Jsonb *params, Gru4recLearn *learn);

/* The weights' parts, in the order in which they stand in memory; "parts" has
 * GRU4REC_PARTS elements.  Values are places in "weights". */
#define GRU4REC_PARTS	3
extern void gru4rec_parts(int dim, float *weights, ModelWeights *parts);

/* gru4rec_serve.c */
extern void gru4rec_recommend(ServeContext *cx, const History *history, Candidates *out);
extern int	gru4rec_similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out);
extern double gru4rec_predict(ServeContext *cx, const History *history, int32 item);
extern void gru4rec_explain(ServeContext *cx, const History *history, int32 item, double *contributions);
extern float *gru4rec_user_factors(ServeContext *cx, const History *history, int *dim);

/* gru4rec_online.c */
extern void *gru4rec_open(ModelHost *host, const RecsysModel *model);
extern void gru4rec_close(void *state);
extern void gru4rec_build(void *state);
extern void gru4rec_change(void *state, const ProfileChange *change);
extern bool gru4rec_publish(void *state, bool all);
extern void gru4rec_flush(void *state);
extern void gru4rec_forget_item(void *state, int32 item);
extern void gru4rec_reset(void *state);
extern Size gru4rec_memory(void *state);
extern bool gru4rec_published(void *state);
extern void gru4rec_retrained(void *state);
extern TrainingNeed gru4rec_training_need(void *state, int64 events, TimestampTz *due_at);
extern bool gru4rec_has_version(void *state);

#endif							/* RECSYS_MODELS_GRU4REC_H */
