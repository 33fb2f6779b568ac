/*
 * test_session_knn.c
 *	  Nearest sessions against the definition, computed plainly: random sessions with
 *	  equal times, small pools, repeated clicks; memory that runs out.
 */
#include "unit.h"

#include "numeric/session_knn.h"

enum
{
	ITEMS = 30, SESSIONS = 400, LENGTH = 6, QUERY = 12
};

typedef struct World
{
	int64_t		times[SESSIONS + 1];	/* by number, from 1 */
	int32_t		items[SESSIONS + 1][LENGTH];
	int32_t		n[ITEMS];		/* sessions of an item, oldest first */
	int32_t		sessions[ITEMS][SESSIONS];
	int64_t		session_times[ITEMS][SESSIONS];
} World;

static bool
holds(const int32_t *items, int n, int32_t item)
{
	for (int i = 0; i < n; i++)
		if (items[i] == item)
			return true;
	return false;
}

static void
insert_sorted(World *w, int32_t item, int32_t session)
{
	int32_t		at = w->n[item]++;

	for (; at > 0 && session_older(w->times[session], session, w->session_times[item][at - 1],
								   w->sessions[item][at - 1]); at--)
	{
		w->sessions[item][at] = w->sessions[item][at - 1];
		w->session_times[item][at] = w->session_times[item][at - 1];
	}
	w->sessions[item][at] = session;
	w->session_times[item][at] = w->times[session];
}

static void
make_world(World *w, Random *r)
{
	memset(w, 0, sizeof(World));
	for (int32_t s = 1; s <= SESSIONS; s++)
	{
		w->times[s] = random_below(r, SESSIONS / 4);
		for (int i = 0; i < LENGTH; i++)
		{
			w->items[s][i] = (int32_t) random_below(r, ITEMS);
			if (!holds(w->items[s], i, w->items[s][i]))
				insert_sorted(w, w->items[s][i], s);
		}
	}
}

/* ------------------------------------------------------- by the definition */

typedef struct Plain
{
	bool		in[SESSIONS + 1];
	double		sim[SESSIONS + 1];
	int			n;
} Plain;

static int32_t
plain_oldest(const World *w, const Plain *p)
{
	int32_t		oldest = 0;

	for (int32_t s = 1; s <= SESSIONS; s++)
		if (p->in[s] && (oldest == 0 || session_older(w->times[s], s, w->times[oldest], oldest)))
			oldest = s;
	return oldest;
}

static void
plain_item(const World *w, Plain *p, int32_t item, double weight, int sample)
{
	for (int32_t x = w->n[item] - 1; x >= 0; x--)
	{
		int32_t		s = w->sessions[item][x];

		if (!p->in[s] && p->n == sample)
		{
			int32_t		oldest = plain_oldest(w, p);

			if (!session_older(w->times[oldest], oldest, w->times[s], s))
				return;
			p->in[oldest] = false;
			p->sim[oldest] = 0;
			p->n--;
		}
		p->n += !p->in[s];
		p->in[s] = true;
		p->sim[s] += weight;
	}
}

static void
plain_search(const World *w, Plain *p, const int32_t *clicks, int n, int last, int sample)
{
	int			length = n < last ? n : last;
	int			different = 0;

	memset(p, 0, sizeof(Plain));
	clicks += n - length;
	for (int i = 0; i < length; i++)
		different += !holds(clicks, i, clicks[i]);
	for (int position = 0; position < length; position++)
	{
		int			at = length - 1 - position;

		if (!holds(clicks + at + 1, position, clicks[at]))
			plain_item(w, p, clicks[at], (double) (length - position) / different, sample);
	}
}

/* The next best of those left; 0: none. */
static int32_t
plain_best(const World *w, Plain *p)
{
	int32_t		best = 0;

	for (int32_t s = 1; s <= SESSIONS; s++)
		if (p->in[s] && (best == 0 || p->sim[s] > p->sim[best] ||
						 (p->sim[s] == p->sim[best] &&
						  session_older(w->times[best], best, w->times[s], s))))
			best = s;
	p->in[best] = false;
	return best;
}

/* -------------------------------------------------------------------- tests */

/* Of the items whose bits are set. */
static double
sum_of(const SessionClick *query, int32_t n, uint64_t shared)
{
	double		sum = 0;

	for (int32_t x = 0; x < n; x++)
		if (shared >> x & 1)
			sum += query[x].weight;
	return sum;
}

