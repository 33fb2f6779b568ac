/*
 * neighbors.c
 *	  Lists of neighbours: storage, what touched them, what is published of
 *	  them.  The algorithm stands in neighbors_refresh.c.
 */
#include "numeric/neighbors.h"

#include <math.h>

#include "numeric/neighbors_impl.h"

/* Below this part of its largest sum of squares an item counts as worn: its
 * norm is then a quarter, and of two such items the product a sixteenth, so
 * that a dot's error of 2^-19 of the largest product is 3e-5 of the present. */
#define WORN_PART	(1.0f / 16)

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

bool
nl_reach(NeighborLists *nl, int32_t max_item)
{
	size_t		n = (size_t) nl->nitems,
				more = n;

	if (max_item < nl->nitems)
		return true;
	if (more == 0)
		more = 256;
	while (more <= (size_t) max_item)
		more += more / 2;
#define GROW(array) \
	do { \
		void	   *p_ = grow(nl, nl->array, n, more, sizeof(*nl->array)); \
		if (!p_) \
			return false; \
		nl->array = p_; \
	} while (0)
	GROW(norms);
	GROW(gates);
	GROW(pending);
	GROW(lists);
	GROW(seen);
#undef GROW
	for (size_t i = n; i < more; i++)
	{
		nl->lists[i].floor = bottom();
		nl->seen[i] = -1;
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
		void	   *p = grow(nl, stack->items, stack->max, more, sizeof(int32_t));

		if (!p)
			return false;
		stack->items = p;
		stack->max = more;
	}
	stack->items[stack->n++] = item;
	return true;
}

/* Puts an item into a stack unless its flag says that it is there. */
bool
nl_mark(NeighborLists *nl, Stack *stack, int32_t item, uint8_t flag)
{
	if (nl->pending[item].flags & flag)
		return true;
	nl->pending[item].flags |= flag;
	return nl_push(nl, stack, item);
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
		nl->max_list = 2 * nl->k + 8;
		nl->shrinkage = (float) params->shrinkage;
		nl->min_support = params->min_support;
		nl->eps = (float) (params->eps > 0 ? params->eps : NEIGHBORS_EPS);
		nl->rows_only = params->rows_only;
		nl->scan = row_scan_function();
		nl->own = arena_alloc(arena, (SCAN_CELLS + SCAN_SLACK) * sizeof(int32_t));
		nl->theirs = arena_alloc(arena, (SCAN_CELLS + SCAN_SLACK) * sizeof(int32_t));
		nl->found = arena_alloc(arena, (2 * (size_t) nl->max_list + SCAN_CELLS) * sizeof(RankKey));
	}
	if (!nl || !nl->own || !nl->theirs || !nl->found || !nl_reach(nl, 1))
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

static inline double
sumsq_now(const NeighborLists *nl, int32_t item)
{
	double		sumsq = item < nl->nsumsq ? nl->sumsq[item] : 0;

	return sumsq > 0 ? sumsq : 0;
}

float
nl_norm_now(const NeighborLists *nl, int32_t item)
{
	return (float) sqrt(sumsq_now(nl, item));
}

/* The most that a dot falls by when terms delta * rs[x] are added. */
static double
largest_fall(const double *rs, int n, double delta)
{
	double		fall = 0;

	for (int x = 0; x < n; x++)
	{
		double		f = -delta * rs[x];

		fall = f > fall ? f : fall;
	}
	return fall;
}

/* Without a store, a pair without common users leaves no trace in the rows:
 * remembers the pairs that a removal may have ended. */
static bool
note_losses(NeighborLists *nl, int32_t i, const int32_t *js, int n)
{
	Losses	   *l = &nl->losses;

	if (l->n + (size_t) n > l->max)
	{
		size_t		max = l->max ? l->max : 1024;
		size_t		unique = 0;
		void	   *p;

		rank_sort(l->pairs, l->n);
		for (size_t x = 0; x < l->n; x++)
			if (x == 0 || l->pairs[x] != l->pairs[x - 1])
				l->pairs[unique++] = l->pairs[x];
		l->n = unique;
		while (max < 2 * (l->n + (size_t) n))
			max *= 2;
		if (max > l->max)
		{
			p = grow(nl, l->pairs, l->max, max, sizeof(uint64_t));
			if (!p)
				return false;
			l->pairs = p;
			l->max = max;
		}
	}
	for (int x = 0; x < n; x++)
		l->pairs[l->n++] = (uint64_t) i << 32 | (uint32_t) js[x];
	return true;
}

bool
neighbors_touch(NeighborLists *nl, int32_t i, const int32_t *js,
				const double *rs, int n, double delta)
{
	int32_t		max = i;
	Pending    *p;
	float		sumsq;
	double		fall;

	for (int x = 0; x < n; x++)
		max = js[x] > max ? js[x] : max;
	if (max >= nl->nitems && !nl_reach(nl, max))
		return false;
	p = &nl->pending[i];
	sumsq = (float) sumsq_now(nl, i);
	fall = largest_fall(rs, n, delta);
	if (fall > 0 && nl->rows_only && !note_losses(nl, i, js, n))
		return false;
	/* a little more, for the rounding of this sum */
	p->fall += (float) fall * 1.000001f;
	p->touches++;
	p->peak = sumsq > p->peak ? sumsq : p->peak;
	return nl_mark(nl, &nl->touched, i, TOUCHED);
}

