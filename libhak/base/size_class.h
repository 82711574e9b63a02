/* size_class.h - sizes to classes and back; the geometry of each class's slabs.
 *
 * Steps of 16 bytes to 128, then four classes a doubling to 2 KiB, then eight to 32 KiB, where a
 * quarter of a doubling would cost a large heap more than the classes do. Waste by rounding is at
 * most 20 % to 2 KiB and 11 % above. Pure; any thread.
 *
 *   class_idx        1 .. 8        9 .. 24                     25 .. 56
 *   block bytes     16 .. 128    160, 192, 224, 256 .. 2048   2304, 2560 .. 32768
 */
#ifndef HAK_BASE_SIZE_CLASS_H
#define HAK_BASE_SIZE_CLASS_H

#include "base/config.h"

struct hak_size_class {
	uint32_t block_bytes;
	uint16_t block_count; /* blocks of a slab, 8..1024 */
	uint16_t unit_count;  /* units of a slab, 1..16 */
	uint64_t reciprocal;  /* ceil(2^40 / block_bytes): a slab's offset to a block's index */
};

extern HAK_HIDDEN const struct hak_size_class hak_size_classes[HAK_CLASS_COUNT + 1];

/* class_idx by size in grains, for sizes to HAK_TABLE_BYTES_MAX. */
extern HAK_HIDDEN const uint8_t hak_size_class_table[HAK_TABLE_BYTES_MAX / HAK_GRAIN_BYTES + 1];

/* size <= HAK_TABLE_BYTES_MAX; 0 counts as 1. */
HAK_INLINE unsigned hak_size_class_of_tiny(size_t size)
{
	return hak_size_class_table[(size + HAK_GRAIN_BYTES - 1) >> HAK_GRAIN_SHIFT];
}

/* HAK_TABLE_BYTES_MAX < size <= HAK_SMALL_BYTES_MAX. */
HAK_INLINE unsigned hak_size_class_of_larger(size_t size)
{
	unsigned top = 63 - (unsigned)__builtin_clzl(size - 1); /* 2^top < size <= 2^(top + 1) */

	if (top == 10)
		return 21 + (unsigned)((size - 1) >> 8) - 4;
	return 25 + (top - 11) * 8 + (unsigned)((size - 1) >> (top - 3)) - 8;
}

/* size <= HAK_SMALL_BYTES_MAX. */
HAK_INLINE unsigned hak_size_class_of(size_t size)
{
	return size <= HAK_TABLE_BYTES_MAX ? hak_size_class_of_tiny(size)
					   : hak_size_class_of_larger(size);
}

/* The index of the block that holds byte `offset` of a slab: exact for every offset in a slab. */
HAK_INLINE unsigned hak_size_class_index(unsigned class_idx, size_t offset)
{
	return (unsigned)((offset * hak_size_classes[class_idx].reciprocal) >> 40);
}

#endif
