/*
 * user_knn_search.c
 *	  The nearest neighbours of a user, from tables alone.
 *
 *	1. The audiences of the user's items give users and, item by item, their
 *	   products: partial sums of the similarity's numerator.
 *	2. The norms' table gives their lengths, so each has a partial similarity.
 *	3. The best of these are looked at in full: their histories give numerator,
 *	   length and items in common exactly.  The k best of them are the answer.
 *
 * Where the audiences are complete, the partial similarity is the similarity, and
 * a few more than k are looked at for the sake of rounding.  Where some are cut, a
 * user's sum may lack products, so a caller may have more of them looked at; what
 * is returned is exact, only who was a candidate is not.
 *
 * The tables are read under the caller's snapshot, which sees them as one flush
 * has left them.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "models/user_knn.h"
#include "numeric/topk.h"
#include "state/audiences.h"
#include "state/checked.h"
#include "state/hinted.h"
#include "state/norms.h"

/* Candidates looked at beyond k: their partial similarities may be off by the
 * rounding of stored weights. */
#define SPARE_CANDIDATES 16

/* Columns of items and profiles, from 1. */
#define ITEM_USERS		3
#define PROFILE_LANDMARK	3
#define PROFILE_ITEMS	4
#define PROFILE_WEIGHTS	5

static const Oid profile_types[] = {INT4OID, INT4OID, INT4OID, INT4ARRAYOID, FLOAT8ARRAYOID};

/* --------------------------------------------------------------- item -> index */

void
item_index_create(ItemIndex *index, int n, const int32 *items)
{
	uint32		nslots = 16;

	while (nslots < 2 * (uint32) n)
		nslots *= 2;
	index->mask = nslots - 1;
	index->items = palloc0(sizeof(int32) * nslots);
	index->places = palloc(sizeof(int32) * nslots);
	for (int i = 0; i < n; i++)
	{
		uint32		s = (uint32) items[i] * 0x9E3779B1u >> 7 & index->mask;

		while (index->items[s] != 0)
			s = (s + 1) & index->mask;
		index->items[s] = items[i];
		index->places[s] = i;
	}
}

/* ----------------------------------------------------------------- candidates */

/* A user met in the audiences. */
typedef struct Candidate
{
	int32		user;			/* 0 = free slot */
	int32		common;			/* items */
	double		dot;
} Candidate;

/* A hash table with linear probing. */
typedef struct CandidateSet
{
	uint32		shift;			/* 2^(32 - shift) slots */
	int32		n;
	int32		max;
	int32		max_user;
	Candidate  *slots;
} CandidateSet;

