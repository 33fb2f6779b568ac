/*
 * als_online.c
 *	  Fresh item vectors: what is kept of items and users, see als_online.h.
 *
 * An item without a vector has one of zeros: it adds nothing to any sum.
 */
#include <math.h>
#include <string.h>

#include "numeric/als_online_impl.h"

/*
 * Up to YOUNG users an item is solved again after each change, from there on
 * after changes of a GROWTH-th of its interactions, and not at all when it has
 * more users than MOST (als_online_impl.h).  Replays in time order
 * (bench/figures/fresh) rank no better with every item solved after every change.
 */
#define YOUNG	64
#define GROWTH	16

#define MIN_ITEMS 1024

/* ------------------------------------------------------------------ memory */

void *
online_get(AlsOnline *o, size_t width, size_t n)
{
	return o->allocator.alloc(o->allocator.arg, size_mul(width, n));
}

void
online_put_back(AlsOnline *o, void *pointer)
{
	void	  **block = pointer;

	if (*block)
		o->allocator.release(o->allocator.arg, *block);
	*block = NULL;
}

/* A larger copy of an array, the rest zeros. */
static bool
enlarge(AlsOnline *o, void *pointer, size_t width, size_t from, size_t to)
{
	void	  **block = pointer;
	char	   *larger = online_get(o, width, to);

	if (!larger)
		return false;
	if (from > 0)
		memcpy(larger, *block, width * from);
	memset(larger + width * from, 0, width * (to - from));
	online_put_back(o, pointer);
	*block = larger;
	return true;
}

static bool
reach(AlsOnline *o, int32_t item)
{
	size_t		dim = (size_t) o->params.dim;
	int32_t		room;

	if (!audiences_reach(&o->audiences, item + 1))
		return false;
	if (!o->loaded || item < o->nitems)
		return true;
	room = o->audiences.nitems;
	if (!enlarge(o, &o->items, sizeof(OnlineItem), (size_t) o->nitems, (size_t) room) ||
		!enlarge(o, &o->vectors, sizeof(float), (size_t) o->nitems * dim, (size_t) room * dim))
		return false;
	o->nitems = room;
	return true;
}

AlsOnline *
als_online_create(const Allocator *allocator, size_t limit, AlsHistory history, void *arg)
{
	AlsOnline  *o = allocator->alloc(allocator->arg, sizeof(AlsOnline));

	if (!o)
		return NULL;
	memset(o, 0, sizeof(AlsOnline));
	o->allocator = *allocator;
	o->history = history;
	o->arg = arg;
	audiences_init(&o->audiences, allocator, MOST, limit);
	return o;
}

void
als_online_drop_vectors(AlsOnline *o)
{
	online_put_back(o, &o->items);
	online_put_back(o, &o->vectors);
	online_put_back(o, &o->queue.items);
	online_put_back(o, &o->dirty.items);
	online_put_back(o, &o->trained_gram);
	online_put_back(o, &o->user_gram);
	online_put_back(o, &o->item_sum);
	online_put_back(o, &o->item_gram);
	online_put_back(o, &o->written_gram);
	online_put_back(o, &o->work_block);
	online_put_back(o, &o->of_user.rows);
	online_put_back(o, &o->of_user.weights);
	online_put_back(o, &o->of_item.rows);
	online_put_back(o, &o->of_item.weights);
	online_put_back(o, &o->base);
	online_put_back(o, &o->solution);
	vector_cache_free(&o->cache);
	memset(&o->queue, 0, sizeof(ItemQueue));
	memset(&o->dirty, 0, sizeof(ItemQueue));
	o->nitems = 0;
	o->of_user.max = o->of_item.max = 0;
	o->longest = 0;
	o->scaled_users = 0;
	o->loaded = false;
}

void
als_online_destroy(AlsOnline *o)
{
	als_online_drop_vectors(o);
	audiences_free(&o->audiences);
	o->allocator.release(o->allocator.arg, o);
}

size_t
als_online_bytes(const AlsOnline *o)
{
	size_t		dim = (size_t) o->params.dim;
	size_t		bytes = sizeof(AlsOnline) + o->audiences.bytes;

	if (!o->loaded)
		return bytes;
	return bytes + (sizeof(OnlineItem) + sizeof(float) * dim) * (size_t) o->nitems +
		sizeof(int32_t) * ((size_t) o->queue.max + o->dirty.max) +
		vector_cache_bytes(&o->cache) +
		(o->item_sum ? (4 * sizeof(float) + sizeof(double)) * dim * dim : 0) +
		als_work_size(&o->params, MOST) +
		(sizeof(float) * (dim + 1) + sizeof(int32_t)) * (size_t) o->of_item.max;
}

/* ------------------------------------------------------------------ queues */

static bool
queue_push(AlsOnline *o, ItemQueue *q, int32_t item)
{
	if (q->tail - q->head == q->max)
	{
		uint32_t	max = q->max ? q->max * 2 : MIN_ITEMS;
		int32_t    *items = online_get(o, sizeof(int32_t), max);

		if (!items)
			return false;
		for (uint32_t x = 0; x < q->max; x++)
			items[x] = q->items[(q->head + x) & (q->max - 1)];
		online_put_back(o, &q->items);
		*q = (ItemQueue) {items, 0, q->max, max};
	}
	q->items[q->tail++ & (q->max - 1)] = item;
	return true;
}

int32_t
online_queue_pop(ItemQueue *q)
{
	return q->head == q->tail ? 0 : q->items[q->head++ & (q->max - 1)];
}

static bool
enqueue(AlsOnline *o, int32_t item)
{
	if (o->items[item].queued)
		return true;
	o->items[item].queued = true;
	return queue_push(o, &o->queue, item);
}

