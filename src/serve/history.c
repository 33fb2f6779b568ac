/*
 * history.c
 *	  A user's history as the caller's snapshot has it: the stored profile and
 *	  the event rows that the stored state does not hold yet.
 *
 * Both come from one snapshot, so a flush that commits meanwhile changes
 * neither: an event is either in the profile that the snapshot sees, and its
 * transaction in the applied set of the state row that the same snapshot sees,
 * or it is in the tail.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"

#include "serve/serve.h"

/* Columns of profiles. */
#define PROFILE_LANDMARK	3
#define PROFILE_ITEMS		4
#define PROFILE_WEIGHTS		5
#define PROFILE_TIMES		7

static const Oid profile_types[] = {
	INT4OID, INT4OID, INT4OID, INT4ARRAYOID, FLOAT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID
};

/*
 * After a change of the half-life, and until the worker has rebuilt the state,
 * landmarks count half-lives that nobody knows any more.  Weights are taken
 * relative to the state's own landmark then: right among each other.
 */
double
decay_factor(ServeCall *call, int32 landmark, TimestampTz as_of)
{
	double		half_life = call->source->half_life;

	if (half_life <= 0)
		return 1;
	serve_read_state(call);
	if (call->old_decay)
		return exp2(landmark - call->landmark);
	return exp2(landmark - (double) as_of / USECS_PER_SEC / half_life);
}

double
decay_since(const RecsysSource *source, TimestampTz time, TimestampTz as_of)
{
	if (source->half_life <= 0)
		return 1;
	return exp2((double) (time - as_of) / USECS_PER_SEC / source->half_life);
}

/* Make room for "more" entries. */
static void
history_grow(History *history, int more)
{
	Size		n = (Size) history->n + more;

	if (history->items == NULL)
	{
		history->items = palloc(sizeof(int32) * n);
		history->weights = palloc(sizeof(double) * n);
		history->times = palloc(sizeof(int64) * n);
		return;
	}
	history->items = repalloc(history->items, sizeof(int32) * n);
	history->weights = repalloc(history->weights, sizeof(double) * n);
	history->times = repalloc(history->times, sizeof(int64) * n);
}

void
history_add_row(ServeCall *call, TupleTableSlot *slot, History *history)
{
	int32		landmark = DatumGetInt32(checked_attribute(slot, PROFILE_LANDMARK));
	double		factor = decay_factor(call, landmark, call->now);
	int			nitems,
				nweights,
				ntimes;
	int32	   *items = checked_array(checked_attribute(slot, PROFILE_ITEMS), INT4OID, &nitems);
	double	   *weights = checked_array(checked_attribute(slot, PROFILE_WEIGHTS), FLOAT8OID, &nweights);
	int64	   *times = checked_array(checked_attribute(slot, PROFILE_TIMES), INT8OID, &ntimes);

	if (nitems != nweights || nitems != ntimes)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("arrays of different lengths in a profile of source \"%s\"",
					   NameStr(call->source->name)),
				errhint("Rebuild the state with recsys.resync()."));
	history_grow(history, nitems);
	for (int i = 0; i < nitems; i++)
	{
		history->items[history->n + i] = items[i];
		history->weights[history->n + i] = weights[i] * factor;
		history->times[history->n + i] = times[i];
	}
	history->n += nitems;
}

StateTable *
history_open_profiles(ServeCall *call)
{
	return checked_open(call->source, "profiles", "profiles_pkey", PROFILE_USER,
						lengthof(profile_types), profile_types);
}

static void
load_profile(ServeCall *call, int32 user, History *history)
{
	StateTable *profiles = history_open_profiles(call);
	Datum		key = Int32GetDatum(user);

	for (TupleTableSlot *slot = table_get(profiles, call->snapshot, 1, &key);
		 slot; slot = table_get_next(profiles))
		history_add_row(call, slot, history);
	checked_close(profiles);
}

/* ------------------------------------------------------------------ tail */

/*
 * Order of the WAL as far as rows tell it: by time where the source has one,
 * then by transaction, command within it, and place in the index.
 */
static int
compare_tail(const void *a, const void *b)
{
	const TailEvent *ea = a,
			   *eb = b;

	if (ea->time != eb->time)
		return ea->time < eb->time ? -1 : 1;
	if (ea->xid != eb->xid)
		return ea->xid < eb->xid ? -1 : 1;
	if (ea->command != eb->command)
		return ea->command < eb->command ? -1 : 1;
	return eb->order - ea->order;
}

static void
apply_event(ServeCall *call, const TailEvent *event, History *history, int at)
{
	bool		newer = event->time >= history->times[at];

	if (!call->source->explicit_feedback)
		history->weights[at] += event->weight;
	else if (newer || call->source->time_column == NULL)
		history->weights[at] = event->weight;
	if (newer)
		history->times[at] = event->time;
}

static void
add_tail(ServeCall *call, TailEvent *events, int n, History *history)
{
	Candidates *places = candidates_create();	/* in the order of history */

	qsort(events, n, sizeof(TailEvent), compare_tail);
	history_grow(history, n);
	for (int i = 0; i < history->n; i++)
		candidates_mark(places, history->items[i], 0);
	for (int i = 0; i < n; i++)
	{
		int			at = candidates_mark(places, events[i].item, 0) - places->entries;

		if (at < history->n)
		{
			apply_event(call, &events[i], history, at);
			continue;
		}
		history->items[at] = events[i].item;
		history->weights[at] = events[i].weight;
		history->times[at] = events[i].time;
		history->n++;
	}
}

typedef struct Recency
{
	int64		time;
	int			place;
} Recency;

static int
compare_recency(const void *a, const void *b)
{
	const Recency *ra = a,
			   *rb = b;

	if (ra->time != rb->time)
		return ra->time > rb->time ? -1 : 1;
	return rb->place - ra->place;
}

/* Keep the newest history_limit items. */
static void
trim_history(const RecsysSource *source, History *history)
{
	int			limit = source->history_limit;
	Recency    *order;
	History		kept = {0};

	if (history->n <= limit)
		return;
	order = palloc(sizeof(Recency) * history->n);
	for (int i = 0; i < history->n; i++)
		order[i] = (Recency) {history->times[i], i};
	qsort(order, history->n, sizeof(Recency), compare_recency);
	history_grow(&kept, limit);
	for (int i = 0; i < limit; i++)
	{
		kept.items[i] = history->items[order[i].place];
		kept.weights[i] = history->weights[order[i].place];
		kept.times[i] = history->times[order[i].place];
	}
	kept.n = limit;
	*history = kept;
}

void
history_load(ServeCall *call, int argno, History *history)
{
	Datum		key;
	int32		user;
	TailEvent  *events;
	int			n;

	memset(history, 0, sizeof(History));
	if (call->fcinfo->args[argno].isnull ||
		!key_from_argument(&call->source->user, call->argtypes->values[argno],
						   call->fcinfo->args[argno].value, &key))
		return;
	user = serve_user_number(call, key);
	call->cx.user = user;
	if (user != 0)
		load_profile(call, user, history);
	n = tail_scan(call, key, &events);
	if (n > 0)
	{
		add_tail(call, events, n, history);
		trim_history(call->source, history);
	}
}
