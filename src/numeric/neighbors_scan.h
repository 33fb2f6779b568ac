/*
 * neighbors_scan.h
 *	  The inner loop of neighbors.c: picks the few cells of a row that matter.
 */
#ifndef RECSYS_NUMERIC_NEIGHBORS_SCAN_H
#define RECSYS_NUMERIC_NEIGHBORS_SCAN_H

#include <stdint.h>

/* Room that the outputs need behind the last cell asked for. */
#define SCAN_SLACK	16

typedef struct RowScan
{
	/* cells of row i; js NULL: cell c is item c, else item js[c] */
	const int32_t *js;
	const float *dots;
	/* by item */
	const float *norms;
	const float *gates;

	float		shrinkage;
	/* own: dot > bar * (norm * norms[j] + shrinkage) */
	float		norm;
	float		bar;
	/* theirs: a cell that was set, and
	 * (dot + fall) * lift > gates[j] * (base * norms[j] + shrinkage) */
	float		fall;
	float		lift;
	float		base;

	/* cells that pass, ascending */
	int32_t    *own;
	int32_t    *theirs;			/* NULL: not asked for */
	int32_t		nown;
	int32_t		ntheirs;
} RowScan;

/* Appends the cells of [from, to) that pass to own and theirs. */
typedef void (*RowScanFunction) (RowScan *scan, int32_t from, int32_t to);

/* The fastest that this processor runs.  All pick the same cells but for
 * rounding, for which callers leave a margin. */
extern RowScanFunction row_scan_function(void);

/* For tests: variant 0, 1, ...; NULL where the processor lacks it; false past
 * the last. */
extern int	row_scan_variant(int variant, RowScanFunction *function, const char **name);

#endif							/* RECSYS_NUMERIC_NEIGHBORS_SCAN_H */
