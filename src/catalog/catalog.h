/*
 * catalog.h
 *	  Sources and models as they are declared: the rows of recsys.source and
 *	  recsys.model, and what can be derived from them.
 *
 * Reading is done with index scans under the snapshot that the caller has
 * active, so that a function sees the declarations of its own transaction.
 */
#ifndef RECSYS_CATALOG_H
#define RECSYS_CATALOG_H

#include "postgres.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* "<name>_neighbors" and the like must fit into NAMEDATALEN */
#define RECSYS_MAX_NAME 40

typedef enum KeyKind
{
	KEY_INT,					/* int2, int4, int8; an int64 in memory */
	KEY_TEXT,					/* text, varchar */
	KEY_UUID
} KeyKind;

/* One key column of the events table. */
typedef struct KeyColumn
{
	NameData	name;
	Oid			type;			/* type of the column */
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
	Oid			nspid;			/* the schema */
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
	bool		paused;
} RecsysSource;

typedef enum ModelState
{
	MODEL_BUILDING,				/* answers from popular */
	MODEL_READY
} ModelState;

/* A row of recsys.model. */
typedef struct RecsysModel
{
	int32		id;
	int32		source_id;
	NameData	name;
	char	   *algorithm;
	Jsonb	   *params;			/* complete: defaults filled in */
	bool		is_default;
	ModelState	state;
} RecsysModel;

/* All allocate in CurrentMemoryContext. */
extern RecsysSource *catalog_source_by_name(const char *name, bool missing_ok);
extern RecsysSource *catalog_source_by_id(int32 id, bool missing_ok);
extern RecsysSource *catalog_source_by_schema(Oid nspid, bool missing_ok);
extern List *catalog_sources(void);				/* of RecsysSource * */
extern List *catalog_models(int32 source_id);	/* of RecsysModel *, by id */

/* NULL name = the default model.  Unknown: ERRCODE_UNDEFINED_OBJECT. */
extern RecsysModel *catalog_model(const RecsysSource *source, const char *name);

/* Written by the stream worker when a model has been published completely. */
extern void catalog_set_model_state(int32 model_id, ModelState state);

/* True if recsys is an extension of this database (catalogue read only). */
extern bool catalog_extension_exists(void);

/* OID of relation "name" in the schema of the source; error if it is gone. */
extern Oid	catalog_relation(const RecsysSource *source, const char *name);

/* Error unless the current user has the role of the source's owner. */
extern void catalog_check_owner(const RecsysSource *source);

/* Run one SQL statement by SPI as "role" (search_path = pg_catalog). */
extern void catalog_execute_as(Oid role, const char *sql);

/* Name of the slot of a source of this database; buf of NAMEDATALEN bytes. */
extern void catalog_slot_name(int32 source_id, char *buf);

/* First btree index of rel, valid and not partial, whose first column is
 * attribute attnum with the type's default ordering; InvalidOid if none. */
extern Oid	catalog_index_on(Oid relid, AttrNumber attnum);

#endif							/* RECSYS_CATALOG_H */
