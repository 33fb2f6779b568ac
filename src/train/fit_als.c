/*
 * fit_als.c
 *	  als offline: its training, helpers included, on the matrix given, then the
 *	  answers of als_serve.c: a user is solved from the history over the item
 *	  vectors, and the best items are searched for exactly.
 *
 * The training's rows are users with a history and items that have users, from
 * 0; afterwards an item's vector is found by its number.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "models/als.h"
#include "train/als_job.h"
#include "train/fit.h"

typedef struct Als
{
	AlsParams	params;
	float	   *gram;			/* of the items; NULL if explicit */
	SearchMatrix *items;
	/* of one user, the one with this stamp */
	int32		folded;
	int			nfolded;
	double		constant;
	int32	   *rows;
	float	   *weights;
	float	   *x;
	float	   *query;
	void	   *work;
	void	   *search_work;
	int			search_k;
} Als;

/* -------------------------------------------------------------------- training */

/* Items that have users become rows, in the order of their numbers. */
static void
number_items(const FitInput *input, Matrix *m)
{
	const Histories *h = &input->train;
	int64	   *counts = trainer_alloc((Size) input->max_item + 1, sizeof(int64));

	memset(counts, 0, sizeof(int64) * ((Size) input->max_item + 1));
	for (int64 e = 0; e < m->n; e++)
		counts[h->items[e]]++;
	m->item_ids = trainer_alloc((Size) input->max_item + 1, sizeof(int32));
	m->item_counts = trainer_alloc((Size) input->max_item + 1, sizeof(int64));
	for (int32 item = 1; item <= input->max_item; item++)
	{
		if (counts[item] == 0)
			continue;
		m->item_ids[m->nitems] = item;
		m->item_counts[m->nitems] = counts[item];
		counts[item] = m->nitems++;
	}
	for (int64 e = 0; e < m->n; e++)
		m->columns[e] = (int32) counts[h->items[e]];
}

/* The arrays that als_compute() frees are plain chunks. */
static void
make_matrix(const FitInput *input, Matrix *m)
{
	const Histories *h = &input->train;

	memset(m, 0, sizeof(Matrix));
	m->n = h->offsets[h->nusers];
	m->mean = input->mean;
	m->offsets = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * ((Size) h->nusers + 1));
	m->columns = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * (Size) m->n);
	m->weights = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(float) * (Size) m->n);
	memcpy(m->weights, h->weights, sizeof(float) * (Size) m->n);
	m->offsets[0] = 0;
	for (int32 user = 0; user < h->nusers; user++)
		if (h->offsets[user + 1] > h->offsets[user])
			m->offsets[++m->nusers] = h->offsets[user + 1];
	number_items(input, m);
}

static void
train(AlsTraining *a, const FitInput *input, const AlsParams *params)
{
	MatrixSize	size;

	memset(a, 0, sizeof(AlsTraining));
	a->t = input->trainer;
	a->params = *params;
	a->iterations = (int) params_get(input->params, "iterations");
	a->seed = (uint64) params_get(input->params, "seed");
	make_matrix(input, &a->matrix);
	size = (MatrixSize) {a->matrix.nusers, a->matrix.nitems, a->matrix.n};
	als_check_memory(a, &size);
	als_compute(a);
	if (!isfinite(a->worker->loss))
		ereport(ERROR,
				errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("the fit of model \"%s\" has led to numbers that are not finite",
					   NameStr(a->t->model->name)),
				errhint("Raise its regularization, or lower its alpha."));
}

/* What answers need of the training, which may go then. */
static void
take_result(Als *als, const AlsTraining *a, int32 max_item)
{
	int			dim = als->params.dim;
	Size		cells = (Size) dim * dim;

	if (!als->params.explicit_feedback)
	{
		als->gram = trainer_alloc(cells, sizeof(float));
		memcpy(als->gram, a->worker->item_gram, sizeof(float) * cells);
	}
	als->items = search_init(trainer_alloc(search_size(max_item + 1, dim), 1), max_item + 1, dim,
							 als->params.factors);
	for (int32 row = 0; row < a->job->nitems; row++)
		search_set(als->items, a->matrix.item_ids[row], a->worker->items + (Size) row * dim);
}

static int
longest_history(const Histories *h)
{
	int64		longest = 1;

	for (int32 user = 0; user < h->nusers; user++)
		longest = Max(longest, h->offsets[user + 1] - h->offsets[user]);
	return (int) longest;
}

static void *
fit(const FitInput *input)
{
	Als		   *als = palloc0(sizeof(Als));
	MemoryContext keep = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(keep, "recsys als fit", ALLOCSET_DEFAULT_SIZES);
	AlsTraining a;
	int			longest = longest_history(&input->train);

	als_params_of(input->params, input->explicit_feedback,
				  input->explicit_feedback ? input->mean : 0, &als->params);
	MemoryContextSwitchTo(scratch);
	train(&a, input, &als->params);
	MemoryContextSwitchTo(keep);
	take_result(als, &a, input->max_item);
	if (a.segment != NULL)
		dsm_detach(a.segment);
	MemoryContextDelete(scratch);

	als->rows = trainer_alloc(longest, sizeof(int32));
	als->weights = trainer_alloc(longest, sizeof(float));
	als->x = trainer_alloc(als->params.dim, sizeof(float));
	als->query = trainer_alloc(als->params.dim, sizeof(float));
	als->work = trainer_alloc(als_work_size(&als->params, longest), 1);
	return als;
}

/* ------------------------------------------------------------------- answers */

/* The user's query, and the constant of the score.  False: nothing to go by. */
static bool
fold_in(Als *als, const FitUser *user)
{
	int			n = 0;

	if (als->folded == user->stamp)
		return als->nfolded > 0;
	for (int h = 0; h < user->n; h++)
		if (search_get(als->items, user->items[h]) != NULL)
		{
			als->rows[n] = user->items[h];
			als->weights[n++] = user->weights[h];
		}
	als->folded = user->stamp;
	als->nfolded = n;
	if (n == 0)
		return false;
	als_solve_row(&als->params, als->gram, search_rows(als->items), n, als->rows, als->weights,
				  als->x, als->work);
	als->constant = als_query(&als->params, als->x, als->query);
	return true;
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
	Als		   *als = state;
	SearchQuery query = {.k = k,.admit = admit,.arg = unconstify(FitUser *, user)};
	int			n;

	if (!fold_in(als, user))
		return 0;
	if (als->search_k < k)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(als));

		als->search_work = trainer_alloc(search_work_size(als->items, k), 1);
		als->search_k = k;
		MemoryContextSwitchTo(old);
	}
	query.vector = als->query;
	n = search_top(als->items, &query, hits, als->search_work);
	for (int i = 0; i < n; i++)
		hits[i].score = (float) (hits[i].score + als->constant);
	return n;
}

static double
predict(void *state, const FitUser *user, int32 item)
{
	Als		   *als = state;
	const float *vector = search_get(als->items, item);

	if (vector == NULL || !fold_in(als, user))
		return NAN;
	return als->constant + search_score(als->params.dim, als->query, vector);
}

extern const FitAlgorithm fit_als;

const FitAlgorithm fit_als = {
	.name = "als",
	.fit = fit,
	.top = top,
	.predict = predict,
};
