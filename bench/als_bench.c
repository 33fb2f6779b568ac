/*
 * als_bench.c
 *	  Speed and quality of the factorisation by itself, without PostgreSQL.
 *
 *		cc -O3 -Isrc -I$BLAS_INCLUDE bench/als_bench.c src/numeric/als*.c
 *		   src/numeric/cholesky.c src/numeric/blas_als.c -L$BLAS -lopenblas -lm
 *		als_bench NAME=VALUE...
 *
 *	  train=FILE		lines "user TAB item [TAB weight or rating]", numbers from 0;
 *						a first line that does not begin with a digit is a title
 *	  test=FILE			the same; ranks all items but those of train
 *	  folds=N			explicit ratings instead: N random parts, each predicted
 *						from the others; prints RMSE
 *	  foldin=N			instead: microseconds for one exact row of N items
 *	  factors=64 alpha=80 regularization=0.1 exponent=1 iterations=10 seed=1
 *	  solver=cg|cholesky cg_steps=3 threads=1 (processes)
 *	  every=N			evaluates after each N iterations, not only at the end
 *	  users=N			evaluates the first N users only
 *	  k=20				length of the lists
 *
 * Users are evaluated with vectors that are solved exactly from the items', as
 * recommend() does.  Recall is hits / size of the test set, NDCG has the best
 * possible list of min(size, k) as its ideal; both are means over test users.
 */
#define _GNU_SOURCE
#include <cblas.h>
#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "numeric/als.h"

typedef struct Triples
{
	size_t		n;
	int32_t    *users;
	int32_t    *items;
	float	   *weights;
	int32_t		nusers;
	int32_t		nitems;
} Triples;

typedef struct Ranked
{
	double		recall;
	double		ndcg;
} Ranked;

/* Settings of a run, and its state. */
typedef struct Run
{
	AlsParams	params;
	int			iterations;
	uint64_t	seed;
	int			threads;
	int			every;
	int			users;
	int			k;
	AlsMatrix	side[2];		/* by user, by item */
	AlsMatrix	test;
	float	   *rows[2];
	float	   *gram[2];
	float	   *chunks;			/* ALS_GRAM_CHUNKS parts of a Gram matrix */
	Ranked	   *ranked;			/* by user of the test set */
	double		seconds;		/* of training */
} Run;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static void *
get(size_t bytes)
{
	void	   *block = aligned_alloc(64, (bytes + 127) / 64 * 64);

	if (!block)
	{
		fprintf(stderr, "no memory for %zu bytes\n", bytes);
		exit(1);
	}
	return block;
}

/* -------------------------------------------------------------------- input */

static Triples
read_triples(const char *path)
{
	FILE	   *file = fopen(path, "r");
	Triples		t = {0};
	char		line[256];
	size_t		room = 0;

	if (!file)
	{
		perror(path);
		exit(1);
	}
	while (fgets(line, sizeof(line), file))
	{
		char	   *end;

		if (!isdigit((unsigned char) line[0]))
			continue;
		if (t.n == room)
		{
			room = room ? 2 * room : 1 << 16;
			t.users = realloc(t.users, sizeof(int32_t) * room);
			t.items = realloc(t.items, sizeof(int32_t) * room);
			t.weights = realloc(t.weights, sizeof(float) * room);
			if (!t.users || !t.items || !t.weights)
				exit(1);
		}
		t.users[t.n] = (int32_t) strtol(line, &end, 10);
		t.items[t.n] = (int32_t) strtol(end, &end, 10);
		t.weights[t.n] = *end == '\t' ? strtof(end, NULL) : 1;
		t.nusers = t.users[t.n] >= t.nusers ? t.users[t.n] + 1 : t.nusers;
		t.nitems = t.items[t.n] >= t.nitems ? t.items[t.n] + 1 : t.nitems;
		t.n++;
	}
	fclose(file);
	return t;
}

