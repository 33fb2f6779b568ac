/*
 * model_file.c
 *	  The bytes of a model file, see model_file.h.
 *
 * A reader trusts nothing: the checksum is compared first, and every length is held
 * against what is left, since a checksum is soon computed anew.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"

#include "compat.h"
#include "models/embedding.h"
#include "models/model_file.h"

#define MAGIC		"RECSYSMF"
#define MAGIC_LEN	8
#define FORMAT		1
#define HEADER_LEN	(MAGIC_LEN + 4 + 4 + 8)

/* A model has a few matrices. */
#define MAX_MATRICES 64

/* ------------------------------------------------------------------ numbers */

static uint32
little32(uint32 x)
{
#ifdef WORDS_BIGENDIAN
	return pg_bswap32(x);
#else
	return x;
#endif
}

static uint64
little64(uint64 x)
{
#ifdef WORDS_BIGENDIAN
	return pg_bswap64(x);
#else
	return x;
#endif
}

static void
put32(StringInfo out, uint32 x)
{
	x = little32(x);
	appendBinaryStringInfo(out, (char *) &x, sizeof(x));
}

static void
put64(StringInfo out, const void *value)
{
	uint64		x;

	memcpy(&x, value, sizeof(x));
	x = little64(x);
	appendBinaryStringInfo(out, (char *) &x, sizeof(x));
}

static void
put_text(StringInfo out, const char *text)
{
	put32(out, (uint32) strlen(text));
	appendBinaryStringInfo(out, text, (int) strlen(text));
}

static void
put_floats(StringInfo out, const float *values, Size n)
{
#ifdef WORDS_BIGENDIAN
	for (Size i = 0; i < n; i++)
	{
		uint32		x;

		memcpy(&x, values + i, sizeof(x));
		put32(out, x);
	}
#else
	appendBinaryStringInfo(out, (const char *) values, (int) (n * sizeof(float)));
#endif
}

/* ------------------------------------------------------------------ writing */

void
model_file_begin(StringInfo out, const ModelFileHead *head)
{
	uint64		nothing = 0;

	appendBinaryStringInfo(out, MAGIC, MAGIC_LEN);
	put32(out, FORMAT);
	put32(out, 0);
	put64(out, &nothing);
	put_text(out, head->algorithm);
	put_text(out, head->params);
	put32(out, (uint32) head->dim);
	put32(out, (uint32) head->users);
	put64(out, &head->interactions);
	put64(out, &head->loss);
	put64(out, &head->mean);
}

void
model_file_matrices(StringInfo out, const ModelWeights *matrices, int n)
{
	put32(out, (uint32) n);
	for (int i = 0; i < n; i++)
	{
		put_text(out, matrices[i].name);
		put32(out, (uint32) matrices[i].nshape);
		for (int d = 0; d < matrices[i].nshape; d++)
			put32(out, (uint32) matrices[i].shape[d]);
		put_floats(out, matrices[i].values, weights_count(&matrices[i]));
	}
}

int
model_file_items(StringInfo out)
{
	int			at = out->len;

	put32(out, 0);
	return at;
}

void
model_file_item(StringInfo out, const char *key, const float *vector, int dim)
{
	put_text(out, key);
	put_floats(out, vector, dim);
}

static uint32
checksum(const char *data, Size length)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, length);
	FIN_CRC32C(crc);
	return crc;
}

void
model_file_end(StringInfo out, int items_at, int32 nitems)
{
	uint32		number = little32((uint32) nitems);
	uint64		length = little64((uint64) out->len - HEADER_LEN);
	uint32		crc;

	memcpy(out->data + items_at, &number, sizeof(number));
	crc = little32(checksum(out->data + HEADER_LEN, out->len - HEADER_LEN));
	memcpy(out->data + MAGIC_LEN + 4, &crc, sizeof(crc));
	memcpy(out->data + MAGIC_LEN + 8, &length, sizeof(length));
}

/* ------------------------------------------------------------------ reading */

static pg_noreturn void
damaged(const char *how)
{
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("the model file is damaged: %s", how),
			errhint("Export the model again, and carry it over unchanged."));
}

/* The next bytes, in place. */
static const char *
take(ModelFileReader *r, Size n)
{
	const char *at = r->data + r->at;

	if (n > r->length - r->at)
		damaged("it ends too early");
	r->at += n;
	return at;
}

