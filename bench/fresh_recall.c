/*
 * fresh_recall.c
 *	  Recall@20 of the next events, for several sets of item vectors side by side.
 *
 *		cc -O3 -Isrc bench/fresh_recall.c src/numeric/als.c src/numeric/als_kernel.c
 *			src/numeric/cholesky.c -lm -o fresh_recall
 *		fresh_recall EVENTS FROM TO STRIDE DIM ALPHA REGULARIZATION VECTORS...
 *
 * EVENTS has lines "user item weight" in the order of time.  Of those from number
 * FROM (counted from 0) up to before TO each STRIDE-th is tested that is the user's
 * first with that item, and not his first at all: is the item among the 20
 * best of those that are new to him?  His vector is folded in from all events
 * before this one, over the item vectors in question.  VECTORS are files of lines
 * "item {x,y,...}".  Prints the number of tests, then for each file the hits.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numeric/als.h"

#define TOP 20

typedef struct Event
{
	int			user;
	int			item;
	float		weight;
} Event;

typedef struct History
{
	int			n;
	int			max;
	int32_t    *items;
	float	   *weights;
} History;

typedef struct Vectors
{
	float	   *rows;			/* by item number; zeros where there is none */
	float	   *gram;
	long		hits;
} Vectors;

static Event *events;
static long nevents;
static int	nusers;
static int	nitems;
static History *histories;
static AlsParams params;

static void
die(const char *text, const char *what)
{
	fprintf(stderr, "fresh_recall: %s: %s\n", text, what);
	exit(1);
}

static void *
zeros(size_t n, size_t width)
{
	size_t		bytes = (n * width + 127) / 64 * 64;
	void	   *block = aligned_alloc(64, bytes);

	if (block == NULL)
		die("no memory", strerror(errno));
	return memset(block, 0, bytes);
}

static void
read_events(const char *path)
{
	FILE	   *file = fopen(path, "r");
	long		max = 0;
	Event		e;

	if (file == NULL)
		die(path, strerror(errno));
	while (fscanf(file, "%d %d %f", &e.user, &e.item, &e.weight) == 3)
	{
		if (e.user < 0 || e.item < 0)
			die(path, "negative numbers");
		if (nevents == max)
		{
			max = max ? max * 2 : 65536;
			events = realloc(events, sizeof(Event) * (size_t) max);
			if (events == NULL)
				die("no memory", strerror(errno));
		}
		events[nevents++] = e;
		nusers = e.user >= nusers ? e.user + 1 : nusers;
		nitems = e.item >= nitems ? e.item + 1 : nitems;
	}
	fclose(file);
}

static void
sum_gram(Vectors *v)
{
	int			dim = params.dim;

	for (int item = 0; item < nitems; item++)
		for (int a = 0; a < dim; a++)
			for (int b = 0; b < dim; b++)
				v->gram[a * dim + b] += v->rows[item * dim + a] * v->rows[item * dim + b];
}

static void
read_vectors(const char *path, Vectors *v)
{
	FILE	   *file = fopen(path, "r");
	int			item;
	char		end;

	if (file == NULL)
		die(path, strerror(errno));
	v->rows = zeros((size_t) nitems * (size_t) params.dim, sizeof(float));
	v->gram = zeros((size_t) params.dim * (size_t) params.dim, sizeof(float));
	while (fscanf(file, "%d {", &item) == 1)
	{
		for (int a = 0; a < params.dim; a++)
		{
			float		x;

			if (fscanf(file, "%f%c", &x, &end) != 2 || end != (a + 1 < params.dim ? ',' : '}'))
				die(path, "not the vectors expected");
			if (item >= 0 && item < nitems)
				v->rows[item * params.dim + a] = x;
		}
	}
	fclose(file);
	sum_gram(v);
}

static int
find(const History *h, int item)
{
	for (int k = 0; k < h->n; k++)
		if (h->items[k] == item)
			return k;
	return -1;
}

