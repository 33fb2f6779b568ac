/*
 * table_check.c
 *	  Which tables and columns can be a source: checked by create_source(),
 *	  and again by the stream worker, because DDL on the table goes on.
 *
 * What is refused would make the state silently wrong: rows that never reach
 * the WAL (temporary, unlogged, foreign), rows that the backfill sees and the
 * stream does not (children by inheritance), rows that the owner may not see
 * (forced row-level security), and keys whose equality is not that of their
 * bytes (nondeterministic collations).
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/internal.h"
#include "compat.h"

/* schema.table, each quoted where it must be */
char *
quoted_relation(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

bool
key_kind_of(Oid type, KeyKind *kind)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			*kind = KEY_INT;
			return true;
		case TEXTOID:
		case VARCHAROID:
			*kind = KEY_TEXT;
			return true;
		case UUIDOID:
			*kind = KEY_UUID;
			return true;
		default:
			return false;
	}
}

/* ----------------------------------------------------------------- table */

static const char *
relkind_name(char relkind)
{
	switch (relkind)
	{
		case RELKIND_VIEW:
			return "a view";
		case RELKIND_MATVIEW:
			return "a materialized view";
		case RELKIND_FOREIGN_TABLE:
			return "a foreign table";
		case RELKIND_SEQUENCE:
			return "a sequence";
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			return "an index";
		case RELKIND_COMPOSITE_TYPE:
			return "a composite type";
		default:
			return "not a table";
	}
}

static void
check_kind(Relation rel)
{
	char		relkind = rel->rd_rel->relkind;

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is %s, but a source reads a table",
						RelationGetRelationName(rel), relkind_name(relkind)),
				 errhint("Register the permanent table that the events are inserted into.")));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is temporary", RelationGetRelationName(rel)),
				 errdetail("Changes of temporary tables are not written to the WAL."),
				 errhint("Register the permanent table that the events are inserted into.")));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is unlogged", RelationGetRelationName(rel)),
				 errdetail("Changes of unlogged tables are not written to the WAL."),
				 errhint("ALTER TABLE %s SET LOGGED;", quoted_relation(RelationGetRelid(rel)))));
}

static void
check_row_security(Relation rel, bool accept_rls)
{
	char	   *table = quoted_relation(RelationGetRelid(rel));

	if (rel->rd_rel->relrowsecurity && !accept_rls)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has row-level security", RelationGetRelationName(rel)),
				 errdetail("Recommendations are computed from all rows, whoever asks."),
				 errhint("Accept that with accept_row_level_security => true, or ALTER TABLE %s DISABLE ROW LEVEL SECURITY;",
						 table)));
	if (rel->rd_rel->relrowsecurity && rel->rd_rel->relforcerowsecurity)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" forces row-level security on its owner",
						RelationGetRelationName(rel)),
				 errdetail("The rows are read as the owner, who has to see them all."),
				 errhint("ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;", table)));
}

/* Partitions must be able to stream; other children would not. */
static void
check_children(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	ListCell   *lc;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		if (find_inheritance_children(relid, NoLock) != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("table \"%s\" has children by inheritance",
							RelationGetRelationName(rel)),
					 errhint("Register a partitioned table, or a table without children.")));
		return;
	}
	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	child;

		if (lfirst_oid(lc) == relid)
			continue;
		child = table_open(lfirst_oid(lc), NoLock);
		check_kind(child);
		table_close(child, NoLock);
	}
}

/* Error unless relid, which the caller has locked, can be a source. */
void
check_events_table(Oid relid, bool accept_rls)
{
	Relation	rel = relation_open(relid, NoLock);
	Oid			nspid = RelationGetNamespace(rel);
	bool		ours = strcmp(get_namespace_name(nspid), RECSYS_SCHEMA) == 0 ||
		catalog_source_by_schema(nspid, true) != NULL;

	check_kind(rel);
	/* the second test is for what initdb made outside of pg_catalog */
	if (IsSystemRelation(rel) || relid < FirstNormalObjectId || ours)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" belongs to %s", RelationGetRelationName(rel),
						ours ? "recsys" : "the system catalogs"),
				 errhint("Register a table of your own.")));
	check_children(rel);
	check_row_security(rel, accept_rls);
	relation_close(rel, NoLock);
}

/* --------------------------------------------------------------- columns */

typedef enum ColumnUse
{
	USE_KEY,
	USE_TYPE,
	USE_VALUE,
	USE_TIME,
	USE_ANY
} ColumnUse;

static bool
type_fits(ColumnUse use, Oid type)
{
	KeyKind		kind;

	switch (use)
	{
		case USE_KEY:
			return key_kind_of(type, &kind);
		case USE_TYPE:
			return type == TEXTOID || type == VARCHAROID || type == BPCHAROID ||
				type == NAMEOID || type == INT2OID || type == INT4OID ||
				type == INT8OID || type_is_enum(type);
		case USE_VALUE:
			return type == INT2OID || type == INT4OID || type == INT8OID ||
				type == FLOAT4OID || type == FLOAT8OID || type == NUMERICOID;
		case USE_TIME:
			return type == TIMESTAMPTZOID || type == TIMESTAMPOID;
		case USE_ANY:
			return true;
	}
	return false;
}

