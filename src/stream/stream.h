/*
 * stream.h
 *	  The stream worker of one source.
 *
 * decode.c collects changes into the queue, apply.c brings them into the
 * caches of state/ and to the models, flush.c writes, backfill.c starts from
 * the table.  worker.c is the loop that calls them.
 */
#ifndef RECSYS_STREAM_H
#define RECSYS_STREAM_H

#include "postgres.h"
#include "access/xlogreader.h"
#include "replication/logical.h"
#include "utils/resowner.h"

#include "catalog/catalog.h"
#include "models/consumer.h"
#include "models/model.h"
#include "state/clean.h"
#include "state/items.h"
#include "state/profiles.h"
#include "state/users.h"
#include "state/xidset.h"
#include "stream/shared.h"
#include "stream/spool.h"

/* A transaction that arrives while it is still in progress. */
typedef struct StreamedTransaction
{
	TransactionId xid;			/* hash key */
	Spool	   *spool;
	int			naborted;		/* subtransactions rolled back */
	int			maxaborted;
	TransactionId *aborted;		/* sorted when the transaction commits */
	bool		touched;		/* rows of the source, changed or not */
} StreamedTransaction;

/*
 * A consumer as the worker feeds it, see models/consumer.h: a model with
 * event(), or one of a kind of its own.
 */
typedef struct Feed
{
	MemoryContext context;		/* of this and all it points to */
	const char *kind;
	int32		id;
	int32		version;
	NameData	name;
	char	   *signature;
	int			ncolumns;
	char	  **columns;		/* that it asked for */
	int		   *places;			/* of these among Stream.extras */
	const char **texts;			/* of the event that it is being fed */
	int		   *lengths;
	ConsumerAlgorithm calls;
	void		(*forget_item) (void *state, int32 item);	/* of a model */
	void	   *state;			/* of the algorithm */
	bool		live;			/* its tables are right, and it is fed */
	bool		filling;		/* ... with rows of the events table */
	bool		loaded;			/* load() or a filling is behind it */
	bool		row_dirty;		/* its row in "consumers" is not as it should be */
	XLogRecPtr	from;			/* it takes transactions that end after this */
	int64		unmatched;
} Feed;

/* How the models are measured, see quality.c. */
typedef struct Quality Quality;

/* A model as the worker runs it. */
typedef struct RunningModel
{
	RecsysModel *model;
	const ModelAlgorithm *algorithm;
	void	   *state;			/* of the algorithm */
	Feed	   *feed;			/* if it has event() */
	bool		built;			/* or filled */
	TimestampTz train_again;	/* not before, after a failure */
} RunningModel;

/* An attached partition whose rows up to "from" came by a backfill. */
typedef struct AttachedPartition
{
	Oid			relid;
	XLogRecPtr	from;
} AttachedPartition;

