/*
 * vectors_map.c
 *	  A process's mappings of segments of item vectors: finding one that is up
 *	  to date, having it made or freshened, and letting go of old ones.
 *
 * A mapping lives as long as the session, or until this process notices that
 * the slot has another segment now.  A session that never asks again keeps what
 * it has mapped, which keeps an old segment's memory.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "recsys.h"
#include "models/vectors_impl.h"

static List *mappings = NIL;	/* of Mapping *, a handful */

/* --------------------------------------------------------------- segments */

typedef struct SegmentRequest
{
	Size		size;			/* 0: attach */
	dsm_handle	handle;
	dsm_segment *segment;
} SegmentRequest;

/*
 * dsm_create() and dsm_attach() hold no lock when they raise an error for lack of
 * memory, but leave a descriptor behind, which goes with the resource owner.  So
 * with one of their own the error can be caught without a subtransaction, which
 * parallel workers may not have.
 */
static void
request_segment(SegmentRequest *request)
{
	ResourceOwner outer = CurrentResourceOwner;
	ResourceOwner owner = ResourceOwnerCreate(outer, "recsys segment");
	MemoryContext context = CurrentMemoryContext;

	CurrentResourceOwner = owner;
	PG_TRY();
	{
		request->segment = request->size > 0 ? dsm_create(request->size, 0)
			: dsm_attach(request->handle);
		if (request->segment)
			dsm_pin_mapping(request->segment);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		CurrentResourceOwner = outer;
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INSUFFICIENT_RESOURCES)
			PG_RE_THROW();
		FlushErrorState();
		elog(DEBUG1, "no segment for item vectors: %s", error->message);
		FreeErrorData(error);
		ResourceOwnerRelease(owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, false);
		request->segment = NULL;
	}
	PG_END_TRY();
	CurrentResourceOwner = outer;
	ResourceOwnerDelete(owner);
}

dsm_segment *
segment_create(Size size)
{
	SegmentRequest request = {.size = size};

	request_segment(&request);
	return request.segment;
}

dsm_segment *
segment_attach(dsm_handle handle)
{
	SegmentRequest request = {.handle = handle};

	request_segment(&request);
	return request.segment;
}

/* --------------------------------------------------------------- mappings */

static bool
moved_on(const Mapping *mapping)
{
	return pg_atomic_read_u64(&mapping->slot->generation) != mapping->generation;
}

static void
unmap(Mapping *mapping)
{
	mappings = list_delete_ptr(mappings, mapping);
	dsm_detach(mapping->segment);
	pfree(mapping);
}

void
mappings_sweep(void)
{
	for (int i = list_length(mappings) - 1; i >= 0; i--)
	{
		Mapping    *mapping = list_nth(mappings, i);

		if (mapping->users == 0 && moved_on(mapping))
			unmap(mapping);
	}
}

void
mapping_release(Mapping *mapping)
{
	mapping->users--;
	if (mapping->users == 0 && moved_on(mapping))
		unmap(mapping);
}

static Mapping *
find_mapping(int32 model_id, const EmbeddingVersion *version)
{
	ListCell   *lc;

	foreach(lc, mappings)
	{
		Mapping    *mapping = lfirst(lc);

		if (mapping->model_id == model_id && mapping->version == version->version &&
			mapping->trained_at == version->trained_at && !moved_on(mapping))
			return mapping;
	}
	return NULL;
}

/* The segment stays mapped; errors are for lack of a few bytes only. */
static Mapping *
add_mapping(VectorSlot *slot, uint64 generation, int32 model_id,
			const EmbeddingVersion *version, dsm_segment *segment)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Mapping    *mapping = palloc(sizeof(Mapping));

	mapping->slot = slot;
	mapping->generation = generation;
	mapping->model_id = model_id;
	mapping->version = version->version;
	mapping->trained_at = version->trained_at;
	mapping->segment = segment;
	mapping->header = dsm_segment_address(segment);
	mapping->users = 0;
	mappings = lappend(mappings, mapping);
	MemoryContextSwitchTo(old);
	return mapping;
}

static bool
use_if_current(Vectors *v, Mapping *mapping)
{
	VectorSlot *slot = mapping->slot;
	TimestampTz now = GetCurrentStatementStartTimestamp();
	bool		locked = mapping_lock(mapping);
	bool		current = locked && slot->publish >= v->version.publish;

	mapping_unlock(mapping, locked);
	if (!current)
		return false;
	/* once a second is enough, and keeps the cache line with everybody */
	if (now - (TimestampTz) pg_atomic_read_u64(&slot->used_at) > USECS_PER_SEC)
		pg_atomic_write_u64(&slot->used_at, (uint64) now);
	v->mapping = mapping;
	return true;
}

/*
 * Maps what the slot has; NULL with *gone if there is nothing any more, without:
 * no room in this process.
 */
