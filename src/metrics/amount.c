/*
 * amount.c
 *	  Exact sums of decimal numbers, see amount.h.
 *
 * Prices have few digits: up to 18 of them are read straight into an integer.
 * Longer ones, and exponents, go through numeric.  Floats are converted as a
 * cast to numeric does, with 15 significant digits (6 of a real), which the text of most
 * already is.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_type_d.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "metrics/amount.h"
#include "state/extras.h"

#define MAX_DIGITS 18
/* A sum stays below this, so that a further value cannot overflow it. */
#define MAX_UNITS ((int128) 1 << 120)

static Numeric
calculate(PGFunction operation, Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(operation, NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
numeric_from_text(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* Plain decimals of at most "digits" significant digits; false: it is something else. */
static bool
parse_plain(const char *text, int length, int digits, AmountValue *value)
{
	bool		negative = length > 0 && text[0] == '-';
	int			i = negative ? 1 : 0,
				n = 0,
				scale = -1;
	int64		units = 0;

	for (; i < length; i++)
	{
		if (text[i] == '.' && scale < 0)
		{
			scale = 0;
			continue;
		}
		if (text[i] < '0' || text[i] > '9' || n == digits || scale == MAX_DIGITS)
			return false;
		units = units * 10 + (text[i] - '0');
		n += units != 0;
		if (scale >= 0)
			scale++;
	}
	if (length == (negative ? 1 : 0) || scale == 0)
		return false;
	value->units = negative ? -units : units;
	value->scale = Max(scale, 0);
	value->wide = NULL;
	return true;
}

static const char *
skip_digits(const char *at)
{
	return at + strspn(at, "0123456789");
}

/* Digits, a point and an exponent that no type of numbers refuses. */
static bool
is_number(const char *text)
{
	const char *whole = text + (*text == '-' || *text == '+');
	const char *at = skip_digits(whole);
	int			digits = (int) (at - whole);
	const char *exponent;

	if (*at == '.')
	{
		const char *fraction = at + 1;

		at = skip_digits(fraction);
		digits += (int) (at - fraction);
	}
	if (digits == 0)
		return false;
	if (*at != 'e' && *at != 'E')
		return *at == '\0';
	at++;
	exponent = at + (*at == '-' || *at == '+');
	at = skip_digits(exponent);
	return *at == '\0' && at > exponent && at - exponent <= 3;
}

bool
amount_parse(const char *text, int length, Oid type, AmountValue *value)
{
	bool		is_float = type == FLOAT4OID || type == FLOAT8OID;
	int			digits = type == FLOAT4OID ? FLT_DIG : type == FLOAT8OID ? DBL_DIG : MAX_DIGITS;

	/* cut: not the number that stands in the table */
	if (length >= EXTRA_MAX_TEXT)
		return false;
	if (parse_plain(text, length, digits, value))
		return true;
	/* a column that was a number once, or none that we know */
	if (!is_number(text))
		return false;
	if (type == FLOAT4OID)
		value->wide = DatumGetNumeric(DirectFunctionCall1(float4_numeric,
			DirectFunctionCall1(float4in, CStringGetDatum(text))));
	else if (is_float)
		value->wide = DatumGetNumeric(DirectFunctionCall1(float8_numeric,
			DirectFunctionCall1(float8in, CStringGetDatum(text))));
	else
		value->wide = numeric_from_text(text);
	return !numeric_is_nan(value->wide) && !numeric_is_inf(value->wide);
}

double
amount_float(const AmountValue *value)
{
	if (value->wide)
		return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												  NumericGetDatum(value->wide)));
	/* both are exact up to 2^53 and 10^22, so this is the nearest double */
	return (double) value->units / pow(10, value->scale);
}

static void
set_wide(Amount *amount, Numeric wide, MemoryContext context)
{
	Numeric		copy = MemoryContextAlloc(context, VARSIZE(wide));

	memcpy(copy, wide, VARSIZE(wide));
	if (amount->wide)
		pfree(amount->wide);
	amount->wide = copy;
}

static void
add_wide(Amount *amount, Numeric value, int sign, MemoryContext context)
{
	Numeric		before = amount->wide ? amount->wide : int64_to_numeric(0);

	set_wide(amount, calculate(sign > 0 ? numeric_add : numeric_sub, before, value), context);
}

static Numeric
units_numeric(int128 units, int scale)
{
	char		digits[64];
	int			n = 0;
	StringInfoData text;
	bool		negative = units < 0;

	initStringInfo(&text);
	while (units != 0 || n <= scale)
	{
		int			digit = (int) (units % 10);

		digits[n++] = (char) ('0' + abs(digit));
		units /= 10;
	}
	if (negative)
		appendStringInfoChar(&text, '-');
	while (n > 0)
	{
		if (n == scale)
			appendStringInfoChar(&text, '.');
		appendStringInfoChar(&text, digits[--n]);
	}
	return numeric_from_text(text.data);
}

/* Move what is in units to wide. */
static void
widen(Amount *amount, MemoryContext context)
{
	add_wide(amount, units_numeric(amount->units, amount->scale), 1, context);
	amount->units = 0;
}

/* Bring the sum to at least that scale. */
static void
reach_scale(Amount *amount, int scale, MemoryContext context)
{
	for (; amount->scale < scale; amount->scale++)
	{
		if (amount->units > MAX_UNITS / 10 || amount->units < -MAX_UNITS / 10)
			widen(amount, context);
		amount->units *= 10;
	}
}

static void
add_units(Amount *amount, int128 units, int scale, int sign, MemoryContext context)
{
	reach_scale(amount, scale, context);
	for (; scale < amount->scale; scale++)
	{
		if (units > MAX_UNITS / 10 || units < -MAX_UNITS / 10)
		{
			add_wide(amount, units_numeric(units, scale), sign, context);
			return;
		}
		units *= 10;
	}
	amount->units += sign > 0 ? units : -units;
	if (amount->units > MAX_UNITS || amount->units < -MAX_UNITS)
		widen(amount, context);
}

void
amount_add(Amount *amount, const AmountValue *value, int sign, MemoryContext context)
{
	if (value->wide)
		add_wide(amount, value->wide, sign, context);
	else
		add_units(amount, value->units, value->scale, sign, context);
}

void
amount_merge(Amount *amount, const Amount *other, MemoryContext context)
{
	add_units(amount, other->units, other->scale, 1, context);
	if (other->wide)
		add_wide(amount, other->wide, 1, context);
}

Numeric
amount_numeric(const Amount *amount)
{
	Numeric		units = units_numeric(amount->units, amount->scale);

	return amount->wide ? calculate(numeric_add, units, amount->wide) : units;
}

void
amount_load(Amount *amount, Numeric value, MemoryContext context)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
	AmountValue parsed;

	memset(amount, 0, sizeof(Amount));
	if (parse_plain(text, strlen(text), MAX_DIGITS, &parsed))
		amount_add(amount, &parsed, 1, context);
	else
		set_wide(amount, value, context);
}

void
amount_clear(Amount *amount)
{
	if (amount->wide)
		pfree(amount->wide);
	memset(amount, 0, sizeof(Amount));
}
