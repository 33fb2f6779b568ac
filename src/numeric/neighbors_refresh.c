/*
 * neighbors_refresh.c
 *	  Brings the lists of neighbours up to date with the dots.
 *
 * Every row j has a list L(j) of at most 2k + 8 entries and a floor F(j).
 * Entries and floors are RankKeys, so that ties are ordered too.  Invariants,
 * whenever nothing is pending:
 *
 *	  (I1)	an entry of L(j) has the pair's exact score (in float, from the
 *			stored dot) and lies above F(j)
 *	  (I2)	a partner outside L(j) does not lie above F(j)
 *	  (I3)	L(j) has at least k entries, or F(j) is the bottom
 *
 * Hence the k best of L(j) are the k best of row j.
 *
 * A change of r(u,i) moves the norm of i and dots of i: i is touched.  Scores
 * of pairs of which neither item was touched stand.  A refresh takes the
 * touched items as a batch, and takes their norms over into norms[]: from
 * here on all scores mean those norms, also for later scans.
 *
 *	  SCAN		of each item i of the batch, over its row: makes L(i) anew, and
 *				puts the new score of (i,j) into L(j), for the partners j
 *				outside the batch (those in it are made anew themselves)
 *	  RESCAN	makes a list anew that lost entries and violates (I3)
 *	  CHECK		compares the lists that changed with what is published
 *
 * Which L(j) to search.  Only where i is an entry of L(j), or should become
 * one.  The latter means that the new score lies above F(j).  For the former,
 * the entry lies above F(j), and its score was made of the norm of i before
 * the batch, the norm of j that still holds, and a dot that was since then at
 * most "fall" above the present one: each touch adds to fall the most that a
 * dot of i can have lost by it.  So both are covered by
 *
 *	  (dot + fall) * lift > score of F(j) * (base * norm(j) + shrinkage)
 *
 * with base = the smaller of the norms of i before and after (an item whose
 * norm was 0 is in no list), and lift = 1 + 2^-18 for each touch, which is
 * more than what rounding in the store, or its taking a residue for zero,
 * can have removed on top.  Popular items lose little against their norms,
 * and nearly all partners are passed over.  A pair that lost its last common
 * user still has its cell in the row, dead (pairs.h), and is found like the
 * others; cells never set are skipped.  Rows that were computed from histories
 * have no dead cells: there, the pairs of every removal are remembered.  A partner j that was touched after
 * the batch was taken needs no proof: it has a batch of its own to come.
 * Events between two calls add to fall before the dots are read, since fall
 * is read at the time of the scan: the bound holds for dots at any time since.
 *
 * How a list is made anew.  All cells above the list's former floor are
 * gathered; it was somewhere below the k-th, and scores move little between
 * two refreshes, so that mostly this gives between k and 2k entries and the
 * new floor is the former.  If there are more, the best are selected; if there
 * are fewer than k, the row is scanned again from the bottom.
 *
 * What is published is compared after all lists are exact.  A row is dirty
 * if a published score is off by more than eps, or an entry that is not
 * published lies more than eps above the last published score (with fewer
 * than k published: above 0).  The entries suffice: partners outside L(j) lie
 * below k entries, of which one is not published whenever the k-th published
 * has not itself moved by more than eps.  A published item outside L(j) has
 * its score computed from the store, or is taken for off where there is none.
 */
#include <math.h>
#include <string.h>

#include "numeric/neighbors_impl.h"

/* ------------------------------------------------------ changes of a list */

static bool
reserve_keys(NeighborLists *nl, List *list, int n)
{
	size_t		bytes;
	RankKey    *keys;

	if (n <= list->cap)
		return true;
	bytes = arena_round((size_t) n * sizeof(RankKey));
	keys = arena_alloc(nl->arena, bytes);
	if (!keys)
		return false;
	if (list->keys)
	{
		memcpy(keys, list->keys, list->n * sizeof(RankKey));
		arena_free(nl->arena, list->keys, list->cap * sizeof(RankKey));
	}
	list->keys = keys;
	list->cap = (uint16_t) (bytes / sizeof(RankKey));
	return true;
}

