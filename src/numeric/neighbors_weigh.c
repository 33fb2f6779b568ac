/*
 * neighbors_weigh.c
 *	  Weights of items: trust / length of the item's own list, see neighbors.h.
 *
 * The weight of an item is one byte, on a scale of eighths of octaves, and stands in
 * every published row that lists the item.  It can move when the item's list
 * has moved, or its trust, so the rows about to be published are weighed first, and
 * the items that were touched.  If what was told
 * before is no longer right, all rows that show the item become dirty, too;
 * they are found among the item's members, since a row whose published items are
 * not all in its list is dirty itself.  Most of them are dirty anyway:
 * what moves the length of a list by a tenth moves its scores, and those are the
 * scores of that item in the lists of others.
 */
#include <math.h>

#include "numeric/neighbors_impl.h"

#define STEPS_PER_OCTAVE	8
#define WEIGHT_ONE			128

/* Steps by which a published weight may be off; a new one is off by up to 0.5.
 * The larger one is for rows that would have to be written while more changes come:
 * most of those are written for other reasons before it stops. */
#define SLACK				1.0
#define EARLY_SLACK			3.0

/* The length of the k best of the list. */
static double
list_length(NeighborLists *nl, int32_t i)
{
	const List *list = &nl->lists[i];
	int			n = list->n;
	double		sumsq = 0;

	nl_keys(nl, list);
	if (n > nl->k)
	{
		rank_select(nl->keys, (size_t) n, (size_t) nl->k);
		n = nl->k;
	}
	for (int x = 0; x < n; x++)
	{
		double		score = (double) measure_score(nl->measure, rank_score(nl->keys[x]), nl->shrinkage);

		sumsq += score * score;
	}
	return sqrt(sumsq);
}

/* In steps, not rounded. */
static double
weight_now(NeighborLists *nl, int32_t i)
{
	double		weight = nl->trust ? nl->trust(nl->arg, i) : 1;
	double		length = nl->normalize ? list_length(nl, i) : 1;
	double		steps;

	if (!(weight > 0 && length > 0))
		return WEIGHT_ONE;
	steps = WEIGHT_ONE + STEPS_PER_OCTAVE * log2(weight / length);
	return steps < 1 ? 1 : steps > UINT8_MAX ? UINT8_MAX : steps;
}

/* Its weight is not what the rows that list i show. */
static bool
tell_lists(NeighborLists *nl, int32_t i)
{
	const List *list = &nl->lists[i];

	for (uint32_t x = 0; x < list->nmembers; x++)
	{
		int32_t		j = list->members[x];
		int			at;

		if (nl->pending[j].flags & DIRTY)
			continue;
		at = nl_find(&nl->lists[j], i);
		if (at < 0 || nl->lists[j].shown[at] == NOT_SHOWN)
			continue;
		nl->pending[j].flags |= DIRTY | FORCED;
		if (!nl_mark(nl, &nl->dirty, j, QUEUED))
			return false;
	}
	return true;
}

static bool
weigh(NeighborLists *nl, int32_t i)
{
	double		steps;
	bool		told = nl->weights[i] != 0;

	if (nl->lists[i].n == 0)
		return true;
	steps = weight_now(nl, i);
	if (told && fabs(steps - nl->weights[i]) <= SLACK)
		return true;
	if (told && !nl->strict && fabs(steps - nl->weights[i]) <= EARLY_SLACK)
		return nl_mark(nl, &nl->off_weights, i, OFF_WEIGHT);
	nl->weights[i] = (uint8_t) lround(steps);
	return !told || tell_lists(nl, i);
}

NeighborsState
neighbors_weigh(NeighborLists *nl, int budget)
{
	if (!nl_weighted(nl))
		return NEIGHBORS_DONE;
	for (; nl->weigh_item < nl->nitems; nl->weigh_item++)
	{
		if (budget-- <= 0)
			return NEIGHBORS_MORE;
		if (!weigh(nl, nl->weigh_item))
			return NEIGHBORS_FAILED;
	}
	for (; nl->trusts.n > 0; nl->trusts.n--)
	{
		int32_t		i = nl->trusts.items[nl->trusts.n - 1];

		if (budget-- <= 0)
			return NEIGHBORS_MORE;
		if (!weigh(nl, i))
			return NEIGHBORS_FAILED;
		nl->pending[i].flags &= (uint16_t) ~TRUST;
	}
	/* it grows meanwhile */
	for (; nl->weighed < nl->dirty.n; nl->weighed++)
	{
		int32_t		i = nl->dirty.items[nl->weighed];

		if (budget-- <= 0)
			return NEIGHBORS_MORE;
		if ((nl->pending[i].flags & DIRTY) && !weigh(nl, i))
			return NEIGHBORS_FAILED;
	}
	return NEIGHBORS_DONE;
}

bool
neighbors_weights(NeighborLists *nl, int n, const int32_t *items, uint8_t *weights)
{
	for (int x = 0; x < n && nl_weighted(nl); x++)
	{
		uint8_t    *weight = &nl->weights[items[x]];

		/* no row has listed it since the start */
		if (*weight == 0)
			*weight = (uint8_t) lround(weight_now(nl, items[x]));
		weights[x] = *weight;
	}
	return nl_weighted(nl);
}

bool
neighbors_load_weights(NeighborLists *nl, int32_t i, const int32_t *items,
					   const uint8_t *weights, int n)
{
	if (!nl_weighted(nl))
	{
		if (weights)
			nl->pending[i].flags |= FORCED;
		return true;
	}
	if (!weights)
	{
		nl->pending[i].flags |= FORCED;
		return true;
	}
	for (int x = 0; x < n; x++)
	{
		if (!nl_reach(nl, items[x]))
			return false;
		if (nl->weights[items[x]] == 0)
			nl->weights[items[x]] = weights[x];
		if (weights[x] == 0 || nl->weights[items[x]] != weights[x])
			nl->pending[i].flags |= FORCED;
	}
	return true;
}
