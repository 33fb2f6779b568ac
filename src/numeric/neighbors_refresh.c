/*
 * neighbors_refresh.c
 *	  Brings the lists of neighbours up to date with the dots.
 *
 * Every row j has a list L(j) of about 2k entries at most and a floor F(j).
 * Entries and floors rank as RankKeys, so that ties are ordered too.  A score
 * is made of the stored dot and of norms[], which may lag behind by "drift".
 * Invariants, whenever nothing is pending:
 *
 *	  (I1)	an entry of L(j) has the pair's score and lies above F(j)
 *	  (I2)	a partner outside L(j) does not lie above F(j)
 *	  (I3)	L(j) has at least k entries, or F(j) is the bottom
 *	  (I4)	i is in L(j) only if j is among the members of i
 *
 * Hence the k best of L(j) are the k best of row j.
 *
 * A change of r(u,i) moves the norm of i and its dots with the user's other
 * items.  As long as the norm has not drifted, these pairs are all that changed,
 * and they are kept in a log; otherwise, or when the log of an item gets so
 * long that it costs more than a scan, its whole row is to be scanned.  All
 * other scores stand.  A refresh takes the log, and the items to be scanned
 * as a batch whose norms it brings up to date: from here on all scores mean
 * those norms.
 *
 *	  SCAN		of each item i of the batch, over its row: makes L(i) anew, and
 *				puts the new scores of i into the L(j) of partners j outside the
 *				batch (those in it are made anew themselves).  A partner whose
 *				score lies above F(j) has i as an entry from now on; in all other
 *				lists that have i, which are among its members, it ends.
 *	  PAIRS		of the log, unless one item was in the batch: the same for single
 *				pairs, in both lists.  If the score does not lie above the floor,
 *				the pair can be an entry only if it fell: where dots only rose,
 *				rounding included, it was below the floor before, too.
 *	  RESCAN	makes a list anew that lost entries and violates (I3)
 *	  CHECK		compares the lists that changed with what is published
 *
 * Events may come between two calls.  Their items are touched again, for the
 * next refresh; what a scan reads of their dots in advance is not yet right
 * in all lists, but will be.
 *
 * How a list is made anew.  All cells above the list's former floor are
 * gathered; it was somewhere below the k-th, and scores move little between
 * two refreshes, so that mostly this gives between k and 2k entries and the
 * new floor is the former.  If there are more, the best are selected; if there
 * are fewer than k, the row is scanned again from the bottom.
 *
 * What is published is compared after all lists are right.  A row is dirty
 * if a published score is off by more than eps, or an entry that is not
 * published lies more than eps above the last published score (with fewer
 * than k published: above 0).  The entries suffice: partners outside L(j) lie
 * below k entries, of which one is not published whenever the k-th published
 * has not itself moved by more than eps.  A published item outside L(j) has
 * its score computed from the store, or is taken for off where there is none.
 * Where there are weights, such an item makes the row dirty anyway.
 * Unless strict, a row that is off by more than eps, but not by more than
 * early_eps, is put off: while events arrive, most rows move a little at
 * each refresh, and to write them every time took three quarters of the WAL.
 */
#include <math.h>
#include <string.h>

#include "numeric/neighbors_impl.h"

/* How many logged pairs cost as much as a scan: a cell of the row is cheap, a
 * list that has the item nearly as dear as a pair. */
#define PAIRS_PER_SCAN(cells, members)	(32 + (cells) / 256 + (members) / 4)

/* Units of work as dear as the scan of a row. */
#define PAIRS_PER_UNIT	32
#define CHECKS_PER_UNIT	8

/* ------------------------------------------------------------ scan of a row */

/* Entries found so far, and the bar above which the next must lie. */
typedef struct Gather
{
	int			n;
	RankKey		bar;
	bool		selected;		/* the bar is an entry, not a floor */
} Gather;