/* One side of those triples whose fold is not "without" (-1: of all). */
static AlsMatrix
make_side(const Triples *t, bool by_item, int32_t nrows, const int8_t *folds, int without)
{
	const int32_t *rows = by_item ? t->items : t->users;
	const int32_t *columns = by_item ? t->users : t->items;
	int64_t    *offsets = calloc((size_t) nrows + 2, sizeof(int64_t));
	int32_t    *to = get(sizeof(int32_t) * t->n);
	float	   *values = get(sizeof(float) * t->n);

	if (!offsets)
		exit(1);
	for (size_t i = 0; i < t->n; i++)
		offsets[rows[i] + 2] += !folds || folds[i] != without;
	for (int32_t r = 0; r <= nrows; r++)
		offsets[r + 1] += offsets[r];
	for (size_t i = 0; i < t->n; i++)
		if (!folds || folds[i] != without)
		{
			int64_t		at = offsets[rows[i] + 1]++;

			to[at] = columns[i];
			values[at] = t->weights[i];
		}
	return (AlsMatrix) {nrows, offsets, to, values};
}

static void
free_side(AlsMatrix *side)
{
	free((void *) side->offsets);
	free((void *) side->columns);
	free((void *) side->weights);
}

/* ------------------------------------------------------------------ workers */

/*
 * Processes, as the extension has them (and OpenBLAS's serial build may not be
 * called by two threads).  They are forked when a run begins; what they write is
 * in shared memory.  All do parts of what "job" says, between two barriers.
 */
typedef struct Job
{
	pthread_barrier_t barrier;
	void		(*body) (Run *run, int s, int part, void *work);	/* NULL: end */
	int			s;
	int			nparts;
	size_t		work_size;
	int32_t		limit;			/* of users to evaluate */
	atomic_int	next;
} Job;

static Job *job;

static void *
get_shared(size_t bytes)
{
	/* cppcheck-suppress invalidFunctionArg; -1 is what portable programs pass */
	void	   *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (block == MAP_FAILED)
	{
		perror("mmap");
		exit(1);
	}
	return block;
}

static void
do_parts(Run *run)
{
	static void *work;
	static size_t size;
	int			part;

	if (job->work_size > size)
	{
		free(work);
		size = job->work_size;
		work = get(size);
	}
	while ((part = atomic_fetch_add(&job->next, 1)) < job->nparts)
		job->body(run, job->s, part, work);
}

static void
begin_workers(Run *run)
{
	pthread_barrierattr_t attributes;

	job = get_shared(sizeof(Job));
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&job->barrier, &attributes, (unsigned) run->threads);
	fflush(stdout);
	for (int t = 1; t < run->threads; t++)
	{
		pid_t		pid = fork();

		if (pid < 0)
		{
			perror("fork");
			exit(1);
		}
		if (pid > 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
		{
			pthread_barrier_wait(&job->barrier);
			if (!job->body)
				_exit(0);
			do_parts(run);
			pthread_barrier_wait(&job->barrier);
		}
	}
}

/* Calls body(run, s, part, work) for parts 0 .. nparts - 1, in any order; NULL
 * ends the workers. */
static void
parallel(Run *run, int s, int nparts, size_t work_size,
		 void (*body) (Run *run, int s, int part, void *work))
{
	job->body = body;
	job->s = s;
	job->nparts = nparts;
	job->work_size = work_size;
	job->next = 0;
	pthread_barrier_wait(&job->barrier);
	if (!body)
	{
		while (wait(NULL) > 0)
			;
		munmap(job, sizeof(Job));
		return;
	}
	do_parts(run);
	pthread_barrier_wait(&job->barrier);
}

/* ----------------------------------------------------------------- training */

#define SHARE	(8 * ALS_BATCH)	/* rows handed out at once */

static void
solve_part(Run *run, int s, int part, void *work)
{
	int32_t		begin = part * SHARE;
	int32_t		end = begin + SHARE < run->side[s].nrows ? begin + SHARE : run->side[s].nrows;

	als_solve_rows(&run->params, run->gram[!s], run->rows[!s], &run->side[s], begin, end,
				   run->rows[s], work, NULL, NULL);
}

static void
gram_part(Run *run, int s, int part, void *work)
{
	size_t		dim = (size_t) run->params.dim;

	(void) work;
	als_gram_chunk(run->params.dim, run->rows[s], run->side[s].nrows, part,
				   run->chunks + (size_t) part * dim * dim);
}

static void
whole_gram(Run *run, int s)
{
	if (run->params.explicit_feedback)
		return;
	parallel(run, s, ALS_GRAM_CHUNKS, 64, gram_part);
	als_gram_sum(run->params.dim, run->chunks, run->gram[s]);
}

