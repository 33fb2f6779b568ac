/*
 * vectors_impl.h
 *	  What the vectors_*.c share: segments of item vectors and the slots that
 *	  know them.
 *
 * A slot stands for one version of one model of one database, told by its
 * number and by when it was trained: numbers begin anew where an extension is
 * dropped and created again.  Its segment
 * (dynamic shared memory, pinned) is made from <model>_factors by whoever finds
 * none, and brought up to date by whoever finds that a newer publish is visible
 * to him than the slot has.  One process at a time does such work on a slot: it
 * marks it as busy, and others who need the result wait for it.
 *
 * Locks, always taken in this order:
 *
 *	- control->lock guards which slot is whose, its state and who is busy.
 *	- slot->lock: shared to read the segment, exclusive to write to it.
 *	  Generation, handle and publish change only with both locks.
 *
 * No table is read, no error raised and nothing allocated under either lock.
 *
 * Whoever becomes busy has opened the tables before, so that those who wait for him
 * never hold the lock that he waits for.  They don't wait without end either:
 * who sees no progress for a while searches the table by himself.
 *
 * When a slot gets another segment or another owner its generation grows.
 * Nobody writes to the old segment any more; those who have mapped it go on
 * reading it, without a lock, until their call ends.
 */
#ifndef RECSYS_VECTORS_IMPL_H
#define RECSYS_VECTORS_IMPL_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/lwlock.h"

#include "models/vectors.h"
#include "state/checked.h"

/* Enough for some versions more than models that anybody has; a slot is small. */
#define VECTOR_SLOTS 128

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_BUILDING,				/* no segment yet */
	SLOT_READY
} SlotState;

typedef struct VectorSlot
{
	LWLock	   *lock;
	/* identity and state: control->lock */
	Oid			dboid;
	int32		model_id;
	int32		version;
	TimestampTz trained_at;		/* tells versions apart that have one number;
								 * 0: prepared by a training, not committed */
	SlotState	state;
	bool		busy;			/* somebody builds, replaces or freshens */
	bool		doomed;			/* the model is gone: free it when not busy */
	Size		bytes;			/* of the segment */
	Size		reserved;		/* of the one that is being made */
	/* both locks */
	dsm_handle	handle;
	int64		publish;		/* the segment has all rows up to this one */
	pg_atomic_uint64 generation;
	pg_atomic_uint64 used_at;	/* TimestampTz of a recent use */
	pg_atomic_uint32 progress;	/* grows while somebody is busy */
	ConditionVariable changed;	/* broadcast when nobody is busy any more */
} VectorSlot;

typedef struct VectorControl
{
	LWLock	   *lock;
	VectorSlot	slots[VECTOR_SLOTS];
} VectorControl;

extern VectorControl *vector_control;	/* NULL: not preloaded */

/* ---------------------------------------------------------------- segments */

/* At the start of a segment. */
typedef struct SegmentHeader
{
	int32		first;			/* item number of row 0 */
	int32		dim;
	bool		has_gram;
	Size		gram;			/* offset of dim * dim floats */
	Size		matrix;			/* offset of the SearchMatrix */
} SegmentHeader;

static inline SearchMatrix *
segment_matrix(SegmentHeader *header)
{
	return (SearchMatrix *) ((char *) header + header->matrix);
}

static inline float *
segment_gram(SegmentHeader *header)
{
	return (float *) ((char *) header + header->gram);
}

/* This process's mapping of a slot's segment; see vectors_map.c. */
typedef struct Mapping
{
	VectorSlot *slot;
	uint64		generation;
	int32		model_id;
	int32		version;
	TimestampTz trained_at;
	dsm_segment *segment;
	SegmentHeader *header;
	int			users;			/* open Vectors */
} Mapping;

/* Why there is none. */
typedef enum MapResult
{
	MAP_OK,
	MAP_NO_ROOM,				/* to be warned of; see vectors_map.c */
	MAP_STUCK,					/* whoever is busy makes no progress */
	MAP_OLD						/* not for all: a newer version has taken the
								 * place, or it is not committed */
} MapResult;

/* One answer. */
struct Vectors
{
	ServeContext *cx;
	EmbeddingVersion version;
	int			cosine_dim;
	StateTable *versions;
	Mapping    *mapping;		/* NULL: read the tables */
	StateTable *factors;		/* by item; NULL until needed */
	StateTable *published;		/* by publish; NULL until needed */
	MemoryContextCallback cleanup;	/* gives the mapping back */
};

