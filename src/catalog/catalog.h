/*
 * catalog.h
 *	  Sources and models as they are declared: the rows of recsys.source and
 *	  recsys.model, and what can be derived from them.
 *
 * Reading is done with index scans under the active snapshot, so that a query
 * sees one state of the declarations; without an active snapshot, under a
 * fresh one.
 */
#ifndef RECSYS_CATALOG_H
#define RECSYS_CATALOG_H

#include "postgres.h"
/* The server has a catalog/catalog.h too, and its utils/rel.h includes it. */
#include_next "catalog/catalog.h"
#include "access/sdir.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "datatype/timestamp.h"
#include "utils/jsonb.h"

/* "<name>_neighbors" and the like must fit into NAMEDATALEN */
#define RECSYS_MAX_NAME 40

/*
 * A weight, contribution or rating of a larger amount is rejected.  Sums of squares
 * stay within the range of float in the pair store then, and one typing error
 * does not swallow everybody else's events for ever.
 */
#define RECSYS_MAX_AMOUNT 1e9

/* Columns by whose values metrics are counted apart. */
#define RECSYS_MAX_DIMENSIONS 8

typedef enum KeyKind
{
	KEY_INT,					/* int2, int4, int8; an int64 in memory */
	KEY_TEXT,					/* text, varchar */
	KEY_UUID
} KeyKind;

/* One key column of the events table.  The type is the one that the source
 * was created with, as its own users and items tables have it; InvalidOid if
 * those are gone.  catalog_check_events() compares it with the events. */
typedef struct KeyColumn
{
	NameData	name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	KeyKind		kind;
} KeyColumn;

typedef struct EventWeight
{
	char	   *event_type;
	double		weight;
} EventWeight;

/* A row of recsys.source, resolved. */
typedef struct RecsysSource
{
	int32		id;				/* never reused */
	NameData	name;			/* also the name of its schema */
	Oid			nspid;			/* the schema; InvalidOid if it is gone or no
								 * longer belongs to the owner */
	Oid			owner;
	Oid			events;			/* the registered table (root if partitioned) */
	KeyColumn	user;
	KeyColumn	item;
	char	   *type_column;	/* NULL where not mapped */
	char	   *value_column;
	char	   *time_column;
	char	   *session_column;
	bool		explicit_feedback;
	int			history_limit;
	double		half_life;		/* seconds, 0 = no decay */
	bool		has_weights;	/* false: every event weighs 1 */
	int			nweights;
	EventWeight *weights;
	bool		accept_rls;		/* row-level security on events is accepted */
	bool		paused;
	int32		resyncs;		/* counts the requests to rebuild the state */
	uint8		message_key[16];	/* secret, see stream/messages.c */
} RecsysSource;

typedef enum ModelState
{
	MODEL_BUILDING,				/* answers from popular */
	MODEL_READY
} ModelState;

/* A row of recsys.model. */
typedef struct RecsysModel
{
	int32		id;				/* never reused */
	int32		source_id;
	NameData	name;
	char	   *algorithm;
	Jsonb	   *params;			/* complete: defaults filled in */
	bool		is_default;
	ModelState	state;
	int32		version;		/* grows by one whenever params change */
	int32		fallback;		/* place among those that fill up answers of
								 * others; 0: not among them */
} RecsysModel;

/* A row of recsys.metrics_declaration: which metrics of a source are kept. */
typedef struct RecsysMetrics
{
	int32		id;				/* never reused: tracking anew gives a new one */
	int			nimpressions;	/* event types, each unique in its list */
	char	  **impressions;
	int			nclicks;
	char	  **clicks;
	int			nconversions;
	char	  **conversions;
	char	   *amount_column;	/* NULL where not mapped */
	char	   *order_column;	/* NULL: every conversion is an order */
	bool		has_ratings;
	char	   *rating_type;	/* NULL: every event is a rating, if has_ratings */
	char	   *rating_column;	/* the source's value column, unless given */
	double		satisfied_from;
	int			ndimensions;
	char	  **dimensions;		/* names of columns */
	int64		bucket;			/* microseconds, as the rest */
	int64		allowed_lateness;
	int			max_combinations;
	int64		rollup_after;	/* 0: never */
	int64		rollup_bucket;
	int64		expire_after;	/* 0: never */
	int32		version;		/* grows by one whenever anything changes */
} RecsysMetrics;

/* A row of recsys.quality: how the models of a source are measured. */
typedef struct RecsysQuality
{
	double		sample;			/* share of the events */
	int			k;
	List	   *models;			/* names, of char *; NIL: all */
	int			per_minute;		/* events at most */
	int64		keep;			/* microseconds; 0: for ever */
} RecsysQuality;

