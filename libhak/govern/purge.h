/* purge.h - memory back to the system: empty SuperSlabs and cached mappings that have aged.
 *
 * What has been unused for the decay (HAK_DECAY) goes back on a later slow path, looked at no more
 * often than the interval, a few SuperSlabs at a time. Memory that cannot go back (it is locked)
 * stays usable and is tried again a decay later, where somebody looks anyway.
 *
 * Threads    any, inside the fork gate; one at a time purges, the others pass by.
 */
#ifndef HAK_GOVERN_PURGE_H
#define HAK_GOVERN_PURGE_H

#include "base/config.h"
#include "heap/pool.h"

/* Below these stands level 0, which marks (lazyfree.h). */
enum hak_purge_level {
	HAK_PURGE_FREE = 1, /* what is free in the pool and in slabs; caches are left alone */
	HAK_PURGE_ALL,	    /* cached mappings, magazines and depots before that */
};

/* A trim: all memory of its level goes back that can, or as much as was asked for, in steps that
 * each last some milliseconds. Begins as zeroes but for level and target_bytes. */
struct hak_purge_trim {
	enum hak_purge_level level;
	uint64_t target_bytes;
	uint64_t released_bytes;
	uint32_t next_superslab;
	uint32_t next_unit;
	bool is_begun;
};

/* Gives the units of a claim to the system, or marks them (HAK_POOL_LAZY), a call for each row of
 * them, and puts them back into the pool. Returns bytes, without those that a daemon has taken
 * before; a row that is refused (locked memory) makes the whole claim count as memory still, and
 * the result 0. */
size_t hak_purge_claim(const struct hak_pool_claim *claim, enum hak_pool_outcome outcome);

/* What is free but kept at hand: cached mappings, as far as they have been so since before_ns or
 * longer (UINT64_MAX: all), go back, and magazines and depots are emptied into the slabs. Returns
 * bytes of mappings. */
size_t hak_purge_let_go(uint64_t before_ns);

/* One step. True: there is more to do. The caller sees that no two threads are in one trim. */
bool hak_purge_trim(struct hak_purge_trim *trim);

/* All that this file ever gave back. */
uint64_t hak_purge_returned_bytes(void);

/* Called on the way out of slow paths, not of each: returns at once unless something may be due. */
void hak_purge_if_due(uint64_t now_ns);

/* True: the last call has left some of what was due, for the next. */
bool hak_purge_has_more(uint64_t now_ns);

/* True: there is something whose time will come, and that the system has not just refused. */
bool hak_purge_is_pending(void);

#endif