bool
neighbors_touch_row(NeighborLists *nl, int32_t i)
{
	Pending    *p;

	if (!nl_reach(nl, i))
		return false;
	p = &nl->pending[i];
	p->fall = INFINITY;
	p->peak = (float) sumsq_now(nl, i);
	return nl_mark(nl, &nl->touched, i, TOUCHED);
}

bool
neighbors_touch_all(NeighborLists *nl, int32_t max_item)
{
	if (!nl_reach(nl, max_item))
		return false;
	nl->touched.n = nl->rescan.n = nl->nbatch = nl->next = 0;
	nl->losses.n = nl->batch_losses.n = 0;
	for (int32_t i = 1; i < nl->nitems; i++)
	{
		Pending    *p = &nl->pending[i];

		p->fall = 0;
		p->touches = 0;
		p->peak = (float) sumsq_now(nl, i);
		p->flags &= (uint8_t) ~(TOUCHED | IN_BATCH | SHORT_LIST);
		nl->norms[i] = nl_norm_now(nl, i);
		nl->lists[i].n = 0;
		nl->lists[i].floor = bottom();
		nl_open_gate(nl, i);
	}
	for (int32_t i = nl->nitems - 1; i > 0; i--)
		if ((i <= max_item || nl->lists[i].npublished > 0) &&
			!nl_mark(nl, &nl->rescan, i, SHORT_LIST))
			return false;
	nl->phase = PHASE_RESCAN;
	return true;
}

int32_t
neighbors_next_worn(NeighborLists *nl)
{
	while (nl->worn.n > 0)
	{
		int32_t		i = nl->worn.items[--nl->worn.n];

		nl->pending[i].flags &= (uint8_t) ~WORN;
		if ((float) sumsq_now(nl, i) < nl->pending[i].peak * WORN_PART)
			return i;
	}
	return 0;
}

/* ------------------------------------------------------------------ lists */

void
nl_open_gate(NeighborLists *nl, int32_t item)
{
	/* the margin covers the roundings of the inner loop */
	nl->gates[item] = rank_score(nl->lists[item].floor) * (1 - 2e-6f);
}

/* Where an item stands in a list, or -1. */
int
nl_find(const List *list, int32_t item)
{
	const uint32_t low = (uint32_t) ~item;
	int			n = list->n;
	int			x = 0;

	for (; x + 8 <= n; x += 8)
	{
		uint32_t	hit = 0;

		for (int y = 0; y < 8; y++)
			hit |= (uint32_t) ((uint32_t) list->keys[x + y] == low) << y;
		if (hit)
			return x + __builtin_ctz(hit);
	}
	for (; x < n; x++)
		if ((uint32_t) list->keys[x] == low)
			return x;
	return -1;
}

bool
nl_remove(NeighborLists *nl, int32_t j, int32_t i)
{
	List	   *list = &nl->lists[j];
	int			at = nl_find(list, i);

	if (at < 0)
		return true;
	list->keys[at] = list->keys[--list->n];
	if (list->n < nl->k && list->floor > bottom() &&
		!nl_mark(nl, &nl->rescan, j, SHORT_LIST))
		return false;
	return nl_mark(nl, &nl->changed, j, CHANGED);
}

bool
neighbors_forget(NeighborLists *nl, int32_t i)
{
	if (!nl_reach(nl, i))
		return false;
	for (int32_t j = 1; j < nl->nitems; j++)
	{
		List	   *list = &nl->lists[j];

		if (!nl_remove(nl, j, i))
			return false;
		for (int x = 0; x < list->npublished; x++)
			if (list->published[x] == i)
			{
				nl->pending[j].flags |= FORCED;
				if (!nl_mark(nl, &nl->changed, j, CHANGED))
					return false;
				break;
			}
	}
	nl->lists[i].n = 0;
	nl->lists[i].floor = bottom();
	nl->norms[i] = 0;
	nl->pending[i].peak = 0;
	nl->pending[i].fall = 0;
	if (!(nl->pending[i].flags & IN_BATCH))
		nl_open_gate(nl, i);
	return nl_mark(nl, &nl->changed, i, CHANGED);
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
		nl->pending[i].flags &= (uint8_t) ~QUEUED;
		nl->dirty.n--;
	}
	return 0;
}

int
neighbors_topk(const NeighborLists *nl, int32_t i, int32_t *items, float *scores)
{
	const List *list = &nl->lists[i];
	RankKey    *keys = nl->found;
	size_t		n = i < nl->nitems ? list->n : 0;

	if (n > 0)
		memcpy(keys, list->keys, n * sizeof(RankKey));
	if (n > (size_t) nl->k)
	{
		rank_select(keys, n, (size_t) nl->k);
		n = (size_t) nl->k;
	}
	rank_sort(keys, n);
	for (size_t x = 0; x < n; x++)
	{
		items[x] = rank_item(keys[x]);
		scores[x] = rank_score(keys[x]);
	}
	return (int) n;
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
	if (n > 0)
		neighbors_topk(nl, i, list->published, (float *) (list->published + n));
	list->npublished = (uint16_t) n;
	nl->pending[i].flags &= (uint8_t) ~(DIRTY | FORCED);
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
	if (n > 0)
	{
		memcpy(list->published, items, (size_t) n * sizeof(int32_t));
		memcpy(list->published + n, scores, (size_t) n * sizeof(float));
	}
	list->npublished = (uint16_t) n;
	return nl_mark(nl, &nl->changed, i, CHANGED);
}
