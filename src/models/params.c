/*
 * params.c
 *	  Parameters of models: what the user gave, checked against what the
 *	  algorithm declares and completed with its defaults.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "models/model.h"

static const ParamSpec *
find_spec(const ParamSpec *specs, const char *name)
{
	for (const ParamSpec *spec = specs; spec != NULL && spec->name != NULL; spec++)
		if (strcmp(spec->name, name) == 0)
			return spec;
	return NULL;
}

static void
unknown_parameter(const char *algorithm, const ParamSpec *specs, const char *name)
{
	StringInfoData names;

	initStringInfo(&names);
	for (const ParamSpec *spec = specs; spec != NULL && spec->name != NULL; spec++)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", spec->name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("algorithm \"%s\" has no parameter \"%s\"", algorithm, name),
			 names.len == 0 ? errhint("It has no parameters.") :
			 errhint("Its parameters are: %s.", names.data)));
}

/* The words of an enum. */
static char *
words_of(const ParamSpec *spec)
{
	StringInfoData words;

	initStringInfo(&words);
	for (int i = 0; spec->words[i] != NULL; i++)
		appendStringInfo(&words, "%s\"%s\"", i == 0 ? "" :
						 spec->words[i + 1] == NULL ? " or " : ", ", spec->words[i]);
	return words.data;
}

/* An interval's text in seconds, with months of 30 days; NaN if it is none. */
static double
interval_seconds(const char *text, int len)
{
	char		copy[MAXDATELEN + 1];
	char		buffer[MAXDATELEN + 64];
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			nfields,
				dtype;
	struct pg_itm_in itm;

	if (len > MAXDATELEN)
		return NAN;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (ParseDateTime(copy, buffer, sizeof(buffer), fields, types, MAXDATEFIELDS, &nfields) != 0 ||
		DecodeInterval(fields, types, nfields, INTERVAL_FULL_RANGE, &dtype, &itm) != 0 ||
		dtype != DTK_DELTA)
		return NAN;
	return (((double) itm.tm_year * MONTHS_PER_YEAR + itm.tm_mon) * DAYS_PER_MONTH + itm.tm_mday) *
		SECS_PER_DAY + itm.tm_usec / (double) USECS_PER_SEC;
}

/* A time span of so many seconds in words. */
static char *
span_of(double seconds)
{
	if (seconds >= 2 * SECS_PER_DAY && fmod(seconds, SECS_PER_DAY) == 0)
		return psprintf("%.0f days", seconds / SECS_PER_DAY);
	return psprintf("%g second%s", seconds, seconds == 1 ? "" : "s");
}

/* The range of a parameter in words. */
static char *
range_of(const ParamSpec *spec)
{
	switch (spec->type)
	{
		case PARAM_INT:
			return psprintf("an integer between %.0f and %.0f", spec->min, spec->max);
		case PARAM_FLOAT:
			return psprintf("a number between %g and %g", spec->min, spec->max);
		case PARAM_BOOL:
			return "true or false";
		case PARAM_ENUM:
			return words_of(spec);
		case PARAM_INTERVAL:
			return psprintf("an interval between %s and %s, as text%s", span_of(spec->min),
							span_of(spec->max), spec->interval == NULL ? ", or null" : "");
		case PARAM_TEXT:
			return psprintf("a text of up to %.0f bytes, or null", spec->max);
		case PARAM_TEXTS:
			return psprintf("an array of up to %.0f texts, or null", spec->max);
	}
	return "";
}

/* A word's number; -1 if it is none of them. */
static int
find_word(const char *const *words, const JsonbValue *value)
{
	if (value->type != jbvString)
		return -1;
	for (int i = 0; words[i] != NULL; i++)
		if ((int) strlen(words[i]) == value->val.string.len &&
			memcmp(words[i], value->val.string.val, value->val.string.len) == 0)
			return i;
	return -1;
}

static bool
is_nullable(const ParamSpec *spec)
{
	return spec->type == PARAM_TEXT || spec->type == PARAM_TEXTS ||
		(spec->type == PARAM_INTERVAL && spec->interval == NULL);
}

/* The elements of an array, all of them texts; NIL if it is something else or empty. */
static List *
texts_of(const JsonbValue *value)
{
	List	   *texts = NIL;
	JsonbIterator *it;
	JsonbValue	element;
	JsonbIteratorToken token;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return NIL;
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvString)
			return NIL;
		texts = lappend(texts, pnstrdup(element.val.string.val, element.val.string.len));
	}
	return texts;
}

static bool
are_texts(const JsonbValue *value, double most)
{
	List	   *texts = texts_of(value);

	return texts != NIL && list_length(texts) <= most;
}

