/*
 * shop_events.c
 *	  Prints events of a shop that does not exist: seeded, the same on every
 *	  run, millions per second.
 *
 * Users and items are drawn from Zipf distributions of their own, with the
 * alias method (Vose 1991), so that a draw costs the same at any size.  Taste:
 * items and users belong to groups, and a user's event is for an item of the
 * user's group with the probability "loyalty"; inside a group the popularity of
 * items is the same Zipf.  Numbers are dealt out by a random permutation, so
 * that a small number does not mean a popular item.
 *
 * Output, one event a line, in the order of time:
 *	  user_id  item_id  event_type  price  event_time
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct Options
{
	long		users;
	long		items;
	long		events;
	long		groups;
	double		user_exponent;
	double		item_exponent;
	double		loyalty;
	uint64_t	seed;
	long		until;			/* Unix time of the last event */
	double		span;			/* seconds from first to last */
	bool		header;
	bool		catalogue;
} Options;

/* Draws i of n with the probability of its weight. */
typedef struct Alias
{
	uint32_t	n;
	double	   *keep;			/* keep i, or else take other[i] */
	uint32_t   *other;
} Alias;

/* The items of one group, or all of them. */
typedef struct Shelf
{
	uint32_t	n;
	uint32_t   *items;			/* item number less 1 */
	Alias		popularity;
} Shelf;

static const char *const kinds[] = {
	"Lamp", "Kettle", "Backpack", "Tent", "Guitar", "Puzzle", "Bicycle", "Camera", "Teapot", "Drill",
	"Sofa", "Novel", "Racket", "Keyboard", "Blanket", "Sneaker"
};
static const char *const makes[] = {
	"Oak", "Copper", "Alpine", "Velvet", "Polar", "Scarlet", "Nordic", "Cobalt", "Amber", "Misty",
	"Granite", "Saffron", "Willow", "Cedar", "Indigo", "Pearl"
};

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* ------------------------------------------------------------------ chance */