static void
solve_side(Run *run, int s)
{
	whole_gram(run, !s);
	parallel(run, s, (run->side[s].nrows + SHARE - 1) / SHARE,
			 als_batch_work_size(&run->params, &run->side[s]), solve_part);
}

static double
loss_of(Run *run, double *squares)
{
	AlsLoss		loss = als_loss_rows(&run->params, &run->side[0], 0, run->side[0].nrows, run->rows[0], run->rows[1]);

	whole_gram(run, 0);
	whole_gram(run, 1);
	*squares = loss.squares;
	return loss.total + als_loss_all(&run->params, run->gram[0], run->gram[1]) +
		als_penalty(&run->params, &run->side[1], 0, run->side[1].nrows, run->rows[1]);
}

static void
begin_run(Run *run)
{
	size_t		dim = (size_t) run->params.dim;

	for (int s = 0; s < 2; s++)
	{
		run->rows[s] = get_shared(sizeof(float) * dim * (size_t) run->side[s].nrows);
		run->gram[s] = get_shared(sizeof(float) * dim * dim);
		als_init_rows(&run->params, run->seed * 2 + (uint64_t) s, 0, run->side[s].nrows, run->rows[s]);
	}
	run->chunks = get_shared(sizeof(float) * dim * dim * ALS_GRAM_CHUNKS);
	run->seconds = 0;
	if (run->test.nrows)
		run->ranked = get_shared(sizeof(Ranked) * (size_t) run->test.nrows);
	begin_workers(run);
}

static void
end_run(Run *run)
{
	size_t		dim = (size_t) run->params.dim;

	parallel(run, 0, 0, 0, NULL);
	for (int s = 0; s < 2; s++)
	{
		munmap(run->rows[s], sizeof(float) * dim * (size_t) run->side[s].nrows);
		munmap(run->gram[s], sizeof(float) * dim * dim);
	}
	munmap(run->chunks, sizeof(float) * dim * dim * ALS_GRAM_CHUNKS);
}

static void
iterate(Run *run)
{
	double		from = now();

	solve_side(run, 0);
	solve_side(run, 1);
	run->seconds += now() - from;
}

/* ------------------------------------------------------------------ ranking */

#define RANKED	32				/* users whose scores are computed together */

/* Recall and NDCG of one user, from the scores of all items. */
static void
rank_user(Run *run, int32_t user, float *scores, Ranked *result)
{
	const AlsMatrix *train = &run->side[0];
	const AlsMatrix *test = &run->test;
	int64_t		begin = test->offsets[user],
				end = test->offsets[user + 1];
	double		gain = 0,
				ideal = 0;
	int			hits = 0;

	for (int64_t at = train->offsets[user]; at < train->offsets[user + 1]; at++)
		scores[train->columns[at]] = -INFINITY;
	/* a wanted item's rank is the number of better ones */
	for (int64_t at = begin; at < end; at++)
	{
		int32_t		item = test->columns[at];
		float		score = scores[item];
		int			better = 0;

		for (int32_t i = 0; i < run->side[1].nrows; i++)
			better += scores[i] > score;
		for (int32_t i = 0; i < item && better < run->k; i++)
			better += scores[i] == score;
		if (better < run->k)
		{
			hits++;
			gain += 1 / log2(better + 2);
		}
		if (at - begin < run->k)
			ideal += 1 / log2((double) (at - begin) + 2);
	}
	result->recall = (double) hits / (double) (end - begin);
	result->ndcg = gain / ideal;
}

static void
rank_part(Run *run, int s, int part, void *work)
{
	int			dim = run->params.dim;
	int32_t		nitems = run->side[1].nrows;
	float	   *queries = work;
	float	   *scores = queries + RANKED * (size_t) dim;
	float	   *scratch = scores + RANKED * (size_t) nitems;
	int32_t		begin = part * RANKED;
	int32_t		end = begin + RANKED < job->limit ? begin + RANKED : job->limit;

	(void) s;
	scratch = (float *) (((uintptr_t) scratch + 63) / 64 * 64);
	for (int32_t u = begin; u < end; u++)
	{
		int64_t		at = run->side[0].offsets[u];

		als_solve_row(&run->params, run->gram[1], run->rows[1], (int) (run->side[0].offsets[u + 1] - at),
					  run->side[0].columns + at, run->side[0].weights + at,
					  queries + (size_t) (u - begin) * (size_t) dim, scratch);
	}
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, end - begin, nitems, dim, 1,
				queries, dim, run->rows[1], dim, 0, scores, nitems);
	for (int32_t u = begin; u < end; u++)
		if (run->test.offsets[u + 1] > run->test.offsets[u])
			rank_user(run, u, scores + (size_t) (u - begin) * (size_t) nitems, &run->ranked[u]);
}