bool
online_mark_dirty(AlsOnline *o, int32_t item)
{
	if (o->items[item].dirty)
		return true;
	o->items[item].dirty = true;
	return queue_push(o, &o->dirty, item);
}

int32_t
als_online_next_dirty(AlsOnline *o)
{
	int32_t		item = o->loaded ? online_queue_pop(&o->dirty) : 0;

	if (item != 0)
	{
		o->items[item].dirty = false;
		o->items[item].moved = 0;
	}
	return item;
}

bool
als_online_has_dirty(const AlsOnline *o)
{
	return o->loaded && o->dirty.head != o->dirty.tail;
}

bool
als_online_present(const AlsOnline *o, int32_t item)
{
	return o->items[item].present;
}

const float *
als_online_vector(const AlsOnline *o, int32_t item)
{
	return o->vectors + (size_t) item * (size_t) o->params.dim;
}

/* ------------------------------------------------------------ interactions */

/* The item was changed; is it to be solved again? */
static bool
note_change(AlsOnline *o, int32_t item)
{
	const Audience *audience = &o->audiences.items[item];
	OnlineItem *own = &o->items[item];

	own->changes++;
	if (!audience_listed(audience) ||
		(audience->n > YOUNG && own->changes < audience->n / GROWTH))
		return true;
	return enqueue(o, item);
}

bool
als_online_change(AlsOnline *o, int32_t user, int32_t item, double weight, int appears, bool old)
{
	if (!reach(o, item) ||
		!audiences_change(&o->audiences, item, user, weight, appears))
		return false;
	if (old || !o->loaded)
		return true;
	vector_cache_drop(&o->cache, user);
	return note_change(o, item);
}

bool
als_online_touch(AlsOnline *o, int32_t item)
{
	return reach(o, item) && (!o->loaded || note_change(o, item));
}

bool
als_online_retry(AlsOnline *o, int32_t item)
{
	if (!reach(o, item))
		return false;
	if (!o->loaded || o->items[item].present || o->audiences.items[item].n > YOUNG)
		return true;
	return enqueue(o, item);
}

void
als_online_rescale(AlsOnline *o, double factor)
{
	audiences_scale(&o->audiences, factor);
}

void
als_online_users(AlsOnline *o, int64_t users)
{
	o->users = users;
}

int64_t
als_online_interactions(const AlsOnline *o)
{
	return o->audiences.n;
}

/* ------------------------------------------------------------------ vectors */

static bool
get_matrices(AlsOnline *o, const float *trained, int64_t users, const float *written)
{
	size_t		cells = (size_t) o->params.dim * (size_t) o->params.dim;

	o->trained_users = users;
	if (o->params.explicit_feedback)
		return true;
	o->trained_gram = online_get(o, sizeof(float), cells);
	o->user_gram = online_get(o, sizeof(float), cells);
	o->item_sum = online_get(o, sizeof(double), cells);
	o->item_gram = online_get(o, sizeof(float), cells);
	o->written_gram = online_get(o, sizeof(float), cells);
	if (!o->trained_gram || !o->user_gram || !o->item_sum || !o->item_gram || !o->written_gram)
		return false;
	memcpy(o->trained_gram, trained, sizeof(float) * cells);
	memcpy(o->written_gram, written, sizeof(float) * cells);
	return true;
}

bool
als_online_begin(AlsOnline *o, const AlsParams *params, const float *trained_gram,
				 int64_t users, const float *written_gram, size_t cache)
{
	size_t		each = sizeof(float) * (size_t) params->dim + sizeof(VectorPlace);
	int64_t		places = (o->users > users ? o->users : users) * 3 / 2 + MIN_ITEMS;

	als_online_drop_vectors(o);
	o->params = *params;
	o->loaded = true;
	if (places > (int64_t) (cache / each))
		places = (int64_t) (cache / each);
	if (places < MIN_ITEMS)
		places = MIN_ITEMS;
	if (!get_matrices(o, trained_gram, users, written_gram) ||
		!vector_cache_init(&o->cache, &o->allocator, params->dim, places))
		return false;
	o->solution = online_get(o, sizeof(float), (size_t) params->dim);
	o->work_block = online_get(o, 1, als_work_size(params, MOST) + 64);
	if (!o->solution || !o->work_block)
		return false;
	o->work = (void *) (((uintptr_t) o->work_block + 63) / 64 * 64);
	/* all numbers that are known so far */
	return o->audiences.nitems == 0 || reach(o, o->audiences.nitems - 1);
}

bool
als_online_put(AlsOnline *o, int32_t item, const float *vector)
{
	double		squared = length_squared(vector, o->params.dim);

	if (!reach(o, item))
		return false;
	if (!isfinite(squared) || squared == 0)
		return true;
	memcpy(o->vectors + (size_t) item * (size_t) o->params.dim, vector,
		   sizeof(float) * (size_t) o->params.dim);
	o->items[item].present = true;
	o->longest = squared > o->longest ? squared : o->longest;
	return true;
}

bool
als_online_end(AlsOnline *o)
{
	for (int32_t item = 1; item < o->nitems; item++)
		if (o->items[item].present != (o->audiences.items[item].n > 0) && !enqueue(o, item))
			return false;
	return !o->item_sum || online_sum_gram(o);
}

bool
als_online_erase(AlsOnline *o, int32_t item)
{
	if (!reach(o, item))
		return false;
	if (!o->loaded || !o->items[item].present)
		return true;
	memset(o->solution, 0, sizeof(float) * (size_t) o->params.dim);
	online_move_gram(o, als_online_vector(o, item), o->solution);
	memcpy(o->vectors + (size_t) item * (size_t) o->params.dim, o->solution,
		   sizeof(float) * (size_t) o->params.dim);
	o->items[item].present = false;
	return online_mark_dirty(o, item);
}
