/*
 * test_assign.c
 *	  assign.h: the logarithm, the shares, and how few move.
 */
#include "unit.h"

#include "numeric/assign.h"

static uint64_t
random_64(Random *r)
{
	uint64_t	high = random_bits(r);

	return high << 32 | random_bits(r);
}

static void
logarithm(void)
{
	Random		r = {1};
	double		largest = 0;

	for (int i = 0; i < 100000; i++)
	{
		uint64_t	hash = random_64(&r) >> (i % 64);
		double		wait = (double) assign_wait(hash) / 4294967296.0;

		largest = fmax(largest, fabs(wait - (64 - log2((double) (hash | 1)))));
	}
	ok(largest < 1.0 / (1 << 29), "the logarithm is right within 2^-29: %g", largest);
	ok(assign_wait(0) == UINT64_C(64) << 32, "the longest wait");
	ok(assign_wait(UINT64_MAX) > 0 && assign_wait(UINT64_MAX) < 16, "the shortest wait");
	ok(assign_wait(UINT64_C(1) << 63) == UINT64_C(1) << 32, "half waits 1");
}

static void
draw(uint64_t *hashes, int n, int user)
{
	Random		r = {(uint64_t) user * 7919 + 17};

	for (int i = 0; i < 5; i++)
		random_bits(&r);
	for (int i = 0; i < n; i++)
		hashes[i] = random_64(&r);
}

#define USERS 200000

/* Who moves, and who moves to anybody but "grown", when shares change. */
typedef struct Moves
{
	double		share;
	int			astray;
} Moves;

static Moves
moves(const int32_t *before, const int32_t *after, int n, int grown)
{
	Moves		result = {0, 0};

	for (int user = 0; user < USERS; user++)
	{
		uint64_t	hashes[4];
		int			a,
					b;

		draw(hashes, n, user);
		a = assign_choose(hashes, before, n);
		b = assign_choose(hashes, after, n);
		result.share += a != b ? 1.0 / USERS : 0;
		result.astray += a != b && b != grown;
	}
	return result;
}

static void
chosen(void)
{
	const int32_t shares[] = {500000, 300000, 150000, 50000},
				grown[] = {400000, 240000, 120000, 240000},
				other[] = {400000, 300000, 150000, 150000},
				half[] = {500000, 500000},
				tenth[] = {900000, 100000};
	int			counts[4] = {0};
	double		chi = 0;
	Moves		m;

	for (int user = 0; user < USERS; user++)
	{
		uint64_t	hashes[4];

		draw(hashes, 4, user);
		counts[assign_choose(hashes, shares, 4)]++;
	}
	for (int i = 0; i < 4; i++)
	{
		double		expected = shares[i] / 1e6 * USERS;

		chi += (counts[i] - expected) * (counts[i] - expected) / expected;
	}
	ok(chi < 16.27, "shares are kept: chi square %.2f with 3 degrees, 16.27 is 0.1 %%", chi);

	m = moves(shares, grown, 4, 3);
	ok(m.astray == 0, "one grows, the others keep their proportions: all that move go to it");
	ok(fabs(m.share - 0.19) < 0.003, "and these are no more than must: %.4f", m.share);
	m = moves(half, tenth, 2, 0);
	ok(m.astray == 0 && fabs(m.share - 0.4) < 0.004, "two variants: no more than must: %.4f", m.share);
	m = moves(shares, other, 4, 3);
	ok(m.share < 2 * 0.1 / 1.1, "any change: within the bound of all methods without a memory: %.4f", m.share);
}

static void
edges(void)
{
	const uint64_t same[] = {12345, 12345, 12345};
	const int32_t equal[] = {333333, 333333, 333334},
				off[] = {0, 1000000, 0},
				none[] = {0, 0, 0};
	int			within = 0;

	ok(assign_choose(same, none, 3) == -1, "nobody wins without a share");
	ok(assign_choose(same, off, 3) == 1, "who has all wins");
	ok(assign_choose(same, equal, 2) == 0, "the first of equals wins");
	ok(assign_choose(same, equal, 3) == 2, "a millionth decides between equal tickets");
	ok(assign_within(0, 1) && !assign_within(0, 0), "the first of all is within any share but 0");
	ok(assign_within(UINT64_MAX, ASSIGN_WHOLE) && !assign_within(UINT64_MAX, ASSIGN_WHOLE - 1), "the last is within all only");
	for (int user = 0; user < USERS; user++)
	{
		uint64_t	hash;

		draw(&hash, 1, user);
		within += assign_within(hash, 100000);
	}
	ok(fabs(within / (double) USERS - 0.1) < 0.003, "a tenth is a tenth: %.4f", within / (double) USERS);
}

int
main(void)
{
	logarithm();
	chosen();
	edges();
	return unit_end();
}
