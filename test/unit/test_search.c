/*
 * test_search.c
 *	  search.h against scoring and sorting everything, for each kind of
 *	  processor that this one can be.
 */
#include "unit.h"

#include <float.h>

#include "numeric/search_impl.h"

/* ------------------------------------------------------------------ vectors */

typedef enum Kind
{
	RANDOM,						/* independent, normal */
	CLUSTERED,					/* a few directions and little noise, as trained ones */
	DOMINATED,					/* one element is a thousand times the others */
	EQUAL,						/* few different vectors, so scores tie */
	HUGE_NORMS,					/* products beyond the range of float */
	TINY,						/* denormals */
	MIXED,						/* norms of all magnitudes, zeros among them */
	NEARLY_EQUAL,				/* scores that differ in the last bits */
	NKINDS
} Kind;

static const char *const kind_names[] = {
	"random", "clustered", "dominated by one element", "equal", "huge", "denormal",
	"of mixed norms", "nearly equal"
};

static float
normal(Random *r)
{
	return (float) (sqrt(-2 * log(random_real(r))) * cos(2 * M_PI * random_real(r)));
}

#define DIRECTIONS 5

static void
make_vector(Random *r, Kind kind, int dim, const float *directions, float *v)
{
	float		size;

	for (int e = 0; e < dim; e++)
		v[e] = normal(r);
	switch (kind)
	{
		case CLUSTERED:
			for (int e = 0; e < dim; e++)
				v[e] *= 0.05f;
			for (int d = 0; d < DIRECTIONS; d++)
			{
				size = normal(r) / (float) (1 + d);
				for (int e = 0; e < dim; e++)
					v[e] += size * directions[d * dim + e];
			}
			break;
		case DOMINATED:
			v[dim / 2] = 1000 + v[dim / 2];
			break;
		case EQUAL:
			size = (float) random_below(r, 3) - 1;
			for (int e = 0; e < dim; e++)
				v[e] = size * (float) (e % 3);
			break;
		case HUGE_NORMS:
			for (int e = 0; e < dim; e++)
				v[e] *= 4e37f;
			break;
		case TINY:
			for (int e = 0; e < dim; e++)
				v[e] *= 1e-41f;
			break;
		case MIXED:
			size = random_below(r, 10) == 0 ? 0 : powf(10, (float) random_below(r, 76) - 38);
			for (int e = 0; e < dim; e++)
				v[e] = random_below(r, 4) == 0 ? 0 : fmaxf(-FLT_MAX, fminf(FLT_MAX, v[e] * size));
			break;
		case NEARLY_EQUAL:
			for (int e = 0; e < dim; e++)
				v[e] = directions[e] * (1 + (float) random_below(r, 3) * FLT_EPSILON);
			break;
		default:
			break;
	}
}

/* ------------------------------------------------------------------- matrix */

typedef struct World
{
	int			n,
				dim,
				cosine_dim;
	float	   *directions;
	float	   *vectors;		/* [n][dim] */
	bool	   *present;
	void	   *block;
	SearchMatrix *m;
	void	   *work;
} World;

static void *
aligned_memory(size_t size)
{
	return aligned_alloc(64, (size + 63) / 64 * 64);
}

static void
world_make(World *w, Random *r, Kind kind, int n, int dim, int cosine_dim, int absent)
{
	size_t		elements = (size_t) n * (size_t) dim;
	size_t		size = search_size(n + 5, dim);

	*w = (World) {.n = n,.dim = dim,.cosine_dim = cosine_dim};
	w->directions = malloc(sizeof(float) * DIRECTIONS * (size_t) dim);
	w->vectors = malloc(sizeof(float) * (elements + 1));
	w->present = malloc(sizeof(bool) * (size_t) (n + 1));
	w->block = aligned_memory(size);
	memset(w->block, 0xa5, size);
	w->m = search_init(w->block, n + 5, dim, cosine_dim);
	for (int e = 0; e < DIRECTIONS * dim; e++)
		w->directions[e] = normal(r);
	for (int x = 0; x < n; x++)
	{
		make_vector(r, kind, dim, w->directions, w->vectors + (size_t) x * (size_t) dim);
		w->present[x] = absent == 0 || (int) random_below(r, 100) >= absent;
		if (w->present[x])
			search_set(w->m, x, w->vectors + (size_t) x * (size_t) dim);
	}
}

static void
world_free(World *w)
{
	free(w->directions);
	free(w->vectors);
	free(w->present);
	free(w->block);
}

/* ------------------------------------------------------------------ queries */

typedef struct Filter
{
	int			part;			/* of so many, one row is refused ... */
	bool		few;			/* ... or only one is taken */
	int			asked;
} Filter;

static bool
passes(const Filter *f, int32_t row)
{
	int			hash = (int) ((uint32_t) row * UINT32_C(2654435761) >> 16);

	return (hash % f->part == 0) == f->few;
}

static bool
admit(void *arg, int32_t row)
{
	Filter	   *f = arg;

	f->asked++;
	return passes(f, row);
}