/* An entry that is not in the list and lies above its floor.  A full list
 * lets its last eighth go, so that this happens once for many insertions. */
static bool
insert(NeighborLists *nl, int32_t j, RankKey key)
{
	List	   *list = &nl->lists[j];

	if (list->n == nl->max_list)
	{
		int			keep = list->n - (list->n - nl->k) / 4;
		RankKey		floor = 0;

		rank_select(list->keys, list->n, (size_t) keep);
		for (int x = keep; x < list->n; x++)
			floor = list->keys[x] > floor ? list->keys[x] : floor;
		list->n = (uint16_t) keep;
		list->floor = floor;
		nl_open_gate(nl, j);
		if (key < floor)
			return true;
	}
	if (!reserve_keys(nl, list, list->n + 1))
		return false;
	list->keys[list->n++] = key;
	return true;
}

/* The score of (i,j) is now "score": brings L(j) up to date. */
static bool
update(NeighborLists *nl, int32_t j, int32_t i, float score)
{
	List	   *list = &nl->lists[j];
	RankKey		key = rank_key(i, score);
	int			at;

	nl->work.lookups++;
	at = nl_find(list, i);
	if (at >= 0)
	{
		if (list->keys[at] == key)
			return true;
		if (key > list->floor)
			list->keys[at] = key;
		else
			return nl_remove(nl, j, i);
	}
	else if (key <= list->floor)
		return true;
	else if (!insert(nl, j, key))
		return false;
	return nl_mark(nl, &nl->changed, j, CHANGED);
}

/* ------------------------------------------------------------ scan of a row */

/* Entries found so far, and the bar above which the next must lie. */
typedef struct Gather
{
	int			n;
	RankKey		bar;
	bool		selected;		/* the bar is an entry, not a floor */
} Gather;

static inline float
cell_score(const NeighborLists *nl, const PairRowView *row, float norm, int32_t c,
		   int32_t j)
{
	if (row->counts && row->counts[c] < nl->min_support)
		return 0;
	return pair_score(row->dots[c], norm, nl->norms[j], nl->shrinkage);
}

static void
select_found(NeighborLists *nl, Gather *g)
{
	if (g->n <= nl->max_list)
		return;
	rank_select(nl->found, (size_t) g->n, (size_t) nl->max_list);
	g->n = nl->max_list;
	g->bar = nl->found[0];
	for (int x = 1; x < g->n; x++)
		g->bar = nl->found[x] < g->bar ? nl->found[x] : g->bar;
	g->selected = true;
}

static void
gather(NeighborLists *nl, const PairRowView *row, const RowScan *scan, Gather *g)
{
	for (int32_t x = 0; x < scan->nown; x++)
	{
		int32_t		c = scan->own[x];
		int32_t		j = row->js ? row->js[c] : c;
		RankKey		key = rank_key(j, cell_score(nl, row, scan->norm, c, j));

		nl->found[g->n] = key;
		g->n += key > g->bar;
	}
	if (g->n > 2 * nl->max_list)
		select_found(nl, g);
}

/* The new scores of i, into the lists of its partners. */
static bool
spread(NeighborLists *nl, int32_t i, const PairRowView *row, const RowScan *scan)
{
	for (int32_t x = 0; x < scan->ntheirs; x++)
	{
		int32_t		c = scan->theirs[x];
		int32_t		j = row->js ? row->js[c] : c;

		if (x + 8 < scan->ntheirs)
		{
			int32_t		ahead = scan->theirs[x + 8];

			__builtin_prefetch(&nl->lists[row->js ? row->js[ahead] : ahead]);
			ahead = scan->theirs[x + 4];
			__builtin_prefetch(nl->lists[row->js ? row->js[ahead] : ahead].keys);
		}
		if (!update(nl, j, i, cell_score(nl, row, scan->norm, c, j)))
			return false;
	}
	return true;
}

