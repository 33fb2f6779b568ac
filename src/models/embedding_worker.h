/*
 * embedding_worker.h
 *	  A trained model on the side of the stream worker: its tables, the version
 *	  that is loaded, and whether it is time for another training.  What algorithms do with
 *	  the vectors is their own affair.
 *
 * All of it happens in a transaction of the worker's.  Whoever changes the row of the
 * version holds a lock (embedding.h), and looks at it under a snapshot taken
 * afterwards.  So nothing is ever written for a version that a training has
 * replaced: in that case the new one is loaded, and what was to be written is
 * written for that one.
 *
 * An item that has lost its vector has an empty one in its row, which readers
 * that follow the publish numbers see; a row that is gone they would not.
 *
 * After TRUNCATE an empty version takes the place of the old one.  Were the row
 * deleted, the next training would begin with the numbers of old versions, which
 * readers know.
 */
#ifndef RECSYS_EMBEDDING_WORKER_H
#define RECSYS_EMBEDDING_WORKER_H

#include "postgres.h"

#include "models/embedding.h"
#include "models/model.h"

typedef struct EmbeddingWorker
{
	ModelHost  *host;
	const RecsysModel *model;
	double		retrain_interval;	/* seconds; 0: never */
	double		retrain_share;	/* of new events; 0: never */

	Oid			relid;			/* <model>_version */
	EmbeddingVersion version;	/* the row as last seen; version 0: none */
	bool		loaded;			/* its vectors are in memory */
	bool		look;			/* there may be a newer one */
	bool		voided;			/* by TRUNCATE; the row says so not yet */
	XLogRecPtr	void_lsn;		/* versions trained on less are void */
	bool		told;			/* vectors were written since embedding_worker_published() */

	/* rows of older versions */
	int32		old_version;	/* 0: none left */
	int32		old_item;		/* next one to delete */
} EmbeddingWorker;

/* The model's parameters have retrain_interval and retrain_share. */
extern void embedding_worker_open(EmbeddingWorker *w, ModelHost *host, const RecsysModel *model);
extern bool embedding_worker_published(EmbeddingWorker *w);

/* After the build of the rest: find the tables, and look. */
extern void embedding_worker_build(EmbeddingWorker *w);

/* The model's tables, kept from being dropped until the end of the transaction;
 * false: they are gone. */
extern bool embedding_worker_lock(EmbeddingWorker *w);

/*
 * Is there another version than the one loaded?  Then w->version is it, to be loaded
 * from the tables under the active snapshot; embedding_worker_end() at its end.  False: there
 * is none, and nothing to end.
 */
extern bool embedding_worker_begin(EmbeddingWorker *w, StateTable **versions);
extern void embedding_worker_end(EmbeddingWorker *w, StateTable *versions);

/* Every vector of w->version; an empty one is left out. */
extern void embedding_worker_read(EmbeddingWorker *w, void (*take) (void *arg, int32 item, const float *vector),
								  void *arg);

/*
 * Write vectors with the next publish number, as next() gives them (0: no more; *vector NULL: the item
 * has lost it), and a Gram matrix if it is not NULL.  False: the version has been replaced; look again.
 */
extern bool embedding_worker_write(EmbeddingWorker *w, int32 (*next) (void *arg, const float **vector),
								   void *arg, const float *gram);

/* TRUNCATE: an empty version takes the place of the one that there is. */
extern void embedding_worker_void(EmbeddingWorker *w);

/* Delete rows of older versions for a while.  False: some are left. */
extern bool embedding_worker_delete_old(EmbeddingWorker *w);

/* learnable: there is something to train on. */
extern TrainingNeed embedding_worker_need(const EmbeddingWorker *w, bool learnable, int64 events,
										  TimestampTz *due_at);

#endif							/* RECSYS_EMBEDDING_WORKER_H */
