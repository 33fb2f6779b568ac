/*
 * gru4rec_online.c
 *	  gru4rec on the side of the stream worker: between trainings, items that have
 *	  new events move.
 *
 * The weights of the network stay as they were trained.  When an item comes last into a
 * history, the network reads what came before it, and the item's vector takes a step up the
 * gradient of the softmax: so far as its probability falls short of 1, and scaled so that
 * with online_rate 1 the score would be the right one after a few events.  The softmax is over a
 * sample of the other items.  An item that is new starts at the vector of the item
 * before it.
 *
 * The steps are taken when the worker publishes, for a bounded time; those that wait
 * are in a log of bounded length, of which the oldest are given up.  The log keeps them for a
 * while after that: a training reads the tables at some position of the stream and
 * ends later, and the items of what came in between move again when its version is
 * loaded.  Moved vectors are published rows; a crash can lose the last steps, or
 * take them twice.  The next training knows nothing of them.
 *
 * In memory: the vectors of all items and the log.  Where recsys.memory has no room for
 * them, nothing moves.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "models/embedding_worker.h"
#include "models/gru4rec.h"
#include "models/histories.h"
#include "numeric/search.h"

/* Time for steps in one publication that nobody waits for. */
#define PUBLISH_MS 100

/* Events remembered. */
#define LOG_MAX (64 * 1024)

/* Other items that a step compares with. */
#define SAMPLE 256

/* An item that came last into a user's history. */
typedef struct LoggedEvent
{
	XLogRecPtr	lsn;			/* end of its transaction */
	int32		user;
	int32		item;
} LoggedEvent;

typedef struct Gru4recModel
{
	EmbeddingWorker w;
	MemoryContext context;
	MemoryContext loaded;		/* of what belongs to the version; NULL: none, or no room */
	double		rate;
	double		logq;
	double		sampled;		/* items beside the right one that a training compares with */
	bool		learnable;		/* there has been a history of two items */
	List	   *forgotten;		/* items to be erased that are not in memory */

	/* of the version */
	float	   *weights;
	float	   *vectors;		/* by item number */
	bool	   *present;
	bool	   *is_dirty;
	int32		max_items;		/* allocated */
	int32	   *items;			/* those that are present, to draw from */
	int32		nitems;
	int32	   *dirty;
	int32		ndirty;
	float	   *x;
	float	   *h;
	float	   *scratch;
	float	   *work;
	NnRandom	random;

	/* ring */
	LoggedEvent *log;
	uint32		head,			/* oldest */
				next,			/* of which no step has been taken yet */
				tail;
} Gru4recModel;

/* ------------------------------------------------------------ open and close */

void *
gru4rec_open(ModelHost *host, const RecsysModel *model)
{
	MemoryContext context = AllocSetContextCreate(host->context, "recsys gru4rec", ALLOCSET_DEFAULT_SIZES);
	Gru4recModel *m = MemoryContextAllocZero(context, sizeof(Gru4recModel));

	embedding_worker_open(&m->w, host, model);
	m->context = context;
	m->rate = params_get(model->params, "online_rate");
	m->logq = params_get(model->params, "logq");
	m->sampled = params_get(model->params, "n_sample") +
		params_get(model->params, "batch_size") * params_get(model->params, "steps");
	m->random.state = (uint64) params_get(model->params, "seed");
	if (m->rate > 0)
		m->log = MemoryContextAlloc(context, sizeof(LoggedEvent) * LOG_MAX);
	return m;
}

void
gru4rec_close(void *state)
{
	Gru4recModel *m = state;

	MemoryContextDelete(m->context);
}

Size
gru4rec_memory(void *state)
{
	Gru4recModel *m = state;

	return MemoryContextMemAllocated(m->context, true);
}

/* Is there a history of two items?  Most often the first ones tell. */
static bool
find_pair(ModelHost *host)
{
	StateTable *t;
	bool		found = false;
	int32		user = 0;

	for (int32 u = 1; u <= profiles_max_user(host->profiles); u++)
	{
		Profile    *p = profiles_peek(host->profiles, u);

		if (p != NULL && p->n >= 2)
			return true;
	}
	if (host->profiles->complete)
		return false;
	t = table_open_state(host->source->nspid, "profiles", "profiles_pkey", AccessShareLock);
	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 0, NULL); slot && !found; slot = table_get_next(t))
	{
		ProfileRow	row;

		CHECK_FOR_INTERRUPTS();
		profile_row_read(slot, &row);
		found = row.n >= 2 || (row.n == 1 && row.user == user);
		user = row.n > 0 ? row.user : user;
	}
	table_close_state(t, AccessShareLock);
	return found;
}

