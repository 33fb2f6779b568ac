/*
 * test_als_online.c
 *	  Fresh item vectors against solving the same problems anew from dense
 *	  matrices, in double precision where it is the oracle.
 */
#include "unit.h"

#include "numeric/als_online.h"
#include "numeric/vector_cache.h"

#define USERS 150
#define ITEMS 90
#define TOLERANCE 2e-3

/* r(u,i), and what a training made of a part of it; numbers from 1. */
typedef struct World
{
	AlsParams	params;
	double		r[USERS + 1][ITEMS + 1];
	bool		in[USERS + 1][ITEMS + 1];
	int32_t		items[ITEMS];	/* of the history asked for last */
	double		weights[ITEMS];
	float	   *x;				/* USERS + 1 rows */
	float	   *y;
	float	   *gram_x;
	float	   *gram_y;
	void	   *work;
} World;

static void *
zeros(size_t n, size_t width)
{
	size_t		bytes = (n * width + 127) / 64 * 64;

	return memset(aligned_alloc(64, bytes), 0, bytes);
}

static World *
world_make(int factors, bool explicit_feedback)
{
	World	   *w = zeros(1, sizeof(World));
	size_t		dim = (size_t) (factors + explicit_feedback);

	w->params = (AlsParams) {
		.factors = factors,
		.dim = (int) dim,
		.explicit_feedback = explicit_feedback,
		.alpha = 20,
		.regularization = 0.1,
		.exponent = explicit_feedback ? 0.5 : 1,
		.mean = explicit_feedback ? 3 : 0,
	};
	w->x = zeros((USERS + 1) * dim, sizeof(float));
	w->y = zeros((ITEMS + 1) * dim, sizeof(float));
	w->gram_x = zeros(dim * dim, sizeof(float));
	w->gram_y = zeros(dim * dim, sizeof(float));
	w->work = zeros(als_work_size(&w->params, USERS), 1);
	return w;
}

static void
world_free(World *w)
{
	free(w->x);
	free(w->y);
	free(w->gram_x);
	free(w->gram_y);
	free(w->work);
	free(w);
}

static int
history(void *arg, int32_t user, const int32_t **items, const double **weights)
{
	World	   *w = arg;
	int			n = 0;

	for (int i = 1; i <= ITEMS; i++)
		if (w->in[user][i])
		{
			w->items[n] = i;
			w->weights[n++] = w->r[user][i];
		}
	*items = w->items;
	*weights = w->weights;
	return n;
}

static void
gram(const float *rows, int n, int dim, float *sum)
{
	for (int a = 0; a < dim; a++)
		for (int b = 0; b < dim; b++)
		{
			double		s = 0;

			for (int r = 1; r <= n; r++)
				s += (double) rows[r * dim + a] * rows[r * dim + b];
			sum[a * dim + b] = (float) s;
		}
}

/* Exactly, from the items that have vectors. */
static void
solve_user(World *w, int u, float *x)
{
	int32_t		rows[ITEMS];
	float		weights[ITEMS];
	int			n = 0;

	for (int i = 1; i <= ITEMS; i++)
		if (w->in[u][i] && w->y[i * w->params.dim] != 0)
		{
			rows[n] = i;
			weights[n++] = (float) w->r[u][i];
		}
	als_solve_row(&w->params, w->gram_y, w->y, n, rows, weights, x, w->work);
}

static void
solve_item(World *w, const float *gram_x, const float *x, int i, float *y)
{
	int32_t		rows[USERS];
	float		weights[USERS];
	int			n = 0;

	for (int u = 1; u <= USERS; u++)
		if (w->in[u][i])
		{
			rows[n] = u;
			weights[n++] = (float) w->r[u][i];
		}
	als_solve_row(&w->params, gram_x, x, n, rows, weights, y, w->work);
}