/* Takes i out of the lists of partners that its row doesn't hold any more. */
static bool
drop_losses(NeighborLists *nl, int32_t i, const PairRowView *row)
{
	const Losses *l = &nl->batch_losses;
	size_t		low = 0,
				high = l->n;
	bool		good = true;

	/* the first pair of an item not above i: they are sorted downwards */
	while (low < high)
	{
		size_t		mid = (low + high) / 2;

		if ((int32_t) (l->pairs[mid] >> 32) > i)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == l->n || (int32_t) (l->pairs[low] >> 32) != i)
		return true;
	for (int32_t c = 0; c < row->n; c++)
		if (row->dots[c] != 0)
			nl->seen[row->js ? row->js[c] : c] = 0;
	for (; low < l->n && (int32_t) (l->pairs[low] >> 32) == i && good; low++)
	{
		int32_t		j = (int32_t) (uint32_t) l->pairs[low];

		if (nl->seen[j] < 0 && !(nl->pending[j].flags & IN_BATCH))
			good = nl_remove(nl, j, i);
	}
	for (int32_t c = 0; c < row->n; c++)
		nl->seen[row->js ? row->js[c] : c] = -1;
	return good;
}

/* One pass over a row from the given bar. */
static bool
pass(NeighborLists *nl, int32_t i, const PairRowView *row, RowScan *scan, Gather *g)
{
	for (int32_t from = 0; from < row->n; from += SCAN_CELLS)
	{
		int32_t		to = row->n - from < SCAN_CELLS ? row->n : from + SCAN_CELLS;

		scan->bar = rank_score(g->bar) * (1 - 2e-6f);
		scan->nown = scan->ntheirs = 0;
		nl->scan(scan, from, to);
		gather(nl, row, scan, g);
		if (scan->theirs && !spread(nl, i, row, scan))
			return false;
	}
	nl->work.cells += row->n;
	return true;
}

/*
 * Makes L(i) anew from its row and, if "before" is given, tells the partners.
 */
static bool
scan_row(NeighborLists *nl, int32_t i, const PairRowView *row,
		 const BatchItem *before)
{
	List	   *list = &nl->lists[i];
	Gather		g = {0, list->n >= nl->k ? list->floor : bottom(), false};
	RowScan		scan = {
		.js = row->js, .dots = row->dots,
		.norms = nl->norms, .gates = nl->gates,
		.shrinkage = nl->shrinkage, .norm = nl->norms[i],
		.own = nl->own
	};

	if (before)
	{
		scan.theirs = nl->theirs;
		scan.base = scan.norm;
		if (before->norm > 0)
		{
			scan.fall = before->fall + nl->pending[i].fall;
			scan.base = before->norm < scan.norm ? before->norm : scan.norm;
		}
		scan.lift = 1 + (float) (before->touches + nl->pending[i].touches + 1) * 0x1p-18f;
		if (nl->rows_only && !drop_losses(nl, i, row))
			return false;
	}
	if (!pass(nl, i, row, &scan, &g))
		return false;
	if (g.n < nl->k && g.bar > bottom())
	{
		g = (Gather) {0, bottom(), false};
		scan.theirs = NULL;
		if (!pass(nl, i, row, &scan, &g))
			return false;
	}
	select_found(nl, &g);
	list->floor = g.selected ? g.bar - 1 : g.bar;
	list->n = 0;
	if (!reserve_keys(nl, list, g.n))
		return false;
	if (g.n > 0)
		memcpy(list->keys, nl->found, (size_t) g.n * sizeof(RankKey));
	list->n = (uint16_t) g.n;
	if (!(nl->pending[i].flags & IN_BATCH))
		nl_open_gate(nl, i);
	return nl_mark(nl, &nl->changed, i, CHANGED);
}

