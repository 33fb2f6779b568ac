/*
 * collect.h
 *	  Between the callbacks of the output plugin and the spools: which relations
 *	  are the source's, and which records a change of one of their rows makes.
 */
#ifndef RECSYS_COLLECT_H
#define RECSYS_COLLECT_H

#include "postgres.h"
#include "access/htup.h"
#include "utils/relcache.h"

#include "stream/stream.h"

/* How much of an old row WAL holds. */
typedef enum OldRow
{
	OLD_ROW_NONE,				/* identity does not cover the mapped columns */
	OLD_ROW_COVERED,			/* mapped columns are part of the identity */
	OLD_ROW_FULL
} OldRow;

typedef struct RelationEntry
{
	Oid			relid;			/* hash key */
	EventMap   *map;			/* NULL: not of this source */
	OldRow		old_row;
	ExtraColumns *extras;		/* what consumers want; NULL: nothing */
	bool	   *extra_logged;	/* old rows have it */
} RelationEntry;
/* ---- relations.c ------------------------------------------------------- */

/* NULL if the relation is not of this source. */
extern RelationEntry *relations_find(Stream *s, Relation relation);

/* ---- collect.c: in the context of one change ----------------------------- */

extern void collect_insert(Stream *s, Spool *spool, RelationEntry *entry, HeapTuple row,
						   TransactionId xid);
/* rows that WAL does not hold are NULL */
extern void collect_delete(Stream *s, Spool *spool, RelationEntry *entry, HeapTuple row,
						   TransactionId xid);
extern void collect_update(Stream *s, Spool *spool, RelationEntry *entry, HeapTuple newrow,
						   HeapTuple oldrow, TransactionId xid);

#endif							/* RECSYS_COLLECT_H */
