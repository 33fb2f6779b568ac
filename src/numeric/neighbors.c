/*
 * neighbors.c
 *	  Lists of neighbours: their life, what touched them, what is published of
 *	  them.  The algorithm stands in neighbors_refresh.c.
 */
#include "numeric/neighbors.h"

#include <math.h>

#include "numeric/neighbors_impl.h"

/* ---------------------------------------------------------------- storage */

static void *
grow(NeighborLists *nl, void *old, size_t n, size_t more, size_t element)
{
	void	   *p = arena_alloc(nl->arena, size_mul(more, element));

	if (!p)
		return NULL;
	if (old)
	{
		memcpy(p, old, n * element);
		arena_free(nl->arena, old, n * element);
	}
	memset((char *) p + n * element, 0, (more - n) * element);
	return p;
}

#define GROW(array, n, more) \
	do { \
		void	   *p_ = grow(nl, array, n, more, sizeof(*(array))); \
		if (!p_) \
			return false; \
		array = p_; \
	} while (0)

bool
nl_reach(NeighborLists *nl, int32_t max_item)
{
	size_t		n = (size_t) nl->nitems,
				more = n ? n : 256;

	if (max_item < nl->nitems)
		return true;
	while (more <= (size_t) max_item)
		more += more / 2;
	GROW(nl->norms, n, more);
	GROW(nl->gates, n, more);
	GROW(nl->pending, n, more);
	GROW(nl->lists, n, more);
	GROW(nl->marks, n, more);
	GROW(nl->seen, n, more);
	GROW(nl->weights, n, more);
	for (size_t i = n; i < more; i++)
	{
		nl->lists[i].floor = bottom();
		nl->seen[i] = NOT_SHOWN;
	}
	nl->nitems = (int32_t) more;
	return true;
}

bool
nl_push(NeighborLists *nl, Stack *stack, int32_t item)
{
	if (stack->n == stack->max)
	{
		uint32_t	more = stack->max ? stack->max * 2 : 256;

		GROW(stack->items, stack->max, more);
		stack->max = more;
	}
	stack->items[stack->n++] = item;
	return true;
}

bool
nl_mark(NeighborLists *nl, Stack *stack, int32_t item, uint16_t flag)
{
	if (nl->pending[item].flags & flag)
		return true;
	nl->pending[item].flags |= flag;
	return nl_push(nl, stack, item);
}

static bool
get_buffers(NeighborLists *nl)
{
	size_t		list = (size_t) nl->max_list;
	size_t		room = SCAN_CELLS + SCAN_SLACK;

	room = list > room ? list : room;
	nl->own = arena_alloc(nl->arena, room * sizeof(int32_t));
	nl->theirs = arena_alloc(nl->arena, room * sizeof(int32_t));
	nl->found = arena_alloc(nl->arena, (2 * list + SCAN_CELLS) * sizeof(RankKey));
	nl->keys = arena_alloc(nl->arena, list * sizeof(RankKey));
	if (nl->measure == MEASURE_LLR)
	{
		nl->memo = arena_alloc(nl->arena, LLR_MEMO * sizeof(LlrMemo));
		if (!nl->memo)
			return false;
		memset(nl->memo, 0, LLR_MEMO * sizeof(LlrMemo));
	}
	return nl->own && nl->theirs && nl->found && nl->keys;
}