static Mapping *
map_slot(VectorSlot *slot, int32 model_id, const EmbeddingVersion *version, bool *gone)
{
	dsm_handle	handle = DSM_HANDLE_INVALID;
	uint64		generation = 0;
	dsm_segment *segment;
	Mapping    *mapping;

	*gone = true;
	LWLockAcquire(vector_control->lock, LW_SHARED);
	if (slot->state == SLOT_READY && slot_is(slot, model_id, version))
	{
		handle = slot->handle;
		generation = pg_atomic_read_u64(&slot->generation);
	}
	LWLockRelease(vector_control->lock);
	mapping = find_mapping(model_id, version);
	if (handle == DSM_HANDLE_INVALID || mapping)
		return mapping;

	*gone = false;
	segment = dsm_find_mapping(handle);
	if (segment == NULL)
		segment = segment_attach(handle);
	if (segment == NULL)
	{
		*gone = pg_atomic_read_u64(&slot->generation) != generation;
		return NULL;
	}
	/* a handle may have been given to another segment meanwhile */
	if (pg_atomic_read_u64(&slot->generation) != generation)
	{
		dsm_detach(segment);
		*gone = true;
		return NULL;
	}
	return add_mapping(slot, generation, model_id, version, segment);
}

/* ------------------------------------------------------ making, freshening */

void
slot_release_on_error(int code, Datum arg)
{
	(void) code;
	slot_release((VectorSlot *) DatumGetPointer(arg));
}

/* Makes a segment for the slot claimed. */
static MapResult
make_segment(Vectors *v, VectorSlot *slot)
{
	dsm_segment *segment = segment_build(v, slot);

	if (segment == NULL)
		return MAP_NO_ROOM;
	if (!slot_publish(slot, segment, v->version.publish))
	{
		dsm_detach(segment);
		return MAP_OLD;
	}
	/* still claimed, so nobody changes the generation but to take it away */
	v->mapping = add_mapping(slot, pg_atomic_read_u64(&slot->generation),
							 v->cx->model->id, &v->version, segment);
	return MAP_OK;
}

/* Brings the slot claimed up to date, one way or the other. */
static MapResult
work_on(Vectors *v, VectorSlot *slot)
{
	Mapping    *mapping;
	bool		gone;

	if (slot->state == SLOT_BUILDING)
		return make_segment(v, slot);
	mapping = find_mapping(v->cx->model->id, &v->version);
	if (mapping == NULL)
		mapping = map_slot(slot, v->cx->model->id, &v->version, &gone);
	if (mapping == NULL)
		return MAP_NO_ROOM;
	if (!segment_freshen(v, mapping))
		return make_segment(v, slot);
	slot_freshened(slot, v->version.publish);
	v->mapping = mapping;
	return MAP_OK;
}

static MapResult
work_claimed(Vectors *v, VectorSlot *slot)
{
	MapResult	result;

	PG_ENSURE_ERROR_CLEANUP(slot_release_on_error, PointerGetDatum(slot));
	{
		result = work_on(v, slot);
	}
	PG_END_ENSURE_ERROR_CLEANUP(slot_release_on_error, PointerGetDatum(slot));
	slot_release(slot);
	return result;
}

/* One round; false: look again. */
static bool
try_slot(Vectors *v, bool wait, MapResult *result)
{
	int32		model_id = v->cx->model->id;
	VectorSlot *slot;
	Mapping    *mapping;
	bool		gone;

	switch (slot_claim(model_id, &v->version, &slot))
	{
		case CLAIM_MINE:
			*result = work_claimed(v, slot);
			return true;
		case CLAIM_OLD:
			*result = MAP_OLD;
			return true;
		case CLAIM_FULL:
			*result = MAP_NO_ROOM;
			return true;
		case CLAIM_WAIT:
			*result = MAP_STUCK;
			return !wait || !slot_wait(slot, model_id, &v->version);
		case CLAIM_CURRENT:
			break;
	}
	mapping = map_slot(slot, model_id, &v->version, &gone);
	*result = MAP_NO_ROOM;
	if (mapping == NULL)
		return !gone;
	if (!use_if_current(v, mapping))
		return false;
	*result = MAP_OK;
	return true;
}

/* ------------------------------------------------------------- no room */

/* A lack of memory is not looked for again with each call. */
#define RETRY_MS 10000

static TimestampTz no_room_until = 0;
static int32 no_room_model = 0;

MapResult
vectors_map(Vectors *v, bool wait)
{
	Mapping    *mapping;
	MapResult	result;

	if (vector_control == NULL || recsys_search_memory_mb == 0)
		return MAP_NO_ROOM;
	mapping = find_mapping(v->cx->model->id, &v->version);
	if (mapping && use_if_current(v, mapping))
		return MAP_OK;
	if (no_room_model == v->cx->model->id && GetCurrentTimestamp() < no_room_until)
		return MAP_NO_ROOM;

	mappings_sweep();
	/* before a slot is claimed, so that their locks are held by then */
	vectors_open_tables(v);
	if (vectors_changed_by_us(v))
		return MAP_OLD;
	do
	{
		CHECK_FOR_INTERRUPTS();
	} while (!try_slot(v, wait, &result));
	if (result == MAP_NO_ROOM)
	{
		no_room_model = v->cx->model->id;
		no_room_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	}
	return result;
}
