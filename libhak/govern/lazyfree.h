/* lazyfree.h - purge level 0: what is freed in large amounts is marked MADV_FREE soon after.
 *
 * Marked memory is the program's to take again, at the cost of a fault less than fresh memory
 * costs, and the kernel's to take as soon as it needs some, whatever the program does: it may be
 * idle, or stopped. It may be so after any free, and does not come back to us then; so what is
 * freed is marked as it accumulates, in two ways. Free units are, as soon as there are some, those
 * that the pool will need last first. And each time that half of what was in use has been freed,
 * magazines and depots are emptied, for a single cached block keeps its slab from the pool, and all
 * slabs are looked at for holes: long ones first, single pages once little is in use. Cached
 * mappings (heap/huge_cache.h) are marked as units are, but not on credit.
 *
 * Where most of what was marked is taken again within a second, the heap breathes: a little more is
 * left alone, and what such marks cost is paid for by the time that passes (credit.h). As long as
 * there is credit they go on, as each breath may be the last, after which the program stands still
 * with what it had freed. What is taken later than that was well given: it was others' to use in
 * between.
 *
 * Memory that a process on the other side of a fork may hold as well is left alone: the kernel
 * ignores the mark there. Where the kernel refuses, since memory is locked, nothing is marked for a
 * minute.
 *
 * Threads    any, inside the fork gate; one at a time marks, the others pass by.
 * Source     madvise(2); Bonwick and Adams, "Magazines and Vmem" (2001), for keeping a working set.
 */
#ifndef HAK_GOVERN_LAZYFREE_H
#define HAK_GOVERN_LAZYFREE_H

#include "base/config.h"

/* True where the look at the clock cannot wait: this thread has freed much, or a look at the heap
 * is under way. */
bool hak_lazyfree_is_urgent(void);

/* A look at the heap is under way, and the next call goes on with it. */
bool hak_lazyfree_is_marking(void);

/* Called on the way out of slow paths, not of each: returns at once unless there is much to mark,
 * and takes some milliseconds at most. */
void hak_lazyfree_if_due(uint64_t now_ns);

/* In the child of a fork, the only thread: it owes nothing, and has begun nothing. */
void hak_lazyfree_fork_child(void);

#endif
