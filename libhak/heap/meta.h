/* meta.h - memory for the allocator itself: thread records, magazines, depots, huge entries.
 *
 * It grows downwards in its part of the reservation and is never given back; arrays that are
 * given back wait, by size, for the next who needs one. What a process holds at most is bounded by
 * its most threads at once and its most huge blocks at once, not by how often they come and go.
 *
 * Threads    any; META is the last lock in the order, so any other may be held.
 * Errors     NULL: no memory. Nothing else fails.
 */
#ifndef HAK_HEAP_META_H
#define HAK_HEAP_META_H

#include "base/config.h"

/* Arrays come in powers of two of pointers, 2^3 .. 2^HAK_META_LOG2_MAX. */
#define HAK_META_LOG2_MAX 12

/* Zeroed memory that stays for ever, aligned to 64 bytes. */
void *hak_meta_take(size_t bytes);

/* An array of 2^log2 pointers. Its contents are whatever the last owner left. */
void **hak_meta_take_array(unsigned log2);
void hak_meta_give_array(void **array, unsigned log2);

/* Bytes taken from the system for all of this. */
size_t hak_meta_bytes(void);

#endif
