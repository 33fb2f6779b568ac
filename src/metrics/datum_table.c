/*
 * datum_table.c
 *	  See datum_table.h.  A simplehash by the type's own functions.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "metrics/datum_table.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"

/* Numbers of users and items often are multiples of something, which hash
 * functions of small integers spread well only with all their bits. */
uint32
datum_table_hash(const DatumTable *table, Datum value)
{
	table->hash->args[0].value = value;
	table->hash->isnull = false;
	return murmurhash32(DatumGetUInt32(FunctionCallInvoke(table->hash)));
}

bool
datum_table_same(const DatumTable *table, Datum a, Datum b)
{
	table->equal->args[0].value = a;
	table->equal->args[1].value = b;
	table->equal->isnull = false;
	return DatumGetBool(FunctionCallInvoke(table->equal));
}

static FunctionCallInfo
prepare_call(FmgrInfo *function, int nargs, Oid collation)
{
	FunctionCallInfo call = palloc0(SizeForFunctionCallInfo(nargs));

	InitFunctionCallInfoData(*call, function, nargs, collation, NULL, NULL);
	return call;
}

void
datum_table_create(DatumTable *table, MemoryContext context, Oid type, Oid collation,
				   bool ordered, uint32 size, const char *what)
{
	MemoryContext before = MemoryContextSwitchTo(context);

	table->context = context;
	table->collation = collation;
	table->type = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO |
									(ordered ? TYPECACHE_CMP_PROC_FINFO : 0));
	if (!OidIsValid(table->type->eq_opr_finfo.fn_oid) || !OidIsValid(table->type->hash_proc_finfo.fn_oid) ||
		(ordered && !OidIsValid(table->type->cmp_proc_finfo.fn_oid)))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				ordered ?
				errmsg("%s of type %s cannot be told apart and put in order", what, format_type_be(type)) :
				errmsg("%s of type %s cannot be told apart: the type has no hash function",
					   what, format_type_be(type)),
				ordered ?
				errhint("Cast them to a type that can be hashed and sorted, such as text.") :
				errhint("Cast them to a type that can be hashed, such as text."));
	table->hash = prepare_call(&table->type->hash_proc_finfo, 1, collation);
	table->equal = prepare_call(&table->type->eq_opr_finfo, 2, collation);
	table->entries = datums_create(context, size, table);
	MemoryContextSwitchTo(before);
}

DatumEntry *
datum_table_add(DatumTable *table, Datum value, bool *found)
{
	DatumEntry *entry = datums_insert(table->entries, value, found);

	if (!*found)
	{
		MemoryContext before = MemoryContextSwitchTo(table->context);

		entry->value = datumCopy(value, table->type->typbyval, table->type->typlen);
		entry->number = 0;
		MemoryContextSwitchTo(before);
	}
	return entry;
}

void
datum_table_free(const DatumTable *table, Datum value)
{
	if (!table->type->typbyval)
		pfree(DatumGetPointer(value));
}

Size
datum_table_written_size(const DatumTable *table, Datum value)
{
	return datumEstimateSpace(value, false, table->type->typbyval, table->type->typlen);
}

void
datum_table_write(const DatumTable *table, Datum value, StringInfo to)
{
	char	   *end;

	enlargeStringInfo(to, (int) datum_table_written_size(table, value));
	end = to->data + to->len;
	datumSerialize(value, false, table->type->typbyval, table->type->typlen, &end);
	to->len = (int) (end - to->data);
}

Datum
datum_table_read(StringInfo from)
{
	char	   *at = from->data + from->cursor;
	bool		isnull;
	Datum		value = datumRestore(&at, &isnull);

	from->cursor = (int) (at - from->data);
	return value;
}
