/*
 * ranking_metrics.c
 *	  precision_at_k() and its kin, for arrays of any type that has "=".
 *
 * "relevant" is a set: nulls and repetitions in it do not count.  "recommended"
 * is a list: a null, and an item that stood further up already, take their rank
 * and are no hit.  Without relevant items there is nothing to find, and the
 * result is null, so that avg() over users leaves that user out.
 *
 * Relevant items go into a hash table by the type's own hash function; types
 * without one work too, more slowly.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

#include "numeric/ranking.h"

PG_FUNCTION_INFO_V1(recsys_precision_at_k);
PG_FUNCTION_INFO_V1(recsys_recall_at_k);
PG_FUNCTION_INFO_V1(recsys_ndcg_at_k);
PG_FUNCTION_INFO_V1(recsys_average_precision_at_k);
PG_FUNCTION_INFO_V1(recsys_reciprocal_rank);
PG_FUNCTION_INFO_V1(recsys_hit_rate);

/* Elements of an array. */
typedef struct Elements
{
	int			n;
	Datum	   *values;
	bool	   *nulls;
} Elements;

/* The relevant items: open addressing, at most half full. */
typedef struct RelevantSet
{
	TypeCacheEntry *type;
	FunctionCallInfo equal;
	FunctionCallInfo hash;		/* NULL: all hash alike */
	uint32		mask;
	int			n;				/* different items */
	struct Relevant
	{
		Datum		value;
		bool		used;
		bool		found;		/* stood in the list already */
	}		   *slots;
} RelevantSet;

/* What the type can do is looked up once per query. */
static TypeCacheEntry *
element_type(FunctionCallInfo fcinfo, Oid type)
{
	TypeCacheEntry *entry = fcinfo->flinfo->fn_extra;

	if (entry == NULL || entry->type_id != type)
	{
		entry = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO);
		fcinfo->flinfo->fn_extra = entry;
	}
	if (!OidIsValid(entry->eq_opr_finfo.fn_oid))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("type %s has no equality operator", format_type_be(type)),
				errhint("Cast the items to a type that can be compared, such as text."));
	return entry;
}

static Elements
elements_of(ArrayType *array, const TypeCacheEntry *type)
{
	Elements	e;

	deconstruct_array(array, type->type_id, type->typlen, type->typbyval, type->typalign,
					  &e.values, &e.nulls, &e.n);
	return e;
}

static FunctionCallInfo
prepare_call(FmgrInfo *function, int nargs, Oid collation)
{
	FunctionCallInfo call = palloc0(SizeForFunctionCallInfo(nargs));

	InitFunctionCallInfoData(*call, function, nargs, collation, NULL, NULL);
	return call;
}

static struct Relevant *
find_slot(RelevantSet *set, Datum value)
{
	uint32		at = 0;

	if (set->hash)
	{
		set->hash->args[0].value = value;
		set->hash->isnull = false;
		at = DatumGetUInt32(FunctionCallInvoke(set->hash));
	}
	for (at &= set->mask; set->slots[at].used; at = (at + 1) & set->mask)
	{
		set->equal->args[0].value = set->slots[at].value;
		set->equal->args[1].value = value;
		set->equal->isnull = false;
		if (DatumGetBool(FunctionCallInvoke(set->equal)) && !set->equal->isnull)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	return &set->slots[at];
}

static RelevantSet *
relevant_set(const Elements *relevant, TypeCacheEntry *type, Oid collation)
{
	RelevantSet *set = palloc0(sizeof(RelevantSet));
	uint32		nslots = 8;

	while (nslots < 2 * (uint32) relevant->n)
		nslots *= 2;
	set->type = type;
	set->equal = prepare_call(&type->eq_opr_finfo, 2, collation);
	if (OidIsValid(type->hash_proc_finfo.fn_oid))
		set->hash = prepare_call(&type->hash_proc_finfo, 1, collation);
	set->mask = nslots - 1;
	set->slots = palloc_extended(sizeof(struct Relevant) * nslots, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < relevant->n; i++)
	{
		struct Relevant *slot;

		if (relevant->nulls[i])
			continue;
		slot = find_slot(set, relevant->values[i]);
		set->n += !slot->used;
		slot->value = relevant->values[i];
		slot->used = true;
	}
	return set;
}

static int
positive_k(FunctionCallInfo fcinfo)
{
	int			k = PG_GETARG_INT32(2);

	if (k <= 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("k must be positive, not %d", k),
				errhint("k is how many of the recommended items count, such as 10."));
	return k;
}

/* Scores of (recommended, relevant, k); false: nothing is relevant. */
static bool
score_arguments(FunctionCallInfo fcinfo, RankingScores *scores)
{
	ArrayType  *recommended = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *relevant = PG_GETARG_ARRAYTYPE_P(1);
	int			k = positive_k(fcinfo);
	TypeCacheEntry *type = element_type(fcinfo, ARR_ELEMTYPE(recommended));
	Elements	list = elements_of(recommended, type),
				items = elements_of(relevant, type);
	RelevantSet *set = relevant_set(&items, type, PG_GET_COLLATION());
	int			n = Min(list.n, k);
	bool	   *hits;

	if (set->n == 0)
		return false;
	hits = palloc0(sizeof(bool) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		struct Relevant *slot;

		if (list.nulls[i])
			continue;
		slot = find_slot(set, list.values[i]);
		hits[i] = slot->used && !slot->found;
		slot->found = slot->used;
	}
	ranking_scores(hits, n, set->n, k, scores);
	return true;
}

#define RANKING_FUNCTION(function, field) \
Datum \
function(PG_FUNCTION_ARGS) \
{ \
	RankingScores scores; \
\
	if (!score_arguments(fcinfo, &scores)) \
		PG_RETURN_NULL(); \
	PG_RETURN_FLOAT8(scores.field); \
}

RANKING_FUNCTION(recsys_precision_at_k, precision)
RANKING_FUNCTION(recsys_recall_at_k, recall)
RANKING_FUNCTION(recsys_ndcg_at_k, ndcg)
RANKING_FUNCTION(recsys_average_precision_at_k, average_precision)
RANKING_FUNCTION(recsys_reciprocal_rank, reciprocal_rank)
RANKING_FUNCTION(recsys_hit_rate, hit_rate)
