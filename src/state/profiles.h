/*
 * profiles.h
 *	  Histories of users: the write-back cache over the table "profiles".
 */
#ifndef RECSYS_PROFILES_H
#define RECSYS_PROFILES_H

#include "postgres.h"
#include "datatype/timestamp.h"

/*
 * Entries of a stored row.  A flush rewrites the rows that hold what changed,
 * not the whole history; 32 entries keep a row below a kilobyte.
 */
#define PROFILE_SEGMENT_SIZE 32

/*
 * A history.  The arrays are parallel, one entry per item, oldest first:
 * ordered by time, equal times by arrival.
 */
typedef struct Profile
{
	int32		user;
	int32		n;
	int32		max;			/* entries allocated */
	int32		landmark;		/* of the weights */
	int32	   *items;
	double	   *weights;
	TimestampTz *times;
	int32	   *counts;			/* events behind the weight */
	int32	   *segments;		/* row that stores the entry */
	int32		last_segment;	/* where new entries go */
	int32		last_count;		/* entries in it */
	int32		stored_segment; /* largest segment number in the table, or -1 */
	int32		nsegments;		/* distinct segments, at most */
	int32		ndirty;
	int32		maxdirty;
	int32	   *dirty;			/* segments to rewrite */
	int32		newest_dirty;	/* the last of them, if there are any: mostly it
								 * is the one again */
	bool		referenced;		/* second chance of the eviction */
} Profile;

typedef struct Profiles
{
	MemoryContext context;
	Oid			nspid;
	int32		npages;
	Profile  ***pages;			/* by user / PROFILE_PAGE_SIZE */
	int64		nprofiles;
	Size		bytes;
	int32		landmark;		/* the source's current one */
	bool		table_void;		/* rows in the table are obsolete (TRUNCATE) */
	bool		complete;		/* every user of the table is in memory */
	int32		hand;			/* clock hand of the eviction: a page */
	int32		ndirty;			/* dirty profiles */
	int32		maxdirty;
	int32	   *dirty;			/* their users */
	struct StateTable *reader;	/* open during a transaction */
} Profiles;

extern Profiles *profiles_create(MemoryContext parent, Oid nspid);
/* The user's history, loaded if need be; empty for a new user. */
extern Profile *profiles_get(Profiles *ps, int32 user);
extern Profile *profiles_peek(Profiles *ps, int32 user);	/* NULL if not loaded */
/* Ask for the memory of a history that will be used: first what leads to it,
 * some events later the struct, then the arrays. */
extern void profiles_prefetch_place(Profiles *ps, int32 user);
extern void profiles_prefetch_struct(Profiles *ps, int32 user);
extern void profiles_prefetch_arrays(Profiles *ps, int32 user);
extern void profiles_begin(Profiles *ps);	/* transaction starts */
extern void profiles_end(Profiles *ps);		/* transaction ends */
extern void profiles_write(Profiles *ps);	/* dirty rows -> table */
extern void profiles_evict(Profiles *ps, Size target);	/* clean ones */
extern void profiles_void(Profiles *ps);	/* forget everything */
extern void profiles_load_all(Profiles *ps, Size limit);
extern void profiles_rescale(Profiles *ps, int32 landmark);
extern int32 profiles_max_user(const Profiles *ps);

extern int	profile_find(const Profile *p, int32 item);	/* index or -1 */
extern void profile_remove(Profiles *ps, Profile *p, int at);
/* Inserts behind all entries that are not newer. */
extern void profile_insert(Profiles *ps, Profile *p, int32 item, double weight,
						   int32 count, TimestampTz time);

/* One stored row, read in place. */
typedef struct ProfileRow
{
	int32		user;
	int32		segment;
	int32		landmark;
	int32		n;
	const int32 *items;
	const double *weights;
	const int32 *counts;
	const TimestampTz *times;
} ProfileRow;
struct TupleTableSlot;
extern void profile_row_read(struct TupleTableSlot *slot, ProfileRow *row);

#endif							/* RECSYS_PROFILES_H */