static bool
same_neighbors(const World *w, SessionPool *pool, Random *r, int sample, int k)
{
	int32_t		clicks[QUERY];
	SessionClick query[QUERY];
	SessionCandidate found[SESSIONS];
	Plain		plain;
	int			n = 1 + (int) random_below(r, QUERY),
				last = 1 + (int) random_below(r, QUERY);
	int32_t		nquery,
				nfound;

	for (int i = 0; i < n; i++)
		clicks[i] = (int32_t) random_below(r, ITEMS / 2);
	nquery = session_query(clicks, n, last, SESSION_DECAY_LINEAR, query);
	session_pool_clear(pool);
	for (int32_t x = 0; x < nquery; x++)
	{
		int32_t		item = query[x].item;

		if (session_pool_scan(pool, w->sessions[item], w->session_times[item], w->n[item],
							  (int) x, query[x].weight) == SESSION_NO_MEMORY)
			return false;
	}
	nfound = session_pool_best(pool, k, found);
	plain_search(w, &plain, clicks, n, last, sample);
	if (nfound != (plain.n < k ? plain.n : k))
		return false;
	for (int32_t i = 0; i < nfound; i++)
	{
		int32_t		s = plain_best(w, &plain);

		if (found[i].session != s || found[i].sim != plain.sim[s] || found[i].time != w->times[s] ||
			fabs(sum_of(query, nquery, found[i].shared) - found[i].sim) > 1e-9)
			return false;
	}
	return true;
}

static void
test_neighbors(void)
{
	static const int samples[] = {1, 2, 7, 60, 500};
	Random		r = {7};
	Meter		meter = {0};
	Allocator	allocator = meter_allocator(&meter);
	World	   *w = malloc(sizeof(World));

	for (int i = 0; i < 5; i++)
	{
		SessionPool pool;
		int			wrong = 0;

		make_world(w, &r);
		session_pool_init(&pool, &allocator, samples[i]);
		for (int round = 0; round < 200; round++)
			wrong += !same_neighbors(w, &pool, &r, samples[i], round % 2 ? 5 : 1000);
		session_pool_free(&pool);
		ok(wrong == 0, "a pool of %d: %d of 200 queries differ", samples[i], wrong);
	}
	ok(meter.bytes == 0, "all memory is given back: %zu bytes", meter.bytes);
	free(w);
}

static void
test_query(void)
{
	const int32_t clicks[] = {9, 3, 5, 3, 7, 3};
	const int32_t session[] = {4, 5, 9};
	SessionClick q[6];
	int32_t		n = session_query(clicks, 6, 4, SESSION_DECAY_LINEAR, q);

	ok(n == 3 && q[0].item == 3 && q[0].position == 0 && q[1].item == 7 && q[2].item == 5 &&
	   q[2].position == 3, "the last 4 clicks, each item at its newest position");
	ok(q[0].weight == 4.0 / 3 && q[1].weight == 1 && q[2].weight == 1.0 / 3, "(L - position) / U");
	ok(session_match(q, n, session, 3) == 3, "newest item shared");
	ok(session_match(q, n, session, 1) == -1, "none shared");
	n = session_query(clicks, 6, 100, SESSION_DECAY_HARMONIC, q);
	ok(n == 4 && q[3].item == 9 && q[3].weight == 1.0 / 6, "harmonic weights");
	ok(session_query(clicks, 0, 4, SESSION_DECAY_NONE, q) == 0, "no clicks");
	ok(fabs(session_match_weight(0.1, 0) - 0.9) < 1e-15 && session_match_weight(0.1, 30) == 0,
	   "weights of a match");
	ok(fabs(session_item_weight(1, 100, 10) - log(10)) < 1e-15 && session_item_weight(0, 100, 10) == 1 &&
	   session_item_weight(2, 5, 10) == 0, "weights of items");
}

static void
test_memory(void)
{
	Meter		meter = {.limit = 30000};
	Allocator	allocator = meter_allocator(&meter);
	SessionPool pool;
	int32_t		sessions[5000];
	int64_t		times[5000] = {0};

	for (int32_t s = 0; s < 5000; s++)
		sessions[s] = s + 1;
	ok(session_pool_init(&pool, &allocator, 5000), "a pool");
	ok(session_pool_scan(&pool, sessions, times, 5000, 0, 1) == SESSION_NO_MEMORY, "which does not grow");
	ok(pool.n == pool.max && pool.nheap == pool.n, "keeps what it has");
	session_pool_free(&pool);
	meter.limit = 1000;
	ok(!session_pool_init(&pool, &allocator, 10) && meter.bytes == 0, "no pool at all");
}

int
main(void)
{
	test_query();
	test_neighbors();
	test_memory();
	return unit_end();
}
