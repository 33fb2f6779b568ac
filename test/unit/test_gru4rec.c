/*
 * test_gru4rec.c
 *	  A training of gru4rec as a whole: tiny data that it must know by heart, the same
 *	  result each time, the best epoch kept, and what goes wrong.
 */
#include "numeric/gru4rec_learn.h"

#include "unit.h"

enum
{
	ITEMS = 60, SESSIONS = 60, LENGTH = 9
};

/*
 * Sequences that go round a circle of items, forwards by "stride", some steps each; in which
 * the next item depends on the two before it.
 */
typedef struct Tiny
{
	int64_t		offsets[SESSIONS + 1];
	int32_t		items[SESSIONS * LENGTH];
	Gru4recData data;
} Tiny;

static void
make_tiny(Tiny *t)
{
	int64_t		n = 0;

	t->offsets[0] = 0;
	for (int s = 0; s < SESSIONS; s++)
	{
		int			length = 4 + s % (LENGTH - 3);

		for (int i = 0; i < length; i++)
			t->items[n++] = (s * 7 + i * (1 + s % 3)) % ITEMS;
		t->offsets[s + 1] = n;
	}
	t->data = (Gru4recData) {SESSIONS, ITEMS, t->offsets, t->items, NULL};
}

static Gru4recLearn
settings(void)
{
	Gru4recLearn learn = {.n_epochs = 80,.patience = 20};

	learn.params = (Gru4recParams) {
		.dim = 24,.batch_size = 8,.steps = 4,.n_sample = 16,.sample_alpha = 0.5,.bpreg = 0.1,
		.learning_rate = 0.01,.seed = 7
	};
	return learn;
}

static Meter meter;

static Gru4recOutcome
learn_tiny(Gru4recLearn *learn)
{
	Allocator	a = meter_allocator(&meter);
	Tiny	   *t = malloc(sizeof(Tiny));
	Gru4recOutcome outcome;

	make_tiny(t);
	outcome = gru4rec_learn(&a, learn, &t->data, t->offsets, t->items, NULL, NULL);
	free(t);
	return outcome;
}

static void
forget(Gru4recLearn *learn)
{
	Allocator	a = meter_allocator(&meter);

	if (learn->vectors)
		a.release(a.arg, learn->vectors);
	if (learn->weights)
		a.release(a.arg, learn->weights);
}

/* Share of the events, from the third on, whose item has the highest score. */
static double
hit_rate(const Gru4recLearn *learn)
{
	Tiny	   *t = malloc(sizeof(Tiny));
	int			dim = learn->params.dim;
	NnReal	   *x = malloc(sizeof(NnReal) * (size_t) (LENGTH * dim)),
			   *h = malloc(sizeof(NnReal) * (size_t) dim),
			   *scratch = malloc(sizeof(NnReal) * (size_t) (3 * (LENGTH + 1) * dim)),
			   *work = malloc(sizeof(NnReal) * NN_GEMM_WORK);
	int			hits = 0,
				n = 0;

	make_tiny(t);
	for (int s = 0; s < SESSIONS; s++)
		for (int64_t e = t->offsets[s] + 2; e < t->offsets[s + 1]; e++, n++)
		{
			int			best = 0;
			double		score[ITEMS] = {0};

			nn_embedding_forward((int) (e - t->offsets[s]), dim, t->items + t->offsets[s], learn->vectors, x);
			gru4rec_encode(dim, learn->weights, (int) (e - t->offsets[s]), x, h, scratch, work);
			for (int i = 0; i < ITEMS; i++)
			{
				for (int j = 0; j < dim; j++)
					score[i] += (double) (h[j] * learn->vectors[i * dim + j]);
				best = score[i] > score[best] ? i : best;
			}
			hits += best == t->items[e];
		}
	free(t);
	free(x);
	free(h);
	free(scratch);
	free(work);
	return (double) hits / n;
}

static void
test_overfits(void)
{
	static const char *const losses[] = {"cross-entropy", "BPR-max"};
	static const char *const optimizers[] = {"Adam", "Adagrad"};

	for (int how = 0; how < 4; how++)
	{
		Gru4recLearn learn = settings();
		Gru4recOutcome outcome;
		double		rate;

		learn.params.loss = how % 2;
		learn.params.optimizer = how / 2;
		if (how / 2 == GRU4REC_ADAGRAD)
			learn.params.learning_rate = 0.1;
		outcome = learn_tiny(&learn);
		if (!ok(outcome == GRU4REC_DONE, "%s, %s: trained, loss %g", losses[how % 2], optimizers[how / 2],
				learn.loss))
			continue;
		rate = hit_rate(&learn);
		ok(rate == 1, "... and knows it by heart: hit rate %g", rate);
		ok(learn.best == learn.n_epochs && isnan(learn.recall), "... the last epoch, where nothing is held out");
		forget(&learn);
	}
}

