/*
 * fit_als.c
 *	  als offline: the alternation of a training in this process, then the
 *	  answers of als_serve.c: a user is solved from the history over the item
 *	  vectors, and the best items are searched for exactly.
 *
 * Rows of the matrices are users as they come and items that have users, from
 * 0; rows of the search are item numbers.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "models/als.h"
#include "numeric/als.h"
#include "numeric/search.h"
#include "train/fit.h"

typedef struct Als
{
	AlsParams	params;
	int32		nitems;
	int32	   *rows;			/* by item number: row, -1 without users */
	int32	   *numbers;		/* by row */
	float	   *y;				/* items */
	float	   *gram;			/* of y; NULL if explicit */
	SearchMatrix *search;
	/* of one user, the one with this stamp */
	int32		folded;
	int			nfolded;
	double		constant;
	int32	   *base_rows;
	float	   *weights;
	float	   *x;
	float	   *query;
	void	   *work;
	void	   *search_work;
	int			search_k;
} Als;

/* Both directions of the training part. */
typedef struct Matrices
{
	AlsMatrix	users;
	AlsMatrix	items;
} Matrices;

static void *
allocate(Size n, Size width)
{
	/* the widest registers want this alignment */
	return (void *) TYPEALIGN(64, palloc_extended(mul_size(n, width) + 64,
												  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
}

/* -------------------------------------------------------------------- matrix */

static void
number_items(Als *als, const FitInput *input)
{
	const Histories *h = &input->train;

	als->rows = allocate((Size) input->max_item + 1, sizeof(int32));
	als->numbers = allocate((Size) input->max_item + 1, sizeof(int32));
	for (int64 e = 0; e < h->offsets[h->nusers]; e++)
		als->rows[h->items[e]] = 1;
	for (int32 item = 0; item <= input->max_item; item++)
	{
		bool		has_users = als->rows[item] == 1;

		als->rows[item] = has_users ? als->nitems : -1;
		if (has_users)
			als->numbers[als->nitems++] = item;
	}
}

static void
make_matrices(const Als *als, const FitInput *input, Matrices *m)
{
	const Histories *h = &input->train;
	int64		n = h->offsets[h->nusers];
	int32	   *columns = allocate(n, sizeof(int32)),
			   *users = allocate(n, sizeof(int32));
	float	   *weights = allocate(n, sizeof(float));
	int64	   *offsets = allocate((Size) als->nitems + 2, sizeof(int64));

	for (int64 e = 0; e < n; e++)
	{
		columns[e] = als->rows[h->items[e]];
		offsets[columns[e] + 2]++;
	}
	for (int32 row = 1; row <= als->nitems; row++)
		offsets[row + 1] += offsets[row];
	for (int32 user = 0; user < h->nusers; user++)
		for (int64 e = h->offsets[user]; e < h->offsets[user + 1]; e++)
		{
			int64		at = offsets[columns[e] + 1]++;

			users[at] = user;
			weights[at] = h->weights[e];
		}
	m->users = (AlsMatrix) {h->nusers, h->offsets, columns, h->weights};
	m->items = (AlsMatrix) {als->nitems, offsets, users, weights};
}

/* ------------------------------------------------------------------ training */

static bool
interrupted(void *arg)
{
	(void) arg;
	CHECK_FOR_INTERRUPTS();
	return false;
}

static void
make_gram(int dim, const float *rows, int32 n, float *chunks, float *gram)
{
	for (int chunk = 0; chunk < ALS_GRAM_CHUNKS; chunk++)
		als_gram_chunk(dim, rows, n, chunk, chunks + (Size) chunk * dim * dim);
	als_gram_sum(dim, chunks, gram);
}

static void
alternate(Als *als, const FitInput *input, const Matrices *m)
{
	AlsParams  *params = &als->params;
	int			dim = params->dim;
	int			iterations = (int) params_get(input->params, "iterations");
	uint64		seed = (uint64) params_get(input->params, "seed");
	float	   *x = allocate((Size) m->users.nrows * dim, sizeof(float));
	float	   *chunks = allocate((Size) ALS_GRAM_CHUNKS * dim * dim, sizeof(float));
	float	   *gram = allocate((Size) dim * dim, sizeof(float));
	void	   *work = allocate(Max(als_batch_work_size(params, &m->users),
									als_batch_work_size(params, &m->items)), 1);
	bool		implicit = !params->explicit_feedback;

	als_init_rows(params, seed, 0, m->items.nrows, als->y);
	for (int i = 0; i < iterations; i++)
	{
		input->progress("training", i, iterations);
		if (implicit)
			make_gram(dim, als->y, m->items.nrows, chunks, gram);
		(void) als_solve_rows(params, implicit ? gram : NULL, als->y, &m->users, 0, m->users.nrows,
							  x, work, interrupted, NULL);
		if (implicit)
			make_gram(dim, x, m->users.nrows, chunks, gram);
		(void) als_solve_rows(params, implicit ? gram : NULL, x, &m->items, 0, m->items.nrows,
							  als->y, work, interrupted, NULL);
	}
	if (implicit)
	{
		als->gram = gram;
		make_gram(dim, als->y, m->items.nrows, chunks, gram);
	}
}

static void
make_search(Als *als, int32 max_item)
{
	int			dim = als->params.dim;

	als->search = search_init(allocate(search_size(max_item + 1, dim), 1), max_item + 1, dim,
							  als->params.factors);
	for (int32 row = 0; row < als->nitems; row++)
		search_set(als->search, als->numbers[row], als->y + (Size) row * dim);
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
	Matrices	matrices;
	float	   *gram;
	int			dim,
				longest;

	als_params_of(input->params, input->explicit_feedback,
				  input->explicit_feedback ? input->mean : 0, &als->params);
	dim = als->params.dim;
	number_items(als, input);
	als->y = allocate((Size) als->nitems * dim, sizeof(float));
	gram = allocate((Size) dim * dim, sizeof(float));

	MemoryContextSwitchTo(scratch);
	make_matrices(als, input, &matrices);
	alternate(als, input, &matrices);
	MemoryContextSwitchTo(keep);
	if (als->gram)
		als->gram = memcpy(gram, als->gram, sizeof(float) * dim * dim);
	MemoryContextDelete(scratch);

	make_search(als, input->max_item);
	longest = longest_history(&input->train);
	als->base_rows = allocate(longest, sizeof(int32));
	als->weights = allocate(longest, sizeof(float));
	als->x = allocate(dim, sizeof(float));
	als->query = allocate(dim, sizeof(float));
	als->work = allocate(als_work_size(&als->params, longest), 1);
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
		if (als->rows[user->items[h]] >= 0)
		{
			als->base_rows[n] = als->rows[user->items[h]];
			als->weights[n++] = user->weights[h];
		}
	als->folded = user->stamp;
	als->nfolded = n;
	if (n == 0)
		return false;
	als_solve_row(&als->params, als->gram, als->y, n, als->base_rows, als->weights, als->x,
				  als->work);
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

		als->search_work = allocate(search_work_size(als->search, k), 1);
		als->search_k = k;
		MemoryContextSwitchTo(old);
	}
	query.vector = als->query;
	n = search_top(als->search, &query, hits, als->search_work);
	for (int i = 0; i < n; i++)
		hits[i].score = (float) (hits[i].score + als->constant);
	return n;
}

static double
predict(void *state, const FitUser *user, int32 item)
{
	Als		   *als = state;

	if (als->rows[item] < 0 || !fold_in(als, user))
		return NAN;
	return als->constant + search_score(als->params.dim, als->query,
								   als->y + (Size) als->rows[item] * als->params.dim);
}

extern const FitAlgorithm fit_als;

const FitAlgorithm fit_als = {
	.name = "als",
	.fit = fit,
	.top = top,
	.predict = predict,
};