static void
train(World *w)
{
	int			dim = w->params.dim;

	als_init_rows(&w->params, 3, 0, ITEMS + 1, w->y);
	for (int i = 0; i <= ITEMS; i++)
	{
		bool		known = false;

		for (int u = 1; u <= USERS; u++)
			known |= w->in[u][i];
		if (!known)
			memset(w->y + i * dim, 0, sizeof(float) * (size_t) dim);
	}
	for (int step = 0; step < 20; step++)
	{
		gram(w->y, ITEMS, dim, w->gram_y);
		for (int u = 1; u <= USERS; u++)
			solve_user(w, u, w->x + u * dim);
		gram(w->x, USERS, dim, w->gram_x);
		for (int i = 1; i <= ITEMS; i++)
			solve_item(w, w->gram_x, w->x, i, w->y + i * dim);
	}
	gram(w->y, ITEMS, dim, w->gram_y);
}

/* Taste: users and items of one of five groups like each other. */
static bool
draw(World *w, Random *r, int *u, int *i)
{
	*u = 1 + (int) random_below(r, USERS);
	*i = 1 + (int) random_below(r, ITEMS);
	return !w->in[*u][*i] && (*u % 5 == *i % 5 || random_below(r, 10) == 0);
}

static double
weight_of(const World *w, Random *r, int u, int i)
{
	if (!w->params.explicit_feedback)
		return 1 + random_below(r, 3);
	return u % 5 == i % 5 ? 4.5 : 2;
}

static AlsOnline *
load(World *w, Meter *m, int64_t users)
{
	Allocator	allocator = meter_allocator(m);
	AlsOnline  *o = als_online_create(&allocator, SIZE_MAX, history, w);
	bool		implicit = !w->params.explicit_feedback;

	for (int u = 1; u <= USERS; u++)
		for (int i = 1; i <= ITEMS; i++)
			if (w->in[u][i])
				als_online_change(o, u, i, w->r[u][i], 1, true);
	als_online_users(o, users);
	als_online_begin(o, &w->params, implicit ? w->gram_x : NULL, users,
					 implicit ? w->gram_y : NULL, 1 << 20);
	for (int i = 1; i <= ITEMS; i++)
		als_online_put(o, i, w->y + i * w->params.dim);
	als_online_end(o);
	return o;
}

static int
work(AlsOnline *o)
{
	int			n = 0;
	int32_t		item;

	while (als_online_step(o, 1, &item) && item != 0)
		n++;
	return n;
}

static void
interact(World *w, AlsOnline *o, int u, int i, double r)
{
	bool		was = w->in[u][i];

	w->in[u][i] = r != 0;
	w->r[u][i] = r;
	als_online_change(o, u, i, r, (r != 0) - was, false);
}

static double
difference(const float *a, const float *b, int dim)
{
	double		d = 0,
				length = 1e-30;

	for (int k = 0; k < dim; k++)
	{
		d += ((double) a[k] - b[k]) * ((double) a[k] - b[k]);
		length += (double) b[k] * b[k];
	}
	return sqrt(d / length);
}

/* ----------------------------------------------------------------- solving */

