/*
 * fit.c
 *	  The algorithms that can be evaluated, see fit.h.
 */
#include "postgres.h"

#include "train/fit.h"

extern const FitAlgorithm fit_als;
extern const FitAlgorithm fit_item_knn;
extern const FitAlgorithm fit_sequence_knn;
extern const FitAlgorithm fit_user_knn;

/* Answers come from popular alone, as in serving. */
static const FitAlgorithm fit_popular = {.name = "popular"};

static const FitAlgorithm *const algorithms[] = {
	&fit_als,
	&fit_item_knn,
	&fit_popular,
	&fit_sequence_knn,
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
