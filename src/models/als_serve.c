/*
 * als_serve.c
 *	  als: answers from item vectors and a history.
 *
 * A user has no stored vector.  It is the solution of the user's own small
 * least-squares problem over the vectors of the history's items ("fold-in",
 * Hu, Koren and Volinsky, 2008), so a new user and a new event count at once.  A
 * session is a history like any other.  Items without a vector yet are left
 * out of the problem and of the answer.
 *
 * The parameters that count are those the version was trained with.  They can
 * differ from the declared ones between alter_model() and the end of the
 * training that it causes; the length of the vectors is the version's own, the
 * rest may change under way without harm.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "models/als.h"
#include "models/vectors.h"

/* A user, solved. */
typedef struct Folded
{
	Vectors    *vectors;
	AlsParams	params;
	const float *gram;			/* of all items; NULL: explicit, or not needed so far */
	int			n;				/* items of the history with a vector */
	int		   *found;			/* their places in the history */
	int32	   *rows;			/* 0 .. n - 1: their vectors in base */
	float	   *base;
	float	   *weights;
	float	   *x;
	float	   *query;
	double		constant;		/* of the score, beside the inner product */
} Folded;

static void *
solver_memory(const AlsParams *params, int n)
{
	/* scratch of the solver wants the alignment of the widest registers */
	return (void *) TYPEALIGN(64, palloc(als_work_size(params, n) + 64));
}

static bool
params_of_version(ServeContext *cx, Vectors *vectors, AlsParams *params)
{
	const EmbeddingVersion *version = vectors_version(vectors);
	bool		explicit = cx->source->explicit_feedback;

	als_params_of(cx->model->params, explicit, version->mean, params);
	params->dim = version->dim;
	params->factors = version->dim - (explicit ? 1 : 0);
	return params->factors > 0;
}

static void
gather(Folded *f, const History *history)
{
	int			n = Max(history->n, 1);

	f->found = palloc(sizeof(int) * n);
	f->rows = palloc(sizeof(int32) * n);
	f->weights = palloc(sizeof(float) * n);
	f->base = palloc(sizeof(float) * f->params.dim * n);
	f->n = vectors_gather(f->vectors, history->n, history->items, f->base, f->found);
	for (int i = 0; i < f->n; i++)
	{
		f->rows[i] = i;
		f->weights[i] = (float) history->weights[f->found[i]];
	}
}

/* False: no version yet.  End with vectors_close(f->vectors). */
static bool
open_version(ServeContext *cx, Folded *f)
{
	f->vectors = vectors_open(cx);
	f->gram = NULL;
	if (f->vectors == NULL)
		return false;
	if (params_of_version(cx, f->vectors, &f->params))
		return true;
	vectors_close(f->vectors);
	return false;
}

/* The row of the version is its owner's to change. */
static void
need_gram(Folded *f)
{
	if (f->params.explicit_feedback || f->gram != NULL)
		return;
	f->gram = vectors_gram(f->vectors);
	if (f->gram == NULL)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("the version of an als model has vectors, but no Gram matrix"),
				errhint("Drop the model and create it again."));
}

/* False: none of the items has a vector. */
static bool
solve_user(Folded *f, const History *history)
{
	gather(f, history);
	if (f->n == 0)
		return false;
	need_gram(f);
	f->x = palloc(sizeof(float) * f->params.dim);
	als_solve_row(&f->params, f->gram, f->base, f->n, f->rows,
				  f->weights, f->x, solver_memory(&f->params, f->n));
	return true;
}

/* False: nothing to go by.  Else end with vectors_close(f->vectors). */
static bool
fold_in(ServeContext *cx, const History *history, Folded *f)
{
	if (!open_version(cx, f))
		return false;
	if (!solve_user(f, history))
	{
		vectors_close(f->vectors);
		return false;
	}
	f->query = palloc(sizeof(float) * f->params.dim);
	f->constant = als_query(&f->params, f->x, f->query);
	return true;
}

/* --------------------------------------------------------------- answers */

void
als_recommend(ServeContext *cx, const History *history, Candidates *out)
{
	Folded		f;

	if (!fold_in(cx, history, &f))
		return;
	vectors_recommend(f.vectors, f.query, f.constant, cx->wanted, out);
	vectors_close(f.vectors);
}

/* By the cosine of the vectors, without biases. */
int
als_similar_items(ServeContext *cx, int32 item, int k, ScoredItem *out)
{
	Folded		f;
	int			n;

	if (!open_version(cx, &f))
		return 0;
	n = vectors_similar(f.vectors, item, k, out);
	vectors_close(f.vectors);
	return n;
}

double
als_predict(ServeContext *cx, const History *history, int32 item)
{
	Folded		f;
	float	   *vector;
	int			found;
	double		score = NAN;

	if (!fold_in(cx, history, &f))
		return NAN;
	vector = palloc(sizeof(float) * f.params.dim);
	if (vectors_gather(f.vectors, 1, &item, vector, &found) == 1)
		score = search_score(f.params.dim, f.query, vector) + f.constant;
	vectors_close(f.vectors);
	return score;
}

void
als_explain(ServeContext *cx, const History *history, int32 item, double *contributions)
{
	Folded		f;
	float	   *vector;
	double	   *parts;
	int			found;

	if (!fold_in(cx, history, &f))
		return;
	vector = palloc(sizeof(float) * f.params.dim);
	if (vectors_gather(f.vectors, 1, &item, vector, &found) == 1)
	{
		parts = palloc(sizeof(double) * f.n);
		als_explain_row(&f.params, f.gram, f.base, f.n, f.rows, f.weights,
						vector, parts, solver_memory(&f.params, f.n));
		for (int i = 0; i < f.n; i++)
			contributions[f.found[i]] = parts[i];
	}
	vectors_close(f.vectors);
}

float *
als_user_factors(ServeContext *cx, const History *history, int *dim)
{
	Folded		f;

	if (!fold_in(cx, history, &f))
		return NULL;
	*dim = f.params.dim;
	vectors_close(f.vectors);
	return f.x;
}

/* ---------------------------------------------------------- similar users */

/* One user's vector, to compare others with. */
typedef struct UserComparison
{
	Folded		f;
	float	   *x;				/* of the user asked for */
	MemoryContext scratch;		/* of the other one */
} UserComparison;

void *
als_compare_begin(ServeContext *cx, const History *history)
{
	UserComparison *c = palloc(sizeof(UserComparison));

	if (!fold_in(cx, history, &c->f))
		return NULL;
	c->x = c->f.x;
	c->scratch = AllocSetContextCreate(CurrentMemoryContext, "recsys user",
									   ALLOCSET_DEFAULT_SIZES);
	return c;
}

/* Cosine of the two vectors, without biases. */
double
als_compare(void *state, const History *other)
{
	UserComparison *c = state;
	MemoryContext old = MemoryContextSwitchTo(c->scratch);
	double		cosine = NAN;

	if (solve_user(&c->f, other))
		cosine = search_cosine(c->f.params.factors, c->x, c->f.x);
	MemoryContextSwitchTo(old);
	MemoryContextReset(c->scratch);
	return cosine;
}

void
als_compare_end(void *state)
{
	UserComparison *c = state;

	vectors_close(c->f.vectors);
}