/* An item changed by its users is solved as from scratch. */
static void
test_exact(int factors, bool explicit_feedback)
{
	World	   *w = world_make(factors, explicit_feedback);
	int			dim = w->params.dim;
	Random		r = {5};
	Meter		m = {0};
	AlsOnline  *o;
	float	   *x = zeros((USERS + 1) * (size_t) dim, sizeof(float));
	float	   *y = zeros((size_t) dim, sizeof(float));
	double		most = 0;
	int			u,
				i;

	for (int n = 0; n < 1500;)
		if (draw(w, &r, &u, &i) && i <= ITEMS - 5)
		{
			w->in[u][i] = true;
			w->r[u][i] = weight_of(w, &r, u, i);
			n++;
		}
	train(w);
	o = load(w, &m, USERS);
	ok(work(o) == 0, "nothing to do after loading (%d factors)", factors);

	/* a new item, by five users of one group */
	for (int k = 0; k < 5; k++)
		interact(w, o, 5 * (k + 1), ITEMS, weight_of(w, &r, 0, ITEMS));
	ok(work(o) == 1, "one item changed, one is solved");
	for (u = 1; u <= USERS; u++)
		solve_user(w, u, x + u * dim);
	solve_item(w, w->gram_x, x, ITEMS, y);
	ok(difference(als_online_vector(o, ITEMS), y, dim) < TOLERANCE,
	   "a new item's vector is the solution (difference %.1e)",
	   difference(als_online_vector(o, ITEMS), y, dim));
	ok(als_online_next_dirty(o) == ITEMS && als_online_next_dirty(o) == 0, "it is to be written");

	/* one change at a time, users as they are then */
	for (int n = 0; n < 60; n++)
	{
		while (!draw(w, &r, &u, &i));
		memcpy(w->y, als_online_vector(o, 0), sizeof(float) * (size_t) dim * (ITEMS + 1));
		gram(w->y, ITEMS, dim, w->gram_y);
		als_online_begin(o, &w->params, explicit_feedback ? NULL : w->gram_x, USERS,
						 explicit_feedback ? NULL : w->gram_y, 1 << 20);
		for (int k = 1; k <= ITEMS; k++)
			als_online_put(o, k, w->y + k * dim);
		als_online_end(o);
		work(o);
		memcpy(w->y, als_online_vector(o, 0), sizeof(float) * (size_t) dim * (ITEMS + 1));
		gram(w->y, ITEMS, dim, w->gram_y);
		interact(w, o, u, i, weight_of(w, &r, u, i));
		for (int v = 1; v <= USERS; v++)
			solve_user(w, v, x + v * dim);
		solve_item(w, w->gram_x, x, i, y);
		work(o);
		if (als_online_interactions(o) > 0 && n > 0)
			most = fmax(most, difference(als_online_vector(o, i), y, dim));
	}
	ok(most < TOLERANCE, "changed items are solved from their users (largest difference %.1e)", most);
	als_online_destroy(o);
	ok(m.bytes == 0, "all memory is given back (%d factors)", factors);
	world_free(w);
	free(x);
	free(y);
}

/* --------------------------------------------------------------- a long run */

static void
check_gram(World *w, AlsOnline *o)
{
	int			dim = w->params.dim;
	float	   *written = zeros((size_t) (dim * dim), sizeof(float));
	float	   *sum = zeros((size_t) (dim * dim), sizeof(float));

	als_online_write_gram(o, written);
	gram(als_online_vector(o, 0), ITEMS, dim, sum);
	ok(difference(written, sum, dim * dim) < 1e-5, "the Gram matrix is that of the vectors (difference %.1e)",
	   difference(written, sum, dim * dim));
	ok(als_online_gram_drift(o) < 1e-6, "no drift once it is written");
	free(written);
	free(sum);
}

static double
score(const float *x, const float *y, int dim)
{
	double		s = 0;

	for (int k = 0; k < dim; k++)
		s += (double) x[k] * y[k];
	return s;
}

/* Half of the items unseen by the training: do users rank those of their group
 * above others? */
static void
test_new_items(void)
{
	World	   *w = world_make(16, false);
	int			dim = w->params.dim;
	Random		r = {9};
	Meter		m = {0};
	AlsOnline  *o;
	float	   *x = zeros((size_t) dim, sizeof(float));
	int			right = 0,
				all = 0,
				u,
				i;

	for (int n = 0; n < 1200;)
		if (draw(w, &r, &u, &i) && i <= ITEMS / 2)
		{
			w->in[u][i] = true;
			w->r[u][i] = 1;
			n++;
		}
	train(w);
	o = load(w, &m, USERS);
	for (int n = 0; n < 1200; n++)
		if (draw(w, &r, &u, &i))
		{
			interact(w, o, u, i, 1);
			if (n % 10 == 0)
				work(o);
		}
	work(o);
	check_gram(w, o);
	ok(als_online_bytes(o) >= m.bytes * 9 / 10 && als_online_bytes(o) <= m.bytes * 11 / 10,
	   "memory reported: %zu of %zu", als_online_bytes(o), m.bytes);
	memcpy(w->y, als_online_vector(o, 0), sizeof(float) * (size_t) dim * (ITEMS + 1));
	gram(w->y, ITEMS, dim, w->gram_y);
	for (u = 1; u <= USERS; u++)
	{
		solve_user(w, u, x);
		for (i = ITEMS / 2 + 1; i + 1 <= ITEMS; i++)
			if (u % 5 == i % 5)
			{
				all++;
				right += score(x, w->y + i * dim, dim) > score(x, w->y + (i + 1) * dim, dim);
			}
	}
	ok(right > all * 8 / 10, "new items rank where they belong: %d of %d", right, all);
	als_online_destroy(o);
	ok(m.bytes == 0, "all memory is given back");
	world_free(w);
	free(x);
}

