/*
 * als_online_solve.c
 *	  Fresh item vectors: Gram matrices, and solving users and items, see
 *	  als_online.h.
 */
#include <math.h>
#include <string.h>

#include "numeric/als_kernel.h"
#include "numeric/als_online_impl.h"
#include "numeric/cholesky.h"

/* A vector is written when it has moved by this part of its length. */
#define TOLERANCE 0.01

/* A vector this many times as long as any that a training gave is wrong. */
#define MAX_STRETCH 10

/* The users' matrix is scaled anew when their number is off by this part. */
#define USERS_DRIFT 1e-3

#define PACK	32				/* rows of a product, see als_kernel.h */
#define BLOCK	2048			/* rows summed up in single precision */

/* ------------------------------------------------------------ Gram matrices */

void
online_move_gram(AlsOnline *o, const float *from, const float *to)
{
	size_t		dim = (size_t) o->params.dim;

	if (!o->item_sum)
		return;
	for (size_t a = 0; a < dim; a++)
	{
		double	   *row = o->item_sum + a * dim;
		double		f = from[a],
					t = to[a];

		for (size_t b = 0; b < dim; b++)
			row[b] += t * to[b] - f * from[b];
	}
	o->gram_stale = true;
}

/* PACK rows from "item" on, padded with zeros; returns how many were there. */
static int
pack_rows(const AlsOnline *o, int32_t item, int32_t end, int size, float *pack)
{
	int			n = end - item < PACK ? end - item : PACK;

	memset(pack, 0, sizeof(float) * PACK * (size_t) size);
	for (int k = 0; k < n; k++)
		memcpy(pack + (size_t) k * (size_t) size, als_online_vector(o, item + k),
			   sizeof(float) * (size_t) o->params.dim);
	return n;
}

/* Adds those of items from .. end - 1; sum is scratch memory, size x size, and pack
 * PACK x size. */
static void
add_gram(AlsOnline *o, int32_t from, int32_t end, int size, float *sum, float *pack)
{
	int			dim = o->params.dim;
	double	   *row = o->item_sum;

	memset(sum, 0, sizeof(float) * (size_t) size * (size_t) size);
	for (int32_t item = from; item < end; item += PACK)
	{
		int			n = pack_rows(o, item, end, size, pack);

		als_kernels()->update(sum, size, size, pack, pack, n, 1);
	}
	for (int a = 0; a < dim; a++, row += dim, sum += size)
		for (int b = a; b < dim; b++)
			row[b] += sum[b];
}

bool
online_sum_gram(AlsOnline *o)
{
	size_t		dim = (size_t) o->params.dim;
	int			size = cholesky_size(o->params.dim);
	size_t		cells = (size_t) size * (size_t) size;
	float	   *block = online_get(o, sizeof(float), cells + PACK * (size_t) size + CHOLESKY_ALIGN);
	float	   *sum;

	if (!block)
		return false;
	sum = (float *) (((uintptr_t) block + 63) / 64 * 64);
	memset(o->item_sum, 0, sizeof(double) * dim * dim);
	for (int32_t from = 0; from < o->nitems; from += BLOCK)
		add_gram(o, from, o->nitems - from < BLOCK ? o->nitems : from + BLOCK, size, sum, sum + cells);
	for (size_t a = 0; a < dim; a++)
		for (size_t b = 0; b < a; b++)
			o->item_sum[a * dim + b] = o->item_sum[b * dim + a];
	o->gram_stale = true;
	online_put_back(o, &block);
	return true;
}

static const float *
item_gram(AlsOnline *o)
{
	size_t		cells = (size_t) o->params.dim * (size_t) o->params.dim;

	for (size_t c = 0; o->gram_stale && c < cells; c++)
		o->item_gram[c] = (float) o->item_sum[c];
	o->gram_stale = false;
	return o->item_gram;
}

/* The training's users are taken for a fair sample of those that there are now. */
static const float *
user_gram(AlsOnline *o)
{
	size_t		cells = (size_t) o->params.dim * (size_t) o->params.dim;
	double		users = o->users > o->trained_users ? (double) o->users : (double) o->trained_users;
	float		factor = o->trained_users > 0 ? (float) (users / (double) o->trained_users) : 1;

	if (!o->user_gram || fabs(users - o->scaled_users) <= USERS_DRIFT * o->scaled_users)
		return o->user_gram;
	for (size_t c = 0; c < cells; c++)
		o->user_gram[c] = o->trained_gram[c] * factor;
	o->scaled_users = users;
	return o->user_gram;
}

double
als_online_gram_drift(const AlsOnline *o)
{
	size_t		cells = (size_t) o->params.dim * (size_t) o->params.dim;
	double		difference = 0,
				whole = 0;

	if (!o->loaded || !o->item_sum)
		return 0;
	for (size_t c = 0; c < cells; c++)
	{
		double		d = o->item_sum[c] - o->written_gram[c];

		difference += d * d;
		whole += o->item_sum[c] * o->item_sum[c];
	}
	return whole > 0 ? sqrt(difference / whole) : difference > 0;
}

