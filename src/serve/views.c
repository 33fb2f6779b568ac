/*
 * views.c
 *	  The views of a source's schema: state in the user's own keys.
 *
 * The first branch of item_similarity and of item_factors never has rows: it
 * fixes the types of the columns, typmod and collation included, so that the view can be replaced
 * whatever models there are, and is valid when there is none.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "serve/serve.h"

/* Decay in SQL must not raise an underflow error: below 1e-300 it is 0. */
static char *
decayed_weight(const RecsysSource *source)
{
	if (source->half_life <= 0)
		return pstrdup("e.weight");
	return psprintf("CASE WHEN abs(e.weight) < 1e-150 THEN 0 ELSE e.weight"
					" * power(double precision '2', greatest(-500, least(500, p.landmark -"
					" extract(epoch FROM now() - timestamptz '2000-01-01 00:00:00+00')::double precision"
					" / double precision '%.17g'))) END", source->half_life);
}

static void
comment_on(const RecsysSource *source, const char *view, const char *column,
		   const char *comment)
{
	char	   *name = quote_qualified_identifier(NameStr(source->name), view);

	if (column)
		name = psprintf("%s.%s", name, column);
	catalog_execute_as(source->owner,
					   psprintf("COMMENT ON %s %s IS %s", column ? "COLUMN" : "VIEW",
								name, quote_literal_cstr(comment)));
}

static void
create_interactions(const RecsysSource *source)
{
	const char *schema = quote_identifier(NameStr(source->name));

	catalog_execute_as(source->owner, psprintf(
		"CREATE OR REPLACE VIEW %1$s.interactions AS"
		" SELECT u.key AS user_id, i.key AS item_id,"
		" %2$s AS weight,"
		" timestamptz '2000-01-01 00:00:00+00' + e.time * interval '1 microsecond' AS last_time"
		" FROM %1$s.profiles p"
		" JOIN %1$s.users u ON u.id = p.user_id"
		" CROSS JOIN LATERAL unnest(p.items, p.weights, p.times) AS e(item, weight, time)"
		" JOIN %1$s.items i ON i.id = e.item",
		schema, decayed_weight(source)));
	comment_on(source, "interactions", NULL,
			   "what the state holds of each user and item, as of the last flush");
	comment_on(source, "interactions", "user_id", "key of the user");
	comment_on(source, "interactions", "item_id", "key of the item");
	comment_on(source, "interactions", "weight",
			   source->explicit_feedback ? "the user's last rating of the item" :
			   "sum of the weights of the user's events on the item, decayed to now()");
	comment_on(source, "interactions", "last_time", "time of the user's newest event on the item");
}

/* A view over what every model has of a kind; "first" is a branch without rows. */
static void
create_union(const RecsysSource *source, const char *view, const char *first,
			 const char *columns,
			 char *(*sql_of) (const ModelAlgorithm *algorithm, const RecsysSource *source,
							  const char *model))
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE OR REPLACE VIEW %1$s.%2$s AS"
					 " SELECT NULL::name AS model, %3$s FROM %1$s.items i WHERE false",
					 quote_identifier(NameStr(source->name)), view, first);
	foreach(lc, catalog_models(source->id))
	{
		const RecsysModel *model = lfirst(lc);
		char	   *branch = sql_of(model_algorithm(model->algorithm), source, NameStr(model->name));

		if (branch)
			appendStringInfo(&sql, " UNION ALL SELECT %s::name, %s FROM (%s) m",
							 quote_literal_cstr(NameStr(model->name)), columns, branch);
	}
	catalog_execute_as(source->owner, sql.data);
	comment_on(source, view, "model", "name of the model");
	comment_on(source, view, "item_id", "key of the item");
}

static char *
similarity_of(const ModelAlgorithm *algorithm, const RecsysSource *source, const char *model)
{
	return algorithm->similarity_sql ? algorithm->similarity_sql(source, model) : NULL;
}

