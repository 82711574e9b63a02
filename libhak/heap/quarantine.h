/* quarantine.h - where freed small blocks wait in the secure build, so that the address that was
 * freed last is not the one that is handed out next.
 *
 * One for each class. Who comes in puts out one at random, once it is full.
 *
 * Threads    any; inside the fork gate. Lock: QUARANTINE, no other inside it.
 */
#ifndef HAK_HEAP_QUARANTINE_H
#define HAK_HEAP_QUARANTINE_H

#include "base/config.h"

/* Takes a block in. Returns the one that leaves for it, or NULL. */
void *hak_quarantine_swap(unsigned class_idx, void *block);

unsigned hak_quarantine_count(unsigned class_idx);

/* Shows what is in each, as hak_depot_visit() does. */
void hak_quarantine_visit(void (*visitor)(void *context, void *const *blocks, unsigned count),
			  void *context);

#endif
