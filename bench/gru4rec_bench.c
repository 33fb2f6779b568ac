/*
 * gru4rec_bench.c
 *	  Speed and quality of gru4rec by itself, without PostgreSQL.
 *
 *		cc -O3 -Isrc -I$BLAS_INCLUDE bench/gru4rec_bench.c src/numeric/gru4rec*.c
 *		   src/numeric/nn_*.c -L$BLAS -lopenblas -lm
 *		gru4rec_bench NAME=VALUE...
 *
 *	  data=FILE			lines "sequence TAB position TAB item", in order, after a title;
 *						without it sequences are made, and the speed is told
 *	  test=FILE			lines "items with blanks between TAB next item", after a title; all
 *						items are ranked.  Without it the last item of each sequence is
 *						held out, and all items but those of the sequence are ranked
 *	  candidates=N		instead of all items: N that are not in the sequence, at random
 *	  k=10				the length of the lists
 *	  users=N			tests so many at most
 *	  layers=100 batch_size=64 steps=4 n_sample=2048 sample_alpha=0.5 loss=0|1 logq=0 bpreg=1
 *	  dropout_p_embed=0.25 dropout_p_hidden=0.25 item_dropout=0.3 optimizer=0|1
 *	  learning_rate=0.003 n_epochs=60 patience=6 rate_drops=2 validation=0.1 seed=1
 *
 * Products of matrices are counted, 2 m n k each, and nothing else; OpenBLAS's own
 * rate is that of a large sgemm in the same process.
 */
#define _GNU_SOURCE
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "numeric/gru4rec_learn.h"

typedef struct Sequences
{
	int32_t		n;
	int64_t    *offsets;
	int32_t    *items;
	int32_t		nitems;
} Sequences;

typedef struct Options
{
	const char *data;
	const char *test;
	int			candidates;
	int			k;
	int			users;
	Gru4recLearn learn;
} Options;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static void *
need(size_t size)
{
	void	   *p = malloc(size + 1);

	if (!p)
	{
		fprintf(stderr, "gru4rec_bench: no memory\n");
		exit(1);
	}
	return p;
}

static void *
get(void *arg, size_t size)
{
	(void) arg;
	return malloc(size);
}

static void
give(void *arg, void *p)
{
	(void) arg;
	free(p);
}

static const Allocator allocator = {get, give, NULL};

/* --------------------------------------------------------------- options */

static void
set_option(Options *o, const char *name, const char *value)
{
	Gru4recParams *p = &o->learn.params;
	double		x = atof(value);
	const struct
	{
		const char *name;
		int		   *place;
	}			ints[] = {
		{"candidates", &o->candidates}, {"k", &o->k}, {"users", &o->users}, {"layers", &p->dim},
		{"batch_size", &p->batch_size}, {"steps", &p->steps}, {"n_sample", &p->n_sample},
		{"n_epochs", &o->learn.n_epochs}, {"patience", &o->learn.patience}, {"rate_drops", &o->learn.rate_drops}
	};
	const struct
	{
		const char *name;
		double	   *place;
	}			reals[] = {
		{"sample_alpha", &p->sample_alpha}, {"logq", &p->logq}, {"bpreg", &p->bpreg},
		{"dropout_p_embed", &p->dropout_p_embed}, {"dropout_p_hidden", &p->dropout_p_hidden},
		{"item_dropout", &p->item_dropout}, {"learning_rate", &p->learning_rate},
		{"validation", &o->learn.validation}
	};

	for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++)
		if (strcmp(name, ints[i].name) == 0)
		{
			*ints[i].place = (int) x;
			return;
		}
	for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++)
		if (strcmp(name, reals[i].name) == 0)
		{
			*reals[i].place = x;
			return;
		}
	if (strcmp(name, "data") == 0)
		o->data = value;
	else if (strcmp(name, "test") == 0)
		o->test = value;
	else if (strcmp(name, "loss") == 0)
		p->loss = (Gru4recLoss) x;
	else if (strcmp(name, "optimizer") == 0)
		p->optimizer = (Gru4recOptimizer) x;
	else if (strcmp(name, "seed") == 0)
		p->seed = (uint64_t) x;
	else
	{
		fprintf(stderr, "gru4rec_bench: there is no option \"%s\"\n", name);
		exit(1);
	}
}

