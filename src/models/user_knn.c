/*
 * user_knn.c
 *	  user_knn on the side of the stream worker: who the newest users of each
 *	  item are, and how long each user's history is as a vector.
 *
 * Both are state of the model's own, in tables of its own: they follow each event
 * in memory, are written with the histories that they follow, in the same
 * transaction as the position, and so hold exactly what the histories hold
 * after any crash.  Dropping the model drops them.
 *
 * A row beside them says up to which position they are right.  If that is the
 * position of the source's state, they are taken as they are; if not, because the
 * model is new, its limit was changed, the source was rebuilt or the model stood
 * still while the stream was caught up, they are made anew from the histories.
 * That runs over the items in as many parts as memory demands.
 *
 * Lists lie all over the memory.  Changes therefore wait in a queue for a few
 * more to come, while the memory that they need is on its way; whoever looks at
 * the caches applies them first.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"

#include "models/user_knn.h"
#include "state/audiences.h"
#include "state/checked.h"
#include "state/norms.h"

/* Memory for building, if there is not more of it left. */
#define MIN_BUILD_MEMORY ((Size) 16 * 1024 * 1024)

/* Of an entry of a list, with what doubling arrays leaves unused, and of a list. */
#define ENTRY_BYTES 32
#define LIST_BYTES 128

const Oid	user_knn_state_types[USER_KNN_NCOLUMNS] = {BOOLOID, LSNOID, INT4OID, INT4OID};

/* Changes that wait; a power of two.  Each third of the way a step is taken. */
#define QUEUE_LENGTH 16
#define QUEUE_STEP 5

typedef struct QueuedChange
{
	int32		user;
	int32		item;
	double		weight;
	double		sumsq;
	TimestampTz time;
	int			appears;
} QueuedChange;

typedef struct UserKnn
{
	ModelHost  *host;
	MemoryContext context;
	NameData	audiences_table,
				audiences_index,
				norms_table,
				norms_index,
				state_table,
				state_index;
	int32		limit;			/* users kept of an item */
	int32		nusers;			/* that have a history */
	AudienceCache *audiences;
	NormCache  *norms;
	uint32		nqueued,		/* changes ever queued, and applied */
				napplied;
	QueuedChange queue[QUEUE_LENGTH];
} UserKnn;

/* ------------------------------------------------------------ open and close */

static void
table_names(const RecsysModel *model, const char *kind, NameData *table, NameData *index)
{
	snprintf(NameStr(*table), NAMEDATALEN, "%s%s", NameStr(model->name), kind);
	snprintf(NameStr(*index), NAMEDATALEN, "%s%s%s", NameStr(model->name), kind, USER_KNN_INDEX);
}

void *
user_knn_open(ModelHost *host, const RecsysModel *model)
{
	MemoryContext context = AllocSetContextCreate(host->context, "recsys user_knn",
												  ALLOCSET_DEFAULT_SIZES);
	UserKnn    *knn = MemoryContextAllocZero(context, sizeof(UserKnn));

	knn->host = host;
	knn->context = context;
	knn->limit = (int32) params_get(model->params, "audience_limit");
	table_names(model, USER_KNN_AUDIENCES, &knn->audiences_table, &knn->audiences_index);
	table_names(model, USER_KNN_NORMS, &knn->norms_table, &knn->norms_index);
	table_names(model, USER_KNN_STATE, &knn->state_table, &knn->state_index);
	return knn;
}

void
user_knn_close(void *state)
{
	MemoryContextDelete(((UserKnn *) state)->context);
}

/* -------------------------------------------------------------- the state row */

/* NULL: the model has been dropped, and we are about to hear of it. */
static StateTable *
open_state(UserKnn *knn, LOCKMODE lockmode)
{
	Oid			nspid = knn->host->source->nspid;
	StateTable *t;

	if (!OidIsValid(get_relname_relid(NameStr(knn->state_table), nspid)))
		return NULL;
	t = table_open_state(nspid, NameStr(knn->state_table), NameStr(knn->state_index), lockmode);
	checked_types(t, USER_KNN_NCOLUMNS, user_knn_state_types);
	return t;
}

/* Do the tables hold what the histories hold?  Reads the number of users. */
static bool
read_state(UserKnn *knn)
{
	StateTable *t = open_state(knn, AccessShareLock);
	Datum		key = BoolGetDatum(true);
	TupleTableSlot *slot = t ? table_get(t, GetActiveSnapshot(), 1, &key) : NULL;
	bool		fits = slot &&
		DatumGetLSN(checked_attribute(slot, USER_KNN_LSN + 1)) == knn->host->stored_lsn &&
		DatumGetInt32(checked_attribute(slot, USER_KNN_LIMIT + 1)) == knn->limit;

	if (fits)
		knn->nusers = DatumGetInt32(checked_attribute(slot, USER_KNN_USERS + 1));
	if (t)
		table_close_state(t, AccessShareLock);
	return fits;
}

