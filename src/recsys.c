/*
 * recsys.c
 *	  Module entry: settings, shared memory, hooks and worker registration.
 *
 * The library is loaded by shared_preload_libraries.  Loaded any other way
 * (CREATE FUNCTION in a server without it, a standby that lacks it), reading
 * works and everything that needs the workers raises a clear error.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#include "recsys.h"
#include "models/vectors.h"
#include "stream/shared.h"
#include "stream/trainings.h"

PG_MODULE_MAGIC;

int			recsys_memory_kb = 1024 * 1024;
int			recsys_publish_interval = 250;
int			recsys_flush_interval = 5000;
int			recsys_tail_limit = 200;
int			recsys_max_future = 3600;
int			recsys_max_sources = 16;
int			recsys_rejected_limit = 1000;
int			recsys_restart_delay = 1000;
int			recsys_max_training_workers = 2;
int			recsys_training_memory_kb = 2 * 1024 * 1024;
int			recsys_search_memory_mb = 4096;
int			recsys_aggregate_memory_kb = 1024 * 1024;
bool		recsys_preloaded = false;

static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;

extern PGDLLEXPORT void _PG_init(void);

static void
on_shmem_request(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	shared_request();
	trainings_request();
	vectors_request();
}

static void
on_shmem_startup(void)
{
	if (prev_shmem_startup)
		prev_shmem_startup();
	shared_startup();
	trainings_startup();
	vectors_startup();
}

static void
define_settings(void)
{
	DefineCustomIntVariable("recsys.memory",
							"Memory a source's stream worker may use for its caches and item pairs.",
							"What does not fit is read from the tables again, slower.",
							&recsys_memory_kb, 1024 * 1024, 8 * 1024, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.publish_interval",
							"Time between two publications of changed neighbours (10 to 60000 ms).",
							NULL,
							&recsys_publish_interval, 250, 10, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.flush_interval",
							"Time between two flushes of the state to its tables (10 to 600000 ms).",
							"After a crash at most this much of the stream is read again.",
							&recsys_flush_interval, 5000, 10, 600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.tail_limit",
							"Rows of a user's events that a recommendation looks at for newer ones (0 to 1000000).",
							NULL,
							&recsys_tail_limit, 200, 0, 1000000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.max_future",
							"How far ahead of now an event's time may lie before the event is rejected.",
							NULL,
							&recsys_max_future, 3600, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.max_sources",
							"Sources of the whole server that can stream (1 to 1024).",
							"Each also needs a replication slot and a background worker.",
							&recsys_max_sources, 16, 1, 1024,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.rejected_limit",
							"Rejected events kept per source in recsys.rejected_events (0 to 1000000).",
							NULL,
							&recsys_rejected_limit, 1000, 0, 1000000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.restart_delay",
							"Time until a failed stream worker is started again (10 to 60000 ms).",
							"It doubles with each failure in a row, up to 60 times this value.",
							&recsys_restart_delay, 1000, 10, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.max_training_workers",
							"Processes that one training uses (1 to 64).",
							"Each is a background worker; the first does all the work where no other is free.",
							&recsys_max_training_workers, 2, 1, TRAINING_MAX_WORKERS,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.training_memory",
							"Memory that one training may use, all its processes together.",
							"A training that needs more does not start.",
							&recsys_training_memory_kb, 2 * 1024 * 1024, 1024, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.search_memory",
							"Shared memory of the server for the item vectors of embedding models (0 to 1 PB).",
							"A model whose vectors find no room is searched in its table, slower; 0: all of them.",
							&recsys_search_memory_mb, 4096, 0, 1024 * 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("recsys.aggregate_memory",
							"Memory that an aggregate over a whole table, such as item_cosine(), may use for a group in a process.",
							"A statement that needs more fails.",
							&recsys_aggregate_memory_kb, 1024 * 1024, 64, INT_MAX,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	MarkGUCPrefixReserved("recsys");
}

void
_PG_init(void)
{
	/* recsys.max_sources can only be defined while the server starts. */
	if (!process_shared_preload_libraries_in_progress)
		return;

	define_settings();
	recsys_preloaded = true;
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = on_shmem_request;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = on_shmem_startup;
	launcher_register();
	wake_install_hooks();
}
