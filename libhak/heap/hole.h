/* hole.h - page holes: pages of a slab that only free blocks cover, back to the system or marked.
 *
 * The free blocks of a slab are claimed, its holes advised, and the blocks given back: nobody is
 * ever handed a block whose page goes away. What was advised is noted in the slab's descriptor, and
 * taken off again when one of the page's blocks is handed out (slab.c).
 *
 * Threads    any, inside the fork gate.
 */
#ifndef HAK_HEAP_HOLE_H
#define HAK_HEAP_HOLE_H

#include "base/config.h"

/* Gives the holes of the slab at *unit to the system, or marks those of pages_min (1 or more) pages
 * and more MADV_FREE, and moves *unit behind the slab; past one unit where no slab begins there.
 * Returns bytes. The caller has said so to the pool (hak_pool_note_away): all free blocks of the
 * slab are out of reach for the time of some system calls. */
size_t hak_hole_return(uint32_t *unit);
size_t hak_hole_mark(uint32_t *unit, unsigned pages_min);

#endif
