/*
 * windows.h
 *	  Live metrics of a source: what is counted per bucket of event time and
 *	  combination of dimension values, and how it is read.
 */
#ifndef RECSYS_WINDOWS_H
#define RECSYS_WINDOWS_H

#include "catalog/catalog.h"
#include "models/consumer.h"

/* The combination that stands for all beyond max_combinations. */
#define WINDOWS_OTHER 0

/* --- what track_metrics() makes in the schema of a source (windows_schema.c) */
extern void windows_create_schema(const RecsysSource *source, const RecsysMetrics *metrics);
/* likewise its functions and its views (windows_views.c) */
extern void windows_create_functions(const RecsysSource *source);
extern void windows_drop_views(const RecsysSource *source);
extern void windows_replace_views(const RecsysSource *source, const RecsysMetrics *metrics);
extern void windows_drop_schema(const RecsysSource *source);

/* --- how it is kept: a consumer of the stream worker (windows_consumer.c) ---- */
extern const ConsumerAlgorithm windows_consumer;
extern List *windows_columns(const RecsysSource *source, const RecsysMetrics *metrics);

#endif							/* RECSYS_WINDOWS_H */