/* ------------------------------------------------------------------ extremes */

static bool
all_finite(const AlsOnline *o, int dim)
{
	for (int k = 0; k < dim * (ITEMS + 1); k++)
		if (!isfinite(als_online_vector(o, 0)[k]))
			return false;
	return true;
}

static void
test_extremes(bool explicit_feedback)
{
	World	   *w = world_make(8, explicit_feedback);
	int			dim = w->params.dim;
	Random		r = {11};
	Meter		m = {0};
	AlsOnline  *o;
	float		before[9];
	int			u,
				i;

	for (int n = 0; n < 600;)
		if (draw(w, &r, &u, &i))
		{
			w->in[u][i] = true;
			w->r[u][i] = weight_of(w, &r, u, i);
			n++;
		}
	train(w);
	o = load(w, &m, USERS);
	work(o);
	while (als_online_next_dirty(o) != 0);

	/* all users leave an item */
	for (u = 1; u <= USERS; u++)
		if (w->in[u][7])
			interact(w, o, u, 7, 0);
	work(o);
	ok(score(als_online_vector(o, 7), als_online_vector(o, 7), dim) == 0 &&
	   als_online_next_dirty(o) == 7, "an item without users has no vector, which is written");
	interact(w, o, 7, 7, 3);
	work(o);
	ok(score(als_online_vector(o, 7), als_online_vector(o, 7), dim) > 0, "and gets one again");

	memcpy(before, als_online_vector(o, 8), sizeof(float) * (size_t) dim);
	for (u = 1; u <= USERS; u++)
		if (w->in[u][8])
			interact(w, o, u, 8, explicit_feedback ? 1e9 : INFINITY);
	work(o);
	ok(explicit_feedback || memcmp(before, als_online_vector(o, 8), sizeof(float) * (size_t) dim) == 0,
	   "a vector that explodes stays as it was");
	for (u = 1; u <= USERS; u++)
		for (i = 1; i <= ITEMS; i++)
			if (w->in[u][i] && random_below(&r, 3) == 0)
				interact(w, o, u, i, random_below(&r, 2) ? 1e30 : 1e-30);
	work(o);
	ok(all_finite(o, dim), "no vector is NaN or infinite");
	ok(als_online_erase(o, 9) && score(als_online_vector(o, 9), als_online_vector(o, 9), dim) == 0,
	   "erased");
	als_online_drop_vectors(o);
	als_online_change(o, 1, 1, 1, 0, false);
	ok(work(o) == 0 && als_online_next_dirty(o) == 0 && als_online_gram_drift(o) == 0,
	   "without vectors there is nothing to do");
	als_online_destroy(o);
	ok(m.bytes == 0, "all memory is given back");
	world_free(w);
}

/* Out of memory at any place is told, and leaks nothing. */
static void
test_memory(void)
{
	World	   *w = world_make(8, false);
	Random		r = {13};
	int			refused = 0;
	bool		leaks = false;
	int			u,
				i;

	for (int n = 0; n < 600;)
		if (draw(w, &r, &u, &i))
		{
			w->in[u][i] = true;
			w->r[u][i] = 1;
			n++;
		}
	train(w);
	for (size_t limit = 1000; limit < 2000000; limit += limit / 3)
	{
		Meter		m = {.limit = limit};
		Allocator	allocator = meter_allocator(&m);
		AlsOnline  *o = als_online_create(&allocator, 20000, history, w);
		bool		good = o != NULL;
		int32_t		item = 1;

		for (u = 1; u <= USERS; u++)
			for (i = 1; i <= ITEMS && good; i++)
				if (w->in[u][i])
					good = als_online_change(o, u, i, 1, 1, true);
		good = good && als_online_begin(o, &w->params, w->gram_x, USERS, w->gram_y, 10000);
		for (i = 1; i <= ITEMS / 2 && good; i++)
			good = als_online_put(o, i, w->y + i * w->params.dim);
		good = good && als_online_end(o);
		while (good && item != 0)
			good = als_online_step(o, 1, &item);
		refused += !good;
		if (o)
			als_online_destroy(o);
		leaks |= m.bytes != 0;
	}
	ok(refused > 3 && !leaks, "%d times without memory, no leak", refused);
	world_free(w);
}