static void
allocate_slots(CandidateSet *set, int bits)
{
	Size		nslots = (Size) 1 << bits;

	if (bits > 30)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("too many users have an item in common with one"),
				errhint("Lower the model's audience_limit."));
	set->shift = 32 - bits;
	set->max = nslots / 2;
	set->slots = palloc_extended(sizeof(Candidate) * nslots, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static inline Candidate *
slot_of_user(const CandidateSet *set, int32 user)
{
	uint32		mask = UINT32_C(0xFFFFFFFF) >> set->shift;
	uint32		s = (uint32) user * 0x9E3779B1u >> set->shift;

	while (set->slots[s].user != 0 && set->slots[s].user != user)
		s = (s + 1) & mask;
	return &set->slots[s];
}

static pg_noinline void
grow_slots(CandidateSet *set)
{
	Candidate  *old = set->slots;
	Size		nold = (Size) set->max * 2;

	allocate_slots(set, 33 - set->shift);
	for (Size s = 0; s < nold; s++)
		if (old[s].user != 0)
			*slot_of_user(set, old[s].user) = old[s];
	pfree(old);
}

static inline void
add_product(CandidateSet *set, int32 user, double product)
{
	Candidate  *c = slot_of_user(set, user);

	if (c->user == 0)
	{
		if (set->n == set->max)
		{
			grow_slots(set);
			c = slot_of_user(set, user);
		}
		c->user = user;
		set->n++;
		set->max_user = Max(set->max_user, user);
	}
	c->common++;
	c->dot += product;
}

/* -------------------------------------------------------------------- a search */

typedef struct Search
{
	ServeContext *cx;
	const NeighborQuery *query;
	ItemIndex	index;			/* of the history */
	double	   *item_weights;
	double		length;			/* |u| */
	CandidateSet candidates;
	bool		complete;		/* no audience is cut */
	int			nranked;
	RankKey    *ranked;			/* candidates by partial similarity */
	int32		landmark;		/* the last one asked for, and its factor */
	double		factor;
} Search;

static double
decay(Search *s, int32 landmark)
{
	if (landmark != s->landmark || s->factor == 0)
	{
		s->landmark = landmark;
		s->factor = s->cx->decay(s->cx, landmark);
	}
	return s->factor;
}

static StateTable *
open_model_table(Search *s, const char *kind, int ntypes, const Oid *types)
{
	const char *table = psprintf("%s%s", NameStr(s->cx->model->name), kind);

	return checked_open(s->cx->source, table, psprintf("%s%s", table, USER_KNN_INDEX), 1,
						ntypes, types);
}

static int32
count_users(Search *s)
{
	StateTable *t = open_model_table(s, USER_KNN_STATE, USER_KNN_NCOLUMNS, user_knn_state_types);
	Datum		key = BoolGetDatum(true);
	TupleTableSlot *slot = table_get(t, s->cx->snapshot, 1, &key);
	int32		nusers = slot ? DatumGetInt32(checked_attribute(slot, USER_KNN_USERS + 1)) : 0;

	checked_close(t);
	return nusers;
}

/* The weights of the history's items, and how many users each has. */
static int32 *
weigh_items(Search *s)
{
	const History *history = s->query->history;
	const Oid	types[] = {INT4OID, s->cx->source->item.type, INT4OID};
	int32	   *users = palloc0(sizeof(int32) * history->n);
	StateTable *t = checked_open(s->cx->source, "items", "items_pkey", 1, lengthof(types), types);
	HintedReader *reader = hinted_begin(t, s->cx->snapshot);
	int32		nusers = count_users(s);

	for (int h = 0; h < history->n; h++)
	{
		TupleTableSlot *slot = hinted_get(reader, history->items[h]);

		if (slot)
			users[h] = DatumGetInt32(checked_attribute(slot, ITEM_USERS));
		s->item_weights[h] = user_knn_item_weight(s->query->idf, nusers, users[h]);
	}
	hinted_end(reader);
	checked_close(t);
	return users;
}

/* Adds the products of one item's users; returns how many there are. */
static int32
add_audience(Search *s, StateTable *t, int32 item, double weight)
{
	Datum		key = Int32GetDatum(item);
	int32		n = 0;

	for (TupleTableSlot *slot = table_get(t, s->cx->snapshot, 1, &key);
		 slot; slot = table_get_next(t))
	{
		AudienceRow row;
		double		factor;

		CHECK_FOR_INTERRUPTS();
		audience_row_read(slot, false, &row);
		factor = weight * decay(s, row.landmark);
		for (int i = 0; i < row.n; i++)
			add_product(&s->candidates, row.users[i], factor * row.weights[i]);
		n += row.n;
	}
	return n;
}

/* Those who have a certain item, sorted. */
static int32 *
users_having(Search *s, StateTable *t, int32 item, int *n)
{
	Datum		key = Int32GetDatum(item);
	int32	   *users = palloc(sizeof(int32));

	*n = 0;
	for (TupleTableSlot *slot = table_get(t, s->cx->snapshot, 1, &key);
		 slot; slot = table_get_next(t))
	{
		AudienceRow row;

		CHECK_FOR_INTERRUPTS();
		audience_row_read(slot, false, &row);
		users = repalloc_huge(users, sizeof(int32) * ((Size) *n + row.n + 1));
		memcpy(users + *n, row.users, sizeof(int32) * row.n);
		*n += row.n;
	}
	return users;
}

static void
collect_candidates(Search *s)
{
	const History *history = s->query->history;
	StateTable *t = open_model_table(s, USER_KNN_AUDIENCES, AUDIENCE_NCOLUMNS, audience_types);
	int32	   *users = weigh_items(s);
	Candidate  *self;

	allocate_slots(&s->candidates, 14);
	s->complete = true;
	for (int h = 0; h < history->n; h++)
		s->complete &= add_audience(s, t, history->items[h],
									history->weights[h] * s->item_weights[h]) >= users[h];
	if (s->query->having)
	{
		/* of the others nothing counts */
		int			n;
		int32	   *having = users_having(s, t, s->query->having, &n);
		CandidateSet all = s->candidates;

		allocate_slots(&s->candidates, 14);
		s->candidates.n = s->candidates.max_user = 0;
		for (int i = 0; i < n; i++)
		{
			Candidate  *c = slot_of_user(&all, having[i]);

			if (c->user == 0)
				continue;
			add_product(&s->candidates, c->user, c->dot);
			slot_of_user(&s->candidates, c->user)->common = c->common;
		}
	}
	checked_close(t);
	self = slot_of_user(&s->candidates, s->cx->user);
	if (self->user != 0)
		self->common = 0;
}

/* ------------------------------------------------------- partial similarities */

/* The candidates in the order of the blocks that have their lengths. */
static Candidate *
sort_by_block(const CandidateSet *set, int *n)
{
	Candidate  *sorted = palloc_extended(sizeof(Candidate) * ((Size) set->n + 1), MCXT_ALLOC_HUGE);
	int32		nblocks = NORM_BLOCK_OF(set->max_user) + 2;
	int32	   *at = palloc_extended(sizeof(int32) * (Size) nblocks, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	Size		nslots = (Size) set->max * 2;

	for (Size x = 0; x < nslots; x++)
		if (set->slots[x].user != 0)
			at[NORM_BLOCK_OF(set->slots[x].user) + 1]++;
	for (int32 b = 1; b < nblocks; b++)
		at[b] += at[b - 1];
	for (Size x = 0; x < nslots; x++)
		if (set->slots[x].user != 0)
			sorted[at[NORM_BLOCK_OF(set->slots[x].user)]++] = set->slots[x];
	*n = set->n;
	pfree(at);
	return sorted;
}

static void
rank_candidates(Search *s)
{
	int64		wanted = (int64) s->query->k + (s->complete ? 0 : s->query->spare) + SPARE_CANDIDATES;
	StateTable *t = open_model_table(s, USER_KNN_NORMS, NORM_NCOLUMNS, norm_types);
	HintedReader *reader = hinted_begin(t, s->cx->snapshot);
	const double *sums = NULL;
	int32		block = 0;
	double		factor = 0;
	int			n;
	Candidate  *candidates = sort_by_block(&s->candidates, &n);
	TopK		top;

	wanted = Max(Min(wanted, n), 1);
	s->ranked = palloc_extended(sizeof(RankKey) * (Size) wanted, MCXT_ALLOC_HUGE);
	topk_init(&top, s->ranked, (size_t) wanted);
	for (int i = 0; i < n; i++)
	{
		const Candidate *c = &candidates[i];
		double		sim;

		if (c->common < s->query->min_common || c->common == 0)
			continue;
		if (block != NORM_BLOCK_OF(c->user))
		{
			TupleTableSlot *slot;
			int32		landmark = 0;

			CHECK_FOR_INTERRUPTS();
			block = NORM_BLOCK_OF(c->user);
			slot = hinted_get(reader, block);
			sums = slot ? norm_row_read(slot, &landmark) : NULL;
			factor = decay(s, landmark);
		}
		if (sums == NULL || sums[NORM_PLACE_OF(c->user)] <= 0)
			continue;
		sim = c->dot / (s->length * sqrt(sums[NORM_PLACE_OF(c->user)]) * factor);
		if (sim > 0)
			topk_push(&top, c->user, (float) sim);
	}
	s->nranked = (int) top.n;
	rank_sort(s->ranked, top.n);
	pfree(candidates);
	hinted_end(reader);
	checked_close(t);
}

/* --------------------------------------------------------- exact similarities */

static void
add_profile_row(Search *s, TupleTableSlot *slot, History *history)
{
	double		factor = decay(s, DatumGetInt32(checked_attribute(slot, PROFILE_LANDMARK)));
	int			n,
				nweights;
	int32	   *items = checked_array(checked_attribute(slot, PROFILE_ITEMS), INT4OID, &n);
	double	   *weights = checked_array(checked_attribute(slot, PROFILE_WEIGHTS), FLOAT8OID, &nweights);

	n = Min(n, nweights);
	if (history->items == NULL)
	{
		history->items = palloc(sizeof(int32) * n);
		history->weights = palloc(sizeof(double) * n);
	}
	else
	{
		history->items = repalloc(history->items, sizeof(int32) * (history->n + n));
		history->weights = repalloc(history->weights, sizeof(double) * (history->n + n));
	}
	memcpy(history->items + history->n, items, sizeof(int32) * n);
	for (int i = 0; i < n; i++)
		history->weights[history->n + i] = weights[i] * factor;
	history->n += n;
}

/* Items in common; the numerator goes to *dot, the other's length to *length. */
static int
compare_histories(const Search *s, const History *other, double *dot, double *length)
{
	const History *mine = s->query->history;
	double		sumsq = 0;
	int			common = 0;

	*dot = 0;
	for (int i = 0; i < other->n; i++)
	{
		int			h = item_index_find(&s->index, other->items[i]);

		sumsq += other->weights[i] * other->weights[i];
		if (h < 0)
			continue;
		common++;
		*dot += mine->weights[h] * s->item_weights[h] * other->weights[i];
	}
	*length = sqrt(sumsq);
	return common;
}

/* False: no neighbour after all. */
static bool
look_at(Search *s, StateTable *profiles, int32 user, Neighbor *neighbor)
{
	Datum		key = Int32GetDatum(user);
	double		dot,
				length;

	memset(neighbor, 0, sizeof(Neighbor));
	neighbor->user = user;
	for (TupleTableSlot *slot = table_get(profiles, s->cx->snapshot, 1, &key);
		 slot; slot = table_get_next(profiles))
		add_profile_row(s, slot, &neighbor->history);
	if (compare_histories(s, &neighbor->history, &dot, &length) < s->query->min_common)
		return false;
	neighbor->scale = 1 / (s->length * length);
	neighbor->sim = dot * neighbor->scale;
	return dot > 0 && length > 0;
}

static int
compare_neighbors(const void *a, const void *b)
{
	const Neighbor *x = a,
			   *y = b;
	RankKey		kx = rank_key(x->user, (float) x->sim),
				ky = rank_key(y->user, (float) y->sim);

	return kx > ky ? -1 : kx < ky;
}

/* The numerator of a history with itself gives the length. */
static double
length_of(const History *history)
{
	double		sumsq = 0;

	for (int h = 0; h < history->n; h++)
		sumsq += history->weights[h] * history->weights[h];
	return sqrt(sumsq);
}

void
user_knn_search(ServeContext *cx, const NeighborQuery *query, Neighborhood *result)
{
	Search		s = {.cx = cx,.query = query};
	StateTable *profiles;

	memset(result, 0, sizeof(Neighborhood));
	result->item_weights = s.item_weights = palloc(sizeof(double) * query->history->n);
	s.length = length_of(query->history);
	if (!(s.length > 0))
		return;
	item_index_create(&s.index, query->history->n, query->history->items);
	collect_candidates(&s);
	rank_candidates(&s);

	result->neighbors = palloc_extended(sizeof(Neighbor) * (Size) Max(s.nranked, 1), MCXT_ALLOC_HUGE);
	profiles = checked_open(cx->source, "profiles", "profiles_pkey", 1,
							lengthof(profile_types), profile_types);
	for (int i = 0; i < s.nranked; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (look_at(&s, profiles, rank_item(s.ranked[i]), &result->neighbors[result->n]))
			result->n++;
	}
	checked_close(profiles);
	qsort(result->neighbors, result->n, sizeof(Neighbor), compare_neighbors);
	result->n = Min(result->n, query->k);
}
