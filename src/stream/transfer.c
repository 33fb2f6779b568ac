/*
 * transfer.c
 *	  recsys.export_model() and recsys.import_model(): a trained version as bytes
 *	  (models/model_file.h), and from bytes.
 *
 * Exporting reads tables under the caller's snapshot, on a standby too.  Importing is
 * a training that need not learn: a training worker takes the version from a segment of shared memory
 * and puts it in the place of the old one (train/import.c), so all that holds for
 * the end of a training holds here.  Items travel by their keys.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "models/embedding.h"
#include "models/gru4rec.h"
#include "models/model.h"
#include "models/model_file.h"
#include "state/checked.h"
#include "stream/import.h"
#include "stream/shared.h"
#include "stream/trainings.h"

PG_FUNCTION_INFO_V1(recsys_export_model);
PG_FUNCTION_INFO_V1(recsys_import_model);

/* Columns of <source>.items, from 1. */
#define ITEM_KEY 2

/* ---------------------------------------------------------------- arguments */

static RecsysModel *
model_argument(FunctionCallInfo fcinfo, RecsysSource **source)
{
	RecsysModel *model;

	catalog_require_argument(fcinfo, 0, "source");
	catalog_require_argument(fcinfo, 1, "model");
	*source = catalog_source_by_name(NameStr(*PG_GETARG_NAME(0)), false);
	catalog_check_owner(*source);
	model = catalog_model(*source, NameStr(*PG_GETARG_NAME(1)));
	if (!model_algorithm(model->algorithm)->trained)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("model \"%s\" is not trained, so it has no version to carry", NameStr(model->name)),
				errhint("Export a model whose algorithm is als or gru4rec; others follow from the events at once."));
	return model;
}

/* ------------------------------------------------------------------- export */

/* The matrices of a version, by names: those of the network, or Gram matrices. */
static void
write_matrices(StringInfo out, const RecsysSource *source, const RecsysModel *model, Snapshot snapshot,
			   StateTable *versions, const EmbeddingVersion *version)
{
	ModelWeights parts[GRU4REC_PARTS + 2];
	float	   *item_gram = embedding_read_matrix(versions, snapshot, version->version, VERSION_ITEM_GRAM);
	float	   *user_gram = embedding_read_matrix(versions, snapshot, version->version, VERSION_USER_GRAM);
	int			n = 0;

	if (strcmp(model->algorithm, "gru4rec") == 0)
	{
		gru4rec_parts(version->dim, palloc(sizeof(float) * gru4rec_weights(version->dim)), parts);
		if (weights_read(source, model, snapshot, version->version, parts, GRU4REC_PARTS))
			n = GRU4REC_PARTS;
	}
	if (item_gram)
		parts[n++] = (ModelWeights) {"item_gram", 2, {version->dim, version->dim}, item_gram};
	if (user_gram)
		parts[n++] = (ModelWeights) {"user_gram", 2, {version->dim, version->dim}, user_gram};
	model_file_matrices(out, parts, n);
}

static void
check_size(const EmbeddingVersion *version, const StringInfo out)
{
	if ((Size) out->len + sizeof(float) * version->dim + 2048 > MaxAllocSize)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("the version has more than 1 GB"),
				errdetail("It has %d items, with vectors of %d elements.", version->items, version->dim),
				errhint("Carry it by pg_dump or replication, as tables."));
}

/* The items that the source still knows. */
static void
write_items(StringInfo out, const RecsysSource *source, const RecsysModel *model, Snapshot snapshot,
			const EmbeddingVersion *version)
{
	Oid			types[] = {INT4OID, source->item.type};
	StateTable *items = checked_open(source, "items", "items_pkey", 1, lengthof(types), types);
	StateTable *factors = embedding_open_factors(source, model, false);
	Datum		key = Int32GetDatum(version->version);
	int			at = model_file_items(out);
	int32		n = 0;
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(source->item.type, &output, &varlena);
	for (TupleTableSlot *slot = table_get(factors, snapshot, 1, &key); slot; slot = table_get_next(factors))
	{
		Datum		item = checked_attribute(slot, FACTORS_ITEM);
		TupleTableSlot *known = table_get(items, snapshot, 1, &item);
		char	   *text;
		int			elements;

		CHECK_FOR_INTERRUPTS();
		(void) checked_array(checked_attribute(slot, FACTORS_VECTOR), FLOAT4OID, &elements);
		if (known == NULL || elements == 0)
			continue;
		check_size(version, out);
		text = OidOutputFunctionCall(output, checked_attribute(known, ITEM_KEY));
		model_file_item(out, text, embedding_vector(slot, version->dim), version->dim);
		pfree(text);
		n++;
	}
	checked_close(factors);
	checked_close(items);
	model_file_end(out, at, n);
}

