/* depot.h - per class, batches of free blocks that any thread may take.
 *
 * Between the magazines of threads and the bitmaps of slabs: what one thread frees in bulk another
 * allocates in bulk, for two short locks and a copy, with no slab touched. Bounded by slots and by
 * bytes (config.h); what does not fit goes on to the slabs.
 *
 * Threads    any; inside the fork gate.
 * Source     Bonwick & Adams, "Magazines and Vmem" (USENIX 2001).
 */
#ifndef HAK_HEAP_DEPOT_H
#define HAK_HEAP_DEPOT_H

#include "base/config.h"

/* Puts all `count` blocks into the depot, or none (false): it has no room for them. */
bool hak_depot_put(unsigned class_idx, void *const *blocks, unsigned count);

/* Takes up to `count` blocks, those put last first. Returns how many. */
unsigned hak_depot_take(unsigned class_idx, unsigned count, void **blocks);

/* Gives all blocks of all classes back to their slabs. */
void hak_depot_drain(void);

/* Shows what each depot holds, under its lock: the visitor takes no other. */
void hak_depot_visit(void (*visitor)(void *context, void *const *blocks, unsigned count),
		     void *context);

/* Blocks of the class that lie here now. */
unsigned hak_depot_count(unsigned class_idx);

/* The bounds hold and no slot in use is empty; for tests and debuggers. */
bool hak_depot_is_valid(unsigned class_idx);

#endif
