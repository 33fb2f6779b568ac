/*
 * gru4rec_learn.h
 *	  A whole training of gru4rec: epochs until a held-out part says that more of
 *	  them would not help, and the best of them as the result.
 *
 * Held out is the last item of some of the sequences, chosen by the seed.  What
 * counts is the recall among the 20 items with the highest scores, of all items
 * but those of the sequence itself.
 */
#ifndef RECSYS_NUMERIC_GRU4REC_LEARN_H
#define RECSYS_NUMERIC_GRU4REC_LEARN_H

#include "numeric/gru4rec.h"

/* Items among which the held-out one has to be. */
#define GRU4REC_RECALL_AT	20

typedef struct Gru4recLearn
{
	/* wanted */
	Gru4recParams params;
	int			n_epochs;		/* at most */
	int			patience;		/* epochs without a better one, after which it ends ... */
	int			rate_drops;		/* ... or goes on from the best with a quarter of the rate, so many times */
	double		validation;		/* share of the sequences whose last item is held out */
	int			max_validation; /* but not more than this */
	bool		seen_excluded;	/* items of a sequence are not recommended again */
	/* before each batch: epochs done, and how much of the next one; false ends the work */
	bool		(*going) (void *arg, double epochs);
	/* after each epoch; recall is NAN where nothing is held out */
	void		(*epoch) (void *arg, int epoch, double loss, double recall);
	void	   *arg;

	/* the result, of the best epoch; memory is the allocator's */
	NnReal	   *vectors;		/* nitems x dim */
	NnReal	   *weights;
	int			best;			/* epoch, from 1 */
	double		loss;			/* in it */
	double		recall;
} Gru4recLearn;

typedef enum Gru4recOutcome
{
	GRU4REC_DONE,
	GRU4REC_NO_MEMORY,
	GRU4REC_STOPPED,			/* by going() */
	GRU4REC_EXPLODED			/* a loss that is not a finite number */
} Gru4recOutcome;

/*
 * data->offsets and items are changed: the held-out items leave their sequences.
 * vectors, weights: to begin with, or NULL.
 */
extern Gru4recOutcome gru4rec_learn(const Allocator *allocator, Gru4recLearn *learn, const Gru4recData *data,
									int64_t *offsets, int32_t *items, const NnReal *vectors,
									const NnReal *weights);

/* Bytes that it takes at most. */
extern size_t gru4rec_learn_size(const Gru4recLearn *learn, const Gru4recData *data, int32_t longest);

#endif							/* RECSYS_NUMERIC_GRU4REC_LEARN_H */
