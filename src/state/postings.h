/*
 * postings.h
 *	  The newest sessions of each item, and how many sessions have it: tables that
 *	  a model owns.
 */
#ifndef RECSYS_STATE_POSTINGS_H
#define RECSYS_STATE_POSTINGS_H

#include "postgres.h"
#include "datatype/timestamp.h"

#include "state/sessions.h"
#include "state/table.h"

/* Sessions of a stored row, of which a new one rewrites the newest; 64 make a row of
 * 0.8 kB. */
#define POSTING_ROW_SIZE 64

/* Columns of the table, and their types. */
enum
{
	POSTING_ITEM, POSTING_FROM_TIME, POSTING_FROM_SESSION, POSTING_SESSIONS,
	POSTING_TIMES, POSTING_NCOLUMNS
};

extern const Oid posting_types[POSTING_NCOLUMNS];

typedef struct Postings
{
	Oid			nspid;
	char		relname[NAMEDATALEN];
	char		indexname[NAMEDATALEN];
	int32		limit;			/* sessions of an item that are kept, at least */
	bool		table_void;		/* rows in the table are obsolete */
} Postings;

extern void postings_init(Postings *p, Oid nspid, const char *relname, const char *indexname,
						  int32 limit);
/* Bring changes into the table; sorts them. */
extern void postings_write(Postings *p, ListingChange *changes, int n);

/* One stored row, read in place: sessions in the order of (time, number). */
typedef struct PostingRow
{
	int			n;
	const int32 *sessions;
	const TimestampTz *times;
} PostingRow;

extern void posting_row_read(TupleTableSlot *slot, PostingRow *row);

/* The rows of an item, the newest first. */
typedef struct PostingScan PostingScan;

extern PostingScan *posting_scan_begin(StateTable *t, Snapshot snapshot);
extern void posting_scan_item(PostingScan *scan, int32 item);
extern bool posting_scan_next(PostingScan *scan, PostingRow *row);
extern void posting_scan_end(PostingScan *scan);

#endif							/* RECSYS_STATE_POSTINGS_H */