static void
apply(const Event *e)
{
	History    *h = &histories[e->user];
	int			at = find(h, e->item);

	if (at >= 0)
	{
		h->weights[at] += e->weight;
		return;
	}
	if (h->n == h->max)
	{
		h->max = h->max ? h->max * 2 : 8;
		h->items = realloc(h->items, sizeof(int32_t) * (size_t) h->max);
		h->weights = realloc(h->weights, sizeof(float) * (size_t) h->max);
		if (h->items == NULL || h->weights == NULL)
			die("no memory", strerror(errno));
	}
	h->items[h->n] = e->item;
	h->weights[h->n++] = e->weight;
}

static float
score(const float *x, const float *y)
{
	float		s = 0;

	for (int a = 0; a < params.dim; a++)
		s += x[a] * y[a];
	return s;
}

static bool
is_zero(const float *y)
{
	for (int a = 0; a < params.dim; a++)
		if (y[a] != 0)
			return false;
	return true;
}

/* Items without vectors are not in the problem, and never in the answer. */
static bool
is_hit(const Vectors *v, const Event *e, bool *seen, float *x, void *work)
{
	const History *h = &histories[e->user];
	const float *target = v->rows + e->item * params.dim;
	int32_t    *rows = malloc(sizeof(int32_t) * (size_t) h->n);
	float	   *weights = malloc(sizeof(float) * (size_t) h->n);
	int			n = 0;
	int			better = 0;
	float		own;

	if (rows == NULL || weights == NULL)
		die("no memory", strerror(errno));
	for (int k = 0; k < h->n; k++)
	{
		seen[h->items[k]] = true;
		if (is_zero(v->rows + h->items[k] * params.dim))
			continue;
		rows[n] = h->items[k];
		weights[n++] = h->weights[k];
	}
	als_solve_row(&params, v->gram, v->rows, n, rows, weights, x, work);
	own = score(x, target);
	for (int item = 0; item < nitems && better < TOP; item++)
		better += item != e->item && !seen[item] && score(x, v->rows + item * params.dim) >= own;
	for (int k = 0; k < h->n; k++)
		seen[h->items[k]] = false;
	free(rows);
	free(weights);
	return n > 0 && better < TOP && !is_zero(target);
}

int
main(int argc, char **argv)
{
	int			nvectors = argc - 8;
	Vectors    *vectors;
	long		from,
				to,
				stride,
				tests = 0;
	bool	   *seen;
	float	   *x;
	void	   *work;

	if (nvectors < 1)
		die("usage", "fresh_recall EVENTS FROM TO STRIDE DIM ALPHA REGULARIZATION VECTORS...");
	from = atol(argv[2]);
	to = atol(argv[3]);
	stride = atol(argv[4]);
	params.dim = params.factors = atoi(argv[5]);
	params.alpha = atof(argv[6]);
	params.regularization = atof(argv[7]);
	params.exponent = 1;
	if (stride < 1 || params.dim < 1 || params.dim > 1024 || !(params.alpha > 0))
		die("usage", "numbers out of range");
	read_events(argv[1]);
	vectors = zeros((size_t) nvectors, sizeof(Vectors));
	for (int v = 0; v < nvectors; v++)
		read_vectors(argv[8 + v], &vectors[v]);
	histories = zeros((size_t) nusers, sizeof(History));
	seen = zeros((size_t) nitems, sizeof(bool));
	x = zeros((size_t) params.dim, sizeof(float));
	work = zeros(als_work_size(&params, nitems), 1);

	for (long k = 0; k < to && k < nevents; k++)
	{
		const Event *e = &events[k];
		const History *h = &histories[e->user];

		if (k >= from && (k - from) % stride == 0 && h->n > 0 && find(h, e->item) < 0)
		{
			tests++;
			for (int v = 0; v < nvectors; v++)
				vectors[v].hits += is_hit(&vectors[v], e, seen, x, work);
		}
		apply(e);
	}
	printf("%ld", tests);
	for (int v = 0; v < nvectors; v++)
		printf(" %ld", vectors[v].hits);
	printf("\n");
	return 0;
}
