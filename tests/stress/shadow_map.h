/* shadow_map.h - which bytes of the address space are in use, kept without asking the allocator.
 *
 * One bit for each 16 bytes, set and cleared atomically, in leaves of 1 GiB of address space that
 * are mapped when first needed and never go away:
 *
 *     address   | 46 ... 30 | 29 ....... 10 | 9 .. 4 | 3..0 |
 *                   leaf       word of 64 bits   bit
 *
 * Threads    any. Marking is relaxed: the order comes from the allocator, which must not give out
 *            memory before its free has happened.
 * Errors     what is outside the 47 bits of user space, or no memory for a leaf, fails the test.
 */
#ifndef HAK_TESTS_SHADOW_MAP_H
#define HAK_TESTS_SHADOW_MAP_H

#include <stdbool.h>
#include <stddef.h>

/* Marks [address, address + bytes); a range of 0 bytes counts as one of 1. False if a part of it
 * was marked already; the rest is then marked all the same. */
bool shadow_map_mark(const void *address, size_t bytes);

/* Clears it. False if a part of it was not marked. */
bool shadow_map_clear(const void *address, size_t bytes);

/* How many grains of 16 bytes are marked. */
size_t shadow_map_count(void);

#endif
