/*
 * serve.h
 *	  Answers for the functions in a source's schema: from the tables of the
 *	  source and the events that these do not hold yet, under the caller's
 *	  snapshot.  Nothing here writes, takes a transaction id or needs shared
 *	  memory, so all of it works on a hot standby.
 */
#ifndef RECSYS_SERVE_H
#define RECSYS_SERVE_H

#include "postgres.h"

#include <float.h>
#include <math.h>

#include "fmgr.h"
#include "utils/snapshot.h"

#include "catalog/catalog.h"
#include "models/model.h"
#include "numeric/topk.h"
#include "state/checked.h"
#include "state/clean.h"
#include "state/table.h"
#include "state/xidset.h"

/* ------------------------------------------------- declaring (for catalog) */

/* The functions of a source's schema, owned by the source's owner. */
extern void serve_create_functions(const RecsysSource *source);

/* Creates or replaces the views.  Call it again whenever the source's half
 * life or the set of its models has changed: before a model's tables are
 * dropped, after they were created.  Models are read under the active
 * snapshot. */
extern void serve_create_views(const RecsysSource *source);

/* ------------------------------------------------- one call of a function */

typedef struct TailPlan TailPlan;	/* tail.c */

/*
 * What a session remembers of a source between calls (source.c).  Its parts
 * live in "context".  "stale" is set by an invalidation at any time; the entry
 * is rebuilt at the next call, never under a running one.
 */
typedef struct ServedSource
{
	Oid			nspid;
	MemoryContext context;
	bool		stale;
	RecsysSource *source;
	List	   *models;			/* of RecsysModel * */
	List	   *rows;			/* of RowVersion *: the source, then its models */
	TailPlan   *tail;			/* NULL: not made yet */
	Oid		   *watched;		/* relations whose change makes it stale */
	int			nwatched;
} ServedSource;

/* One call.  Tables are opened when they are first needed. */
typedef struct ServeCall
{
	FunctionCallInfo fcinfo;
	ServedSource *served;
	const RecsysSource *source;
	const RecsysModel *model;	/* NULL: the source has none */
	const ModelAlgorithm *algorithm;	/* NULL: popular answers */
	ServeContext cx;			/* for the algorithm's callbacks */
	Snapshot snapshot;
	TimestampTz now;			/* decay is computed to here */
	MemoryContext context;		/* of the call; the caller's is "caller" */
	MemoryContext caller;
	const oidvector *argtypes;	/* in the cached row of the function */
	HeapTuple	proc;
	StateTable *users;			/* by number */
	StateTable *users_by_key;
	StateTable *items;			/* by number */
	StateTable *items_by_key;
	/* the state row, once serve_read_state() has been called */
	bool		state_read;
	bool		has_state;		/* there is one */
	bool		foreign_state;	/* written by another server or database */
	bool		old_decay;		/* of before a change of the half-life */
	int32		landmark;
	XidSet	   *applied;		/* transactions; NULL without a row */
	TimestampTz flushed_at;
} ServeCall;

extern void serve_begin(ServeCall *call, FunctionCallInfo fcinfo);
extern void serve_begin_inside(ServeCall *call, const RecsysSource *source, List *models,
							   TimestampTz now);
extern void serve_end(ServeCall *call);
extern void serve_read_state(ServeCall *call);

/* Argument "argno" as the name of a model.  A model that is building, and a
 * source without any, leave call->algorithm NULL. */
extern void serve_use_model(ServeCall *call, int argno);

/* The same, but the name may be that of an experiment, too: then it is the model
 * of the variant of the user whose key is argument 0. */
extern void serve_use_model_for_user(ServeCall *call, int argno);

extern void serve_take_model(ServeCall *call, const RecsysModel *model);	/* or NULL */

/* The next of the models that fill up answers, after a place; NULL: no more. */
extern const RecsysModel *serve_fallback(ServeCall *call, int32 after);

/* See experiment.c. */
extern bool serve_experiment(ServeCall *call, const char *name, int user_argno,
							 const char **model);
extern const char *serve_variant(ServeCall *call, const char *name, int user_argno);

/* Error unless the function's owner may read the events, which exist. */
extern void serve_check_may_read(const RecsysSource *source);

/* Argument as a positive number of rows. */
extern int	serve_rows_wanted(ServeCall *call, int argno, const char *name, int otherwise);

/* Remember that a change of relid makes the entry stale. */
extern void served_watch(ServedSource *served, Oid relid);

/* -------------------------------------------------------------------- keys */

/* Columns of items, by number of attribute. */
#define ITEM_ID			1
#define ITEM_KEY		2
#define ITEM_USERS		3
#define ITEM_TOTAL		4
#define ITEM_LANDMARK	6

/* Type of arguments that are such keys. */
extern Oid	serve_argument_type(const KeyColumn *column);

/* Argument of type argtype as a datum of the column's type; false if no key
 * can have that value. */
extern bool key_from_argument(const KeyColumn *column, Oid argtype, Datum value,
							  Datum *key);
