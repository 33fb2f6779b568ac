/*
 * events_sql.c
 *	  See events_sql.h.
 */
#include "postgres.h"

#include "catalog/pg_class_d.h"
#include "catalog/pg_type_d.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "metrics/events_sql.h"
#include "serve/serve.h"

char *
events_from(const RecsysSource *source)
{
	return psprintf("%s%s AS e",
					get_rel_relkind(source->events) == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					quoted_relation(source->events));
}

char *
events_column(const char *name)
{
	return psprintf("e.%s", quote_identifier(name));
}

char *
events_time(const RecsysSource *source)
{
	AttrNumber	attnum = get_attnum(source->events, source->time_column);

	return psprintf(get_atttype(source->events, attnum) == TIMESTAMPOID ?
					"(%s AT TIME ZONE 'UTC')" : "%s", events_column(source->time_column));
}

static void
append_types(StringInfo sql, char **types, int n)
{
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s%s", sql->len > 0 ? ", " : "", quote_literal_cstr(types[i]));
}

static char *
is_one_of(const RecsysSource *source, const char *types)
{
	if (types[0] == '\0' || source->type_column == NULL)
		return pstrdup("false");
	return psprintf("(%s::text COLLATE \"C\" IN (%s))", events_column(source->type_column), types);
}

char *
events_is(const RecsysSource *source, char **types, int n)
{
	StringInfoData list;

	initStringInfo(&list);
	append_types(&list, types, n);
	return is_one_of(source, list.data);
}

char *
events_counted(const RecsysSource *source, const RecsysMetrics *m)
{
	StringInfoData list;

	initStringInfo(&list);
	append_types(&list, m->impressions, m->nimpressions);
	append_types(&list, m->clicks, m->nclicks);
	append_types(&list, m->conversions, m->nconversions);
	return is_one_of(source, list.data);
}

static void
append_key(StringInfo sql, const KeyColumn *key)
{
	const char *column = events_column(NameStr(key->name));

	appendStringInfo(sql, "%s%s IS NOT NULL", sql->len > 0 ? " AND " : "", column);
	if (key->kind == KEY_TEXT)
		appendStringInfo(sql, " AND octet_length(%s) <= %d", column, RECSYS_MAX_KEY_LEN);
}

char *
events_keys(const RecsysSource *source)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_key(&sql, &source->user);
	append_key(&sql, &source->item);
	return sql.data;
}

char *
events_accepted(const RecsysSource *source)
{
	char	   *keys = events_keys(source);

	if (source->value_column == NULL)
		return keys;
	/* NaN is larger than any number */
	return psprintf("%s AND %s BETWEEN %s AND 1e300", keys, events_column(source->value_column),
					source->explicit_feedback ? "-1e300" : "0");
}

char *
events_amount(const RecsysMetrics *metrics)
{
	if (metrics->amount_column == NULL)
		return pstrdup("NULL::numeric");
	return psprintf("CASE WHEN %1$s::numeric > '-Infinity' AND %1$s::numeric < 'Infinity' THEN %1$s::numeric END",
					events_column(metrics->amount_column));
}

RecsysMetrics *
events_metrics(const RecsysSource *source, const char *function)
{
	const char *name = NameStr(source->name);
	RecsysMetrics *metrics = catalog_metrics(source);

	if (metrics == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("%s() needs to know which events of source \"%s\" are impressions, clicks and conversions",
					   function, name),
				errhint("SELECT recsys.track_metrics(%s, impression => '{impression}', click => '{click}', conversion => '{purchase}');",
						quote_literal_cstr(name)));
	if (get_rel_relkind(source->events) == 0)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("the events table of source \"%s\" has been dropped", name),
				errhint("Drop the source with recsys.drop_source()."));
	catalog_check_events(source);
	serve_check_may_read(source);
	return metrics;
}
