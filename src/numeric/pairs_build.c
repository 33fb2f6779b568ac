/*
 * pairs_build.c
 *	  The batch pass: for each item, sum up the histories of its users.
 *
 * The histories are transposed once (items -> users), then every row is one
 * run of rowsum over the users of the item.  The work is the sum over users
 * of the squared length of their history.
 */
#include "numeric/pairs_build.h"

#include <string.h>

#include "numeric/rowsum.h"

struct PairBuild
{
	PairStore  *ps;
	Histories	histories;
	Allocator	memory;
	RowSum	   *sum;
	int32_t		nitems;			/* largest item number plus 1 */
	int32_t		next;			/* item whose row comes next */
	int64_t		done;
	int64_t		total;
	int64_t    *offsets;		/* [nitems + 1]: users of item i are
								 * users[offsets[i] .. offsets[i + 1]) */
	int32_t    *users;
	float	   *weights;		/* r(u,i), parallel to users */
};

static void *
get(PairBuild *pb, size_t n, size_t element)
{
	return pb->memory.alloc(pb->memory.arg, size_mul(n, element));
}

static void
drop(PairBuild *pb, void *p)
{
	if (p)
		pb->memory.release(pb->memory.arg, p);
}

void
pairs_build_end(PairBuild *pb)
{
	drop(pb, pb->offsets);
	drop(pb, pb->users);
	drop(pb, pb->weights);
	if (pb->sum)
		rowsum_destroy(pb->sum);
	pb->memory.release(pb->memory.arg, pb);
}

/* Counting sort of all (user, item, weight) by item. */
static void
transpose(PairBuild *pb)
{
	const Histories *h = &pb->histories;
	int64_t    *ends = pb->offsets + 1; /* ends[i]: where the next of i goes */
	int64_t		all = h->offsets[h->nusers];
	int64_t		sum = 0;

	memset(pb->offsets, 0, ((size_t) pb->nitems + 1) * sizeof(int64_t));
	for (int64_t x = h->offsets[0]; x < all; x++)
		ends[h->items[x]]++;
	for (int32_t i = 0; i < pb->nitems; i++)
	{
		int64_t		n = ends[i];

		ends[i] = sum;
		sum += n;
	}
	for (int32_t u = 0; u < h->nusers; u++)
		for (int64_t x = h->offsets[u]; x < h->offsets[u + 1]; x++)
		{
			int64_t		at = ends[h->items[x]]++;

			pb->users[at] = u;
			pb->weights[at] = h->weights[x];
		}
}

PairBuild *
pairs_build_begin(PairStore *ps, const Histories *histories,
				  const Allocator *memory)
{
	PairBuild  *pb = memory->alloc(memory->arg, sizeof(PairBuild));
	int64_t		first = histories->offsets[0],
				all = histories->offsets[histories->nusers];
	int32_t		max = 0;

	if (!pb)
		return NULL;
	memset(pb, 0, sizeof(PairBuild));
	pb->ps = ps;
	pb->histories = *histories;
	pb->memory = *memory;
	for (int64_t x = first; x < all; x++)
		max = histories->items[x] > max ? histories->items[x] : max;
	for (int32_t u = 0; u < histories->nusers; u++)
	{
		int64_t		n = histories->offsets[u + 1] - histories->offsets[u];

		pb->total += n * n;
	}
	pb->nitems = max + 1;
	pb->next = 1;
	pb->sum = rowsum_create(memory, pairs_has_counts(ps));
	pb->offsets = get(pb, (size_t) pb->nitems + 1, sizeof(int64_t));
	pb->users = get(pb, (size_t) (all - first) + 1, sizeof(int32_t));
	pb->weights = get(pb, (size_t) (all - first) + 1, sizeof(float));
	if (!pb->sum || !pb->offsets || !pb->users || !pb->weights ||
		!rowsum_reach(pb->sum, max) || !pairs_expect(ps, max))
	{
		pairs_build_end(pb);
		return NULL;
	}
	transpose(pb);
	return pb;
}

static bool
build_row(PairBuild *pb, int32_t i)
{
	const Histories *h = &pb->histories;
	PairRowView row;

	for (int64_t x = pb->offsets[i]; x < pb->offsets[i + 1]; x++)
	{
		int64_t		from = h->offsets[pb->users[x]];
		int			n = (int) (h->offsets[pb->users[x] + 1] - from);

		if (x + 4 < pb->offsets[i + 1])
		{
			int64_t		ahead = h->offsets[pb->users[x + 4]];

			__builtin_prefetch(&h->items[ahead]);
			__builtin_prefetch(&h->weights[ahead]);
		}
		rowsum_add_float(pb->sum, pb->weights[x], h->items + from,
						 h->weights + from, n);
		pb->done += n;
	}
	rowsum_take(pb->sum, i, &row);
	return pairs_set_row(pb->ps, i, &row);
}

bool
pairs_build_step(PairBuild *pb, int64_t work)
{
	int64_t		until = pb->done + work;

	while (pb->next < pb->nitems && pb->done < until)
		if (!build_row(pb, pb->next++))
			return false;
	return true;
}

int64_t
pairs_build_done(const PairBuild *pb)
{
	return pb->done;
}

int64_t
pairs_build_total(const PairBuild *pb)
{
	return pb->total;
}