static float
llr_rank(const NeighborLists *nl, float dot, int32_t owner, int32_t entry, float bar)
{
	float		own = nl->norms[owner],
				other = nl->norms[entry];
	uint32_t	hash = ((uint32_t) dot * 31 + (uint32_t) own) * 1021 + (uint32_t) other;
	LlrMemo    *memo = &nl->memo[hash * UINT32_C(0x9E3779B1) >> 19];

	if (memo->both == dot && memo->own == own && memo->other == other)
		return memo->rank;
	if (llr_is_below(dot, own, other, nl->total, bar))
		return 0;
	*memo = (LlrMemo) {dot, own, other, nl_rank(nl, dot, owner, entry)};
	return memo->rank;
}

/* 0, or what is not above the bar, if it is not. */
static inline float
cell_rank(const NeighborLists *nl, const RowScan *scan, int32_t c, int32_t owner, int32_t entry,
		  float bar)
{
	float		dot = pair_cell_dot(scan->row, c);

	if (scan->row->counts && scan->row->counts[c] < nl->min_support)
		return 0;
	if (nl->memo)
		return llr_rank(nl, dot, owner, entry, bar);
	return nl_rank(nl, dot, owner, entry);
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
gather(NeighborLists *nl, int32_t i, const RowScan *scan, Gather *g)
{
	for (int32_t x = 0; x < scan->nown; x++)
	{
		int32_t		c = scan->own[x];
		int32_t		j = pair_cell_item(scan->row, c);
		RankKey		key = rank_key(j, cell_rank(nl, scan, c, i, j, rank_score(g->bar)));

		nl->found[g->n] = key;
		g->n += key > g->bar;
	}
	if (g->n > 2 * nl->max_list)
		select_found(nl, g);
}

ALWAYS_INLINE void
prefetch_list(const NeighborLists *nl, const RowScan *scan, int32_t x)
{
	if (x + 8 < scan->ntheirs)
		__builtin_prefetch(&nl->lists[pair_cell_item(scan->row, scan->theirs[x + 8])]);
	if (x + 4 < scan->ntheirs)
	{
		const char *items = (const char *)
			nl->lists[pair_cell_item(scan->row, scan->theirs[x + 4])].items;

		for (int b = 0; b < nl->max_list * 4 && b < 512; b += 64)
			__builtin_prefetch(items + b);
	}
}

/* The new scores of i, into the lists of partners where they belong. */
static bool
spread(NeighborLists *nl, int32_t i, const RowScan *scan)
{
	for (int32_t x = 0; x < scan->ntheirs; x++)
	{
		int32_t		c = scan->theirs[x];
		int32_t		j = pair_cell_item(scan->row, c);
		float		score = cell_rank(nl, scan, c, j, i, rank_score(nl->lists[j].floor));

		prefetch_list(nl, scan, x);
		if (rank_key(i, score) <= nl->lists[j].floor)
			continue;
		if (!nl_update(nl, j, i, score))
			return false;
		nl->marks[j] |= MARK_MET;
		if (!nl_push(nl, &nl->met, j))
			return false;
	}
	return true;
}

/* Ends i in all other lists, and tidies its members. */
static bool
retire(NeighborLists *nl, int32_t i)
{
	List	   *list = &nl->lists[i];
	uint32_t	n = 0;
	bool		good = true;

	for (uint32_t x = 0; x < list->nmembers; x++)
	{
		int32_t		j = list->members[x];
		bool		keep = (nl->marks[j] & MARK_MET) || (nl->pending[j].flags & IN_BATCH);

		if (nl->marks[j] & MARK_TIDY)
			continue;
		if (keep)
		{
			nl->marks[j] |= MARK_TIDY;
			list->members[n++] = j;
		}
		else
			good = good && nl_remove(nl, j, i);
	}
	list->nmembers = n;
	for (uint32_t x = 0; x < n; x++)
		nl->marks[list->members[x]] &= (uint8_t) ~MARK_TIDY;
	for (uint32_t x = 0; x < nl->met.n; x++)
		nl->marks[nl->met.items[x]] &= (uint8_t) ~MARK_MET;
	nl->met.n = 0;
	return good;
}

/* One pass over a row from the given bar. */
static bool
pass(NeighborLists *nl, int32_t i, RowScan *scan, Gather *g)
{
	int32_t		n = scan->row->n;
	int32_t		step = g->bar == bottom() ? FIRST_CELLS : SCAN_CELLS;

	for (int32_t from = 0; from < n; from += step, step = from < SCAN_CELLS ? step : SCAN_CELLS)
	{
		scan->bar = measure_bar(nl->measure, rank_score(g->bar), nl->norms[i], nl->total,
								nl->shrinkage) * (1 - 2e-6f);
		scan->nown = scan->ntheirs = 0;
		nl->scan(scan, from, n - from < step ? n : from + step);
		gather(nl, i, scan, g);
		if (scan->theirs && !spread(nl, i, scan))
			return false;
	}
	nl->work.cells += n;
	return true;
}

/* Makes L(i) anew from its row and, if asked, tells the partners. */
static bool
scan_row(NeighborLists *nl, int32_t i, const PairRowView *row, bool tell)
{
	const List *list = &nl->lists[i];
	Gather		g = {0, list->n >= nl->k ? list->floor : bottom(), false};
	RowScan		scan = {
		.row = row, .norms = nl->norms, .gates = nl->gates,
		.own = nl->own, .theirs = tell ? nl->theirs : NULL
	};

	measure_line(nl->measure, nl->norms[i], nl->total, nl->shrinkage, &scan.norm, &scan.shrinkage);

	if (!pass(nl, i, &scan, &g) || (tell && !retire(nl, i)))
		return false;
	if (g.n < nl->k && g.bar > bottom())
	{
		g = (Gather) {0, bottom(), false};
		scan.theirs = NULL;
		if (!pass(nl, i, &scan, &g))
			return false;
	}
	select_found(nl, &g);
	nl->pending[i].max_pairs = PAIRS_PER_SCAN((uint32_t) row->n, list->nmembers);
	return nl_replace(nl, i, g.n, g.selected ? g.bar - 1 : g.bar);
}

/* ------------------------------------------------------------ single pairs */

/* The pair (i,j) has this score now: brings L(j) up to date. */
static inline bool
tell(NeighborLists *nl, int32_t j, int32_t i, float score, bool fell)
{
	if (rank_key(i, score) <= nl->lists[j].floor && !fell)
		return true;
	return nl_update(nl, j, i, score);
}

static bool
do_pair(NeighborLists *nl, PairStore *ps, Pair pair)
{
	int32_t		i = pair.i,
				j = pair.j < 0 ? -pair.j : pair.j;
	bool		fell = pair.j < 0;
	float		dot;
	int32_t		count;

	if ((nl->pending[i].flags | nl->pending[j].flags) & IN_BATCH)
		return true;
	nl->work.pairs++;
	pairs_get(ps, i, j, &dot, &count);
	if (pairs_has_counts(ps) && count < nl->min_support)
		dot = 0;
	return tell(nl, j, i, nl_rank(nl, dot, j, i), fell) && tell(nl, i, j, nl_rank(nl, dot, i, j), fell);
}

/* ------------------------------------------------------------------ phases */

static bool
begin_batch(NeighborLists *nl, bool whole_rows, bool watch_wear)
{
	Pairs		pairs = nl->batch_pairs;

	nl->batch.n = nl->next = 0;
	nl->weighed = 0;
	for (uint32_t t = 0; t < nl->touched.n; t++)
	{
		int32_t		i = nl->touched.items[t];
		Pending    *p = &nl->pending[i];
		/* the sum may have been brought up to date only after the touch */
		bool		whole = whole_rows || (p->flags & WHOLE) || nl_has_drifted(nl, i);

		p->pairs = 0;
		p->flags &= (uint16_t) ~(TOUCHED | WHOLE);
		if (nl->trust && !nl_mark(nl, &nl->trusts, i, TRUST))
			return false;
		if (!whole)
			continue;
		if (!nl_mark(nl, &nl->batch, i, IN_BATCH))
			return false;
		nl->norms[i] = nl_norm_now(nl, i);
		nl->gates[i] = INFINITY;
		if (watch_wear && nl->measure == MEASURE_COSINE && nl->norms[i] > 0 &&
			nl->norms[i] * nl->norms[i] < p->peak * WORN_PART &&
			!nl_mark(nl, &nl->worn, i, WORN))
			return false;
	}
	nl->touched.n = 0;
	nl->batch_pairs = nl->pairs;
	nl->pairs = pairs;
	nl->pairs.n = 0;
	nl->phase = PHASE_SCAN;
	return true;
}

static void
end_batch(NeighborLists *nl)
{
	for (uint32_t b = 0; b < nl->batch.n; b++)
	{
		nl->pending[nl->batch.items[b]].flags &= (uint16_t) ~IN_BATCH;
		nl_open_gate(nl, nl->batch.items[b]);
	}
	nl->batch.n = nl->next = 0;
	nl->batch_pairs.n = 0;
	nl->phase = PHASE_RESCAN;
}

/* The next row to be scanned in this phase, or 0. */
static int32_t
next_row(const NeighborLists *nl)
{
	if (nl->phase == PHASE_SCAN)
		return nl->next < nl->batch.n ? nl->batch.items[nl->next] : 0;
	if (nl->phase == PHASE_RESCAN)
		return nl->rescan.n > 0 ? nl->rescan.items[nl->rescan.n - 1] : 0;
	return 0;
}

/* Here is the row that next_row() named. */
static bool
put_row(NeighborLists *nl, int32_t i, const PairRowView *row)
{
	bool		batch = nl->phase == PHASE_SCAN;

	if (!scan_row(nl, i, row, batch))
		return false;
	if (batch)
	{
		nl->next++;
		nl->work.scans++;
	}
	else
	{
		nl->rescan.n--;
		nl->pending[i].flags &= (uint16_t) ~SHORT_LIST;
		nl->work.rescans++;
	}
	return true;
}

/* ---------------------------------------------------- what is published */

/* Is the published score of a partner outside the list right? */
static bool
still_right(const NeighborLists *nl, const PairStore *ps, int32_t i, int32_t j,
			float published, float eps)
{
	float		dot,
				score = 0;
	int32_t		count;

	if (!ps)
		return false;
	pairs_get(ps, i, j, &dot, &count);
	if (!pairs_has_counts(ps) || count >= nl->min_support)
		score = nl_rank(nl, dot, i, j);
	return fabsf((score > 0 ? score : 0) - published) <= nl_tolerance(nl, score, eps);
}

/* Are all published items outside the list still right? */
static bool
rest_is_right(NeighborLists *nl, const PairStore *ps, int32_t i, float eps)
{
	const List *list = &nl->lists[i];
	const float *scores = (const float *) (list->published + list->npublished);

	for (int x = 0; x < list->npublished; x++)
		if (nl_find(list, list->published[x]) < 0 &&
			!still_right(nl, ps, i, list->published[x], scores[x], eps))
			return false;
	return true;
}

static bool
is_dirty(NeighborLists *nl, const PairStore *ps, int32_t i, float eps)
{
	const List *list = &nl->lists[i];
	int			n = list->npublished;
	float		last = n < nl->k ? 0 : ((const float *) (list->published + n))[n - 1];
	float		enough = last + nl_tolerance(nl, last, eps);
	int			off = 0;

	if ((nl->pending[i].flags & FORCED) || (n == 0) != (list->n == 0))
		return true;
	for (int x = 0; x < list->n; x++)
	{
		float		score = list->scores[x],
					shown = list->shown[x];

		off |= (shown == NOT_SHOWN) & (score > enough);
		off |= (shown != NOT_SHOWN) & (fabsf(score - shown) > nl_tolerance(nl, score, eps));
	}
	if (off || list->nshown == n)
		return off;
	/* a weight that moves reaches the rows that list its item, not this one */
	return (nl_weighted(nl) && eps <= nl->eps) || !rest_is_right(nl, ps, i, eps);
}

static bool
check(NeighborLists *nl, const PairStore *ps, int32_t i)
{
	nl->pending[i].flags &= (uint16_t) ~(CHANGED | DIRTY);
	if (!is_dirty(nl, ps, i, nl->strict ? nl->eps : nl->early_eps))
		return nl->strict || !is_dirty(nl, ps, i, nl->eps) ||
			nl_mark(nl, &nl->later, i, LATER);
	nl->pending[i].flags |= DIRTY;
	return nl_mark(nl, &nl->dirty, i, QUEUED);
}

/* ---------------------------------------------------------------- drivers */

/* Scans rows of this phase.  DONE: none is left. */
static NeighborsState
scan_rows(NeighborLists *nl, PairStore *ps, int *budget)
{
	for (int32_t i; (i = next_row(nl)) != 0;)
	{
		PairRowView row;

		if ((*budget)-- <= 0)
			return NEIGHBORS_MORE;
		if (!pairs_view(ps, i, &row) || !put_row(nl, i, &row))
			return NEIGHBORS_FAILED;
	}
	return NEIGHBORS_DONE;
}

static NeighborsState
do_pairs(NeighborLists *nl, PairStore *ps, int *budget)
{
	Pairs	   *p = &nl->batch_pairs;

	while (p->n > 0)
	{
		if ((*budget)-- <= 0)
			return NEIGHBORS_MORE;
		for (int x = 0; x < PAIRS_PER_UNIT && p->n > 0; x++)
			if (!do_pair(nl, ps, p->pairs[--p->n]))
				return NEIGHBORS_FAILED;
	}
	return NEIGHBORS_DONE;
}

static NeighborsState
check_changed(NeighborLists *nl, PairStore *ps, int *budget)
{
	while (nl->changed.n > 0)
	{
		if ((*budget)-- <= 0)
			return NEIGHBORS_MORE;
		for (int x = 0; x < CHECKS_PER_UNIT && nl->changed.n > 0; x++)
			if (!check(nl, ps, nl->changed.items[--nl->changed.n]))
				return NEIGHBORS_FAILED;
	}
	return NEIGHBORS_DONE;
}

NeighborsState
neighbors_refresh(NeighborLists *nl, PairStore *ps, int budget)
{
	NeighborsState state = NEIGHBORS_DONE;

	nl->rows_only = false;
	if (!nl_reach(nl, pairs_max_item(ps)))
		return NEIGHBORS_FAILED;
	if (nl->phase == PHASE_IDLE && !begin_batch(nl, false, pairs_rounded(ps)))
		return NEIGHBORS_FAILED;
	while (nl->phase != PHASE_IDLE)
	{
		switch (nl->phase)
		{
			case PHASE_SCAN:
			case PHASE_RESCAN:
				state = scan_rows(nl, ps, &budget);
				break;
			case PHASE_PAIRS:
				state = do_pairs(nl, ps, &budget);
				break;
			default:
				state = check_changed(nl, ps, &budget);
		}
		if (state != NEIGHBORS_DONE)
			return state;
		if (nl->phase == PHASE_PAIRS)
			end_batch(nl);
		else
			nl->phase = nl->phase == PHASE_CHECK ? PHASE_IDLE : nl->phase + 1;
	}
	return NEIGHBORS_DONE;
}

int32_t
neighbors_next_row(NeighborLists *nl)
{
	int			budget = INT32_MAX;
	int32_t		i;

	nl->rows_only = true;
	if (nl->phase == PHASE_IDLE && !begin_batch(nl, true, false))
		return -1;
	if ((i = next_row(nl)) != 0)
		return i;
	if (nl->phase <= PHASE_PAIRS)
	{
		/* begun with a store: single pairs can't be looked at any more */
		for (uint32_t x = 0; x < nl->batch_pairs.n; x++)
		{
			i = nl->batch_pairs.pairs[x].i;
			if (!(nl->pending[i].flags & IN_BATCH) &&
				!nl_mark(nl, &nl->touched, i, TOUCHED))
				return -1;
		}
		end_batch(nl);
	}
	if (nl->phase == PHASE_RESCAN && (i = next_row(nl)) != 0)
		return i;
	if (check_changed(nl, NULL, &budget) != NEIGHBORS_DONE)
		return -1;
	nl->phase = PHASE_IDLE;
	return 0;
}

bool
neighbors_put_row(NeighborLists *nl, int32_t i, const PairRowView *row)
{
	int32_t		max = i;

	if (next_row(nl) != i)
		return true;
	for (int32_t c = 0; c < row->n; c++)
		max = pair_cell_item(row, c) > max ? pair_cell_item(row, c) : max;
	return nl_reach(nl, max) && put_row(nl, i, row);
}
