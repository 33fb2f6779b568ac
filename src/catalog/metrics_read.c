/*
 * metrics_read.c
 *	  The metrics of a source as they are declared.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/internal.h"

/* Elements of a text[] or name[] without nulls, each once, in order. */
static char **
strings(Datum array, Oid type, int *n)
{
	Datum	   *elements;
	int			nelements;
	char	  **result;
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(type, &len, &byval, &align);
	deconstruct_array(DatumGetArrayTypeP(array), type, len, byval, align, &elements, NULL, &nelements);
	result = palloc(sizeof(char *) * Max(nelements, 1));
	*n = 0;
	for (int i = 0; i < nelements; i++)
	{
		char	   *string = type == TEXTOID ? TextDatumGetCString(elements[i]) :
			pstrdup(NameStr(*DatumGetName(elements[i])));
		bool		again = false;

		for (int j = 0; j < *n; j++)
			again |= strcmp(result[j], string) == 0;
		if (!again)
			result[(*n)++] = string;
	}
	return result;
}

static char *
optional_name(const CatalogRow *row, int column)
{
	return row->nulls[column] ? NULL : pstrdup(NameStr(*DatumGetName(row->values[column])));
}

/* Microseconds, with days of 24 hours and months of 30 days. */
int64
metrics_interval(const Interval *interval)
{
	return (interval->month * DAYS_PER_MONTH + interval->day) * USECS_PER_DAY + interval->time;
}

static int64
microseconds(const CatalogRow *row, int column)
{
	return row->nulls[column] ? 0 : metrics_interval(DatumGetIntervalP(row->values[column]));
}

RecsysMetrics *
metrics_from_row(const CatalogRow *row, const RecsysSource *source)
{
	RecsysMetrics *m = palloc0(sizeof(RecsysMetrics));
	const Datum *v = row->values;

	m->id = DatumGetInt32(v[METRICS_ID]);
	m->impressions = strings(v[METRICS_IMPRESSION], TEXTOID, &m->nimpressions);
	m->clicks = strings(v[METRICS_CLICK], TEXTOID, &m->nclicks);
	m->conversions = strings(v[METRICS_CONVERSION], TEXTOID, &m->nconversions);
	m->dimensions = strings(v[METRICS_DIMENSIONS], NAMEOID, &m->ndimensions);
	m->amount_column = optional_name(row, METRICS_AMOUNT_COLUMN);
	m->order_column = optional_name(row, METRICS_ORDER_COLUMN);
	m->rating_column = optional_name(row, METRICS_RATING_COLUMN);
	if (m->rating_column == NULL)
		m->rating_column = source->value_column;
	if (!row->nulls[METRICS_RATING_TYPE])
		m->rating_type = TextDatumGetCString(v[METRICS_RATING_TYPE]);
	m->has_ratings = m->rating_type != NULL || source->explicit_feedback;
	m->satisfied_from = DatumGetFloat8(v[METRICS_SATISFIED_FROM]);
	m->bucket = microseconds(row, METRICS_BUCKET);
	m->allowed_lateness = microseconds(row, METRICS_ALLOWED_LATENESS);
	m->max_combinations = DatumGetInt32(v[METRICS_MAX_COMBINATIONS]);
	m->rollup_after = microseconds(row, METRICS_ROLLUP_AFTER);
	m->rollup_bucket = microseconds(row, METRICS_ROLLUP_BUCKET);
	m->expire_after = microseconds(row, METRICS_EXPIRE_AFTER);
	m->version = DatumGetInt32(v[METRICS_VERSION]);
	return m;
}

RecsysMetrics *
catalog_metrics(const RecsysSource *source)
{
	Snapshot	snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;
	List	   *rows = store_read(BY_METRICS_SOURCE, Int32GetDatum(source->id), snapshot);

	return rows == NIL ? NULL : metrics_from_row(linitial(rows), source);
}
