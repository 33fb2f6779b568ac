/*
 * gru4rec_train.c
 *	  A training of gru4rec: read, learn, write; one process does it.
 *
 * All of a source's histories are read with their times in a first transaction,
 * and the version that there is, where it fits, to start from.  Learning
 * (numeric/gru4rec_learn.h) is outside of any.  A loss that is no number any more ends the
 * training with an error, and the old version stays.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "recsys.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "models/histories.h"
#include "state/checked.h"
#include "train/gru4rec_train.h"

/* ------------------------------------------------------------------ sequences */

/* Items that have users become rows, in the order of their numbers. */
static void
number_items(Gru4recSequences *s, int32 max_item, int64 n)
{
	int32	   *rows = trainer_alloc((Size) max_item + 1, sizeof(int32));

	memset(rows, 0, sizeof(int32) * ((Size) max_item + 1));
	for (int64 e = 0; e < n; e++)
		rows[s->items[e]] = 1;
	s->item_ids = trainer_alloc((Size) max_item + 1, sizeof(int32));
	for (int32 item = 1; item <= max_item; item++)
		if (rows[item] != 0)
		{
			s->item_ids[s->data.nitems] = item;
			rows[item] = s->data.nitems++;
		}
	for (int64 e = 0; e < n; e++)
		s->items[e] = rows[s->items[e]];
	s->rows = rows;
}

void
gru4rec_sequences(int32 nusers, const int32 *users, const int64 *offsets, const int32 *items, int32 max_item,
				  Gru4recSequences *s)
{
	int64		n = 0;

	memset(s, 0, sizeof(Gru4recSequences));
	s->offsets = trainer_alloc((Size) nusers + 1, sizeof(int64));
	s->keys = trainer_alloc(Max(nusers, 1), sizeof(int32));
	s->items = trainer_alloc((Size) Max(offsets[nusers], 1), sizeof(int32));
	s->offsets[0] = 0;
	for (int32 user = 0; user < nusers; user++)
	{
		int			length = (int) Min(offsets[user + 1] - offsets[user], GRU4REC_LENGTH + 1);

		memcpy(s->items + n, items + offsets[user + 1] - length, sizeof(int32) * length);
		n += length;
		s->longest = Max(s->longest, length);
		s->keys[s->data.nsessions] = users ? users[user] : user;
		s->offsets[++s->data.nsessions] = n;
	}
	number_items(s, max_item, n);
	s->data.offsets = s->offsets;
	s->data.items = s->items;
	s->data.keys = s->keys;
}

/* ----------------------------------------------------------------- learning */

typedef struct Learning
{
	Trainer    *t;
	const Gru4recLearn *learn;
} Learning;

/* Progress is counted in thousandths of an epoch. */
static bool
going(void *arg, double epochs)
{
	Learning   *l = arg;

	training_check(l->t->training);
	training_progress(l->t->training, "training", (int64) (epochs * 1000), (int64) l->learn->n_epochs * 1000);
	return true;
}

static void
after_epoch(void *arg, int epoch, double loss, double recall)
{
	Learning   *l = arg;

	training_iteration(l->t->training, epoch, l->learn->n_epochs, loss);
	training_validated(l->t->training, recall);
	trainer_inject(l->t, INJECT_TRAIN);
}

static void
check_memory(Trainer *t, const Gru4recLearn *learn, const Gru4recSequences *s)
{
	Size		needed = gru4rec_learn_size(learn, &s->data, s->longest) / (1024 * 1024) + 1;
	Size		limit = (Size) recsys_training_memory_kb / 1024;

	if (needed > limit)
		ereport(ERROR,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("training of model \"%s\" needs %zu MB, but recsys.training_memory is %zu MB",
					   NameStr(t->model->name), needed, limit),
				errdetail("It has %d items, and layers of %d.", s->data.nitems, learn->params.dim),
				errhint("Use a smaller layers, batch_size or n_sample, or ALTER SYSTEM SET recsys.training_memory = '%zuMB'; SELECT pg_reload_conf();",
						needed));
}

void
gru4rec_run(Trainer *t, Gru4recLearn *learn, Gru4recSequences *s, const float *vectors, const float *weights)
{
	Learning	l = {.t = t,.learn = learn};
	Allocator	allocator = histories_allocator(CurrentMemoryContext);

	if (s->longest < 2)
		ereport(ERROR,
				errcode(ERRCODE_NO_DATA_FOUND),
				errmsg("model \"%s\" has nothing to learn from: no history has two items", NameStr(t->model->name)),
				errhint("Insert events of users on more than one item."));
	check_memory(t, learn, s);
	learn->going = going;
	learn->epoch = after_epoch;
	learn->arg = &l;
	training_iteration(t->training, 0, learn->n_epochs, NAN);
	switch (gru4rec_learn(&allocator, learn, &s->data, s->offsets, s->items, vectors, weights))
	{
		case GRU4REC_DONE:
			return;
		case GRU4REC_NO_MEMORY:
			ereport(ERROR,
					errcode(ERRCODE_OUT_OF_MEMORY),
					errmsg("no memory to train model \"%s\"", NameStr(t->model->name)),
					errhint("Use a smaller layers, batch_size or n_sample, or free memory."));
		case GRU4REC_EXPLODED:
			ereport(ERROR,
					errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					errmsg("training of model \"%s\" has led to numbers that are not finite",
						   NameStr(t->model->name)),
					errhint("Lower its learning_rate."));
		case GRU4REC_STOPPED:
			elog(ERROR, "training of model \"%s\" was stopped", NameStr(t->model->name));
	}
}

