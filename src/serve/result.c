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

/* Columns behind the key and its score, at most. */
#define MOST_MORE 4

static const Oid nothing_more[] = {InvalidOid};

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
result_begin_more(ServeCall *call, const Oid *more)
{
	begin(call, &call->source->item, more);
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
result_item_more(ServeCall *call, int32 item, double score, const Datum *more, const bool *nulls)
{
	ReturnSetInfo *result = (ReturnSetInfo *) call->fcinfo->resultinfo;
	TupleTableSlot *slot = serve_item(call, item);
	int			natts = result->setDesc->natts;
	Datum		values[2 + MOST_MORE];
	bool		isnull[2 + MOST_MORE] = {false};

	if (slot == NULL)
		return false;
	Assert(natts <= 2 + MOST_MORE);
	values[0] = checked_attribute(slot, ITEM_KEY);
	values[1] = Float4GetDatum(score_as_real(score));
	for (int i = 2; i < natts; i++)
	{
		values[i] = more[i - 2];
		isnull[i] = nulls && nulls[i - 2];
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	return true;
}
