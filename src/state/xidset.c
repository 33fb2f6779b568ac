/*
 * xidset.c
 *	  The applied set, see xidset.h.
 *
 * Additions come nearly in order of transaction ids, so the search for the
 * place of a new range starts at the end.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type_d.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "state/xidset.h"

XidSet *
xidset_create(void)
{
	XidSet	   *set = palloc(sizeof(XidSet));

	set->n = 0;
	set->max = 16;
	set->bounds = palloc(sizeof(uint64) * set->max);
	return set;
}

void
xidset_free(XidSet *set)
{
	pfree(set->bounds);
	pfree(set);
}

/* Number of boundaries <= fxid: odd means that fxid lies inside a range. */
static int
boundaries_upto(const XidSet *set, uint64 fxid)
{
	int			low = 0,
				high = set->n;

	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (set->bounds[mid] <= fxid)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool
xidset_contains(const XidSet *set, uint64 fxid)
{
	return boundaries_upto(set, fxid) % 2 == 1;
}

void
xidset_add(XidSet *set, uint64 from, uint64 to)
{
	int			first,
				last;
	uint64		replacement[2];
	int			nreplacement = 0;

	if (from >= to)
		return;

	/*
	 * Boundaries in [from, to] vanish; where "from" (or "to") does not touch
	 * an existing range, it becomes a boundary itself.
	 */
	first = set->n;
	while (first > 0 && set->bounds[first - 1] >= from)
		first--;
	last = boundaries_upto(set, to);
	if (last < first)
		last = first;
	if (first % 2 == 0)
		replacement[nreplacement++] = from;
	if (last % 2 == 0)
		replacement[nreplacement++] = to;

	if (set->n - (last - first) + nreplacement > set->max)
	{
		set->max *= 2;
		set->bounds = repalloc_huge(set->bounds, sizeof(uint64) * set->max);
	}
	memmove(set->bounds + first + nreplacement, set->bounds + last,
			sizeof(uint64) * (set->n - last));
	memcpy(set->bounds + first, replacement, sizeof(uint64) * nreplacement);
	set->n += nreplacement - (last - first);
}

void
xidset_copy(XidSet *to, const XidSet *from)
{
	if (to->max < from->n)
	{
		to->max = from->max;
		to->bounds = repalloc_huge(to->bounds, sizeof(uint64) * to->max);
	}
	to->n = from->n;
	memcpy(to->bounds, from->bounds, sizeof(uint64) * from->n);
}

/* int8[] of the boundaries. */
Datum
xidset_to_array(const XidSet *set)
{
	ArrayType  *array;
	Datum	   *datums = palloc(sizeof(Datum) * Max(set->n, 1));

	for (int i = 0; i < set->n; i++)
		datums[i] = Int64GetDatum((int64) set->bounds[i]);
	array = construct_array(datums, set->n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	pfree(datums);
	return PointerGetDatum(array);
}

XidSet *
xidset_from_array(Datum datum)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	XidSet	   *set = xidset_create();
	int			n;

	n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (ARR_ELEMTYPE(array) != INT8OID || ARR_HASNULL(array) || n % 2 != 0)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("applied set in the state row is not a list of ranges"));
	if (n > set->max)
	{
		set->max = n;
		set->bounds = repalloc_huge(set->bounds, sizeof(uint64) * n);
	}
	set->n = n;
	memcpy(set->bounds, ARR_DATA_PTR(array), sizeof(uint64) * n);
	return set;
}

/*
 * The epoch is that of the next transaction id, or the one before where the
 * 32-bit id is larger: a transaction id found in a tuple or in WAL lies in the
 * past.
 */
uint64
xidset_full_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next) && epoch > 0)
		epoch--;
	return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}
