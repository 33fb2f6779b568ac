/*
 * session_number.c
 *	  session_number(): a window function that counts sessions by gaps in time.
 *
 * Rows come in the order of the window.  A session goes on as long as no more
 * than the gap lies between a row and the one before; an exact gap still belongs
 * to it.  A row without a time is in no session, and does not part one.
 *
 * "time + gap" is PostgreSQL's own sum, so a gap of a day is 23 hours where the
 * clock is put forward; gaps without days and months take a shorter way.
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "windowapi.h"

PG_FUNCTION_INFO_V1(recsys_session_number);

/* Kept by the window, zero at the start of each partition. */
typedef struct Sessions
{
	int64		number;			/* of the current one, from 1 */
	TimestampTz last;			/* its newest time */
} Sessions;

/* Not after "last": the gap is over. */
static bool
gap_is_over(TimestampTz last, TimestampTz time, const Interval *gap)
{
	int64		passed;

	if (gap->month == 0 && gap->day == 0)
		return pg_sub_s64_overflow(time, last, &passed) || passed > gap->time;
	return time > DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														  TimestampTzGetDatum(last), IntervalPGetDatum(gap)));
}

static void
check_gap(const Interval *gap)
{
	if (gap->month < 0 || gap->day < 0 || gap->time < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("gap between sessions is negative: %s",
					   DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(gap)))),
				errhint("Pass the longest pause within a session, such as '30 minutes'."));
}

static void
check_time(TimestampTz time, const Sessions *s)
{
	if (TIMESTAMP_NOT_FINITE(time))
		ereport(ERROR,
				errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("time of an event is %s", timestamptz_to_str(time)),
				errhint("Leave such rows out by WHERE isfinite(...)."));
	if (s->number > 0 && time < s->last)
		ereport(ERROR,
				errcode(ERRCODE_WINDOWING_ERROR),
				errmsg("times of the window are not in ascending order"),
				errhint("Order the window by the same time: OVER (PARTITION BY user_id ORDER BY event_time)."));
}

Datum
recsys_session_number(PG_FUNCTION_ARGS)
{
	WindowObject window = PG_WINDOW_OBJECT();
	Sessions   *s = WinGetPartitionLocalMemory(window, sizeof(Sessions));
	bool		no_time,
				no_gap;
	TimestampTz time = DatumGetTimestampTz(WinGetFuncArgCurrent(window, 0, &no_time));
	Interval   *gap = DatumGetIntervalP(WinGetFuncArgCurrent(window, 1, &no_gap));

	if (no_gap)
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("gap between sessions is null"),
				errhint("Pass the longest pause within a session, such as '30 minutes'."));
	check_gap(gap);
	if (no_time)
		PG_RETURN_NULL();
	check_time(time, s);
	if (s->number == 0 || gap_is_over(s->last, time, gap))
		s->number++;
	s->last = time;
	PG_RETURN_INT64(s->number);
}
