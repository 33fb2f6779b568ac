/*
 * resources.c
 *	  What the server must have before a source is accepted: the library
 *	  preloaded, logical WAL, a replication slot and a background worker.
 *
 * Nothing is reserved: the worker takes its slot after commit, and until then
 * sources of this database that still lack theirs are counted as well.  When
 * something is taken in between, the source waits and its status says so.
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

static int
used_slots(void)
{
	int			used = 0;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
		if (ReplicationSlotCtl->replication_slots[i].in_use)
			used++;
	LWLockRelease(ReplicationSlotControlLock);
	return used;
}

static int
used_entries(void)
{
	int			used = 0;

	for (int i = 0; i < recsys_max_sources; i++)
		if (shared_entry(i)->in_use)
			used++;
	return used;
}

/* What the sources of this database that exist already are still waiting for. */
static void
count_waiting(int *slots, int *workers, int *entries)
{
	ListCell   *lc;

	*slots = *workers = *entries = 0;
	foreach(lc, store_read(ALL_SOURCES, (Datum) 0, NULL))
	{
		CatalogRow *row = lfirst(lc);
		int32		id = DatumGetInt32(row->values[SOURCE_ID - 1]);
		SourceShared *shared = shared_find(MyDatabaseId, id);
		char		slot[NAMEDATALEN];

		catalog_slot_name(id, slot);
		if (SearchNamedReplicationSlot(slot, true) == NULL)
			(*slots)++;
		if (shared == NULL)
			(*entries)++;
		if (!DatumGetBool(row->values[SOURCE_PAUSED_FLAG - 1]) &&
			(shared == NULL || shared->pid == 0))
			(*workers)++;
	}
}

/* Error unless there is room for one more source. */
void
check_resources(void)
{
	int			slots,
				workers,
				entries;

	count_waiting(&slots, &workers, &entries);
	if (used_slots() + slots >= max_replication_slots)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("all %d replication slots are in use or promised to other sources",
						max_replication_slots),
				 errhint("ALTER SYSTEM SET max_replication_slots = %d; then restart the server.",
						 Max(2 * max_replication_slots, max_replication_slots + 10))));
	if (used_entries() + entries >= recsys_max_sources)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("this server has its %d sources already", recsys_max_sources),
				 errhint("ALTER SYSTEM SET recsys.max_sources = %d; then restart the server.",
						 Min(2 * recsys_max_sources, 1024))));
	if (shared_free_workers() <= workers)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("all %d background workers are in use or promised to other sources",
						max_worker_processes),
				 errhint("ALTER SYSTEM SET max_worker_processes = %d; then restart the server.",
						 max_worker_processes + 8)));
}
