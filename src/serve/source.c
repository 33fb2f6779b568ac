/*
 * source.c
 *	  Beginning and end of a call: which source the function belongs to, which
 *	  model it is to ask, and what the session remembers of them.
 *
 * A function of a source finds it by its own schema.  Reading a source and
 * its models costs more than a short recommendation, so each session keeps
 * them.  Invalidation messages do not exist for rows of recsys.source and
 * recsys.model, and could not tell a repeatable-read reader what it may see;
 * so every call reads the rows under its own snapshot and compares their
 * identities (place, transaction, command).  The same rows mean the same
 * declaration.  What depends on columns and indexes of the events table
 * besides is watched by relation cache invalidation, which marks the entry as
 * stale.
 *
 * An entry is only rebuilt in serve_begin().  No call runs code of users
 * while it holds one (popular_since() is done with it before it starts its
 * query), so nobody stands on an entry that is thrown away.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "serve/serve.h"

/* Which version of a row a snapshot sees. */
typedef struct RowVersion
{
	ItemPointerData tid;
	TransactionId xmin;
	CommandId	command;
} RowVersion;

static List *served_sources = NIL;	/* of ServedSource *, a handful */
static MemoryContext served_context = NULL;

/* ---------------------------------------------------------- invalidation */

static void
on_relation_change(Datum arg pg_attribute_unused(), Oid relid)
{
	ListCell   *lc;

	foreach(lc, served_sources)
	{
		ServedSource *served = lfirst(lc);

		if (!OidIsValid(relid))
			served->stale = true;
		for (int i = 0; i < served->nwatched && !served->stale; i++)
			if (served->watched[i] == relid)
				served->stale = true;
	}
}

void
served_watch(ServedSource *served, Oid relid)
{
	MemoryContext old;

	for (int i = 0; i < served->nwatched; i++)
		if (served->watched[i] == relid)
			return;
	old = MemoryContextSwitchTo(served->context);
	if (served->watched == NULL)
		served->watched = palloc(sizeof(Oid));
	else
		served->watched = repalloc(served->watched,
								   sizeof(Oid) * (served->nwatched + 1));
	served->watched[served->nwatched++] = relid;
	MemoryContextSwitchTo(old);
}

/* --------------------------------------------------------------- entries */

static void
collect_version(TupleTableSlot *slot, List **rows)
{
	RowVersion *row = palloc(sizeof(RowVersion));
	bool		isnull;

	row->tid = slot->tts_tid;
	row->xmin = DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
	row->command = DatumGetCommandId(slot_getsysattr(slot, MinCommandIdAttributeNumber, &isnull));
	*rows = lappend(*rows, row);
}

/* Versions of the row of the source and of its models' that snapshot sees. */
static List *
declared_rows(int32 source_id, Snapshot snapshot)
{
	Oid			nspid = get_namespace_oid("recsys", false);
	StateTable *sources = table_open_state(nspid, "source", "source_pkey", AccessShareLock);
	StateTable *models = table_open_state(nspid, "model", "model_source_id_name_key", AccessShareLock);
	Datum		key = Int32GetDatum(source_id);
	List	   *rows = NIL;
	TupleTableSlot *slot;

	slot = table_get(sources, snapshot, 1, &key);
	if (slot)
		collect_version(slot, &rows);
	for (slot = table_get(models, snapshot, 1, &key); slot; slot = table_get_next(models))
		collect_version(slot, &rows);
	table_close_state(models, AccessShareLock);
	table_close_state(sources, AccessShareLock);
	return rows;
}

static bool
same_rows(List *a, List *b)
{
	ListCell   *lca,
			   *lcb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(lca, a, lcb, b)
	{
		RowVersion *ra = lfirst(lca),
				   *rb = lfirst(lcb);

		if (!ItemPointerEquals(&ra->tid, &rb->tid) || ra->xmin != rb->xmin ||
			ra->command != rb->command)
			return false;
	}
	return true;
}

static ServedSource *
find_served(Oid nspid)
{
	ListCell   *lc;

	foreach(lc, served_sources)
	{
		ServedSource *served = lfirst(lc);

		if (served->nspid == nspid)
			return served;
	}
	return NULL;
}

static void
forget_served(ServedSource *served)
{
	served_sources = list_delete_ptr(served_sources, served);
	MemoryContextDelete(served->context);
}

