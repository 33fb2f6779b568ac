/*
 * scout.c
 *	  A short-lived worker in one database: brings the entries of shared memory
 *	  in line with recsys.source, and clears away what has no row any more.
 *
 * The launcher never runs two scouts in one database, and starts stream
 * workers only for entries that a scout has made.  So a slot that belongs to
 * no row which this scout sees belongs to a source that is gone: a row that it
 * does not see yet (not committed) can't have a worker, hence no slot.
 *
 * The worker of a dropped source is terminated, its slot dropped and only then
 * its entry freed, so that a crash in between leaves either the entry or, after
 * a restart, the slot's name to tell what remains to be done.  Whatever can't
 * be done now makes the scout end without "done", and the launcher sends
 * another one later.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/catalog.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "recsys.h"
#include "replication/slot.h"
#include "models/vectors.h"
#include "storage/ipc.h"
#include "stream/launcher.h"
#include "stream/shared.h"
#include "stream/trainings.h"
#include "tcop/tcopprot.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Longest wait for the worker of a dropped source. */
#define GONE_TIMEOUT_MS 30000

/* The output plugin of our slots. */
#define PLUGIN_NAME "recsys"

static ScoutSlot *my_slot;

static void
release_slot(int code, Datum arg)
{
	(void) code;
	(void) arg;
	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	my_slot->pid = 0;
	LWLockRelease(shared_control->lock);
	shared_wake_launcher();
}

/* Ends the process where the place is free or another scout's. */
static void
take_slot(int index)
{
	bool		mine;

	my_slot = &shared_control->scouts[index];
	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	mine = OidIsValid(my_slot->dboid) && my_slot->pid == 0;
	if (mine)
		my_slot->pid = MyProcPid;
	LWLockRelease(shared_control->lock);
	if (!mine)
		proc_exit(0);
	on_shmem_exit(release_slot, (Datum) 0);
}

/* --------------------------------------------------------------- entries */

static bool
slot_exists(const char *name)
{
	return SearchNamedReplicationSlot(name, true) != NULL;
}

/* The declared side of an entry.  The caller holds the lock exclusively. */
static void
update_entry(SourceShared *s, const RecsysSource *source)
{
	s->name = source->name;
	s->events = source->events;
	s->paused = source->paused;
	s->dropped = false;
	if (s->wanted && source->paused)
		s->unwanted_since = GetCurrentTimestamp();
	s->wanted = !source->paused;
	/* a declaration of this database changed, perhaps to mend what failed */
	s->start_after = 0;
	SpinLockAcquire(&s->mutex);
	s->models_dirty = true;
	SpinLockRelease(&s->mutex);
	shared_wake(s);
	ConditionVariableBroadcast(&s->changed);
}

static void
drop_entry(SourceShared *s)
{
	s->wanted = false;
	s->dropped = true;
	s->unwanted_since = GetCurrentTimestamp();
	if (s->pid != 0)
		kill(s->pid, SIGTERM);
	ConditionVariableBroadcast(&s->changed);
}

static const RecsysSource *
find_source(List *sources, int32 id)
{
	ListCell   *lc;

	foreach(lc, sources)
	{
		const RecsysSource *source = lfirst(lc);

		if (source->id == id)
			return source;
	}
	return NULL;
}

/* False if there is no room for some source. */
static bool
reconcile(List *sources)
{
	bool		complete = true;
	ListCell   *lc;

	LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *s = shared_entry(i);

		if (s->in_use && s->dboid == MyDatabaseId &&
			find_source(sources, s->source_id) == NULL)
			drop_entry(s);
	}
	foreach(lc, sources)
	{
		const RecsysSource *source = lfirst(lc);
		SourceShared *s = shared_lookup(MyDatabaseId, source->id);
		bool		is_new = (s == NULL);

		if (is_new)
			s = shared_allocate(MyDatabaseId, source->id);
		if (s == NULL)
		{
			complete = false;
			continue;
		}
		update_entry(s, source);
		if (is_new)
		{
			char		name[NAMEDATALEN];

			catalog_slot_name(source->id, name);
			if (slot_exists(name))
				s->state = SOURCE_STOPPED;
		}
	}
	if (!complete)
		shared_control->no_room = true;
	pg_atomic_fetch_add_u32(&shared_control->generation, 1);
	LWLockRelease(shared_control->lock);
	return complete;
}

/* ---------------------------------------------------------- clearing away */