static uint64_t random_state;

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t
random_bits(void)
{
	uint64_t	z = (random_state += 0x9E3779B97F4A7C15u);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

/* in [0, 1) */
static double
random_unit(void)
{
	return (double) (random_bits() >> 11) * 0x1p-53;
}

static uint32_t
random_below(uint32_t n)
{
	return (uint32_t) (((random_bits() >> 32) * n) >> 32);
}

static void *
allocate(size_t n, size_t size)
{
	void	   *p = calloc(n ? n : 1, size);

	if (!p)
	{
		fprintf(stderr, "shop_events: out of memory\n");
		exit(1);
	}
	return p;
}

/* weights: n positive numbers */
static Alias
alias_create(const double *weights, uint32_t n)
{
	Alias		a = {n, allocate(n, sizeof(double)), allocate(n, sizeof(uint32_t))};
	uint32_t   *small = allocate(n, sizeof(uint32_t));
	uint32_t   *large = allocate(n, sizeof(uint32_t));
	uint32_t	nsmall = 0;
	uint32_t	nlarge = 0;
	double		sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += weights[i];
	for (uint32_t i = 0; i < n; i++)
	{
		a.keep[i] = weights[i] * n / sum;
		a.other[i] = i;
		if (a.keep[i] < 1)
			small[nsmall++] = i;
		else
			large[nlarge++] = i;
	}
	while (nsmall > 0 && nlarge > 0)
	{
		uint32_t	s = small[--nsmall];
		uint32_t	l = large[nlarge - 1];

		a.other[s] = l;
		a.keep[l] -= 1 - a.keep[s];
		if (a.keep[l] < 1)
		{
			nlarge--;
			small[nsmall++] = l;
		}
	}
	free(small);
	free(large);
	return a;
}

static inline uint32_t
alias_draw(const Alias *a)
{
	uint32_t	i = random_below(a->n);

	return random_unit() < a->keep[i] ? i : a->other[i];
}

/* A random order of 0 .. n-1. */
static uint32_t *
permutation(uint32_t n)
{
	uint32_t   *p = allocate(n, sizeof(uint32_t));

	for (uint32_t i = 0; i < n; i++)
		p[i] = i;
	for (uint32_t i = n; i > 1; i--)
	{
		uint32_t	j = random_below(i);
		uint32_t	swap = p[i - 1];

		p[i - 1] = p[j];
		p[j] = swap;
	}
	return p;
}

/* Weight of the number i: its rank is order[i]. */
static double *
zipf_weights(uint32_t n, double exponent)
{
	uint32_t   *order = permutation(n);
	double	   *weights = allocate(n, sizeof(double));

	for (uint32_t i = 0; i < n; i++)
		weights[i] = pow((double) order[i] + 1, -exponent);
	free(order);
	return weights;
}

/* -------------------------------------------------------------------- shop */

/* Groups depend on the number alone, so that titles need no draw. */
static uint32_t
group_of(uint32_t number, long groups)
{
	return (uint32_t) ((number * UINT64_C(0x9E3779B97F4A7C15) >> 40) % (uint64_t) groups);
}

/* In cents, from 3.00 on, most of them below 100. */
static uint32_t
price_of(uint32_t item)
{
	uint64_t	h = (item + 1) * UINT64_C(0xD1B54A32D192ED03) >> 44;

	return 300 + (uint32_t) (h % 9700) + (h % 17 == 0 ? 40000 : 0);
}

static Shelf
shelf_create(const double *weights, uint32_t nitems, long groups, long group)
{
	Shelf		shelf = {0, allocate(nitems, sizeof(uint32_t)), {0}};
	double	   *own = allocate(nitems, sizeof(double));

	for (uint32_t i = 0; i < nitems; i++)
		if (group < 0 || group_of(i, groups) == (uint32_t) group)
		{
			shelf.items[shelf.n] = i;
			own[shelf.n++] = weights[i];
		}
	if (shelf.n > 0)
		shelf.popularity = alias_create(own, shelf.n);
	free(own);
	return shelf;
}

static inline uint32_t
shelf_draw(const Shelf *shelf)
{
	return shelf->items[alias_draw(&shelf->popularity)];
}

/* ------------------------------------------------------------------ output */

static char *
put_number(char *p, uint64_t n)
{
	char		digits[20];
	int			len = 0;

	do
		digits[len++] = (char) ('0' + n % 10);
	while (n /= 10);
	while (len > 0)
		*p++ = digits[--len];
	return p;
}

static char *
put_padded(char *p, uint32_t n, int width)
{
	for (int i = width - 1; i >= 0; i--, n /= 10)
		p[i] = (char) ('0' + n % 10);
	return p + width;
}

/* The text of a second changes less often than events come. */
static char *
put_time(char *p, double when)
{
	static time_t known = -1;
	static char text[32];
	static size_t len;
	double		whole = floor(when);
	time_t		second = (time_t) whole;

	if (second != known)
	{
		struct tm	tm;

		gmtime_r(&second, &tm);
		len = strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S.", &tm);
		known = second;
	}
	memcpy(p, text, len);
	p = put_padded(p + len, (uint32_t) ((when - whole) * 1e6), 6);
	memcpy(p, "+00", 3);
	return p + 3;
}

static void
print_catalogue(const Options *o)
{
	if (o->header)
		printf("item_id\ttitle\tprice\n");
	for (uint32_t i = 0; i < (uint32_t) o->items; i++)
	{
		uint32_t	group = o->groups > 0 ? group_of(i, o->groups) : i % LENGTH(kinds);

		printf("%u\t%s %s %u\t%u.%02u\n", i + 1, makes[(i / 7) % LENGTH(makes)],
			   kinds[group % LENGTH(kinds)], i + 1, price_of(i) / 100, price_of(i) % 100);
	}
}

static void
print_events(const Options *o)
{
	uint32_t	nitems = (uint32_t) o->items;
	double	   *user_weights = zipf_weights((uint32_t) o->users, o->user_exponent);
	double	   *item_weights = zipf_weights(nitems, o->item_exponent);
	Alias		users = alias_create(user_weights, (uint32_t) o->users);
	Shelf		all = shelf_create(item_weights, nitems, 1, -1);
	Shelf	   *shelves = allocate((size_t) o->groups, sizeof(Shelf));
	double		step = o->events > 1 ? o->span / (double) (o->events - 1) : 0;

	for (long g = 0; g < o->groups; g++)
		shelves[g] = shelf_create(item_weights, nitems, o->groups, g);
	if (o->header)
		printf("user_id\titem_id\tevent_type\tprice\tevent_time\n");

	for (long e = 0; e < o->events; e++)
	{
		uint32_t	user = alias_draw(&users);
		const Shelf *shelf = &all;
		uint32_t	item;
		uint32_t	price;
		double		chance;
		const char *type;
		char		line[128];
		char	   *p = line;

		if (o->groups > 0 && random_unit() < o->loyalty)
		{
			shelf = &shelves[group_of(user, o->groups)];
			if (shelf->n == 0)
				shelf = &all;
		}
		item = shelf_draw(shelf);
		chance = random_unit();
		type = chance < 0.80 ? "view" : chance < 0.93 ? "add_to_cart" : "purchase";
		price = price_of(item);

		p = put_number(p, user + 1);
		*p++ = '\t';
		p = put_number(p, item + 1);
		*p++ = '\t';
		p = stpcpy(p, type);
		*p++ = '\t';
		p = put_number(p, price / 100);
		*p++ = '.';
		p = put_padded(p, price % 100, 2);
		*p++ = '\t';
		p = put_time(p, (double) o->until - o->span + step * (double) e);
		*p++ = '\n';
		if (fwrite(line, 1, (size_t) (p - line), stdout) != (size_t) (p - line))
			break;				/* main() reports it */
	}
}

/* ----------------------------------------------------------------- options */

static void
usage(FILE *to)
{
	fputs("usage: shop-events [option...]\n"
		  "  --users N            users (100000)\n"
		  "  --items N            items (20000)\n"
		  "  --events N           events (5000000)\n"
		  "  --user-exponent X    Zipf exponent of users' activity (0.6)\n"
		  "  --item-exponent X    Zipf exponent of items' popularity (1.0)\n"
		  "  --groups N           groups of taste, 0 for none (0)\n"
		  "  --loyalty P          share of events within the user's group (0.8)\n"
		  "  --seed N             other events for another number (1)\n"
		  "  --until SECONDS      Unix time of the last event (2025-06-30 00:00 UTC)\n"
		  "  --span SECONDS       time from first to last event (30 days)\n"
		  "  --header             column names first\n"
		  "  --catalogue          the items instead: item_id, title, price\n", to);
}

static double
number(const char *name, const char *text, double min, double max)
{
	char	   *end;
	double		value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= min && value <= max))
	{
		fprintf(stderr, "shop_events: --%s must be a number from %.15g to %.15g, not \"%s\"\n",
				name, min, max, text);
		exit(2);
	}
	return value;
}

