/* tally.h - how much of what there is: running sums that every slow path adds to.
 *
 * Each thread's record has a tally, and threads without a record share one. An addition is relaxed
 * and on a cache line of one's own; a reader adds all tallies up (hak_thread_tally), so that a
 * heap's numbers cost in proportion to its threads and not to its size. A single tally may be
 * negative: who frees is not who allocated. A dead thread's tally stays, with its record.
 *
 *   taken    blocks that have left their slabs: in the program's hands, magazines and depots
 *   touched  blocks of slabs that were handed out at least once, or whose memory was used before
 *   slabs    slabs of the class
 *   runs     units of runs
 *   returned bytes of touched blocks whose pages went back to the system since
 *   lazy     bytes of touched blocks whose pages are marked MADV_FREE
 *   reused   bytes that were marked so and then taken, of units as well; it only rises
 *   refaulted  bytes that had gone back, and were taken within 10 s; it only rises
 *   refilled   bytes of blocks and runs that were taken, whatever was given; it only rises
 *
 * Threads    any; the sums are exact where no other thread is at work.
 */
#ifndef HAK_HEAP_TALLY_H
#define HAK_HEAP_TALLY_H

#include "base/config.h"

#include <stdatomic.h>

struct hak_tally {
	_Atomic int64_t taken[HAK_CLASS_COUNT + 1];
	_Atomic int64_t touched[HAK_CLASS_COUNT + 1];
	_Atomic int64_t slabs[HAK_CLASS_COUNT + 1];
	_Atomic int64_t run_units;
	_Atomic int64_t returned_bytes;
	_Atomic int64_t lazy_bytes;
	_Atomic int64_t reused_bytes;
	_Atomic int64_t refaulted_bytes;
	_Atomic int64_t refilled_bytes;
};

struct hak_tally_sums {
	int64_t taken[HAK_CLASS_COUNT + 1];
	int64_t touched[HAK_CLASS_COUNT + 1];
	int64_t slabs[HAK_CLASS_COUNT + 1];
	int64_t run_units;
	int64_t returned_bytes;
	int64_t lazy_bytes;
	int64_t reused_bytes;
	int64_t refaulted_bytes;
	int64_t refilled_bytes;
};

/* From here on this thread adds to this tally; NULL: to the shared one. */
void hak_tally_use(struct hak_tally *tally);

void hak_tally_add_taken(unsigned class_idx, int64_t blocks);
void hak_tally_add_touched(unsigned class_idx, int64_t blocks);
void hak_tally_add_slabs(unsigned class_idx, int64_t slabs);
void hak_tally_add_run_units(int64_t units);
void hak_tally_add_returned(int64_t bytes);
void hak_tally_add_lazy(int64_t bytes);
void hak_tally_add_reused(int64_t bytes);
void hak_tally_add_refaulted(int64_t bytes);

/* Bytes that this thread took less those it gave, since its birth: all, and without huge blocks,
 * which no other call here counts. */
void hak_tally_add_huge(int64_t bytes);
int64_t hak_tally_moved(void);
int64_t hak_tally_moved_in_region(void);

/* A sum that others add to meanwhile may be below zero for a moment that never was: 0 then. */
HAK_INLINE uint64_t hak_tally_not_negative(int64_t sum)
{
	return sum < 0 ? 0 : (uint64_t)sum;
}

/* Bytes in sums: of runs and of blocks that have left their slabs; and of blocks that have not, as
 * far as they hold memory, marked or not. */
uint64_t hak_tally_taken_bytes(const struct hak_tally_sums *sums);
uint64_t hak_tally_free_bytes(const struct hak_tally_sums *sums);

/* Adds one tally, or with NULL the shared one, to the sums. */
void hak_tally_sum(const struct hak_tally *tally, struct hak_tally_sums *sums);

#endif
