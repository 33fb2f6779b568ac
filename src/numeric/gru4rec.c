/*
 * gru4rec.c
 *	  Training of gru4rec, see gru4rec.h.
 *
 * A batch has "steps" x "lanes" rows.  Its columns are the items that came, in the
 * order of the rows, and then the negatives drawn.  An item may be in it as input, as
 * target and as negative; its gradients are gathered in one row ("slot") of those of the
 * batch, and the optimiser moves the rows of these items alone.
 */
#include "numeric/gru4rec.h"

#include <math.h>
#include <string.h>

typedef struct Lane
{
	int32_t    *items;			/* the sequence being read, without what is left out */
	int			n;
	int			at;				/* next input */
} Lane;

struct Gru4rec
{
	Allocator	allocator;
	Gru4recParams params;
	Gru4recData data;
	int			rows;			/* of a batch */
	int			columns;
	NnRandom	random;
	NnAdam		adam;

	/* what is learnt */
	NnReal	   *vectors;		/* nitems x dim */
	NnReal	   *weights;
	/* of the optimiser */
	NnReal	   *vector_mean,
			   *vector_square;
	NnReal	   *weight_mean,
			   *weight_square;

	/* the order of the sequences, and the lanes */
	int32_t    *order;
	int32_t		next;			/* of the order */
	Lane	   *lanes;
	NnReal	   *state;			/* lanes x dim */

	/* popularity */
	double	   *upto;			/* of popularity^alpha, cumulated */
	NnReal	   *log_came;		/* log of the share of events, by item */
	NnReal	   *log_drawn;		/* log of the share of draws */

	/* a batch */
	int32_t    *inputs;			/* rows */
	int32_t    *target;			/* rows: column, or -1 */
	uint8_t    *begins;
	int32_t    *items;			/* columns */
	NnReal	   *logq;
	int32_t    *slot_of;		/* by item, -1: none */
	int32_t    *slots;			/* of inputs, then of columns */
	int32_t    *slot_item;
	int			nslots;
	NnReal	   *x,
			   *h,
			   *out,
			   *dx,
			   *dh;				/* rows x dim */
	uint8_t    *kept_x,
			   *kept_h;
	NnGruTrace	trace;
	NnReal	   *w,
			   *dw;				/* columns x dim */
	NnReal	   *s;				/* rows x columns */
	NnReal	   *gradient;		/* slots x dim */
	NnReal	   *dweights;
	NnReal	   *work;
	char	   *block;			/* of memory */
	size_t		used;
};

/* ---------------------------------------------------------------- memory */

/* The place of n elements; only counted while there is no block. */
static void *
place(Gru4rec *g, size_t n, size_t width)
{
	size_t		at = (g->used + 63) & ~(size_t) 63;
	size_t		size = size_mul(n, width);

	g->used = size > SIZE_MAX / 2 - at ? SIZE_MAX / 2 : at + size;
	return g->block ? g->block + at : NULL;
}

static NnReal *
place_reals(Gru4rec *g, size_t n)
{
	return place(g, n, sizeof(NnReal));
}

static void
lay_out_model(Gru4rec *g)
{
	size_t		cells = size_mul(g->data.nitems, g->params.dim);
	size_t		nweights = gru4rec_weights(g->params.dim);
	size_t		nitems = g->data.nitems;

	g->vectors = place_reals(g, cells);
	g->vector_mean = place_reals(g, cells);
	g->vector_square = place_reals(g, cells);
	g->weights = place_reals(g, nweights);
	g->weight_mean = place_reals(g, nweights);
	g->weight_square = place_reals(g, nweights);
	g->dweights = place_reals(g, nweights);
	g->order = place(g, g->data.nsessions, sizeof(int32_t));
	g->upto = place(g, nitems, sizeof(double));
	g->log_came = place_reals(g, nitems);
	g->log_drawn = place_reals(g, nitems);
	g->slot_of = place(g, nitems, sizeof(int32_t));
}

