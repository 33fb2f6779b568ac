/*
 * matrix.c
 *	  Reading the histories of a source, see matrix.h.
 *
 * The table of profiles is read along its primary key, so the segments of a user
 * come together.  How much there is stands in the table of items, so the arrays
 * have their size from the start.
 *
 * Items are renumbered from 0: forgotten ones leave gaps in the numbers of a
 * source, and those without users need no row in a matrix.
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "state/checked.h"
#include "state/profiles.h"
#include "train/matrix.h"

/* Columns, from 1, and types as in catalog/schema.c. */
enum
{
	STATE_APPLIED_LSN = 2, STATE_NEXT_USER = 7, STATE_NEXT_ITEM = 8, STATE_EVENTS = 10
};
enum
{
	ITEM_USERS = 3
};
static const Oid state_types[] = {
	BOOLOID, PG_LSNOID, INT8ARRAYOID, INT8OID, OIDOID, NAMEOID, INT4OID, INT4OID, INT4OID, INT8OID
};
static const Oid profile_types[] = {
	INT4OID, INT4OID, INT4OID, INT4ARRAYOID, FLOAT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID
};

/* Rows between two looks at whether to go on. */
#define CHECK_EVERY 1024

/* ---------------------------------------------------------------- measuring */

static void
no_interactions(const Trainer *t)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("source \"%s\" has no interactions to train on", NameStr(t->source->name)),
			 errhint("Insert events that are not rejected; SELECT recsys.wait_for(%s); waits until they are read.",
					 quote_literal_cstr(NameStr(t->source->name)))));
}

/* The state row; without one the source is not filled yet. */
static void
read_state(Trainer *t, MatrixSize *size)
{
	StateTable *state = checked_open(t->source, "state", "state_pkey", 1, lengthof(state_types),
									 state_types);
	Datum		key = BoolGetDatum(true);
	TupleTableSlot *slot = table_get(state, GetActiveSnapshot(), 1, &key);

	if (slot == NULL)
		no_interactions(t);
	t->applied_lsn = DatumGetLSN(checked_attribute(slot, STATE_APPLIED_LSN));
	t->events = DatumGetInt64(checked_attribute(slot, STATE_EVENTS));
	size->users = DatumGetInt32(checked_attribute(slot, STATE_NEXT_USER)) - 1;
	size->items = DatumGetInt32(checked_attribute(slot, STATE_NEXT_ITEM)) - 1;
	checked_close(state);
}

static int64
count_interactions(const Trainer *t)
{
	Oid			types[] = {INT4OID, t->source->item.type, INT4OID};
	StateTable *items = checked_open(t->source, "items", NULL, 0, lengthof(types), types);
	TableScanDesc scan = table_beginscan(items->rel, GetActiveSnapshot(), 0, NULL);
	int64		n = 0;

	for (int64 row = 1; table_scan_getnextslot(scan, ForwardScanDirection, items->slot); row++)
	{
		if (row % CHECK_EVERY == 0)
			training_check(t->training);
		n += DatumGetInt32(checked_attribute(items->slot, ITEM_USERS));
	}
	table_endscan(scan);
	checked_close(items);
	return n;
}

void
matrix_measure(Trainer *t, MatrixSize *size)
{
	read_state(t, size);
	size->interactions = count_interactions(t);
	if (size->interactions <= 0)
		no_interactions(t);
	training_has_read(t->training, t->applied_lsn);
}

Size
matrix_memory(const MatrixSize *size)
{
	Size		bytes = mul_size(size->interactions, sizeof(int32) + sizeof(float));

	bytes = add_size(bytes, mul_size(size->users, sizeof(int64)));
	return add_size(bytes, mul_size(size->items, 2 * sizeof(int64) + sizeof(int32)));
}

/* ------------------------------------------------------------------- reading */

typedef struct Reader
{
	Trainer    *t;
	Matrix	   *matrix;
	int64		max;			/* of entries */
	int32		max_users;
	int32		max_item;
	int32		user;			/* whose rows are read */
	double		half_lives;		/* since 2000, by now */
	double		sum;			/* of all weights */
} Reader;

