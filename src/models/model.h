/*
 * model.h
 *	  The one interface between models and the rest.  An algorithm is a file
 *	  that fills in one ModelAlgorithm; models/registry.c lists them.
 *
 * Two sides use it.  The stream worker feeds changes of profiles to a running
 * model and has it publish; backends ask for answers, from tables alone, under
 * the caller's snapshot.
 */
#ifndef RECSYS_MODEL_H
#define RECSYS_MODEL_H

#include "postgres.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "utils/snapshot.h"
#include "catalog/catalog.h"
#include "models/consumer.h"
#include "state/items.h"
#include "state/profiles.h"

/* ------------------------------------------------------------ parameters */

typedef enum ParamType
{
	PARAM_INT,
	PARAM_FLOAT,
	PARAM_BOOL,
	PARAM_ENUM,					/* one of some words; a number to params_get() */
	PARAM_INTERVAL,				/* text such as "7 days"; seconds to params_get() */
	PARAM_TEXT,					/* up to "max" bytes, or null */
	PARAM_TEXTS					/* an array of up to "max" such, or null */
} ParamType;

typedef struct ParamSpec
{
	const char *name;
	ParamType	type;
	double		min,
				max,
				boot;			/* default */
	const char *const *words;	/* of an enum, by number; NULL ends */
	const double *explicit_boot;	/* default if feedback is explicit, or NULL */
	const char *interval;		/* default of an interval, whose min and max are
								 * seconds; NULL: null, which counts as 0 */
} ParamSpec;

/* Checked and completed by params_complete() at create_model/alter_model. */
extern Jsonb *params_complete(const char *algorithm, const ParamSpec *specs,
							  bool explicit_feedback, Jsonb *given, Jsonb *base);
extern double params_get(const Jsonb *params, const char *name);
/* An enum's word as its number in "words". */
extern int	params_get_enum(const Jsonb *params, const char *name, const char *const *words);
/* Palloc'd; NULL for null. */
extern char *params_get_text(const Jsonb *params, const char *name);
/* Of char *; NIL for null. */
extern List *params_get_texts(const Jsonb *params, const char *name);

/* --------------------------------------------------------------- serving */

/* A user's interactions: unique items, in no special order. */
typedef struct History
{
	int32		n;
	int32	   *items;			/* item numbers */
	double	   *weights;		/* r(u,i), decayed to now */
	int64	   *times;			/* TimestampTz, newest event of the item */
} History;

/* Candidate set: item number -> score, a hash that serve/ owns.  What the
 * caller excludes, or restricts the answer to, is in it before the model is
 * asked. */
typedef struct Candidates Candidates;
extern void candidates_add(Candidates *c, int32 item, double score);	/* sums */
/* ... of n items at once: scores[i] times weight. */
extern void candidates_add_list(Candidates *c, int n, const int32 *items,
								const float *scores, double weight);
/* May the item stand in the answer? */
extern bool candidates_admit(Candidates *c, int32 item);
/* The items that the answer is restricted to, in palloc'd memory, or NULL. */
extern int32 *candidates_only(Candidates *c, int *n);

typedef struct ServeContext
{
	const RecsysSource *source;
	const RecsysModel *model;
	Snapshot	snapshot;		/* the caller's */
	int			wanted;			/* rows; recommend() need not score more of
								 * those that are admitted */
	int32		user;			/* whose history it is; 0: nobody that the
								 * stored state knows */
	/* recommend_session(): the known items of the session, oldest first, with
	 * repetitions; NULL: there is nothing but the history */
	const int32 *clicks;
	int			nclicks;
	TimestampTz now;			/* what the answer is as of */
	/* factor that decays a weight stored with this landmark to now */
	double		(*decay) (struct ServeContext *cx, int32 landmark);
} ServeContext;

typedef struct ScoredItem
{
	int32		item;
	double		score;
} ScoredItem;

