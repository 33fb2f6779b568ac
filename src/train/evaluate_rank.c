/*
 * evaluate_rank.c
 *	  Recommends to every user of the held-out part and adds up how well it went.
 *
 * A list is made as recommend() makes it: what the model scores above 0, best
 * first, then popular items that it has not scored, then the rest; by score alone
 * where the model ranks everything.  Items of the user's training history are
 * not in it.  A user without history gets popular.
 *
 * Relevant are the held-out items (ratings from a limit on); users who have none
 * do not count.  The formulas per user stand in numeric/ranking.h; they are
 * averaged over users.
 *
 * Ratings are predicted for all held-out items.  Where the model has no
 * prediction, the baseline speaks: mean plus the deviations of item and user,
 * shrunk (Koren, 2010).  Predictions stay in the range of the ratings trained on.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "numeric/ranking.h"
#include "numeric/topk.h"
#include "train/evaluate.h"

#define PROGRESS_USERS 256

/* Ratings of an item or a user weigh as much as so many of the mean. */
#define SHRINK_ITEM 10
#define SHRINK_USER 5

typedef struct Ranker
{
	const Evaluation *e;
	const FitAlgorithm *fit;
	bool		ranks_all;
	void	   *state;
	const FitInput *input;
	Sums	   *sums;
	int32		ntrainers;		/* users with a history */
	int32		nitems;			/* items with users */
	int32	   *item_users;		/* by item */
	double	   *deviations;		/* by item, explicit only */
	float		low,
				high;			/* ratings trained on */
	int32	   *popular;		/* best first */
	/* by item, the stamp of the user for whom it is so */
	int32	   *excluded;
	int32	   *scored;
	int32	   *relevant;
	bool	   *recommended;	/* to anybody */
	SearchHit  *hits;
	int32	   *list;
	bool	   *found;
} Ranker;

