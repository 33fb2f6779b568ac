/*
 * spool.h
 *	  Changes that decoding has collected and that wait to be applied: records
 *	  in order, in memory up to a bound and in a temporary file beyond it.
 */
#ifndef RECSYS_SPOOL_H
#define RECSYS_SPOOL_H

#include "postgres.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "storage/buffile.h"
#include "utils/resowner.h"

#include "state/clean.h"

typedef enum RecordKind
{
	RECORD_BEGIN,				/* time and lsn (end) of the commit */
	RECORD_INSERT,
	RECORD_RETRACT,				/* old row of a delete or an update */
	RECORD_REPLACE,				/* new row of an update whose old one is unknown */
	RECORD_UNMATCHED,			/* a change that could not be followed */
	RECORD_UNKNOWN_EXTRAS,		/* an update that left the mapped columns as they
								 * were; bytes: which extras it may not have */
	RECORD_REJECT,				/* reason; bytes: EVENT_NTEXTS strings */
	RECORD_TRUNCATE,
	RECORD_FORGET_USER,			/* bytes: text of the key */
	RECORD_FORGET_ITEM,
	RECORD_ATTACH,				/* relid: what was attached */
	RECORD_REWRITE,				/* nothing but the transaction's ids count */
	RECORD_COMMIT,				/* lsn: end of the commit record; bytes: xids */
	RECORD_STREAMED				/* spool: a transaction's own spool; applied
								 * in place, between its BEGIN and COMMIT */
} RecordKind;

/*
 * Followed by the bytes: user key, item key, and the extras that the source's
 * consumers want, their lengths before them; or what the kind says.
 */
typedef struct SpoolRecord
{
	uint32		size;			/* of header and bytes, a multiple of 8 */
	uint8		kind;
	uint8		reason;
	bool		ignored;
	bool		extras_only;	/* half of an update of nothing but extras */
	TransactionId xid;			/* the (sub)transaction that made the change */
	Oid			relid;
	int32		user_len;		/* bytes */
	int32		item_len;
	double		weight;
	TimestampTz time;
	int64		user;			/* integer keys */
	int64		item;
	union
	{
		XLogRecPtr	lsn;
		struct StreamedTransaction *streamed;
	};
} SpoolRecord;

#define RECORD_BYTES(record) ((char *) (record) + sizeof(SpoolRecord))

typedef struct Spool
{
	MemoryContext context;
	ResourceOwner owner;		/* of the file, lives as long as the worker */
	char	   *buffer;			/* the newest records */
	Size		size;			/* of the buffer */
	Size		used;
	BufFile    *file;			/* older records than those in the buffer */
	int64		in_file;		/* bytes */
	int64		nrecords;
	/* reading: a run of records in memory, of the file or the buffer */
	int64		read;			/* bytes taken from the file */
	bool		in_buffer;		/* the run is the buffer, the last one */
	char	   *block;			/* what was read from the file */
	Size		block_size;
	char	   *run;
	Size		run_length;		/* bytes, may end in the middle of a record */
	Size		at;				/* next record in the run */
	Size		ahead;			/* and of spool_ahead() */
} Spool;

extern Spool *spool_create(MemoryContext parent, ResourceOwner owner);
/* A record of this size at the end, header zeroed, size filled in. */
extern SpoolRecord *spool_append(Spool *spool, RecordKind kind, Size nbytes);
extern void spool_rewind(Spool *spool);
extern SpoolRecord *spool_next(Spool *spool);	/* NULL at the end */
/* A record further on, to prepare for it; one per call, NULL where memory ends. */
extern SpoolRecord *spool_ahead(Spool *spool);
extern void spool_clear(Spool *spool);	/* empty again; keeps the buffer */
extern void spool_free(Spool *spool);
extern Size spool_memory(const Spool *spool);

#endif							/* RECSYS_SPOOL_H */
