/*
 * trending.c
 *	  trending, and popular within a window, in the stream worker.
 *
 * Every event moves the counts of its item and of all items, by its own time,
 * and an event that is taken back takes away what is left of it: order of
 * arrival does not matter.  trending counts events, popular adds up their
 * weights (ratings count 1).
 *
 * Counts are written with the position.  The flush publishes the best items with
 * their counts, from which an answer at any later moment can be computed: without
 * new events no item comes to trend, and the order of popular items stays.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "models/trending.h"
#include "numeric/topk.h"
#include "state/checked.h"
#include "state/trend_counts.h"

const Oid	trending_top_types[TOP_NCOLUMNS] = {INT4OID, INT4OID, FLOAT8OID, FLOAT8OID, TIMESTAMPTZOID};

/* A published row. */
typedef struct TopRow
{
	int32		item;			/* -1: none */
	TrendCount	count;
} TopRow;

typedef struct Trending
{
	ModelHost  *host;
	MemoryContext context;
	TrendingParams params;
	bool		by_weight;
	NameData	counts_table,
				counts_index,
				top_table,
				top_index;
	TrendCounts *counts;
	bool		listed;			/* "rows" is what is published */
	TopRow	   *rows;			/* by rank */
} Trending;

static void
table_names(const RecsysModel *model, const char *kind, NameData *table, NameData *index)
{
	snprintf(NameStr(*table), NAMEDATALEN, "%s%s", NameStr(model->name), kind);
	snprintf(NameStr(*index), NAMEDATALEN, "%s%s%s", NameStr(model->name), kind, TRENDING_INDEX);
}

double
trending_score(const TrendingParams *params, const TrendCount *count, const TrendCount *all,
			   TimestampTz now)
{
	if (!params->trends)
		return trend_sum_at(count, &params->windows, TREND_RECENT, now);
	return trend_at(count, all, &params->windows, now, params->prior, params->z).bound;
}

/* What is counted depends on the windows alone. */
char *
trending_signature(const RecsysSource *source, const RecsysModel *model)
{
	TrendingParams params;

	(void) source;
	if (!trending_params(model, &params))
		return NULL;
	return psprintf("%.17g %.17g", params.windows.length[TREND_RECENT],
					params.windows.length[TREND_LONGER]);
}

/* ------------------------------------------------------------ open and close */

void *
trending_open(ModelHost *host, const RecsysModel *model)
{
	MemoryContext context;
	Trending   *t;
	TrendingParams params;

	if (!trending_params(model, &params))
		return NULL;
	context = AllocSetContextCreate(host->context, "recsys trending", ALLOCSET_DEFAULT_SIZES);
	t = MemoryContextAllocZero(context, sizeof(Trending));
	t->host = host;
	t->context = context;
	t->params = params;
	t->by_weight = !params.trends && !host->source->explicit_feedback;
	t->rows = MemoryContextAlloc(context, sizeof(TopRow) * (TRENDING_PUBLISHED + 1));
	table_names(model, TRENDING_COUNTS, &t->counts_table, &t->counts_index);
	table_names(model, TRENDING_TOP, &t->top_table, &t->top_index);
	t->counts = trend_counts_create(context, host->source->nspid, NameStr(t->counts_table),
								   NameStr(t->counts_index), &params.windows);
	return t;
}

void
trending_close(void *state)
{
	if (state)
		MemoryContextDelete(((Trending *) state)->context);
}

void
trending_build(void *state)
{
	if (state)
		trend_counts_load(((Trending *) state)->counts);
}

/* -------------------------------------------------------------------- events */

void
trending_event(void *state, const ConsumerEvent *event)
{
	Trending   *t = state;

	if (t && !event->event->ignored && event->item != 0)
		trend_counts_event(t->counts, event->item, event->event->time,
						  t->by_weight ? event->event->weight : 1, event->sign);
}

void
trending_forget_item(void *state, int32 item)
{
	if (state)
		trend_counts_forget(((Trending *) state)->counts, item);
}

void
trending_reset(void *state)
{
	if (state)
		trend_counts_void(((Trending *) state)->counts);
}

