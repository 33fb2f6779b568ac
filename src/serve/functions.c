/*
 * functions.c
 *	  The functions of a source's schema, typed with the source's keys.
 *
 * Only a superuser may create functions in C, so they are created as the
 * bootstrap superuser and then given to the owner of the source, whose rights
 * they run with.
 */
#include "postgres.h"

#include "catalog/pg_authid_d.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "metrics/report_columns.h"
#include "serve/serve.h"

typedef struct FunctionSpec
{
	const char *name;
	/* $u, $i: types of a user and an item as arguments; $U, $I as results */
	const char *arguments;
	const char *result;
	const char *estimates;
	const char *comment;
} FunctionSpec;

static const FunctionSpec functions[] = {
	{"recommend",
		"user_id $u, k int = 10, model name = NULL, exclude_seen boolean = true, items $i[] = NULL, exclude $i[] = NULL",
		"TABLE (item_id $I, score real)", "COST 1000 ROWS 10",
	"the k best items for a user, the user's newest events included; short lists are filled up from popular with score 0, and an unknown user gets popular"},
	{"recommend_session",
		"items $i[], k int = 10, model name = NULL",
		"TABLE (item_id $I, score real)", "COST 1000 ROWS 10",
	"the k best items for a visitor of whom only the items of the session are known; these are left out"},
	{"recommend_explained",
		"user_id $u, k int = 10, model name = NULL, exclude_seen boolean = true, items $i[] = NULL, exclude $i[] = NULL",
		"TABLE (item_id $I, score real, from_model name, reason text)", "COST 1000 ROWS 10",
	"the rows of recommend, with the model that each one comes from (NULL: the popular items of the source) and why: model, unknown user, nothing from model, short list, model is building, no model"},
	{"recommend_session_explained",
		"items $i[], k int = 10, model name = NULL",
		"TABLE (item_id $I, score real, from_model name, reason text)", "COST 1000 ROWS 10",
	"the rows of recommend_session, with the model that each one comes from (NULL: the popular items of the source) and why: model, no known item, nothing from model, short list, model is building, no model"},
	{"similar_items",
		"item_id $i, k int = 10, model name = NULL",
		"TABLE (item_id $I, score real)", "COST 200 ROWS 10",
	"the k most similar items; popular items while the model is building, no rows for an unknown item"},
	{"similar_users",
		"user_id $u, k int = 10, model name = NULL",
		"TABLE (user_id $U, score real)", "COST 10000 ROWS 10",
	"the k users most similar to one, by a model that compares users, as of the last flush; with als it reads every profile, so its time grows with the number of users"},
	{"user_factors",
		"user_id $u, model name = NULL",
		"real[]", "COST 500",
	"the vector of a user in an embedding model, solved from the user's history when asked; NULL if there is none"},
	{"predict",
		"user_id $u, item_id $i, model name = NULL",
		"real", "COST 500",
	"the score that recommend gives the item, or the predicted rating where feedback is explicit; NULL if nothing can be said"},
	{"explain",
		"user_id $u, item_id $i, n int = 5, model name = NULL",
		"TABLE (because_item_id $I, contribution real)", "COST 500 ROWS 5",
	"the n items of the user's history that contribute most to the item's score in recommend; all of them add up to it"},
	{"explain_neighbors",
		"user_id $u, item_id $i, model name = NULL",
		"TABLE (item_id $I, score real, neighbors_are text, neighbors int, holding int, own_items int)", "COST 500 ROWS 1",
	"on whose word an item is recommended, in numbers: how many neighbours (users, sessions or items of the history, as the model has it) were asked, how many of them hold the item, and how many items of the history speak for it"},
	{"explain_users",
		"user_id $u, item_id $i, n int = 5, model name = NULL",
		"TABLE (user_id $U, contribution real)", "COST 500 ROWS 5",
	"the n neighbours that contribute most to an item's score in recommend, by their keys, with a model that asks other users; whoever may call it sees who likes what"},
	{"trending",
		"k int = 10, model name = NULL",
		"TABLE (item_id $I, score real, events real, expected real)", "COST 500 ROWS 10",
	"the k items whose events now exceed most what they were before, by a model of algorithm trending: score is a lower bound of the ratio, above 1; events and expected are decayed counts; no rows while the model is building"},
	{"frequently_bought_together",
		"items $i[], k int = 10, model name = NULL",
		"TABLE (item_id $I, score real, support bigint, confidence real, lift real)", "COST 2000 ROWS 10",
	"the k items that are bought with these more than without them, by a model of algorithm baskets: score is a lower bound of the part of their baskets that hold it because of them; support is the number of baskets with it and any of them; unknown items do not count, no rows while the model is building"},
	{"popular",
		"k int = 10, since interval = NULL",
		"TABLE (item_id $I, score real)", "COST 500 ROWS 10",
	"the k most popular items as of the last flush; with since, of the events of that period, read from the event table at each call, which wants an index on the time column"},
	{"variant",
		"experiment name, user_id $u",
		"text", "COST 100",
	"the user's variant in an experiment, computed from the key alone, known or not; NULL for users that do not take part"},
	{"experiment_report",
		"experiment name = NULL",
		"TABLE (" REPORT_COLUMNS ")", "COST 1000000 ROWS 4",
	"what the users of each variant did since the experiment started, and whether variants differ from the control by more than chance; NULL: of all experiments. Reads the events of that time at each call, which wants an index on the time column"},
	{"attribution",
		"since interval = '7 days', within interval = '1 day', by text[] = NULL",
		"TABLE (" ATTRIBUTION_COLUMNS ")", "COST 1000000 ROWS 10",
	"what came of the impressions of the last days (since NULL: of all), by the values of some columns of the events (NULL: model and placement, where there are such columns): each click and conversion belongs to the last impression of the same user and item, at most within before it; the row without dimensions is what belongs to none. Reads the events at each call"},
};

