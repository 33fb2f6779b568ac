/*
 * spool.c
 *	  Bounded buffer of decoded changes, see spool.h.
 *
 * The file outlives transactions (decoding runs every transaction's replay in
 * one of its own that it aborts), so it is opened for inter-transaction use
 * under a resource owner of the worker's.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "recsys.h"
#include "stream/spool.h"

#define SPOOL_START ((Size) 16 * 1024)
#define SPOOL_LIMIT ((Size) 8 * 1024 * 1024)
#define SPOOL_BLOCK ((Size) 256 * 1024)

Spool *
spool_create(MemoryContext parent, ResourceOwner owner)
{
	MemoryContext context = AllocSetContextCreate(parent, "recsys spool", ALLOCSET_SMALL_SIZES);
	Spool	   *spool = MemoryContextAllocZero(context, sizeof(Spool));

	spool->context = context;
	spool->owner = owner;
	spool->size = SPOOL_START;
	spool->buffer = MemoryContextAlloc(context, spool->size);
	return spool;
}

/* A buffer counts as memory of the worker, so it is a small part of that. */
static Size
buffer_limit(void)
{
	return Min(SPOOL_LIMIT, (Size) recsys_memory_kb * 1024 / 16);
}

static void
write_buffer(Spool *spool)
{
	ResourceOwner old_owner = CurrentResourceOwner;
	MemoryContext old = MemoryContextSwitchTo(spool->context);

	CurrentResourceOwner = spool->owner;
	if (spool->file == NULL)
		spool->file = BufFileCreateTemp(true);
	BufFileWrite(spool->file, spool->buffer, spool->used);
	CurrentResourceOwner = old_owner;
	MemoryContextSwitchTo(old);
	spool->in_file += spool->used;
	spool->used = 0;
}

SpoolRecord *
spool_append(Spool *spool, RecordKind kind, Size nbytes)
{
	Size		size = MAXALIGN(sizeof(SpoolRecord) + nbytes);
	SpoolRecord *record;

	if (unlikely(spool->used + size > spool->size))
	{
		if (spool->used + size > buffer_limit() && spool->used > 0)
			write_buffer(spool);
		while (spool->used + size > spool->size)
		{
			spool->size *= 2;
			spool->buffer = repalloc_huge(spool->buffer, spool->size);
		}
	}
	record = (SpoolRecord *) (spool->buffer + spool->used);
	memset(record, 0, sizeof(SpoolRecord));
	record->size = size;
	record->kind = kind;
	spool->used += size;
	spool->nrecords++;
	return record;
}

void
spool_rewind(Spool *spool)
{
	spool->read = 0;
	spool->in_buffer = false;
	spool->run = NULL;
	spool->run_length = spool->at = spool->ahead = 0;
	if (spool->file && BufFileSeek(spool->file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not rewind a temporary file: %m"));
}

/* The record at an offset of the run, if it lies in it whole. */
static SpoolRecord *
record_at(Spool *spool, Size at)
{
	SpoolRecord *record = (SpoolRecord *) (spool->run + at);

	if (at + sizeof(SpoolRecord) > spool->run_length ||
		at + record->size > spool->run_length)
		return NULL;
	return record;
}

/* More of the file, behind the piece of a record that the run ended with. */
static void
read_block(Spool *spool)
{
	Size		rest = spool->run_length - spool->at;
	Size		want;

	if (spool->block == NULL || rest > spool->block_size / 2)
	{
		char	   *larger;

		spool->block_size = spool->block ? spool->block_size * 2 : SPOOL_BLOCK;
		larger = MemoryContextAllocHuge(spool->context, spool->block_size);
		if (rest > 0)
			memcpy(larger, spool->run + spool->at, rest);
		if (spool->block)
			pfree(spool->block);
		spool->block = larger;
	}
	else if (rest > 0)
		memmove(spool->block, spool->run + spool->at, rest);
	want = (Size) Min((int64) (spool->block_size - rest), spool->in_file - spool->read);
	if (BufFileRead(spool->file, spool->block + rest, want) != want)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not read %zu bytes of a temporary file", want));
	spool->read += want;
	spool->run = spool->block;
	spool->run_length = rest + want;
	spool->at = spool->ahead = 0;
}

SpoolRecord *
spool_next(Spool *spool)
{
	SpoolRecord *record;

	while ((record = record_at(spool, spool->at)) == NULL)
	{
		if (spool->in_buffer)
			return NULL;
		if (spool->read < spool->in_file)
			read_block(spool);
		else
		{
			spool->in_buffer = true;
			spool->run = spool->buffer;
			spool->run_length = spool->used;
			spool->at = spool->ahead = 0;
		}
	}
	spool->at += record->size;
	return record;
}

SpoolRecord *
spool_ahead(Spool *spool)
{
	SpoolRecord *record;

	if (spool->ahead < spool->at)
		spool->ahead = spool->at;
	record = record_at(spool, spool->ahead);
	if (record)
		spool->ahead += record->size;
	return record;
}

void
spool_clear(Spool *spool)
{
	if (spool->file)
		BufFileClose(spool->file);
	spool->file = NULL;
	spool->in_file = spool->read = 0;
	spool->used = spool->at = spool->ahead = spool->run_length = 0;
	spool->run = NULL;
	spool->in_buffer = false;
	spool->nrecords = 0;
}

void
spool_free(Spool *spool)
{
	spool_clear(spool);
	MemoryContextDelete(spool->context);
}

Size
spool_memory(const Spool *spool)
{
	return spool->size + spool->block_size;
}
