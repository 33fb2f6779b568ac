/*
 * topk.c
 *	  See topk.h.
 */
#include "numeric/topk.h"

static inline void
swap(RankKey *a, RankKey *b)
{
	RankKey		t = *a;

	*a = *b;
	*b = t;
}

/* ------------------------------------------------------------ sort, select */

static void
insertion_sort(RankKey *keys, size_t n)
{
	for (size_t i = 1; i < n; i++)
	{
		RankKey		key = keys[i];
		size_t		j = i;

		for (; j > 0 && keys[j - 1] < key; j--)
			keys[j] = keys[j - 1];
		keys[j] = key;
	}
}

/* Restores the heap (worst on top) below "at". */
static void
sift_down(RankKey *heap, size_t n, size_t at)
{
	RankKey		key = heap[at];

	for (;;)
	{
		size_t		child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && heap[child + 1] < heap[child])
			child++;
		if (heap[child] >= key)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = key;
}

static void
heap_sort(RankKey *keys, size_t n)
{
	for (size_t i = n / 2; i-- > 0;)
		sift_down(keys, n, i);
	for (size_t i = n; i-- > 1;)
	{
		swap(&keys[0], &keys[i]);
		sift_down(keys, i, 0);
	}
}

/*
 * Splits keys into [0, p) not worse and [p, n) not better than a pivot, the
 * median of three; 0 < p < n.  n > 2.
 */
static size_t
partition(RankKey *keys, size_t n)
{
	RankKey		a = keys[0],
				b = keys[n / 2],
				c = keys[n - 1],
				pivot;
	size_t		i = 0,
				j = n - 1;

	pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
	for (;;)
	{
		while (keys[i] > pivot)
			i++;
		while (keys[j] < pivot)
			j--;
		if (i >= j)
			return i > 0 ? i : 1;
		swap(&keys[i++], &keys[j--]);
	}
}

static void
sort_within(RankKey *keys, size_t n, int depth)
{
	while (n > 24)
	{
		size_t		p;

		if (depth-- == 0)
		{
			heap_sort(keys, n);
			return;
		}
		p = partition(keys, n);
		sort_within(keys + p, n - p, depth);
		n = p;
	}
	insertion_sort(keys, n);
}

static int
depth_limit(size_t n)
{
	int			depth = 4;

	for (; n > 1; n >>= 1)
		depth += 2;
	return depth;
}

void
rank_sort(RankKey *keys, size_t n)
{
	sort_within(keys, n, depth_limit(n));
}

void
rank_select(RankKey *keys, size_t n, size_t k)
{
	int			depth = depth_limit(n);

	while (n > 24 && k < n)
	{
		size_t		p;

		if (depth-- == 0)
		{
			heap_sort(keys, n);
			return;
		}
		p = partition(keys, n);
		if (k <= p)
			n = p;
		else
		{
			keys += p;
			n -= p;
			k -= p;
		}
	}
	if (k < n)
		insertion_sort(keys, n);
}

/* ------------------------------------------------------------------- top k */

void
topk_init(TopK *top, RankKey *heap, size_t k)
{
	top->heap = heap;
	top->k = k;
	top->n = 0;
	top->bar = k > 0 ? 0 : UINT64_MAX;
}

void
topk_insert(TopK *top, RankKey key)
{
	if (top->n < top->k)
	{
		top->heap[top->n++] = key;
		if (top->n < top->k)
			return;
		for (size_t i = top->n / 2; i-- > 0;)
			sift_down(top->heap, top->n, i);
	}
	else
	{
		top->heap[0] = key;
		sift_down(top->heap, top->n, 0);
	}
	top->bar = top->heap[0];
}

void
topk_push_all(TopK *top, const int32_t *items, int32_t first,
			  const float *scores, size_t n)
{
	for (size_t x = 0; x < n; x++)
		topk_push(top, items ? items[x] : first + (int32_t) x, scores[x]);
}

size_t
topk_finish(TopK *top, int32_t *items, float *scores)
{
	size_t		n = top->n;

	rank_sort(top->heap, n);
	for (size_t x = 0; x < n; x++)
	{
		items[x] = rank_item(top->heap[x]);
		scores[x] = rank_score(top->heap[x]);
	}
	topk_init(top, top->heap, top->k);
	return n;
}
