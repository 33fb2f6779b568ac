/*
 * evaluate.h
 *	  The parts of an evaluation in the worker: read, split, rank, add up.
 */
#ifndef RECSYS_EVALUATE_H
#define RECSYS_EVALUATE_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "catalog/catalog.h"
#include "metrics/evaluation.h"
#include "stream/trainings.h"
#include "train/fit.h"

/* All that is known, by user, oldest first. */
typedef struct Interactions
{
	int32		nusers;
	int32	   *users;			/* their numbers, rising */
	int64	   *offsets;
	int32	   *items;
	float	   *weights;		/* decayed to now */
	TimestampTz *times;
	int32		max_item;
} Interactions;

/* What is held out, by user. */
typedef struct HeldOut
{
	int32		nusers;
	int32	   *rows;			/* of the training part, -1: not there */
	int32	   *users;			/* their numbers */
	int64	   *offsets;
	int32	   *items;			/* below 0: unknown to the source */
	float	   *values;
} HeldOut;

/* evaluate_read.c; under the active snapshot, into CurrentMemoryContext */
extern void evaluation_read(const RecsysSource *source, Interactions *all);
extern void interactions_free(Interactions *all);

/* evaluate_split.c: fold counts from 1.  The training part has all users. */
extern void evaluation_split(const Evaluation *e, const TestRow *test, const Interactions *all,
							 int fold, Histories *train, HeldOut *held_out);
/* A number for a seed and two others, the same everywhere. */
extern uint64 evaluation_hash(int64 seed, int32 a, int32 b);

/* evaluate_rank.c */
typedef struct Sums
{
	int64		users;
	int64		interactions;
	double		precision,
				recall,
				ndcg,
				average_precision,
				reciprocal_rank,
				hit_rate;
	double		coverage;		/* sum over folds */
	int			folds;
	int64		listed;			/* items recommended, to all users together */
	double		information;	/* sum over these of -log2 of the share of users */
	int64		ratings;
	double		squares,
				absolutes;
} Sums;

extern void evaluation_rank(const Evaluation *e, const FitAlgorithm *fit, bool ranks_all,
							void *state, const FitInput *input, const HeldOut *held_out,
							Sums *sums);

#endif							/* RECSYS_EVALUATE_H */
