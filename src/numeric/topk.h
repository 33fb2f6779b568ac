/*
 * topk.h
 *	  The k best of a stream of (item, score), exactly; equal scores rank by
 *	  the smaller item number.
 *
 * An entry is one 64-bit key that orders as it ranks: the score in the upper
 * half, its bits arranged so that they compare like the float (-0 below +0;
 * no NaN), the complement of the item in the lower half.
 */
#ifndef RECSYS_NUMERIC_TOPK_H
#define RECSYS_NUMERIC_TOPK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t RankKey;		/* the greater, the better; 0 is below all */

static inline RankKey
rank_key(int32_t item, float score)
{
	uint32_t	bits;

	memcpy(&bits, &score, sizeof(bits));
	bits ^= (uint32_t) -(int32_t) (bits >> 31) | UINT32_C(0x80000000);
	return (RankKey) bits << 32 | (uint32_t) ~item;
}

static inline int32_t
rank_item(RankKey key)
{
	return (int32_t) ~(uint32_t) key;
}

static inline float
rank_score(RankKey key)
{
	uint32_t	bits = (uint32_t) (key >> 32);
	float		score;

	bits ^= ((bits >> 31) - 1) | UINT32_C(0x80000000);
	memcpy(&score, &bits, sizeof(score));
	return score;
}

/* Best first. */
extern void rank_sort(RankKey *keys, size_t n);
/* Moves the k best to the front, in no order; 0 < k <= n. */
extern void rank_select(RankKey *keys, size_t n, size_t k);

/*
 * A bounded heap, worst of the kept on top, in the caller's array of k keys.
 */
typedef struct TopK
{
	RankKey    *heap;
	size_t		k;
	size_t		n;
	RankKey		bar;			/* only what is above it can enter */
} TopK;

extern void topk_init(TopK *top, RankKey *heap, size_t k);
extern void topk_insert(TopK *top, RankKey key);	/* key > top->bar */
/* n scores, of items[0..n), or of first, first + 1, ... if items is NULL */
extern void topk_push_all(TopK *top, const int32_t *items, int32_t first,
						  const float *scores, size_t n);
/* Writes the entries best first and returns their number; empties top. */
extern size_t topk_finish(TopK *top, int32_t *items, float *scores);

static inline void
topk_push(TopK *top, int32_t item, float score)
{
	RankKey		key = rank_key(item, score);

	if (key > top->bar)
		topk_insert(top, key);
}

#endif							/* RECSYS_NUMERIC_TOPK_H */
