/*
 * session_clicks.c
 *	  The clicks of one session, and what is listed of it.
 */
#include "postgres.h"

#include "state/sessions_impl.h"

int32
clicks_place(const Session *s, TimestampTz time)
{
	int32		at = s->n;

	/* it is mostly the newest */
	while (at > 0 && s->clicks[at - 1].time > time)
		at--;
	return at;
}

int32
clicks_find(const Session *s, int32 user, int32 item, TimestampTz time, bool has_time)
{
	for (int32 i = s->n - 1; i >= 0; i--)
		if (s->clicks[i].item == item && s->clicks[i].user == user &&
			(!has_time || s->clicks[i].time == time))
			return i;
	return -1;
}

static bool
contains(const int32 *items, int32 n, int32 item)
{
	for (int32 i = 0; i < n; i++)
		if (items[i] == item)
			return true;
	return false;
}

int32
clicks_listing(const Session *s, const SessionRules *rules, int32 *items)
{
	int32		n = 0;

	for (int32 i = 0; i < s->n; i++)
	{
		if (contains(items, n, s->clicks[i].item))
			continue;
		if (n == rules->max_items)
			return 0;
		items[n++] = s->clicks[i].item;
	}
	return n >= rules->min_items ? n : 0;
}

int
clicks_changes(const Session *s, const SessionRules *rules, int32 *items, ListingChange *out,
			   int *appears)
{
	int32		n = clicks_listing(s, rules, items);
	TimestampTz time = n > 0 ? s->clicks[s->n - 1].time : 0;
	bool		moves = time != s->listed_time;
	int			nchanges = 0;

	*appears = (n > 0) - (s->nlisted > 0);
	for (int32 i = 0; i < s->nlisted; i++)
	{
		bool		stays = contains(items, n, s->listed[i]);

		if (!stays || moves)
			out[nchanges++] = (ListingChange) {
				s->listed[i], s->number, s->listed_time, true, !stays
			};
	}
	for (int32 i = 0; i < n; i++)
	{
		bool		stays = contains(s->listed, s->nlisted, items[i]);

		if (!stays || moves)
			out[nchanges++] = (ListingChange) {
				items[i], s->number, time, false, !stays
			};
	}
	return nchanges;
}
