/*
 * users.h
 *	  The users of a source: a write-back cache over the table "users".
 */
#ifndef RECSYS_USERS_H
#define RECSYS_USERS_H

#include "postgres.h"

#include "state/keys.h"

typedef struct Users
{
	MemoryContext context;
	Oid			nspid;
	KeyMap	   *keys;			/* what is in memory */
	bool		complete;		/* it is all of the table, and the new ones */
	int32		next;			/* next number to be given */
	int32		nnew;			/* not stored yet: first_new .. next - 1 */
	int32		first_new;
	int32		maxnew;
	StoredKey  *newkeys;		/* of those, in order */
	bool	   *newgone;		/* forgotten before they were stored */
	struct StateTable *reader;
} Users;

extern Users *users_create(MemoryContext parent, Oid nspid, const KeyColumn *column);
extern void users_load_all(Users *users, Size limit);
extern int32 users_find(Users *users, const KeyValue *key);	/* 0 if unknown */
extern int32 users_get(Users *users, const KeyValue *key);	/* new number if unknown */
extern void users_begin(Users *users);
extern void users_end(Users *users);
extern void users_write(Users *users);
extern void users_evict(Users *users, Size target);
extern void users_forget(Users *users, const KeyValue *key, int32 user);

#endif							/* RECSYS_USERS_H */
