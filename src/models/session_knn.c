/*
 * session_knn.c
 *	  session_knn on the side of the stream worker: what was clicked in each session,
 *	  which sessions of an item are the newest, and how many there are.
 *
 * All of it is state of the model's own, in tables of its own, fed with the events
 * as they are (consumer.h).  An event changes its session in memory; when that is
 * written, what differs from the session as it was written last goes to postings and
 * counts, too.  All is written in the transaction that stores the position, and so
 * holds exactly what the events hold up to there, after any crash.
 *
 * Only sessions are cached.  Postings are read and written item by item, the counts
 * of all items are in memory.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "models/session_knn.h"
#include "state/checked.h"
#include "state/item_counts.h"
#include "state/postings.h"

const Oid	session_state_types[SESSION_STATE_NCOLUMNS] = {BOOLOID, INT4OID, INT4OID, INT8OID};

typedef struct SessionKnn
{
	ModelHost  *host;
	MemoryContext context;
	SessionSource source;
	bool		blank_padded;	/* the event type is of type char(n) */
	NameData	table_names[4],
				index_names[4];
	NameData	key_index;
	SessionCache *sessions;		/* NULL: not loaded */
	Postings	postings;
	ItemCounts *counts;
	int64		pairs;			/* of session and item, of those listed */
	bool		changed;		/* since the state row was written */
} SessionKnn;

enum
{
	TABLE_SESSIONS, TABLE_POSTINGS, TABLE_COUNTS, TABLE_STATE
};

static const char *const table_kinds[] = {
	SESSION_KNN_SESSIONS, SESSION_KNN_POSTINGS, SESSION_KNN_COUNTS, SESSION_KNN_STATE
};

/* ---------------------------------------------------------------- declaration */

static bool
is_baskets(const RecsysModel *model)
{
	return strcmp(model->algorithm, BASKETS) == 0;
}

void
session_knn_source(const RecsysSource *source, const RecsysModel *model, SessionSource *out)
{
	const Jsonb *params = model->params;
	bool		baskets = is_baskets(model);

	memset(out, 0, sizeof(SessionSource));
	out->column = params_get_text(params, baskets ? "basket_column" : "session_column");
	if (out->column == NULL)
		out->column = source->session_column;
	out->types = params_get_texts(params, "event_types");
	out->rules.by_gap = out->column == NULL;
	out->rules.gap = (int64) (params_get(params, baskets ? "basket_gap" : "session_gap") * USECS_PER_SEC);
	out->rules.has_time = source->time_column != NULL;
	/* what is bought alone counts, too */
	out->rules.min_items = baskets ? 1 : (int32) params_get(params, "min_length");
	out->rules.max_items = (int32) params_get(params, "max_length");
	out->sample = (int32) params_get(params, "sample");
}

static void
check_source(const RecsysSource *source, const RecsysModel *model, const SessionSource *sessions)
{
	if (sessions->column == NULL && source->time_column == NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("model \"%s\" has nothing to tell %s by: source \"%s\" maps neither a session column nor a time column",
					   NameStr(model->name), is_baskets(model) ? "baskets" : "sessions",
					   NameStr(source->name)),
				errhint("Name the column by the parameter \"%s\".",
						is_baskets(model) ? "basket_column" : "session_column"));
	if (sessions->types != NIL && source->type_column == NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("parameter \"event_types\" of model \"%s\" is given, but source \"%s\" maps no event type column",
					   NameStr(model->name), NameStr(source->name)),
				errhint("Leave \"event_types\" out: all events count."));
	if (sessions->rules.min_items > sessions->rules.max_items)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("parameter \"min_length\" is %d, more than \"max_length\", %d",
					   sessions->rules.min_items, sessions->rules.max_items),
				errhint("Sessions of between \"min_length\" and \"max_length\" different items are compared."));
}

/* Of those that count, each must have a weight: ignored events have no user. */
static void
check_types(const RecsysSource *source, const SessionSource *sessions)
{
	ListCell   *lc;

	foreach(lc, sessions->types)
	{
		bool		weighs = !source->has_weights;

		for (int i = 0; i < source->nweights; i++)
			weighs |= strcmp(source->weights[i].event_type, lfirst(lc)) == 0 &&
				source->weights[i].weight != 0;
		if (!weighs)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("events of type \"%s\" have no weight in source \"%s\"",
						   (char *) lfirst(lc), NameStr(source->name)),
					errhint("Give them one with recsys.alter_source(), or leave them out of \"event_types\"."));
	}
}

