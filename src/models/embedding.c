/*
 * embedding.c
 *	  The tables of a trained version, see embedding.h.
 *
 * Vectors lie plainly in their rows: reading a million of them through TOAST
 * would cost more than searching them.  That bounds their length to what fits
 * on a page.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "models/embedding.h"
#include "state/checked.h"

static const Oid version_types[] = {
	INT4OID, INT8OID, INT4OID, TIMESTAMPTZOID, PG_LSNOID, INT8OID, FLOAT8OID, INT4OID,
	INT4OID, INT8OID, INT4OID, FLOAT8OID, FLOAT8OID,
	FLOAT4ARRAYOID, FLOAT4ARRAYOID
};
static const Oid factors_types[] = {INT4OID, INT4OID, INT8OID, FLOAT4ARRAYOID};

/* ----------------------------------------------------------- declaration */

char *
embedding_table(const RecsysModel *model, const char *suffix)
{
	return psprintf("%s_%s", NameStr(model->name), suffix);
}

static char *
qualified(const RecsysSource *source, const char *model, const char *suffix)
{
	return quote_qualified_identifier(NameStr(source->name), psprintf("%s_%s", model, suffix));
}

static char *
index_name(const char *model, const char *suffix)
{
	return pstrdup(quote_identifier(psprintf("%s_%s", model, suffix)));
}

char *
embedding_create_sql(const RecsysSource *source, const char *model)
{
	return psprintf(
		"CREATE TABLE %1$s (version int4 CONSTRAINT %3$s PRIMARY KEY,"
		" publish int8 NOT NULL, params_version int4 NOT NULL,"
		" trained_at timestamptz NOT NULL, applied_lsn pg_lsn NOT NULL,"
		" events int8 NOT NULL, seconds float8 NOT NULL, users int4 NOT NULL,"
		" items int4 NOT NULL, interactions int8 NOT NULL, dim int4 NOT NULL,"
		" loss float8 NOT NULL, mean float8 NOT NULL, item_gram real[] NOT NULL,"
		" user_gram real[] NOT NULL) USING heap;"
		"ALTER TABLE %1$s ALTER item_gram SET STORAGE EXTERNAL,"
		" ALTER user_gram SET STORAGE EXTERNAL;"
		"COMMENT ON TABLE %1$s IS 'the trained version that is served; none until the first training has ended';"
		"CREATE TABLE %2$s (version int4, item_id int4, publish int8 NOT NULL,"
		" factors real[] NOT NULL, CONSTRAINT %4$s PRIMARY KEY (version, item_id)) USING heap;"
		"ALTER TABLE %2$s ALTER factors SET STORAGE PLAIN;"
		"CREATE INDEX %5$s ON %2$s (version, publish);"
		"COMMENT ON TABLE %2$s IS 'vector of each item, and the number of the publication that wrote it'",
		qualified(source, model, "version"), qualified(source, model, "factors"),
		index_name(model, "version_pkey"), index_name(model, "factors_pkey"),
		index_name(model, "factors_publish"));
}

char *
embedding_drop_sql(const RecsysSource *source, const char *model)
{
	return psprintf("DROP TABLE IF EXISTS %s, %s",
					qualified(source, model, "version"), qualified(source, model, "factors"));
}

char *
embedding_factors_sql(const RecsysSource *source, const char *model)
{
	return psprintf("SELECT i.key AS item_id, f.factors FROM %s v"
					" JOIN %s f ON f.version = v.version"
					" JOIN %s.items i ON i.id = f.item_id",
					qualified(source, model, "version"), qualified(source, model, "factors"),
					quote_identifier(NameStr(source->name)));
}

/* ---------------------------------------------------------------- reading */

static void
version_damaged(const char *what)
{
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("%s of an embedding model is not as a training wrote it", what),
			errhint("Drop the model and create it again."));
}

StateTable *
embedding_open_version(const RecsysSource *source, const RecsysModel *model)
{
	return checked_open(source, embedding_table(model, "version"),
						embedding_table(model, "version_pkey"), VERSION_VERSION,
						lengthof(version_types), version_types);
}

StateTable *
embedding_open_factors(const RecsysSource *source, const RecsysModel *model, bool by_publish)
{
	StateTable *t = checked_open(source, embedding_table(model, "factors"),
								 embedding_table(model, by_publish ? "factors_publish" : "factors_pkey"),
								 FACTORS_VERSION, lengthof(factors_types), factors_types);

	if (t->nkeys < 2 ||
		t->index->rd_index->indkey.values[1] != (by_publish ? FACTORS_PUBLISH : FACTORS_ITEM))
		version_damaged("an index");
	return t;
}

bool
embedding_read_version(StateTable *versions, Snapshot snapshot, EmbeddingVersion *version)
{
	TupleTableSlot *slot = table_get(versions, snapshot, 0, NULL);

	if (slot == NULL)
		return false;
	version->version = DatumGetInt32(checked_attribute(slot, VERSION_VERSION));
	version->publish = DatumGetInt64(checked_attribute(slot, VERSION_PUBLISH));
	version->params_version = DatumGetInt32(checked_attribute(slot, VERSION_PARAMS_VERSION));
	version->trained_at = DatumGetTimestampTz(checked_attribute(slot, VERSION_TRAINED_AT));
	version->applied_lsn = DatumGetLSN(checked_attribute(slot, VERSION_APPLIED_LSN));
	version->events = DatumGetInt64(checked_attribute(slot, VERSION_EVENTS));
	version->seconds = DatumGetFloat8(checked_attribute(slot, VERSION_SECONDS));
	version->users = DatumGetInt32(checked_attribute(slot, VERSION_USERS));
	version->items = DatumGetInt32(checked_attribute(slot, VERSION_ITEMS));
	version->interactions = DatumGetInt64(checked_attribute(slot, VERSION_INTERACTIONS));
	version->dim = DatumGetInt32(checked_attribute(slot, VERSION_DIM));
	version->loss = DatumGetFloat8(checked_attribute(slot, VERSION_LOSS));
	version->mean = DatumGetFloat8(checked_attribute(slot, VERSION_MEAN));
	if (version->dim < 1 || version->dim > EMBEDDING_MAX_DIM)
		version_damaged("the version");
	return true;
}

float *
embedding_read_matrix(StateTable *versions, Snapshot snapshot, int32 version, int column)
{
	Datum		key = Int32GetDatum(version);
	TupleTableSlot *slot = table_get(versions, snapshot, 1, &key);
	float	   *elements;
	float	   *matrix;
	int			dim;
	int			n;

	if (slot == NULL)
		return NULL;
	dim = DatumGetInt32(checked_attribute(slot, VERSION_DIM));
	elements = checked_array(checked_attribute(slot, column), FLOAT4OID, &n);
	if (n == 0)
		return NULL;
	if (dim < 1 || dim > EMBEDDING_MAX_DIM || n != dim * dim)
		version_damaged("a matrix");
	matrix = palloc(sizeof(float) * n);
	memcpy(matrix, elements, sizeof(float) * n);
	return matrix;
}

const float *
embedding_vector(TupleTableSlot *slot, int dim)
{
	int			n;
	const float *vector = checked_array(checked_attribute(slot, FACTORS_VECTOR), FLOAT4OID, &n);

	if (n != dim)
		version_damaged("a vector");
	return vector;
}