static void
lay_out_batch(Gru4rec *g, int32_t longest)
{
	size_t		dim = g->params.dim;
	size_t		lanes = g->params.batch_size;
	size_t		rows = g->rows;
	size_t		columns = g->columns;
	int32_t    *items;

	g->lanes = place(g, lanes, sizeof(Lane));
	items = place(g, size_mul(lanes, longest), sizeof(int32_t));
	for (size_t lane = 0; g->block && lane < lanes; lane++)
		g->lanes[lane] = (Lane) {items + lane * longest, 0, 0};
	g->state = place_reals(g, lanes * dim);
	g->inputs = place(g, rows, sizeof(int32_t));
	g->target = place(g, rows, sizeof(int32_t));
	g->begins = place(g, rows, 1);
	g->items = place(g, columns, sizeof(int32_t));
	g->logq = place_reals(g, columns);
	g->slots = place(g, rows + columns, sizeof(int32_t));
	g->slot_item = place(g, rows + columns, sizeof(int32_t));
	g->x = place_reals(g, rows * dim);
	g->h = place_reals(g, rows * dim);
	g->out = place_reals(g, rows * dim);
	g->dx = place_reals(g, rows * dim);
	g->dh = place_reals(g, rows * dim);
	g->kept_x = place(g, rows * dim, 1);
	g->kept_h = place(g, rows * dim, 1);
	g->trace.before = place_reals(g, rows * dim);
	g->trace.gates = place_reals(g, rows * 3 * dim);
	g->trace.inner = place_reals(g, rows * dim);
	g->trace.dx_gates = place_reals(g, rows * 3 * dim);
	g->trace.dh_gates = place_reals(g, rows * 3 * dim);
	g->trace.dstate = place_reals(g, lanes * dim);
	g->w = place_reals(g, columns * dim);
	g->dw = place_reals(g, columns * dim);
	g->s = place_reals(g, size_mul(rows, columns));
	g->gradient = place_reals(g, (rows + columns) * dim);
	g->work = place_reals(g, NN_GEMM_WORK);
}

static void
begin(Gru4rec *g, const Gru4recParams *params, const Gru4recData *data)
{
	memset(g, 0, sizeof(Gru4rec));
	g->params = *params;
	g->data = *data;
	g->rows = params->batch_size * params->steps;
	g->columns = g->rows + params->n_sample;
}

size_t
gru4rec_size(const Gru4recParams *params, const Gru4recData *data, int32_t longest)
{
	Gru4rec		g;

	begin(&g, params, data);
	lay_out_model(&g);
	lay_out_batch(&g, longest);
	return g.used + sizeof(Gru4rec) + 64;
}

static int32_t
longest_session(const Gru4recData *data)
{
	int64_t		longest = 1;

	for (int32_t s = 0; s < data->nsessions; s++)
		if (data->offsets[s + 1] - data->offsets[s] > longest)
			longest = data->offsets[s + 1] - data->offsets[s];
	return (int32_t) longest;
}

/* ----------------------------------------------------------------- start */

static void
fill_uniform(NnRandom *random, size_t n, double bound, NnReal *x)
{
	for (size_t i = 0; i < n; i++)
		x[i] = (NnReal) bound * (2 * nn_random_real(random) - 1);
}

void
gru4rec_random_vectors(const Gru4recParams *params, int32_t n, NnReal *vectors)
{
	NnRandom	random = {params->seed ^ UINT64_C(0x1735)};

	fill_uniform(&random, (size_t) n * params->dim, sqrt(3.0 / params->dim) / 2, vectors);
}

/* Glorot and Bengio 2010, as the original does. */
static void
start_at_random(Gru4rec *g)
{
	int			dim = g->params.dim;

	gru4rec_random_vectors(&g->params, g->data.nitems, g->vectors);
	fill_uniform(&g->random, gru4rec_bias(dim), sqrt(6.0 / (2 * dim)), g->weights);
	memset(g->weights + gru4rec_bias(dim), 0, sizeof(NnReal) * 3 * dim);
}

