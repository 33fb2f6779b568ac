/*
 * windows_age.c
 *	  Old buckets: put together to longer ones, and dropped, by setting.
 *
 * Age is counted from the largest event time, or from the clock if that is less: an
 * event from the future makes nothing old.  Where rolled_until and expired_until stand is
 * stored with the rows, so the row of any bucket is known at any time: an
 * event that comes late is counted in the longer bucket, and one that comes after its
 * bucket was dropped is only counted as expired.
 *
 * Orders that occur in dropped buckets alone are forgotten; if one of them turns up
 * again, it counts again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "metrics/windows_impl.h"

/* Rows put together between two writes. */
#define ROWS_AT_ONCE 5000

static TimestampTz
limit_of(TimestampTz clock, int64 age, int64 bucket)
{
	TimestampTz limit = clock - age;
	int64		rest = limit % bucket;

	return limit - (rest < 0 ? rest + bucket : rest);
}

static void
execute(const char *sql, TimestampTz time, int expected, long rows)
{
	Oid			types[1] = {TIMESTAMPTZOID};
	Datum		values[1] = {TimestampTzGetDatum(time)};

	if (SPI_execute_with_args(sql, 1, types, values, NULL, false, rows) != expected)
		elog(ERROR, "could not execute: %s", sql);
}

/* Moves some rows of short buckets to the long ones that they belong to; false: none are left. */
static bool
roll_some(Windows *w, TimestampTz until)
{
	char	   *sql = psprintf("SELECT bucket, combination FROM %s.windows"
							   " WHERE bucket < $1 AND bucket >= %s AND bucket_end - bucket < interval '" INT64_FORMAT " microseconds'"
							   " ORDER BY bucket", quote_identifier(NameStr(w->host->source->name)),
							   w->rolled_until == DT_NOBEGIN ? "'-infinity'" :
							   quote_literal_cstr(timestamptz_to_str(w->rolled_until)),
							   w->metrics->rollup_bucket);
	CellKey    *keys;
	uint64		n;
	TimestampTz rolled_before = w->rolled_until;

	SPI_connect();
	execute(sql, until, SPI_OK_SELECT, ROWS_AT_ONCE);
	n = SPI_processed;
	keys = SPI_palloc(sizeof(CellKey) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		keys[i].bucket = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i],
														   SPI_tuptable->tupdesc, 1, &isnull));
		keys[i].combination = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
														  SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	for (uint64 i = 0; i < n; i++)
	{
		Cell	   *cell,
				   *into;

		CHECK_FOR_INTERRUPTS();
		/* rows are found as they lie until all have moved */
		w->rolled_until = DT_NOBEGIN;
		cell = cells_find(w, keys[i].bucket, keys[i].combination);
		w->rolled_until = until;
		if (cell == NULL)
			continue;
		into = cells_get(w, keys[i].bucket, keys[i].combination);
		if (into == cell)
			cells_changed(w, cell);
		else
			cells_move(w, into, cell);
		into->end = into->key.bucket + w->metrics->rollup_bucket;
		w->rolled_until = rolled_before;
	}
	pfree(keys);
	return n == ROWS_AT_ONCE;
}

/* One that sees what we have written. */
static void
push_snapshot(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
}

static void
roll_up(Windows *w, TimestampTz until)
{
	bool		more = true;

	if (until <= w->rolled_until)
		return;
	push_snapshot();
	while (more)
	{
		more = roll_some(w, until);
		cells_write(w);
		PopActiveSnapshot();
		push_snapshot();
		if (more)
			cells_evict(w, cells_memory(w) / 2);
	}
	PopActiveSnapshot();
	w->rolled_until = until;
	w->state_dirty = true;
}

static void
expire(Windows *w, TimestampTz until)
{
	char	   *schema = (char *) quote_identifier(NameStr(w->host->source->name));

	if (until <= w->expired_until)
		return;
	SPI_connect();
	execute(psprintf("DELETE FROM %s.windows WHERE bucket < $1", schema), until, SPI_OK_DELETE, 0);
	execute(psprintf("DELETE FROM %1$s.window_orders o WHERE bucket < $1 AND NOT EXISTS"
					 " (SELECT FROM %1$s.window_orders p WHERE p.order_id = o.order_id AND p.bucket >= $1)",
					 schema), until, SPI_OK_DELETE, 0);
	SPI_finish();
	cells_drop_before(w, until);
	orders_clear(w);
	w->complete = false;
	w->expired_until = until;
	w->state_dirty = true;
}

/* After everything dirty was written. */
void
age_windows(Windows *w)
{
	const RecsysMetrics *m = w->metrics;
	TimestampTz clock = Min(w->latest, GetCurrentTimestamp());

	if (w->latest == DT_NOBEGIN)
		return;
	if (m->rollup_after > 0)
		roll_up(w, limit_of(clock, m->rollup_after, m->rollup_bucket));
	if (m->expire_after > 0)
		expire(w, limit_of(clock, m->expire_after, Max(m->bucket, m->rollup_bucket)));
}
