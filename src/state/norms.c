/*
 * norms.c
 *	  Sums of squares of users' histories: a write-back cache of bounded size
 *	  over a table.
 *
 * A block is loaded when one of its users changes.  Only clean ones are evicted.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "state/array.h"
#include "state/checked.h"
#include "state/norms.h"

const Oid	norm_types[NORM_NCOLUMNS] = {INT4OID, INT4OID, FLOAT8ARRAYOID};

typedef struct NormBlock
{
	int32		block;
	bool		stored;			/* has a row */
	bool		dirty;
	bool		referenced;		/* second chance of the eviction */
	double		sumsq[NORM_BLOCK_SIZE];
} NormBlock;

struct NormCache
{
	MemoryContext context;
	Oid			nspid;
	char		relname[NAMEDATALEN];
	char		indexname[NAMEDATALEN];
	int32		landmark;
	Size		bytes;
	bool		table_void;		/* rows in the table are obsolete */
	bool		complete;		/* what is not in memory is not in the table */
	int32		nblocks;
	NormBlock **blocks;			/* by number; NULL not loaded */
	int32		hand;			/* clock hand of the eviction */
	int32		ndirty;
	int32		maxdirty;
	int32	   *dirty;			/* blocks */
};

NormCache *
norm_cache_create(MemoryContext parent, Oid nspid, const char *relname,
				  const char *indexname, int32 landmark)
{
	NormCache  *cache = MemoryContextAllocZero(parent, sizeof(NormCache));

	cache->context = AllocSetContextCreate(parent, "recsys norms", ALLOCSET_DEFAULT_SIZES);
	cache->nspid = nspid;
	strlcpy(cache->relname, relname, NAMEDATALEN);
	strlcpy(cache->indexname, indexname, NAMEDATALEN);
	cache->landmark = landmark;
	return cache;
}

static void
reach_block(NormCache *cache, int32 block)
{
	int32		nblocks = Max(block + 1, cache->nblocks * 2);

	if (block < cache->nblocks)
		return;
	cache->blocks = cache->blocks ?
		repalloc_huge(cache->blocks, sizeof(NormBlock *) * (Size) nblocks) :
		MemoryContextAllocHuge(cache->context, sizeof(NormBlock *) * (Size) nblocks);
	memset(cache->blocks + cache->nblocks, 0,
		   sizeof(NormBlock *) * (Size) (nblocks - cache->nblocks));
	cache->nblocks = nblocks;
}

/* ------------------------------------------------------------------- rows */

/* NULL: the model has been dropped, and we are about to hear of it. */
static StateTable *
open_table(NormCache *cache, LOCKMODE lockmode)
{
	StateTable *t;

	if (!OidIsValid(get_relname_relid(cache->relname, cache->nspid)))
		return NULL;
	t = table_open_state(cache->nspid, cache->relname, cache->indexname, lockmode);
	checked_types(t, NORM_NCOLUMNS, norm_types);
	return t;
}

const double *
norm_row_read(TupleTableSlot *slot, int32 *landmark)
{
	int			n;
	const double *sumsq = checked_array(checked_attribute(slot, NORM_SUMSQ + 1), FLOAT8OID, &n);

	if (n != NORM_BLOCK_SIZE)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("%d sums in a row of the norms of a model instead of %d", n, NORM_BLOCK_SIZE),
				errhint("Drop the model with recsys.drop_model() and create it again."));
	*landmark = DatumGetInt32(checked_attribute(slot, NORM_LANDMARK + 1));
	return sumsq;
}

static void
load_block(NormCache *cache, NormBlock *b)
{
	StateTable *t = open_table(cache, AccessShareLock);
	Datum		key = Int32GetDatum(b->block);
	TupleTableSlot *slot;

	if (t == NULL)
		return;
	slot = table_get(t, GetActiveSnapshot(), 1, &key);
	if (slot)
	{
		int32		landmark;
		const double *sumsq = norm_row_read(slot, &landmark);
		double		factor = ldexp(1.0, 2 * (landmark - cache->landmark));

		for (int i = 0; i < NORM_BLOCK_SIZE; i++)
			b->sumsq[i] = sumsq[i] * factor;
		b->stored = true;
	}
	table_close_state(t, AccessShareLock);
}

