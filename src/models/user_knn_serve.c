/*
 * user_knn_serve.c
 *	  user_knn: its tables, its parameters, and answers from a user's nearest
 *	  neighbours, found when asked for (user_knn_search.c).
 *
 * With the neighbours v of user u and sim(u,v) as in user_knn.h:
 *
 *		score(i)  = sum over v of sim(u,v) r(v,i)
 *
 * A rating is predicted from the k nearest of those who rated the item, as the
 * deviation from each one's own mean (Resnick et al. 1994):
 *
 *		rating(i) = mean(u) + sum over v of sim(u,v) (r(v,i) - mean(v)) / sum over v of sim(u,v)
 *
 * An explanation splits the score by the items h of u's history, through which
 * the neighbours are neighbours: h contributes
 *
 *		w(h) r(u,h) times the sum over v of r(v,h) r(v,i) / (|u| |v|)
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"

#include "models/user_knn.h"

const ParamSpec user_knn_params[] = {
	/* nearest users whose items are recommended */
	{.name = "neighbors", PARAM_INT, 1, 10000, 100},
	/* items that two users must have in common */
	{.name = "min_common", PARAM_INT, 1, 1e9, 1},
	/* newest users kept of each item */
	{.name = "audience_limit", PARAM_INT, 1, 1e9, 200},
	/* exponent of ln(1 + N/n), the weight of an item that n of N users have */
	{.name = "idf", PARAM_FLOAT, 0, 10, 2},
	{.name = NULL}
};

/* ----------------------------------------------------------- declaration */

static char *
table_name(const RecsysSource *source, const char *model, const char *kind)
{
	return quote_qualified_identifier(NameStr(source->name), psprintf("%s%s", model, kind));
}

static const char *
constraint_name(const char *model, const char *kind)
{
	return quote_identifier(psprintf("%s%s%s", model, kind, USER_KNN_INDEX));
}

/* While events come fast a flush rewrites nearly all rows: half of a page is for
 * their next versions. */
static char *
create_sql(const RecsysSource *source, const char *model)
{
	return psprintf("CREATE TABLE %1$s (item_id int4, segment int4, landmark int4 NOT NULL,"
					" users int4[] NOT NULL, weights real[] NOT NULL, times int8[] NOT NULL,"
					" CONSTRAINT %2$s PRIMARY KEY (item_id, segment)) WITH (fillfactor = 50);"
					" COMMENT ON TABLE %1$s IS 'the newest users of each item by number, with weights as in profiles';"
					" CREATE TABLE %3$s (block int4 CONSTRAINT %4$s PRIMARY KEY,"
					" landmark int4 NOT NULL, sumsq float8[] NOT NULL) WITH (fillfactor = 50);"
					" COMMENT ON TABLE %3$s IS 'sums of squares of the weights of each user, 64 users a row: user u stands in block u / 64 + 1 at place u %% 64 + 1';"
					" CREATE TABLE %5$s (singleton bool CONSTRAINT %6$s PRIMARY KEY,"
					" applied_lsn pg_lsn NOT NULL, audience_limit int4 NOT NULL, users int4 NOT NULL);"
					" COMMENT ON TABLE %5$s IS 'up to which position of the state the tables of the model are right, and the number of users with a history'",
					table_name(source, model, USER_KNN_AUDIENCES),
					constraint_name(model, USER_KNN_AUDIENCES),
					table_name(source, model, USER_KNN_NORMS),
					constraint_name(model, USER_KNN_NORMS),
					table_name(source, model, USER_KNN_STATE),
					constraint_name(model, USER_KNN_STATE));
}

static char *
drop_sql(const RecsysSource *source, const char *model)
{
	return psprintf("DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s",
					table_name(source, model, USER_KNN_AUDIENCES),
					table_name(source, model, USER_KNN_NORMS),
					table_name(source, model, USER_KNN_STATE));
}

/* --------------------------------------------------------------- answers */

static void
find_neighbors(ServeContext *cx, const History *history, Neighborhood *hood)
{
	NeighborQuery query = {.history = history};

	query.idf = params_get(cx->model->params, "idf");
	query.k = (int) params_get(cx->model->params, "neighbors");
	query.min_common = (int) params_get(cx->model->params, "min_common");
	user_knn_search(cx, &query, hood);
}

static void
recommend(ServeContext *cx, const History *history, Candidates *out)
{
	Neighborhood hood;

	find_neighbors(cx, history, &hood);
	for (int v = 0; v < hood.n; v++)
	{
		const Neighbor *neighbor = &hood.neighbors[v];

		for (int i = 0; i < neighbor->history.n; i++)
			candidates_add(out, neighbor->history.items[i],
						   neighbor->sim * neighbor->history.weights[i]);
	}
}

