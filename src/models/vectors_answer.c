/*
 * vectors_answer.c
 *	  What every embedding model answers once it has a vector to ask with, see
 *	  vectors.h.
 */
#include "postgres.h"

#include "models/vectors.h"

static bool
admit(void *arg, int32_t row)
{
	return candidates_admit(arg, row);
}

void
vectors_recommend(Vectors *v, const float *query, double constant, int wanted, Candidates *out)
{
	SearchQuery q = {.vector = query,.k = wanted,.admit = admit,.arg = out};
	SearchHit  *hits;
	int			nonly;
	int			n;

	q.only = candidates_only(out, &nonly);
	q.nonly = nonly;
	hits = vectors_hits(v, &q);
	n = vectors_top(v, &q, hits);
	for (int i = 0; i < n; i++)
		candidates_add(out, hits[i].row, hits[i].score + constant);
}

static bool
is_other(void *arg, int32_t row)
{
	return row != *(int32 *) arg;
}

int
vectors_similar(Vectors *v, int32 item, int k, ScoredItem *out)
{
	SearchQuery q = {.k = k,.cosine = true,.admit = is_other,.arg = &item};
	float	   *vector = palloc(sizeof(float) * vectors_version(v)->dim);
	SearchHit  *hits;
	int			found;
	int			n;

	if (vectors_gather(v, 1, &item, vector, &found) == 0)
		return 0;
	q.vector = vector;
	hits = vectors_hits(v, &q);
	n = vectors_top(v, &q, hits);
	for (int i = 0; i < n; i++)
		out[i] = (ScoredItem) {hits[i].row, hits[i].score};
	return n;
}
