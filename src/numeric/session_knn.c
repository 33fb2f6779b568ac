/*
 * session_knn.c
 *	  Nearest sessions, see session_knn.h.
 *
 * Who was evicted from the pool stays in its hash: it is older than all that are in
 * the pool from then on, so meeting it again ends a scan.
 */
#include "numeric/session_knn.h"

#include <stdlib.h>
#include <string.h>

#define MIN_SLOTS 1024

int32_t
session_query(const int32_t *items, int32_t n, int32_t last, SessionDecay decay,
			  SessionClick *out)
{
	int32_t		length = n < last ? n : last;
	int32_t		different = 0;

	for (int32_t position = 0; position < length; position++)
	{
		int32_t		item = items[n - 1 - position];
		int32_t		x = 0;

		while (x < different && out[x].item != item)
			x++;
		if (x == different)
			out[different++] = (SessionClick) {item, position, 1};
	}
	for (int32_t x = 0; x < different; x++)
		if (decay == SESSION_DECAY_LINEAR)
			out[x].weight = (double) (length - out[x].position) / different;
		else if (decay == SESSION_DECAY_HARMONIC)
			out[x].weight = 1.0 / (out[x].position + 1);
	return different;
}

int32_t
session_match(const SessionClick *query, int32_t nquery, const int32_t *items, int32_t n)
{
	for (int32_t x = 0; x < nquery; x++)
		for (int32_t i = 0; i < n; i++)
			if (items[i] == query[x].item)
				return query[x].position;
	return -1;
}

/* ------------------------------------------------------------------- memory */

static void *
get_memory(SessionPool *pool, size_t width, int32_t n)
{
	return pool->allocator.alloc(pool->allocator.arg, size_mul(width, (size_t) n));
}

static void
release(SessionPool *pool, void *memory)
{
	if (memory)
		pool->allocator.release(pool->allocator.arg, memory);
}

bool
session_pool_init(SessionPool *pool, const Allocator *allocator, int32_t sample)
{
	memset(pool, 0, sizeof(SessionPool));
	pool->allocator = *allocator;
	pool->sample = sample;
	pool->nslots = MIN_SLOTS;
	pool->max = MIN_SLOTS / 2;
	pool->slots = get_memory(pool, sizeof(int32_t), pool->nslots);
	pool->candidates = get_memory(pool, sizeof(SessionCandidate), pool->max);
	pool->heap = get_memory(pool, sizeof(int32_t), pool->max);
	if (!pool->slots || !pool->candidates || !pool->heap)
	{
		session_pool_free(pool);
		return false;
	}
	session_pool_clear(pool);
	return true;
}

void
session_pool_free(SessionPool *pool)
{
	release(pool, pool->slots);
	release(pool, pool->candidates);
	release(pool, pool->heap);
	pool->slots = NULL;
	pool->candidates = NULL;
	pool->heap = NULL;
}

void
session_pool_clear(SessionPool *pool)
{
	pool->n = pool->nheap = 0;
	memset(pool->slots, 0, sizeof(int32_t) * (size_t) pool->nslots);
}

static inline int32_t *
find_slot(const SessionPool *pool, int32_t session)
{
	uint32_t	mask = (uint32_t) pool->nslots - 1;
	uint32_t	s = ((uint32_t) session * UINT32_C(0x9E3779B1) >> 7) & mask;

	while (pool->slots[s] != 0 && pool->candidates[pool->slots[s] - 1].session != session)
		s = (s + 1) & mask;
	return &pool->slots[s];
}

/* Twice as many. */
static bool
grow(SessionPool *pool)
{
	SessionPool old = *pool;

	if (pool->max > INT32_MAX / 4)
		return false;
	pool->max *= 2;
	pool->nslots *= 2;
	pool->candidates = get_memory(pool, sizeof(SessionCandidate), pool->max);
	pool->heap = get_memory(pool, sizeof(int32_t), pool->max);
	pool->slots = get_memory(pool, sizeof(int32_t), pool->nslots);
	if (!pool->slots || !pool->candidates || !pool->heap)
	{
		session_pool_free(pool);
		*pool = old;
		return false;
	}
	memcpy(pool->candidates, old.candidates, sizeof(SessionCandidate) * (size_t) pool->n);
	memcpy(pool->heap, old.heap, sizeof(int32_t) * (size_t) pool->nheap);
	memset(pool->slots, 0, sizeof(int32_t) * (size_t) pool->nslots);
	for (int32_t c = 0; c < pool->n; c++)
		*find_slot(pool, pool->candidates[c].session) = c + 1;
	session_pool_free(&old);
	return true;
}

