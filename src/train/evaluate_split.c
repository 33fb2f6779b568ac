/*
 * evaluate_split.c
 *	  What is held out, and what remains to train on.
 *
 *	last	each user's newest item, of users with at least two
 *	time	the newest share of all interactions, by time
 *	random	each interaction by itself, by a hash of seed, user and item: a share
 *			of them, or those of one of some folds
 *	table	the caller's rows; everything known is trained on, and rows
 *			that repeat an item of the user's history are left out
 *
 * The training part keeps all users, some maybe without a history.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "train/evaluate.h"

/* Finalizer of splitmix64 (Steele, Lea and Flood, 2014). */
uint64
evaluation_hash(int64 seed, int32 a, int32 b)
{
	uint64		x = (uint64) seed;

	for (int round = 0; round < 2; round++)
	{
		x += UINT64CONST(0x9E3779B97F4A7C15) + (uint64) (uint32) (round == 0 ? a : b);
		x = (x ^ (x >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
		x = (x ^ (x >> 27)) * UINT64CONST(0x94D049BB133111EB);
		x ^= x >> 31;
	}
	return x;
}

/* 0 <= ... < 1 */
static double
uniform(int64 seed, int32 user, int32 item)
{
	return (double) (evaluation_hash(seed, user, item) >> 11) / 9007199254740992.0;
}

static int
compare_times(const void *a, const void *b)
{
	TimestampTz x = *(const TimestampTz *) a,
				y = *(const TimestampTz *) b;

	return x < y ? -1 : x > y;
}

/* Interactions after it are held out: about the share that is wanted. */
static TimestampTz
time_limit(const Interactions *all, double share)
{
	int64		n = all->offsets[all->nusers];
	TimestampTz *times = palloc_extended(sizeof(TimestampTz) * (Size) Max(n, 1), MCXT_ALLOC_HUGE);
	TimestampTz limit;
	int64		kept = n - (int64) ceil(share * (double) n);

	memcpy(times, all->times, sizeof(TimestampTz) * (Size) n);
	qsort(times, n, sizeof(TimestampTz), compare_times);
	limit = kept > 0 ? times[kept - 1] : DT_NOEND;
	pfree(times);
	return limit;
}

/* out[i]: is interaction i held out? */
static void
choose(const Evaluation *e, const Interactions *all, int fold, bool *out)
{
	TimestampTz limit = e->split == SPLIT_TIME ? time_limit(all, e->share) : 0;
	double		from = e->folds > 0 ? (fold - 1.0) / e->folds : 0,
				upto = e->folds > 0 ? (double) fold / e->folds : e->share;

	for (int32 u = 0; u < all->nusers; u++)
	{
		int64		begin = all->offsets[u],
					end = all->offsets[u + 1];

		CHECK_FOR_INTERRUPTS();
		for (int64 i = begin; i < end; i++)
			switch (e->split)
			{
				case SPLIT_LAST:
					out[i] = i == end - 1 && end - begin > 1;
					break;
				case SPLIT_TIME:
					out[i] = all->times[i] > limit;
					break;
				case SPLIT_RANDOM:
					{
						double		place = uniform(e->seed, all->users[u], all->items[i]);

						out[i] = place >= from && place < upto;
						break;
					}
				case SPLIT_TABLE:
					out[i] = false;
					break;
			}
	}
}

static void
begin_held_out(HeldOut *h, int64 max_users, int64 max_items)
{
	memset(h, 0, sizeof(HeldOut));
	h->rows = palloc_extended(sizeof(int32) * (Size) (max_users + 1), MCXT_ALLOC_HUGE);
	h->users = palloc_extended(sizeof(int32) * (Size) (max_users + 1), MCXT_ALLOC_HUGE);
	h->offsets = palloc_extended(sizeof(int64) * (Size) (max_users + 1),
								 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	h->items = palloc_extended(sizeof(int32) * (Size) (max_items + 1), MCXT_ALLOC_HUGE);
	h->values = palloc_extended(sizeof(float) * (Size) (max_items + 1), MCXT_ALLOC_HUGE);
}

/* Begins with the first item of another user. */
static void
hold_out(HeldOut *h, int32 row, int32 user, int32 item, float value)
{
	int64		n = h->offsets[h->nusers];

	if (h->nusers == 0 || h->users[h->nusers - 1] != user)
	{
		h->rows[h->nusers] = row;
		h->users[h->nusers++] = user;
	}
	h->items[n] = item;
	h->values[n] = value;
	h->offsets[h->nusers] = n + 1;
}

/* ------------------------------------------------------------- given by table */

static int32
find_user(const Interactions *all, int32 user)
{
	int32		low = 0,
				high = all->nusers;

	while (low < high)
	{
		int32		mid = low + (high - low) / 2;

		if (all->users[mid] < user)
			low = mid + 1;
		else
			high = mid;
	}
	return low < all->nusers && all->users[low] == user ? low : -1;
}

static bool
in_history(const Interactions *all, int32 row, int32 item)
{
	if (row < 0)
		return false;
	for (int64 i = all->offsets[row]; i < all->offsets[row + 1]; i++)
		if (all->items[i] == item)
			return true;
	return false;
}

/* Rows come ordered by user and item; of a repeated pair the last one counts. */
static void
hold_out_table(const Interactions *all, const TestRow *test, int64 ntest, HeldOut *h)
{
	int32		row = -1;

	begin_held_out(h, ntest, ntest);
	for (int64 i = 0; i < ntest; i++)
	{
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (i == 0 || test[i].user != test[i - 1].user)
			row = find_user(all, test[i].user);
		if (i + 1 < ntest && test[i + 1].user == test[i].user && test[i + 1].item == test[i].item)
			continue;
		if (!in_history(all, row, test[i].item))
			hold_out(h, row, test[i].user, test[i].item, (float) test[i].value);
	}
}

/* ----------------------------------------------------------------- the two parts */

void
evaluation_split(const Evaluation *e, const TestRow *test, const Interactions *all, int fold,
				 Histories *train, HeldOut *held_out)
{
	int64		n = all->offsets[all->nusers];
	bool	   *out;
	int64	   *offsets;
	int32	   *items;
	float	   *weights;
	int64		kept = 0;

	if (e->split == SPLIT_TABLE)
	{
		*train = (Histories) {all->nusers, all->offsets, all->items, all->weights};
		hold_out_table(all, test, e->ntest, held_out);
		return;
	}
	out = palloc_extended(sizeof(bool) * (Size) Max(n, 1), MCXT_ALLOC_HUGE);
	offsets = palloc_extended(sizeof(int64) * ((Size) all->nusers + 1), MCXT_ALLOC_HUGE);
	items = palloc_extended(sizeof(int32) * (Size) Max(n, 1), MCXT_ALLOC_HUGE);
	weights = palloc_extended(sizeof(float) * (Size) Max(n, 1), MCXT_ALLOC_HUGE);
	choose(e, all, fold, out);
	begin_held_out(held_out, all->nusers, n);
	for (int32 u = 0; u < all->nusers; u++)
	{
		offsets[u] = kept;
		for (int64 i = all->offsets[u]; i < all->offsets[u + 1]; i++)
		{
			if (out[i])
			{
				hold_out(held_out, u, all->users[u], all->items[i], all->weights[i]);
				continue;
			}
			items[kept] = all->items[i];
			weights[kept++] = all->weights[i];
		}
	}
	offsets[all->nusers] = kept;
	pfree(out);
	*train = (Histories) {all->nusers, offsets, items, weights};
}
