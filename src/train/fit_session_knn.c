/*
 * fit_session_knn.c
 *	  session_knn offline, by the kernel of session_knn_search.c: the history of each
 *	  user of the training part is one session, of users with larger numbers the
 *	  newer ones.  That is what they are where the source's user column holds sessions.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "models/histories.h"
#include "models/session_knn.h"
#include "train/fit_scores.h"

typedef struct SessionFit
{
	const Histories *train;
	int32		max_item;
	SessionDecay decay;
	int32		last,
				neighbors;
	double		match_decay;
	int64	   *offsets;		/* by item, of its sessions, oldest first: rows */
	int32	   *sessions;
	int64	   *times;
	double	   *weights;		/* by item: idf */
	SessionPool pool;
	SessionCandidate *nearest;
	FitScores	scores;			/* of one answer */
} SessionFit;

static int32
length_of(const Histories *h, int32 row)
{
	return (int32) (h->offsets[row + 1] - h->offsets[row]);
}

static void
no_memory(void)
{
	ereport(ERROR,
			errcode(ERRCODE_OUT_OF_MEMORY),
			errmsg("no memory for the sessions of an evaluation"),
			errhint("Give the server more memory."));
}

/* Sessions that are neither too short nor too long, and how rare items are in them. */
static void
fill_postings(SessionFit *s, const FitInput *input)
{
	const Histories *h = s->train;
	int32		min_items = (int32) params_get(input->params, "min_length");
	int32		max_items = (int32) params_get(input->params, "max_length");
	double		idf = params_get(input->params, "idf");
	int64	   *ends;
	int64		n;

	for (int pass = 0; pass < 2; pass++)
	{
		for (int32 row = 0; row < h->nusers; row++)
		{
			if (length_of(h, row) < min_items || length_of(h, row) > max_items)
				continue;
			for (int64 i = h->offsets[row]; i < h->offsets[row + 1]; i++)
				if (pass == 0)
					s->offsets[h->items[i] + 1]++;
				else
				{
					n = ends[h->items[i]]++;
					s->sessions[n] = row;
					s->times[n] = row;
				}
		}
		if (pass == 1)
			break;
		for (int32 item = 0; item <= s->max_item; item++)
			s->offsets[item + 1] += s->offsets[item];
		n = s->offsets[s->max_item + 1];
		s->sessions = palloc_extended(sizeof(int32) * (Size) (n + 1), MCXT_ALLOC_HUGE);
		s->times = palloc_extended(sizeof(int64) * (Size) (n + 1), MCXT_ALLOC_HUGE);
		ends = palloc_extended(sizeof(int64) * ((Size) s->max_item + 2), MCXT_ALLOC_HUGE);
		memcpy(ends, s->offsets, sizeof(int64) * ((Size) s->max_item + 2));
	}
	n = s->offsets[s->max_item + 1];
	for (int32 item = 1; item <= s->max_item; item++)
		s->weights[item] = session_item_weight(idf, (double) n,
											   (double) (s->offsets[item + 1] - s->offsets[item]));
	pfree(ends);
}

static void *
fit(const FitInput *input)
{
	SessionFit *s = palloc0(sizeof(SessionFit));
	Allocator	allocator = histories_allocator(CurrentMemoryContext);

	s->train = &input->train;
	s->max_item = input->max_item;
	s->decay = params_get_enum(input->params, "position_decay", session_decays);
	s->last = (int32) params_get(input->params, "last_items");
	s->neighbors = (int32) params_get(input->params, "neighbors");
	s->match_decay = params_get(input->params, "match_decay");
	s->offsets = palloc_extended(sizeof(int64) * ((Size) s->max_item + 2),
								 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	s->weights = palloc_extended(sizeof(double) * ((Size) s->max_item + 1),
								 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	s->nearest = palloc_extended(sizeof(SessionCandidate) * (Size) s->neighbors, MCXT_ALLOC_HUGE);
	input->progress("training", 0, 0);
	fill_postings(s, input);
	if (!session_pool_init(&s->pool, &allocator, (int32) params_get(input->params, "sample")))
		no_memory();
	fit_scores_create(&s->scores, s->max_item);
	return s;
}

static int32
find_nearest(SessionFit *s, const SessionClick *query, int32 nquery)
{
	session_pool_clear(&s->pool);
	for (int32 x = 0; x < nquery; x++)
	{
		int64		from = s->offsets[query[x].item];
		int32		n = (int32) (s->offsets[query[x].item + 1] - from);
		int32		cut = Max(n - s->pool.sample, 0);

		if (session_pool_scan(&s->pool, s->sessions + from + cut, s->times + from + cut, n - cut,
							  x, query[x].weight) == SESSION_NO_MEMORY)
			no_memory();
	}
	return session_pool_best(&s->pool, s->neighbors, s->nearest);
}

static int
top(void *state, const FitUser *user, int k, SearchHit *hits)
{
	SessionFit *s = state;
	const Histories *h = s->train;
	SessionClick query[SESSION_MAX_QUERY];
	int32		nquery = session_query(user->items, user->n, s->last, s->decay, query);
	int32		n = find_nearest(s, query, nquery);

	fit_scores_begin(&s->scores);
	for (int32 v = 0; v < n; v++)
	{
		int32		row = s->nearest[v].session;
		const int32 *items = h->items + h->offsets[row];
		int32		nitems = length_of(h, row);
		double		weight = s->nearest[v].sim *
			session_match_weight(s->match_decay, session_match(query, nquery, items, nitems));

		for (int32 i = 0; i < nitems; i++)
			fit_scores_add(&s->scores, user, items[i], weight * s->weights[items[i]]);
	}
	return fit_scores_top(&s->scores, user, k, hits);
}

extern const FitAlgorithm fit_session_knn;

const FitAlgorithm fit_session_knn = {
	.name = "session_knn",
	.fit = fit,
	.top = top,
};
