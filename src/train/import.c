/*
 * import.c
 *	  A version from a model file in the place of the model's, see stream/transfer.c.
 *
 * Items are found by their keys; those that this source does not know are left out.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "models/als.h"
#include "models/gru4rec.h"
#include "models/model_file.h"
#include "state/checked.h"
#include "stream/import.h"
#include "train/matrix.h"
#include "train/trainer.h"

typedef struct Import
{
	Trainer    *t;
	ModelFileReader reader;
	ModelFileHead head;
	ModelWeights *matrices;
	int			nmatrices;
	TrainedVectors v;
	int32	   *item_ids;
	float	   *vectors;
} Import;

bool
import_is_wanted(const TrainingShared *training)
{
	ImportArea	area;

	memcpy(&area, training->area, sizeof(area));
	return area.magic == IMPORT_MAGIC;
}

/* ------------------------------------------------------------------ matrices */

/* Error if it is not there, or not dim x dim. */
static const float *
gram(const Import *i, const char *name)
{
	for (int m = 0; m < i->nmatrices; m++)
		if (strcmp(i->matrices[m].name, name) == 0 && i->matrices[m].nshape == 2 &&
			i->matrices[m].shape[0] == i->head.dim && i->matrices[m].shape[1] == i->head.dim)
			return i->matrices[m].values;
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("the model file has no matrix \"%s\" of %d x %d", name, i->head.dim, i->head.dim),
			errhint("Was it exported from a source with the same feedback?"));
	return NULL;				/* not reached */
}

/* The parts of the network, and no others. */
static void
check_network(const Import *i)
{
	ModelWeights parts[GRU4REC_PARTS];
	bool		fits = i->nmatrices == GRU4REC_PARTS;

	gru4rec_parts(i->head.dim, i->vectors, parts);
	for (int m = 0; fits && m < GRU4REC_PARTS; m++)
		fits = strcmp(i->matrices[m].name, parts[m].name) == 0 && i->matrices[m].nshape == parts[m].nshape &&
			memcmp(i->matrices[m].shape, parts[m].shape, sizeof(int32) * parts[m].nshape) == 0;
	if (!fits)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("the model file has not the weights of a gru4rec network"),
				errhint("Export the model again."));
}

static void
check_dim(const Import *i, int wanted, const char *parameter)
{
	if (i->head.dim != wanted)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the file has vectors of %d elements, but those of model \"%s\" have %d", i->head.dim,
					   NameStr(i->t->model->name), wanted),
				errhint("Set its %s as they were, with recsys.alter_model(): %s.", parameter, i->head.params));
}

static void
take_matrices(Import *i)
{
	const RecsysModel *model = i->t->model;

	i->matrices = model_file_read_matrices(&i->reader, &i->nmatrices);
	if (strcmp(model->algorithm, "gru4rec") == 0)
	{
		check_dim(i, (int) params_get(model->params, "layers"), "layers");
		check_network(i);
		i->v.weights = i->matrices;
		i->v.nweights = i->nmatrices;
	}
	else
	{
		AlsParams	params;

		als_params_of(model->params, i->t->source->explicit_feedback, 0, &params);
		check_dim(i, params.dim, "factors");
		if (!i->t->source->explicit_feedback)
		{
			i->v.item_gram = gram(i, "item_gram");
			i->v.user_gram = gram(i, "user_gram");
		}
	}
}

/* --------------------------------------------------------------------- items */

typedef struct ItemPlace
{
	int32		item;
	int32		row;			/* in the file */
} ItemPlace;

static int
by_item(const void *a, const void *b)
{
	int32		x = ((const ItemPlace *) a)->item;
	int32		y = ((const ItemPlace *) b)->item;

	return (x > y) - (x < y);
}

