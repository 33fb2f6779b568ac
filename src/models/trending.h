/*
 * trending.h
 *	  trending, and popular within a window: what they share.
 *
 * Both keep decayed counts of each item's events (numeric/trend.h):
 * trending.c in the stream worker, trending_serve.c for answers.
 */
#ifndef RECSYS_TRENDING_H
#define RECSYS_TRENDING_H

#include "postgres.h"

#include "models/model.h"
#include "numeric/trend.h"

/* The model's tables: what is added to its name, and to that for the index. */
#define TRENDING_COUNTS	"_counts"
#define TRENDING_TOP	"_top"
#define TRENDING_INDEX	"_pkey"

/*
 * Items published at most.  Whoever excludes all of them falls back on other
 * lists.
 */
#define TRENDING_PUBLISHED 1000

/* Columns of the published table, and their types; rank 0 counts all items. */
enum
{
	TOP_RANK, TOP_ITEM, TOP_RECENT, TOP_LONGER, TOP_AS_OF, TOP_NCOLUMNS
};

extern const Oid trending_top_types[TOP_NCOLUMNS];

/* What the parameters of either algorithm say. */
typedef struct TrendingParams
{
	bool		trends;			/* trending; else popular */
	TrendWindows windows;		/* popular has no longer one */
	double		prior;
	double		z;
} TrendingParams;

/* False: popular of all times, which is the source's own list. */
extern bool trending_params(const RecsysModel *model, TrendingParams *params);

/* The order of items, and what they have to exceed: the bound of a trend, or the
 * decayed count. */
extern double trending_score(const TrendingParams *params, const TrendCount *count,
							 const TrendCount *all, TimestampTz now);

static inline double
trending_least(const TrendingParams *params)
{
	return params->trends ? 1 : 0;
}

/* ---- trending.c: the stream worker's side ------------------------------- */

extern char *trending_signature(const RecsysSource *source, const RecsysModel *model);
extern void *trending_open(ModelHost *host, const RecsysModel *model);
extern void trending_close(void *state);
extern void trending_build(void *state);
extern void trending_event(void *state, const ConsumerEvent *event);
extern bool trending_publish(void *state, bool all);
extern void trending_write(void *state);
extern void trending_flush(void *state);
extern void trending_forget_item(void *state, int32 item);
extern void trending_reset(void *state);
extern Size trending_memory(void *state);

/* ---- trending_serve.c ------------------------------------------------------ */

extern char *trending_create_sql(const RecsysSource *source, const char *model);
extern char *trending_drop_sql(const RecsysSource *source, const char *model);
extern void trending_check(const RecsysSource *source, const RecsysModel *model);
extern void trending_recommend(ServeContext *cx, const History *history, Candidates *out);
extern double trending_predict(ServeContext *cx, const History *history, int32 item);

/* What a trending model publishes, as it is now; "each" says whether to go on. */
typedef bool (*TrendCallback) (void *arg, int32 item, const Trend *trend);
extern void trending_each(ServeContext *cx, TrendCallback each, void *arg);

#endif							/* RECSYS_TRENDING_H */
