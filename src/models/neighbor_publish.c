/*
 * neighbor_publish.c
 *	  See neighbor_publish.h.
 *
 * From stored pairs, lists are refreshed in slices, and a publication that nobody
 * waits for ends after a while, so that the stream has its turn; rows are written once
 * the lists are right.  Without stored pairs a publication collects all histories (12
 * bytes per interaction, for its duration) and computes the rows that it needs from
 * their items' users: slower, less often, and with the same neighbours.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "models/neighbor_publish.h"

/* Work between two looks at interrupts, and time for one publication that
 * nobody waits for. */
#define REFRESH_ROWS 256
#define PUBLISH_MS 200

/* The share of time that publications without stored pairs may take: 1/4. */
#define ROWS_MODE_PAUSE 3

void
neighbor_out_of_memory(const NeighborModel *model)
{
	ereport(ERROR,
			errcode(ERRCODE_OUT_OF_MEMORY),
			errmsg("no memory for the neighbour lists of model \"%s\"",
				   NameStr(model->model->name)),
			errhint("Raise recsys.memory or lower the model's k."));
}

/* ---------------------------------------------------------------------- life */

void *
neighbor_model_open(Size size, const NeighborMethods *methods, ModelHost *host,
					const RecsysModel *model)
{
	MemoryContext context = AllocSetContextCreate(host->context, "recsys neighbour lists",
												  ALLOCSET_DEFAULT_SIZES);
	NeighborModel *opened = MemoryContextAllocZero(context, size);

	opened->methods = methods;
	opened->host = host;
	opened->model = model;
	opened->context = context;
	opened->allocator = histories_allocator(context);
	opened->k = (int) params_get(model->params, "k");
	return opened;
}

void
neighbor_model_close(NeighborModel *model)
{
	MemoryContextDelete(model->context);
}

void
neighbor_model_lists(NeighborModel *model, const NeighborParams *params)
{
	if (model->lists)
		neighbors_destroy(model->lists);
	/* the lists are what the model is: no limit but the machine's memory */
	model->lists = neighbors_create(&model->allocator, SIZE_MAX, params);
	if (model->lists == NULL)
		neighbor_out_of_memory(model);
}

void
neighbor_model_load(NeighborModel *model, int32 max_number)
{
	if (!neighbor_table_load(model->lists, model->host->source, model->model, model->methods->coding) ||
		!neighbors_touch_all(model->lists, max_number))
		neighbor_out_of_memory(model);
}

/* ------------------------------------------------------------------- publish */

/*
 * Bring the lists up to date from the stored pairs.  False: more to do before
 * rows can be written, or the pairs have gone.  True may leave behind what came
 * while an earlier publication was stopped half-way, unless "all".
 */
static bool
refresh_from_pairs(NeighborModel *model, bool all)
{
	const NeighborMethods *methods = model->methods;
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PUBLISH_MS);
	PairStore  *store;

	while ((store = methods->store(model)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		switch (neighbors_refresh(model->lists, store, REFRESH_ROWS))
		{
			case NEIGHBORS_DONE:
				/* refreshing finds out which dots are worn */
				if (methods->repair && methods->repair(model))
					break;
				if (all && neighbors_behind(model->lists))
					break;
				return true;
			case NEIGHBORS_FAILED:
				neighbor_out_of_memory(model);
				break;
			case NEIGHBORS_MORE:
				if (!all && GetCurrentTimestamp() > deadline)
					return false;
		}
	}
	return false;
}

/* The same from the histories. */
static bool
refresh_from_histories(NeighborModel *model, bool all)
{
	const NeighborMethods *methods = model->methods;
	TimestampTz start = GetCurrentTimestamp();
	HistorySet *set;
	Allocator	scratch;
	RowSum	   *sum;
	int32		number;

	if (!all && start < model->pause_until)
		return false;
	set = methods->collect ? methods->collect(model) :
		histories_collect(model->host, CurrentMemoryContext, true);
	scratch = histories_allocator(set->context);
	sum = rowsum_create(&scratch, model->with_counts);
	if (sum == NULL || !rowsum_reach(sum, methods->max_number(model)))
		neighbor_out_of_memory(model);
	while ((number = neighbors_next_row(model->lists)) != 0 || neighbors_behind(model->lists))
	{
		PairRowView row = {0};

		CHECK_FOR_INTERRUPTS();
		if (number < 0)
			neighbor_out_of_memory(model);
		if (number == 0)
			continue;			/* a list begun before the newest events */
		methods->sum_row(model, set, sum, number, &row);
		if (!neighbors_put_row(model->lists, number, &row))
			neighbor_out_of_memory(model);
	}
	MemoryContextDelete(set->context);
	model->pause_until = GetCurrentTimestamp() +
		ROWS_MODE_PAUSE * (GetCurrentTimestamp() - start);
	return true;
}

static void
weigh(NeighborModel *model)
{
	NeighborsState state;

	while ((state = neighbors_weigh(model->lists, REFRESH_ROWS)) == NEIGHBORS_MORE)
		CHECK_FOR_INTERRUPTS();
	if (state == NEIGHBORS_FAILED)
		neighbor_out_of_memory(model);
}

bool
neighbor_publish(NeighborModel *model, bool all)
{
	ModelHost  *host = model->host;
	const NeighborMethods *methods = model->methods;
	bool		done;

	/* small moves are put off while there are more to come */
	if (!neighbors_strict(model->lists, all || host->change_no == model->published_change))
		neighbor_out_of_memory(model);
	model->published_change = host->change_no;
	done = refresh_from_pairs(model, all);
	if (methods->store(model) == NULL)
		done = refresh_from_histories(model, all);
	if (!done)
		return false;

	done = !neighbors_behind(model->lists);
	host->put_off |= neighbors_put_off(model->lists);
	weigh(model);
	if (!neighbor_table_write(model->lists, host->source, model->model, model->k, methods->coding))
		neighbor_out_of_memory(model);
	return done;
}