static void *
by_item(const FitInput *input, Size width)
{
	return palloc_extended(width * ((Size) input->max_item + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* ------------------------------------------------------------------ preparing */

/* Popularity is the sum of weights, of ratings their number, as for serving. */
static void
count_items(Ranker *r)
{
	const FitInput *input = r->input;
	const Histories *h = &input->train;
	double	   *totals = by_item(input, sizeof(double));
	RankKey    *order = by_item(input, sizeof(RankKey));

	r->item_users = by_item(input, sizeof(int32));
	for (int32 u = 0; u < h->nusers; u++)
		r->ntrainers += h->offsets[u + 1] > h->offsets[u];
	for (int64 i = 0; i < h->offsets[h->nusers]; i++)
	{
		r->item_users[h->items[i]]++;
		totals[h->items[i]] += h->weights[i];
	}
	for (int32 item = 1; item <= input->max_item; item++)
		if (r->item_users[item] > 0)
			order[r->nitems++] = rank_key(item, input->explicit_feedback ?
										  (float) r->item_users[item] : (float) totals[item]);
	rank_sort(order, r->nitems);
	r->popular = palloc_extended(sizeof(int32) * ((Size) r->nitems + 1), MCXT_ALLOC_HUGE);
	for (int32 i = 0; i < r->nitems; i++)
		r->popular[i] = rank_item(order[i]);
	pfree(order);
	pfree(totals);
}

static void
learn_baseline(Ranker *r)
{
	const FitInput *input = r->input;
	const Histories *h = &input->train;

	r->deviations = by_item(input, sizeof(double));
	r->low = INFINITY;
	r->high = -INFINITY;
	for (int64 i = 0; i < h->offsets[h->nusers]; i++)
	{
		r->deviations[h->items[i]] += h->weights[i] - input->mean;
		r->low = Min(r->low, h->weights[i]);
		r->high = Max(r->high, h->weights[i]);
	}
	for (int32 item = 1; item <= input->max_item; item++)
		r->deviations[item] /= r->item_users[item] + SHRINK_ITEM;
}

/* ------------------------------------------------------------------ the list */

static bool
admits(const FitUser *user, int32 item)
{
	return user->excluded[item] != user->stamp;
}

static int
make_list(Ranker *r, const FitUser *user)
{
	int			k = r->e->k;
	int			nhits = r->fit->top && user->n > 0 ? r->fit->top(r->state, user, k, r->hits) : 0;
	int			next = 0,
				n = 0;

	for (int i = 0; i < nhits; i++)
		user->scored[r->hits[i].row] = user->stamp;
	while (next < nhits && (r->ranks_all || r->hits[next].score > 0))
		r->list[n++] = r->hits[next++].row;
	for (int32 i = 0; i < r->nitems && n < k; i++)
		if (admits(user, r->popular[i]) && user->scored[r->popular[i]] != user->stamp)
			r->list[n++] = r->popular[i];
	while (next < nhits && n < k)
		r->list[n++] = r->hits[next++].row;
	return n;
}

static void
add_list(Ranker *r, const FitUser *user, int64 nrelevant)
{
	Sums	   *s = r->sums;
	RankingScores scores;
	int			n = make_list(r, user);

	for (int i = 0; i < n; i++)
	{
		int32		item = r->list[i];

		r->found[i] = r->relevant[item] == user->stamp;
		r->recommended[item] = true;
		s->information -= log2((double) Max(r->item_users[item], 1) / r->ntrainers);
	}
	ranking_scores(r->found, n, nrelevant, r->e->k, &scores);
	s->users++;
	s->listed += n;
	s->precision += scores.precision;
	s->recall += scores.recall;
	s->ndcg += scores.ndcg;
	s->average_precision += scores.average_precision;
	s->reciprocal_rank += scores.reciprocal_rank;
	s->hit_rate += scores.hit_rate;
}

/* -------------------------------------------------------------------- ratings */

static double
baseline(Ranker *r, const FitUser *user, int32 item)
{
	double		sum = 0;

	for (int h = 0; h < user->n; h++)
		sum += user->weights[h] - r->input->mean - r->deviations[user->items[h]];
	return r->input->mean + (item > 0 ? r->deviations[item] : 0) + sum / (user->n + SHRINK_USER);
}

static void
add_rating(Ranker *r, const FitUser *user, int32 item, float rating)
{
	double		predicted = r->fit->predict && item > 0 && user->n > 0 ?
		r->fit->predict(r->state, user, item) : NAN;
	double		error;

	if (isnan(rating))
		return;
	if (isnan(predicted))
		predicted = baseline(r, user, item);
	error = Min(Max(predicted, r->low), r->high) - rating;
	r->sums->ratings++;
	r->sums->squares += error * error;
	r->sums->absolutes += fabs(error);
}

/* ----------------------------------------------------------------------- users */

/* Numbers beyond the largest one trained on are unknown like those below 0. */
static int32
known_item(const Ranker *r, int32 item)
{
	return item > 0 && item <= r->input->max_item ? item : -1;
}

/* Marks the relevant items; returns how many there are. */
static int64
mark_relevant(Ranker *r, const HeldOut *h, int32 u, int32 stamp)
{
	int64		n = 0;

	for (int64 i = h->offsets[u]; i < h->offsets[u + 1]; i++)
	{
		int32		item = known_item(r, h->items[i]);

		/* a row without a rating (NaN) is not above any */
		if (r->input->explicit_feedback && r->e->relevant_from > -INFINITY &&
			!(h->values[i] >= r->e->relevant_from))
			continue;
		n++;
		if (item > 0)
			r->relevant[item] = stamp;
	}
	return n;
}

static void
add_user(Ranker *r, const HeldOut *h, int32 u, int32 stamp)
{
	const Histories *train = &r->input->train;
	FitUser		user = {.stamp = stamp,.excluded = r->excluded,.scored = r->scored};
	int64		nrelevant;

	if (h->rows[u] >= 0)
	{
		int64		from = train->offsets[h->rows[u]];

		user.n = (int) (train->offsets[h->rows[u] + 1] - from);
		user.items = train->items + from;
		user.weights = train->weights + from;
	}
	for (int i = 0; i < user.n; i++)
		r->excluded[user.items[i]] = stamp;
	nrelevant = mark_relevant(r, h, u, stamp);
	if (nrelevant > 0)
		add_list(r, &user, nrelevant);
	r->sums->interactions += nrelevant;
	if (r->input->explicit_feedback)
		for (int64 i = h->offsets[u]; i < h->offsets[u + 1]; i++)
			add_rating(r, &user, known_item(r, h->items[i]), h->values[i]);
}

static int
compare_hashes(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a,
				y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/* Users whose hash is above it are not in the sample. */
static uint64
sample_limit(const Evaluation *e, const HeldOut *h)
{
	uint64	   *hashes;
	uint64		limit;

	if (e->max_users == 0 || e->max_users >= h->nusers)
		return PG_UINT64_MAX;
	hashes = palloc_extended(sizeof(uint64) * (Size) h->nusers, MCXT_ALLOC_HUGE);
	for (int32 u = 0; u < h->nusers; u++)
		hashes[u] = evaluation_hash(e->seed, h->users[u], 0);
	qsort(hashes, h->nusers, sizeof(uint64), compare_hashes);
	limit = hashes[e->max_users - 1];
	pfree(hashes);
	return limit;
}

static void
rank_users(Ranker *r, const HeldOut *h)
{
	uint64		limit = sample_limit(r->e, h);
	int32		nusers = r->e->max_users > 0 ? Min(r->e->max_users, h->nusers) : h->nusers;
	int32		done = 0;
	int32		different = 0;

	for (int32 u = 0; u < h->nusers; u++)
	{
		if (evaluation_hash(r->e->seed, h->users[u], 0) > limit)
			continue;
		if (done % PROGRESS_USERS == 0)
			r->input->progress("evaluating", done, nusers);
		add_user(r, h, u, ++done);
	}
	for (int32 item = 1; item <= r->input->max_item; item++)
		different += r->recommended[item];
	r->sums->folds++;
	r->sums->coverage += (double) different / r->nitems;
}

void
evaluation_rank(const Evaluation *e, const FitAlgorithm *fit, bool ranks_all, void *state,
				const FitInput *input, const HeldOut *held_out, Sums *sums)
{
	Ranker		r = {.e = e,.fit = fit,.ranks_all = ranks_all,.state = state,
		.input = input,.sums = sums
	};

	count_items(&r);
	if (input->explicit_feedback)
		learn_baseline(&r);
	r.excluded = by_item(input, sizeof(int32));
	r.scored = by_item(input, sizeof(int32));
	r.relevant = by_item(input, sizeof(int32));
	r.recommended = by_item(input, sizeof(bool));
	r.hits = palloc(sizeof(SearchHit) * e->k);
	r.list = palloc(sizeof(int32) * e->k);
	r.found = palloc(sizeof(bool) * e->k);
	rank_users(&r, held_out);
}