static void
create_item_similarity(const RecsysSource *source)
{
	create_union(source, "item_similarity",
				 "i.key AS item_id, i.key AS similar_item_id, NULL::real AS score",
				 "m.item_id, m.similar_item_id, m.score", similarity_of);
	comment_on(source, "item_similarity", NULL,
			   "similar items as the models have published them");
	comment_on(source, "item_similarity", "similar_item_id", "key of an item similar to it");
	comment_on(source, "item_similarity", "score", "similarity of the two");
}

static char *
factors_of(const ModelAlgorithm *algorithm, const RecsysSource *source, const char *model)
{
	return algorithm->factors_sql ? algorithm->factors_sql(source, model) : NULL;
}

static void
create_item_factors(const RecsysSource *source)
{
	create_union(source, "item_factors", "i.key AS item_id, NULL::real[] AS factors",
				 "m.item_id, m.factors", factors_of);
	comment_on(source, "item_factors", NULL,
			   "vectors of items in the versions that embedding models serve");
	comment_on(source, "item_factors", "factors",
			   source->explicit_feedback ? "factors of the item, its bias last" :
			   "factors of the item");
}

/* Comments of the columns of the view experiments. */
static const struct
{
	const char *name;
	const char *comment;
}			report_columns[] =
{
	{"experiment", "name of the experiment"},
	{"variant", "name of the variant"},
	{"is_control", "whether the others are compared with this variant"},
	{"model", "model that serves the variant, NULL: the default model of the source"},
	{"share", "share of the experiment's users that the variant should get"},
	{"started_at", "from when events count"},
	{"stopped_at", "until when events count, NULL: the experiment runs"},
	{"users", "users of the variant with an impression, a click or a conversion"},
	{"impressions", "impressions of these users"},
	{"clicks", "their clicks"},
	{"ctr", "click-through rate: clicks / impressions"},
	{"ctr_lower", "lower end of its Wilson 95 % interval; NULL where there are more clicks than impressions"},
	{"ctr_upper", "upper end of that interval"},
	{"ctr_lift", "relative difference to the control's rate: 0.05 is 5 % more"},
	{"ctr_p", "two-sided p-value of that difference by the two-proportion z test, which takes impressions as independent"},
	{"ctr_p_users", "the same by the delta method, which takes users as independent: the one to believe where some users are much busier than others"},
	{"conversions", "conversions of these users"},
	{"cvr", "conversion rate: conversions / clicks"},
	{"cvr_lower", "lower end of its Wilson 95 % interval; NULL where there are more conversions than clicks"},
	{"cvr_upper", "upper end of that interval"},
	{"cvr_lift", "relative difference to the control's rate"},
	{"cvr_p", "two-sided p-value of that difference by the two-proportion z test, which takes clicks as independent"},
	{"cvr_p_users", "the same by the delta method, which takes users as independent"},
	{"orders", "different orders among the conversions; each conversion is one without an order column"},
	{"revenue", "sum of the amounts of the conversions"},
	{"aov", "average order value: revenue / orders"},
	{"aov_lift", "relative difference to the control's value"},
	{"aov_p", "two-sided p-value of the difference between the values of orders, by Welch's t test"},
	{"srm_p", "p-value of the chi-square test that users come as the shares say, the same in all rows; below 0.001 something is broken, and no other figure can be trusted"},
	{"impressions_needed", "impressions that each variant needs to find a change of the control's CTR by min_lift, with the significance and power of the experiment"},
	{"clicks_needed", "clicks that each variant needs to find a change of the control's CVR by min_lift"},
	{"warning", "what speaks against a conclusion; NULL if nothing does"},
};

static void
create_experiments(const RecsysSource *source)
{
	catalog_execute_as(source->owner, psprintf(
		"CREATE OR REPLACE VIEW %1$s.experiments AS SELECT * FROM %1$s.experiment_report()",
		quote_identifier(NameStr(source->name))));
	comment_on(source, "experiments", NULL,
			   "the reports of all experiments, computed when asked; who reads it needs EXECUTE on experiment_report(), too");
	for (int i = 0; i < (int) lengthof(report_columns); i++)
		comment_on(source, "experiments", report_columns[i].name, report_columns[i].comment);
}

void
serve_create_views(const RecsysSource *source)
{
	create_interactions(source);
	create_item_similarity(source);
	create_item_factors(source);
	create_experiments(source);
}
