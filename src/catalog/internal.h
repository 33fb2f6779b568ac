/*
 * internal.h
 *	  What the files of catalog/ share: the columns of the catalogue tables,
 *	  access to their rows, and the checks of declarations.
 *
 * Functions that change declarations read with snapshot NULL, the newest
 * committed state plus everything this transaction has done, and hold
 * ShareUpdateExclusiveLock on the source.
 */
#ifndef RECSYS_CATALOG_INTERNAL_H
#define RECSYS_CATALOG_INTERNAL_H

#include "postgres.h"
#include "access/htup.h"
#include "catalog/catalog.h"
#include "fmgr.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#define RECSYS_SCHEMA "recsys"

/* Columns of recsys.source, in order: its attribute numbers. */
enum
{
	SOURCE_ID = 1,
	SOURCE_NAME,
	SOURCE_OWNER,
	SOURCE_EVENTS,
	SOURCE_USER_COLUMN,
	SOURCE_ITEM_COLUMN,
	SOURCE_TYPE_COLUMN,
	SOURCE_VALUE_COLUMN,
	SOURCE_TIME_COLUMN,
	SOURCE_SESSION_COLUMN,
	SOURCE_WEIGHTS,
	SOURCE_FEEDBACK,
	SOURCE_HISTORY_LIMIT,
	SOURCE_HALF_LIFE,
	SOURCE_ACCEPT_RLS,
	SOURCE_PAUSED_FLAG,
	SOURCE_CREATED_AT,
	SOURCE_RESYNCS,
	SOURCE_MESSAGE_KEY,
	SOURCE_NATTS = SOURCE_MESSAGE_KEY
};

/* Columns of recsys.model, likewise. */
enum
{
	MODEL_ID = 1,
	MODEL_SOURCE_ID,
	MODEL_NAME,
	MODEL_ALGORITHM,
	MODEL_PARAMS,
	MODEL_IS_DEFAULT,
	MODEL_STATE,
	MODEL_VERSION,
	MODEL_FALLBACK,
	MODEL_NATTS = MODEL_FALLBACK
};

/* Columns of recsys.metrics_declaration, likewise. */
enum
{
	METRICS_SOURCE_ID = 1,
	METRICS_IMPRESSION,
	METRICS_CLICK,
	METRICS_CONVERSION,
	METRICS_AMOUNT_COLUMN,
	METRICS_ORDER_COLUMN,
	METRICS_RATING_TYPE,
	METRICS_RATING_COLUMN,
	METRICS_DIMENSIONS,
	METRICS_BUCKET,
	METRICS_ALLOWED_LATENESS,
	METRICS_MAX_COMBINATIONS,
	METRICS_SATISFIED_FROM,
	METRICS_ROLLUP_AFTER,
	METRICS_ROLLUP_BUCKET,
	METRICS_EXPIRE_AFTER,
	METRICS_VERSION,
	METRICS_ID,
	METRICS_NATTS = METRICS_ID
};

/* Columns of recsys.experiment, likewise. */
enum
{
	EXPERIMENT_ID = 1,
	EXPERIMENT_SOURCE_ID,
	EXPERIMENT_NAME,
	EXPERIMENT_SALT,
	EXPERIMENT_VARIANTS,
	EXPERIMENT_SHARES,
	EXPERIMENT_MODELS,
	EXPERIMENT_TRAFFIC,
	EXPERIMENT_MIN_LIFT,
	EXPERIMENT_SIGNIFICANCE,
	EXPERIMENT_POWER,
	EXPERIMENT_STARTED_AT,
	EXPERIMENT_STOPPED_AT,
	EXPERIMENT_WINNER,
	EXPERIMENT_NATTS = EXPERIMENT_WINNER
};

/* Columns of recsys.quality, likewise. */
enum
{
	QUALITY_SOURCE_ID = 1,
	QUALITY_SAMPLE,
	QUALITY_K,
	QUALITY_MODELS,
	QUALITY_PER_MINUTE,
	QUALITY_KEEP,
	QUALITY_NATTS = QUALITY_KEEP
};

