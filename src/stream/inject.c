/*
 * inject.c
 *	  recsys.inject_crash(): has the worker of a source killed at a named step;
 *	  recsys.inject_wait(): has it wait there.  For the developers' tests;
 *	  superusers only.
 */
#include "postgres.h"

#include "catalog/catalog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "stream/shared.h"
#include "utils/builtins.h"

static const char *const step_names[INJECT_NSTEPS] = {
	[INJECT_SLOT_CREATE] = "slot_create",
	[INJECT_SLOT_PERSIST] = "slot_persist",
	[INJECT_BACKFILL] = "backfill",
	[INJECT_APPLY] = "apply",
	[INJECT_PUBLISH] = "publish",
	[INJECT_FLUSH] = "flush",
	[INJECT_CONFIRM] = "confirm",
	[INJECT_RESYNC] = "resync",
	[INJECT_CONSUMER] = "consumer",
	[INJECT_TRAIN] = "train",
	[INJECT_TRAIN_HELPER] = "train_helper",
	[INJECT_SWAP] = "swap"
};

static InjectionStep
step_of_name(const char *name)
{
	for (int i = 0; i < INJECT_NSTEPS; i++)
	{
		if (strcmp(name, step_names[i]) == 0)
			return (InjectionStep) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown step \"%s\"", name),
			 errhint("Use slot_create, slot_persist, backfill, apply, publish, flush, confirm, resync, consumer, train, train_helper or swap.")));
}

static SourceShared *
entry_of_source(const char *name)
{
	SourceShared *s;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to disturb a worker")));
	s = shared_find(MyDatabaseId, catalog_source_by_name(name, false)->id);
	if (s == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" is not known to the launcher yet", name),
				 errhint("COMMIT its creation and try again.")));
	return s;
}

PG_FUNCTION_INFO_V1(recsys_inject_crash);

/* recsys.inject_crash(source name, step text, passes int) returns void */
Datum
recsys_inject_crash(PG_FUNCTION_ARGS)
{
	InjectionStep step = step_of_name(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	int32		passes = PG_GETARG_INT32(2);
	SourceShared *s = entry_of_source(NameStr(*PG_GETARG_NAME(0)));

	if (passes < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("passes must not be negative, but is %d", passes),
				 errhint("Use 1 for the next pass, 0 to switch it off.")));
	pg_atomic_write_u32(&s->inject[step], (uint32) passes);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(recsys_inject_wait);

/* recsys.inject_wait(source name, step text, waits boolean) returns void */
Datum
recsys_inject_wait(PG_FUNCTION_ARGS)
{
	InjectionStep step = step_of_name(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	SourceShared *s = entry_of_source(NameStr(*PG_GETARG_NAME(0)));

	pg_atomic_write_u32(&s->inject_wait[step], PG_GETARG_BOOL(2) ? 1 : 0);
	PG_RETURN_VOID();
}