static uint32
take32(ModelFileReader *r)
{
	uint32		x;

	memcpy(&x, take(r, sizeof(x)), sizeof(x));
	return little32(x);
}

static void
take64(ModelFileReader *r, void *value)
{
	uint64		x;

	memcpy(&x, take(r, sizeof(x)), sizeof(x));
	x = little64(x);
	memcpy(value, &x, sizeof(x));
}

static char *
take_text(ModelFileReader *r)
{
	Size		length = take32(r);
	char	   *text = pnstrdup(take(r, length), length);

	if (strlen(text) != length || !pg_verifymbstr(text, (int) length, true))
		damaged("a text has bytes that are no characters");
	return text;
}

static void
take_floats(ModelFileReader *r, float *values, Size n)
{
	memcpy(values, take(r, n * sizeof(float)), n * sizeof(float));
#ifdef WORDS_BIGENDIAN
	for (Size i = 0; i < n; i++)
	{
		uint32		x;

		memcpy(&x, values + i, sizeof(x));
		x = little32(x);
		memcpy(values + i, &x, sizeof(x));
	}
#endif
}

static void
check_header(ModelFileReader *r)
{
	uint32		format;
	uint32		crc;
	int64		length;

	if (r->length < HEADER_LEN || memcmp(take(r, MAGIC_LEN), MAGIC, MAGIC_LEN) != 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("data is not a model file"),
				errhint("Give what recsys.export_model() returned."));
	format = take32(r);
	if (format != FORMAT)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("the model file has format %u, but this server reads format %d", format, FORMAT),
				errhint("Install the recsys that wrote it, or a newer one."));
	crc = take32(r);
	take64(r, &length);
	if (length < 0 || (Size) length != r->length - HEADER_LEN)
		damaged("its length is not what it says");
	if (checksum(r->data + HEADER_LEN, length) != crc)
		damaged("its checksum does not match");
}

void
model_file_open(ModelFileReader *r, const char *data, Size length, ModelFileHead *head)
{
	*r = (ModelFileReader) {data, length, 0};
	check_header(r);
	head->algorithm = take_text(r);
	head->params = take_text(r);
	head->dim = (int32) take32(r);
	head->users = (int32) take32(r);
	take64(r, &head->interactions);
	take64(r, &head->loss);
	take64(r, &head->mean);
	if (head->dim < 1 || head->dim > EMBEDDING_MAX_DIM)
		damaged("vectors of no possible length");
}

static void
read_matrix(ModelFileReader *r, ModelWeights *w)
{
	Size		n = 1;

	w->name = take_text(r);
	w->nshape = (int) take32(r);
	if (w->nshape < 1 || w->nshape > WEIGHTS_MAX_SHAPE)
		damaged("a matrix of no possible shape");
	for (int d = 0; d < w->nshape; d++)
	{
		w->shape[d] = (int32) take32(r);
		if (w->shape[d] < 1 || (Size) w->shape[d] > (r->length / sizeof(float)) / n)
			damaged("a matrix of no possible shape");
		n *= w->shape[d];
	}
	w->values = palloc_extended(n * sizeof(float), MCXT_ALLOC_HUGE);
	take_floats(r, w->values, n);
}

ModelWeights *
model_file_read_matrices(ModelFileReader *r, int *n)
{
	uint32		number = take32(r);
	ModelWeights *matrices;

	if (number > MAX_MATRICES)
		damaged("too many matrices");
	matrices = palloc0(sizeof(ModelWeights) * Max(number, 1));
	for (uint32 i = 0; i < number; i++)
		read_matrix(r, &matrices[i]);
	*n = (int) number;
	return matrices;
}

/* Each takes a length and a vector, so memory for all is bounded by the file's length. */
int32
model_file_read_items(ModelFileReader *r, int dim)
{
	uint32		n = take32(r);

	if (n > (r->length - r->at) / (sizeof(uint32) + sizeof(float) * dim))
		damaged("more items than bytes");
	return (int32) n;
}

char *
model_file_read_item(ModelFileReader *r, float *vector, int dim)
{
	char	   *key = take_text(r);

	take_floats(r, vector, dim);
	return key;
}

void
model_file_close(const ModelFileReader *r)
{
	if (r->at != r->length)
		damaged("there are bytes left at its end");
}
