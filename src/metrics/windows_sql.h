/*
 * windows_sql.h
 *	  SQL over the tables of windows, shared by metrics() and the views.
 */
#ifndef RECSYS_WINDOWS_SQL_H
#define RECSYS_WINDOWS_SQL_H

#include "catalog/catalog.h"

/* Columns that every window of metrics has after those that tell it apart. */
typedef struct FigureColumn
{
	const char *name;
	const char *type;
	const char *comment;
} FigureColumn;

extern const FigureColumn window_figures[];		/* ends with name == NULL */

/* "SELECT keys, figures FROM (SELECT keys, sums FROM relation GROUP BY keys) g": relation has
 * the columns of windows; keys are expressions with the names of their columns. */
extern char *windows_figures_sql(const RecsysMetrics *metrics, const char *names,
								 const char *keys, const char *relation, const char *group);

/* The watermark as an expression: windows that end by then are final. */
extern char *windows_watermark_sql(const RecsysSource *source, const RecsysMetrics *metrics);

/* Value number i (from 1) of the dimensions of "d", a row of window_dimensions. */
extern char *windows_dimension_sql(int i);

/* window_dimensions with the row of WINDOWS_OTHER. */
extern char *windows_dimensions_sql(const RecsysSource *source, const RecsysMetrics *metrics);

/* An interval of so many microseconds, free of days and their time zones. */
extern char *windows_interval_sql(int64 length);

#endif							/* RECSYS_WINDOWS_SQL_H */
