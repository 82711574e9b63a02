/* extent.h - what a pointer says of its block: its kind and its bytes.
 *
 * Threads    any, outside the fork gate: it is entered here where it must be.
 */
#ifndef HAK_CALLS_EXTENT_H
#define HAK_CALLS_EXTENT_H

#include "base/config.h"
#include "base/size_class.h"
#include "heap/control.h"
#include "heap/region.h"

/* Three kinds of block, as config.h has them; the next malloc's where libhak stands aside; and what
 * is no block. */
enum hak_extent_kind {
	HAK_EXTENT_SMALL,
	HAK_EXTENT_RUN,
	HAK_EXTENT_HUGE,
	HAK_EXTENT_FORWARDED,
	HAK_EXTENT_MISUSED,
};

struct hak_extent {
	enum hak_extent_kind kind;
	size_t bytes;
};

/* The bytes of a small block that begins at this address, or 0: it is another kind, or misuse, and
 * hak_extent_of() tells which. The road of nearly all that ask. */
HAK_INLINE size_t hak_extent_small(const void *block)
{
	size_t grain = hak_region_grain(block);

	if (!hak_region_has_grain(grain))
		return 0;
	unsigned class_idx = (unsigned)hak_region_class_of_grain(grain);

	if (class_idx - 1 >= HAK_CLASS_COUNT)
		return 0;
	const struct hak_size_class *size_class = &hak_size_classes[class_idx];
	uint32_t unit = hak_control_head(hak_region_unit(block));
	size_t offset = (size_t)((const char *)block - hak_region_address(unit));
	unsigned index = hak_size_class_index(class_idx, offset);

	return index * (size_t)size_class->block_bytes == offset && index < size_class->block_count
		       ? size_class->block_bytes
		       : 0;
}

/* The block that begins at this address. Misuse by `call`, and reported as such, where none does.
 * */
struct hak_extent hak_extent_of(const void *block, const char *call);

#endif
