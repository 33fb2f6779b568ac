/*
 * embedding.h
 *	  What embedding models have in common: a trained version of vectors of
 *	  items in two tables, <model>_version and <model>_factors.
 *
 * A version is written by a training in one transaction and replaces the one
 * before.  Between trainings the stream worker overwrites single vectors; each
 * time it does, "publish" grows, in the rows that it writes and in the row of the
 * version.  So a reader finds what is new to him by the index on publish.
 *
 * Whoever commits a change of the version row, a training's swap or the stream
 * worker's publish, holds ShareRowExclusiveLock on <model>_version from before it reads
 * that row until the commit.
 */
#ifndef RECSYS_EMBEDDING_H
#define RECSYS_EMBEDDING_H

#include "postgres.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "utils/snapshot.h"

#include "catalog/catalog.h"
#include "state/table.h"

/* Longest vector: it has to fit on a page, plainly. */
#define EMBEDDING_MAX_DIM 1025

/* A row of <model>_version, without its matrices. */
typedef struct EmbeddingVersion
{
	int32		version;
	int64		publish;		/* newest */
	int32		params_version; /* RecsysModel.version it was trained with */
	TimestampTz trained_at;
	XLogRecPtr	applied_lsn;	/* what it was trained on */
	int64		events;			/* of the source by then */
	double		seconds;		/* that the training took */
	int32		users;
	int32		items;
	int64		interactions;
	int32		dim;			/* length of a vector */
	double		loss;
	double		mean;			/* of ratings; 0 if feedback is implicit */
} EmbeddingVersion;

/* Columns, from 1. */
enum
{
	VERSION_VERSION = 1, VERSION_PUBLISH, VERSION_PARAMS_VERSION, VERSION_TRAINED_AT,
	VERSION_APPLIED_LSN, VERSION_EVENTS, VERSION_SECONDS, VERSION_USERS, VERSION_ITEMS,
	VERSION_INTERACTIONS, VERSION_DIM, VERSION_LOSS, VERSION_MEAN,
	VERSION_ITEM_GRAM, VERSION_USER_GRAM, VERSION_NCOLUMNS = VERSION_USER_GRAM
};
enum
{
	FACTORS_VERSION = 1, FACTORS_ITEM, FACTORS_PUBLISH, FACTORS_VECTOR,
	FACTORS_NCOLUMNS = FACTORS_VECTOR
};

/* ModelAlgorithm callbacks. */
extern char *embedding_create_sql(const RecsysSource *source, const char *model);
extern char *embedding_drop_sql(const RecsysSource *source, const char *model);
extern char *embedding_factors_sql(const RecsysSource *source, const char *model);

/* Names of tables and indexes, palloc'd. */
extern char *embedding_table(const RecsysModel *model, const char *suffix);

/*
 * Tables opened with their types checked, by primary key (version), or for factors
 * by (version, item) or, with by_publish, by (version, publish).  Close with
 * checked_close().
 */
extern StateTable *embedding_open_version(const RecsysSource *source, const RecsysModel *model);
extern StateTable *embedding_open_factors(const RecsysSource *source, const RecsysModel *model,
										  bool by_publish);

/* The version that the snapshot sees; false if there is none yet.  With
 * matrix columns: a palloc'd copy of the real[] there (dim * dim) or NULL. */
extern bool embedding_read_version(StateTable *versions, Snapshot snapshot, EmbeddingVersion *version);
extern float *embedding_read_matrix(StateTable *versions, Snapshot snapshot, int32 version, int column);

/* The vector in a row of factors, in place; error if it has not dim elements. */
extern const float *embedding_vector(TupleTableSlot *slot, int dim);

#endif							/* RECSYS_EMBEDDING_H */
