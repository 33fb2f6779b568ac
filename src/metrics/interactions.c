/*
 * interactions.c
 *	  See interactions.h.
 *
 * Keys become numbers, and rows are appended to an array, which is the fastest
 * thing to do with a row.  When the array is full, it is sorted and the values of
 * the same pair are added up, if that promises to make room, otherwise it
 * grows; at the limit of memory it must make room.
 *
 * The result shall be the same to the last bit whatever the order of rows and
 * however many workers they were given to.  So sums are exact: what does not
 * fit in one double stays more than one row (numeric/expansion.h), and is
 * rounded once, at the end.  And so keys are numbered by their order before
 * anything is made of their numbers, of which the order of all later sums comes.
 */
#include "postgres.h"

#include "compat.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "metrics/interactions.h"
#include "miscadmin.h"
#include "numeric/expansion.h"
#include "recsys.h"
#include "utils/memutils.h"

#define FIRST_ROWS		128
#define COMPACT_FROM	65536	/* below it, growing costs nothing */
#define SPARE_ROWS		8		/* more than what the allocator takes for itself */
#define CHECK_KEYS		1024	/* new keys between two looks at the memory they take */

/* ------------------------------------------------------------------ memory */

static Size
memory_limit(void)
{
	return (Size) recsys_aggregate_memory_kb * 1024;
}

static Size
memory_used(const Interactions *in)
{
	return MemoryContextMemAllocated(in->context, true);
}

void
interactions_reserve(const Interactions *in, Size bytes)
{
	if (memory_used(in) + bytes > memory_limit())
		ereport(ERROR,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("item_cosine() of " INT64_FORMAT " pairs of %d users and %d items needs %zu kB of memory, more than recsys.aggregate_memory",
					   in->n, codes_count(in->users), codes_count(in->items),
					   (memory_used(in) + bytes) / 1024 + 1),
				errhint("Raise recsys.aggregate_memory (%d kB), or aggregate fewer rows, for example newer ones only.",
						recsys_aggregate_memory_kb));
}

Interactions *
interactions_create(MemoryContext parent, int k, Oid user_type, Oid user_collation,
					Oid item_type, Oid item_collation)
{
	MemoryContext context = AllocSetContextCreate(parent, "recsys item_cosine", ALLOCSET_SMALL_SIZES);
	Interactions *in = MemoryContextAllocZero(context, sizeof(Interactions));

	in->context = context;
	in->k = k;
	in->users = codes_create(context, user_type, user_collation, "users");
	in->items = codes_create(context, item_type, item_collation, "items");
	in->max = FIRST_ROWS;
	in->try_at = COMPACT_FROM;
	in->rows = MemoryContextAlloc(context, sizeof(Interaction) * FIRST_ROWS);
	return in;
}

/* ----------------------------------------------------------- sort, add up */

#define ST_SORT sort_rows
#define ST_ELEMENT_TYPE Interaction
#define ST_COMPARE(a, b) ((a)->pair < (b)->pair ? -1 : (a)->pair > (b)->pair)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* The parts of the sum of the pair at *at, which moves behind it. */
static int
sum_pair(const Interaction *rows, int64 n, int64 *at, double *parts)
{
	uint64		pair = rows[*at].pair;
	int			nparts = 0;

	for (; *at < n && rows[*at].pair == pair; ++*at)
		nparts = expansion_add(parts, nparts, rows[*at].value);
	return nparts;
}

