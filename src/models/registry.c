/*
 * registry.c
 *	  The algorithms that there are.  A new one is a file with a
 *	  ModelAlgorithm, and a line here.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "models/model.h"

extern const ModelAlgorithm als_algorithm;
extern const ModelAlgorithm baskets_algorithm;
extern const ModelAlgorithm gru4rec_algorithm;
extern const ModelAlgorithm item_knn_algorithm;
extern const ModelAlgorithm popular_algorithm;
extern const ModelAlgorithm sequence_knn_algorithm;
extern const ModelAlgorithm session_knn_algorithm;
extern const ModelAlgorithm trending_algorithm;
extern const ModelAlgorithm user_knn_algorithm;

static const ModelAlgorithm *const algorithms[] = {
	&als_algorithm,
	&baskets_algorithm,
	&gru4rec_algorithm,
	&item_knn_algorithm,
	&popular_algorithm,
	&sequence_knn_algorithm,
	&session_knn_algorithm,
	&trending_algorithm,
	&user_knn_algorithm,
};

static char *
algorithm_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(algorithms); i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", algorithms[i]->name);
	return names.data;
}

const ModelAlgorithm *
model_algorithm(const char *name)
{
	for (int i = 0; i < (int) lengthof(algorithms); i++)
		if (strcmp(algorithms[i]->name, name) == 0)
			return algorithms[i];
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("algorithm \"%s\" is unknown", name),
			 errhint("Use one of: %s.", algorithm_names())));
	return NULL;				/* not reached */
}
