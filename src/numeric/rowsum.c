/*
 * rowsum.c
 *	  See rowsum.h.  An array of sums indexed by item, and a list of the items
 *	  that were touched.
 *
 * An item enters the list when its sum is found to be zero, so it may enter
 * twice where terms cancelled; taking the row clears the sums as it goes, and
 * the second entry finds nothing.  A list that has grown to a good part of
 * all items is given up: the sums are then read from end to end.
 */
#include "numeric/rowsum.h"

#include <string.h>

struct RowSum
{
	Allocator	memory;
	int32_t		nitems;			/* largest item number plus 1 */
	bool		with_counts;
	bool		listed;			/* touched is complete */
	int32_t		ntouched;
	double	   *sums;			/* [nitems], zero between rows */
	int32_t    *users;			/* [nitems], common users; NULL without */
	int32_t    *touched;		/* [nitems] */
	float	   *dots;			/* [nitems], what a view shows */
	int32_t    *counts;			/* [nitems] */
};

static size_t
item_bytes(bool with_counts)
{
	return sizeof(double) + sizeof(int32_t) + sizeof(float) +
		(with_counts ? 2 * sizeof(int32_t) : 0);
}

RowSum *
rowsum_create(const Allocator *memory, bool with_counts)
{
	RowSum	   *rs = memory->alloc(memory->arg, sizeof(RowSum));

	if (!rs)
		return NULL;
	memset(rs, 0, sizeof(RowSum));
	rs->memory = *memory;
	rs->with_counts = with_counts;
	rs->listed = true;
	return rs;
}

void
rowsum_destroy(RowSum *rs)
{
	if (rs->sums)
		rs->memory.release(rs->memory.arg, rs->sums);
	rs->memory.release(rs->memory.arg, rs);
}

size_t
rowsum_bytes(const RowSum *rs)
{
	return sizeof(RowSum) + item_bytes(rs->with_counts) * (size_t) rs->nitems;
}

size_t
rowsum_bytes_for(int32_t max_item, bool with_counts)
{
	return sizeof(RowSum) + item_bytes(with_counts) * ((size_t) max_item + 1);
}

bool
rowsum_reach(RowSum *rs, int32_t max_item)
{
	size_t		n = (size_t) max_item + 1;
	void	   *block;

	if (max_item < rs->nitems)
		return true;
	if (rs->nitems > 0)
		n += n / 4;
	if (n > INT32_MAX)
		n = INT32_MAX;
	block = rs->memory.alloc(rs->memory.arg, size_mul(n, item_bytes(rs->with_counts)));
	if (!block)
		return false;
	memset(block, 0, n * item_bytes(rs->with_counts));
	if (rs->sums)
	{
		memcpy(block, rs->sums, (size_t) rs->nitems * sizeof(double));
		memcpy((double *) block + n, rs->touched, (size_t) rs->ntouched * sizeof(int32_t));
		if (rs->users)
			memcpy((double *) block + 2 * n, rs->users,
				   (size_t) rs->nitems * sizeof(int32_t));
		rs->memory.release(rs->memory.arg, rs->sums);
	}
	rs->nitems = (int32_t) n;
	rs->sums = block;
	rs->touched = (int32_t *) (rs->sums + n);
	rs->dots = (float *) (rs->touched + n);
	if (rs->with_counts)
	{
		rs->users = (int32_t *) (rs->dots + n);
		rs->counts = rs->users + n;
	}
	return true;
}

/* The kernel, once for each type of weight. */
#define ADD_USER(rs, r, items, weights, n) \
	do { \
		double	   *sums_ = (rs)->sums; \
		int32_t    *touched_ = (rs)->touched; \
		int32_t		nt_ = (rs)->ntouched; \
		if ((rs)->listed && nt_ + (n) >= (rs)->nitems / 2) \
			(rs)->listed = false; \
		if ((rs)->listed) \
		{ \
			for (int x_ = 0; x_ < (n); x_++) \
			{ \
				double	   *sum_ = &sums_[(items)[x_]]; \
				touched_[nt_] = (items)[x_]; \
				nt_ += *sum_ == 0; \
				*sum_ += (r) * (weights)[x_]; \
			} \
			(rs)->ntouched = nt_; \
		} \
		else \
			for (int x_ = 0; x_ < (n); x_++) \
				sums_[(items)[x_]] += (r) * (weights)[x_]; \
		if ((rs)->users) \
			for (int x_ = 0; x_ < (n); x_++) \
				(rs)->users[(items)[x_]]++; \
	} while (0)

void
rowsum_add(RowSum *rs, double r, const int32_t *items, const double *weights, int n)
{
	ADD_USER(rs, r, items, weights, n);
}

void
rowsum_add_float(RowSum *rs, double r, const int32_t *items, const float *weights, int n)
{
	ADD_USER(rs, r, items, weights, n);
}

static void
take_listed(RowSum *rs, PairRowView *row)
{
	int32_t		n = 0;

	for (int32_t t = 0; t < rs->ntouched; t++)
	{
		int32_t		j = rs->touched[t];
		float		dot = (float) rs->sums[j];
		bool		there = dot != 0;

		rs->sums[j] = 0;
		rs->touched[n] = j;
		rs->dots[n] = dot;
		if (rs->users)
		{
			if (!there && rs->users[j] != 0)
			{
				/* cancelled out, but the count must live on */
				rs->dots[n] = -0.0f;
				there = true;
			}
			rs->counts[n] = rs->users[j];
			rs->users[j] = 0;
		}
		n += there;
	}
	row->n = n;
	row->js = rs->touched;
}

static void
take_all(RowSum *rs, PairRowView *row)
{
	for (int32_t j = 0; j < rs->nitems; j++)
		rs->dots[j] = (float) rs->sums[j];
	memset(rs->sums, 0, sizeof(double) * (size_t) rs->nitems);
	if (rs->users)
	{
		for (int32_t j = 0; j < rs->nitems; j++)
			if (rs->users[j] != 0 && rs->dots[j] == 0)
				rs->dots[j] = -0.0f;
		memcpy(rs->counts, rs->users, sizeof(int32_t) * (size_t) rs->nitems);
		memset(rs->users, 0, sizeof(int32_t) * (size_t) rs->nitems);
	}
	row->n = rs->nitems;
	row->js = NULL;
}

void
rowsum_take(RowSum *rs, int32_t i, PairRowView *row)
{
	if (i < rs->nitems)
	{
		rs->sums[i] = 0;
		if (rs->users)
			rs->users[i] = 0;
	}
	if (rs->listed)
		take_listed(rs, row);
	else
		take_all(rs, row);
	row->in_lines = false;
	row->dots = rs->dots;
	row->counts = rs->counts;
	rs->listed = true;
	rs->ntouched = 0;
}
