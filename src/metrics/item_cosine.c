/*
 * item_cosine.c
 *	  recsys.item_cosine(): the most similar items of all items of any table.
 *
 * r(u,i) is the sum of the values of a (user, item), and two items are as similar
 * as the cosine of their columns is, the formula of item_knn.  Rows are gathered
 * by interactions.c, in as many processes as there may be; the final function
 * makes the matrix of them and goes through the rows of dot products, of which it
 * keeps nothing but the k best (numeric/item_rows.h).
 *
 * A cosine does not change when a column is multiplied by something, so each is
 * brought near to 1 by a power of two: whatever size values have, floats hold
 * them, and whole numbers stay exact.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "metrics/interactions.h"
#include "miscadmin.h"
#include "models/histories.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "numeric/expansion.h"
#include "numeric/item_rows.h"
#include "numeric/topk.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(recsys_item_cosine_accum);
PG_FUNCTION_INFO_V1(recsys_item_cosine_combine);
PG_FUNCTION_INFO_V1(recsys_item_cosine_serialize);
PG_FUNCTION_INFO_V1(recsys_item_cosine_deserialize);
PG_FUNCTION_INFO_V1(recsys_item_cosine_final);

#define DEFAULT_K	50			/* as of item_knn */
#define MAX_K		1000

enum
{
	ARG_USER = 1,
	ARG_ITEM,
	ARG_VALUE,
	ARG_K
};

/* -------------------------------------------------------------------- rows */

static MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "called outside an aggregate");
	return context;
}

/*
 * Users and items may have different collations, of which a function call knows
 * only what they have in common.  A window function's call knows no more.
 */
static Oid
argument_collation(FunctionCallInfo fcinfo, int arg)
{
	Aggref	   *aggref = AggGetAggref(fcinfo);
	Oid			collation = PG_GET_COLLATION();

	if (aggref && list_length(aggref->args) >= arg)
		collation = exprCollation((Node *) ((TargetEntry *) list_nth(aggref->args, arg - 1))->expr);
	if (!OidIsValid(collation))
		collation = get_typcollation(get_fn_expr_argtype(fcinfo->flinfo, arg));
	return collation;
}

static int
k_argument(FunctionCallInfo fcinfo)
{
	int			k = PG_NARGS() > ARG_K && !PG_ARGISNULL(ARG_K) ? PG_GETARG_INT32(ARG_K) : DEFAULT_K;

	if (k < 1 || k > MAX_K)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("k is %d", k),
				errhint("Pass a number of similar items from 1 to %d.", MAX_K));
	return k;
}

static void
same_k(const Interactions *in, int k)
{
	if (k != in->k)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("k is %d in one row and %d in another", in->k, k),
				errhint("Pass the same k for all rows of a group."));
}

static double
value_argument(FunctionCallInfo fcinfo)
{
	double		value = PG_NARGS() > ARG_VALUE ? PG_GETARG_FLOAT8(ARG_VALUE) : 1;

	if (unlikely(!(fabs(value) <= EXPANSION_LIMIT)))
		ereport(ERROR,
				errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("argument \"value\" is %s", isnan(value) ? "NaN" : psprintf("%g", value)),
				errhint("Leave the row out by FILTER (WHERE ...), or bring values into a range up to %g.", EXPANSION_LIMIT));
	return value;
}

static Interactions *
first_row(FunctionCallInfo fcinfo)
{
	return interactions_create(aggregate_context(fcinfo), k_argument(fcinfo),
							   get_fn_expr_argtype(fcinfo->flinfo, ARG_USER), argument_collation(fcinfo, ARG_USER),
							   get_fn_expr_argtype(fcinfo->flinfo, ARG_ITEM), argument_collation(fcinfo, ARG_ITEM));
}

/* (state, user, item [, value [, k]]); a row without one of the first three says nothing */
Datum
recsys_item_cosine_accum(PG_FUNCTION_ARGS)
{
	Interactions *in = PG_ARGISNULL(0) ? NULL : (Interactions *) PG_GETARG_POINTER(0);

	aggregate_context(fcinfo);
	if (PG_ARGISNULL(ARG_USER) || PG_ARGISNULL(ARG_ITEM) || (PG_NARGS() > ARG_VALUE && PG_ARGISNULL(ARG_VALUE)))
	{
		if (in == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(in);
	}
	if (in == NULL)
		in = first_row(fcinfo);
	else
		same_k(in, k_argument(fcinfo));
	interactions_add(in, PG_GETARG_DATUM(ARG_USER), PG_GETARG_DATUM(ARG_ITEM), value_argument(fcinfo));
	PG_RETURN_POINTER(in);
}

Datum
recsys_item_cosine_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	Interactions *in = PG_ARGISNULL(0) ? NULL : (Interactions *) PG_GETARG_POINTER(0),
			   *part = PG_ARGISNULL(1) ? NULL : (Interactions *) PG_GETARG_POINTER(1);

	if (part == NULL && in == NULL)
		PG_RETURN_NULL();
	if (part == NULL)
		PG_RETURN_POINTER(in);
	if (in == NULL)
		in = interactions_create(context, part->k,
								 codes_type(part->users), codes_collation(part->users),
								 codes_type(part->items), codes_collation(part->items));
	same_k(in, part->k);
	interactions_merge(in, part);
	PG_RETURN_POINTER(in);
}

