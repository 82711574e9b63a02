/* lazyfree.h - purge level 0: what is freed in large amounts is marked MADV_FREE soon after.
 *
 * Marked memory is the program's to take again, at the cost of a fault less than fresh memory
 * costs, and the kernel's to take as soon as it needs some, whatever the program does: it may be
 * idle, or stopped. Marks cost the more the shorter their rows are. So they are set once free units
 * without one have accumulated, on rows of a unit and more, and those that the pool will need last
 * come first; and where most of what was marked is taken again soon, the heap breathes and more of
 * it is left alone.
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

/* Called on the way out of slow paths, not of each: returns at once unless there is much to mark,
 * and takes a millisecond at most. */
void hak_lazyfree_if_due(uint64_t now_ns);

#endif
