/* purge.h - memory back to the system: empty SuperSlabs and cached mappings that have aged.
 *
 * What has been unused for the decay (HAK_DECAY) goes back on a later slow path, looked at no more
 * often than the interval, a few SuperSlabs at a time. Memory that cannot go back (it is locked)
 * stays usable and is tried again a decay later.
 *
 * Threads    any, inside the fork gate; one at a time purges, the others pass by.
 */
#ifndef HAK_GOVERN_PURGE_H
#define HAK_GOVERN_PURGE_H

#include "base/config.h"

/* A trim: all free memory goes back that can, or as much as was asked for, in steps that each last
 * some milliseconds. Begins as zeroes but for target_bytes. */
struct hak_purge_trim {
	uint64_t target_bytes;
	uint64_t released_bytes;
	uint32_t next_superslab;
	uint32_t next_unit;
	bool is_begun;
};

/* One step. True: there is more to do. The caller sees that no two threads are in one trim. */
bool hak_purge_trim(struct hak_purge_trim *trim);

/* All that this file ever gave back. */
uint64_t hak_purge_returned_bytes(void);

/* Called on the way out of slow paths, not of each: returns at once unless something may be due. */
void hak_purge_if_due(uint64_t now_ns);

/* True: there is something whose time will come. */
bool hak_purge_is_pending(void);

#endif