void
trending_write(void *state)
{
	if (state)
		trend_counts_write(((Trending *) state)->counts);
}

Size
trending_memory(void *state)
{
	return state ? trend_counts_bytes(((Trending *) state)->counts) +
		sizeof(TopRow) * (TRENDING_PUBLISHED + 1) : 0;
}

/* ---------------------------------------------------------------------- list */

/* The best items, best first, behind the row of all. */
static int
select_best(Trending *t, TopRow *rows)
{
	TimestampTz now = GetCurrentTimestamp();
	const TrendCount *all = trend_counts_get(t->counts, 0);
	double		least = trending_least(&t->params);
	double		events = t->params.trends ? trend_least(t->params.prior, t->params.z) : 0;
	RankKey    *best = palloc(sizeof(RankKey) * TRENDING_PUBLISHED);
	TopK		top;

	if (all == NULL)
		return 0;
	topk_init(&top, best, TRENDING_PUBLISHED);
	for (int32 item = 1; item < trend_counts_end(t->counts); item++)
	{
		const TrendCount *count = trend_counts_get(t->counts, item);
		double		score;

		/* most items need no closer look; times ahead do */
		if (count->events == 0 ||
			(count->sums[TREND_RECENT] <= events && count->as_of <= now))
			continue;
		score = trending_score(&t->params, count, all, now);
		if ((float) score > least)
			topk_push(&top, item, (float) score);
	}
	rank_sort(best, top.n);
	rows[0] = (TopRow) {0, *all};
	for (size_t i = 0; i < top.n; i++)
		rows[i + 1] = (TopRow) {rank_item(best[i]), *trend_counts_get(t->counts, rank_item(best[i]))};
	pfree(best);
	return top.n + 1;
}

static bool
same_row(const TopRow *a, const TopRow *b)
{
	return a->item == b->item && a->count.as_of == b->count.as_of &&
		a->count.sums[TREND_RECENT] == b->count.sums[TREND_RECENT] &&
		a->count.sums[TREND_LONGER] == b->count.sums[TREND_LONGER];
}

/* Only rows that differ are written. */
static void
write_list(Trending *t)
{
	TopRow	   *rows = palloc(sizeof(TopRow) * (TRENDING_PUBLISHED + 1));
	int			n = select_best(t, rows);
	StateTable *table;

	if (!OidIsValid(get_relname_relid(NameStr(t->top_table), t->host->source->nspid)))
		return;					/* dropped, and we are about to hear of it */
	table = table_open_state(t->host->source->nspid, NameStr(t->top_table),
							 NameStr(t->top_index), RowExclusiveLock);
	checked_types(table, TOP_NCOLUMNS, trending_top_types);
	for (int rank = 0; rank <= TRENDING_PUBLISHED; rank++)
	{
		Datum		values[TOP_NCOLUMNS];

		if (rank >= n)
			rows[rank].item = -1;
		if (t->listed && (same_row(&rows[rank], &t->rows[rank]) ||
						  (rows[rank].item < 0 && t->rows[rank].item < 0)))
			continue;
		values[TOP_RANK] = Int32GetDatum(rank);
		if (rank >= n)
		{
			table_delete(table, 1, values);
			continue;
		}
		values[TOP_ITEM] = Int32GetDatum(rows[rank].item);
		values[TOP_RECENT] = Float8GetDatum(rows[rank].count.sums[TREND_RECENT]);
		values[TOP_LONGER] = Float8GetDatum(rows[rank].count.sums[TREND_LONGER]);
		values[TOP_AS_OF] = TimestampTzGetDatum(rows[rank].count.as_of);
		table_put(table, 1, values, NULL);
	}
	table_close_state(table, RowExclusiveLock);
	memcpy(t->rows, rows, sizeof(TopRow) * (TRENDING_PUBLISHED + 1));
	t->listed = true;
	pfree(rows);
}

void
trending_flush(void *state)
{
	if (state)
		write_list(state);
}

/* The first list; later ones come with flushes. */
bool
trending_publish(void *state, bool all)
{
	Trending   *t = state;

	(void) all;
	if (t && !t->listed)
		write_list(t);
	return true;
}
