/*
 * test_topk.c
 *	  topk.h against a plain sort.
 */
#include "unit.h"

#include "numeric/topk.h"

typedef struct Entry
{
	int32_t		item;
	float		score;
} Entry;

static int
by_rank(const void *a, const void *b)
{
	const Entry *x = a,
			   *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return x->item < y->item ? -1 : x->item > y->item;
}

static int
differences(Random *r, int n, int k, int levels)
{
	Entry	   *all = malloc(sizeof(Entry) * (size_t) (n + 1));
	RankKey    *heap = malloc(sizeof(RankKey) * (size_t) (k + 1));
	RankKey    *keys = malloc(sizeof(RankKey) * (size_t) (n + 1));
	int32_t    *items = malloc(sizeof(int32_t) * (size_t) (k + 1));
	float	   *scores = malloc(sizeof(float) * (size_t) (k + 1));
	TopK		top;
	int			wrong = 0;
	int			want = n < k ? n : k;

	topk_init(&top, heap, (size_t) k);
	for (int x = 0; x < n; x++)
	{
		all[x].item = (int32_t) x * 7 % n + 1;
		if (n % 7 == 0)
			all[x].item = x + 1;
		all[x].score = levels ? (float) random_below(r, (uint32_t) levels) - (float) (levels / 2)
			: (float) (random_real(r) * 4 - 2);
		keys[x] = rank_key(all[x].item, all[x].score);
		wrong += rank_item(keys[x]) != all[x].item || rank_score(keys[x]) != all[x].score;
		topk_push(&top, all[x].item, all[x].score);
	}
	qsort(all, (size_t) n, sizeof(Entry), by_rank);
	wrong += topk_finish(&top, items, scores) != (size_t) want;
	for (int x = 0; x < want; x++)
		wrong += items[x] != all[x].item || scores[x] != all[x].score;
	if (want > 0)
	{
		rank_select(keys, (size_t) n, (size_t) want);
		rank_sort(keys, (size_t) want);
		for (int x = 0; x < want; x++)
			wrong += rank_item(keys[x]) != all[x].item;
	}
	rank_sort(keys, (size_t) n);
	for (int x = 0; x < n; x++)
		wrong += rank_item(keys[x]) != all[x].item;
	free(all);
	free(heap);
	free(keys);
	free(items);
	free(scores);
	return wrong;
}

int
main(void)
{
	Random		r = {1};
	int			wrong = 0;
	float		dots[] = {3, 1, 3, -1, 2};
	RankKey		heap[3];
	int32_t		items[3];
	float		scores[3];
	TopK		top;
	RankKey		rising[5000];

	for (int round = 0; round < 400; round++)
		wrong += differences(&r, (int) random_below(&r, round < 300 ? 200 : 5000),
							 1 + (int) random_below(&r, 120), round % 3 == 0 ? 3 : round % 3 == 1 ? 100 : 0);
	ok(wrong == 0, "top k, select and sort equal a plain sort, with and without ties (%d differences)", wrong);

	topk_init(&top, heap, 3);
	topk_push_all(&top, NULL, 10, dots, 5);
	ok(topk_finish(&top, items, scores) == 3 && items[0] == 10 && items[1] == 12 &&
	   items[2] == 14 && scores[2] == 2, "numbered stream, ties by the smaller item");
	topk_init(&top, heap, 0);
	topk_push_all(&top, NULL, 1, dots, 5);
	ok(topk_finish(&top, items, scores) == 0, "k = 0 keeps nothing");
	ok(rank_key(5, 0.0f) > rank_key(6, 0.0f) && rank_key(9, 0.0f) > rank_key(1, -0.0f) &&
	   rank_key(9, 1e-40f) > rank_key(1, 0.0f) && rank_key(9, -1.0f) > rank_key(1, -1.5f) &&
	   rank_key(INT32_MAX, -INFINITY) > 0, "keys order as scores do, then by the smaller item");

	/* sorted, reversed, equal: no quadratic time, no overrun */
	for (int form = 0; form < 3; form++)
	{
		wrong = 0;
		for (int x = 0; x < 5000; x++)
			rising[x] = form == 0 ? (RankKey) x : form == 1 ? (RankKey) (5000 - x) : 7;
		rank_select(rising, 5000, 100);
		rank_sort(rising, 5000);
		for (int x = 1; x < 5000; x++)
			wrong += rising[x] > rising[x - 1];
		ok(wrong == 0, "%s input sorts", form == 0 ? "rising" : form == 1 ? "falling" : "equal");
	}
	return unit_end();
}
