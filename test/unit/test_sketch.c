/*
 * test_sketch.c
 *	  sketch.h: counts within the error that it states, merging, bytes.
 */
#include "unit.h"

#include "numeric/sketch.h"

static Meter meter;
static Allocator a;

static bool
same(const Sketch *x, const Sketch *y)
{
	size_t		size = sketch_stored_size(x);
	unsigned char bx[4096],
				by[4096];

	if (size != sketch_stored_size(y))
		return false;
	sketch_store(x, bx);
	sketch_store(y, by);
	return memcmp(bx, by, size) == 0;
}

static void
counts(void)
{
	static const int sizes[] = {0, 1, 10, 300, 384, 385, 500, 1000, 2000, 5000, 10000, 100000, 1000000};

	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
	{
		int			n = sizes[k],
					runs = n > 10000 ? 8 : 60;
		double		squares = 0,
					worst = 0,
					bound = n <= SKETCH_SPARSE ? 0.002 : 1.04 / sqrt(SKETCH_REGISTERS);

		for (int run = 0; run < runs; run++)
		{
			Sketch		s = {0};
			double		error;

			for (int i = 0; i < n; i++)
				sketch_add(&s, sketch_hash_number((uint64_t) run << 40 | (uint64_t) i), &a);
			error = n ? fabs(sketch_estimate(&s) / n - 1) : sketch_estimate(&s);
			squares += error * error;
			worst = error > worst ? error : worst;
			sketch_clear(&s, &a);
		}
		/* the error of the error, from so few runs, leaves it some room */
		ok(sqrt(squares / runs) <= bound * (runs < 60 ? 1.7 : 1.25) && worst <= 4 * bound,
		   "%d different: standard error %.4f, largest %.4f", n, sqrt(squares / runs), worst);
	}
}

static void
merging(void)
{
	static const int sizes[] = {0, 5, 200, 380, 600, 9000};
	int			wrong = 0;

	for (int x = 0; x < 6; x++)
		for (int y = 0; y < 6; y++)
			for (int common = 0; common < 2; common++)
			{
				Sketch		s = {0},
							t = {0},
							both = {0},
							turned = {0};

				for (int i = 0; i < sizes[x] + sizes[y]; i++)
				{
					uint64_t	hash = sketch_hash_number((uint64_t) (common ? i % 4000 : i));

					sketch_add(i < sizes[x] ? &s : &t, hash, &a);
					sketch_add(&both, hash, &a);
					sketch_add(&both, hash, &a);
				}
				sketch_merge(&turned, &t, &a);
				sketch_merge(&turned, &s, &a);
				sketch_merge(&s, &t, &a);
				sketch_merge(&s, &t, &a);
				/* a part that was dense leaves the whole dense */
				wrong += sketch_estimate(&s) != sketch_estimate(&turned);
				wrong += fabs(sketch_estimate(&s) - sketch_estimate(&both)) > 1e-9 * sketch_estimate(&both) &&
					(s.registers == NULL) == (both.registers == NULL);
				wrong += !same(&s, &turned);
				wrong += (s.registers == NULL) == (both.registers == NULL) && !same(&s, &both);
				sketch_clear(&s, &a);
				sketch_clear(&t, &a);
				sketch_clear(&both, &a);
				sketch_clear(&turned, &a);
			}
	ok(wrong == 0, "merged sketches are those of all hashes together: %d wrong", wrong);
}

static void
bytes(void)
{
	static const int sizes[] = {0, 1, 384, 385, 50000};
	int			wrong = 0,
				accepted = 0;
	unsigned char buffer[4096] = {0};
	Sketch		s = {0};
	Random		random = {7};

	for (int k = 0; k < 5; k++)
	{
		Sketch		t = {0};

		for (int i = 0; i < sizes[k]; i++)
			sketch_add(&s, sketch_hash_number((uint64_t) i), &a);
		sketch_store(&s, buffer);
		wrong += sketch_load(&t, buffer, sketch_stored_size(&s), &a) != SKETCH_OK || !same(&s, &t);
		sketch_clear(&t, &a);
		/* cut off, or with a byte more */
		wrong += sketch_load(&t, buffer, sketch_stored_size(&s) + 1, &a) != SKETCH_MALFORMED;
		wrong += sketch_load(&t, buffer, sketch_stored_size(&s) - 1, &a) != SKETCH_MALFORMED;
		sketch_clear(&s, &a);
	}
	ok(wrong == 0, "what is stored can be loaded, and nothing else: %d wrong", wrong);

	for (int round = 0; round < 20000; round++)
	{
		size_t		size = random_below(&random, round % 2 ? 50 : 1600);

		for (size_t i = 0; i < size; i++)
			buffer[i] = (unsigned char) random_bits(&random);
		buffer[0] = (unsigned char) (1 + random_below(&random, 2));
		buffer[1] = SKETCH_BITS;
		if (sketch_load(&s, buffer, size, &a) == SKETCH_OK)
		{
			accepted++;
			wrong += !isfinite(sketch_estimate(&s));
		}
		sketch_clear(&s, &a);
	}
	ok(wrong == 0, "random bytes do no harm (%d taken for a sketch)", accepted);
}

static void
memory(void)
{
	int			refused = 0;
	bool		held = true;

	for (size_t limit = 16; limit < 4000; limit += 16)
	{
		Meter		small = {.limit = limit};
		Allocator	tight = meter_allocator(&small);
		Sketch		s = {0};
		int			i;

		for (i = 0; i < 1000; i++)
		{
			double		before = sketch_estimate(&s);

			if (!sketch_add(&s, sketch_hash_number((uint64_t) i), &tight))
			{
				refused++;
				held &= sketch_estimate(&s) == before;
				break;
			}
		}
		sketch_clear(&s, &tight);
		held &= small.bytes == 0;
	}
	ok(held && refused > 100, "without memory nothing is added, and nothing lost");
	ok(meter.bytes == 0, "all memory is given back");
}

int
main(void)
{
	a = meter_allocator(&meter);
	counts();
	merging();
	bytes();
	memory();
	return unit_end();
}
