/*
 * fit.c
 *	  The algorithms that can be evaluated, see fit.h.
 */
#include "postgres.h"

#include "train/fit.h"

extern const FitAlgorithm fit_als;
extern const FitAlgorithm fit_gru4rec;
extern const FitAlgorithm fit_item_knn;
extern const FitAlgorithm fit_sequence_knn;
extern const FitAlgorithm fit_session_knn;
extern const FitAlgorithm fit_user_knn;

/* Answers come from popular alone, as in serving.  Histories have no single
 * events, which a window would need. */
static void *
fit_popular_list(const FitInput *input)
{
	if (params_get(input->params, "window") > 0)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("models of algorithm \"popular\" with a window can not be evaluated"),
				errhint("Evaluate one without window, or compare recommend() with the items of a test table by recsys.recall_at_k()."));
	return NULL;
}

static const FitAlgorithm fit_popular = {.name = "popular",.fit = fit_popular_list};

static const FitAlgorithm *const algorithms[] = {
	&fit_als,
	&fit_gru4rec,
	&fit_item_knn,
	&fit_popular,
	&fit_sequence_knn,
	&fit_session_knn,
	&fit_user_knn,
};

const FitAlgorithm *
fit_algorithm(const char *name)
{
	for (int i = 0; i < (int) lengthof(algorithms); i++)
		if (strcmp(algorithms[i]->name, name) == 0)
			return algorithms[i];
	return NULL;
}