static int
by_rank(const void *a, const void *b)
{
	const SearchHit *x = a,
			   *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

/* Everything that qualifies, scored and sorted. */
static int
brute_force(const World *w, const SearchQuery *q, const Filter *f, SearchHit *all)
{
	int			n = 0;

	for (int x = 0; x < (q->only ? q->nonly : w->n); x++)
	{
		int32_t		row = q->only ? q->only[x] : x;
		const float *v;

		if (row < 0 || row >= w->n || !w->present[row] || (f && !passes(f, row)))
			continue;
		v = w->vectors + (size_t) row * (size_t) w->dim;
		all[n].row = row;
		all[n++].score = q->cosine ? search_cosine(w->cosine_dim, q->vector, v)
			: search_score(w->dim, q->vector, v);
	}
	qsort(all, (size_t) n, sizeof(SearchHit), by_rank);
	return n < q->k ? n : q->k;
}

static bool
agrees(const World *w, SearchQuery q, const Filter *filter)
{
	Filter		f = filter ? *filter : (Filter) {.part = 1};
	SearchHit  *want = malloc(sizeof(SearchHit) * (size_t) (w->n + 1));
	SearchHit  *have = malloc(sizeof(SearchHit) * (size_t) (w->n + 6));
	void	   *work = malloc(search_work_size(w->m, q.k));
	int			n = brute_force(w, &q, filter, want);
	bool		same;

	if (filter)
	{
		q.admit = admit;
		q.arg = &f;
	}
	same = search_top(w->m, &q, have, work) == n;
	for (int x = 0; x < n && same; x++)
		same = want[x].row == have[x].row && want[x].score == have[x].score;
	free(want);
	free(have);
	free(work);
	return same;
}

/* All manners of asking; returns how many answers were wrong. */
static int
ask_all(const World *w, Random *r, Kind kind)
{
	static const int ks[] = {1, 10, 100, 100000};
	float	   *query = malloc(sizeof(float) * (size_t) w->dim);
	int32_t    *only = malloc(sizeof(int32_t) * (size_t) (w->n / 2 + 3));
	int			wrong = 0;

	for (int cosine = 0; cosine < 2; cosine++)
		for (size_t x = 0; x < sizeof(ks) / sizeof(ks[0]); x++)
		{
			SearchQuery q = {.vector = query,.k = ks[x],.cosine = cosine};
			Filter		f = {.part = x % 2 ? 3 : 7,.few = x % 2 == 0};

			make_vector(r, (random_below(r, 3) == 0 ? RANDOM : kind), w->dim, w->directions, query);
			if (random_below(r, 20) == 0)
				memset(query, 0, sizeof(float) * (size_t) w->dim);
			wrong += !agrees(w, q, NULL);
			wrong += !agrees(w, q, &f);
			q.only = only;
			/* different ones, some beyond the last */
			for (int32_t row = (int32_t) random_below(r, 2) - 2; row < w->n + 4; row += 2 + (int32_t) random_below(r, 5))
				only[q.nonly++] = row;
			wrong += !agrees(w, q, NULL);
			wrong += !agrees(w, q, &f);
		}
	free(query);
	free(only);
	return wrong;
}

/* ------------------------------------------------------------------- tests */

static void
test_kind(const SearchKernels *kernels, Kind kind)
{
	static const int dims[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 65, 100, 127, 128, 255, 513, 1024};
	Random		r = {(uint64_t) kind + 7};
	int			wrong = 0;

	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
	{
		int			n = d % 3 == 0 ? (int) random_below(&r, 40) : dims[d] > 200 ? 200 : 1000;
		World		w;

		world_make(&w, &r, kind, n, dims[d], dims[d] > 3 && d % 2 ? dims[d] - 1 : dims[d], d % 4 == 1 ? 40 : 0);
		wrong += ask_all(&w, &r, kind);
		world_free(&w);
	}
	ok(wrong == 0, "%s: vectors %s: the true top k (%d wrong answers)", kernels->name,
	   kind_names[kind], wrong);
}

/* What is stored and taken away again. */
static void
test_changes(const SearchKernels *kernels)
{
	Random		r = {99};
	World		w;
	int			wrong = 0;

	world_make(&w, &r, CLUSTERED, 2000, 40, 40, 10);
	for (int round = 0; round < 6; round++)
	{
		for (int x = 0; x < 500; x++)
		{
			int			row = (int) random_below(&r, 2000);
			float	   *v = w.vectors + (size_t) row * 40;

			make_vector(&r, (Kind) (round % NKINDS), 40, w.directions, v);
			w.present[row] = random_below(&r, 4) != 0;
			search_set(w.m, row, w.present[row] ? v : NULL);
		}
		wrong += ask_all(&w, &r, CLUSTERED);
		for (int x = 0; x < 2000; x++)
		{
			const float *v = search_get(w.m, x);

			wrong += (v != NULL) != w.present[x];
			wrong += v && (v != search_rows(w.m) + (size_t) x * 40 ||
						   memcmp(v, w.vectors + (size_t) x * 40, 40 * sizeof(float)) != 0);
		}
	}
	wrong += search_get(w.m, -1) != NULL || search_get(w.m, 2000) != NULL || search_get(w.m, 5000) != NULL;
	ok(wrong == 0, "%s: rows are set, overwritten and removed (%d wrong)", kernels->name, wrong);
	world_free(&w);
}

/* The filter is asked for few rows, and the first pass does leave out the rest. */
static void
test_asks_few(const SearchKernels *kernels)
{
	Random		r = {5};
	World		w;
	Filter		f = {.part = 1000000};
	float		query[64];
	SearchHit	hits[10];
	SearchQuery q = {.vector = query,.k = 10,.admit = admit,.arg = &f};
	void	   *work;

	world_make(&w, &r, RANDOM, 20000, 64, 64, 0);
	work = malloc(search_work_size(w.m, 10));
	make_vector(&r, RANDOM, 64, w.directions, query);
	search_top(w.m, &q, hits, work);
	ok(f.asked >= 10 && f.asked < 400, "%s: the filter is asked for %d of 20000 rows", kernels->name, f.asked);
	free(work);
	world_free(&w);
}

static void
test_not_finite(const SearchKernels *kernels)
{
	static const float bad[] = {NAN, INFINITY, -INFINITY};
	Random		r = {6};
	World		w;
	float		v[20];
	SearchHit	hits[200];
	SearchQuery q = {.vector = v,.k = 200};
	void	   *work;
	int			wrong = 0;

	world_make(&w, &r, RANDOM, 100, 20, 20, 0);
	work = malloc(search_work_size(w.m, 200));
	for (int x = 0; x < 3; x++)
	{
		make_vector(&r, RANDOM, 20, w.directions, v);
		wrong += search_top(w.m, &q, hits, work) != 100 - x;
		v[7 + x] = bad[x];
		search_set(w.m, 30 + x, v);
		search_set(w.m, 102, v);
		wrong += search_get(w.m, 30 + x) != NULL || search_get(w.m, 102) != NULL;
		wrong += search_top(w.m, &q, hits, work) != 0;
	}
	ok(wrong == 0, "%s: a vector that is not finite is absent, such a query finds nothing", kernels->name);
	free(work);
	world_free(&w);
}

/* Scores against long double, and against those of the portable code. */
static void
test_scores(const SearchKernels *kernels, const SearchKernels *portable)
{
	Random		r = {11};
	float		a[1024],
				b[1024],
				directions[DIRECTIONS * 1024];
	double		worst = 0;
	int			different = 0;

	for (int e = 0; e < DIRECTIONS * 1024; e++)
		directions[e] = normal(&r);
	for (int x = 0; x < 2000; x++)
	{
		int			dim = 1 + (int) random_below(&r, x % 2 ? 40 : 1024);
		Kind		kind = (Kind) (x % NKINDS);
		long double sum = 0,
					amounts = 0;
		float		score,
					cosine;

		make_vector(&r, kind, dim, directions, a);
		make_vector(&r, kind, dim, directions, b);
		for (int e = 0; e < dim; e++)
		{
			sum += (long double) a[e] * b[e];
			amounts += fabsl((long double) a[e] * b[e]);
		}
		score = search_score(dim, a, b);
		cosine = search_cosine(dim, a, b);
		if (fabsl(sum) <= FLT_MAX && amounts > FLT_MIN)
			worst = fmax(worst, (double) ((fabsl(score - sum) - fmaxl(fabsl(sum) * 0x1p-24L, 0x1p-150L)) / amounts));
		different += !isfinite(score) || !(fabsf(cosine) <= 1);
		search_kernels_force(portable);
		different += memcmp(&score, &(float) {search_score(dim, a, b)}, sizeof(float)) != 0;
		different += memcmp(&cosine, &(float) {search_cosine(dim, a, b)}, sizeof(float)) != 0;
		search_kernels_force(kernels);
	}
	ok(worst < 1e-13, "%s: scores are exact sums rounded (beyond that %.1e)", kernels->name, worst);
	ok(different == 0, "%s: scores are the same bit for bit as those of portable code (%d differ)",
	   kernels->name, different);
}

int
main(void)
{
	const SearchKernels *kernels,
			   *portable = NULL;

	for (int n = 0; (kernels = search_kernels_number(n)) != NULL; n++)
		portable = kernels;
	ok(portable && strcmp(portable->name, "portable") == 0, "the portable code is always there");
	for (int n = 0; (kernels = search_kernels_number(n)) != NULL; n++)
	{
		search_kernels_force(kernels);
		test_scores(kernels, portable);
		for (int kind = 0; kind < NKINDS; kind++)
			test_kind(kernels, (Kind) kind);
		test_changes(kernels);
		test_asks_few(kernels);
		test_not_finite(kernels);
	}
	ok(search_size(-1, 10) == 0 && search_size(10, 0) == 0 && search_size(10, 1 << 20) == 0,
	   "there is no matrix of a size that makes no sense");
	return unit_end();
}
