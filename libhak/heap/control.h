/* control.h - the descriptor of a slab or run, and its one 64-bit control word.
 *
 *    63             32 31    28  27   26    25      24   23       16 15            0
 *   |   generation    |        | run|slab|listed|leased| class_idx | free or units |
 *
 * generation   rises each time the units change hands, so that a late CAS on an old life fails
 * run          the units are one block; the low bits say how many they are
 * slab         the units are cut into blocks; the low bits say how many are free
 * listed       on the list of partly free slabs of its class (changed under that list's lock only)
 * leased       one thread takes from it; it is on no list and not retired, however free it is
 *
 * Neither run nor slab: the units are in the pool, or on their way there or out of it.
 *
 * Descriptors never move and are never unmapped: a stale unit number reads a valid word. One is
 * used for the first unit of a slab or run; of the others a slab uses head_distance, so that a
 * block's unit leads to its slab: for slabs of one unit it is the same cache line.
 */
#ifndef HAK_HEAP_CONTROL_H
#define HAK_HEAP_CONTROL_H

#include "base/config.h"
#include "heap/region.h"

#include <stdatomic.h>

#define HAK_CONTROL_LEASED ((uint64_t)1 << 24)
#define HAK_CONTROL_LISTED ((uint64_t)1 << 25)
#define HAK_CONTROL_SLAB ((uint64_t)1 << 26)
#define HAK_CONTROL_RUN ((uint64_t)1 << 27)
#define HAK_CONTROL_COUNT_MASK ((uint64_t)0xffff)
#define HAK_CONTROL_CLASS_SHIFT 16
#define HAK_CONTROL_GENERATION_SHIFT 32

struct hak_slab {
	_Atomic uint64_t control;
	uint32_t next_unit; /* neighbours on the list; guarded by the list's lock */
	uint32_t previous_unit;
	_Atomic uint32_t high_water; /* blocks from this index on were never handed out */
	uint8_t head_distance;	     /* of every unit of a slab: how far the first lies before it */
	_Atomic uint8_t returned_at; /* when pages last went back: a stamp of advice.h */
	_Atomic uint8_t marked_at;   /* and when some were last marked */
	_Atomic uint16_t fork_count; /* of which shared_pages knows */
	_Atomic uint64_t advised_pages; /* of the slab: went back or marked, and not used since */
	_Atomic uint64_t lazy_pages;	/* of those, marked MADV_FREE */
	_Atomic uint64_t shared_pages;	/* touched before the fork of fork_count, not back since */
	_Atomic uint64_t free[HAK_SLAB_WORDS]; /* set: free. popcount >= the control word's count */
};

static_assert(sizeof(struct hak_slab) <= HAK_SLAB_DESCRIPTOR_BYTES, "descriptor fits");
static_assert(HAK_SLAB_BLOCKS_MAX <= HAK_CONTROL_COUNT_MASK, "counts fit");
static_assert(HAK_CLASS_BYTES <= 256, "a class fits");

HAK_INLINE struct hak_slab *hak_control_slab(uint32_t unit)
{
	return (struct hak_slab *)(void *)(hak_region.slab_descriptors +
					   (size_t)unit * HAK_SLAB_DESCRIPTOR_BYTES);
}

/* The first unit of the slab that this unit is part of. Written before the class bytes are. */
HAK_INLINE uint32_t hak_control_head(uint32_t unit)
{
	return unit - hak_control_slab(unit)->head_distance;
}

/* Blocks from this index on were never handed out. */
HAK_INLINE unsigned hak_control_high_water(const struct hak_slab *slab)
{
	return atomic_load_explicit(&slab->high_water, memory_order_relaxed);
}

HAK_INLINE unsigned hak_control_count(uint64_t control)
{
	return (unsigned)(control & HAK_CONTROL_COUNT_MASK);
}

HAK_INLINE unsigned hak_control_class(uint64_t control)
{
	return (unsigned)(control >> HAK_CONTROL_CLASS_SHIFT) & 0xff;
}

HAK_INLINE uint32_t hak_control_generation(uint64_t control)
{
	return (uint32_t)(control >> HAK_CONTROL_GENERATION_SHIFT);
}

/* The word of the next life of these units. */
HAK_INLINE uint64_t hak_control_next(uint64_t control, uint64_t state, unsigned class_idx,
				     unsigned count)
{
	uint64_t generation = (uint64_t)(hak_control_generation(control) + 1u);

	return generation << HAK_CONTROL_GENERATION_SHIFT | state |
	       (uint64_t)class_idx << HAK_CONTROL_CLASS_SHIFT | count;
}

#endif
