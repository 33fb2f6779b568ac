/*
 * vectors.c
 *	  The vectors of a model version, see vectors.h.
 *
 * The row of the version that the snapshot sees says how new the segment has to
 * be.  It may be newer: vectors are overwritten between trainings, so what an older
 * publish looked like is not to be had for a snapshot that lasts.  Another
 * version, though, is another model, and a snapshot that sees an older one
 * gets its answers from the table.
 *
 * Locks on the segment are taken for single steps, never between calls.  A version
 * that is freshened between two steps of one answer does no harm.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "recsys.h"
#include "models/vectors_impl.h"

/* ------------------------------------------------------------ open and close */

/* Once in a session. */
static void
warn_no_room(const Vectors *v)
{
	static bool warned = false;

	if (warned || IsParallelWorker())
		return;
	warned = true;
	if (vector_control == NULL)
		ereport(WARNING,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("searching the table of model \"%s\", since recsys is not preloaded",
					   NameStr(v->cx->model->name)),
				errhint("Add recsys to shared_preload_libraries and restart the server to have item vectors in shared memory."));
	else
		ereport(WARNING,
				errcode(ERRCODE_OUT_OF_MEMORY),
				errmsg("searching the table of model \"%s\", since shared memory has no room for its item vectors",
					   NameStr(v->cx->model->name)),
				errhint("Raise recsys.search_memory, or give the system more shared memory (the size of /dev/shm, or min_dynamic_shared_memory)."));
}

/* Whoever changes a table has a transaction id, and a lock on the table; a
 * parallel worker can't see the locks of its leader. */
bool
vectors_changed_by_us(const Vectors *v)
{
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return false;
	return IsParallelWorker() ||
		CheckRelationLockedByMe(v->versions->rel, RowExclusiveLock, true) ||
		(v->factors && CheckRelationLockedByMe(v->factors->rel, RowExclusiveLock, true));
}

void
vectors_open_tables(Vectors *v)
{
	if (v->factors == NULL)
		v->factors = embedding_open_factors(v->cx->source, v->cx->model, false);
	if (v->published == NULL)
		v->published = embedding_open_factors(v->cx->source, v->cx->model, true);
}

static void
close_tables(Vectors *v)
{
	if (v->versions)
		checked_close(v->versions);
	if (v->factors)
		checked_close(v->factors);
	if (v->published)
		checked_close(v->published);
	v->versions = v->factors = v->published = NULL;
}

static void
release_mapping(void *arg)
{
	Vectors    *v = arg;

	if (v->mapping)
		mapping_release(v->mapping);
	v->mapping = NULL;
}

static Vectors *
open_version(ServeContext *cx)
{
	Vectors    *v = palloc0(sizeof(Vectors));

	v->cx = cx;
	v->versions = embedding_open_version(cx->source, cx->model);
	if (!embedding_read_version(v->versions, cx->snapshot, &v->version))
	{
		vectors_close(v);
		return NULL;
	}
	v->cosine_dim = vectors_cosine_dim(cx->source, v->version.dim);
	return v;
}

static void
map(Vectors *v, bool wait)
{
	MapResult	result;

	if (vectors_changed_by_us(v))
		return;
	/* registered before there is anything to give back: it may fail */
	v->cleanup.func = release_mapping;
	v->cleanup.arg = v;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &v->cleanup);
	result = vectors_map(v, wait);
	/* one that a user has edited may say anything */
	if (v->mapping && v->mapping->header->dim != v->version.dim)
		v->mapping = NULL;
	if (v->mapping)
		v->mapping->users++;
	if (result == MAP_NO_ROOM)
		warn_no_room(v);
}

Vectors *
vectors_open(ServeContext *cx)
{
	Vectors    *v = open_version(cx);

	if (v == NULL)
		return NULL;
	map(v, true);
	if (v->mapping)
		close_tables(v);
	else
		vectors_open_tables(v);
	return v;
}

void
vectors_close(Vectors *v)
{
	close_tables(v);
	release_mapping(v);
}

const EmbeddingVersion *
vectors_version(const Vectors *v)
{
	return &v->version;
}

/* ------------------------------------------------------------------ reading */

const float *
vectors_gram(Vectors *v)
{
	const int	dim = v->version.dim;
	float	   *gram = NULL;
	bool		locked;

	if (v->mapping == NULL)
		return embedding_read_matrix(v->versions, v->cx->snapshot, v->version.version,
									 VERSION_ITEM_GRAM);
	gram = palloc(sizeof(float) * dim * dim);
	locked = mapping_lock(v->mapping);
	if (v->mapping->header->has_gram)
		memcpy(gram, segment_gram(v->mapping->header), sizeof(float) * dim * dim);
	else
	{
		pfree(gram);
		gram = NULL;
	}
	mapping_unlock(v->mapping, locked);
	return gram;
}