/* ------------------------------------------------------------- the old version */

/* What there is to start from, by rows of the new version. */
typedef struct Start
{
	const Gru4recSequences *s;
	int			dim;
	float	   *vectors;		/* NULL: nothing */
	float	   *weights;
	int32		max_item;
} Start;

static void
take_vectors(Trainer *t, StateTable *factors, int32 version, Start *start)
{
	Datum		key = Int32GetDatum(version);

	for (TupleTableSlot *slot = table_get(factors, GetActiveSnapshot(), 1, &key);
		 slot; slot = table_get_next(factors))
	{
		int32		item = DatumGetInt32(checked_attribute(slot, FACTORS_ITEM));
		int32		row = item > 0 && item <= start->max_item ? start->s->rows[item] : 0;
		int			n;

		training_check(t->training);
		if (row < start->s->data.nitems && start->s->item_ids[row] == item &&
			(checked_array(checked_attribute(slot, FACTORS_VECTOR), FLOAT4OID, &n), n > 0))
			memcpy(start->vectors + (Size) row * start->dim, embedding_vector(slot, start->dim),
				   sizeof(float) * start->dim);
	}
}

/* Items without a vector so far start at random, as if there were no version. */
static void
read_start(Trainer *t, const Gru4recLearn *learn, Start *start)
{
	StateTable *versions = embedding_open_version(t->source, t->model);
	StateTable *factors;
	EmbeddingVersion version;
	ModelWeights parts[GRU4REC_PARTS];
	bool		fits = embedding_read_version(versions, GetActiveSnapshot(), &version) &&
		version.params_version != 0 && version.dim == learn->params.dim;

	checked_close(versions);
	start->dim = learn->params.dim;
	if (!fits)
		return;
	start->weights = trainer_alloc(gru4rec_weights(start->dim), sizeof(float));
	gru4rec_parts(start->dim, start->weights, parts);
	if (!weights_read(t->source, t->model, GetActiveSnapshot(), version.version, parts, GRU4REC_PARTS))
	{
		start->weights = NULL;
		return;
	}
	start->vectors = trainer_alloc(Max((Size) start->s->data.nitems, 1) * start->dim, sizeof(float));
	gru4rec_random_vectors(&learn->params, start->s->data.nitems, start->vectors);
	factors = embedding_open_factors(t->source, t->model, false);
	take_vectors(t, factors, version.version, start);
	checked_close(factors);
}

/* ------------------------------------------------------------------- training */

static bool
is_finite(const float *values, Size n)
{
	for (Size i = 0; i < n; i++)
		if (!isfinite(values[i]))
			return false;
	return true;
}

static void
write_result(Trainer *t, const Gru4recLearn *learn, const Gru4recSequences *s, int64 interactions)
{
	int			dim = learn->params.dim;
	ModelWeights parts[GRU4REC_PARTS];
	TrainedVectors v = {
		.users = s->data.nsessions,
		.items = s->data.nitems,
		.interactions = interactions,
		.dim = dim,
		.loss = learn->loss,
		.item_ids = s->item_ids,
		.vectors = learn->vectors,
		.weights = parts,
		.nweights = GRU4REC_PARTS
	};

	if (!is_finite(learn->vectors, (Size) v.items * dim) || !is_finite(learn->weights, gru4rec_weights(dim)))
		ereport(ERROR,
				errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("training of model \"%s\" has led to numbers that are not finite", NameStr(t->model->name)),
				errhint("Lower its learning_rate."));
	gru4rec_parts(dim, learn->weights, parts);
	version_replace(t, &v);
}

void
gru4rec_train(Trainer *t)
{
	Gru4recLearn learn;
	Gru4recSequences s;
	Interactions all;
	MatrixSize	size;
	Start		start = {.s = &s};
	int64		n;

	gru4rec_params_of(t->model->params, &learn);
	trainer_begin(t);
	training_progress(t->training, "reading", 0, 0);
	matrix_measure(t, &size);
	evaluation_read(t->source, &all);
	n = all.offsets[all.nusers];
	gru4rec_sequences(all.nusers, all.users, all.offsets, all.items, all.max_item, &s);
	start.max_item = all.max_item;
	if (params_get(t->model->params, "warm_start") != 0)
		read_start(t, &learn, &start);
	trainer_commit(t);
	interactions_free(&all);
	gru4rec_run(t, &learn, &s, start.vectors, start.weights);
	write_result(t, &learn, &s, n);
}