NeighborLists *
neighbors_create(const Allocator *memory, size_t max_bytes,
				 const NeighborParams *params)
{
	Arena	   *arena = arena_create(memory, max_bytes);
	NeighborLists *nl;

	if (!arena)
		return NULL;
	nl = arena_alloc(arena, sizeof(NeighborLists));
	if (nl)
	{
		memset(nl, 0, sizeof(NeighborLists));
		nl->arena = arena;
		nl->k = params->k < 1 ? 1 : params->k > 10000 ? 10000 : params->k;
		/* about 2k, and what fits the block */
		nl->max_list = (int) (arena_round((2 * (size_t) nl->k + 6) * ENTRY_BYTES) / ENTRY_BYTES);
		nl->shrinkage = (float) params->shrinkage;
		nl->min_support = params->min_support;
		nl->eps = (float) (params->eps > 0 ? params->eps : NEIGHBORS_EPS);
		nl->early_eps = (float) params->early_eps;
		nl->strict = nl->early_eps <= nl->eps;
		nl->drift = (float) (params->drift != 0 ? params->drift : NEIGHBORS_DRIFT);
		nl->normalize = params->normalize;
		nl->trust = params->trust;
		nl->sumsq_of = params->sumsq;
		nl->arg = params->arg;
		nl->measure = params->measure;
		nl->relative = measure_is_unbounded(params->measure);
		nl->scan = row_scan_function();
	}
	if (!nl || !get_buffers(nl) || !nl_reach(nl, 1))
	{
		arena_destroy(arena);
		return NULL;
	}
	return nl;
}

void
neighbors_destroy(NeighborLists *nl)
{
	arena_destroy(nl->arena);
}

size_t
neighbors_bytes(const NeighborLists *nl)
{
	return arena_bytes(nl->arena);
}

NeighborsWork
neighbors_work(const NeighborLists *nl)
{
	return nl->work;
}

/* ---------------------------------------------------------------- touches */

void
neighbors_set_sumsq(NeighborLists *nl, const double *sumsq, int32_t n)
{
	nl->sumsq = sumsq;
	nl->nsumsq = n;
}

void
neighbors_set_total(NeighborLists *nl, double total)
{
	nl->total = total;
	if (nl->memo)
		memset(nl->memo, 0, LLR_MEMO * sizeof(LlrMemo));
}

static inline double
sumsq_now(const NeighborLists *nl, int32_t item)
{
	double		sumsq = nl->sumsq_of ? nl->sumsq_of(nl->arg, item) :
		item < nl->nsumsq ? nl->sumsq[item] : 0;

	return sumsq > 0 ? sumsq : 0;
}

float
nl_norm_now(const NeighborLists *nl, int32_t item)
{
	double		sumsq = sumsq_now(nl, item);

	return (float) (nl->measure == MEASURE_COSINE ? sqrt(sumsq) : sumsq);
}

bool
nl_has_drifted(const NeighborLists *nl, int32_t i)
{
	double		used = (double) nl->norms[i] * nl->norms[i];

	if (nl->measure != MEASURE_COSINE)
		return fabs(sumsq_now(nl, i) - nl->norms[i]) >
			(nl->measure == MEASURE_LLR ? 0 : fmax(nl->drift, 0) * nl->norms[i]);
	return nl->drift <= 0 || fabs(sumsq_now(nl, i) - used) > 2 * nl->drift * used;
}

static bool
log_pairs(NeighborLists *nl, int32_t i, const int32_t *js, const double *rs,
		  int n, double delta)
{
	Pairs	   *p = &nl->pairs;
	bool		counted = nl->min_support > 1;	/* then a score can also end by its count */

	if (p->n + (uint32_t) n > p->max)
	{
		uint32_t	more = 2 * p->max + (uint32_t) n + 256;

		GROW(p->pairs, p->max, more);
		p->max = more;
	}
	for (int x = 0; x < n; x++)
		p->pairs[p->n++] = (Pair) {i, counted || delta * rs[x] < 0 ? -js[x] : js[x]};
	nl->pending[i].pairs += (uint32_t) n;
	return true;
}

bool
neighbors_touch(NeighborLists *nl, int32_t i, const int32_t *js,
				const double *rs, int n, double delta)
{
	int32_t		max = i;
	Pending    *p;
	float		sumsq;

	for (int x = 0; x < n; x++)
		max = js[x] > max ? js[x] : max;
	if (max >= nl->nitems && !nl_reach(nl, max))
		return false;
	p = &nl->pending[i];
	sumsq = (float) sumsq_now(nl, i);
	p->peak = sumsq > p->peak ? sumsq : p->peak;
	if (!(p->flags & WHOLE))
	{
		if (nl->rows_only || p->pairs + (uint32_t) n > p->max_pairs ||
			nl_has_drifted(nl, i))
			p->flags |= WHOLE;
		else if (!log_pairs(nl, i, js, rs, n, delta))
			return false;
	}
	return nl_mark(nl, &nl->touched, i, TOUCHED);
}

