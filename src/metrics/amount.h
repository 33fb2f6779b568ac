/*
 * amount.h
 *	  Exact sums of decimal numbers that come as text.
 *
 * A sum is what SUM(numeric) gives, also after numbers were taken out again: a
 * 128-bit integer of decimal units while that is enough, and beyond it a numeric.
 */
#ifndef RECSYS_AMOUNT_H
#define RECSYS_AMOUNT_H

#include "postgres.h"
#include "utils/numeric.h"

/* All zeros is 0. */
typedef struct Amount
{
	int128		units;			/* of 10^-scale */
	int			scale;
	Numeric		wide;			/* what does not fit into units, or NULL; palloc'd */
} Amount;

typedef struct AmountValue
{
	int64		units;
	int			scale;
	Numeric		wide;			/* instead, or NULL */
} AmountValue;

/* The number in the text of a column of that type, which is converted to numeric as a
 * cast does; false: NaN, infinite, or no number. */
extern bool amount_parse(const char *text, int length, Oid type, AmountValue *value);
/* Memory comes from "context". */
extern void amount_add(Amount *amount, const AmountValue *value, int sign, MemoryContext context);
extern void amount_merge(Amount *amount, const Amount *other, MemoryContext context);
extern double amount_float(const AmountValue *value);
extern Numeric amount_numeric(const Amount *amount);
extern void amount_load(Amount *amount, Numeric value, MemoryContext context);
extern void amount_clear(Amount *amount);

#endif							/* RECSYS_AMOUNT_H */
