/*
 * session_knn.h
 *	  The parts of session_knn: session_knn.c keeps its tables up to date in the
 *	  stream worker, session_knn_search.c finds the sessions nearest to one in them,
 *	  and session_knn_serve.c declares the model and answers.
 *
 * The formula stands in numeric/session_knn.h.
 */
#ifndef RECSYS_SESSION_KNN_H
#define RECSYS_SESSION_KNN_H

#include "postgres.h"

#include "models/model.h"
#include "numeric/session_knn.h"
#include "state/sessions.h"

/* An algorithm with the same tables, see baskets.h. */
#define BASKETS "baskets"

/* The model's tables: what is added to its name, and to that for the index. */
#define SESSION_KNN_SESSIONS	"_sessions"
#define SESSION_KNN_POSTINGS	"_postings"
#define SESSION_KNN_COUNTS		"_item_sessions"
#define SESSION_KNN_STATE		"_state"
#define SESSION_KNN_INDEX		"_pkey"
#define SESSION_KNN_KEY_INDEX	"_key"

/* Columns of the state row, and their types. */
enum
{
	SESSION_STATE_SINGLETON, SESSION_STATE_NEXT, SESSION_STATE_SESSIONS, SESSION_STATE_PAIRS,
	SESSION_STATE_NCOLUMNS
};

extern const Oid session_state_types[SESSION_STATE_NCOLUMNS];

extern const char *const session_decays[];
extern const char *const session_repeats[];

/* What the events of a source make a session of. */
typedef struct SessionSource
{
	char	   *column;			/* NULL: the gap parts sessions */
	List	   *types;			/* event types that count; NIL: all with a weight */
	SessionRules rules;
	int32		sample;
} SessionSource;

extern void session_knn_source(const RecsysSource *source, const RecsysModel *model,
							   SessionSource *out);

/* ---- session_knn_serve.c: for models with the same tables ----------------- */

extern char *session_knn_create_sql(const RecsysSource *source, const char *model);
extern char *session_knn_drop_sql(const RecsysSource *source, const char *model);
/* The session, or else the history, oldest first. */
extern const int32 *session_knn_clicks(ServeContext *cx, const History *history, int32 *n);

/* ---- session_knn.c: the stream worker's side ----------------------------- */

extern List *session_knn_columns(const RecsysSource *source, const RecsysModel *model);
extern char *session_knn_signature(const RecsysSource *source, const RecsysModel *model);
extern void *session_knn_open(ModelHost *host, const RecsysModel *model);
extern void session_knn_close(void *state);
extern void session_knn_build(void *state);
extern void session_knn_event(void *state, const ConsumerEvent *event);
extern void session_knn_write(void *state);
extern void session_knn_evict(void *state, Size target);
extern void session_knn_forget_user(void *state, int32 user, const KeyValue *key);
extern void session_knn_forget_item(void *state, int32 item);
extern void session_knn_reset(void *state);
extern Size session_knn_memory(void *state);

/* ---- session_knn_search.c: the nearest sessions -------------------------- */

typedef struct SessionNeighbor
{
	SessionCandidate candidate;
	double		weight;			/* of the match, times sim */
	int32		n;
	int32	   *items;			/* different ones */
} SessionNeighbor;

/* Item -> number of sessions, read when it is asked for. */
typedef struct SessionCounts SessionCounts;

/* What a search has found; in CurrentMemoryContext. */
typedef struct SessionHood
{
	int32		nquery;
	SessionClick *query;		/* newest first */
	int32		n;
	SessionNeighbor *neighbors; /* the k best or fewer, best first */
	SessionCounts *counts;
	double		idf;
} SessionHood;

typedef struct SessionSearch
{
	int32		last;			/* clicks */
	SessionDecay decay;
	int32		sample;			/* sessions of an item that are looked at */
	int32		pool;			/* and of all */
	int32		k;				/* the most similar of these */
	double		match_decay;
	double		idf;
} SessionSearch;

/* The sessions nearest to these clicks, oldest first. */
extern void session_knn_search(ServeContext *cx, const int32 *clicks, int32 n,
							   const SessionSearch *search, SessionHood *hood);
extern double session_knn_item_weight(SessionHood *hood, int32 item);
extern int32 session_knn_count(SessionHood *hood, int32 item);
extern int32 session_knn_sessions(SessionHood *hood);
extern void session_knn_end(SessionHood *hood);

#endif							/* RECSYS_SESSION_KNN_H */
