/*
 * popular.c
 *	  popular: the same list for everybody.
 *
 * The list is part of every source (popular_items, written at each flush), so
 * the model needs no table and no state.  Without a callback that scores
 * items, serving answers from that list.
 */
#include "postgres.h"

#include "models/model.h"

static const ParamSpec popular_params[] = {
	{.name = NULL}
};

extern const ModelAlgorithm popular_algorithm;

const ModelAlgorithm popular_algorithm = {
	.name = "popular",
	.params = popular_params,
};
