/*
 * neighbors_scan.h
 *	  The inner loop of neighbors_refresh.c: picks the few cells of a row that
 *	  matter.
 */
#ifndef RECSYS_NUMERIC_NEIGHBORS_SCAN_H
#define RECSYS_NUMERIC_NEIGHBORS_SCAN_H

#include "numeric/pairs.h"

/* Room that the outputs need behind the last cell asked for. */
#define SCAN_SLACK	16

typedef struct RowScan
{
	const PairRowView *row;		/* of item i */
	/* by item */
	const float *norms;
	const float *gates;

	/* with product = norm * norms[j] + shrinkage, which are the item's own norm and the
	 * shrinkage of the cosine, or whatever measure_line() makes of them */
	float		norm;
	float		shrinkage;
	float		bar;			/* own: dot > bar * product; >= 0 */

	/* cells that pass, ascending */
	int32_t    *own;
	int32_t    *theirs;			/* dot > gates[j] * product; NULL: not asked for */
	int32_t		nown;
	int32_t		ntheirs;
} RowScan;

/* Appends the cells of [from, to) that pass to own and theirs.  from is a
 * multiple of PAIR_LINE. */
typedef void (*RowScanFunction) (RowScan *scan, int32_t from, int32_t to);

/* The fastest that this processor runs.  All pick the same cells but for
 * rounding, for which callers leave a margin. */
extern RowScanFunction row_scan_function(void);

/* For tests: variant 0, 1, ...; NULL where the processor lacks it; false past
 * the last. */
extern bool row_scan_variant(int variant, RowScanFunction *function, const char **name);

#endif							/* RECSYS_NUMERIC_NEIGHBORS_SCAN_H */
