/*
 * lookahead.c
 *	  Prefetching for the events that are about to be applied.
 *
 * An event needs its user's slot in the dictionary, then the history's place,
 * its struct and its arrays, each found through the one before: four cache
 * misses in a row.  Records lie in memory in order, so a cursor runs ahead and
 * asks for each of them some records earlier than the next.
 *
 * Nothing is remembered but user numbers that may be out of date by the time
 * of the event; they only choose what is prefetched.
 */
#include "postgres.h"

#include "stream/lookahead.h"

/* How many records after the dictionary's slot was asked for. */
#define STAGE_PLACE 8
#define STAGE_STRUCT 14
#define STAGE_ARRAYS 20

static inline bool
is_event(const SpoolRecord *record)
{
	return record && record->kind >= RECORD_INSERT && record->kind <= RECORD_REPLACE &&
		!record->ignored;
}

void
lookahead_start(Lookahead *ahead, Stream *s, Spool *spool)
{
	memset(ahead, 0, sizeof(*ahead));
	ahead->s = s;
	ahead->spool = spool;
}

static void
look_at(Lookahead *ahead, SpoolRecord *record)
{
	Stream	   *s = ahead->s;
	int64		now = ahead->next++;
	SpoolRecord *earlier;
	Event		event;

	ahead->records[now % LOOKAHEAD] = is_event(record) ? record : NULL;
	ahead->users[now % LOOKAHEAD] = 0;
	if (is_event(record))
	{
		apply_read_event(s, record, &event);
		keymap_prefetch(s->users->keys, &event.user);
		keymap_prefetch(s->items->keys, &event.item);
	}

	earlier = now < STAGE_PLACE ? NULL : ahead->records[(now - STAGE_PLACE) % LOOKAHEAD];
	if (earlier)
	{
		int32		user;

		apply_read_event(s, earlier, &event);
		user = keymap_get(s->users->keys, &event.user);
		ahead->users[(now - STAGE_PLACE) % LOOKAHEAD] = user;
		if (user != 0)
			profiles_prefetch_place(s->profiles, user);
	}
	if (now >= STAGE_STRUCT && ahead->users[(now - STAGE_STRUCT) % LOOKAHEAD] != 0)
		profiles_prefetch_struct(s->profiles, ahead->users[(now - STAGE_STRUCT) % LOOKAHEAD]);
	if (now >= STAGE_ARRAYS && ahead->users[(now - STAGE_ARRAYS) % LOOKAHEAD] != 0)
		profiles_prefetch_arrays(s->profiles, ahead->users[(now - STAGE_ARRAYS) % LOOKAHEAD]);
}

/* Keep the cursor LOOKAHEAD - 8 records ahead of what is being applied. */
void
lookahead_step(Lookahead *ahead)
{
	Spool	   *spool = ahead->spool;
	int			steps;

	if (spool->ahead <= spool->at)
	{
		/* a new run of records, where the old addresses mean nothing */
		ahead->next = 0;
		steps = LOOKAHEAD - 8;
	}
	else
		steps = 1;
	while (steps-- > 0)
	{
		SpoolRecord *record = spool_ahead(spool);

		if (record == NULL)
			break;
		look_at(ahead, record);
	}
}
