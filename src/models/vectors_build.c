/*
 * vectors_build.c
 *	  Makes a segment of item vectors from a model's tables, and freshens it;
 *	  see vectors_impl.h.
 *
 * The caller is busy with the slot, so nobody else writes.  A new segment
 * belongs to the resource owner until it is complete: an error on the way, or a
 * cancel, leaves nothing behind.  A freshening that ends half-way leaves some rows
 * newer than the slot says, which the next one writes again.
 *
 * The tables belong to a user.  Row numbers that do not fit into the segment,
 * vectors of a wrong length and numbers that are not finite must do no harm.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "compat.h"
#include "models/vectors_impl.h"

/* Rows beyond the last item: a fourth, and some for a small model. */
#define SLACK_PART	4
#define SLACK_ROWS	1024

#define ALIGNED(size)	TYPEALIGN(64, size)

/* Rows read before they are written under the lock. */
#define BATCH		128

/* Rows between two looks at interrupts. */
#define LOOK_ROWS	256

const float *
vector_of_row(TupleTableSlot *slot, int dim)
{
	int			n;
	const float *vector;

	(void) checked_array(checked_attribute(slot, FACTORS_VECTOR), FLOAT4OID, &n);
	if (n == 0)
		return NULL;
	vector = embedding_vector(slot, dim);
	return search_finite(dim, vector) ? vector : NULL;
}

static int32
item_of_row(TupleTableSlot *slot)
{
	return DatumGetInt32(checked_attribute(slot, FACTORS_ITEM));
}

/* -------------------------------------------------------------------- size */

/* The first item of the version from one end of the index; -1: no rows. */
static int32
item_at_end(Vectors *v, ScanDirection direction)
{
	StateTable *t = v->factors;
	IndexScanDesc scan = compat_index_beginscan(t->rel, t->index, v->cx->snapshot, 1, 0);
	ScanKeyData key = t->keys[0];
	int32		item = -1;

	key.sk_argument = Int32GetDatum(v->version.version);
	index_rescan(scan, &key, 1, NULL, 0);
	if (index_getnext_slot(scan, direction, t->slot))
		item = item_of_row(t->slot);
	ExecClearTuple(t->slot);
	index_endscan(scan);
	return item;
}

/* What a segment has to hold. */
typedef struct Extent
{
	int32		first;			/* item of row 0 */
	int32		capacity;
	Size		gram;			/* offsets */
	Size		matrix;
	Size		size;
} Extent;

/* Numbers are never reused, so after a while a source has none of the small
 * ones: the rows begin with the smallest there is. */
static Extent
extent_of(int32 first, int32 last, int dim)
{
	int64		rows;
	Extent		e;

	e.first = Max(first, 0);
	rows = (int64) last + 1 - e.first;
	rows += rows / SLACK_PART + SLACK_ROWS;
	e.capacity = (int32) Min(rows, (int64) PG_INT32_MAX - e.first);
	e.gram = ALIGNED(sizeof(SegmentHeader));
	e.matrix = e.gram + ALIGNED(sizeof(float) * dim * dim);
	e.size = add_size(e.matrix, search_size(e.capacity, dim));
	return e;
}

static Extent
extent_of_table(Vectors *v)
{
	int32		a = item_at_end(v, ForwardScanDirection);
	int32		b = item_at_end(v, BackwardScanDirection);

	return extent_of(Min(a, b), Max(a, b), v->version.dim);
}

/* ------------------------------------------------------------------- making */

static void
set_gram(SegmentHeader *header, const float *gram)
{
	header->has_gram = gram != NULL;
	if (gram)
		memcpy(segment_gram(header), gram, sizeof(float) * header->dim * header->dim);
}

static float *
read_gram(Vectors *v)
{
	return embedding_read_matrix(v->versions, v->cx->snapshot, v->version.version,
								 VERSION_ITEM_GRAM);
}