static void
count_items(Gru4rec *g)
{
	int32_t		nitems = g->data.nitems;
	double		sum = 0,
				events = 0;

	memset(g->upto, 0, sizeof(double) * nitems);
	for (int64_t e = 0; e < g->data.offsets[g->data.nsessions]; e++)
		g->upto[g->data.items[e]]++;
	for (int32_t i = 0; i < nitems; i++)
	{
		events += g->upto[i];
		sum += pow(g->upto[i], g->params.sample_alpha);
	}
	for (int32_t i = 0; i < nitems; i++)
	{
		double		drawn = pow(g->upto[i], g->params.sample_alpha);

		g->log_came[i] = (NnReal) log(fmax(g->upto[i], 1) / events);
		g->log_drawn[i] = (NnReal) log(fmax(drawn, 1e-9) / sum);
		g->upto[i] = drawn + (i > 0 ? g->upto[i - 1] : 0);
	}
}

Gru4rec *
gru4rec_create(const Allocator *allocator, const Gru4recParams *params, const Gru4recData *data,
			   const NnReal *vectors, const NnReal *weights)
{
	int32_t		longest = longest_session(data);
	size_t		size = gru4rec_size(params, data, longest);
	Gru4rec    *g = allocator->alloc(allocator->arg, size);

	if (!g)
		return NULL;
	begin(g, params, data);
	g->allocator = *allocator;
	g->block = (char *) (((uintptr_t) (g + 1) + 63) & ~(uintptr_t) 63);
	g->random.state = params->seed;
	g->adam = (NnAdam) {params->learning_rate, 0.9, 0.999, 1e-8, 0};
	lay_out_model(g);
	memset(g->block, 0, g->used);
	lay_out_batch(g, longest);
	memset(g->slot_of, 0xff, sizeof(int32_t) * data->nitems);
	for (int32_t i = 0; i < data->nsessions; i++)
		g->order[i] = i;
	start_at_random(g);
	if (vectors)
		memcpy(g->vectors, vectors, sizeof(NnReal) * data->nitems * params->dim);
	if (weights)
		memcpy(g->weights, weights, sizeof(NnReal) * gru4rec_weights(params->dim));
	count_items(g);
	return g;
}

void
gru4rec_destroy(Gru4rec *g)
{
	g->allocator.release(g->allocator.arg, g);
}

void
gru4rec_resume(Gru4rec *g, const NnReal *vectors, const NnReal *weights, double rate)
{
	memcpy(g->vectors, vectors, sizeof(NnReal) * g->data.nitems * g->params.dim);
	memcpy(g->weights, weights, sizeof(NnReal) * gru4rec_weights(g->params.dim));
	g->params.learning_rate = g->adam.rate = rate;
}

const NnReal *
gru4rec_vectors_of(const Gru4rec *g)
{
	return g->vectors;
}

const NnReal *
gru4rec_weights_of(const Gru4rec *g)
{
	return g->weights;
}

static NnGru
gru_of(int dim, const NnReal *weights)
{
	return (NnGru) {dim, dim, weights + gru4rec_wx(dim), weights + gru4rec_wh(dim), weights + gru4rec_bias(dim)};
}

void
gru4rec_encode(int dim, const NnReal *weights, int n, const NnReal *x, NnReal *h,
			   NnReal *scratch, NnReal *work)
{
	NnGru		gru = gru_of(dim, weights);

	nn_gru_last(&gru, n, x, h, scratch, work);
}

/* ----------------------------------------------------------------- batch */

static void
shuffle(Gru4rec *g)
{
	for (int32_t i = g->data.nsessions - 1; i > 0; i--)
	{
		int32_t		j = (int32_t) nn_random_below(&g->random, (uint32_t) i + 1);
		int32_t		kept = g->order[i];

		g->order[i] = g->order[j];
		g->order[j] = kept;
	}
}

