/*
 * relations.c
 *	  The relations that decoding meets: which are the source's, and how their
 *	  rows are read.
 *
 * An entry is made under the historic snapshot of the change at hand.  Any
 * change of a relation's definition throws all entries away; so do new wishes
 * of the consumers.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/partition.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "stream/collect.h"

/* Whose entries become stale. */
static Stream *watching_stream = NULL;

/* Called at any moment, so it only leaves a note. */
static void
on_relcache_invalidation(Datum arg, Oid relid)
{
	(void) arg;
	(void) relid;
	if (watching_stream)
		watching_stream->relations_stale = true;
}

void
relations_reset(Stream *s)
{
	static bool registered = false;
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(RelationEntry)};

	watching_stream = s;
	if (!registered)
		CacheRegisterRelcacheCallback(on_relcache_invalidation, (Datum) 0);
	registered = true;
	if (s->relations)
	{
		HASH_SEQ_STATUS status;
		RelationEntry *entry;

		hash_seq_init(&status, s->relations);
		while ((entry = hash_seq_search(&status)) != NULL)
		{
			if (entry->map)
				event_map_free(entry->map);
			if (entry->extras)
				extra_columns_free(entry->extras);
			if (entry->extra_logged)
				pfree(entry->extra_logged);
		}
		hash_destroy(s->relations);
	}
	ctl.hcxt = s->context;
	s->relations = hash_create("recsys relations", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	s->relations_stale = false;
}

static bool
is_covered(Relation relation, const char *column, Bitmapset *identity)
{
	if (column == NULL)
		return true;
	for (int i = 0; i < RelationGetDescr(relation)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(relation), i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), column) == 0)
			return bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, identity);
	}
	return false;
}

static OldRow
old_row_of(Stream *s, Relation relation)
{
	RecsysSource *source = s->source;
	Bitmapset  *identity;
	bool		covered;

	if (relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return OLD_ROW_FULL;
	identity = RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	covered = is_covered(relation, NameStr(source->user.name), identity) &&
		is_covered(relation, NameStr(source->item.name), identity) &&
		is_covered(relation, source->type_column, identity) &&
		is_covered(relation, source->value_column, identity) &&
		is_covered(relation, source->time_column, identity);
	bms_free(identity);
	return covered ? OLD_ROW_COVERED : OLD_ROW_NONE;
}

/* Which of the columns that consumers want do old rows hold? */
static bool *
extras_logged(Stream *s, Relation relation, const ExtraColumns *extras)
{
	bool		full = relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	bool	   *logged = MemoryContextAllocZero(s->context, sizeof(bool) * s->nextras);
	Bitmapset  *identity = full ? NULL :
		RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_IDENTITY_KEY);

	for (int i = 0; i < s->nextras; i++)
	{
		AttrNumber	attnum = extra_columns_attnum(extras, i);

		logged[i] = full || attnum == 0 ||
			bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, identity);
	}
	bms_free(identity);
	return logged;
}

static bool
belongs_to_source(Stream *s, Relation relation)
{
	List	   *ancestors;
	bool		found;

	if (RelationGetRelid(relation) == s->source->events)
		return true;
	if (!relation->rd_rel->relispartition)
		return false;
	ancestors = get_partition_ancestors(RelationGetRelid(relation));
	found = list_member_oid(ancestors, s->source->events);
	list_free(ancestors);
	return found;
}

/* NULL if the relation is not of this source. */
RelationEntry *
relations_find(Stream *s, Relation relation)
{
	Oid			relid = RelationGetRelid(relation);
	RelationEntry *entry;

	if (s->relations_stale)
		relations_reset(s);
	entry = hash_search(s->relations, &relid, HASH_FIND, NULL);
	if (entry == NULL)
	{
		EventMap   *map = NULL;
		OldRow		old_row = OLD_ROW_NONE;
		ExtraColumns *extras = NULL;
		bool	   *logged = NULL;

		/* may raise an error, so the entry is made afterwards */
		if (belongs_to_source(s, relation))
		{
			map = event_map_create(s->source, RelationGetDescr(relation), s->context, false);
			old_row = old_row_of(s, relation);
			if (s->nextras > 0)
			{
				extras = extra_columns_create(RelationGetDescr(relation), s->extras,
											  s->nextras, s->context);
				logged = extras_logged(s, relation, extras);
			}
		}
		entry = hash_search(s->relations, &relid, HASH_ENTER, NULL);
		entry->map = map;
		entry->old_row = old_row;
		entry->extras = extras;
		entry->extra_logged = logged;
	}
	return entry->map ? entry : NULL;
}
