/*
 * session_knn.h
 *	  The sessions nearest to a sequence of clicks: VMIS-kNN (Kersbergen, Sprangers
 *	  and Schelter, SIGMOD 2022).
 *
 * What a visitor has clicked, oldest first, is cut to its newest clicks, L of U different
 * items.  The newest is at position 0; an item that is repeated stands at
 * its newest position.  With the newest sessions of each item as postings,
 *
 *		sim(s) = sum over the items of the query whose postings hold s of
 *				 weight(position)
 *
 * in a pool of at most "sample" sessions: while items are taken from the newest to
 * the oldest, and the sessions of each likewise, a session that is new to a full
 * pool takes the place of the pool's oldest if it is newer, and else ends the
 * scan of that item.  Then
 *
 *		score(j) = sum over the nearest sessions s that hold j of
 *				   match(position of the newest item shared with s) sim(s) idf(j)
 *
 * Sessions are numbers; of two of the same time that with the larger number is the
 * newer one.
 */
#ifndef RECSYS_NUMERIC_SESSION_KNN_H
#define RECSYS_NUMERIC_SESSION_KNN_H

#include <math.h>

#include "numeric/alloc.h"

/* weight(position) */
typedef enum SessionDecay
{
	SESSION_DECAY_LINEAR,		/* (L - position) / U */
	SESSION_DECAY_HARMONIC,		/* 1 / (position + 1) */
	SESSION_DECAY_NONE			/* 1 */
} SessionDecay;

/* An item of the query. */
typedef struct SessionClick
{
	int32_t		item;
	int32_t		position;
	double		weight;
} SessionClick;

#define SESSION_MAX_QUERY 50	/* clicks; SessionCandidate has a bit for each */

/* The newest "last" of n clicks, oldest first, as different items, newest first;
 * out has room for Min(n, last).  Returns how many. */
extern int32_t session_query(const int32_t *items, int32_t n, int32_t last, SessionDecay decay,
							 SessionClick *out);

/* Position of the query's newest item that the session holds; -1: none. */
extern int32_t session_match(const SessionClick *query, int32_t nquery,
							 const int32_t *items, int32_t n);

/* What a session counts whose newest shared item is at this position. */
static inline double
session_match_weight(double fade, int32_t position)
{
	double		weight = 1 - fade * (position + 1);

	return weight > 0 ? weight : 0;
}

/* How much an item says of which "pairs" of session and item n are its own. */
static inline double
session_item_weight(double idf, double pairs, double n)
{
	return idf == 0 || !(n > 0) ? 1 : pow(log(pairs / n > 1 ? pairs / n : 1), idf);
}

/* ------------------------------------------------------------------- the pool */

typedef struct SessionCandidate
{
	int32_t		session;
	bool		evicted;
	int64_t		time;
	double		sim;
	uint64_t	shared;			/* bits of the items of the query that made it */
} SessionCandidate;

typedef struct SessionPool
{
	Allocator	allocator;
	int32_t		sample;
	int32_t		n;				/* candidates, those evicted too */
	int32_t		max;
	SessionCandidate *candidates;
	int32_t		nslots;			/* a power of two */
	int32_t    *slots;			/* hash of sessions: number of the candidate + 1 */
	int32_t		nheap;			/* live ones */
	int32_t    *heap;			/* of them, the oldest on top once it is full */
} SessionPool;

typedef enum SessionScan
{
	SESSION_GO_ON,
	SESSION_STOP,				/* what is older can not come in */
	SESSION_NO_MEMORY
} SessionScan;

/* False: no memory. */
extern bool session_pool_init(SessionPool *pool, const Allocator *allocator, int32_t sample);
extern void session_pool_free(SessionPool *pool);
/* Empty again, with its memory. */
extern void session_pool_clear(SessionPool *pool);

/* n sessions of item number "place" of the query, oldest first; they are taken from
 * the end. */
extern SessionScan session_pool_scan(SessionPool *pool, const int32_t *sessions,
									 const int64_t *times, int32_t n, int place, double weight);

/* The k most similar, best first, ties to the newer; returns how many.  The pool
 * has to be cleared before it is used again. */
extern int32_t session_pool_best(SessionPool *pool, int32_t k, SessionCandidate *out);

/* Is (time_a, a) older than (time_b, b)? */
static inline bool
session_older(int64_t time_a, int32_t a, int64_t time_b, int32_t b)
{
	return time_a < time_b || (time_a == time_b && a < b);
}

#endif							/* RECSYS_NUMERIC_SESSION_KNN_H */