/* --------------------------------------------------------- stream worker */

/*
 * What the stream worker gives its models: the state as it is in memory.
 * Models read it, and keep in "pairs" what item_knn models of one source share.
 */
typedef struct ModelHost
{
	MemoryContext context;		/* lives as long as the models */
	const RecsysSource *source;
	Items	   *items;
	Profiles   *profiles;
	uint64		change_no;		/* of the ProfileChange being fed */
	XLogRecPtr	change_lsn;		/* end of its transaction; before any: where the
								 * state stands */
	uint64		rescale_no;		/* of the newest rescale() */
	XLogRecPtr	stored_lsn;		/* position in the state row: the tables hold
								 * everything up to here */
	bool		put_off;		/* set by publish(): small moves are left for
								 * when no more changes come */
	bool		write_again;	/* set by write(): has put something off, and is to be
								 * asked again though nothing changes */
	void	   *pairs;			/* item_pairs.c's */
	void		(*progress) (struct ModelHost *host, const char *phase,
							 int64 done, int64 total);
	Size		(*memory_left) (struct ModelHost *host);	/* of recsys.memory */
	/* shown in recsys.status until it is NULL */
	void		(*warn) (struct ModelHost *host, const char *message);
	/* push a snapshot of the events table that is not behind what has been fed, up
	 * to the transaction that ended at lsn; false, and none: only a part of that
	 * has been fed */
	bool		(*push_snapshot) (struct ModelHost *host, XLogRecPtr lsn);
} ModelHost;

/* One change of r(u,i), before it is stored in the profile. */
typedef struct ProfileChange
{
	int32		user;
	int32		item;
	double		before;			/* 0 if the item was not in the history */
	double		after;			/* 0 if it leaves it */
	int			appears;		/* +1 enters the history, -1 leaves it, 0 stays */
	int64		time;			/* TimestampTz, newest event of the item; unless it leaves */
	/* the user's history without "item", oldest first */
	int32		n;
	const int32 *items;
	const double *weights;
	const int64 *times;
	int			place;			/* where the item stood among them, -1 if it enters */
} ProfileChange;

/* How a trained model stands. */
typedef enum TrainingNeed
{
	TRAINING_NOT_NEEDED,
	TRAINING_DUE,				/* has become old */
	TRAINING_NEEDED,			/* no version fits the parameters */
	TRAINING_IMPOSSIBLE,		/* likewise, and there is nothing to train on */
	TRAINING_UNKNOWN			/* publish() looks at a newer version first */
} TrainingNeed;