/* ------------------------------------------------------------------ phases */

static bool
begin_batch(NeighborLists *nl, bool watch_wear)
{
	uint32_t	n = nl->touched.n;
	Losses		losses = nl->batch_losses;

	if (n > nl->maxbatch)
	{
		size_t		bytes = arena_round(size_mul(n, sizeof(BatchItem)));

		if (nl->batch)
			arena_free(nl->arena, nl->batch, nl->maxbatch * sizeof(BatchItem));
		nl->maxbatch = 0;
		nl->batch = arena_alloc(nl->arena, bytes);
		if (!nl->batch)
			return false;
		nl->maxbatch = (uint32_t) (bytes / sizeof(BatchItem));
	}
	for (uint32_t b = 0; b < n; b++)
	{
		int32_t		i = nl->touched.items[b];
		Pending    *p = &nl->pending[i];
		float		norm = nl_norm_now(nl, i);

		nl->batch[b] = (BatchItem) {i, p->fall, nl->norms[i], p->touches};
		nl->norms[i] = norm;
		nl->gates[i] = INFINITY;
		p->fall = 0;
		p->touches = 0;
		p->flags = (uint8_t) ((p->flags & ~TOUCHED) | IN_BATCH);
		if (watch_wear && norm > 0 && norm * norm * 16 < p->peak &&
			!nl_mark(nl, &nl->worn, i, WORN))
			return false;
	}
	rank_sort(nl->losses.pairs, nl->losses.n);
	nl->batch_losses = nl->losses;
	nl->losses = losses;
	nl->losses.n = 0;
	nl->touched.n = 0;
	nl->nbatch = n;
	nl->next = 0;
	nl->phase = PHASE_SCAN;
	return true;
}

static void
end_batch(NeighborLists *nl)
{
	for (uint32_t b = 0; b < nl->nbatch; b++)
	{
		int32_t		i = nl->batch[b].item;

		nl->pending[i].flags &= (uint8_t) ~IN_BATCH;
		nl_open_gate(nl, i);
	}
	nl->nbatch = nl->next = 0;
	nl->phase = PHASE_RESCAN;
}

/* The next row to be scanned, 0 when none is left; *before is set for an item
 * of the batch. */
static int32_t
next_row(NeighborLists *nl, const BatchItem **before)
{
	*before = NULL;
	if (nl->phase == PHASE_SCAN)
	{
		if (nl->next < nl->nbatch)
		{
			*before = &nl->batch[nl->next];
			return (*before)->item;
		}
		end_batch(nl);
	}
	return nl->rescan.n > 0 ? nl->rescan.items[nl->rescan.n - 1] : 0;
}

/* The row that next_row() named has been scanned. */
static void
row_done(NeighborLists *nl, int32_t i, const BatchItem *before)
{
	if (before)
	{
		nl->next++;
		nl->work.scans++;
	}
	else
	{
		nl->rescan.n--;
		nl->pending[i].flags &= (uint8_t) ~SHORT_LIST;
		nl->work.rescans++;
	}
}

/* ---------------------------------------------------- what is published */

/* Is the published score of a partner outside the list right? */
static bool
still_right(const NeighborLists *nl, const PairStore *ps, int32_t i, int32_t j,
			float published)
{
	float		dot,
				score = 0;
	int32_t		count;

	if (!ps)
		return false;
	pairs_get(ps, i, j, &dot, &count);
	if (!pairs_has_counts(ps) || count >= nl->min_support)
		score = pair_score(dot, nl->norms[i], nl->norms[j], nl->shrinkage);
	return fabsf((score > 0 ? score : 0) - published) <= nl->eps;
}

