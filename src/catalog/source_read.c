/*
 * source_read.c
 *	  A source as RecsysSource: its row, resolved against the schema.
 *
 * Called for every recommend() and by the stream worker.  Key types come from
 * the source's own tables, so that reading works after the events table was
 * dropped; whether the events still fit is catalog_check_events()'s question.
 *
 * The schema is found by name, because a dump and restore changes OIDs.  It
 * counts only if it belongs to the owner of the source: otherwise somebody
 * could put a schema of theirs in the place of a dropped one, and the worker
 * would run their expression indexes with the owner's rights.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "catalog/internal.h"

static Snapshot
reading_snapshot(void)
{
	return ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;
}

static Oid
schema_of(const char *name, Oid owner)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(name));
	Oid			nspid = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_namespace nsp = (Form_pg_namespace) GETSTRUCT(tuple);

		if (nsp->nspowner == owner)
			nspid = nsp->oid;
		ReleaseSysCache(tuple);
	}
	return nspid;
}

/* Fills in what the key column of one of the source's own tables says. */
static void
resolve_key(KeyColumn *key, const char *table, Oid nspid, Datum column)
{
	Oid			relid = OidIsValid(nspid) ? get_relname_relid(table, nspid) : InvalidOid;
	HeapTuple	tuple;

	key->name = *DatumGetName(column);
	key->type = InvalidOid;
	if (!OidIsValid(relid))
		return;
	tuple = SearchSysCacheAttName(relid, "key");
	if (!HeapTupleIsValid(tuple))
		return;
	{
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);

		key->type = att->atttypid;
		key->typmod = att->atttypmod;
		key->collation = att->attcollation;
		if (!key_kind_of(key->type, &key->kind))
			key->type = InvalidOid;
	}
	ReleaseSysCache(tuple);
}

static char *
optional_name(const CatalogRow *row, int column)
{
	if (row->nulls[column])
		return NULL;
	return pstrdup(NameStr(*DatumGetName(row->values[column])));
}

RecsysSource *
source_from_row(const CatalogRow *row)
{
	RecsysSource *source = palloc0(sizeof(RecsysSource));
	const Datum *v = row->values;
	const bool *null = row->nulls;
	text	   *feedback = DatumGetTextPP(v[SOURCE_FEEDBACK]);

	source->id = DatumGetInt32(v[SOURCE_ID]);
	source->name = *DatumGetName(v[SOURCE_NAME]);
	source->owner = DatumGetObjectId(v[SOURCE_OWNER]);
	source->nspid = schema_of(NameStr(source->name), source->owner);
	source->events = DatumGetObjectId(v[SOURCE_EVENTS]);
	resolve_key(&source->user, "users", source->nspid, v[SOURCE_USER_COLUMN]);
	resolve_key(&source->item, "items", source->nspid, v[SOURCE_ITEM_COLUMN]);
	source->type_column = optional_name(row, SOURCE_TYPE_COLUMN);
	source->value_column = optional_name(row, SOURCE_VALUE_COLUMN);
	source->time_column = optional_name(row, SOURCE_TIME_COLUMN);
	source->session_column = optional_name(row, SOURCE_SESSION_COLUMN);
	source->explicit_feedback = VARSIZE_ANY_EXHDR(feedback) > 0 && VARDATA_ANY(feedback)[0] == 'e';
	source->history_limit = DatumGetInt32(v[SOURCE_HISTORY_LIMIT]);
	if (!null[SOURCE_HALF_LIFE])
		source->half_life = half_life_seconds(DatumGetIntervalP(v[SOURCE_HALF_LIFE]));
	if (!null[SOURCE_WEIGHTS])
	{
		source->has_weights = true;
		source->weights = weights_parse(DatumGetJsonbP(v[SOURCE_WEIGHTS]), &source->nweights);
	}
	source->accept_rls = DatumGetBool(v[SOURCE_ACCEPT_RLS]);
	source->paused = DatumGetBool(v[SOURCE_PAUSED_FLAG]);
	source->resyncs = DatumGetInt32(v[SOURCE_RESYNCS]);
	memcpy(source->message_key, DatumGetUUIDP(v[SOURCE_MESSAGE_KEY])->data,
		   sizeof(source->message_key));
	return source;
}

