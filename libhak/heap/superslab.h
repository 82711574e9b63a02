/* superslab.h - the descriptors of SuperSlabs, and the shelves that they stand on.
 *
 * The pool's own room: nobody but pool.c looks in. A shelf is a set of SuperSlabs, one bit each, by
 * which the one of lowest address is found; which one a SuperSlab belongs on, and why, pool.h says.
 *
 * Threads    the caller holds POOL, but for hak_shelf_stocked().
 */
#ifndef HAK_HEAP_SUPERSLAB_H
#define HAK_HEAP_SUPERSLAB_H

#include "base/config.h"

/* 1..16 for that longest row, three wider ones, and two for SuperSlabs with nothing in use. 0 is
 * "on no shelf". */
enum hak_shelf {
	HAK_SHELF_NONE = 0,
	HAK_SHELF_17 = HAK_SLAB_UNITS_MAX + 1,
	HAK_SHELF_32,
	HAK_SHELF_64,
	HAK_SHELF_EMPTY,
	HAK_SHELF_RETURNED,
	HAK_SHELF_COUNT,
};
static_assert(HAK_SHELF_COUNT <= 32, "a set of shelves is a 32-bit mask");

/* Of units a bit each. */
struct hak_superslab {
	uint64_t free[HAK_SUPERSLAB_WORDS];
	uint64_t away[HAK_SUPERSLAB_WORDS];	 /* claimed, and free again in a moment */
	uint64_t untouched[HAK_SUPERSLAB_WORDS]; /* never written since it read as zero */
	uint64_t lazy[HAK_SUPERSLAB_WORDS];	 /* free, and marked MADV_FREE */
	uint64_t shared[HAK_SUPERSLAB_WORDS];	 /* touched before a fork, and not taken since */
	uint64_t empty_since_ns;
	uint32_t fork_count; /* of which `shared` knows */
	uint8_t returned_at; /* when units last went back: a stamp of advice.h */
	uint8_t marked_at;   /* and when they were last marked */
	uint8_t shelf;
	uint8_t longest; /* the longest row of free units, 0..64 */
};

#define HAK_SUPERSLABS_MAX (HAK_REGION_BYTES_HIGH / HAK_SUPERSLAB_BYTES)

/* All units of a word that may ever be free: the last is a guard in the secure build. */
#define HAK_WORD_FREE (UINT64_MAX >> HAK_GUARD_UNITS)

#define HAK_SHELF_NO_SUPERSLAB UINT32_MAX

struct hak_superslab *hak_superslab_at(uint32_t index);

/* The descriptor of the SuperSlab that is opened next: rows of them come from meta.h when the first
 * is asked for. False: no memory. */
bool hak_superslab_has_room(uint32_t index);

/* The shelf of this longest row, and the one that a search for such a row begins at. */
unsigned hak_shelf_for(unsigned unit_count);

/* The one that a SuperSlab belongs on by its free units. */
unsigned hak_shelf_of(const struct hak_superslab *superslab);

void hak_shelf_add(unsigned shelf, uint32_t index);
void hak_shelf_remove(unsigned shelf, uint32_t index);

/* The SuperSlab of lowest address on a shelf, from `from` on; HAK_SHELF_NO_SUPERSLAB where there is
 * none. */
uint32_t hak_shelf_first(unsigned shelf, uint32_t from);

/* A bit for each shelf that has any. By any thread, with the lock or without. */
uint32_t hak_shelf_stocked(void);

/* On the shelf it belongs on, and on no other. */
bool hak_superslab_is_valid(uint32_t index);

#endif
