/*
 * model_file.h
 *	  A version of a trained model as a sequence of bytes, to be carried to another
 *	  source or server: recsys.export_model() writes it, recsys.import_model() reads it.
 *
 * Format 1; all numbers little-endian, a text is its length (int32) and so many bytes:
 *
 *		"RECSYSMF"			8 bytes
 *		format				int32, 1
 *		checksum			uint32, CRC-32C of all that follows
 *		length				int64, of all that follows
 *		algorithm			text
 *		parameters			text, JSON
 *		dim					int32, elements of an item's vector
 *		users				int32, that it was trained on
 *		interactions		int64, likewise
 *		loss, mean			float64 each
 *		number of matrices	int32, then of each: name (text), number of dimensions (int32), these
 *							(int32 each), elements (float32 each, rows first)
 *		number of items		int32, then of each: key (text), vector (dim x float32)
 */
#ifndef RECSYS_MODEL_FILE_H
#define RECSYS_MODEL_FILE_H

#include "postgres.h"
#include "lib/stringinfo.h"

#include "models/weights.h"

typedef struct ModelFileHead
{
	const char *algorithm;
	const char *params;
	int32		dim;
	int32		users;
	int64		interactions;
	double		loss;
	double		mean;
} ModelFileHead;

/* Writing, in this order; the bytes are ready when end() returns. */
extern void model_file_begin(StringInfo out, const ModelFileHead *head);
extern void model_file_matrices(StringInfo out, const ModelWeights *matrices, int n);
extern int	model_file_items(StringInfo out);	/* place of their number */
extern void model_file_item(StringInfo out, const char *key, const float *vector, int dim);
extern void model_file_end(StringInfo out, int items_at, int32 nitems);

/* Reading, in the same order, in palloc'd memory; error if the bytes are not such a file, or damaged. */
typedef struct ModelFileReader
{
	const char *data;
	Size		length;
	Size		at;
} ModelFileReader;

extern void model_file_open(ModelFileReader *r, const char *data, Size length, ModelFileHead *head);
extern ModelWeights *model_file_read_matrices(ModelFileReader *r, int *n);
extern int32 model_file_read_items(ModelFileReader *r, int dim);
extern char *model_file_read_item(ModelFileReader *r, float *vector, int dim);
extern void model_file_close(const ModelFileReader *r);	/* that was all */

#endif							/* RECSYS_MODEL_FILE_H */
