/*
 * fit.h
 *	  Models offline: fitted to a given matrix in one process, then asked for
 *	  single users, without tables and versions.  What evaluate() runs.
 *
 * An algorithm's offline face computes with the kernels that its trainings, its
 * stream worker and its answers are made of, so that what is measured is what
 * will be served.
 */
#ifndef RECSYS_FIT_H
#define RECSYS_FIT_H

#include "postgres.h"

#include "models/model.h"
#include "numeric/pairs_build.h"
#include "numeric/search.h"
#include "train/trainer.h"

/* Tells of work done; also the place where interrupts are taken. */
typedef void (*FitProgress) (const char *phase, int64 done, int64 total);

typedef struct FitInput
{
	bool		explicit_feedback;
	const Jsonb *params;		/* complete */
	Histories	train;			/* rows of users, some maybe empty; items from 1 */
	int32		max_item;
	double		mean;			/* of all weights */
	FitProgress progress;
	Trainer    *trainer;		/* of the evaluation */
} FitInput;

/* A user to recommend to.  Arrays by item hold "stamp" where it is so. */
typedef struct FitUser
{
	int			n;				/* history */
	const int32 *items;
	const float *weights;
	int32		stamp;
	const int32 *excluded;		/* must not be recommended */
	int32	   *scored;			/* set by top(): the model has a score for it */
} FitUser;

typedef struct FitAlgorithm
{
	const char *name;			/* of the ModelAlgorithm */
	/* what the other callbacks get; all memory is CurrentMemoryContext's */
	void	   *(*fit) (const FitInput *input);
	/* up to k of the items that have a score and are not excluded, best first;
	 * NULL: none has one */
	int			(*top) (void *state, const FitUser *user, int k, SearchHit *hits);
	/* NaN: no prediction; NULL: never */
	double		(*predict) (void *state, const FitUser *user, int32 item);
} FitAlgorithm;

/* NULL if it has no offline face. */
extern const FitAlgorithm *fit_algorithm(const char *name);

#endif							/* RECSYS_FIT_H */
