/*
 * experiment_read.c
 *	  Experiments as they are declared.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "catalog/internal.h"
#include "numeric/assign.h"

static int32
millionths(double share)
{
	return (int32) rint(share * ASSIGN_WHOLE);
}

/* Elements of a text[]; those that are null come as NULL. */
char	  **
experiment_names(Datum array, int *n)
{
	Datum	   *values;
	bool	   *nulls;
	char	  **names;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, n);
	names = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		names[i] = nulls[i] ? NULL : TextDatumGetCString(values[i]);
	return names;
}

static void
does_not_fit(const RecsysExperiment *experiment)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("arrays of experiment \"%s\" do not fit together", NameStr(experiment->name)),
			 errhint("Drop it with recsys.drop_experiment() and create it again.")));
}

static int32 *
shares_of(Datum array, const RecsysExperiment *experiment)
{
	ArrayType  *shares = DatumGetArrayTypeP(array);
	int32	   *result = palloc(sizeof(int32) * experiment->nvariants);

	if (ARR_NDIM(shares) != 1 || ARR_HASNULL(shares) ||
		ARR_DIMS(shares)[0] != experiment->nvariants)
		does_not_fit(experiment);
	for (int i = 0; i < experiment->nvariants; i++)
		result[i] = millionths(((float8 *) ARR_DATA_PTR(shares))[i]);
	return result;
}

static int
winner_of(const RecsysExperiment *experiment, const char *winner)
{
	for (int i = 0; i < experiment->nvariants; i++)
		if (strcmp(experiment->variants[i], winner) == 0)
			return i;
	return 0;
}

RecsysExperiment *
experiment_from_row(const CatalogRow *row)
{
	RecsysExperiment *experiment = palloc0(sizeof(RecsysExperiment));
	const Datum *v = row->values;
	int			n;

	experiment->id = DatumGetInt32(v[EXPERIMENT_ID]);
	experiment->source_id = DatumGetInt32(v[EXPERIMENT_SOURCE_ID]);
	experiment->name = *DatumGetName(v[EXPERIMENT_NAME]);
	experiment->salt = TextDatumGetCString(v[EXPERIMENT_SALT]);
	experiment->variants = experiment_names(v[EXPERIMENT_VARIANTS], &experiment->nvariants);
	experiment->models = experiment_names(v[EXPERIMENT_MODELS], &n);
	if (n != experiment->nvariants)
		does_not_fit(experiment);
	experiment->shares = shares_of(v[EXPERIMENT_SHARES], experiment);
	experiment->traffic = millionths(DatumGetFloat8(v[EXPERIMENT_TRAFFIC]));
	experiment->min_lift = DatumGetFloat8(v[EXPERIMENT_MIN_LIFT]);
	experiment->significance = DatumGetFloat8(v[EXPERIMENT_SIGNIFICANCE]);
	experiment->power = DatumGetFloat8(v[EXPERIMENT_POWER]);
	experiment->started_at = DatumGetTimestampTz(v[EXPERIMENT_STARTED_AT]);
	experiment->stopped = !row->nulls[EXPERIMENT_STOPPED_AT];
	if (experiment->stopped)
		experiment->stopped_at = DatumGetTimestampTz(v[EXPERIMENT_STOPPED_AT]);
	if (!row->nulls[EXPERIMENT_WINNER])
		experiment->winner = winner_of(experiment, TextDatumGetCString(v[EXPERIMENT_WINNER]));
	return experiment;
}

static int
compare_experiment_ids(const ListCell *a, const ListCell *b)
{
	int32		x = ((RecsysExperiment *) lfirst(a))->id;
	int32		y = ((RecsysExperiment *) lfirst(b))->id;

	return x < y ? -1 : x > y;
}

/* The experiments of a source, the oldest first. */
List *
catalog_experiments(int32 source_id)
{
	Snapshot	snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;
	List	   *experiments = NIL;
	ListCell   *lc;

	foreach(lc, store_read(BY_EXPERIMENT_SOURCE, Int32GetDatum(source_id), snapshot))
		experiments = lappend(experiments, experiment_from_row(lfirst(lc)));
	list_sort(experiments, compare_experiment_ids);
	return experiments;
}

static CatalogRow *
find_row(const RecsysSource *source, const char *name, Snapshot snapshot)
{
	ListCell   *lc;

	foreach(lc, store_read(BY_EXPERIMENT_SOURCE, Int32GetDatum(source->id), snapshot))
	{
		CatalogRow *row = lfirst(lc);

		if (strcmp(NameStr(*DatumGetName(row->values[EXPERIMENT_NAME])), name) == 0)
			return row;
	}
	return NULL;
}

/* The newest row, for changing it; NULL if there is none. */
CatalogRow *
find_experiment_row(const RecsysSource *source, const char *name)
{
	return find_row(source, name, NULL);
}

RecsysExperiment *
catalog_experiment(const RecsysSource *source, const char *name, bool missing_ok)
{
	CatalogRow *row = find_row(source, name, ActiveSnapshotSet() ? GetActiveSnapshot() : NULL);

	if (row == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("experiment \"%s\" of source \"%s\" does not exist",
						name, NameStr(source->name)),
				 errhint("SELECT experiment FROM recsys.experiments WHERE source = %s; shows the experiments.",
						 quote_literal_cstr(NameStr(source->name)))));
	return row == NULL ? NULL : experiment_from_row(row);
}

/* A model and an experiment of one source can't have the same name. */
void
check_no_experiment(const RecsysSource *source, const char *name)
{
	if (find_experiment_row(source, name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("source \"%s\" has an experiment \"%s\"", NameStr(source->name), name),
				 errdetail("The name of an experiment stands for the model of the user's variant."),
				 errhint("Choose another name.")));
}

/* Error if an experiment still serves a model. */
void
check_model_unused(const RecsysSource *source, const char *model)
{
	ListCell   *lc;

	foreach(lc, store_read(BY_EXPERIMENT_SOURCE, Int32GetDatum(source->id), NULL))
	{
		RecsysExperiment *e = experiment_from_row(lfirst(lc));

		for (int i = 0; i < e->nvariants; i++)
			if (e->models[i] && strcmp(e->models[i], model) == 0 && (!e->stopped || i == e->winner))
				ereport(ERROR,
						(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						 errmsg("model \"%s\" serves variant \"%s\" of experiment \"%s\"",
								model, e->variants[i], NameStr(e->name)),
						 errhint("Stop the experiment with another winner, or drop it: SELECT recsys.drop_experiment(%s, %s);",
								 quote_literal_cstr(NameStr(source->name)),
								 quote_literal_cstr(NameStr(e->name)))));
	}
}
