/*
 * experiment_report.c
 *	  experiment_report(): what the users of each variant did, and whether the
 *	  variants differ by more than chance.
 *
 * For each experiment the counted events from its start to its end are read,
 * summed up by user, given the variant that is computed from the key, and added up
 * by variant; nobody has to write the variant into the events, and nothing is
 * kept.  That costs one pass over the events of that time, and one more
 * over the conversions.  All tests are made here, from the sums.
 *
 * Two p-values for each rate.  The z test of two proportions takes trials as
 * independent, which those of one user are not; the other one takes users as
 * independent (the delta method for ratios of sums), and is the one to believe
 * where some users are much busier than others.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "catalog/catalog.h"
#include "metrics/events_sql.h"
#include "numeric/assign.h"
#include "numeric/statistics.h"
#include "recsys.h"

PG_FUNCTION_INFO_V1(recsys_experiment_report);

/* A p-value of the sample ratio below this means that something is broken. */
#define BROKEN_RATIO	0.001

/* What the queries say of a variant. */
typedef struct Figures
{
	int64		users;
	int64		impressions;
	int64		clicks;
	int64		conversions;
	RatioSample ctr;			/* clicks over impressions, by user */
	RatioSample cvr;			/* conversions over clicks */
	int64		orders;
	Datum		revenue;		/* numeric; 0 is null */
	double		order_mean;
	double		order_variance;
} Figures;

/* -------------------------------------------------------------- the queries */

/*
 * Parameters of both: $1 start, $2 end, $3 salt, $4 variants, $5 shares, $6 traffic.
 * Neither joins anything: where statistics lag behind, as they do when an experiment
 * has just begun, a join of users with their orders would be a nested loop.
 */
#define VARIANT		"recsys.assign_variant($3, s.person::text, $4, $5, $6)"

/* What the users of each variant did. */
static char *
people_query(const RecsysSource *source, const RecsysMetrics *m)
{
	const char *time = events_time(source);

	return psprintf("SELECT p.variant, count(*), sum(p.i)::int8, sum(p.c)::int8, sum(p.v)::int8,"
					" regr_sxx(p.c, p.i), regr_syy(p.c, p.i), regr_sxy(p.c, p.i), regr_syy(p.v, p.c), regr_sxy(p.v, p.c)"
					" FROM (SELECT s.i, s.c, s.v, " VARIANT " AS variant"
					" FROM (SELECT %1$s AS person, count(*) FILTER (WHERE %2$s) AS i,"
					" count(*) FILTER (WHERE %3$s) AS c, count(*) FILTER (WHERE %4$s) AS v"
					" FROM %5$s WHERE %6$s >= $1 AND %6$s < $2 AND %7$s AND %8$s GROUP BY 1) s OFFSET 0) p"
					" WHERE p.variant IS NOT NULL GROUP BY 1",
					events_column(NameStr(source->user.name)),
					events_is(source, m->impressions, m->nimpressions),
					events_is(source, m->clicks, m->nclicks),
					events_is(source, m->conversions, m->nconversions),
					events_from(source), time, events_accepted(source), events_counted(source, m));
}

/* What they bought: sums by user and order, then by order, then by variant.
 * Without an order column each conversion is an order. */
static char *
orders_query(const RecsysSource *source, const RecsysMetrics *m)
{
	const char *user = events_column(NameStr(source->user.name));
	const char *amount = events_amount(m);
	const char *time = events_time(source);
	char	   *rows;

	rows = psprintf(" FROM %1$s WHERE %2$s >= $1 AND %2$s < $2 AND %3$s AND %4$s",
					events_from(source), time, events_accepted(source),
					events_is(source, m->conversions, m->nconversions));
	if (m->order_column)
		rows = psprintf("SELECT b.variant, b.id, sum(b.amount) AS amount FROM (SELECT " VARIANT " AS variant, s.id, s.amount"
						" FROM (SELECT %s AS person, %s::text COLLATE \"C\" AS id, sum(%s) AS amount%s GROUP BY 1, 2) s OFFSET 0) b"
						" WHERE b.variant IS NOT NULL GROUP BY 1, 2",
						user, events_column(m->order_column), amount, rows);
	else
		rows = psprintf("SELECT " VARIANT " AS variant, 1 AS id, s.amount FROM (SELECT %s AS person, %s AS amount%s) s OFFSET 0",
						user, amount, rows);
	return psprintf("SELECT o.variant, count(o.id), sum(o.amount),"
					" avg(coalesce(o.amount, 0)::float8) FILTER (WHERE o.id IS NOT NULL),"
					" var_samp(coalesce(o.amount, 0)::float8) FILTER (WHERE o.id IS NOT NULL)"
					" FROM (%s) o WHERE o.variant IS NOT NULL GROUP BY 1", rows);
}