static void
evaluate(Run *run, int iteration)
{
	int32_t		limit = run->users && run->users < run->test.nrows ? run->users : run->test.nrows;
	double		recall = 0,
				ndcg = 0;
	int			n = 0;

	whole_gram(run, 1);
	job->limit = limit;
	parallel(run, 0, (limit + RANKED - 1) / RANKED,
			 sizeof(float) * RANKED * (size_t) (run->params.dim + run->side[1].nrows) + 64 +
			 als_work_size(&run->params, run->side[1].nrows), rank_part);
	for (int32_t u = 0; u < limit; u++)
		if (run->test.offsets[u + 1] > run->test.offsets[u])
		{
			recall += run->ranked[u].recall;
			ndcg += run->ranked[u].ndcg;
			n++;
		}
	printf("iteration %d seconds %.4f recall %.5f ndcg %.5f\n", iteration, run->seconds, recall / n, ndcg / n);
	fflush(stdout);
}

static void
train_and_rank(Run *run, const Triples *train, const Triples *test)
{
	double		loss,
				squares;
	int32_t		nusers = train->nusers,
				nitems = train->nitems;

	if (test)
	{
		nusers = test->nusers > nusers ? test->nusers : nusers;
		nitems = test->nitems > nitems ? test->nitems : nitems;
		run->test = make_side(test, false, nusers, NULL, -1);
	}
	run->side[0] = make_side(train, false, nusers, NULL, -1);
	run->side[1] = make_side(train, true, nitems, NULL, -1);
	begin_run(run);
	for (int i = 1; i <= run->iterations; i++)
	{
		iterate(run);
		if (test && (i == run->iterations || (run->every && i % run->every == 0)))
			evaluate(run, i);
	}
	loss = loss_of(run, &squares);
	printf("seconds_per_iteration %.5f loss %.6g error %.5f\n", run->seconds / run->iterations, loss,
		   squares / (double) train->n);
	end_run(run);
}

/* ------------------------------------------------------------------ ratings */

static void
cross_validate(Run *run, const Triples *t, int nfolds)
{
	int8_t	   *folds = get(t->n);
	uint64_t	state = run->seed;
	double		total = 0;
	size_t		dim = (size_t) run->params.dim;

	for (size_t i = 0; i < t->n; i++)
	{
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		folds[i] = (int8_t) ((state >> 33) % (uint64_t) nfolds);
	}
	for (int fold = 0; fold < nfolds; fold++)
	{
		double		sum = 0,
					loss,
					squares;
		size_t		n = 0;

		for (size_t i = 0; i < t->n; i++)
			if (folds[i] != fold)
			{
				sum += t->weights[i];
				n++;
			}
		run->params.mean = sum / (double) n;
		run->side[0] = make_side(t, false, t->nusers, folds, fold);
		run->side[1] = make_side(t, true, t->nitems, folds, fold);
		begin_run(run);
		for (int i = 0; i < run->iterations; i++)
			iterate(run);
		sum = 0;
		for (size_t i = 0; i < t->n; i++)
			if (folds[i] == fold)
			{
				const float *x = run->rows[0] + (size_t) t->users[i] * dim;
				const float *y = run->rows[1] + (size_t) t->items[i] * dim;
				double		score = run->params.mean + x[dim - 1] + y[dim - 1];

				for (size_t j = 0; j < dim - 1; j++)
					score += (double) x[j] * y[j];
				sum += (t->weights[i] - score) * (t->weights[i] - score);
			}
		loss = loss_of(run, &squares);
		printf("fold %d rmse %.5f on training data %.5f loss %.6g\n", fold, sqrt(sum / (double) (t->n - n)),
			   sqrt(squares / (double) n), loss);
		total += sqrt(sum / (double) (t->n - n));
		end_run(run);
		for (int s = 0; s < 2; s++)
			free_side(&run->side[s]);
	}
	printf("rmse %.5f\n", total / nfolds);
	free(folds);
}

