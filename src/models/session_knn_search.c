/*
 * session_knn_search.c
 *	  The sessions nearest to one, from tables alone, under the caller's snapshot,
 *	  which sees them as one flush has left them.
 *
 *	1. The postings of the items, newest first, give sessions and their similarity.
 *	2. The best of them are read: what they hold, and the newest item shared.
 *	3. Counts of items are read as they are asked for.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "models/session_knn.h"
#include "state/checked.h"
#include "state/hinted.h"
#include "state/item_counts.h"
#include "state/postings.h"

struct SessionCounts
{
	StateTable *t;
	HintedReader *reader;
	int32		nblocks;
	int32	  **blocks;			/* by number; NULL: not read */
	double		pairs;
	int32		sessions;
};

static StateTable *
open_model_table(ServeContext *cx, const char *kind, int ntypes, const Oid *types)
{
	const char *table = psprintf("%s%s", NameStr(cx->model->name), kind);

	return checked_open(cx->source, table, psprintf("%s%s", table, SESSION_KNN_INDEX), 1,
						ntypes, types);
}

/* --------------------------------------------------------------------- counts */

static SessionCounts *
open_counts(ServeContext *cx)
{
	SessionCounts *counts = palloc0(sizeof(SessionCounts));
	StateTable *state = open_model_table(cx, SESSION_KNN_STATE, SESSION_STATE_NCOLUMNS,
										 session_state_types);
	Datum		key = BoolGetDatum(true);
	TupleTableSlot *slot = table_get(state, cx->snapshot, 1, &key);

	if (slot)
	{
		counts->pairs = DatumGetInt64(checked_attribute(slot, SESSION_STATE_PAIRS + 1));
		counts->sessions = DatumGetInt32(checked_attribute(slot, SESSION_STATE_SESSIONS + 1));
	}
	checked_close(state);
	counts->t = open_model_table(cx, SESSION_KNN_COUNTS, COUNT_NCOLUMNS, count_types);
	counts->reader = hinted_begin(counts->t, cx->snapshot);
	return counts;
}

static const int32 *
block_of(SessionCounts *counts, int32 block)
{
	TupleTableSlot *slot;

	if (block >= counts->nblocks)
	{
		int32		n = Max(block + 1, counts->nblocks * 2);

		counts->blocks = counts->blocks ?
			repalloc(counts->blocks, sizeof(int32 *) * n) : palloc(sizeof(int32 *) * n);
		memset(counts->blocks + counts->nblocks, 0, sizeof(int32 *) * (n - counts->nblocks));
		counts->nblocks = n;
	}
	if (counts->blocks[block])
		return counts->blocks[block];
	counts->blocks[block] = palloc0(sizeof(int32) * COUNT_BLOCK_SIZE);
	slot = hinted_get(counts->reader, block);
	if (slot)
		memcpy(counts->blocks[block], item_counts_row(slot), sizeof(int32) * COUNT_BLOCK_SIZE);
	return counts->blocks[block];
}

int32
session_knn_count(SessionHood *hood, int32 item)
{
	return block_of(hood->counts, COUNT_BLOCK_OF(item))[COUNT_PLACE_OF(item)];
}

int32
session_knn_sessions(SessionHood *hood)
{
	return hood->counts->sessions;
}

double
session_knn_item_weight(SessionHood *hood, int32 item)
{
	if (hood->idf == 0)
		return 1;
	return session_item_weight(hood->idf, hood->counts->pairs, session_knn_count(hood, item));
}

void
session_knn_end(SessionHood *hood)
{
	if (hood->counts == NULL)
		return;
	hinted_end(hood->counts->reader);
	checked_close(hood->counts->t);
	hood->counts = NULL;
}

/* --------------------------------------------------------------------- search */

