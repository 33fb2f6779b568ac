/*
 * module.c
 *	  recsys_train.so: what training workers load on top of recsys.so.
 *
 * It stands apart because it links BLAS.  Settings and shared memory belong to
 * recsys.so, which has to be preloaded; a worker of ours is started by nobody
 * else.
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;
