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

#include "stream/spool.h"

#define SPOOL_START ((Size) 16 * 1024)
#define SPOOL_LIMIT ((Size) 8 * 1024 * 1024)

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
		if (spool->used + size > SPOOL_LIMIT && spool->used > 0)
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
	spool->at = 0;
	spool->read = 0;
	if (spool->file && BufFileSeek(spool->file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not rewind a temporary file: %m"));
}

static void
read_exactly(Spool *spool, void *to, Size size)
{
	if (BufFileRead(spool->file, to, size) != size)
		ereport(ERROR,
				errcode_for_file_access(),
				errmsg("could not read %zu bytes of a temporary file", size));
	spool->read += size;
}

static SpoolRecord *
next_in_file(Spool *spool)
{
	SpoolRecord header;

	read_exactly(spool, &header, sizeof(header));
	if (header.size > spool->record_size)
	{
		if (spool->record)
			pfree(spool->record);
		spool->record_size = Max(1024, header.size * 2);
		spool->record = MemoryContextAlloc(spool->context, spool->record_size);
	}
	memcpy(spool->record, &header, sizeof(header));
	read_exactly(spool, spool->record + sizeof(header), header.size - sizeof(header));
	return (SpoolRecord *) spool->record;
}

SpoolRecord *
spool_next(Spool *spool)
{
	SpoolRecord *record;

	if (spool->read < spool->in_file)
		return next_in_file(spool);
	if (spool->at == spool->used)
		return NULL;
	record = (SpoolRecord *) (spool->buffer + spool->at);
	spool->at += record->size;
	return record;
}

void
spool_clear(Spool *spool)
{
	if (spool->file)
		BufFileClose(spool->file);
	spool->file = NULL;
	spool->in_file = spool->read = 0;
	spool->used = spool->at = 0;
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
	return spool->size + spool->record_size;
}
