/*
 * sequence.c
 *	  See sequence.h.
 */
#include "numeric/sequence.h"

/* 1 / gap, 0 if they are too far apart. */
static inline double
units_of(int gap, int max_gap)
{
	return gap <= max_gap ? (double) SEQUENCE_UNIT / gap : 0;
}

/* Pairs of the item itself with those before or behind it. */
static int
own_pairs(const int32_t *others, int n, int at, bool earlier, int sign, int max_gap,
		  int32_t *numbers, double *units)
{
	int			count = 0;

	for (int gap = 1; gap <= max_gap; gap++)
	{
		int			place = earlier ? at + gap - 1 : at - gap;

		if (place < 0 || place >= n)
			break;
		numbers[count] = earlier ? sequence_later(others[place]) : sequence_earlier(others[place]);
		units[count++] = sign * units_of(gap, max_gap);
	}
	return count;
}

/* Pairs of the one "back" places before the item with those behind it. */
static int
spanning_pairs(const int32_t *others, int n, int at, int back, int sign, int max_gap,
			   int32_t *numbers, double *units)
{
	int			count = 0;

	for (int ahead = 1; back + ahead - 1 <= max_gap && at + ahead - 1 < n; ahead++)
	{
		numbers[count] = sequence_later(others[at + ahead - 1]);
		units[count++] = sign * (units_of(back + ahead, max_gap) - units_of(back + ahead - 1, max_gap));
	}
	return count;
}

bool
sequence_move(const int32_t *others, int n, int32_t item, int at, int sign, int max_gap,
			  SequenceSink sink, void *arg)
{
	int32_t		numbers[SEQUENCE_MAX_GAP];
	double		units[SEQUENCE_MAX_GAP];
	int			count;

	count = own_pairs(others, n, at, true, sign, max_gap, numbers, units);
	if (count > 0 && !sink(arg, sequence_earlier(item), numbers, units, count))
		return false;
	count = own_pairs(others, n, at, false, sign, max_gap, numbers, units);
	if (count > 0 && !sink(arg, sequence_later(item), numbers, units, count))
		return false;
	for (int back = 1; back <= max_gap && back <= at; back++)
	{
		count = spanning_pairs(others, n, at, back, sign, max_gap, numbers, units);
		if (count > 0 && !sink(arg, sequence_earlier(others[at - back]), numbers, units, count))
			return false;
	}
	return true;
}

int
sequence_row(const int32_t *items, int n, int at, bool earlier, int max_gap,
			 int32_t *numbers, double *units)
{
	/* those behind the item begin one place further */
	return earlier ? own_pairs(items + at + 1, n - at - 1, 0, true, 1, max_gap, numbers, units)
		: own_pairs(items, at, at, false, 1, max_gap, numbers, units);
}