void
gru4rec_build(void *state)
{
	Gru4recModel *m = state;

	m->learnable = find_pair(m->w.host);
	m->head = m->next = m->tail = 0;
	embedding_worker_build(&m->w);
}

/* ------------------------------------------------------------------- vectors */

static void
drop_vectors(Gru4recModel *m)
{
	if (m->loaded)
		MemoryContextDelete(m->loaded);
	m->loaded = NULL;
	m->vectors = NULL;
	m->max_items = m->nitems = m->ndirty = 0;
}

/* Room for the numbers below "end". */
static void
reach(Gru4recModel *m, int32 end)
{
	int32		max = Max(end + end / 4, 1024);
	MemoryContext old;

	if (end <= m->max_items)
		return;
	old = MemoryContextSwitchTo(m->loaded);
	if (m->vectors == NULL)
	{
		m->vectors = palloc_extended(sizeof(float) * m->w.version.dim * (Size) max, MCXT_ALLOC_HUGE);
		m->present = palloc_extended(sizeof(bool) * (Size) max, MCXT_ALLOC_HUGE);
		m->is_dirty = palloc_extended(sizeof(bool) * (Size) max, MCXT_ALLOC_HUGE);
		m->items = palloc_extended(sizeof(int32) * (Size) max, MCXT_ALLOC_HUGE);
		m->dirty = palloc_extended(sizeof(int32) * (Size) max, MCXT_ALLOC_HUGE);
	}
	else
	{
		m->vectors = repalloc_huge(m->vectors, sizeof(float) * m->w.version.dim * (Size) max);
		m->present = repalloc_huge(m->present, sizeof(bool) * (Size) max);
		m->is_dirty = repalloc_huge(m->is_dirty, sizeof(bool) * (Size) max);
		m->items = repalloc_huge(m->items, sizeof(int32) * (Size) max);
		m->dirty = repalloc_huge(m->dirty, sizeof(int32) * (Size) max);
	}
	memset(m->present + m->max_items, 0, sizeof(bool) * (max - m->max_items));
	memset(m->is_dirty + m->max_items, 0, sizeof(bool) * (max - m->max_items));
	m->max_items = max;
	MemoryContextSwitchTo(old);
}

static float *
vector_of(const Gru4recModel *m, int32 item)
{
	return m->vectors + (Size) item * m->w.version.dim;
}

static bool
is_present(const Gru4recModel *m, int32 item)
{
	return item < m->max_items && m->present[item];
}

static void
mark_dirty(Gru4recModel *m, int32 item)
{
	if (!m->is_dirty[item])
		m->dirty[m->ndirty++] = item;
	m->is_dirty[item] = true;
}

static void
set_present(Gru4recModel *m, int32 item)
{
	if (!m->present[item])
		m->items[m->nitems++] = item;
	m->present[item] = true;
}

static void
take_vector(void *arg, int32 item, const float *vector)
{
	Gru4recModel *m = arg;

	memcpy(vector_of(m, item), vector, sizeof(float) * m->w.version.dim);
	set_present(m, item);
}

static void
erase(Gru4recModel *m, int32 item)
{
	if (!is_present(m, item))
		return;
	m->present[item] = false;
	for (int32 i = 0; i < m->nitems; i++)
		if (m->items[i] == item)
		{
			m->items[i] = m->items[--m->nitems];
			break;
		}
	mark_dirty(m, item);
}

/* ------------------------------------------------------------------- version */

static Size
memory_needed(const Gru4recModel *m)
{
	Size		per_item = sizeof(float) * m->w.version.dim + 2 * sizeof(bool) + 2 * sizeof(int32);

	return per_item * (m->w.host->items->next + m->w.host->items->next / 4 + 1024) +
		sizeof(float) * (gru4rec_weights(m->w.version.dim) + NN_GEMM_WORK);
}

