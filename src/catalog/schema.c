/*
 * schema.c
 *	  The schema of a source and its state tables: made, and dropped.
 *
 * Everything in it belongs to the owner of the source.  The tables are made
 * by the owner in a security-restricted context; only the schema itself is
 * made with more rights, because owning a table does not include creating
 * schemas.  Event triggers see it all as ordinary DDL.
 *
 * The schema depends on the extension, so DROP EXTENSION needs CASCADE and
 * then takes the schemas along.  It does not depend on the events table:
 * dropping that stays as easy as before, the source then stands still and says
 * so, and serves what it knows until it is dropped.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/internal.h"


/* Collation clause for a column definition, qualified. */
static char *
collate_clause(Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation coll;
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	coll = (Form_pg_collation) GETSTRUCT(tuple);
	result = psprintf(" COLLATE %s.%s",
					  quote_identifier(get_namespace_name(coll->collnamespace)),
					  quote_identifier(NameStr(coll->collname)));
	ReleaseSysCache(tuple);
	return result;
}

/* Type of a column as a column definition has it, with modifier and collation. */
static char *
column_type(Oid relid, const char *column)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, column);
	Form_pg_attribute att;
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for column \"%s\" of relation %u", column, relid);
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	result = format_type_with_typemod(att->atttypid, att->atttypmod);
	if (OidIsValid(att->attcollation))
		result = psprintf("%s%s", result, collate_clause(att->attcollation));
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Definitions of the state tables; $S stands for the schema, $U and $I for
 * the types of the keys.  The stream worker and the functions in serve/ rely
 * on names and order of columns and on the names of the primary keys.
 */
static const char *const state_tables =
"CREATE TABLE $S.state (\n"
"	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),\n"
"	applied_lsn pg_lsn NOT NULL,\n"
"	applied_xids int8[] NOT NULL,\n"
"	system_identifier int8 NOT NULL,\n"
"	database oid NOT NULL,\n"
"	slot name NOT NULL,\n"
"	next_user int4 NOT NULL,\n"
"	next_item int4 NOT NULL,\n"
"	landmark int4 NOT NULL,\n"
"	events int8 NOT NULL,\n"
"	rejected int8 NOT NULL,\n"
"	unmatched int8 NOT NULL,\n"
"	flushed_at timestamptz NOT NULL,\n"
"	resyncs int4 NOT NULL,\n"
"	attached oid[] NOT NULL,\n"
"	attached_lsns int8[] NOT NULL) USING heap;\n"
"COMMENT ON TABLE $S.state IS 'how far the event stream has been applied to the other tables';\n"

"CREATE TABLE $S.users (\n"
"	id int4 PRIMARY KEY,\n"
"	key $U NOT NULL UNIQUE) USING heap;\n"
"COMMENT ON TABLE $S.users IS 'number of each user';\n"

"CREATE TABLE $S.items (\n"
"	id int4 PRIMARY KEY,\n"
"	key $I NOT NULL UNIQUE,\n"
"	users int4 NOT NULL,\n"
"	total float8 NOT NULL,\n"
"	sumsq float8 NOT NULL,\n"
"	landmark int4 NOT NULL,\n"
"	first_time timestamptz,\n"
"	last_time timestamptz) USING heap WITH (fillfactor = 80);\n"
"COMMENT ON TABLE $S.items IS 'number of each item, and its sums over the histories of the users';\n"

"CREATE TABLE $S.profiles (\n"
"	user_id int4,\n"
"	segment int4,\n"
"	landmark int4 NOT NULL,\n"
"	items int4[] NOT NULL,\n"
"	weights float8[] NOT NULL,\n"
"	counts int4[] NOT NULL,\n"
"	times int8[] NOT NULL,\n"
"	PRIMARY KEY (user_id, segment)) USING heap WITH (fillfactor = 70);\n"
"COMMENT ON TABLE $S.profiles IS 'history of each user, in one or more segments of parallel arrays';\n"