typedef struct ModelAlgorithm
{
	const char *name;
	const ParamSpec *params;	/* ends with name == NULL */

	/* catalogue: CREATE/DROP statements of the model's own tables */
	char	   *(*create_sql) (const RecsysSource *source, const char *model);
	char	   *(*drop_sql) (const RecsysSource *source, const char *model);
	/* error unless such a model can be had of the source */
	void		(*check) (const RecsysSource *source, const RecsysModel *model);
	/* "SELECT item_id, similar_item_id, score" in item keys, or NULL */
	char	   *(*similarity_sql) (const RecsysSource *source, const char *model);
	/* "SELECT item_id, factors" in item keys, or NULL */
	char	   *(*factors_sql) (const RecsysSource *source, const char *model);

	/* Its results come from trainings (train/), and the state's changes only
	 * freshen them. */
	bool		trained;
	/* Every item that it knows has a score, and ranks by it, whatever its sign. */
	bool		ranks_all;
	/* recommend() has the same answer for everybody, those without a history, too. */
	bool		impersonal;
	/* With these parameters it is the source's list of popular items and nothing
	 * else: it has no state, and is fed with nothing. */
	bool		(*plain) (const RecsysModel *model);

	/* stream worker; state is what open() returned, NULL callbacks are
	 * skipped */
	void	   *(*open) (ModelHost *host, const RecsysModel *model);
	void		(*close) (void *state);
	/* build from the profiles; called with everything flushed */
	void		(*build) (void *state);
	void		(*change) (void *state, const ProfileChange *change);
	/* overwrite the derived rows that moved by more than the tolerance; in a
	 * transaction of the worker's.  False: more is left to do soon. */
	bool		(*publish) (void *state, bool all);
	/* state of its own, beside the histories: dirty rows -> tables, in a
	 * transaction that will store the position, too */
	void		(*write) (void *state);
	/* right after that: drop what can be read again, down to so many bytes */
	void		(*evict) (void *state, Size target);
	/* after a flush wrote the items and the position: inside its transaction */
	void		(*flush) (void *state);
	void		(*forget_item) (void *state, int32 item);
	void		(*reset) (void *state);			/* TRUNCATE */

	/*
	 * A model that is fed with events, see consumer.h, has event() and reset(),
	 * and what it needs of the rest; change() may be there, too.  It has no
	 * rows of "profiles" to be built from: build() is called where its tables
	 * are right already, to read ahead.
	 */
	bool		numbers;		/* wants numbers of users and items */
	List	   *(*columns) (const RecsysSource *source, const RecsysModel *model);
	char	   *(*signature) (const RecsysSource *source, const RecsysModel *model);
	void		(*event) (void *state, const ConsumerEvent *event);
	void		(*forget_user) (void *state, int32 user, const KeyValue *key);
	/* forward decay moved its landmark: every stored r times factor */
	void		(*rescale) (void *state, double factor);
	Size		(*memory) (void *state);
	/* after a commit: has it written vectors since it was last asked? */
	bool		(*published) (void *state);
	/* a training may have written a new version: publish() has to look */
	void		(*retrained) (void *state);
	/* events: of the source so far.  *due_at: when the answer may change by itself */
	TrainingNeed (*training_need) (void *state, int64 events, TimestampTz *due_at);
	/* is there anything to answer from? */
	bool		(*has_version) (void *state);

	/* serving, in backends */
	void		(*recommend) (ServeContext *cx, const History *history, Candidates *out);
	/* of a session, how many of the newest items are left out of the answer; NULL: all */
	int			(*left_out) (const RecsysModel *model);
	/* up to k best, best first; returns how many */
	int			(*similar_items) (ServeContext *cx, int32 item, int k, ScoredItem *out);
	/* NaN = no prediction */
	double		(*predict) (ServeContext *cx, const History *history, int32 item);
	/* contributions[h] of history->items[h] to the score that recommend()
	 * gives to item */
	void		(*explain) (ServeContext *cx, const History *history, int32 item,
							double *contributions);
	/* whom it asks, for explain_neighbors(): "users", "sessions", or the "items" of the
	 * history; NULL if it asks nobody */
	const char *neighbors_are;
	/* unless these are items: returns how many there are, and in palloc'd memory
	 * those that hold the item, with what each contributes to its score */
	int			(*neighbors) (ServeContext *cx, const History *history, int32 item,
							  int *nholding, ScoredItem **holding);
	/* the user's vector, palloc'd, of *dim elements; NULL if there is none */
	float	   *(*user_factors) (ServeContext *cx, const History *history, int *dim);
	/* how like a user others are: begin with one (NULL: nothing to go by),
	 * compare each of the others (NaN: not comparable), end */
	void	   *(*compare_begin) (ServeContext *cx, const History *history);
	double		(*compare) (void *comparison, const History *other);
	void		(*compare_end) (void *comparison);
	/* or, without looking at all of them: up to k users most like cx->user, who
	 * is not among them, best first; returns how many */
	int			(*similar_users) (ServeContext *cx, const History *history, int k,
								  ScoredItem *out);
} ModelAlgorithm;

/* Error with the list of algorithms if unknown. */
extern const ModelAlgorithm *model_algorithm(const char *name);

#endif							/* RECSYS_MODEL_H */
