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

/* The function's row type was made for keys of one of the two columns. */
static void
begin(ServeCall *call, const KeyColumn *column)
{
	ReturnSetInfo *result = (ReturnSetInfo *) call->fcinfo->resultinfo;
	MemoryContext old = MemoryContextSwitchTo(call->caller);
	bool		described = result && IsA(result, ReturnSetInfo) && result->expectedDesc;

	InitMaterializedSRF(call->fcinfo, described ? MAT_SRF_USE_EXPECTED_DESC : 0);
	MemoryContextSwitchTo(old);
	if (result->setDesc->natts != 2 ||
		TupleDescAttr(result->setDesc, 0)->atttypid != column->type ||
		TupleDescAttr(result->setDesc, 1)->atttypid != FLOAT4OID)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("function of source \"%s\" does not return keys of type %s",
					   NameStr(call->source->name), format_type_be(column->type)),
				errhint("Drop the source with recsys.drop_source() and create it again."));
}

void
result_begin(ServeCall *call)
{
	begin(call, &call->source->item);
}

void
result_begin_users(ServeCall *call)
{
	begin(call, &call->source->user);
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
