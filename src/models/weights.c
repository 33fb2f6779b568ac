/*
 * weights.c
 *	  Weights of networks as rows, see weights.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "models/embedding.h"
#include "models/weights.h"
#include "state/array.h"
#include "state/checked.h"

/* Columns, from 1. */
enum
{
	WEIGHTS_VERSION = 1, WEIGHTS_NAME, WEIGHTS_SHAPE, WEIGHTS_VALUES,
	WEIGHTS_NCOLUMNS = WEIGHTS_VALUES
};
static const Oid weights_types[] = {INT4OID, TEXTOID, INT4ARRAYOID, FLOAT4ARRAYOID};

/* ----------------------------------------------------------- declaration */

static char *
qualified(const RecsysSource *source, const char *model)
{
	return quote_qualified_identifier(NameStr(source->name), psprintf("%s_weights", model));
}

char *
weights_create_sql(const RecsysSource *source, const char *model)
{
	return psprintf("%1$s;"
					"CREATE TABLE %2$s (version int4, name text, shape int4[] NOT NULL,"
					" \"values\" real[] NOT NULL, CONSTRAINT %3$s PRIMARY KEY (version, name)) USING heap;"
					"ALTER TABLE %2$s ALTER \"values\" SET STORAGE EXTERNAL;"
					"COMMENT ON TABLE %2$s IS 'weights of the network, by name'",
					embedding_create_sql(source, model), qualified(source, model),
					quote_identifier(psprintf("%s_weights_pkey", model)));
}

char *
weights_drop_sql(const RecsysSource *source, const char *model)
{
	return psprintf("%s, %s", embedding_drop_sql(source, model), qualified(source, model));
}

static StateTable *
open_weights(const RecsysSource *source, const RecsysModel *model)
{
	return checked_open(source, embedding_table(model, "weights"), embedding_table(model, "weights_pkey"),
						WEIGHTS_VERSION, lengthof(weights_types), weights_types);
}

static void
weights_damaged(const StateTable *t)
{
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("table \"%s\" is not as a training wrote it", RelationGetRelationName(t->rel)),
			errhint("Drop the model and create it again."));
}

/* --------------------------------------------------------------------- write */

static void
delete_all(StateTable *t)
{
	List	   *versions = NIL;
	ListCell   *lc;

	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 0, NULL); slot; slot = table_get_next(t))
		versions = list_append_unique_int(versions, DatumGetInt32(checked_attribute(slot, WEIGHTS_VERSION)));
	foreach(lc, versions)
	{
		Datum		key = Int32GetDatum(lfirst_int(lc));

		(void) table_delete(t, 1, &key);
	}
	CommandCounterIncrement();
}

void
weights_replace(const RecsysSource *source, const RecsysModel *model, int32 version,
				const ModelWeights *weights, int n)
{
	StateTable *t = open_weights(source, model);
	Datum		values[WEIGHTS_NCOLUMNS];

	if (RelationGetDescr(t->rel)->natts != WEIGHTS_NCOLUMNS)
		weights_damaged(t);
	LockRelation(t->rel, RowExclusiveLock);
	delete_all(t);
	values[WEIGHTS_VERSION - 1] = Int32GetDatum(version);
	for (int i = 0; i < n; i++)
	{
		values[WEIGHTS_NAME - 1] = CStringGetTextDatum(weights[i].name);
		values[WEIGHTS_SHAPE - 1] = array_datum(weights[i].shape, weights[i].nshape, sizeof(int32), INT4OID);
		values[WEIGHTS_VALUES - 1] = array_datum(weights[i].values, (int) weights_count(&weights[i]),
												 sizeof(float), FLOAT4OID);
		table_insert(t, values, NULL);
	}
	checked_close(t);
}

/* ---------------------------------------------------------------------- read */

/* The values of the row, if it is one of those wanted. */
static bool
take(StateTable *t, TupleTableSlot *slot, const ModelWeights *weights, int n)
{
	char	   *name = TextDatumGetCString(checked_attribute(slot, WEIGHTS_NAME));

	for (int i = 0; i < n; i++)
	{
		int			nshape,
					nvalues;
		int32	   *shape;
		float	   *values;

		if (strcmp(name, weights[i].name) != 0)
			continue;
		shape = checked_array(checked_attribute(slot, WEIGHTS_SHAPE), INT4OID, &nshape);
		values = checked_array(checked_attribute(slot, WEIGHTS_VALUES), FLOAT4OID, &nvalues);
		if (nshape != weights[i].nshape || memcmp(shape, weights[i].shape, sizeof(int32) * nshape) != 0 ||
			(Size) nvalues != weights_count(&weights[i]))
			weights_damaged(t);
		memcpy(weights[i].values, values, sizeof(float) * nvalues);
		return true;
	}
	return false;
}

bool
weights_read(const RecsysSource *source, const RecsysModel *model, Snapshot snapshot, int32 version,
			 const ModelWeights *weights, int n)
{
	StateTable *t = open_weights(source, model);
	Datum		key = Int32GetDatum(version);
	int			found = 0;

	for (TupleTableSlot *slot = table_get(t, snapshot, 1, &key); slot; slot = table_get_next(t))
		found += take(t, slot, weights, n);
	if (found != 0 && found != n)
		weights_damaged(t);
	checked_close(t);
	return found == n;
}
