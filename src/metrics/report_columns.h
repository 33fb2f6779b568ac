/*
 * report_columns.h
 *	  Columns of the reports that stand in the schema of a source, in order.
 */
#ifndef RECSYS_METRICS_REPORT_COLUMNS_H
#define RECSYS_METRICS_REPORT_COLUMNS_H

/* experiment_report() and the view experiments */
#define REPORT_COLUMNS \
	"experiment name, variant text, is_control boolean, model text, share double precision, " \
	"started_at timestamptz, stopped_at timestamptz, users bigint, impressions bigint, clicks " \
	"bigint, ctr double precision, ctr_lower double precision, ctr_upper double precision, " \
	"ctr_lift double precision, ctr_p double precision, ctr_p_users double precision, " \
	"conversions bigint, cvr double precision, cvr_lower double precision, cvr_upper double " \
	"precision, cvr_lift double precision, cvr_p double precision, cvr_p_users double " \
	"precision, orders bigint, revenue numeric, aov numeric, aov_lift double " \
	"precision, aov_p double precision, srm_p double precision, impressions_needed bigint, " \
	"clicks_needed bigint, warning text"

/* attribution() */
#define ATTRIBUTION_COLUMNS \
	"dimensions jsonb, impressions bigint, clicks bigint, conversions bigint, orders bigint, " \
	"revenue numeric, ctr double precision, ctr_lower double precision, ctr_upper double precision, " \
	"cvr double precision, cvr_lower double precision, cvr_upper double precision, " \
	"aov numeric"

#endif							/* RECSYS_METRICS_REPORT_COLUMNS_H */