/* The position has been stored in this transaction. */
void
user_knn_flush(void *state)
{
	UserKnn    *knn = state;
	StateTable *t = open_state(knn, RowExclusiveLock);
	Datum		values[USER_KNN_NCOLUMNS];

	if (t == NULL)
		return;
	values[USER_KNN_SINGLETON] = BoolGetDatum(true);
	values[USER_KNN_LSN] = LSNGetDatum(knn->host->stored_lsn);
	values[USER_KNN_LIMIT] = Int32GetDatum(knn->limit);
	values[USER_KNN_USERS] = Int32GetDatum(knn->nusers);
	table_put(t, 1, values, NULL);
	table_close_state(t, RowExclusiveLock);
}

/* --------------------------------------------------------------------- build */

/* A history, or one row of it, as build() goes through them. */
typedef struct HistoryPart
{
	int32		user;
	int32		n;
	const int32 *items;
	const double *weights;
	const TimestampTz *times;
	double		factor;			/* of the weights, to the landmark of memory */
} HistoryPart;

typedef void (*PartCallback) (void *arg, const HistoryPart *part);

/* Histories in memory are newer than their rows.  Parts of a user come together. */
static void
each_part(ModelHost *host, PartCallback callback, void *arg)
{
	StateTable *t;

	for (int32 user = 1; user <= profiles_max_user(host->profiles); user++)
	{
		Profile    *p = profiles_peek(host->profiles, user);

		if (user % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (p && p->n > 0)
			callback(arg, &(HistoryPart) {user, p->n, p->items, p->weights, p->times, 1});
	}
	if (host->profiles->complete)
		return;
	t = table_open_state(host->source->nspid, "profiles", "profiles_pkey", AccessShareLock);
	for (TupleTableSlot *slot = table_get(t, GetActiveSnapshot(), 0, NULL);
		 slot; slot = table_get_next(t))
	{
		ProfileRow	row;

		CHECK_FOR_INTERRUPTS();
		profile_row_read(slot, &row);
		if (profiles_peek(host->profiles, row.user) == NULL)
			callback(arg, &(HistoryPart) {row.user, row.n, row.items, row.weights, row.times,
					 ldexp(1.0, row.landmark - host->profiles->landmark)});
	}
	table_close_state(t, AccessShareLock);
}

typedef struct NormBuild
{
	UserKnn    *knn;
	int32		user;
	double		sumsq;
} NormBuild;

static void
add_to_norm(void *arg, const HistoryPart *part)
{
	NormBuild  *b = arg;

	if (part->user != b->user)
	{
		b->user = part->user;
		b->sumsq = 0;
		b->knn->nusers++;
	}
	for (int i = 0; i < part->n; i++)
		b->sumsq += part->weights[i] * part->factor * part->weights[i] * part->factor;
	norm_cache_set(b->knn->norms, part->user, b->sumsq);
}

typedef struct AudienceBuild
{
	UserKnn    *knn;
	int32		from,			/* items of this part */
				to;
} AudienceBuild;

static void
add_to_audiences(void *arg, const HistoryPart *part)
{
	AudienceBuild *b = arg;

	for (int i = 0; i < part->n; i++)
		if (part->items[i] >= b->from && part->items[i] < b->to)
			audience_cache_change(b->knn->audiences, part->items[i], part->user,
								  part->weights[i] * part->factor, part->times[i], 1);
}

/* The item behind the last one whose list still fits. */
static int32
end_of_part(UserKnn *knn, int32 from, Size memory)
{
	const Items *items = knn->host->items;
	Size		bytes = 0;
	int32		to;

	for (to = from; to < items->next; to++)
	{
		bytes += LIST_BYTES + (Size) ENTRY_BYTES * Min(items->totals[to].users, knn->limit);
		if (bytes > memory && to > from)
			break;
	}
	return to;
}

static void
rebuild(UserKnn *knn)
{
	ModelHost  *host = knn->host;
	NormBuild	norms = {.knn = knn};
	AudienceBuild part = {.knn = knn,.from = 1};
	Size		memory;

	norm_cache_void(knn->norms);
	audience_cache_void(knn->audiences);
	knn->nusers = 0;
	each_part(host, add_to_norm, &norms);
	norm_cache_write(knn->norms);
	audience_cache_write(knn->audiences);
	memory = Max(host->memory_left(host) / 2, MIN_BUILD_MEMORY);
	for (; part.from < host->items->next; part.from = part.to)
	{
		part.to = end_of_part(knn, part.from, memory);
		host->progress(host, "audiences", part.from - 1, host->items->next - 1);
		each_part(host, add_to_audiences, &part);
		audience_cache_write(knn->audiences);
		/* what is in one part may stay */
		if (part.from > 1 || part.to < host->items->next)
			audience_cache_evict(knn->audiences, 0);
	}
	user_knn_flush(knn);
}

void
user_knn_build(void *state)
{
	UserKnn    *knn = state;
	ModelHost  *host = knn->host;

	knn->audiences = audience_cache_create(knn->context, host->source->nspid,
										   NameStr(knn->audiences_table),
										   NameStr(knn->audiences_index), knn->limit,
										   host->items->next, host->profiles->landmark);
	knn->norms = norm_cache_create(knn->context, host->source->nspid, NameStr(knn->norms_table),
								   NameStr(knn->norms_index), host->profiles->landmark);
	if (read_state(knn))
		audience_cache_load_all(knn->audiences, host->memory_left(host) / 2);
	else
		rebuild(knn);
}

/* -------------------------------------------------------------------- change */

static void
apply_oldest(UserKnn *knn)
{
	const QueuedChange *q = &knn->queue[knn->napplied++ % QUEUE_LENGTH];

	norm_cache_set(knn->norms, q->user, q->sumsq);
	audience_cache_change(knn->audiences, q->item, q->user, q->weight, q->time, q->appears);
}

static void
apply_queue(UserKnn *knn)
{
	while (knn->napplied != knn->nqueued)
		apply_oldest(knn);
}

/* The change that came so many before the newest, or NULL. */
static const QueuedChange *
queued_before(const UserKnn *knn, uint32 before)
{
	if (knn->nqueued - knn->napplied <= before)
		return NULL;
	return &knn->queue[(knn->nqueued - 1 - before) % QUEUE_LENGTH];
}

void
user_knn_change(void *state, const ProfileChange *change)
{
	UserKnn    *knn = state;
	double		sumsq = change->after * change->after;
	const QueuedChange *q;

	for (int32 i = 0; i < change->n; i++)
		sumsq += change->weights[i] * change->weights[i];
	if (change->n == 0)
		knn->nusers += change->appears;
	if (knn->nqueued - knn->napplied == QUEUE_LENGTH)
		apply_oldest(knn);
	knn->queue[knn->nqueued++ % QUEUE_LENGTH] = (QueuedChange) {
		change->user, change->item, change->after, sumsq, change->time, change->appears
	};
	audience_cache_prefetch_place(knn->audiences, change->item);
	if ((q = queued_before(knn, QUEUE_STEP)) != NULL)
	{
		audience_cache_prefetch_list(knn->audiences, q->item);
		norm_cache_prefetch(knn->norms, q->user);
	}
	if ((q = queued_before(knn, 2 * QUEUE_STEP)) != NULL)
		audience_cache_prefetch_arrays(knn->audiences, q->item, q->appears);
}

void
user_knn_forget_item(void *state, int32 item)
{
	UserKnn    *knn = state;

	apply_queue(knn);
	audience_cache_forget(knn->audiences, item);
}

void
user_knn_reset(void *state)
{
	UserKnn    *knn = state;

	knn->napplied = knn->nqueued;
	audience_cache_void(knn->audiences);
	norm_cache_void(knn->norms);
	knn->nusers = 0;
}

/* The landmark has moved already. */
void
user_knn_rescale(void *state, double factor)
{
	UserKnn    *knn = state;

	(void) factor;
	/* these are relative to the old one, as the caches still are */
	apply_queue(knn);
	audience_cache_rescale(knn->audiences, knn->host->profiles->landmark);
	norm_cache_rescale(knn->norms, knn->host->profiles->landmark);
}

/* ----------------------------------------------------------- tables, memory */

void
user_knn_write(void *state)
{
	UserKnn    *knn = state;

	apply_queue(knn);
	norm_cache_write(knn->norms);
	audience_cache_write(knn->audiences);
}

Size
user_knn_memory(void *state)
{
	UserKnn    *knn = state;

	return audience_cache_bytes(knn->audiences) + norm_cache_bytes(knn->norms);
}

void
user_knn_evict(void *state, Size target)
{
	UserKnn    *knn = state;
	Size		norms = Min(norm_cache_bytes(knn->norms), target / 4);

	norm_cache_evict(knn->norms, norms);
	audience_cache_evict(knn->audiences, target - norms);
}
