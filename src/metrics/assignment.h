/*
 * assignment.h
 *	  Which variant of an experiment a user belongs to.
 *
 * A variant's ticket for a user is made of the first 8 bytes, high byte first, of
 *		sha256(salt || '/' || variant || '/' || key)
 * all three as UTF-8 text, the key as PostgreSQL prints it.  So 42 is the same
 * user whether the column is int4, int8 or text, in any database, on any
 * machine and in any release; and other software can do the same sum.
 * Whether a user takes part is drawn by a ticket for the empty name.
 */
#ifndef RECSYS_METRICS_ASSIGNMENT_H
#define RECSYS_METRICS_ASSIGNMENT_H

#include "postgres.h"

typedef struct Assignment
{
	const char *salt;			/* all in the server's encoding */
	int			nvariants;
	char	  **variants;
	const int32 *shares;		/* in millionths */
	int32		traffic;
} Assignment;

/* Number of the variant; -1: the user does not take part. */
extern int	assignment_of(const Assignment *assignment, const char *key);

#endif							/* RECSYS_METRICS_ASSIGNMENT_H */