/* Entries of schemas that are gone. */
static void
sweep_served(void)
{
	for (int i = list_length(served_sources) - 1; i >= 0; i--)
	{
		ServedSource *served = list_nth(served_sources, i);

		if (!SearchSysCacheExists1(NAMESPACEOID, ObjectIdGetDatum(served->nspid)))
			forget_served(served);
	}
}

static void
ensure_context(void)
{
	if (served_context)
		return;
	CacheRegisterRelcacheCallback(on_relation_change, (Datum) 0);
	served_context = AllocSetContextCreate(CacheMemoryContext, "recsys sources",
										   ALLOCSET_SMALL_SIZES);
}

/*
 * The source is read twice: the first time to know which table to watch, the
 * second time watched, so that no change of that table goes unnoticed.  An
 * error on the way leaves an entry without rows, which matches nothing.
 */
static ServedSource *
build_served(Oid nspid, Snapshot snapshot)
{
	MemoryContext context,
				old;
	ServedSource *served;

	ensure_context();
	sweep_served();
	context = AllocSetContextCreate(served_context, "recsys source", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	served = palloc0(sizeof(ServedSource));
	served->nspid = nspid;
	served->context = context;
	served->stale = true;
	MemoryContextSwitchTo(served_context);
	served_sources = lappend(served_sources, served);

	MemoryContextSwitchTo(context);
	served->source = catalog_source_by_schema(nspid, false);
	served_watch(served, served->source->events);
	served->stale = false;
	served->source = catalog_source_by_schema(nspid, false);
	served->models = catalog_models(served->source->id);
	served->rows = declared_rows(served->source->id, snapshot);
	MemoryContextSwitchTo(old);
	return served;
}

static ServedSource *
lookup_served(Oid nspid, Snapshot snapshot)
{
	ServedSource *served = find_served(nspid);

	if (served)
	{
		/* an invalidation may arrive while the rows' tables are opened */
		if (!served->stale &&
			same_rows(served->rows, declared_rows(served->source->id, snapshot)) &&
			!served->stale)
			return served;
		forget_served(served);
	}
	return build_served(nspid, snapshot);
}

/* ----------------------------------------------------------------- calls */

static double
decay_to_now(ServeContext *cx, int32 landmark)
{
	ServeCall  *call = (ServeCall *) ((char *) cx - offsetof(ServeCall, cx));

	return decay_factor(call, landmark, call->now);
}

void
serve_begin(ServeCall *call, FunctionCallInfo fcinfo)
{
	Form_pg_proc proc;

	memset(call, 0, sizeof(ServeCall));
	call->fcinfo = fcinfo;
	call->caller = CurrentMemoryContext;
	call->context = AllocSetContextCreate(CurrentMemoryContext, "recsys call",
										  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(call->context);
	call->snapshot = GetActiveSnapshot();
	call->now = GetCurrentTransactionStartTimestamp();

	call->proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	if (!HeapTupleIsValid(call->proc))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	proc = (Form_pg_proc) GETSTRUCT(call->proc);
	call->argtypes = &proc->proargtypes;

	call->served = lookup_served(proc->pronamespace, call->snapshot);
	call->source = call->served->source;
	call->cx.source = call->source;
	call->cx.snapshot = call->snapshot;
	call->cx.now = call->now;
	call->cx.decay = decay_to_now;
}

/* The stream worker's way: what it knows of the source, the active snapshot. */
void
serve_begin_inside(ServeCall *call, const RecsysSource *source, List *models, TimestampTz now)
{
	memset(call, 0, sizeof(ServeCall));
	call->caller = CurrentMemoryContext;
	call->context = AllocSetContextCreate(CurrentMemoryContext, "recsys call",
										  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(call->context);
	call->snapshot = GetActiveSnapshot();
	call->now = now;
	call->served = palloc0(sizeof(ServedSource));
	call->served->models = models;
	call->source = source;
	call->cx.source = source;
	call->cx.snapshot = call->snapshot;
	call->cx.now = now;
	call->cx.decay = decay_to_now;
}

void
serve_end(ServeCall *call)
{
	if (call->users)
		checked_close(call->users);
	if (call->users_by_key)
		checked_close(call->users_by_key);
	if (call->items)
		checked_close(call->items);
	if (call->items_by_key)
		checked_close(call->items_by_key);
	if (call->proc)
		ReleaseSysCache(call->proc);
	MemoryContextSwitchTo(call->caller);
	MemoryContextDelete(call->context);
}

/* NULL if there is none. */
static const RecsysModel *
find_model(ServeCall *call, const char *name)
{
	ListCell   *lc;

	foreach(lc, call->served->models)
	{
		const RecsysModel *model = lfirst(lc);

		if (name ? strcmp(NameStr(model->name), name) == 0 : model->is_default)
			return model;
	}
	return NULL;
}

void
serve_take_model(ServeCall *call, const RecsysModel *model)
{
	call->model = model;
	call->cx.model = model;
	call->algorithm = NULL;
	if (model && model->state == MODEL_READY)
		call->algorithm = model_algorithm(model->algorithm);
}

const RecsysModel *
serve_fallback(ServeCall *call, int32 after)
{
	const RecsysModel *next = NULL;
	ListCell   *lc;

	foreach(lc, call->served->models)
	{
		const RecsysModel *model = lfirst(lc);

		if (model->fallback > after && (next == NULL || model->fallback < next->fallback))
			next = model;
	}
	return next;
}

static void
use_model(ServeCall *call, int argno, int user_argno)
{
	const char *name = NULL;
	const RecsysModel *model;

	if (!call->fcinfo->args[argno].isnull)
		name = NameStr(*DatumGetName(call->fcinfo->args[argno].value));
	model = find_model(call, name);
	if (model == NULL && name && serve_experiment(call, name, user_argno, &name))
		model = find_model(call, name);
	if (model == NULL && name)
		model = catalog_model(call->source, name);	/* raises the error */
	serve_take_model(call, model);
}

void
serve_use_model(ServeCall *call, int argno)
{
	use_model(call, argno, -1);
}

void
serve_use_model_for_user(ServeCall *call, int argno)
{
	use_model(call, argno, 0);
}

void
serve_check_may_read(const RecsysSource *source)
{
	char	   *role;

	if (pg_class_aclcheck(source->events, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	role = GetUserNameFromId(GetUserId(), false);
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("role \"%s\" may not read \"%s\", the events of source \"%s\"",
				   role, get_rel_name(source->events), NameStr(source->name)),
			errhint("GRANT SELECT ON %s TO %s;",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(source->events)),
											   get_rel_name(source->events)),
					quote_identifier(role)));
}

int
serve_rows_wanted(ServeCall *call, int argno, const char *name, int otherwise)
{
	int32		rows;

	if (call->fcinfo->args[argno].isnull)
		return otherwise;
	rows = DatumGetInt32(call->fcinfo->args[argno].value);
	if (rows <= 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s must be positive, not %d", name, rows),
				errhint("Pass the number of rows wanted, for example %s => 10.", name));
	return rows;
}

/* ----------------------------------------------------------------- state */

#define STATE_XIDS		3
#define STATE_SYSTEM	4
#define STATE_DATABASE	5
#define STATE_LANDMARK	9
#define STATE_FLUSHED	13
#define STATE_RESYNCS	14

static const Oid state_types[] = {
	BOOLOID, PG_LSNOID, INT8ARRAYOID, INT8OID, OIDOID, NAMEOID, INT4OID, INT4OID,
	INT4OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID
};

static void
take_state(ServeCall *call, TupleTableSlot *slot)
{
	call->has_state = true;
	call->applied = xidset_from_array(checked_attribute(slot, STATE_XIDS));
	call->foreign_state =
		DatumGetInt64(checked_attribute(slot, STATE_SYSTEM)) != (int64) GetSystemIdentifier() ||
		DatumGetObjectId(checked_attribute(slot, STATE_DATABASE)) != MyDatabaseId;
	call->landmark = DatumGetInt32(checked_attribute(slot, STATE_LANDMARK));
	call->flushed_at = DatumGetTimestampTz(checked_attribute(slot, STATE_FLUSHED));
	call->old_decay =
		DatumGetInt32(checked_attribute(slot, STATE_RESYNCS)) != call->source->resyncs;
}

/* The source's state row: until the backfill is done there is none. */
void
serve_read_state(ServeCall *call)
{
	StateTable *state;
	TupleTableSlot *slot;
	Datum		key = BoolGetDatum(true);

	if (call->state_read)
		return;
	call->state_read = true;
	call->flushed_at = call->now;
	state = checked_open(call->source, "state", "state_pkey", 1,
						 lengthof(state_types), state_types);
	slot = table_get(state, call->snapshot, 1, &key);
	if (slot)
		take_state(call, slot);
	checked_close(state);
}