static void
test_repeats(void)
{
	Gru4recLearn a = settings(),
				b = settings(),
				c = settings();

	a.n_epochs = b.n_epochs = c.n_epochs = 3;
	a.params.dropout_p_embed = b.params.dropout_p_embed = c.params.dropout_p_embed = 0.2;
	a.params.item_dropout = b.params.item_dropout = c.params.item_dropout = 0.2;
	c.params.seed = 8;
	(void) learn_tiny(&a);
	(void) learn_tiny(&b);
	(void) learn_tiny(&c);
	ok(memcmp(a.vectors, b.vectors, sizeof(NnReal) * ITEMS * 24) == 0 &&
	   memcmp(a.weights, b.weights, sizeof(NnReal) * gru4rec_weights(24)) == 0, "the same seed gives the same bits");
	ok(memcmp(a.vectors, c.vectors, sizeof(NnReal) * ITEMS * 24) != 0, "another one others");
	forget(&a);
	forget(&b);
	forget(&c);
}

/* ------------------------------------------------------------ validation */

typedef struct Watch
{
	int			epochs;
	double		best;
	int			best_epoch;
	double		stop_at;
	double		done;
} Watch;

static void
watch_epoch(void *arg, int epoch, double loss, double recall)
{
	Watch	   *w = arg;

	(void) loss;
	w->epochs = epoch;
	if (recall > w->best)
	{
		w->best = recall;
		w->best_epoch = epoch;
	}
}

static bool
watch_going(void *arg, double epochs)
{
	Watch	   *w = arg;

	w->done = epochs;
	return epochs < w->stop_at;
}

static void
test_early_stop(void)
{
	Gru4recLearn learn = settings();
	Watch		w = {.best = -1,.stop_at = 1e9};
	Gru4recOutcome outcome;

	learn.validation = 0.5;
	learn.params.learning_rate = 0.002;
	learn.max_validation = 20;
	learn.patience = 5;
	learn.n_epochs = 1000;
	learn.seen_excluded = true;
	learn.epoch = watch_epoch;
	learn.going = watch_going;
	learn.arg = &w;
	ok(learn_tiny(&learn) == GRU4REC_DONE, "with validation: trained");
	ok(w.epochs < 1000 && w.epochs == w.best_epoch + 5, "it ends %d epochs after the best one, %d",
	   w.epochs - w.best_epoch, w.best_epoch);
	ok(learn.best == w.best_epoch && learn.recall == w.best, "which is kept: recall %g", learn.recall);
	forget(&learn);

	w = (Watch) {.best = -1,.stop_at = 1e9};
	learn.rate_drops = 2;
	ok(learn_tiny(&learn) == GRU4REC_DONE, "with drops of the rate: trained");
	ok(w.epochs >= w.best_epoch + 5 && w.epochs >= 15 && learn.best == w.best_epoch,
	   "it goes on twice: %d epochs, the best was %d", w.epochs, w.best_epoch);
	forget(&learn);
	learn.rate_drops = 0;

	w = (Watch) {.best = -1,.stop_at = 1.4};
	outcome = learn_tiny(&learn);
	ok(outcome == GRU4REC_STOPPED && w.done >= 1.4 && w.done < 2, "stopped on the way, at %g", w.done);
	forget(&learn);
}

/* A version to start from is taken up. */
static void
test_warm_start(void)
{
	Gru4recLearn first = settings();
	Gru4recLearn second = settings();
	Allocator	a = meter_allocator(&meter);
	Tiny	   *t = malloc(sizeof(Tiny));

	(void) learn_tiny(&first);
	second.n_epochs = 1;
	make_tiny(t);
	(void) gru4rec_learn(&a, &second, &t->data, t->offsets, t->items, first.vectors, first.weights);
	ok(second.loss < 0.1, "from a trained version one epoch has a loss of %g", second.loss);
	forget(&first);
	forget(&second);
	free(t);
}

static void
test_failures(void)
{
	Gru4recLearn learn = settings();
	Tiny	   *t = malloc(sizeof(Tiny));
	size_t		most;

	learn.params.learning_rate = 1e30;
	ok(learn_tiny(&learn) == GRU4REC_EXPLODED, "a loss that is no number ends it");
	forget(&learn);

	learn = settings();
	learn.n_epochs = 1;
	meter.most = 0;
	(void) learn_tiny(&learn);
	forget(&learn);
	most = meter.most;
	make_tiny(t);
	ok(most <= gru4rec_learn_size(&learn, &t->data, LENGTH) + 1024, "it takes %zu bytes of %zu foretold", most,
	   gru4rec_learn_size(&learn, &t->data, LENGTH));
	for (size_t limit = 1000; limit < most; limit *= 3)
	{
		meter.limit = limit;
		if (!ok(learn_tiny(&learn) == GRU4REC_NO_MEMORY, "no memory beyond %zu", limit))
			break;
		forget(&learn);
	}
	meter.limit = 0;
	ok(meter.bytes == 0, "everything was given back");
	free(t);
}

int
main(void)
{
	test_overfits();
	test_repeats();
	test_early_stop();
	test_warm_start();
	test_failures();
	return unit_end();
}
