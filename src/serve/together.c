/*
 * together.c
 *	  frequently_bought_together(): what a model of algorithm baskets says of some
 *	  items.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "utils/builtins.h"

#include "models/baskets.h"
#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_frequently_bought_together);

#define BASKETS "baskets"

/* Support, confidence, lift. */
static const Oid together_columns[] = {INT8OID, FLOAT4OID, FLOAT4OID, InvalidOid};

/* Items in their order, newest last. */
typedef struct ItemList
{
	int32		n,
				max;
	int32	   *items;
} ItemList;

static void
add_item(TupleTableSlot *slot, void *arg)
{
	ItemList   *list = arg;

	if (list->n == list->max)
	{
		list->max = Max(16, list->max * 2);
		list->items = list->items ? repalloc_huge(list->items, sizeof(int32) * (Size) list->max) :
			palloc(sizeof(int32) * list->max);
	}
	list->items[list->n++] = DatumGetInt32(checked_attribute(slot, ITEM_ID));
}

static bool
has_baskets(const RecsysModel *model)
{
	return model && strcmp(model->algorithm, BASKETS) == 0;
}

/* The model named; else the default model or the oldest that has baskets. */
static void
use_basket_model(ServeCall *call, int argno)
{
	ListCell   *lc;

	serve_use_model(call, argno);
	if (has_baskets(call->model))
		return;
	if (!call->fcinfo->args[argno].isnull)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("algorithm \"%s\" of model \"%s\" does not keep baskets",
					   call->model->algorithm, NameStr(call->model->name)),
				errhint("Name a model of algorithm \"%s\", or none.", BASKETS));
	foreach(lc, call->served->models)
		if (has_baskets(lfirst(lc)))
		{
			serve_take_model(call, lfirst(lc));
			return;
		}
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("source \"%s\" has no model of algorithm \"%s\"",
				   NameStr(call->source->name), BASKETS),
			errhint("SELECT recsys.create_model(%s, '%s', '%s', '{\"basket_column\": \"order_id\"}');",
					quote_literal_cstr(NameStr(call->source->name)), BASKETS, BASKETS));
}

static int
best_first(const void *a, const void *b)
{
	const TogetherItem *x = a,
			   *y = b;
	RankKey		kx = rank_of(x->item, x->score),
				ky = rank_of(y->item, y->score);

	return kx > ky ? -1 : kx < ky;
}

static void
list_together(ServeCall *call, TogetherItem *together, int n, int rows)
{
	qsort(together, n, sizeof(TogetherItem), best_first);
	for (int i = 0; i < n && rows > 0; i++)
	{
		Datum		more[3];
		bool		nulls[3] = {false};

		more[0] = Int64GetDatum(together[i].support);
		more[1] = Float4GetDatum((float) together[i].confidence);
		more[2] = Float4GetDatum((float) together[i].lift);
		if (result_item_more(call, together[i].item, together[i].score, more, nulls))
			rows--;
	}
}

/* frequently_bought_together(items, k, model) */
Datum
recsys_frequently_bought_together(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	ItemList	list = {0};
	int			rows;

	serve_begin(&call, fcinfo);
	rows = serve_rows_wanted(&call, 1, "k", 10);
	use_basket_model(&call, 2);
	serve_item_array(&call, 0, add_item, &list);
	serve_open_items(&call);
	result_begin_more(&call, together_columns);
	if (call.algorithm && list.n > 0)
	{
		TogetherItem *together;
		int			n = baskets_together(&call.cx, list.items, list.n, &together);

		list_together(&call, together, n, rows);
	}
	serve_end(&call);
	return (Datum) 0;
}
