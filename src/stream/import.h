/*
 * import.h
 *	  What recsys.import_model() hands to the training worker that does the work.
 */
#ifndef RECSYS_IMPORT_H
#define RECSYS_IMPORT_H

#include "postgres.h"
#include "storage/dsm.h"

/* The training's area, which is zeros where it is a training proper. */
#define IMPORT_MAGIC 0x1a907e55
typedef struct ImportArea
{
	uint32		magic;
	dsm_handle	handle;
} ImportArea;

/* In the segment; the caller reads the answer when the worker has ended. */
typedef struct ImportFile
{
	int32		imported;		/* items */
	Size		length;
	char		data[FLEXIBLE_ARRAY_MEMBER];
} ImportFile;

#endif							/* RECSYS_IMPORT_H */
