/*
 * consumer.h
 *	  Consumers: what hangs on a source and is fed with its events as they are,
 *	  not with changes of histories.  Models that need sessions or baskets are
 *	  consumers, and so are metrics.
 *
 * A consumer names the columns of the events table that it needs.  Columns
 * that no consumer names are not looked at.  It gets every event that cleaning
 * accepts, those of types without weight included ("ignored"); an UPDATE comes
 * as a retraction and a new event.
 *
 * Exactly once: the worker keeps, in the table "consumers" of the source, from
 * which position on a consumer takes the stream, and the signature of the
 * declaration that its tables were filled for.  A consumer without such a row,
 * or with another signature, is filled from the events table under a
 * snapshot, in one transaction: reset(), event() for each row, write().  Until
 * that commits the old results serve; a crash before it begins anew.  From
 * then on write() runs in the transactions that store the source's position.
 *
 * What WAL does not hold reaches nobody: with an old row that lacks a column
 * that the consumer needs, neither the retraction nor the new event of the
 * UPDATE does, and "unmatched" of the consumer counts.  REPLICA IDENTITY FULL
 * holds everything.
 *
 * An event that was rejected because its time lay too far ahead reaches no
 * consumer.  Its retraction does not either, unless the time has come
 * meanwhile: whoever counts must not mind to be asked for what it never got.
 */
#ifndef RECSYS_CONSUMER_H
#define RECSYS_CONSUMER_H

#include "postgres.h"
#include "access/xlogdefs.h"
#include "nodes/pg_list.h"

#include "catalog/catalog.h"
#include "state/clean.h"
#include "state/extras.h"

struct ModelHost;

typedef struct ConsumerEvent
{
	const Event *event;			/* "time" is the commit's if none is mapped */
	int			sign;			/* +1 a row appears, -1 a row is retracted */
	/* the columns that were asked for, as text with a zero at the end, cut to
	 * EXTRA_MAX_TEXT bytes, in the order asked; NULL and length -1 for a null */
	const char *const *texts;
	const int  *lengths;
	int32		user,			/* with "numbers": those of users and items; 0 */
				item;			/* if they have none, as under ignored events */
	XLogRecPtr	lsn;			/* end of the transaction's commit */
	bool		backfill;		/* a row of the table, in no special order */
} ConsumerEvent;

/* What a catalogue table declares. */
typedef struct ConsumerDeclaration
{
	int32		id;				/* unique in its kind, never reused */
	int32		version;		/* another one: close() and open() anew */
	NameData	name;			/* for messages */
	void	   *data;			/* what declared() found */
} ConsumerDeclaration;

/*
 * A kind of consumer that is not a model; stream/feeds.c lists them.  Models
 * have the same callbacks in their ModelAlgorithm.  Callbacks may be NULL but
 * for declared, open, event, write and reset.
 *
 * The declaration and what is in it last for the call.  All but columns() run
 * in the stream worker, as the owner, in a transaction.  Tables of a consumer
 * that was dropped a moment ago may be gone: then it has nothing to do.
 */
typedef struct ConsumerAlgorithm
{
	const char *kind;			/* "metrics" */
	bool		numbers;		/* wants numbers of users and items */

	/* those of the source, of ConsumerDeclaration *, under the active snapshot */
	List	   *(*declared) (const RecsysSource *source);
	/* names of columns, of char *; no duplicates.  Also called when it is
	 * declared, see catalog_check_consumer_columns() */
	List	   *(*columns) (const RecsysSource *source, const ConsumerDeclaration *declaration);
	/* what, beside the columns, the filling of the tables depends on, or NULL */
	char	   *(*signature) (const RecsysSource *source, const ConsumerDeclaration *declaration);

	void	   *(*open) (struct ModelHost *host, const ConsumerDeclaration *declaration);
	void		(*close) (void *state);
	/* after open(), where the tables are right: read ahead what is wanted */
	void		(*load) (void *state);
	void		(*event) (void *state, const ConsumerEvent *event);
	/* dirty rows -> tables, in a transaction that stores the position */
	void		(*write) (void *state);
	/* right after that: drop what can be read again, down to so many bytes */
	void		(*evict) (void *state, Size target);
	Size		(*memory) (void *state);
	/* forget everything, in the tables as well (at the latest in write()):
	 * TRUNCATE, or a filling begins */
	void		(*reset) (void *state);
	/* user/item: the number, 0 if there is none */
	void		(*forget_user) (void *state, int32 user, const KeyValue *key);
	void		(*forget_item) (void *state, int32 item, const KeyValue *key);
} ConsumerAlgorithm;

/*
 * At the declaration: error unless each of the columns (char *) is a stored
 * column of the events table; a NOTICE if old rows in WAL will lack one.
 * "what" is "model" or the like.
 */
extern void catalog_check_consumer_columns(const RecsysSource *source, List *columns,
										   const char *what, const char *name);

#endif							/* RECSYS_CONSUMER_H */