static NormBlock *
get_block(NormCache *cache, int32 block)
{
	NormBlock  *b;

	reach_block(cache, block);
	b = cache->blocks[block];
	if (b == NULL)
	{
		b = MemoryContextAllocZero(cache->context, sizeof(NormBlock));
		b->block = block;
		cache->bytes += GetMemoryChunkSpace(b);
		if (!cache->complete)
			load_block(cache, b);
		cache->blocks[block] = b;
	}
	b->referenced = true;
	return b;
}

static void
write_block(NormCache *cache, StateTable *t, NormBlock *b)
{
	Datum		values[NORM_NCOLUMNS];

	values[NORM_BLOCK] = Int32GetDatum(b->block);
	values[NORM_LANDMARK] = Int32GetDatum(cache->landmark);
	values[NORM_SUMSQ] = array_datum(b->sumsq, NORM_BLOCK_SIZE, sizeof(double), FLOAT8OID);
	if (b->stored)
		table_put(t, 1, values, NULL);
	else
		table_insert(t, values, NULL);
	pfree(DatumGetPointer(values[NORM_SUMSQ]));
	b->stored = true;
	b->dirty = false;
}

void
norm_cache_write(NormCache *cache)
{
	StateTable *t;

	if (cache->ndirty == 0 && !cache->table_void)
		return;
	t = open_table(cache, RowExclusiveLock);
	if (t == NULL)
	{
		norm_cache_void(cache);
		return;
	}
	if (cache->table_void)
		table_delete(t, 0, NULL);
	cache->table_void = false;
	for (int32 i = 0; i < cache->ndirty; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_block(cache, t, cache->blocks[cache->dirty[i]]);
	}
	cache->ndirty = 0;
	table_close_state(t, RowExclusiveLock);
}

/* ---------------------------------------------------------------- changes */

void
norm_cache_set(NormCache *cache, int32 user, double sumsq)
{
	NormBlock  *b = get_block(cache, NORM_BLOCK_OF(user));

	b->sumsq[NORM_PLACE_OF(user)] = sumsq;
	if (b->dirty)
		return;
	b->dirty = true;
	if (cache->ndirty == cache->maxdirty)
	{
		cache->maxdirty = Max(1024, cache->maxdirty * 2);
		cache->dirty = cache->dirty ?
			repalloc_huge(cache->dirty, sizeof(int32) * (Size) cache->maxdirty) :
			MemoryContextAlloc(cache->context, sizeof(int32) * cache->maxdirty);
	}
	cache->dirty[cache->ndirty++] = b->block;
}

void
norm_cache_prefetch(NormCache *cache, int32 user)
{
	int32		block = NORM_BLOCK_OF(user);

	if (block < cache->nblocks && cache->blocks[block])
	{
		__builtin_prefetch(cache->blocks[block]);
		__builtin_prefetch(&cache->blocks[block]->sumsq[NORM_PLACE_OF(user)]);
	}
}

void
norm_cache_void(NormCache *cache)
{
	MemoryContextReset(cache->context);
	cache->bytes = 0;
	cache->table_void = true;
	cache->complete = true;
	cache->nblocks = 0;
	cache->blocks = NULL;
	cache->hand = 0;
	cache->ndirty = cache->maxdirty = 0;
	cache->dirty = NULL;
}

/* What is in memory follows, and is not dirty for that: stored rows carry the
 * landmark that they were written with. */
void
norm_cache_rescale(NormCache *cache, int32 landmark)
{
	double		factor = ldexp(1.0, 2 * (cache->landmark - landmark));

	cache->landmark = landmark;
	for (int32 block = 0; block < cache->nblocks; block++)
		for (int i = 0; cache->blocks[block] && i < NORM_BLOCK_SIZE; i++)
			cache->blocks[block]->sumsq[i] *= factor;
}

/* Clock over blocks: a referenced one gets a second chance. */
void
norm_cache_evict(NormCache *cache, Size target)
{
	for (int64 visits = 0; cache->bytes > target && visits < 2 * (int64) cache->nblocks; visits++)
	{
		NormBlock  *b;

		cache->hand = (cache->hand + 1) % cache->nblocks;
		b = cache->blocks[cache->hand];
		if (b == NULL || b->dirty)
			continue;
		if (b->referenced && target > 0)
		{
			b->referenced = false;
			continue;
		}
		cache->blocks[cache->hand] = NULL;
		cache->bytes -= GetMemoryChunkSpace(b);
		cache->complete = false;
		pfree(b);
	}
}

Size
norm_cache_bytes(const NormCache *cache)
{
	return cache->bytes + sizeof(NormBlock *) * (Size) cache->nblocks +
		sizeof(int32) * (Size) cache->maxdirty;
}
