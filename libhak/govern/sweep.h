/* sweep.h - memory between live blocks back to the system, once the heap has not needed it.
 *
 * SuperSlabs that are empty age one by one (purge.h). Most of what a burst leaves behind lies in
 * others: free units, and pages in slabs that only free blocks cover. They have no age of their
 * own; what the heap as a whole has kept idle for a decay, at the least moment of it, is what it
 * did not need, and so much is looked for, in steps of some milliseconds. A heap that breathes
 * within the decay gives nothing back, and a program that comes back after it stood still has a
 * decay to breathe, though not twice in a row. Where little is found (live blocks are everywhere)
 * the next look is put off, twice as long each time.
 *
 * Where an agent sees the program stand still, nothing breathes, and all that is free goes. If much
 * of it is needed again within 10 s, or it was little, the program is to stand still for longer the
 * next time before it does.
 *
 * Threads    any, inside the fork gate; one at a time sweeps, the others pass by.
 */
#ifndef HAK_GOVERN_SWEEP_H
#define HAK_GOVERN_SWEEP_H

#include "base/config.h"

/* Called on the way out of slow paths, not of each: returns at once unless something is due. */
void hak_sweep_if_due(uint64_t now_ns);

/* The program has stood still for so long. True: from the next call of the above on, all that is
 * free goes back, as in a trim. By the agent alone, until it is true; anew when the program has
 * been at work, and whether that was soon after the last one. */
#define HAK_SWEEP_SOON_NS ((uint64_t)10000000000)
bool hak_sweep_all(uint64_t still_ns, bool stirred_soon);

/* True: memory is being looked for, a step with each call. */
bool hak_sweep_is_under_way(void);

/* True: so much is idle that its time may come. */
bool hak_sweep_is_pending(void);

#endif