static Datum
variants_array(const RecsysExperiment *e)
{
	Datum	   *texts = palloc(sizeof(Datum) * e->nvariants);

	for (int i = 0; i < e->nvariants; i++)
		texts[i] = CStringGetTextDatum(e->variants[i]);
	return PointerGetDatum(construct_array(texts, e->nvariants, TEXTOID, -1, false, TYPALIGN_INT));
}

static Datum
shares_array(const RecsysExperiment *e)
{
	Datum	   *shares = palloc(sizeof(Datum) * e->nvariants);

	for (int i = 0; i < e->nvariants; i++)
		shares[i] = Float8GetDatum((double) e->shares[i] / ASSIGN_WHOLE);
	return PointerGetDatum(construct_array(shares, e->nvariants, FLOAT8OID, sizeof(float8),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static double
sum_of(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? 0 : DatumGetFloat8(value);
}

static int64
count_of(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static void
take_people(Figures *f, HeapTuple tuple, TupleDesc desc, MemoryContext caller)
{
	(void) caller;
	f->users = count_of(tuple, desc, 2);
	f->impressions = count_of(tuple, desc, 3);
	f->clicks = count_of(tuple, desc, 4);
	f->conversions = count_of(tuple, desc, 5);
	f->ctr = (RatioSample) {
		.n = f->users,.x = f->impressions,.y = f->clicks,
			.sxx = sum_of(tuple, desc, 6),.syy = sum_of(tuple, desc, 7),.sxy = sum_of(tuple, desc, 8)
	};
	f->cvr = (RatioSample) {
		.n = f->users,.x = f->clicks,.y = f->conversions,
			.sxx = f->ctr.syy,.syy = sum_of(tuple, desc, 9),.sxy = sum_of(tuple, desc, 10)
	};
}

static void
take_orders(Figures *f, HeapTuple tuple, TupleDesc desc, MemoryContext caller)
{
	bool		isnull;
	Datum		revenue = SPI_getbinval(tuple, desc, 3, &isnull);
	MemoryContext old = MemoryContextSwitchTo(caller);

	f->revenue = isnull ? 0 : datumCopy(revenue, false, -1);
	MemoryContextSwitchTo(old);
	f->orders = count_of(tuple, desc, 2);
	f->order_mean = sum_of(tuple, desc, 4);
	f->order_variance = sum_of(tuple, desc, 5);
}

/* The parameters of the queries. */
#define NPARAMS 6

static const Oid param_types[NPARAMS] = {
	TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTARRAYOID, FLOAT8ARRAYOID, FLOAT8OID
};

static void
set_params(Datum *values, const RecsysExperiment *e)
{
	TimestampTz latest = GetCurrentStatementStartTimestamp() + (int64) recsys_max_future * USECS_PER_SEC;

	values[0] = TimestampTzGetDatum(e->started_at);
	values[1] = TimestampTzGetDatum(e->stopped ? Min(e->stopped_at, latest) : latest);
	values[2] = CStringGetTextDatum(e->salt);
	values[3] = variants_array(e);
	values[4] = shares_array(e);
	values[5] = Float8GetDatum((double) e->traffic / ASSIGN_WHOLE);
}

/* Runs a query, and gives each row to the figures of its variant. */
static void
run_query(const char *query, const RecsysExperiment *e, Figures *figures,
		  void (*take) (Figures *f, HeapTuple tuple, TupleDesc desc, MemoryContext caller))
{
	Oid			types[NPARAMS];
	Datum		values[NPARAMS];
	MemoryContext caller = CurrentMemoryContext;

	memcpy(types, param_types, sizeof(types));
	set_params(values, e);
	SPI_connect();
	SPI_execute_with_args(query, NPARAMS, types, values, NULL, true, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		char	   *variant = SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1);

		for (int i = 0; i < e->nvariants; i++)
			if (strcmp(variant, e->variants[i]) == 0)
				take(&figures[i], tuple, SPI_tuptable->tupdesc, caller);
	}
	SPI_finish();
}

/* The figures of each variant, zero where there are no users. */
static Figures *
read_figures(const RecsysSource *source, const RecsysMetrics *metrics, const RecsysExperiment *e)
{
	Figures    *figures = palloc0(sizeof(Figures) * e->nvariants);

	run_query(people_query(source, metrics), e, figures, take_people);
	if (metrics->nconversions > 0)
		run_query(orders_query(source, metrics), e, figures, take_orders);
	return figures;
}

/* ----------------------------------------------------------------- the rows */

/* Columns of the result, in order. */
enum
{
	OUT_EXPERIMENT,
	OUT_VARIANT,
	OUT_IS_CONTROL,
	OUT_MODEL,
	OUT_SHARE,
	OUT_STARTED_AT,
	OUT_STOPPED_AT,
	OUT_USERS,
	OUT_IMPRESSIONS,
	OUT_CLICKS,
	OUT_CTR,
	OUT_CTR_LOWER,
	OUT_CTR_UPPER,
	OUT_CTR_LIFT,
	OUT_CTR_P,
	OUT_CTR_P_USERS,
	OUT_CONVERSIONS,
	OUT_CVR,
	OUT_CVR_LOWER,
	OUT_CVR_UPPER,
	OUT_CVR_LIFT,
	OUT_CVR_P,
	OUT_CVR_P_USERS,
	OUT_ORDERS,
	OUT_REVENUE,
	OUT_AOV,
	OUT_AOV_LIFT,
	OUT_AOV_P,
	OUT_SRM_P,
	OUT_IMPRESSIONS_NEEDED,
	OUT_CLICKS_NEEDED,
	OUT_WARNING,
	OUT_NATTS
};

typedef struct Row
{
	Datum		values[OUT_NATTS];
	bool		nulls[OUT_NATTS];
} Row;

static void
put(Row *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
put_number(Row *row, int column, double value)
{
	if (isfinite(value))
		put(row, column, Float8GetDatum(value));
}

/* rate, interval, lift and both p-values, in columns from "column" on */
static void
put_rate(Row *row, int column, const RatioSample *rate, const RatioSample *control)
{
	double		lower,
				upper,
				value = rate->y / rate->x;
	bool		is_share = rate->x > 0 && rate->y <= rate->x;

	put_number(row, column, value);
	if (is_share)
	{
		wilson_interval(rate->y, rate->x, normal_z(1 - 0.95), &lower, &upper);
		put_number(row, column + 1, lower);
		put_number(row, column + 2, upper);
	}
	if (control == NULL || rate->x == 0 || control->x == 0)
		return;
	put_number(row, column + 3, value / (control->y / control->x) - 1);
	if (is_share && control->y <= control->x)
		put_number(row, column + 4, two_proportion_p(rate->y, rate->x, control->y, control->x));
	put_number(row, column + 5, ratio_p(rate, control));
}

/* Revenue by order, a numeric; 0 without one. */
static Datum
order_value(const Figures *f)
{
	if (f->orders == 0 || f->revenue == 0)
		return 0;
	return DirectFunctionCall2(numeric_div, f->revenue,
							   NumericGetDatum(int64_to_numeric(f->orders)));
}

static double
as_float(Datum numeric)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, numeric));
}

static void
put_orders(Row *row, const Figures *f, const Figures *control)
{
	Datum		value = order_value(f);

	put(row, OUT_ORDERS, Int64GetDatum(f->orders));
	if (f->revenue)
		put(row, OUT_REVENUE, f->revenue);
	if (value == 0)
		return;
	put(row, OUT_AOV, value);
	if (control == NULL || order_value(control) == 0)
		return;
	put_number(row, OUT_AOV_LIFT, as_float(value) / as_float(order_value(control)) - 1);
	if (f->orders > 1 && control->orders > 1)
		put_number(row, OUT_AOV_P,
				   welch_p(f->order_mean, f->order_variance, f->orders,
						   control->order_mean, control->order_variance, control->orders));
}

/* Trials that each variant needs to find min_lift in the control's rate; NAN if it has none. */
static double
trials_needed(const RatioSample *control, const RecsysExperiment *e)
{
	double		rate = control->y / control->x,
				changed = rate * (1 + e->min_lift);

	if (!(rate > 0 && changed <= 1))
		return NAN;
	return ceil(two_proportion_trials(rate, changed, e->significance, e->power));
}

static void
put_needed(Row *row, int column, double needed)
{
	if (needed < 9e18)
		put(row, column, Int64GetDatum((int64) needed));
}

static void
warn(StringInfo text, const char *warning)
{
	appendStringInfo(text, "%s%s", text->len > 0 ? "; " : "", warning);
}

static void
warn_sample(StringInfo text, const char *what, const char *rate, double has, double needed,
			const RecsysExperiment *e)
{
	if (isnan(needed))
		warn(text, psprintf("the control's %s can not be compared yet", rate));
	else if (has < needed)
		warn(text, psprintf("%.0f of the %.0f %s needed to find a change of %s by %g %%",
							has, needed, what, rate, e->min_lift * 100));
}

static void
put_warning(Row *row, const RecsysExperiment *e, const RecsysMetrics *m, const Figures *f,
			const Figures *control, double ratio_p)
{
	StringInfoData text;
	double		impressions = trials_needed(&control->ctr, e),
				clicks = trials_needed(&control->cvr, e);

	initStringInfo(&text);
	put_needed(row, OUT_IMPRESSIONS_NEEDED, impressions);
	put_needed(row, OUT_CLICKS_NEEDED, clicks);
	if (ratio_p < BROKEN_RATIO)
		warn(&text, "users are not divided as the shares say: do not trust the other figures");
	if (m->nimpressions > 0 && m->nclicks > 0)
		warn_sample(&text, "impressions", "CTR", f->impressions, impressions, e);
	if (m->nclicks > 0 && m->nconversions > 0)
		warn_sample(&text, "clicks", "CVR", f->clicks, clicks, e);
	if (text.len > 0)
		put(row, OUT_WARNING, CStringGetTextDatum(text.data));
}

static double
users_ratio_p(const RecsysExperiment *e, const Figures *figures)
{
	double	   *users = palloc(sizeof(double) * e->nvariants),
			   *shares = palloc(sizeof(double) * e->nvariants);

	for (int i = 0; i < e->nvariants; i++)
	{
		users[i] = figures[i].users;
		shares[i] = e->shares[i];
	}
	return sample_ratio_p(users, shares, e->nvariants);
}

static void
put_declaration(Row *row, const RecsysExperiment *e, int i)
{
	put(row, OUT_EXPERIMENT, NameGetDatum(&e->name));
	put(row, OUT_VARIANT, CStringGetTextDatum(e->variants[i]));
	put(row, OUT_IS_CONTROL, BoolGetDatum(i == 0));
	if (e->models[i])
		put(row, OUT_MODEL, CStringGetTextDatum(e->models[i]));
	put(row, OUT_SHARE, Float8GetDatum((double) e->shares[i] / ASSIGN_WHOLE));
	put(row, OUT_STARTED_AT, TimestampTzGetDatum(e->started_at));
	if (e->stopped)
		put(row, OUT_STOPPED_AT, TimestampTzGetDatum(e->stopped_at));
}

static void
report(ReturnSetInfo *result, const RecsysSource *source, const RecsysMetrics *m,
	   const RecsysExperiment *e)
{
	Figures    *figures = read_figures(source, m, e);
	double		ratio = users_ratio_p(e, figures);

	for (int i = 0; i < e->nvariants; i++)
	{
		const Figures *f = &figures[i],
				   *control = i == 0 ? NULL : &figures[0];
		Row			row;

		memset(row.nulls, true, sizeof(row.nulls));
		put_declaration(&row, e, i);
		put(&row, OUT_USERS, Int64GetDatum(f->users));
		put(&row, OUT_IMPRESSIONS, Int64GetDatum(f->impressions));
		put(&row, OUT_CLICKS, Int64GetDatum(f->clicks));
		put_rate(&row, OUT_CTR, &f->ctr, control ? &control->ctr : NULL);
		put(&row, OUT_CONVERSIONS, Int64GetDatum(f->conversions));
		put_rate(&row, OUT_CVR, &f->cvr, control ? &control->cvr : NULL);
		put_orders(&row, f, control);
		put_number(&row, OUT_SRM_P, ratio);
		put_warning(&row, e, m, f, &figures[0], ratio);
		tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
	}
}

/* experiment_report(experiment); NULL: all of them */
Datum
recsys_experiment_report(PG_FUNCTION_ARGS)
{
	RecsysSource *source = catalog_source_by_schema(get_func_namespace(fcinfo->flinfo->fn_oid), false);
	List	   *experiments;
	RecsysMetrics *metrics = NULL;
	ListCell   *lc;

	if (PG_ARGISNULL(0))
		experiments = catalog_experiments(source->id);
	else
		experiments = list_make1(catalog_experiment(source, NameStr(*PG_GETARG_NAME(0)), false));
	InitMaterializedSRF(fcinfo, 0);
	if (experiments != NIL)
		metrics = events_metrics(source, "experiment_report");
	foreach(lc, experiments)
		report((ReturnSetInfo *) fcinfo->resultinfo, source, metrics, lfirst(lc));
	return (Datum) 0;
}
