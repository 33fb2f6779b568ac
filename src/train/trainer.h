/*
 * trainer.h
 *	  A training as the processes of recsys_train.so see it.
 *
 * trainer.c starts and ends the leader, matrix.c reads, als_train.c with its
 * helpers and gru4rec_train.c compute, import.c takes what was computed elsewhere, version.c writes the new version.
 */
#ifndef RECSYS_TRAINER_H
#define RECSYS_TRAINER_H

#include "postgres.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "catalog/catalog.h"
#include "models/embedding.h"
#include "models/weights.h"
#include "stream/trainings.h"

typedef struct Trainer
{
	TrainingShared *training;
	SourceShared *shared;		/* of the source; NULL: the launcher does not know it */
	MemoryContext context;		/* of everything that lasts as long as the training */
	RecsysSource *source;
	RecsysModel *model;
	TimestampTz started_at;
	XLogRecPtr	applied_lsn;	/* what was read of the source */
	int64		events;			/* of it by then */
	Oid			save_user;		/* of trainer_begin() */
	int			save_context;
} Trainer;

/* A transaction as the owner of the source, in a security-restricted context,
 * with an active snapshot.  The caller's memory context stays. */
extern void trainer_begin(Trainer *t);
extern void trainer_commit(Trainer *t);

/* Where a test wants a training to wait or to die. */
extern void trainer_inject(Trainer *t, InjectionStep step);

/* 64-byte aligned memory of any size in CurrentMemoryContext, not zeroed. */
extern void *trainer_alloc(Size n, Size width);

/* A version of vectors ready to be written.  Matrices that a model has no use
 * for are NULL. */
typedef struct TrainedVectors
{
	int32		users;			/* that it was trained on */
	int32		items;			/* vectors */
	int64		interactions;
	int			dim;
	double		loss;
	double		mean;
	const int32 *item_ids;		/* by row of "vectors", rising */
	const float *vectors;		/* items x dim */
	const float *item_gram;		/* dim x dim */
	const float *user_gram;		/* likewise */
	const ModelWeights *weights;	/* of a network; NULL: it has none */
	int			nweights;
} TrainedVectors;

/* Writes it as the model's new version, in a transaction of its own. */
extern void version_replace(Trainer *t, const TrainedVectors *trained);

/* als_train.c */
extern void als_train(Trainer *t);

/* import.c */
extern bool import_is_wanted(const TrainingShared *training);
extern void import_train(Trainer *t);

/* gru4rec_train.c */
extern void gru4rec_train(Trainer *t);

/* evaluate.c */
extern void training_evaluate(TrainingShared *training);

#endif							/* RECSYS_TRAINER_H */