/* What writes does so with the rights of whoever calls it; see log.c. */
static const FunctionSpec writing_functions[] = {
	{"log_recommendations",
		"user_id $u, k int = 10, model name = NULL, placement text = NULL, event_type text = NULL, columns text[] = NULL",
		"TABLE (item_id $I, score real, recommendation_id uuid)", "COST 10000 ROWS 10",
	"recommend(), and an impression of each row into the event table, for which the caller needs INSERT there; event_type NULL: the first type of impressions of track_metrics(); columns NULL: of recommendation_id, model, placement, variant and rank those that the table has are filled"},
};

#define READS	"STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp"
#define WRITES	"VOLATILE SECURITY INVOKER PARALLEL UNSAFE"

static const char *
argument_type(const KeyColumn *key)
{
	switch (key->kind)
	{
		case KEY_INT:
			return "pg_catalog.int8";
		case KEY_TEXT:
			return "pg_catalog.text";
		case KEY_UUID:
			return "pg_catalog.uuid";
	}
	return NULL;				/* not reached */
}

static char *
with_types(const RecsysSource *source, const char *text)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (; *text; text++)
	{
		if (*text != '$')
		{
			appendStringInfoChar(&buf, *text);
			continue;
		}
		switch (*++text)
		{
			case 'u':
				appendStringInfoString(&buf, argument_type(&source->user));
				break;
			case 'i':
				appendStringInfoString(&buf, argument_type(&source->item));
				break;
			case 'U':
				appendStringInfoString(&buf, format_type_be_qualified(source->user.type));
				break;
			default:
				appendStringInfoString(&buf, format_type_be_qualified(source->item.type));
				break;
		}
	}
	return buf.data;
}

static void
create_function(const RecsysSource *source, const FunctionSpec *spec, const char *options)
{
	char	   *name = quote_qualified_identifier(NameStr(source->name), spec->name);
	Oid			superuser = BOOTSTRAP_SUPERUSERID;

	catalog_execute_as(superuser,
					   psprintf("CREATE FUNCTION %s(%s) RETURNS %s "
								"LANGUAGE c %s %s AS '$libdir/recsys', 'recsys_%s'",
								name, with_types(source, spec->arguments),
								with_types(source, spec->result), spec->estimates, options,
								spec->name));
	catalog_execute_as(superuser,
					   psprintf("COMMENT ON FUNCTION %s IS %s", name,
								quote_literal_cstr(spec->comment)));
	catalog_execute_as(superuser,
					   psprintf("REVOKE ALL ON FUNCTION %s FROM PUBLIC", name));
	catalog_execute_as(superuser,
					   psprintf("ALTER FUNCTION %s OWNER TO %s", name,
								quote_identifier(GetUserNameFromId(source->owner, false))));
}

void
serve_create_functions(const RecsysSource *source)
{
	for (int i = 0; i < (int) lengthof(functions); i++)
		create_function(source, &functions[i], READS);
	for (int i = 0; i < (int) lengthof(writing_functions); i++)
		create_function(source, &writing_functions[i], WRITES);
}