/* NULL if it is not measured. */
extern RecsysQuality *catalog_quality(const RecsysSource *source);

/* The metrics that are kept of a source; NULL if none are. */
extern RecsysMetrics *catalog_metrics(const RecsysSource *source);

/* A row of recsys.experiment.  The first variant is the control. */
typedef struct RecsysExperiment
{
	int32		id;
	int32		source_id;
	NameData	name;
	char	   *salt;			/* hashed with the key of a user */
	int			nvariants;
	char	  **variants;
	char	  **models;			/* NULL: the source's default one */
	int32	   *shares;			/* in millionths, see numeric/assign.h */
	int32		traffic;		/* of all users, in millionths */
	double		min_lift;		/* relative change that is to be found */
	double		significance;
	double		power;
	TimestampTz started_at;
	bool		stopped;
	TimestampTz stopped_at;		/* if stopped */
	int			winner;			/* whose model everybody gets then */
} RecsysExperiment;

/* All allocate in CurrentMemoryContext. */
extern RecsysSource *catalog_source_by_name(const char *name, bool missing_ok);
extern RecsysSource *catalog_source_by_id(int32 id, bool missing_ok);
extern RecsysSource *catalog_source_by_schema(Oid nspid, bool missing_ok);
extern List *catalog_sources(void);				/* of RecsysSource * */
extern List *catalog_models(int32 source_id);	/* of RecsysModel *, by id */
extern List *catalog_experiments(int32 source_id);	/* of RecsysExperiment *, by id */
/* Unknown: NULL, or ERRCODE_UNDEFINED_OBJECT. */
extern RecsysExperiment *catalog_experiment(const RecsysSource *source, const char *name,
											bool missing_ok);

/* NULL name = the default model.  Unknown: ERRCODE_UNDEFINED_OBJECT. */
extern RecsysModel *catalog_model(const RecsysSource *source, const char *name);

/*
 * Written by the stream worker when a model has been published completely.
 * Does nothing if the model is gone or its params have changed since
 * "version" was read.  False: someone is changing this source's models and
 * has not committed yet; try again later.
 */
extern bool catalog_set_model_state(int32 model_id, int32 version, ModelState state);

/* True if recsys is an extension of this database (catalogue read only). */
extern bool catalog_extension_exists(void);

/*
 * Lock a source until the end of the transaction; false if it does not exist
 * (any more).  A transaction that writes the tables of a source first takes
 * AccessShareLock, which also keeps the schema and the extension from being
 * dropped, and is an error if the schema is gone; declarations are changed
 * under ShareUpdateExclusiveLock; drop_source() takes AccessExclusiveLock.
 * So dropping never deadlocks with the worker over the tables.
 */
extern bool catalog_lock_source(int32 source_id, LOCKMODE lockmode);

/*
 * Error unless the registered table is still what create_source() accepted:
 * exists, belongs to the owner, has the mapped columns with fitting types, is
 * readable under row-level security as declared.
 */
extern void catalog_check_events(const RecsysSource *source);

/*
 * Make the schema of a source depend on the extension.  create_source() does
 * that; a dump does not carry it, so whoever finds a restored source (state
 * of another system or database) does it again.
 */
extern void catalog_bind_schema(Oid nspid);

/* False if columns of that type can't be keys. */
extern bool key_kind_of(Oid type, KeyKind *kind);

/* schema.table, each quoted where it must be */
extern char *quoted_relation(Oid relid);

/* OID of relation "name" in the schema of the source; error if it is gone. */
extern Oid	catalog_relation(const RecsysSource *source, const char *name);

/* Error unless the current user has the role of the source's owner. */
extern void catalog_check_owner(const RecsysSource *source);

/*
 * Run SQL by SPI as "role" in a security-restricted context, with search_path
 * = pg_catalog.  BOOTSTRAP_SUPERUSERID for what only superusers may do, such
 * as CREATE FUNCTION ... LANGUAGE c.
 */
extern void catalog_execute_as(Oid role, const char *sql);

/* Name of the slot of a source of this database; buf of NAMEDATALEN bytes. */
extern void catalog_slot_name(int32 source_id, char *buf);

/*
 * The btree index of relid, valid and not partial, whose first column is
 * attribute attnum with the type's default ordering, that finds newest rows
 * best (time_attnum: the time column, or 0), and the direction in which it
 * does; InvalidOid if there is none.
 */
extern Oid	catalog_index_on(Oid relid, AttrNumber attnum, AttrNumber time_attnum,
							 ScanDirection *newest_first);

/* Error unless the argument has a value. */
extern void catalog_require_argument(FunctionCallInfo fcinfo, int argno, const char *name);

#endif							/* RECSYS_CATALOG_H */
