/*
 * fit_gru4rec.c
 *	  gru4rec offline: its training on the histories given, then the answers of
 *	  gru4rec_serve.c over exact search.
 *
 * Histories of the training part, and of a user to recommend to, come oldest first.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "train/fit.h"
#include "train/gru4rec_train.h"

typedef struct Gru4recFit
{
	int			dim;
	bool		explicit_feedback;
	float	   *weights;
	SearchMatrix *items;
	/* of one user, the one with this stamp */
	int32		encoded;
	int			nencoded;
	float	   *x;
	float	   *h;
	float	   *scratch;
	float	   *work;
	void	   *search_work;
	int			search_k;
} Gru4recFit;

static void
take_result(Gru4recFit *f, const Gru4recLearn *learn, const Gru4recSequences *s, int32 max_item)
{
	Size		n = gru4rec_weights(f->dim);

	f->weights = trainer_alloc(n, sizeof(float));
	memcpy(f->weights, learn->weights, sizeof(float) * n);
	f->items = search_init(trainer_alloc(search_size(max_item + 1, f->dim), 1), max_item + 1, f->dim, f->dim);
	for (int32 row = 0; row < s->data.nitems; row++)
		search_set(f->items, s->item_ids[row], learn->vectors + (Size) row * f->dim);
}

static void *
fit(const FitInput *input)
{
	Gru4recFit *f = palloc0(sizeof(Gru4recFit));
	MemoryContext keep = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(keep, "recsys gru4rec fit", ALLOCSET_DEFAULT_SIZES);
	Gru4recLearn learn;
	Gru4recSequences s;

	gru4rec_params_of(input->params, &learn);
	f->dim = learn.params.dim;
	f->explicit_feedback = input->explicit_feedback;
	MemoryContextSwitchTo(scratch);
	gru4rec_sequences(input->train.nusers, NULL, input->train.offsets, input->train.items, input->max_item, &s);
	gru4rec_run(input->trainer, &learn, &s, NULL, NULL);
	MemoryContextSwitchTo(keep);
	take_result(f, &learn, &s, input->max_item);
	MemoryContextDelete(scratch);

	f->x = trainer_alloc((Size) f->dim * GRU4REC_LENGTH, sizeof(float));
	f->h = trainer_alloc(f->dim, sizeof(float));
	f->scratch = trainer_alloc((Size) 3 * f->dim * (GRU4REC_LENGTH + 1), sizeof(float));
	f->work = trainer_alloc(NN_GEMM_WORK, sizeof(float));
	return f;
}

/* ------------------------------------------------------------------- answers */

/* False: nothing to go by. */
static bool
encode(Gru4recFit *f, const FitUser *user)
{
	int			n = 0;

	if (f->encoded == user->stamp)
		return f->nencoded > 0;
	for (int h = Max(user->n - GRU4REC_LENGTH, 0); h < user->n; h++)
	{
		const float *vector = search_get(f->items, user->items[h]);

		if (vector != NULL)
			memcpy(f->x + (Size) n++ * f->dim, vector, sizeof(float) * f->dim);
	}
	f->encoded = user->stamp;
	f->nencoded = n;
	if (n > 0)
		gru4rec_encode(f->dim, f->weights, n, f->x, f->h, f->scratch, f->work);
	return n > 0;
}

static bool
admit(void *arg, int32_t row)
{
	const FitUser *user = arg;

	return user->excluded[row] != user->stamp;
}

static int
top(void *state, const FitUser *user, int k, SearchHit *hits)
{
	Gru4recFit *f = state;
	SearchQuery query = {.k = k,.admit = admit,.arg = unconstify(FitUser *, user)};

	if (!encode(f, user))
		return 0;
	if (f->search_k < k)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(f));

		f->search_work = trainer_alloc(search_work_size(f->items, k), 1);
		f->search_k = k;
		MemoryContextSwitchTo(old);
	}
	query.vector = f->h;
	return search_top(f->items, &query, hits, f->search_work);
}

static double
predict(void *state, const FitUser *user, int32 item)
{
	Gru4recFit *f = state;
	const float *vector = search_get(f->items, item);

	if (f->explicit_feedback || vector == NULL || !encode(f, user))
		return NAN;
	return search_score(f->dim, f->h, vector);
}

extern const FitAlgorithm fit_gru4rec;

const FitAlgorithm fit_gru4rec = {
	.name = "gru4rec",
	.fit = fit,
	.top = top,
	.predict = predict,
};