/* Of the version, what steps need. */
static void
load(Gru4recModel *m)
{
	int			dim = m->w.version.dim;
	ModelWeights parts[GRU4REC_PARTS];
	MemoryContext old;

	if (m->rate == 0)
		return;
	if (memory_needed(m) > m->w.host->memory_left(m->w.host))
	{
		ereport(LOG,
				errmsg("recsys: no room to keep model \"%s\" fresh between trainings", NameStr(m->w.model->name)),
				errhint("Raise recsys.memory."));
		return;
	}
	m->loaded = AllocSetContextCreate(m->context, "recsys gru4rec version", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(m->loaded);
	m->weights = palloc(sizeof(float) * gru4rec_weights(dim));
	m->x = palloc(sizeof(float) * dim * GRU4REC_LENGTH);
	m->h = palloc(sizeof(float) * dim);
	m->scratch = palloc(sizeof(float) * 3 * dim * (GRU4REC_LENGTH + 1));
	m->work = palloc(sizeof(float) * NN_GEMM_WORK);
	MemoryContextSwitchTo(old);
	gru4rec_parts(dim, m->weights, parts);
	if (!weights_read(m->w.host->source, m->w.model, GetActiveSnapshot(), m->w.version.version, parts,
					  GRU4REC_PARTS))
	{
		drop_vectors(m);
		return;
	}
	reach(m, m->w.host->items->next);
	embedding_worker_read(&m->w, take_vector, m);
}

/* Items that have been forgotten while the training ran. */
static void
erase_unknown(Gru4recModel *m)
{
	for (int32 item = 1; item < m->w.host->items->next; item++)
		if (!m->w.host->items->totals[item].known)
			erase(m, item);
}

static void
follow_version(Gru4recModel *m)
{
	StateTable *versions;

	if (!embedding_worker_begin(&m->w, &versions))
	{
		if (!m->w.loaded)
			drop_vectors(m);
		return;
	}
	drop_vectors(m);
	m->w.loaded = m->w.version.version != 0 && m->w.version.params_version != 0;
	if (m->w.loaded)
	{
		load(m);
		erase_unknown(m);
		/* what its training has not seen */
		for (m->next = m->head; m->next != m->tail; m->next++)
			if (m->log[m->next % LOG_MAX].lsn > m->w.version.applied_lsn)
				break;
	}
	embedding_worker_end(&m->w, versions);
}

/* -------------------------------------------------------------------- change */

void
gru4rec_change(void *state, const ProfileChange *change)
{
	Gru4recModel *m = state;

	m->learnable |= change->appears > 0 && change->n > 0;
	if (m->log == NULL || change->appears < 0 || change->after == 0 || change->n == 0 ||
		change->time < change->times[change->n - 1])
		return;
	if (m->tail - m->head == LOG_MAX)
	{
		if (m->next == m->head)
			m->next++;
		m->head++;
	}
	m->log[m->tail++ % LOG_MAX] = (LoggedEvent) {m->w.host->change_lsn, change->user, change->item};
}

void
gru4rec_forget_item(void *state, int32 item)
{
	Gru4recModel *m = state;

	MemoryContext old;

	if (m->loaded)
	{
		erase(m, item);
		return;
	}
	if (!m->w.loaded)
		return;
	old = MemoryContextSwitchTo(m->context);
	m->forgotten = lappend_int(m->forgotten, item);
	MemoryContextSwitchTo(old);
}

void
gru4rec_reset(void *state)
{
	Gru4recModel *m = state;

	drop_vectors(m);
	m->forgotten = NIL;
	m->learnable = false;
	m->head = m->next = m->tail = 0;
	m->w.loaded = false;
	m->w.void_lsn = m->w.host->change_lsn;
	m->w.voided = true;
}

/* --------------------------------------------------------------------- steps */

/* The vectors of what came before the item; returns how many, and the last one's item. */
static int
gather_before(Gru4recModel *m, const LoggedEvent *event, int32 *last)
{
	Profile    *p = profiles_get(m->w.host->profiles, event->user);
	int			at = profile_find(p, event->item);
	int			n = 0;

	for (int i = Max(at - GRU4REC_LENGTH, 0); i < at; i++)
	{
		if (!is_present(m, p->items[i]))
			continue;
		memcpy(m->x + (Size) n++ * m->w.version.dim, vector_of(m, p->items[i]), sizeof(float) * m->w.version.dim);
		*last = p->items[i];
	}
	return n;
}

/* How far the item's probability falls short of 1, by a sample of the others. */
static double
shortfall(Gru4recModel *m, int32 item, double score)
{
	double		others = pow(m->nitems, m->logq) * pow(m->sampled, 1 - m->logq);
	double		sum = 0;

	for (int i = 0; i < SAMPLE; i++)
	{
		int32		other = m->items[nn_random_below(&m->random, (uint32) m->nitems)];

		if (other != item)
			sum += exp(Min(search_score(m->w.version.dim, m->h, vector_of(m, other)) - score, 80));
	}
	sum *= others / SAMPLE;
	return sum / (1 + sum);
}

static void
take_step(Gru4recModel *m, const LoggedEvent *event)
{
	int			dim = m->w.version.dim;
	int32		last = 0;
	int			n = gather_before(m, event, &last);
	float	   *vector;
	double		length,
				by;

	if (n == 0 || !m->w.host->items->totals[event->item].known)
		return;
	reach(m, event->item + 1);
	vector = vector_of(m, event->item);
	if (!m->present[event->item])
	{
		memcpy(vector, vector_of(m, last), sizeof(float) * dim);
		set_present(m, event->item);
	}
	gru4rec_encode(dim, m->weights, n, m->x, m->h, m->scratch, m->work);
	length = search_score(dim, m->h, m->h);
	if (!(length > 1e-6))
		return;
	by = m->rate * shortfall(m, event->item, search_score(dim, m->h, vector)) / length;
	for (int j = 0; j < dim; j++)
		vector[j] += (float) by * m->h[j];
	mark_dirty(m, event->item);
}

/* False: there are more. */
static bool
take_steps(Gru4recModel *m, bool all)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PUBLISH_MS);

	for (; m->next != m->tail; m->next++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!all && GetCurrentTimestamp() >= deadline)
			return false;
		take_step(m, &m->log[m->next % LOG_MAX]);
	}
	return true;
}

