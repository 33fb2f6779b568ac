/*
 * assign.c
 *	  See assign.h.
 */
#include "numeric/assign.h"

#define FRACTION_BITS	32

/*
 * The whole part of the logarithm is the place of the first bit.  Squaring what
 * is left, a number from 1 to 2, gives one more binary digit each time.
 */
uint64_t
assign_wait(uint64_t hash)
{
	uint64_t	log = 63,
				rest;			/* from 1 to 2, in units of 2^-31 */

	hash |= 1;
	while (!(hash >> 63))
	{
		hash <<= 1;
		log--;
	}
	rest = hash >> 32;
	for (int i = 0; i < FRACTION_BITS; i++)
	{
		uint64_t	square = rest * rest;

		log = log << 1 | square >> 63;
		rest = square >> 63 ? square >> 32 : square >> 31;
	}
	return (UINT64_C(64) << FRACTION_BITS) - log;
}

int
assign_choose(const uint64_t *hashes, const int32_t *shares, int n)
{
	uint64_t	least = 0;
	int			best = -1;

	for (int i = 0; i < n; i++)
	{
		uint64_t	wait;

		if (shares[i] <= 0)
			continue;
		wait = assign_wait(hashes[i]);
		/* wait / shares[i] < least / shares[best]; products are below 2^58 */
		if (best < 0 || wait * (uint64_t) shares[best] < least * (uint64_t) shares[i])
		{
			best = i;
			least = wait;
		}
	}
	return best;
}

int
assign_within(uint64_t hash, int32_t share)
{
	return (int32_t) ((hash >> 32) * ASSIGN_WHOLE >> 32) < share;
}
