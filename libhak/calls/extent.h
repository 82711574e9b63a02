/* extent.h - what a pointer says of its block: its kind and its bytes.
 *
 * Threads    any, outside the fork gate: it is entered here where it must be.
 */
#ifndef HAK_CALLS_EXTENT_H
#define HAK_CALLS_EXTENT_H

#include "base/config.h"
#include "base/size_class.h"
#include "heap/region.h"
#include "heap/slab.h"

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

/* The same for what is no small block, or misuse: not to be called but from below. */
struct hak_extent hak_extent_of_other(const void *block, const char *call);

/* The block that begins at this address. Misuse by `call`, and reported as such, where none does.
 * Nearly all who ask have a small block: that is found here. */
HAK_INLINE struct hak_extent hak_extent_of(const void *block, const char *call)
{
	size_t grain = hak_region_grain(block);

	if (hak_likely(hak_region_has_grain(grain))) {
		unsigned class_idx = (unsigned)hak_region_class_of_grain(grain);

		if (hak_likely(class_idx - 1 < HAK_CLASS_COUNT) &&
		    hak_slab_has_start(class_idx, hak_control_head(hak_region_unit(block)), block))
			return (struct hak_extent){
				.kind = HAK_EXTENT_SMALL,
				.bytes = hak_size_classes[class_idx].block_bytes,
			};
	}
	return hak_extent_of_other(block, call);
}

#endif