/* --------------------------------------------------------------------- heaps */

typedef bool (*Above) (const SessionCandidate *a, const SessionCandidate *b);

static bool
is_older(const SessionCandidate *a, const SessionCandidate *b)
{
	return session_older(a->time, a->session, b->time, b->session);
}

static bool
is_worse(const SessionCandidate *a, const SessionCandidate *b)
{
	return a->sim != b->sim ? a->sim < b->sim : is_older(a, b);
}

static inline void
sift_down(const SessionCandidate *candidates, int32_t *heap, int32_t n, int32_t at, Above above)
{
	int32_t		moving = heap[at];

	for (;;)
	{
		int32_t		child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && above(&candidates[heap[child + 1]], &candidates[heap[child]]))
			child++;
		if (!above(&candidates[heap[child]], &candidates[moving]))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moving;
}

static void
heapify(const SessionCandidate *candidates, int32_t *heap, int32_t n, Above above)
{
	for (int32_t at = n / 2 - 1; at >= 0; at--)
		sift_down(candidates, heap, n, at, above);
}

/* --------------------------------------------------------------------- scans */

static SessionScan
enter(SessionPool *pool, int32_t *slot, const SessionCandidate *new)
{
	bool		full = pool->nheap == pool->sample;

	if (full && !is_older(&pool->candidates[pool->heap[0]], new))
		return SESSION_STOP;
	if (pool->n == pool->max)
	{
		if (!grow(pool))
			return SESSION_NO_MEMORY;
		slot = find_slot(pool, new->session);
	}
	pool->candidates[pool->n] = *new;
	*slot = ++pool->n;
	if (full)
	{
		pool->candidates[pool->heap[0]].evicted = true;
		pool->heap[0] = pool->n - 1;
		sift_down(pool->candidates, pool->heap, pool->nheap, 0, is_older);
		return SESSION_GO_ON;
	}
	pool->heap[pool->nheap++] = pool->n - 1;
	if (pool->nheap == pool->sample)
		heapify(pool->candidates, pool->heap, pool->nheap, is_older);
	return SESSION_GO_ON;
}

SessionScan
session_pool_scan(SessionPool *pool, const int32_t *sessions, const int64_t *times, int32_t n,
				  int place, double weight)
{
	uint64_t	bit = UINT64_C(1) << place;

	for (int32_t x = n - 1; x >= 0; x--)
	{
		int32_t    *slot = find_slot(pool, sessions[x]);
		SessionScan result;

		if (*slot != 0)
		{
			SessionCandidate *c = &pool->candidates[*slot - 1];

			if (c->evicted)
				return SESSION_STOP;
			c->sim += weight;
			c->shared |= bit;
			continue;
		}
		result = enter(pool, slot, &(SessionCandidate) {
			sessions[x], false, times[x], weight, bit
		});
		if (result != SESSION_GO_ON)
			return result;
	}
	return SESSION_GO_ON;
}

int32_t
session_pool_best(SessionPool *pool, int32_t k, SessionCandidate *out)
{
	int32_t    *heap = pool->heap;
	int32_t		n = 0;

	if (k > pool->nheap)
		k = pool->nheap;
	/* the k best: a heap of them with the worst on top, over the live ones */
	for (int32_t c = 0; c < pool->n && k > 0; c++)
	{
		if (pool->candidates[c].evicted)
			continue;
		if (n < k)
		{
			heap[n++] = c;
			if (n == k)
				heapify(pool->candidates, heap, n, is_worse);
		}
		else if (is_worse(&pool->candidates[heap[0]], &pool->candidates[c]))
		{
			heap[0] = c;
			sift_down(pool->candidates, heap, n, 0, is_worse);
		}
	}
	/* taken from the worst on */
	for (int32_t left = n; left > 0; left--)
	{
		out[left - 1] = pool->candidates[heap[0]];
		heap[0] = heap[left - 1];
		sift_down(pool->candidates, heap, left - 1, 0, is_worse);
	}
	return n;
}
