/*
 * gru4rec_learn.c
 *	  Epochs, validation and the best of them, see gru4rec_learn.h.
 */
#include "numeric/gru4rec_learn.h"

#include <math.h>
#include <string.h>

/* Sequences whose scores are computed at a time. */
#define AT_ONCE	32

/* Of the learning rate, where it brings nothing any more. */
#define RATE_DROP	0.25

/* Those shorter are left whole: their last item is half of what they teach. */
#define LEAST_HELD	3

typedef struct HeldOutItem
{
	int32_t		session;
	int32_t		item;
} HeldOutItem;

typedef struct Validation
{
	const Gru4recLearn *learn;
	const Gru4recData *data;
	int			n;
	HeldOutItem *held;
	int32_t		longest;
	/* of a few sequences */
	NnReal	   *h;				/* AT_ONCE x dim */
	NnReal	   *s;				/* AT_ONCE x nitems */
	NnReal	   *x;				/* longest x dim */
	NnReal	   *scratch;
	NnReal	   *work;
} Validation;

static void *
allocate(const Allocator *a, size_t n, size_t width)
{
	return a->alloc(a->arg, size_mul(n > 0 ? n : 1, width));
}

static void
give_back(const Allocator *a, void *p)
{
	if (p)
		a->release(a->arg, p);
}

/* -------------------------------------------------------------- held out */

static int
most_held(const Gru4recLearn *learn, const Gru4recData *data)
{
	double		wanted = learn->validation * data->nsessions;

	return wanted < learn->max_validation ? (int) wanted : learn->max_validation;
}

/*
 * Of those that are long enough, by their keys: a training that starts from another has not
 * seen what it is judged by.  Sequences close ranks.
 */
static void
hold_out(Validation *v, int64_t *offsets, int32_t *items)
{
	int32_t		nsessions = v->data->nsessions;
	int			most = most_held(v->learn, v->data);
	NnReal		share = (NnReal) most / (nsessions > 0 ? nsessions : 1);
	int64_t		kept = 0;
	int64_t		from = 0;

	for (int32_t i = 0; i < nsessions; i++)
	{
		int64_t		end = offsets[i + 1];
		int64_t		n = end - from;
		bool		held = false;

		if (n >= LEAST_HELD && v->n < most)
		{
			NnRandom	random = {v->learn->params.seed * UINT64_C(0x5e55104e) +
				(uint64_t) (v->data->keys ? v->data->keys[i] : i)};

			held = nn_random_real(&random) < share;
		}
		if (held)
			v->held[v->n++] = (HeldOutItem) {i, items[--end]};
		memmove(items + kept, items + from, sizeof(int32_t) * (size_t) (end - from));
		kept += end - from;
		from = offsets[i + 1];
		offsets[i + 1] = kept;
		if (n > v->longest)
			v->longest = (int32_t) n;
	}
}

/* ---------------------------------------------------------------- recall */

static void
encode(const Validation *v, const Gru4rec *g, int32_t session, NnReal *h)
{
	int			dim = v->learn->params.dim;
	int64_t		first = v->data->offsets[session];
	int			n = (int) (v->data->offsets[session + 1] - first);

	nn_embedding_forward(n, dim, v->data->items + first, gru4rec_vectors_of(g), v->x);
	gru4rec_encode(dim, gru4rec_weights_of(g), n, v->x, h, v->scratch, v->work);
}

/* Is the held-out item among the best? */
static bool
is_hit(const Validation *v, const HeldOutItem *held, NnReal *s)
{
	NnReal		wanted = s[held->item];
	int			above = 0;

	if (v->learn->seen_excluded)
		for (int64_t e = v->data->offsets[held->session]; e < v->data->offsets[held->session + 1]; e++)
			if (v->data->items[e] != held->item)
				s[v->data->items[e]] = -INFINITY;
	for (int32_t item = 0; item < v->data->nitems; item++)
		above += s[item] > wanted;
	return above < GRU4REC_RECALL_AT;
}

static double
recall(const Validation *v, const Gru4rec *g)
{
	int			dim = v->learn->params.dim;
	int32_t		nitems = v->data->nitems;
	int			hits = 0;

	if (v->n == 0)
		return NAN;
	for (int first = 0; first < v->n; first += AT_ONCE)
	{
		int			n = v->n - first < AT_ONCE ? v->n - first : AT_ONCE;

		for (int i = 0; i < n; i++)
			encode(v, g, v->held[first + i].session, v->h + (size_t) i * dim);
		nn_gemm(false, true, n, nitems, dim, 1, v->h, dim, gru4rec_vectors_of(g), dim, false, v->s, nitems, v->work);
		for (int i = 0; i < n; i++)
			hits += is_hit(v, &v->held[first + i], v->s + (size_t) i * nitems);
	}
	return (double) hits / v->n;
}

/* ---------------------------------------------------------------- memory */

