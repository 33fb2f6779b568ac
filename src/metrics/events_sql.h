/*
 * events_sql.h
 *	  The events of a source in SQL, as the row "e": what functions put together
 *	  that read them.  All names are quoted, all values literals.
 */
#ifndef RECSYS_METRICS_EVENTS_SQL_H
#define RECSYS_METRICS_EVENTS_SQL_H

#include "catalog/catalog.h"

/* "ONLY schema.table AS e", or the whole of a partitioned table */
extern char *events_from(const RecsysSource *source);

extern char *events_column(const char *name);

/* The event's time; a timestamp without time zone is UTC, as in the stream. */
extern char *events_time(const RecsysSource *source);

/* Whether its type is one of these. */
extern char *events_is(const RecsysSource *source, char **types, int n);

/* Whether it is an impression, a click or a conversion. */
extern char *events_counted(const RecsysSource *source, const RecsysMetrics *metrics);

/* Whether it has keys that cleaning lets through. */
extern char *events_keys(const RecsysSource *source);

/* Whether the stream takes it, too: keys and a value that cleaning lets through. */
extern char *events_accepted(const RecsysSource *source);

/* The amount as numeric; null where there is none, and for NaN and infinity. */
extern char *events_amount(const RecsysMetrics *metrics);

/*
 * The metrics that are tracked; error if there are none, if the source's events
 * can't be read or have no time.  "function" is for the message.
 */
extern RecsysMetrics *events_metrics(const RecsysSource *source, const char *function);

#endif							/* RECSYS_METRICS_EVENTS_SQL_H */
