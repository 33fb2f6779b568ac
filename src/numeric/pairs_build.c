/*
 * pairs_build.c
 *	  The batch pass of numeric/item_rows.h, kept in a store.
 */
#include "numeric/pairs_build.h"

struct PairBuild
{
	PairStore  *ps;
	Allocator	memory;
	ItemRows   *rows;
};

void
pairs_build_end(PairBuild *pb)
{
	if (pb->rows)
		item_rows_end(pb->rows);
	pb->memory.release(pb->memory.arg, pb);
}

PairBuild *
pairs_build_begin(PairStore *ps, const Histories *histories,
				  const Allocator *memory)
{
	PairBuild  *pb = memory->alloc(memory->arg, sizeof(PairBuild));

	if (!pb)
		return NULL;
	pb->ps = ps;
	pb->memory = *memory;
	pb->rows = item_rows_begin(histories, memory, pairs_has_counts(ps));
	if (!pb->rows || !pairs_expect(ps, item_rows_max_item(pb->rows)))
	{
		pairs_build_end(pb);
		return NULL;
	}
	return pb;
}

bool
pairs_build_step(PairBuild *pb, int64_t work)
{
	int64_t		until = item_rows_done(pb->rows) + work;
	PairRowView row;
	int32_t		item;

	while (item_rows_done(pb->rows) < until && (item = item_rows_next(pb->rows, &row)) != 0)
		if (!pairs_set_row(pb->ps, item, &row))
			return false;
	return true;
}

int64_t
pairs_build_done(const PairBuild *pb)
{
	return item_rows_done(pb->rows);
}

int64_t
pairs_build_total(const PairBuild *pb)
{
	return item_rows_total(pb->rows);
}