/* ------------------------------------------------------------------ fold-in */

static int
by_value(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return x < y ? -1 : x > y;
}

/* Median over rows of random items out of 20,000. */
static void
time_foldin(Run *run, int n)
{
	enum
	{
		ITEMS = 20000, TIMES = 2001
	};
	size_t		dim = (size_t) run->params.dim;
	float	   *base = get(sizeof(float) * dim * ITEMS);
	int32_t    *rows = get(sizeof(int32_t) * (size_t) n);
	float	   *weights = get(sizeof(float) * (size_t) n);
	float	   *x = get(sizeof(float) * dim);
	void	   *work = get(als_work_size(&run->params, n));
	double	   *times = get(sizeof(double) * TIMES);
	uint64_t	state = run->seed;

	run->side[1].nrows = ITEMS;
	run->rows[1] = base;
	run->gram[1] = get(sizeof(float) * dim * dim);
	run->chunks = get(sizeof(float) * dim * dim * ALS_GRAM_CHUNKS);
	als_init_rows(&run->params, run->seed, 0, ITEMS, base);
	run->threads = 1;
	begin_workers(run);
	whole_gram(run, 1);
	for (int t = 0; t < TIMES; t++)
	{
		double		from;

		for (int i = 0; i < n; i++)
		{
			state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			rows[i] = (int32_t) ((state >> 33) % ITEMS);
			weights[i] = 1;
		}
		from = now();
		als_solve_row(&run->params, run->gram[1], base, n, rows, weights, x, work);
		times[t] = now() - from;
	}
	qsort(times, TIMES, sizeof(double), by_value);
	printf("foldin %d items %d factors microseconds %.2f\n", n, run->params.factors, times[TIMES / 2] * 1e6);
}

/* --------------------------------------------------------------------- main */

static const char *
option(int argc, char **argv, const char *name, const char *otherwise)
{
	size_t		len = strlen(name);

	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], name, len) && argv[i][len] == '=')
			return argv[i] + len + 1;
	return otherwise;
}

int
main(int argc, char **argv)
{
	const char *train = option(argc, argv, "train", NULL);
	const char *test = option(argc, argv, "test", NULL);
	int			folds = atoi(option(argc, argv, "folds", "0"));
	int			foldin = atoi(option(argc, argv, "foldin", "0"));
	Run			run = {.params = {.explicit_feedback = folds > 0}};
	Triples		data,
				wanted;

	run.params.factors = atoi(option(argc, argv, "factors", "64"));
	run.params.dim = run.params.factors + run.params.explicit_feedback;
	run.params.solver = strcmp(option(argc, argv, "solver", "cg"), "cg") ? ALS_CHOLESKY : ALS_CG;
	run.params.cg_steps = atoi(option(argc, argv, "cg_steps", "3"));
	run.params.alpha = atof(option(argc, argv, "alpha", "80"));
	run.params.regularization = atof(option(argc, argv, "regularization", "0.1"));
	run.params.exponent = atof(option(argc, argv, "exponent", "1"));
	run.iterations = atoi(option(argc, argv, "iterations", "10"));
	run.seed = (uint64_t) atoll(option(argc, argv, "seed", "1"));
	run.threads = atoi(option(argc, argv, "threads", "1"));
	run.every = atoi(option(argc, argv, "every", "0"));
	run.users = atoi(option(argc, argv, "users", "0"));
	run.k = atoi(option(argc, argv, "k", "20"));
	if (run.threads < 1 || run.threads > 64 || run.params.factors < 1)
		return 1;
	if (foldin)
	{
		time_foldin(&run, foldin);
		return 0;
	}
	if (!train)
	{
		fprintf(stderr, "usage: als_bench train=FILE [test=FILE] [NAME=VALUE...]; see the top of als_bench.c\n");
		return 1;
	}
	data = read_triples(train);
	if (folds)
		cross_validate(&run, &data, folds);
	else if (test)
	{
		wanted = read_triples(test);
		train_and_rank(&run, &data, &wanted);
	}
	else
		train_and_rank(&run, &data, NULL);
	return 0;
}
