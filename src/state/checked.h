/*
 * checked.h
 *	  Reading the tables of a source in backends.
 *
 * The tables belong to the owner of the source, who is no superuser and may
 * alter them.  What C reads must have the types that it expects, so opening a
 * table compares them, and reading an attribute looks at nulls and dimensions:
 * a table that is not as it was created is an error, never a crash.
 */
#ifndef RECSYS_CHECKED_H
#define RECSYS_CHECKED_H

#include "postgres.h"

#include "catalog/catalog.h"
#include "state/table.h"

/*
 * table_open_state() for reading.  The first ntypes columns have to have these
 * types, and the index has to start with column number "indexed".
 */
extern StateTable *checked_open(const RecsysSource *source, const char *relname,
								const char *indexname, int indexed,
								int ntypes, const Oid *types);

/* Error unless the first ntypes columns have these types. */
extern void checked_types(StateTable *t, int ntypes, const Oid *types);

/* The lock stays until the end of the transaction, as after a query. */
extern void checked_close(StateTable *t);

/* Attribute, from 1, of a row just read; it is NOT NULL. */
extern Datum checked_attribute(TupleTableSlot *slot, int attnum);

/* Elements of an array of at most one dimension without nulls. */
extern void *checked_array(Datum value, Oid element, int *n);

#endif							/* RECSYS_CHECKED_H */