static Options
read_options(int argc, char **argv)
{
	static const struct option names[] = {
		{"users", required_argument, NULL, 'u'},
		{"items", required_argument, NULL, 'i'},
		{"events", required_argument, NULL, 'n'},
		{"user-exponent", required_argument, NULL, 'U'},
		{"item-exponent", required_argument, NULL, 'I'},
		{"groups", required_argument, NULL, 'g'},
		{"loyalty", required_argument, NULL, 'l'},
		{"seed", required_argument, NULL, 's'},
		{"until", required_argument, NULL, 't'},
		{"span", required_argument, NULL, 'S'},
		{"header", no_argument, NULL, 'h'},
		{"catalogue", no_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'H'},
		{NULL, 0, NULL, 0}
	};
	Options		o = {
		.users = 100000, .items = 20000, .events = 5000000,
		.user_exponent = 0.6, .item_exponent = 1.0, .loyalty = 0.8,
		.seed = 1, .until = 1751241600, .span = 30 * 86400.0
	};
	int			c;
	int			at = 0;

	while ((c = getopt_long(argc, argv, "", names, &at)) != -1)
	{
		const char *name = names[at].name;

		switch (c)
		{
			case 'u':
				o.users = (long) number(name, optarg, 1, INT32_MAX);
				break;
			case 'i':
				o.items = (long) number(name, optarg, 1, INT32_MAX);
				break;
			case 'n':
				o.events = (long) number(name, optarg, 0, 1e12);
				break;
			case 'U':
				o.user_exponent = number(name, optarg, 0, 10);
				break;
			case 'I':
				o.item_exponent = number(name, optarg, 0, 10);
				break;
			case 'g':
				o.groups = (long) number(name, optarg, 0, 100000);
				break;
			case 'l':
				o.loyalty = number(name, optarg, 0, 1);
				break;
			case 's':
				o.seed = (uint64_t) number(name, optarg, 0, 9007199254740992.0);
				break;
			case 't':
				o.until = (long) number(name, optarg, 0, 1e11);
				break;
			case 'S':
				o.span = number(name, optarg, 0, 1e10);
				break;
			case 'h':
				o.header = true;
				break;
			case 'c':
				o.catalogue = true;
				break;
			case 'H':
				usage(stdout);
				exit(0);
			default:			/* getopt has complained */
				usage(stderr);
				exit(2);
		}
	}
	if (optind < argc)
	{
		usage(stderr);
		exit(2);
	}
	return o;
}

int
main(int argc, char **argv)
{
	Options		o = read_options(argc, argv);

	random_state = o.seed;
	setvbuf(stdout, NULL, _IOFBF, 1 << 18);
	if (o.catalogue)
		print_catalogue(&o);
	else
		print_events(&o);
	if (fflush(stdout) != 0 || ferror(stdout))
	{
		fprintf(stderr, "shop_events: cannot write: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}
