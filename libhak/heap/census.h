/* census.h - what a walk over the region finds, unit by unit; for tests and debuggers. What the
 * process itself is told of comes from sums that are kept all the time (tally.h).
 *
 * Threads    any; others may go on meanwhile.
 */
#ifndef HAK_HEAP_CENSUS_H
#define HAK_HEAP_CENSUS_H

#include "base/config.h"

/* Of the slabs of a class: their number, and their blocks that were given out or are in magazines
 * and depots, or are free and were touched. */
struct hak_census_row {
	uint64_t slab_count;
	uint64_t taken_block_count;
	uint64_t free_touched_block_count;
};

/* Adds to a row for each class. */
void hak_census_of_slabs(struct hak_census_row counts[HAK_CLASS_COUNT + 1],
			 uint64_t *run_unit_count);

/* The invariants of the slab or run at this unit; exact where no other thread is at work. */
bool hak_census_is_valid(uint32_t unit);

#endif
