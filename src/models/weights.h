/*
 * weights.h
 *	  The weights of a network as rows of <model>_weights: of one version, by name,
 *	  with their shape.
 *
 * A training writes those of the new version and deletes those of the old one in
 * the transaction that replaces the version; nobody changes them in between.
 */
#ifndef RECSYS_WEIGHTS_H
#define RECSYS_WEIGHTS_H

#include "postgres.h"
#include "utils/snapshot.h"

#include "catalog/catalog.h"
#include "state/table.h"

#define WEIGHTS_MAX_SHAPE 4

typedef struct ModelWeights
{
	const char *name;
	int			nshape;
	int32		shape[WEIGHTS_MAX_SHAPE];
	float	   *values;
} ModelWeights;

static inline Size
weights_count(const ModelWeights *w)
{
	Size		n = 1;

	for (int i = 0; i < w->nshape; i++)
		n *= w->shape[i];
	return n;
}

/* ModelAlgorithm callbacks of a model that has the tables of embedding.h and this one. */
extern char *weights_create_sql(const RecsysSource *source, const char *model);
extern char *weights_drop_sql(const RecsysSource *source, const char *model);

/* In the transaction that makes this the version: others' go. */
extern void weights_replace(const RecsysSource *source, const RecsysModel *model, int32 version,
							const ModelWeights *weights, int n);

/* Fills in the values of n weights of the names and shapes given.  False: the version has none;
 * error if they are not as a training wrote them. */
extern bool weights_read(const RecsysSource *source, const RecsysModel *model, Snapshot snapshot,
						 int32 version, const ModelWeights *weights, int n);

#endif							/* RECSYS_WEIGHTS_H */