typedef struct Stream
{
	SourceShared *shared;
	MemoryContext context;		/* of everything that lasts */
	MemoryContext source_context;	/* of source; replaced when it is reloaded */
	MemoryContext scratch;		/* reset after each batch */
	MemoryContext change;		/* reset after each decoded change */
	ResourceOwner owner;		/* of temporary files */
	RecsysSource *source;
	NameData	slot;

	/* decoding */
	LogicalDecodingContext *decoder;
	MemoryContext decoder_context;
	struct HTAB *relations;		/* relid -> how its rows are read */
	bool		relations_stale;
	struct HTAB *streamed;		/* xid -> StreamedTransaction */
	StreamedTransaction *current;	/* inside a stream block */
	Spool	   *queue;
	int			nextras;		/* columns that consumers want, as decoded */
	char	  **extras;
	const char **extra_texts;	/* of the event at hand */
	int		   *extra_lengths;
	MemoryContext extras_context;
	bool		begun;			/* BEGIN of the current transaction is queued */
	XidSet	   *pending_horizon;	/* of a running-xacts record just read */
	bool		have_horizon;
	XidSet	   *finished;		/* transactions found to be over, or NULL */
	XLogRecPtr	finished_lsn;	/* they are applied once this is passed */

	/* state, in memory */
	Users	   *users;
	Items	   *items;
	Profiles   *profiles;
	XidSet	   *applied;
	XLogRecPtr	applied_lsn;	/* everything up to here is in memory */
	XLogRecPtr	flushed_lsn;	/* and up to here in the tables */
	XLogRecPtr	stored_lsn;		/* the position in the state row, which is not
								 * moved for WAL that has nothing of ours */
	int64		events;			/* applied, ever */
	int64		rejected;
	int64		unmatched;
	int64		reasons[REJECT_NREASONS];	/* rejected since the last flush */
	MemoryContext rejects_context;
	List	   *rejects;		/* newest rejected events not stored yet */
	bool		rejects_void;	/* those stored are obsolete */
	MemoryContext rereads_context;
	List	   *rereads;		/* explicit: (user, item) to read again */
	List	   *attached;		/* AttachedPartition */
	int32		landmark;
	bool		dirty;			/* memory is ahead of the tables */
	bool		writing;		/* the current transaction has written state */
	int			save_context;	/* of stream_begin() */
	Oid			save_user;
	ScoredItem *popular;		/* as in popular_items */
	int			npopular;

	/* models */
	ModelHost	host;
	List	   *models;			/* RunningModel */
	Quality    *quality;		/* NULL: models are not measured */
	List	   *feeds;			/* Feed: all consumers, models among them */
	bool		feeds_due;		/* one of them is not live, or decoding does not
								 * bring what they want: feeds_follow() */
	int			nlive;			/* that are fed */
	bool		suspended;		/* models are to be built again, see models_suspend() */
	bool		published_since_build;
	int			resyncs_seen;

	/* clocks of the loop */
	TimestampTz train_at;		/* when a training may become due */
	TimestampTz last_publish;
	TimestampTz last_flush;
	TimestampTz publish_cost;	/* us that the last one took */
	TimestampTz flush_cost;
	int64		events_at_rate; /* when the rate was last computed */
	bool		publish_due;	/* something changed since */
	TimestampTz commit_time;	/* of the transaction being applied */
} Stream;

/* ---- decode.c: WAL -> queue ------------------------------------------- */
extern void decode_start(Stream *s);
extern void decode_stop(Stream *s);
/* Reads up to the flush position or until the queue is full.  True if it
 * stopped before. */
extern bool decode_batch(Stream *s);
extern void decode_confirm(Stream *s, XLogRecPtr lsn);
extern XLogRecPtr decode_position(Stream *s);
extern void decode_check_visible(void);
extern StreamedTransaction *decode_streamed(Stream *s, TransactionId xid);
extern void decode_drop_streamed(Stream *s, StreamedTransaction *txn);

/* ---- relations.c: which relations are the source's -------------------- */
extern void relations_reset(Stream *s);
extern void plugin_current_stream(Stream *s);
extern int	stream_compare_xids(const void *a, const void *b);

/* ---- horizon.c: the applied set ----------------------------------------- */
extern void horizon_read(Stream *s, XLogReaderState *reader);
extern void horizon_advance(Stream *s);
extern void horizon_look(Stream *s);
extern void horizon_push_snapshot(Stream *s);	/* sees all that is applied */

/* ---- apply.c: queue -> memory ------------------------------------------ */
extern void apply_queue(Stream *s);
extern void apply_event(Stream *s, const Event *event, RecordKind kind);
extern void apply_read_event(Stream *s, SpoolRecord *record, Event *event);
/* r(u,i) changes to "after" with its count and time; everything follows. */
extern void apply_change(Stream *s, Profile *p, int32 item, double after,
						 int32 count, TimestampTz time);
extern void apply_rescale(Stream *s, TimestampTz time);
extern double apply_decayed_weight(Stream *s, const Event *event);

/* ---- forget.c ----------------------------------------------------------- */
extern void apply_forget_user(Stream *s, const char *text, XLogRecPtr lsn);
extern void apply_forget_item(Stream *s, const char *text, XLogRecPtr lsn);
extern void apply_truncate(Stream *s, XLogRecPtr lsn);

/* ---- reread.c: explicit ratings whose last row was deleted -------------- */
extern void reread_later(Stream *s, int32 user, int32 item,
						 const KeyValue *user_key, const KeyValue *item_key);
extern void reread_all(Stream *s);

