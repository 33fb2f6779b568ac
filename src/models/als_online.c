/*
 * als_online.c
 *	  als on the side of the stream worker: item vectors kept fresh between
 *	  trainings.
 *
 * The mathematics stand in numeric/als_online.  Here histories are fed to it,
 * changed items are solved when the worker publishes, and their vectors go
 * into the table.
 *
 * A training reads the tables at some position of the stream and ends later.
 * What came after that position is kept in a log of changed items, so
 * that they are solved again when its version is loaded.  The log is bounded; a
 * version that it does not reach back to, such as the one found at the start, has
 * items touched by the time of their last event instead.
 *
 * In memory: the vectors of all items, the users of items that have not very many,
 * and a cache of users' vectors (numeric/als_online.c).
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "models/als_version.h"
#include "models/histories.h"
#include "state/table.h"

/* Time for solving in one publication that nobody waits for. */
#define PUBLISH_MS 100

/* Rewriting the Gram matrix with every publication would be too much. */
#define GRAM_MS 2000

/* Changes remembered: 16 MB. */
#define LOG_MAX (1024 * 1024)
#define LOG_MIN 1024

/* Events may have been on their way for so long before a training read. */
#define TOUCH_MARGIN_MS 60000

void
als_no_memory(AlsModel *m)
{
	ereport(ERROR,
			errcode(ERRCODE_OUT_OF_MEMORY),
			errmsg("no memory for the vectors of model \"%s\"", NameStr(m->w.model->name)),
			errhint("Lower the model's factors, or free memory."));
}

static void
require(AlsModel *m, bool good)
{
	if (!good)
		als_no_memory(m);
}

/* ------------------------------------------------------------ open and close */

/* A user's history, loaded if need be. */
static int
history_of(void *arg, int32_t user, const int32_t **items, const double **weights)
{
	AlsModel   *m = arg;
	Profile    *p = profiles_get(m->w.host->profiles, user);

	*items = p->items;
	*weights = p->weights;
	return p->n;
}

void *
als_open(ModelHost *host, const RecsysModel *model)
{
	MemoryContext context = AllocSetContextCreate(host->context, "recsys als",
												  ALLOCSET_DEFAULT_SIZES);
	AlsModel   *m = MemoryContextAllocZero(context, sizeof(AlsModel));

	embedding_worker_open(&m->w, host, model);
	m->context = context;
	m->allocator = histories_allocator(context);
	return m;
}

void
als_close(void *state)
{
	AlsModel   *m = state;

	MemoryContextDelete(m->context);
}

Size
als_memory(void *state)
{
	AlsModel   *m = state;

	return (m->online ? als_online_bytes(m->online) : 0) + sizeof(LoggedChange) * m->log_max;
}

/* --------------------------------------------------------------------- build */

/* One history, or a part of one. */
static void
take_history(AlsModel *m, int32 user, int n, const int32 *items, const double *weights,
			 double factor)
{
	for (int i = 0; i < n; i++)
		require(m, als_online_change(m->online, user, items[i], weights[i] * factor, 1, true));
}

static void
collect_memory(AlsModel *m)
{
	Profiles   *profiles = m->w.host->profiles;

	for (int32 user = 1; user <= profiles_max_user(profiles); user++)
	{
		Profile    *p = profiles_peek(profiles, user);

		if (user % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (p == NULL || p->n == 0)
			continue;
		m->users++;
		take_history(m, user, p->n, p->items, p->weights, 1);
	}
}

static void
collect_table(AlsModel *m)
{
	ModelHost  *host = m->w.host;
	StateTable *t = table_open_state(host->source->nspid, "profiles", "profiles_pkey",
									 AccessShareLock);
	int32		current = 0;

	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 0, NULL);
		 slot; slot = table_get_next(t))
	{
		ProfileRow	row;

		CHECK_FOR_INTERRUPTS();
		profile_row_read(slot, &row);
		if (row.n == 0 || profiles_peek(host->profiles, row.user))
			continue;
		m->users += row.user != current;
		current = row.user;
		take_history(m, row.user, row.n, row.items, row.weights,
					 ldexp(1.0, row.landmark - host->profiles->landmark));
	}
	table_close_state(t, AccessShareLock);
}

/* No interactions are known. */
static void
create_online(AlsModel *m)
{
	if (m->online)
		als_online_destroy(m->online);
	m->online = als_online_create(&m->allocator, m->w.host->memory_left(m->w.host) / 2,
								  history_of, m);
	require(m, m->online != NULL);
	m->users = 0;
	m->w.loaded = false;
}

void
als_build(void *state)
{
	AlsModel   *m = state;

	create_online(m);
	m->w.host->progress(m->w.host, "interactions", 0, 0);
	collect_memory(m);
	if (!m->w.host->profiles->complete)
		collect_table(m);
	als_online_users(m->online, m->users);
	m->log_from = m->w.host->change_lsn;
	embedding_worker_build(&m->w);
}

/* ----------------------------------------------------------------------- log */

