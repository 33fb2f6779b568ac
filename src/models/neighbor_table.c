/*
 * neighbor_table.c
 *	  See neighbor_table.h.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "models/neighbor_table.h"
#include "state/array.h"
#include "state/checked.h"

/* Columns, from 1. */
enum
{
	COLUMN_ITEM = 1, COLUMN_NEIGHBORS, COLUMN_SCORES, COLUMN_WEIGHTS
};

#define NCOLUMNS	COLUMN_WEIGHTS

static const Oid column_types[NCOLUMNS] = {INT4OID, INT4ARRAYOID, FLOAT4ARRAYOID, BYTEAOID};

/* ------------------------------------------------------------ declaration */

static char *
table_name(const RecsysSource *source, const char *model)
{
	return quote_qualified_identifier(NameStr(source->name), psprintf("%s_neighbors", model));
}

char *
neighbor_table_create_sql(const RecsysSource *source, const char *model)
{
	char	   *table = table_name(source, model);

	return psprintf("CREATE TABLE %1$s (item_id int4 CONSTRAINT %2$s PRIMARY KEY,"
					" neighbors int4[] NOT NULL, scores real[] NOT NULL, weights bytea)"
					" WITH (fillfactor = 70);"
					" COMMENT ON TABLE %1$s IS 'items and their most similar ones by number, best first';"
					" COMMENT ON COLUMN %1$s.weights IS 'a byte for each neighbour: in recommendations"
					" its score counts 2 ^ ((byte - 128) / 8) times'",
					table, quote_identifier(psprintf("%s_neighbors_pkey", model)));
}

char *
neighbor_table_drop_sql(const RecsysSource *source, const char *model)
{
	return psprintf("DROP TABLE IF EXISTS %s", table_name(source, model));
}

char *
neighbor_table_similarity_sql(const RecsysSource *source, const char *model)
{
	return psprintf("SELECT a.key AS item_id, b.key AS similar_item_id, l.score"
					" FROM %1$s n"
					" JOIN %2$s.items a ON a.id = n.item_id"
					" CROSS JOIN LATERAL unnest(n.neighbors, n.scores) AS l(item, score)"
					" JOIN %2$s.items b ON b.id = l.item",
					table_name(source, model), quote_identifier(NameStr(source->name)));
}

/* ---------------------------------------------------------- stream worker */

static StateTable *
open_table(const RecsysSource *source, const RecsysModel *model, LOCKMODE lock)
{
	return table_open_state(source->nspid, psprintf("%s_neighbors", NameStr(model->name)),
							psprintf("%s_neighbors_pkey", NameStr(model->name)), lock);
}

/* The entries of a stored row by the numbers of the lists. */
static const int32 *
entries_of(const NeighborCoding *coding, const int32 *items, int n)
{
	int32	   *entries;

	if (coding == NULL)
		return items;
	entries = palloc(sizeof(int32) * Max(n, 1));
	for (int i = 0; i < n; i++)
		entries[i] = coding->entry(items[i]);
	return entries;
}

static bool
load_row(NeighborLists *lists, TupleTableSlot *slot, const NeighborCoding *coding)
{
	int32		item = DatumGetInt32(slot->tts_values[COLUMN_ITEM - 1]);
	ArrayType  *items = DatumGetArrayTypeP(slot->tts_values[COLUMN_NEIGHBORS - 1]);
	ArrayType  *scores = DatumGetArrayTypeP(slot->tts_values[COLUMN_SCORES - 1]);
	int			n = ArrayGetNItems(ARR_NDIM(items), ARR_DIMS(items));
	const uint8 *weights = NULL;
	const int32 *entries = entries_of(coding, (int32 *) ARR_DATA_PTR(items), n);

	if (coding)
		item = coding->owner(item);
	if (!slot->tts_isnull[COLUMN_WEIGHTS - 1])
	{
		bytea	   *bytes = DatumGetByteaPP(slot->tts_values[COLUMN_WEIGHTS - 1]);

		if (VARSIZE_ANY_EXHDR(bytes) == (Size) n)
			weights = (const uint8 *) VARDATA_ANY(bytes);
	}
	return neighbors_load_published(lists, item, entries, (float *) ARR_DATA_PTR(scores), n) &&
		neighbors_load_weights(lists, item, entries, weights, n);
}

bool
neighbor_table_load(NeighborLists *lists, const RecsysSource *source, const RecsysModel *model,
					const NeighborCoding *coding)
{
	StateTable *t = open_table(source, model, AccessShareLock);
	bool		good = true;

	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 0, NULL);
		 slot && good; slot = table_get_next(t))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		good = load_row(lists, slot, coding);
	}
	table_close_state(t, AccessShareLock);
	return good;
}

