/*
 * evaluation.h
 *	  What the caller of recsys.evaluate() and the worker that does the work tell
 *	  each other, in one shared memory segment.
 *
 * The caller fills in the request before the worker starts, and reads the
 * answer after it has ended, so nothing here needs a lock.
 */
#ifndef RECSYS_EVALUATION_H
#define RECSYS_EVALUATION_H

#include "postgres.h"

#define EVALUATION_MAX_K 10000

typedef enum EvaluationSplit
{
	SPLIT_LAST,					/* each user's newest item */
	SPLIT_TIME,					/* the newest share of all interactions */
	SPLIT_RANDOM,				/* a random share, or one of some folds */
	SPLIT_TABLE					/* given by the caller */
} EvaluationSplit;

/* Rows of the answer, in this order. */
typedef enum EvaluationMetric
{
	METRIC_USERS,
	METRIC_INTERACTIONS,
	METRIC_PRECISION,
	METRIC_RECALL,
	METRIC_NDCG,
	METRIC_MAP,
	METRIC_MRR,
	METRIC_HIT_RATE,
	METRIC_COVERAGE,
	METRIC_NOVELTY,
	METRIC_RMSE,				/* explicit feedback only */
	METRIC_MAE,
	NMETRICS
} EvaluationMetric;

typedef struct Evaluation
{
	/* request */
	int			k;
	EvaluationSplit split;
	double		share;
	int			fold;			/* 1 .. folds; 0: all of them, one after the other */
	int			folds;			/* 0: a share */
	int64		seed;
	int			max_users;		/* 0: all */
	double		relevant_from;	/* ratings below are not relevant; -infinity: all are */
	Size		params;			/* offset of the model's parameters, a jsonb */
	Size		test;			/* offset of the test table's rows */
	int64		ntest;

	/* answer */
	bool		answered;
	double		values[NMETRICS];	/* NaN: does not apply */
} Evaluation;

/* A row of the caller's test table; rows of a user come together, and so do equal
 * items of a user.  Users and items that the source does not know have numbers
 * below 0, each its own. */
typedef struct TestRow
{
	int32		user;
	int32		item;
	double		value;			/* NaN without a value */
} TestRow;

/* What the worker is told in the training's area: where all this is. */
typedef struct EvaluationArea
{
	uint32		handle;			/* of the dynamic shared memory segment */
} EvaluationArea;

static inline const TestRow *
evaluation_test(const Evaluation *e)
{
	return (const TestRow *) ((const char *) e + e->test);
}

struct RecsysSource;

/* The caller's test table as rows, palloc'd (evaluate_test.c). */
extern TestRow *evaluation_read_test(const struct RecsysSource *source, Oid test, int64 *n);

#endif							/* RECSYS_EVALUATION_H */