/* ------------------------------------------------------------------ data */

static FILE *
open_file(const char *name)
{
	FILE	   *f = fopen(name, "r");
	int			c = 0;

	if (!f)
	{
		perror(name);
		exit(1);
	}
	while (c != '\n' && c != EOF)
		c = getc(f);
	return f;
}

static Sequences
read_sequences(const char *name)
{
	FILE	   *f = open_file(name);
	Sequences	s = {0};
	int64_t		n = 0,
				max = 0;
	long		sequence,
				item,
				last = -1;

	s.offsets = need(sizeof(int64_t));
	while (fscanf(f, "%ld %*d %ld", &sequence, &item) == 2)
	{
		if (n == max)
		{
			max = 2 * max + 1000;
			s.items = realloc(s.items, sizeof(int32_t) * (size_t) max);
			s.offsets = realloc(s.offsets, sizeof(int64_t) * (size_t) (max + 2));
		}
		if (sequence != last)
			s.offsets[s.n++] = n;
		last = sequence;
		s.items[n++] = (int32_t) item;
		s.nitems = item >= s.nitems ? (int32_t) item + 1 : s.nitems;
	}
	s.offsets[s.n] = n;
	fclose(f);
	return s;
}

/* Popular items come more often, and the next one is near. */
static Sequences
make_sequences(int32_t n, int length, int32_t nitems)
{
	Sequences	s = {n, need(sizeof(int64_t) * (size_t) (n + 1)), need(sizeof(int32_t) * (size_t) (n * length)), nitems};
	NnRandom	random = {1};

	for (int32_t i = 0; i <= n; i++)
		s.offsets[i] = (int64_t) i * length;
	for (int64_t e = 0; e < s.offsets[n]; e++)
	{
		double		x = (double) nn_random_real(&random);

		s.items[e] = e % length == 0 ? (int32_t) (nitems * x * x * x) :
			(s.items[e - 1] + (int32_t) nn_random_below(&random, 20)) % nitems;
	}
	return s;
}

/* The last item of each goes to "last"; the rest closes ranks. */
static void
hold_out_last(Sequences *s, int32_t *last)
{
	int64_t		from = 0,
				kept = 0;

	for (int32_t i = 0; i < s->n; i++)
	{
		int64_t		end = s->offsets[i + 1] - 1;

		last[i] = s->items[end];
		memmove(s->items + kept, s->items + from, sizeof(int32_t) * (size_t) (end - from));
		kept += end - from;
		from = end + 1;
		s->offsets[i + 1] = kept;
	}
}

static Sequences
read_prefixes(const char *name, int32_t *next)
{
	FILE	   *f = open_file(name);
	char	   *line = NULL;
	size_t		size = 0;
	Sequences	s = {0};
	int64_t		n = 0;

	s.items = need(sizeof(int32_t) * 8000000);
	s.offsets = need(sizeof(int64_t) * 1000001);
	while (getline(&line, &size, f) > 0 && s.n < 1000000 && n < 7990000)
	{
		char	   *tab = strchr(line, '\t');
		char	   *rest = NULL;

		if (!tab)
			continue;
		*tab = '\0';
		s.offsets[s.n] = n;
		for (char *at = strtok_r(line, " ,", &rest); at; at = strtok_r(NULL, " ,", &rest))
			s.items[n++] = atoi(at);
		next[s.n++] = atoi(tab + 1);
	}
	s.offsets[s.n] = n;
	free(line);
	fclose(f);
	return s;
}

/* --------------------------------------------------------------- quality */