extern bool key_from_event(const KeyColumn *column, const KeyValue *value, Datum *key);

extern void serve_open_users(ServeCall *call);
extern void serve_open_items(ServeCall *call);			/* by number */
extern void serve_open_items_by_key(ServeCall *call);

extern int32 serve_user_number(ServeCall *call, Datum key);		/* 0: unknown */
extern TupleTableSlot *serve_user(ServeCall *call, int32 user);	/* NULL: forgotten */
extern TupleTableSlot *serve_item_by_key(ServeCall *call, Datum key);	/* NULL: unknown */
extern TupleTableSlot *serve_item(ServeCall *call, int32 item);	/* NULL: forgotten */

/* Argument as one item's number; 0 if NULL or unknown. */
extern int32 serve_item_argument(ServeCall *call, int argno);

/* Calls "each" for every known item of an array argument; NULL array and NULL
 * elements: nothing. */
typedef void (*ItemCallback) (TupleTableSlot *item, void *arg);
extern void serve_item_array(ServeCall *call, int argno, ItemCallback each, void *arg);

/* ----------------------------------------------------------------- history */

/* The user's interactions in the caller's snapshot; n = 0 for an unknown or
 * NULL user. */
extern void history_load(ServeCall *call, int argno, History *history);

/* One row of profiles more of the user whose history this is. */
extern StateTable *history_open_profiles(ServeCall *call);
extern void history_add_row(ServeCall *call, TupleTableSlot *slot, History *history);
#define PROFILE_USER		1

/* Factor that decays a weight stored with landmark to "as_of" ... */
extern double decay_factor(ServeCall *call, int32 landmark, TimestampTz as_of);

/* ... and one for a contribution made at "time". */
extern double decay_since(const RecsysSource *source, TimestampTz time, TimestampTz as_of);

/* An event row that the state does not hold yet. */
typedef struct TailEvent
{
	int32		item;
	double		weight;			/* decayed to now */
	TimestampTz time;
	uint64		xid;			/* of the row; the caller's own are last */
	CommandId	command;
	int			order;			/* of the scan: 0 was found first */
} TailEvent;

/* Those of a user, by key.  Up to recsys.tail_limit rows are looked at;
 * returns how many events there are. */
extern int	tail_scan(ServeCall *call, Datum user, TailEvent **events);

/* -------------------------------------------------------------- candidates */

#define CANDIDATE_SCORED	1	/* the model gave it a score */
#define CANDIDATE_EXCLUDED	2
#define CANDIDATE_ALLOWED	4	/* among the items that the caller restricts to */

typedef struct Candidate
{
	int32		item;
	int32		flags;
	double		score;
} Candidate;

struct Candidates
{
	MemoryContext context;		/* of the arrays */
	bool		restricted;		/* only items marked as allowed qualify */
	int			n,
				max;
	Candidate  *entries;		/* in the order in which they came */
	uint32		shift;			/* hash table of 2^(32 - shift) slots */
	int32	   *slots;			/* index into entries plus 1, 0 = free */
};

extern Candidates *candidates_create(void);	/* a small set, as memory of the call */
extern Candidates *candidates_borrow(MemoryContext user);	/* a large one */
extern Candidate *candidates_find(Candidates *c, int32 item);	/* or NULL */
extern Candidate *candidates_mark(Candidates *c, int32 item, int32 flags);

/* ----------------------------------------------------------------- ranking */

/* A score as the real number that is shown. */
static inline float
score_as_real(double score)
{
	if (isnan(score))
		return -FLT_MAX;
	return (float) Max(Min(score, (double) FLT_MAX), -(double) FLT_MAX) + 0.0f;
}

/* Ranks as it is shown; equal scores: smaller item number first. */
static inline RankKey
rank_of(int32 item, double score)
{
	return rank_key(item, score_as_real(score));
}

/* ----------------------------------------------------------------- popular */

typedef struct PopularScan PopularScan;

/* Items in order of popularity, first the published list, then all the rest. */
extern PopularScan *popular_begin(ServeCall *call);
extern bool popular_next(PopularScan *scan, ScoredItem *item);
extern void popular_end(PopularScan *scan);

extern double item_popularity(ServeCall *call, TupleTableSlot *item);

/* popular() for the time since an interval ago, from the events table. */
extern void popular_since(ServeCall *call, Datum since, int k);

/* ----------------------------------------------------------------- results */

extern void result_begin(ServeCall *call);			/* of items */
extern void result_begin_users(ServeCall *call);
/* false: the item's key is gone, nothing was put out */
extern bool result_item(ServeCall *call, int32 item, double score);
extern void result_row(ServeCall *call, Datum key, double score);
/* of items, with columns of these types behind the score; InvalidOid ends them */
extern void result_begin_more(ServeCall *call, const Oid *more);
extern bool result_item_more(ServeCall *call, int32 item, double score,
							 const Datum *more, const bool *nulls);

#endif							/* RECSYS_SERVE_H */