static bool
is_dirty(NeighborLists *nl, const PairStore *ps, int32_t i)
{
	const List *list = &nl->lists[i];
	int			n = list->npublished;
	const int32_t *items = list->published;
	const float *scores = (const float *) (items + n);
	float		last = n < nl->k ? 0 : scores[n - 1];
	bool		dirty = (nl->pending[i].flags & FORCED) != 0 ||
		(n == 0) != (list->n == 0);

	for (int x = 0; x < n; x++)
		nl->seen[items[x]] = scores[x];
	for (int x = 0; x < list->n && !dirty; x++)
	{
		float		score = rank_score(list->keys[x]);
		float	   *seen = &nl->seen[rank_item(list->keys[x])];

		if (*seen < 0)
			dirty = score > last + nl->eps;
		else
		{
			dirty = fabsf(score - *seen) > nl->eps;
			*seen = -1;
		}
	}
	/* whatever is still marked is outside the list */
	for (int x = 0; x < n; x++)
	{
		if (nl->seen[items[x]] >= 0 && !dirty)
			dirty = !still_right(nl, ps, i, items[x], scores[x]);
		nl->seen[items[x]] = -1;
	}
	return dirty;
}

static bool
check(NeighborLists *nl, const PairStore *ps, int32_t i)
{
	nl->pending[i].flags &= (uint8_t) ~(CHANGED | DIRTY);
	if (!is_dirty(nl, ps, i))
		return true;
	nl->pending[i].flags |= DIRTY;
	return nl_mark(nl, &nl->dirty, i, QUEUED);
}

/* ---------------------------------------------------------------- drivers */

NeighborsState
neighbors_refresh(NeighborLists *nl, PairStore *ps, bool bury, int budget)
{
	if (nl->phase == PHASE_IDLE && !begin_batch(nl, pairs_rounded(ps)))
		return NEIGHBORS_FAILED;
	while (nl->phase != PHASE_CHECK)
	{
		const BatchItem *before;
		PairRowView row;
		int32_t		i = next_row(nl, &before);

		if (i == 0)
		{
			nl->phase = PHASE_CHECK;
			break;
		}
		if (budget-- <= 0)
			return NEIGHBORS_MORE;
		if (!pairs_view(ps, i, &row) || !nl_reach(nl, row.n > i ? row.n : i) ||
			!scan_row(nl, i, &row, before))
			return NEIGHBORS_FAILED;
		/* whatever died by an event on i that is still to come stays dead
		 * until that batch has told the partners */
		if (bury && !(nl->pending[i].flags & TOUCHED))
			pairs_bury(ps, i);
		row_done(nl, i, before);
	}
	/* comparing is a tenth of the work of scanning */
	for (int64_t n = (int64_t) budget * 8; nl->changed.n > 0; n--)
	{
		if (n <= 0)
			return NEIGHBORS_MORE;
		if (!check(nl, ps, nl->changed.items[--nl->changed.n]))
			return NEIGHBORS_FAILED;
	}
	nl->phase = PHASE_IDLE;
	return NEIGHBORS_DONE;
}

bool
neighbors_behind(const NeighborLists *nl)
{
	return nl->touched.n > 0;
}

int32_t
neighbors_next_row(NeighborLists *nl)
{
	const BatchItem *before;
	int32_t		i;

	if (nl->phase == PHASE_IDLE && !begin_batch(nl, false))
		return -1;
	i = next_row(nl, &before);
	if (i != 0)
		return i;
	while (nl->changed.n > 0)
		if (!check(nl, NULL, nl->changed.items[--nl->changed.n]))
			return -1;
	nl->phase = PHASE_IDLE;
	return 0;
}

bool
neighbors_put_row(NeighborLists *nl, int32_t i, const PairRowView *row)
{
	const BatchItem *before;
	int32_t		max = i;

	if (next_row(nl, &before) != i)
		return true;
	if (row->js)
		for (int32_t x = 0; x < row->n; x++)
			max = row->js[x] > max ? row->js[x] : max;
	else
		max = row->n > i ? row->n : i;
	if (!nl_reach(nl, max) || !scan_row(nl, i, row, before))
		return false;
	row_done(nl, i, before);
	return true;
}