/* recsys.export_model(source name, model name) returns bytea */
Datum
recsys_export_model(PG_FUNCTION_ARGS)
{
	RecsysSource *source;
	RecsysModel *model = model_argument(fcinfo, &source);
	Snapshot	snapshot = GetActiveSnapshot();
	StateTable *versions = embedding_open_version(source, model);
	EmbeddingVersion version;
	StringInfoData file;
	ModelFileHead head;

	if (!embedding_read_version(versions, snapshot, &version) || version.params_version == 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("model \"%s\" has no version yet", NameStr(model->name)),
				errhint("SELECT recsys.train(%s, %s);", quote_literal_cstr(NameStr(source->name)),
						quote_literal_cstr(NameStr(model->name))));
	head = (ModelFileHead) {
		model->algorithm,
		JsonbToCString(NULL, &model->params->root, VARSIZE(model->params)),
		version.dim, version.users, version.interactions, version.loss, version.mean
	};
	initStringInfo(&file);
	model_file_begin(&file, &head);
	write_matrices(&file, source, model, snapshot, versions, &version);
	write_items(&file, source, model, snapshot, &version);
	checked_close(versions);
	PG_RETURN_BYTEA_P((bytea *) cstring_to_text_with_len(file.data, file.len));
}

/* ------------------------------------------------------------------- import */

/* Ends well, or with an error. */
static void
import_once(const RecsysSource *source, const RecsysModel *model, const ImportArea *area)
{
	TrainingRef ref;
	TrainingState state;
	XLogRecPtr	applied_lsn;
	TrainingError error;

	for (;;)
	{
		TrainingStart start = training_start(TRAINING_TRAIN, source, model, area, sizeof(ImportArea), &ref);

		if (start == TRAINING_UNDER_WAY)
		{
			(void) training_wait(&ref, &state, &applied_lsn, &error);
			continue;
		}
		if (start != TRAINING_STARTED)
			training_not_started(start);
		if (training_finish(&ref))
			return;
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("model \"%s\" of source \"%s\" was changed or dropped during the import",
					   NameStr(model->name), NameStr(source->name)),
				errhint("Import it again."));
	}
}

static void
check_can_import(const RecsysModel *model)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot import model \"%s\" on a standby", NameStr(model->name)),
				errhint("Call recsys.import_model() on the primary."));
	if (trainings_control == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot import model \"%s\", because recsys is not preloaded", NameStr(model->name)),
				errhint("Add recsys to shared_preload_libraries, then restart the server."));
	if (wait_row_is_ours("model", model->id))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("model \"%s\" was created or changed in this transaction", NameStr(model->name)),
				errhint("COMMIT first; the import sees it then."));
}

/* recsys.import_model(source name, model name, data bytea) returns int */
Datum
recsys_import_model(PG_FUNCTION_ARGS)
{
	RecsysSource *source;
	RecsysModel *model = model_argument(fcinfo, &source);
	bytea	   *data;
	dsm_segment *segment;
	ImportFile *file;
	ImportArea	area;
	ModelFileReader reader;
	ModelFileHead head;
	int32		imported;

	catalog_require_argument(fcinfo, 2, "data");
	check_can_import(model);
	data = PG_GETARG_BYTEA_P(2);
	model_file_open(&reader, VARDATA(data), VARSIZE(data) - VARHDRSZ, &head);
	if (strcmp(head.algorithm, model->algorithm) != 0)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("the file has a model of algorithm \"%s\", but model \"%s\" is of algorithm \"%s\"",
					   head.algorithm, NameStr(model->name), model->algorithm),
				errhint("Create a model of that algorithm, with the parameters %s.", head.params));
	if (!source->paused)
		(void) wait_until_flushed(source);
	segment = dsm_create(offsetof(ImportFile, data) + VARSIZE(data) - VARHDRSZ, 0);
	file = dsm_segment_address(segment);
	file->imported = 0;
	file->length = VARSIZE(data) - VARHDRSZ;
	memcpy(file->data, VARDATA(data), file->length);
	area = (ImportArea) {IMPORT_MAGIC, dsm_segment_handle(segment)};
	import_once(source, model, &area);
	imported = file->imported;
	dsm_detach(segment);
	PG_RETURN_INT32(imported);
}
