/*
 * als_version.h
 *	  als on the side of the stream worker: what its files share.
 *
 * als_online.c follows the stream and solves; als_version.c reads and writes the
 * tables of the version.
 */
#ifndef RECSYS_ALS_VERSION_H
#define RECSYS_ALS_VERSION_H

#include "postgres.h"

#include "compat.h"
#include "models/als.h"
#include "models/embedding_worker.h"
#include "numeric/als_online.h"

/* A change, for a version whose training has not seen it. */
typedef struct LoggedChange
{
	XLogRecPtr	lsn;			/* end of its transaction */
	int32		item;
} LoggedChange;

typedef struct AlsModel
{
	EmbeddingWorker w;
	MemoryContext context;
	Allocator	allocator;
	AlsOnline  *online;
	int64		users;			/* with a history */
	TimestampTz gram_at;		/* when the matrix was last written */

	/* ring of the newest changes, complete after log_from */
	LoggedChange *log;
	uint32		log_head,
				log_tail,
				log_max;
	XLogRecPtr	log_from;
} AlsModel;

/* No memory. */
pg_noreturn extern void als_no_memory(AlsModel *m);

/* ---- als_version.c; all in a transaction of the worker's */

/* If there is another version than the one loaded, load it. */
extern void als_follow_version(AlsModel *m);

/*
 * Write what is dirty, with the next publish number; the Gram matrix too, if it
 * has moved and "gram".  False: the version has been replaced; look again.
 */
extern bool als_write_vectors(AlsModel *m, bool gram);

/* TRUNCATE: an empty version takes the place of the one that there is. */
extern void als_write_void(AlsModel *m);

/* ---- als_online.c */

/* Changes that the version's training has not seen have touched their items. */
extern void als_replay(AlsModel *m);

#endif							/* RECSYS_ALS_VERSION_H */