int
vectors_gather(Vectors *v, int n, const int32 *items, float *out, int *found)
{
	const int	dim = v->version.dim;
	SegmentHeader *header;
	int			nfound = 0;
	bool		locked;

	if (v->mapping == NULL)
		return table_gather(v, n, items, out, found);
	header = v->mapping->header;
	locked = mapping_lock(v->mapping);
	for (int x = 0; x < n; x++)
	{
		const float *vector = items[x] < header->first ? NULL
			: search_get(segment_matrix(header), items[x] - header->first);

		if (vector == NULL)
			continue;
		memcpy(out + (Size) nfound * dim, vector, sizeof(float) * dim);
		found[nfound++] = x;
	}
	mapping_unlock(v->mapping, locked);
	return nfound;
}

SearchHit *
vectors_hits(Vectors *v, const SearchQuery *query)
{
	Size		k = Max(query->k, 0);
	Size		rows = v->mapping ? (Size) search_capacity(segment_matrix(v->mapping->header))
		: table_max_rows(v);

	return MemoryContextAllocHuge(CurrentMemoryContext,
								  sizeof(SearchHit) * Max(Min(k, rows), 1));
}

/* A query whose rows are counted from the segment's first item. */
typedef struct ShiftedQuery
{
	const SearchQuery *query;
	int32		first;
} ShiftedQuery;

static bool
admit_shifted(void *arg, int32_t row)
{
	ShiftedQuery *shifted = arg;

	return shifted->query->admit(shifted->query->arg, row + shifted->first);
}

static SearchQuery
shift_query(const SearchQuery *query, int32 first, ShiftedQuery *shifted)
{
	SearchQuery s = *query;

	shifted->query = query;
	shifted->first = first;
	if (query->admit)
	{
		s.admit = admit_shifted;
		s.arg = shifted;
	}
	if (query->only)
	{
		int32	   *only = MemoryContextAllocHuge(CurrentMemoryContext,
												  sizeof(int32) * Max(query->nonly, 1));

		for (int x = 0; x < query->nonly; x++)
			only[x] = query->only[x] < first ? -1 : query->only[x] - first;
		s.only = only;
	}
	return s;
}

int
vectors_top(Vectors *v, const SearchQuery *query, SearchHit *hits)
{
	SegmentHeader *header;
	SearchMatrix *m;
	ShiftedQuery shifted;
	SearchQuery s = *query;
	void	   *work;
	bool		locked;
	int			n;

	if (v->mapping == NULL)
		return table_top(v, query, hits);
	header = v->mapping->header;
	m = segment_matrix(header);
	if (header->first != 0)
		s = shift_query(query, header->first, &shifted);
	/* everything is allocated before the lock */
	work = MemoryContextAllocHuge(CurrentMemoryContext, search_work_size(m, query->k));
	locked = mapping_lock(v->mapping);
	n = search_top(m, &s, hits, work);
	mapping_unlock(v->mapping, locked);
	for (int x = 0; x < n; x++)
		hits[x].row += header->first;
	pfree(work);
	return n;
}

/* ------------------------------------------------------------- stream worker */

/* Others' segments are out of date for no longer than this takes; who needs one
 * sooner does it himself. */
void
vectors_published(const RecsysSource *source, const RecsysModel *model)
{
	ServeContext cx = {.source = source,.model = model};
	MemoryContext old = CurrentMemoryContext;
	Vectors    *v;

	if (vector_control == NULL || recsys_search_memory_mb == 0 || !slot_of_model(model->id))
		return;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	cx.snapshot = GetActiveSnapshot();
	v = open_version(&cx);
	if (v)
	{
		map(v, false);
		vectors_close(v);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
}

/* ----------------------------------------------------------------- trainings */

static void
prepare_slot(VectorSlot *slot, int dim, int cosine_dim, const float *gram,
			 int n, const int32 *items, const float *vectors)
{
	dsm_segment *segment = segment_of(slot, dim, cosine_dim, gram, n, items, vectors);

	if (segment == NULL)
		return;
	(void) slot_publish(slot, segment, 0);
	dsm_detach(segment);
}

void
vectors_prepare(int32 model_id, int32 version, int dim, int cosine_dim,
				const float *gram, int n, const int32 *items, const float *vectors)
{
	VectorSlot *slot;

	if (vector_control == NULL || recsys_search_memory_mb == 0)
		return;
	slot = slot_prepare(model_id, version);
	if (slot == NULL)
		return;
	PG_ENSURE_ERROR_CLEANUP(slot_release_on_error, PointerGetDatum(slot));
	{
		prepare_slot(slot, dim, cosine_dim, gram, n, items, vectors);
	}
	PG_END_ENSURE_ERROR_CLEANUP(slot_release_on_error, PointerGetDatum(slot));
	slot_release(slot);
}