/* ---- flush.c: memory -> tables ------------------------------------------ */
extern void stream_begin(Stream *s);	/* a transaction of the worker's */
extern void stream_enter(Stream *s);	/* second half of stream_begin() */
extern void stream_commit(Stream *s);
extern void stream_renew_snapshot(Stream *s);	/* sees what we have written */
extern void flush_dirty(Stream *s);		/* writes, within a transaction */
extern void flush_write(Stream *s);		/* and the position, within a transaction */
extern void flush_finish(Stream *s);	/* and commit, confirm */
extern void flush(Stream *s);			/* all of it, in a transaction of its own */
extern bool publish_write(Stream *s, bool all);	/* within a transaction */
extern void publish(Stream *s, bool all);	/* own transaction */
extern void stream_evict(Stream *s, Size limit);	/* right after flush_dirty() */
extern void state_write(Stream *s);
extern bool state_read(Stream *s);		/* false: no state row yet */
extern Size stream_memory(Stream *s);
extern Size stream_models_cached(Stream *s);

/* ---- rejects.c: rejected events ------------------------------------------ */
extern void reject_keep(Stream *s, RejectReason reason, char **texts);
extern void rejects_write(Stream *s);
extern void rejects_forget(Stream *s, bool user, const char *key);

/* ---- popular_items.c ------------------------------------------------------- */
extern void popular_items_write(Stream *s);

/* ---- backfill.c ----------------------------------------------------------- */
extern void backfill_source(Stream *s);	/* slot, snapshot, table -> state */
extern void backfill_resync(Stream *s);
extern void backfill_partition(Stream *s, Oid relid);
extern void backfill_feeds(Stream *s);	/* consumers that came later */

/* ---- backfill_read.c: the table under the active snapshot -> state -------- */
extern void backfill_read(Stream *s);
extern void backfill_read_feeds(Stream *s);	/* for consumers alone */
extern List *backfill_leaves(Oid relid);	/* tables with storage below relid */
extern void backfill_reject(Stream *s, EventMap *map, struct TupleTableSlot *slot,
							RejectReason reason);

/* ---- running.c: models of the source -------------------------------------- */
extern void models_reload(Stream *s);
extern void models_build(Stream *s);	/* those not built yet */
extern void models_suspend(Stream *s);
extern void models_change(Stream *s, const ProfileChange *change);
extern bool models_ready(Stream *s);
extern bool models_await_training(Stream *s);
extern void models_train(Stream *s);	/* start trainings that are due */
extern void models_published(Stream *s);
extern void models_close(Stream *s);

/* ---- feeds.c: consumers of the source -------------------------------------- */
extern void feeds_reload(Stream *s);	/* inside a transaction: follow the catalogue */
extern void feeds_close_all(Stream *s);
extern void feed_free(Feed *feed);
extern void feeds_install_columns(Stream *s);	/* while nothing is decoded */
extern bool feeds_columns_changed(Stream *s);
extern void feeds_begin_filling(Stream *s, XLogRecPtr lsn, bool all);
extern void feeds_end_filling(Stream *s);
extern void feed_suspend(Stream *s, Feed *feed);
extern void feeds_write_rows(Stream *s);

/* ---- feed.c: events -> consumers -------------------------------------------- */
extern void feeds_event(Stream *s, SpoolRecord *record, const Event *event, XLogRecPtr lsn);
extern void feeds_unmatched(Stream *s, const SpoolRecord *record, XLogRecPtr lsn);
extern void feeds_row(Stream *s, ExtraColumns *extras, const Event *event,
					  const Datum *values, const bool *isnull, bool filling, XLogRecPtr lsn);
extern void feeds_attach(Stream *s, XLogRecPtr lsn);
extern void feeds_reset(Stream *s, XLogRecPtr lsn);
extern void feeds_forget_user(Stream *s, int32 user, const KeyValue *key, XLogRecPtr lsn);
extern void feeds_forget_item(Stream *s, int32 item, const KeyValue *key, XLogRecPtr lsn);
extern void feeds_write(Stream *s);
extern Size feeds_memory(Stream *s);
extern Size feeds_cached(Stream *s);	/* of those that can do with less */
extern void feeds_evict(Stream *s, Size target);

/* ---- quality.c: measuring the models by the events -------------------------- */
extern void quality_reload(Stream *s);	/* inside a transaction, after models_reload() */
extern void quality_close(Stream *s);
extern void quality_event(Stream *s, const Event *event, XLogRecPtr lsn);
extern void quality_write(Stream *s);

/* ---- worker.c ---- */
extern void stream_create_state(Stream *s);	/* empty caches */
extern void stream_drop_state(Stream *s);

#endif							/* RECSYS_STREAM_H */
