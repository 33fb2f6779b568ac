/*
 * experiment.c
 *	  variant(), and the name of an experiment in the place of a model's.
 *
 * A user's variant follows from the experiment's row and the user's key alone
 * (metrics/assignment.h).  The rows are read when an experiment is named, and
 * not before: calls that name a model pay nothing.
 *
 * After an experiment was stopped everybody is served the winner's model, while
 * variant() and the report go on telling who was in which variant.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "metrics/assignment.h"
#include "serve/serve.h"

PG_FUNCTION_INFO_V1(recsys_variant);

/* A user's key as text, from an argument. */
static char *
key_text(ServeCall *call, int argno)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(call->argtypes->values[argno], &output, &varlena);
	return OidOutputFunctionCall(output, call->fcinfo->args[argno].value);
}

/* Number of the user's variant; -1 without a user, and for those who do not take part. */
static int
variant_of(ServeCall *call, const RecsysExperiment *experiment, int user_argno)
{
	Assignment	assignment = {
		.salt = experiment->salt,
		.nvariants = experiment->nvariants,
		.variants = experiment->variants,
		.shares = experiment->shares,
		.traffic = experiment->traffic
	};

	if (call->fcinfo->args[user_argno].isnull)
		return -1;
	return assignment_of(&assignment, key_text(call, user_argno));
}

/*
 * The model that serves the user of argument user_argno in an experiment; false
 * if there is no such experiment.  Model NULL: the default one.
 */
bool
serve_experiment(ServeCall *call, const char *name, int user_argno, const char **model)
{
	RecsysExperiment *experiment = catalog_experiment(call->source, name, true);
	int			variant;

	if (experiment == NULL)
		return false;
	if (user_argno < 0)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("\"%s\" is an experiment, and there is no user whose variant could be told", name),
				errhint("Name a model here, or none for the default one."));
	variant = experiment->stopped ? experiment->winner : variant_of(call, experiment, user_argno);
	*model = variant < 0 ? NULL : experiment->models[variant];
	return true;
}

/* The user's variant; NULL if there is none, or no such experiment. */
const char *
serve_variant(ServeCall *call, const char *name, int user_argno)
{
	RecsysExperiment *experiment = catalog_experiment(call->source, name, true);
	int			variant = experiment ? variant_of(call, experiment, user_argno) : -1;

	return variant < 0 ? NULL : experiment->variants[variant];
}

/* variant(experiment, user_id) */
Datum
recsys_variant(PG_FUNCTION_ARGS)
{
	ServeCall	call;
	RecsysExperiment *experiment;
	int			variant;
	Datum		result = 0;

	catalog_require_argument(fcinfo, 0, "experiment");
	serve_begin(&call, fcinfo);
	experiment = catalog_experiment(call.source, NameStr(*PG_GETARG_NAME(0)), false);
	variant = variant_of(&call, experiment, 1);
	if (variant >= 0)
	{
		MemoryContext old = MemoryContextSwitchTo(call.caller);

		result = CStringGetTextDatum(experiment->variants[variant]);
		MemoryContextSwitchTo(old);
	}
	serve_end(&call);
	if (variant < 0)
		PG_RETURN_NULL();
	return result;
}
