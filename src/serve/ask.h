/*
 * ask.h
 *	  What recommend() would answer, asked by the stream worker.
 */
#ifndef RECSYS_ASK_H
#define RECSYS_ASK_H

#include "postgres.h"

#include "models/model.h"

/*
 * The place, from 1, that an item has among the k that recommend() would put
 * out for a user with this history, from what is published; 0 if it is not
 * among them.  user: the number of whose history it is, 0 for a new user.
 * models: all of the source, of RecsysModel *.  Weights are relative to
 * landmark; decay goes to "now".
 */
extern int	ask_place(const RecsysSource *source, List *models, const RecsysModel *model,
					  int32 user, const History *history, int32 landmark,
					  int32 item, int k, TimestampTz now);

#endif							/* RECSYS_ASK_H */
