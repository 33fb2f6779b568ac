/*
 * experiment_ddl.c
 *	  create_experiment(), alter_experiment(), stop_experiment() and
 *	  drop_experiment().
 *
 * Plain writes of recsys.experiment: nothing is built, and no worker needs to
 * know.  A user's variant follows from the row alone, so a change takes effect
 * with the next statement that sees it.
 *
 * A change of shares or of traffic gives some users another variant.  What they
 * did before belongs to none of the variants, so counting begins anew.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/internal.h"
#include "numeric/assign.h"

PG_FUNCTION_INFO_V1(recsys_create_experiment);
PG_FUNCTION_INFO_V1(recsys_alter_experiment);
PG_FUNCTION_INFO_V1(recsys_stop_experiment);
PG_FUNCTION_INFO_V1(recsys_drop_experiment);

#define MOST_VARIANTS	50

/* What shares may miss 1 by: thirds are written as 0.333. */
#define SHARES_WITHIN	0.0015

/* Arguments of create_experiment(). */
enum
{
	ARG_SOURCE,
	ARG_EXPERIMENT,
	ARG_VARIANTS,
	ARG_SHARES,
	ARG_MODELS,
	ARG_TRAFFIC,
	ARG_SALT,
	ARG_MIN_LIFT,
	ARG_SIGNIFICANCE,
	ARG_POWER
};

static RecsysSource *
source_for_change(FunctionCallInfo fcinfo, const char *function)
{
	catalog_require_argument(fcinfo, 0, "source");
	catalog_require_argument(fcinfo, 1, "experiment");
	return source_from_row(source_row_for_change(function, PG_GETARG_NAME(0),
												 ShareUpdateExclusiveLock));
}

static CatalogRow *
experiment_row(const RecsysSource *source, const char *name)
{
	CatalogRow *row = find_experiment_row(source, name);

	if (row == NULL)
		(void) catalog_experiment(source, name, false);	/* raises the error */
	return row;
}

/* ------------------------------------------------------------ the variants */

static void
check_length(const ArrayType *array, const char *what, int wanted)
{
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("%s must have one dimension, not %d", what, ARR_NDIM(array)),
				 errhint("Give one element for each variant.")));
	if (wanted >= 0 && n != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("there are %d variants, but %d %s", wanted, n, what),
				 errhint("Give one element for each variant.")));
}

static void
check_variant_name(char **names, int i)
{
	if (names[i] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of variant number %d is null", i + 1),
				 errhint("Give it a name.")));
	check_new_name("variant", names[i]);
	for (int j = 0; j < i; j++)
		if (strcmp(names[i], names[j]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("variant \"%s\" is named twice", names[i]),
					 errhint("Give each variant a name of its own.")));
}

/* Returns how many variants there are. */
static int
check_variants(ArrayType *variants)
{
	char	  **names;
	int			n;

	check_length(variants, "variants", -1);
	names = experiment_names(PointerGetDatum(variants), &n);
	if (n < 2 || n > MOST_VARIANTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an experiment can not have %d variants", n),
				 errhint("Name 2 to %d, the control first, as in variants => '{control,challenger}'.",
						 MOST_VARIANTS)));
	for (int i = 0; i < n; i++)
		check_variant_name(names, i);
	return n;
}

/* Error unless the model exists, in the newest state. */
static void
check_model(const RecsysSource *source, const char *model)
{
	ListCell   *lc;

	foreach(lc, store_read(BY_MODEL_SOURCE, Int32GetDatum(source->id), NULL))
	{
		CatalogRow *row = lfirst(lc);

		if (strcmp(NameStr(*DatumGetName(row->values[MODEL_NAME])), model) == 0)
			return;
	}
	model_does_not_exist(source, model);
}

/* Every model that is named exists. */
static void
check_models(const RecsysSource *source, ArrayType *models, int nvariants)
{
	char	  **names;
	int			n;

	check_length(models, "models", nvariants);
	names = experiment_names(PointerGetDatum(models), &n);
	for (int i = 0; i < n; i++)
		if (names[i])
			check_model(source, names[i]);
}

static void
check_share(const char *what, double share)
{
	if (!(share >= 0 && share <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s %g is not within 0 and 1", what, share),
				 errhint("Give it as a part of 1, such as 0.1 for 10 %%.")));
}

