/*
 * model_read.c
 *	  Models as they are declared, and the one thing about them that the
 *	  stream worker writes: that a model is ready.
 */
#include "postgres.h"

#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "catalog/internal.h"

RecsysModel *
model_from_row(const CatalogRow *row)
{
	RecsysModel *model = palloc0(sizeof(RecsysModel));
	const Datum *v = row->values;

	model->id = DatumGetInt32(v[MODEL_ID]);
	model->source_id = DatumGetInt32(v[MODEL_SOURCE_ID]);
	model->name = *DatumGetName(v[MODEL_NAME]);
	model->algorithm = TextDatumGetCString(v[MODEL_ALGORITHM]);
	model->params = DatumGetJsonbP(v[MODEL_PARAMS]);
	model->is_default = DatumGetBool(v[MODEL_IS_DEFAULT]);
	model->state = strcmp(TextDatumGetCString(v[MODEL_STATE]), MODEL_STATE_READY) == 0 ?
		MODEL_READY : MODEL_BUILDING;
	model->version = DatumGetInt32(v[MODEL_VERSION]);
	model->fallback = row->nulls[MODEL_FALLBACK] ? 0 : DatumGetInt32(v[MODEL_FALLBACK]);
	return model;
}

static int
compare_model_ids(const ListCell *a, const ListCell *b)
{
	int32		x = ((RecsysModel *) lfirst(a))->id;
	int32		y = ((RecsysModel *) lfirst(b))->id;

	return x < y ? -1 : x > y;
}

/* The models of a source, the oldest first. */
List *
catalog_models(int32 source_id)
{
	Snapshot	snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;
	List	   *models = NIL;
	ListCell   *lc;

	foreach(lc, store_read(BY_MODEL_SOURCE, Int32GetDatum(source_id), snapshot))
		models = lappend(models, model_from_row(lfirst(lc)));
	list_sort(models, compare_model_ids);
	return models;
}

void
model_does_not_exist(const RecsysSource *source, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" of source \"%s\" does not exist",
					name, NameStr(source->name)),
			 errhint("SELECT model FROM recsys.models WHERE source = %s; shows the models.",
					 quote_literal_cstr(NameStr(source->name)))));
}

/* The model of that name, or the default one if name is NULL. */
RecsysModel *
catalog_model(const RecsysSource *source, const char *name)
{
	const char *source_name = NameStr(source->name);
	ListCell   *lc;

	foreach(lc, catalog_models(source->id))
	{
		RecsysModel *model = lfirst(lc);

		if (name == NULL ? model->is_default : strcmp(NameStr(model->name), name) == 0)
			return model;
	}
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("source \"%s\" has no model", source_name),
				 errhint("SELECT recsys.create_model(%s, 'similar', 'item_knn');",
						 quote_literal_cstr(source_name))));
	model_does_not_exist(source, name);
	return NULL;				/* not reached */
}

static CatalogRow *
newest_model_row(int32 model_id)
{
	List	   *rows = store_read(BY_MODEL_ID, Int32GetDatum(model_id), NULL);

	return rows == NIL ? NULL : linitial(rows);
}

bool
catalog_set_model_state(int32 model_id, int32 version, ModelState state)
{
	CatalogRow *row = newest_model_row(model_id);

	if (row == NULL)
		return true;
	if (!catalog_try_lock_source(DatumGetInt32(row->values[MODEL_SOURCE_ID])))
		return false;
	row = newest_model_row(model_id);
	if (row == NULL || DatumGetInt32(row->values[MODEL_VERSION]) != version ||
		model_from_row(row)->state == state)
		return true;
	row->values[MODEL_STATE] =
		CStringGetTextDatum(state == MODEL_READY ? MODEL_STATE_READY : MODEL_STATE_BUILDING);
	store_update("model", row);
	return true;
}
