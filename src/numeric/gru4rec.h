/*
 * gru4rec.h
 *	  gru4rec (Hidasi et al. 2016; Hidasi and Karatzoglou 2018): a recurrent network that
 *	  reads a sequence of items and whose state, times the vector of an item, is the score of
 *	  that item as the next one.  Inputs and outputs share the vectors of the items
 *	  ("constrained embedding").
 *
 *		h_t = GRU(h_{t-1}, E[item_t]);  score(item) = h_t . E[item]
 *
 * Training is session-parallel: "batch_size" lanes each read one sequence after the
 * other, "steps" events at a time, and gradients go back over these steps.  The items that came in
 * any of the lanes are negatives for the others, beside n_sample more, drawn with
 * popularity^sample_alpha.  With a seed the result is the same each time on one kind of CPU.
 *
 * Each epoch leaves out items of the sequences at random (item_dropout), so that the
 * network also learns what came two or three places later; data of few events per item
 * gain much by it.
 */
#ifndef RECSYS_NUMERIC_GRU4REC_H
#define RECSYS_NUMERIC_GRU4REC_H

#include "numeric/alloc.h"
#include "numeric/nn.h"

typedef enum Gru4recLoss
{
	GRU4REC_CROSS_ENTROPY, GRU4REC_BPR_MAX
} Gru4recLoss;

typedef enum Gru4recOptimizer
{
	GRU4REC_ADAM, GRU4REC_ADAGRAD
} Gru4recOptimizer;

typedef struct Gru4recParams
{
	int			dim;			/* of the state and of the items' vectors */
	int			batch_size;		/* lanes */
	int			steps;
	int			n_sample;
	double		sample_alpha;
	Gru4recLoss loss;
	double		logq;			/* cross-entropy: how much of log Q is taken off */
	double		bpreg;			/* BPR-max */
	double		dropout_p_embed;
	double		dropout_p_hidden;
	double		item_dropout;
	Gru4recOptimizer optimizer;
	double		learning_rate;
	uint64_t	seed;
} Gru4recParams;

/* Sequences, oldest first, of items 0 .. nitems - 1. */
typedef struct Gru4recData
{
	int32_t		nsessions;
	int32_t		nitems;
	const int64_t *offsets;		/* nsessions + 1 */
	const int32_t *items;
	const int32_t *keys;		/* of sequences, for choices that shall be the same each time; NULL: their places */
} Gru4recData;

/*
 * The weights of the network without the items' vectors, in one block: wx (dim x 3 dim),
 * wh (dim x 3 dim) and bias (3 dim); where they begin.
 */
static inline size_t
gru4rec_wx(int dim)
{
	(void) dim;
	return 0;
}

static inline size_t
gru4rec_wh(int dim)
{
	return (size_t) 3 * dim * dim;
}

static inline size_t
gru4rec_bias(int dim)
{
	return (size_t) 6 * dim * dim;
}

static inline size_t
gru4rec_weights(int dim)
{
	return (size_t) 6 * dim * dim + (size_t) 3 * dim;
}

typedef struct Gru4rec Gru4rec;

/* Vectors of n items as a training starts with them. */
extern void gru4rec_random_vectors(const Gru4recParams *params, int32_t n, NnReal *vectors);

/* NULL: no memory.  "vectors" (nitems x dim) and "weights" to begin with; NULL: at random. */
extern Gru4rec *gru4rec_create(const Allocator *allocator, const Gru4recParams *params,
							   const Gru4recData *data, const NnReal *vectors, const NnReal *weights);
extern void gru4rec_destroy(Gru4rec *g);
/* Bytes that gru4rec_create() takes. */
extern size_t gru4rec_size(const Gru4recParams *params, const Gru4recData *data, int32_t longest);

/* One pass over all sequences.  "going" is asked before each batch with the share done; false
 * ends it (NAN).  Returns the mean loss of an event, NAN if that is not finite. */
extern double gru4rec_epoch(Gru4rec *g, bool (*going) (void *arg, double done), void *arg);

/* Go on from these, with another rate. */
extern void gru4rec_resume(Gru4rec *g, const NnReal *vectors, const NnReal *weights, double rate);

extern const NnReal *gru4rec_vectors_of(const Gru4rec *g);
extern const NnReal *gru4rec_weights_of(const Gru4rec *g);

/* The state after a sequence of n vectors x (n x dim); scratch: (n + 1) x 3 dim reals, work as for nn_gemm(). */
extern void gru4rec_encode(int dim, const NnReal *weights, int n, const NnReal *x, NnReal *h,
						   NnReal *scratch, NnReal *work);

#endif							/* RECSYS_NUMERIC_GRU4REC_H */
