/* pool.h - the shared pool: all SuperSlabs with their free units, for every class alike.
 *
 * A unit is free or taken: one bit, set where free. A slab or run is `unit_count` units in a row in
 * one word (64 units, 1 MiB). Which SuperSlab serves is decided by its longest row of free units:
 * the shortest that suffices, so that nearly full SuperSlabs fill up and nearly empty ones drain;
 * the lowest address among equals. The order of choice, as shelves:
 *
 *   row 1 .. 16, 17 .. 31, 32 .. 63, 64   |  empty, memory still here  |  returned  |  a new one
 *
 * A SuperSlab whose last unit comes back is "empty"; when it has been so for a while, purge.c takes
 * claims its units, gives their memory to the system, and it goes on the shelf "returned". A trim
 * does so with all free units that may hold memory. Between the two states is a third: a free unit
 * that is marked MADV_FREE holds memory that the kernel may take (lazyfree.c).
 *
 * Invariants, by hak_pool_is_valid():  a SuperSlab is on exactly one shelf, the one of its longest
 * row, or on none where nothing is free; open_count = SuperSlabs opened - returned;
 * free_touched_unit_count and lazy_unit_count are what a count of all bits gives.
 *
 * Threads    any. POOL is held for some hundred instructions, a few thousand where many SuperSlabs
 *            are looked at for a long or aligned row; and for two system calls to open one.
 * Source     the shelves: best fit by address, Wilson et al., "Dynamic Storage Allocation" (1995).
 */
#ifndef HAK_HEAP_POOL_H
#define HAK_HEAP_POOL_H

#include "base/config.h"
#include "heap/advice.h"

#include <stdatomic.h>

#define HAK_POOL_NONE UINT32_MAX

struct hak_pool_counts {
	uint64_t open_count;
	uint64_t peak_count;
	uint64_t opened_total;
	uint64_t free_touched_unit_count; /* free units that may hold memory */
	uint64_t lazy_unit_count;	  /* of them, marked MADV_FREE */
	uint64_t away_total;		  /* how often hak_pool_note_away() began */
};

/* Units in a row, the first at a multiple of `unit_alignment` (a power of two to 64). Returns the
 * first, or HAK_POOL_NONE: no memory. *zeroed tells whether all of them read as zero. */
uint32_t hak_pool_take(unsigned unit_count, unsigned unit_alignment, bool *zeroed);

/* Gives units back, of which so much is advised. Their class bytes are HAK_CLASS_NONE already. */
void hak_pool_give(uint32_t unit, unsigned unit_count, struct hak_advice_units advised);

/* True while a SuperSlab is empty and has its memory: purge.c has something to look at. */
bool hak_pool_has_empty(void);

/* Free units of one SuperSlab that may hold memory, in the hands of who gives it to the system. A
 * bit for each unit, as in the SuperSlab's own words. */
struct hak_pool_claim {
	uint32_t superslab;
	uint32_t holding_count; /* of the units: not those that a daemon has emptied */
	uint8_t emptied_at;	/* when it did: a stamp of advice.h; 0: it has not */
	uint64_t units[HAK_SUPERSLAB_WORDS];
};

/* Claims those of a SuperSlab that has been empty since `before_ns` or longer; or those of the next
 * SuperSlab from *index on that has any, and moves *index behind it. False: there is none. */
bool hak_pool_claim_empty(uint64_t before_ns, struct hak_pool_claim *claim);
bool hak_pool_claim_from(uint32_t *index, struct hak_pool_claim *claim);

/* Claims those that are worth marking MADV_FREE, of the next SuperSlab below *index, and moves
 * *index to it: not those that are marked, nor those that a process on the other side of a fork may
 * hold as well, where the mark does nothing. From the top, since the pool fills from the bottom.
 * False: there is none, or many were looked at in vain; *index tells, by being 0 or not. */
bool hak_pool_claim_unmarked(uint32_t *index, struct hak_pool_claim *claim);

/* Free units that may hold memory and are not marked. */
uint32_t hak_pool_unmarked_count(void);

/* The same state of things for blocks that slabs lack for a moment: until it ends, no one is told
 * that there is no memory. Calls nest. */
void hak_pool_note_away(bool begins);

enum hak_pool_outcome {
	HAK_POOL_KEPT,	   /* their memory is as it was */
	HAK_POOL_LAZY,	   /* marked MADV_FREE */
	HAK_POOL_RETURNED, /* the system has it, and they read as zero */
};

/* Gives the units back to the pool. */
void hak_pool_put_back(const struct hak_pool_claim *claim, enum hak_pool_outcome outcome);

/* Writes the rows of all SuperSlabs to this page, and from here on every change of them; NULL: to
 * none any more. */
void hak_pool_publish(unsigned char *page);

void hak_pool_count(struct hak_pool_counts *counts);

/* Checks every open SuperSlab; for tests and debuggers. */
bool hak_pool_is_valid(void);

#endif
