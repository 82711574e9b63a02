/* region.h - the reserved address range that holds all SuperSlabs, and the tables about it.
 *
 * One PROT_NONE reservation, made at the birth of the heap and never given up:
 *
 *   |     meta | slab descriptors     | class bytes     |   SuperSlabs               |
 *       <-open   open->                 open->          base   open->
 *
 * Memory opens as one growing part of each, a SuperSlab at a time in the region and a row of
 * SuperSlabs at a time in the tables, so the number of mappings stays constant. meta.h's share
 * grows downwards, so that what a small process needs of it and of the descriptors lies side by
 * side. Core dumps have what is open, and one step of each part that is not (region.c). Nothing in
 * the region is ever unmapped: a foreign mapping there would look like ours.
 *
 * Class bytes say what each unit is: HAK_CLASS_NONE, a class_idx, HAK_CLASS_RUN_HEAD or _TAIL. Any
 * thread may read those and the descriptors of any unit of the open prefix, even for a pointer that
 * was never ours.
 *
 * Threads    hak_region_init from any, the first wins; hak_region_open_next under the pool's lock.
 * Life       from the first malloc to the end of the process.
 */
#ifndef HAK_HEAP_REGION_H
#define HAK_HEAP_REGION_H

#include "base/config.h"

#include <stdatomic.h>

/* meta.h's share opens by so much at a time. */
#define HAK_META_STEP_BYTES ((size_t)64 << 10)

struct hak_region {
	uintptr_t base;
	_Atomic size_t open_grains; /* the prefix that is readable, in 16 bytes; 0 before birth */
	_Atomic uint8_t *class_of_unit; /* one byte per unit */
	char *slab_descriptors;		/* HAK_SLAB_DESCRIPTOR_BYTES per unit */
	char *meta_end;			/* meta.h's share: so many bytes down from here */
	size_t meta_bytes;
	size_t meta_open_bytes; /* of them, open; guarded by meta.h's lock after birth */
	uint32_t superslab_count_max;
	uint32_t superslab_count; /* opened so far; guarded by the pool's lock */
	_Atomic bool born;
};

extern HAK_HIDDEN struct hak_region hak_region;

/* Makes the reservation; harmless when it stands. False: no address space (the caller says ENOMEM;
 * it may be tried again later). */
bool hak_region_init(void);

/* acquire: pairs with the release at the end of the birth. */
HAK_INLINE bool hak_region_is_born(void)
{
	return atomic_load_explicit(&hak_region.born, memory_order_acquire);
}

/* Opens the next SuperSlab and its tables. Writes its index. False: no memory, or region full. */
bool hak_region_open_next(uint32_t *index);

/* Opens more of meta.h's share, so that `bytes` (a multiple of HAK_META_STEP_BYTES) of it are open.
 * Under meta.h's lock. False: no memory. */
bool hak_region_open_meta(size_t bytes);

/* Bytes of the tables that are open: what the heap's own book-keeping may hold at most. */
size_t hak_region_table_bytes(void);

/* Where p lies: below hak_region_open_bytes() for an address in the region, beyond for any
 * other. */
HAK_INLINE size_t hak_region_offset(const void *p)
{
	return (uintptr_t)p - hak_region.base;
}

HAK_INLINE size_t hak_region_open_bytes(void)
{
	/* relaxed: who holds a pointer into a SuperSlab got it after that SuperSlab was opened */
	return atomic_load_explicit(&hak_region.open_grains, memory_order_relaxed)
	       << HAK_GRAIN_SHIFT;
}

/* A block's place in the region in grains of 16 bytes, with the low bits of its offset rotated to
 * the top: a misaligned pointer is as far out of range as one from elsewhere, and one comparison
 * (hak_region_has_grain) rules out both. */
HAK_INLINE size_t hak_region_grain(const void *p)
{
	size_t offset = hak_region_offset(p);

	return offset >> HAK_GRAIN_SHIFT | offset << (64 - HAK_GRAIN_SHIFT);
}

HAK_INLINE bool hak_region_has_grain(size_t grain)
{
	return grain < atomic_load_explicit(&hak_region.open_grains, memory_order_relaxed);
}

/* relaxed: the hand-over of a valid pointer orders the byte, and an invalid one may read any. */
HAK_INLINE size_t hak_region_class_of_grain(size_t grain)
{
	return atomic_load_explicit(
		&hak_region.class_of_unit[grain >> (HAK_UNIT_SHIFT - HAK_GRAIN_SHIFT)],
		memory_order_relaxed);
}

HAK_INLINE uint32_t hak_region_unit(const void *p)
{
	return (uint32_t)(hak_region_offset(p) >> HAK_UNIT_SHIFT);
}

HAK_INLINE char *hak_region_address(uint32_t unit)
{
	return (char *)hak_region.base + ((size_t)unit << HAK_UNIT_SHIFT);
}

/* acquire: pairs with the release in hak_region_mark(), for those who look at a unit that they were
 * not handed by its owner. A valid free needs no order of its own. */
HAK_INLINE unsigned hak_region_class(uint32_t unit)
{
	return atomic_load_explicit(&hak_region.class_of_unit[unit], memory_order_acquire);
}

/* Where the run begins that this unit is part of, by the class bytes before it. For reports. */
uint32_t hak_region_run_head(uint32_t unit);

/* Marks units as one slab or run: `first` for the first of them, `rest` for the others. Only the
 * owner of units that are in nobody else's hands may do so. */
void hak_region_mark(uint32_t unit, unsigned unit_count, unsigned first, unsigned rest);

#endif