static void
log_change(AlsModel *m, int32 item)
{
	if (m->log_tail - m->log_head == m->log_max && m->log_max < LOG_MAX)
	{
		uint32		max = Max(LOG_MIN, m->log_max * 2);
		LoggedChange *log = MemoryContextAllocHuge(m->context, sizeof(LoggedChange) * max);

		for (uint32 i = 0; i < m->log_max; i++)
			log[i] = m->log[(m->log_head + i) & (m->log_max - 1)];
		if (m->log)
			pfree(m->log);
		m->log = log;
		m->log_head = 0;
		m->log_tail = m->log_max;
		m->log_max = max;
	}
	if (m->log_tail - m->log_head == m->log_max)
		m->log_from = m->log[m->log_head++ & (m->log_max - 1)].lsn;
	m->log[m->log_tail++ & (m->log_max - 1)] = (LoggedChange) {m->w.host->change_lsn, item};
}

/* What is known of the time after the training without the log. */
static void
touch_by_time(AlsModel *m)
{
	TimestampTz since = m->w.version.trained_at -
		(TimestampTz) (m->w.version.seconds * USECS_PER_SEC) - TOUCH_MARGIN_MS * INT64CONST(1000);

	for (int32 item = 1; item < m->w.host->items->next; item++)
		if (m->w.host->items->totals[item].last_time >= since)
			require(m, als_online_touch(m->online, item));
}

void
als_replay(AlsModel *m)
{
	XLogRecPtr	applied = m->w.version.applied_lsn;

	if (applied < m->log_from)
		touch_by_time(m);
	while (m->log_head != m->log_tail && m->log[m->log_head & (m->log_max - 1)].lsn <= applied)
		m->log_from = m->log[m->log_head++ & (m->log_max - 1)].lsn;
	for (uint32 i = m->log_head; i != m->log_tail; i++)
		require(m, als_online_touch(m->online, m->log[i & (m->log_max - 1)].item));
}

/* -------------------------------------------------------------------- change */

void
als_change(void *state, const ProfileChange *change)
{
	AlsModel   *m = state;

	if (change->after == change->before && change->appears == 0)
		return;
	if (change->n == 0 && change->appears != 0)
		als_online_users(m->online, m->users += change->appears);
	require(m, als_online_change(m->online, change->user, change->item, change->after,
								 change->appears, false));
	/* the user may be known by this change, and make others known */
	for (int i = 0; i < change->n; i++)
		require(m, als_online_retry(m->online, change->items[i]));
	log_change(m, change->item);
}

void
als_rescale(void *state, double factor)
{
	AlsModel   *m = state;

	als_online_rescale(m->online, factor);
}

void
als_forget_item(void *state, int32 item)
{
	AlsModel   *m = state;

	require(m, als_online_erase(m->online, item));
}

void
als_reset(void *state)
{
	AlsModel   *m = state;

	create_online(m);
	als_online_users(m->online, 0);
	m->log_head = m->log_tail;
	m->log_from = m->w.void_lsn = m->w.host->change_lsn;
	m->w.voided = true;
}

/* ------------------------------------------------------------------- publish */

/* r(u,i) are relative to the landmark; the model wants them decayed to now. */
static double
scale_now(AlsModel *m)
{
	const RecsysSource *source = m->w.host->source;

	if (source->half_life == 0 || source->explicit_feedback)
		return 1;
	return exp2(m->w.host->profiles->landmark -
				(double) GetCurrentTimestamp() / USECS_PER_SEC / source->half_life);
}

/* False: there are more. */
static bool
solve_items(AlsModel *m, bool all)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PUBLISH_MS);
	double		scale = scale_now(m);
	int32		item;

	do
	{
		CHECK_FOR_INTERRUPTS();
		require(m, als_online_step(m->online, scale, &item));
		if (item == 0)
			return true;
	} while (all || GetCurrentTimestamp() < deadline);
	return false;
}

bool
als_publish(void *state, bool all)
{
	AlsModel   *m = state;
	TimestampTz now = GetCurrentTimestamp();
	bool		done = true;

	if (!embedding_worker_lock(&m->w))
		return true;			/* the catalogue will tell */
	if (m->w.voided)
		als_write_void(m);
	if (m->w.look)
		als_follow_version(m);
	if (m->w.loaded)
	{
		done = solve_items(m, all);
		done &= als_write_vectors(m, all || now >= TimestampTzPlusMilliseconds(m->gram_at, GRAM_MS));
	}
	if (m->w.old_version != 0)
		done &= embedding_worker_delete_old(&m->w) || all;
	return done;
}

void
als_flush(void *state)
{
	AlsModel   *m = state;

	if (!embedding_worker_lock(&m->w))
		return;
	if (m->w.voided)
		als_write_void(m);
	if (m->w.loaded)
		(void) als_write_vectors(m, true);
}

bool
als_published(void *state)
{
	AlsModel   *m = state;
	return embedding_worker_published(&m->w);
}

/* ------------------------------------------------------------------ trainings */

void
als_retrained(void *state)
{
	AlsModel   *m = state;

	m->w.look = true;
}

TrainingNeed
als_training_need(void *state, int64 events, TimestampTz *due_at)
{
	AlsModel   *m = state;

	return embedding_worker_need(&m->w, als_online_interactions(m->online) > 0, events, due_at);
}

bool
als_has_version(void *state)
{
	AlsModel   *m = state;

	return m->w.loaded;
}
