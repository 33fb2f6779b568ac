/*
 * evaluate_read.c
 *	  All histories of a source, from its table, with the times of their items.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "state/checked.h"
#include "state/profiles.h"
#include "train/evaluate.h"

static const Oid profile_types[] = {
	INT4OID, INT4OID, INT4OID, INT4ARRAYOID, FLOAT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID
};

typedef struct Reader
{
	Interactions *all;
	double		half_life;
	double		now;			/* seconds since 2000 */
	int64		n,
				max;
	int32		max_users;
} Reader;

static void
make_room(Reader *r, int32 more)
{
	Interactions *all = r->all;

	if (all->nusers + 2 > r->max_users)
	{
		r->max_users *= 2;
		all->users = repalloc_huge(all->users, sizeof(int32) * (Size) r->max_users);
		all->offsets = repalloc_huge(all->offsets, sizeof(int64) * (Size) r->max_users);
	}
	if (r->n + more > r->max)
	{
		r->max = Max(2 * r->max, r->n + more);
		all->items = repalloc_huge(all->items, sizeof(int32) * (Size) r->max);
		all->weights = repalloc_huge(all->weights, sizeof(float) * (Size) r->max);
		all->times = repalloc_huge(all->times, sizeof(TimestampTz) * (Size) r->max);
	}
}

static void
add_row(Reader *r, const ProfileRow *row)
{
	Interactions *all = r->all;
	double		factor = r->half_life > 0 ? exp2(row->landmark - r->now / r->half_life) : 1;

	make_room(r, row->n);
	if (all->nusers == 0 || all->users[all->nusers - 1] != row->user)
	{
		all->users[all->nusers++] = row->user;
		all->offsets[all->nusers] = r->n;
	}
	for (int i = 0; i < row->n; i++)
	{
		if (row->items[i] <= 0)
			ereport(ERROR,
					errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("item number %d in a profile", row->items[i]),
					errhint("Rebuild the state with recsys.resync()."));
		all->items[r->n] = row->items[i];
		all->weights[r->n] = (float) (row->weights[i] * factor);
		all->times[r->n] = row->times[i];
		all->max_item = Max(all->max_item, row->items[i]);
		r->n++;
	}
	all->offsets[all->nusers] = r->n;
}

/* Segments are read in order, and times within one rise mostly, so this is
 * quick; equal times stay as they are (see profile_rows.c). */
static void
order_by_time(Interactions *all)
{
	for (int32 u = 0; u < all->nusers; u++)
		for (int64 e = all->offsets[u] + 1; e < all->offsets[u + 1]; e++)
		{
			TimestampTz time = all->times[e];
			int32		item = all->items[e];
			float		weight = all->weights[e];
			int64		at = e;

			for (; at > all->offsets[u] && all->times[at - 1] > time; at--)
			{
				all->times[at] = all->times[at - 1];
				all->items[at] = all->items[at - 1];
				all->weights[at] = all->weights[at - 1];
			}
			all->times[at] = time;
			all->items[at] = item;
			all->weights[at] = weight;
		}
}

void
evaluation_read(const RecsysSource *source, Interactions *all)
{
	Reader		r = {.all = all,.half_life = source->half_life,
		.now = (double) GetCurrentTimestamp() / USECS_PER_SEC,.max = 65536,.max_users = 1024
	};
	StateTable *t = checked_open(source, "profiles", "profiles_pkey", 1, lengthof(profile_types),
								 profile_types);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys profile row",
												  ALLOCSET_DEFAULT_SIZES);

	memset(all, 0, sizeof(Interactions));
	all->users = palloc(sizeof(int32) * r.max_users);
	all->offsets = palloc0(sizeof(int64) * r.max_users);
	all->items = palloc(sizeof(int32) * r.max);
	all->weights = palloc(sizeof(float) * r.max);
	all->times = palloc(sizeof(TimestampTz) * r.max);
	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 0, NULL);
		 slot; slot = table_get_next(t))
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		ProfileRow	row;

		CHECK_FOR_INTERRUPTS();
		profile_row_read(slot, &row);
		add_row(&r, &row);
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
	}
	MemoryContextDelete(scratch);
	checked_close(t);
	order_by_time(all);
}

void
interactions_free(Interactions *all)
{
	pfree(all->users);
	pfree(all->offsets);
	pfree(all->items);
	pfree(all->weights);
	pfree(all->times);
}