static size_t
validation_size(const Gru4recLearn *learn, const Gru4recData *data, int32_t longest)
{
	size_t		dim = learn->params.dim;

	return sizeof(NnReal) * (AT_ONCE * (dim + data->nitems) + ((size_t) 4 * longest + 3) * dim + NN_GEMM_WORK) +
		sizeof(HeldOutItem) * most_held(learn, data);
}

size_t
gru4rec_learn_size(const Gru4recLearn *learn, const Gru4recData *data, int32_t longest)
{
	return gru4rec_size(&learn->params, data, longest) + validation_size(learn, data, longest) +
		sizeof(NnReal) * ((size_t) data->nitems * learn->params.dim + gru4rec_weights(learn->params.dim));
}

/* "longest" is known after hold_out(). */
static bool
begin_validation(Validation *v, const Allocator *a)
{
	size_t		dim = v->learn->params.dim;

	v->h = allocate(a, AT_ONCE * dim, sizeof(NnReal));
	v->s = allocate(a, AT_ONCE * (size_t) v->data->nitems, sizeof(NnReal));
	v->x = allocate(a, v->longest * dim, sizeof(NnReal));
	v->scratch = allocate(a, ((size_t) v->longest + 1) * 3 * dim, sizeof(NnReal));
	v->work = allocate(a, NN_GEMM_WORK + 16, sizeof(NnReal));
	return v->h && v->s && v->x && v->scratch && v->work;
}

static void
end_validation(Validation *v, const Allocator *a)
{
	give_back(a, v->held);
	give_back(a, v->h);
	give_back(a, v->s);
	give_back(a, v->x);
	give_back(a, v->scratch);
	give_back(a, v->work);
}

/* ----------------------------------------------------------------- learn */

typedef struct Going
{
	const Gru4recLearn *learn;
	int			done;			/* epochs */
	bool		stopped;
} Going;

static bool
going(void *arg, double share)
{
	Going	   *g = arg;

	g->stopped = g->learn->going && !g->learn->going(g->learn->arg, g->done + share);
	return !g->stopped;
}

static void
keep(Gru4recLearn *learn, const Gru4rec *g, int32_t nitems, int epoch, double loss, double found)
{
	int			dim = learn->params.dim;

	memcpy(learn->vectors, gru4rec_vectors_of(g), sizeof(NnReal) * (size_t) nitems * dim);
	memcpy(learn->weights, gru4rec_weights_of(g), sizeof(NnReal) * gru4rec_weights(dim));
	learn->best = epoch;
	learn->loss = loss;
	learn->recall = found;
}

/* Without a validation the last epoch is the best. */
static Gru4recOutcome
run_epochs(Gru4recLearn *learn, Gru4rec *g, const Validation *v)
{
	Going		state = {.learn = learn};
	double		rate = learn->params.learning_rate;
	int			since = 0;		/* the epoch that patience counts from */
	int			drops = 0;

	for (int epoch = 1; epoch <= learn->n_epochs; epoch++)
	{
		double		loss = gru4rec_epoch(g, going, &state);
		double		found;

		if (state.stopped)
			return GRU4REC_STOPPED;
		if (!isfinite(loss))
			return GRU4REC_EXPLODED;
		state.done = epoch;
		found = recall(v, g);
		if (learn->epoch)
			learn->epoch(learn->arg, epoch, loss, found);
		if (learn->best == 0 || v->n == 0 || found > learn->recall)
		{
			keep(learn, g, v->data->nitems, epoch, loss, found);
			since = epoch;
		}
		else if (epoch - since >= learn->patience)
		{
			if (drops++ == learn->rate_drops)
				break;
			gru4rec_resume(g, learn->vectors, learn->weights, rate *= RATE_DROP);
			since = epoch;
		}
	}
	return GRU4REC_DONE;
}

Gru4recOutcome
gru4rec_learn(const Allocator *allocator, Gru4recLearn *learn, const Gru4recData *data,
			  int64_t *offsets, int32_t *items, const NnReal *vectors, const NnReal *weights)
{
	Gru4recData changed = {data->nsessions, data->nitems, offsets, items, data->keys};
	Validation	v = {.learn = learn,.data = &changed,.longest = 1};
	Gru4recOutcome outcome = GRU4REC_NO_MEMORY;
	Gru4rec    *g = NULL;

	learn->best = 0;
	learn->loss = learn->recall = NAN;
	learn->vectors = allocate(allocator, (size_t) data->nitems * learn->params.dim, sizeof(NnReal));
	learn->weights = allocate(allocator, gru4rec_weights(learn->params.dim), sizeof(NnReal));
	v.held = allocate(allocator, most_held(learn, data), sizeof(HeldOutItem));
	if (learn->vectors && learn->weights && v.held)
	{
		hold_out(&v, offsets, items);
		if (begin_validation(&v, allocator))
			g = gru4rec_create(allocator, &learn->params, &changed, vectors, weights);
	}
	if (g)
	{
		outcome = run_epochs(learn, g, &v);
		gru4rec_destroy(g);
	}
	end_validation(&v, allocator);
	return outcome;
}
