/*
 * neighbors_list.c
 *	  One list of neighbours: find, change, replace.
 *
 * Whoever enters a list is noted among his own "members", so that the lists
 * that hold an item can be found when its row is scanned.  Leaving a list
 * leaves the note behind, until the notes are tidied: by a scan of the item's
 * row, or when their array is full.
 */
#include "numeric/neighbors_impl.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Bit x: items[x] is this item, x in [0, 8). */
static inline uint32_t
match_eight(const int32_t *items, int32_t item)
{
#ifdef __SSE2__
	__m128i		wanted = _mm_set1_epi32(item);
	__m128i		low = _mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *) items), wanted);
	__m128i		high = _mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *) (items + 4)), wanted);

	return (uint32_t) _mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(low, high),
														_mm_setzero_si128()));
#else
	uint32_t	match = 0;

	for (int x = 0; x < 8; x++)
		match |= (uint32_t) (items[x] == item) << x;
	return match;
#endif
}

int
nl_find(const List *list, int32_t item)
{
	int			n = list->n;
	int			x = 0;

	for (; x + 8 <= n; x += 8)
	{
		uint32_t	match = match_eight(list->items + x, item);

		if (match)
			return x + __builtin_ctz(match);
	}
	for (; x < n; x++)
		if (list->items[x] == item)
			return x;
	return -1;
}

void
nl_keys(NeighborLists *nl, const List *list)
{
	nl->sorted = 0;
	for (int x = 0; x < list->n; x++)
		nl->keys[x] = rank_key(list->items[x], list->scores[x]);
}

void
nl_open_gate(NeighborLists *nl, int32_t item)
{
	/* the margin covers the roundings of the inner loop */
	nl->gates[item] = measure_bar(nl->measure, rank_score(nl->lists[item].floor), nl->norms[item],
								  nl->total, nl->shrinkage) * (1 - 2e-6f);
}

/* ---------------------------------------------------------------- members */

/* Leaves out lists that item i is not in, and doubles. */
static void
tidy_members(NeighborLists *nl, int32_t i)
{
	List	   *list = &nl->lists[i];
	uint32_t	n = 0;

	for (uint32_t x = 0; x < list->nmembers; x++)
	{
		int32_t		j = list->members[x];

		if ((nl->marks[j] & MARK_TIDY) || nl_find(&nl->lists[j], i) < 0)
			continue;
		nl->marks[j] |= MARK_TIDY;
		list->members[n++] = j;
	}
	for (uint32_t x = 0; x < n; x++)
		nl->marks[list->members[x]] &= (uint8_t) ~MARK_TIDY;
	list->nmembers = n;
}

/* Item i entered the list of j. */
static bool
note_member(NeighborLists *nl, int32_t i, int32_t j)
{
	List	   *list = &nl->lists[i];

	list->nlists++;
	if (list->nmembers == list->maxmembers)
	{
		/* a quarter of the notes or more is out of date, or there are more */
		if (list->nlists <= list->maxmembers - list->maxmembers / 4)
			tidy_members(nl, i);
		else
		{
			size_t		bytes = arena_round(((size_t) list->nmembers * 3 / 2 + 1) * sizeof(int32_t));
			int32_t    *more = arena_alloc(nl->arena, bytes);

			if (!more)
				return false;
			if (list->members)
			{
				memcpy(more, list->members, list->nmembers * sizeof(int32_t));
				arena_free(nl->arena, list->members, list->maxmembers * sizeof(int32_t));
			}
			list->members = more;
			list->maxmembers = (uint32_t) (bytes / sizeof(int32_t));
		}
	}
	list->members[list->nmembers++] = j;
	return true;
}

/* ---------------------------------------------------------------- entries */

static bool
reserve(NeighborLists *nl, List *list, int n)
{
	List		old = *list;
	size_t		bytes;

	if (n <= list->cap)
		return true;
	bytes = arena_round((size_t) n * ENTRY_BYTES);
	list->items = arena_alloc(nl->arena, bytes);
	if (!list->items)
	{
		list->items = old.items;
		return false;
	}
	list->cap = (uint16_t) (bytes / ENTRY_BYTES);
	list->scores = (float *) (list->items + list->cap);
	list->shown = list->scores + list->cap;
	if (old.items)
	{
		memcpy(list->items, old.items, old.n * sizeof(int32_t));
		memcpy(list->scores, old.scores, old.n * sizeof(float));
		memcpy(list->shown, old.shown, old.n * sizeof(float));
		arena_free(nl->arena, old.items, old.cap * ENTRY_BYTES);
	}
	return true;
}

/* Entries without noting them. */
static void
store_keys(List *list, const RankKey *keys, int n)
{
	for (int x = 0; x < n; x++)
	{
		list->items[x] = rank_item(keys[x]);
		list->scores[x] = rank_score(keys[x]);
	}
	list->n = (uint16_t) n;
}