/* ------------------------------------------------------------------- publish */

static int32
next_dirty(void *arg, const float **vector)
{
	Gru4recModel *m = arg;
	int32		item;

	if (m->forgotten != NIL)
	{
		item = llast_int(m->forgotten);
		m->forgotten = list_delete_last(m->forgotten);
		*vector = NULL;
		return item;
	}
	if (m->ndirty == 0)
		return 0;
	item = m->dirty[--m->ndirty];
	m->is_dirty[item] = false;
	*vector = m->present[item] ? vector_of(m, item) : NULL;
	return item;
}

static void
write_vectors(Gru4recModel *m)
{
	if (m->w.loaded && (m->ndirty > 0 || m->forgotten != NIL))
		(void) embedding_worker_write(&m->w, next_dirty, m, NULL);
}

static void
write_void(Gru4recModel *m)
{
	embedding_worker_void(&m->w);
	drop_vectors(m);
}

bool
gru4rec_publish(void *state, bool all)
{
	Gru4recModel *m = state;
	bool		done = true;

	if (!embedding_worker_lock(&m->w))
		return true;			/* the catalogue will tell */
	if (m->w.voided)
		write_void(m);
	if (m->w.look)
		follow_version(m);
	if (m->loaded)
		done = take_steps(m, all);
	write_vectors(m);
	if (m->w.old_version != 0)
		done &= embedding_worker_delete_old(&m->w) || all;
	return done;
}

void
gru4rec_flush(void *state)
{
	Gru4recModel *m = state;

	if (!embedding_worker_lock(&m->w))
		return;
	if (m->w.voided)
		write_void(m);
	write_vectors(m);
}

bool
gru4rec_published(void *state)
{
	Gru4recModel *m = state;

	return embedding_worker_published(&m->w);
}

/* ------------------------------------------------------------------ trainings */

void
gru4rec_retrained(void *state)
{
	Gru4recModel *m = state;

	m->w.look = true;
}

TrainingNeed
gru4rec_training_need(void *state, int64 events, TimestampTz *due_at)
{
	Gru4recModel *m = state;

	return embedding_worker_need(&m->w, m->learnable, events, due_at);
}

bool
gru4rec_has_version(void *state)
{
	Gru4recModel *m = state;

	return m->w.loaded;
}