/* The lane begins the next sequence that has something to predict; false: there is none. */
static bool
next_session(Gru4rec *g, Lane *lane)
{
	NnReal		p = (NnReal) g->params.item_dropout;

	while (g->next < g->data.nsessions)
	{
		int32_t		session = g->order[g->next++];
		const int32_t *items = g->data.items + g->data.offsets[session];
		int			n = (int) (g->data.offsets[session + 1] - g->data.offsets[session]);

		lane->n = lane->at = 0;
		for (int i = 0; i < n; i++)
			if (p == 0 || nn_random_real(&g->random) >= p)
				lane->items[lane->n++] = items[i];
		if (lane->n >= 2)
			return true;
	}
	lane->n = lane->at = 0;
	return false;
}

/* Inputs and targets of a batch; returns how many events. */
static int
fill_rows(Gru4rec *g)
{
	int			events = 0;
	int			lanes = g->params.batch_size;

	for (int row = 0; row < g->rows; row++)
	{
		Lane	   *lane = &g->lanes[row % lanes];

		g->begins[row] = false;
		if (lane->at + 1 >= lane->n)
			g->begins[row] = next_session(g, lane);
		if (lane->n == 0)
		{
			g->inputs[row] = g->target[row] = -1;
			g->items[row] = 0;
			continue;
		}
		g->inputs[row] = lane->items[lane->at++];
		g->items[row] = lane->items[lane->at];
		g->target[row] = row;
		events++;
	}
	return events;
}

