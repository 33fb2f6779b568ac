/*
 * pairs_build.h
 *	  Fills a PairStore from all histories in one pass, in slices.
 */
#ifndef RECSYS_NUMERIC_PAIRS_BUILD_H
#define RECSYS_NUMERIC_PAIRS_BUILD_H

#include "numeric/item_rows.h"
#include "numeric/pairs.h"

typedef struct PairBuild PairBuild;

/* The store should be new.  The histories stay the caller's and must stay as
 * they are until the end.  NULL when there is no memory. */
extern PairBuild *pairs_build_begin(PairStore *ps, const Histories *histories,
									const Allocator *memory);
/* Builds some more rows, about "work" products' worth (a million take about
 * two milliseconds).  False: the limit or memory is reached. */
extern bool pairs_build_step(PairBuild *pb, int64_t work);
/* Products done and to do; equal when the store is complete. */
extern int64_t pairs_build_done(const PairBuild *pb);
extern int64_t pairs_build_total(const PairBuild *pb);
extern void pairs_build_end(PairBuild *pb);

#endif							/* RECSYS_NUMERIC_PAIRS_BUILD_H */