static void
unknown_source(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("source \"%s\" does not exist", name),
			 errhint("SELECT source FROM recsys.sources; shows the sources.")));
}

void
source_schema_is_gone(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_SCHEMA),
			 errmsg("schema \"%s\" of the source does not exist, or belongs to another role", name),
			 errhint("SELECT recsys.drop_source(%s); then create the source again.",
					 quote_literal_cstr(name))));
}

static CatalogRow *
one_row(CatalogKey by, Datum key, Snapshot snapshot)
{
	List	   *rows = store_read(by, key, snapshot);

	return rows == NIL ? NULL : linitial(rows);
}

/* The newest row of a source, for changing it. */
CatalogRow *
source_row(const char *name, bool missing_ok)
{
	NameData	key;
	CatalogRow *row;

	namestrcpy(&key, name);
	row = one_row(BY_SOURCE_NAME, NameGetDatum(&key), NULL);
	if (row == NULL && !missing_ok)
		unknown_source(name);
	return row;
}

/*
 * The row of a source that "function" is about to change: the caller has the
 * owner's role, and the source is locked until the end of the transaction.
 */
CatalogRow *
source_row_for_change(const char *function, Name name, LOCKMODE lockmode)
{
	CatalogRow *row;
	int32		id;
	bool		exists;

	begin_change(function);
	row = source_row(NameStr(*name), false);
	catalog_check_owner(source_from_row(row));
	id = DatumGetInt32(row->values[SOURCE_ID]);
	exists = lockmode == AccessExclusiveLock ?
		catalog_lock_source_to_drop(id) : catalog_lock_source(id, lockmode);
	if (!exists)
		unknown_source(NameStr(*name));
	/* what stood there before we had the lock may have changed */
	row = source_row(NameStr(*name), false);
	catalog_check_owner(source_from_row(row));
	return row;
}

RecsysSource *
catalog_source_by_name(const char *name, bool missing_ok)
{
	NameData	key;
	CatalogRow *row;

	namestrcpy(&key, name);
	row = one_row(BY_SOURCE_NAME, NameGetDatum(&key), reading_snapshot());
	if (row == NULL && !missing_ok)
		unknown_source(name);
	return row == NULL ? NULL : source_from_row(row);
}

RecsysSource *
catalog_source_by_id(int32 id, bool missing_ok)
{
	CatalogRow *row = one_row(BY_SOURCE_ID, Int32GetDatum(id), reading_snapshot());

	if (row == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("source number %d does not exist", id)));
	return row == NULL ? NULL : source_from_row(row);
}

RecsysSource *
catalog_source_by_schema(Oid nspid, bool missing_ok)
{
	char	   *name = get_namespace_name(nspid);
	RecsysSource *source = name == NULL ? NULL : catalog_source_by_name(name, true);

	if (source != NULL && source->nspid == nspid)
		return source;
	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("schema \"%s\" is not the schema of a source", name ? name : "?"),
				 errdetail("The schema of a source has the name and the owner that it was created with."),
				 errhint("SELECT source, owner FROM recsys.sources; shows the sources.")));
	return NULL;
}

static int
compare_source_ids(const ListCell *a, const ListCell *b)
{
	int32		x = ((RecsysSource *) lfirst(a))->id;
	int32		y = ((RecsysSource *) lfirst(b))->id;

	return x < y ? -1 : x > y;
}

/* All sources of this database, by number. */
List *
catalog_sources(void)
{
	List	   *sources = NIL;
	ListCell   *lc;

	foreach(lc, store_read(ALL_SOURCES, (Datum) 0, reading_snapshot()))
		sources = lappend(sources, source_from_row(lfirst(lc)));
	list_sort(sources, compare_source_ids);
	return sources;
}