"CREATE TABLE $S.consumers (\n"
"	kind text COLLATE \"C\",\n"
"	id int4,\n"
"	name name NOT NULL,\n"
"	signature text NOT NULL,\n"
"	from_lsn pg_lsn NOT NULL,\n"
"	unmatched int8 NOT NULL,\n"
"	PRIMARY KEY (kind, id)) USING heap;\n"
"COMMENT ON TABLE $S.consumers IS 'models and metrics that follow the events themselves: filled as of which position';\n"

"CREATE TABLE $S.popular_items (\n"
"	rank int4 PRIMARY KEY,\n"
"	item_id int4 NOT NULL,\n"
"	score float8 NOT NULL) USING heap;\n"
"COMMENT ON TABLE $S.popular_items IS 'the most popular items, by number';\n";

static char *
expand(const char *template, const char *schema, const char *user, const char *item)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (const char *p = template; *p != '\0'; p++)
	{
		if (*p != '$')
		{
			appendStringInfoChar(&sql, *p);
			continue;
		}
		p++;
		appendStringInfoString(&sql, *p == 'S' ? schema : *p == 'U' ? user : item);
	}
	return sql.data;
}

void
catalog_bind_schema(Oid nspid)
{
	ObjectAddress schema,
				extension;

	ObjectAddressSet(schema, NamespaceRelationId, nspid);
	ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid(RECSYS_SCHEMA, false));
	deleteDependencyRecordsForClass(NamespaceRelationId, nspid, ExtensionRelationId,
									DEPENDENCY_NORMAL);
	recordDependencyOn(&schema, &extension, DEPENDENCY_NORMAL);
}

/* Creates the schema of a source that is about to be inserted. */
void
source_schema_create(const CatalogRow *row)
{
	const Datum *v = row->values;
	char	   *name = NameStr(*DatumGetName(v[SOURCE_NAME]));
	Oid			owner = DatumGetObjectId(v[SOURCE_OWNER]);
	Oid			events = DatumGetObjectId(v[SOURCE_EVENTS]);
	const char *schema = quote_identifier(name);

	catalog_execute_as(BOOTSTRAP_SUPERUSERID,
					   psprintf("CREATE SCHEMA %s AUTHORIZATION %s;"
								"REVOKE ALL ON SCHEMA %s FROM PUBLIC;"
								"COMMENT ON SCHEMA %s IS %s",
								schema, quote_identifier(GetUserNameFromId(owner, false)),
								schema, schema,
								quote_literal_cstr(psprintf("recommendations from the events in %s",
															quoted_relation(events)))));
	catalog_bind_schema(get_namespace_oid(name, false));
	catalog_execute_as(owner,
					   expand(state_tables, schema,
							  column_type(events, NameStr(*DatumGetName(v[SOURCE_USER_COLUMN]))),
							  column_type(events, NameStr(*DatumGetName(v[SOURCE_ITEM_COLUMN])))));
}

/* The schema and every object in it. */
static ObjectAddresses *
schema_members(Oid nspid)
{
	ObjectAddresses *members = new_object_addresses();
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ObjectAddress object;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ObjectAddressSet(object, NamespaceRelationId, nspid);
	add_exact_object_address(&object, members);
	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(NamespaceRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(nspid));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend dep = (Form_pg_depend) GETSTRUCT(tuple);

		ObjectAddressSubSet(object, dep->classid, dep->objid, dep->objsubid);
		add_exact_object_address(&object, members);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return members;
}

/*
 * Drops the schema of a source.  The objects in it are named one by one, so
 * that the NOTICE of the cascade tells only of objects outside.
 */
void
source_schema_drop(const RecsysSource *source)
{
	ObjectAddresses *members;

	if (!OidIsValid(source->nspid))
	{
		if (OidIsValid(get_namespace_oid(NameStr(source->name), true)))
			ereport(NOTICE,
					(errmsg("schema \"%s\" does not belong to the owner of the source and is not dropped",
							NameStr(source->name))));
		return;
	}
	members = schema_members(source->nspid);
	performMultipleDeletions(members, DROP_CASCADE, 0);
	free_object_addresses(members);
}
