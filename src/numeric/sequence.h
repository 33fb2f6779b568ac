/*
 * sequence.h
 *	  How often an item comes after another in people's histories, kept up by
 *	  deltas: after(i,j) = sum over the histories where j comes later than i of 1 / gap.
 *
 * A history is a sequence of different items, oldest first; the gap of two is the
 * difference of their places, and pairs further apart than max_gap do not
 * count.  When an item enters a sequence, it makes pairs with those near it, and those on
 * both sides of it come to be further apart.
 *
 * The counts are directed, while a PairStore (pairs.h) holds a symmetric matrix.  So
 * each item has two numbers in it, one as the earlier and one as the later of a
 * pair, and after(i,j) stands at (earlier(i), later(j)).  In the store 1 is
 * SEQUENCE_UNIT, of which all 1 / gap are whole numbers: sums are exact while
 * they are below 2^24, 6,657 direct successions.
 */
#ifndef RECSYS_NUMERIC_SEQUENCE_H
#define RECSYS_NUMERIC_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#define SEQUENCE_UNIT		2520
#define SEQUENCE_MAX_GAP	10

static inline int32_t
sequence_earlier(int32_t item)
{
	return 2 * item;
}

static inline int32_t
sequence_later(int32_t item)
{
	return 2 * item + 1;
}

static inline bool
sequence_is_earlier(int32_t number)
{
	return number % 2 == 0;
}

static inline int32_t
sequence_item(int32_t number)
{
	return number / 2;
}

/* The counts at (a, bs[x]), and symmetrically, move by units[x]; the bs are
 * different.  False ends the work. */
typedef bool (*SequenceSink) (void *arg, int32_t a, const int32_t *bs,
							  const double *units, int n);

/*
 * The item enters (sign 1) a sequence of n others before others[at], 0 <= at <= n, or leaves it
 * (sign -1).  What the sink gets is at most max_gap long.  False: the sink said so.
 */
extern bool sequence_move(const int32_t *others, int n, int32_t item, int at, int sign,
						  int max_gap, SequenceSink sink, void *arg);

/* The row of the item at this place of a sequence, as the earlier or the later
 * of its pairs: up to max_gap entries; returns how many. */
extern int	sequence_row(const int32_t *items, int n, int at, bool earlier, int max_gap,
						 int32_t *numbers, double *units);

#endif							/* RECSYS_NUMERIC_SEQUENCE_H */