static void
check_shares(ArrayType *shares, int nvariants)
{
	double		sum = 0;

	check_length(shares, "shares", nvariants);
	if (ARR_HASNULL(shares))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a share is null"),
				 errhint("Give each variant a share, or leave shares out for equal ones.")));
	for (int i = 0; i < nvariants; i++)
	{
		double		share = ((float8 *) ARR_DATA_PTR(shares))[i];

		check_share("share", share);
		sum += share;
	}
	if (fabs(sum - 1) > SHARES_WITHIN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("shares add up to %g, not to 1", sum),
				 errhint("Divide all users of the experiment among the variants; traffic says how many users take part.")));
}

static Datum
equal_shares(int n)
{
	Datum	   *shares = palloc(sizeof(Datum) * n);

	for (int i = 0; i < n; i++)
		shares[i] = Float8GetDatum(1.0 / n);
	return PointerGetDatum(construct_array(shares, n, FLOAT8OID, sizeof(float8),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
check_traffic(double traffic)
{
	check_share("traffic", traffic);
	if (traffic * ASSIGN_WHOLE < 0.5)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("traffic %g is too small", traffic),
				 errhint("Let at least a millionth of the users take part, or stop the experiment.")));
}

/* -------------------------------------------------------------- the figures */

static void
check_open_range(const char *name, double value, double lower, double upper, const char *hint)
{
	if (!(value > lower && value < upper))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s %g is not between %g and %g", name, value, lower, upper),
				 errhint("%s", hint)));
}

static void
check_design(FunctionCallInfo fcinfo)
{
	check_open_range("min_lift", PG_GETARG_FLOAT8(ARG_MIN_LIFT), 0, 100,
					 "Give the smallest relative change that matters, such as 0.05 for 5 %.");
	check_open_range("significance", PG_GETARG_FLOAT8(ARG_SIGNIFICANCE), 0, 0.5,
					 "Give the p-value below which a difference counts, such as 0.05.");
	check_open_range("power", PG_GETARG_FLOAT8(ARG_POWER), 0.5, 1,
					 "Give the probability with which min_lift is to be found, such as 0.8.");
}

/* ------------------------------------------------------------ the functions */

static void
check_experiment_name(const RecsysSource *source, const char *name)
{
	ListCell   *lc;

	check_new_name("experiment", name);
	if (find_experiment_row(source, name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("experiment \"%s\" of source \"%s\" already exists",
						name, NameStr(source->name)),
				 errhint("Choose another name, or drop it: SELECT recsys.drop_experiment(%s, %s);",
						 quote_literal_cstr(NameStr(source->name)), quote_literal_cstr(name))));
	foreach(lc, store_read(BY_MODEL_SOURCE, Int32GetDatum(source->id), NULL))
	{
		CatalogRow *row = lfirst(lc);

		if (strcmp(NameStr(*DatumGetName(row->values[MODEL_NAME])), name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("source \"%s\" has a model \"%s\"", NameStr(source->name), name),
					 errdetail("The name of an experiment stands for the model of the user's variant."),
					 errhint("Choose another name.")));
	}
}