/* The table of items is wrong where this is needed, which must not matter. */
static void
make_room(Reader *r, int32 n)
{
	Matrix	   *m = r->matrix;

	if (m->n + n > r->max)
	{
		r->max = Max(r->max * 2, m->n + n);
		m->columns = repalloc_huge(m->columns, mul_size(r->max, sizeof(int32)));
		m->weights = repalloc_huge(m->weights, mul_size(r->max, sizeof(float)));
	}
	if (m->nusers + 2 > r->max_users)
	{
		r->max_users *= 2;
		m->offsets = repalloc_huge(m->offsets, mul_size(r->max_users, sizeof(int64)));
	}
}

static void
end_user(Matrix *m)
{
	if (m->n > m->offsets[m->nusers])
		m->offsets[++m->nusers] = m->n;
}

static void
add_row(Reader *r, const ProfileRow *row)
{
	Matrix	   *m = r->matrix;
	double		factor = r->t->source->half_life > 0 ? exp2(row->landmark - r->half_lives) : 1;

	make_room(r, row->n);
	if (row->user != r->user)
		end_user(m);
	r->user = row->user;
	for (int i = 0; i < row->n; i++)
	{
		float		weight = (float) (row->weights[i] * factor);

		if (row->items[i] < 1 || row->items[i] > r->max_item)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("item number %d in a profile", row->items[i]),
					 errhint("Rebuild the state with recsys.resync().")));
		m->columns[m->n] = row->items[i];
		m->weights[m->n++] = weight;
		r->sum += weight;
	}
}

static void
read_profiles(Reader *r)
{
	StateTable *profiles = checked_open(r->t->source, "profiles", "profiles_pkey", 1,
										lengthof(profile_types), profile_types);
	/* reading a row makes copies of short arrays */
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys row",
												  ALLOCSET_SMALL_SIZES);
	int64		nrows = 0;

	for (TupleTableSlot *slot = table_get(profiles, GetActiveSnapshot(), 0, NULL);
		 slot; slot = table_get_next(profiles))
	{
		ProfileRow	row;
		MemoryContext old;

		if (nrows++ % CHECK_EVERY == 0)
		{
			training_check(r->t->training);
			training_progress(r->t->training, "reading", r->matrix->n, r->max);
		}
		old = MemoryContextSwitchTo(scratch);
		profile_row_read(slot, &row);
		MemoryContextSwitchTo(old);
		add_row(r, &row);
		MemoryContextReset(scratch);
	}
	MemoryContextDelete(scratch);
	end_user(r->matrix);
	checked_close(profiles);
}

/* Numbers of items become rows. */
static void
number_items(Matrix *m, int32 max_item)
{
	int64	   *counts = trainer_alloc((Size) max_item + 1, sizeof(int64));

	memset(counts, 0, sizeof(int64) * ((Size) max_item + 1));
	for (int64 e = 0; e < m->n; e++)
		counts[m->columns[e]]++;
	m->item_ids = trainer_alloc((Size) max_item + 1, sizeof(int32));
	m->item_counts = trainer_alloc((Size) max_item + 1, sizeof(int64));
	for (int32 item = 1; item <= max_item; item++)
	{
		if (counts[item] == 0)
			continue;
		m->item_ids[m->nitems] = item;
		m->item_counts[m->nitems] = counts[item];
		counts[item] = m->nitems++;
	}
	for (int64 e = 0; e < m->n; e++)
		m->columns[e] = (int32) counts[m->columns[e]];
}

void
matrix_read(Trainer *t, const MatrixSize *size, Matrix *matrix)
{
	Reader		r = {.t = t,.matrix = matrix,.max = size->interactions,
		.max_users = size->users + 2,.max_item = size->items
	};

	if (t->source->half_life > 0)
		r.half_lives = (double) GetCurrentTimestamp() / USECS_PER_SEC / t->source->half_life;
	memset(matrix, 0, sizeof(Matrix));
	matrix->offsets = MemoryContextAllocHuge(CurrentMemoryContext, mul_size(r.max_users, sizeof(int64)));
	matrix->columns = MemoryContextAllocHuge(CurrentMemoryContext, mul_size(r.max, sizeof(int32)));
	matrix->weights = MemoryContextAllocHuge(CurrentMemoryContext, mul_size(r.max, sizeof(float)));
	matrix->offsets[0] = 0;
	read_profiles(&r);
	if (matrix->n == 0)
		no_interactions(t);
	matrix->mean = r.sum / matrix->n;
	number_items(matrix, size->items);
}