/* ------------------------------------------------------------ vectors_slots.c */

typedef enum ClaimResult
{
	CLAIM_CURRENT,				/* the slot is as new as wanted */
	CLAIM_MINE,					/* the caller is busy with it now */
	CLAIM_WAIT,					/* somebody else is */
	CLAIM_OLD,					/* there is a newer version's */
	CLAIM_FULL					/* no slot to be had */
} ClaimResult;

extern ClaimResult slot_claim(int32 model_id, const EmbeddingVersion *version, VectorSlot **slot);
/* A slot, claimed, for a version that nobody sees yet; NULL if nobody reads the model's
 * vectors now, or no slot is free. */
extern VectorSlot *slot_prepare(int32 model_id, int32 version);
/* Ends what slot_claim() began.  A slot without segment is free again. */
extern void slot_release(VectorSlot *slot);
/* False: it makes no progress. */
extern bool slot_wait(VectorSlot *slot, int32 model_id, const EmbeddingVersion *version);
/* Is the slot this version's?  The caller holds one of the locks. */
extern bool slot_is(const VectorSlot *slot, int32 model_id, const EmbeddingVersion *version);
/* Room for a segment of that size under recsys.search_memory? */
extern bool slot_make_room(VectorSlot *slot, Size bytes);
/* Gives up what older versions of the model have, and what the slot itself has and
 * is too small; false: there is nothing to give up. */
extern bool slot_sacrifice(VectorSlot *slot);
/* The slot, which the caller has claimed, gets this segment; older versions of
 * the model lose theirs.  False: it is not wanted any more. */
extern bool slot_publish(VectorSlot *slot, dsm_segment *segment, int64 publish);
/* The claimer has written all rows up to "publish" into the segment. */
extern void slot_freshened(VectorSlot *slot, int64 publish);
/* Is there a slot of any version? */
extern bool slot_of_model(int32 model_id);

/* ----------------------------------------------------------------- vectors.c */

extern void vectors_open_tables(Vectors *v);
/* What this transaction has changed, and maybe won't commit, must not get into a
 * segment of all. */
extern bool vectors_changed_by_us(const Vectors *v);

/* ------------------------------------------------------------ vectors_build.c */

/* A segment with all vectors that the snapshot sees, mapped for good; NULL: no room. */
extern dsm_segment *segment_build(Vectors *v, VectorSlot *slot);
/* The same from memory: vectors of items[0 .. n - 1], gram or NULL. */
extern dsm_segment *segment_of(VectorSlot *slot, int dim, int cosine_dim, const float *gram,
							   int n, const int32 *items, const float *vectors);
/* Applies to the claimed slot's segment what was published since; false: it does not
 * fit in. */
extern bool segment_freshen(Vectors *v, Mapping *mapping);

/* ------------------------------------------------------------ vectors_map.c */

extern void slot_release_on_error(int code, Datum slot);
/* Sets v->mapping to a segment that is up to date, waiting for it if need be. */
extern MapResult vectors_map(Vectors *v, bool wait);
extern void mapping_release(Mapping *mapping);
/* Lets go of segments that are no slot's any more, and that no answer is read from. */
extern void mappings_sweep(void);

/* dsm_create() and dsm_attach() where a lack of memory gives NULL. */
extern dsm_segment *segment_create(Size size);
extern dsm_segment *segment_attach(dsm_handle handle);

/* Shared lock, unless the segment is one that nobody writes to any more; for
 * mapping_unlock(). */
static inline bool
mapping_lock(Mapping *mapping)
{
	LWLockAcquire(mapping->slot->lock, LW_SHARED);
	if (pg_atomic_read_u64(&mapping->slot->generation) == mapping->generation)
		return true;
	LWLockRelease(mapping->slot->lock);
	return false;
}

static inline void
mapping_unlock(Mapping *mapping, bool locked)
{
	if (locked)
		LWLockRelease(mapping->slot->lock);
}

/* ------------------------------------------------------------ vectors_scan.c */

/* The same answers from the table. */
extern int	table_gather(Vectors *v, int n, const int32 *items, float *out, int *found);
extern int	table_top(Vectors *v, const SearchQuery *query, SearchHit *hits);
extern Size table_max_rows(Vectors *v);

/* The vector in a row of factors, in place; NULL if it is empty, which says that the
 * item has none any more, or not finite. */
extern const float *vector_of_row(TupleTableSlot *slot, int dim);

#endif							/* RECSYS_VECTORS_IMPL_H */
