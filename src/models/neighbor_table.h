/*
 * neighbor_table.h
 *	  <model>_neighbors: for each item the items most similar to it, the table of
 *	  models that are lists of neighbours.
 *
 *		item_id		int4, the primary key
 *		neighbors	int4[], best first
 *		scores		real[], of these
 *		weights		bytea, a byte for each: how much its score counts where it is
 *					recommended (neighbor_weight()); NULL: all count as they are
 */
#ifndef RECSYS_NEIGHBOR_TABLE_H
#define RECSYS_NEIGHBOR_TABLE_H

#include "postgres.h"

#include "models/model.h"
#include "numeric/neighbors.h"
#include "state/hinted.h"
#include "state/table.h"

/* ------------------------------------------------------------ declaration */

extern char *neighbor_table_create_sql(const RecsysSource *source, const char *model);
extern char *neighbor_table_drop_sql(const RecsysSource *source, const char *model);
extern char *neighbor_table_similarity_sql(const RecsysSource *source, const char *model);

/* ---------------------------------------------------------- stream worker */

/* Where the lists know an item by another number as the owner of a list than as
 * an entry; lists of other numbers are not published. */
typedef struct NeighborCoding
{
	int32_t		(*owner) (int32_t item);
	int32_t		(*entry) (int32_t item);
	bool		(*is_owner) (int32_t number);
	int32_t		(*item) (int32_t number);
} NeighborCoding;

/* Tells the lists what the table holds.  False: no memory.  coding may be NULL. */
extern bool neighbor_table_load(NeighborLists *lists, const RecsysSource *source,
								const RecsysModel *model, const NeighborCoding *coding);
/* Writes every dirty row of lists of up to k items.  False: no memory. */
extern bool neighbor_table_write(NeighborLists *lists, const RecsysSource *source,
								 const RecsysModel *model, int k, const NeighborCoding *coding);

/* ---------------------------------------------------------------- serving */

typedef struct NeighborReader
{
	StateTable *table;
	HintedReader *reader;
	int			max;			/* room for weighted scores */
	float	   *weighted;
} NeighborReader;

typedef struct Neighbors
{
	int			n;
	const int32 *items;
	const float *scores;
	const uint8 *weights;		/* or NULL */
} Neighbors;

extern NeighborReader neighbor_table_open(ServeContext *cx);
extern void neighbor_table_close(NeighborReader *reader);
/* The published list of an item, maybe empty; valid until the next one is
 * read. */
extern Neighbors neighbor_table_get(NeighborReader *reader, int32 item);
/* Its scores, weighted; valid as long. */
extern const float *neighbor_table_weigh(NeighborReader *reader, const Neighbors *list);
/* Score of an item in a list, weighted or not; 0 if it isn't there. */
extern double neighbor_score(const Neighbors *list, int32 item, bool weighted);

/* ModelAlgorithm's similar_items: the list as published. */
extern int	neighbor_table_similar_items(ServeContext *cx, int32 item, int k,
										 ScoredItem *out);

#endif							/* RECSYS_NEIGHBOR_TABLE_H */
