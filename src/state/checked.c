/*
 * checked.c
 *	  Reading the tables of a source in backends, see checked.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class_d.h"
#include "catalog/pg_index.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "state/checked.h"

static void
table_damaged(StateTable *t)
{
	char	   *source = get_namespace_name(RelationGetNamespace(t->rel));

	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("table \"%s\" of source \"%s\" is not as it was created",
				   RelationGetRelationName(t->rel), source ? source : "?"),
			errhint("Undo the change, or drop the source with recsys.drop_source() and create it again."));
}

static bool
index_fits(StateTable *t, int indexed)
{
	Form_pg_index index = t->index->rd_index;

	return index->indrelid == RelationGetRelid(t->rel) &&
		index->indisvalid &&
		index->indkey.values[0] == indexed &&
		t->index->rd_rel->relam == BTREE_AM_OID &&
		heap_attisnull(t->index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

void
checked_types(StateTable *t, int ntypes, const Oid *types)
{
	TupleDesc	desc = RelationGetDescr(t->rel);

	if (desc->natts < ntypes)
		table_damaged(t);
	for (int i = 0; i < ntypes; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || !OidIsValid(types[i]) || att->atttypid != types[i])
			table_damaged(t);
	}
}

StateTable *
checked_open(const RecsysSource *source, const char *relname,
				 const char *indexname, int indexed, int ntypes, const Oid *types)
{
	StateTable *t = table_open_state(source->nspid, relname, indexname, AccessShareLock);

	if (t->rel->rd_rel->relkind != RELKIND_RELATION || (indexname && !index_fits(t, indexed)))
		table_damaged(t);
	checked_types(t, ntypes, types);
	return t;
}

void
checked_close(StateTable *t)
{
	table_close_state(t, NoLock);
}

Datum
checked_attribute(TupleTableSlot *slot, int attnum)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, attnum, &isnull);

	if (isnull)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("unexpected null in column %d of a table of a source", attnum),
				errhint("Rebuild the state with recsys.resync()."));
	return value;
}

void *
checked_array(Datum value, Oid element, int *n)
{
	ArrayType  *array = DatumGetArrayTypeP(value);

	if (ARR_ELEMTYPE(array) != element || ARR_NDIM(array) > 1 || ARR_HASNULL(array))
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("unexpected array in a table of a source"),
				errhint("Rebuild the state with recsys.resync()."));
	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	return ARR_DATA_PTR(array);
}