static int32_t
draw(Gru4rec *g)
{
	double		at = ((double) nn_random_bits(&g->random) + 0.5) / 4294967296.0 * g->upto[g->data.nitems - 1];
	int32_t		low = 0,
				high = g->data.nitems - 1;

	while (low < high)
	{
		int32_t		mid = low + (high - low) / 2;

		if (g->upto[mid] < at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void
fill_columns(Gru4rec *g)
{
	double		logq = g->params.logq;
	NnReal		came = (NnReal) log((double) g->rows);
	NnReal		drawn = (NnReal) log((double) (g->params.n_sample > 0 ? g->params.n_sample : 1));

	for (int j = g->rows; j < g->columns; j++)
		g->items[j] = draw(g);
	for (int j = 0; j < g->columns; j++)
		g->logq[j] = (NnReal) logq * (j < g->rows ? came + g->log_came[g->items[j]] :
									  drawn + g->log_drawn[g->items[j]]);
}

static void
give_slots(Gru4rec *g)
{
	g->nslots = 0;
	for (int i = 0; i < g->rows + g->columns; i++)
	{
		int32_t		item = i < g->rows ? g->inputs[i] : g->items[i - g->rows];

		g->slots[i] = -1;
		if (item < 0)
			continue;
		if (g->slot_of[item] < 0)
		{
			g->slot_of[item] = g->nslots;
			g->slot_item[g->nslots++] = item;
		}
		g->slots[i] = g->slot_of[item];
	}
	for (int slot = 0; slot < g->nslots; slot++)
		g->slot_of[g->slot_item[slot]] = -1;
}

/* ------------------------------------------------------------------ step */

/* Scores of the batch, in s. */
static void
forward(Gru4rec *g)
{
	const Gru4recParams *p = &g->params;
	NnGru		gru = gru_of(p->dim, g->weights);
	size_t		cells = (size_t) g->rows * p->dim;

	nn_embedding_forward(g->rows, p->dim, g->inputs, g->vectors, g->x);
	if (p->dropout_p_embed > 0)
		nn_dropout_forward(cells, (NnReal) p->dropout_p_embed, &g->random, g->x, g->kept_x, g->x);
	nn_gru_forward(&gru, p->steps, p->batch_size, g->x, g->state, g->begins, g->h, &g->trace, g->work);
	memcpy(g->state, g->h + cells - (size_t) p->batch_size * p->dim, sizeof(NnReal) * p->batch_size * p->dim);
	if (p->dropout_p_hidden > 0)
		nn_dropout_forward(cells, (NnReal) p->dropout_p_hidden, &g->random, g->h, g->kept_h, g->out);
	else
		memcpy(g->out, g->h, sizeof(NnReal) * cells);
	nn_embedding_forward(g->columns, p->dim, g->items, g->vectors, g->w);
	nn_gemm(false, true, g->rows, g->columns, p->dim, 1, g->out, p->dim, g->w, p->dim, false,
			g->s, g->columns, g->work);
}

static double
loss(Gru4rec *g, int events)
{
	const Gru4recParams *p = &g->params;
	bool		entropy = p->loss == GRU4REC_CROSS_ENTROPY;
	NnReal		scale = 1 / (NnReal) events;

	nn_loss_prepare(g->rows, g->columns, g->items, g->target, entropy && p->logq > 0 ? g->logq : NULL, g->s);
	return entropy ? nn_loss_cross_entropy(g->rows, g->columns, g->target, scale, g->s) :
		nn_loss_bpr_max(g->rows, g->columns, g->target, (NnReal) p->bpreg, scale, g->s);
}

/* Gradients of the loss, whose gradients by the scores are in s. */
static void
backward(Gru4rec *g)
{
	const Gru4recParams *p = &g->params;
	NnGru		gru = gru_of(p->dim, g->weights);
	size_t		cells = (size_t) g->rows * p->dim;

	nn_gemm(false, false, g->rows, p->dim, g->columns, 1, g->s, g->columns, g->w, p->dim, false,
			g->dh, p->dim, g->work);
	nn_gemm(true, false, g->columns, p->dim, g->rows, 1, g->s, g->columns, g->out, p->dim, false,
			g->dw, p->dim, g->work);
	if (p->dropout_p_hidden > 0)
		nn_dropout_backward(cells, (NnReal) p->dropout_p_hidden, g->kept_h, g->dh, g->dh);
	memset(g->dweights, 0, sizeof(NnReal) * gru4rec_weights(p->dim));
	nn_gru_backward(&gru, p->steps, p->batch_size, g->x, g->begins, g->dh, &g->trace, g->dx,
					g->dweights + gru4rec_wx(p->dim), g->dweights + gru4rec_wh(p->dim),
					g->dweights + gru4rec_bias(p->dim), g->work);
	if (p->dropout_p_embed > 0)
		nn_dropout_backward(cells, (NnReal) p->dropout_p_embed, g->kept_x, g->dx, g->dx);
	memset(g->gradient, 0, sizeof(NnReal) * g->nslots * p->dim);
	nn_embedding_backward(g->rows, p->dim, g->slots, g->dx, g->gradient);
	nn_embedding_backward(g->columns, p->dim, g->slots + g->rows, g->dw, g->gradient);
}

static void
move(Gru4rec *g)
{
	const Gru4recParams *p = &g->params;
	int			nweights = (int) gru4rec_weights(p->dim);

	if (p->optimizer == GRU4REC_ADAM)
	{
		g->adam.step++;
		nn_adam_rows(&g->adam, g->nslots, p->dim, g->slot_item, g->gradient, g->vectors,
					 g->vector_mean, g->vector_square);
		nn_adam_rows(&g->adam, 1, nweights, NULL, g->dweights, g->weights, g->weight_mean, g->weight_square);
		return;
	}
	nn_adagrad_rows(p->learning_rate, 1e-6, g->nslots, p->dim, g->slot_item, g->gradient, g->vectors,
					g->vector_square);
	nn_adagrad_rows(p->learning_rate, 1e-6, 1, nweights, NULL, g->dweights, g->weights, g->weight_square);
}

double
gru4rec_epoch(Gru4rec *g, bool (*going) (void *arg, double done), void *arg)
{
	double		sum = 0;
	int64_t		n = 0;
	int			events;

	shuffle(g);
	g->next = 0;
	for (int lane = 0; lane < g->params.batch_size; lane++)
		g->lanes[lane].n = g->lanes[lane].at = 0;
	while ((events = fill_rows(g)) > 0)
	{
		if (going && !going(arg, (double) g->next / g->data.nsessions))
			return NAN;
		fill_columns(g);
		give_slots(g);
		forward(g);
		sum += loss(g, events);
		n += events;
		if (!isfinite(sum))
			return NAN;
		backward(g);
		move(g);
	}
	return n > 0 ? sum / (double) n : 0;
}