static void
compact(Interactions *in)
{
	double		parts[EXPANSION_PARTS];
	int64		n = 0;

	sort_rows(in->rows, (size_t) in->n);
	for (int64 at = 0; at < in->n;)
	{
		uint64		pair = in->rows[at].pair;
		int64		from = at;
		int			nparts = sum_pair(in->rows, in->n, &at, parts);

		Assert(nparts <= at - from);
		for (int i = 0; i < nparts; i++)
			in->rows[n++] = (Interaction) {pair, parts[i]};
		if (from % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	in->n = n;
}

/* How far the array may grow at most, others' memory considered. */
static int64
rows_at_most(const Interactions *in)
{
	Size		others = memory_used(in) - sizeof(Interaction) * (Size) in->max;

	return memory_limit() > others ? (int64) ((memory_limit() - others) / sizeof(Interaction)) : 0;
}

/*
 * Where adding up does not make room for an eighth, pairs hardly come again, and
 * the array may double twice before that is tried once more.
 */
static void
make_room(Interactions *in)
{
	int64		most = rows_at_most(in) - SPARE_ROWS;
	int64		max = in->max;

	if (in->n >= in->try_at || (2 * max > most && in->n >= COMPACT_FROM))
	{
		int64		before = in->n;

		compact(in);
		in->try_at = in->n <= before - before / 8 ? Max(in->n, COMPACT_FROM) : before * 4;
		if (in->n <= max - max / 4)
			return;
	}
	max = 2 * max > most ? most : 2 * max;
	if (max < in->n + in->n / 16 + 1)
		interactions_reserve(in, sizeof(Interaction) * (Size) (in->max + SPARE_ROWS));
	in->rows = repalloc_huge(in->rows, sizeof(Interaction) * (Size) max);
	in->max = max;
}

static inline void
add_row(Interactions *in, int32 user, int32 item, double value)
{
	if (in->n >= in->max)
		make_room(in);
	in->rows[in->n++] = (Interaction) {(uint64) user << 32 | (uint32) item, value};
}

static int32
add_key(Interactions *in, DatumCodes *codes, Datum key)
{
	Size		growth = codes_growth(codes);
	int32		n = codes_count(codes);
	int32		code;

	if (growth > 0)
		interactions_reserve(in, growth);
	code = codes_add(codes, key);
	if (code == n && code % CHECK_KEYS == CHECK_KEYS - 1)
		interactions_reserve(in, 0);
	return code;
}

void
interactions_add(Interactions *in, Datum user, Datum item, double value)
{
	int32		u = add_key(in, in->users, user);

	add_row(in, u, add_key(in, in->items, item), value);
}

/* What the numbers of "from" are in "to". */
static int32 *
add_keys(Interactions *in, DatumCodes *to, const DatumCodes *from)
{
	int32		n = codes_count(from);
	int32	   *codes = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * (Size) n);

	for (int32 i = 0; i < n; i++)
	{
		codes[i] = add_key(in, to, codes_value(from, i));
		CHECK_FOR_INTERRUPTS();
	}
	return codes;
}

void
interactions_merge(Interactions *in, const Interactions *other)
{
	int32	   *users = add_keys(in, in->users, other->users);
	int32	   *items = add_keys(in, in->items, other->items);

	for (int64 i = 0; i < other->n; i++)
	{
		const Interaction *row = &other->rows[i];

		add_row(in, users[INTERACTION_USER(row->pair)], items[INTERACTION_ITEM(row->pair)], row->value);
		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	pfree(users);
	pfree(items);
}

/* ----------------------------------------------------------------- in order */

void
interactions_sort(Interactions *in)
{
	int32	   *users = codes_sort(in->users);
	int32	   *items = codes_sort(in->items);

	for (int64 i = 0; i < in->n && (users || items); i++)
	{
		uint64		pair = in->rows[i].pair;
		int32		user = INTERACTION_USER(pair),
					item = INTERACTION_ITEM(pair);

		in->rows[i].pair = (uint64) (users ? users[user] : user) << 32 | (uint32) (items ? items[item] : item);
		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	if (users)
		pfree(users);
	if (items)
		pfree(items);
	compact(in);
}

bool
interactions_next(const Interactions *in, int64 *at, Interaction *pair)
{
	double		parts[EXPANSION_PARTS];
	int			nparts;

	/* compact() has left no sums of zero */
	if (*at >= in->n)
		return false;
	pair->pair = in->rows[*at].pair;
	nparts = sum_pair(in->rows, in->n, at, parts);
	pair->value = expansion_value(parts, nparts);
	return true;
}

/* ------------------------------------------------------------------- bytes */

/* Numbers as they are in memory: for processes of one server. */
bytea *
interactions_write(Interactions *in)
{
	StringInfoData out;
	Size		bytes;

	compact(in);
	bytes = codes_written_size(in->users) + codes_written_size(in->items) + sizeof(Interaction) * (Size) in->n;
	if (bytes > MaxAllocSize - 64)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("item_cosine() of " INT64_FORMAT " pairs can not be handed to another process: %zu kB are more than 1 GB",
					   in->n, bytes / 1024),
				errhint("SET max_parallel_workers_per_gather = 0, or aggregate fewer rows."));
	initStringInfo(&out);
	enlargeStringInfo(&out, (int) bytes + 32);
	appendStringInfoSpaces(&out, VARHDRSZ);
	pq_sendint32(&out, (uint32) in->k);
	codes_write(in->users, &out);
	codes_write(in->items, &out);
	pq_sendint64(&out, (uint64) in->n);
	pq_sendbytes(&out, (char *) in->rows, (int) (sizeof(Interaction) * (Size) in->n));
	SET_VARSIZE(out.data, out.len);
	return (bytea *) out.data;
}

Interactions *
interactions_read(bytea *bytes, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "recsys item_cosine", ALLOCSET_SMALL_SIZES);
	Interactions *in = MemoryContextAllocZero(context, sizeof(Interactions));
	StringInfoData from = {.data = VARDATA_ANY(bytes),.len = (int) VARSIZE_ANY_EXHDR(bytes)};

	in->context = context;
	in->k = (int) pq_getmsgint(&from, 4);
	in->users = codes_read(&from, context, "users");
	in->items = codes_read(&from, context, "items");
	in->n = in->max = pq_getmsgint64(&from);
	in->rows = MemoryContextAllocHuge(context, sizeof(Interaction) * (Size) Max(in->n, 1));
	memcpy(in->rows, pq_getmsgbytes(&from, (int) (sizeof(Interaction) * (Size) in->n)),
		   sizeof(Interaction) * (Size) in->n);
	pq_getmsgend(&from);
	return in;
}
