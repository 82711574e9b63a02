/* advice.h - what madvise(2) was told of the pages of slabs, and what a fork means for it.
 *
 * A page of a slab that only free blocks cover may be marked MADV_FREE, or given back (hole.h). The
 * slab's descriptor has a bit for each such page until one of its blocks is handed out, or the slab
 * goes back to the pool, which then learns of whole units.
 *
 * After a fork both sides hold the same pages, and a mark on them does nothing. So what was touched
 * before the last fork is left without marks until it has been taken anew: slabs and SuperSlabs
 * compare the fork count of theirs with this process's.
 *
 * Where a daemon reads (shared.h), each change of a mark is told there at once.
 *
 * Threads    any: a page's bits change in the hands of who has all of its blocks.
 */
#ifndef HAK_HEAP_ADVICE_H
#define HAK_HEAP_ADVICE_H

#include "base/config.h"
#include "heap/control.h"

/* Units in a row: bit i tells whether all of the i-th is marked, or has gone back and was not used
 * since. */
struct hak_advice_units {
	uint64_t lazy;
	uint64_t returned;
};

struct hak_advice_units hak_advice_of_units(const struct hak_slab *slab, unsigned unit_count);

/* Takes the bits off: of the pages of these blocks, which are about to be used; of all pages. */
void hak_advice_use(struct hak_slab *slab, unsigned class_idx, const char *start,
		    void *const *blocks, unsigned count);
void hak_advice_forget(struct hak_slab *slab);

/* The units have been taken from the pool: their pages are this process's own, or will be. */
void hak_advice_begin(struct hak_slab *slab);

/* A time in steps of 2 s: never 0, which is "never", and the same again after 510 s. */
uint8_t hak_advice_stamp(void);

/* What went then and is needed now should have stayed: 10 s have not passed. */
bool hak_advice_is_soon(uint8_t stamp);

/* When a daemon took marked pages, if it has since something was marked at that time; 0: it has
 * not, or so long ago that such a time does not tell. */
uint8_t hak_advice_reclaimed_at(uint8_t marked_at);

/* Units of a SuperSlab that last gave some back then are about to be used: so many that are marked,
 * and those that read as zero, which have gone back or were never used. What went within the last
 * 10 s should have stayed. Of what is marked it may all have gone where a daemon has taken marked
 * pages from outside since some were last marked here (which ones, the kernel does not tell; in a
 * time namespace of its own the process does not know the daemon's time, and believes that none
 * went). */
void hak_advice_note_units(uint8_t returned_at, uint8_t marked_at, unsigned lazy_count,
			   uint64_t zero_units);

HAK_INLINE void hak_advice_use_units(uint8_t returned_at, uint8_t marked_at, unsigned lazy_count,
				     uint64_t zero_units)
{
	if (lazy_count != 0 || (returned_at != 0 && zero_units != 0))
		hak_advice_note_units(returned_at, marked_at, lazy_count, zero_units);
}

/* Pages that have gone back and were not used since. */
uint64_t hak_advice_returned(const struct hak_slab *slab);

/* Pages that a mark would do nothing for: those that have gone back, that have one, or that a
 * process on the other side of a fork may hold as well. */
uint64_t hak_advice_settled(struct hak_slab *slab);

/* These pages, all of whose blocks are the caller's, have gone back, or are marked. Return their
 * bytes. */
size_t hak_advice_note_returned(struct hak_slab *slab, uint64_t pages);
size_t hak_advice_note_lazy(struct hak_slab *slab, uint64_t pages);

/* This process is about to fork: in parent and child the count is one more than before. */
void hak_advice_note_fork(void);
uint32_t hak_advice_fork_count(void);

#endif