static void
start_now(CatalogRow *row)
{
	row->values[EXPERIMENT_STARTED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
}

Datum
recsys_create_experiment(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {
		[ARG_TRAFFIC] = "traffic",[ARG_MIN_LIFT] = "min_lift",
		[ARG_SIGNIFICANCE] = "significance",[ARG_POWER] = "power"
	};
	RecsysSource *source = source_for_change(fcinfo, "create_experiment");
	CatalogRow	row = {0};
	int			n;

	catalog_require_argument(fcinfo, ARG_VARIANTS, "variants");
	for (int i = 0; i < (int) lengthof(required); i++)
		if (required[i])
			catalog_require_argument(fcinfo, i, required[i]);
	check_experiment_name(source, NameStr(*PG_GETARG_NAME(ARG_EXPERIMENT)));
	n = check_variants(PG_GETARG_ARRAYTYPE_P(ARG_VARIANTS));
	if (!PG_ARGISNULL(ARG_SHARES))
		check_shares(PG_GETARG_ARRAYTYPE_P(ARG_SHARES), n);
	check_models(source, PG_GETARG_ARRAYTYPE_P(PG_ARGISNULL(ARG_MODELS) ? ARG_VARIANTS : ARG_MODELS), n);
	check_traffic(PG_GETARG_FLOAT8(ARG_TRAFFIC));
	check_design(fcinfo);

	row.values[EXPERIMENT_SOURCE_ID] = Int32GetDatum(source->id);
	row.values[EXPERIMENT_NAME] = PG_GETARG_DATUM(ARG_EXPERIMENT);
	row.values[EXPERIMENT_SALT] = PG_ARGISNULL(ARG_SALT) ?
		CStringGetTextDatum(NameStr(*PG_GETARG_NAME(ARG_EXPERIMENT))) : PG_GETARG_DATUM(ARG_SALT);
	row.values[EXPERIMENT_VARIANTS] = PG_GETARG_DATUM(ARG_VARIANTS);
	row.values[EXPERIMENT_SHARES] =
		PG_ARGISNULL(ARG_SHARES) ? equal_shares(n) : PG_GETARG_DATUM(ARG_SHARES);
	row.values[EXPERIMENT_MODELS] =
		PG_GETARG_DATUM(PG_ARGISNULL(ARG_MODELS) ? ARG_VARIANTS : ARG_MODELS);
	row.values[EXPERIMENT_TRAFFIC] = PG_GETARG_DATUM(ARG_TRAFFIC);
	row.values[EXPERIMENT_MIN_LIFT] = PG_GETARG_DATUM(ARG_MIN_LIFT);
	row.values[EXPERIMENT_SIGNIFICANCE] = PG_GETARG_DATUM(ARG_SIGNIFICANCE);
	row.values[EXPERIMENT_POWER] = PG_GETARG_DATUM(ARG_POWER);
	start_now(&row);
	row.nulls[EXPERIMENT_STOPPED_AT] = true;
	row.nulls[EXPERIMENT_WINNER] = true;
	row.values[EXPERIMENT_ID] = Int32GetDatum(store_nextval("experiment_id"));
	store_insert("experiment", &row);
	PG_RETURN_VOID();
}

/* alter_experiment(source, experiment, shares, traffic) */
Datum
recsys_alter_experiment(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "alter_experiment");
	const char *name = NameStr(*PG_GETARG_NAME(1));
	CatalogRow *row = experiment_row(source, name);
	RecsysExperiment *experiment = experiment_from_row(row);

	if (experiment->stopped)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("experiment \"%s\" of source \"%s\" was stopped",
						name, NameStr(source->name)),
				 errhint("Create another one; the same salt => %s gives users the same variants.",
						 quote_literal_cstr(experiment->salt))));
	if (!PG_ARGISNULL(2))
	{
		check_shares(PG_GETARG_ARRAYTYPE_P(2), experiment->nvariants);
		row->values[EXPERIMENT_SHARES] = PG_GETARG_DATUM(2);
	}
	if (!PG_ARGISNULL(3))
	{
		check_traffic(PG_GETARG_FLOAT8(3));
		row->values[EXPERIMENT_TRAFFIC] = PG_GETARG_DATUM(3);
	}
	if (!PG_ARGISNULL(2) || !PG_ARGISNULL(3))
	{
		start_now(row);
		store_update("experiment", row);
	}
	PG_RETURN_VOID();
}

static void
check_winner(const RecsysExperiment *experiment, const char *winner)
{
	for (int i = 0; i < experiment->nvariants; i++)
		if (strcmp(experiment->variants[i], winner) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("experiment \"%s\" has no variant \"%s\"", NameStr(experiment->name), winner),
			 errhint("SELECT variant FROM recsys.experiments WHERE experiment = %s; shows the variants.",
					 quote_literal_cstr(NameStr(experiment->name)))));
}

/* stop_experiment(source, experiment, winner) */
Datum
recsys_stop_experiment(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "stop_experiment");
	CatalogRow *row = experiment_row(source, NameStr(*PG_GETARG_NAME(1)));
	RecsysExperiment *experiment = experiment_from_row(row);
	const char *model;
	int			winner = 0;

	if (!PG_ARGISNULL(2))
	{
		check_winner(experiment, text_to_cstring(PG_GETARG_TEXT_PP(2)));
		row->values[EXPERIMENT_WINNER] = PG_GETARG_DATUM(2);
		row->nulls[EXPERIMENT_WINNER] = false;
		winner = experiment_from_row(row)->winner;
	}
	else if (!row->nulls[EXPERIMENT_WINNER])
		winner = experiment->winner;
	/* another winner's model may be gone by now */
	model = experiment->models[winner];
	if (model)
		check_model(source, model);
	if (!experiment->stopped)
	{
		row->values[EXPERIMENT_STOPPED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		row->nulls[EXPERIMENT_STOPPED_AT] = false;
	}
	store_update("experiment", row);
	PG_RETURN_VOID();
}

/* drop_experiment(source, experiment) */
Datum
recsys_drop_experiment(PG_FUNCTION_ARGS)
{
	RecsysSource *source = source_for_change(fcinfo, "drop_experiment");

	store_delete("experiment", experiment_row(source, NameStr(*PG_GETARG_NAME(1))));
	PG_RETURN_VOID();
}
