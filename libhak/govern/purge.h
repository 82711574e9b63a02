/* purge.h - memory back to the system: empty SuperSlabs and cached mappings that have aged.
 *
 * What has been unused for the decay (config.h) goes back on a later slow path, looked at no more
 * often than the interval, a few SuperSlabs at a time. Memory that cannot go back (it is locked)
 * stays usable and is tried again a decay later.
 *
 * Threads    any, inside the fork gate; one at a time purges, the others pass by.
 */
#ifndef HAK_GOVERN_PURGE_H
#define HAK_GOVERN_PURGE_H

#include "base/config.h"

/* Called on the way out of slow paths: returns at once unless something may be due. */
void hak_purge_if_due(void);

#endif