/* The place of the item among those that are ranked, from 0. */
static int
rank_of(const Options *o, NnReal *scores, int32_t nitems, const int32_t *seen, int nseen, int32_t wanted,
		NnRandom *random)
{
	NnReal		score = scores[wanted];
	int			rank = 0;

	if (!o->test)
		for (int i = 0; i < nseen; i++)
			if (seen[i] != wanted)
				scores[seen[i]] = -INFINITY;
	for (int i = 0; i < o->candidates; i++)
	{
		int32_t		other = 0;

		while (other == 0 || other == wanted || isinf(scores[other]))
			other = (int32_t) nn_random_below(random, (uint32_t) nitems);
		rank += scores[other] > score;
	}
	for (int32_t i = 1; o->candidates == 0 && i < nitems; i++)
		rank += scores[i] > score;
	return rank;
}

static void
test_quality(const Options *o, const Sequences *test, const int32_t *wanted, int32_t nitems)
{
	enum
	{
		LENGTH = 100
	};
	size_t		dim = o->learn.params.dim;
	NnReal	   *x = need(sizeof(NnReal) * LENGTH * dim);
	NnReal	   *h = need(sizeof(NnReal) * dim);
	NnReal	   *scratch = need(sizeof(NnReal) * 3 * (LENGTH + 1) * dim);
	NnReal	   *scores = need(sizeof(NnReal) * (size_t) nitems);
	NnReal	   *work = need(sizeof(NnReal) * NN_GEMM_WORK);
	NnRandom	random = {42};
	double		hits = 0,
				ndcg = 0,
				mrr = 0;
	int			stride = o->users > 0 && test->n > o->users ? test->n / o->users : 1;
	int			n = 0;

	for (int32_t u = 0; u < test->n; u += stride)
	{
		int			length = (int) (test->offsets[u + 1] - test->offsets[u]);
		int			read = length < LENGTH ? length : LENGTH;
		int			rank = 1 << 30;

		if (length == 0)
			continue;
		n++;
		nn_embedding_forward(read, (int) dim, test->items + test->offsets[u + 1] - read, o->learn.vectors, x);
		gru4rec_encode((int) dim, o->learn.weights, read, x, h, scratch, work);
		cblas_sgemv(CblasRowMajor, CblasNoTrans, nitems, (int) dim, 1, o->learn.vectors, (int) dim, h, 1, 0, scores, 1);
		if (wanted[u] < nitems)
			rank = rank_of(o, scores, nitems, test->items + test->offsets[u], length, wanted[u], &random);
		if (rank >= o->k)
			continue;
		hits++;
		ndcg += 1 / log2(rank + 2.0);
		mrr += 1 / (rank + 1.0);
	}
	printf("hits %.4f ndcg %.4f mrr %.4f of %d\n", hits / n, ndcg / n, mrr / n, n);
}

static void
after_epoch(void *arg, int epoch, double loss, double recall)
{
	(void) arg;
	fprintf(stderr, "epoch %d: loss %.4f, recall %.4f\n", epoch, loss, recall);
}

static void
measure_quality(Options *o)
{
	Sequences	s = read_sequences(o->data);
	int32_t    *wanted = need(sizeof(int32_t) * 1000000);
	Sequences	test;
	Gru4recData data;
	double		began = now();

	if (o->test)
		test = read_prefixes(o->test, wanted);
	else
	{
		hold_out_last(&s, wanted);
		test = s;
		test.offsets = memcpy(need(sizeof(int64_t) * (size_t) (s.n + 1)), s.offsets, sizeof(int64_t) * (size_t) (s.n + 1));
		test.items = memcpy(need(sizeof(int32_t) * (size_t) s.offsets[s.n]), s.items,
							sizeof(int32_t) * (size_t) s.offsets[s.n]);
	}
	data = (Gru4recData) {s.n, s.nitems, s.offsets, s.items, NULL};
	o->learn.epoch = after_epoch;
	o->learn.seen_excluded = !o->test;
	if (gru4rec_learn(&allocator, &o->learn, &data, s.offsets, s.items, NULL, NULL) != GRU4REC_DONE)
	{
		printf("the training failed\n");
		exit(1);
	}
	printf("epoch %d, %.0f s: ", o->learn.best, now() - began);
	test_quality(o, &test, wanted, s.nitems);
}

