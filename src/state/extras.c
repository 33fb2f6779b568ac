/*
 * extras.c
 *	  Text forms of further columns of events, see extras.h.
 *
 * Once per event of a source that has a consumer with columns of its own:
 * texts are taken where they lie, integers are written without a call of
 * their output function, and the others' functions are looked up once.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "state/extras.h"

#define INTEGER_TEXT 24			/* bytes that any integer's text fits into */

typedef struct ExtraColumn
{
	int			column;			/* from 0; -1: the relation does not have it */
	Oid			type;
	bool		varlena;
	FmgrInfo	output;
} ExtraColumn;

struct ExtraColumns
{
	TupleDesc	desc;
	int			natts;
	Datum	   *values;			/* of a tuple taken apart here */
	bool	   *isnull;
	int			n;
	ExtraColumn *columns;
};

static int
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return i;
	}
	return -1;
}

ExtraColumns *
extra_columns_create(TupleDesc desc, char *const *names, int n, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ExtraColumns *x = palloc0(sizeof(ExtraColumns));

	x->n = n;
	x->columns = palloc0(sizeof(ExtraColumn) * n);
	x->desc = CreateTupleDescCopyConstr(desc);
	x->values = palloc(sizeof(Datum) * desc->natts);
	x->isnull = palloc(sizeof(bool) * desc->natts);
	for (int i = 0; i < n; i++)
	{
		ExtraColumn *c = &x->columns[i];
		Oid			output;

		c->column = find_column(desc, names[i]);
		if (c->column < 0)
			continue;
		x->natts = Max(x->natts, c->column + 1);
		c->type = TupleDescAttr(desc, c->column)->atttypid;
		getTypeOutputInfo(c->type, &output, &c->varlena);
		fmgr_info_cxt(output, &c->output, context);
	}
	MemoryContextSwitchTo(old);
	return x;
}

void
extra_columns_free(ExtraColumns *x)
{
	FreeTupleDesc(x->desc);
	pfree(x->values);
	pfree(x->isnull);
	pfree(x->columns);
	pfree(x);
}

int
extra_columns_natts(const ExtraColumns *x)
{
	return x->natts;
}

AttrNumber
extra_columns_attnum(const ExtraColumns *x, int i)
{
	return x->columns[i].column + 1;
}

static int
clipped(const char *text, int length)
{
	return length <= EXTRA_MAX_TEXT ? length : pg_mbcliplen(text, length, EXTRA_MAX_TEXT);
}

static int
read_column(ExtraColumn *c, Datum value, const char **text)
{
	char	   *buffer;

	switch (c->type)
	{
		case TEXTOID:
		case VARCHAROID:
			{
				struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);

				*text = VARDATA_ANY(packed);
				return clipped(*text, VARSIZE_ANY_EXHDR(packed));
			}
		case INT2OID:
		case INT4OID:
			*text = buffer = palloc(INTEGER_TEXT);
			return pg_ltoa(c->type == INT4OID ? DatumGetInt32(value) : DatumGetInt16(value), buffer);
		case INT8OID:
			*text = buffer = palloc(INTEGER_TEXT);
			return pg_lltoa(DatumGetInt64(value), buffer);
		default:
			*text = OutputFunctionCall(&c->output, value);
			return clipped(*text, strlen(*text));
	}
}

void
extra_columns_read(ExtraColumns *x, const Datum *values, const bool *isnull,
				   bool decoding, const char **texts, int *lengths)
{
	for (int i = 0; i < x->n; i++)
	{
		ExtraColumn *c = &x->columns[i];

		texts[i] = NULL;
		if (c->column < 0)
			lengths[i] = EXTRA_MISSING;
		else if (isnull[c->column])
			lengths[i] = EXTRA_NULL;
		else if (decoding && c->varlena &&
				 VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(values[c->column])))
			lengths[i] = EXTRA_UNKNOWN;
		else
			lengths[i] = read_column(c, values[c->column], &texts[i]);
	}
}

void
extra_columns_read_tuple(ExtraColumns *x, HeapTuple tuple, bool decoding,
						 const char **texts, int *lengths)
{
	heap_deform_tuple(tuple, x->desc, x->values, x->isnull);
	extra_columns_read(x, x->values, x->isnull, decoding, texts, lengths);
}