static void
fill(Vectors *v, VectorSlot *slot, SegmentHeader *header)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys vectors",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	SearchMatrix *m = segment_matrix(header);
	Datum		key = Int32GetDatum(v->version.version);
	int			n = 0;

	set_gram(header, read_gram(v));
	for (TupleTableSlot *row = table_get(v->factors, v->cx->snapshot, 1, &key);
		 row; row = table_get_next(v->factors))
	{
		int64		at = (int64) item_of_row(row) - header->first;

		if (at >= 0 && at < search_capacity(m))
			search_set(m, (int32) at, vector_of_row(row, header->dim));
		if (++n % LOOK_ROWS == 0)
		{
			CHECK_FOR_INTERRUPTS();
			pg_atomic_fetch_add_u32(&slot->progress, 1);
			MemoryContextReset(scratch);
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

/* If there is no other way, at the cost of what the model has now. */
static dsm_segment *
allocate(VectorSlot *slot, Size size)
{
	dsm_segment *segment = NULL;

	if (slot_make_room(slot, size))
		segment = segment_create(size);
	if (segment == NULL && slot_sacrifice(slot))
	{
		mappings_sweep();
		if (slot_make_room(slot, size))
			segment = segment_create(size);
	}
	return segment;
}

/* Without rows; the resource owner's until it is complete. */
static SegmentHeader *
start_segment(dsm_segment *segment, const Extent *e, int dim, int cosine_dim)
{
	SegmentHeader *header = dsm_segment_address(segment);

	dsm_unpin_mapping(segment);
	header->first = e->first;
	header->dim = dim;
	header->has_gram = false;
	header->gram = e->gram;
	header->matrix = e->matrix;
	search_init(segment_matrix(header), e->capacity, dim, cosine_dim);
	return header;
}

dsm_segment *
segment_build(Vectors *v, VectorSlot *slot)
{
	Extent		e = extent_of_table(v);
	dsm_segment *segment = allocate(slot, e.size);

	if (segment == NULL)
		return NULL;
	fill(v, slot, start_segment(segment, &e, v->version.dim, v->cosine_dim));
	dsm_pin_mapping(segment);
	return segment;
}

dsm_segment *
segment_of(VectorSlot *slot, int dim, int cosine_dim, const float *gram,
		   int n, const int32 *items, const float *vectors)
{
	int32		first = n > 0 ? items[0] : 0,
				last = first;
	dsm_segment *segment;
	SegmentHeader *header;
	Extent		e;

	for (int x = 0; x < n; x++)
	{
		first = Min(first, items[x]);
		last = Max(last, items[x]);
	}
	e = extent_of(first, last, dim);
	if (!slot_make_room(slot, e.size) || (segment = segment_create(e.size)) == NULL)
		return NULL;
	header = start_segment(segment, &e, dim, cosine_dim);
	set_gram(header, gram);
	for (int x = 0; x < n; x++)
	{
		if (x % LOOK_ROWS == 0)
			CHECK_FOR_INTERRUPTS();
		search_set(segment_matrix(header), items[x] - e.first, vectors + (Size) x * dim);
	}
	dsm_pin_mapping(segment);
	return segment;
}

/* --------------------------------------------------------------- freshening */

typedef struct Batch
{
	int			n;
	int32		rows[BATCH];
	bool		present[BATCH];
	float	   *vectors;		/* [BATCH][dim] */
} Batch;

static void
write_batch(Mapping *mapping, Batch *batch)
{
	SearchMatrix *m = segment_matrix(mapping->header);
	int			dim = mapping->header->dim;

	LWLockAcquire(mapping->slot->lock, LW_EXCLUSIVE);
	for (int x = 0; x < batch->n; x++)
		search_set(m, batch->rows[x], batch->present[x] ? batch->vectors + x * dim : NULL);
	LWLockRelease(mapping->slot->lock);
	pg_atomic_fetch_add_u32(&mapping->slot->progress, 1);
	batch->n = 0;
}

/* False: there is no room for this row. */
static bool
add_to_batch(Mapping *mapping, Batch *batch, TupleTableSlot *row)
{
	int			dim = mapping->header->dim;
	int64		at = (int64) item_of_row(row) - mapping->header->first;
	const float *vector = vector_of_row(row, dim);

	if (at < 0 || at >= search_capacity(segment_matrix(mapping->header)))
		return false;
	batch->rows[batch->n] = (int32) at;
	batch->present[batch->n] = vector != NULL;
	if (vector)
		memcpy(batch->vectors + batch->n * dim, vector, sizeof(float) * dim);
	batch->n++;
	return true;
}

static IndexScanDesc
scan_newer(Vectors *v, int64 publish)
{
	StateTable *t = v->published;
	IndexScanDesc scan = compat_index_beginscan(t->rel, t->index, v->cx->snapshot, 2, 0);
	ScanKeyData keys[2];

	keys[0] = t->keys[0];
	keys[0].sk_argument = Int32GetDatum(v->version.version);
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTGreaterStrategyNumber, INT8OID, InvalidOid,
						   F_INT8GT, Int64GetDatum(publish));
	index_rescan(scan, keys, 2, NULL, 0);
	return scan;
}

bool
segment_freshen(Vectors *v, Mapping *mapping)
{
	StateTable *t = v->published;
	Batch		batch = {0};
	float	   *gram = read_gram(v);
	IndexScanDesc scan;
	bool		fits = true;

	if (mapping->header->dim != v->version.dim)
		return false;
	batch.vectors = palloc(sizeof(float) * BATCH * v->version.dim);
	scan = scan_newer(v, mapping->slot->publish);
	while (fits && index_getnext_slot(scan, ForwardScanDirection, t->slot))
	{
		fits = add_to_batch(mapping, &batch, t->slot);
		if (batch.n == BATCH)
		{
			write_batch(mapping, &batch);
			CHECK_FOR_INTERRUPTS();
		}
	}
	ExecClearTuple(t->slot);
	index_endscan(scan);
	if (fits)
	{
		write_batch(mapping, &batch);
		LWLockAcquire(mapping->slot->lock, LW_EXCLUSIVE);
		set_gram(mapping->header, gram);
		LWLockRelease(mapping->slot->lock);
	}
	pfree(batch.vectors);
	if (gram)
		pfree(gram);
	return fits;
}