/* --- rows of the catalogue tables (store.c) ------------------------------- */
typedef struct CatalogRow
{
	Datum		values[SOURCE_NATTS + 1];	/* by number of column; [0] is unused */
	bool		nulls[SOURCE_NATTS + 1];
	ItemPointerData tid;
} CatalogRow;

typedef enum CatalogKey
{
	BY_SOURCE_ID,				/* one row of recsys.source */
	BY_SOURCE_NAME,
	ALL_SOURCES,
	BY_MODEL_ID,				/* one row of recsys.model */
	BY_MODEL_SOURCE,			/* the rows of a source */
	BY_METRICS_SOURCE,			/* one row of recsys.metrics_declaration */
	BY_EXPERIMENT_SOURCE,		/* likewise, of recsys.experiment */
	BY_QUALITY_SOURCE			/* one row of recsys.quality */
} CatalogKey;

extern Oid	store_relation(const char *name);
extern Oid	store_relation_missing_ok(const char *name);
extern List *store_read(CatalogKey by, Datum key, Snapshot snapshot);	/* of CatalogRow * */
extern void store_insert(const char *table, CatalogRow *row);
extern void store_update(const char *table, CatalogRow *row);
extern void store_delete(const char *table, CatalogRow *row);
extern int32 store_nextval(const char *sequence);

/* --- sources (source_read.c) ---------------------------------------------- */
extern CatalogRow *source_row(const char *name, bool missing_ok);
extern RecsysSource *source_from_row(const CatalogRow *row);

extern void source_schema_is_gone(const char *name);

/* The row of a source that the caller may change, locked for that. */
extern CatalogRow *source_row_for_change(const char *function, Name name, LOCKMODE lockmode);

/* --- models (model_read.c) ------------------------------------------------ */
#define MODEL_STATE_BUILDING "building"
#define MODEL_STATE_READY "ready"

extern RecsysModel *model_from_row(const CatalogRow *row);
extern void model_does_not_exist(const RecsysSource *source, const char *name);

/* --- metrics (metrics_read.c, metrics_check.c) ---------------------------- */
extern RecsysMetrics *metrics_from_row(const CatalogRow *row, const RecsysSource *source);
extern int64 metrics_interval(const Interval *interval);
extern void check_metrics(const RecsysSource *source, const CatalogRow *row);

/* --- experiments (experiment_read.c) -------------------------------------- */
extern RecsysExperiment *experiment_from_row(const CatalogRow *row);
extern char **experiment_names(Datum array, int *n);
extern CatalogRow *find_experiment_row(const RecsysSource *source, const char *name);
extern void check_no_experiment(const RecsysSource *source, const char *name);
extern void check_model_unused(const RecsysSource *source, const char *model);

/* --- arguments of SQL functions and their rules (options.c) --------------- */
extern void begin_change(const char *function);
extern void check_new_name(const char *kind, const char *name);
extern void check_source_name(const char *name);
extern bool weights_are_null(Jsonb *weights);
extern EventWeight *weights_parse(Jsonb *weights, int *nweights);
extern double half_life_seconds(const Interval *half_life);
extern void check_options(const CatalogRow *row);

/* --- the events table (table_check.c, table_advice.c) --------------------- */
extern void check_events_table(Oid relid, bool accept_rls);
extern void check_events_columns(const CatalogRow *row);
extern void check_session_column(Oid relid, const char *column);
extern void check_metrics_column(Oid relid, const char *column, const char *argument,
								 bool number);
extern List *events_leaves(Oid relid);
extern void advise_index(Oid relid, const char *column);
extern void advise_replica_identity(const CatalogRow *row);

/* --- what the server must have (resources.c) ------------------------------ */
extern void check_server(void);
extern void check_resources(void);

/* --- the schema of a source (schema.c) ------------------------------------ */
extern void source_schema_create(const CatalogRow *row);
extern void source_schema_drop(const RecsysSource *source);

/* --- rights (access.c) ---------------------------------------------------- */
extern bool catalog_any_row_as(Oid role, const char *sql);
extern void catalog_lock_extension(void);
extern bool catalog_lock_source_to_drop(int32 source_id);
extern bool catalog_try_lock_source(int32 source_id);
extern void catalog_changed(void);

#endif							/* RECSYS_CATALOG_INTERNAL_H */
