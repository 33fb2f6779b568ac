/*
 * users_estimate.c
 *	  Aggregates over sketches of users, see numeric/sketch.h.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "utils/memutils.h"

#include "compat.h"
#include "numeric/sketch.h"

PG_FUNCTION_INFO_V1(recsys_users_accum);
PG_FUNCTION_INFO_V1(recsys_users_combine);
PG_FUNCTION_INFO_V1(recsys_users_serialize);
PG_FUNCTION_INFO_V1(recsys_users_deserialize);
PG_FUNCTION_INFO_V1(recsys_users_final);

static void *
context_alloc(void *arg, size_t size)
{
	return MemoryContextAlloc(arg, size);
}

static void
context_release(void *arg, void *ptr)
{
	(void) arg;
	pfree(ptr);
}

static Allocator
allocator_of(MemoryContext context)
{
	return (Allocator) {context_alloc, context_release, context};
}

static MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "called outside an aggregate");
	return context;
}

static void
load(Sketch *sketch, bytea *bytes, const Allocator *a)
{
	if (sketch_load(sketch, (unsigned char *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), a) != SKETCH_OK)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				errmsg("%d bytes are no sketch of users", (int) VARSIZE_ANY_EXHDR(bytes)),
				errhint("Sketches are in column users of the table windows of a source that has metrics."));
}

Datum
recsys_users_accum(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	Allocator	a = allocator_of(context);
	Sketch	   *state = PG_ARGISNULL(0) ? NULL : (Sketch *) PG_GETARG_POINTER(0);

	if (state == NULL)
		state = MemoryContextAllocZero(context, sizeof(Sketch));
	if (!PG_ARGISNULL(1))
	{
		Sketch		sketch = {0};
		Allocator	here = allocator_of(CurrentMemoryContext);

		load(&sketch, PG_GETARG_BYTEA_PP(1), &here);
		(void) sketch_merge(state, &sketch, &a);
		sketch_clear(&sketch, &here);
	}
	PG_RETURN_POINTER(state);
}

Datum
recsys_users_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	Allocator	a = allocator_of(context);
	Sketch	   *state = PG_ARGISNULL(0) ? NULL : (Sketch *) PG_GETARG_POINTER(0),
			   *part = PG_ARGISNULL(1) ? NULL : (Sketch *) PG_GETARG_POINTER(1);

	if (part == NULL && state == NULL)
		PG_RETURN_NULL();
	if (state == NULL)
		state = MemoryContextAllocZero(context, sizeof(Sketch));
	if (part)
		(void) sketch_merge(state, part, &a);
	PG_RETURN_POINTER(state);
}

Datum
recsys_users_serialize(PG_FUNCTION_ARGS)
{
	Sketch	   *state;
	Size		size;
	bytea	   *result;

	aggregate_context(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (Sketch *) PG_GETARG_POINTER(0);
	size = sketch_stored_size(state);
	result = palloc(VARHDRSZ + size);
	SET_VARSIZE(result, VARHDRSZ + size);
	sketch_store(state, (unsigned char *) VARDATA(result));
	PG_RETURN_BYTEA_P(result);
}

Datum
recsys_users_deserialize(PG_FUNCTION_ARGS)
{
	Allocator	a = allocator_of(CurrentMemoryContext);
	Sketch	   *state = palloc0(sizeof(Sketch));

	aggregate_context(fcinfo);
	load(state, PG_GETARG_BYTEA_PP(0), &a);
	PG_RETURN_POINTER(state);
}

Datum
recsys_users_final(PG_FUNCTION_ARGS)
{
	aggregate_context(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_INT64(0);
	PG_RETURN_INT64((int64) rint(sketch_estimate((Sketch *) PG_GETARG_POINTER(0))));
}