/* The session, then the type, as far as they are needed. */
List *
session_knn_columns(const RecsysSource *source, const RecsysModel *model)
{
	SessionSource sessions;
	List	   *columns = NIL;

	session_knn_source(source, model, &sessions);
	check_source(source, model, &sessions);
	check_types(source, &sessions);
	if (sessions.column)
		columns = lappend(columns, sessions.column);
	if (sessions.types != NIL &&
		(sessions.column == NULL || strcmp(sessions.column, source->type_column) != 0))
		columns = lappend(columns, source->type_column);
	return columns;
}

char *
session_knn_signature(const RecsysSource *source, const RecsysModel *model)
{
	SessionSource s;
	StringInfoData text;
	ListCell   *lc;

	session_knn_source(source, model, &s);
	initStringInfo(&text);
	appendStringInfo(&text, "gap " INT64_FORMAT ", length %d to %d, sample %d, types",
					 s.rules.by_gap ? s.rules.gap : 0, s.rules.min_items, s.rules.max_items,
					 s.sample);
	foreach(lc, s.types)
		appendStringInfo(&text, " %s", quote_literal_cstr(lfirst(lc)));
	return text.data;
}

/* ------------------------------------------------------------- open and close */

void *
session_knn_open(ModelHost *host, const RecsysModel *model)
{
	MemoryContext context = AllocSetContextCreate(host->context, "recsys session_knn",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	SessionKnn *knn = palloc0(sizeof(SessionKnn));

	knn->host = host;
	knn->context = context;
	session_knn_source(host->source, model, &knn->source);
	if (knn->source.column)
		knn->source.column = pstrdup(knn->source.column);
	if (host->source->type_column)
		knn->blank_padded = get_atttype(host->source->events,
										get_attnum(host->source->events, host->source->type_column)) == BPCHAROID;
	for (int i = 0; i < (int) lengthof(table_kinds); i++)
	{
		snprintf(NameStr(knn->table_names[i]), NAMEDATALEN, "%s%s", NameStr(model->name),
				 table_kinds[i]);
		snprintf(NameStr(knn->index_names[i]), NAMEDATALEN, "%s%s%s", NameStr(model->name),
				 table_kinds[i], SESSION_KNN_INDEX);
	}
	snprintf(NameStr(knn->key_index), NAMEDATALEN, "%s%s%s", NameStr(model->name),
			 SESSION_KNN_SESSIONS, SESSION_KNN_KEY_INDEX);
	MemoryContextSwitchTo(old);
	return knn;
}

void
session_knn_close(void *state)
{
	MemoryContextDelete(((SessionKnn *) state)->context);
}

/* NULL: the model has been dropped, and we are about to hear of it. */
static StateTable *
open_state(SessionKnn *knn, LOCKMODE lockmode)
{
	Oid			nspid = knn->host->source->nspid;
	StateTable *t;

	if (!OidIsValid(get_relname_relid(NameStr(knn->table_names[TABLE_STATE]), nspid)))
		return NULL;
	t = table_open_state(nspid, NameStr(knn->table_names[TABLE_STATE]),
						 NameStr(knn->index_names[TABLE_STATE]), lockmode);
	checked_types(t, SESSION_STATE_NCOLUMNS, session_state_types);
	return t;
}

static void
write_state(SessionKnn *knn)
{
	StateTable *t = open_state(knn, RowExclusiveLock);
	Datum		values[SESSION_STATE_NCOLUMNS];

	if (t == NULL)
		return;
	values[SESSION_STATE_SINGLETON] = BoolGetDatum(true);
	values[SESSION_STATE_NEXT] = Int32GetDatum(session_cache_next(knn->sessions));
	values[SESSION_STATE_SESSIONS] = Int32GetDatum(session_cache_listed(knn->sessions));
	values[SESSION_STATE_PAIRS] = Int64GetDatum(knn->pairs);
	table_put(t, 1, values, NULL);
	table_close_state(t, RowExclusiveLock);
	knn->changed = false;
}

/* What the tables hold, as far as it is read at once. */
static void
load(SessionKnn *knn)
{
	Oid			nspid = knn->host->source->nspid;
	StateTable *t;
	Datum		key = BoolGetDatum(true);
	TupleTableSlot *slot;
	int32		next = 1,
				nlisted = 0;

	if (knn->sessions)
		return;
	t = open_state(knn, AccessShareLock);
	slot = t ? table_get(t, GetActiveSnapshot(), 1, &key) : NULL;
	if (slot)
	{
		next = DatumGetInt32(checked_attribute(slot, SESSION_STATE_NEXT + 1));
		nlisted = DatumGetInt32(checked_attribute(slot, SESSION_STATE_SESSIONS + 1));
		knn->pairs = DatumGetInt64(checked_attribute(slot, SESSION_STATE_PAIRS + 1));
	}
	if (t)
		table_close_state(t, AccessShareLock);
	postings_init(&knn->postings, nspid, NameStr(knn->table_names[TABLE_POSTINGS]),
				  NameStr(knn->index_names[TABLE_POSTINGS]), knn->source.sample);
	knn->counts = item_counts_create(knn->context, nspid, NameStr(knn->table_names[TABLE_COUNTS]),
									 NameStr(knn->index_names[TABLE_COUNTS]));
	item_counts_load(knn->counts);
	knn->sessions = session_cache_create(knn->context, nspid,
										 NameStr(knn->table_names[TABLE_SESSIONS]),
										 NameStr(knn->index_names[TABLE_SESSIONS]),
										 NameStr(knn->key_index), &knn->source.rules, next,
										 nlisted);
}

void
session_knn_build(void *state)
{
	load(state);
}

/* --------------------------------------------------------------------- events */

static bool
type_counts(const SessionKnn *knn, const char *type)
{
	int			length = type ? (int) strlen(type) : 0;
	ListCell   *lc;

	if (type == NULL)
		return false;
	/* as it compares in SQL, and in the weights of the source */
	while (knn->blank_padded && length > 0 && type[length - 1] == ' ')
		length--;
	foreach(lc, knn->source.types)
		if (strncmp(lfirst(lc), type, length) == 0 && ((char *) lfirst(lc))[length] == '\0')
			return true;
	return false;
}

void
session_knn_event(void *state, const ConsumerEvent *e)
{
	SessionKnn *knn = state;
	int			last = (knn->source.column != NULL) + (knn->source.types != NIL) - 1;
	int64		key = e->user;

	/* an ignored event has never had an effect that could be retracted */
	if (e->event->ignored || e->user == 0 || e->item == 0)
		return;
	if (knn->source.column)
	{
		if (e->texts[0] == NULL)
			return;				/* in no session */
		key = (int64) hash_bytes_extended((const unsigned char *) e->texts[0], e->lengths[0], 0);
		if (knn->source.types != NIL && knn->host->source->type_column &&
			strcmp(knn->source.column, knn->host->source->type_column) == 0)
			last = 0;
	}
	if (knn->source.types != NIL && !type_counts(knn, e->texts[last]))
		return;
	load(knn);
	session_cache_click(knn->sessions, key, e->user, e->item, e->event->time, e->sign);
	knn->changed = true;
}

void
session_knn_forget_user(void *state, int32 user, const KeyValue *key)
{
	SessionKnn *knn = state;

	(void) key;
	if (user == 0)
		return;
	load(knn);
	session_cache_forget_user(knn->sessions, user);
	knn->changed = true;
}

void
session_knn_forget_item(void *state, int32 item)
{
	SessionKnn *knn = state;

	load(knn);
	session_cache_forget_item(knn->sessions, item);
	knn->changed = true;
}

void
session_knn_reset(void *state)
{
	SessionKnn *knn = state;

	load(knn);
	session_cache_void(knn->sessions);
	item_counts_void(knn->counts);
	knn->postings.table_void = true;
	knn->pairs = 0;
	knn->changed = true;
}

/* ---------------------------------------------------------------------- write */

static void
take_changes(void *arg, ListingChange *changes, int n)
{
	SessionKnn *knn = arg;

	for (int i = 0; i < n; i++)
	{
		int			sign = changes[i].leaves ? -1 : 1;

		if (!changes[i].counts)
			continue;
		item_counts_add(knn->counts, changes[i].item, sign);
		knn->pairs += sign;
	}
	postings_write(&knn->postings, changes, n);
}

void
session_knn_write(void *state)
{
	SessionKnn *knn = state;

	if (!knn->changed)
		return;
	/* it sees what an earlier write of this transaction has left */
	PushActiveSnapshot(GetTransactionSnapshot());
	session_cache_write(knn->sessions, take_changes, knn);
	postings_write(&knn->postings, NULL, 0);
	item_counts_write(knn->counts);
	write_state(knn);
	PopActiveSnapshot();
}

void
session_knn_evict(void *state, Size target)
{
	SessionKnn *knn = state;
	Size		rest;

	if (knn->sessions == NULL)
		return;
	rest = item_counts_bytes(knn->counts);
	session_cache_evict(knn->sessions, target > rest ? target - rest : 0);
}

Size
session_knn_memory(void *state)
{
	SessionKnn *knn = state;

	if (knn->sessions == NULL)
		return 0;
	return session_cache_bytes(knn->sessions) + item_counts_bytes(knn->counts);
}
