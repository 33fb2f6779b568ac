/*
 * vectors_slots.c
 *	  The slots in shared memory, see vectors_impl.h.
 *
 * A segment goes when a newer version of its model has one, when the model is
 * dropped, when the database is, and when its room is wanted by another and
 * nobody has used it for a while (on a standby, which hears of no DROP, that is
 * how leftovers go).
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "pgstat.h"
#include "recsys.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "models/vectors_impl.h"

PG_FUNCTION_INFO_V1(recsys_search_segments);

#define SLOTS_NAME "recsys vectors"

/* A segment that was used more recently is not taken from its model, or two
 * that do not fit together would throw each other out with each call. */
#define IDLE_MS 60000

/* How long to wait for somebody who makes no progress. */
#define PATIENCE_MS 5000
#define LOOK_MS 500

VectorControl *vector_control = NULL;

void
vectors_request(void)
{
	RequestAddinShmemSpace(sizeof(VectorControl));
	RequestNamedLWLockTranche(SLOTS_NAME, 1 + VECTOR_SLOTS);
}

void
vectors_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	vector_control = ShmemInitStruct(SLOTS_NAME, sizeof(VectorControl), &found);
	if (!found)
	{
		LWLockPadded *locks = GetNamedLWLockTranche(SLOTS_NAME);

		memset(vector_control, 0, sizeof(VectorControl));
		vector_control->lock = &locks[0].lock;
		for (int i = 0; i < VECTOR_SLOTS; i++)
		{
			VectorSlot *slot = &vector_control->slots[i];

			slot->lock = &locks[1 + i].lock;
			pg_atomic_init_u64(&slot->generation, 1);
			pg_atomic_init_u64(&slot->used_at, 0);
			pg_atomic_init_u32(&slot->progress, 0);
			ConditionVariableInit(&slot->changed);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/* ------------------------------------------------------------------ taking */

/*
 * Takes the segment out of a slot and makes the slot free, or doomed while
 * somebody is busy with it; returns what to unpin once control->lock, held
 * exclusively here, is released.
 */
static dsm_handle
retire(VectorSlot *slot)
{
	dsm_handle	handle = DSM_HANDLE_INVALID;

	if (slot->busy)
	{
		slot->doomed = true;
		return DSM_HANDLE_INVALID;
	}
	LWLockAcquire(slot->lock, LW_EXCLUSIVE);
	if (slot->state == SLOT_READY)
		handle = slot->handle;
	slot->handle = DSM_HANDLE_INVALID;
	slot->state = SLOT_FREE;
	slot->doomed = false;
	slot->bytes = slot->reserved = 0;
	pg_atomic_fetch_add_u64(&slot->generation, 1);
	LWLockRelease(slot->lock);
	return handle;
}

static void
unpin(const dsm_handle *handles, int n)
{
	for (int i = 0; i < n; i++)
		if (handles[i] != DSM_HANDLE_INVALID)
			dsm_unpin_segment(handles[i]);
}

/* The used slot that is idle for the longest time, and long enough; NULL: none. */
static VectorSlot *
most_idle(void)
{
	uint64		before = (uint64) (GetCurrentTimestamp() - IDLE_MS * INT64CONST(1000));
	VectorSlot *idle = NULL;

	for (int i = 0; i < VECTOR_SLOTS; i++)
	{
		VectorSlot *slot = &vector_control->slots[i];
		uint64		used_at = pg_atomic_read_u64(&slot->used_at);

		if (slot->state != SLOT_READY || slot->busy || used_at >= before)
			continue;
		if (idle == NULL || used_at < pg_atomic_read_u64(&idle->used_at))
			idle = slot;
	}
	return idle;
}

static bool
of_model(const VectorSlot *slot, int32 model_id)
{
	return slot->state != SLOT_FREE && slot->dboid == MyDatabaseId &&
		slot->model_id == model_id && !slot->doomed;
}

bool
slot_is(const VectorSlot *slot, int32 model_id, const EmbeddingVersion *version)
{
	return of_model(slot, model_id) && slot->version == version->version &&
		slot->trained_at == version->trained_at;
}

static VectorSlot *
free_slot(dsm_handle *retired, int *nretired)
{
	VectorSlot *idle;

	for (int i = 0; i < VECTOR_SLOTS; i++)
		if (vector_control->slots[i].state == SLOT_FREE)
			return &vector_control->slots[i];
	idle = most_idle();
	if (idle)
		retired[(*nretired)++] = retire(idle);
	return idle;
}

/* Neither the slot itself nor that of a newer version, or one that may become that,
 * but of its model. */
static bool
is_older(const VectorSlot *s, const VectorSlot *slot)
{
	return s != slot && of_model(s, slot->model_id) && s->trained_at != 0 &&
		(s->version < slot->version || s->trained_at < slot->trained_at);
}

/* Retires slots of older versions; returns how many. */
static int
retire_older(const VectorSlot *slot, dsm_handle *retired)
{
	int			n = 0;

	for (int i = 0; i < VECTOR_SLOTS; i++)
		if (is_older(&vector_control->slots[i], slot))
			retired[n++] = retire(&vector_control->slots[i]);
	return n;
}

static ClaimResult
claim_existing(VectorSlot *slot, int64 publish)
{
	if (slot->state == SLOT_READY && slot->publish >= publish)
		return CLAIM_CURRENT;
	if (slot->busy)
		return CLAIM_WAIT;
	slot->busy = true;
	return CLAIM_MINE;
}

static void
start_building(VectorSlot *slot, int32 model_id, const EmbeddingVersion *version)
{
	slot->dboid = MyDatabaseId;
	slot->model_id = model_id;
	slot->version = version->version;
	slot->trained_at = version->trained_at;
	slot->state = SLOT_BUILDING;
	slot->busy = true;
	slot->doomed = false;
	slot->bytes = slot->reserved = 0;
	slot->publish = 0;
	pg_atomic_write_u64(&slot->used_at, (uint64) GetCurrentTimestamp());
}

ClaimResult
slot_claim(int32 model_id, const EmbeddingVersion *version, VectorSlot **slot)
{
	ClaimResult result = CLAIM_FULL;
	dsm_handle	retired[VECTOR_SLOTS];
	int			nretired = 0;
	bool		newer = false;

	*slot = NULL;
	LWLockAcquire(vector_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < VECTOR_SLOTS && *slot == NULL; i++)
	{
		VectorSlot *s = &vector_control->slots[i];

		if (slot_is(s, model_id, version))
			*slot = s;
		newer |= of_model(s, model_id) && s->version > version->version &&
			s->trained_at > version->trained_at;
	}
	if (*slot)
	{
		result = claim_existing(*slot, version->publish);
		/* one that a training has prepared is wanted from now on */
		nretired = retire_older(*slot, retired);
	}
	else if (newer)
		result = CLAIM_OLD;
	else if ((*slot = free_slot(retired, &nretired)) != NULL)
	{
		start_building(*slot, model_id, version);
		result = CLAIM_MINE;
	}
	LWLockRelease(vector_control->lock);
	unpin(retired, nretired);
	return result;
}

VectorSlot *
slot_prepare(int32 model_id, int32 version)
{
	const EmbeddingVersion prepared = {.version = version};
	dsm_handle	retired[VECTOR_SLOTS];
	int			nretired = 0;
	bool		served = false;
	VectorSlot *slot = NULL;

	LWLockAcquire(vector_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < VECTOR_SLOTS; i++)
	{
		VectorSlot *s = &vector_control->slots[i];

		if (of_model(s, model_id) && s->trained_at == 0)
			retired[nretired++] = retire(s);	/* of a training that failed */
		else
			served |= of_model(s, model_id);
	}
	if (served)
		slot = free_slot(retired, &nretired);
	if (slot)
		start_building(slot, model_id, &prepared);
	LWLockRelease(vector_control->lock);
	unpin(retired, nretired);
	return slot;
}

void
vectors_announce(int32 model_id, int32 version, TimestampTz trained_at, int64 publish)
{
	if (vector_control == NULL)
		return;
	LWLockAcquire(vector_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < VECTOR_SLOTS; i++)
	{
		VectorSlot *slot = &vector_control->slots[i];

		if (!of_model(slot, model_id) || slot->version != version ||
			slot->trained_at != 0 || slot->state != SLOT_READY)
			continue;
		LWLockAcquire(slot->lock, LW_EXCLUSIVE);
		slot->trained_at = trained_at;
		slot->publish = publish;
		LWLockRelease(slot->lock);
	}
	LWLockRelease(vector_control->lock);
}

void
slot_release(VectorSlot *slot)
{
	dsm_handle	retired = DSM_HANDLE_INVALID;

	LWLockAcquire(vector_control->lock, LW_EXCLUSIVE);
	slot->busy = false;
	slot->reserved = 0;
	if (slot->doomed || slot->state == SLOT_BUILDING)
		retired = retire(slot);
	LWLockRelease(vector_control->lock);
	ConditionVariableBroadcast(&slot->changed);
	unpin(&retired, 1);
}

static bool
still_busy(VectorSlot *slot, int32 model_id, const EmbeddingVersion *version)
{
	bool		busy;

	LWLockAcquire(vector_control->lock, LW_SHARED);
	busy = slot_is(slot, model_id, version) && slot->busy;
	LWLockRelease(vector_control->lock);
	return busy;
}

bool
slot_wait(VectorSlot *slot, int32 model_id, const EmbeddingVersion *version)
{
	uint32		progress = pg_atomic_read_u32(&slot->progress);
	int			waited = 0;

	ConditionVariablePrepareToSleep(&slot->changed);
	while (waited < PATIENCE_MS && still_busy(slot, model_id, version))
	{
		if (!ConditionVariableTimedSleep(&slot->changed, LOOK_MS, PG_WAIT_EXTENSION))
			continue;
		waited += LOOK_MS;
		if (pg_atomic_read_u32(&slot->progress) != progress)
		{
			progress = pg_atomic_read_u32(&slot->progress);
			waited = 0;
		}
	}
	ConditionVariableCancelSleep();
	return waited < PATIENCE_MS;
}

/* ------------------------------------------------------------------- giving */

bool
slot_make_room(VectorSlot *slot, Size bytes)
{
	const Size	limit = (Size) recsys_search_memory_mb * 1024 * 1024;
	dsm_handle	retired[VECTOR_SLOTS];
	int			nretired = 0;
	Size		others = 0;
	bool		fits;

	LWLockAcquire(vector_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < VECTOR_SLOTS; i++)
		others += vector_control->slots[i].bytes + vector_control->slots[i].reserved;
	while (bytes <= limit && others > limit - bytes)
	{
		VectorSlot *idle = most_idle();

		if (idle == NULL)
			break;
		others -= idle->bytes;
		retired[nretired++] = retire(idle);
	}
	fits = bytes <= limit && others <= limit - bytes;
	if (fits)
		slot->reserved = bytes;
	LWLockRelease(vector_control->lock);
	unpin(retired, nretired);
	return fits;
}

bool
slot_sacrifice(VectorSlot *slot)
{
	dsm_handle	retired[VECTOR_SLOTS];
	int			nretired;

	LWLockAcquire(vector_control->lock, LW_EXCLUSIVE);
	slot->reserved = 0;
	nretired = retire_older(slot, retired);
	if (slot->state == SLOT_READY)
	{
		LWLockAcquire(slot->lock, LW_EXCLUSIVE);
		retired[nretired++] = slot->handle;
		slot->handle = DSM_HANDLE_INVALID;
		slot->state = SLOT_BUILDING;
		slot->bytes = 0;
		pg_atomic_fetch_add_u64(&slot->generation, 1);
		LWLockRelease(slot->lock);
	}
	LWLockRelease(vector_control->lock);
	unpin(retired, nretired);
	return nretired > 0;
}

bool
slot_publish(VectorSlot *slot, dsm_segment *segment, int64 publish)
{
	dsm_handle	retired[VECTOR_SLOTS];
	int			nretired = 0;
	bool		wanted;

	dsm_pin_segment(segment);
	LWLockAcquire(vector_control->lock, LW_EXCLUSIVE);
	wanted = !slot->doomed;
	if (wanted)
	{
		LWLockAcquire(slot->lock, LW_EXCLUSIVE);
		if (slot->state == SLOT_READY)
			retired[nretired++] = slot->handle;
		slot->handle = dsm_segment_handle(segment);
		slot->publish = publish;
		slot->state = SLOT_READY;
		slot->bytes = slot->reserved;
		slot->reserved = 0;
		pg_atomic_fetch_add_u64(&slot->generation, 1);
		LWLockRelease(slot->lock);
		/* what is only prepared can't take anybody's place yet */
		if (slot->trained_at != 0)
			nretired += retire_older(slot, retired + nretired);
	}
	LWLockRelease(vector_control->lock);
	unpin(retired, nretired);
	if (!wanted)
		dsm_unpin_segment(dsm_segment_handle(segment));
	return wanted;
}

void
slot_freshened(VectorSlot *slot, int64 publish)
{
	LWLockAcquire(vector_control->lock, LW_EXCLUSIVE);
	LWLockAcquire(slot->lock, LW_EXCLUSIVE);
	slot->publish = publish;
	LWLockRelease(slot->lock);
	LWLockRelease(vector_control->lock);
}

bool
slot_of_model(int32 model_id)
{
	bool		any = false;

	LWLockAcquire(vector_control->lock, LW_SHARED);
	for (int i = 0; i < VECTOR_SLOTS && !any; i++)
		any = of_model(&vector_control->slots[i], model_id);
	LWLockRelease(vector_control->lock);
	return any;
}

/* The slots of a database, but not those of models that are kept. */
static void
forget(Oid dboid, bool (*kept) (int32 model_id, const void *arg), const void *arg)
{
	dsm_handle	retired[VECTOR_SLOTS];
	int			nretired = 0;

	if (vector_control == NULL)
		return;
	LWLockAcquire(vector_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < VECTOR_SLOTS; i++)
	{
		VectorSlot *slot = &vector_control->slots[i];

		if (slot->state != SLOT_FREE && slot->dboid == dboid && !kept(slot->model_id, arg))
			retired[nretired++] = retire(slot);
	}
	LWLockRelease(vector_control->lock);
	unpin(retired, nretired);
}

static bool
is_other(int32 model_id, const void *arg)
{
	return model_id != *(const int32 *) arg;
}

void
vectors_forget(int32 model_id)
{
	forget(MyDatabaseId, is_other, &model_id);
}

static bool
is_among(int32 model_id, const void *arg)
{
	return list_member_int((const List *) arg, model_id);
}

void
vectors_keep_models(const List *models)
{
	forget(MyDatabaseId, is_among, models);
}

static bool
is_none(int32 model_id pg_attribute_unused(), const void *arg pg_attribute_unused())
{
	return false;
}

void
vectors_forget_database(Oid dboid)
{
	forget(dboid, is_none, NULL);
}

/* ------------------------------------------------------------------ showing */

typedef struct SlotRow
{
	Oid			dboid;
	int32		model_id;
	int32		version;
	int64		publish;
	int64		bytes;
	uint64		used_at;
} SlotRow;

static int
copy_slots(SlotRow *rows)
{
	int			n = 0;

	LWLockAcquire(vector_control->lock, LW_SHARED);
	for (int i = 0; i < VECTOR_SLOTS; i++)
	{
		VectorSlot *slot = &vector_control->slots[i];

		if (slot->state != SLOT_READY)
			continue;
		rows[n].dboid = slot->dboid;
		rows[n].model_id = slot->model_id;
		rows[n].version = slot->version;
		rows[n].bytes = (int64) slot->bytes;
		LWLockAcquire(slot->lock, LW_SHARED);
		rows[n].publish = slot->publish;
		LWLockRelease(slot->lock);
		rows[n++].used_at = pg_atomic_read_u64(&slot->used_at);
	}
	LWLockRelease(vector_control->lock);
	return n;
}

/* search_segments(): the segments that there are, for administrators. */
Datum
recsys_search_segments(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SlotRow		rows[VECTOR_SLOTS];
	int			n = vector_control ? copy_slots(rows) : 0;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		Datum		values[] = {
			ObjectIdGetDatum(rows[i].dboid), Int32GetDatum(rows[i].model_id),
			Int32GetDatum(rows[i].version), Int64GetDatum(rows[i].publish),
			Int64GetDatum(rows[i].bytes), TimestampTzGetDatum((TimestampTz) rows[i].used_at)
		};
		bool		nulls[lengthof(values)] = {0};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
