/*
 * histories.c
 *	  Collecting all histories, see histories.h.
 *
 * A history in memory is newer than its rows in the table, so memory comes
 * first and the table fills in the users that are not there.  The table is
 * read along its primary key: the rows of a user come together.
 */
#include "postgres.h"

#include <math.h>
#include <sys/mman.h>

#include "access/genam.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "models/histories.h"
#include "state/table.h"

#define HUGE_PAGE ((uintptr_t) 2 * 1024 * 1024)

/* --------------------------------------------------------------- allocator */

static void *
numeric_alloc(void *arg, size_t size)
{
	char	   *block;

	if (size > MaxAllocHugeSize)
		return NULL;
	block = MemoryContextAllocExtended(arg, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
#ifdef MADV_HUGEPAGE
	if (block && size >= 2 * HUGE_PAGE)
	{
		uintptr_t	start = TYPEALIGN(HUGE_PAGE, (uintptr_t) block);
		uintptr_t	end = TYPEALIGN_DOWN(HUGE_PAGE, (uintptr_t) block + size);

		/* advice only: without it everything works, with more TLB misses */
		(void) madvise((void *) start, end - start, MADV_HUGEPAGE);
	}
#endif
	return block;
}

static void
numeric_release(void *arg, void *ptr)
{
	(void) arg;
	pfree(ptr);
}

Allocator
histories_allocator(MemoryContext context)
{
	Allocator	allocator = {numeric_alloc, numeric_release, context};

	return allocator;
}

/* -------------------------------------------------------------- collecting */

typedef struct Builder
{
	int64	   *offsets;
	int32	   *items;
	float	   *weights;
	int32		nusers,
				maxusers;
	int64		n,
				max;
	/* of the user at hand, where rows may come out of order */
	TimestampTz *times;
	int32		ntimes,
				maxtimes;
} Builder;

static void
make_room(Builder *b, int32 more)
{
	if (b->nusers + 2 > b->maxusers)
	{
		b->maxusers *= 2;
		b->offsets = repalloc_huge(b->offsets, sizeof(int64) * (Size) b->maxusers);
	}
	if (b->n + more > b->max)
	{
		b->max = Max(b->max * 2, b->n + more);
		b->items = repalloc_huge(b->items, sizeof(int32) * (Size) b->max);
		b->weights = repalloc_huge(b->weights, sizeof(float) * (Size) b->max);
	}
}

static void
add_times(Builder *b, const TimestampTz *times, int32 n)
{
	if (b->ntimes + n > b->maxtimes)
	{
		b->maxtimes = 2 * (b->ntimes + n);
		b->times = b->times ? repalloc_huge(b->times, sizeof(TimestampTz) * (Size) b->maxtimes) :
			palloc(sizeof(TimestampTz) * (Size) b->maxtimes);
	}
	memcpy(b->times + b->ntimes, times, sizeof(TimestampTz) * (Size) n);
	b->ntimes += n;
}

/* A user's rows come in the order of their segments, and times rise mostly, so
 * that little moves; equal times stay in order. */
static void
order_by_time(Builder *b)
{
	int64		from = b->offsets[b->nusers];

	for (int32 i = 1; i < b->ntimes; i++)
	{
		TimestampTz time = b->times[i];
		int32		item = b->items[from + i];
		float		weight = b->weights[from + i];
		int32		j = i;

		for (; j > 0 && b->times[j - 1] > time; j--)
		{
			b->times[j] = b->times[j - 1];
			b->items[from + j] = b->items[from + j - 1];
			b->weights[from + j] = b->weights[from + j - 1];
		}
		b->times[j] = time;
		b->items[from + j] = item;
		b->weights[from + j] = weight;
	}
	b->ntimes = 0;
}

static void
end_user(Builder *b)
{
	order_by_time(b);
	if (b->n > b->offsets[b->nusers])
		b->offsets[++b->nusers] = b->n;
}

static void
collect_memory(ModelHost *host, Builder *b)
{
	for (int32 user = 1; user <= profiles_max_user(host->profiles); user++)
	{
		Profile    *p = profiles_peek(host->profiles, user);

		if (user % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (p == NULL)
			continue;
		make_room(b, p->n);
		memcpy(b->items + b->n, p->items, sizeof(int32) * p->n);
		for (int i = 0; i < p->n; i++)
			b->weights[b->n + i] = (float) p->weights[i];
		b->n += p->n;
		end_user(b);
	}
}

static void
collect_table(ModelHost *host, Builder *b)
{
	StateTable *t = table_open_state(host->source->nspid, "profiles", "profiles_pkey",
									 AccessShareLock);
	int32		current = 0;

	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 0, NULL);
		 slot; slot = table_get_next(t))
	{
		ProfileRow	row;
		double		factor;

		CHECK_FOR_INTERRUPTS();
		profile_row_read(slot, &row);
		if (profiles_peek(host->profiles, row.user))
			continue;
		if (row.user != current)
			end_user(b);
		current = row.user;
		factor = ldexp(1.0, row.landmark - host->profiles->landmark);
		make_room(b, row.n);
		memcpy(b->items + b->n, row.items, sizeof(int32) * row.n);
		for (int i = 0; i < row.n; i++)
			b->weights[b->n + i] = (float) (row.weights[i] * factor);
		add_times(b, row.times, row.n);
		b->n += row.n;
	}
	end_user(b);
	table_close_state(t, AccessShareLock);
}