/* ----------------------------------------------------------------- speed */

static double
blas_rate(void)
{
	enum
	{
		N = 1024
	};
	float	   *a = need(sizeof(float) * N * N);
	float	   *c = need(sizeof(float) * N * N);
	double		best = INFINITY;

	for (int i = 0; i < N * N; i++)
		a[i] = (float) (i % 17) / 17;
	for (int i = 0; i < 5; i++)
	{
		double		began = now();

		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1, a, N, a, N, 0, c, N);
		best = fmin(best, now() - began);
	}
	free(a);
	free(c);
	return 2.0 * N * N * N / best;
}

static double
encoder_us(int dim)
{
	enum
	{
		LENGTH = 50, ROUNDS = 101
	};
	NnReal	   *x = calloc((size_t) LENGTH * dim, sizeof(NnReal));
	NnReal	   *weights = calloc(gru4rec_weights(dim), sizeof(NnReal));
	NnReal	   *h = need(sizeof(NnReal) * (size_t) dim);
	NnReal	   *scratch = need(sizeof(NnReal) * 3 * (LENGTH + 1) * (size_t) dim);
	NnReal	   *work = need(sizeof(NnReal) * NN_GEMM_WORK);
	double		best = INFINITY;

	for (int i = 0; i < ROUNDS; i++)
	{
		double		began = now();

		gru4rec_encode(dim, weights, LENGTH, x, h, scratch, work);
		best = fmin(best, now() - began);
	}
	return 1e6 * best;
}

static void
measure_speed(Options *o)
{
	const Gru4recParams *p = &o->learn.params;
	Sequences	s = make_sequences(2000, 21, 20000);
	Gru4recData data = {s.n, s.nitems, s.offsets, s.items, NULL};
	Gru4rec    *g = gru4rec_create(&allocator, p, &data, NULL, NULL);
	double		rows = (double) p->batch_size * p->steps;
	double		d = p->dim;
	/* scores and their two gradients; of the gates x and h, and their two gradients each */
	double		per_row = 3 * 2 * (rows + p->n_sample) * d + 3 * 2 * 2 * 3 * d * d;
	double		events = (double) s.n * 20;
	double		best = INFINITY;
	double		blas;

	if (!g)
		exit(1);
	for (int epoch = 0; epoch < 4; epoch++)
	{
		double		began = now();

		(void) gru4rec_epoch(g, NULL, NULL);
		best = fmin(best, now() - began);
	}
	blas = blas_rate();
	printf("%.0f events/s, %.1f GFLOP/s, sgemm %.1f GFLOP/s, ratio %.2f, encoder of 50 items %.0f us\n",
		   events / best, events * per_row / best / 1e9, blas / 1e9, events * per_row / best / blas, encoder_us(p->dim));
	gru4rec_destroy(g);
}

int
main(int argc, char **argv)
{
	Options		o = {.k = 10,.learn = {.n_epochs = 60,.patience = 6,.rate_drops = 2,.validation = 0.1,.max_validation = 2000}};

	o.learn.params = (Gru4recParams) {
		.dim = 100,.batch_size = 64,.steps = 4,.n_sample = 2048,.sample_alpha = 0.5,.bpreg = 1,
		.dropout_p_embed = 0.25,.dropout_p_hidden = 0.25,.item_dropout = 0.3,.learning_rate = 0.003,.seed = 1
	};
	for (int i = 1; i < argc; i++)
	{
		char	   *equals = strchr(argv[i], '=');

		if (!equals)
		{
			fprintf(stderr, "gru4rec_bench: NAME=VALUE, not \"%s\"\n", argv[i]);
			return 1;
		}
		*equals = '\0';
		set_option(&o, argv[i], equals + 1);
	}
	if (o.data)
		measure_quality(&o);
	else
		measure_speed(&o);
	return 0;
}
