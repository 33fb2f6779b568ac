/*
 * assign.h
 *	  Which of some variants a hash draws, in given shares.
 *
 * Every variant draws a ticket for itself, evenly from 0 to 1, and waits
 * -log(ticket) / share; whoever waits least wins (rendezvous hashing with
 * weights, Schindelhauer and Schomaker 2005).  Waits are exponential with the
 * share as rate, so a variant wins as often as its share says.  When shares
 * change, few move: no more than must where there are two variants, or where
 * one changes and the others keep their proportions; and in general no method
 * without a memory moves fewer for one change but by moving more for another
 * (Moulton and Jiang 2018, "Maximally consistent sampling").
 *
 * All of it is whole numbers, so machines and compilers can't disagree.
 */
#ifndef RECSYS_NUMERIC_ASSIGN_H
#define RECSYS_NUMERIC_ASSIGN_H

#include <stdint.h>

/* What shares are counted in. */
#define ASSIGN_WHOLE	1000000

/* -log2 of hash / 2^64, in units of 2^-32, within 2^-29 of the exact; above 0, at most 2^38. */
extern uint64_t assign_wait(uint64_t hash);

/*
 * Number of the variant that wins; the first of equals.  Shares are from 0 to
 * ASSIGN_WHOLE, 0 never wins; -1 if all are 0.
 */
extern int	assign_choose(const uint64_t *hashes, const int32_t *shares, int n);

/* Is the hash within the first "share" of all? */
extern int	assign_within(uint64_t hash, int32_t share);

#endif							/* RECSYS_NUMERIC_ASSIGN_H */