void
nl_show(NeighborLists *nl, int32_t j)
{
	List	   *list = &nl->lists[j];
	const int32_t *items = list->published;
	const float *scores = (const float *) (items + list->npublished);
	int			nshown = 0;

	for (int x = 0; x < list->npublished; x++)
		nl->seen[items[x]] = scores[x];
	for (int x = 0; x < list->n; x++)
	{
		list->shown[x] = nl->seen[list->items[x]];
		nshown += list->shown[x] != NOT_SHOWN;
	}
	for (int x = 0; x < list->npublished; x++)
		nl->seen[items[x]] = NOT_SHOWN;
	list->nshown = (uint16_t) nshown;
}

/* A full list lets a part of what it has beyond k go, so that this happens
 * once for many insertions. */
static void
make_room(NeighborLists *nl, int32_t j)
{
	List	   *list = &nl->lists[j];
	int			keep = list->n - (list->n - nl->k) / 4 - 1;
	RankKey		floor = 0;

	nl_keys(nl, list);
	rank_select(nl->keys, list->n, (size_t) keep);
	for (int x = keep; x < list->n; x++)
	{
		floor = nl->keys[x] > floor ? nl->keys[x] : floor;
		nl->lists[rank_item(nl->keys[x])].nlists--;
	}
	store_keys(list, nl->keys, keep);
	nl_show(nl, j);
	list->floor = floor;
	nl_open_gate(nl, j);
}

static bool
insert(NeighborLists *nl, int32_t j, int32_t i, float score)
{
	List	   *list = &nl->lists[j];
	float		shown = NOT_SHOWN;

	if (list->n == nl->max_list)
	{
		make_room(nl, j);
		if (rank_key(i, score) < list->floor)
			return true;
	}
	if (!reserve(nl, list, list->n + 1))
		return false;
	if (list->nshown < list->npublished)
		for (int x = 0; x < list->npublished; x++)
			if (list->published[x] == i)
				shown = ((const float *) (list->published + list->npublished))[x];
	nl->sorted = 0;
	list->items[list->n] = i;
	list->scores[list->n] = score;
	list->shown[list->n] = shown;
	list->n++;
	list->nshown += shown != NOT_SHOWN;
	return note_member(nl, i, j);
}

bool
nl_remove(NeighborLists *nl, int32_t j, int32_t i)
{
	List	   *list = &nl->lists[j];
	int			at = nl_find(list, i);

	nl->work.lookups++;
	if (at < 0)
		return true;
	nl->sorted = 0;
	nl->lists[i].nlists--;
	list->n--;
	list->nshown -= list->shown[at] != NOT_SHOWN;
	list->items[at] = list->items[list->n];
	list->scores[at] = list->scores[list->n];
	list->shown[at] = list->shown[list->n];
	if (list->n < nl->k && list->floor > bottom() &&
		!nl_mark(nl, &nl->rescan, j, SHORT_LIST))
		return false;
	return nl_mark(nl, &nl->changed, j, CHANGED);
}

bool
nl_update(NeighborLists *nl, int32_t j, int32_t i, float score)
{
	List	   *list = &nl->lists[j];
	int			at = nl_find(list, i);

	nl->work.lookups++;
	if (at >= 0)
	{
		if (list->scores[at] == score)
			return true;
		if (rank_key(i, score) <= list->floor)
			return nl_remove(nl, j, i);
		list->scores[at] = score;
		nl->sorted = 0;
	}
	else if (rank_key(i, score) <= list->floor)
		return true;
	else if (!insert(nl, j, i, score))
		return false;
	return nl_mark(nl, &nl->changed, j, CHANGED);
}

bool
nl_replace(NeighborLists *nl, int32_t j, int n, RankKey floor)
{
	List	   *list = &nl->lists[j];
	int			nold = list->n;
	int32_t    *old = nl->theirs;	/* the scan is over */
	bool		good;

	for (int x = 0; x < nold; x++)
	{
		old[x] = list->items[x];
		nl->marks[old[x]] |= MARK_OLD;
	}
	nl->sorted = 0;
	list->n = 0;
	list->floor = floor;
	good = reserve(nl, list, n);
	if (good)
	{
		store_keys(list, nl->found, n);
		nl_show(nl, j);
	}
	for (int x = 0; x < n && good; x++)
	{
		if (nl->marks[list->items[x]] & MARK_OLD)
			nl->marks[list->items[x]] &= (uint8_t) ~MARK_OLD;
		else
			good = note_member(nl, list->items[x], j);
	}
	for (int x = 0; x < nold; x++)
		if (nl->marks[old[x]] & MARK_OLD)
		{
			nl->marks[old[x]] &= (uint8_t) ~MARK_OLD;
			nl->lists[old[x]].nlists--;
		}
	if (!(nl->pending[j].flags & IN_BATCH))
		nl_open_gate(nl, j);
	return good && nl_mark(nl, &nl->changed, j, CHANGED);
}

void
nl_empty(NeighborLists *nl, int32_t j)
{
	List	   *list = &nl->lists[j];

	nl->sorted = 0;
	for (int x = 0; x < list->n; x++)
		nl->lists[list->items[x]].nlists--;
	list->n = list->nshown = 0;
	list->floor = bottom();
	if (!(nl->pending[j].flags & IN_BATCH))
		nl_open_gate(nl, j);
}