/* ------------------------------------------------------------------- its parts */

static void
test_audiences(void)
{
	enum { NITEMS = 40, NUSERS = 200 };
	static double truth[NITEMS][NUSERS];
	Random		r = {17};
	Meter		m = {0};
	Allocator	allocator = meter_allocator(&m);
	Audiences	a;
	int			wrong = 0,
				listed = 0;

	audiences_init(&a, &allocator, 100, SIZE_MAX);
	audiences_reach(&a, NITEMS);
	for (int n = 0; n < 20000; n++)
	{
		int			i = (int) random_below(&r, NITEMS);
		int			u = 1 + (int) random_below(&r, NUSERS - 1);
		/* items differ in how many they keep */
		double		to = (int) random_below(&r, NITEMS) < i ? 1 + random_below(&r, 9) : 0;

		if (to == 0 && truth[i][u] == 0)
			continue;
		audiences_change(&a, i, u, to, (to > 0) - (truth[i][u] > 0));
		truth[i][u] = to;
	}
	for (int i = 0; i < NITEMS; i++)
	{
		int			n = 0;

		for (int u = 0; u < NUSERS; u++)
			n += truth[i][u] > 0;
		wrong += n != a.items[i].n;
		listed += audience_listed(&a.items[i]);
		wrong += n > 100 && audience_listed(&a.items[i]);
		for (int x = 0; audience_listed(&a.items[i]) && x < a.items[i].n; x++)
			wrong += truth[i][a.items[i].entries[x].user] != a.items[i].entries[x].weight;
	}
	ok(wrong == 0 && listed > 5 && listed < NITEMS, "audiences are right; %d of %d are listed", listed, NITEMS);
	audiences_scale(&a, 0.5);
	a.limit = a.bytes - 4000;
	audiences_change(&a, 0, 1, 1, 1);
	ok(a.bytes <= a.limit && a.most < 100, "the longest lists go where memory is short");
	audiences_free(&a);
	ok(m.bytes == 0, "audiences give all memory back");
}

static void
test_cache(void)
{
	enum { KEYS = 1000 };
	Random		r = {19};
	Meter		m = {0};
	Allocator	allocator = meter_allocator(&m);
	VectorCache c;
	int			wrong = 0,
				hits = 0,
				steady = 0;

	ok(vector_cache_init(&c, &allocator, 3, 500), "a cache");
	for (int n = 0; n < 50000; n++)
	{
		int32_t		key = 1 + (int32_t) (random_real(&r) * random_real(&r) * random_real(&r) * KEYS);
		bool		found;
		float	   *v = vector_cache_get(&c, key, &found);

		hits += found;
		wrong += found && (v[0] != (float) key || v[2] != (float) -key);
		v[0] = (float) key;
		v[2] = (float) -key;
	}
	ok(wrong == 0 && hits > 40000, "vectors found are those put; %d hits", hits);
	for (int n = 0; n < 100; n++)
	{
		bool		found;

		vector_cache_get(&c, 5, &found);
		if (n == 50)
			vector_cache_drop(&c, 5);
		steady += found;
	}
	ok(steady >= 98, "what is used stays, until it is dropped");
	ok(vector_cache_bytes(&c) <= m.bytes && m.bytes < vector_cache_bytes(&c) + 100, "bytes of a cache");
	vector_cache_free(&c);
	ok(m.bytes == 0, "a cache gives all memory back");
}

int
main(void)
{
	test_audiences();
	test_cache();
	test_exact(8, false);
	test_exact(20, false);
	test_exact(8, true);
	test_new_items();
	test_extremes(false);
	test_extremes(true);
	test_memory();
	return unit_end();
}