/* The neighbour's r(v,item); NaN without one. */
static double
rating_of(const Neighbor *neighbor, int32 item)
{
	for (int i = 0; i < neighbor->history.n; i++)
		if (neighbor->history.items[i] == item)
			return neighbor->history.weights[i];
	return NAN;
}

static double
mean_of(const History *history)
{
	double		sum = 0;

	for (int i = 0; i < history->n; i++)
		sum += history->weights[i];
	return sum / history->n;
}

static double
predict_score(ServeContext *cx, const History *history, int32 item)
{
	Neighborhood hood;
	double		sum = 0;
	bool		any = false;

	find_neighbors(cx, history, &hood);
	for (int v = 0; v < hood.n; v++)
	{
		double		rating = rating_of(&hood.neighbors[v], item);

		if (isnan(rating))
			continue;
		any = true;
		sum += hood.neighbors[v].sim * rating;
	}
	return any ? sum : NAN;
}

static double
predict_rating(ServeContext *cx, const History *history, int32 item)
{
	NeighborQuery query = {.history = history,.having = item};
	Neighborhood hood;
	double		sum = 0,
				sims = 0;

	query.idf = params_get(cx->model->params, "idf");
	query.k = (int) params_get(cx->model->params, "neighbors");
	query.min_common = (int) params_get(cx->model->params, "min_common");
	user_knn_search(cx, &query, &hood);
	for (int v = 0; v < hood.n; v++)
	{
		double		rating = rating_of(&hood.neighbors[v], item);

		if (isnan(rating))
			continue;
		sum += hood.neighbors[v].sim * (rating - mean_of(&hood.neighbors[v].history));
		sims += hood.neighbors[v].sim;
	}
	return sims > 0 ? mean_of(history) + sum / sims : NAN;
}

static double
predict(ServeContext *cx, const History *history, int32 item)
{
	return cx->source->explicit_feedback ? predict_rating(cx, history, item) :
		predict_score(cx, history, item);
}

static void
explain(ServeContext *cx, const History *history, int32 item, double *contributions)
{
	Neighborhood hood;
	ItemIndex	index;

	find_neighbors(cx, history, &hood);
	item_index_create(&index, history->n, history->items);
	for (int v = 0; v < hood.n; v++)
	{
		const Neighbor *neighbor = &hood.neighbors[v];
		double		rating = rating_of(neighbor, item);

		if (isnan(rating))
			continue;
		for (int i = 0; i < neighbor->history.n; i++)
		{
			int			h = item_index_find(&index, neighbor->history.items[i]);

			if (h >= 0)
				contributions[h] += history->weights[h] * hood.item_weights[h] *
					neighbor->history.weights[i] * neighbor->scale * rating;
		}
	}
}

static int
neighbors(ServeContext *cx, const History *history, int32 item, int *nholding, ScoredItem **holding)
{
	Neighborhood hood;

	find_neighbors(cx, history, &hood);
	*nholding = 0;
	*holding = palloc(sizeof(ScoredItem) * Max(hood.n, 1));
	for (int v = 0; v < hood.n; v++)
	{
		const Neighbor *neighbor = &hood.neighbors[v];
		double		rating = rating_of(neighbor, item);

		if (!isnan(rating))
			(*holding)[(*nholding)++] = (ScoredItem) {neighbor->user, neighbor->sim * rating};
	}
	return hood.n;
}

/* Which of many users like one are the most similar is worth a closer look; for
 * recommendations it made no difference. */
#define SPARE_FACTOR 3

static int
similar_users(ServeContext *cx, const History *history, int k, ScoredItem *out)
{
	NeighborQuery query = {.history = history,.k = k,.spare = k * SPARE_FACTOR};
	Neighborhood hood;

	query.min_common = (int) params_get(cx->model->params, "min_common");
	user_knn_search(cx, &query, &hood);
	for (int v = 0; v < hood.n; v++)
		out[v] = (ScoredItem) {hood.neighbors[v].user, hood.neighbors[v].sim};
	return hood.n;
}

extern const ModelAlgorithm user_knn_algorithm;

const ModelAlgorithm user_knn_algorithm = {
	.name = "user_knn",
	.params = user_knn_params,
	.create_sql = create_sql,
	.drop_sql = drop_sql,
	.open = user_knn_open,
	.close = user_knn_close,
	.build = user_knn_build,
	.change = user_knn_change,
	.write = user_knn_write,
	.evict = user_knn_evict,
	.flush = user_knn_flush,
	.forget_item = user_knn_forget_item,
	.reset = user_knn_reset,
	.rescale = user_knn_rescale,
	.memory = user_knn_memory,
	.recommend = recommend,
	.predict = predict,
	.explain = explain,
	.similar_users = similar_users,
	.similar_items = user_knn_similar_items,
	.neighbors_are = "users",
	.neighbors = neighbors,
};
