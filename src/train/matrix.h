/*
 * matrix.h
 *	  The histories of a source as a training reads them: r(u,i) by users.
 */
#ifndef RECSYS_MATRIX_H
#define RECSYS_MATRIX_H

#include "postgres.h"

#include "train/trainer.h"

/* What will be read at most, without reading it. */
typedef struct MatrixSize
{
	int32		users;			/* numbers given so far */
	int32		items;
	int64		interactions;	/* exact */
} MatrixSize;

typedef struct Matrix
{
	int32		nusers;			/* with at least one interaction, in the order of
								 * their numbers */
	int32		nitems;			/* likewise */
	int64		n;
	int64	   *offsets;		/* of users, nusers + 1 */
	int32	   *columns;		/* rows of items, from 0 */
	float	   *weights;		/* decayed to now; ratings as they are */
	int32	   *item_ids;		/* number of the item, by row */
	int64	   *item_counts;	/* users of the item, by row */
	double		mean;			/* of all weights */
} Matrix;

/* Both under the active snapshot.  matrix_measure() also notes in the trainer
 * what of the source they see; error if that is nothing. */
extern void matrix_measure(Trainer *t, MatrixSize *size);
extern void matrix_read(Trainer *t, const MatrixSize *size, Matrix *matrix);

/* Bytes that matrix_read() takes, until the matrix is freed. */
extern Size matrix_memory(const MatrixSize *size);

#endif							/* RECSYS_MATRIX_H */
