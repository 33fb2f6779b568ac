/*
 * gru4rec_train.h
 *	  What a training of gru4rec and its evaluation have in common.
 */
#ifndef RECSYS_GRU4REC_TRAIN_H
#define RECSYS_GRU4REC_TRAIN_H

#include "postgres.h"

#include "models/gru4rec.h"
#include "train/evaluate.h"
#include "train/matrix.h"
#include "train/trainer.h"

/* Histories as the network reads them, in CurrentMemoryContext. */
typedef struct Gru4recSequences
{
	Gru4recData data;			/* of what follows */
	int64	   *offsets;
	int32	   *items;			/* rows, from 0 */
	int32	   *keys;
	int32		longest;
	int32	   *item_ids;		/* numbers of items, by row */
	int32	   *rows;			/* by number; 0 also where there is none */
} Gru4recSequences;

/* Of users' items, oldest first, the newest of each; users NULL: numbered by their place. */
extern void gru4rec_sequences(int32 nusers, const int32 *users, const int64 *offsets, const int32 *items,
							  int32 max_item, Gru4recSequences *s);

/* Error unless it comes to its end; the result is in "learn". */
extern void gru4rec_run(Trainer *t, Gru4recLearn *learn, Gru4recSequences *s, const float *vectors,
						const float *weights);

#endif							/* RECSYS_GRU4REC_TRAIN_H */
