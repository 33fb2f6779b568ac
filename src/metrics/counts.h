/*
 * counts.h
 *	  The state of aggregates that count rows: a bigint array, changed in place.
 *
 * An array rather than "internal", so that any server can send it, add it up and
 * store it: counts of disjoint sets of rows are added element by element.
 */
#ifndef RECSYS_METRICS_COUNTS_H
#define RECSYS_METRICS_COUNTS_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"

/* Elements of a state; the initial conditions in SQL have as many. */
enum
{
	COUNT_TRIALS,				/* impressions, clicks of cvr, ratings */
	COUNT_HITS,					/* clicks, conversions, satisfied, promoters */
	COUNT_AGAINST,				/* detractors; of nps alone */
	COUNT_MOST
};

/* An aggregate's state, argument 0, of n elements. */
typedef struct Counts
{
	ArrayType  *array;			/* what a transition function returns */
	int64	   *values;
	int			n;
} Counts;

extern Counts counts_argument(FunctionCallInfo fcinfo, int n);

#endif							/* RECSYS_METRICS_COUNTS_H */
