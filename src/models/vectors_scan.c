/*
 * vectors_scan.c
 *	  Item vectors without shared memory: from the table, with the same
 *	  answers.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"

#include "numeric/topk.h"
#include "models/vectors_impl.h"

#define LOOK_ROWS	256

/* The vector of an item, in place; NULL: none. */
static const float *
vector_of_item(Vectors *v, int32 item)
{
	Datum		keys[2] = {Int32GetDatum(v->version.version), Int32GetDatum(item)};
	TupleTableSlot *row = table_get(v->factors, v->cx->snapshot, 2, keys);

	return row ? vector_of_row(row, v->version.dim) : NULL;
}

int
table_gather(Vectors *v, int n, const int32 *items, float *out, int *found)
{
	const int	dim = v->version.dim;
	int			nfound = 0;

	for (int x = 0; x < n; x++)
	{
		const float *vector = vector_of_item(v, items[x]);

		CHECK_FOR_INTERRUPTS();
		if (vector == NULL)
			continue;
		memcpy(out + (Size) nfound * dim, vector, sizeof(float) * dim);
		found[nfound++] = x;
	}
	return nfound;
}

/* More rows than the table can have. */
Size
table_max_rows(Vectors *v)
{
	return (Size) RelationGetNumberOfBlocks(v->factors->rel) * MaxHeapTuplesPerPage;
}

static void
offer(const Vectors *v, const SearchQuery *query, TopK *top, int32 item, const float *vector)
{
	RankKey		key;

	if (vector == NULL)
		return;
	key = rank_key(item, query->cosine ? search_cosine(v->cosine_dim, query->vector, vector)
				   : search_score(v->version.dim, query->vector, vector));
	if (key > top->bar && (query->admit == NULL || query->admit(query->arg, item)))
		topk_insert(top, key);
}

static void
offer_all(Vectors *v, const SearchQuery *query, TopK *top)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys vectors",
												  ALLOCSET_DEFAULT_SIZES);
	Datum		key = Int32GetDatum(v->version.version);
	int			n = 0;

	for (TupleTableSlot *row = table_get(v->factors, v->cx->snapshot, 1, &key);
		 row; row = table_get_next(v->factors))
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		const float *vector = vector_of_row(row, v->version.dim);

		MemoryContextSwitchTo(old);
		offer(v, query, top, DatumGetInt32(checked_attribute(row, FACTORS_ITEM)), vector);
		if (++n % LOOK_ROWS == 0)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(scratch);
		}
	}
	MemoryContextDelete(scratch);
}

int
table_top(Vectors *v, const SearchQuery *query, SearchHit *hits)
{
	Size		k = Min((Size) Max(query->k, 0), table_max_rows(v));
	RankKey    *heap;
	TopK		top;

	if (k == 0 || !search_finite(v->version.dim, query->vector))
		return 0;
	heap = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(RankKey) * k);
	topk_init(&top, heap, k);
	if (query->only)
		for (int x = 0; x < query->nonly; x++)
		{
			CHECK_FOR_INTERRUPTS();
			offer(v, query, &top, query->only[x], vector_of_item(v, query->only[x]));
		}
	else
		offer_all(v, query, &top);
	rank_sort(heap, top.n);
	for (Size x = 0; x < top.n; x++)
		hits[x] = (SearchHit) {rank_item(heap[x]), rank_score(heap[x])};
	pfree(heap);
	return (int) top.n;
}
