/*
 * test_measure.c
 *	  Similarities of counts against published examples and values worked by hand, and
 *	  the quick look against the exact ranks.
 */
#include "unit.h"

#include "numeric/measure.h"

/* From T. Dunning, Accurate Methods for the Statistics of Surprise and Coincidence,
 * Computational Linguistics 19 (1), 1993, table of bigrams: -2 log lambda, and how
 * often A B, A without B, B without A and neither. */
static void
test_dunning(void)
{
	static const struct
	{
		const char *bigram;
		double		llr,
					ab,
					a,
					b,
					neither;
	}			examples[] = {
		{"the swiss", 270.72, 110, 2442, 111, 29114},
		{"can be", 263.90, 29, 13, 123, 31612},
		{"previous year", 256.84, 31, 23, 139, 31584},
		{"mineral water", 167.23, 10, 0, 3, 31764},
		{"natural gas", 146.80, 9, 0, 5, 31763},
	};

	for (size_t x = 0; x < sizeof(examples) / sizeof(examples[0]); x++)
	{
		double		own = examples[x].ab + examples[x].a,
					other = examples[x].ab + examples[x].b,
					all = own + examples[x].b + examples[x].neither,
					llr = log_likelihood_ratio(examples[x].ab, own, other, all);

		ok(fabs(llr - examples[x].llr) < 0.006, "%s: %.4f, published %.2f", examples[x].bigram, llr, examples[x].llr);
	}
}

static void
test_values(void)
{
	/* 3 of 4 and of 6 users have both, 20 there are */
	ok(measure_rank(MEASURE_JACCARD, 3, 4, 6, 20, 0) == 3 / 7.0 &&
	   measure_rank(MEASURE_JACCARD, 3, 4, 6, 20, 2) == 3 / 9.0, "jaccard");
	ok(measure_rank(MEASURE_CONDITIONAL, 3, 4, 6, 20, 0) == 0.75 &&
	   measure_rank(MEASURE_CONDITIONAL, 3, 6, 4, 20, 0) == 0.5 &&
	   measure_rank(MEASURE_CONDITIONAL, 3, 4, 6, 20, 1) == 0.6, "conditional");
	ok(fabs(measure_rank(MEASURE_LIFT, 3, 4, 6, 20, 0) - 2.5) < 1e-12 &&
	   fabs(measure_rank(MEASURE_LIFT, 3, 4, 6, 20, 0.3) - 2) < 1e-12, "lift");
	ok(fabs(measure_rank(MEASURE_COSINE, 3, 4, 6, 20, 0) - 3 / sqrt(24)) < 1e-12, "cosine");
	ok(measure_rank(MEASURE_LLR, 1, 4, 5, 20, 0) == 0 && measure_rank(MEASURE_LLR, 0, 4, 5, 20, 0) == 0 &&
	   measure_rank(MEASURE_LLR, 1, 20, 1, 20, 0) == 0, "llr: by chance, less, and what all have");
	ok(fabs(measure_rank(MEASURE_LLR, 2, 2, 2, 4, 0) - 8 * log(2)) < 1e-12, "llr: always together");
	ok(fabsf(measure_score(MEASURE_LLR, 9, 0) - 0.9f) < 1e-6f && fabsf(measure_score(MEASURE_LLR, 9, 8) - 0.5f) < 1e-6f &&
	   fabsf(measure_rank_of_score(MEASURE_LLR, 0.9f, 0) - 9) < 1e-4f && measure_score(MEASURE_LIFT, 9, 0) == 9,
	   "score and rank");
	ok(measure_rank_of_score(MEASURE_LLR, 1, 0) == FLT_MAX && measure_score(MEASURE_LLR, FLT_MAX, 0) == 1 &&
	   measure_rank_of_score(MEASURE_LLR, 0, 0) == 0, "the ends");
}

/* Numbers that do not fit together, as while one of them is behind. */
static void
test_odd(void)
{
	int			bad = 0;

	for (int m = MEASURE_COSINE; m <= MEASURE_CONDITIONAL; m++)
		for (int both = 0; both < 6; both++)
			for (int own = 0; own < 6; own++)
				for (int other = 0; other < 6; other++)
					for (int all = 0; all < 8; all++)
					{
						double		rank = measure_rank((Measure) m, both, own, other, all, 0);
						float		bar = measure_bar((Measure) m, (float) rank, own, all, 0);

						bad += !(rank >= 0 && rank < 1e3) || !(bar >= 0) || (m == MEASURE_JACCARD && rank > 1);
					}
	ok(bad == 0, "nothing odd comes out of odd numbers: %d", bad);
}

/* What lies above a bar passes the quick look, from both sides. */
static void
test_bars(void)
{
	Random		r = {5};
	int			lost = 0,
				passed = 0,
				spared = 0,
				loose = 0;

	for (int x = 0; x < 2000000; x++)
	{
		Measure		m = (Measure) random_below(&r, 5);
		double		all = 2 + random_below(&r, random_below(&r, 2) ? 50 : 100000),
					own = 1 + floor(all * random_real(&r) * (random_below(&r, 2) ? 1 : random_real(&r) * 0.1)),
					other = 1 + floor(all * random_real(&r) * (random_below(&r, 2) ? 1 : random_real(&r) * 0.1)),
					least = fmax(1, own + other - all),
					both = least + floor((fmin(own, other) - least + 1) * random_real(&r) * random_real(&r)),
					shrinkage = random_below(&r, 3) ? 0 : random_real(&r) * 20;
		double		n_own = m == MEASURE_COSINE ? sqrt(own) : own,
					n_other = m == MEASURE_COSINE ? sqrt(other) : other;
		float		mine,
					theirs,
					factor,
					plus,
					line;

		if (both > fmin(own, other))
			continue;
		mine = (float) measure_rank(m, both, own, other, all, shrinkage);
		theirs = (float) measure_rank(m, both, other, own, all, shrinkage);
		measure_line(m, n_own, all, shrinkage, &factor, &plus);
		line = factor * (float) n_other + plus;
		/* a rank a little below this pair's */
		lost += mine > 0 && !(both > measure_bar(m, mine * (1 - 4e-6f), n_own, all, shrinkage) * line);
		lost += theirs > 0 && !(both > measure_bar(m, theirs * (1 - 4e-6f), n_other, all, shrinkage) * line);
		if (m == MEASURE_LLR)
		{
			lost += mine > 1e-4f && llr_is_below(both, own, other, all, mine * (1 - 1e-6f) - 1e-5f);
			loose += !llr_is_below(both, own, other, all, 1.2 * mine + 0.3 * both + 0.001);
		}
		passed += both > measure_bar(m, 3 * mine, n_own, all, shrinkage) * line;
		spared += both <= measure_bar(m, 3 * mine, n_own, all, shrinkage) * line;
	}
	ok(lost == 0 && spared > passed && loose < 10000, "bars: %d pairs lost; of those with a third of the rank %d passed, %d spared, %d llr loose",
	   lost, passed, spared, loose);
}

int
main(void)
{
	test_dunning();
	test_values();
	test_odd();
	test_bars();
	return unit_end();
}
