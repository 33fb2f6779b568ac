/*
 * resources.c
 *	  What the server must have before a source is accepted: the library
 *	  preloaded, logical WAL, a replication slot and a background worker.
 *
 * Nothing is reserved: the worker takes its slot after commit.  When something
 * is taken in between, the source waits and its status says so.  Shared memory
 * is read without its lock, a count that is off by one for a moment is no
 * worse than that.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "replication/slot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "catalog/internal.h"
#include "recsys.h"
#include "stream/shared.h"

static const char *
wal_level_name(void)
{
	switch (wal_level)
	{
		case WAL_LEVEL_MINIMAL:
			return "minimal";
		case WAL_LEVEL_REPLICA:
			return "replica";
		default:
			return "logical";
	}
}

/* The statement that adds us to what is preloaded; others may not see that. */
static char *
preload_statement(void)
{
	const char *old = superuser() ? shared_preload_libraries_string : NULL;
	StringInfoData list;

	initStringInfo(&list);
	if (old != NULL && old[0] != '\0')
	{
		List	   *names = NIL;
		ListCell   *lc;

		if (SplitDirectoriesString(pstrdup(old), ',', &names))
			foreach(lc, names)
				appendStringInfo(&list, "%s, ", quote_literal_cstr(lfirst(lc)));
	}
	appendStringInfoString(&list, "'recsys'");
	return psprintf("ALTER SYSTEM SET shared_preload_libraries = %s;", list.data);
}

void
check_server(void)
{
	if (!recsys_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("recsys is not in shared_preload_libraries"),
				 errhint("%s then restart the server.", preload_statement())));
	if (wal_level < WAL_LEVEL_LOGICAL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("wal_level is \"%s\", but recsys reads events by logical decoding",
						wal_level_name()),
				 errhint("ALTER SYSTEM SET wal_level = logical; then restart the server.")));
}

/*
 * What counts: every source of this database needs one of each, whether it has
 * it already or not, and keeps none after it was dropped (its worker is about
 * to let go, also if that happened in this transaction).
 */
typedef struct Needs
{
	List	   *ids;			/* of the sources of this database */
	int			waiting;		/* of those, without the worker that they want */
} Needs;

static Needs
count_needs(void)
{
	Needs		needs = {NIL, 0};
	ListCell   *lc;

	foreach(lc, store_read(ALL_SOURCES, (Datum) 0, NULL))
	{
		CatalogRow *row = lfirst(lc);
		int32		id = DatumGetInt32(row->values[SOURCE_ID]);
		SourceShared *shared = shared_find(MyDatabaseId, id);

		needs.ids = lappend_int(needs.ids, id);
		if (!DatumGetBool(row->values[SOURCE_PAUSED_FLAG]) &&
			(shared == NULL || (shared->pid == 0 && !shared->starting)))
			needs.waiting++;
	}
	return needs;
}

/* Slots that are not those of this database's sources, past or present. */
static int
other_slots(void)
{
	char	   *ours = psprintf("recsys_%u_", MyDatabaseId);
	int			used = 0;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		if (slot->in_use && strncmp(NameStr(slot->data.name), ours, strlen(ours)) != 0)
			used++;
	}
	LWLockRelease(ReplicationSlotControlLock);
	return used;
}

/* Sources of other databases. */
static int
other_sources(void)
{
	int			used = 0;

	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *shared = shared_entry(i);

		if (shared->in_use && shared->dboid != MyDatabaseId)
			used++;
	}
	return used;
}

/* Free workers, and those that serve sources which were dropped. */
static int
available_workers(const Needs *needs)
{
	int			available = shared_free_workers();

	for (int i = 0; i < recsys_max_sources; i++)
	{
		SourceShared *shared = shared_entry(i);

		if (shared->in_use && shared->dboid == MyDatabaseId && shared->pid != 0 &&
			!list_member_int(needs->ids, shared->source_id))
			available++;
	}
	return available;
}

/* Error unless there is room for one more source. */
void
check_resources(void)
{
	Needs		needs = count_needs();

	if (other_slots() + list_length(needs.ids) >= max_replication_slots)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("all %d replication slots are in use or promised to other sources",
						max_replication_slots),
				 errhint("ALTER SYSTEM SET max_replication_slots = %d; then restart the server.",
						 max_replication_slots + 10)));
	if (other_sources() + list_length(needs.ids) >= recsys_max_sources)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("this server has its %d sources already", recsys_max_sources),
				 errhint("ALTER SYSTEM SET recsys.max_sources = %d; then restart the server.",
						 Min(2 * recsys_max_sources, 1024))));
	if (available_workers(&needs) <= needs.waiting)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("all %d background workers are in use or promised to other sources",
						max_worker_processes),
				 errhint("ALTER SYSTEM SET max_worker_processes = %d; then restart the server.",
						 max_worker_processes + 8)));
}