static void
check_value(const ParamSpec *spec, const JsonbValue *value)
{
	const char *shown = "null";
	bool		fits = false;

	if (value->type == jbvNumeric)
	{
		double		number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
															   NumericGetDatum(value->val.numeric)));

		shown = numeric_normalize(value->val.numeric);
		fits = (spec->type == PARAM_INT || spec->type == PARAM_FLOAT) && number >= spec->min && number <= spec->max &&
			(spec->type == PARAM_FLOAT || number == floor(number));
	}
	else if (value->type == jbvBool)
	{
		shown = value->val.boolean ? "true" : "false";
		fits = spec->type == PARAM_BOOL;
	}
	else if (value->type == jbvString)
	{
		if (spec->type == PARAM_INTERVAL)
		{
			double		seconds = interval_seconds(value->val.string.val, value->val.string.len);

			fits = seconds >= spec->min && seconds <= spec->max;
		}
		else if (spec->type == PARAM_TEXT)
			fits = value->val.string.len > 0 && value->val.string.len <= spec->max;
		else
			fits = spec->type == PARAM_ENUM && find_word(spec->words, value) >= 0;
		shown = psprintf("\"%s\"", pnstrdup(value->val.string.val, value->val.string.len));
	}
	else if (value->type == jbvNull)
		fits = is_nullable(spec);
	else if (value->type == jbvBinary)
	{
		shown = JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		fits = spec->type == PARAM_TEXTS && are_texts(value, spec->max);
	}
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value %s of parameter \"%s\" is not valid", shown, spec->name),
				 errhint("\"%s\" is %s.", spec->name, range_of(spec))));
}

static void
check_given(const char *algorithm, const ParamSpec *specs, Jsonb *given)
{
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;
	const ParamSpec *spec = NULL;

	if (!JB_ROOT_IS_OBJECT(given))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("params must be an object, not %s",
						JsonbToCString(NULL, &given->root, VARSIZE(given))),
				 errhint("Give parameters by name, as in '{\"k\": 100}'.")));
	it = JsonbIteratorInit(&given->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *name = pnstrdup(value.val.string.val, value.val.string.len);

			spec = find_spec(specs, name);
			if (spec == NULL)
				unknown_parameter(algorithm, specs, name);
		}
		else if (token == WJB_VALUE)
			check_value(spec, &value);
	}
}

static bool
lookup(const Jsonb *params, const char *name, JsonbValue *value)
{
	return params != NULL &&
		getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &params->root), name,
									 strlen(name), value) != NULL;
}

static void
default_value(const ParamSpec *spec, bool explicit_feedback, JsonbValue *value)
{
	double		boot = explicit_feedback && spec->explicit_boot ?
		*spec->explicit_boot : spec->boot;

	if (is_nullable(spec))
		value->type = jbvNull;
	else if (spec->type == PARAM_BOOL)
	{
		value->type = jbvBool;
		value->val.boolean = boot != 0;
	}
	else if (spec->type == PARAM_ENUM)
	{
		value->type = jbvString;
		value->val.string.val = unconstify(char *, spec->words[(int) boot]);
		value->val.string.len = strlen(value->val.string.val);
	}
	else if (spec->type == PARAM_INTERVAL)
	{
		value->type = jbvString;
		value->val.string.val = unconstify(char *, spec->interval);
		value->val.string.len = strlen(spec->interval);
	}
	else
	{
		value->type = jbvNumeric;
		value->val.numeric = DatumGetNumeric(DirectFunctionCall1(float8_numeric,
																 Float8GetDatum(boot)));
	}
}

/*
 * An object with every parameter of "specs": as given, else as in "base" (the
 * model's parameters before a change; NULL for a new one), else the default.
 */
Jsonb *
params_complete(const char *algorithm, const ParamSpec *specs, bool explicit_feedback,
				Jsonb *given, Jsonb *base)
{
	JsonbParseState *state = NULL;

	check_given(algorithm, specs, given);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (const ParamSpec *spec = specs; spec != NULL && spec->name != NULL; spec++)
	{
		JsonbValue	key;
		JsonbValue	value;

		key.type = jbvString;
		key.val.string.val = unconstify(char *, spec->name);
		key.val.string.len = strlen(spec->name);
		if (!lookup(given, spec->name, &value) && !lookup(base, spec->name, &value))
			default_value(spec, explicit_feedback, &value);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* A parameter of a model, as a number; booleans are 0 and 1, intervals seconds. */
double
params_get(const Jsonb *params, const char *name)
{
	JsonbValue	value;

	if (!lookup(params, name, &value))
		elog(ERROR, "model has no parameter \"%s\"", name);
	if (value.type == jbvBool)
		return value.val.boolean ? 1 : 0;
	if (value.type == jbvNull)
		return 0;
	if (value.type == jbvString)
	{
		double		seconds = interval_seconds(value.val.string.val, value.val.string.len);

		if (!isnan(seconds))
			return seconds;
	}
	if (value.type != jbvNumeric)
		elog(ERROR, "parameter \"%s\" of a model is not a number", name);
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
											  NumericGetDatum(value.val.numeric)));
}

int
params_get_enum(const Jsonb *params, const char *name, const char *const *words)
{
	JsonbValue	value;
	int			word = lookup(params, name, &value) ? find_word(words, &value) : -1;

	if (word < 0)
		elog(ERROR, "parameter \"%s\" of a model is missing or unknown", name);
	return word;
}

char *
params_get_text(const Jsonb *params, const char *name)
{
	JsonbValue	value;

	if (!lookup(params, name, &value) || value.type == jbvNull)
		return NULL;
	if (value.type != jbvString)
		elog(ERROR, "parameter \"%s\" of a model is not a text", name);
	return pnstrdup(value.val.string.val, value.val.string.len);
}

List *
params_get_texts(const Jsonb *params, const char *name)
{
	JsonbValue	value;

	return lookup(params, name, &value) ? texts_of(&value) : NIL;
}
