/*
 * fit_user_knn.c
 *	  user_knn offline: the formulas of user_knn.h and user_knn_serve.c over the
 *	  training part, with all users of each item, whatever the audience_limit.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "models/user_knn.h"
#include "numeric/topk.h"
#include "train/fit_scores.h"

typedef struct UserKnn
{
	const Histories *h;
	bool		explicit_feedback;
	int32		max_item;
	int32		nusers;			/* that have a history */
	double		idf;
	int			k;
	int			min_common;
	int64	   *offsets;		/* by item, of its users: rows of h and weights */
	int32	   *rows;
	float	   *weights;
	double	   *lengths;		/* by row */
	double	   *means;			/* by row */
	/* of the user last asked for */
	int32		stamp;
	int32		n;				/* users with common items */
	int32	   *met;			/* their rows */
	double	   *dots;			/* by row; 0 = not met */
	int32	   *common;			/* by row */
	double		length;
	/* of one answer */
	FitScores	scores;
	RankKey    *neighbors;
} UserKnn;

static void *
zeros(Size width, Size n)
{
	return palloc_extended(width * (n + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* ------------------------------------------------------------------------- fit */

/* Counting sort of the entries by item. */
static void
index_items(UserKnn *knn)
{
	const Histories *h = knn->h;
	int64		n = h->offsets[h->nusers];
	int64	   *at;

	knn->offsets = zeros(sizeof(int64), (Size) knn->max_item + 3);
	knn->rows = zeros(sizeof(int32), n);
	knn->weights = zeros(sizeof(float), n);
	at = knn->offsets + 1;
	for (int64 e = 0; e < n; e++)
		at[h->items[e] + 1]++;
	for (int32 item = 1; item <= knn->max_item + 1; item++)
		at[item] += at[item - 1];
	for (int32 row = 0; row < h->nusers; row++)
		for (int64 e = h->offsets[row]; e < h->offsets[row + 1]; e++)
		{
			int64		x = at[h->items[e]]++;

			knn->rows[x] = row;
			knn->weights[x] = h->weights[e];
		}
}

static void
measure_users(UserKnn *knn)
{
	const Histories *h = knn->h;

	for (int32 row = 0; row < h->nusers; row++)
	{
		double		sum = 0,
					sumsq = 0;
		int64		n = h->offsets[row + 1] - h->offsets[row];

		for (int64 e = h->offsets[row]; e < h->offsets[row + 1]; e++)
		{
			sum += h->weights[e];
			sumsq += (double) h->weights[e] * h->weights[e];
		}
		knn->lengths[row] = sqrt(sumsq);
		knn->means[row] = n > 0 ? sum / (double) n : 0;
		knn->nusers += n > 0;
	}
}

static void *
fit(const FitInput *input)
{
	UserKnn    *knn = palloc0(sizeof(UserKnn));
	Size		nrows = input->train.nusers;

	input->progress("training", 0, 1);
	knn->h = &input->train;
	knn->explicit_feedback = input->explicit_feedback;
	knn->max_item = input->max_item;
	knn->idf = params_get(input->params, "idf");
	knn->k = (int) params_get(input->params, "neighbors");
	knn->min_common = (int) params_get(input->params, "min_common");
	knn->lengths = zeros(sizeof(double), nrows);
	knn->means = zeros(sizeof(double), nrows);
	knn->met = zeros(sizeof(int32), nrows);
	knn->dots = zeros(sizeof(double), nrows);
	knn->common = zeros(sizeof(int32), nrows);
	fit_scores_create(&knn->scores, knn->max_item);
	knn->neighbors = zeros(sizeof(RankKey), knn->k);
	index_items(knn);
	measure_users(knn);
	return knn;
}

/* ------------------------------------------------------------------- neighbours */

/* The row whose history this is, or -1: nobody is his own neighbour. */
static int32
own_row(const UserKnn *knn, const FitUser *user)
{
	const Histories *h = knn->h;
	int32		low = 0,
				high = h->nusers;
	int64		at = user->items - h->items;

	if (user->items < h->items || at >= h->offsets[h->nusers])
		return -1;
	while (high - low > 1)
	{
		int32		middle = low + (high - low) / 2;

		if (h->offsets[middle] <= at)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Dots with all users who have a common item, once for each user. */
static void
meet_users(UserKnn *knn, const FitUser *user)
{
	double		sumsq = 0;
	int32		own = own_row(knn, user);

	if (knn->stamp == user->stamp)
		return;
	for (int32 i = 0; i < knn->n; i++)
		knn->dots[knn->met[i]] = knn->common[knn->met[i]] = 0;
	knn->stamp = user->stamp;
	knn->n = 0;
	for (int i = 0; i < user->n; i++)
	{
		int32		item = user->items[i];
		int64		n = knn->offsets[item + 1] - knn->offsets[item];
		double		weight = user->weights[i] *
			user_knn_item_weight(knn->idf, knn->nusers, (double) n);

		sumsq += (double) user->weights[i] * user->weights[i];
		for (int64 x = knn->offsets[item]; x < knn->offsets[item + 1]; x++)
		{
			int32		row = knn->rows[x];

			if (row == own)
				continue;
			if (knn->common[row]++ == 0)
				knn->met[knn->n++] = row;
			knn->dots[row] += weight * knn->weights[x];
		}
	}
	knn->length = sqrt(sumsq);
}

static void
push_neighbor(const UserKnn *knn, TopK *top, int32 row)
{
	double		sim;

	if (knn->common[row] < knn->min_common || knn->dots[row] <= 0)
		return;
	sim = knn->dots[row] / (knn->length * knn->lengths[row]);
	topk_push(top, row, (float) sim);
}

/* ---------------------------------------------------------------------- answers */

/* Scores of the neighbours' items. */
static void
add_scores(UserKnn *knn, const FitUser *user)
{
	const Histories *h = knn->h;
	TopK		top;

	fit_scores_begin(&knn->scores);
	meet_users(knn, user);
	topk_init(&top, knn->neighbors, knn->k);
	for (int32 i = 0; i < knn->n; i++)
		push_neighbor(knn, &top, knn->met[i]);
	for (size_t v = 0; v < top.n; v++)
	{
		int32		row = rank_item(knn->neighbors[v]);
		double		sim = knn->dots[row] / (knn->length * knn->lengths[row]);

		for (int64 e = h->offsets[row]; e < h->offsets[row + 1]; e++)
			fit_scores_add(&knn->scores, user, h->items[e], sim * h->weights[e]);
	}
}

static int
top(void *state, const FitUser *user, int k, SearchHit *hits)
{
	UserKnn    *knn = state;

	add_scores(knn, user);
	return fit_scores_top(&knn->scores, user, k, hits);
}

static double
own_mean(const FitUser *user)
{
	double		sum = 0;

	for (int i = 0; i < user->n; i++)
		sum += user->weights[i];
	return sum / user->n;
}

/* From the nearest of those who rated the item. */
static double
predict(void *state, const FitUser *user, int32 item)
{
	UserKnn    *knn = state;
	TopK		top;
	double		sum = 0,
				sims = 0;

	meet_users(knn, user);
	topk_init(&top, knn->neighbors, knn->k);
	for (int64 x = knn->offsets[item]; x < knn->offsets[item + 1]; x++)
		push_neighbor(knn, &top, knn->rows[x]);
	for (int64 x = knn->offsets[item]; x < knn->offsets[item + 1]; x++)
	{
		int32		row = knn->rows[x];
		double		sim;

		if (knn->common[row] < knn->min_common || knn->dots[row] <= 0)
			continue;
		sim = knn->dots[row] / (knn->length * knn->lengths[row]);
		if (top.n == top.k && rank_key(row, (float) sim) < top.bar)
			continue;
		sum += sim * (knn->weights[x] - knn->means[row]);
		sims += sim;
	}
	return sims > 0 ? own_mean(user) + sum / sims : NAN;
}

extern const FitAlgorithm fit_user_knn;

const FitAlgorithm fit_user_knn = {
	.name = "user_knn",
	.fit = fit,
	.top = top,
	.predict = predict,
};
