/*
 * als.c
 *	  als: matrix factorisation by alternating least squares, as declared.
 *
 * The formulas stand in numeric/als.h.  A training (train/als_train.c) writes
 * a version of item vectors, the stream worker (als_online.c) keeps these fresh,
 * and a user's vector is solved when it is asked for (als_serve.c).
 */
#include "postgres.h"

#include <limits.h>

#include "models/als.h"

static const char *const solvers[] = {"cholesky", "cg", NULL};

static const double explicit_regularization = 1.4;
static const double explicit_exponent = 0.5;

const ParamSpec als_params[] = {
	/* length of a vector, without bias */
	{.name = "factors", PARAM_INT, 1, 1024, 96},
	/*
	 * Weight of the squared length of a vector in the loss ...  0.1 is best on
	 * sparse data (Amazon CDs, 14 interactions per user), but recommends little
	 * but popular items on dense ones (MovieLens 100k, 106 per user, best at
	 * 0.02); 0.04 is good on both.
	 */
	{.name = "regularization", PARAM_FLOAT, 0, 1e6, 0.04,
	.explicit_boot = &explicit_regularization},
	/* ... times this power of the number of its interactions */
	{.name = "regularization_exponent", PARAM_FLOAT, 0, 2, 1,
	.explicit_boot = &explicit_exponent},
	/* weight of an interaction, beside 1 for none; implicit feedback only */
	{.name = "alpha", PARAM_FLOAT, 1e-3, 1e6, 80},
	/* of a training, each solves users, then items */
	{.name = "iterations", PARAM_INT, 1, 1000, 15},
	/* of the random start */
	{.name = "seed", PARAM_INT, 0, INT_MAX, 1},
	/* exact, or conjugate gradient, which is faster for many factors */
	{.name = "solver", PARAM_ENUM, .boot = ALS_CG, .words = solvers},
	/* of the conjugate gradient, per row and iteration */
	{.name = "cg_steps", PARAM_INT, 1, 100, 3},
	/* seconds after which it is trained again, if there are new events; 0 = never */
	{.name = "retrain_interval", PARAM_FLOAT, 0, 1e9, 86400},
	/* new events, as a share of those it was trained on, after which it is
	 * trained again; 0 = never */
	{.name = "retrain_share", PARAM_FLOAT, 0, 1e6, 0.2},
	{.name = NULL}
};

void
als_params_of(const Jsonb *params, bool explicit_feedback, double mean, AlsParams *result)
{
	memset(result, 0, sizeof(AlsParams));
	result->factors = (int) params_get(params, "factors");
	result->dim = result->factors + (explicit_feedback ? 1 : 0);
	result->explicit_feedback = explicit_feedback;
	result->solver = params_get_enum(params, "solver", solvers);
	result->cg_steps = (int) params_get(params, "cg_steps");
	result->alpha = params_get(params, "alpha");
	result->regularization = params_get(params, "regularization");
	result->exponent = params_get(params, "regularization_exponent");
	result->mean = mean;
}

extern const ModelAlgorithm als_algorithm;

const ModelAlgorithm als_algorithm = {
	.name = "als",
	.params = als_params,
	.create_sql = embedding_create_sql,
	.drop_sql = embedding_drop_sql,
	.factors_sql = embedding_factors_sql,
	.trained = true,
	.ranks_all = true,
	.open = als_open,
	.close = als_close,
	.build = als_build,
	.change = als_change,
	.publish = als_publish,
	.flush = als_flush,
	.forget_item = als_forget_item,
	.reset = als_reset,
	.rescale = als_rescale,
	.memory = als_memory,
	.published = als_published,
	.retrained = als_retrained,
	.training_need = als_training_need,
	.has_version = als_has_version,
	.recommend = als_recommend,
	.similar_items = als_similar_items,
	.predict = als_predict,
	.explain = als_explain,
	.user_factors = als_user_factors,
	.compare_begin = als_compare_begin,
	.compare = als_compare,
	.compare_end = als_compare_end,
};