static void *
pool_alloc(void *arg, size_t size)
{
	return MemoryContextAllocExtended(arg, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
}

static void
pool_release(void *arg, void *ptr)
{
	(void) arg;
	pfree(ptr);
}

static void
no_memory(void)
{
	ereport(ERROR,
			errcode(ERRCODE_OUT_OF_MEMORY),
			errmsg("no memory for the sessions that have an item in common with one"),
			errhint("Lower the model's parameter \"sample\"."));
}

/* The newest "sample" sessions of one item. */
static void
scan_item(SessionPool *pool, PostingScan *scan, int32 sample, const SessionClick *click, int place)
{
	int32		left = sample;
	PostingRow	row;

	posting_scan_item(scan, click->item);
	while (left > 0 && posting_scan_next(scan, &row))
	{
		int32		n = Min(row.n, left);

		CHECK_FOR_INTERRUPTS();
		switch (session_pool_scan(pool, row.sessions + row.n - n, row.times + row.n - n, n,
								  place, click->weight))
		{
			case SESSION_GO_ON:
				break;
			case SESSION_STOP:
				return;
			case SESSION_NO_MEMORY:
				no_memory();
		}
		left -= n;
	}
}

/* The k most similar sessions; returns how many. */
static int32
find_candidates(ServeContext *cx, const SessionSearch *search, SessionHood *hood,
				SessionCandidate **out)
{
	Allocator	allocator = {pool_alloc, pool_release, CurrentMemoryContext};
	StateTable *t = open_model_table(cx, SESSION_KNN_POSTINGS, POSTING_NCOLUMNS, posting_types);
	PostingScan *scan = posting_scan_begin(t, cx->snapshot);
	SessionPool pool;
	int32		n;

	if (!session_pool_init(&pool, &allocator, search->pool))
		no_memory();
	for (int32 x = 0; x < hood->nquery; x++)
		scan_item(&pool, scan, search->sample, &hood->query[x], x);
	posting_scan_end(scan);
	checked_close(t);
	*out = palloc_extended(sizeof(SessionCandidate) * (Size) Max(Min(search->k, pool.nheap), 1),
						   MCXT_ALLOC_HUGE);
	n = session_pool_best(&pool, search->k, *out);
	session_pool_free(&pool);
	return n;
}

/* Different items of n clicks, into "items"; sessions that are listed are short. */
static int32
different_items(const int32 *clicks, int n, int32 *items)
{
	int32		different = 0;

	for (int i = 0; i < n; i++)
	{
		int32		x = 0;

		while (x < different && items[x] != clicks[i])
			x++;
		if (x == different)
			items[different++] = clicks[i];
	}
	return different;
}

static void
read_neighbors(ServeContext *cx, double match_decay, SessionHood *hood,
			   const SessionCandidate *candidates, int32 n)
{
	StateTable *t = open_model_table(cx, SESSION_KNN_SESSIONS, SESSION_NCOLUMNS, session_types);
	HintedReader *reader = hinted_begin(t, cx->snapshot);

	hood->neighbors = palloc_extended(sizeof(SessionNeighbor) * (Size) Max(n, 1), MCXT_ALLOC_HUGE);
	for (int32 i = 0; i < n; i++)
	{
		SessionNeighbor *neighbor = &hood->neighbors[hood->n];
		TupleTableSlot *slot = hinted_get(reader, candidates[i].session);
		const int32 *clicks;
		int			nclicks;
		int32		match;

		CHECK_FOR_INTERRUPTS();
		if (slot == NULL)
			continue;			/* somebody has edited the tables */
		clicks = session_row_items(slot, &nclicks);
		neighbor->candidate = candidates[i];
		neighbor->items = palloc(sizeof(int32) * Max(nclicks, 1));
		neighbor->n = different_items(clicks, nclicks, neighbor->items);
		match = session_match(hood->query, hood->nquery, neighbor->items, neighbor->n);
		if (match < 0)
			continue;
		neighbor->weight = session_match_weight(match_decay, match) * candidates[i].sim;
		hood->n++;
	}
	hinted_end(reader);
	checked_close(t);
}

void
session_knn_search(ServeContext *cx, const int32 *clicks, int32 n, const SessionSearch *search,
				   SessionHood *hood)
{
	SessionCandidate *candidates;
	int32		ncandidates;

	memset(hood, 0, sizeof(SessionHood));
	hood->idf = search->idf;
	hood->query = palloc(sizeof(SessionClick) * Max(Min(n, search->last), 1));
	hood->nquery = session_query(clicks, n, search->last, search->decay, hood->query);
	ncandidates = find_candidates(cx, search, hood, &candidates);
	read_neighbors(cx, search->match_decay, hood, candidates, ncandidates);
	hood->counts = open_counts(cx);
}
