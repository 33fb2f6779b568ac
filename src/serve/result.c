/*
 * result.c
 *	  Rows of an answer: a key of the source's own type, and a score.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "serve/serve.h"

/* Types of columns behind the key and its score. */
static const Oid nothing_more[] = {InvalidOid};
static const Oid explained_more[] = {NAMEOID, TEXTOID, InvalidOid};

/* The function's row type was made for keys of one of the two columns; behind a
 * key and its score come the columns of "more", ended by InvalidOid. */
static void
begin(ServeCall *call, const KeyColumn *column, const Oid *more)
{
	ReturnSetInfo *result = (ReturnSetInfo *) call->fcinfo->resultinfo;
	MemoryContext old = MemoryContextSwitchTo(call->caller);
	bool		described = result && IsA(result, ReturnSetInfo) && result->expectedDesc;
	bool		fits;
	int			natts = 2;

	InitMaterializedSRF(call->fcinfo, described ? MAT_SRF_USE_EXPECTED_DESC : 0);
	MemoryContextSwitchTo(old);
	fits = result->setDesc->natts >= 2 &&
		TupleDescAttr(result->setDesc, 0)->atttypid == column->type &&
		TupleDescAttr(result->setDesc, 1)->atttypid == FLOAT4OID;
	for (; fits && OidIsValid(more[natts - 2]); natts++)
		fits = natts < result->setDesc->natts &&
			TupleDescAttr(result->setDesc, natts)->atttypid == more[natts - 2];
	if (!fits || result->setDesc->natts != natts)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("function of source \"%s\" does not return keys of type %s",
					   NameStr(call->source->name), format_type_be(column->type)),
				errhint("Drop the source with recsys.drop_source() and create it again."));
}

void
result_begin(ServeCall *call)
{
	begin(call, &call->source->item, nothing_more);
}

void
result_begin_users(ServeCall *call)
{
	begin(call, &call->source->user, nothing_more);
}

void
result_begin_explained(ServeCall *call)
{
	begin(call, &call->source->item, explained_more);
}

void
result_row(ServeCall *call, Datum key, double score)
{
	ReturnSetInfo *result = (ReturnSetInfo *) call->fcinfo->resultinfo;
	Datum		values[2] = {key, Float4GetDatum(score_as_real(score))};
	bool		isnull[2] = {false, false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

bool
result_item(ServeCall *call, int32 item, double score)
{
	TupleTableSlot *slot = serve_item(call, item);

	if (slot == NULL)
		return false;
	result_row(call, checked_attribute(slot, ITEM_KEY), score);
	return true;
}

bool
result_explained_item(ServeCall *call, int32 item, double score, const RecsysModel *model,
					  const char *reason)
{
	ReturnSetInfo *result = (ReturnSetInfo *) call->fcinfo->resultinfo;
	TupleTableSlot *slot = serve_item(call, item);
	Datum		values[4];
	bool		isnull[4] = {false, false, model == NULL, false};

	if (slot == NULL)
		return false;
	values[0] = checked_attribute(slot, ITEM_KEY);
	values[1] = Float4GetDatum(score_as_real(score));
	values[2] = model ? NameGetDatum(&model->name) : (Datum) 0;
	values[3] = CStringGetTextDatum(reason);
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	return true;
}
