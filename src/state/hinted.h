/*
 * hinted.h
 *	  Reading many rows of a state table by number, with a memory of where
 *	  they lie.
 */
#ifndef RECSYS_HINTED_H
#define RECSYS_HINTED_H

#include "postgres.h"

#include "state/table.h"

typedef struct HintedReader HintedReader;

/* The first column of t is an int4 primary key, its index is open. */
extern HintedReader *hinted_begin(StateTable *t, Snapshot snapshot);
/* As table_get(); the slot is t->slot and valid until the next call. */
extern TupleTableSlot *hinted_get(HintedReader *reader, int32 key);
extern void hinted_end(HintedReader *reader);

#endif							/* RECSYS_HINTED_H */
