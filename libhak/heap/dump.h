/* dump.h - what core dumps leave out of the region: SuperSlabs with nothing in use.
 *
 * MADV_DONTDUMP is a property of mappings, so it costs some microseconds and a mapping or two: only
 * whole SuperSlabs are left out, as they become empty. Where one of them is used again before its
 * memory went back, the heap breathes, and for a decay nothing is left out until it goes back: a
 * program that frees and takes 100 MiB in turn pays for it once a second.
 *
 * Neighbours that are out are one gap. There are HAK_DUMP_GAPS_MAX at most, two mappings each: a
 * process may have 65,530. At the bound a SuperSlab that would make one more is not left out, and
 * one that would split a gap takes a part of it along.
 *
 * Without this a core is as large as the heap ever was: the kernel writes what was freed within the
 * decay, and gcore, or the kernel to a pipe, writes what went back as zeroes.
 *
 * Threads    under the pool's lock, every call.
 * Errors     none: where the kernel refuses, dumps are larger; a program never notices.
 */
#ifndef HAK_HEAP_DUMP_H
#define HAK_HEAP_DUMP_H

#include "base/config.h"

/* Everything in this SuperSlab is free since now. */
void hak_dump_note_empty(uint32_t superslab, uint64_t now_ns);

/* And its memory is the system's. */
void hak_dump_note_returned(uint32_t superslab);

/* Units of this SuperSlab are about to be used; before, it was returned, or it was not. */
void hak_dump_note_used(uint32_t superslab, bool was_returned);

/* For tests and debuggers. */
bool hak_dump_has(uint32_t superslab);
uint32_t hak_dump_gap_count(void);

/* The gaps add up to their count. */
bool hak_dump_is_valid(void);

#endif