bool
neighbors_touch_row(NeighborLists *nl, int32_t i)
{
	if (!nl_reach(nl, i))
		return false;
	nl->pending[i].peak = (float) sumsq_now(nl, i);
	nl->pending[i].flags |= WHOLE;
	return nl_mark(nl, &nl->touched, i, TOUCHED);
}

bool
neighbors_touch_all(NeighborLists *nl, int32_t max_item)
{
	if (!nl_reach(nl, max_item))
		return false;
	nl->touched.n = nl->batch.n = nl->rescan.n = 0;
	nl->pairs.n = nl->batch_pairs.n = 0;
	for (int32_t i = 1; i < nl->nitems; i++)
	{
		Pending    *p = &nl->pending[i];

		p->pairs = p->max_pairs = 0;
		p->peak = (float) sumsq_now(nl, i);
		p->flags &= (uint16_t) ~(TOUCHED | WHOLE | IN_BATCH | SHORT_LIST);
		nl->norms[i] = nl_norm_now(nl, i);
		nl->lists[i].nmembers = 0;
		nl_empty(nl, i);
	}
	for (int32_t i = nl->nitems - 1; i > 0; i--)
		if ((i <= max_item || nl->lists[i].npublished > 0) &&
			!nl_mark(nl, &nl->rescan, i, SHORT_LIST))
			return false;
	nl->phase = PHASE_RESCAN;
	nl->weigh_item = 1;
	nl->weighed = 0;
	return true;
}

bool
neighbors_behind(const NeighborLists *nl)
{
	return nl->touched.n > 0;
}

bool
neighbors_forget(NeighborLists *nl, int32_t i)
{
	List	   *list;

	if (!nl_reach(nl, i))
		return false;
	list = &nl->lists[i];
	for (uint32_t x = 0; x < list->nmembers; x++)
		if (!nl_remove(nl, list->members[x], i))
			return false;
	list->nmembers = 0;
	for (int32_t j = 1; j < nl->nitems; j++)
		for (int x = 0; x < nl->lists[j].npublished; x++)
			if (nl->lists[j].published[x] == i)
			{
				nl->pending[j].flags |= FORCED;
				if (!nl_mark(nl, &nl->changed, j, CHANGED))
					return false;
				break;
			}
	nl->norms[i] = 0;
	nl->weights[i] = 0;
	nl->pending[i].peak = 0;
	nl_empty(nl, i);
	return nl_mark(nl, &nl->changed, i, CHANGED);
}

int32_t
neighbors_next_worn(NeighborLists *nl)
{
	while (nl->worn.n > 0)
	{
		int32_t		i = nl->worn.items[--nl->worn.n];

		nl->pending[i].flags &= (uint16_t) ~WORN;
		if (sumsq_now(nl, i) < nl->pending[i].peak * WORN_PART)
			return i;
	}
	return 0;
}

/* -------------------------------------------------------------- published */

int32_t
neighbors_next_dirty(NeighborLists *nl)
{
	while (nl->dirty.n > 0)
	{
		int32_t		i = nl->dirty.items[nl->dirty.n - 1];

		if (nl->pending[i].flags & DIRTY)
			return i;
		nl->pending[i].flags &= (uint16_t) ~QUEUED;
		nl->dirty.n--;
	}
	nl->weighed = 0;
	return 0;
}

bool
neighbors_put_off(NeighborLists *nl)
{
	while (nl->later.n > 0)
	{
		if (nl->pending[nl->later.items[nl->later.n - 1]].flags & LATER)
			return true;
		nl->later.n--;
	}
	return nl->off_weights.n > 0;
}

