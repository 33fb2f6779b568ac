/*
 * item_knn_serve.c
 *	  item_knn: its table, its parameters, and answers from published
 *	  neighbours.
 *
 * An item's score for a user is the sum over the items h of the user's history
 * of r(u,h) sim(h,i), taken over the published lists of h, and not normalised:
 * for ranking that is better than the weighted mean (Cremonesi, Koren and
 * Turrin, 2010).  A rating is predicted by the weighted mean.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "models/item_knn.h"
#include "state/checked.h"
#include "state/hinted.h"

const ParamSpec item_knn_params[] = {
	/* neighbours published per item */
	{.name = "k", PARAM_INT, 1, 1000, 50},
	/* added to the denominator of the cosine */
	{.name = "shrinkage", PARAM_FLOAT, 0, 1e9, 0},
	/* users that two items must have in common */
	{.name = "min_support", PARAM_INT, 1, 1e9, 1},
	{.name = NULL}
};

/* ----------------------------------------------------------- declaration */

static char *
table_name(const RecsysSource *source, const char *model)
{
	return quote_qualified_identifier(NameStr(source->name), psprintf("%s_neighbors", model));
}

char *
item_knn_create_sql(const RecsysSource *source, const char *model)
{
	char	   *table = table_name(source, model);

	return psprintf("CREATE TABLE %1$s (item_id int4 CONSTRAINT %2$s PRIMARY KEY,"
					" neighbors int4[] NOT NULL, scores real[] NOT NULL) WITH (fillfactor = 70);"
					" COMMENT ON TABLE %1$s IS 'items and their most similar ones by number, best first'",
					table, quote_identifier(psprintf("%s_neighbors_pkey", model)));
}

char *
item_knn_drop_sql(const RecsysSource *source, const char *model)
{
	return psprintf("DROP TABLE IF EXISTS %s", table_name(source, model));
}

char *
item_knn_similarity_sql(const RecsysSource *source, const char *model)
{
	return psprintf("SELECT a.key AS item_id, b.key AS similar_item_id, l.score"
					" FROM %1$s n"
					" JOIN %2$s.items a ON a.id = n.item_id"
					" CROSS JOIN LATERAL unnest(n.neighbors, n.scores) AS l(item, score)"
					" JOIN %2$s.items b ON b.id = l.item",
					table_name(source, model), quote_identifier(NameStr(source->name)));
}

/* ------------------------------------------------------------ neighbours */

#define NEIGHBORS_ITEMS		2
#define NEIGHBORS_SCORES	3

static const Oid neighbors_types[] = {INT4OID, INT4ARRAYOID, FLOAT4ARRAYOID};

typedef struct Neighbors
{
	int			n;
	const int32 *items;
	const float *scores;
} Neighbors;

/* Reads published lists. */
typedef struct NeighborReader
{
	StateTable *table;
	HintedReader *reader;
} NeighborReader;

static NeighborReader
open_neighbors(ServeContext *cx)
{
	NeighborReader neighbors;
	const char *model = NameStr(cx->model->name);

	neighbors.table = checked_open(cx->source, psprintf("%s_neighbors", model),
								   psprintf("%s_neighbors_pkey", model), 1,
								   lengthof(neighbors_types), neighbors_types);
	neighbors.reader = hinted_begin(neighbors.table, cx->snapshot);
	return neighbors;
}

static void
close_neighbors(NeighborReader *neighbors)
{
	hinted_end(neighbors->reader);
	checked_close(neighbors->table);
}

/* The published list of an item, maybe empty; valid until the next one is
 * read. */
static Neighbors
get_neighbors(NeighborReader *neighbors, int32 item)
{
	TupleTableSlot *slot = hinted_get(neighbors->reader, item);
	Neighbors	list = {0};
	int			nscores;

	if (slot == NULL)
		return list;
	list.items = checked_array(checked_attribute(slot, NEIGHBORS_ITEMS), INT4OID, &list.n);
	list.scores = checked_array(checked_attribute(slot, NEIGHBORS_SCORES), FLOAT4OID, &nscores);
	list.n = Min(list.n, nscores);
	return list;
}

/* --------------------------------------------------------------- answers */

void
item_knn_recommend(ServeContext *cx, const History *history, Candidates *out)
{
	NeighborReader neighbors = open_neighbors(cx);

	for (int h = 0; h < history->n; h++)
	{
		Neighbors	list = get_neighbors(&neighbors, history->items[h]);

		CHECK_FOR_INTERRUPTS();
		candidates_add_list(out, list.n, list.items, list.scores, history->weights[h]);
	}
	close_neighbors(&neighbors);
}

int
item_knn_similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out)
{
	NeighborReader neighbors = open_neighbors(cx);
	Neighbors	list = get_neighbors(&neighbors, item);
	int			n = Min(k, list.n);

	for (int i = 0; i < n; i++)
		out[i] = (ScoredItem) {list.items[i], list.scores[i]};
	close_neighbors(&neighbors);
	return n;
}

/* sims[h] = similarity of history item h to item, 0 where its list lacks it */
static void
similarities_to(ServeContext *cx, const History *history, int32 item, double *sims)
{
	NeighborReader neighbors = open_neighbors(cx);

	for (int h = 0; h < history->n; h++)
	{
		Neighbors	list = get_neighbors(&neighbors, history->items[h]);

		CHECK_FOR_INTERRUPTS();
		sims[h] = 0;
		for (int i = 0; i < list.n; i++)
			if (list.items[i] == item)
				sims[h] = list.scores[i];
	}
	close_neighbors(&neighbors);
}

double
item_knn_predict(ServeContext *cx, const History *history, int32 item)
{
	double	   *sims = palloc(sizeof(double) * history->n);
	double		sum = 0,
				norm = 0;

	similarities_to(cx, history, item, sims);
	for (int h = 0; h < history->n; h++)
	{
		sum += history->weights[h] * sims[h];
		norm += fabs(sims[h]);
	}
	if (norm == 0)
		return NAN;
	return cx->source->explicit_feedback ? sum / norm : sum;
}

void
item_knn_explain(ServeContext *cx, const History *history, int32 item,
				 double *contributions)
{
	similarities_to(cx, history, item, contributions);
	for (int h = 0; h < history->n; h++)
		contributions[h] *= history->weights[h];
}
