/*
 * profiles_impl.h
 *	  What profiles.c (histories in memory) and profile_rows.c (histories as
 *	  rows) need of each other.
 */
#ifndef RECSYS_PROFILES_IMPL_H
#define RECSYS_PROFILES_IMPL_H

#include "state/profiles.h"

#define NO_SEGMENT (-1)

extern void profile_resize(Profiles *ps, Profile *p, int32 max);
extern Profile **profile_place(Profiles *ps, int32 user);	/* where it belongs */
extern Profile *profile_create(Profiles *ps, int32 user);	/* empty */
extern void profile_load(Profiles *ps, Profile *p);	/* from its rows */

#endif							/* RECSYS_PROFILES_IMPL_H */