static const char *
fitting_types(ColumnUse use)
{
	switch (use)
	{
		case USE_KEY:
			return "smallint, integer, bigint, text, varchar or uuid";
		case USE_TYPE:
			return "text, varchar, char(n), name, smallint, integer, bigint or an enum type";
		case USE_VALUE:
			return "smallint, integer, bigint, real, double precision or numeric";
		case USE_TIME:
			return "timestamp with time zone or timestamp";
		case USE_ANY:
			return "any";
	}
	return "";
}

/* The named column of relid, checked for its use as "argument". */
static void
check_column(Oid relid, const char *column, const char *argument, ColumnUse use)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, column);
	Form_pg_attribute att;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist",
						column, get_rel_name(relid)),
				 errhint("Name a column of the table as %s.", argument)));
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	/* 'v': virtual generated columns, newer than this server's headers */
	if (att->attnum < 0 || att->attgenerated == 'v')
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("column \"%s\" of table \"%s\" is not stored in its rows",
						column, get_rel_name(relid)),
				 errhint("Name a column of the table as %s.", argument)));
	if (!type_fits(use, att->atttypid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" has type %s, which %s cannot have",
						column, get_rel_name(relid),
						format_type_with_typemod(att->atttypid, att->atttypmod), argument),
				 errhint("Its type can be %s.", fitting_types(use))));
	if (use == USE_KEY && OidIsValid(att->attcollation) &&
		!get_collation_isdeterministic(att->attcollation))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of table \"%s\" has a nondeterministic collation",
						column, get_rel_name(relid)),
				 errhint("ALTER TABLE %s ALTER COLUMN %s TYPE %s COLLATE \"C\";",
						 quoted_relation(relid), quote_identifier(column),
						 format_type_with_typemod(att->atttypid, att->atttypmod))));
	ReleaseSysCache(tuple);
}

void
check_session_column(Oid relid, const char *column)
{
	check_column(relid, column, "session_column", USE_KEY);
}

/* A column that metrics are made of: a number, or whatever has a text form. */
void
check_metrics_column(Oid relid, const char *column, const char *argument, bool number)
{
	check_column(relid, column, argument, number ? USE_VALUE : USE_ANY);
}

/* The columns that a row of recsys.source maps. */
void
check_events_columns(const CatalogRow *row)
{
	static const struct
	{
		int			column;
		const char *argument;
		ColumnUse	use;
	}			mapped[] =
	{
		{SOURCE_USER_COLUMN, "user_column", USE_KEY},
		{SOURCE_ITEM_COLUMN, "item_column", USE_KEY},
		{SOURCE_TYPE_COLUMN, "event_type_column", USE_TYPE},
		{SOURCE_VALUE_COLUMN, "event_value_column", USE_VALUE},
		{SOURCE_TIME_COLUMN, "event_time_column", USE_TIME},
		{SOURCE_SESSION_COLUMN, "session_column", USE_KEY},
	};
	Oid			relid = DatumGetObjectId(row->values[SOURCE_EVENTS]);
	char	   *user = NameStr(*DatumGetName(row->values[SOURCE_USER_COLUMN]));
	char	   *item = NameStr(*DatumGetName(row->values[SOURCE_ITEM_COLUMN]));

	for (int i = 0; i < (int) lengthof(mapped); i++)
	{
		int			c = mapped[i].column;

		if (!row->nulls[c])
			check_column(relid, NameStr(*DatumGetName(row->values[c])),
						 mapped[i].argument, mapped[i].use);
	}
	if (strcmp(user, item) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" cannot be both user_column and item_column", user),
				 errhint("Name the two columns that say which user did something with which item.")));
}

/* ------------------------------------------------------------- afterwards */

static void
check_key_type(const RecsysSource *source, const KeyColumn *key)
{
	Oid			type;
	int32		typmod;
	Oid			collation;
	AttrNumber	attnum = get_attnum(source->events, NameStr(key->name));

	if (!OidIsValid(key->type))
		source_schema_is_gone(NameStr(source->name));
	get_atttypetypmodcoll(source->events, attnum, &type, &typmod, &collation);
	if (type != key->type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" has type %s, but source \"%s\" was created with %s",
						NameStr(key->name), get_rel_name(source->events),
						format_type_be(type), NameStr(source->name), format_type_be(key->type)),
				 errhint("SELECT recsys.drop_source(%s); then create the source again.",
						 quote_literal_cstr(NameStr(source->name)))));
}

void
catalog_check_events(const RecsysSource *source)
{
	List	   *rows;

	LockRelationOid(source->events, AccessShareLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(source->events)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the event table of source \"%s\" was dropped", NameStr(source->name)),
				 errhint("SELECT recsys.drop_source(%s);",
						 quote_literal_cstr(NameStr(source->name)))));
	if (!compat_class_ownercheck(source->events, source->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" does not belong to the owner of source \"%s\" any more",
						get_rel_name(source->events), NameStr(source->name)),
				 errhint("ALTER TABLE %s OWNER TO %s;", quoted_relation(source->events),
						 quote_identifier(GetUserNameFromId(source->owner, false)))));
	check_events_table(source->events, source->accept_rls);
	rows = store_read(BY_SOURCE_ID, Int32GetDatum(source->id), NULL);
	if (rows != NIL)
		check_events_columns(linitial(rows));
	check_key_type(source, &source->user);
	check_key_type(source, &source->item);
}