Datum
recsys_item_cosine_serialize(PG_FUNCTION_ARGS)
{
	aggregate_context(fcinfo);
	PG_RETURN_BYTEA_P(interactions_write((Interactions *) PG_GETARG_POINTER(0)));
}

Datum
recsys_item_cosine_deserialize(PG_FUNCTION_ARGS)
{
	aggregate_context(fcinfo);
	PG_RETURN_POINTER(interactions_read(PG_GETARG_BYTEA_PP(0), CurrentMemoryContext));
}

/* ------------------------------------------------------------------ matrix */

/* Items have numbers from 1 here, the codes plus 1. */
typedef struct Matrix
{
	MemoryContext context;
	int32		nitems;
	Histories	h;
	double	   *inverse;		/* [nitems + 1], 1 / length; 0 of an empty column */
} Matrix;

/* The powers of two that bring the largest value of each item below 1. */
static int *
item_exponents(const Interactions *in, int32 nitems)
{
	double	   *largest = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(double) * ((Size) nitems + 1),
													 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	int		   *exponents = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int) * ((Size) nitems + 1));
	Interaction pair;

	for (int64 at = 0; interactions_next(in, &at, &pair);)
	{
		int32		item = INTERACTION_ITEM(pair.pair) + 1;

		largest[item] = Max(largest[item], fabs(pair.value));
	}
	for (int32 i = 0; i <= nitems; i++)
		frexp(largest[i], &exponents[i]);
	return exponents;
}

