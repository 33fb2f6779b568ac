/*
 * users.c
 *	  Dictionary of users: a write-back cache over the table "users".
 *
 * While all keys fit into memory, a key that is not found is new.  Once keys
 * have been evicted, it is looked up in the table first.  New users are kept
 * in order of their numbers until they are written.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "state/table.h"
#include "state/users.h"

enum
{
	COL_ID, COL_KEY, NCOLUMNS
};

Users *
users_create(MemoryContext parent, Oid nspid, const KeyColumn *column)
{
	Users	   *users = MemoryContextAllocZero(parent, sizeof(Users));

	users->context = AllocSetContextCreate(parent, "recsys users", ALLOCSET_DEFAULT_SIZES);
	users->nspid = nspid;
	users->keys = keymap_create(users->context, column);
	users->next = users->first_new = 1;
	return users;
}

void
users_begin(Users *users)
{
	users->reader = NULL;
}

void
users_end(Users *users)
{
	if (users->reader)
		table_close_state(users->reader, AccessShareLock);
	users->reader = NULL;
}

/* All keys of the table, as long as they fit. */
void
users_load_all(Users *users, Size limit)
{
	StateTable *t = table_open_state(users->nspid, "users", NULL, AccessShareLock);
	TableScanDesc scan = table_beginscan(t->rel, GetActiveSnapshot(), 0, NULL);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys user keys",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);

	users->complete = true;
	while (table_scan_getnextslot(scan, ForwardScanDirection, t->slot))
	{
		int32		user;
		KeyValue	key;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(scratch);
		slot_getallattrs(t->slot);
		user = DatumGetInt32(t->slot->tts_values[COL_ID]);
		users->next = Max(users->next, user + 1);
		if (!users->complete)
			continue;
		key = key_from_datum(users->keys->column, t->slot->tts_values[COL_KEY]);
		keymap_put(users->keys, &key, user);
		if (users->keys->bytes > limit)
		{
			/* go on for the largest number only */
			keymap_reset(users->keys);
			users->complete = false;
		}
	}
	users->first_new = users->next;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	table_endscan(scan);
	table_close_state(t, AccessShareLock);
}

/* The reader lasts as long as the transaction. */
static void
open_reader(Users *users)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	users->reader = table_open_state(users->nspid, "users", "users_key_key", AccessShareLock);
	MemoryContextSwitchTo(old);
}

int32
users_find(Users *users, const KeyValue *key)
{
	int32		user = keymap_get(users->keys, key);
	Datum		datum;
	TupleTableSlot *slot;

	if (user != 0 || users->complete)
		return user;
	if (users->reader == NULL)
		open_reader(users);
	datum = key_to_datum(users->keys->column, key);
	slot = table_get(users->reader, GetActiveSnapshot(), 1, &datum);
	if (slot == NULL)
		return 0;
	slot_getallattrs(slot);
	user = DatumGetInt32(slot->tts_values[COL_ID]);
	keymap_put(users->keys, key, user);
	return user;
}

int32
users_get(Users *users, const KeyValue *key)
{
	int32		user = users_find(users, key);

	if (user != 0)
		return user;
	if (users->next == INT32_MAX)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("too many users: number %d", users->next));
	user = users->next++;
	if (users->nnew == users->maxnew)
	{
		int32		max = Max(1024, users->maxnew * 2);

		users->newkeys = users->newkeys ?
			repalloc_huge(users->newkeys, sizeof(StoredKey) * (Size) max) :
			MemoryContextAlloc(users->context, sizeof(StoredKey) * max);
		users->newgone = users->newgone ?
			repalloc_huge(users->newgone, sizeof(bool) * (Size) max) :
			MemoryContextAlloc(users->context, sizeof(bool) * max);
		users->maxnew = max;
	}
	users->newgone[users->nnew] = false;
	users->newkeys[users->nnew++] = keymap_put(users->keys, key, user);
	return user;
}

void
users_write(Users *users)
{
	StateTable *t;
	MemoryContext scratch,
				old;

	if (users->nnew == 0)
		return;
	t = table_open_state(users->nspid, "users", NULL, RowExclusiveLock);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys rows", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	for (int32 i = 0; i < users->nnew; i++)
	{
		KeyValue	key = keymap_value(users->keys, users->newkeys[i]);
		Datum		values[NCOLUMNS];

		CHECK_FOR_INTERRUPTS();
		if (users->newgone[i])
			continue;
		values[COL_ID] = Int32GetDatum(users->first_new + i);
		values[COL_KEY] = key_to_datum(users->keys->column, &key);
		table_insert(t, values, NULL);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	table_close_state(t, RowExclusiveLock);
	users->nnew = 0;
	users->first_new = users->next;
}

/* Right after a write: all keys go, those in use come back one by one. */
void
users_evict(Users *users, Size target)
{
	if (users->keys->bytes <= target || users->nnew > 0)
		return;
	keymap_reset(users->keys);
	users->complete = false;
}

/* The number stays retired. */
void
users_forget(Users *users, const KeyValue *key, int32 user)
{
	keymap_remove(users->keys, key);
	if (user >= users->first_new)
		users->newgone[user - users->first_new] = true;
	else
	{
		StateTable *t = table_open_state(users->nspid, "users", "users_pkey", RowExclusiveLock);
		Datum		id = Int32GetDatum(user);

		table_delete(t, 1, &id);
		table_close_state(t, RowExclusiveLock);
	}
}