/* False if a process still uses it. */
static bool
drop_slot(const char *name)
{
	ReplicationSlot *slot = SearchNamedReplicationSlot(name, true);
	pid_t		active;

	if (slot == NULL)
		return true;
	SpinLockAcquire(&slot->mutex);
	active = slot->active_pid;
	SpinLockRelease(&slot->mutex);
	if (active != 0)
		return false;
	ReplicationSlotDrop(name, true);
	return true;
}

/* Slots and entries of the sources that have been dropped. */
static bool
clear_dropped(void)
{
	bool		complete = true;

	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *s = shared_entry(i);
		char		name[NAMEDATALEN];
		bool		dropped;

		LWLockAcquire(shared_control->lock, LW_SHARED);
		dropped = s->in_use && s->dboid == MyDatabaseId && s->dropped;
		LWLockRelease(shared_control->lock);
		if (!dropped)
			continue;

		catalog_slot_name(s->source_id, name);
		if (!shared_wait_gone(s, GONE_TIMEOUT_MS) || !drop_slot(name))
		{
			complete = false;
			continue;
		}
		LWLockAcquire(shared_control->lock, LW_EXCLUSIVE);
		shared_free(s);
		LWLockRelease(shared_control->lock);
	}
	return complete;
}

/* Is this a persistent slot of ours, in this database? */
static bool
is_our_slot(ReplicationSlot *slot, char *name)
{
	bool		ours;

	SpinLockAcquire(&slot->mutex);
	ours = slot->in_use && slot->data.database == MyDatabaseId &&
		slot->data.persistency == RS_PERSISTENT &&
		strcmp(NameStr(slot->data.plugin), PLUGIN_NAME) == 0;
	strlcpy(name, NameStr(slot->data.name), NAMEDATALEN);
	SpinLockRelease(&slot->mutex);
	return ours;
}

/* Slots that no row stands for, e.g. after DROP EXTENSION and a crash. */
static bool
drop_orphan_slots(List *sources)
{
	List	   *orphans = NIL;
	ListCell   *lc;
	bool		complete = true;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		char		name[NAMEDATALEN];

		if (is_our_slot(&ReplicationSlotCtl->replication_slots[i], name))
			orphans = lappend(orphans, pstrdup(name));
	}
	LWLockRelease(ReplicationSlotControlLock);

	foreach(lc, sources)
	{
		char		name[NAMEDATALEN];
		ListCell   *olc;

		catalog_slot_name(((RecsysSource *) lfirst(lc))->id, name);
		foreach(olc, orphans)
		{
			if (strcmp(lfirst(olc), name) == 0)
				orphans = foreach_delete_current(orphans, olc);
		}
	}
	foreach(lc, orphans)
	{
		ereport(LOG,
				(errmsg("dropping replication slot \"%s\", whose recsys source is gone",
						(char *) lfirst(lc))));
		complete &= drop_slot(lfirst(lc));
	}
	return complete;
}

/* Ids of the models of all sources. */
static List *
model_ids(List *sources)
{
	List	   *ids = NIL;
	ListCell   *source;
	ListCell   *model;

	foreach(source, sources)
	{
		foreach(model, catalog_models(((RecsysSource *) lfirst(source))->id))
			ids = lappend_int(ids, ((RecsysModel *) lfirst(model))->id);
	}
	return ids;
}

/* -------------------------------------------------------------------- main */

static void
warn_no_room(void)
{
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("more recsys sources than recsys.max_sources allows, %d",
					recsys_max_sources),
			 errhint("Raise recsys.max_sources in postgresql.conf, then restart the server.")));
}

void
recsys_scout_main(Datum arg)
{
	List	   *sources = NIL;
	List	   *models;
	bool		complete;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	take_slot(DatumGetInt32(arg));
	BackgroundWorkerInitializeConnectionByOid(my_slot->dboid, InvalidOid, 0);

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "looking for recsys sources");
	if (catalog_extension_exists())
		sources = catalog_sources();
	models = model_ids(sources);
	PopActiveSnapshot();

	if (!reconcile(sources))
		warn_no_room();
	trainings_reconcile();
	vectors_keep_models(models);
	shared_wake_launcher();
	complete = clear_dropped();
	complete &= drop_orphan_slots(sources);
	CommitTransactionCommand();

	my_slot->done = complete;
	proc_exit(0);
}

PG_FUNCTION_INFO_V1(recsys_notify_launcher);

/* Statement trigger on the catalogue tables; see stream.sql. */
Datum
recsys_notify_launcher(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("notify_launcher() was not called as a trigger")));
	shared_notify_at_commit();
	PG_RETURN_POINTER(NULL);
}