static void
fill_matrix(Matrix *m, const Interactions *in, int64 *offsets, int32 *items, float *weights)
{
	int		   *exponents = item_exponents(in, m->nitems);
	Interaction pair;
	int64		n = 0;
	int32		user = 0;

	offsets[0] = 0;
	for (int64 at = 0; interactions_next(in, &at, &pair); n++)
	{
		int32		item = INTERACTION_ITEM(pair.pair) + 1;

		while (user < INTERACTION_USER(pair.pair))
			offsets[++user] = n;
		items[n] = item;
		weights[n] = (float) ldexp(pair.value, -exponents[item]);
		m->inverse[item] += (double) weights[n] * weights[n];
		if (n % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	while (user < m->h.nusers)
		offsets[++user] = n;
	for (int32 i = 1; i <= m->nitems; i++)
		if (m->inverse[i] > 0)
			m->inverse[i] = 1 / sqrt(m->inverse[i]);
}

static Size
matrix_bytes(const Interactions *in)
{
	return (sizeof(int32) + sizeof(float)) * (Size) in->n + sizeof(int64) * ((Size) codes_count(in->users) + 1) +
		(2 * sizeof(double) + sizeof(int)) * ((Size) codes_count(in->items) + 1) +
		item_rows_bytes(in->n, codes_count(in->items), false);
}

static Matrix
make_matrix(const Interactions *in)
{
	Matrix		m = {.context = AllocSetContextCreate(CurrentMemoryContext, "recsys matrix", ALLOCSET_DEFAULT_SIZES),
	.nitems = codes_count(in->items)};
	MemoryContext before = MemoryContextSwitchTo(m.context);
	int64	   *offsets = MemoryContextAllocHuge(m.context, sizeof(int64) * ((Size) codes_count(in->users) + 1));
	int32	   *items = MemoryContextAllocHuge(m.context, sizeof(int32) * (Size) Max(in->n, 1));
	float	   *weights = MemoryContextAllocHuge(m.context, sizeof(float) * (Size) Max(in->n, 1));

	m.inverse = MemoryContextAllocExtended(m.context, sizeof(double) * ((Size) m.nitems + 1),
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	m.h.nusers = codes_count(in->users);
	m.h.offsets = offsets;
	m.h.items = items;
	m.h.weights = weights;
	fill_matrix(&m, in, offsets, items, weights);
	MemoryContextSwitchTo(before);
	return m;
}

/* Those of a positive cosine, which is the same from either side. */
static int
similar_items(const Matrix *m, int32 item, const PairRowView *row, TopK *top, int32 *items, float *scores)
{
	double		inverse = m->inverse[item];

	for (int32 c = 0; c < row->n; c++)
	{
		int32		other = pair_cell_item(row, c);
		float		dot = pair_cell_dot(row, c);
		float		score = (float) (dot * (inverse * m->inverse[other]));

		if (dot > 0)
			topk_push(top, other, Min(score, 1.0f));
	}
	return (int) topk_finish(top, items, scores);
}

/* ------------------------------------------------------------------ result */

/* An array of recsys.similar_pair that is written where it stands: of so many
 * elements, array_agg()'s way would need twice the memory. */
typedef struct PairArray
{
	const Interactions *in;		/* whose limit of memory it is */
	TupleDesc	desc;
	Oid			element_type;
	char	   *data;
	Size		used,
				max,
				others;			/* what the matrix takes */
	int			n;
} PairArray;

static PairArray
begin_array(FunctionCallInfo fcinfo, const Interactions *in, Size others)
{
	PairArray	a = {.in = in,.others = others,.used = ARR_OVERHEAD_NONULLS(1),.max = 65536};

	a.element_type = get_element_type(get_func_rettype(fcinfo->flinfo->fn_oid));
	a.desc = lookup_rowtype_tupdesc_copy(a.element_type, -1);
	a.data = palloc(a.max);
	return a;
}

static void
grow_array(PairArray *a, Size more)
{
	while (a->used + more > a->max)
		a->max *= 2;
	a->max = Min(a->max, MaxAllocSize);
	if (a->used + more > a->max)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("the lists of %d items need more than 1 GB", codes_count(a->in->items)),
				errhint("Pass a smaller k than %d, or leave out rare items.", a->in->k));
	interactions_reserve(a->in, a->others + a->max);
	a->data = repalloc(a->data, a->max);
}

static void
append_pair(PairArray *a, Datum item, int rank, Datum other, float score)
{
	Datum		values[] = {item, Int32GetDatum(rank), other, Float4GetDatum(score)};
	bool		nulls[lengthof(values)] = {0};
	HeapTuple	tuple = heap_form_tuple(a->desc, values, nulls);
	Size		bytes = MAXALIGN(tuple->t_len);

	if (a->used + bytes > a->max)
		grow_array(a, bytes);
	memset(a->data + a->used + bytes - MAXIMUM_ALIGNOF, 0, MAXIMUM_ALIGNOF);
	memcpy(a->data + a->used, tuple->t_data, tuple->t_len);
	a->used += bytes;
	a->n++;
	heap_freetuple(tuple);
}

static ArrayType *
end_array(PairArray *a)
{
	ArrayType  *array = (ArrayType *) a->data;

	if (a->n == 0)
		return construct_empty_array(a->element_type);
	SET_VARSIZE(array, a->used);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = a->element_type;
	ARR_DIMS(array)[0] = a->n;
	ARR_LBOUND(array)[0] = 1;
	return array;
}

/* The keys of all items as text, by their numbers. */
static Datum *
item_texts(const Interactions *in, MemoryContext context)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	Datum	   *texts = MemoryContextAllocHuge(context, sizeof(Datum) * ((Size) codes_count(in->items) + 1));
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(codes_type(in->items), &output, &varlena);
	for (int32 i = 0; i < codes_count(in->items); i++)
	{
		texts[i + 1] = CStringGetTextDatum(OidOutputFunctionCall(output, codes_value(in->items, i)));
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(before);
	return texts;
}

static void
append_lists(PairArray *array, const Matrix *m, const Datum *texts)
{
	int			k = array->in->k;
	Allocator	memory = histories_allocator(m->context);
	ItemRows   *rows = item_rows_begin(&m->h, &memory, false);
	RankKey    *heap = palloc(sizeof(RankKey) * k);
	int32	   *items = palloc(sizeof(int32) * k);
	float	   *scores = palloc(sizeof(float) * k);
	PairRowView row;
	int32		item;
	TopK		top;

	if (rows == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OUT_OF_MEMORY),
				errmsg("out of memory"),
				errdetail("%zu kB are needed.", matrix_bytes(array->in) / 1024));
	topk_init(&top, heap, k);
	while ((item = item_rows_next(rows, &row)) != 0)
	{
		int			n = similar_items(m, item, &row, &top, items, scores);

		for (int i = 0; i < n; i++)
			append_pair(array, texts[item], i + 1, texts[items[i]], scores[i]);
		CHECK_FOR_INTERRUPTS();
	}
	item_rows_end(rows);
}

Datum
recsys_item_cosine_final(PG_FUNCTION_ARGS)
{
	Interactions *in = PG_ARGISNULL(0) ? NULL : (Interactions *) PG_GETARG_POINTER(0);
	PairArray	array;
	Matrix		m;

	aggregate_context(fcinfo);
	if (in == NULL)
		PG_RETURN_NULL();
	interactions_sort(in);
	interactions_reserve(in, matrix_bytes(in));
	m = make_matrix(in);
	array = begin_array(fcinfo, in, matrix_bytes(in));
	append_lists(&array, &m, item_texts(in, m.context));
	MemoryContextDelete(m.context);
	PG_RETURN_ARRAYTYPE_P(end_array(&array));
}