/* In the order of their numbers here. */
static void
order_items(Import *i, ItemPlace *places, int32 n, const float *read)
{
	int			dim = i->head.dim;

	qsort(places, n, sizeof(ItemPlace), by_item);
	for (int32 row = 0; row < n; row++)
	{
		if (row > 0 && places[row].item == places[row - 1].item)
			ereport(ERROR,
					errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("the model file has an item twice"),
					errhint("Export the model again."));
		i->item_ids[row] = places[row].item;
		memcpy(i->vectors + (Size) row * dim, read + (Size) places[row].row * dim, sizeof(float) * dim);
	}
	i->v.items = n;
}

static void
take_items(Import *i)
{
	const RecsysSource *source = i->t->source;
	Oid			types[] = {INT4OID, source->item.type};
	StateTable *items = checked_open(source, "items", "items_key_key", 2, lengthof(types), types);
	int			dim = i->head.dim;
	int32		n = model_file_read_items(&i->reader, dim);
	float	   *read = trainer_alloc((Size) Max(n, 1) * dim, sizeof(float));
	ItemPlace  *places = trainer_alloc(Max(n, 1), sizeof(ItemPlace));
	int32		known = 0;
	Oid			input,
				param;

	getTypeInputInfo(source->item.type, &input, &param);
	i->vectors = trainer_alloc((Size) Max(n, 1) * dim, sizeof(float));
	i->item_ids = trainer_alloc(Max(n, 1), sizeof(int32));
	for (int32 row = 0; row < n; row++)
	{
		char	   *text = model_file_read_item(&i->reader, read + (Size) known * dim, dim);
		Datum		key = OidInputFunctionCall(input, text, param, source->item.typmod);
		TupleTableSlot *slot = table_get(items, GetActiveSnapshot(), 1, &key);

		if (row % 1024 == 0)
			training_check(i->t->training);
		if (slot != NULL)
		{
			places[known] = (ItemPlace) {DatumGetInt32(checked_attribute(slot, 1)), known};
			known++;
		}
		pfree(text);
	}
	model_file_close(&i->reader);
	checked_close(items);
	order_items(i, places, known, read);
}

static void
check_finite(const Import *i)
{
	bool		finite = isfinite(i->head.mean);

	for (Size e = 0; e < (Size) i->v.items * i->head.dim && finite; e++)
		finite = isfinite(i->vectors[e]);
	for (int m = 0; m < i->nmatrices; m++)
		for (Size e = 0; e < weights_count(&i->matrices[m]) && finite; e++)
			finite = isfinite(i->matrices[m].values[e]);
	if (!finite)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("the model file has numbers that are not finite"),
				errhint("Export the model again."));
	if (i->v.items == 0)
		ereport(ERROR,
				errcode(ERRCODE_NO_DATA_FOUND),
				errmsg("source \"%s\" knows none of the items of the model file", NameStr(i->t->source->name)),
				errhint("Import it where the items have the same keys."));
}

/* -------------------------------------------------------------------- import */

void
import_train(Trainer *t)
{
	Import	   *i = palloc0(sizeof(Import));
	ImportArea	area;
	dsm_segment *segment;
	ImportFile *file;
	MatrixSize	size;

	memcpy(&area, t->training->area, sizeof(area));
	segment = dsm_attach(area.handle);
	if (segment == NULL)
		ereport(ERROR,
				errcode(ERRCODE_QUERY_CANCELED),
				errmsg("nobody waits for the import any more"));
	file = dsm_segment_address(segment);
	i->t = t;
	trainer_begin(t);
	training_progress(t->training, "reading", 0, 0);
	matrix_measure(t, &size);
	model_file_open(&i->reader, file->data, file->length, &i->head);
	/* room to name the weights' parts from */
	i->vectors = trainer_alloc(gru4rec_weights(i->head.dim), sizeof(float));
	take_matrices(i);
	take_items(i);
	trainer_commit(t);
	check_finite(i);
	i->v.users = i->head.users;
	i->v.interactions = i->head.interactions;
	i->v.dim = i->head.dim;
	i->v.loss = i->head.loss;
	i->v.mean = i->head.mean;
	i->v.item_ids = i->item_ids;
	i->v.vectors = i->vectors;
	version_replace(t, &i->v);
	file->imported = i->v.items;
	dsm_detach(segment);
}
