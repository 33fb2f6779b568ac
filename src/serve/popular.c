/*
 * popular.c
 *	  Items in order of popularity.
 *
 * The stream worker publishes the top of the list at each flush.  Whoever
 * needs more gets it from a sort of all items, which is rare: only callers
 * that exclude, or ask for, more than the published list holds.  Popularity is
 * as of the last flush in both.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "serve/serve.h"

/* Columns of popular_items. */
#define POPULAR_ITEM	2
#define POPULAR_SCORE	3

static const Oid popular_types[] = {INT4OID, INT4OID, FLOAT8OID};

struct PopularScan
{
	ServeCall  *call;
	StateTable *list;			/* NULL when exhausted */
	bool		started;
	Candidates *listed;			/* items of the published list */
	bool		sorted;			/* the rest is filled in, best first */
	int			nrest;
	int			next;
	RankKey    *rest;
};

double
item_popularity(ServeCall *call, TupleTableSlot *item)
{
	int32		landmark;
	double		total;

	if (call->source->explicit_feedback)
		return DatumGetInt32(checked_attribute(item, ITEM_USERS));
	total = DatumGetFloat8(checked_attribute(item, ITEM_TOTAL));
	if (call->source->half_life <= 0)
		return total;
	serve_read_state(call);
	landmark = DatumGetInt32(checked_attribute(item, ITEM_LANDMARK));
	return total * decay_factor(call, landmark, call->flushed_at);
}

PopularScan *
popular_begin(ServeCall *call)
{
	PopularScan *scan = palloc0(sizeof(PopularScan));

	scan->call = call;
	scan->list = checked_open(call->source, "popular_items", "popular_items_pkey", 1,
								  lengthof(popular_types), popular_types);
	scan->listed = candidates_create();
	return scan;
}

static bool
next_published(PopularScan *scan, ScoredItem *item)
{
	TupleTableSlot *slot;

	if (scan->list == NULL)
		return false;
	slot = scan->started ? table_get_next(scan->list) :
		table_get(scan->list, scan->call->snapshot, 0, NULL);
	scan->started = true;
	if (slot == NULL)
	{
		checked_close(scan->list);
		scan->list = NULL;
		return false;
	}
	item->item = DatumGetInt32(checked_attribute(slot, POPULAR_ITEM));
	item->score = DatumGetFloat8(checked_attribute(slot, POPULAR_SCORE));
	candidates_mark(scan->listed, item->item, 0);
	return true;
}

/* All items with users that the published list lacks. */
static void
collect_rest(PopularScan *scan)
{
	ServeCall  *call = scan->call;
	TableScanDesc desc;
	TupleTableSlot *slot;
	int			max = 1024;

	scan->sorted = true;
	serve_open_items(call);
	scan->rest = palloc(sizeof(RankKey) * max);
	slot = table_slot_create(call->items->rel, NULL);
	desc = table_beginscan(call->items->rel, call->snapshot, 0, NULL);
	while (table_scan_getnextslot(desc, ForwardScanDirection, slot))
	{
		int32		item = DatumGetInt32(checked_attribute(slot, ITEM_ID));

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt32(checked_attribute(slot, ITEM_USERS)) <= 0 ||
			candidates_find(scan->listed, item))
			continue;
		if (scan->nrest == max)
		{
			max *= 2;
			scan->rest = repalloc_huge(scan->rest, sizeof(RankKey) * max);
		}
		scan->rest[scan->nrest++] = rank_of(item, item_popularity(call, slot));
	}
	table_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	rank_sort(scan->rest, scan->nrest);
}

bool
popular_next(PopularScan *scan, ScoredItem *item)
{
	if (next_published(scan, item))
		return true;
	if (!scan->sorted)
		collect_rest(scan);
	if (scan->next == scan->nrest)
		return false;
	*item = (ScoredItem) {rank_item(scan->rest[scan->next]), rank_score(scan->rest[scan->next])};
	scan->next++;
	return true;
}

void
popular_end(PopularScan *scan)
{
	if (scan->list)
		checked_close(scan->list);
}