/* Counting sort of the entries by item. */
void
histories_index(HistorySet *set, int32 max_item)
{
	const Histories *h = &set->h;
	int64	   *at;

	set->max_item = max_item;
	set->item_offsets = MemoryContextAllocExtended(set->context, sizeof(int64) * ((Size) max_item + 3),
												   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	set->item_rows = MemoryContextAllocHuge(set->context, sizeof(int32) * (Size) Max(set->nentries, 1));
	at = set->item_offsets + 1;
	for (int64 e = 0; e < set->nentries; e++)
		at[h->items[e] + 1]++;
	for (int32 item = 1; item <= max_item + 1; item++)
		at[item] += at[item - 1];
	for (int32 row = 0; row < h->nusers; row++)
		for (int64 e = h->offsets[row]; e < h->offsets[row + 1]; e++)
			set->item_rows[at[h->items[e]]++] = row;
}

void
histories_count(HistorySet *set)
{
	float	   *weights = unconstify(float *, set->h.weights);

	for (int64 e = 0; e < set->nentries; e++)
		weights[e] = 1;
}

void
histories_sum_row(const HistorySet *set, RowSum *sum, int32 item, PairRowView *row)
{
	if (item <= set->max_item)
		for (int64 x = set->item_offsets[item]; x < set->item_offsets[item + 1]; x++)
		{
			int32		user = set->item_rows[x];
			int64		from = set->h.offsets[user];
			int			n = (int) (set->h.offsets[user + 1] - from);
			double		r = 0;

			for (int i = 0; i < n; i++)
				if (set->h.items[from + i] == item)
					r = set->h.weights[from + i];
			rowsum_add_float(sum, r, set->h.items + from, set->h.weights + from, n);
		}
	rowsum_take(sum, item, row);
}

HistorySet *
histories_collect(ModelHost *host, MemoryContext parent, bool by_item)
{
	MemoryContext context = AllocSetContextCreate(parent, "recsys histories",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	HistorySet *set = palloc0(sizeof(HistorySet));
	Builder		b = {.maxusers = 1024,.max = 65536};

	set->context = context;
	b.offsets = palloc0(sizeof(int64) * b.maxusers);
	b.items = palloc(sizeof(int32) * b.max);
	b.weights = palloc(sizeof(float) * b.max);
	collect_memory(host, &b);
	if (!host->profiles->complete)
		collect_table(host, &b);
	set->h.nusers = b.nusers;
	set->h.offsets = b.offsets;
	set->h.items = b.items;
	set->h.weights = b.weights;
	set->nentries = b.n;
	if (by_item)
		histories_index(set, host->items->next - 1);
	MemoryContextSwitchTo(old);
	return set;
}
