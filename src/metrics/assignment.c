/*
 * assignment.c
 *	  See assignment.h; and recsys.assign_variant(), the same for anybody's keys.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "metrics/assignment.h"
#include "numeric/assign.h"

PG_FUNCTION_INFO_V1(recsys_assign_variant);

static void
hash_failed(void)
{
	ereport(ERROR,
			errcode(ERRCODE_INTERNAL_ERROR),
			errmsg("could not compute SHA-256"));
}

static void
add_text(pg_cryptohash_ctx *hash, const char *text)
{
	char	   *utf8 = pg_server_to_any(text, (int) strlen(text), PG_UTF8);

	if (pg_cryptohash_update(hash, (const uint8 *) utf8, strlen(utf8)) < 0)
		hash_failed();
	if (utf8 != text)
		pfree(utf8);
}

static uint64
ticket(pg_cryptohash_ctx *hash, const char *salt, const char *variant, const char *key)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint64		result = 0;

	if (pg_cryptohash_init(hash) < 0)
		hash_failed();
	add_text(hash, salt);
	add_text(hash, "/");
	add_text(hash, variant);
	add_text(hash, "/");
	add_text(hash, key);
	if (pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		hash_failed();
	for (int i = 0; i < 8; i++)
		result = result << 8 | digest[i];
	return result;
}

int
assignment_of(const Assignment *a, const char *key)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint64	   *tickets;
	int			chosen = -1;

	if (hash == NULL)
		hash_failed();
	if (a->traffic >= ASSIGN_WHOLE || assign_within(ticket(hash, a->salt, "", key), a->traffic))
	{
		tickets = palloc(sizeof(uint64) * Max(a->nvariants, 1));
		for (int i = 0; i < a->nvariants; i++)
			tickets[i] = ticket(hash, a->salt, a->variants[i], key);
		chosen = assign_choose(tickets, a->shares, a->nvariants);
		pfree(tickets);
	}
	pg_cryptohash_free(hash);
	return chosen;
}

/* ------------------------------------------------------------ for anybody */

static int32
share_argument(const char *name, double share)
{
	if (!(share >= 0 && share <= 1))
		ereport(ERROR,
				errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("%s %g is not within 0 and 1", name, share),
				errhint("Give it as a part of 1, such as 0.1 for 10 %%."));
	return (int32) rint(share * ASSIGN_WHOLE);
}

/* The texts of an array without nulls. */
static char **
variants_argument(ArrayType *array, int *n)
{
	Datum	   *values;
	char	  **texts;

	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("variants must be a list of names without NULL"),
				errhint("Pass them as in '{control,challenger}'."));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, n);
	texts = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		texts[i] = TextDatumGetCString(values[i]);
	return texts;
}

static int32 *
shares_argument(FunctionCallInfo fcinfo, int argno, int n)
{
	int32	   *shares = palloc(sizeof(int32) * Max(n, 1));
	ArrayType  *array;

	if (PG_ARGISNULL(argno))
	{
		for (int i = 0; i < n; i++)
			shares[i] = ASSIGN_WHOLE / n;
		return shares;
	}
	array = PG_GETARG_ARRAYTYPE_P(argno);
	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array) || ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) != n)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("shares do not fit the %d variants", n),
				errhint("Give one share without NULL for each variant, or leave shares out for equal ones."));
	for (int i = 0; i < n; i++)
		shares[i] = share_argument("share", ((float8 *) ARR_DATA_PTR(array))[i]);
	return shares;
}

/* assign_variant(salt, user_key, variants, shares, traffic) */
Datum
recsys_assign_variant(PG_FUNCTION_ARGS)
{
	Assignment	a;
	int			chosen;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(4))
		PG_RETURN_NULL();
	a.salt = text_to_cstring(PG_GETARG_TEXT_PP(0));
	a.variants = variants_argument(PG_GETARG_ARRAYTYPE_P(2), &a.nvariants);
	a.shares = shares_argument(fcinfo, 3, a.nvariants);
	a.traffic = share_argument("traffic", PG_GETARG_FLOAT8(4));
	chosen = assignment_of(&a, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (chosen < 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(a.variants[chosen]));
}