bool
neighbors_strict(NeighborLists *nl, bool strict)
{
	nl->strict = strict || nl->early_eps <= nl->eps;
	if (!nl->strict)
		return true;
	for (; nl->off_weights.n > 0; nl->off_weights.n--)
	{
		int32_t		i = nl->off_weights.items[nl->off_weights.n - 1];

		nl->pending[i].flags &= (uint16_t) ~OFF_WEIGHT;
		if (!nl_mark(nl, &nl->trusts, i, TRUST))
			return false;
	}
	for (; neighbors_put_off(nl); nl->later.n--)
	{
		int32_t		i = nl->later.items[nl->later.n - 1];

		if (!nl_mark(nl, &nl->changed, i, CHANGED))
			return false;
		nl->pending[i].flags &= (uint16_t) ~LATER;
	}
	return true;
}

/* Makes nl->keys the best of i, in order. */
static void
sort_best(NeighborLists *nl, int32_t i)
{
	size_t		n = nl->lists[i].n;

	if (nl->sorted == i && i != 0)
		return;
	nl_keys(nl, &nl->lists[i]);
	if (n > (size_t) nl->k)
	{
		rank_select(nl->keys, n, (size_t) nl->k);
		n = (size_t) nl->k;
	}
	rank_sort(nl->keys, n);
	nl->sorted = i;
	nl->nsorted = (int) n;
}

int
neighbors_topk(NeighborLists *nl, int32_t i, int32_t *items, float *scores)
{
	if (i >= nl->nitems)
		return 0;
	sort_best(nl, i);
	for (int x = 0; x < nl->nsorted; x++)
	{
		items[x] = rank_item(nl->keys[x]);
		scores[x] = measure_score(nl->measure, rank_score(nl->keys[x]), nl->shrinkage);
	}
	return nl->nsorted;
}

/* Room for n published entries: items, then scores. */
static bool
reserve_published(NeighborLists *nl, List *list, int n)
{
	size_t		bytes = arena_round((size_t) n * 8);

	if (n <= list->maxpublished)
		return true;
	if (list->published)
		arena_free(nl->arena, list->published, (size_t) list->maxpublished * 8);
	list->maxpublished = 0;
	list->published = arena_alloc(nl->arena, bytes);
	if (!list->published)
		return false;
	list->maxpublished = (uint16_t) (bytes / 8);
	return true;
}

bool
neighbors_published(NeighborLists *nl, int32_t i)
{
	List	   *list = &nl->lists[i];
	int			n = list->n < nl->k ? list->n : nl->k;

	list->npublished = 0;
	if (!reserve_published(nl, list, n))
		return false;
	sort_best(nl, i);
	for (int x = 0; x < n; x++)
	{
		list->published[x] = rank_item(nl->keys[x]);
		((float *) (list->published + n))[x] = rank_score(nl->keys[x]);
	}
	list->npublished = (uint16_t) n;
	nl_show(nl, i);
	nl->pending[i].flags &= (uint16_t) ~(DIRTY | FORCED | LATER);
	return true;
}

bool
neighbors_load_published(NeighborLists *nl, int32_t i, const int32_t *items,
						 const float *scores, int n)
{
	int32_t		max = i;
	List	   *list;

	for (int x = 0; x < n; x++)
		max = items[x] > max ? items[x] : max;
	if (!nl_reach(nl, max))
		return false;
	list = &nl->lists[i];
	list->npublished = 0;
	if (n > nl->k)
	{
		/* made with a larger k: whatever it is, it is to be written again */
		n = nl->k;
		nl->pending[i].flags |= FORCED;
	}
	if (!reserve_published(nl, list, n))
		return false;
	for (int x = 0; x < n; x++)
	{
		list->published[x] = items[x];
		((float *) (list->published + n))[x] = measure_rank_of_score(nl->measure, scores[x], nl->shrinkage);
	}
	list->npublished = (uint16_t) n;
	nl_show(nl, i);
	return nl_mark(nl, &nl->changed, i, CHANGED);
}