/* The entries become items. */
static void
write_row(NeighborLists *lists, StateTable *t, int32 item, int n, int32 *entries,
		  const float *scores, const NeighborCoding *coding)
{
	Datum		values[NCOLUMNS] = {Int32GetDatum(item)};
	bool		nulls[NCOLUMNS] = {false};
	bytea	   *weights = palloc(VARHDRSZ + (Size) n);

	SET_VARSIZE(weights, VARHDRSZ + (Size) n);
	nulls[COLUMN_WEIGHTS - 1] = !neighbors_weights(lists, n, entries, (uint8 *) VARDATA(weights));
	for (int i = 0; i < n && coding; i++)
		entries[i] = coding->item(entries[i]);
	values[COLUMN_NEIGHBORS - 1] = array_datum(entries, n, sizeof(int32), INT4OID);
	values[COLUMN_SCORES - 1] = array_datum(scores, n, sizeof(float), FLOAT4OID);
	values[COLUMN_WEIGHTS - 1] = PointerGetDatum(weights);
	table_put(t, 1, values, nulls);
	pfree(DatumGetPointer(values[COLUMN_NEIGHBORS - 1]));
	pfree(DatumGetPointer(values[COLUMN_SCORES - 1]));
	pfree(weights);
}

bool
neighbor_table_write(NeighborLists *lists, const RecsysSource *source, const RecsysModel *model,
					 int k, const NeighborCoding *coding)
{
	int32		number = neighbors_next_dirty(lists);
	StateTable *t;
	int32	   *entries;
	float	   *scores;

	if (number == 0)
		return true;
	t = open_table(source, model, RowExclusiveLock);
	entries = palloc(sizeof(int32) * k);
	scores = palloc(sizeof(float) * k);
	for (; number != 0; number = neighbors_next_dirty(lists))
	{
		CHECK_FOR_INTERRUPTS();
		if (coding == NULL || coding->is_owner(number))
		{
			int32		item = coding ? coding->item(number) : number;
			Datum		key = Int32GetDatum(item);
			int			n = neighbors_topk(lists, number, entries, scores);

			if (n > 0)
				write_row(lists, t, item, n, entries, scores, coding);
			else
				table_delete(t, 1, &key);
		}
		if (!neighbors_published(lists, number))
			return false;
	}
	pfree(entries);
	pfree(scores);
	table_close_state(t, RowExclusiveLock);
	return true;
}

/* ---------------------------------------------------------------- serving */

NeighborReader
neighbor_table_open(ServeContext *cx)
{
	NeighborReader reader = {0};
	const char *model = NameStr(cx->model->name);

	reader.table = checked_open(cx->source, psprintf("%s_neighbors", model),
								psprintf("%s_neighbors_pkey", model), COLUMN_ITEM,
								NCOLUMNS, column_types);
	reader.reader = hinted_begin(reader.table, cx->snapshot);
	return reader;
}

void
neighbor_table_close(NeighborReader *reader)
{
	hinted_end(reader->reader);
	checked_close(reader->table);
}

/* Weights that are fewer than the neighbours are none. */
static const uint8 *
get_weights(TupleTableSlot *slot, int n)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, COLUMN_WEIGHTS, &isnull);
	bytea	   *weights;

	if (isnull)
		return NULL;
	weights = DatumGetByteaPP(value);
	return VARSIZE_ANY_EXHDR(weights) >= (Size) n ? (const uint8 *) VARDATA_ANY(weights) : NULL;
}

Neighbors
neighbor_table_get(NeighborReader *reader, int32 item)
{
	TupleTableSlot *slot = hinted_get(reader->reader, item);
	Neighbors	list = {0};
	int			nscores;

	if (slot == NULL)
		return list;
	list.items = checked_array(checked_attribute(slot, COLUMN_NEIGHBORS), INT4OID, &list.n);
	list.scores = checked_array(checked_attribute(slot, COLUMN_SCORES), FLOAT4OID, &nscores);
	list.n = Min(list.n, nscores);
	list.weights = get_weights(slot, list.n);
	return list;
}

const float *
neighbor_table_weigh(NeighborReader *reader, const Neighbors *list)
{
	static float factors[256];

	if (list->weights == NULL)
		return list->scores;
	if (factors[128] == 0)
		for (int w = 0; w < 256; w++)
			factors[w] = neighbor_weight((uint8) w);
	if (reader->max < list->n)
	{
		if (reader->weighted)
			pfree(reader->weighted);
		reader->max = Max(list->n, 64);
		reader->weighted = palloc(sizeof(float) * reader->max);
	}
	for (int i = 0; i < list->n; i++)
		reader->weighted[i] = list->scores[i] * factors[list->weights[i]];
	return reader->weighted;
}

double
neighbor_score(const Neighbors *list, int32 item, bool weighted)
{
	double		score = 0;

	for (int i = 0; i < list->n; i++)
		if (list->items[i] == item)
			score = weighted && list->weights ?
				list->scores[i] * neighbor_weight(list->weights[i]) : list->scores[i];
	return score;
}

int
neighbor_table_similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out)
{
	NeighborReader reader = neighbor_table_open(cx);
	Neighbors	list = neighbor_table_get(&reader, item);
	int			n = Min(k, list.n);

	for (int i = 0; i < n; i++)
		out[i] = (ScoredItem) {list.items[i], list.scores[i]};
	neighbor_table_close(&reader);
	return n;
}