void
als_online_write_gram(AlsOnline *o, float *gram)
{
	size_t		cells = (size_t) o->params.dim * (size_t) o->params.dim;

	memcpy(gram, item_gram(o), sizeof(float) * cells);
	memcpy(o->written_gram, gram, sizeof(float) * cells);
}

/* ------------------------------------------------------------------ solving */

static bool
reach_rows(AlsOnline *o, OnlineRows *rows, int n)
{
	int32_t		room = n + n / 2;

	if (n <= rows->max)
		return true;
	room = room < 256 ? 256 : room;
	online_put_back(o, &rows->rows);
	online_put_back(o, &rows->weights);
	rows->max = 0;
	rows->rows = online_get(o, sizeof(int32_t), (size_t) room);
	rows->weights = online_get(o, sizeof(float), (size_t) room);
	if (!rows->rows || !rows->weights)
		return false;
	rows->max = room;
	return true;
}

/* The same and "base", for an item's users. */
static bool
reach_users(AlsOnline *o, int n)
{
	int32_t		before = o->of_item.max;

	if (!reach_rows(o, &o->of_item, n))
		return false;
	if (o->of_item.max == before && o->base)
		return true;
	online_put_back(o, &o->base);
	o->base = online_get(o, sizeof(float) * (size_t) o->params.dim, (size_t) o->of_item.max);
	return o->base != NULL;
}

/* A user's vector from those of the history's items that have one. */
static bool
fold_in(AlsOnline *o, int32_t user, double scale, float *x)
{
	OnlineRows *own = &o->of_user;
	const int32_t *items;
	const double *weights;
	int			n = o->history(o->arg, user, &items, &weights);
	int			found = 0;

	if (!reach_rows(o, own, n))
		return false;
	for (int k = 0; k < n; k++)
	{
		if (items[k] >= o->nitems || !o->items[items[k]].present)
			continue;
		own->rows[found] = items[k];
		own->weights[found++] = (float) (weights[k] * scale);
	}
	als_solve_row(&o->params, o->item_sum ? item_gram(o) : NULL, o->vectors, found,
				  own->rows, own->weights, x, o->work);
	return true;
}

/*
 * The vectors of the item's users into o->base.  A user who has none, as nothing
 * of his history has a vector, says nothing: left in, his zeros would only make
 * the regularization stronger.  Returns how many; -1: no memory.
 */
static int
gather_users(AlsOnline *o, const Audience *audience, double scale)
{
	size_t		dim = (size_t) o->params.dim;
	int			n = 0;

	if (!reach_users(o, audience->n))
		return -1;
	for (int32_t x = 0; x < audience->n; x++)
	{
		const AudienceEntry *entry = &audience->entries[x];
		bool		found;
		float	   *vector = vector_cache_get(&o->cache, entry->user, &found);

		if (!found && !fold_in(o, entry->user, scale, vector))
		{
			vector_cache_drop(&o->cache, entry->user);
			return -1;
		}
		if (length_squared(vector, o->params.dim) == 0)
			continue;
		memcpy(o->base + (size_t) n * dim, vector, sizeof(float) * dim);
		o->of_item.rows[n] = n;
		o->of_item.weights[n++] = (float) (entry->weight * scale);
	}
	return n;
}

/* The new vector takes the place of the old one. */
static bool
replace_vector(AlsOnline *o, int32_t item, const float *vector)
{
	OnlineItem *own = &o->items[item];
	float	   *old = o->vectors + (size_t) item * (size_t) o->params.dim;
	double		length = sqrt(length_squared(vector, o->params.dim));
	double		distance = 0;

	for (int a = 0; a < o->params.dim; a++)
		distance += ((double) vector[a] - old[a]) * ((double) vector[a] - old[a]);
	own->moved += (float) (sqrt(distance) / length);
	own->present = true;
	online_move_gram(o, old, vector);
	memcpy(old, vector, sizeof(float) * (size_t) o->params.dim);
	return own->moved <= TOLERANCE || online_mark_dirty(o, item);
}

static bool
solve_item(AlsOnline *o, int32_t item, double scale)
{
	const Audience *audience = &o->audiences.items[item];
	double		squared;
	int			n;

	o->items[item].changes = 0;
	if (audience->n == 0)
		return als_online_erase(o, item);
	if (!audience_listed(audience))
		return true;
	n = gather_users(o, audience, scale);
	if (n <= 0)
		return n == 0;
	als_solve_row(&o->params, user_gram(o), o->base, n, o->of_item.rows, o->of_item.weights,
				  o->solution, o->work);
	squared = length_squared(o->solution, o->params.dim);
	/* weights beyond the range of float come out as zeros, or too long */
	if (squared == 0 || (o->longest > 0 && squared > o->longest * MAX_STRETCH * MAX_STRETCH))
		return true;
	return replace_vector(o, item, o->solution);
}

bool
als_online_step(AlsOnline *o, double scale, int32_t *item)
{
	*item = o->loaded ? online_queue_pop(&o->queue) : 0;
	if (*item == 0)
		return true;
	o->items[*item].queued = false;
	return solve_item(o, *item, scale);
}
