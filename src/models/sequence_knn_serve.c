/*
 * sequence_knn_serve.c
 *	  sequence_knn: its parameters, and answers from published neighbours; see
 *	  sequence_knn.h.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "models/neighbor_table.h"
#include "models/sequence_knn.h"
#include "numeric/sequence.h"

const ParamSpec sequence_knn_params[] = {
	/* neighbours published per item */
	{.name = "k", PARAM_INT, 1, 1000, 50},
	/* places up to which a later item counts */
	{.name = "gap", PARAM_INT, 1, SEQUENCE_MAX_GAP, SEQUENCE_MAX_GAP},
	/* recommendations: what an item counts beside the one after it */
	{.name = "decay", PARAM_FLOAT, 0, 1, 0.6},
	{.name = NULL}
};

/* ------------------------------------------------------------------- order */

typedef struct Place
{
	int64		time;
	int			place;
} Place;

static int
newest_first(const void *a, const void *b)
{
	const Place *pa = a,
			   *pb = b;

	if (pa->time != pb->time)
		return pa->time > pb->time ? -1 : 1;
	return pb->place - pa->place;
}

/* factors[h] of each item of the history, by its step; the history's own order
 * decides between equal times. */
static double *
factors_of(ServeContext *cx, const History *history)
{
	double		decay = params_get(cx->model->params, "decay");
	Place	   *places = palloc(sizeof(Place) * Max(history->n, 1));
	double	   *factors = palloc(sizeof(double) * Max(history->n, 1));

	for (int h = 0; h < history->n; h++)
		places[h] = (Place) {history->times[h], h};
	qsort(places, history->n, sizeof(Place), newest_first);
	for (int step = 0; step < history->n; step++)
		factors[places[step].place] = sequence_knn_factor(decay, step);
	pfree(places);
	return factors;
}

/* ------------------------------------------------------------------ answers */

void
sequence_knn_recommend(ServeContext *cx, const History *history, Candidates *out)
{
	NeighborReader reader = neighbor_table_open(cx);
	double	   *factors = factors_of(cx, history);

	for (int h = 0; h < history->n; h++)
	{
		Neighbors	list;

		CHECK_FOR_INTERRUPTS();
		if (factors[h] == 0)
			continue;
		list = neighbor_table_get(&reader, history->items[h]);
		candidates_add_list(out, list.n, list.items, list.scores, factors[h]);
	}
	neighbor_table_close(&reader);
}

void
sequence_knn_explain(ServeContext *cx, const History *history, int32 item,
					 double *contributions)
{
	NeighborReader reader = neighbor_table_open(cx);
	double	   *factors = factors_of(cx, history);

	for (int h = 0; h < history->n; h++)
	{
		CHECK_FOR_INTERRUPTS();
		contributions[h] = 0;
		if (factors[h] > 0)
		{
			Neighbors	list = neighbor_table_get(&reader, history->items[h]);

			contributions[h] = factors[h] * neighbor_score(&list, item, false);
		}
	}
	neighbor_table_close(&reader);
}

/* The score that recommend() gives; it says nothing of a rating. */
double
sequence_knn_predict(ServeContext *cx, const History *history, int32 item)
{
	double	   *contributions = palloc(sizeof(double) * Max(history->n, 1));
	double		sum = 0;

	if (cx->source->explicit_feedback)
		return NAN;
	sequence_knn_explain(cx, history, item, contributions);
	for (int h = 0; h < history->n; h++)
		sum += contributions[h];
	return sum > 0 ? sum : NAN;
}
